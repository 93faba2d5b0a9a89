"""Binds the series of one page to assets and metrics once, and turns the numbers of each further page into frames."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ingest.mappings import Entry, Labels, Mapping
from ingest.mappings.assets import Assets
from twin.errors import SourceError
from twin.frame import Floats, Frame, Ints
from twin.site import Site

MAX_TIMES = 256  # distinct timestamps of one page
MAX_GAP = 10.0  # intervals between two readings of a counter, beyond which their difference says nothing of now
_LATEST_S = 253_402_300_799.0  # end of 9999

Series = tuple[str, Labels]
_Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class _Term:
    """Samples ``of`` a page (positions) and the ``slot`` (position in the frame's rows) that each belongs to."""

    of: _Positions
    slot: _Positions


@dataclass(frozen=True, slots=True)
class _Derived:
    """A column that is more than one scaled sample an asset."""

    entry: Entry
    column: int
    main: _Term
    minus: _Term | None
    over: _Term | None


@dataclass(slots=True)
class _Block:
    """What a page says of one kind: the table of its frame and how its cells come about."""

    kind: str
    rows: Ints
    metrics: list[str]
    of: _Positions  # plain cells: sample ...
    cell: _Positions  # ... and flat position in the table (metric-major)
    scale: Floats
    offset: Floats
    derived: list[_Derived]


@dataclass(slots=True)
class _Draft:
    """Samples by (entry, role) while series are sorted out: (rank of the name in the entry, position, row)."""

    terms: dict[tuple[int, str], list[tuple[int, int, int]]] = field(default_factory=lambda: defaultdict(list))
    unmapped: int = 0


class Binding:
    """The series of a page, bound. ``unmapped``: how many belong to no known asset or metric.

    ``node`` is the row of the node that series without a node label belong to (None: not known); ``fixed``: they all do.
    """

    def __init__(
        self, mapping: Mapping, site: Site, assets: Assets, series: Sequence[Series], node: int | None, fixed: bool
    ) -> None:
        self.series = series
        self._mapping, self._site, self._assets, self._node, self._fixed = mapping, site, assets, node, fixed
        draft = self._sort_out()
        self._blocks = self._tables(draft)
        self.unmapped = draft.unmapped
        rated = [t.of for b in self._blocks for d in b.derived if d.entry.rate for t in (d.main, d.minus, d.over) if t]
        self._rated = np.unique(np.concatenate(rated)) if rated else np.empty(0, dtype=np.intp)
        self._was: tuple[Floats, Floats] | None = None
        self._blank_low = min((low for low, _ in mapping.blanks), default=np.inf)

    @property
    def empty(self) -> bool:
        """Whether no series has found its asset."""
        return not self._blocks

    def inherit(self, before: "Binding") -> None:
        """Take over the counters' last readings from the binding of the endpoint's page before."""
        if before._was is None or not len(self._rated):
            return
        old = {_key(before.series[i]): n for n, i in enumerate(before._rated.tolist())}
        from_ = np.array([old.get(_key(self.series[i]), -1) for i in self._rated.tolist()], dtype=np.intp)
        values, times = (np.append(column, np.nan) for column in before._was)  # -1 takes the NaN
        self._was = values[from_], times[from_]

    def frames(
        self, values: Floats, times_s: Floats | None, now: datetime, clock_s: float, every_s: float, source: str
    ) -> list[Frame]:
        """Frames of a page: float64[n] ``values`` of the bound series and the times that the page gives (NaN, None: none,
        it is read ``now``). ``clock_s`` is a clock that never jumps, for rates; ``every_s`` the usual time between pages.
        ``SourceError`` where the page's times make no sense."""
        if times_s is not None and np.isnan(times_s).all():
            times_s = None
        known = self._unblank(values)
        rates = self._rates(values, known, times_s, clock_s, every_s * MAX_GAP)
        made: list[Frame] = []
        for block in self._blocks:
            cells = np.full(len(block.metrics) * len(block.rows), np.nan)
            cells[block.cell] = values[block.of] * block.scale + block.offset
            if known is not None:
                cells[block.cell[~known[block.of]]] = np.nan
            table = cells.reshape(len(block.metrics), len(block.rows))
            for one in block.derived:
                table[one.column] = _derive(one, rates if one.entry.rate else values, known, len(block.rows))
            if times_s is None:
                made.append(Frame(block.kind, now, block.rows, dict(zip(block.metrics, table, strict=True)), source=source))
            else:
                made += _by_time(block, table, times_s, now, source)
        return made

    def _sort_out(self) -> _Draft:
        mapping, draft = self._mapping, _Draft()
        roles: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
        for number, entry in enumerate(mapping.metric):
            for rank, name in enumerate(entry.series):
                roles[name].append((number, "main", rank))
            for role, name in (("minus", entry.minus), ("over", entry.over)):
                if name:
                    roles[name].append((number, role, 0))
        seen = set()
        for at, (name, labels) in enumerate(self.series):
            wanted = roles.get(name)
            if wanted is None:
                draft.unmapped += not mapping.ignores(name)
            elif mapping.skips(labels) or _key((name, labels)) in seen:
                draft.unmapped += 1
            else:
                seen.add(_key((name, labels)))
                self._place(at, labels, wanted, draft)
        return draft

    def _place(self, at: int, labels: Labels, wanted: Sequence[tuple[int, str, int]], draft: _Draft) -> None:
        meant = placed = False
        for number, role, rank in wanted:
            entry = self._mapping.metric[number]
            if not entry.takes(labels):
                continue
            meant = True
            row = self._row(entry, labels)
            if row is None:
                continue
            placed = True
            if entry.share:
                draft.terms[number, "over"].append((rank, at, row))
            if entry.shares(labels) or role != "main":
                draft.terms[number, role].append((rank, at, row))
        draft.unmapped += meant and not placed

    def _row(self, entry: Entry, labels: Labels) -> int | None:
        if entry.asset:
            return self._site.row(entry.asset)
        node = self._node
        said = next((labels[name] for name in self._mapping.node_labels if labels.get(name)), "")
        if said and not self._fixed:
            node = self._assets.node(said)
        return node if entry.kind == "node" else self._assets.find(entry.kind, self._mapping.assets[entry.kind], labels, node)

    def _tables(self, draft: _Draft) -> list[_Block]:
        by_kind: dict[str, list[int]] = defaultdict(list)
        for number, entry in enumerate(self._mapping.metric):
            # without its minuend or divisor a value would be wrong, not partly right
            needed = ["main"] + ["minus"] * bool(entry.minus) + ["over"] * bool(entry.over)
            if all((number, role) in draft.terms for role in needed):
                by_kind[entry.kind].append(number)
        return [self._table(kind, numbers, draft) for kind, numbers in by_kind.items()]

    def _table(self, kind: str, numbers: Sequence[int], draft: _Draft) -> _Block:
        entries = self._mapping.metric
        metrics = list(dict.fromkeys(entries[number].metric for number in numbers))
        rows = np.unique(
            [row for n in numbers for role in ("main", "minus", "over") for *_, row in draft.terms.get((n, role), ())]
        )
        of: list[_Positions] = []
        cell: list[_Positions] = []
        scale: list[Floats] = []
        offset: list[Floats] = []
        derived = []
        for number in numbers:
            entry = entries[number]
            main, minus, over = (self._term(draft, number, role, rows) for role in ("main", "minus", "over"))
            column = metrics.index(entry.metric)
            if main is None:
                continue
            if entry.plain:
                of.append(main.of)
                cell.append(main.slot + column * len(rows))
                scale.append(np.full(len(main.of), entry.scale))
                offset.append(np.full(len(main.of), entry.offset))
            else:
                derived.append(_Derived(entry, column, main, minus, over))
        return _Block(
            kind,
            rows.astype(np.int32),
            metrics,
            np.concatenate([np.empty(0, dtype=np.intp), *of]),
            np.concatenate([np.empty(0, dtype=np.intp), *cell]),
            np.concatenate([np.empty(0), *scale]),
            np.concatenate([np.empty(0), *offset]),
            derived,
        )

    def _term(self, draft: _Draft, number: int, role: str, rows: NDArray[np.int_]) -> _Term | None:
        found = sorted(draft.terms.get((number, role), ()))
        entry = self._mapping.metric[number]
        if entry.combine == "first" and not entry.share:
            first: dict[int, tuple[int, int, int]] = {}
            for one in found:
                first.setdefault(one[2], one)
            draft.unmapped += (len(found) - len(first)) * (role == "main")
            found = list(first.values())
        if not found:
            return None
        at = np.array([position for _, position, _ in found], dtype=np.intp)
        return _Term(at, np.searchsorted(rows, [row for *_, row in found]))

    def _unblank(self, values: Floats) -> NDArray[np.bool_] | None:
        """bool[n]: which values are more than a word for "none"; None where all are."""
        if not (values >= self._blank_low).any():
            return None
        known = np.ones(len(values), dtype=np.bool_)
        for low, high in self._mapping.blanks:
            known &= ~((values >= low) & (values <= high))
        return None if known.all() else known

    def _rates(
        self, values: Floats, known: NDArray[np.bool_] | None, times_s: Floats | None, clock_s: float, max_gap_s: float
    ) -> Floats:
        """float64[n]: growth per second of the counters among ``values``; NaN at first sight, after a reset or too long."""
        at = self._rated
        if not len(at):
            return values
        is_ = values[at] if known is None else np.where(known[at], values[at], np.nan)
        time_s = np.full(len(at), clock_s)
        if times_s is not None:
            time_s = np.where(np.isfinite(times_s[at]), times_s[at], clock_s)
        rates = np.full(len(values), np.nan)
        if self._was is not None:
            was, was_s = self._was
            gone_s = time_s - was_s
            with np.errstate(invalid="ignore", divide="ignore"):
                good = (gone_s > 0) & (gone_s <= max_gap_s) & (is_ >= was)
                rates[at] = np.where(good, (is_ - was) / gone_s, np.nan)
        self._was = is_, time_s
        return rates


def _key(series: Series) -> tuple[str, frozenset[tuple[str, str]]]:
    return series[0], frozenset(series[1].items())


def _derive(one: _Derived, values: Floats, known: NDArray[np.bool_] | None, n: int) -> Floats:
    """float64[n]: one column, as its entry declares it."""
    entry = one.entry
    how = "sum" if entry.share else entry.combine
    column = _combine(one.main, values, known, n, how)
    with np.errstate(invalid="ignore", divide="ignore"):
        if one.minus:
            column = column - _combine(one.minus, values, known, n, how)
        if one.over:
            below = _combine(one.over, values, known, n, how)
            column = np.where(below == 0, np.nan, column / below)
    if entry.complement:
        column = 1 - column
    return column * entry.scale + entry.offset


def _combine(term: _Term, values: Floats, known: NDArray[np.bool_] | None, n: int, how: str) -> Floats:
    """float64[n]: one value a slot; NaN where there is none. A sum or mean with an unknown part (NaN) is unknown."""
    of, slot = term.of, term.slot
    if known is not None:
        of, slot = of[known[of]], slot[known[of]]
    parts = values[of]
    if how in ("sum", "mean"):
        total = np.bincount(slot, weights=parts, minlength=n)
        count = np.bincount(slot, minlength=n)
        return np.where(count > 0, total / np.maximum(count, 1) if how == "mean" else total, np.nan)
    column = np.full(n, np.nan)
    if how == "first":
        column[slot] = parts
    else:
        (np.fmax if how == "max" else np.fmin).at(column, slot, parts)
    return column


def _by_time(block: _Block, table: Floats, times_s: Floats, now: datetime, source: str) -> list[Frame]:
    """The table split into frames by the time of its cells; a derived cell is as new as its newest part."""
    when = np.full(table.shape, -np.inf)
    sample_s = np.where(np.isnan(times_s), now.timestamp(), times_s)
    when.reshape(-1)[block.cell] = sample_s[block.of]
    for one in block.derived:
        for term in (one.main, one.minus, one.over):
            if term:
                np.maximum.at(when[one.column], term.slot, sample_s[term.of])
    stamps = np.unique(when[when > -np.inf])
    if len(stamps) > MAX_TIMES:
        raise SourceError(f"{source}: {len(stamps)} different timestamps on one page; set honour_timestamps = false")
    if len(stamps) and not (stamps[0] >= 0 and stamps[-1] <= _LATEST_S):
        raise SourceError(f"{source}: a timestamp that is no date; set honour_timestamps = false")
    frames = []
    for stamp in stamps.tolist():
        here = when == stamp
        rows = here.any(axis=0)
        columns = here.any(axis=1)
        part = np.where(here, table, np.nan)[:, rows]
        values = {metric: part[i] for i, metric in enumerate(block.metrics) if columns[i]}
        frames.append(Frame(block.kind, datetime.fromtimestamp(stamp, UTC), block.rows[rows], values, source=source))
    return frames
