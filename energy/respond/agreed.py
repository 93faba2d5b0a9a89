"""What a person said yes to of what the grid asks: a yes counts for what was shown, and for nothing larger.

What is asked is known by a mark of its own, so that a no to one request is none to another. A yes is compared by what it is
about: the lowest limit at each time. So a request that ends, is taken back or asks for less needs no further yes, and of one
that asks for more, for longer or on other terms only that part is answered to which somebody agreed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from energy.respond.inbox import request_of
from twin.curtail import MAX_INTERVALS, Interval, Request
from twin.frame import Floats

SAME_W = 0.5  # limits that are no further apart are the same


@dataclass
class Agreed:
    """What people said of one answer. ``key``: of the answer, ``baseline_w``: what it is counted from; ``mark``: of what is
    asked now, which is shown as ``shown``; ``by``: what was said yes to, by lever and mark."""

    key: str
    baseline_w: float
    mark: str = ""
    shown: Request | None = None
    by: dict[str, dict[str, Request]] = field(default_factory=dict)

    @property
    def plans(self) -> str:
        """What plans for what is asked now are called by, behind their lever's name."""
        return f"{self.key}-{self.mark}"

    def show(self, named: Mapping[str, Request], now_s: float) -> bool:
        """From now on ``named`` is asked, and shown; whether that is something else than was shown before."""
        new = mark(named, self.baseline_w)
        if new == self.mark:
            return False
        self.mark, self.shown = new, lowest(list(named.values()), self.baseline_w, now_s)
        return True

    def yes(self, lever: str) -> dict[str, Any] | None:
        """Somebody said yes to what is shown: how that is written down, None where it was before."""
        said = self.by.setdefault(lever, {})
        if self.shown is None or self.mark in said:
            return None
        said[self.mark] = self.shown
        return {"key": self.key, "lever": lever, "mark": self.mark, "asked": asdict(self.shown)}

    def recall(self, record: Mapping[str, Any]) -> None:
        """Take what ``yes`` gave to be written down."""
        self.by.setdefault(record["lever"], {})[record["mark"]] = request_of(record["asked"])

    def within(self, lever: str, asked: Request, now_s: float) -> tuple[Request | None, bool]:
        """As below, of what somebody agreed to for ``lever``."""
        return within(asked, list(self.by.get(lever, {}).values()), self.baseline_w, now_s)


def mark(named: Mapping[str, Request], baseline_w: float) -> str:
    """Eight hex digits that stand for what is asked: by whom, when, and for how much where ``baseline_w`` would be drawn."""
    said = [
        f"{name} {part.begin_s:.0f} {part.end_s:.0f} {part.target_w(baseline_w):.0f} {one.best_effort}"
        for name, one in sorted(named.items())
        for part in one.intervals
    ]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:8]


def lowest(requests: Sequence[Request], baseline_w: float, after_s: float) -> Request:
    """Of ``requests`` what they ask from ``after_s`` on, as one of limits alone. What has more than ``MAX_INTERVALS`` parts
    counts as far as those go. ``ValueError`` where nothing is asked by then."""
    parts = [Interval(begin_s, end_s, limit_w=limit_w) for begin_s, end_s, (limit_w,) in _pieces([requests], baseline_w)
             if end_s > after_s and np.isfinite(limit_w)]  # fmt: skip
    first = requests[0]
    best_effort = all(one.best_effort for one in requests)
    return Request(first.key, first.received_s, tuple(parts[:MAX_INTERVALS]), best_effort)


def within(asked: Request, agreed: Sequence[Request], baseline_w: float, now_s: float) -> tuple[Request | None, bool]:
    """What of ``asked`` somebody agreed to by any of ``agreed`` (None: nothing), and whether that is all that is still to
    come of it."""
    if not agreed:
        return None, False
    best_effort = all(one.best_effort for one in agreed)
    parts, whole = list[Interval](), asked.best_effort or not best_effort
    for begin_s, end_s, (asked_w, agreed_w) in _pieces([[asked], agreed], baseline_w):
        if not np.isfinite(asked_w):
            continue
        whole &= end_s <= now_s or agreed_w <= asked_w + SAME_W
        if np.isfinite(agreed_w):
            parts.append(Interval(begin_s, end_s, limit_w=max(asked_w, agreed_w)))
    if whole:
        return asked, True
    if not parts or parts[-1].end_s <= now_s:
        return None, False
    return replace(asked, intervals=tuple(parts[:MAX_INTERVALS]), best_effort=asked.best_effort or best_effort), whole


def _pieces(tables: Sequence[Sequence[Request]], baseline_w: float) -> list[tuple[float, float, list[float]]]:
    """(begin [s], end [s], the lowest limit [W] of each table, infinity where it asks nothing), split wherever one changes."""
    parts = [(t, part) for t, table in enumerate(tables) for one in table for part in one.intervals]
    borders = sorted({edge for _, part in parts for edge in (part.begin_s, part.end_s)})
    limits: Floats = np.full((len(tables), max(len(borders) - 1, 0)), np.inf)
    at = {edge: i for i, edge in enumerate(borders)}
    for t, part in parts:
        cut = limits[t, at[part.begin_s] : at[part.end_s]]
        np.minimum(cut, part.target_w(baseline_w), out=cut)
    made: list[tuple[float, float, list[float]]] = []
    for (begin_s, end_s), each in zip(pairwise(borders), limits.T.tolist(), strict=True):
        if made and made[-1][2] == each:
            made[-1] = (made[-1][0], end_s, each)
        else:
            made.append((begin_s, end_s, each))
    return made
