"""The demo centre's tables: halls of liquid-cooled racks, their loops, power chain, network and yard, for any number of GPUs.

A hall has at most 64 racks of 8 nodes of 8 GPUs (4,096 GPUs) in rows of at most 11; at the end of each row stands the CDU
that cools it. Each rack has two PDUs, fed by its row's UPS modules of side A and side B (2N). Sizes follow from one number,
the GPU's design power, with the usual margins. ``rated_w`` is electrical design power throughout, ``rated_kgps`` the design
flow of the coolant that an asset moves or takes.
"""

import math
from dataclasses import dataclass, field
from typing import TypeVar

from twin.errors import ConfigError, Problem
from twin.load import Row

T = TypeVar("T")

MIN_GPUS = 8
MAX_GPUS = 100_000
GPUS_PER_NODE = 8
NODES_PER_RACK = 8
RACKS_PER_HALL = 64
RACKS_PER_ROW = 11

GPU_W = 1000.0  # HGX B200 class, liquid-cooled
NODE_W = 10_900.0  # 8 GPUs, hosts, network cards, power-supply loss
RACK_EXTRA_W = 2_500.0  # leaf switch, management, manifold controls
RACK_RISE_K = 10.0  # coolant, design: 1.5 L/min per kW (OCP)
CP_PG25 = 3956.7  # J/(kg K), propylene glycol 25 % at 35 °C
CP_WATER = 4180.0  # J/(kg K)
PRIMARY_RISE_K = 9.0  # facility water over a CDU, design
PUMP_AT_DESIGN = 0.512  # power at 80 % speed, at which CDU pumps deliver the design flow (affinity, 0.8 cubed)
CHILLER_COP = 5.0  # at design; what a chiller's rated_w stands for
HEAD_PA_PER_ETA = {"cdu": 250e3 / 0.55, "hall": 170e3 / 0.70, "plant": 130e3 / 0.72}  # pump head over its efficiency
TOWER_W_PER_W = 0.013  # fan power over heat rejected, design

_RACK_PITCH_M, _ROW_PITCH_M, _HALL_GAP_M = 0.8, 3.2, 10.0
_HALL_M = (1.6 + RACKS_PER_ROW * _RACK_PITCH_M + 6.0, 6 * _ROW_PITCH_M)  # room with its electrical strip in the west
_U_M = 0.04445
DISKS_PER_STORE = 24  # of a file system that are looked at by their health; a shelf of them
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass
class _Tables:
    assets: list[Row] = field(default_factory=list)
    links: list[Row] = field(default_factory=list)

    def asset(self, id_: str, kind: str, parent: str = "", /, **cells: float | str) -> None:
        texts = {name: cell if isinstance(cell, str) else f"{cell:.10g}" for name, cell in cells.items()}
        self.assets.append(Row("(the demo centre)", {"id": id_, "kind": kind, "parent": parent, **texts}))

    def link(self, source: str, target: str, relation: str, share: float | None = None) -> None:
        cells = {"from": source, "to": target, "relation": relation, "share": "" if share is None else f"{share:g}"}
        self.links.append(Row("(the demo centre)", cells))

    def both(self, side_a: str, side_b: str, target: str) -> None:
        """Feed ``target`` from two sides, half each."""
        self.link(side_a, target, "feeds", 0.5)
        self.link(side_b, target, "feeds", 0.5)


def demo_rows(gpus: int) -> tuple[list[Row], list[Row]]:
    """Rows (assets, links) of a centre of ``gpus`` GPUs, 8 to 100,000, for ``twin.load.build_site``.

    Source assets are left out: they come from the configuration. Raises ``ConfigError`` where ``gpus`` is out of bounds.
    """
    if not MIN_GPUS <= gpus <= MAX_GPUS:
        what = f"a simulated centre has {MIN_GPUS} to {MAX_GPUS} GPUs, not {gpus}; choose a number in between"
        raise ConfigError([Problem("gpus", what)])
    tables = _Tables()
    widths = [min(GPUS_PER_NODE, gpus - i) for i in range(0, gpus, GPUS_PER_NODE)]
    racks = [widths[i : i + NODES_PER_RACK] for i in range(0, len(widths), NODES_PER_RACK)]
    halls = _split(racks, math.ceil(len(racks) / RACKS_PER_HALL))
    it_w = sum(_rack_w(rack) for rack in racks)
    columns = math.ceil(math.sqrt(len(halls)))
    _yard(tables, it_w, columns, math.ceil(len(halls) / columns))
    for i, hall in enumerate(halls):
        x_m = (i % columns) * (_HALL_M[0] + _HALL_GAP_M)
        y_m = (i // columns) * (_HALL_M[1] + _HALL_GAP_M)
        _hall(tables, f"h{i + 1}", hall, x_m, y_m)
    return tables.assets, tables.links


def _split(items: list[T], parts: int) -> list[list[T]]:
    """``items`` in ``parts`` runs whose lengths differ by at most one."""
    size, more = divmod(len(items), parts)
    ends = [size * (i + 1) + min(i + 1, more) for i in range(parts)]
    return [items[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _rack_w(rack: list[int]) -> float:
    return sum(NODE_W * width / GPUS_PER_NODE for width in rack) + RACK_EXTRA_W


def _pump_w(flow_kgps: float, where: str) -> float:
    return flow_kgps / 1000.0 * HEAD_PA_PER_ETA[where]


def _yard(tables: _Tables, it_w: float, columns: int, lines: int) -> None:
    """What the halls share: grid, transformers of the cooling plant, plant loop, chillers, towers, sun, battery, queue."""
    north_m = lines * (_HALL_M[1] + _HALL_GAP_M) + 4
    heat_w = 1.08 * it_w
    flow_kgps = heat_w / (CP_WATER * PRIMARY_RISE_K)
    tables.asset("grid", "grid", name="Public grid")
    tables.asset("weather", "weather", name="Weather station", x_m=-12, y_m=north_m, z_m=3)
    tables.asset("meter-grid", "meter", name="Grid meter", rated_w=1.5 * it_w, x_m=-12, y_m=0, z_m=1)
    tables.asset("slurm-sim", "queue", name="Slurm (simulated)")
    tables.asset("pv", "pv", name="Photovoltaics on the roofs", rated_w=0.02 * it_w, x_m=0, y_m=0, z_m=7)
    tables.asset("bess", "battery", name="Battery store", rated_w=0.04 * it_w, x_m=-12, y_m=8, z_m=0)
    tables.link("grid", "bess", "feeds")
    for side in "ab":
        _transformer(tables, f"plant-t{side}", "", 0.30 * it_w + 20e3, -12, 12 if side == "a" else 16)
    tables.asset("plant-loop", "loop", name="Plant loop", rated_kgps=flow_kgps, x_m=4, y_m=north_m, z_m=3)
    for i in (1, 2):
        pump_w = 0.75 * _pump_w(flow_kgps, "plant")
        tables.asset(f"plant-loop-p{i}", "pump", "plant-loop", rated_w=pump_w, rated_kgps=0.75 * flow_kgps)
        tables.both("plant-ta", "plant-tb", f"plant-loop-p{i}")
    units = max(1, math.ceil(heat_w / 4e6)) + 1  # one more than needed
    each_w = heat_w / (units - 1)
    for i in range(1, units + 1):
        x_m = 3.0 + 7 * (i - 1)
        size = {"rated_w": each_w / CHILLER_COP, "rated_kgps": flow_kgps / (units - 1)}
        tables.asset(f"ch{i}", "chiller", name=f"Chiller {i}", x_m=x_m, y_m=north_m + 5, z_m=0, **size)
        tables.both("plant-ta", "plant-tb", f"ch{i}")
        tables.link(f"ch{i}", "plant-loop", "cools")
    for i in range(1, units + 1):
        size = {"rated_w": each_w * TOWER_W_PER_W, "rated_kgps": flow_kgps / (units - 1)}
        tables.asset(f"ct{i}", "tower", name=f"Cooling tower {i}", x_m=3.0 + 7 * (i - 1), y_m=north_m + 14, z_m=0, **size)
        tables.both("plant-ta", "plant-tb", f"ct{i}")
        for chiller in range(1, units + 1):
            tables.link(f"ct{i}", f"ch{chiller}", "cools")


def _transformer(tables: _Tables, id_: str, parent: str, rated_va: float, x_m: float, y_m: float) -> None:
    loss = {"no_load_loss_frac": 0.0012, "linear_loss_frac": 0.0, "square_loss_frac": 0.0085}
    tables.asset(id_, "transformer", parent, rated_va=rated_va, x_m=x_m, y_m=y_m, z_m=0, **loss)
    tables.link("grid", id_, "feeds")


def _hall(tables: _Tables, hall: str, racks: list[list[int]], x_m: float, y_m: float) -> None:
    it_w = sum(_rack_w(rack) for rack in racks)
    flow_kgps = 1.08 * it_w / (CP_WATER * PRIMARY_RISE_K)
    tables.asset(hall, "hall", name=f"Hall {hall[1:]}", rated_w=it_w, x_m=x_m, y_m=y_m, z_m=0)
    for side in "ab":
        _transformer(tables, f"{hall}-t{side}", hall, 1.2 * it_w + 10e3, x_m + 1, y_m + (2 if side == "a" else 6))
    tables.asset(f"{hall}-loop", "loop", hall, name=f"Hall {hall[1:]} water", rated_kgps=flow_kgps, x_m=x_m + 6, y_m=y_m, z_m=3)
    tables.link("plant-loop", f"{hall}-loop", "cools")
    for i in (1, 2):
        pump_w = 0.75 * _pump_w(flow_kgps, "hall")
        tables.asset(f"{hall}-loop-p{i}", "pump", f"{hall}-loop", rated_w=pump_w, rated_kgps=0.75 * flow_kgps)
        tables.both("plant-ta", "plant-tb", f"{hall}-loop-p{i}")
    store = f"{hall}-store"
    tables.asset(
        store, "storage", hall, name=f"File system of hall {hall[1:]}", rated_w=0.01 * it_w, x_m=x_m + 3, y_m=y_m + 17, z_m=0
    )
    tables.both(f"{hall}-ups-a1", f"{hall}-ups-b1", store)
    for d in range(1, DISKS_PER_STORE + 1):
        year = 2022 + d % 4
        tables.asset(f"{store}-d{d:02d}", "disk", store, index=d, model="Simulated HDD 20TB", installed=f"{year}-06-01")
    rows = _split(racks, math.ceil(len(racks) / RACKS_PER_ROW))
    spines = [f"{hall}-sp{i}" for i in range(1, 5 if len(racks) > 1 else 2)]
    for i, row in enumerate(rows):
        _row(tables, hall, f"{hall}-{_LETTERS[i]}", i, row, spines, x_m + 6, y_m + i * _ROW_PITCH_M)
    for i, spine in enumerate(spines):
        where = {"x_m": x_m + 6 + i * 0.8, "y_m": y_m + len(rows) * _ROW_PITCH_M, "z_m": 0.5}
        tables.asset(spine, "switch", hall, rated_w=2_200, **where)
        tables.both(f"{hall}-ups-a1", f"{hall}-ups-b1", spine)
        for p in (1, 2):
            tables.asset(f"{spine}-p{p}", "port", spine, index=p, device=f"Ethernet{p}")
        if i:
            tables.link(spines[0], spine, "connects")


def _row(
    tables: _Tables, hall: str, row: str, i: int, racks: list[list[int]], spines: list[str], x_m: float, y_m: float
) -> None:
    it_w = sum(_rack_w(rack) for rack in racks)
    flow_kgps = it_w / (CP_PG25 * RACK_RISE_K)
    tables.asset(row, "row", hall, rated_w=it_w, x_m=x_m, y_m=y_m, z_m=0)
    sides = [f"{hall}-ups-{side}{i + 1}" for side in "ab"]
    for side, ups in zip("ab", sides, strict=True):
        loss = {"no_load_loss_frac": 0.006, "linear_loss_frac": 0.014, "square_loss_frac": 0.012}
        where = {"x_m": x_m - (4.2 if side == "a" else 3.0), "y_m": y_m + 0.6, "z_m": 0.0}
        tables.asset(ups, "ups", hall, rated_va=1.15 * it_w + 5e3, **loss, **where)
        tables.link(f"{hall}-t{side}", ups, "feeds")
    cdu = f"{row}-cdu1"
    pump_w = _pump_w(flow_kgps, "cdu") / PUMP_AT_DESIGN
    tables.asset(cdu, "cdu", row, rated_w=pump_w + 300, rated_kgps=flow_kgps, x_m=x_m + 0.6, y_m=y_m + 0.6, z_m=0, height_u=48)
    tables.both(sides[0], sides[1], cdu)
    tables.link(f"{hall}-loop", cdu, "cools")
    for p in (1, 2):
        tables.asset(f"{cdu}-p{p}", "pump", cdu, index=p, rated_w=pump_w, rated_kgps=flow_kgps / 0.8)
    for r, widths in enumerate(racks):
        rack = f"{row}{r + 1:02d}"
        _rack(tables, rack, row, widths, spines, x_m + 1.6 + r * _RACK_PITCH_M, y_m + 0.6)
        tables.link(cdu, rack, "cools")
        for side, ups in zip("ab", sides, strict=True):
            tables.asset(f"{rack}-p{side}", "pdu", rack, rated_va=1.1 * _rack_w(widths))
            tables.link(ups, f"{rack}-p{side}", "feeds")
        tables.both(f"{rack}-pa", f"{rack}-pb", rack)


def _rack(tables: _Tables, rack: str, row: str, widths: list[int], spines: list[str], x_m: float, y_m: float) -> None:
    rated_w = _rack_w(widths)
    flow_kgps = rated_w / (CP_PG25 * RACK_RISE_K)
    tables.asset(
        rack, "rack", row, rated_w=rated_w, rated_kgps=flow_kgps, x_m=x_m, y_m=y_m, z_m=0, height_u=48, liquid_frac=0.95
    )
    leaf = f"{rack}-sw"
    tables.asset(leaf, "switch", rack, rated_w=1_100, u=44, height_u=2, x_m=x_m, y_m=y_m, z_m=round(43 * _U_M, 3))
    for p, spine in enumerate(spines, 1):
        tables.asset(f"{leaf}-p{p}", "port", leaf, index=p, device=f"Ethernet{p}")
        tables.link(spine, leaf, "connects")
    for n, width in enumerate(widths):
        node, u = f"{rack}-n{n + 1}", 3 + 5 * n
        z_m = round((u - 1) * _U_M, 3)
        size = {"rated_w": NODE_W * width / GPUS_PER_NODE, "u": u, "height_u": 5, "index": n + 1}
        tables.asset(node, "node", rack, hostname=node, x_m=x_m, y_m=y_m, z_m=z_m, **size)
        tables.link(leaf, node, "connects")
        for g in range(width):
            where = {"x_m": x_m + (g % 4 - 1.5) * 0.12, "y_m": y_m + (g // 4 - 0.5) * 0.35, "z_m": z_m}
            tables.asset(f"{node}-g{g}", "gpu", node, index=g, rated_w=GPU_W, **where)
