"""Calibration: what of the twin's parameters a stored past can tell, fitted, judged on later data, and refused where it cannot.

Each fit asks one question of one kind of asset and needs only its sensors: node power from GPUs and processors, losses from
load, flow from pump speed, power from speed, heat from an exchanger's inlets, a rack's share of flow and heat. ``propose``
gives all of them; ``twin.adopt`` puts sound ones in force.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from twin.coolants import heat_jpkgk, names_of, primary_names_of
from twin.cooling import rack_liquid_frac
from twin.demand import rest_w, through_supply
from twin.fit import Fit, Index, Knob, Record, best_fit, fit
from twin.frame import Floats
from twin.history import History
from twin.liquid import TURBULENT_EXPONENT, exchanger_clean_wpk, main_cooler, thinned_frac
from twin.losses import CHAIN
from twin.params import Params, Stage
from twin.physics.cdu import carried_heat_w, exchanged_heat_w
from twin.physics.chain import loss_w
from twin.physics.node import utilised_power_w

MOST_NODES = 64  # whose GPUs are read back; spread evenly over the site
PUMP = {"pump:base_frac": 0.0, "pump:rise_frac": 1.0, "pump:exponent_ratio": 3.0}  # the affinity laws
CURVE = ("no_load_frac", "linear_frac", "square_frac")
_RISE_K = 2.0  # of a stream, below which its heat is mostly the error of two sensors

Asked = Callable[[History, Params], Iterator[Fit]]


def propose(history: History, params: Params, told: Callable[[str], None] = lambda _: None) -> list[Fit]:
    """All fits that ``history`` allows, sound or refused with a reason. ``told`` hears what is being fitted."""
    made: list[Fit] = []
    for name, asked in QUESTIONS.items():
        told(name)
        made += asked(history, params)
    return made


def _nodes(h: History, params: Params) -> Iterator[Fit]:
    """Power of a node beside its GPUs, and its supply's efficiency, over a sample of nodes together."""
    site, p = h.site, params.node
    home = site.within("gpu", "node")
    have = np.unique(home[home >= 0])
    nodes = have[:: max(1, -(-len(have) // MOST_NODES))].astype(np.int32)
    gpus = np.flatnonzero(np.isin(home, nodes)).astype(np.int32)
    meter, cpu = h.columns("node", ["power_w", "cpu_util_frac"], nodes)
    read = h.column("gpu", "power_w", gpus)
    if not np.isfinite(meter).any() or not np.isfinite(read).any():
        return
    width = len(nodes)
    order = np.searchsorted(nodes, home[gpus])
    summed = np.stack([np.bincount(order, weights=row, minlength=width) for row in read])  # NaN where one of them is silent
    given = rest_w(site, p)[nodes]

    def record_of(knobs: Sequence[Knob]) -> Record:
        names = [knob.name for knob in knobs]

        def _expect(x: Floats) -> Floats:
            set_ = dict(zip(names, x.tolist(), strict=True))
            full = set_.get("rest_full_frac", p.rest_full_frac)
            idle = set_.get("rest_idle_frac", _idle_frac(params) if p.rest_idle_frac is None else p.rest_idle_frac)
            rest = utilised_power_w(np.where(np.isnan(cpu), p.cpu_util_frac, cpu), given * idle, given * full)
            stages = p.stages if "efficiency_frac" not in set_ else one_stage(params, set_["efficiency_frac"])
            return np.asarray(through_supply(summed + rest, stages)).ravel()

        now = _expect(np.array([knob.start for knob in knobs]))
        return Record(np.repeat(h.time_s, width), meter.ravel(), _expect, now, _whose(h, width))

    idle = Knob("rest_idle_frac", _idle_frac(params), 0.0, 3.0)
    full, eta = Knob("rest_full_frac", p.rest_full_frac, 0.0, 5.0), Knob("efficiency_frac", _efficiency(params), 0.7, 1.0)
    yield best_fit("node", "", [(idle, full, eta), (idle, full), (idle,)], record_of)


def _idle_frac(params: Params) -> float:
    p = params.node
    fixed = p.memory_w + 8 * p.nic_w + p.storage_w + p.other_w
    return (fixed + p.cpu_idle_w) / (fixed + p.cpu_full_w) if p.rest_idle_frac is None else p.rest_idle_frac


def _efficiency(params: Params) -> float:
    return float(np.prod([stage.efficiency_frac for stage in params.node.stages]))


def one_stage(params: Params, efficiency_frac: float) -> tuple[Stage, ...]:
    """The node's supply as one stage of this efficiency that draws what all its stages draw for themselves."""
    return (Stage(sum(stage.constant_w for stage in params.node.stages), efficiency_frac),)


def _losses(h: History, params: Params) -> Iterator[Fit]:
    """The loss curve of each kind of power device that says what it loses."""
    for kind in CHAIN:
        power, lost = h.columns(kind, ["power_w", "loss_w"])
        if np.isfinite(lost).any():
            yield _loss(h, params, kind, power - lost, lost)
        elif kind == "pdu" and np.isfinite(power).any():
            yield _loss_by_difference(h, params, power)


def _loss(h: History, params: Params, kind: str, out_w: Floats, lost_w: Floats) -> Fit:
    va, watts = h.site.number(kind, "rated_va"), h.site.number(kind, "rated_w")
    rated, curve = np.where(np.isnan(va), watts, va), getattr(params.chain, kind)
    plate = {name: np.full(len(rated), getattr(curve, name)) for name in CURVE}
    if kind not in params.chain.fitted:
        plate = {name: h.site.number(kind, name.replace("_frac", "_loss_frac"), getattr(curve, name)) for name in CURVE}

    def record_of(knobs: Sequence[Knob]) -> Record:
        names = [knob.name for knob in knobs]

        def _model(x: Floats) -> Floats:
            at = dict(zip(names, x.tolist(), strict=True))
            return np.asarray(loss_w(out_w, rated, *(at.get(name, 0.0) for name in CURVE))).ravel()

        present = np.asarray(loss_w(out_w, rated, *plate.values())).ravel()
        return Record(np.repeat(h.time_s, len(rated)), lost_w.ravel(), _model, present, _whose(h, len(rated)))

    three = [Knob(name, float(np.nanmean(plate[name])), 0.0, 0.2, 0.01) for name in CURVE]
    return best_fit(f"loss of {kind}", "", [three, (three[0], three[2]), three[:2]], record_of)


def _whose(h: History, width: int) -> Index:
    return np.tile(np.arange(width), len(h.time_s))


def _loss_by_difference(h: History, params: Params, power_w: Floats) -> Fit:
    """PDUs that do not say what they lose: their readings less that of the rack they feed, over all racks. Gains of meters
    are as large as the loss, so it takes many racks."""
    site, ratio = h.site, params.chain.pdu_ratio
    source, target, _ = site.linked("feeds", "pdu", "rack")
    va, watts = site.number("pdu", "rated_va"), site.number("pdu", "rated_w")
    plate = [site.number("pdu", name.replace("_frac", "_loss_frac"), getattr(params.chain.pdu, name)) for name in CURVE]
    lost = loss_w(power_w, np.where(np.isnan(va), watts, va), *plate)
    racks = np.unique(target)
    into, lost = (np.stack([v[:, source[target == r]].sum(axis=1) for r in racks], axis=1) for v in (power_w, lost))
    out = h.column("rack", "power_w")[:, racks]

    def _model(x: Floats) -> Floats:
        return np.asarray(out + x[0] * lost).ravel()

    record = Record(np.repeat(h.time_s, len(racks)), into.ravel(), _model, _model(np.array([ratio])), _whose(h, len(racks)))
    return fit("loss of pdu", "", [Knob("loss_ratio", ratio, 0.0, 10.0, 1.0)], record)


def _pumps(h: History, params: Params) -> Iterator[Fit]:
    """Each CDU: flow by speed and power by speed; pumps of loops and fans each all together."""
    site = h.site
    speed, flow, power = h.columns("cdu", ["pump_speed_frac", "flow_kgps", "power_w"])
    rated_kgps, rated_w = site.number("cdu", "rated_kgps"), site.number("cdu", "rated_w")
    for c, asset in enumerate(site.ids_of("cdu")):
        if np.isfinite(flow[:, c]).any() and np.isfinite(rated_kgps[c]):
            now = float(params.learned.column(site, "cdu:flow_per_speed_kgps", rated_kgps / params.plant.cdu_speed_frac)[c])
            knob = Knob("flow_per_speed_kgps", now, 0.0, 10 * now)
            yield fit("flow", asset, [knob], _proportional(h, flow[:, c], speed[:, c], now))
        if np.isfinite(power[:, c]).any() and np.isfinite(rated_w[c]):
            base, cubic = (
                float(params.learned.column(site, f"cdu:pump_{name}_frac", value)[c])
                for name, value in (("base", 0.0), ("cubic", 1.0))
            )
            yield _by_speed(h, "pump", asset, power[:, [c]], speed[:, [c]], rated_w[[c]], base, cubic, None)
    loose = np.flatnonzero(site.within("pump", "cdu") < 0).astype(np.int32)
    power, speed = h.columns("pump", ["power_w", "pump_speed_frac"], loose)
    rated, ids = site.number("pump", "rated_w")[loose], site.ids_of("pump")
    present = [params.learned.column(site, key, value)[loose] for key, value in PUMP.items()]
    for i, row in enumerate(loose.tolist()):
        if np.isfinite(power[:, i] + speed[:, i]).any() and rated[i] > 0:
            base, rise, exponent = (float(column[i]) for column in present)
            yield _by_speed(h, "loop pump", ids[row], power[:, [i]], speed[:, [i]], rated[[i]], base, rise, exponent)


def _fans(h: History, params: Params) -> Iterator[Fit]:
    """Fans of towers and dry coolers, all together."""
    kinds, p = ("tower", "drycooler"), params.plant
    columns = [h.columns(kind, ["power_w", "fan_speed_frac"]) for kind in kinds]
    power, speed = (np.hstack([pair[i] for pair in columns]) for i in (0, 1))
    rated = np.concatenate([h.site.number(kind, "rated_w") for kind in kinds])
    if np.isfinite(power).any() and np.isfinite(speed).any():
        yield _by_speed(h, "fans", "", power, speed, rated, p.fan_base_frac, p.fan_full_frac - p.fan_base_frac, p.fan_exponent)


def _by_speed(
    h: History, name: str, asset: str, power_w: Floats, speed: Floats, rated_w: Floats, base: float, rise: float,
    exponent: float | None,
) -> Fit:  # fmt: skip
    """Power over rating = base + rise · speed^exponent; the exponent is 3 where None (affinity laws)."""

    def record_of(knobs: Sequence[Knob]) -> Record:
        names = [knob.name for knob in knobs]

        def _model(x: Floats) -> Floats:
            at = dict(zip(names, x.tolist(), strict=True))
            curve = at.get("base_frac", 0.0) + at["rise_frac"] * speed ** at.get("exponent_ratio", exponent or 3.0)
            return np.asarray(rated_w * curve).ravel()

        present = np.asarray(rated_w * (base + rise * speed ** (exponent or 3.0))).ravel()
        whose = _whose(h, len(rated_w)) if len(rated_w) > 1 else None
        return Record(np.repeat(h.time_s, len(rated_w)), power_w.ravel(), _model, present, whose)

    knobs = (
        Knob("base_frac", base, 0.0, 2.0, 0.1),
        Knob("rise_frac", rise, 0.0, 5.0),
        Knob("exponent_ratio", exponent or 3.0, 1.0, 4.0),
    )
    fullest = knobs if exponent is not None else knobs[:2]
    return best_fit(name, asset, [fullest, (knobs[1],)], record_of)


def _proportional(h: History, target: Floats, to: Floats, now: float) -> Record:
    return Record(h.time_s, target, lambda x: x[0] * to, now * to)


def _exchangers(h: History, params: Params) -> Iterator[Fit]:
    """UA of each CDU's exchanger and how it goes with flow: heat out of the secondary's water from both inlets."""
    site = h.site
    rated, now = site.number("cdu", "rated_kgps"), exchanger_clean_wpk(site, params)
    exponent = params.learned.column(site, "cdu:conductance_exponent", TURBULENT_EXPONENT)
    names = ("supply_temp_c", "return_temp_c", "flow_kgps", "primary_supply_temp_c", "primary_flow_kgps")
    columns = h.columns("cdu", names)
    coolants = list(zip(names_of(site, "cdu"), primary_names_of(site), strict=True))
    for c, asset in enumerate(site.ids_of("cdu")):
        if rated[c] > 0 and now[c] > 0:
            present = (float(now[c]), float(exponent[c]))
            yield from _exchanger(h, asset, [column[:, c] for column in columns], rated[c], present, coolants[c])


def _exchanger(
    h: History, asset: str, read: Sequence[Floats], rated_kgps: float, present: tuple[float, float], coolants: tuple[str, str]
) -> Iterator[Fit]:
    supply, back, flow, cold, primary = read
    cp = heat_jpkgk(coolants[0], (supply + back) / 2)
    sound = (flow > 0) & (primary > 0) & (cold > 0) & (back - supply > _RISE_K)
    if not sound.any():
        return
    heat = np.where(sound, carried_heat_w(flow, cp, back - supply), np.nan)
    streams = (back, cold, flow * cp, primary * heat_jpkgk(coolants[1], np.where(sound, cold, np.nan)))
    back_c, cold_c, hot_wpk, cold_wpk = (np.where(sound, stream, np.nan) for stream in streams)

    def _passed(x: Floats) -> Floats:
        power = x[1] if len(x) > 1 else TURBULENT_EXPONENT
        thin = thinned_frac(flow / rated_kgps, primary / rated_kgps, power)
        return exchanged_heat_w(back_c, cold_c, hot_wpk, cold_wpk, x[0] * thin)

    record = Record(h.time_s, heat, _passed, _passed(np.array(present)))
    conductance = Knob("conductance_wpk", present[0], 1e-3 * present[0], 50 * present[0])
    knobs = (conductance, Knob("conductance_exponent", 0.5, 0.0, 1.2, 0.8))
    yield best_fit("exchanger", asset, [knobs, knobs[:1]], lambda _: record)


def _racks(h: History, params: Params) -> Iterator[Fit]:
    """Each rack: its share of the CDU's flow, the share of its power that leaves by liquid, and its supply sensor's offset."""
    site, learned = h.site, params.learned
    if not site.count("rack"):
        return
    home = main_cooler(site, "cdu", "rack")
    flow, supply, back, power = h.columns("rack", ["flow_kgps", "supply_temp_c", "return_temp_c", "power_w"])
    whole, at_cdu = h.columns("cdu", ["flow_kgps", "supply_temp_c"])
    share = learned.column(site, "rack:flow_share_frac", np.nan)
    liquid = rack_liquid_frac(site, params)
    offset = learned.column(site, "rack:supply_temp_offset_k", 0.0)
    cp = np.stack(
        [heat_jpkgk(name, mean) for name, mean in zip(names_of(site, "rack"), ((supply + back) / 2).T, strict=True)], 1
    )
    heat = carried_heat_w(flow, cp, back - supply)
    even = 1 / np.maximum(np.bincount(home[home >= 0], minlength=site.count("cdu")), 1)
    for r, asset in enumerate(site.ids_of("rack")):
        c = int(home[r])
        if c < 0:
            continue
        if np.isfinite(flow[:, r] + whole[:, c]).any():
            now = float(share[r]) if np.isfinite(share[r]) else float(even[c])
            yield fit(
                "flow share", asset, [Knob("flow_share_frac", now, 0.0, 1.0)], _proportional(h, flow[:, r], whole[:, c], now)
            )
        if np.isfinite(heat[:, r] + power[:, r]).any():
            now = float(liquid[r])
            yield fit(
                "liquid share", asset, [Knob("liquid_frac", now, 0.0, 1.5)], _proportional(h, heat[:, r], power[:, r], now)
            )
        if np.isfinite(supply[:, r] + at_cdu[:, c]).any():
            now, at = float(offset[r]), at_cdu[:, c]
            record = Record(h.time_s, supply[:, r], lambda x, at=at: at + x[0], at + now)  # type: ignore[misc]
            yield fit("supply sensor", asset, [Knob("supply_temp_offset_k", now, -5.0, 5.0, 1.0)], record)


def _house(h: History, params: Params) -> Iterator[Fit]:
    """What the connection's meter sees beyond all that hangs on the grid: light, offices, what nobody listed."""
    site = h.site
    meters = np.flatnonzero(site.parent[site.of_kind("meter")] == site.of_kind("site")[0]).astype(np.int32)
    feeds = site.links["feeds"]
    tops = feeds.target[np.isin(feeds.source, site.of_kind("grid"))]
    if (
        len(meters) != 1
        or np.isin(site.of_kind("meter")[meters], np.concatenate([feeds.source, feeds.target])).any()
        or not len(tops)
    ):
        return
    seen = np.zeros(len(h.time_s))
    for kind in ("transformer", "ups", "pdu", "battery", "pv"):
        here = site.of_kind(kind)
        mine = np.arange(len(here), dtype=np.int32) if kind in ("battery", "pv") else site.row_of[here[np.isin(here, tops)]]
        if len(mine):
            seen = seen + h.column(kind, "power_w", mine).sum(axis=1)
    target = h.column("meter", "power_w", meters)[:, 0]
    knob = Knob("house_w", params.house_w, 0.0, 1e9)
    yield fit("house", "", [knob], Record(h.time_s, target, lambda x: seen + x[0], seen + params.house_w))


QUESTIONS: dict[str, Asked] = {
    "nodes": _nodes,
    "losses": _losses,
    "pumps": _pumps,
    "fans": _fans,
    "exchangers": _exchangers,
    "racks": _racks,
    "house": _house,
}
