"""What power devices lose, as one function over the whole site: a device's own attributes win over the parameters."""

from dataclasses import dataclass

import numpy as np

from twin.frame import Floats, Ints
from twin.params import LossCurve, Params
from twin.physics.chain import loss_w
from twin.site import Site

CHAIN = ("pdu", "ups", "transformer")


@dataclass(frozen=True, slots=True, eq=False)
class LossOf:
    """Loss of every asset from what it delivers, 0 where it is no power device. Columns over the m devices ``at`` (int32[m],
    global positions): rating [W] (NaN: unknown, it then runs at ``load_frac``), curve, and loss over that curve."""

    at: Ints
    rated_w: Floats
    no_load_frac: Floats
    linear_frac: Floats
    square_frac: Floats
    loss_ratio: Floats
    load_frac: float

    def __call__(self, out_w: Floats) -> Floats:
        """float64[N]: loss [W] of each asset that delivers ``out_w`` (float64[N])."""
        mine, lost = out_w[self.at], np.zeros_like(out_w)
        rated = self._rating(mine)
        lost[self.at] = self.loss_ratio * loss_w(mine, rated, self.no_load_frac, self.linear_frac, self.square_frac)
        return lost

    def slope_frac(self, out_w: Floats) -> Floats:
        """float64[N]: loss of one more watt delivered, the derivative of the curve at ``out_w``."""
        mine, slope = out_w[self.at], np.zeros_like(out_w)
        rated = self.linear_frac + 2 * self.square_frac * mine / self._rating(mine)
        unrated = self.no_load_frac / self.load_frac + self.linear_frac + self.square_frac * self.load_frac
        slope[self.at] = self.loss_ratio * np.where(np.isnan(self.rated_w), unrated, rated)
        return slope

    def _rating(self, out_w: Floats) -> Floats:
        rated = np.where(np.isnan(self.rated_w), out_w / self.load_frac, self.rated_w)
        return np.where(rated > 0, rated, 1.0)


def losses_of(site: Site, params: Params, loss_ratio: Floats | None = None) -> LossOf:
    """The loss curves of all power devices of ``site``; ``loss_ratio``: float64[N], losses over their curve (None: 1)."""
    ratio = np.ones(len(site.ids)) if loss_ratio is None else loss_ratio
    parts = []
    for kind in CHAIN:
        curve: LossCurve = getattr(params.chain, kind)
        here, given = site.of_kind(kind), ("no_load_loss_frac", "linear_loss_frac", "square_loss_frac")
        default = (curve.no_load_frac, curve.linear_frac, curve.square_frac)
        fitted = kind in params.chain.fitted
        curves = [
            np.full(len(here), d) if fitted else site.number(kind, name, d) for name, d in zip(given, default, strict=True)
        ]
        va, watts = site.number(kind, "rated_va"), site.number(kind, "rated_w")
        rated = np.where(np.isnan(va), watts, va)
        over = ratio[here] * (params.chain.pdu_ratio if kind == "pdu" else 1.0)
        parts.append((here, np.where(rated > 0, rated, np.nan), *curves, over))
    at, rated, a, b, c, over = (np.concatenate(part) for part in zip(*parts, strict=True))
    return LossOf(at, rated, a, b, c, over, params.chain.unrated_load_frac)
