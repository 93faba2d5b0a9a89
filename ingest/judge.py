"""Judges values before anyone believes them. It marks and never edits: a bad value is stored as bad, and the state keeps
showing the last believable one with its age.

*Bad* is what cannot be: outside the plausible range of its metric. *Suspect* is what is hard to believe: a clock that runs
ahead; another value for a time that had one; a jump that physics does not make; a reading that noise should move and does not;
a sum of parts that is more than its whole; heat that flow and temperatures do not carry. Limits: ``ingest.judge_limits``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from ingest.judge_limits import FIRST_STANDSTILL_S, HEAT, JUMPS, KWH, PARTS, STANDSTILLS, STUCK_S
from twin.frame import Bytes, Floats, Frame, Ints, Origin, Quality
from twin.metrics import METRICS, metric
from twin.site import Bools, Site
from twin.state import SET_BACK_S

SKEW_LIMIT = timedelta(seconds=5)  # what NTP keeps even on a bad day
TOGETHER_S = 30.0  # readings of one balance lie no further apart
MAX_LIMITS = 4096  # shapes of frames whose limits are kept; a sender makes any number of them, and they are soon made anew


@dataclass(frozen=True, slots=True, eq=False)
class _Limits:
    """Of the metrics of one shape of frame, a row each: ``columns`` of the memory, and limits as float64[m, 1] columns."""

    columns: Ints
    low: Floats
    high: Floats
    stuck_s: Floats
    jump: Floats
    jump_per_s: Floats
    rising: Bools  # only growth can be too large: counters start anew
    kwh: Floats  # one kWh of a counter that may count in coarse steps, else 0
    coarse: tuple[int, ...]  # rows of such counters


class _Memory:
    """The last readings of one kind: float64[metrics, assets] value, its time, and since when it has not changed."""

    def __init__(self, kind: str, n: int) -> None:
        self.position = {name: i for i, name in enumerate(METRICS[kind])}
        shape = len(self.position), n
        self.value, self.time_s = np.full(shape, np.nan), np.full(shape, -np.inf)
        self.since_s = np.full(shape, np.inf)
        self._stood_s: dict[int, Floats] = {}

    def stood_s(self, column: int) -> Floats:
        """float64[n], to be changed in place: how long a counter stood before it last grew; inf: since before it was first
        read; NaN: it has not grown since."""
        if column not in self._stood_s:
            self._stood_s[column] = np.full(self.value.shape[1], np.nan)
        return self._stood_s[column]

    def near(self, name: str, time_s: float) -> Floats:
        """float64[n]: the values of ``name`` around ``time_s``, NaN where there is none."""
        i = self.position[name]
        return np.where(np.abs(self.time_s[i] - time_s) <= TOGETHER_S, self.value[i], np.nan)


class Judge:
    """Judges the measured frames of one site, and remembers the last reading of each. ``repeated``: float64[n], how many
    values of each asset of the last frame had come before (None: none)."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._limits: dict[tuple[str, ...], _Limits] = {}
        self._memory: dict[str, _Memory] = {}
        self._sums: dict[tuple[str, str], tuple[float, Floats]] = {}
        self.repeated: Floats | None = None

    def judge(self, frame: Frame, now: datetime) -> Frame:
        """``frame`` with the quality of its values; ``KeyError`` for a metric that the table does not know."""
        self.repeated = None
        if not frame.values:
            return frame
        limits = self._limits_of(frame)
        table = np.array(list(frame.values.values()))
        marks = np.zeros(table.shape, dtype=np.uint8)
        if frame.origin is Origin.MEASURED and len(frame.rows):
            # as of now where its clock runs ahead: what it claims must not stand above what follows
            time_s = now.timestamp() if frame.time > now + SKEW_LIMIT else frame.time_s
            self._compare(frame, table, limits, marks, time_s, now)
            self._balance(frame, marks)
        return _marked(frame, now, table, limits, marks)

    def _limits_of(self, frame: Frame) -> _Limits:
        key = (frame.kind, *frame.values)
        found = self._limits.get(key)
        if found is None:
            if len(self._limits) >= MAX_LIMITS:
                self._limits.clear()
            found = self._limits[key] = _limits(frame.kind, key[1:])
        return found

    def _compare(self, frame: Frame, table: Floats, limits: _Limits, marks: Bytes, time_s: float, now: datetime) -> None:
        """Against what was read before ``time_s``; then remember it, but for what cannot be. What comes late is not compared;
        what was read beyond ``now``, before our clock was set back, counts as never read."""
        memory = self._memory.get(frame.kind)
        if memory is None:
            memory = self._memory[frame.kind] = _Memory(frame.kind, self._site.count(frame.kind))
        at = limits.columns[:, None], frame.rows
        was, was_s = memory.value[at], memory.time_s[at]
        beyond = was_s > now.timestamp() + SET_BACK_S
        if beyond.any():
            was, was_s = np.where(beyond, np.nan, was), np.where(beyond, -np.inf, was_s)
        gone_s = time_s - was_s
        same = table == was
        again = gone_s == 0
        repeats = same & again
        if repeats.any():
            self.repeated = repeats.sum(axis=0, dtype=np.float64)
        with np.errstate(invalid="ignore", over="ignore"):  # NaN is neither: it is not there; what overflows has jumped
            step = np.where(limits.rising, table - was, np.abs(table - was))
            other = again & ~same & ~np.isnan(table) & ~np.isnan(was)
            newer = (gone_s >= 0) & (table >= limits.low) & (table <= limits.high)
            grown_s, beside, stuck_s = gone_s, np.zeros(1), limits.stuck_s
            if limits.coarse:
                grown_s, beside, stuck_s = _standing(memory, frame, limits, step, newer & (gone_s > 0), gone_s, time_s)
            jumps = (step > limits.jump + limits.jump_per_s * grown_s + beside) & (gone_s > 0)
        since_s = np.where(same, memory.since_s[at], time_s)
        stuck = (time_s - since_s > stuck_s) & (table != 0)
        marks[jumps | other | stuck] = Quality.SUSPECT
        memory.value[at] = np.where(newer, table, was)
        memory.time_s[at] = np.where(newer, time_s, was_s)
        memory.since_s[at] = np.where(newer, since_s, memory.since_s[at])

    def _balance(self, frame: Frame, marks: Bytes) -> None:
        names = list(frame.values)
        if "heat_w" in frame.values and frame.kind in HEAT.kinds:
            marks[names.index("heat_w")][self._heat_is_off(frame)] = Quality.SUSPECT
        part = PARTS.get(frame.kind)
        if part is not None and "power_w" in frame.values and self._site.count(part.kind):
            parts_w = self._sum_w(part.kind, frame.kind, frame.time_s)[frame.rows]
            with np.errstate(invalid="ignore", over="ignore"):
                over = parts_w > frame.values["power_w"] * (1 + part.share_frac) + part.beside_w
            marks[names.index("power_w")][over] = Quality.SUSPECT

    def _heat_is_off(self, frame: Frame) -> Bools:
        """bool[n]: heat that is not what its flow and temperatures carry, whatever the coolant."""
        memory = self._memory[frame.kind]
        flow, supply, back = (
            memory.near(name, frame.time_s)[frame.rows] for name in ("flow_kgps", "supply_temp_c", "return_temp_c")
        )
        heat_w, delta_k = frame.values["heat_w"], back - supply
        slack_k = np.abs(delta_k) * HEAT.share_frac + HEAT.delta_k
        corners_w = [flow * cp * k for cp in (HEAT.cp_low, HEAT.cp_high) for k in (delta_k - slack_k, delta_k + slack_k)]
        low_w, high_w = np.minimum.reduce(corners_w), np.maximum.reduce(corners_w)  # heat may flow backwards
        with np.errstate(invalid="ignore"):
            return np.asarray((heat_w < low_w) | (heat_w > high_w))

    def _sum_w(self, kind: str, container: str, time_s: float) -> Floats:
        """float64[m]: power of all ``kind`` in each ``container``; made once a second. Unknown parts count as nothing."""
        had = self._sums.get((kind, container))
        if had is not None and abs(time_s - had[0]) < 1:
            return had[1]
        memory = self._memory.get(kind)
        n = self._site.count(kind)
        known = memory.near("power_w", time_s) if memory is not None else np.full(n, np.nan)
        total = self._site.sum_into(kind, container, known)
        self._sums[kind, container] = time_s, total
        return total


def _standing(
    memory: _Memory, frame: Frame, limits: _Limits, step: Floats, believed: Bools, gone_s: Floats, time_s: float
) -> tuple[Floats, Floats, Floats]:
    """Of counters that may count in coarse steps, and of all others as without them: in what time [s] this ``step`` came about,
    what may have come before that, and how long [s] none may come. Remembers how long a counter stood that now grew."""
    grown_s, beside = gone_s.copy(), np.zeros_like(gone_s)
    stuck_s = np.broadcast_to(limits.stuck_s, gone_s.shape).copy()
    for i in limits.coarse:
        column = int(limits.columns[i])
        stood_s, since_s = memory.stood_s(column), time_s - memory.since_s[column, frame.rows]
        was_s = stood_s[frame.rows]
        grown_s[i], beside[i] = since_s, np.where(np.isnan(was_s), limits.kwh[i], 0.0)
        whole_s = np.where(np.isfinite(was_s), STANDSTILLS * was_s, FIRST_STANDSTILL_S)
        stuck_s[i] = np.maximum(limits.stuck_s[i], whole_s)
        stood_s[frame.rows] = np.where(believed[i] & (step[i] > 0), np.where(np.isnan(was_s), np.inf, since_s), was_s)
    return grown_s, beside, stuck_s


def judge(frame: Frame, now: datetime) -> Frame:
    """``frame`` judged by itself alone: range and clock."""
    limits = _limits(frame.kind, tuple(frame.values))
    table = np.array(list(frame.values.values()))
    return _marked(frame, now, table, limits, np.zeros(table.shape, dtype=np.uint8))


def doubts(frame: Frame) -> Floats | None:
    """float64[n]: how many values of each asset of ``frame`` are not good; None where all are."""
    if not frame.quality:
        return None
    counted: Floats = np.sum([column > 0 for column in frame.quality.values()], axis=0, dtype=np.float64)
    return counted


def _marked(frame: Frame, now: datetime, table: Floats, limits: _Limits, marks: Bytes) -> Frame:
    """``frame`` with ``marks``, and those of range and clock, beside what its source said. A measured frame from the future
    (by more than ``SKEW_LIMIT``) is taken as of ``now`` and all of it is suspect."""
    with np.errstate(invalid="ignore"):  # NaN is neither: it is not there
        marks[(table < limits.low) | (table > limits.high)] = Quality.BAD
    time = frame.time
    if frame.origin is Origin.MEASURED and time > now + SKEW_LIMIT:
        time = now
        np.maximum(marks, np.uint8(Quality.SUSPECT), out=marks)
    if not marks.any():
        return frame
    quality: dict[str, Bytes] = dict(frame.quality)
    for name, column in zip(frame.values, marks, strict=True):
        if column.any():
            quality[name] = np.maximum(quality[name], column) if name in quality else column
    return replace(frame, time=time, quality=quality)


def _limits(kind: str, names: tuple[str, ...]) -> _Limits:
    rows = [metric(kind, name) for name in names]
    jumps = [JUMPS.get((kind, row.name), (np.inf, 0.0)) for row in rows]

    def column(values: list[float]) -> Floats:
        return np.array(values, dtype=np.float64)[:, None]

    position: Mapping[str, int] = {name: i for i, name in enumerate(METRICS[kind])}
    return _Limits(
        np.array([position[name] for name in names], dtype=np.int32),
        column([row.low for row in rows]),
        column([row.high for row in rows]),
        column([STUCK_S.get((kind, row.name), np.inf) for row in rows]),
        column([jump for jump, _ in jumps]),
        column([per_s for _, per_s in jumps]),
        np.array([row.counter for row in rows], dtype=np.bool_)[:, None],
        column([KWH.get((kind, row.name), 0.0) for row in rows]),
        tuple(i for i, row in enumerate(rows) if (kind, row.name) in KWH),
    )
