"""How facility power answers a change of water temperatures: a small model with its uncertainty, not the twin's physics.

Four things answer. Chillers: warmer plant water needs less lift, and in mixed operation leaves more of the heat to towers.
Heat-rejection fans: warmer water stands further above the wet bulb. Facility pumps: a smaller gap between plant water and
loop needs more flow. GPUs: leakage grows with temperature, inside IT power.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from energy.plan import Effect
from twin.frame import Floats

# Names of ASHRAE TC 9.9 liquid classes and the supply temperature [°C] that each name carries.
WATER_CLASS_C = {"W17": 17.0, "W27": 27.0, "W32": 32.0, "W40": 40.0, "W45": 45.0}


class Spread(NamedTuple):
    """A parameter that is not known exactly: its 10 %, 50 % and 90 % quantile."""

    p10: float
    p50: float
    p90: float


class Values(NamedTuple):
    """One guess at all uncertain parameters; the fields are those of ``Params``."""

    chiller_frac_per_k: float
    chiller_cop_ratio: float
    fan_exponent: float
    pump_exponent: float
    leak_frac_per_k: float


_CHILLER, _COP, _FAN = Spread(0.02, 0.025, 0.03), Spread(5.0, 8.0, 12.0), Spread(1.74, 2.3, 3.0)
_PUMP, _LEAK = Spread(2.0, 3.0, 4.5), Spread(0.001, 0.002, 0.005)


@dataclass(frozen=True, slots=True)
class Params:
    """What is assumed of a plant; every number is to be replaced by the site's own once that is measured.

    ``chiller_frac_per_k``: fall of chiller power per kelvin of warmer water; 2-3 %/K is the field's rule (DCD).
    ``chiller_cop_ratio``: heat over power of chillers; tells how much of the heat they carry now. ASHRAE 90.1 asks 6.3 of
    a large one (0.56 kW/ton) at 6.7 °C; the warm water of liquid cooling halves the lift, so 5 to 12.
    ``fan_exponent``: fan power against 1/(water less wet bulb). 3 is the affinity law; 1.74 is ASHRAE 90.1-2016 6.5.5.2.1
    (at most 30 % of power at 50 % of flow). ``pump_exponent``: pump power against the flow of an exchanger with area to
    spare; over 3, because a fouled one needs more flow than that.
    ``leak_frac_per_k``: growth of GPU power per kelvin. SPARC64 VIIIfx: 12 % from 30 to 85 °C, 0.2 %/K (Kanter, Real World
    Technologies, 2011). GPUs do show it (K20: Price et al., arXiv 1407.8116); 0.1 to 0.5 %/K around it is a working range.
    ``mixed_below_frac``: chillers that carry less than this part of the heat work in series with towers; the part they
    leave grows with water temperature over ``range_k``, the rise of plant water over its load.
    ``model_error_frac``: 80 % half-width of what this model leaves out, over the sum of its terms.

    Bounds: ``water_class``, ``lowest_c`` and ``highest_c`` of any setpoint; ``dew_margin_k`` above the dew point;
    ``throttle_margin_k`` below ``throttle_c`` at the hottest GPU; ``gap_k``, the least difference between plant water and
    loop at which a CDU still holds its setpoint; ``approach_k``, how close to wet bulb towers surely come.
    """

    chiller_frac_per_k: Spread = _CHILLER
    chiller_cop_ratio: Spread = _COP
    fan_exponent: Spread = _FAN
    pump_exponent: Spread = _PUMP
    leak_frac_per_k: Spread = _LEAK
    mixed_below_frac: float = 0.8
    range_k: float = 10.0
    model_error_frac: float = 0.2
    water_class: str = "W32"
    lowest_c: float = 15.0
    highest_c: float = 45.0
    dew_margin_k: float = 3.0
    throttle_c: float = 85.0
    throttle_margin_k: float = 10.0
    gap_k: float = 3.0
    approach_k: float = 7.0

    def __post_init__(self) -> None:
        if self.water_class not in WATER_CLASS_C:
            raise ValueError(f"no water class {self.water_class!r}; known: {', '.join(WATER_CLASS_C)}")

    @property
    def spreads(self) -> tuple[Spread, ...]:
        """The uncertain parameters, in the order of ``Values``."""
        return tuple(getattr(self, name) for name in Values._fields)

    @property
    def middle(self) -> Values:
        """The medians."""
        return Values(*(spread.p50 for spread in self.spreads))


class Plant(NamedTuple):
    """What was read of the site as a whole [W, °C], all of it fresh; wet bulb now or foreseen: mean and highest;
    ``load_ratio``: IT power foreseen over IT power now."""

    facility_w: float
    it_w: float
    chiller_w: float
    fan_w: float
    pump_w: float
    wet_c: float
    wet_peak_c: float
    dew_c: float  # NaN where humidity is not known
    load_ratio: float

    def mechanical_frac(self, cop_ratio: float) -> float:
        """Part of the heat (0-1) that chillers carry; below 2 % they are taken to be idle."""
        part = min(self.chiller_w * cop_ratio / self.it_w, 1.0)
        return part if part >= 0.02 else 0.0


class Change(NamedTuple):
    """Columns over n moves: plant water before [°C], how much it and the GPUs' water change [K], gap between the two
    before [K, NaN: there is only one water], part of the plant's load (0-1), GPU power behind [W]."""

    water_c: Floats
    plant_k: Floats
    gpu_k: Floats
    gap_k: Floats
    share: Floats
    gpu_w: Floats


def dew_point_c(dry_bulb_c: float, humidity_frac: float) -> float:
    """Dew point [°C] of air at ``dry_bulb_c`` and relative humidity 0-1 (NaN where that is 0 or unknown).

    Magnus form with a = 17.625, b = 243.04 °C (Alduchov & Eskridge, J. Appl. Meteor. 35, 1996): within 0.35 K from
    -40 to 50 °C.
    """
    if not humidity_frac > 0:
        return math.nan
    gamma = math.log(humidity_frac) + 17.625 * dry_bulb_c / (243.04 + dry_bulb_c)
    return 243.04 * gamma / (17.625 - gamma)


def terms_w(plant: Plant, change: Change, params: Params, values: Values) -> Floats:
    """float64[4, n]: change of facility power [W] by chillers, fans, pumps and GPU leakage."""
    carried = plant.mechanical_frac(values.chiller_cop_ratio)
    lift = np.exp(-values.chiller_frac_per_k * change.plant_k)
    if 0 < carried < params.mixed_below_frac:
        lift = lift * np.clip(carried - change.plant_k / params.range_k, 0.0, 1.0) / carried
    chiller_w = change.share * plant.chiller_w * (lift - 1) * (carried > 0)
    drive_k = np.maximum(change.water_c - plant.wet_c, 2.0)
    fans = (drive_k / np.maximum(drive_k + change.plant_k, 1.0)) ** values.fan_exponent
    fan_w = change.share * plant.fan_w * (1 - carried) * (fans - 1)
    # heat balance of an exchanger with area to spare: flow goes with 1/(range + gap)
    reach_k = params.range_k + np.nan_to_num(change.gap_k, nan=0.0)
    wider_k = np.where(np.isnan(change.gap_k), 0.0, change.gpu_k - change.plant_k)
    pumps = (reach_k / np.maximum(reach_k + wider_k, 1.0)) ** values.pump_exponent
    pump_w = change.share * plant.pump_w * (pumps - 1)
    # what leaks also costs its share of losses and cooling
    leak_w = change.gpu_w * np.expm1(values.leak_frac_per_k * change.gpu_k) * plant.facility_w / plant.it_w
    return plant.load_ratio * np.stack([chiller_w, fan_w, pump_w, leak_w])


def effect(plant: Plant, change: Change, params: Params, horizon_s: float) -> Effect:
    """Expected change of facility power by all moves together.

    Worked out with the median of every parameter; the 80 % interval moves one parameter at a time to its 10 % and 90 %
    quantile and adds the deviations in quadrature (independent parameters, first order), with ``model_error_frac``.
    """
    middle = params.middle
    each_w = terms_w(plant, change, params, middle).sum(axis=1)
    middle_w = float(each_w.sum())
    below = above = (params.model_error_frac * float(np.abs(each_w).sum())) ** 2
    for name, spread in zip(Values._fields, params.spreads, strict=True):
        guesses = (middle._replace(**{name: edge}) for edge in (spread.p10, spread.p90))
        moved_w = [float(terms_w(plant, change, params, guess).sum()) for guess in guesses]
        below += (min(*moved_w, middle_w) - middle_w) ** 2
        above += (max(*moved_w, middle_w) - middle_w) ** 2
    it_w = float(each_w[3]) * plant.it_w / plant.facility_w
    return Effect(middle_w, middle_w - math.sqrt(below), middle_w + math.sqrt(above), horizon_s, it_w)
