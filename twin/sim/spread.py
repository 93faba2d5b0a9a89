"""How far the numbers may be off: one draw of them, for an ensemble."""

from dataclasses import dataclass, fields, replace

import numpy as np

from twin.params import Doubt, Params
from twin.sim.fleet import Fleet


@dataclass(frozen=True, slots=True)
class Spread:
    """Factors on what parameters and ratings say: power that GPUs add, the rest of a node, losses, pumps, fans, chillers, and
    the transfer units of exchangers. 1 everywhere is the model as it is."""

    gpu_ratio: float = 1.0
    rest_ratio: float = 1.0
    loss_ratio: float = 1.0
    pumps_ratio: float = 1.0
    fans_ratio: float = 1.0
    chillers_ratio: float = 1.0
    exchanger_ratio: float = 1.0

    def of_fleet(self, fleet: Fleet) -> Fleet:
        """The fleet with this draw's powers."""
        if self == Spread():
            return fleet
        rest = self.rest_ratio
        return replace(fleet, gpu_w=fleet.gpu_w * self.gpu_ratio, cpu_w=fleet.cpu_w * rest, idle_w=fleet.idle_w * rest)

    def of_params(self, params: Params) -> Params:
        """The parameters with this draw's exchangers."""
        return replace(params, plant=replace(params.plant, cdu_ntu=params.plant.cdu_ntu * self.exchanger_ratio))


def draw_spread(doubt: Doubt, rng: np.random.Generator) -> Spread:
    """A draw: log-normal factors with the standard uncertainties of ``doubt``, each independent of the others."""
    sigma = {"gpu_ratio": doubt.gpu_util, "rest_ratio": doubt.rest, "loss_ratio": doubt.loss}
    drawn = {f.name: float(np.exp(rng.normal(0.0, sigma.get(f.name, doubt.cooling)))) for f in fields(Spread)}
    return Spread(**drawn)
