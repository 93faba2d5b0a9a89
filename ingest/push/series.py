"""Turns batches of pushed samples into frames.

A sample that is a metric as it stands becomes a frame at once: what is acknowledged has been handed on. A metric that is made
of several samples or of their growth (sums, shares, rates) waits until its moment is whole: until all series are there that the
same sender's moment before had, or for ``SETTLE_S``. A part that comes later still joins its moment, which is made anew. A
counter's last reading is its series' own: what else came, and when, does not matter to its rate. Series are known by their key;
a label set that never repeats costs one look and, past ``MAX_SERIES``, everything is learnt anew.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from ingest.mappings import Mapping as Table
from ingest.mappings.assets import Assets
from ingest.mappings.bind import Binding
from ingest.mappings.columns import Positions
from ingest.mappings.identity import Identities
from ingest.push import Batch, Refused, Series
from ingest.push.readings import Readings, Slots
from twin.event import Event
from twin.frame import Floats, Frame, Ints
from twin.site import Bools, Site

MAX_SERIES = 1_000_000
MAX_WAITING = 2_000_000  # samples that wait for their moment to be whole; at the bound the oldest moment is taken as it is
MAX_SENDERS = 50_000
MAX_MOMENTS = 5000  # different times in one request: each is a frame, and the present waits for them
MAX_NAMES = 50
MAX_TOLD = 10_000  # findings of assets that are not told again
MAX_BINDINGS = 8  # of one sender, whose series may come in as many sets in turn; the oldest is made anew
SETTLE_S = 6.0  # Prometheus holds a part of a moment back for up to 5 s (batch_send_deadline)
_SENDERS = ("instance", "host", "hostname", "host.name", "service.instance.id", "node", "nodename")
_EARLIEST_S, _LATEST_S = 0.0, 253_402_300_799.0  # 1970 to the end of 9999


class _Cell(NamedTuple):
    """Where a series goes as it stands: ``column`` of all (kind, metric), row, scale, offset; ``rank`` among those that say
    the same."""

    column: int
    row: int
    scale: float
    offset: float
    rank: int


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one series; ``sender`` is where its moments become whole, None where it is part of nothing; ``slot``:
    of its readings, -1 there."""

    series: Series
    cells: tuple[int, ...]  # numbers of its cells
    reader: int
    sender: str | None
    slot: int


class _Bound(NamedTuple):
    """Series that came together, in the order of ``keys``."""

    keys: tuple[Hashable, ...]
    slots: Slots
    binding: Binding


@dataclass(slots=True)
class _Sender:
    """Moments of one sender that are not whole yet, the series of its newest whole one, and bindings by table and series."""

    waiting: dict[float, dict[Hashable, float]] = field(default_factory=dict)
    touched: dict[float, datetime] = field(default_factory=dict)  # when a moment was first heard of
    newest_s: float = -np.inf
    usual: frozenset[Hashable] = frozenset()
    bindings: dict[tuple[int, tuple[Hashable, ...]], _Bound] = field(default_factory=dict)

    def is_whole(self, time_s: float, now: datetime) -> bool:
        """Whether nothing more is waited for; a late part of the newest moment goes to the rest of it at once."""
        if time_s == self.newest_s or (self.usual and self.waiting[time_s].keys() >= self.usual):
            return True
        return abs((now - self.touched[time_s]).total_seconds()) >= SETTLE_S  # as long where our clock was set back


class Pushed:
    """The series of one receiver; not safe from two threads at once. ``unmapped`` and ``unmapped_names`` are since start."""

    def __init__(self, name: str, tables: Sequence[Table], site: Site, node: int | None, given: Mapping[str, int]) -> None:
        self._name, self._site, self._node, self._given = name, site, node, given
        self._assets = Assets(site)
        # a page comes from its node; what is pushed must say whose it is
        tables = [table.model_copy(update={"node_labels": (*table.node_labels, *_SENDERS)}) for table in tables]
        plain = [table.model_copy(update={"metric": tuple(e for e in table.metric if e.plain)}) for table in tables]
        self._parts = [table.model_copy(update={"metric": tuple(e for e in table.metric if not e.plain)}) for table in tables]
        self._tables, self._plain = tables, plain
        self._reader_of = {name: i for i in reversed(range(len(tables))) for name in tables[i].names}
        self._spelt = {name.lower(): name for name in self._reader_of}  # OpenTelemetry's names have no case
        columns = dict.fromkeys((e.kind, e.metric) for table in plain for e in table.metric)
        self._columns = {column: i for i, column in enumerate(columns)}
        self._column_names = list(columns)
        kinds = list(dict.fromkeys(kind for kind, _ in columns))
        self._kind_of_column = np.array([kinds.index(kind) for kind, _ in columns], dtype=np.float64)
        self._told: set[tuple[str, str, str]] = set()
        self.unmapped = 0
        self.unmapped_names: dict[str, None] = {}
        self._forget()

    def take(self, batch: Batch, now: datetime) -> list[Frame]:
        """Frames of what stands for itself in ``batch``; the rest waits. ``Refused`` for times that are none or too many."""
        times_s = batch.times_s
        if len(times_s) and not (times_s.min() >= _EARLIEST_S and times_s.max() <= _LATEST_S):
            raise Refused(400, "A time of the body is no date; is the precision right?")
        if len(times_s) > MAX_MOMENTS and len(np.unique(times_s)) > MAX_MOMENTS:
            raise Refused(413, f"Over {MAX_MOMENTS} different times at once; send history in smaller batches.")
        new = [key for key in dict.fromkeys(batch.keys) if key not in self._known]
        if len(self._known) + len(new) > MAX_SERIES:
            self._forget()
            new = list(dict.fromkeys(batch.keys))
        for key in new:
            self._known[key] = self._learn(batch.describe(key))
        known = list(map(self._known.get, batch.keys))
        values = batch.values
        at: list[int] = []
        cells: list[int] = []
        for i, one in enumerate(known):
            if one is None:
                continue
            for cell in one.cells:
                at.append(i)
                cells.append(cell)
            if one.sender is not None and values[i] == values[i]:
                self._wait(one.sender, float(times_s[i]), batch.keys[i], float(values[i]), now)
        made = self._frames(at, cells, values, times_s, self._blank(known, values)) if cells else []
        return made + self.settle(now) if self._waiting > MAX_WAITING else made

    def settle(self, now: datetime) -> list[Frame]:
        """Frames of the moments that are whole by ``now``."""
        made: list[Frame] = []
        for sender in self._senders.values():
            for time_s in sorted(sender.waiting):
                if self._waiting > MAX_WAITING or sender.is_whole(time_s, now):
                    made += self._whole(sender, time_s)
                elif time_s > sender.newest_s:
                    break  # those after it wait for it, as counters grow in order
        return made

    def events(self, now: datetime) -> list[Event]:
        """What was found of the assets themselves since this was last asked."""
        found = [event for one in self._identities for event in one.events(now, self._name, None)]
        new = [event for event in found if (event.asset, event.code, event.meaning) not in self._told]
        if len(self._told) > MAX_TOLD:
            self._told = set()  # some may then be told twice
        self._told |= {(event.asset, event.code, event.meaning) for event in new}
        return new

    def _forget(self) -> None:
        """Begin anew; moments that are not whole are lost, counters have no last reading."""
        self._known: dict[Hashable, _Known | None] = {}
        self._cells: list[_Cell] = []
        self._cell_table = np.empty((0, len(_Cell._fields)))
        self._senders: dict[str, _Sender] = {}
        self._readings = Readings()
        self._waiting = 0
        self._identities = [
            Identities(table, self._site, self._assets, self._node, False, self._given) for table in self._tables
        ]

    def _learn(self, series: Series) -> _Known | None:
        name, labels = series
        if name not in self._reader_of:
            name = self._spelt.get(name.lower(), name)
        reader = self._reader_of.get(name)
        if reader is None:
            if not any(table.ignores(name) for table in self._tables):
                self._miss(name)
            return None
        table, identities = self._tables[reader], self._identities[reader]
        if table.skips(labels):
            self._miss(name)
            return None
        cells = self._cells_of(reader, name, labels)
        part = any(
            name in (*e.series, e.minus, e.over) and e.takes(labels) and identities.row(e, labels) is not None
            for e in self._parts[reader].metric
        )
        if not cells and not part:
            if any(name in (*e.series, e.minus, e.over) and e.takes(labels) for e in table.metric):
                self._miss(name)  # meant, but of no asset that the site has
            return None
        first = len(self._cells)
        self._cells += cells
        numbers = tuple(range(first, len(self._cells)))
        if not part:
            return _Known((name, labels), numbers, reader, None, -1)
        sender = next((labels[label] for label in table.node_labels if labels.get(label)), "")
        return _Known((name, labels), numbers, reader, sender, self._readings.add())

    def _cells_of(self, reader: int, name: str, labels: Mapping[str, str]) -> list[_Cell]:
        """Where a series goes as it stands."""
        table, cells = self._tables[reader], []
        for entry in self._plain[reader].metric:
            if name in entry.series and entry.takes(labels):
                row = self._identities[reader].row(entry, labels)
                if row is not None:
                    rank = entry.series.index(name) + 1000 * (bool(table.prefer) and not table.prefers(labels))
                    column = self._columns[entry.kind, entry.metric]
                    cells.append(_Cell(column, row, entry.scale, entry.offset, rank))
        return cells

    def _miss(self, name: str) -> None:
        self.unmapped += 1
        if len(self.unmapped_names) < MAX_NAMES:
            self.unmapped_names[name] = None

    def _blank(self, known: Sequence[_Known | None], values: Floats) -> Bools:
        """bool[n]: values that mean "none": NaN, and what the table of the series calls blank."""
        blank = np.isnan(values)
        ranges = [table.blanks for table in self._tables]
        for low, high in {one for some in ranges for one in some}:
            inside = (values >= low) & (values <= high)
            for i in np.flatnonzero(inside).tolist():
                one = known[i]
                blank[i] |= one is not None and (low, high) in ranges[one.reader]
        return blank

    def _frames(self, of: Sequence[int], cells: Sequence[int], values: Floats, times_s: Floats, blank: Bools) -> list[Frame]:
        """One frame for each kind and time, of samples ``of`` that go to ``cells``; of two for one cell the one of lower rank
        counts, then the later one."""
        if len(self._cell_table) < len(self._cells):
            new = np.array(self._cells[len(self._cell_table) :], dtype=np.float64)
            self._cell_table = np.concatenate([self._cell_table, new])
        at = np.array(of, dtype=np.intp)
        table = self._cell_table[cells]
        keep = ~blank[at]
        at, table = at[keep], table[keep]
        column, row = table[:, 0].astype(np.intp), table[:, 1].astype(np.int32)
        value, when = values[at] * table[:, 2] + table[:, 3], times_s[at]
        order = np.lexsort((np.arange(len(at)), -table[:, 4]))  # what counts most is written last
        _, group = np.unique(self._kind_of_column[column] + 1j * when, return_inverse=True)
        together = order[np.argsort(group[order], kind="stable")]
        cuts = np.flatnonzero(np.diff(group[together])) + 1
        return [
            self._frame(column[take], row[take], value[take], float(when[take[0]]))
            for take in np.split(together, cuts)
            if len(take)
        ]

    def _frame(self, column: Positions, row: Ints, value: Floats, time_s: float) -> Frame:
        columns, c = np.unique(column, return_inverse=True)
        rows, r = np.unique(row, return_inverse=True)
        cells = np.full((len(columns), len(rows)), np.nan)
        cells[c, r] = value
        names = [self._column_names[i] for i in columns.tolist()]
        when = datetime.fromtimestamp(time_s, UTC)
        return Frame(names[0][0], when, rows, {n: cells[i] for i, (_, n) in enumerate(names)}, source=self._name)

    def _wait(self, name: str, time_s: float, key: Hashable, value: float, now: datetime) -> None:
        if name not in self._senders and len(self._senders) >= MAX_SENDERS:
            self._senders, self._waiting = {}, 0  # a name that never repeats; their moments are lost
        sender = self._senders.setdefault(name, _Sender())
        moment = sender.waiting.setdefault(time_s, {})
        sender.touched.setdefault(time_s, now)
        self._waiting += key not in moment
        moment[key] = value

    def _whole(self, sender: _Sender, time_s: float) -> list[Frame]:
        moment = sender.waiting.pop(time_s)
        del sender.touched[time_s]
        self._waiting -= len(moment)
        if time_s == sender.newest_s:
            self._join(sender, moment)
        if time_s >= sender.newest_s:
            sender.newest_s = time_s
            if moment.keys() != sender.usual:
                sender.usual = frozenset(moment)
        made: list[Frame] = []
        by_reader: dict[int, list[Hashable]] = {}
        for key in moment:
            known = self._known.get(key)
            if known is not None:  # None: everything was forgotten meanwhile
                by_reader.setdefault(known.reader, []).append(key)
        for reader, some in by_reader.items():
            keys, slots, binding = self._bound(sender, reader, tuple(sorted(some, key=hash)))
            values = np.array([moment[key] for key in keys])
            rated = binding.form.rated
            binding.was = self._readings.before(slots[rated], time_s) if len(rated) else None
            # a rate is over the senders' own times; their interval is not known here, so a gap of five minutes ends it
            for frame in binding.frames(values, None, datetime.fromtimestamp(time_s, UTC), time_s, 30.0, self._name):
                dense = _dense(frame)
                made += [dense] if dense else []
            if binding.was is not None:
                values[rated] = binding.was[0]  # without those that mean "none"
            self._readings.note(slots, time_s, values)
        return made

    def _join(self, sender: _Sender, moment: dict[Hashable, float]) -> None:
        """Add what came of the newest moment before."""
        missing = [key for key in sender.usual if key not in moment and key in self._known]
        slots = np.array([known.slot for key in missing if (known := self._known[key]) is not None], dtype=np.intp)
        found = zip(missing, self._readings.at(slots, sender.newest_s).tolist(), strict=True)
        moment |= {key: value for key, value in found if value == value}

    def _bound(self, sender: _Sender, reader: int, keys: tuple[Hashable, ...]) -> _Bound:
        had = sender.bindings.get((reader, keys))
        if had is not None:
            return had
        known = [one for key in keys if (one := self._known[key]) is not None]
        series = [one.series for one in known]
        binding = Binding(self._parts[reader], self._site, self._assets, series, self._node, False, self._given)
        while len(sender.bindings) >= MAX_BINDINGS:
            del sender.bindings[next(iter(sender.bindings))]
        bound = _Bound(keys, np.array([one.slot for one in known], dtype=np.intp), binding)
        return sender.bindings.setdefault((reader, keys), bound)


def _dense(frame: Frame) -> Frame | None:
    """``frame`` without the metrics and assets of which it says nothing."""
    values = {name: column for name, column in frame.values.items() if not np.isnan(column).all()}
    if not values:
        return None
    rows = ~np.isnan(np.stack(list(values.values()))).all(axis=0)
    return Frame(frame.kind, frame.time, frame.rows[rows], {n: c[rows] for n, c in values.items()}, source=frame.source)
