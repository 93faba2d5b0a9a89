"""Weather and grid over a run: series that a face or a forecast gives, held against what can be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from twin.errors import ConfigError, Problem
from twin.frame import Floats
from twin.metrics import metric
from twin.params import Params

_OF = MappingProxyType(
    {
        "wet_bulb_c": "weather",
        "dry_bulb_c": "weather",
        "carbon_gco2_per_kwh": "grid",
        "price_per_mwh": "grid",
        "pv_w": "",  # no metric: what photovoltaics give, as a positive power
    }
)
SIGNALS = tuple(_OF)


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One series: ``time_s`` increasing, ``value`` in the unit of its metric."""

    time_s: Floats
    value: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """Series by metric of weather and grid, and ``pv_w``. One that is missing is assumed (weather) or not accounted for."""

    lines: Mapping[str, Line] = field(default_factory=dict)

    def at(self, name: str, time_s: Floats, params: Params) -> Floats:
        """float64[t]: weather between its values in a line, grid as of the last value; ends are held. Carbon and price that are
        missing are NaN; a missing dry bulb lies 6 K (assumed) above the wet bulb, a missing wet bulb as far below the dry."""
        line = self.lines.get(name)
        if line is not None and _OF[name] != "grid":
            return np.interp(time_s, line.time_s, line.value)
        if line is not None:
            at = np.clip(np.searchsorted(line.time_s, time_s, side="right") - 1, 0, len(line.value) - 1)
            return line.value[at]
        if _OF[name] != "weather":
            return np.full(len(time_s), np.nan)
        other, apart_k = ("wet_bulb_c", 6.0) if name == "dry_bulb_c" else ("dry_bulb_c", -6.0)
        if other in self.lines:
            return self.at(other, time_s, params) + apart_k
        return np.full(len(time_s), params.plant.dry_bulb_c if name == "dry_bulb_c" else params.plant.wet_bulb_c)

    def short_s(self, start_s: float, end_s: float) -> dict[str, float]:
        """How many seconds of the run each series does not cover."""
        return {
            name: max(line.time_s[0] - start_s, 0.0) + max(end_s - line.time_s[-1], 0.0)
            for name, line in self.lines.items()
            if line.time_s[0] > start_s or line.time_s[-1] < end_s - 3600
        }


def outlook_of(lines: dict[str, Line], where: str = "the outlook") -> Outlook:
    """A checked outlook. ``ConfigError`` names every series that is unknown, empty, unordered or has values that cannot be."""
    problems = []
    for name, line in lines.items():
        if name not in _OF:
            problems.append(Problem(where, f"no series {name!r}; series are {', '.join(SIGNALS)}"))
            continue
        low, high = _limits(name)
        if not len(line.time_s):
            problems.append(Problem(where, f"{name}: is empty"))
        elif not (np.diff(line.time_s) > 0).all():
            at = int(np.flatnonzero(np.diff(line.time_s) <= 0)[0]) + 1
            problems.append(Problem(where, f"{name}: time of value {at + 1} does not lie after the one before"))
        bad = ~((line.value >= low) & (line.value <= high))
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            what = f"{name}: value {at + 1} is {line.value[at]:g}; {bad.sum()} lie outside {low:g} to {high:g}"
            problems.append(Problem(where, what))
    if problems:
        raise ConfigError(problems)
    return Outlook(dict(lines))


def _limits(name: str) -> tuple[float, float]:
    """Lowest and highest value that a series may have."""
    if not _OF[name]:
        return 0.0, 1e10
    row = metric(_OF[name], name)
    return row.low, row.high
