"""The starting site of a machine: what ``icctwin init`` writes, from facts that the shell has gathered."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twin.kinds import KINDS, NUMBER_ATTRIBUTES, TEXT_ATTRIBUTES
from twin.load import Row
from twin.tables import table_text

NOT_WRITTEN = ("site", "source", "task", "process")  # come from the configuration
_ASSET_NOTES = (
    "What stands in the centre and in what. One line each: id, kind, parent; further columns are optional.",
    f"Kinds: {', '.join(kind for kind in KINDS if kind not in NOT_WRITTEN)}.",
    f"Further columns: {', '.join((*TEXT_ATTRIBUTES, *NUMBER_ATTRIBUTES))}. Numbers carry their unit in the column's name.",
    "Lines that begin with # are left out.",
)
_LINK_NOTES = (
    "What goes from where to where: relation is feeds (power), cools (heat) or connects (network).",
    "share (0-1) says how much of the target's load a source takes; empty means equal parts.",
    "As an example, a rack that two rack PDUs feed and a CDU cools, once those stand in assets.csv:",
    "pdu-a,rack-1,feeds,",
    "pdu-b,rack-1,feeds,",
    "cdu-1,rack-1,cools,",
)
_TOML = """\
# The configuration of this centre. Check it with: icctwin check --config site.toml

[site]
name = {name}
timezone = {timezone}  # whose days, weeks and hours of a tariff count; an IANA name
assets = "assets.csv"
links = "links.csv"

[store]
path = "var/store"

# What is read. This machine, once a second:
[[source]]
name = "this-machine"
type = "host"
node = {node}
every_s = 1

# Exporters of Prometheus, one block for each kind; take the # away and name your own:
# [[source]]
# name = "gpus"
# type = "prometheus"
# targets = ["http://127.0.0.1:9400/metrics"]
# mapping = "dcgm"
# node = {node}
#
# [[source]]
# name = "nodes"
# type = "prometheus"
# targets = ["http://127.0.0.1:9100/metrics"]
# mapping = "node_exporter"
# node = {node}
#
## The weather (Open-Meteo) and the grid, where the site has an asset of these kinds:
# [[source]]
# name = "sky"
# type = "weather"
# latitude = 31.23
# longitude = 121.47
#
## What others push (line protocol, remote write, OTLP); docs/sources.md says how:
# [[source]]
# name = "push"
# type = "push"
# token_file = "secrets/push-token"

[wall]
host = "127.0.0.1"
port = 8050
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts of one machine: GPUs as (uuid, model) in the driver's order, names of network interfaces, mount points."""

    hostname: str
    gpus: Sequence[tuple[str, str]] = ()
    interfaces: Sequence[str] = ()
    mounts: Sequence[str] = ()


def starter_rows(machine: Machine, hall: str = "hall-1", rack: str = "rack-1") -> list[Row]:
    """Asset rows of the machine: a hall, a rack, the node, its GPUs, ports and file systems.

    The node's id is the host name, so that sources find it; others are ``<host>/gpu0``, ``<host>/eth0``, ``<host>/data``.
    """
    node = machine.hostname
    cells: list[dict[str, str]] = [
        {"id": hall, "kind": "hall"},
        {"id": rack, "kind": "rack", "parent": hall},
        {"id": node, "kind": "node", "parent": rack, "hostname": node},
    ]
    for i, (uuid, model) in enumerate(machine.gpus):
        cells.append({"id": f"{node}/gpu{i}", "kind": "gpu", "parent": node, "index": str(i), "uuid": uuid, "model": model})
    taken = {row["id"] for row in cells}
    devices = [("port", name, name) for name in machine.interfaces]
    devices += [("storage", mount.strip("/").replace("/", "-") or "root", mount) for mount in machine.mounts]
    for kind, name, device in devices:
        # a mount point may be called like an interface, or two alike once their slashes are gone
        asset = next(f"{node}/{n}" for n in _variants(name, kind) if f"{node}/{n}" not in taken)
        taken.add(asset)
        cells.append({"id": asset, "kind": kind, "parent": node, "device": device})
    tidy = ({name: _clean(cell) for name, cell in row.items()} for row in cells)
    return [Row("(this machine)", row) for row in tidy]


def starter_files(machine: Machine, name: str = "my-centre", timezone: str = "UTC") -> Mapping[str, str]:
    """Name -> text of ``site.toml``, ``assets.csv`` and ``links.csv``, which load as they are."""
    columns = ("id", "kind", "parent", "hostname", "index", "uuid", "model", "device")
    # a JSON string is a TOML basic string
    said = {"name": json.dumps(name), "timezone": json.dumps(timezone), "node": json.dumps(_clean(machine.hostname))}
    return {
        "site.toml": _TOML.format(**said),
        "assets.csv": table_text(starter_rows(machine), _ASSET_NOTES, columns),
        "links.csv": table_text([], _LINK_NOTES, ("from", "to", "relation", "share")),
    }


def _variants(name: str, kind: str) -> Sequence[str]:
    return [name, f"{kind}-{name}", *(f"{name}-{i}" for i in range(2, 1000))]


def _clean(text: str) -> str:
    """Without what a table cannot hold: control characters, blanks around, a # in front."""
    return re.sub(r"[\x00-\x1f\x7f]", " ", text).strip().lstrip("#").strip()
