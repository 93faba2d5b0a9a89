"""Binds the series of one page to assets and metrics once, and turns the numbers of each further page into frames."""

from collections import defaultdict
from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ingest.mappings import Labels, Mapping
from ingest.mappings.assets import Assets
from ingest.mappings.columns import Block, Derived, Heard, Positions, Term, Told, by_time, rates_of
from ingest.mappings.form import form_of
from ingest.mappings.identity import Identities
from twin.event import Event
from twin.frame import Floats, Frame
from twin.site import Bools, Site

MAX_GAP = 10.0  # intervals between two readings of a counter, beyond which their difference says nothing of now
MAX_NAMES = 50  # unmapped names that are remembered for people
_OTHERS = 1_000_000  # rank of series that are not preferred

Series = tuple[str, Labels]


@dataclass(slots=True)
class _Draft:
    """Samples by (entry, role) while series are sorted out: (rank of the series in the entry, position, row)."""

    terms: dict[tuple[int, str], list[tuple[int, int, int]]] = field(default_factory=lambda: defaultdict(list))
    unmapped: int = 0
    names: dict[str, None] = field(default_factory=dict)

    def leave(self, name: str, count: bool = True) -> None:
        """A series of this name belongs to nothing known."""
        if count:
            self.unmapped += 1
            if len(self.names) < MAX_NAMES:
                self.names[name] = None


@dataclass(slots=True)
class _BlockOf:
    """What is the same for all series with one set of labels; ``rows``: by kind and the asset that the entry names."""

    key: frozenset[tuple[str, str]]
    skipped: bool
    preferred: bool
    rows: dict[tuple[str, str], int | None] = field(default_factory=dict)


class Binding:
    """The series of a page, bound. ``unmapped``: how many belong to no known asset or metric; ``unmapped_names``: some of their
    names, or of those whose metric is known the assets that they speak of.

    ``rows``: of each block of its ``form``. ``node`` is the row of the node that series without a node label belong to
    (None: not known); ``fixed``: they all do.
    ``given``: kind -> row of the asset that series of that kind speak of where they name none.
    """

    def __init__(
        self,
        mapping: Mapping,
        site: Site,
        assets: Assets,
        series: Sequence[Series],
        node: int | None,
        fixed: bool,
        given: Map[str, int] = MappingProxyType({}),
    ) -> None:
        self.series = series
        self._mapping, self._site = mapping, site
        self._identities = Identities(mapping, site, assets, node, fixed, given)
        draft = self._sort_out()
        self._blocks = self._tables(draft)
        self.rows = [block.rows for block in self._blocks]
        self.unmapped, self.unmapped_names = draft.unmapped, tuple(draft.names)
        rated = [one for block in self._blocks for one in block.derived if one.entry.rate]
        wraps = {i: one.entry.wrap for one in rated for term in one.terms for i in term.of.tolist()}
        at: Positions = np.array(sorted(wraps), dtype=np.intp)
        ends = np.array([wraps[i] for i in at.tolist()])
        self.form = form_of(self._blocks, at, ends, mapping.blanks, len(series))
        self.was: tuple[Floats, Floats] | None = None  # the counters' last reading: values, times [s]
        self._grown = np.full(len(at), np.nan)  # their last growth per second
        self._told: Told = {}

    @property
    def empty(self) -> bool:
        """Whether no series has found its asset."""
        return not self._blocks

    def inherit(self, before: "Binding") -> None:
        """Take over the counters' last readings, and what was told, from the binding of the endpoint's page before."""
        self._told = before._told
        at = self.form.rated
        if before.was is None or not len(at):
            return
        old = {_key(before.series[i]): n for n, i in enumerate(before.form.rated.tolist())}
        from_ = np.array([old.get(_key(self.series[i]), -1) for i in at.tolist()], dtype=np.intp)
        values, times, grown = (np.append(column, np.nan) for column in (*before.was, before._grown))  # -1 takes the NaN
        self.was, self._grown = (values[from_], times[from_]), grown[from_]

    def events(self, now: datetime, source: str, before: "Binding | None") -> list[Event]:
        """What this page says of its assets that the page ``before`` it did not: moved, replaced, renamed."""
        return self._identities.events(now, source, before._identities if before else None)

    def frames(
        self,
        values: Floats,
        times_s: Floats | None,
        now: datetime,
        clock_s: float,
        every_s: float,
        source: str,
        heard: Heard | None = None,
        whole_s: bool = False,
    ) -> list[Frame]:
        """Frames of a page: float64[n] ``values`` of the bound series and the times that the page gives (NaN, None: none,
        it is read ``now``). ``clock_s`` is a clock that never jumps, for rates; ``every_s`` the usual time between pages.
        ``heard``: how, where not all series spoke; ``whole_s``: frames are of whole seconds, where each series has a time of
        its own; growth is by the exact ones. ``SourceError`` where the page's times make no sense."""
        if times_s is not None and np.isnan(times_s).all():
            times_s = None
        known = self.form.unblank(values)
        fresh, apart = (None, False) if heard is None else (heard.fresh, heard.age_s is not None)
        rates = self._rates(values, known, times_s, clock_s, every_s * MAX_GAP, fresh)
        shown = [mask for mask in (known, fresh) if mask is not None]
        padded = np.append(np.where(np.logical_and.reduce(shown), values, np.nan) if shown else values, np.nan)
        made: list[Frame] = []
        for block in self._blocks:
            table = block.table(padded, values, rates, known, heard)
            if times_s is None:
                made.append(Frame(block.kind, now, block.rows, dict(zip(block.metrics, table, strict=True)), source=source))
            else:
                stamps_s = np.floor(times_s) if whole_s else times_s
                made += by_time(block, table, stamps_s, now, source, self._told if apart else None)
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
        blocks: dict[int, _BlockOf] = {}  # many series of a page share one dict of labels
        for at, (name, labels) in enumerate(self.series):
            wanted = roles.get(name)
            if wanted is None:
                draft.leave(name, not mapping.ignores(name))
                continue
            block = blocks.get(id(labels))
            if block is None:
                block = blocks[id(labels)] = _BlockOf(frozenset(labels.items()), mapping.skips(labels), mapping.prefers(labels))
            if block.skipped or (name, block.key) in seen:
                draft.leave(name)
            else:
                seen.add((name, block.key))
                self._place(at, name, labels, block, wanted, draft)
        return draft

    def _place(
        self, at: int, name: str, labels: Labels, block: "_BlockOf", wanted: Sequence[tuple[int, str, int]], draft: _Draft
    ) -> None:
        placed, meant = False, ""
        for number, role, rank in wanted:
            entry = self._mapping.metric[number]
            if not entry.takes(labels):
                continue
            meant = meant or name
            key = entry.kind, entry.asset
            if key not in block.rows:
                block.rows[key] = self._identities.row(entry, labels)
            row = block.rows[key]
            if row is None:
                meant = self._identities.spoken(entry, labels) or meant
                continue
            placed = True
            if not block.preferred:
                rank += _OTHERS
            if entry.share:
                draft.terms[number, "over"].append((rank, at, row))
            if entry.shares(labels) or role != "main":
                draft.terms[number, role].append((rank, at, row))
        draft.leave(meant, bool(meant) and not placed)

    def _tables(self, draft: _Draft) -> list[Block]:
        by_kind: dict[str, list[int]] = defaultdict(list)
        for number, entry in enumerate(self._mapping.metric):
            # without its minuend or divisor a value would be wrong, not partly right
            needed = ["main"] + ["minus"] * bool(entry.minus) + ["over"] * bool(entry.over)
            if all((number, role) in draft.terms for role in needed):
                by_kind[entry.kind].append(number)
        return [self._table(kind, numbers, draft) for kind, numbers in by_kind.items()]

    def _table(self, kind: str, numbers: Sequence[int], draft: _Draft) -> Block:
        entries = self._mapping.metric
        metrics = list(dict.fromkeys(entries[number].metric for number in numbers))
        rows = np.unique(
            [row for n in numbers for role in ("main", "minus", "over") for *_, row in draft.terms.get((n, role), ())]
        )
        shape = len(metrics), len(rows)
        of, scale, offset = np.full(shape, len(self.series), dtype=np.intp), np.ones(shape), np.zeros(shape)
        derived = []
        for number in numbers:
            entry = entries[number]
            main, minus, over = (self._term(draft, number, role, rows) for role in ("main", "minus", "over"))
            column = metrics.index(entry.metric)
            if main is None:
                continue
            if entry.plain:
                of[column, main.slot] = main.of
                scale[column, main.slot], offset[column, main.slot] = entry.scale, entry.offset
            else:
                derived.append(Derived(entry, column, main, minus, over))
        return Block(kind, rows.astype(np.int32), metrics, of, scale, offset, derived)

    def _term(self, draft: _Draft, number: int, role: str, rows: NDArray[np.int_]) -> Term | None:
        found = sorted(draft.terms.get((number, role), ()))
        entry = self._mapping.metric[number]
        if self._mapping.prefer:
            own = {row for rank, _, row in found if rank < _OTHERS}
            found = [one for one in found if one[0] < _OTHERS or one[2] not in own]
        if entry.combine == "first" and not entry.share:
            first: dict[int, tuple[int, int, int]] = {}
            for one in found:
                if first.setdefault(one[2], one) is not one:
                    draft.leave(self.series[one[1]][0], role == "main" and one[0] < _OTHERS)
            found = list(first.values())
        if not found:
            return None
        at = np.array([position for _, position, _ in found], dtype=np.intp)
        weight = np.array([entry.weigh(self.series[i][1]) for i in at.tolist()]) if entry.weight else None
        return Term(at, np.searchsorted(rows, [row for *_, row in found]), weight)

    def _rates(
        self,
        values: Floats,
        known: Bools | None,
        times_s: Floats | None,
        clock_s: float,
        max_gap_s: float,
        fresh: Bools | None,
    ) -> Floats:
        """float64[n]: growth per second of the counters among ``values``; see ``columns.rates_of``. That of one that is not
        ``fresh`` is as it was."""
        at = self.form.rated
        if not len(at):
            return values
        is_ = values[at] if known is None else np.where(known[at], values[at], np.nan)
        time_s = np.full(len(at), clock_s)
        if times_s is not None:
            time_s = np.where(np.isfinite(times_s[at]), times_s[at], clock_s)
        rates = np.full(len(values), np.nan)
        grown = rates_of(self.was, is_, time_s, self.form.wraps, max_gap_s)
        rates[at] = self._grown = grown if fresh is None else np.where(fresh[at], grown, self._grown)
        self.was = is_, time_s
        return rates


def _key(series: Series) -> tuple[str, frozenset[tuple[str, str]]]:
    return series[0], frozenset(series[1].items())
