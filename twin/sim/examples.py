"""Sites of published shape, to run the twin on with no data at all."""

import numpy as np

from twin.load import Row, build_site
from twin.params import FRONTIER_NODE, Params, PlantParams
from twin.sim.fleet import Fleet
from twin.sim.scenario import Change
from twin.sim.trace import Trace, trace_of
from twin.site import Site

FRONTIER_NODES, FRONTIER_CDUS, _RACKS, _NODES, _GPUS = 9_472, 25, 74, 128, 4

# What was chosen for the Frontier-shaped site before any run, and from what:
# - nodes: RAPS, system configuration "frontier" (``FRONTIER_NODE``); 94.5 % of a rack's heat into liquid (RAPS, cooling
# efficiency); - facility water at 21.5 °C, the middle of the 18-25 °C published for 2023; CDUs hold 25 °C towards the racks
# (assumed); - towers without chillers; fans, pumps and exchangers as everywhere in ``PlantParams``, from ASHRAE 90.1 and OCP.
FRONTIER_PARAMS = Params(node=FRONTIER_NODE, plant=PlantParams(supply_c=25.0, liquid_frac=0.945))
FRONTIER_ORDERS = (Change("loop", "supply_temp_setpoint_c", 21.5),)


def frontier_site() -> Site:
    """9,472 nodes of four GPUs in 74 racks, 25 CDUs on one loop with five tower cells, five transformers."""
    assets: list[Row] = []
    links: list[Row] = []

    def asset(id_: str, kind: str, parent: str = "", **cells: str) -> None:
        assets.append(Row("(Frontier-shaped)", {"id": id_, "kind": kind, "parent": parent, **cells}))

    def link(source: str, target: str, relation: str) -> None:
        links.append(Row("(Frontier-shaped)", {"from": source, "to": target, "relation": relation}))

    for id_, kind in (("grid", "grid"), ("weather", "weather"), ("hall", "hall"), ("water", "loop")):
        asset(id_, kind)
    for i in range(1, 5):
        asset(f"water-p{i}", "pump", "water")
        link(f"tr{i}", f"water-p{i}", "feeds")
    for i in range(1, 6):
        asset(f"ct{i}", "tower")
        asset(f"tr{i}", "transformer", rated_va="8e6")
        link("grid", f"tr{i}", "feeds")
        link(f"tr{i}", f"ct{i}", "feeds")
        link(f"ct{i}", "water", "cools")
    for c in range(FRONTIER_CDUS):
        asset(f"cdu{c + 1}", "cdu", "hall")
        link("water", f"cdu{c + 1}", "cools")
        link(f"tr{c % 5 + 1}", f"cdu{c + 1}", "feeds")
    for r in range(_RACKS):
        rack = f"r{r + 1}"
        asset(rack, "rack", "hall")
        link(f"cdu{r % FRONTIER_CDUS + 1}", rack, "cools")
        link(f"tr{r % 5 + 1}", rack, "feeds")
        for n in range(_NODES):
            node = f"{rack}n{n}"
            asset(node, "node", rack)
            for g in range(_GPUS):
                asset(f"{node}g{g}", "gpu", node)
    return build_site("Frontier-shaped", "America/New_York", assets, links)


def example_jobs(fleet: Fleet, horizon_s: float, start_s: float, rng: np.random.Generator) -> Trace:
    """A made-up queue that keeps about nine tenths of a site busy: sizes and lengths log-normal, more by day.

    Shapes after Feitelson, "Workload Modeling for Computer Systems Performance Evaluation" (2015): many small and short jobs, a
    few large ones that hold most of the machine. Same generator, same jobs.
    """
    slots = len(fleet.position)
    warm_s = min(6 * 3600.0, horizon_s)  # the queue has been there for a while when the run begins
    large = max(np.log(max(slots, 1)) - 4.5, 0.0)
    size_mean = float(np.exp(large + 0.5))
    run_mean = float(np.exp(8.3 + 0.5))
    count = int(np.clip(1.05 * slots * (horizon_s + warm_s) / max(size_mean * run_mean, 1.0), 1, 200_000)) if slots else 0
    submit = np.sort(start_s - warm_s + (horizon_s + warm_s) * rng.uniform(0, 1, count))
    run = np.minimum(rng.lognormal(8.3, 1.0, count), 86400.0)
    nodes = np.clip(np.rint(rng.lognormal(large, 1.0, count)), 1, max(slots, 1)).astype(np.int32)
    hour = (submit / 3600) % 24
    util = np.clip(rng.normal(0.75, 0.15, count) + 0.05 * np.sin((hour - 9) / 24 * 2 * np.pi), 0.05, 1.0)
    names = [f"example-{i}" for i in range(count)]
    limit = run * rng.uniform(1.1, 3.0, count)
    return trace_of(names, submit, run, limit_s=limit, nodes=nodes, gpu_util_frac=util, cpu_util_frac=0.4 * util)
