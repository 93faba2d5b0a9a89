"""The utilisation section: GPU hours there were, held, busy; who held what, and whose energy it was."""

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

import numpy as np

from analytics.kpis import DEFINITIONS, effective_flops, fragmentation_frac, rack_fill_frac
from energy.account.book import RULE, By
from energy.account.share import gone_seconds
from twin.frame import Floats
from twin.message import Message
from twin.site import Bools
from ui.able import HOUR_S
from ui.accounting import rows_of
from ui.report import jobs
from ui.report.beside import beside, unread
from ui.report.did import Did
from ui.report.document import NOTHING, Block, Cell, Chart, Figure, Line, Section, Table, known
from ui.report.energy import Limits, query
from ui.report.gather import Inputs
from ui.report.jobs import HOUR_DIGITS, size_classes, size_label
from ui.report.settle import NOTHING_FRAC
from ui.report.used import IDLE_FRAC

WAYS: tuple[tuple[By, str], ...] = (
    ("tenant", "Energy, carbon and cost by tenant"),
    ("project", "Energy, carbon and cost by project"),
    ("user", "Energy, carbon and cost by user"),
    ("job", "Energy, carbon and cost by job"),
)
UNREAD_RACKS = (
    "Of {unread:,.0f} of {racks:,.0f} racks that hold a node or GPU nothing was read: whether they are in use is not known, "
    "and they are in no share."
)
LEAST_UNREAD_H = 0.05  # that is said: what lies below rounds to nothing


# Where a figure's GPU metric can be looked at; the others stand in the account.
ASKED = {
    "gpu_h": "power_w", "busy_frac": "util_frac", "active_frac": "sm_active_frac", "tensor_frac": "tensor_active_frac",
    "idle_held_frac": "util_frac", "available_frac": "power_w", "effective_flops": "tensor_active_frac",
}  # fmt: skip


def figures(inputs: Inputs, limits: Limits) -> list[Figure]:
    """GPU hours and shares, with the same of the span before and of a year ago."""
    asked = {key: _explore(inputs, metric) for key, metric in ASKED.items()} | {"fill_frac": "/api/v1/site?kind=rack"}
    account = query(inputs, "", "job")
    found = beside(inputs, lambda did: _figures(did, limits))
    return [replace(one, query=asked.get(one.key, account)) for one in found]


def _figures(did: Did, limits: Limits) -> list[Figure]:
    use = did.use
    uses = did.scope.kind in ("tenant", "project")  # somebody who holds GPUs, and has none
    there_h = float(use.there.sum()) if use.heard.any() or len(did.runs) else NOTHING
    held_h, told_h, idle_h = (float(column.sum()) for column in (use.held, use.told, use.idle_held))
    busy, active, tensor = (_mean(use.means[name], use.heard) for name in ("util_frac", "sm_active_frac", "tensor_active_frac"))
    run_s = did.runs.end_s - did.runs.start_s
    rows = [
        Figure("gpu_h", "GPU hours there were", there_h, "gpu_h"),
        Figure("held_h", "GPU hours allocated", held_h, "gpu_h", good=1),
        Figure("held_frac", "Allocated", use.held_frac, "frac", good=1, note=DEFINITIONS["utilisation_frac"]),
        Figure("busy_frac", "Busy", busy, "frac", good=1, note=DEFINITIONS["gpu_util_frac"]),
        Figure("active_frac", "SM active", active, "frac", good=1, note=DEFINITIONS["sm_active_frac"]),
        Figure("tensor_frac", "Tensor cores active (MFU at most)", tensor, "frac", good=1,
               note=DEFINITIONS["tensor_mfu_frac"]),
        Figure("idle_held_frac", "Allocated but idle", idle_h / told_h if told_h else NOTHING, "frac", good=-1),
    ]  # fmt: skip
    if not uses:
        available, peak, hours = use.available_frac, limits.gpu_peak_flops, float(use.length_h[use.read].sum())
        effective = effective_flops(peak * use.there_read_h / hours, 1, available, tensor) if peak and hours else NOTHING
        rows += [
            Figure("fragmentation_frac", "Fragmentation", _fragmentation(did), "frac", good=-1,
                   note=DEFINITIONS["fragmentation_frac"]),
            Figure("available_frac", "Availability", available, "frac", good=1, note=DEFINITIONS["availability_frac"]),
            Figure("fill_frac", "Racks in use", _fill(did), "frac", good=1, note=DEFINITIONS["rack_fill_frac"]),
            Figure("effective_flops", "Effective computing power, at most", effective, "flops", good=1,
                   note=DEFINITIONS["effective_flops"]),
        ]  # fmt: skip
    rows += [
        Figure("runs_count", "Runs", float(len(did.runs)), "count"),
        Figure("run_median_s", "Median length of a run", _median(run_s[np.isfinite(run_s)]), "s"),
        *jobs.figures(did),
    ]
    return [figure for figure in rows if np.isfinite(figure.value)]


def _explore(inputs: Inputs, metric: str) -> str:
    """Where the mean of a GPU metric can be looked at."""
    start, end = (f"{moment:%Y-%m-%dT%H:%MZ}" for moment in (inputs.span.start, inputs.span.end))
    inside = f"&within={quote(inputs.scope.name)}" if inputs.scope.kind == "hall" else ""
    return f"/api/v1/explore?kind=gpu&metric={metric}&by=site&across=mean&start={start}&end={end}{inside}"


def section(inputs: Inputs, limits: Limits) -> Section:
    """The whole section."""
    blocks: list[Block] = [*figures(inputs, limits), *_charts(inputs), _sizes(inputs), *jobs.blocks(inputs), *_idle(inputs)]
    blocks += _shares(inputs)
    return Section("use", "Utilisation", tuple(_lead(inputs)), tuple(blocks))


def _lead(inputs: Inputs) -> Iterator[Message]:
    use, runs = inputs.use, inputs.runs
    yield Message("A GPU counts as idle in an hour in which it was busy for less than {idle:.0%}.", {"idle": IDLE_FRAC})
    yield Message(RULE)
    yield from unread(inputs)
    read_h, all_h = float(use.length_h[use.read].sum()), float(use.length_h.sum())
    if read_h < all_h:
        text = "GPUs were read in {read:,.0f} of {hours:,.0f} hours: what was allocated or available is a share of these."
        yield Message(text, {"read": read_h, "hours": all_h})
    filled = _racks(inputs)[1]
    if inputs.scope.kind in ("centre", "hall") and (filled & ~use.rack_told).any():
        yield Message(UNREAD_RACKS, {"unread": int((filled & ~use.rack_told).sum()), "racks": int(filled.sum())})
    gone_h = float(gone_seconds(runs, inputs.span.start.timestamp(), inputs.until.timestamp()).sum()) / HOUR_S
    if gone_h:
        text = "{hours:,.0f} of the GPU hours were on GPUs that the inventory has no more; what energy these took is not known."
        yield Message(text, {"hours": gone_h})
    split = inputs.splits["project"].split
    unread_h = 0.0 if split is None else float(split.unread_gpu_s.sum()) / HOUR_S
    if unread_h >= LEAST_UNREAD_H:
        text = (
            "{hours:,.1f} of the GPU hours allocated were not read: their part of energy, carbon and cost is estimated, by "
            "what the twin says of these GPUs, else by the mean of the allocated ones that were read."
        )
        yield Message(text, {"hours": unread_h})


def _mean(values: Floats, weight: Floats) -> float:
    seen = np.isfinite(values) & (weight > 0)
    return float(np.average(values[seen], weights=weight[seen])) if seen.any() else NOTHING


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else NOTHING


def _fill(did: Did) -> float:
    """Racks that hold a GPU or node, over racks; NaN where none of those gave a reading. One of which nothing was read is on
    neither side: what stands in the inventory need not be in use, and is not unused either."""
    racks, filled = _racks(did)
    used, empty = int((filled & did.use.rack_told).sum()), racks - int(filled.sum())
    return rack_fill_frac(used, used + empty) if used or not filled.any() else NOTHING


def _racks(did: Did) -> tuple[int, Bools]:
    """(how many the part has; bool[racks], those of them that hold a GPU or node)."""
    site, scope = did.site, did.scope
    filled = np.zeros(site.count("rack"), dtype=np.bool_)
    for kind in ("node", "gpu"):
        rack = site.within(kind, "rack")
        filled[rack[rack >= 0]] = True
    mine = site.within("rack", "hall") == site.row(scope.name) if scope.kind == "hall" else np.ones_like(filled)
    return int(mine.sum()), filled & mine


def _fragmentation(did: Did) -> float:
    """Mean over the hours, from who held what: idle GPUs of each node that could be given out against the sizes of the runs
    seen."""
    site, runs = did.site, did.runs
    nodes = site.count("node")
    if not nodes or not len(runs):
        return NOTHING
    node_of = site.within("gpu", "node")
    mine = node_of >= 0
    size = np.bincount(node_of[mine], minlength=nodes)
    sizes = runs.gpus
    found = []
    every = max(1, len(did.use.time_s) // 56)
    for at_s, usable in zip((did.use.time_s + HOUR_S / 2)[::every], did.use.usable[::every], strict=True):
        going = (runs.start_s <= at_s) & (runs.end_s > at_s)
        taken = np.unique(runs.gpu[going[runs.run_of]])
        if not usable.any():
            continue  # of no node is it known that it could be given out
        idle = size - np.bincount(node_of[taken][node_of[taken] >= 0], minlength=nodes)
        found.append(fragmentation_frac(np.where(usable, idle, 0).astype(np.int32), sizes, int(size.max())))
    return float(np.mean(found)) if found else NOTHING


def _charts(inputs: Inputs) -> Iterator[Chart]:
    use = inputs.use
    shown = (("heard of", use.heard, "stale"), ("allocated", use.held, "accent"), ("allocated but idle", use.idle_held, "warn"))
    lines = [Line(label, hours / use.length_h, tone) for label, hours, tone in shown]
    if use.heard.any() or known(use.held):
        yield Chart("gpus", "GPUs by the hour", "count", use.time_s, [line for line in lines if known(line.y)])
    did = (("util_frac", "busy", "measured"), ("sm_active_frac", "SM active", "accent"),
           ("tensor_active_frac", "tensor cores active", "forecast"))  # fmt: skip
    work = [Line(label, use.means[name], tone) for name, label, tone in did if known(use.means[name])]
    if work:
        yield Chart("work", "What the GPUs did", "frac", use.time_s, work)


def _sizes(inputs: Inputs) -> Table:
    """Runs by how many GPUs they held."""
    runs, sizes = inputs.runs, inputs.runs.gpus
    length = runs.end_s - runs.start_s
    rows = []
    for low, high in size_classes():
        mine = (sizes >= low) & ((sizes < high) if high else True)
        label = size_label(low, high)
        rows.append(
            (label, float(mine.sum()), float(inputs.use.run_h[mine].sum()), _median(length[mine & np.isfinite(length)]))
        )
    heads = (("GPUs of a run", ""), ("Runs", "count"), ("GPU hours", "gpu_h"), ("Median length of a run", "s"))
    total = ("total", float(len(runs)), sum(row[2] for row in rows), NOTHING)
    return Table("sizes", "Runs by size", heads, rows, total)


def _idle(inputs: Inputs) -> Iterator[Table]:
    users, user = np.unique(np.array(inputs.runs.users, dtype=np.str_), return_inverse=True)
    hours = np.round(np.bincount(user, inputs.use.run_idle_h, len(users)), HOUR_DIGITS)
    rows = [(name, idle_h) for name, idle_h in zip(users.tolist(), hours.tolist(), strict=True) if idle_h > 0]
    if rows:
        rows.sort(key=lambda row: (-row[1], row[0]))
        total = ("total", sum(idle_h for _, idle_h in rows))
        yield Table("idle", "Allocated but idle, by user", (("user", ""), ("GPU hours", "gpu_h")), rows, total, shown=10)


def _shares(inputs: Inputs) -> Iterator[Table]:
    names = ("gpu_s", "it_kwh", "facility_kwh", "carbon_location_kg", "carbon_market_kg", "cost")
    heads = (("who", ""), ("GPU hours", "gpu_h"), ("IT energy", "kwh"), ("Facility energy", "kwh"),
             ("Carbon, location-based", "kg"), ("Carbon, market-based", "kg"), ("Cost", "money"))  # fmt: skip
    for by, title in WAYS:
        if by not in inputs.splits:
            continue
        made = inputs.splits[by]
        table = [
            (str(row["name"]), [float(row[name]) / (3600 if name == "gpu_s" else 1) for name in names]) for row in rows_of(made)
        ]
        rows: list[list[Cell]] = [[name, *values] for name, values in table]
        total: list[Cell] = ["total", *(sum(values[k] for _, values in table) for k in range(len(names)))]
        note = None
        if made.split is not None and np.isfinite(made.it_kwh + made.facility_kwh):
            text = "The parts sum to the meters to {error:.0e}; (idle): held by nobody; (unseen): of no reading."
            exact = "The parts sum to the meters exactly; (idle): held by nobody; (unseen): of no reading."
            error = made.split.sum_error_frac
            note = Message(text, {"error": error}) if error >= NOTHING_FRAC else Message(exact)  # as far as numbers are shown
        yield Table(f"by_{by}", title, heads, rows, total, note, shown=12)
