"""Figures of use and reliability beside the same of the span before and of a year ago, where as much was read then; sums of
spans that are not equally long by the hour."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from twin.message import Message
from ui.report.did import Did
from ui.report.document import NOTHING, Figure
from ui.report.gather import Inputs

SAME_READ_FRAC = 0.02  # of the time: sums and counts over less of it are no less than what was read
SUMS = frozenset((
    "gpu_h", "held_h", "runs_count", "interruptions_count", "alerts_count", "incidents_count", "failures_count",
    "foretold_count", "missed_count", "false_count",
))  # fmt: skip
UNEVEN = "The span before was of another length: changes of sums and counts against it are by the hour."
UNREAD = "The span before was not read as much: sums and counts have nothing beside them."


def beside(inputs: Inputs, of: Callable[[Did], Sequence[Figure]]) -> list[Figure]:
    """``of`` the span, each figure with the same of the span before and of a year ago; NaN where that is not known."""
    was, year = (_values(inputs, did, of) for did in (inputs.did_before, inputs.did_year_ago))
    return [
        replace(one, was=was.get(one.key, NOTHING), year=year.get(one.key, NOTHING),
                length_ratio=inputs.length_ratio if one.key in SUMS else 1.0)
        for one in of(inputs)
    ]  # fmt: skip


def _values(inputs: Inputs, did: Did | None, of: Callable[[Did], Sequence[Figure]]) -> dict[str, float]:
    if did is None:
        return {}
    same = _as_much(inputs, did)
    return {one.key: one.value for one in of(did) if same or one.key not in SUMS}


def _as_much(inputs: Inputs, did: Did) -> bool:
    return abs(did.read_frac - inputs.read_frac) <= SAME_READ_FRAC


def unread(inputs: Inputs) -> Iterator[Message]:
    """That sums have nothing beside them, where it is so."""
    if inputs.did_before is None or not _as_much(inputs, inputs.did_before):
        yield Message(UNREAD)


def uneven(inputs: Inputs) -> Iterator[Message]:
    """That sums are compared by the hour, where the spans are not equally long."""
    if inputs.length_ratio != 1 and (inputs.before is not None or inputs.did_before is not None):
        yield Message(UNEVEN)
