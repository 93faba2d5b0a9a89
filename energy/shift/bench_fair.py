"""A queue that lives through days of a recorded grid, an hour a round: what its lever saves, and how the waiting is shared.

Four tenants with as much work each: one submits into the evening's peak, one in the morning, one by night, and one leaves
hardly any time. Which of them stand in clean hours already depends on the grid; without a rule the others wait alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from analytics.signal import hindcast
from energy.ahead import SHADOW_DAYS, SignalAhead
from energy.levers import Lever, QueueNow, no_outlook, open_lever
from energy.memory import Memory, take
from energy.notes import Stage
from energy.plan import Plan
from energy.shift.fair import LEAST_S
from energy.waiting import Ended, waits_of
from twin.frame import Floats, Ints
from twin.job import Cluster, Jobs, JobState
from twin.load import Row, build_site
from twin.order import Terms
from twin.state import State

HOUR, DAY, HORIZON = 3600.0, 24, 48
QUEUE, METRIC = "slurm", "carbon_gco2_per_kwh"
BEGIN = datetime(2022, 1, 1, tzinfo=UTC)
# tenant -> local hours in which its jobs come, hours that it leaves beside the run
TENANTS: Mapping[str, tuple[tuple[int, int], float]] = {
    "evening": ((17, 22), 20.0),
    "morning": ((6, 11), 20.0),
    "night": ((22, 28), 20.0),
    "hurried": ((8, 20), 2.0),
}
DAYS, FIRST_DAY, JOBS_A_DAY = 14, 150, 3
ROOM_GPUS = 1000  # more than all of them ask for
SITE = build_site("bench", "UTC", [Row("bench", {"id": QUEUE, "kind": "queue"})])


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """Columns over n jobs in the order in which they come: whose each is; int32[n] each: hours when it comes, that it takes,
    and by which it must have ended; GPUs."""

    users: tuple[str, ...]
    submit: Ints
    length: Ints
    due: Ints
    gpus: Ints


@dataclass
class Centre:
    """One queue, hour by hour. ``fair``: whether the lever hears what tenants wait, ``least_s`` being open to all; ``truth``:
    the signal; ``seen``: float[t, h], what was foreseen of it at each hour. ``memory`` takes the orders as the desk's does;
    ``start_h``: when each job began (NaN: not yet); ``begin_h``: when it may; ``signals``: by the hour, for all who live
    through the same ones."""

    load: Load
    truth: Floats
    seen: Floats
    gpus: int
    fair: bool = True
    least_s: float = LEAST_S
    memory: Memory = field(default_factory=Memory)
    ended: dict[tuple[str, str], Ended] = field(default_factory=dict)
    signals: dict[int, SignalAhead] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start_h, self.begin_h = np.full(len(self.load.users), np.nan), np.full(len(self.load.users), np.nan)

    def round(self, hour: int, lever: Lever | None) -> Plan | None:
        """The lever looks at what waits; then what may start and has room does."""
        load, plan = self.load, None
        over = np.flatnonzero(self.start_h + load.length <= hour)
        for j in over.tolist():
            size = float(load.gpus[j] * load.length[j]) * HOUR
            self.ended.setdefault((QUEUE, str(j)), Ended(load.users[j], "", float(_time_s(load.submit[j])), size))
        at = np.flatnonzero((load.submit <= hour) & ~(self.start_h + load.length <= hour))
        if lever is not None and len(at):
            now = BEGIN + timedelta(hours=hour)
            self.memory.forget(now)
            queue = self.queue(at, hour)
            outlook = replace(no_outlook(), signal=self._signal(hour), queues=(queue,))
            plan = lever.propose(SITE, State(SITE), queue.jobs, outlook, now)
            if plan is not None:
                self._carry_out(plan, now)
        free = self.gpus - int(load.gpus[at][np.isfinite(self.start_h[at])].sum())
        for j in at[np.isnan(self.start_h[at])].tolist():
            if not self.begin_h[j] > hour and load.gpus[j] <= free:
                self.start_h[j], free = hour, free - int(load.gpus[j])
        return plan

    def queue(self, at: np.ndarray, hour: int) -> QueueNow:
        """The queue with the jobs ``at`` as it stands, and what its tenants wait."""
        load, n, none = self.load, len(at), np.zeros(len(at), dtype=np.uint8)
        nan, rows = np.full(n, np.nan), np.empty(0, dtype=np.int32)
        runs, begin_h = np.isfinite(self.start_h[at]), self.begin_h[at]
        words, submit_s, due_s = ["batch"] * n, _time_s(load.submit[at]), _time_s(load.due[at])
        terms = Terms(_time_s(begin_h), none, none, np.isfinite(begin_h).astype(np.uint8), nan)
        state = np.where(runs, JobState.RUNNING, JobState.PENDING).astype(np.uint8)
        jobs = Jobs(
            [str(j) for j in at], words, [load.users[j] for j in at], words, state, load.gpus[at], submit_s,
            _time_s(self.start_h[at]), nan, HOUR * load.length[at], due_s, none + np.uint8(1), rows, rows, terms,
        )  # fmt: skip
        queue = QueueNow(QUEUE, jobs, _cluster(self.gpus))
        if not self.fair:
            return queue
        asked = {QUEUE: {job: one for (_, job), one in self.memory.asked.items()}}
        return replace(
            queue, waits=waits_of([queue], self.ended, asked, {}, BEGIN.timestamp() + HOUR * hour, self.least_s)[QUEUE]
        )

    def _signal(self, hour: int) -> SignalAhead:
        m = SHADOW_DAYS * DAY + HORIZON
        if hour not in self.signals:
            past, seen = self.truth[:hour], self.seen[hour - m : hour + 1]
            self.signals[hour] = SignalAhead(METRIC, HOUR, float(_time_s(hour)), DAY, past, seen)
        return self.signals[hour]

    def _carry_out(self, plan: Plan, now: datetime) -> None:
        for queue, table in plan.orders:
            n, until = len(table), (now + timedelta(days=1)).isoformat()
            head = {"plan": plan.key, "queue": queue, "verb": table.verb, "targets": list(table.targets)}
            would = {} if table.would_s is None else {"would_s": table.would_s.tolist()}
            values = table.values.tolist()
            begun = {**head, "values": values, "before": [None] * n, "until": [until] * n, **would}
            take(self.memory, Stage.BEGUN, now, begun)
            take(self.memory, Stage.DONE, now, {**head, "results": ["done"] * n, "said": [""] * n})
            for job, value in zip(table.targets, values, strict=True):
                self.begin_h[int(job)] = (value - BEGIN.timestamp()) / HOUR if value else np.nan

    @property
    def cost(self) -> float:
        """The signal times GPU hours, of all that ran."""
        sums = np.concatenate(([0.0], np.cumsum(self.truth)))
        begin = self.start_h.astype(np.int64)
        return float(self.load.gpus @ (sums[begin + self.load.length.astype(np.int64)] - sums[begin]))

    def waits_h(self, at_once: "Centre") -> Mapping[str, float]:
        """How much later than ``at_once`` each tenant's GPU hours ran."""
        size, late = self.load.gpus * self.load.length, self.start_h - at_once.start_h
        users = np.array(self.load.users)
        return {who: float(np.average(late[users == who], weights=size[users == who])) for who in sorted(set(users.tolist()))}


def _time_s(hour: "Floats | float") -> "Floats":
    return BEGIN.timestamp() + HOUR * np.asarray(hour, dtype=np.float64)


def _cluster(gpus: int) -> Cluster:
    one, none, nan = np.zeros(1, dtype=np.int32), np.zeros(1, dtype=np.uint8), np.empty(0)
    pairs = np.zeros((1, 2), dtype=np.int32)
    return Cluster(["n"], one - 1, none, one + gpus, one, ["batch"], none + 1, pairs, [], nan, nan, pairs[:0])


def four_tenants(rng: np.random.Generator, zone_h: int, days: int) -> Load:
    """``days`` of the jobs of ``TENANTS``."""
    rows: list[tuple[float, str, float, float]] = []
    for day in range(FIRST_DAY, FIRST_DAY + days):
        for who, ((first, last), spare_h) in TENANTS.items():
            for _ in range(JOBS_A_DAY):
                hour = day * DAY + int(rng.integers(first, last)) - zone_h
                length_h = float(rng.integers(1, 7))
                rows.append((float(hour), who, length_h, hour + length_h + spare_h))
    rows.sort()
    users = tuple(who for _, who, _, _ in rows)
    columns = [np.array(column, dtype=np.int32) for column in zip(*((at, long, due) for at, _, long, due in rows), strict=True)]
    return Load(users, columns[0], columns[1], columns[2], np.full(len(rows), 8, dtype=np.int32))


def lived(
    load: Load, truth: Floats, seen: Floats, gpus: int, lever: Lever | None, fair: bool = True, least_s: float = LEAST_S
) -> Centre:
    """The centre after all its jobs have ended."""
    centre = Centre(load, truth, seen, gpus, fair, least_s)
    for hour in range(int(load.submit[0]), int(load.due.max()) + DAY):
        centre.round(hour, lever)
    return centre


def fair_figures(
    grids: Mapping[str, tuple[Floats, int]], rng: np.random.Generator, against: dict[str, float]
) -> dict[str, float]:
    """What ``job_start`` saves on ``grids`` (signal of a year by the hour, zone [h]) with fairness between tenants, and the
    hours that the tenant waits who waits longest; ``against``: without."""
    lever, rows = open_lever("job_start"), list[list[float]]()
    for truth, zone_h in grids.values():
        load, seen = four_tenants(rng, zone_h, DAYS), hindcast(truth, DAY, HORIZON)
        at_once, row = lived(load, truth, seen, ROOM_GPUS, None), list[float]()
        for fair in (True, False):
            centre = lived(load, truth, seen, ROOM_GPUS, lever, fair)
            row += [1 - centre.cost / at_once.cost, max(centre.waits_h(at_once).values())]
        rows.append(row)
    saved, longest_h, saved_without, longest_without_h = (float(one) for one in np.mean(rows, axis=0))
    against |= {"unfair_saved_frac": saved_without, "unfair_longest_wait_h": longest_without_h}
    return {"fair_saved_frac": saved, "fair_longest_wait_h": longest_h}
