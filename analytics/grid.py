"""From times and values as they come to a regular series: one place a step, NaN in gaps, and what had to be done to it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin.frame import Floats
from twin.message import Message

HELD_STEPS = 2  # a gap's first steps repeat the last value, the rest the day before
MAX_STEPS = 10_000_000
OFF_GRID_FRAC = 0.25  # of a step, by which a time may lie beside its step and still belongs to it
MAX_OFF_GRID_FRAC = 0.05  # of the times may lie further off; they are left out
DAY_S = 86400.0


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """``values``: float64[n] from the first to the last value, NaN in gaps; ``first_s``: start of the first step, s since 1970
    UTC; ``notes``: what was done to make it so, in sentences."""

    values: Floats
    first_s: float
    step_s: float
    notes: Sequence[Message]

    @property
    def day(self) -> int:
        """Steps that make 24 h; 1 where a step is a day or more."""
        return max(1, round(DAY_S / self.step_s))

    @property
    def end_s(self) -> float:
        """End of the last step."""
        return self.first_s + self.step_s * len(self.values)


def regular(time_s: Floats, values: Floats, step_s: float) -> Grid | Message:
    """The series on steps of ``step_s``; or one sentence that says why there is none. Times out of order are put in order, of
    values for one step the later in the file counts, what is not finite is a gap: each is noted."""
    if time_s.shape != values.shape or time_s.ndim != 1:
        raise ValueError(f"{time_s.shape} times for {values.shape} values; pass two columns of one length")
    if not 1 <= step_s <= 31 * DAY_S or (DAY_S % step_s and step_s % DAY_S):
        text = "a step of {step_s:g} s does not divide a day; resample the series, to 300 or 3600 s say"
        return Message(text, {"step_s": step_s})
    notes: list[Message] = []
    if infinite := int(np.isinf(values).sum()):
        notes.append(Message("{count} infinite values count as missing", {"count": infinite}))
    known = np.isfinite(values) & np.isfinite(time_s)
    if not known.any():
        return Message("the series has no value", {})
    at_s, kept = time_s[known], values[known]
    if (np.diff(at_s) < 0).any():
        order = np.argsort(at_s, kind="stable")
        at_s, kept = at_s[order], kept[order]
        notes.append(Message("the times were not in order and were sorted", {}))
    turn = np.exp(2j * np.pi * at_s / step_s).mean()  # where in their step the times lie, in the mean round the clock
    place = at_s / step_s - np.angle(turn) / (2 * np.pi)
    on = np.abs(place - place.round()) <= OFF_GRID_FRAC
    if (off := float(np.mean(~on))) > MAX_OFF_GRID_FRAC:
        text = "the times of the series are not steps of {step_s:g} s: {off:.0%} lie beside them; resample the series"
        return Message(text, {"step_s": step_s, "off": off})
    if off:
        text = "{count} times lie beside the steps of {step_s:g} s and were left out"
        notes.append(Message(text, {"count": int((~on).sum()), "step_s": step_s}))
    at, kept = place[on].round().astype(np.int64), kept[on]
    at -= at[0]
    if at[-1] >= MAX_STEPS:
        return Message("the series has more than {most} steps", {"most": MAX_STEPS})
    if repeated := int((np.diff(at) == 0).sum()):
        notes.append(Message("{count} steps have more than one value; the last counts", {"count": repeated}))
    grid = np.full(int(at[-1]) + 1, np.nan)
    grid[at] = kept  # of several for one place the last stays
    first_s = float(np.median(at_s[on] - step_s * at))  # where most of them say that it begins: the first may have been late
    return Grid(grid, first_s, step_s, notes)


def causally_filled(series: Floats, day: int) -> Floats:
    """float64[n] without NaN: a gap's first steps repeat the last value, the rest what was a day before. Made from the past
    alone, so that a forecast from inside a gap sees what it would have seen. ``series`` starts with a value."""
    filled = series.copy()
    missing = np.isnan(series)
    run = 0
    for i in np.flatnonzero(missing):
        run = run + 1 if i and missing[i - 1] else 1
        filled[i] = filled[i - 1] if run <= HELD_STEPS or i < day else filled[i - day]
    return filled
