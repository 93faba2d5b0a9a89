"""Plans on the page ``/energy``: what each is expected to bring, how far it is, and yes or no where a person has to say it.

Saying it goes over ``/api/v1/plans/…``; the desk acts on it within seconds, and its records say what came of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from energy.notes import TOPIC, Stage
from energy.plan import Mode
from twin.message import Message
from ui.faces.pages.markup import fine, listed, more, panel, say, text
from ui.faces.pages.recent import Record
from ui.faces.pages.texts import Cell, Table, cell, plain, press, row, source
from ui.faces.shelf import Kept
from ui.switch import WISHES
from ui.view import Live, PlanRow
from ui.words import Words

DAYS, RECORDS, EVERY_S = 2.0, 400, 2.0
LABELS = ("Say who you are first", "said yes: the desk acts within seconds", "said no: the plan leaves the desk")
_BASIS = {
    "told": "by the service's forecast", "late": "by the service's last forecast: it is silent", "own": "by our own forecast"
}  # fmt: skip
_ASK = "Carry out this plan?"
_SURE = "It is carried out within seconds where the guard still allows it, and undone at its end."
_SAID = {"approve": "said yes", "reject": "said no"}
# What of a plan's latest record is said of the plan: an action's steps count as the plan's.
_STAGES = {
    Stage.REFUSED: "refused", Stage.APPROVED: "said yes", Stage.BEGUN: "being carried out", Stage.DONE: "done",
    Stage.FAILED: "failed", Stage.REVERTING: "being undone", Stage.REVERTED: "undone",
    Stage.REVERT_FAILED: "could not be undone", Stage.LEFT: "changed by a person",
    Stage.REJECTED: "said no", Stage.EXPIRED: "expired",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LastWord:
    """The last word on a plan: its ``stage`` (or what a person said since), and ``who`` said it."""

    stage: str
    who: str
    time: datetime


def read_told(live: Live, now: datetime) -> Mapping[str, LastWord]:
    """The last word on each plan of the last days, by its key."""
    found: dict[str, LastWord] = {}
    rows: list[Record] = []
    for topic in (WISHES, TOPIC):  # in this order: what the desk did of a wish at the same moment came after it
        told = live.records.read(topic, now - timedelta(days=DAYS), None, RECORDS, newest=True)
        rows += [(time, record) for _, time, record in told]
    for time, record in sorted(rows, key=lambda row: row[0]):
        key = str(record.get("plan") or "")
        stage = str(record.get("stage") or _SAID.get(str(record.get("what")), ""))
        if key and stage:
            found[key] = LastWord(stage, str(record.get("who") or ""), time)
    return found


def places() -> str:
    """The panel of plans, with the form and the question that a yes goes through."""
    heads = ("plan", ">effect", "80% between", "mode", "state", "", "")
    cols = "minmax(0,2.2fr) 6.4rem 11rem 5rem minmax(0,1.5fr) 5rem 4rem"
    form = (
        f'<form class="who-form" id="hands"><label class="field">{say("who", "")} <input name="by" autocomplete="name"'
        f' maxlength="100" aria-label="who" data-a="who"></label><label class="field">{say("why", "")} <input name="reason"'
        ' maxlength="500" aria-label="why" data-a="why"></label><span id="said" role="status"></span></form>'
    )
    sure = (
        f'<dialog id="sure" aria-label="{_ASK}" data-a="{_ASK}">{say(_ASK, "", "h2")}<p id="what"></p>{say(_SURE, "", "p")}'
        '<p class="buttons"><button type="button" value="yes" data-t="Say yes">Say yes</button>'
        '<button type="button" value="back" data-t="Not now">Not now</button></p></dialog>'
    )
    table = listed("plans", "Nothing to propose", heads, cols)
    counts = [fine("carried out", "carried"), fine("advised", "advised"), fine("refused", "refused"), more("plans")]
    return panel("plans", "Plans", counts, form, text("rests", "fine"), table, sure, size="w14 wrapping")


def table(
    plans: Sequence[PlanRow], kept: Kept, most: int, now: datetime, words: Words, resting: Message | None = None
) -> Table:
    """Rows of plans, the ones that wait for a person first; ``resting``: why some levers make none."""
    told: Mapping[str, LastWord] = kept.value or {}
    ordered = sorted(plans, key=lambda one: not _waits(one, told.get(one.key), now))
    return {
        "t.rests": words.sentence(resting) if resting is not None else "",
        "l.plans": [_row(one, told.get(one.key), now, words) for one in ordered[:most]],
        "m.plans": max(len(plans) - most, 0),
        "p.plans": source(words, [one.effect for one in plans]) if plans else {"x": "", "f": "none"},
    }


def _waits(one: PlanRow, told: LastWord | None, now: datetime) -> bool:
    """A person may say yes or no to it."""
    return one.mode is Mode.APPROVE and one.allowed and now < one.expires and (told is None or told.stage == Stage.WAITING)


def _row(one: PlanRow, told: LastWord | None, now: datetime, words: Words) -> Cell:
    waits = _waits(one, told, now)
    buttons: list[str | Cell] = ["", ""]
    if waits:
        buttons = [press(words("yes …"), "approve", one.key), press(words("no"), "reject", one.key)]
    state = _state(one, told, waits, words)
    cells = [_reason(one, words), *expected(one, words), words(one.mode.value), state, *buttons]
    return row("" if one.allowed else "refused", cells, one.key)


def _reason(one: PlanRow, words: Words) -> str:
    """What it wants; of work that moves also whose forecast that rests on."""
    said = words.sentence(one.reason)
    return said if one.gain is None else f"{said} · {words(_BASIS[one.gain.basis])}"


def expected(one: PlanRow, words: Words) -> list[str | Cell]:
    """What it should change, with the 80 % interval: power, or carbon or cost of the work that it moves."""
    if one.gain is None:
        low, high = str(words.reading(one.effect_low)), str(words.reading(one.effect_high))
        return [cell(words, one.effect), _span(low, high, words)]
    money = one.gain.signal == "price_per_mwh"
    of = words("of cost") if money else words("of carbon")
    made = plain(words, one.gain.change_frac, "frac")
    low, high = (str(words.quantity(value, "frac")) for value in (one.gain.low_frac, one.gain.high_frac))
    return [{**made, "u": f"% {of}"}, _span(low, high, words)]


def _span(low: str, high: str, words: Words) -> str:
    return words.sentence(Message("{low} to {high}", {"low": low, "high": high}))


def _state(one: PlanRow, told: LastWord | None, waits: bool, words: Words) -> str:
    if waits:
        return words("waits for a person")
    stage: Any = told.stage if told else ""
    said = _STAGES.get(stage, stage if stage in _SAID.values() else "")
    if said and told and (one.allowed or stage != Stage.REFUSED):
        return f"{words(said)} · {told.who}" if told.who else words(said)
    if not one.allowed:
        return words.joined(words.sentence(why) for why in one.refusals)
    return words("allowed")
