"""What a bound page is made of, and the arithmetic that turns its numbers into the columns of frames."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ingest.mappings import Entry
from twin.errors import SourceError
from twin.frame import Floats, Frame, Ints
from twin.metrics import METRICS
from twin.site import Bools

MAX_TIMES = 256  # distinct timestamps of one page
_LATEST_S = 253_402_300_799.0  # end of 9999

Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Term:
    """Samples ``of`` a page (positions), the ``slot`` (position in the frame's rows) that each belongs to, and what each
    counts with in a sum (None: whole)."""

    of: Positions
    slot: Positions
    weight: Floats | None


@dataclass(frozen=True, slots=True)
class Derived:
    """A column that is more than one scaled sample an asset."""

    entry: Entry
    column: int
    main: Term
    minus: Term | None
    over: Term | None

    @property
    def terms(self) -> tuple[Term, ...]:
        """Those that there are."""
        return tuple(term for term in (self.main, self.minus, self.over) if term)

    def touched(self, samples: Bools, n: int) -> Bools:
        """bool[n]: the slots that any of ``samples`` (bool, of the page) belongs to."""
        touched = np.zeros(n, dtype=np.bool_)
        for term in self.terms:
            touched[term.slot[samples[term.of]]] = True
        return touched

    def counted(self, n: int) -> Ints:
        """int[n]: how many samples belong to each slot."""
        return np.bincount(np.concatenate([term.slot for term in self.terms]), minlength=n).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Heard:
    """How the series of a page were heard, where some may not have been. ``fresh``: bool[series], those that spoke since the
    page before. ``unknown``: bool[series], those that have a value which nobody told. ``age_s``: float64[series] where they
    speak each by themselves, how old what they last said is; it stands in the page (None: they speak all at once)."""

    fresh: Bools
    unknown: Bools
    age_s: Floats | None

    def lost(self, one: Derived, values: Floats, n: int) -> Bools:
        """bool[series]: parts of ``one`` whose value is not known, or older than its newest part by more than its metric may
        be. How old that one is, whoever reads the metric sees."""
        unknown: Bools = np.isnan(values) if one.entry.rate else self.unknown
        if self.age_s is None:
            return unknown
        least_s, lost = np.full(n, np.inf), unknown.copy()
        for term in one.terms:
            np.minimum.at(least_s, term.slot, self.age_s[term.of])
        for term in one.terms:
            lost[term.of] |= self.age_s[term.of] - least_s[term.slot] > _max_age_s(one)
        return lost


@dataclass(slots=True)
class Block:
    """What a page says of one kind: the table of its frame (metric-major) and how its cells come about.

    ``of``: for each cell its sample, one past the last where it has none; times ``scale`` plus ``offset`` gives the cell.
    """

    kind: str
    rows: Ints
    metrics: list[str]
    of: Positions
    scale: Floats
    offset: Floats
    derived: list[Derived]

    def table(self, padded: Floats, values: Floats, rates: Floats, known: Bools | None, heard: Heard | None = None) -> Floats:
        """float64[metrics, rows]: the cells of a page of ``values``; ``padded`` are these, blanks as NaN, and a NaN after."""
        table: Floats = padded[self.of] * self.scale + self.offset
        for one in self.derived:
            some = rates if one.entry.rate else values
            n = len(self.rows)
            put(table, one, derive(one, some, known, n) if heard is None else _gathered(one, some, known, n, heard))
        return table


def put(table: Floats, one: Derived, found: Floats) -> None:
    """Write what is known of one column (float64[n]) into the table: its other assets may have another entry."""
    table[one.column] = np.where(np.isnan(found), table[one.column], found)


def _gathered(one: Derived, values: Floats, known: Bools | None, n: int, heard: Heard) -> Floats:
    """float64[n]: one column, where any part of it spoke since the page before. What speaks by itself and did not is as it last
    said, for as long as that is believed. With a part that is not known the column is unknown, and not what the rest make."""
    lost = heard.lost(one, values, n)
    if known is not None:
        lost = lost & known
    column = derive(one, np.where(lost, np.nan, values), known, n)
    if one.entry.combine in ("min", "max"):
        column[one.touched(lost, n) & ~_settled(one.entry, column)] = np.nan
    column[~one.touched(heard.fresh, n)] = np.nan
    return column


def _max_age_s(one: Derived) -> float:
    return METRICS[one.entry.kind][one.entry.metric].max_age_s


def _settled(entry: Entry, column: Floats) -> Bools:
    """bool[n]: where no further part could change a least or a greatest: it is at the end of its metric's range, as a flag
    that is raised."""
    if entry.minus or entry.over:
        return np.zeros(len(column), dtype=np.bool_)
    row = METRICS[entry.kind][entry.metric]
    upwards = (entry.combine == "max") ^ (entry.scale < 0) ^ entry.complement
    return column >= row.high if upwards else column <= row.low


def derive(one: Derived, values: Floats, known: Bools | None, n: int) -> Floats:
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


def _combine(term: Term, values: Floats, known: Bools | None, n: int, how: str) -> Floats:
    """float64[n]: one value a slot; NaN where there is none. A sum or mean with an unknown part (NaN) is unknown."""
    of, slot, weight = term.of, term.slot, term.weight
    if known is not None:
        here = known[of]
        of, slot, weight = of[here], slot[here], weight if weight is None else weight[here]
    parts = values[of] if weight is None else values[of] * weight
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


def rates_of(was: tuple[Floats, Floats] | None, is_: Floats, time_s: Floats, wrap: Floats, max_gap_s: float) -> Floats:
    """float64[n]: growth per second of counters that stood at ``was`` (values, times) and now, at ``time_s``, at ``is_``.
    NaN at first sight, after a restart and after more than ``max_gap_s``; a fall by more than half of ``wrap`` (0: it has
    none) is a counter that began anew at its end."""
    if was is None:
        return np.full(len(is_), np.nan)
    gone_s = time_s - was[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        grown = is_ - was[0]
        wrapped = (wrap > 0) & (grown < -wrap / 2)
        grown = np.where(wrapped, grown + wrap, grown)
        good = (gone_s > 0) & (gone_s <= max_gap_s) & (grown >= 0)
        return np.where(good, grown / gone_s, np.nan)


Told = dict[tuple[str, str], Floats]  # kind, metric -> float64[assets of the kind], up to when it was told [s since 1970]


def by_time(block: Block, table: Floats, times_s: Floats, now: datetime, source: str, told: Told | None = None) -> list[Frame]:
    """The table split into frames by the time of its cells; a derived cell is as new as its newest part. ``told``: of a page
    whose series speak each by themselves, which is brought up to date: there what is unknown makes no frame."""
    sample_s = np.append(np.where(np.isnan(times_s), now.timestamp(), times_s), -np.inf)
    when = sample_s[block.of]
    for one in block.derived:
        for term in one.terms:
            np.maximum.at(when[one.column], term.slot, sample_s[term.of])
    if told is not None:
        when[np.isnan(table)] = -np.inf
        for one in block.derived:
            _order(block, one, when[one.column], now.timestamp(), told)
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


def _order(block: Block, one: Derived, when: Floats, now_s: float, told: Told) -> None:
    """Times of a column (float64[rows], -inf: says nothing) so that none is before one that was told: its parts' clocks are
    several, and what the slower one says anew must not count as late. It then is as of ``now_s``, if that is not too long."""
    until = told.setdefault((block.kind, one.entry.metric), np.empty(0))
    missing = int(block.rows.max(initial=-1)) + 1 - len(until)
    if missing > 0:
        until = told[block.kind, one.entry.metric] = np.append(until, np.full(missing, -np.inf))
    had, parts = until[block.rows], one.counted(len(when))
    mixed = (when > -np.inf) & (parts > 1)
    late = mixed & (when <= had)
    when[late] = np.where(now_s - when[late] <= _max_age_s(one), now_s, -np.inf)
    when[mixed] = np.minimum(when[mixed], now_s)
    until[block.rows] = np.where(parts > 0, np.maximum(had, when), had)
