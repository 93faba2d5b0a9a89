"""Residuals: what each sensor says less what everything else says it should, as columns that a rule or detector can watch."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from twin.flow import contained
from twin.frame import Floats, Origin
from twin.liquid import Liquid
from twin.params import Params
from twin.site import Site
from twin.solution import Solution
from twin.state import State

Residuals = Mapping[str, Mapping[str, Floats]]  # kind -> metric -> float64[n] by row
_OF_POWER = ("node", "rack", "pdu", "ups", "transformer", "meter", "pump", "chiller", "tower", "drycooler", "crah")
_DIGITS = {"w": 1, "k": 4, "kgps": 4}  # kept: what nobody reads would only fill the store
_UNIT = {"heat": "w", "primary_heat": "w", "supply_temp": "k", "return_temp": "k", "flow": "kgps"}


def residuals(
    site: Site, state: State, params: Params, now: datetime, physics: Solution, s: Solution, liquid: Liquid
) -> Residuals:
    """All residuals of ``now``, smoothed, with their scores. ``physics``: solved without meters, for halls and site."""
    made: dict[str, dict[str, Floats]] = {}

    def put(kind: str, name: str, score: str, residual: Floats, spread: Floats) -> None:
        if np.isfinite(residual).any():
            smooth = np.round(_smoothed(state, params, now, kind, name, residual), _DIGITS[name.rsplit("_", 1)[1]])
            made.setdefault(kind, {}).update({name: smooth, score: np.round(smooth / np.where(spread > 0, spread, np.nan), 2)})

    b = s.balance
    if b is not None:
        for kind in (*_OF_POWER, "cdu"):
            here = site.of_kind(kind)
            base = "power_" if kind == "cdu" else ""
            score = "power_score_ratio" if base else "residual_score_ratio"
            put(kind, f"{base}residual_w", score, b.residual_w[here], b.spread_w[here])
            read = ~np.isnan(b.residual_w[here])
            if read.any():
                made.setdefault(kind, {})["refused_flag"] = np.where(read, b.refused[here] * 1.0, np.nan)
        top = site.of_kind("site")
        put("site", "facility_residual_w", "facility_score_ratio", b.residual_w[top], b.spread_w[top])
    for kind, reading in (("hall", s.metered.hall.value), ("site", s.metered.it.value)):
        put(kind, "residual_w", "residual_score_ratio", *_against_physics(site, params, physics, kind, reading))
    for (kind, what), apart in liquid.apart.items():
        bare = what == "heat" and kind in ("cdu", "loop")
        name = "residual_w" if bare else f"{what}_residual_{_UNIT[what]}"
        put(kind, name, "residual_score_ratio" if bare else f"{what}_score_ratio", apart.residual, apart.spread)
    return made


def _against_physics(site: Site, params: Params, physics: Solution, kind: str, meter_w: Floats) -> tuple[Floats, Floats]:
    """IT power of halls or site by meters less by physics; NaN where over half of the latter is the meters' own reading."""
    d, rho = physics.demand, params.doubt.common_frac
    here = site.of_kind(kind)
    model, taken, wide, square = (
        contained(site, d.position, w)[here] for w in (d.power_w, d.power_w * d.metered, d.sigma_w, d.sigma_w**2)
    )
    spread = np.sqrt(rho * wide**2 + (1 - rho) * square + (params.doubt.meter * model) ** 2)
    return np.where(taken > 0.5 * model, np.nan, meter_w - model), spread


def _smoothed(state: State, params: Params, now: datetime, kind: str, name: str, raw: Floats) -> Floats:
    """Exponentially weighted mean over ``residual_s``, going on from the value of the tick before; begun anew after a gap."""
    was = state.newest(kind, name, Origin.MODELLED)
    gone_s = now.timestamp() - was.time_s
    known = (gone_s >= 0) & (gone_s < 5 * params.residual_s) & ~np.isnan(was.value)
    part = -np.expm1(-np.where(known, gone_s, np.inf) / params.residual_s)
    return np.where(known, was.value + part * (raw - was.value), raw)
