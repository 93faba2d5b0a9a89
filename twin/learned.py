"""What calibration found out about single assets, as columns that win over the parameters they stand for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from twin.frame import Floats
from twin.site import Site

# kind:name -> what it is. Everything else that a fit finds is a number of ``twin.params``.
LEARNABLE = MappingProxyType(
    {
        "rack:flow_share_frac": "share of its CDU's flow that the rack takes",
        "rack:flow_share_sigma_frac": "expected spread of that, as a share of the flow",
        "rack:supply_temp_offset_k": "its supply sensor over that of its CDU",
        "rack:supply_temp_sigma_k": "expected spread of that",
        "rack:liquid_frac": "share of the rack's power that leaves by its liquid",
        "rack:liquid_sigma_frac": "expected spread of the rack's heat, as a share of the heat",
        "cdu:conductance_wpk": "UA of the clean exchanger at design flows",
        "cdu:conductance_exponent": "how UA goes with flow on each side",
        "cdu:conductance_sigma_frac": "expected spread of the heat that the exchanger passes, as a share",
        "cdu:flow_per_speed_kgps": "secondary flow at full pump speed",
        "cdu:flow_sigma_frac": "expected spread of that flow, as a share",
        "pump:base_frac": "power of a loop's pump at no speed, over its rating",
        "pump:rise_frac": "what full speed adds to that",
        "pump:exponent_ratio": "power of speed by which it does",
        "cdu:pump_base_frac": "power of the CDU at no speed, over its rating",
        "cdu:pump_cubic_frac": "power of the CDU by the cube of speed, over its rating",
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """``columns``: a key of ``LEARNABLE`` -> float64[n] by row of the kind, NaN where nothing was adopted."""

    columns: Mapping[str, Floats] = field(default_factory=dict)

    def column(self, site: Site, key: str, default: Floats | float) -> Floats:
        """float64[n]: what was learned of each asset of the key's kind, ``default`` where nothing was (also of what a scenario
        adds behind them); ``KeyError`` for a key that is not in ``LEARNABLE``."""
        if key not in LEARNABLE:
            raise KeyError(f"nothing is learned under {key!r}; known: {', '.join(LEARNABLE)}")
        given = self.columns.get(key)
        if given is None:
            return np.broadcast_to(np.asarray(default, dtype=np.float64), site.count(key.split(":")[0])).copy()
        given = np.append(given, np.full(site.count(key.split(":")[0]) - len(given), np.nan))
        return np.where(np.isnan(given), default, given)
