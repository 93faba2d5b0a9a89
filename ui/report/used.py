"""What the GPUs of a centre, or of a part of it, did hour by hour, and for whom: held to the second, busy by the hour."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from energy.account.runs import Runs
from energy.account.share import Holds, amounts, covered, gone_seconds, holds_of
from twin.frame import Floats, Ints
from twin.metrics import METRICS, suffix
from twin.ports import Store
from twin.site import Bools, Site
from ui.able import HOUR_S, able_by_hour, by_hour
from ui.report.document import NOTHING
from ui.report.scope import Part

PORTION_VALUES = 4_000_000
GPU_METRICS = ("util_frac", "sm_active_frac", "tensor_active_frac", "power_w", "allocated_flag")
IDLE_FRAC = 0.05  # busy for less than this part of an hour while held: idle but allocated
HEARD_BEFORE, DAY_S = timedelta(days=35), 86_400.0  # of the span: a GPU heard of then was there when it began


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """GPU hours by the hour, float64[h] each. ``there``: of GPUs that there were; ``gone``: of them, held
    by runs on GPUs that the site has no more; ``heard``: that gave a reading; ``able``: of
    them able to work; ``held``: by a run, to the second; ``told``: of those held, whose utilisation was read; ``idle_held``: of
    these, in hours in which they were busy less than ``IDLE_FRAC``; means over GPUs heard, NaN where none. ``length_h``: of
    each hour inside the span; ``read``: bool[h], a GPU gave a reading (all, where none ever did); ``usable``: bool[h, nodes],
    those that the scheduler gave work for half of the hour, of which it says nothing those whose GPUs gave a reading;
    ``rack_told``: bool[racks], in which something gave a reading or a GPU was held.

    Of runs, float64[n]: ``run_h`` held, those that hold a GPU together alike; ``run_seen_h``: of these, of GPUs that gave a
    reading, and how busy these were (``run_busy``); ``run_idle_h``: of these, idle but allocated. ``silent``: no GPU
    ever gave a reading."""

    time_s: Floats
    length_h: Floats
    there: Floats
    gone: Floats
    heard: Floats
    able: Floats
    held: Floats
    told: Floats
    idle_held: Floats
    means: Mapping[str, Floats]
    read: Bools
    usable: Bools
    rack_told: Bools
    run_h: Floats
    run_seen_h: Floats
    run_busy: Floats
    run_idle_h: Floats
    silent: bool

    @property
    def there_read_h(self) -> float:
        """GPU hours that there were in the hours that were read."""
        return float(self.there[self.read].sum())

    @property
    def held_frac(self) -> float:
        """Held, of the GPU hours of the time that was read; NaN where there were none, or nobody told."""
        return float(self.held[self.read].sum()) / self.there_read_h if self.there_read_h else NOTHING

    @property
    def available_frac(self) -> float:
        """Able to work, of the GPU hours of the time that was read; NaN where no GPU was. What the site has no more cannot be
        read, and counts on neither side."""
        there_h = self.there_read_h - float(self.gone[self.read].sum())
        return float(self.able.sum()) / there_h if self.heard.any() else NOTHING


def use_of(site: Site, store: Store, part: Part, start: datetime, end: datetime) -> Use:
    """Read in portions of hours. Of a hall its GPUs count; of whoever only uses GPUs those that their runs held, while they
    held them, and what there was is the centre's."""
    gpus, runs, uses = site.count("gpu"), part.own, part.scope.kind in ("tenant", "project")
    hours = int(np.ceil((end - start).total_seconds() / HOUR_S))
    time_s: Floats = start.timestamp() + HOUR_S * np.arange(float(hours))
    length_h = np.minimum(end.timestamp() - time_s, HOUR_S) / HOUR_S
    columns = {name: np.full(hours, np.nan) for name in GPU_METRICS}
    heard, able, held, told, idle = (np.zeros(hours) for _ in range(5))
    usable, read = np.zeros((hours, site.count("node")), dtype=np.bool_), np.zeros(hours, dtype=np.bool_)
    node_of = site.within("gpu", "node")
    first = np.full(gpus, hours)  # hour in which each was heard of or held first
    holds, sums, held_known = _holds(part, start, end), np.zeros((3, len(runs))), len(runs) > 0
    portion = max(1, PORTION_VALUES // max(gpus, 1))
    for low in range(0, hours, portion):
        at, begin = slice(low, min(low + portion, hours)), start + timedelta(hours=low)
        count, length = at.stop - low, length_h[at, None]
        table = {name: by_hour(site, store, "gpu", name, begin, count, end) for name in GPU_METRICS}
        util = table["util_frac"]
        cover = covered(holds, float(time_s[low]), HOUR_S, count, gpus)
        if not len(part.runs):  # no queue was read: what the exporters say of their GPUs
            cover = np.nan_to_num(table["allocated_flag"]) * length
            held_known |= bool(np.isfinite(table["allocated_flag"]).any())
        weight = cover if uses else part.gpus * length
        seen = np.isfinite(table["power_w"]) | np.isfinite(util)
        read[at] = (seen & part.gpus).any(axis=1)
        _begin(first, seen | (cover > 0), low)
        heard[at] = (seen * weight).sum(axis=1)
        given = by_hour(site, store, "node", "usable_flag", begin, count)
        hour, gpu = np.nonzero(seen & (node_of >= 0))
        usable[low + hour, node_of[gpu]] = True
        usable[at] = np.where(np.isfinite(given), given >= 0.5, usable[at])
        able[at] = np.nansum(able_by_hour(site, store, seen, given, begin) * weight, axis=1)
        lazy = util < IDLE_FRAC
        held[at], told[at], idle[at] = (np.sum(cover * of, axis=1) for of in (1.0, np.isfinite(util), lazy))
        for k, flow in enumerate((np.isfinite(util).astype(np.float64), np.nan_to_num(util), lazy.astype(np.float64))):
            sums[k] += np.bincount(holds.run, amounts(holds, float(time_s[low]), HOUR_S, flow), len(runs))
        for name, values in table.items():
            total = (np.isfinite(values) * weight).sum(axis=1)
            columns[name][at] = np.where(
                total > 0, np.nansum(values * weight, axis=1) / np.where(total > 0, total, 1.0), np.nan
            )
    if not held_known and not uses:
        held[:], told[:], idle[:] = np.nan, np.nan, np.nan
    rack_told = _racks_told(site, store, first < hours, start, end)
    silent = not read.any()
    if silent:
        read[:], first[:] = True, 0  # nothing says since when which GPU is there
    gone = _gone(runs, time_s, end)
    there = _count(site, store, part, start, first, hours)
    run_h = (np.bincount(holds.run, holds.share * (holds.end_s - holds.begin_s), len(runs)) +
             gone_seconds(runs, start.timestamp(), end.timestamp())) / HOUR_S  # fmt: skip
    busy = np.divide(sums[1], sums[0], out=np.full(len(runs), np.nan), where=sums[0] > 0)
    return Use(
        time_s, length_h, there * length_h + gone, gone, heard, able, held + gone, told, idle, columns, read, usable,
        rack_told, run_h, sums[0], busy, sums[2], silent,
    )  # fmt: skip


def _racks_told(site: Site, store: Store, gpus: Bools, start: datetime, end: datetime) -> Bools:
    """bool[racks]: ``gpus`` (bool[g]) are heard of or held in it, or it or a node in it gave a reading. A flag is none: it is
    what a scheduler says of the inventory."""
    told = np.zeros(site.count("rack"), dtype=np.bool_)
    rack_of = site.within("gpu", "rack")
    told[rack_of[gpus & (rack_of >= 0)]] = True
    for kind in ("rack", "node"):
        rack_of = site.within(kind, "rack") if kind != "rack" else np.arange(len(told), dtype=np.int32)
        for name in METRICS[kind]:
            rows = np.flatnonzero(rack_of >= 0).astype(np.int32)
            rows = rows[~told[rack_of[rows]]]
            if len(rows) and suffix(name) != "flag":
                found = store.series(kind, (name,), start, end, DAY_S, rows=rows)
                told[rack_of[found.rows[np.isfinite(found.values[name]).any(axis=0)]]] = True
    return told


def _holds(part: Part, start: datetime, end: datetime) -> Holds:
    """What the runs of the part held of its GPUs, less what others held of them with these."""
    holds = holds_of(part.runs, start.timestamp(), end.timestamp()).of(part.mine)
    return holds.only(part.gpus[holds.gpu])


def _begin(first: Ints, there: Bools, low: int) -> None:
    """Put into ``first`` (int[g]) the hour, counted from ``low``, in which ``there`` (bool[h, g]) says so first of each."""
    new = there.any(axis=0)
    first[new] = np.minimum(first[new], low + there[:, new].argmax(axis=0))


def _count(site: Site, store: Store, part: Part, start: datetime, first: Ints, hours: int) -> Floats:
    """float64[h]: GPUs of the part that there were: those heard of or held by then, and those heard of in the weeks before."""
    late = np.flatnonzero(first > 0).astype(np.int32)
    if len(late):
        found = store.series("gpu", ("power_w", "util_frac"), start - HEARD_BEFORE, start, DAY_S, rows=late)
        for values in found.values.values():
            if values.size:
                first[found.rows[np.isfinite(values).any(axis=0)]] = 0
    return np.cumsum(np.bincount(first[part.gpus], minlength=hours + 1)[:hours]).astype(np.float64)


def _gone(runs: Runs, time_s: Floats, end: datetime) -> Floats:
    """float64[h]: GPU hours held in each hour on GPUs that the site has no more: they were there while they were held."""
    if runs.gone is None or not runs.gone.any():
        return np.zeros(len(time_s))
    run = np.flatnonzero(runs.gone).astype(np.int32)
    one = Holds(
        np.zeros_like(run),
        run,
        runs.start_s[run],
        np.minimum(runs.end_s[run], end.timestamp()),
        runs.gone[run].astype(np.float64),
    )
    return np.asarray(covered(one, float(time_s[0]), HOUR_S, len(time_s), 1)[:, 0])
