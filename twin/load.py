"""Reads and checks the tables of a site; every problem is reported at once, with file and line."""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from twin.coolants import COOLANTS, is_coolant
from twin.errors import Problem, SiteError, meant
from twin.kinds import KINDS, NO_SOURCES, NUMBER_ATTRIBUTES, RELATIONS, TEXT_ATTRIBUTES, attribute_range
from twin.plain import escaped, steers
from twin.sheet import encoding_of, read_header, undecodable
from twin.site import Links, Site, empty_links

MAX_ASSETS = 2_000_000
MAX_PROBLEMS = 200  # of one load; the rest is counted
MAX_SHOWN = 100  # characters of a cell
_MAX_CYCLES = 10  # told of one relation
_ASSET_COLUMNS = ("id", "kind", "parent", *NUMBER_ATTRIBUTES, *TEXT_ATTRIBUTES)
_LINK_COLUMNS = ("from", "to", "relation", "share")
_KIND_CODE = {kind: code for code, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: where it stands (``file:line``) and its cells by column."""

    where: str
    cells: dict[str, str]


@dataclass
class _Report:
    problems: list[Problem] = field(default_factory=list)
    more: int = 0

    def add(self, where: str, *what: str) -> None:
        room = MAX_PROBLEMS - len(self.problems)
        self.problems += [Problem(where, one) for one in what[:room]]
        self.more += len(what[room:])

    def stop_if_any(self) -> None:
        if self.more:
            self.problems.append(Problem("…", f"{self.more} more problems are not listed"))
        if self.problems:
            raise SiteError(self.problems)


def read_table(
    path: Path, report: _Report | None = None, needed: Sequence[str] = (), known: Sequence[str] = (), table: str = ""
) -> list[Row]:
    """Rows of a CSV file (UTF-8, or UTF-16 with its mark) with a header line; blank lines and lines that start with ``#`` are
    left out. A header that lacks a ``needed`` column, or has one twice, is one problem, and no row is read; one that is not
    among ``known`` (none: any is) of such a ``table`` is a problem of the header alone."""
    report = report or _Report()
    rows: list[Row] = []
    header: list[str] | None = None
    try:
        with path.open(newline="", encoding=encoding_of(path)) as file:
            reader = csv.reader(file)
            for cells in reader:
                if not any(map(str.strip, cells)) or cells[0].startswith("#"):
                    continue
                where = f"{path}:{reader.line_num}"
                if header is None:
                    header, wrong = read_header(cells, needed, known, table)
                    report.add(where, *wrong)
                    if not header:
                        break
                elif len(cells) > len(header):
                    report.add(where, f"{len(cells)} cells under {len(header)} columns; quote cells that hold a comma")
                else:
                    rows.append(Row(where, dict(zip(header, map(str.strip, cells), strict=False))))
        if header is None:
            report.add(str(path), f"is empty; its first line names the columns, as in {','.join(needed)},…")
    except OSError as error:
        report.add(str(path), f"cannot be read ({error.strerror}); name an existing CSV file in [site]")
    except UnicodeDecodeError:
        line, what = undecodable(path)
        report.add(f"{path}:{line}", what)
    except csv.Error as error:
        report.add(str(path), f"is not a CSV file ({error})")
    return rows


def load_site(name: str, timezone: str, assets: Path, links: Path | None, extra: Iterable[Row] = ()) -> Site:
    """The site described by two CSV files, with ``extra`` asset rows (sources and tasks, which come from the
    configuration). Raises ``SiteError`` with every problem found."""
    report = _Report()
    asset_rows = read_table(assets, report, ("id", "kind"), _ASSET_COLUMNS, "an assets table")
    if not asset_rows and not report.problems:
        report.add(str(assets), "names no asset; write one a line, as in hall-1,hall")
    link_rows = read_table(links, report, _LINK_COLUMNS[:3], _LINK_COLUMNS, "a links table") if links else []
    return build_site(name, timezone, [*asset_rows, *extra], link_rows, report)


def build_site(
    name: str, timezone: str, assets: Sequence[Row], links: Sequence[Row] = (), report: _Report | None = None
) -> Site:
    """A checked site from rows. An asset of kind ``site`` is added where the rows name none; assets without a parent
    that belong directly into a site get it as parent."""
    report = report or _Report()
    if not any(row.cells.get("kind") == "site" for row in assets):
        assets = [Row("[site] name", {"id": name, "kind": "site"}), *assets]
    if len(assets) > MAX_ASSETS:
        report.add(assets[0].where, f"{len(assets)} assets; the most that one site may have is {MAX_ASSETS}")
    everything, assets = assets, list(_with_known_kind(assets, report))
    refused = {row.cells.get("id", "") for row in everything} - {row.cells.get("id", "") for row in assets}
    ids = [row.cells.get("id", "") for row in assets]
    position = _positions(assets, ids, report)
    codes = np.array([_KIND_CODE[row.cells["kind"]] for row in assets], dtype=np.int16)
    parent = _parents(assets, codes, position, refused, report)
    numbers = _numbers(assets, report)
    _check_index(assets, report)
    columns = {column for row in assets for column, cell in row.cells.items() if cell}
    texts = {a: [row.cells.get(a, "") for row in assets] for a in TEXT_ATTRIBUTES if a in columns}
    for column, cells in {"id": ids, **texts}.items():
        _check_texts(assets, column, cells, report)
    for row in assets if "coolant" in texts else ():
        if (coolant := row.cells.get("coolant", "")) and not is_coolant(coolant):
            report.add(row.where, f"no coolant {coolant!r}; write {COOLANTS}")
    made = _links(links, position, codes, refused, report)
    report.stop_if_any()
    row_of = np.zeros(len(ids), dtype=np.int32)
    for code in range(len(KINDS)):
        mine = codes == code
        row_of[mine] = np.arange(np.count_nonzero(mine))
    return Site(name, timezone, tuple(ids), codes, row_of, parent, numbers, texts, made)


def _check_index(assets: Sequence[Row], report: _Report) -> None:
    """Of two of a kind that their node knows by one number nothing is ever read, unless they have serial numbers beside."""
    nodes = {row.cells.get("id", "") for row in assets if row.cells["kind"] == "node"}
    first: dict[tuple[str, str, str], Row] = {}
    for row in assets:
        kind, above, index = (row.cells.get(name, "") for name in ("kind", "parent", "index"))
        if not index or above not in nodes or row.cells.get("uuid"):
            continue
        before = first.setdefault((kind, above, index), row)
        if before is not row:
            what = f"{kind} {index} of {above} is {before.cells.get('id')!r} already ({before.where})"
            report.add(row.where, f"{row.cells.get('id')!r}: {what}; give each its own index")


def _check_texts(assets: Sequence[Row], column: str, cells: Sequence[str], report: _Report) -> None:
    """What begins a line or steers a terminal would do so wherever an id is logged, shown or written."""
    if not steers("".join(cells)):
        return
    for row, cell in zip(assets, cells, strict=True):
        if steers(cell):
            what = "has a character that begins a line or steers a terminal; take it out"
            report.add(row.where, f"column {column!r}: '{escaped(cell[:MAX_SHOWN])}' {what}")


def _with_known_kind(assets: Sequence[Row], report: _Report) -> Iterator[Row]:
    sites = 0
    for row in assets:
        kind = row.cells.get("kind", "")
        if kind not in _KIND_CODE:
            near = meant(kind, KINDS)
            hint = f"did you mean {near}?" if near else f"kinds are {', '.join(KINDS)}"
            report.add(row.where, f"no kind {kind!r}; {hint}")
            continue
        sites += kind == "site"
        if kind == "site" and sites > 1:
            report.add(row.where, "a second asset of kind 'site'; one table describes one site")
        yield row


def _positions(assets: Sequence[Row], ids: list[str], report: _Report) -> dict[str, int]:
    position: dict[str, int] = {}
    for i, (row, asset) in enumerate(zip(assets, ids, strict=True)):
        if not asset:
            report.add(row.where, "an asset without an id; give it one that is unique in the site")
        elif asset in position:
            first = assets[position[asset]]
            parents = [r.cells.get("parent", "") for r in (first, row)]
            what = f"two parents, {parents[0]!r} and {parents[1]!r}" if parents[0] != parents[1] else "listed twice"
            report.add(row.where, f"asset {asset!r}: {what} (first at {first.where}); keep one line")
        else:
            position[asset] = i
    return position


def _parents(
    assets: Sequence[Row], codes: np.ndarray, position: dict[str, int], refused: set[str], report: _Report
) -> np.ndarray:
    kinds = tuple(KINDS.values())
    site = next((i for i, code in enumerate(codes) if kinds[code].name == "site"), -1)
    parent = np.full(len(assets), -1, dtype=np.int32)
    for i, row in enumerate(assets):
        kind, above = kinds[codes[i]], row.cells.get("parent", "")
        if kind.name == "site":
            if above:
                report.add(row.where, f"the site cannot have a parent; leave {above!r} out")
            continue
        if not above and "site" in kind.parents:
            parent[i] = site
            continue
        here = position.get(above, -1)
        if here < 0 and above in refused:
            continue  # its own line was reported
        if here < 0:
            what = f"parent {above!r} is no asset" if above else "has no parent"
            report.add(row.where, f"{row.cells.get('id')!r}: {what}; a {kind.name} stands in a {' or '.join(kind.parents)}")
        elif kinds[codes[here]].name not in kind.parents:
            wrong = kinds[codes[here]].name
            report.add(
                row.where,
                f"{row.cells.get('id')!r}: a {kind.name} cannot stand in a {wrong}, only in {' or '.join(kind.parents)}",
            )
        else:
            parent[i] = here
    return parent  # no cycle is possible: what may contain what is itself free of cycles


def _numbers(assets: Sequence[Row], report: _Report) -> dict[str, np.ndarray]:
    columns = {name: np.full(len(assets), np.nan) for name in NUMBER_ATTRIBUTES}
    given: set[str] = set()
    for i, row in enumerate(assets):
        for name, cell in row.cells.items():
            if not cell or name not in NUMBER_ATTRIBUTES:
                continue
            try:
                value = float(cell)
            except ValueError:
                value = math.nan
            low, high = attribute_range(name)
            if not low <= value <= high:
                within = f", from {low:g} to {high:g}" if high < 1e6 else ""
                report.add(row.where, f"{name} is {cell!r}; write a number of {NUMBER_ATTRIBUTES[name]}, digits only{within}")
                continue
            columns[name][i] = value
            given.add(name)
    return {name: columns[name] for name in NUMBER_ATTRIBUTES if name in given}


def _links(
    rows: Sequence[Row], position: dict[str, int], codes: np.ndarray, refused: set[str], report: _Report
) -> dict[str, Links]:
    kinds = tuple(KINDS)
    found: dict[str, list[tuple[int, int, float, Row]]] = {relation: [] for relation in RELATIONS}
    seen: dict[tuple[str, str, str], str] = {}
    for row in rows:
        source, target, relation = (row.cells.get(c, "") for c in ("from", "to", "relation"))
        if relation not in RELATIONS:
            report.add(row.where, f"no relation {relation!r}; relations are {', '.join(RELATIONS)}")
            continue
        missing = [end for end in (source, target) if end not in position]
        if missing:
            _report_missing([end for end in missing if end not in refused], row, report)
            continue
        if wrong := _link_problem(source, target, relation, kinds[codes[position[source]]]):
            report.add(row.where, wrong)
            continue
        if (first := seen.setdefault((source, target, relation), row.where)) != row.where:
            report.add(row.where, f"{source!r} {relation} {target!r} stands twice (first at {first}); keep one line")
            continue
        found[relation].append((position[source], position[target], _share(row, report), row))
    links = empty_links()
    for relation, entries in found.items():
        if entries:
            if relation != "connects":
                _check_acyclic(relation, entries, position, report)
            links[relation] = _shared_links(relation, entries, report)
    return links


def _link_problem(source: str, target: str, relation: str, kind: str) -> str:
    if source == target:
        return f"{source!r} {relation} itself; leave the line out"
    if kind in NO_SOURCES.get(relation, ()):
        what = f"a {kind} {relation} nothing, as the relation carries {RELATIONS[relation]}"
        return f"{source!r} {relation} {target!r}: {what}; turn the link round or leave it out"
    return ""


def _report_missing(ends: Sequence[str], row: Row, report: _Report) -> None:
    if ends:  # an asset that was refused is reported where it stands
        report.add(row.where, f"link to {ends[0]!r}, which is no asset; add it to the assets table or mend the id")


def _share(row: Row, report: _Report) -> float:
    cell = row.cells.get("share", "")
    if not cell:
        return math.nan
    try:
        share = float(cell)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        report.add(row.where, f"share is {cell!r}; write a fraction from 0 to 1 or leave it empty for equal parts")
        return math.nan
    return share


def _shared_links(relation: str, entries: Sequence[tuple[int, int, float, Row]], report: _Report) -> Links:
    source = np.array([e[0] for e in entries], dtype=np.int32)
    target = np.array([e[1] for e in entries], dtype=np.int32)
    share = np.array([e[2] for e in entries])
    n = int(target.max()) + 1
    given = np.bincount(target[~np.isnan(share)], weights=share[~np.isnan(share)], minlength=n)
    blanks = np.bincount(target[np.isnan(share)], minlength=n)
    if relation != "connects":
        linked = np.bincount(target, minlength=n) > 0
        wrong = linked & np.where(blanks > 0, given > 1 + 1e-9, np.abs(given - 1) > 1e-6)
        for _, t, _, row in entries:
            if wrong[t]:
                wrong[t] = False  # one sentence for each target
                report.add(
                    row.where, f"the shares of what {relation} {row.cells['to']!r} sum to {given[t]:g}; make them sum to 1"
                )
    rest = np.maximum(1 - given, 0) / np.maximum(blanks, 1)
    return Links(source, target, np.where(np.isnan(share), rest[target], share))


def _check_acyclic(
    relation: str, entries: Sequence[tuple[int, int, float, Row]], position: dict[str, int], report: _Report
) -> None:
    """Reports every cycle that shares no link with one reported before, at most ``_MAX_CYCLES``."""
    names = {p: asset for asset, p in position.items()}
    links = [(s, t, row) for s, t, _, row in entries]
    for _ in range(_MAX_CYCLES):
        left = _on_or_behind_cycle(links)
        if not left:
            return
        cycle = _one_cycle(left, links)
        steps = set(zip(cycle, (*cycle[1:], cycle[0]), strict=True))
        row = next(row for s, t, row in links if (s, t) in steps)
        ring = " -> ".join(names[p] for p in (*cycle, cycle[0]))
        report.add(row.where, f"a cycle in {relation!r}: {ring}; one of these links points the wrong way")
        links = [(s, t, row) for s, t, row in links if (s, t) not in steps]


def _on_or_behind_cycle(links: Sequence[tuple[int, int, Row]]) -> set[int]:
    """Kahn's algorithm: whatever cannot be taken off from the roots stands on a cycle or behind one."""
    after: dict[int, list[int]] = {}
    waiting = Counter(t for _, t, _ in links)
    for s, t, _ in links:
        after.setdefault(s, []).append(t)
    ready = [s for s in after if waiting[s] == 0]
    while ready:
        for t in after.get(ready.pop(), ()):
            waiting[t] -= 1
            if waiting[t] == 0:
                ready.append(t)
    return {t for t, count in waiting.items() if count > 0}


def _one_cycle(left: set[int], links: Sequence[tuple[int, int, Row]]) -> list[int]:
    """One cycle among ``left``: everything there has a predecessor there, so walking back must come round."""
    before = {t: s for s, t, _ in links if t in left and s in left}
    path: dict[int, int] = {}
    here = next(iter(before))
    while here not in path:
        path[here] = len(path)
        here = before[here]
    return list(path)[path[here] :][::-1]
