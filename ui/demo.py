"""The demo: a simulated centre beside this very machine, described by the same files that a real centre has."""

import json
from collections.abc import Sequence
from pathlib import Path

from ingest.sources.simulated.layout import demo_rows
from twin.load import Row
from twin.starter import starter_rows
from twin.tables import write_table
from ui.machine import machine_facts

CORNER = "local"  # hall and rack of this machine; ids of the simulated halls begin with "h" and a number

_TOML = """\
# A demo of icctwin: {gpus} simulated GPUs, and this machine as it really is.
[site]
name = "Demo centre"
timezone = "Asia/Shanghai"
assets = "assets.csv"
links = "links.csv"

[store]
path = "store"
max_bytes = 4_000_000_000

[wall]
port = {port}

[energy]
currency = "EUR"  # the simulated market is a European one

[alerts]
oncall = "oncall.toml"

[report]
pue_limit = 1.25

[[source]]
name = "sim"
type = "simulated"
gpus = {gpus}
seed = {seed}
history_days = 15
leave_out = ["{corner}"]

[[source]]
name = "this-machine"
type = "host"
node = {host}
"""

_ONCALL = """\
# Who is told of alerts: nobody yet. Channels, people, routes and heartbeats: docs/oncall.md
[delivery]
outside = "http://127.0.0.1:{port}"  # links in reports lead here
"""


def write_demo(folder: Path, *, gpus: int, seed: int, port: int) -> Path:
    """Write the demo's configuration into ``folder``; gives the path of its ``site.toml``. An on-call file that is there stays
    as it is: people write into it who is told."""
    folder.mkdir(parents=True, exist_ok=True)
    assets, links = demo_rows(gpus)
    machine = machine_facts()
    corner = starter_rows(machine, hall=CORNER, rack=f"{CORNER}-rack")
    write_table(folder / "assets.csv", [*assets, *corner])
    write_table(folder / "links.csv", links)
    if not (oncall := folder / "oncall.toml").exists():
        oncall.write_text(_ONCALL.format(port=port), encoding="utf-8")
    path = folder / "site.toml"
    host = json.dumps(node_id(corner))
    path.write_text(_TOML.format(gpus=gpus, seed=seed, port=port, host=host, corner=CORNER), encoding="utf-8")
    return path


def node_id(rows: Sequence[Row]) -> str:
    """Id of the node among ``rows``."""
    return next(row.cells["id"] for row in rows if row.cells["kind"] == "node")
