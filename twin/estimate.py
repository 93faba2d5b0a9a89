"""The live estimator: from what is heard this minute to power, heat and PUE of the whole centre, as frames.

Origin ``modelled`` is the best that physics and all meters together can say (``twin.powerbalance``, ``twin.liquid``); origin
``measured`` are the sums of meters where those cover the whole. What is silent is never counted as nothing: it is filled at
the mean load of what is heard, the share that was heard is told (``heard_frac``), and a total heard less than
``Params.heard_floor_frac`` is NaN.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from twin.flow import contained, is_source
from twin.frame import Bytes, Floats, Frame, Ints, Origin, Quality
from twin.liquid import Liquid, solve_liquid
from twin.losses import CHAIN
from twin.meters import Known, Metered, read_meters
from twin.metrics import metric
from twin.params import Params
from twin.powerbalance import indicator
from twin.residuals import Residuals, residuals
from twin.site import Site
from twin.solution import Solution, Totals, heard_overall, reconciled, solve, uncertainty
from twin.state import State

__all__ = ["SOURCE", "Z80", "Solution", "Totals", "estimate", "measured_totals", "reconciled", "solve", "uncertainty"]

SOURCE = "estimate"
Z80 = 1.2815515655446004  # standard normal quantile at 0.9: p10 to p90 is ± Z80 standard uncertainties
_PLANT = ("pump", "chiller", "tower", "drycooler", "crah")
_OF_WEATHER = ("cooling_power_w", "facility_power_w")


def estimate(site: Site, state: State, params: Params, now: datetime) -> list[Frame]:
    """Modelled and measured frames of nodes, racks, halls, the power chain, cooling and the site at ``now``. Pure.

    Modelled frames bear ``now``; measured totals the time of the oldest reading in them. A modelled value that rests on less
    than ``heard_sound_frac`` of what should speak, or on assumed weather, is suspect. Racks, halls, CDUs, loops and the site
    have frames of bands p10 and p90 beside them. Residuals are what a sensor says less what everything *else* says it should,
    smoothed over ``residual_s``, and the same over its expected spread (``…_score_ratio``); NaN where nothing else says
    anything. Those of halls and site are against physics alone, without any power meter. Smoothing and the delay of heat go
    on from the state's own modelled values of the tick before. Every value is held against its metric's range and is bad
    outside.
    """
    physics = solve(site, state, params, now)
    s = reconciled(site, state, params, now, physics)
    liquid = solve_liquid(site, state, params, now, s.cooling, s.metered.cdu_heat)
    apart = residuals(site, state, params, now, physics, s, liquid)
    frames = [*_it_frames(site, s, liquid, apart, params, now), *_chain_frames(site, s, apart, params, now)]
    frames += [*_cooling_frames(site, s, liquid, apart, params, now), *_site_frames(s, apart, params, now)]
    return [frame for frame in [*frames, *_measured_frames(s.metered)] if len(frame.rows)]


class _Said(NamedTuple):
    """A modelled column: value, share heard of what it rests on, and whether it rests on an assumption beside."""

    value: Floats
    heard: Floats | float = 1.0
    assumed: bool = False


def _frame(kind: str, time: datetime, rows: Ints, columns: Mapping[str, _Said], params: Params, band: str = "") -> Frame:
    """A modelled frame: NaN under the floor, suspect under the sound share or where assumed, bad out of range."""
    values, quality = {}, {}
    for name, (value, heard, assumed) in columns.items():
        shown = np.where(heard < params.heard_floor_frac, np.nan, value)
        row = metric(kind, name)
        doubtful = (heard < params.heard_sound_frac) | np.full(len(shown), assumed)
        grade = np.where(doubtful, Quality.SUSPECT, Quality.GOOD).astype(np.uint8)
        grade[(shown < row.low) | (shown > row.high)] = Quality.BAD
        grade[np.isnan(shown)] = Quality.GOOD
        values[name] = shown
        if grade.any():
            quality[name] = grade
    return Frame(kind, time, rows, values, Origin.MODELLED, SOURCE, band, quality)


def _banded(
    kind: str, time: datetime, rows: Ints, columns: Mapping[str, _Said], sigma: Mapping[str, Floats], params: Params
) -> list[Frame]:
    """A modelled frame, and the edges of the 80 % interval of the columns whose standard uncertainty is in ``sigma``."""
    frames = [_frame(kind, time, rows, columns, params)]
    for band, sign in (("p10", -Z80), ("p90", Z80)):
        edges = {}
        for name, width in sigma.items():
            said = columns[name]
            edge = said.value + sign * width
            low = metric(kind, name).low
            edges[name] = said._replace(value=np.where(said.value >= low, np.maximum(edge, low), edge))
        if any(np.isfinite(edge.value).any() for edge in edges.values()):
            frames.append(_frame(kind, time, rows, edges, params, band))
    return frames


def _it_frames(site: Site, s: Solution, liquid: Liquid, apart: Residuals, params: Params, now: datetime) -> list[Frame]:
    """Nodes, racks and halls."""
    d, nodes = s.demand, site.count("node")
    heard = d.heard_frac[:nodes]
    columns = {"power_w": _Said(d.node_w, heard), **_apart(apart, "node", site.all_rows("node"), heard)}
    frames = [_frame("node", now, site.all_rows("node"), columns, params)]
    power, read = (contained(site, d.position, w) for w in (d.power_w, d.measured_w))
    for kind, name in (("rack", "power_w"), ("hall", "it_power_w")):
        here, rows = site.of_kind(kind), site.all_rows(kind)
        heard = np.where(power[here] != 0, s.heard_frac[here], 0.0)  # an empty rack says nothing
        columns = {name: _Said(power[here], heard), **_apart(apart, kind, rows, heard)}
        sigma = {name: _sigma_inside(site, s, kind)}
        if kind == "hall":
            columns["coverage_frac"] = _Said(_ratio(read[here], power[here]))
            columns["heard_frac"] = _Said(s.heard_frac[here])
            columns["cooling_power_w"] = _Said(s.cooling.of_hall, heard)
        else:
            columns |= {"heat_w": _Said(liquid.heat_w[here], heard), "expected_heat_w": _Said(liquid.expected_w, heard)}
            sigma["heat_w"] = liquid.sigma_w[here]
        frames += _banded(kind, now, rows, columns, sigma, params)
    return frames


def _sigma_inside(site: Site, s: Solution, kind: str) -> Floats:
    """Standard uncertainty of the IT power of each rack or hall [W]."""
    b = s.balance
    if b is None or not b.solved:
        return np.full(site.count(kind), np.nan)
    home = b.loads.rack if kind == "rack" else np.where(b.loads.it, b.loads.hall, -1)
    return b.sigma_w(indicator(home, site.count(kind)))


def _apart(apart: Residuals, kind: str, rows: Ints, heard: Floats | float) -> dict[str, _Said]:
    """The residual columns of a kind for ``rows``."""
    return {name: _Said(column[rows], heard) for name, column in apart.get(kind, {}).items()}


def _ratio(part: Floats, whole: Floats) -> Floats:
    share: Floats = np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
    return np.clip(share, 0.0, 1.0)


def _chain_frames(site: Site, s: Solution, apart: Residuals, params: Params, now: datetime) -> list[Frame]:
    """Power devices that feed something, and meters among them."""
    frames, feeding = [], is_source(site, "feeds")
    for kind in (*CHAIN, "meter"):
        here = site.of_kind(kind)
        at = here[feeding[here]]
        into, heard = s.power.into[at], s.heard_frac[at]
        columns = _apart(apart, kind, site.row_of[at], heard)
        if kind != "meter":
            columns |= {"power_w": _Said(into, heard), "loss_w": _Said(s.power.loss[at], heard)}
        if columns:
            frames.append(_frame(kind, now, site.row_of[at], columns, params))
    return frames


def _cooling_frames(site: Site, s: Solution, liquid: Liquid, apart: Residuals, params: Params, now: datetime) -> list[Frame]:
    """Heat of CDUs and loops, electrical power of every machine; that of the plant rests on the weather as well."""
    frames = []
    for kind in ("cdu", "loop", *_PLANT):
        here = site.of_kind(kind)
        if kind == "pump":
            here = here[site.within("pump", "cdu") < 0]  # counted with their CDU
        rows, heard, sigma = site.row_of[here], s.heard_frac[here], {}
        columns = _apart(apart, kind, rows, heard)
        if kind in ("cdu", "loop"):
            heat = liquid.heat_w[here]
            columns["heat_w"] = _Said(np.where(np.isnan(heat), s.cooling.heat.into[here], heat), heard)
            sigma["heat_w"] = liquid.sigma_w[here]
        if kind == "cdu" or (kind in _PLANT and s.cooling.described):
            columns["power_w"] = _Said(s.cooling.electric[here], heard, kind != "cdu" and s.cooling.assumed)
        if columns:
            frames += _banded(kind, now, rows, columns, sigma, params)
    return frames


def _site_frames(s: Solution, apart: Residuals, params: Params, now: datetime) -> list[Frame]:
    """The site's totals, and the edges of their 80 % interval."""
    t, d, heard = s.totals, s.demand, heard_overall(s.demand)
    middle = {"it_power_w": t.it_w, "cooling_power_w": t.cooling_w, "loss_power_w": t.loss_w}
    middle |= {"facility_power_w": t.facility_w, "pue_ratio": s.pue}
    row = np.zeros(1, dtype=np.int32)
    of_weather = (*_OF_WEATHER, "pue_ratio") if np.isfinite(t.pue) else _OF_WEATHER  # else a meter has the facility
    columns = {
        name: _Said(np.array([value]), heard, s.cooling.assumed and name in of_weather) for name, value in middle.items()
    }
    columns |= _apart(apart, "site", row, heard)
    columns["coverage_frac"] = _Said(_ratio(np.array([d.measured_w.sum()]), np.array([t.it_w])))
    columns["heard_frac"] = _Said(np.array([heard]))
    sigma = {name: np.array([value]) for name, value in uncertainty(s, params).items()}
    return _banded("site", now, row, columns, sigma, params)


def measured_totals(site: Site, state: State, now: datetime) -> list[Frame]:
    """Only what the meters say of halls and site, as in ``estimate``: for a past of which nothing else is asked."""
    return _measured_frames(read_meters(site, state, now))


def _measured_frames(m: Metered) -> list[Frame]:
    """What meters cover whole, as measured totals: none where a meter is missing."""
    ratio = np.divide(m.facility.value, m.it.value, out=np.full(1, np.nan), where=m.it.value > 0)
    pue = Known(ratio, np.minimum(m.facility.time_s, m.it.time_s))
    frames = []
    for kind, name, known in (
        ("hall", "it_power_w", m.hall),
        ("site", "it_power_w", m.it),
        ("site", "cooling_power_w", m.cooling),
        ("site", "facility_power_w", m.facility),
        ("site", "pue_ratio", pue),
    ):
        limits = metric(kind, name)
        for row in np.flatnonzero(~np.isnan(known.value)):
            value = known.value[row : row + 1]
            bad: Bytes = np.where((value < limits.low) | (value > limits.high), Quality.BAD, Quality.GOOD).astype(np.uint8)
            time = datetime.fromtimestamp(float(known.time_s[row]), UTC)
            rows = np.array([row], dtype=np.int32)
            frames.append(Frame(kind, time, rows, {name: value}, source=SOURCE, quality={name: bad} if bad.any() else {}))
    return frames
