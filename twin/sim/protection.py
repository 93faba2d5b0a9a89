"""What protects the power chain over a run: breakers that open under overload, batteries that run empty.

When a device opens, what it carried goes over to the feeds that are left, and may be too much for them as well: the classic
end of two feeds that were both more than half full. A breaker that has opened stays open; a battery is not charged again.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.frame import Floats
from twin.params import Params
from twin.physics.battery import autonomy_s
from twin.sim.chain import Chain
from twin.site import Site

Index = NDArray[np.signedinteger[Any]]


class Protection:
    """``opened``: bool[N], breakers that have; ``charged``: bool[N], UPSs whose batteries still hold; ``trips``: (s since 1970,
    global position, load over rating) of each breaker that opened, in order."""

    def __init__(self, site: Site, chain: Chain, params: Params) -> None:
        self.chain, self.params = chain, params
        n = len(site.ids)
        self.opened, self.charged = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
        self.charged[site.of_kind("ups")] = True
        self.trips: list[tuple[float, int, float]] = []
        self._heat = np.full(len(chain.at), np.nan)  # of each breaker's element, 1 at its rating; NaN before it is known
        self._used = np.zeros(len(chain.at))  # of each battery

    def until(self, rack_w: Floats, machine_w: Floats, start_s: float, step_s: float) -> int:
        """How many of the steps of ``rack_w`` float64[t, racks] pass until something opens or runs empty: all, or those up to
        and with the one in which it does. ``machine_w``: float64[m], what machines last drew."""
        chain = self.chain
        if not len(chain.at):
            return len(rack_w)
        watched = np.flatnonzero(np.isfinite(chain.rated_w) & ~self.opened[chain.at])
        most = np.stack([rack_w.max(axis=0), rack_w[0]])
        bound = self._loading(most, machine_w, watched)
        if bound[:, 0].max(initial=0.0) <= self.params.loops.trip_ratio and not chain.on_battery.any():
            self._heat[watched] = bound[:, 1] ** 2  # near enough while nothing is near its end
            return len(rack_w)
        power = chain.carry(rack_w, np.repeat(machine_w[:, None], len(rack_w), axis=1))
        out_w = power.into - power.loss
        upto = self._heated(watched, out_w[watched] / chain.rated_w[watched, None], start_s, step_s)
        return self._drained(np.flatnonzero(chain.on_battery), out_w[:, :upto], step_s)

    def _loading(self, rack_w: Floats, machine_w: Floats, watched: Index) -> Floats:
        power = self.chain.carry(rack_w, np.repeat(machine_w[:, None], len(rack_w), axis=1))
        found: Floats = (power.into - power.loss)[watched] / self.chain.rated_w[watched, None]
        return found

    def _heated(self, watched: Index, loading: Floats, start_s: float, step_s: float) -> int:
        """Heat of each element θ over the steps: dθ/dt = (x² - θ) / τ, open at ``trip_ratio``² (thermal image, IEC 60255-149;
        x is load over rating)."""
        p = self.params.loops
        keep, hot = np.exp(-step_s / p.trip_s), p.trip_ratio**2
        heat = np.where(np.isnan(self._heat[watched]), loading[:, 0] ** 2, self._heat[watched])
        for t in range(loading.shape[1]):
            heat = loading[:, t] ** 2 + (heat - loading[:, t] ** 2) * keep
            over = np.flatnonzero(heat >= hot)
            if len(over):
                at = self.chain.at[watched[over]]
                self.opened[at] = True
                self.trips += [
                    (start_s + (t + 1) * step_s, int(a), float(x)) for a, x in zip(at, loading[over, t], strict=True)
                ]
                break
        self._heat[watched] = heat
        return t + 1

    def _drained(self, rows: Index, out_w: Floats, step_s: float) -> int:
        """What batteries give, by Peukert; the charge that is used counts up to 1."""
        p, steps = self.params, out_w.shape[1]
        load = out_w[rows]
        rated = self.chain.rated_w[rows, None]
        rated = np.where(np.isnan(rated), np.maximum(load, 1.0) / p.chain.unrated_load_frac, rated)
        used = self._used[rows, None] + np.cumsum(
            step_s / autonomy_s(load, rated, p.loops.ups_s, p.loops.peukert_exponent), axis=1
        )
        empty = (used >= 1 - 1e-9).any(axis=0)
        taken = int(np.argmax(empty)) + 1 if empty.any() else steps
        self._used[rows] = used[:, taken - 1] if len(rows) else 0.0
        self.charged[self.chain.at[rows[self._used[rows] >= 1 - 1e-9]]] = False
        return taken
