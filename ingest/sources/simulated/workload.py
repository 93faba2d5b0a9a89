"""The simulated cluster's jobs: arrivals with the rhythm of day and week, a queue (first come first served with EASY
backfill), gang placement on whole nodes, and what each job does to its GPUs from second to second.

Everything happens at scheduler cycles, at absolute multiples of ``CYCLE_S``, so that it does not matter how often anyone looks.
Shapes follow what is published of AI clusters (Hu et al., Helios, SC 2021; Jiang et al., Acme, NSDI 2024): many small jobs, a
heavy tail that holds most GPU-hours, log-normal durations, submission by day, services that follow their users.
"""

import heapq
import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from ingest.sources.simulated.fleet import Fleet, Index
from twin.frame import Floats
from twin.job import Jobs, JobState

CYCLE_S = 60.0
MAX_WAITING = 2_000  # jobs in the queue; a submission beyond it is refused and counted
ENDED_KEPT = 200  # ended jobs that stay in the table
BACKFILL_DEPTH = 60  # jobs behind the first blocked one that are tried in a cycle
MAX_JOB_GPUS = 1024
BATCH_SHARE = 0.72  # mean demand of all but services, over the GPUs of the centre
SERVICE_SHARE = (0.10, 0.22)  # GPUs of services at night and at the daily peak, over the GPUs of the centre
SERVICE_EVERY = 10  # cycles between two looks of the services' autoscaler
NUMBERED_S = 1_577_836_800.0  # since 1970 (2020-01-01): jobs of a cluster that goes on are counted from the seconds after it
LOADING_S = 75.0  # a job reads its data and model before it computes

PARTITIONS = ("train", "batch", "dev", "infer")
_TRAIN, _BATCH, _DEV, _INFER = range(4)
_NAMES = (
    ("llm-pretrain", "llm-sft", "rlhf", "diffusion", "vision-pretrain"),
    ("eval", "embed", "datagen", "distill"),
    ("notebook", "debug", "profile"),
    ("serve-chat", "serve-code", "serve-embed"),
)
# One column a job. util … net: what a GPU of the job does while it computes, 0-1; period, depth: its communication rhythm
# [s, 0-1]; ckpt_every, ckpt_for: its checkpoints [s]; phase: 0-1.
_DRAWN = (
    "gpus", "duration_s", "limit_s", "partition", "name", "user",
    "util", "sm", "tensor", "dram", "mem", "cpu", "net", "period_s", "depth", "ckpt_every_s", "ckpt_for_s", "phase",
)  # fmt: skip
_BLOCK = 256
Columns = dict[str, Floats]


def day_curve(local_h: float) -> float:
    """0-1 over the hours of a day: low at 4, high from 10 to 18."""
    return 0.5 - 0.5 * math.cos(2 * math.pi * (local_h - 3.5) / 24) + 0.06 * math.sin(4 * math.pi * (local_h - 9) / 24)


def submission_rate(time_s: float, offset_s: float) -> float:
    """Submissions over their mean at ``time_s`` (s since 1970) where local time is ``offset_s`` ahead of UTC; mean about 1."""
    days = (time_s + offset_s) / 86400.0
    weekend = (int(days) + 3) % 7 >= 5  # 1970-01-01 was a Thursday
    return (0.55 if weekend else 1.18) * (0.35 + 1.3 * day_curve(days % 1.0 * 24))


class Workload:
    """The queue and what runs, for the GPUs of one site. ``now_s`` is the time of the last cycle (s since 1970)."""

    def __init__(self, fleet: Fleet, rng: np.random.Generator) -> None:
        self._rng = rng
        self._fleet = fleet
        self.gpus = fleet.count("gpu")
        self.gang = int(fleet.node_width.max())  # GPUs of a whole node
        self.capacity = MAX_WAITING + ENDED_KEPT + self.gpus // 2 + 64
        self._table = np.zeros((len(_DRAWN), self.capacity + 1))
        self.of: Columns = {name: self._table[i] for i, name in enumerate(_DRAWN)}
        self.number = np.zeros(self.capacity, dtype=np.int64)
        self.state = np.zeros(self.capacity, dtype=np.uint8)
        self.submit_s, self.start_s, self.end_s = (np.full(self.capacity, np.nan) for _ in range(3))
        self._open = list(range(self.capacity - 1, -1, -1))
        self.waiting: list[int] = []
        self.running: list[int] = []  # in the order of starts
        self._ended: deque[int] = deque()
        self._ends: list[tuple[float, int, int]] = []  # end, slot, number
        self.gpu_slot = np.full(self.gpus, -1, dtype=np.intp)  # -1 also finds the idle profile behind the last slot
        self.free = fleet.node_width.astype(np.int16)
        self._drains = np.zeros(fleet.count("node"), dtype=np.int16)  # reasons to keep jobs off a node
        self._place = 0  # node from which the next gang is placed
        self.refused = 0
        self.started = 0
        self._next_number = 1
        self._told_s = -math.inf  # what ran before is told as if it had begun then
        self._cycle_s = math.nan
        self._changed = True
        self.offset_s = 0.0
        self._sizes, self._odds = _sizes(self.gpus)
        self._block = self._draw()
        self._used = 0
        self._per_s = BATCH_SHARE * self.gpus / float((self._expect()).mean())

    @property
    def now_s(self) -> float:
        """Time of the last scheduler cycle (s since 1970)."""
        return self._cycle_s - CYCLE_S

    def begin(self, time_s: float, warm_s: float = 129600.0) -> None:
        """Start as a cluster that has been at work for ``warm_s``."""
        self._cycle_s = math.ceil((time_s - warm_s) / CYCLE_S) * CYCLE_S
        self.advance(time_s)

    def go_on(self, time_s: float) -> None:
        """Before ``begin``: another told of the cluster up to ``time_s``, and held its GPUs. Jobs get numbers of their own."""
        self._told_s, self._next_number = time_s, max(1, int(time_s - NUMBERED_S))

    def advance(self, time_s: float) -> None:
        """Run every scheduler cycle up to ``time_s``."""
        while self._cycle_s <= time_s:
            self._cycle(self._cycle_s)
            self._cycle_s += CYCLE_S

    # --- a cycle of the scheduler

    def _cycle(self, t: float) -> None:
        while self._ends and self._ends[0][0] <= t:
            _, slot, number = heapq.heappop(self._ends)
            if self.number[slot] == number and self.state[slot] == JobState.RUNNING:
                self._finish(slot, t, JobState.COMPLETED)
        backlog = float(self.of["gpus"][self.waiting].sum()) / self.gpus if self.waiting else 0.0
        expected = self._per_s * CYCLE_S * submission_rate(t, self.offset_s) / (1.0 + 2.0 * backlog)  # a long queue deters
        for _ in range(self._rng.poisson(expected)):
            self._submit(self._next_draw(), t)
        if int(t / CYCLE_S) % SERVICE_EVERY == 0:
            self._scale_services(t)
        if self._changed and self.waiting:
            self._schedule(t)
        self._changed = False

    def _submit(self, column: Floats, t: float, first: bool = False) -> None:
        if len(self.waiting) >= MAX_WAITING or not self._open:
            self.refused += 1
            return
        slot = self._open.pop()
        self._table[:, slot] = column
        self.number[slot], self.state[slot] = self._next_number, JobState.PENDING
        self.submit_s[slot], self.start_s[slot], self.end_s[slot] = t, np.nan, np.nan
        self._next_number += 1
        if first:
            self.waiting.insert(0, slot)
        else:
            self.waiting.append(slot)
        self._changed = True

    def serves(self) -> NDArray[np.bool_]:
        """bool[g]: GPUs of running services."""
        mine: NDArray[np.bool_] = self.of["partition"][np.maximum(self.gpu_slot, 0)] == _INFER
        return mine & (self.gpu_slot >= 0)

    def _scale_services(self, t: float) -> None:
        """Services start and end replicas to follow their users."""
        low, high = SERVICE_SHARE
        local_h = (t + self.offset_s) / 3600.0 % 24
        size = min(self.gang, max(1, self.gpus // 32))
        wanted = round(self.gpus * (low + (high - low) * day_curve(local_h)) / size)
        slots = np.array([*self.waiting, *self.running], dtype=np.intp)
        mine = slots[self.of["partition"][slots] == _INFER].tolist()
        for _ in range(min(wanted - len(mine), 64)):
            column = self._next_draw().copy()
            column[:6] = size, 30 * 86400.0, 60 * 86400.0, _INFER, column[4], column[5]
            column[6:] = 0.75, 0.42, 0.16, 0.62, 0.88, 0.2, 0.15, 6.0, 0.1, 86400.0, 1.0, column[17]
            self._submit(column, t, first=True)
        for slot in mine[: wanted - len(mine) - 1 : -1] if len(mine) > wanted else ():
            self.end(slot, t, JobState.COMPLETED)

    def _schedule(self, t: float) -> None:
        """First come first served; behind the first job that does not fit, whatever does not delay it (EASY backfill)."""
        keep: list[int] = []
        shadow_s, spare = math.inf, 0
        tried = 0
        needs = self.of["gpus"][self.waiting].astype(int).tolist()
        ends = (t + self.of["limit_s"][self.waiting]).tolist()
        free = np.where(self._drains > 0, 0, self.free)
        loose = int(free.sum())
        for i, (slot, need, end_s) in enumerate(zip(self.waiting, needs, ends, strict=True)):
            if loose < 1 or tried > BACKFILL_DEPTH:
                keep.extend(self.waiting[i:])
                break
            tried += bool(keep)
            if need > loose or (keep and not (end_s <= shadow_s or need <= spare)) or not self._start(slot, need, t, free):
                if not keep:
                    shadow_s, spare = self._reservation(need, loose)
                keep.append(slot)
                continue
            loose -= need
            if keep and end_s > shadow_s:
                spare -= need
        self.waiting = keep

    def _reservation(self, need: int, loose: int) -> tuple[float, int]:
        """When the first blocked job can start at the latest (by the limits of what runs), and the GPUs left beside it then."""
        slots = np.array(self.running, dtype=np.intp)
        if not len(slots):
            return math.inf, 0
        by_limit = self.start_s[slots] + self.of["limit_s"][slots]
        order = np.argsort(by_limit, kind="stable")
        there = loose + np.cumsum(self.of["gpus"][slots[order]])
        first = int(np.searchsorted(there, need))
        if first >= len(order):
            return math.inf, 0
        return float(by_limit[order[first]]), int(there[first]) - need

    def _start(self, slot: int, need: int, t: float, free: NDArray[np.int16]) -> bool:
        """Give the job ``need`` GPUs out of ``free`` (by node, kept up to date); False where they cannot be had now."""
        if need >= self.gang:
            whole = np.flatnonzero(free == self.gang)
            count = need // self.gang
            if len(whole) < count:
                return False
            at = int(np.searchsorted(whole, self._place))
            nodes = whole[(at + np.arange(count)) % len(whole)]
            self._place = (int(nodes[-1]) + 1) % len(free)
            first = self._fleet.node_start[nodes]
            self.gpu_slot[self._fleet.node_gpus[first[:, None] + np.arange(self.gang)]] = slot
            self.free[nodes] = free[nodes] = 0
        else:
            fits = np.where(free >= need, free, self.gang + 1)
            node = int(fits.argmin())
            if fits[node] > self.gang:
                return False
            rows = self._gpus_of(node)
            self.gpu_slot[rows[self.gpu_slot[rows] < 0][:need]] = slot
            self.free[node] -= need
            free[node] -= need
        self.state[slot], self.start_s[slot] = JobState.RUNNING, t
        end_s = t + math.ceil(self.of["duration_s"][slot] / CYCLE_S) * CYCLE_S
        self.end_s[slot] = np.nan
        heapq.heappush(self._ends, (end_s, slot, int(self.number[slot])))
        self.running.append(slot)
        self.started += 1
        return True

    def _gpus_of(self, node: int) -> Index:
        fleet = self._fleet
        return fleet.node_gpus[fleet.node_start[node] : fleet.node_start[node + 1]]

    def _finish(self, slot: int, t: float, state: JobState) -> None:
        rows = np.flatnonzero(self.gpu_slot == slot)
        self.gpu_slot[rows] = -1
        self.free += np.bincount(self._fleet.gpu_node[rows], minlength=len(self.free)).astype(np.int16)
        self.running.remove(slot)
        self._retire(slot, t, state)

    def _retire(self, slot: int, t: float, state: JobState) -> None:
        self.state[slot], self.end_s[slot] = state, t
        self._ended.append(slot)
        if len(self._ended) > ENDED_KEPT:
            self._open.append(self._ended.popleft())
        self._changed = True

    # --- what others may do to jobs

    def end(self, slot: int, time_s: float, state: JobState) -> None:
        """End a waiting or running job at ``time_s`` as ``state``."""
        if self.state[slot] == JobState.RUNNING:
            self._finish(slot, time_s, state)
        elif self.state[slot] == JobState.PENDING:
            self.waiting.remove(slot)
            self._retire(slot, time_s, state)

    def fail_on(self, gpus: Index, time_s: float) -> None:
        """The jobs that hold any of these GPUs fail; each goes back to the head of the queue for what it has left to do."""
        for slot in np.unique(self.gpu_slot[gpus]).tolist():
            if slot < 0:
                continue
            again = self._table[:, slot].copy()
            done_s = max(0.0, time_s - self.start_s[slot] - self.of["ckpt_every_s"][slot])  # up to its last checkpoint
            again[1] = max(120.0, again[1] - done_s)
            self.end(slot, time_s, JobState.FAILED)
            self._submit(again, time_s, first=True)

    def drain(self, node: int, drained: bool) -> None:
        """One reason more (or less) to start no job on ``node``; what runs there goes on."""
        self._drains[node] += 1 if drained else -1
        self._changed = True

    def counts(self) -> dict[str, float]:
        """The metrics of the queue's own asset."""
        gpus = self.of["gpus"]
        return {
            "running_count": float(len(self.running)),
            "waiting_count": float(len(self.waiting)),
            "gpus_allocated_count": float(gpus[self.running].sum()),
            "gpus_waiting_count": float(gpus[self.waiting].sum()),
            "oldest_waiting_s": self._oldest_s(),
        }

    def _oldest_s(self) -> float:
        """How long the job that waits longest has [s]; 0 where none waits."""
        return max(self.now_s - float(np.nanmin(self.submit_s[self.waiting])), 0.0) if self.waiting else 0.0

    def jobs(self) -> Jobs:
        """Waiting, running and lately ended jobs, as the queue reports them."""
        slots = np.array([*self.waiting, *self.running, *self._ended], dtype=np.intp)
        position = np.full(self.capacity + 1, -1, dtype=np.int32)
        position[slots] = np.arange(len(slots))
        rows = np.flatnonzero(self.gpu_slot >= 0).astype(np.int32)
        of = {name: self.of[name][slots] for name in ("gpus", "limit_s", "partition", "name", "user", "phase")}
        kinds = of["partition"].astype(int).tolist()
        deferrable = (of["partition"] == _BATCH).astype(np.uint8)
        start_s, submit_s, end_s = self.start_s[slots], self.submit_s[slots], self.end_s[slots]
        late_s = np.where((start_s < self._told_s) & ~(end_s < self._told_s), self._told_s - start_s, 0.0)
        start_s, submit_s = start_s + late_s, submit_s + late_s  # it waited as long as it did
        return Jobs(
            ids=tuple(map(str, self.number[slots].tolist())),
            names=tuple(_NAMES[k][int(n) % len(_NAMES[k])] for k, n in zip(kinds, of["name"].tolist(), strict=True)),
            users=tuple(f"t{int(u) // 6 + 1}-u{int(u) % 6 + 1}" for u in of["user"].tolist()),
            partitions=tuple(PARTITIONS[k] for k in kinds),
            state=self.state[slots],
            gpus=of["gpus"].astype(np.int32),
            submit_s=submit_s,
            start_s=start_s,
            end_s=end_s,
            limit_s=of["limit_s"],
            deadline_s=np.where(deferrable == 1, submit_s + of["limit_s"] + 3600 * (6 + 42 * of["phase"]), np.nan),
            deferrable=deferrable,
            rows=rows,
            job_of=position[self.gpu_slot[rows]],
            projects=tuple(f"t{int(u) // 6 + 1}" for u in of["user"].tolist()),
        )

    # --- what jobs do to GPUs

    def activity(self, time_s: float) -> Columns:
        """util, sm, tensor, dram, mem, cpu, net (0-1) of each job slot at ``time_s``; the last entry is that of idle GPUs.

        float64[capacity + 1]. All GPUs of a job breathe together: loading, communication, checkpoints.
        """
        names = ("util", "sm", "tensor", "dram", "mem", "cpu", "net")
        out = dict(zip(names, np.zeros((len(names), self.capacity + 1)), strict=True))
        r = np.array(self.running, dtype=np.intp)
        of = dict(zip(_DRAWN, self._table[:, r], strict=True))
        age_s = time_s - self.start_s[r]
        pulse = 1.0 - of["depth"] * np.sin(np.pi * (time_s / of["period_s"] + of["phase"])) ** 8
        saving = np.mod(age_s + of["phase"] * of["ckpt_every_s"], of["ckpt_every_s"]) < of["ckpt_for_s"]
        at_work = np.where(saving, 0.08, pulse)
        at_work = np.where(age_s < LOADING_S, 0.05, at_work)
        users = 0.35 + 0.65 * day_curve((time_s + self.offset_s) / 3600.0 % 24)
        served = of["partition"] == _INFER
        at_work = np.where(served, at_work * users, at_work)
        out["util"][r] = np.where(served, of["util"], 1.0) * np.minimum(1.0, of["util"] * (0.15 + at_work))
        out["sm"][r] = of["sm"] * at_work
        out["tensor"][r] = of["tensor"] * np.where(saving, 0.0, at_work)
        out["dram"][r] = of["dram"] * at_work
        out["mem"][r] = of["mem"] * np.minimum(1.0, 0.1 + age_s / LOADING_S)
        out["cpu"][r] = of["cpu"] + 0.25 * saving
        out["net"][r] = of["net"] * np.where(saving, 1.2, 1.6 - at_work)
        return out

    # --- drawing jobs

    def _next_draw(self) -> Floats:
        if self._used == _BLOCK:
            self._block, self._used = self._draw(), 0
        self._used += 1
        column: Floats = self._block[:, self._used - 1]
        return column

    def _expect(self) -> Floats:
        """GPU-seconds of many drawn jobs, to set the rate of submissions by."""
        return np.concatenate([block[0] * block[1] for block in (self._draw() for _ in range(80))])

    def _draw(self) -> Floats:
        """A block of jobs: float64[len(_DRAWN), _BLOCK]."""
        rng, n = self._rng, _BLOCK
        gpus = rng.choice(self._sizes, size=n, p=self._odds).astype(np.float64)
        where = rng.random(n)
        partition = np.where(gpus >= 8, np.where(where < 0.72, _TRAIN, _BATCH), np.where(where < 0.45, _DEV, _BATCH))
        median_s = np.where(partition == _DEV, 2400.0, 6300.0 * gpus**0.15)
        duration_s = np.clip(median_s * np.exp(1.1 * rng.standard_normal(n)), 120.0, 3 * 86400.0)
        limit_s = np.ceil(duration_s * rng.uniform(1.1, 3.0, n) / 3600.0) * 3600.0
        util = np.where(partition == _DEV, rng.uniform(0.05, 0.7, n), rng.uniform(0.88, 1.0, n))
        sm = util * rng.uniform(0.62, 0.93, n)
        columns = (
            gpus, duration_s, limit_s, partition, rng.integers(0, 60, n), rng.integers(0, 48, n) * rng.random(n),
            util, sm, sm * rng.uniform(0.3, 0.72, n), sm * rng.uniform(0.45, 0.9, n), rng.uniform(0.35, 0.95, n),
            rng.uniform(0.05, 0.45, n), np.where(gpus > 8, rng.uniform(0.1, 0.55, n), 0.02), rng.uniform(2.0, 25.0, n),
            rng.uniform(0.05, 0.5, n), rng.uniform(900.0, 3600.0, n),
            np.where(partition == _DEV, 0.0, rng.uniform(15.0, 70.0, n)), rng.random(n),
        )  # fmt: skip
        return np.array([np.asarray(column, dtype=np.float64) for column in columns])


def _sizes(gpus: int) -> tuple[NDArray[np.int64], Floats]:
    """Sizes of jobs that a centre of ``gpus`` sees (powers of two, at most an eighth of it) and their odds."""
    largest = max(1, min(MAX_JOB_GPUS, gpus // 8))
    sizes = 2 ** np.arange(int(math.log2(largest)) + 1)
    odds = sizes**-0.5
    return sizes, odds / odds.sum()
