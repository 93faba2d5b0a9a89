"""The centre that the scene's benches draw: halls of racks with all their places, ten thousand GPUs or as many times more."""

from twin.load import Row, build_site
from twin.site import Site

NODES, RACKS, CDUS, HALLS, GPUS = 1_250, 320, 40, 4, 8  # 10,000 GPUs


def scene_site(times: int) -> Site:
    """``times`` 10,000 GPUs in 1,250 nodes, 320 racks and 40 CDUs, in halls of 80 racks, all with their places."""
    rows: list[Row] = []
    links: list[Row] = []

    def asset(id_: str, kind: str, parent: str = "", **cells: float) -> None:
        rows.append(Row("bench", {"id": id_, "kind": kind, "parent": parent} | {name: f"{v:g}" for name, v in cells.items()}))

    def link(source: str, target: str, relation: str) -> None:
        links.append(Row("bench", {"from": source, "to": target, "relation": relation}))

    asset("water", "loop", x_m=-8, y_m=0, z_m=3)
    for i in range(4):
        asset(f"ct{i}", "tower", x_m=-20, y_m=8 * i)
        link(f"ct{i}", "water", "cools")
    nodes = NODES * times
    for rack in range(RACKS * times):
        hall, place = divmod(rack, RACKS // HALLS)
        line, column = divmod(place, 8)
        x_m, y_m = 30.0 * (hall % 8) + 0.8 * column, 45.0 * (hall // 8) + 3.2 * line
        if place == 0:
            asset(f"h{hall}", "hall")
            asset(f"ups{hall}", "ups", f"h{hall}", x_m=x_m - 4, y_m=y_m)
        cdu = f"cdu{rack // 8}"
        if column == 0:
            asset(cdu, "cdu", f"h{hall}", x_m=x_m - 1, y_m=y_m)
            link("water", cdu, "cools")
            link(f"ups{hall}", cdu, "feeds")
        asset(f"r{rack}", "rack", f"h{hall}", x_m=x_m, y_m=y_m)
        link(cdu, f"r{rack}", "cools")
        link(f"ups{hall}", f"r{rack}", "feeds")
        first, last = (nodes * k // (RACKS * times) for k in (rack, rack + 1))
        for node in range(first, last):
            asset(f"n{node}", "node", f"r{rack}", u=3 + 8 * (node - first), height_u=8)
            for gpu in range(GPUS):
                asset(f"n{node}g{gpu}", "gpu", f"n{node}", index=gpu)
    return build_site("bench", "UTC", rows, links)
