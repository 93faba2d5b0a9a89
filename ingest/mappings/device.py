"""Mapping tables of devices: those of exporters (``ingest.mappings``), and what a device has beyond an exporter.

A source reads points: a name, labels and a value, as a series of an exporter has them. So ``[[metric]]``, ``[assets.…]``,
``ignore``, ``blanks`` and the rest mean here what they mean there, for every protocol. What each protocol needs to be told
beside that (registers, OIDs, topics) stands in the same file in a section of its own, which the protocol's module
explains. On top, all optional::

    device = "cdu"                # kinds of asset that a target can be: a [[metric]] of such a kind speaks of the target itself

    [words.DetectorState]         # states of a point (text, or a device's own number) as numbers of ours; one that is
    OK = 0                        # not here is no value, and counted as unmapped
    Critical = 1

    [[set]]                       # what may be ordered
    kind = "cdu"
    metric = "supply_temp_setpoint_c"   # its [[metric]], one scaled series, is what is read back; its scale and offset hold
    low = 18                      # what the device takes, in the metric's unit
    high = 45
    write = "setpoint_order"      # the point that takes orders, where it is another than the one that is read back

An asset inside the target is found by ``index`` or ``device`` within the target, whatever its kind; other attributes are
unique in the site.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ingest.mappings import Entry, Labels
from ingest.mappings import Mapping as Table
from ingest.mappings.assets import Assets
from ingest.mappings.bind import MAX_NAMES, Binding, Series
from ingest.mappings.columns import Heard
from ingest.mappings.identity import Identities
from twin.errors import SourceError
from twin.event import Event
from twin.frame import Floats, Frame
from twin.kinds import KINDS
from twin.metrics import METRICS
from twin.site import Bools, Site

MAX_POINTS = 100_000  # of one reading of one target; more is refused
FEW_NAMES = 3  # of points in a sentence
Value = float | str | None
_NAMED = "\0"  # before an id that ``places`` of the configuration gave for a label's value
_Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class Setting(BaseModel):
    """One ``[[set]]``; what its fields mean, the module says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    metric: str
    low: float
    high: float
    write: str = ""


class DeviceTable(Table):
    """A checked mapping table of a device. Each protocol adds its section."""

    device: _Names = ()
    words: dict[str, dict[str, float]] = Field(default={})
    settings: tuple[Setting, ...] = Field(default=(), alias="set")

    @model_validator(mode="after")
    def _can_be_set(self) -> Self:
        for kind in self.device:
            if kind not in KINDS:
                raise ValueError(f"device: no kind {kind!r}; kinds are {', '.join(KINDS)}")
        for setting in self.settings:
            wrong = self._wrong(setting)
            if wrong:
                raise ValueError(f"[[set]] {setting.kind}.{setting.metric}: {wrong}")
        return self

    def _wrong(self, setting: Setting) -> str:
        rows = METRICS.get(setting.kind)
        row = rows.get(setting.metric) if rows else None
        if row is None or row.step is None:
            return "is no metric that can be set; see twin.metrics"
        if not row.low <= setting.low < setting.high <= row.high:
            return f"low and high must lie within {row.low:g} to {row.high:g}, low below high"
        entry = self.entry(setting.kind, setting.metric)
        if entry is None or not entry.plain:
            return "needs a [[metric]] of one scaled series, to be read back by"
        return ""

    def finds(self, kind: str) -> bool:
        """Whether it says which asset of ``kind`` a point belongs to."""
        return kind in self.device or super().finds(kind)

    def entry(self, kind: str, metric: str) -> Entry | None:
        """The ``[[metric]]`` of that name."""
        return next((one for one in self.metric if (one.kind, one.metric) == (kind, metric)), None)

    def number(self, name: str, value: Value) -> float:
        """``value`` of point ``name`` as a number; NaN where it is none, or no word of the table where that has words for
        it."""
        words = self.words.get(name)
        if words is not None:
            return words.get(f"{value:g}" if isinstance(value, float) else value or "", math.nan)
        return float(value) if isinstance(value, float | int) else math.nan

    def of(self, kind: str, asset: str) -> Self:
        """The table for one target, an ``asset`` of ``kind``: entries of its kind speak of it, those of other devices go."""
        entries: list[Entry] = []
        for entry in self.metric:
            if entry.kind not in self.device or entry.asset or entry.kind in self.assets:
                entries.append(entry)
            elif entry.kind == kind:
                entries.append(entry.model_copy(update={"asset": asset}))
        return self.model_copy(update={"metric": tuple(entries)})


@dataclass(frozen=True, slots=True)
class Points:
    """What one reading of a target gave: ``series`` (name, labels), their ``values``, and their times where the device gives
    any (s since 1970, NaN: none; None: none at all). ``fresh``: which of them were heard since the reading before (None: all
    were); the others are as they last were, None where that is not known, and with their times where they speak each by
    themselves."""

    series: Sequence[Series]
    values: Sequence[Value]
    times_s: Floats | None = None
    fresh: Bools | None = None


def points(found: Iterable[tuple[str, Labels, Value]]) -> Points:
    """Points without times. ``SourceError`` where there are over ``MAX_POINTS``."""
    series: list[Series] = []
    values: list[Value] = []
    for name, labels, value in found:
        series.append((name, labels))
        values.append(value)
        if len(series) > MAX_POINTS:
            raise SourceError(f"more than {MAX_POINTS} points of one target; name less in its mapping")
    return Points(series, values)


class Inside(Assets):
    """The assets of a site as one target sees them: ``index`` and ``device`` count within the target ``home`` (its id)."""

    def __init__(self, site: Site, home: str) -> None:
        super().__init__(site)
        self._home = site.position[home] if home else -1

    def node(self, name: str) -> int | None:
        """As ``Assets.node``, for a node named by ``places`` too."""
        if name.startswith(_NAMED):
            asset = name.removeprefix(_NAMED)
            return self._site.row(asset) if self._site.kind(asset) == "node" else None
        return super().node(name)

    def find(self, kind: str, keys: Mapping[str, Sequence[str]], labels: Mapping[str, str], node: int | None) -> int | None:
        """As ``Assets.find``; the place is the target, whatever node it is in, and an asset named by ``places`` is taken
        as it is."""
        for names in keys.values():
            for said in (labels.get(name, "") for name in names):
                if said.startswith(_NAMED):
                    asset = said.removeprefix(_NAMED)
                    return self._site.row(asset) if self._site.kind(asset) == kind else None
        return super().find(kind, keys, labels, 0 if self._home >= 0 else None)

    def _places(self, kind: str) -> list[int]:
        """0 for each asset of ``kind`` that is inside the target, one that nobody asks for where it is not."""
        site, here = self._site, self._site.of_kind(kind).copy()
        inside = np.zeros(len(here), dtype=np.bool_)
        while (here >= 0).any():
            inside |= here == self._home
            here = np.where(here >= 0, site.parent[here], -1).astype(np.int32)
        return [0 if one else -2 for one in inside.tolist()]


class Bound:
    """One target's points, bound to the site: readings become frames, and settings find the point they are sent to."""

    def __init__(self, table: DeviceTable, site: Site, home: str, places: Mapping[str, Mapping[str, str]]) -> None:
        self.table = table.of(site.kind(home), home) if home else table
        self._site, self._home, self._places = site, home, places
        self._assets = Inside(site, home)
        self._node = site.row(home) if home and site.kind(home) == "node" else None
        self._identities = Identities(self.table, site, self._assets, self._node, False, {})
        self._binding: Binding | None = None
        self._read: Sequence[Series] = ()
        self.unmapped = 0
        self.unmapped_names: Sequence[str] = ()
        self.events: list[Event] = []  # what the readings said of the assets themselves, until somebody takes it

    def frames(self, read: Points, now: datetime, clock_s: float, every_s: float, source: str) -> list[Frame]:
        """Frames of a reading; ``SourceError`` where nothing of it belongs to an asset of the site."""
        binding = self._binding
        if binding is None or self._read != read.series:
            binding = Binding(self.table, self._site, self._assets, self._placed(read.series), self._node, False)
            if self._binding is not None:
                binding.inherit(self._binding)
            self.events += binding.events(now, source, self._binding)
            self._binding, self._read = binding, read.series
        if not read.series:  # nothing was heard yet
            return []
        if binding.empty:
            self.unmapped, self.unmapped_names = binding.unmapped, binding.unmapped_names
            named = f" ({', '.join(self.unmapped_names[:FEW_NAMES])})" if self.unmapped_names else ""
            what = f"none of its {len(read.series)} points belongs to an asset of the site{named}"
            raise SourceError(f"{source}: {what}; is the mapping the right one, and the target's asset?")
        values = self._numbers(read)
        fresh = np.ones(len(values), dtype=np.bool_) if read.fresh is None else read.fresh
        strange = [
            new and math.isnan(number) and name in self.table.names and (isinstance(value, str) or name in self.table.words)
            for (name, _), value, number, new in zip(read.series, read.values, values.tolist(), fresh.tolist(), strict=True)
        ]
        self.unmapped = binding.unmapped + sum(strange)
        unknown = [f"{name} = {value}" for (name, _), value, odd in zip(read.series, read.values, strange, strict=True) if odd]
        self.unmapped_names = (*binding.unmapped_names, *unknown[:MAX_NAMES])
        untold = np.isnan(values) & (~fresh | np.array(strange, dtype=np.bool_))
        apart = read.times_s if read.fresh is not None else None
        age_s = None if apart is None else np.maximum(np.nan_to_num(now.timestamp() - apart), 0.0)
        heard = None if age_s is None and not untold.any() else Heard(fresh, untold, age_s)
        made = binding.frames(values, read.times_s, now, clock_s, every_s, source, heard, whole_s=True)
        return [frame for frame in made if frame.samples]

    def point(self, read: Points, entry: Entry, row: int) -> int | None:
        """Position in ``read`` of the point that ``entry`` reads for the asset in ``row`` of its kind."""
        for name in entry.series:
            for i, (said, labels) in enumerate(self._placed(read.series)):
                if said == name and entry.takes(labels) and self._identities.row(entry, labels) == row:
                    return i
        return None

    def asset_of(self, labels: Labels) -> str:
        """Id of the asset inside the target that ``labels`` name, else of the target itself, "" where that is none."""
        for kind, keys in self.table.assets.items():
            ((_, placed),) = self._placed([("", labels)])
            row = self._assets.find(kind, keys, placed, None)
            if row is not None:
                return self._site.ids_of(kind)[row]
        return self._home

    def _numbers(self, read: Points) -> Floats:
        number = self.table.number
        wanted = self.table.names
        return np.array(
            [
                number(name, value) if name in wanted else math.nan
                for (name, _), value in zip(read.series, read.values, strict=True)
            ],
            dtype=np.float64,
        )

    def _placed(self, series: Sequence[Series]) -> Sequence[Series]:
        """The series with labels that the configuration translates into ids of assets."""
        if not self._places:
            return series
        return [(name, {label: self._named(label, value) for label, value in labels.items()}) for name, labels in series]

    def _named(self, label: str, value: str) -> str:
        asset = self._places.get(label, {}).get(value)
        return value if asset is None else _NAMED + asset
