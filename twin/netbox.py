"""Reads what a centre keeps in NetBox: exports of racks, devices, power panels and power feeds become assets and links.

Two forms, as NetBox 4 writes them: the CSV of a list's *Export* button (the columns as titled on the screen, either view)
and the JSON of the REST API (``/api/dcim/racks/?limit=0`` and so on: an object with ``count``, ``next`` and ``results``).
What a file holds is told by its columns. Nothing is invented in silence: what is left out and what had to be assumed stands
in ``left_out`` and ``assumed``, with file and line.

| NetBox | here |
|---|---|
| location | hall; the site stands in for it where a rack has none |
| rack group | row |
| rack | rack |
| device | node, switch, storage, pdu, ups, cdu or chiller by its role; GPUs by a custom field or what the caller says |
| power panel | pdu |
| power feed | ``feeds`` from its panel to the PDU it is cabled to (JSON says so) and on to the rack, else to the rack |
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from twin.errors import ConfigError, Problem
from twin.kinds import KINDS
from twin.load import MAX_ASSETS, Row

MAX_BYTES = 1_000_000_000  # of one file
MAX_NOTES = 1000  # kept of ``left_out`` and of ``assumed``; further ones are counted in a last line
MAX_GPUS = 64  # of one device
GONE = frozenset({"planned", "inventory", "decommissioning", "deprecated", "reserved"})  # states of what does not run here
# word of a role -> kind; the first word that is known counts
ROLE_WORDS: Mapping[str, str] = {
    "pdu": "pdu", "ups": "ups", "cdu": "cdu", "chiller": "chiller",
    "switch": "switch", "leaf": "switch", "spine": "switch", "tor": "switch", "superspine": "switch",
    "storage": "storage", "nas": "storage", "san": "storage", "filer": "storage",
    "server": "node", "compute": "node", "gpu": "node", "node": "node", "hypervisor": "node", "host": "node",
}  # fmt: skip
GPU_FIELDS = ("gpu_count", "gpus", "number_of_gpus")  # custom fields that say how many GPUs a device has
_TITLES = {
    "type": "device_type",
    "height": "u_height",
    "ip_address": "primary_ip",
    "device_role": "role",
    "group": "rack_group",
}


@dataclass(frozen=True)
class Import:
    """Rows for ``twin.load.build_site``, and what the operator should look at."""

    assets: list[Row] = field(default_factory=list)
    links: list[Row] = field(default_factory=list)
    left_out: list[Problem] = field(default_factory=list)
    assumed: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Record:
    """One NetBox object: its cells by NetBox's own field names, references as the name of what they point to."""

    where: str
    cells: Mapping[str, str]
    peers: tuple[str, ...] = ()  # devices at the other end of its cable

    def get(self, name: str) -> str:
        return self.cells.get(name, "")


_Tables = dict[str, list[_Record]]


def read_netbox(
    files: Sequence[Path], *, gpus_per_node: int = 0, site: str = "", roles: Mapping[str, str] | None = None
) -> Import:
    """The centre in ``files``, in any order.

    ``gpus_per_node``: GPUs of a node whose record does not say; ``site``: which NetBox site, needed where the files hold
    several; ``roles``: role (as NetBox writes it) -> kind, "" to leave it out, before the words that are known by
    themselves. ``ConfigError`` with every file that cannot be read or is none of the four tables.
    """
    tables: _Tables = {"rack": [], "device": [], "power panel": [], "power feed": []}
    made = Import()
    unknown = sorted(set((roles or {}).values()) - {"", *KINDS})
    problems = [Problem("roles", f"no kind {kind!r}; kinds are {', '.join(KINDS)}") for kind in unknown]
    for path in files:
        try:
            _read(path, tables, made)
        except ConfigError as error:
            problems += error.problems
    sites = sorted({record.get("site") for records in tables.values() for record in records} - {""})
    if not problems and site and site not in sites:
        problems.append(Problem("site", f"no site {site!r} in these files; they have {', '.join(sites) or 'none'}"))
    if not problems and not site and len(sites) > 1:
        problems.append(Problem("site", f"the files hold {len(sites)} sites: {', '.join(sites[:20])}; name one with --site"))
    if sum(map(len, tables.values())) > MAX_ASSETS:
        problems.append(Problem("files", f"over {MAX_ASSETS} objects; one site may not have more"))
    if problems:
        raise ConfigError(problems)
    return _Importer(tables, made, gpus_per_node, site or (sites[0] if sites else "site"), roles or {}).run()


# reading


def _read(path: Path, tables: _Tables, made: Import) -> None:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError([Problem(str(path), f"is over {MAX_BYTES} bytes; export in parts")])
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error.strerror}); name an export of NetBox")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), "is not UTF-8 text; name a CSV or JSON export of NetBox")]) from error
    records = list(_json_records(path, text, made) if text.lstrip()[:1] in ("{", "[") else _csv_records(path, text))
    if not records:
        made.left_out.append(Problem(str(path), "holds no objects"))
        return
    names = {name for record in records for name in record.cells}
    tables[_table(path, names)].extend(records)


def _table(path: Path, names: set[str]) -> str:
    """Which table has these fields."""
    if "power_panel" in names:
        return "power feed"
    if "u_height" in names and "site" in names and "rack" not in names:
        return "rack"
    if {"device_type", "role"} <= names:
        return "device"
    if {"name", "site"} <= names and names & {"powerfeed_count", "power_feeds", "feeds"}:
        return "power panel"
    what = f"is no export of racks, devices, power panels or power feeds; its columns are {', '.join(sorted(names)[:12])}"
    raise ConfigError([Problem(str(path), what)])


def _csv_records(path: Path, text: str) -> Iterator[_Record]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [_field(title) for title in next(reader, [])]
        for cells in reader:
            if len(cells) > len(header):
                what = f"{len(cells)} cells under {len(header)} columns; export it again"
                raise ConfigError([Problem(f"{path}:{reader.line_num}", what)])
            if any(cells):
                pairs = zip(header, map(str.strip, cells), strict=False)
                # NetBox writes a dash for what is not set
                yield _Record(f"{path}:{reader.line_num}", {name: "" if cell == "—" else cell for name, cell in pairs})
    except csv.Error as error:
        raise ConfigError([Problem(f"{path}:{reader.line_num}", f"is no CSV ({error}); export it again")]) from error


def _field(title: str) -> str:
    """NetBox's field for the title of a column: "Available Power (VA)" -> available_power."""
    name = re.sub(r"[^a-z0-9]+", "_", re.sub(r"\(.*?\)", "", title.lower())).strip("_").removeprefix("cf_")
    return _TITLES.get(name, name)


def _json_records(path: Path, text: str, made: Import) -> Iterator[_Record]:
    try:
        page = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigError([Problem(str(path), f"is no JSON ({error}); save the answer of the REST API again")]) from error
    results = page.get("results") if isinstance(page, dict) else page
    if not isinstance(results, list) or not all(isinstance(entry, dict) for entry in results):
        what = "has no list of objects under 'results'; save the answer of a list such as /api/dcim/racks/?limit=0"
        raise ConfigError([Problem(str(path), what)])
    if isinstance(page, dict) and page.get("next"):
        what = f"is one page of several ({len(results)} of {page.get('count')}): add the others, or export with ?limit=0"
        made.left_out.append(Problem(str(path), what))
    for i, entry in enumerate(results):
        custom = entry.get("custom_fields")
        fields = {**(custom if isinstance(custom, dict) else {}), **entry}
        cells = {"rack_group" if name == "group" else name: _plain(value) for name, value in fields.items()}
        cells.setdefault("role", cells.get("device_role", ""))  # NetBox before 4.0
        yield _Record(f"{path}: results[{i}]", cells, tuple(_peers(entry)))


def _plain(value: Any) -> str:
    """A reference as its name, a choice as its value, a number or text as it is, all else as nothing."""
    if isinstance(value, dict):
        return next((_plain(value[key]) for key in ("value", "name", "model", "address", "display") if value.get(key)), "")
    return str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _peers(entry: Mapping[str, Any]) -> Iterator[str]:
    ends = entry.get("connected_endpoints")
    for end in ends if isinstance(ends, list) else ():
        if isinstance(end, dict) and isinstance(end.get("device"), dict):
            yield _plain(end["device"])


# mapping


class _Importer:
    def __init__(self, tables: _Tables, made: Import, gpus: int, site: str, roles: Mapping[str, str]) -> None:
        self._tables, self._made, self._gpus, self._site = tables, made, gpus, site
        self._roles = {role.lower(): kind for role, kind in roles.items()}
        self._ids = {site}  # the site itself is called so
        self._halls: dict[str, str] = {}
        self._rows: dict[tuple[str, str], str] = {}
        self._racks: dict[tuple[str, str], list[str]] = {}  # (location, name), and ("", name): ids
        self._hall_of: dict[str, str] = {}  # rack id -> hall id
        self._devices: dict[str, tuple[str, str, str]] = {}  # name -> id, kind, rack id
        self._panels: dict[str, str] = {}
        self._links: dict[tuple[str, str], str] = {}

    def run(self) -> Import:
        """Racks, then what stands in them, then what feeds them; at last what no link reaches."""
        for name, take in (
            ("rack", self._rack), ("device", self._device), ("power panel", self._panel), ("power feed", self._feed)
        ):  # fmt: skip
            for record in self._tables[name]:
                if record.get("site") not in ("", self._site):
                    self._skip(record, f"{name} {record.get('name')!r} is of site {record.get('site')!r}")
                elif record.get("status").lower() in GONE:
                    self._skip(record, f"{name} {record.get('name')!r} is {record.get('status').lower()}")
                elif not record.get("name"):
                    self._skip(record, f"a {name} without a name; name it in NetBox")
                else:
                    take(record)
        for (source, target), where in self._links.items():
            self._made.links.append(Row(where, {"from": source, "to": target, "relation": "feeds"}))
        self._unlinked()
        for notes in (self._made.left_out, self._made.assumed):
            if len(notes) > MAX_NOTES:
                notes[MAX_NOTES:] = [Problem("…", f"{len(notes) - MAX_NOTES} more are not listed")]
        return self._made

    def _unlinked(self) -> None:
        linked = {end for link in self._links for end in link}
        for asset, kind, _ in self._devices.values():
            if kind in ("pdu", "ups", "cdu", "chiller") and asset not in linked:
                relation = "cools" if kind in ("cdu", "chiller") else "feeds"
                self._made.left_out.append(Problem(asset, f"the export does not say what this {kind} {relation}: add to links"))
        known = [one for one in self._tables["device"] if one.get("name") in self._devices]
        if bare := sum(not one.get("primary_ip") for one in known):
            what = (
                f"{bare} of {len(known)} devices have none, and icctwin discover finds them by it: fill in the column address"
            )
            self._made.left_out.append(Problem("primary IP", what))

    def _skip(self, record: _Record, why: str) -> None:
        self._made.left_out.append(Problem(record.where, why))

    def _assume(self, record: _Record, what: str) -> None:
        self._made.assumed.append(Problem(record.where, what))

    def _asset(self, record: _Record, kind: str, name: str, parent: str, holder: str = "", **more: str) -> str:
        """Add an asset; its id is its name, or with kind or holder in front where that name is taken."""
        above = holder or parent
        tries = (name, *([f"{above}/{name}"] if above else []), f"{kind}/{name}", f"{above}/{kind}/{name}")
        asset = next((t for t in tries if t not in self._ids and not t.startswith("#")), "")
        if not asset:
            self._skip(record, f"a second {kind} {name!r} in {parent or self._site!r}; names must differ")
            return ""
        if asset != name:
            self._assume(record, f"{kind} {name!r} is called {asset!r} here, because its own name is taken or begins with '#'")
        self._ids.add(asset)
        cells = {"id": asset, "kind": kind, "parent": parent, "name": name if asset != name else "", **more}
        self._made.assets.append(Row(record.where, {key: cell for key, cell in cells.items() if cell}))
        return asset

    def _hall(self, record: _Record) -> str:
        """Hall of the record's location; the site stands in for one that has none."""
        location = record.get("location")
        if location not in self._halls:
            if not location:
                self._assume(record, f"has no location: a hall {self._site!r} was made for it and others without one")
            self._halls[location] = self._asset(record, "hall", location or self._site, "")
        return self._halls[location]

    def _rack(self, record: _Record) -> None:
        name, hall, group = record.get("name"), self._hall(record), record.get("rack_group")
        parent = hall
        if group:
            key = (hall, group)
            if key not in self._rows:
                self._assume(record, f"rack group {group!r} is taken as a row of hall {hall!r}")
                self._rows[key] = self._asset(record, "row", group, hall, hall)
            parent = self._rows[key]
        height = record.get("u_height").removesuffix("U")
        more = {"height_u": height} if _is_number(height) else {}
        rack = self._asset(record, "rack", name, parent, hall, **more)
        if not rack:
            return
        self._hall_of[rack] = hall
        facility = record.get("facility_id")
        for said in {name, f"{name} ({facility})" if facility else name}:  # as other tables may call it
            for location in {record.get("location"), ""}:
                self._racks.setdefault((location, said), []).append(rack)

    def _find_rack(self, record: _Record) -> str:
        """Id of the rack that the record names; "" with a word where there is none or more than one."""
        name = record.get("rack")
        if not name:
            return ""
        found = self._racks.get((record.get("location"), name)) or self._racks.get(("", name), [])
        if len(found) == 1:
            return found[0]
        what = f"rack {name!r} is not in the export of racks" if not found else f"{len(found)} racks are called {name!r}"
        self._skip(record, f"{record.get('name')!r}: {what}")
        return ""

    def _kind(self, record: _Record) -> str:
        role = record.get("role").lower()
        if role in self._roles:
            return self._roles[role]
        words = re.split(r"[^a-z0-9]+", role)
        return next((ROLE_WORDS[word] for word in words if word in ROLE_WORDS), "?")

    def _device(self, record: _Record) -> None:
        name, kind = record.get("name"), self._kind(record)
        if kind in ("", "?"):
            why = "left out by the caller" if not kind else "not known; say which kind it is: --role"
            self._skip(record, f"device {name!r}: role {record.get('role')!r} is {why}")
            return
        rack = self._find_rack(record)
        if not rack and record.get("rack"):
            return
        parent = self._parent(record, kind, rack)
        if parent is None:
            self._skip(record, f"device {name!r}: a {kind} stands in a {' or '.join(KINDS[kind].parents)}, and it has no rack")
            return
        more = {"model": record.get("device_type"), "address": record.get("primary_ip").split("/")[0]}
        if _is_number(record.get("position")) and parent == rack:
            more["u"] = record.get("position")
        if kind == "node":
            more["hostname"] = name
        asset = self._asset(record, kind, name, parent, rack, **more)
        if asset:
            self._devices[name] = (asset, kind, rack)
            if kind == "node":
                self._add_gpus(record, asset)

    def _parent(self, record: _Record, kind: str, rack: str) -> str | None:
        """What contains a device: its rack where its kind may stand in one, else the hall; None where neither may."""
        allowed = KINDS[kind].parents
        if rack and "rack" in allowed:
            return rack
        if "hall" in allowed:
            if rack:
                self._assume(record, f"{kind} {record.get('name')!r} is put in the hall of its rack {rack!r}")
                return self._hall_of[rack]
            return self._hall(record)
        return "" if "site" in allowed else None

    def _add_gpus(self, record: _Record, node: str) -> None:
        said = next((record.get(name) for name in GPU_FIELDS if record.get(name)), "")
        count = self._gpus
        if said:
            count = int(float(said)) if _is_number(said) else -1
            if not 0 <= count <= MAX_GPUS or count != float(said):
                self._skip(record, f"{node!r}: its number of GPUs is {said!r}; write a whole number from 0 to {MAX_GPUS}")
                return
        elif count:
            self._assume(record, f"{node!r} has {count} GPUs, as the caller said of nodes that do not say")
        for i in range(count):
            self._asset(record, "gpu", f"{node}/gpu{i}", node, index=str(i))

    def _panel(self, record: _Record) -> None:
        hall = self._hall(record) if record.get("location") else ""
        self._panels[record.get("name")] = self._asset(record, "pdu", record.get("name"), hall, hall or self._site)

    def _feed(self, record: _Record) -> None:
        name, panel = record.get("name"), record.get("power_panel")
        if record.get("status").lower() not in ("", "active"):
            self._skip(record, f"power feed {name!r} is {record.get('status').lower()}")
            return
        if panel and not self._tables["power panel"] and panel not in self._panels:
            self._assume(record, f"power panel {panel!r} stands in the site, because panels were not exported")
            self._panels[panel] = self._asset(record, "pdu", panel, "", self._site)
        if not self._panels.get(panel):
            self._skip(record, f"power feed {name!r}: its panel {panel!r} is not in the export of power panels")
            return
        rack = self._find_rack(record)
        if not rack:
            if not record.get("rack"):
                self._skip(record, f"power feed {name!r} names no rack")
            return
        via = [self._devices[peer] for peer in record.peers if peer in self._devices]
        inside = [asset for asset, kind, where in via if kind == "pdu" and where == rack]
        path = [self._panels[panel], *inside[:1], rack]
        pairs = list(pairwise(path))
        if all(pair in self._links for pair in pairs):
            self._assume(record, f"power feed {name!r} is a further one from {path[0]!r} to {path[1]!r}: one link here")
        for pair in pairs:
            self._links.setdefault(pair, record.where)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None
