"""The power chain: racks and plant draw, PDUs, UPS modules and transformers lose, the grid's meter sees everything.

Each device loses ``(a + b x + c x²)`` of its rating at load x, with coefficients that differ from its nameplate by what
nobody measured; each real meter has its own small gain error. Beside what is listed as assets the house draws a little
(light, fans, offices), which only the grid's meter sees.
"""

import numpy as np

from ingest.sources.simulated.fleet import FEEDERS, Fleet, summed
from ingest.sources.simulated.workload import day_curve
from twin.frame import Floats

VOLTAGE_V = {"pdu": 415.0, "ups": 415.0, "meter": 10_000.0}  # line to line
POWER_FACTOR = {"pdu": 0.985, "ups": 0.99, "transformer": 0.97, "meter": 0.97}
_LOSSES = {  # what a device loses where its nameplate says nothing
    "pdu": (0.0006, 0.0, 0.0045),
    "ups": (0.006, 0.014, 0.012),
    "transformer": (0.0012, 0.0, 0.0085),
}
HOUSE_SHARE = 0.011  # of the racks' design power


class PowerChain:
    """Powers into feeders by kind (``input_w``), their losses (``loss_w``), energies, and the grid's meter [W, J, kWh]."""

    def __init__(self, fleet: Fleet, rng: np.random.Generator) -> None:
        self._fleet = fleet
        site = fleet.site
        self.rated_va: dict[str, Floats] = {}
        self._coefficients: dict[str, tuple[Floats, Floats, Floats]] = {}
        for kind in FEEDERS:
            n = fleet.count(kind)
            self.rated_va[kind] = site.number(kind, "rated_va", 1e6)
            plate = zip(("no_load_loss_frac", "linear_loss_frac", "square_loss_frac"), _LOSSES[kind], strict=True)
            a, b, c = (site.number(kind, name, default) * rng.normal(1.06, 0.06, n) for name, default in plate)
            self._coefficients[kind] = (a, b, c)
        self.input_w = {kind: np.zeros(fleet.count(kind)) for kind in FEEDERS}
        self.loss_w = {kind: np.zeros(fleet.count(kind)) for kind in FEEDERS}
        self.gain = {
            kind: rng.normal(1.0, 0.003, fleet.count(kind)) for kind in ("rack", "pdu", "ups", "transformer", "meter", "hall")
        }
        begun = {kind: rng.uniform(1, 8, fleet.count(kind)) * 1e11 for kind in ("rack", "pdu", "ups", "meter")}
        self.energy_j = {kind: np.round(values) for kind, values in begun.items()}
        racks_w = float(site.number("rack", "rated_w", 86e3).sum())
        self._house_w = HOUSE_SHARE * racks_w
        self._pv_w = float(site.number("pv", "rated_w", 0.0).sum())
        self._store_w = float(site.number("battery", "rated_w", 0.0).sum())
        self.house_w = self.pv_w = self.battery_w = self.meter_w = 0.0
        self.charge = 0.6

    def step(self, loads_w: dict[str, Floats], local_h: float, sun: float, dt_s: float) -> None:
        """Sum ``loads_w`` (power into each asset of a kind) up to the grid and count energies over ``dt_s``."""
        inputs = dict(loads_w)
        for kind in FEEDERS:
            load = np.zeros(self._fleet.count(kind))
            for feed in self._fleet.feeds:
                if feed.feeder == kind:
                    load += summed(feed.source, inputs[feed.fed][feed.target] * feed.share, len(load))
            a, b, c = self._coefficients[kind]
            rated_w = self.rated_va[kind] * POWER_FACTOR[kind]
            x = load / rated_w
            self.loss_w[kind] = (a + b * x + c * x * x) * rated_w
            self.input_w[kind] = inputs[kind] = load + self.loss_w[kind]
        self.house_w = self._house_w * (0.8 + 0.4 * day_curve(local_h))
        self._sun_and_battery(local_h, sun, dt_s)
        self.meter_w = float(inputs["transformer"].sum()) + self.house_w + self.pv_w + self.battery_w
        shown = {"rack": loads_w["rack"], "pdu": inputs["pdu"], "ups": inputs["ups"], "meter": np.array([self.meter_w])}
        for kind, power_w in shown.items():
            self.energy_j[kind] += np.maximum(power_w, 0.0) * self.gain[kind] * dt_s

    def _sun_and_battery(self, local_h: float, sun: float, dt_s: float) -> None:
        """PV delivers by the sun; the battery fills in the small hours and gives in the evening peak, half its rating each."""
        self.pv_w = -0.9 * self._pv_w * min(1.0, 1.25 * sun)
        order = 0.5 if 1.0 <= local_h < 5.0 else -0.5 if 18.0 <= local_h < 21.0 else 0.0
        if (order > 0 and self.charge >= 0.95) or (order < 0 and self.charge <= 0.10):
            order = 0.0
        self.battery_w = order * self._store_w
        stored_w = self.battery_w * (0.95 if order > 0 else 1.05)
        if self._store_w:
            self.charge = min(1.0, max(0.0, self.charge + stored_w * dt_s / (2.0 * 3600.0 * self._store_w)))

    def loading(self, kind: str) -> Floats:
        """Apparent power over rating of each device of a feeder kind."""
        return self.input_w[kind] / POWER_FACTOR[kind] / self.rated_va[kind]


def uneven(n: int) -> Floats:
    """Phase imbalance of ``n`` devices: 1 to 6 %, another for each and the same for ever, as single-phase loads were wired."""
    return np.asarray(np.round(0.01 + 0.05 * np.modf(np.arange(1, n + 1) * 0.6180339887)[0], 4))
