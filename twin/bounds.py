"""Between what a number of ``twin.params`` can lie: outside of it the equations say nothing, or divide by nothing."""

from types import MappingProxyType

_LEAST = 0.01  # of what divides
_BY_NAME = MappingProxyType(
    {
        "cdu_speed_frac": (0.05, 1.0),
        "unrated_load_frac": (_LEAST, 1.0),
        "least_pump_speed_frac": (0.0, 1.0),
        "branch_frac": (_LEAST, 0.99),
        "valve_frac": (0.0, 0.99),
        "fan_full_frac": (0.0, 10.0),
        "rest_idle_frac": (0.0, 10.0),
        "rest_full_frac": (0.0, 10.0),
        "carnot_frac": (_LEAST, 1.0),
        "battery_frac": (_LEAST, 1.0),
        "room_rh_frac": (_LEAST, 1.0),
        "cycles_ratio": (1.05, 100.0),
        "shutoff_ratio": (1.01, 10.0),
        "rangeability_ratio": (2.0, 1000.0),
        "valve_ratio": (1.0, 10.0),
        "trip_ratio": (1.0, 10.0),
        "peukert_exponent": (1.0, 2.0),
        "chiller_cop": (0.5, 50.0),
        "cdu_ntu": (0.1, 100.0),
        "leak_per_k": (0.0, 0.1),
    }
)
_BY_END = MappingProxyType(
    {
        "_frac": (0.0, 1.0),
        "_ratio": (_LEAST, 100.0),
        "_exponent": (_LEAST, 10.0),
        "_k": (_LEAST, 100.0),
        "_c": (-50.0, 150.0),
        "_s": (1.0, 1e7),
        "_w": (0.0, 1e9),
        "_wpk": (_LEAST, 1e9),
        "_pa": (1.0, 1e8),
    }
)
_DOUBT = (0.0, 10.0)  # standard uncertainties, shares of the value


def bounds_of(name: str) -> tuple[float, float]:
    """Lowest and highest value of the number ``name`` of a group of ``twin.params`` (its own name, or by its unit)."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    return next((limits for end, limits in _BY_END.items() if name.endswith(end)), _DOUBT)
