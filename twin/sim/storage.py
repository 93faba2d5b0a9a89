"""Between the centre and the grid: photovoltaics and a battery that keeps what is taken in below a cap."""

import numpy as np

from twin.frame import Floats
from twin.params import Params
from twin.sim.outlook import Outlook
from twin.site import Site


class Storage:
    """The site's battery (all of kind ``battery`` together) and photovoltaics.

    The battery acts only under a ``cap_w`` on what the grid gives: it delivers what is above, as far as power (``rated_w``) and
    charge (``rated_kwh``) reach, and charges from what is left below. It begins full. Where a battery tells only one of the two
    the other is what ``battery_s`` at its rating makes of it.
    """

    def __init__(self, site: Site, outlook: Outlook, params: Params, cap_w: float) -> None:
        power_w, held_j = site.number("battery", "rated_w"), 3.6e6 * site.number("battery", "rated_kwh")
        self.guessed = [site.ids_of("battery")[row] for row in np.flatnonzero(np.isnan(held_j)).tolist()]
        self.exported_j = 0.0
        power_w, held_j = (
            np.where(np.isnan(power_w), held_j / params.loops.battery_s, power_w),
            np.where(np.isnan(held_j), power_w * params.loops.battery_s, held_j),
        )
        holds = held_j > 0
        self.power_w, self.full_j = float(power_w[holds].sum()), float(held_j[holds].sum())
        self.charge_j = self.full_j
        self.kept_frac = params.loops.battery_frac
        self.cap_w, self.outlook, self.params = cap_w, outlook, params
        self.has_pv = site.count("pv") > 0

    def settle(self, facility_w: Floats, time_s: Floats, step_s: float) -> dict[str, Floats]:
        """Columns over one chunk: what photovoltaics give, what goes into the battery (from it: negative), what the grid
        gives."""
        pv = np.nan_to_num(self.outlook.at("pv_w", time_s, self.params))
        battery, charge = np.zeros(len(time_s)), np.full(len(time_s), np.nan)
        if self.power_w > 0:
            charge[:] = self.charge_j / self.full_j
            for t, need in enumerate((facility_w - pv - self.cap_w).tolist() if np.isfinite(self.cap_w) else ()):
                battery[t] = self._step(need, step_s)
                charge[t] = self.charge_j / self.full_j
        grid = facility_w - pv + battery
        self.exported_j -= float(np.nansum(np.minimum(grid, 0.0))) * step_s
        return {"pv_w": pv, "battery_w": battery, "charge_frac": charge, "grid_power_w": grid}

    def notes(self) -> list[str]:
        """What was assumed, and how what goes back to the grid was counted."""
        found = []
        if self.has_pv and "pv_w" not in self.outlook.lines:
            found.append("what the photovoltaics give is not told (pv_w) and counts as nothing")
        if self.guessed and np.isfinite(self.cap_w):
            hours, many = self.params.loops.battery_s / 3600, len(self.guessed)
            found.append(f"{many} batteries tell no rated_kwh: {hours:g} h at rated_w are assumed (first: {self.guessed[0]})")
        if self.exported_j > 0:
            found.append(
                f"{self.exported_j / 3.6e6:.1f} kWh go back to the grid; carbon and cost count them as if the grid took them at"
                " its own intensity and price"
            )
        return found

    def _step(self, need_w: float, step_s: float) -> float:
        """Power into the battery [W] when the centre needs ``need_w`` more than the cap; losses count at charging."""
        if need_w != need_w:  # unknown: the battery rests
            return 0.0
        if need_w > 0:
            given = min(need_w, self.power_w, self.charge_j / step_s)
            self.charge_j -= given * step_s
            return -given
        taken = min(-need_w, self.power_w, (self.full_j - self.charge_j) / (step_s * self.kept_frac))
        self.charge_j += taken * step_s * self.kept_frac
        return taken
