"""Where the energy went: from the feed through the power chain to the chips, and as heat out again."""

from collections.abc import Iterator

import numpy as np

from twin.message import Message
from ui.report.document import Flow
from ui.report.gather import Inputs

LOSS = {"transformer": "Transformer losses", "ups": "UPS losses", "pdu": "PDU losses"}
HEAT = {"liquid": "Heat in the liquid", "air": "Heat in the air"}
REST = "Processors, network, storage"
REST_FRAC = 0.002  # a difference of meters below this part of the whole is no station of its own


def flow(inputs: Inputs) -> Iterator[Flow]:
    """The Sankey diagram; none where no meter spoke. What comes into a station leaves it, to the last kWh."""
    made = inputs.account
    if not (np.isfinite(made.facility_kwh) and made.facility_kwh > 0):
        return
    cooling = made.cooling_kwh if np.isfinite(made.cooling_kwh) else 0.0
    rest = made.facility_kwh - made.it_kwh - cooling
    losses = _losses(inputs, rest)
    gpus = min(inputs.gpu_kwh, made.it_kwh)
    links = [("Grid", "Centre", made.grid_kwh), ("Own generation", "Centre", made.own_kwh), ("Centre", "IT", made.it_kwh)]
    links += [("Centre", "Cooling", cooling), *(("Centre", name, kwh) for name, kwh in losses.items())]
    if gpus > 0:
        links += [("IT", "GPUs", gpus), ("IT", REST, made.it_kwh - gpus)]
    links += _heat(inputs, gpus)
    kept = [link for link in links if np.isfinite(link[2]) and link[2] > REST_FRAC * 1e-3 * made.facility_kwh]
    note = Message("All that IT takes becomes heat: the CDUs meter what the liquid carries, the rest leaves with the air.")
    yield Flow("flow", "Where the energy went", "kwh", kept, note if inputs.rejected else None)


def _losses(inputs: Inputs, rest: float) -> dict[str, float]:
    """The losses that are known of, never more than the meters leave for them; what is left over has a name of its own."""
    known = {LOSS[kind]: kwh for kind, kwh in inputs.losses.items() if kwh > 0}
    told = sum(known.values())
    if told > rest > 0:
        known = {name: kwh * rest / told for name, kwh in known.items()}
    left = rest - sum(known.values())
    return {**known, "Power chain losses": left} if left > REST_FRAC * inputs.account.facility_kwh else known


def _heat(inputs: Inputs, gpus: float) -> list[tuple[str, str, float]]:
    """What IT took, as heat by the way it left: GPUs and the rest alike, for no meter tells them apart."""
    total = sum(inputs.rejected.values())
    it = inputs.account.it_kwh
    if not total > 0:
        return []
    parts = (("GPUs", gpus), (REST, it - gpus)) if gpus > 0 else (("IT", it),)
    return [(name, HEAT[way], kwh * part / total) for name, kwh in parts for way, part in inputs.rejected.items()]
