"""The checker of the chaos bench: samples against what the store has, orders against what Slurm saw, memory over time. All but
the scale are functions of what was written down, so that ``tests/test_chaos.py`` can plant what they must find."""

import json
import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import psutil

from ui.benches.beside import Beside
from ui.benches.chaos_people import GRACE_S, JOB_RUNS_S, TAKEN_OUT, Acknowledged, Submitted
from ui.benches.chaos_world import GPUS, NODES, Server

NEAR_MS = 5000  # how far beside its skewed time a sample may be kept: the clock is set wrong within a second or so
LONGEST_WAIT_S = 86_400.0 + 60.0  # of the guard, after a job's submission
WEIGH_S, HAC_S = 2.0, 60.0
LEAST_WEIGHED = 60
NAMED = 20  # of samples that are not as they should be, with what the store has in their place

Key = tuple[int, int]  # time [ms], GPU


class Kept:
    """What the store has of GPU temperatures, every write of it."""

    def __init__(self, lines: Iterator[str]) -> None:
        """``lines``: of VictoriaMetrics' export, JSON each."""
        self.values: dict[Key, float] = {}
        self.again = self.changed = 0  # written again as it was, and as another
        for asset, times, column in _series(lines):
            for time_ms, value in zip(times, column, strict=True):
                before = self.values.setdefault((time_ms, asset), value)
                if before is not value:
                    self.again, self.changed = self.again + (before == value), self.changed + (before != value)
        by_asset: dict[int, list[int]] = defaultdict(list)
        for time_ms, asset in self.values:
            by_asset[asset].append(time_ms)
        self._times = {asset: np.sort(np.array(times)) for asset, times in by_asset.items()}

    def near(self, time_ms: float, asset: int, value: float) -> int:
        """How many samples with this value lie about here."""
        times = self._times.get(asset, np.empty(0, dtype=np.int64))
        low, high = np.searchsorted(times, [time_ms - NEAR_MS, time_ms + NEAR_MS])
        return sum(self.values[int(at), asset] == value for at in times[low:high])


def _series(lines: Iterator[str]) -> Iterator[tuple[int, list[int], list[float]]]:
    """(GPU, times [ms], values) of each series of temperatures as it was sent: whether a value was doubted is a series of its
    own."""
    at = {f"n{i // GPUS}g{i % GPUS}": i for i in range(NODES * GPUS)}
    for line in lines:
        one = json.loads(line)
        if one["metric"].get("origin") == "measured":  # and not what physics expects of the same moment
            asset = at.get(one["metric"].get("asset", ""), -1)
            if asset >= 0:
                yield asset, one["timestamps"], one["values"]


def samples(acknowledged: Mapping[int, Acknowledged], kept: Kept) -> dict[str, int | str]:
    """Every acknowledged sample must be there once and as it was sent: at its own time, or, where the centre's clock was behind
    it, as of when it came. What is lost or another is named."""
    lost = wrong = moved = double = 0
    named: list[str] = []
    for time_ms, batch in acknowledged.items():
        behind = [skew_s for skew_s in batch.skews_s if skew_s < 0]
        for asset, value in enumerate(batch.values):
            found = kept.values.get((time_ms, asset))
            shifted = sum(kept.near(time_ms + 1000 * skew_s, asset, value) for skew_s in behind)
            here = found == value
            lost += found is None and not shifted
            wrong += found is not None and not here and not shifted  # what came late may have another at its own time
            moved += not here and shifted > 0
            double += here and shifted > 0
            if not here and not shifted:
                named.append(f"{value} of {asset} at {time_ms} ms, clock off by {sorted(batch.skews_s)} s: {found}")
    more = [f"and {len(named) - NAMED} more"] if len(named) > NAMED else []
    return {
        "acknowledged_samples_count": len(acknowledged) * NODES * GPUS,
        "lost_samples_count": lost,
        "wrong_samples_count": wrong + kept.changed,
        "doubled_samples_count": double + kept.again,
        "as_of_arrival_samples_count": moved,
        "lost_or_wrong_samples": "; ".join(named[:NAMED] + more),
    }


class Change(NamedTuple):
    """A line of slurmctld's log: when (s since 1970) it set what of which job to which value."""

    at_s: float
    what: str
    value: str
    job: str


def orders(jobs: Sequence[Submitted], audit: Sequence[Mapping[str, Any]], log: str) -> dict[str, int | str]:
    """What Slurm's own log says was changed, against what owners agreed to and what the audit says was ordered; what is not as
    it should be is named."""
    seen, starts_s = list(_changes(log)), _starts_s(log)
    begins: dict[tuple[str, int], list[Change]] = defaultdict(list)  # of one job: a number may be that of several
    for one in seen:
        if one.what == "begin":
            begins[one.job, id(_whose(jobs, one))].append(one)
    alike = [(a, b) for changes in begins.values() for a, b in pairwise(changes) if a.value == b.value]
    doubled = [b for a, b in alike if not any(a.at_s <= at_s <= b.at_s for at_s in starts_s)]
    times = Counter(one.job for one in seen if one.what == "begin")
    ordered: Counter[str] = Counter()
    for record in audit:
        if record.get("stage") in ("begun", "reverting") and "targets" in record:
            ordered.update(record["targets"])
    touched = [one for one in seen if _kind(_whose(jobs, one)) == "plain"]
    outside = [one for one in seen if one.what == "begin" and _outside(_whose(jobs, one), _time_s(one.value))]
    return {
        "jobs_submitted_count": sum(bool(job.id) for job in jobs),
        "orders_seen_count": times.total(),
        "touched_without_consent_count": len(touched),
        "orders_unexplained_count": sum(max(0, count - ordered[job]) for job, count in times.items()),
        "orders_doubled_count": len(doubled),
        "orders_written_again_count": len(alike) - len(doubled),  # to a controller that was killed, and forgot the first
        "orders_out_of_bounds_count": len(outside),
        "orders_that_should_not_be": "; ".join(
            [_said(jobs, one) for one in [*touched, *outside]] + [life_of(one.job, jobs, audit, log) for one in doubled]
        ),
    }


def _changes(log: str) -> Iterator[Change]:
    """All but what owners did themselves."""
    for at, what, value, job in re.findall(
        r"^\[([^]]+)\] .*_update_job: setting (\w+) to (\S+).* for JobId=(\d+)", log, re.MULTILINE
    ):
        if value != TAKEN_OUT:
            yield Change(_time_s(at), what, value, job)


def _starts_s(log: str) -> list[float]:
    """When slurmctld began anew."""
    return [_time_s(at) for at in re.findall(r"^\[([^]]+)\] slurmctld version \S+ started", log, re.MULTILINE)]


def _time_s(local: str) -> float:
    """A time of Slurm's log: local, ISO 8601."""
    return datetime.fromisoformat(local).astimezone().timestamp()


def _whose(jobs: Sequence[Submitted], one: Change) -> Submitted | None:
    """The job that had this number then: slurmctld that was killed gives numbers of jobs that it lost again. None where nobody
    of ours had it."""
    return next((job for job in reversed(jobs) if job.id == one.job and job.submit_s <= one.at_s), None)


def _kind(job: Submitted | None) -> str:
    return "" if job is None else job.kind


def _outside(job: Submitted | None, begin_s: float) -> bool:
    """Whether a begin time is beyond what the owner of ``job``, or the guard, allows; an unknown job may have none."""
    return job is None or begin_s + JOB_RUNS_S > job.due_s or begin_s > job.submit_s + LONGEST_WAIT_S


def _said(jobs: Sequence[Submitted], one: Change) -> str:
    job = _whose(jobs, one)
    whose = "that nobody submitted" if job is None else f"({job.kind}, of {_clock(job.submit_s)}, due {_clock(job.due_s)})"
    return f"{one.what} of job {one.job} {whose} set to {one.value} at {_clock(one.at_s)}"


def _clock(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%S}Z" if math.isfinite(at_s) else "never"


def held(jobs: Sequence[Submitted], queue: Sequence[Mapping[str, Any]], now_s: float) -> list[str]:
    """Waiting jobs that still have a begin time of ours ahead, or words of ours, after everything was let go. One that was let
    go may wait for room: it can start since then, which is later than its owner's own time, too."""
    own = {job.id: job.submit_s + GRACE_S for job in jobs}
    found = []
    for one in queue:
        job = str(one["job_id"])
        if one["job_state"] == "PENDING" and job in own:
            late = float(one.get("eligible_time") or 0) > max(own[job] + 60, now_s)
            if late or "[icctwin:" in str(one.get("comment")):
                found.append(job)
    return found


def life_of(number: str, jobs: Sequence[Submitted], audit: Sequence[Mapping[str, Any]], log: str) -> str:
    """What became of one job, in a sentence: what Slurm saw and what the audit says."""
    seen = [f"{one.what} {one.value} at {_clock(one.at_s)}" for one in _changes(log) if one.job == number]
    told = [
        f"{record['stage']} {dict(zip(record['targets'], record.get('values', ()), strict=False)).get(number)}"
        + (f" at {_clock(record['noted_s'])}" if "noted_s" in record else "")
        for record in audit
        if number in record.get("targets", ())
    ]
    own = next((f"{job.kind} of {_clock(job.submit_s)}" for job in reversed(jobs) if job.id == number), "unknown")
    return f"job {number} ({own}): Slurm saw {', '.join(seen) or 'nothing'}; the audit says {', '.join(told) or 'nothing'}"


class Scale(Beside):
    """Weighs the processes every ``WEIGH_S``: name -> (time on the monotonic clock, pid, resident bytes)."""

    def __init__(self, servers: Mapping[str, Server]) -> None:
        super().__init__(WEIGH_S)
        self._servers = servers
        self.rows: dict[str, list[tuple[float, int, int]]] = {name: [] for name in servers}

    def step(self) -> None:
        """Weigh all of them."""
        for name, server in self._servers.items():
            try:
                process = server.process
                if process is not None:
                    self.rows[name].append((time.monotonic(), process.pid, process.memory_info().rss))
            except psutil.Error:
                continue  # it was killed between the two


def memory(rows: Mapping[str, Sequence[tuple[float, int, int]]], from_s: float) -> dict[str, float]:
    """The most that each process took, and how much it grew by in an hour: slope and 95 % interval [MB/h] of a line through
    what the process that lived last was weighed at since ``from_s`` (errors correlated over ``HAC_S``)."""
    figures: dict[str, float] = {}
    for name, found in rows.items():
        figures[f"rss_{name}_bytes"] = max((rss for _, _, rss in found), default=0)
        last = found[-1][1] if found else 0
        calm = np.array([(at, rss) for at, pid, rss in found if pid == last and at >= from_s])
        if len(calm) < LEAST_WEIGHED:
            continue
        slope, low, high = slope_with_interval((calm[:, 0] - calm[0, 0]) / 3600, calm[:, 1] / 1e6)
        figures |= {
            f"rss_{name}_slope_mb_per_h": slope,
            f"rss_{name}_slope_low_mb_per_h": low,
            f"rss_{name}_slope_high_mb_per_h": high,
            f"rss_{name}_weighed_s": float(np.ptp(calm[:, 0])),
        }
    return figures


def slope_with_interval(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Slope of a straight line and its 95 % interval with Newey-West errors (Newey and West 1987), lags of ``HAC_S``."""
    import statsmodels.api as sm

    lags = min(round(HAC_S / WEIGH_S), len(x) // 4)
    fit = sm.OLS(y, sm.add_constant(x)).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    low, high = fit.conf_int()[1]
    return float(fit.params[1]), float(low), float(high)
