"""Job traces as columns: what was asked for, when, and (where recorded) when it ran and what it drew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from twin.frame import Floats, Ints
from twin.job import Jobs, JobState

MAX_JOBS = 5_000_000
_COLUMNS = ("submit_s", "start_s", "run_s", "limit_s", "nodes", "gpus", "gpu_util_frac", "cpu_util_frac", "node_w", "priority")


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Columns over n jobs, in order of submission.

    Times are seconds since 1970 UTC (or since the trace's own beginning, where it knows no date). ``start_s``: as recorded, NaN
    where not; ``run_s``: how long it ran; ``limit_s``: the longest it asked to run, NaN where not told. A job holds ``nodes``
    whole nodes, or where that is 0 ``gpus`` single GPUs. ``gpu_util_frac``, ``cpu_util_frac`` (0-1) or the mean power of each
    of its nodes ``node_w`` [W] say what it draws; NaN where not told. ``refused``: reason -> how many rows, with the first
    place, were left out.
    """

    ids: Sequence[str]
    submit_s: Floats
    start_s: Floats
    run_s: Floats
    limit_s: Floats
    nodes: Ints
    gpus: Ints
    gpu_util_frac: Floats
    cpu_util_frac: Floats
    node_w: Floats
    priority: Floats
    refused: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def window(self, start_s: float, end_s: float) -> "Trace":
        """Jobs that are submitted before ``end_s`` and, as far as it is recorded, do not end before ``start_s``."""
        over = np.where(np.isnan(self.start_s), self.submit_s, self.start_s) + self.run_s
        return self.taken(np.flatnonzero((self.submit_s < end_s) & (over > start_s)))

    def taken(self, rows: Any) -> "Trace":
        """The jobs at ``rows``."""
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return Trace(ids=[self.ids[i] for i in np.asarray(rows).tolist()], refused=self.refused, **columns)


def trace_of(
    ids: Sequence[str], submit_s: Floats, run_s: Floats, refused: Mapping[str, tuple[int, str]] | None = None, **columns: Any
) -> Trace:
    """A trace with what is not given left unknown, sorted by submission (a stable sort)."""
    n = len(ids)
    order = np.argsort(submit_s, kind="stable")
    made: dict[str, Any] = {"submit_s": submit_s, "run_s": run_s, **columns}
    for name in _COLUMNS:
        whole = name in ("nodes", "gpus")
        given = made.get(name, 0 if whole or name == "priority" else np.nan)
        made[name] = np.broadcast_to(np.asarray(given, dtype=np.int32 if whole else np.float64), n)[order]
    return Trace(ids=[ids[i] for i in order.tolist()], refused=dict(refused or {}), **made)


def trace_of_queue(jobs: Jobs, now_s: float) -> Trace:
    """A live queue as a trace: running jobs began when they did and end at their limit, waiting ones run their limit. Jobs that
    say no limit, and those that are over, are left out and counted.

    ``submit_s`` is when each may start: a running job when it began (it has its GPUs since then, whatever others do), a waiting
    one at ``now_s`` (until now there was no room for it), in order of submission.
    """
    limit = np.asarray(jobs.limit_s)
    open_ = np.asarray(jobs.state) <= 1
    known = open_ & (limit > 0) & (jobs.gpus > 0)
    runs = np.asarray(jobs.state) == JobState.RUNNING
    began = np.where(runs, np.fmin(np.nan_to_num(jobs.start_s, nan=now_s), now_s), np.nan)
    rows = np.flatnonzero(known)
    rows = rows[np.lexsort((jobs.submit_s[rows], ~runs[rows]))]
    unknown = int(np.count_nonzero(open_ & ~known))
    refused = (
        {"a job without a time limit or GPUs": (unknown, jobs.ids[int(np.flatnonzero(open_ & ~known)[0])])} if unknown else {}
    )
    return trace_of(
        [jobs.ids[i] for i in rows.tolist()],
        np.where(runs, began, now_s)[rows],
        limit[rows],
        refused,
        start_s=began[rows],
        limit_s=limit[rows],
        gpus=jobs.gpus[rows],
    )


def checked(trace: Trace, where: str = "row") -> Trace:
    """The trace without rows that cannot be; each reason is counted with the first job that it met.

    Impossible are: no length of time or a negative one, nothing asked for, a start before the submission (by over a second),
    power or utilisation below 0 or without sense (over 1; over 100 kW a node), and times that are no number.
    """
    late = trace.submit_s - trace.start_s > 1.0
    tests = {
        "its submission or run time is no number": ~np.isfinite(trace.submit_s) | ~np.isfinite(trace.run_s),
        "it runs for no time at all, or less": trace.run_s <= 0,
        "it asks for no node and no GPU, or for less": (trace.nodes + trace.gpus <= 0) | (trace.nodes < 0) | (trace.gpus < 0),
        "it starts before it was submitted": late,
        "its power is negative or over 100 kW a node": (trace.node_w < 0) | (trace.node_w > 1e5),
        "its utilisation is not between 0 and 1": _outside(trace.gpu_util_frac) | _outside(trace.cpu_util_frac),
    }
    good = np.ones(len(trace), dtype=np.bool_)
    refused = dict(trace.refused)
    for reason, bad in tests.items():
        hit = np.flatnonzero(bad & good)
        if len(hit):
            count, first = refused.get(reason, (0, f"{where} {trace.ids[int(hit[0])]}"))
            refused[reason] = (count + len(hit), first)
            good[hit] = False
    kept = trace.taken(np.flatnonzero(good))
    return Trace(**{name: getattr(kept, name) for name in ("ids", *_COLUMNS)}, refused=refused)


def _outside(share: Floats) -> Any:
    return (share < 0) | (share > 1)
