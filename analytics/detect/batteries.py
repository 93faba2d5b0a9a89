"""How much of its capacity a UPS's battery still has, from what the UPS says of itself and from what a discharge shows.

A battery is at its end at 80 % of its rated capacity (IEEE Std 1188-2005, clause 8): from there it falls fast. At full charge
runtime times load to the power of Peukert's exponent is a measure of the capacity, whatever the load is; the best that it ever
was stands for 100 %. A life at 25 °C halves with each 8.3 K above (IEEE Std 1188-2005, annex on temperature).
"""

import numpy as np

from twin.frame import Floats

END_FRAC = 0.8
PEUKERT = 1.2  # lead-acid, 1.1-1.3; Doerffel & Sharkh (2006), J. Power Sources 155(2)
FULL_FRAC = 0.97  # charge from which runtime is compared
SMOOTH = 1 / 30  # weight of the newest reading at full charge
LEAST_LOOKS = 20
HALVES_K, RATED_C = 8.3, 25.0
LIFE_S = 5 * 365.25 * 86400.0  # of a valve-regulated lead-acid battery at 25 °C, until it is at ``END_FRAC``


class Batteries:
    """Of n UPSes, in 4 n numbers."""

    def __init__(self, n: int) -> None:
        self._now, self._best = np.zeros(n), np.zeros(n)
        self._looks = np.zeros(n)
        self.lost_per_s: Floats = np.zeros(n)

    def update(self, runtime_s: Floats, load_w: Floats, charge_frac: Floats, temp_c: Floats) -> Floats:
        """float64[n]: share of its capacity that is left; NaN until it was seen at full charge often enough. ``load_w``: into
        the UPS; inputs NaN where not known, and an unknown temperature counts as 25 °C."""
        full = (charge_frac >= FULL_FRAC) & (load_w > 0) & (runtime_s > 0)
        with np.errstate(invalid="ignore"):
            seen = np.where(full, runtime_s * np.maximum(load_w, 1.0) ** PEUKERT, np.nan)
        self._looks += full
        weight = np.maximum(SMOOTH, 1 / np.maximum(self._looks, 1))
        self._now = np.where(full, self._now + weight * (seen - self._now), self._now)
        ready = self._looks >= LEAST_LOOKS
        self._best = np.where(ready, np.maximum(self._best, self._now), self._best)
        above_k = np.nan_to_num(temp_c, nan=RATED_C) - RATED_C
        self.lost_per_s = (1 - END_FRAC) / LIFE_S * 2 ** (np.maximum(above_k, 0.0) / HALVES_K)
        return np.where(ready, self._now / np.maximum(self._best, 1e-9), np.nan)

    def precede(self, past: "Batteries") -> None:
        """Take over the best that each was before this one's first update."""
        self._best = np.maximum(self._best, past._best)

    def lead_s(self, left_frac: float, row: int, short_frac: float) -> float:
        """How long until the capacity is down to ``short_frac`` at the pace of its temperature; 0 where it is."""
        return max(0.0, (left_frac - short_frac) / float(self.lost_per_s[row]))
