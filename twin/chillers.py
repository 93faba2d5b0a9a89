"""Which chillers run, by their power: the one rule of reports, levers and the guard.

A chiller that stands by feeds its controls and heaters of oil: some 100 W to a few kW, under a hundredth of what it is rated
for. One that runs takes 17 % of that at least, however little it carries (``twin.physics.chiller``: the part-load curve's
constant; machines that cycle or unload further are taken not to go below a third of it). ``RUNS_FRAC`` lies between; where
between is a choice of ours.
"""

from typing import NamedTuple

import numpy as np

from twin.frame import Floats
from twin.params import PlantParams
from twin.site import Bools, Site

RUNS_FRAC = 0.05  # of its rated power: a chiller that takes more runs


class On(NamedTuple):
    """bool[…, n] of each chiller: it runs; it stands still. Neither where that is not known."""

    runs: Bools
    still: Bools


def rated_chiller_w(site: Site) -> Floats:
    """float64[n]: power that each chiller is rated for [W], by itself or by its heat at the assumed COP; NaN where neither is
    given."""
    power_w, heat_w = site.number("chiller", "rated_w"), site.number("chiller", "rated_heat_w")
    return np.asarray(np.where(np.isnan(power_w), heat_w / PlantParams().chiller_cop, power_w))


def rated_or_seen_w(site: Site, power_w: Floats, load_w: Floats) -> Floats:
    """float64[n]: as ``rated_chiller_w``. Where nothing is given, the largest of ``power_w`` (float64[t, n]), but not less than
    an equal part of the highest of ``load_w`` (float64[t], heat of IT) asks for at the assumed COP: the largest of one that
    only stood by is no rating. NaN where no load is known."""
    count = power_w.shape[1]
    part_w = float(np.max(load_w, where=np.isfinite(load_w), initial=0.0)) / max(count, 1) / PlantParams().chiller_cop
    seen_w = np.max(power_w, axis=0, where=np.isfinite(power_w), initial=0.0)
    guess_w = np.maximum(seen_w, part_w) if part_w > 0 else np.full(count, np.nan)
    given_w = rated_chiller_w(site)
    return np.asarray(np.where(np.isnan(given_w), guess_w, given_w))


def chillers_on(power_w: Floats, rated_power_w: Floats) -> On:
    """Of chillers that take ``power_w`` (float64[…, n], NaN: not read) and are rated for ``rated_power_w`` (float64[n], NaN:
    not known). Who takes nothing stands still, whatever the rating."""
    runs = power_w > RUNS_FRAC * rated_power_w
    return On(runs, (power_w <= RUNS_FRAC * rated_power_w) | (power_w <= 0))
