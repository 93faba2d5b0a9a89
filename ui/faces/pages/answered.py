"""On the page ``/energy``: what the grid asked and how it was answered, what the guard refused and why, what plans brought."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from energy.ledger import TOPIC as LEDGER
from energy.ledger_sums import Running, Sum
from energy.notes import TOPIC as AUDIT
from energy.notes import Stage, message_of
from energy.respond.inbox import standing
from twin.curtail import Request
from twin.message import Message
from twin.ports import Records
from ui.faces.pages.markup import fine, listed, panel
from ui.faces.pages.texts import Cell, Table, plain, row, when
from ui.responding import PROVEN_WITHIN_S
from ui.responding import TOPIC as RESPONSES
from ui.view import Live
from ui.words import DASH, Words

DAYS = 30
ROWS = 8
RECORDS = 2000
EVERY_S = 10.0
VERDICTS = ("saved", "lost", "cannot be told from noise")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: who asks, from when on [s since 1970], the most that may be drawn or the least that is to be cut [W, NaN:
    not said], what became of it, and what was proven (empty: nothing yet)."""

    name: str
    begin_s: float
    limit_w: float
    cut_w: float
    state: str
    proof: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """A plan that was turned down: when, whose, what it wanted, and each reason."""

    time: datetime
    lever: str
    wanted: Message
    why: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Brought:
    """What one plan did, negative saved: of energy [kWh], or, where it moved work, of the signal (``unit``: kg of CO2, or
    money)."""

    time: datetime
    lever: str
    unit: str
    expected: float
    change: float
    low: float
    high: float
    note: str


@dataclass(frozen=True, slots=True)
class Answered:
    """All of it, newest first; ``counts``: how many of the judged plans saved, lost, cannot be told."""

    asked: tuple[Asked, ...]
    refused: tuple[Refused, ...]
    brought: tuple[Brought, ...]
    counts: tuple[int, int, int]


class Reader:
    """Reads all of it from the records of the last ``DAYS`` days, and what moved jobs brought once."""

    def __init__(self) -> None:
        self._records: Records | None = None
        self._jobs = Running(DAYS)

    def read(self, live: Live, now: datetime) -> Answered:
        """As it stands."""
        records = live.records
        if records is not self._records:  # after a reload they may be in another store, with numbers of their own
            self._records, self._jobs = records, Running(DAYS)
        return _answered(live, now, self._jobs.read(records, now))


def _answered(live: Live, now: datetime, jobs: Mapping[tuple[str, str], Sum]) -> Answered:
    brought = _brought(live, now, jobs)
    counts = [sum(one.note == verdict for one in brought) for verdict in VERDICTS]
    return Answered(_asked(live, now), _refused(live, now), tuple(brought), (counts[0], counts[1], counts[2]))


# what the grid asked


def _asked(live: Live, now: datetime) -> tuple[Asked, ...]:
    told = [record for _, _, record in live.records.read(RESPONSES, limit=RECORDS, newest=True)]
    judged = {record["request"]: record for record in told if record["stage"] in ("proved", "unproven")}
    begun = {record["key"] for record in told if record["stage"] == "begun"}
    over = {record["key"] for record in told if record["stage"] == "over"}
    rows = []
    for who, one in standing(live.records, now, PROVEN_WITHIN_S):
        proof = judged.get(f"{who}/{one.key}@{one.begin_s:.0f}", {})
        going = f"{one.key}@{one.begin_s:.0f}" in begun - over
        rows.append(_one(who, one, proof, going, now.timestamp()))
    return tuple(sorted(rows, key=lambda one: -one.begin_s))


def _one(who: str, request: Request, proof: Mapping[str, Any], going: bool, now_s: float) -> Asked:
    limits = [part.limit_w for part in request.intervals if part.limit_w == part.limit_w]
    cuts = [part.cut_w for part in request.intervals if part.cut_w == part.cut_w]
    if proof:
        state = "proven" if proof["stage"] == "proved" else "not proven"
    elif request.end_s <= now_s:
        state = "over"
    elif request.begin_s <= now_s:
        state = "in force" if going else "not answered"
    else:
        state = "being prepared" if going else "to come"
    nan = math.nan
    return Asked(f"{who} · {request.key}", request.begin_s, min(limits, default=nan), max(cuts, default=nan), state, proof)


# what was refused


def _refused(live: Live, now: datetime) -> tuple[Refused, ...]:
    found: dict[str, Refused] = {}
    records = live.records.read(AUDIT, now - timedelta(days=DAYS), None, RECORDS, newest=True)
    for _, time, record in reversed(records):
        key = str(record.get("plan"))
        if record.get("stage") != Stage.REFUSED or "reason" not in record or key in found:
            continue
        why = [_message(one["why"]) for one in record.get("verdict", ())] or [_message(record["why"])]
        found[key] = Refused(time, str(record["lever"]), _message(record["reason"]), tuple(why))
        if len(found) >= ROWS:
            break
    return tuple(found.values())


def _message(said: Mapping[str, Any] | None) -> Message:
    """A sentence of a record."""
    return Message(DASH) if said is None else message_of(said)


# what plans brought


def _brought(live: Live, now: datetime, jobs: Mapping[tuple[str, str], Sum]) -> list[Brought]:
    """Plans on the plant by their own entries; of work that moved, all jobs of a plan in one. A job that started otherwise
    because others moved counts under no plan's name."""
    rows: list[Brought] = []
    for _, time, record in live.records.read(LEDGER, now - timedelta(days=DAYS), None, RECORDS, newest=True):
        if record.get("entry") == "measured":
            expected, change, low, high = (_value(record, f"{name}kwh") for name in ("expected_", "change_", "low_", "high_"))
            rows.append(Brought(time, str(record["lever"]), "kwh", expected, change, low, high, str(record["note"])))
    rows += [_moved(plan, signal, now if one.time is None else one.time, one) for (plan, signal), one in jobs.items()]
    return sorted(rows, key=lambda one: one.time, reverse=True)


def _moved(plan: str, signal: str, time: datetime, one: Sum) -> Brought:
    """g/kWh times kWh are grams, /MWh times kWh a thousandth of the price's money."""
    note = VERDICTS[0] if one.high < 0 else VERDICTS[1] if one.low > 0 else VERDICTS[2]
    lever = plan.partition(":")[0] or "moved along"
    unit = "" if signal == "price_per_mwh" else "kg"
    return Brought(time, lever, unit, math.nan, one.change / 1e3, one.low / 1e3, one.high / 1e3, note)


def _value(record: Mapping[str, Any], name: str) -> float:
    value = record.get(name)
    return float(value) if isinstance(value, int | float) else math.nan


# how it is shown


def places() -> tuple[str, str, str]:
    """The panels: refusals, requests, what plans brought."""
    asked = ("request", "from", ">requested", "state", ">cut", ">worst minute", ">in place", ">rebound")
    cols = "minmax(0,1.2fr) 6.6rem 6.4rem minmax(0,1fr) 5.6rem 7.8rem 5.2rem 5rem"
    ledger = ("time", "lever", ">expected", ">changed", "80% between", "verdict")
    return (
        panel(
            "refusals",
            "Refused by the guard",
            [],
            listed("refusals", "Nothing was refused", ("time", "plan", "why"), "7.4rem minmax(0,1fr) minmax(0,1.4fr)"),
            size="w10 wrapping",
        ),
        panel(
            "requests",
            "Requests of the grid",
            [],
            listed("requests", "The grid asked for nothing", asked, cols),
            size="w12",
        ),
        panel(
            "ledger",
            "What plans did, against a counterfactual",
            [fine("wins", "won"), fine("backfired", "lost"), fine("undecided", "undecided")],
            listed("ledger", "No plan was judged yet", ledger, "7.4rem minmax(0,1.2fr) 7rem 7.6rem 12rem minmax(0,1.4fr)"),
            size="w12",
        ),
    )


def table(answered: Answered | None, words: Words) -> Table:
    """Their numbers and rows."""
    counts: Sequence[float] = answered.counts if answered else (math.nan,) * 3
    names = ("won", "lost", "undecided")
    return {
        **{f"n.{name}": plain(words, count, "count") for name, count in zip(names, counts, strict=True)},
        "l.requests": [_asked_row(one, words) for one in answered.asked[:ROWS]] if answered else [],
        "l.refusals": [_refused_row(one, words) for one in answered.refused[:ROWS]] if answered else [],
        "l.ledger": [_brought_row(one, words) for one in answered.brought[:ROWS]] if answered else [],
    }


def _asked_row(one: Asked, words: Words) -> Cell:
    """``short``: by the worst minute the target was missed by more than its tolerance."""
    proof = one.proof
    asked: str | Cell = DASH
    if one.limit_w == one.limit_w:
        asked = words.sentence(Message("≤ {value}", {"value": str(words.quantity(one.limit_w, "w"))}))
    elif one.cut_w == one.cut_w:
        asked = words.sentence(Message("− {value}", {"value": str(words.quantity(one.cut_w, "w"))}))
    short = _value(proof, "worst_short_frac")
    state = {"proven": "ok" if not _value(proof, "short_steps") > 0 else "warning", "not proven": "warning",
             "not answered": "warning"}.get(one.state, "")  # fmt: skip
    cells: list[str | Cell] = [one.name, when(one.begin_s, "stamp"), asked, words(one.state)]
    cells += [plain(words, _value(proof, "cut_kwh"), "kwh"), plain(words, short, "frac")]
    cells += [plain(words, _value(proof, "in_place_s"), "s"), plain(words, _value(proof, "rebound_frac"), "frac")]
    return row(state, cells)


def _refused_row(one: Refused, words: Words) -> Cell:
    why = words.joined(words.sentence(reason) for reason in one.why)
    return row("refused", [when(one.time, "stamp"), f"{words(one.lever)}: {words.sentence(one.wanted)}", why])


def _brought_row(one: Brought, words: Words) -> Cell:
    """The unit is written out: kilograms and money are none of the metric table's."""

    def said(value: float) -> Cell:
        made = plain(words, value, "kwh")
        return made if one.unit == "kwh" or made["f"] == "none" else {**made, "u": one.unit}

    span: str = DASH
    if one.low == one.low:
        low, high = (f"{cell['n']} {cell.get('u', '')}".strip() for cell in (said(one.low), said(one.high)))
        span = words.sentence(Message("{low} to {high}", {"low": low, "high": high}))
    state = {VERDICTS[0]: "ok", VERDICTS[1]: "warning"}.get(one.note, "")
    return row(state, [when(one.time, "stamp"), words(one.lever), said(one.expected), said(one.change), span, words(one.note)])
