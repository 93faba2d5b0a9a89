"""How good a detector is: events found and missed, false alarms by time, delay, and a score free of any threshold.

Rules kept here: no point adjustment (a random score gets 0.9 and more by it; ``point_adjusted_f1`` exists to show that and for
nothing else); an alarm that began before its event did not find it; what was calibrated on is not judged; random and "alarm
always" are judged beside every detector.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.frame import Floats
from twin.site import Bools

BUFFER_ROWS = 50  # of VUS-PR: a random score then gets 0.57 on the pump loop, as in the table of baselines that we compare with
_BUFFER_STEP = 5
_THRESHOLDS = 250

Run = tuple[Floats, Floats, Bools]  # s since 1970 float64[n], values float64[n, m], truth bool[n]


@dataclass(frozen=True, slots=True)
class Events:
    """What alarms found. ``found`` of ``events`` labelled ones, ``false`` alarms in ``quiet_s`` seconds without an event;
    ``delay_s``: float64[found], from the start of an event to its first alarm."""

    events: int
    found: int
    false: int
    quiet_s: float
    delay_s: Floats

    @property
    def recall(self) -> float:
        """Share of events found; NaN where there is none."""
        return self.found / self.events if self.events else float("nan")

    @property
    def precision(self) -> float:
        """Events found over those and the false alarms: a second alarm in one event counts for nothing. 0 without alarms."""
        return self.found / (self.found + self.false) if self.found + self.false else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        return 2 * self.found / (self.events + self.found + self.false) if self.events + self.false else float("nan")

    def false_per(self, seconds: float) -> float:
        """False alarms in so many quiet seconds."""
        return self.false / self.quiet_s * seconds if self.quiet_s else float("nan")


def summed(parts: Sequence[Events]) -> Events:
    """Several series as one."""
    delay_s = np.concatenate([part.delay_s for part in parts]) if parts else np.empty(0)
    return Events(
        sum(p.events for p in parts),
        sum(p.found for p in parts),
        sum(p.false for p in parts),
        sum(p.quiet_s for p in parts),
        delay_s,
    )


def spans(flags: Bools) -> list[tuple[int, int]]:
    """Runs of true: (first, one after the last)."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))


def judge_events(time_s: Floats, alarm: Bools, truth: Bools, merge_s: float, early_s: float = 0.0) -> Events:
    """Alarms against labels, row by row the same times. Alarms up to ``merge_s`` apart are one; an alarm that begins over
    ``early_s`` before its event is a false one and finds nothing."""
    events = spans(truth)
    alarms: list[list[int]] = []
    for start, end in spans(alarm):
        if alarms and time_s[start] - time_s[alarms[-1][1] - 1] <= merge_s:
            alarms[-1][1] = end
        else:
            alarms.append([start, end])
    first: dict[int, float] = {}
    false = 0
    for start, _ in alarms:
        hit = [i for i, (a, b) in enumerate(events) if time_s[a] - early_s <= time_s[start] <= time_s[b - 1]]
        false += not hit
        for i in hit:
            first.setdefault(i, max(0.0, float(time_s[start] - time_s[events[i][0]])))
    step_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    return Events(len(events), len(first), false, float(np.count_nonzero(~truth)) * step_s, np.array(list(first.values())))


def vus_pr(truth: Bools, score: Floats, buffer: int = BUFFER_ROWS) -> float:
    """Volume under the surface of precision, recall and buffer around events (Paparrizos et al., VLDB 2022): free of any
    threshold, and forgiving by degrees at the edges of an event. NaN where there is no event."""
    if not truth.any():
        return float("nan")
    n = len(truth)
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    last = np.searchsorted(-falling, -falling[np.linspace(0, n - 1, _THRESHOLDS).astype(int)], side="right") - 1
    area = [_area(_buffered(truth, width), truth, score, order, last) for width in range(0, buffer + 1, _BUFFER_STEP)]
    return float(np.mean(area))


def _buffered(truth: Bools, width: int) -> Floats:
    """Labels that fall off over half of ``width`` rows to both sides of an event."""
    label = truth.astype(np.float64)
    n = len(label)
    for start, end in spans(truth) if width else ():
        after = np.arange(end - 1, min(end - 1 + width // 2, n))
        label[after] += np.sqrt(1 - (after - (end - 1)) / width)
        before = np.arange(max(start - width // 2, 0), start)
        label[before] += np.sqrt(1 - (start - before) / width)
    return np.minimum(label, 1.0)


def _area(label: Floats, truth: Bools, score: Floats, order: NDArray[np.intp], last: NDArray[np.intp]) -> float:
    hits = np.cumsum(label[order])[last]
    peaks = np.array([score[start:end].max() for start, end in spans(label > 0)])
    existing = (peaks[None, :] >= score[order][last][:, None]).mean(axis=1)
    recall = np.minimum(hits / ((np.count_nonzero(truth) + label.sum()) / 2), 1.0) * existing
    precision = np.concatenate([[1.0], hits / (last + 1)])
    steps = np.diff(np.concatenate([[0.0], recall]))
    return float(np.dot(steps, (precision[1:] + precision[:-1]) / 2))


def point_adjusted_f1(truth: Bools, score: Floats) -> float:
    """The best F1 over thresholds when one alarm anywhere in an event marks all of it as found. Never a figure of ours."""
    best = 0.0
    events = spans(truth)
    for threshold in np.quantile(score, np.linspace(0.5, 0.9999, 200)):
        said = score >= threshold
        hit = sum(end - start for start, end in events if said[start:end].any())
        false = int(np.count_nonzero(said & ~truth))
        missed = int(np.count_nonzero(truth)) - hit
        best = max(best, 2 * hit / (2 * hit + false + missed) if hit else 0.0)
    return best


def held(above: Bools, below: Bools, hold: int, calm: int) -> Bools:
    """Alarm, row by row: on after ``hold`` rows in a run ``above``, off after ``calm`` rows in a run ``below``."""
    out = np.zeros(len(above), dtype=np.bool_)
    on, run = False, 0
    for i, (up, down) in enumerate(zip(above.tolist(), below.tolist(), strict=True)):
        run = run + 1 if (down if on else up) else 0
        if run >= (calm if on else hold):
            on, run = not on, 0
        out[i] = on
    return out
