"""Where the energy went: from the feed through the power chain to the chips, and as heat out again."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from twin.message import Message
from ui.able import HOUR_S
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
UNSAID = "IT of which no GPU says"
REST = "Processors, network, storage"
CHAIN = "Power chain losses"
APART = {True: "Not told apart: losses, other", False: "Not told apart: cooling, losses, other"}  # cooling is known, or not
BEYOND = "Read beyond what came in"
LITTLE_FRAC = 1e-3  # of IT's energy: less than that, of which no GPU says, would be a line that nobody sees
DUST_FRAC = 1e-12  # of the whole: what is below is how sums were rounded
TOLD = (
    "All that IT takes becomes heat: the CDUs meter what the liquid carries, the rest leaves with the air. Heat of the time in "
    "which chillers ran counts as theirs; no meter says how much each machine carried. What cooling takes is not drawn on."
)
TWINS = (
    "All that IT takes becomes heat: what the liquid carries is the twin's word for {modelled:.0%} of the time, else read at "
    "the CDUs; the rest leaves with the air. Heat of the time in which chillers ran counts as theirs; no meter says how much "
    "each machine carried. What cooling takes is not drawn on."
)


def flow(inputs: Inputs) -> Iterator[Flow]:
    """The Sankey diagram; none where no meter spoke. What comes into a station leaves it, to the last kWh."""
    made = inputs.account
    if not (np.isfinite(made.facility_kwh) and made.facility_kwh > 0):
        return
    cooled = bool(np.isfinite(made.cooling_kwh))
    cooling = made.cooling_kwh if cooled else 0.0
    rest = made.facility_kwh - made.it_kwh - cooling
    parts = _it(inputs)
    links = [("Grid", "Centre", made.grid_kwh), ("Own generation", "Centre", made.own_kwh), (BEYOND, "Centre", -rest)]
    links += [("Centre", "IT", made.it_kwh), ("Centre", "Cooling", cooling)]
    links += [("Centre", name, kwh) for name, kwh in _losses(inputs, rest, cooled).items()]
    links += [("IT", name, kwh) for name, kwh in parts.items()]
    links += [*_heat(inputs, parts or {"IT": made.it_kwh}), *_out(inputs)]
    kept = [link for link in links if np.isfinite(link[2]) and link[2] > DUST_FRAC * made.facility_kwh]
    yield Flow("flow", "Where the energy went", "kwh", kept, _told(inputs) if inputs.rejected else None)


def _told(inputs: Inputs) -> Message:
    """What the heat in the drawing rests on."""
    share = inputs.heat_modelled_frac
    return Message(TWINS, {"modelled": share}) if share > 0 else Message(TOLD)


def _it(inputs: Inputs) -> dict[str, float]:
    """IT's energy by what took it, of the time in which the meters were read; empty where no GPU was. Of an hour in which not
    all GPUs that there were (of who only uses some: that they held) gave a reading, as large a part is nobody's."""
    use, meters = inputs.use, inputs.meters
    hour = np.clip((meters.time_s - use.time_s[0]) // HOUR_S, 0, len(use.time_s) - 1).astype(np.int64)
    it_kwh, read_s = (
        np.bincount(hour, weights=column, minlength=len(use.time_s))
        for column in (meters.kwh(meters.it_w), np.where(meters.known, meters.length_s, 0.0))
    )
    there = (use.held if inputs.scope.kind in ("tenant", "project") else use.there) - use.gone
    heard = np.where(np.isfinite(use.means["power_w"]), use.heard, 0.0)
    told_frac = np.divide(heard, there, out=np.zeros(len(there)), where=there > 0).clip(0.0, 1.0)
    each_kwh = np.nan_to_num(use.means["power_w"]) / 1e3 * np.minimum(read_s / HOUR_S / use.length_h, 1.0)
    total_kwh = inputs.account.it_kwh
    told_kwh = float(it_kwh @ told_frac)
    told_kwh = total_kwh if abs(total_kwh - told_kwh) < LITTLE_FRAC * total_kwh else told_kwh
    gpus_kwh = min(float(each_kwh @ heard), told_kwh)
    if not gpus_kwh > 0:
        return {}
    return {"GPUs": gpus_kwh, REST: told_kwh - gpus_kwh, UNSAID: total_kwh - told_kwh}


def _losses(inputs: Inputs, rest: float, cooled: bool) -> dict[str, float]:
    """The losses that are known of, never more than the meters leave for them; what is left over has a name of its own, and is
    the power chain's only where its losses and cooling (``cooled``) are known."""
    known = {LOSS[kind]: kwh for kind, kwh in inputs.losses.items() if kwh > 0}
    told = sum(known.values())
    if told > max(rest, 0.0):
        known = {name: kwh * max(rest, 0.0) / told for name, kwh in known.items()}
    return {**known, CHAIN if known and cooled else APART[cooled]: rest - sum(known.values())}


def _heat(inputs: Inputs, parts: Mapping[str, float]) -> list[tuple[str, str, float]]:
    """What the ``parts`` of IT took [kWh], as heat by the way it left: all alike, for no meter tells them apart."""
    ways = {way: sum(paths.values()) for way, paths in inputs.rejected.items()}
    total = sum(ways.values())
    if not total > 0:
        return []
    return [(name, HEAT[way], kwh * part / total) for name, kwh in parts.items() for way, part in ways.items()]


def _out(inputs: Inputs) -> list[tuple[str, str, float]]:
    """From machine to machine, and outside."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    for way, paths in inputs.rejected.items():
        for path, kwh in paths.items():
            for source, target in pairwise((HEAT[way], *(OUT[kind] for kind in path))):
                found[source, target] += kwh
    return [(source, target, kwh) for (source, target), kwh in found.items()]
