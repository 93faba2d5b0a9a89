"""Exchangers of CDUs under one setting, as curves: what part of its possible cooling each reaches over its facility flow."""

import numpy as np

from twin.frame import Floats
from twin.params import Params
from twin.physics.cdu import effectiveness_frac
from twin.sim.circuit import Circuit
from twin.sim.setting import Setting

GRID = 65  # points of a curve
TINY = 1e-9


class Curves:
    """Even grids a station. ``most_wpk``: facility flow with the valve open, ``live_wpk``: the same, 0 where the secondary side
    stands (such a CDU shuts its facility valve); ``reach_most``: the highest share that each can reach."""

    def __init__(self, circuit: Circuit, setting: Setting, params: Params, flow_wpk: Floats) -> None:
        c, p = circuit, params
        self.most_wpk = p.loops.valve_ratio * c.primary_wpk
        self.live_wpk = self.most_wpk * (flow_wpk > 0)
        share = np.linspace(0.0, 1.0, GRID)[None, :]
        primary = np.maximum(share * self.most_wpk[:, None], TINY)
        secondary = np.maximum(flow_wpk, TINY)[:, None]
        m = p.loops.film_exponent
        film = (primary / c.primary_wpk[:, None]) ** -m + (secondary / c.station_wpk[:, None]) ** -m
        conductance = p.plant.cdu_ntu * (c.primary_wpk * setting.conductance_frac)[:, None] * 2 / film
        least, most = np.minimum(primary, secondary), np.maximum(primary, secondary)
        reach = effectiveness_frac(conductance / least, least / most) * least / secondary
        reach *= (flow_wpk > 0)[:, None]
        reach[:, 0] = 0.0
        self.reach_most = np.maximum(reach[:, -1], 1e-6)
        even = np.linspace(0.0, 1.0, GRID)
        rows = [np.interp(even * top, row, even) for top, row in zip(self.reach_most, reach, strict=True)]
        self._share = np.array(rows).ravel() if rows else np.empty(0)
        self._reach = reach.ravel()
        self._row = np.arange(len(flow_wpk)) * GRID

    def share(self, place: Floats) -> Floats:
        """float64[s]: share of ``most_wpk`` at which each reaches ``place`` (0-1) of ``reach_most``."""
        return self._between(self._share, place)

    def reach(self, share: Floats) -> Floats:
        """float64[s]: what each reaches at ``share`` (0-1) of ``most_wpk``."""
        return self._between(self._reach, share)

    def _between(self, table: Floats, place: Floats) -> Floats:
        x = place * (GRID - 1)
        i = np.minimum(x.astype(np.int64), GRID - 2)
        f = x - i
        at = self._row + i
        found: Floats = table[at] * (1 - f) + table[at + 1] * f
        return found
