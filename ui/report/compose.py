"""The whole report from its inputs: the first page that is read in a minute, then the sections."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from urllib.parse import quote

import numpy as np

from energy.baseline import Saving, Verdict
from twin.message import Message
from ui.report import demand, energy, reliable, use
from ui.report.behind import behind
from ui.report.beside import uneven
from ui.report.document import Block, Figure, Picture, Report, Table
from ui.report.energy import Limits
from ui.report.gather import Inputs
from ui.report.settle import settled

QUARTER_S = 900.0
HEAD = (
    "facility_kwh",
    "pue_ratio",
    "carbon_location_kg",
    "cost",
    "peak_w",
    "contract_frac",
    "held_frac",
    "busy_frac",
    "idle_held_frac",
)


def compose(inputs: Inputs, limits: Limits | None = None, outside: str = "", pictures: Sequence[Picture] = ()) -> Report:
    """The document; ``outside``: URL under which people reach icctwin, for the link behind each number; ``pictures``: at the
    end of the section on energy."""
    limits = limits or Limits()
    first = energy.section(inputs, limits)
    sections = [replace(first, blocks=[*first.blocks, *pictures]), use.section(inputs, limits), reliable.section(inputs)]
    base = outside.rstrip("/")
    asked = f"/api/v1/report?span={quote(inputs.span.label, safe='')}&scope={quote(str(inputs.scope), safe='')}"
    sections = [replace(one, blocks=[_reached(b, inputs, base, asked) for b in one.blocks]) for one in sections if one.blocks]
    found = {figure.key: figure for section in sections for figure in section.figures}
    twice = {"peak_w"} if "contract_frac" in found else set()  # then a sentence says it: two rows leave room for the drawings
    head = [found[key] for key in HEAD if key in found and key not in twice]
    span = inputs.span
    made = Report(
        site=inputs.site.name,
        scope="" if inputs.scope.whole else str(inputs.scope),
        span=span.label,
        first_day=span.days[0].isoformat(),
        last_day=span.days[-1].isoformat(),
        zone=str(span.zone),
        head=head,
        said=tuple(_said(inputs, found, limits.pue_ratio if inputs.scope.whole else None)),
        sections=sections,
    )
    return settled(made)


def _reached(block: Block, inputs: Inputs, base: str, asked: str) -> Block:
    """``block`` with where else its numbers stand, and a link that answers with what it says (RFC 6901: where in it)."""
    if not isinstance(block, Figure | Table):
        return block
    sort, inside = ("figure", "value") if isinstance(block, Figure) else ("table", "rows")
    answer = f"{base}{asked}&{sort}={block.key}#/{sort}s/{block.key}/{inside}"
    return replace(block, query=behind(block, inputs, base), answer=answer)


def _said(inputs: Inputs, found: dict[str, Figure], limit_ratio: float | None) -> Iterator[Message]:
    made, facility, held = inputs.account, found["facility_kwh"], found.get("held_frac")
    yield from _not_over(inputs)
    if made.coverage_frac <= 0 and made.it_read_frac <= 0:
        nothing = Message("Nothing was read in this span: no meter and no model says what the centre took in.")
        yield Message(energy.NOT_READ, {"who": inputs.scope.name}) if inputs.scope.kind == "hall" else nothing
        return
    yield _taken(inputs, facility)
    yield from uneven(inputs)
    pue = found["pue_ratio"].value
    if inputs.scope.whole and limit_ratio is None and np.isfinite(pue):
        yield Message("PUE was {pue:.3f}.", {"pue": pue})
    if limit_ratio is not None and np.isfinite(pue):
        text = "PUE was {pue:.3f}, within the limit of {limit:.2f}." if pue <= limit_ratio else (
            "PUE was {pue:.3f}, above the limit of {limit:.2f}.")  # fmt: skip
        yield Message(text, {"pue": pue, "limit": limit_ratio})
    if found["pue_ratio"].modelled:
        text = "For {modelled:.0%} of the time facility or IT power is as the twin works it out and no meter says (≈)."
        yield Message(text, {"modelled": made.modelled_frac})
    if np.isfinite(made.peak_w):
        text = "The highest quarter of an hour drew {peak:,.1f} kW." if inputs.meters.step_s <= QUARTER_S else (
            "The highest hour drew {peak:,.1f} kW.")  # fmt: skip
        yield Message(text, {"peak": made.peak_w / 1e3})
        yield from demand.said(inputs)
    if held is not None:
        idle = found.get("idle_held_frac")
        if idle is None:
            yield Message("{held:.0%} of the GPU hours were allocated; nobody read how busy they were.", {"held": held.value})
        else:
            text = "{held:.0%} of the GPU hours were allocated; of these {idle:.0%} did nothing."
            yield Message(text, {"held": held.value, "idle": idle.value})
    yield from _no_incident(inputs)
    if inputs.saving is not None and inputs.saving.verdict is Verdict.SHOWN:
        yield from _saved(inputs.saving)
    read_frac = made.coverage_frac or made.it_read_frac
    if read_frac < 0.95:
        yield Message("Only {read:.0%} of the time was read; sums are of that time alone.", {"read": read_frac})


def _no_incident(inputs: Inputs) -> Iterator[Message]:
    """That none began, and whether one went on; nothing where icctwin may not have been there to tell."""
    if not (inputs.scope.whole and inputs.judged) or any(record["what"] == "opened" for record in inputs.incidents):
        return
    if inputs.open_count:
        yield Message("No incident began; of those that had begun before, {count} went on.", {"count": inputs.open_count})
    elif inputs.fired_count:
        text = "Alerts fired: {count:.0f}; nobody was told of any, so no incident began."
        yield Message(text, {"count": inputs.fired_count})
    else:
        yield Message("Nobody had to be told of anything: there was no incident.")
    yield from reliable.unwatched(inputs)


def _not_over(inputs: Inputs) -> Iterator[Message]:
    if inputs.until <= inputs.span.start:
        yield Message("The span has not begun.")
    elif inputs.until < inputs.span.end:
        until = inputs.until.astimezone(inputs.span.zone)
        yield Message("The span is not over: all figures are of the time until {until}.", {"until": f"{until:%Y-%m-%d %H:%M}"})


def _taken(inputs: Inputs, facility: Figure) -> Message:
    """What the centre, or the part of it, took in."""
    made = inputs.account
    who = {} if inputs.scope.whole else {"who": inputs.scope.name}
    if made.coverage_frac <= 0:
        text = "IT took {kwh:,.1f} kWh. Nothing says what the whole centre took in, so there is no PUE, cost or carbon."
        if made.it_modelled_frac > 0:
            text = (
                "IT took {kwh:,.1f} kWh, {modelled:.0%} of the time as the twin works it out and no meter says. Nothing says "
                "what the whole centre took in, so there is no PUE, cost or carbon."
            )
        return Message(text, {"kwh": made.it_read_kwh, "modelled": made.it_modelled_frac})
    if np.isfinite(facility.change_frac):
        text = "{who} took in {kwh:,.0f} kWh, {change:+.1%} against the span before." if who else (
            "The centre took in {kwh:,.0f} kWh, {change:+.1%} against the span before.")  # fmt: skip
        return Message(text, {"kwh": facility.value, "change": facility.change_frac, **who})
    text = "{who} took in {kwh:,.0f} kWh; the span before was not read as much." if who else (
        "The centre took in {kwh:,.0f} kWh; the span before was not read as much.")  # fmt: skip
    return Message(text, {"kwh": facility.value, **who})


def _saved(one: Saving) -> Iterator[Message]:
    """Only what the interval tells from nothing."""
    if one.low_kwh > 0:
        text = "Against the weeks before it took {saved:,.0f} kWh less than load and weather explain."
        yield Message(text, {"saved": one.kwh})
    elif one.high_kwh < 0:
        text = "Against the weeks before it took {lost:,.0f} kWh more than load and weather explain."
        yield Message(text, {"lost": -one.kwh})
