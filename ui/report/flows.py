"""Where the energy went: from the feed through the power chain to the chips, and as heat out again."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from twin.message import Message
from ui.report.document import Flow
from ui.report.gather import Inputs

LOSS = {"transformer": "Transformer losses", "ups": "UPS losses", "pdu": "PDU losses"}
HEAT = {"liquid": "Heat in the liquid", "air": "Heat in the air", "unsaid": "Heat of which no CDU says"}
OUT = {
    "chiller": "Chillers",
    "tower": "Cooling towers",
    "drycooler": "Dry coolers",
    "heatreuse": "Heat reuse",
    "unknown": "Way out not known",
}
REST = "Processors, network, storage"
BEYOND = "Read beyond what came in"
DUST_FRAC = 1e-12  # of the whole: what is below is how sums were rounded
TOLD = (
    "All that IT takes becomes heat: the CDUs meter what the liquid carries, the rest leaves with the air. Heat of the time in "
    "which chillers ran counts as theirs; no meter says how much each machine carried. What cooling takes is not drawn on."
)


def flow(inputs: Inputs) -> Iterator[Flow]:
    """The Sankey diagram; none where no meter spoke. What comes into a station leaves it, to the last kWh."""
    made = inputs.account
    if not (np.isfinite(made.facility_kwh) and made.facility_kwh > 0):
        return
    cooling = made.cooling_kwh if np.isfinite(made.cooling_kwh) else 0.0
    rest = made.facility_kwh - made.it_kwh - cooling
    gpus = min(inputs.gpu_kwh, made.it_kwh)
    links = [("Grid", "Centre", made.grid_kwh), ("Own generation", "Centre", made.own_kwh), (BEYOND, "Centre", -rest)]
    links += [("Centre", "IT", made.it_kwh), ("Centre", "Cooling", cooling)]
    links += [("Centre", name, kwh) for name, kwh in _losses(inputs, rest).items()]
    if gpus > 0:
        links += [("IT", "GPUs", gpus), ("IT", REST, made.it_kwh - gpus)]
    links += [*_heat(inputs, gpus), *_out(inputs)]
    kept = [link for link in links if np.isfinite(link[2]) and link[2] > DUST_FRAC * made.facility_kwh]
    yield Flow("flow", "Where the energy went", "kwh", kept, Message(TOLD) if inputs.rejected else None)


def _losses(inputs: Inputs, rest: float) -> dict[str, float]:
    """The losses that are known of, never more than the meters leave for them; what is left over has a name of its own."""
    known = {LOSS[kind]: kwh for kind, kwh in inputs.losses.items() if kwh > 0}
    told = sum(known.values())
    if told > max(rest, 0.0):
        known = {name: kwh * max(rest, 0.0) / told for name, kwh in known.items()}
    return {**known, "Power chain losses": rest - sum(known.values())}


def _heat(inputs: Inputs, gpus: float) -> list[tuple[str, str, float]]:
    """What IT took, as heat by the way it left: GPUs and the rest alike, for no meter tells them apart."""
    ways = {way: sum(paths.values()) for way, paths in inputs.rejected.items()}
    total, it = sum(ways.values()), inputs.account.it_kwh
    if not total > 0:
        return []
    parts = (("GPUs", gpus), (REST, it - gpus)) if gpus > 0 else (("IT", it),)
    return [(name, HEAT[way], kwh * part / total) for name, kwh in parts for way, part in ways.items()]


def _out(inputs: Inputs) -> list[tuple[str, str, float]]:
    """From machine to machine, and outside."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    for way, paths in inputs.rejected.items():
        for path, kwh in paths.items():
            for source, target in pairwise((HEAT[way], *(OUT[kind] for kind in path))):
                found[source, target] += kwh
    return [(source, target, kwh) for (source, target), kwh in found.items()]
