"""Which machines have lost their power, and since when."""

from collections.abc import Sequence

import numpy as np

from twin.flow import carrier, is_target
from twin.frame import Ints
from twin.sim.chain import Chain
from twin.site import Site

_MACHINES = ("cdu", "pump", "crah", "chiller", "tower", "drycooler", "heatreuse")  # stop without power


class Powered:
    """``dead_since_s``: float64[N], seconds after the run's beginning since which an asset has no feed, inf for those that have
    one; kept of machines and of ``places``, where power of machines that are not described is drawn."""

    def __init__(self, site: Site, chain: Chain, places: Ints) -> None:
        kept: Sequence[Ints] = [places, *(site.of_kind(kind) for kind in _MACHINES)]
        self.site, self.chain, self._at = site, chain, np.unique(np.concatenate(kept)).astype(np.int32)
        self._feed = carrier(site, self._at, is_target(site, "feeds"))
        self._is_pump = np.isin(self._at, site.of_kind("pump"))
        self.dead_since_s = np.full(len(site.ids), np.inf)

    def look(self, time_s: float) -> bool:
        """Take over what the chain feeds from ``time_s`` on; whether a pump lost its feed just now."""
        unfed = np.zeros(len(self.site.ids), dtype=np.bool_)
        unfed[self.chain.at[self.chain.dead]] = True
        dead = unfed[self._feed]
        self.dead_since_s[self._at[~dead]] = np.inf
        new = dead & ~np.isfinite(self.dead_since_s[self._at])
        self.dead_since_s[self._at[new]] = time_s
        return bool((new & self._is_pump).any())
