"""What plans saved, in sentences: against a counterfactual of the whole span, plan by plan, and of the jobs that were moved."""

import math
from collections.abc import Iterator

from energy.baseline import Saving, Verdict
from energy.ledger import Summary
from energy.ledger_sums import Moved
from twin.message import Message
from ui.report.gather import Inputs


def said(inputs: Inputs) -> Iterator[Message]:
    """All of it, of the whole centre; that a part has none."""
    if inputs.saving is None or inputs.ledger is None:
        yield Message("What plans saved stands in the report of the whole centre: a part has no counterfactual of its own.")
        return
    yield _saved(inputs.saving)
    yield from _plans(inputs.ledger)
    if inputs.moved is not None:
        yield from _moved(inputs.moved)


def _plans(book: Summary) -> Iterator[Message]:
    """A plan begins in one span and is judged, once it is over, in the same or a later one: each is told where it was booked,
    so that spans sum to longer ones."""
    if book.carried_out:
        text = "Plans carried out: {carried}." if not book.waiting else (
            "Plans carried out: {carried}; of them not judged by the end of the span: {waiting}.")  # fmt: skip
        yield Message(text, {"carried": book.carried_out, "waiting": book.waiting})
    else:
        yield Message("No plan was begun: {advised} were advised, {refused} refused by the guard.", {
            "advised": book.advised, "refused": book.refused})  # fmt: skip
    judged = book.saved + book.lost + book.undecided
    if judged:
        text = (
            "Plans judged: {judged}, of which {saved} saved, {lost} lost and {open} left it open: {change:,.0f} kWh together, "
            "80% between {low:,.0f} and {high:,.0f} kWh. A plan is judged when it is over."
        )
        counts = {"judged": judged, "saved": book.saved, "lost": book.lost, "open": book.undecided}
        numbers = {"change": _whole(book.change_kwh), "low": _whole(book.low_kwh), "high": _whole(book.high_kwh)}
        yield Message(text, {**counts, **numbers})
    if book.not_judged:
        yield Message(
            "Plans that were over and could not be judged, for too little was read: {count}.", {"count": book.not_judged}
        )


def _saved(one: Saving) -> Message:
    """What the span took less or more than the days before it let expect; that nothing is shown where it may be either."""
    if one.verdict is not Verdict.SHOWN:
        return Message(one.verdict.value)
    low, high = one.low_kwh, one.high_kwh
    if low <= 0 <= high:
        text = (
            "Against a regression on the {days} days before (facility energy on IT energy and wet bulb, CV(RMSE) {cv:.1%}) no "
            "saving can be shown: what was taken less is, at 80%, between {low:+,.0f} and {high:+,.0f} kWh, which may be "
            "nothing."
        )
    elif low > 0:
        text = (
            "Against a regression on the {days} days before (facility energy on IT energy and wet bulb, CV(RMSE) {cv:.1%}), "
            "{saved:,.0f} kWh less were taken, 80% between {low:,.0f} and {high:,.0f} kWh."
        )
    else:
        text = (
            "Against a regression on the {days} days before (facility energy on IT energy and wet bulb, CV(RMSE) {cv:.1%}), "
            "{saved:,.0f} kWh more were taken, 80% between {low:,.0f} and {high:,.0f} kWh."
        )
        low, high = -high, -low
    numbers = {"saved": _whole(abs(one.kwh)), "low": _whole(low), "high": _whole(high)}
    return Message(text, {"days": one.fitted_days, "cv": one.cv_frac, **numbers})


def _whole(number: float) -> float:
    """Rounded to a whole one, and never below 0 where it is 0."""
    return round(number) + 0.0 if math.isfinite(number) else number


def _moved(found: Moved) -> Iterator[Message]:
    """What moving work brought. g/kWh times kWh are grams, /MWh times kWh a thousandth of the price's money."""
    for signal, one in sorted(found.by_signal.items()):
        change, low, high = (_whole(value / 1e3) for value in (one.change, one.low, one.high))
        numbers = {"count": one.count, "change": change, "low": low, "high": high}
        text = (
            "{count} jobs have ended that were moved, or held up by others that were: {change:+,.0f} kg of CO2 beside what "
            "they would have emitted, 80% between {low:+,.0f} and {high:+,.0f} kg. A job counts when it has ended."
        )
        if signal == "price_per_mwh":
            text = (
                "{count} jobs have ended that were moved, or held up by others that were: {change:+,.0f} in money beside what "
                "they would have cost, 80% between {low:+,.0f} and {high:+,.0f}. A job counts when it has ended."
            )
        yield Message(text, numbers)
    if found.unseen:
        yield Message("{count} moved jobs were not seen to end: no figure holds them.", {"count": found.unseen})
