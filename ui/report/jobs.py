"""What became of the jobs: how long they waited, what ended them before their time, which used what they held and which not."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from analytics.gpu_health import PROGRAM_XIDS
from analytics.kpis import DEFINITIONS, SIZE_CLASSES, exposure_per_event
from energy.account.book import Given, keys_of
from energy.account.runs import Runs
from twin.frame import Floats
from twin.message import Message
from twin.site import Bools
from ui.report.did import Did
from ui.report.document import MEANS, NOTHING, Block, Cell, Figure, Table
from ui.report.gather import Inputs

BEFORE_S, AFTER_S = 600.0, 120.0  # of a run's end: an event on its own hardware then is taken for the cause
ENOUGH_H = 1.0  # GPU hours below which a job is not ranked
RANKED = 10
HOUR_DIGITS, BUSY_DIGITS = 6, 4  # that ranks are told apart by: what lies below is how sums were rounded
PROGRAM = frozenset(f"xid/{code}" for code in PROGRAM_XIDS)
BOUND = "the lower end of the exact 90% Poisson interval (Garwood 1936); without an interruption it alone is known"
UNKNOWN, BY_ITSELF = "not known", "the program itself"


def figures(did: Did) -> list[Figure]:
    """Waits, interruptions and effective training time over the runs that there are."""
    runs, wait_s = did.runs, _waits(did)
    known = wait_s[np.isfinite(wait_s)]
    over = _over(did)
    failed, told = over & _ended(runs, "failed"), over & ~_ended(runs, "")
    hours, held_frac = did.use.run_h, did.use.held_frac
    rows = [
        Figure("wait_median_s", "Queue wait, median", _share(known, 50), "s", good=-1, note=DEFINITIONS["queue_wait_s"]),
        Figure("wait_p95_s", "Queue wait, 95th percentile", _share(known, 95), "s", good=-1),
    ]
    if told.any():
        rate = exposure_per_event(float(hours.sum()), int(failed.sum()))
        kept = 1 - float(hours[failed].sum()) / float(hours.sum()) if hours.sum() else NOTHING
        rows += [
            Figure("interruptions_count", "Interruptions", float(failed.sum()), "count", good=-1),
            Figure("mtti_gpu_h", "GPU hours per interruption", rate.value, "gpu_h", good=1, note=DEFINITIONS["mtti_gpu_h"]),
            Figure("mtti_low_gpu_h", "GPU hours per interruption, at least", rate.low, "gpu_h", good=1, note=BOUND),
            Figure("mtti_high_gpu_h", "GPU hours per interruption, at most", rate.high, "gpu_h", good=1),
            Figure("ettr_frac", "Effective training time, at least", kept, "frac", good=1, note=DEFINITIONS["ettr_frac"]),
        ]
        label, note = "Scheduling and runtime goodput, at least", DEFINITIONS["goodput_frac"]
        rows.append(Figure("goodput_frac", label, kept * held_frac, "frac", good=1, note=note))
    return [row for row in rows if np.isfinite(row.value)]


def blocks(inputs: Inputs) -> Iterator[Block]:
    """The tables about jobs."""
    yield from _wait_table(inputs)
    yield from _causes(inputs)
    yield from _ranked(inputs)


def _share(values: Floats, percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else NOTHING


def _begun(did: Did) -> Bools:
    start_s, end_s = did.span.start.timestamp(), did.until.timestamp()
    return np.asarray((did.runs.start_s >= start_s) & (did.runs.start_s < end_s))


def _over(did: Did) -> Bools:
    start_s, end_s = did.span.start.timestamp(), did.until.timestamp()
    return np.asarray((did.runs.end_s > start_s) & (did.runs.end_s <= end_s))


def _ended(runs: Runs, how: str) -> Bools:
    """bool[n]: which ended so."""
    return np.array([one == how for one in runs.ends or [""] * len(runs)], dtype=np.bool_)


def _waits(did: Did) -> Floats:
    """float64[n]: of the runs that started in the span; NaN of the others and where not known."""
    return np.where(_begun(did), did.runs.wait_s, np.nan)


def size_label(low: int, high: int) -> str:
    """A class of sizes in GPUs; ``high`` is the first that is too large, 0: none is."""
    return f"{low}–{high - 1}" if high > low + 1 else f"≥ {low}" if not high else str(low)


def size_classes() -> list[tuple[int, int]]:
    """(least, first too large) of each class; the last has no end: 0."""
    return list(zip(SIZE_CLASSES, (*SIZE_CLASSES[1:], 0), strict=True))


def _wait_table(inputs: Inputs) -> Iterator[Table]:
    """Queue wait by partition and size. Jobs that still wait are not in it: they would draw a mean down."""
    runs, wait_s = inputs.runs, _waits(inputs)
    known, sizes, hours = np.isfinite(wait_s), inputs.runs.gpus, inputs.use.run_h
    if not known.any():
        return
    partition = np.array([name or "–" for name in runs.partitions], dtype=np.str_)
    rows: list[list[Cell]] = []
    for name in np.unique(partition[known]).tolist():
        for low, high in size_classes():
            mine = known & (partition == name) & (sizes >= low) & ((sizes < high) if high else True)
            if mine.any():
                rows.append([name, size_label(low, high), *_wait_cells(wait_s[mine], hours[mine])])
    total: list[Cell] = ["total", "", *_wait_cells(wait_s[known], hours[known])]
    heads = (("partition", ""), ("GPUs of a run", ""), ("Runs", "count"), ("Median", "s"), ("95th percentile", "s"),
             ("Mean by GPU hours", "s"))  # fmt: skip
    left = int((_begun(inputs) & ~known).sum())
    note = Message("From submission to the first start; of {left} runs that started the queue did not say it.", {"left": left})
    yield Table("waits", "Queue wait by partition and size", heads, rows, total, note, shown=30)


def _wait_cells(wait_s: Floats, hours: Floats) -> list[Cell]:
    mean = float(np.average(wait_s, weights=hours)) if hours.sum() > 0 else NOTHING
    return [float(len(wait_s)), _share(wait_s, 50), _share(wait_s, 95), mean]


def _causes(inputs: Inputs) -> Iterator[Table]:
    """What ended runs that failed: an event on their own hardware within minutes of the end, else nobody knows."""
    runs = inputs.runs
    failed = np.flatnonzero(_over(inputs) & _ended(runs, "failed"))
    if not len(failed):
        return
    blamed = _Blamed(inputs)
    hours = inputs.use.run_h
    count, lost = Counter[str](), Counter[str]()
    order = np.argsort(runs.run_of, kind="stable")
    edges = np.searchsorted(runs.run_of[order], np.arange(len(runs) + 1))
    for run in failed.tolist():
        cause = blamed.cause(runs.gpu[order[edges[run] : edges[run + 1]]], float(runs.end_s[run]))
        count[cause] += 1
        lost[cause] += float(hours[run])  # type: ignore[assignment]
    means = inputs.meanings
    most = sorted(count.items(), key=lambda row: (-row[1], row[0]))
    rows = [(cause, means.get(cause, ""), float(n), float(lost[cause])) for cause, n in most]
    heads = (("cause", ""), (MEANS, ""), ("Interruptions", "count"), ("GPU hours of these runs", "gpu_h"))
    total = ("total", "", float(len(failed)), sum(row[3] for row in rows))
    note = Message("A warning or worse of the run's own GPUs, nodes or links within {minutes:.0f} minutes before its end.", {
        "minutes": BEFORE_S / 60})  # fmt: skip
    yield Table("interruptions", "What interrupted runs", heads, rows, total, note, shown=12)


class _Blamed:
    """Events by the assets that they were on, to be looked up by a run's GPUs."""

    def __init__(self, inputs: Inputs) -> None:
        site = inputs.site
        self._gpus, self._nodes = site.ids_of("gpu"), site.ids_of("node")
        self._node_of = site.within("gpu", "node")
        self._on: dict[str, list[tuple[float, str]]] = {}
        for when, record in inputs.events:
            if record["severity"] != "info":
                self._on.setdefault(_owner(inputs, record), []).append((_seconds(when), str(record["code"])))
        for told in self._on.values():
            told.sort()

    def cause(self, gpus: Any, end_s: float) -> str:
        """The last event before the end on one of ``gpus`` or the nodes that they are in."""
        nodes = {int(node) for node in self._node_of[gpus] if node >= 0}
        names = [*(self._gpus[gpu] for gpu in gpus.tolist()), *(self._nodes[node] for node in sorted(nodes))]
        found: list[tuple[float, str]] = []
        for name in names:
            told = self._on.get(name, ())
            times: Sequence[float] = [at_s for at_s, _ in told]
            found += told[bisect_left(times, end_s - BEFORE_S) : bisect_right(times, end_s + AFTER_S)]
        if not found:
            return UNKNOWN
        code = max(found)[1]
        return BY_ITSELF if code in PROGRAM else code


def _owner(inputs: Inputs, record: Any) -> str:
    """The asset of an event; of a port of a node, the node."""
    site, asset = inputs.site, str(record["asset"])
    here = site.position.get(asset, -1)
    if here >= 0 and site.kind(asset) == "port":
        above = int(site.parent[here])
        return site.ids[above] if above >= 0 else asset
    return asset


def _seconds(when: datetime) -> float:
    return when.timestamp()


def _ranked(inputs: Inputs) -> Iterator[Table]:
    """Jobs that kept what they held busiest, and those that least did; of at least ``ENOUGH_H`` GPU hours."""
    runs, use = inputs.runs, inputs.use
    keys = keys_of(runs, "job", Given())
    names, job = np.unique(np.array(keys, dtype=np.str_), return_inverse=True)
    held, seen = (np.round(np.bincount(job, hours, len(names)), HOUR_DIGITS) for hours in (use.run_h, use.run_seen_h))
    worked_h = np.bincount(job, np.nan_to_num(use.run_busy) * use.run_seen_h, len(names))
    busy = np.round(worked_h / np.maximum(seen, 1e-9), BUSY_DIGITS)
    split = inputs.splits["job"].split
    ranked = np.flatnonzero(seen >= ENOUGH_H)
    if split is None or not len(ranked):
        return
    took = split.column("facility_kwh").tolist() if np.isfinite(inputs.account.facility_kwh) else []
    energy = dict(zip(split.names, took, strict=False))  # of what was not read nobody took nothing
    owner = dict(zip(keys, runs.users, strict=True))
    # of those that are as busy, who held more; then by name
    busiest, laziest = (ranked[np.lexsort((-held[ranked], sign * busy[ranked]))][:RANKED].tolist() for sign in (-1, 1))
    heads = (("job", ""), ("user", ""), ("GPU hours", "gpu_h"), ("Busy", "frac"), ("Facility energy", "kwh"))

    def row(i: int) -> list[Cell]:
        name = str(names[i])
        return [name, owner[name], float(held[i]), float(busy[i]), energy.get(name, NOTHING)]

    yield Table("busiest", "Jobs that kept their GPUs busiest", heads, [row(i) for i in busiest], shown=RANKED)
    if len(ranked) > RANKED:
        yield Table("laziest", "Jobs that kept their GPUs least busy", heads, [row(i) for i in laziest], shown=RANKED)
