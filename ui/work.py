"""What computes: GPUs, racks, service machines and jobs, counted and ranked from columns."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from analytics.gpu_health import unhealthy_gpus
from twin.event import Event
from twin.frame import Bytes, Floats, Origin, Quality
from twin.job import Jobs, JobState
from twin.metrics import suffix
from twin.site import Bools
from twin.state import State
from ui.reading import Number, Reading, at, fact, freshest, nothing, total

MAX_JOBS, MAX_TOP, MAX_MAP, MAX_MACHINES = 12, 12, 2000, 4


@dataclass(frozen=True, slots=True)
class Gpus:
    """How many there are and how they do. ``silent``: no fresh reading of any kind; ``unhealthy``: as
    ``analytics.gpu_health`` has it, or a critical alert of its own; ``idle``: allocated to nobody, healthy and heard of."""

    total: Reading
    allocated: Reading
    idle: Reading
    unhealthy: Reading
    silent: Reading
    util: Reading
    hottest: Reading
    power: Reading


@dataclass(frozen=True, slots=True)
class Queues:
    """Over all job schedulers."""

    jobs_running: Reading
    jobs_waiting: Reading
    gpus_allocated: Reading
    gpus_waiting: Reading


@dataclass(frozen=True, slots=True)
class RackRow:
    """One rack. ``load``: power over rated power."""

    id: str
    gpu_temp: Reading
    supply_temp: Reading
    return_temp: Reading
    power: Reading
    load: Reading


@dataclass(frozen=True, slots=True)
class Racks:
    """The plan of the racks, columns over at most ``MAX_MAP`` of them (``left_out`` more are not in it), and the hottest.

    ``x_m``, ``y_m``: position, null where the site's table has none; ``gpu_temp_c``: hottest GPU; ``load_frac``: power
    over rated power; both null where nothing fresh is known.
    """

    ids: tuple[str, ...]
    x_m: tuple[Number, ...]
    y_m: tuple[Number, ...]
    gpu_temp_c: tuple[Number, ...]
    load_frac: tuple[Number, ...]
    left_out: int
    top: tuple[RackRow, ...]


@dataclass(frozen=True, slots=True)
class MachineRow:
    """A node without GPUs as it reports itself: a login, storage or management server, or the one that runs icctwin."""

    id: str
    cpu: Reading
    mem_used: Reading
    mem_total: Reading
    load: Reading
    net_rx: Reading
    net_tx: Reading


@dataclass(frozen=True, slots=True)
class JobRow:
    """A running job."""

    id: str
    name: str
    user: str
    partition: str
    gpus: Reading
    running: Reading


def queues(state: State, now: datetime) -> Queues:
    """Sums over the site's queues."""
    names = ("running_count", "waiting_count", "gpus_allocated_count", "gpus_waiting_count")
    return Queues(*(total(state, "queue", name, now) for name in names))


def _over(values: Floats, unit: str, age_s: Floats, value: float) -> Reading:
    """A figure over the fresh ones of ``values``; nothing where none is."""
    seen = ~np.isnan(values)
    if not seen.any():
        return nothing(unit)
    return Reading(value, unit, max(float(age_s[seen].max()), 0.0), True, Origin.MEASURED, Quality.GOOD)


def gpus(state: State, jobs: Jobs, alarmed: Set[str], queued: Queues, now: datetime, xids: Sequence[Event] = ()) -> Gpus:
    """Counts over all GPUs; ``alarmed`` holds the ids of assets with a critical alert, ``xids`` when each GPU's last one
    struck."""
    site = state.site
    n = site.count("gpu")
    power, temp, util = (state.column("gpu", name, now) for name in ("power_w", "temp_c", "util_frac"))
    silent = np.isnan(power) & np.isnan(temp) & np.isnan(util)
    unhealthy = unhealthy_gpus(state, xids, now)
    for asset in alarmed:
        if asset in site.position and site.kind(asset) == "gpu":
            unhealthy[site.row(asset)] = True
    heard = not silent.all()
    ages = {name: state.age_s("gpu", name, now) for name in ("temp_c", "util_frac")}
    return Gpus(
        total=fact(n),
        allocated=queued.gpus_allocated,
        idle=_idle(jobs, queued.gpus_allocated, silent | unhealthy, n),
        unhealthy=fact(int(unhealthy.sum())) if heard else nothing("count"),
        silent=fact(int(silent.sum())),
        util=_over(util, "frac", ages["util_frac"], _nan_mean(util)),
        hottest=_over(temp, "c", ages["temp_c"], float(np.nanmax(temp)) if (~np.isnan(temp)).any() else np.nan),
        power=total(state, "gpu", "power_w", now),
    )


def _nan_mean(values: Floats) -> float:
    seen = values[~np.isnan(values)]
    return float(seen.mean()) if len(seen) else float("nan")


def _idle(jobs: Jobs, allocated: Reading, unusable: Bools, n: int) -> Reading:
    """By name where the scheduler says which GPUs its jobs hold, by subtraction where it only says how many."""
    if not allocated.known:
        return nothing("count")
    if len(jobs.rows):
        taken = np.zeros(n, dtype=np.bool_)
        taken[jobs.rows[jobs.state[jobs.job_of] == JobState.RUNNING]] = True
        idle = float(np.count_nonzero(~(taken | unusable)))
    else:
        idle = max(n - allocated.value - float(unusable.sum()), 0.0)
    return Reading(idle, "count", allocated.age_s, allocated.fresh, allocated.origin, allocated.quality)


def racks(state: State, now: datetime) -> Racks:
    """The plan of the hall and the hottest racks: by hottest GPU, by load where no GPU is read."""
    site = state.site
    n = site.count("rack")
    table = _rack_columns(state, now)
    temp, load = table["gpu_temp_c"][0], table["load_frac"][0]
    order = np.lexsort((-np.nan_to_num(load, nan=-1.0), -np.nan_to_num(temp, nan=-300.0)))[:MAX_TOP]
    ids = site.ids_of("rack")
    shown = min(n, MAX_MAP)
    return Racks(
        ids=tuple(ids[:shown]),
        x_m=tuple(site.number("rack", "x_m")[:shown].tolist()),
        y_m=tuple(site.number("rack", "y_m")[:shown].tolist()),
        gpu_temp_c=tuple(temp[:shown].tolist()),
        load_frac=tuple(load[:shown].tolist()),
        left_out=n - shown,
        top=tuple(_rack_row(ids[i], table, int(i)) for i in order),
    )


Cells = tuple[Floats, Floats, Bytes]  # value (NaN where stale), age [s], origin (0 measured, 1 modelled)


def _rack_columns(state: State, now: datetime) -> dict[str, Cells]:
    site = state.site
    measured = np.zeros(site.count("rack"), dtype=np.uint8)

    def own(name: str) -> Cells:
        value, age_s = freshest(state, "rack", name, now)
        modelled = np.isnan(state.column("rack", name, now)) & ~np.isnan(value)
        return value, age_s, modelled.astype(np.uint8)

    power, power_age_s, power_origin = own("power_w")
    rated_w = site.number("rack", "rated_w")
    inside = site.within("gpu", "rack")
    temp = _largest(state.column("gpu", "temp_c", now), inside, len(measured))
    temp_age_s = -_largest(-state.age_s("gpu", "temp_c", now), inside, len(measured))
    return {
        "gpu_temp_c": (temp, np.where(np.isnan(temp_age_s), np.inf, temp_age_s), measured),
        "supply_temp_c": own("supply_temp_c"),
        "return_temp_c": own("return_temp_c"),
        "power_w": (power, power_age_s, power_origin),
        "load_frac": (power / np.where(rated_w > 0, rated_w, np.nan), power_age_s, power_origin),
    }


def _largest(values: Floats, into: np.ndarray, n: int) -> Floats:
    """float64[n]: the largest of ``values`` in each container, NaN where it has none."""
    known = (into >= 0) & ~np.isnan(values)
    largest = np.full(n, -np.inf)
    np.maximum.at(largest, into[known], values[known])
    return np.where(np.isfinite(largest), largest, np.nan)


def _rack_row(asset: str, table: dict[str, Cells], row: int) -> RackRow:
    made = []
    for name, (value, age_s, origin) in table.items():
        said = Origin.MODELLED if origin[row] else Origin.MEASURED
        fresh = bool(np.isfinite(value[row]))
        made.append(Reading(float(value[row]), suffix(name), max(float(age_s[row]), 0.0), fresh, said, Quality.GOOD))
    return RackRow(asset, *made)


_MACHINE = ("cpu_util_frac", "mem_used_bytes", "mem_total_bytes", "load1_ratio", "net_rx_bps", "net_tx_bps")


def machines(state: State, now: datetime) -> tuple[MachineRow, ...]:
    """The first ``MAX_MACHINES``, by id, of the nodes without GPUs that ever reported their CPU."""
    site, ids = state.site, state.site.ids_of("node")
    heard = np.isfinite(state.newest("node", "cpu_util_frac").value)
    holds = site.within("gpu", "node")
    heard[holds[holds >= 0]] = False
    shown = sorted(np.flatnonzero(heard).tolist(), key=lambda row: ids[row])[:MAX_MACHINES]
    columns = [(name, state.newest("node", name)) for name in _MACHINE]
    return tuple(MachineRow(ids[row], *(at(column, "node", name, now, row) for name, column in columns)) for row in shown)


def job_rows(jobs: Jobs, running: Reading, now: datetime) -> tuple[JobRow, ...]:
    """The ``MAX_JOBS`` running jobs with most GPUs; as fresh as the scheduler's own count of running jobs."""
    mine = np.flatnonzero(jobs.state == JobState.RUNNING)
    top = mine[np.argsort(-jobs.gpus[mine], kind="stable")[:MAX_JOBS]]

    def said(value: float, unit: str) -> Reading:
        return Reading(float(value), unit, running.age_s, running.fresh, running.origin, running.quality)

    return tuple(
        JobRow(
            id=jobs.ids[i],
            name=jobs.names[i],
            user=jobs.users[i],
            partition=jobs.partitions[i],
            gpus=said(jobs.gpus[i], "count"),
            running=said(now.timestamp() - jobs.start_s[i], "s"),
        )
        for i in top
    )
