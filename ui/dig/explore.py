"""Any series of one kind of asset: read in steps, one by one or by group, within stated bounds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from twin.frame import Floats, Ints, Origin
from twin.kinds import KINDS
from twin.metrics import METRICS
from twin.ports import How, Store
from twin.site import Site

MAX_SPAN = timedelta(days=400)
MAX_METRICS = 6
MAX_SERIES = 60  # lines of one chart
MAX_READ = 2_500_000  # values read for one chart: steps get longer where it would be more
MAX_EXPORT = 5_000_000  # values of one exported file
STEPS = 500  # of a chart whose step is not given
ACROSS = ("mean", "min", "max", "sum", "p95")
GROUPS = ("site", "hall", "row", "rack", "node", "switch", "cdu", "loop")


class Unanswerable(ValueError):
    """A question that cannot be answered as it is put: one sentence that says why, and how it can be."""


@dataclass(frozen=True, slots=True)
class Question:
    """``metrics`` of ``kind`` in ``[start, end)``; of ``assets`` (ids; none: all) inside ``within`` (an id; "": everywhere);
    ``by``: a kind of container to put them together by, ``across`` says how ("": each by itself); ``fold``: how values of a
    step become one; ``step_s`` none: about ``STEPS``; ``band``: of a forecast."""

    kind: str
    metrics: tuple[str, ...]
    start: datetime
    end: datetime
    assets: tuple[str, ...] = ()
    within: str = ""
    by: str = ""
    across: str = "mean"
    fold: How = How.MEAN
    origin: Origin = Origin.MEASURED
    band: str = ""
    step_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """``names``: of the m lines, an asset or a container each; ``values``: metric -> float64[t, m]; ``counts``: int[m], assets
    behind each line; ``coarser``: the step asked for was too fine and is longer."""

    time_s: Floats
    step_s: float
    names: tuple[str, ...]
    counts: tuple[int, ...]
    values: Mapping[str, Floats]
    coarser: bool


def explore(site: Site, store: Store, asked: Question, *, most_series: int = MAX_SERIES, most_values: int = MAX_READ) -> Answer:
    """What the store has; ``Unanswerable`` where the question is none or too much, ``SourceError`` where the store is away."""
    rows = _rows(site, asked)
    groups = _groups(site, asked, rows)
    names = tuple(name for name, _ in groups)
    lines = len(names) * len(asked.metrics)
    if lines > most_series:
        what = (
            f"This asks for {lines} lines, at most {most_series} are drawn; name fewer assets or metrics, or put them together"
        )
        raise Unanswerable(f"{what} by {', '.join(GROUPS)}.")
    step_s, coarser = _step_s(asked, len(rows) * len(asked.metrics), most_values)
    fold = {"min": How.MIN, "max": How.MAX}.get(asked.across, asked.fold) if asked.by else asked.fold
    found = store.series(asked.kind, asked.metrics, asked.start, asked.end, step_s, fold, rows, asked.origin, asked.band)
    values = {name: found.values[name] for name in asked.metrics}
    if asked.by:
        values = {name: _together(column, [at for _, at in groups], asked.across) for name, column in values.items()}
    return Answer(found.time_s, step_s, names, tuple(len(at) for _, at in groups), values, coarser)


def _rows(site: Site, asked: Question) -> Ints:
    """Rows of the assets asked for."""
    if asked.kind not in KINDS:
        raise Unanswerable(f"There is no kind {asked.kind[:40]!r}; kinds are {', '.join(KINDS)}.")
    known = METRICS[asked.kind]
    if unknown := [name for name in asked.metrics if name not in known]:
        raise Unanswerable(
            f"There is no metric {unknown[0][:60]!r} of kind {asked.kind!r}; known: {', '.join(known) or 'none'}."
        )
    if not 0 < len(asked.metrics) <= MAX_METRICS:
        raise Unanswerable(f"This names {len(asked.metrics)} metrics; name 1 to {MAX_METRICS}.")
    if wrong := [name for name in asked.assets if name not in site.position or site.kind(name) != asked.kind]:
        raise Unanswerable(f"There is no {asked.kind} {wrong[0][:100]!r} in this site; search finds what there is.")
    rows = np.array([site.row(name) for name in dict.fromkeys(asked.assets)], dtype=np.int32)
    if not asked.assets:
        rows = site.all_rows(asked.kind)
    if asked.within:
        if asked.within not in site.position:
            raise Unanswerable(f"There is no asset {asked.within[:100]!r} in this site; search finds what there is.")
        inside = site.within(asked.kind, site.kind(asked.within))
        rows = rows[inside[rows] == site.row(asked.within)]
    if not len(rows):
        raise Unanswerable(f"There is no {asked.kind} here; name another kind or place.")
    return rows


def _groups(site: Site, asked: Question, rows: Ints) -> list[tuple[str, NDArray[np.intp]]]:
    """(name, positions in ``rows``) of each line."""
    if not asked.by:
        ids = site.ids_of(asked.kind)
        return [(ids[row], np.array([i])) for i, row in enumerate(rows.tolist())]
    if asked.by not in GROUPS or asked.across not in ACROSS:
        raise Unanswerable(f"Put together by one of {', '.join(GROUPS)}, as one of {', '.join(ACROSS)}.")
    holder = site.within(asked.kind, asked.by)[rows]
    if not (holder >= 0).any():
        raise Unanswerable(f"No {asked.kind} lies inside a {asked.by}; put them together by something else.")
    ids = site.ids_of(asked.by)
    return [(ids[h], np.flatnonzero(holder == h)) for h in np.unique(holder[holder >= 0]).tolist()]


def _step_s(asked: Question, columns: int, most_values: int) -> tuple[float, bool]:
    """The step in s, and whether it had to be longer than was asked for."""
    span_s = (asked.end - asked.start).total_seconds()
    if not 0 < span_s <= MAX_SPAN.total_seconds():
        raise Unanswerable(f"The start must lie before the end, at most {MAX_SPAN.days} days apart; take another span.")
    wanted = asked.step_s or nice_step_s(span_s / STEPS)
    steps = most_values // max(columns, 1)
    if steps < 2:
        raise Unanswerable(f"This asks for {columns} series at once, which is too much to read; name fewer assets or metrics.")
    if span_s / wanted <= steps:
        return wanted, False
    return nice_step_s(span_s / (steps - 1)), True


_NICE_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


def nice_step_s(least_s: float) -> float:
    """A step that people count in, not shorter than ``least_s``."""
    return float(next((step for step in _NICE_S if step >= least_s), math.ceil(least_s / 86400) * 86400))


def _together(values: Floats, groups: Sequence[NDArray[np.intp]], across: str) -> Floats:
    """float64[t, m] from float64[t, n]: each group's columns put together; NaN counts as nothing."""
    made = np.full((len(values), len(groups)), np.nan)
    for g, at in enumerate(groups):
        block = values[:, at]
        known = np.isfinite(block).sum(axis=1)
        if across in ("min", "max"):
            made[:, g] = (np.fmin if across == "min" else np.fmax).reduce(block, axis=1)
        elif across == "p95":
            made[:, g] = _quantile(block, known, 0.95)
        else:
            total = np.where(np.isfinite(block), block, 0.0).sum(axis=1)
            made[:, g] = np.where(known > 0, total / (np.maximum(known, 1) if across == "mean" else 1), np.nan)
    return made


def _quantile(block: Floats, known: NDArray[np.intp], share: float) -> Floats:
    """Quantile of each row's finite values, interpolated (Hyndman and Fan's definition 7, numpy's own)."""
    ordered, top = np.sort(block, axis=1), np.maximum(known - 1, 0)  # NaN last
    place = share * top
    low = np.floor(place).astype(np.intp)
    below = np.take_along_axis(ordered, low[:, None], axis=1)[:, 0]
    above = np.take_along_axis(ordered, np.minimum(low + 1, top)[:, None], axis=1)[:, 0]
    made: Floats = np.where(known > 0, below + (above - below) * (place - low), np.nan)
    return made
