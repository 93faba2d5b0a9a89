"""Mapping tables: which series of an exporter is which metric of which asset. A table is a TOML file that anyone can write.

Top level, all optional but ``metric``::

    about = "what exporter, which version"
    extends = "dcgm"                 # another table, whose entries hold too but for those that this one has anew
    node_labels = ["Hostname"]       # labels that name the node: its hostname, id or address, a port after it is ignored
    skip = { source = "test" }       # series with such labels are left out, and counted as unmapped
    prefer = { GPU_I_ID = "" }       # of the series of one asset those with such labels count alone, where there are any
    ignore = ["go_.*"]               # names that nobody wants: not counted as unmapped
    blanks = [[2147483632, 2147483635]]  # closed ranges of exposed values that mean "no value"

    [assets.gpu]                     # how a series finds its asset, tried in this order: attribute = labels
    uuid = ["UUID", "{bus}/{slot}"]  # id, uuid, hostname, name, address: unique in the whole site; of several labels: {...}
    index = ["gpu"]                  # index, device: unique within the node

    [assets.queue]                   # none: a series without such a label speaks of the asset that the source names

    [[metric]]
    kind = "node"
    metric = "mem_used_bytes"
    series = "node_memory_MemTotal_bytes"    # or a list of names, the first of which counts before the second
    minus = "node_memory_MemAvailable_bytes"

Each ``[[metric]]`` says how one metric comes about; in this order:

``where``, ``without``
    label -> regular expression for the whole value ("" where the series lacks the label): all must match, none may.
``rate``
    true: the growth of each series per second; no value at first sight and after a reset.
``wrap``
    with ``rate``: the number at which a counter begins at 0 again (4294967296 for 32 bits): a fall by more than half of it
    is a wrap and not a restart.
``combine``
    what becomes of several series of one asset: ``first`` (default), ``sum``, ``mean``, ``min``, ``max``.
``weight``
    with ``combine = "sum"``: label -> regular expression whose first group is the whole number that a series counts with (0
    where it does not match), as a share of ``weight_of``; a series without the label counts whole. ``weight_of_by``: label ->
    regular expression for the whole value -> what stands for ``weight_of`` where it matches (the first one).
``share``
    as ``where``: what these series sum to, over what all series of the entry sum to.
``minus``, ``over``
    a second series (``where`` and ``without`` hold for it too) that is subtracted; that is divided by.
``complement``
    true: one less the result.
``scale``, ``offset``
    result x scale + offset, into the unit that the metric's name ends in.
``asset``
    id of the one asset that it speaks of, for exporters without labels for it.

A node is found by ``node_labels``, or, where a series has none of these, it is the source's ``node`` or the target's host.
An asset that the site gives another ``uuid`` than the series says is not taken for the one with that index.
"""

import math
import re
import tomllib
from collections.abc import Mapping as Map
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from twin.errors import ConfigError, Problem
from twin.kinds import KINDS
from twin.metrics import METRICS

FOLDER = Path(__file__).parent
MAX_BYTES = 2**20
MAX_ENTRIES = 2000
SITE_WIDE = ("id", "uuid", "hostname", "name", "address")  # attributes that must be unique in a site to find an asset
NODE_WIDE = ("index", "device")  # ... and within a node

Labels = Map[str, str]
_Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class Entry(BaseModel):
    """One ``[[metric]]``; what its fields mean, the module says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    metric: str
    series: _Names = Field(min_length=1)
    where: dict[str, str] = {}
    without: dict[str, str] = {}
    rate: bool = False
    wrap: float = Field(default=0.0, ge=0)
    combine: Literal["first", "sum", "mean", "min", "max"] = "first"
    weight: dict[str, str] = Field(default={}, max_length=1)
    weight_of: float = Field(default=1.0, gt=0)
    weight_of_by: dict[str, dict[str, Annotated[float, Field(gt=0)]]] = {}
    share: dict[str, str] = {}
    minus: str = ""
    over: str = ""
    complement: bool = False
    scale: float = 1.0
    offset: float = 0.0
    asset: str = ""

    @cached_property
    def _patterns(self) -> tuple["Patterns", "Patterns", "Patterns"]:
        return compiled(self.where), compiled(self.without), compiled(self.share)

    def weigh(self, labels: Labels) -> float:
        """What a series with ``labels`` counts with in a sum."""
        for label, pattern in self.weight.items():
            if labels.get(label):
                found = re.fullmatch(pattern, labels[label])
                return int(found[1]) / self._weight_of(labels) if found and found[1].isdecimal() else 0.0
        return 1.0

    def _weight_of(self, labels: Labels) -> float:
        for label, table in self.weight_of_by.items():
            for pattern, of in table.items():
                if re.fullmatch(pattern, labels.get(label, "")):
                    return of
        return self.weight_of

    @property
    def plain(self) -> bool:
        """Whether it is one series, scaled."""
        return self.combine == "first" and not (self.rate or self.share or self.minus or self.over or self.complement)

    def takes(self, labels: Labels) -> bool:
        """Whether a series with ``labels`` is meant."""
        if not self.where and not self.without:
            return True
        where, without, _ = self._patterns
        return matches_all(where, labels) and not matches_any(without, labels)

    def shares(self, labels: Labels) -> bool:
        """Whether a series counts in the numerator of ``share`` (always, where the entry has none)."""
        return not self.share or matches_all(self._patterns[2], labels)


class Mapping(BaseModel):
    """A checked mapping table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str = ""
    extends: str = ""
    node_labels: _Names = ()
    skip: dict[str, str] = {}
    prefer: dict[str, str] = {}
    ignore: _Names = ()
    blanks: tuple[tuple[float, float], ...] = ()
    assets: dict[str, dict[str, _Names]] = {}
    metric: tuple[Entry, ...] = Field(min_length=1, max_length=MAX_ENTRIES)

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name of a series that an entry takes."""
        used = {name for entry in self.metric for name in (*entry.series, entry.minus, entry.over)}
        return frozenset(used - {""})

    @cached_property
    def _patterns(self) -> tuple["Patterns", re.Pattern[str], "Patterns"]:
        ignored = re.compile("|".join(f"(?:{name})" for name in self.ignore) or "(?!)")
        return compiled(self.skip), ignored, compiled(self.prefer)

    def skips(self, labels: Labels) -> bool:
        """Whether a series with ``labels`` is left out whatever its name."""
        return matches_any(self._patterns[0], labels)

    def prefers(self, labels: Labels) -> bool:
        """Whether a series with ``labels`` counts before others of its asset."""
        return matches_all(self._patterns[2], labels)

    def ignores(self, name: str) -> bool:
        """Whether it is known that nobody wants series of this name."""
        return self._patterns[1].fullmatch(name) is not None

    def finds(self, kind: str) -> bool:
        """Whether it says which asset of ``kind`` a series belongs to."""
        return kind == "node" or kind in self.assets


@dataclass(frozen=True, slots=True)
class Patterns:
    """Label -> pattern of its whole value."""

    rows: tuple[tuple[str, re.Pattern[str]], ...]


def compiled(table: Map[str, str]) -> Patterns:
    """Patterns of a ``where``, ``without``, ``share`` or ``skip``."""
    return Patterns(tuple((label, re.compile(pattern)) for label, pattern in table.items()))


def matches_all(patterns: Patterns, labels: Labels) -> bool:
    """Whether every pattern matches; a label that is not there is ""."""
    return all(pattern.fullmatch(labels.get(label, "")) for label, pattern in patterns.rows)


def matches_any(patterns: Patterns, labels: Labels) -> bool:
    """Whether any pattern matches; a label that is not there is ""."""
    return any(pattern.fullmatch(labels.get(label, "")) for label, pattern in patterns.rows)


def known_mappings(folder: Path = FOLDER) -> list[str]:
    """Names of the tables that come with icctwin, for one family of sources."""
    return sorted(path.stem for path in folder.glob("*.toml"))


M = TypeVar("M", bound=Mapping)


def best_mapping(names: Set[str]) -> tuple[str, Mapping] | None:
    """The table that comes with icctwin and takes most of these names of series, by its name; None where none takes any."""
    tables = {name: _shipped(name) for name in known_mappings()}
    found = max(tables, key=lambda name: len(tables[name].names & names))
    return (found, tables[found]) if tables[found].names & names else None


@cache
def _shipped(name: str) -> Mapping:
    return load_mapping(name)


def load_mapping(name: str) -> Mapping:
    """The exporter's table of that name, or in the TOML file of that path. ``ConfigError`` with every problem."""
    return load_table(name, Mapping, FOLDER)


def load_table(name: str, shape: type[M], folder: Path) -> M:
    """A table of ``shape`` by its name in ``folder``, or by the path of a file. ``ConfigError`` with every problem, file and
    entry."""
    known = known_mappings(folder)
    path = folder / f"{name}.toml" if name in known else Path(name)
    auto = ["auto"] if folder == FOLDER else []
    table = read_toml(path, [*auto, *known])
    base = table.get("extends")
    if base:
        if base not in known:
            raise ConfigError([Problem(str(path), f"extends: {base!r} comes not with icctwin; tables are {', '.join(known)}")])
        table = _extended(read_toml(folder / f"{base}.toml", known), table)
    try:
        mapping = shape.model_validate(table)
    except ValidationError as error:
        raise ConfigError([_said(path, table, dict(one)) for one in error.errors()]) from None
    problems = _check(path, mapping)
    if problems:
        raise ConfigError(problems)
    return mapping


def _extended(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """``own`` and what it does not say anew of ``base``."""
    entries = own.get("metric", ())
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return own  # wrong in shape, which is said of it alone
    anew = {(entry.get("kind"), entry.get("metric")) for entry in entries}
    kept = [entry for entry in base["metric"] if (entry["kind"], entry["metric"]) not in anew]
    lists = {name: [*base.get(name, ()), *own.get(name, ())] for name in ("node_labels", "ignore", "blanks")}
    tables = {name: {**base.get(name, {}), **own.get(name, {})} for name in ("skip", "prefer", "assets")}
    return {**base, **own, **lists, **tables, "metric": [*entries, *kept]}


def read_toml(path: Path, shipped: Sequence[str]) -> dict[str, Any]:
    """A table as it stands in its file; ``ConfigError`` where that is no TOML file of at most ``MAX_BYTES``, with the names
    ``shipped`` that may have been meant where there is none."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError([Problem(str(path), f"is over {MAX_BYTES} bytes; no mapping is that long")])
        return tomllib.loads(data.decode("utf-8-sig"))
    except OSError as error:
        what = f"cannot be read ({error.strerror}); mapping is {', '.join(shipped)} or the path of a TOML file"
        raise ConfigError([Problem(str(path), what)]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), f"is not TOML ({error})")]) from None


def _said(path: Path, table: Map[str, Any], error: Map[str, Any]) -> Problem:
    """A problem of shape, as pydantic found it."""
    place = list(error["loc"])
    where = str(path)
    if len(place) > 1 and place[0] == "metric" and isinstance(place[1], int):
        entry = table["metric"][place[1]]
        named = f"{entry.get('kind', '?')}.{entry.get('metric', '?')}" if isinstance(entry, dict) else "?"
        where, place = f"{path}: [[metric]] {place[1] + 1} ({named})", place[2:]
    return Problem(where, f"{'.'.join(map(str, place))}: {error['msg']}".removeprefix(": "))


def _check(path: Path, mapping: Mapping) -> list[Problem]:
    problems = [Problem(str(path), what) for what in _check_top(mapping)]
    seen: set[tuple[str, str, str]] = set()
    for number, entry in enumerate(mapping.metric, 1):
        where = f"{path}: [[metric]] {number} ({entry.kind}.{entry.metric})"
        problems += [Problem(where, what) for what in _check_entry(mapping, entry)]
        target = (entry.kind, entry.metric, entry.asset)
        if target in seen:
            problems.append(Problem(where, "stands twice; give all its series in one entry"))
        seen.add(target)
    return problems


def _check_top(mapping: Mapping) -> list[str]:
    found = _check_patterns("skip", mapping.skip) + _check_patterns("prefer", mapping.prefer)
    found += _check_patterns("ignore", dict(enumerate(mapping.ignore, 1)))
    for low, high in mapping.blanks:
        if not low <= high:
            found.append(f"blanks: [{low:g}, {high:g}] is no range; write [lowest, highest]")
    for kind, keys in mapping.assets.items():
        if kind not in KINDS:
            found.append(f"assets.{kind}: no such kind; kinds are {', '.join(KINDS)}")
        for attribute in keys.keys() - {*SITE_WIDE, *NODE_WIDE}:
            found.append(f"assets.{kind}.{attribute}: an asset is found by {', '.join((*SITE_WIDE, *NODE_WIDE))}")
    return found


def _check_entry(mapping: Mapping, entry: Entry) -> list[str]:
    if entry.kind not in METRICS:
        return [f"no such kind; kinds are {', '.join(METRICS)}"]
    found = []
    if entry.metric not in METRICS[entry.kind]:
        found.append(f"no such metric of kind {entry.kind}; known: {', '.join(METRICS[entry.kind])}")
    if not math.isfinite(entry.scale) or entry.scale == 0 or not math.isfinite(entry.offset):
        found.append(f"scale {entry.scale:g}, offset {entry.offset:g}: both must be finite and scale not 0")
    for name in ("where", "without", "share"):
        found += _check_patterns(name, getattr(entry, name))
    for label, table in entry.weight_of_by.items():
        found += _check_patterns(f"weight_of_by.{label}", {pattern: pattern for pattern in table})
    wrong = _check_patterns("weight", entry.weight)
    found += wrong
    if entry.weight and not wrong and (entry.combine != "sum" or not all(re.compile(p).groups for p in entry.weight.values())):
        found.append('weight counts in sums: write combine = "sum", and a group (in brackets) that is the number')
    if entry.wrap and not entry.rate:
        found.append("wrap is of counters that become rates: write rate = true")
    if entry.share and (entry.minus or entry.over or entry.combine != "first"):
        found.append("share divides sums by itself: leave out minus, over and combine")
    if not entry.asset and not mapping.finds(entry.kind):
        found.append(f"nothing says which {entry.kind} a series belongs to; add [assets.{entry.kind}] or asset")
    return found


def _check_patterns(name: str, table: Map[Any, str]) -> list[str]:
    found = []
    for label, pattern in table.items():
        try:
            re.compile(pattern)
        except re.error as error:
            found.append(f"{name}.{label}: {pattern!r} is no regular expression ({error})")
    return found
