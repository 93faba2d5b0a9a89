"""The live estimator: from what is heard this minute to power, heat and PUE of the whole centre, as frames.

Origin ``modelled`` is what physics expects; origin ``measured`` are the sums of meters where those cover the whole. What
is silent is never counted as nothing: it is filled at the mean load of what is heard, the share that was heard is told
(``heard_frac``), and a total heard less than ``Params.heard_floor_frac`` is NaN.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from twin.cooling import Cooling, solve_cooling
from twin.demand import Demand, it_demand
from twin.flow import Flow, carrier, carry, contained, is_target, places_of, spread
from twin.frame import Bytes, Floats, Frame, Ints, Origin, Quality
from twin.meters import Known, Metered, read_meters
from twin.metrics import metric
from twin.params import LossCurve, Params
from twin.physics.chain import loss_w
from twin.site import Bools, Site
from twin.state import State

SOURCE = "estimate"
Z80 = 1.2815515655446004  # standard normal quantile at 0.9: p10 to p90 is ± Z80 standard uncertainties
_CHAIN = ("pdu", "ups", "transformer")
_PLANT = ("pump", "chiller", "tower", "drycooler")
_OF_WEATHER = ("cooling_power_w", "facility_power_w", "pue_ratio")


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """The site in W, NaN where it cannot be said: a site that describes no cooling plant has no cooling power, one that
    describes no power chain no losses, and neither then has a facility power."""

    it_w: float
    cooling_w: float
    loss_w: float

    @property
    def facility_w(self) -> float:
        """IT, cooling and losses."""
        return self.it_w + self.cooling_w + self.loss_w

    @property
    def pue(self) -> float:
        """Facility over IT power."""
        return self.facility_w / self.it_w if self.it_w > 0 else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The balance of one moment, everything filled in. ``heard_frac``: float64[N], share heard of the IT behind (or in) each
    asset, weighed by ``swing_w``; what has no IT behind it has the site's."""

    demand: Demand
    metered: Metered
    cooling: Cooling
    power: Flow
    heard_frac: Floats
    totals: Totals


def solve(site: Site, state: State, params: Params, now: datetime) -> Solution:
    """Demand of IT, then heat and the plant that carries it away, then losses up the power chain."""
    metered = read_meters(site, state, now)
    demand = it_demand(site, state, params, now, metered.rack.value)
    cooling = solve_cooling(site, state, params, now, demand)
    fed = is_target(site, "feeds")
    own = spread(site, carrier(site, demand.position, fed), demand.power_w)
    machines = places_of(cooling.electric)
    own += spread(site, carrier(site, machines, fed), cooling.electric[machines])
    power = carry(site.links["feeds"], own, _losses(site, params))
    has_chain = any(np.isin(site.of_kind(kind), site.links["feeds"].source).any() for kind in _CHAIN)
    totals = Totals(
        float(demand.power_w.sum()) if len(demand.power_w) else math.nan,
        float(cooling.electric.sum()) if cooling.described else math.nan,
        float(power.loss.sum()) if has_chain else math.nan,
    )
    return Solution(demand, metered, cooling, power, _heard(site, demand), totals)


def estimate(site: Site, state: State, params: Params, now: datetime) -> list[Frame]:
    """Modelled and measured frames of nodes, racks, halls, the power chain, cooling and the site at ``now``. Pure.

    Modelled frames bear ``now``; measured totals the time of the oldest reading in them. A modelled value that rests on less
    than ``heard_sound_frac`` of what should speak, or on assumed weather, is suspect. The site's totals have frames of
    bands p10 and p90 beside them. ``residual_w`` is measured less modelled, NaN where the model itself took the meter's
    reading. Every value is held against its metric's range and is bad outside.
    """
    s = solve(site, state, params, now)
    frames = [*_it_frames(site, s, params, now), *_chain_frames(site, state, s, params, now)]
    frames += [*_cooling_frames(site, s, params, now), *_site_frames(s, params, now), *_measured_frames(s.metered)]
    return [frame for frame in frames if len(frame.rows)]


def _losses(site: Site, params: Params) -> "_LossOf":
    """The loss curves of all power devices; an asset's own attributes win over the parameters."""
    n = len(site.ids)
    rated, a, b, c = (np.full(n, np.nan), np.zeros(n), np.zeros(n), np.zeros(n))
    for kind in _CHAIN:
        curve: LossCurve = getattr(params.chain, kind)
        here = site.of_kind(kind)
        a[here] = site.number(kind, "no_load_loss_frac", curve.no_load_frac)
        b[here] = site.number(kind, "linear_loss_frac", curve.linear_frac)
        c[here] = site.number(kind, "square_loss_frac", curve.square_frac)
        va, watts = site.number(kind, "rated_va"), site.number(kind, "rated_w")
        rated[here] = np.where(np.isnan(va), watts, va)
    return _LossOf(np.where(rated > 0, rated, np.nan), a, b, c, params.chain.unrated_load_frac)


@dataclass(frozen=True, slots=True, eq=False)
class _LossOf:
    """Loss of every asset from what it delivers; 0 where it is no power device. One of unknown rating runs at ``load``."""

    rated: Floats
    a: Floats
    b: Floats
    c: Floats
    load: float

    def __call__(self, out: Floats) -> Floats:
        rated = np.where(np.isnan(self.rated), out / self.load, self.rated)
        return np.where(self.a + self.b + self.c > 0, loss_w(out, np.where(rated > 0, rated, 1.0), self.a, self.b, self.c), 0.0)


def heard_overall(d: Demand) -> float:
    """Share of all that there is to hear that was heard, 0 where there is nothing."""
    whole = float(d.swing_w.sum())
    return float((d.swing_w * d.heard_frac).sum()) / whole if whole > 0 else 0.0


def _heard(site: Site, d: Demand) -> Floats:
    """Along ``feeds`` and ``cools`` for devices, by containment for places."""
    whole, part = np.zeros(len(site.ids)), np.zeros(len(site.ids))
    for relation in ("cools", "feeds"):
        at = carrier(site, d.position, is_target(site, relation))
        links = site.links[relation]
        for total, weight in ((whole, d.swing_w), (part, d.swing_w * d.heard_frac)):
            behind = carry(links, spread(site, at, weight)).into
            np.copyto(total, behind, where=np.isin(site.all_assets, links.source))
    for total, weight in ((whole, d.swing_w), (part, d.swing_w * d.heard_frac)):
        inside = contained(site, d.position, weight)
        np.copyto(total, inside, where=_is_place(site))
    overall = heard_overall(d)
    share: Floats = np.divide(part, whole, out=np.full(len(whole), overall), where=whole > 0)
    return share


def _is_place(site: Site) -> Bools:
    place = np.zeros(len(site.ids), dtype=np.bool_)
    for kind in ("site", "hall", "row", "rack"):
        place[site.of_kind(kind)] = True
    return place


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


def _it_frames(site: Site, s: Solution, params: Params, now: datetime) -> list[Frame]:
    """Nodes, racks and halls."""
    d, nodes = s.demand, site.count("node")
    frames = [_frame("node", now, site.all_rows("node"), {"power_w": _Said(d.node_w, d.heard_frac[:nodes])}, params)]
    power, own, read = (contained(site, d.position, w) for w in (d.power_w, d.power_w * d.metered, d.measured_w))
    for kind, name, meter in (("rack", "power_w", s.metered.rack), ("hall", "it_power_w", s.metered.hall)):
        here = site.of_kind(kind)
        heard = np.where(power[here] != 0, s.heard_frac[here], 0.0)  # an empty rack says nothing
        columns = {name: _Said(power[here], heard)}
        columns["residual_w"] = _Said(residual(meter.value, power[here], own[here]), heard)
        if kind == "hall":
            columns["coverage_frac"] = _Said(_ratio(read[here], power[here]))
            columns["heard_frac"] = _Said(s.heard_frac[here])
            columns["cooling_power_w"] = _Said(s.cooling.of_hall, heard)
        frames.append(_frame(kind, now, site.all_rows(kind), columns, params))
    return frames


def residual(meter_w: Floats, model_w: Floats, taken_w: Floats) -> Floats:
    """Measured less modelled [W]; NaN where over half of the model (``taken_w``) is that meter's own reading."""
    return np.where(taken_w > 0.5 * model_w, np.nan, meter_w - model_w)


def _ratio(part: Floats, whole: Floats) -> Floats:
    share: Floats = np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
    return np.clip(share, 0.0, 1.0)


def _chain_frames(site: Site, state: State, s: Solution, params: Params, now: datetime) -> list[Frame]:
    """Power devices that feed something."""
    frames = []
    for kind in _CHAIN:
        here = site.of_kind(kind)
        linked = np.isin(here, s.power.links.source)
        at = here[linked]
        into, heard = s.power.into[at], s.heard_frac[at]
        columns = {"power_w": _Said(into, heard), "loss_w": _Said(s.power.loss[at], heard)}
        if kind == "pdu":
            columns["residual_w"] = _Said(state.column(kind, "power_w", now)[linked] - into, heard)
        frames.append(_frame(kind, now, site.row_of[at], columns, params))
    return frames


def _cooling_frames(site: Site, s: Solution, params: Params, now: datetime) -> list[Frame]:
    """Heat of CDUs and loops, electrical power of every machine; that of the plant rests on the weather as well."""
    frames = []
    for kind in ("cdu", "loop", *_PLANT):
        here = site.of_kind(kind)
        if kind == "pump":
            here = here[site.within("pump", "cdu") < 0]  # counted with their CDU
        heard, columns = s.heard_frac[here], {}
        if kind in ("cdu", "loop"):
            columns["heat_w"] = _Said(s.cooling.heat.into[here], heard)
        if kind == "cdu":
            columns["residual_w"] = _Said(s.metered.cdu_heat - s.cooling.heat.into[here], heard)
        if kind == "cdu" or (kind in _PLANT and s.cooling.described):
            columns["power_w"] = _Said(s.cooling.electric[here], heard, kind != "cdu" and s.cooling.assumed)
        frames.append(_frame(kind, now, site.row_of[here], columns, params))
    return frames


def _site_frames(s: Solution, params: Params, now: datetime) -> list[Frame]:
    """The site's totals, and the edges of their 80 % interval."""
    t, d = s.totals, s.demand
    heard = heard_overall(d)
    middle = {"it_power_w": t.it_w, "cooling_power_w": t.cooling_w, "loss_power_w": t.loss_w}
    middle |= {"facility_power_w": t.facility_w, "pue_ratio": t.pue}
    row = np.zeros(1, dtype=np.int32)

    def frame(values: Mapping[str, float], band: str, more: Mapping[str, _Said]) -> Frame:
        said = {
            name: _Said(np.array([value]), heard, s.cooling.assumed and name in _OF_WEATHER) for name, value in values.items()
        }
        return _frame("site", now, row, {**said, **more}, params, band)

    taken = np.array([(d.power_w * d.metered).sum()])
    more = {
        "residual_w": _Said(residual(s.metered.it.value, np.array([t.it_w]), taken), heard),
        "coverage_frac": _Said(_ratio(np.array([d.measured_w.sum()]), np.array([t.it_w]))),
        "heard_frac": _Said(np.array([heard])),
    }
    sigma = uncertainty(s, params)
    edges = []
    for band, sign in (("p10", -Z80), ("p90", Z80)):
        values = {name: max(value + sign * sigma[name], metric("site", name).low) for name, value in middle.items()}
        edges.append(frame(values, band, {}))
    return [frame(middle, "", more), *edges]


def uncertainty(s: Solution, params: Params) -> Mapping[str, float]:
    """Standard uncertainty of each of the site's totals, by metric [W; PUE: 1].

    Pieces of IT with standard uncertainty σ_i and the share ρ of their variance in common: σ² = ρ·(Σσ_i)² + (1-ρ)·Σσ_i² (JCGM
    100:2008, 5.2.2, with equal correlation). Cooling and losses have the uncertainty of their models and, being nearly
    proportional to IT, move with it; PUE is free of that common part.
    """
    t, doubt = s.totals, params.doubt
    each = s.demand.sigma_w
    it = math.sqrt(doubt.common_frac * each.sum() ** 2 + (1 - doubt.common_frac) * (each**2).sum())
    with_it = it / t.it_w if t.it_w > 0 else math.nan
    cooling = (doubt.blind_cooling if s.cooling.assumed else doubt.cooling) * t.cooling_w
    loss = doubt.loss * t.loss_w
    overhead = math.hypot(cooling, loss)
    return {
        "it_power_w": it,
        "cooling_power_w": math.hypot(cooling, with_it * t.cooling_w),
        "loss_power_w": math.hypot(loss, with_it * t.loss_w),
        "facility_power_w": math.hypot(overhead, with_it * t.facility_w),
        "pue_ratio": overhead / t.it_w if t.it_w > 0 else math.nan,
    }


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
