"""From when a reading is hard to believe, in one place. Only what a healthy device of its kind cannot do stands here."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from twin.metrics import METRICS
from twin.physics.coolant import pg25_heat_jpkgk, water_heat_jpkgk

_LIQUID = ("cdu", "loop", "rack", "chiller")
_POWER = ("rack", "row", "hall", "pdu", "ups", "meter", "cdu", "chiller")


def _each(kinds: tuple[str, ...], names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(kind, name) for kind in kinds for name in names if name in METRICS[kind]]


# (kind, metric) -> s without any change, from which a value that is not 0 is stuck. Analogue readings of things in use are
# never still: a sensor's last digit moves within minutes. GPUs' temperatures are whole degrees and may rest for hours.
STUCK_S: Mapping[tuple[str, str], float] = MappingProxyType(
    {
        **dict.fromkeys(_each(_LIQUID, ("supply_temp_c", "return_temp_c", "flow_kgps", "diff_pressure_pa", "heat_w")), 3600.0),
        **dict.fromkeys(_each(_POWER, ("power_w",)), 3600.0),
        **dict.fromkeys(_each(("pdu", "ups", "meter"), ("current_a",)), 3600.0),
        # counters of what is switched on grow
        **dict.fromkeys(_each(("gpu", "node", "rack", "pdu", "ups", "meter"), ("energy_j", "energy_kwh")), 1800.0),
        ("node", "uptime_s"): 600.0,
        ("grid", "frequency_hz"): 600.0,
    }
)
# Counters of energy that may count in coarse steps, as whole kWh in many controllers and meters (a GPU's driver counts in mJ):
# one kWh in their unit. Between steps they stand, so many times as long as the last time at most, for load falls from full to
# idle; as long as 100 W take for a kWh until a whole standstill was seen.
KWH: Mapping[tuple[str, str], float] = MappingProxyType(
    {
        (kind, name): 3.6e6 if name == "energy_j" else 1.0
        for kind, name in _each(("node", "rack", "pdu", "ups", "meter"), ("energy_j", "energy_kwh"))
    }
)
STANDSTILLS = 20.0
FIRST_STANDSTILL_S = 36_000.0
# (kind, metric) -> the largest step at once, and beside it the largest change per second. A litre of water takes 4 kJ for 1 K;
# a GPU's die follows its power within seconds; a counter of energy grows by no more than the highest plausible
# power gives in the time since it last grew.
JUMPS: Mapping[tuple[str, str], tuple[float, float]] = MappingProxyType(
    {
        **dict.fromkeys(_each(_LIQUID, ("supply_temp_c", "return_temp_c")), (8.0, 1.0)),
        **dict.fromkeys(_each(("cdu",), ("primary_supply_temp_c", "primary_return_temp_c")), (8.0, 1.0)),
        **dict.fromkeys(_each(("node", "rack"), ("inlet_temp_c",)), (10.0, 1.0)),
        **dict.fromkeys(_each(("gpu",), ("temp_c", "mem_temp_c")), (40.0, 15.0)),
        **dict.fromkeys(_each(("weather",), ("dry_bulb_c", "wet_bulb_c")), (8.0, 0.01)),
        ("grid", "frequency_hz"): (1.0, 0.5),
        **{
            (kind, "energy_j"): (METRICS[kind]["power_w"].high, METRICS[kind]["power_w"].high)
            for kind in ("gpu", "node", "rack", "pdu", "ups", "meter")
        },
    }
)


@dataclass(frozen=True, slots=True)
class Parts:
    """The power of all ``kind`` in a container is at most the container's, but for ``share_frac`` of it (the accuracy of both
    meters) and ``beside_w`` (they are not read at one moment)."""

    kind: str
    share_frac: float
    beside_w: float


# 5 %: NVIDIA gives GPU power to within 5 %, rack PDUs are of class 1 to 5
PARTS: Mapping[str, Parts] = MappingProxyType({"node": Parts("gpu", 0.1, 300.0), "rack": Parts("gpu", 0.1, 3000.0)})


@dataclass(frozen=True, slots=True)
class Heat:
    """Heat in liquid is flow x heat capacity x temperature difference. The coolant is not known here: between a quarter of
    propylene glycol at 20 °C and water (``twin.physics.coolant``) lie ``cp_low`` and ``cp_high`` [J/kg/K]; instruments err by
    ``share_frac``, and by ``delta_k`` in the difference of a matched pair of thermometers."""

    kinds: tuple[str, ...]
    cp_low: float
    cp_high: float
    share_frac: float
    delta_k: float


HEAT = Heat(("cdu", "loop", "rack"), float(pg25_heat_jpkgk(20.0)), float(water_heat_jpkgk(20.0)), 0.07, 0.1)
