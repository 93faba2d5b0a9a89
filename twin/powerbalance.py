"""The power tree reconciled: IT and machines as the model expects them, and every meter from node to grid, weighed together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from twin.demand import Demand
from twin.flow import Flow, carrier, is_target
from twin.frame import Floats, Ints
from twin.gains import Gather, Metering, Through, gains
from twin.losses import CHAIN, LossOf
from twin.params import Params
from twin.reconcile import LIMIT_RATIO, Meters, Reconciled, reconcile
from twin.site import Bools, Site
from twin.state import State

MACHINES = ("cdu", "pump", "chiller", "tower", "drycooler", "crah")
COMMON = 3 + len(CHAIN)  # factors in common: IT by model, cooling, IT by meter alone, the losses of each kind of device
MOST_TOGETHER = (
    600  # loads solved at once, as work grows with the cube; above, each hall by itself, the site's own meters left out
)


@dataclass(frozen=True, slots=True, eq=False)
class Loads:
    """The unknowns: k loads, each all of one rack (or of none) that hangs on one feed, or one machine of the plant.

    ``carrier``: int32[k], global position that the links feed; ``rack``, ``hall``: int32[k], rows, -1 for none; ``it``:
    bool[k]; ``piece_of``: int32[n], load of each piece of IT; ``machine_of``: int32[q], load of each of ``machines``
    (int32[q], global positions). The last load is the house: what the centre draws beside all that is described.
    """

    carrier: Ints
    rack: Ints
    hall: Ints
    it: Bools
    piece_of: Ints
    machines: Ints
    machine_of: Ints


@dataclass(frozen=True, slots=True, eq=False)
class PowerBalance:
    """What the balance says. ``demand``: with the reconciled power; ``machine_w``: float64[N], reconciled power of machines,
    never below 0, NaN where the model stands; ``house_w``: see ``Loads``; ``loss_ratio``: float64[N], losses over their curve,
    never below 0; ``residual_w``, ``spread_w``: float64[N], each meter's reading less what everything else says, and its
    expected spread, by the metered asset's global position (that of the site: all that the facility takes in), NaN where there
    is no reading or nothing beside it; ``refused``: bool[N], meters left out as gross errors. ``solved``: each group of loads
    with its balance, for ``sigma_w``."""

    demand: Demand
    machine_w: Floats
    house_w: float
    loss_ratio: Floats
    residual_w: Floats
    spread_w: Floats
    refused: Bools
    loads: Loads
    through: Through
    solved: Sequence[tuple[Ints, Reconciled]]

    @property
    def whole(self) -> bool:
        """All loads were solved."""
        return sum(len(members) for members, _ in self.solved) == len(self.loads.carrier)

    def sigma_w(self, weights: Floats, lifts: Floats | None = None) -> Floats:
        """float64[q]: standard uncertainty [W] of sums of loads, ``weights`` float64[q, k]; ``lifts``: float64[q, c] of common
        factors. NaN where nothing was solved, or where weights fall on loads that no group has."""
        variance, seen = np.zeros(len(weights)), np.zeros(len(weights))
        for members, found in self.solved:
            variance += found.sigma_of(weights[:, members], lifts) ** 2
            seen += np.count_nonzero(weights[:, members], axis=1)
        return np.where(seen == np.count_nonzero(weights, axis=1), np.sqrt(variance), np.nan)


def balance_power(
    site: Site, state: State, params: Params, now: datetime, d: Demand, electric_w: Floats, power: Flow, losses: LossOf,
    facility_w: float,
) -> PowerBalance:  # fmt: skip
    """Reconcile IT (``d``) and machines (``electric_w``, float64[N]) with all power meters that read.

    ``power``: the chain as the model has it with ``losses``, around which it is linear; ``facility_w``: what the centre takes
    in by its meters, NaN where that is not known or not comparable. A meter whose reading the model took for itself
    (``Demand.by_rack``) is not weighed again. Where IT is unknown (NaN) nothing is reconciled.
    """
    was_w = d.power_w
    d, residual, spread, refused = _nodes(site, state, params, now, d)
    loads = _loads(site, state, now, d, electric_w)
    k = len(loads.carrier)
    ratio, machine_w = np.ones(len(site.ids)), np.full(len(site.ids), np.nan)
    through = _through(site, params, loads, power, losses)
    solved: list[tuple[Ints, Reconciled]] = []
    house_w = params.house_w
    if k > 1 and np.isfinite(d.power_w).all():
        prior, sigma, loading = _prior(site, params, loads, d, electric_w)
        rows = _meters(site, state, params, now, loads, d, power, facility_w, through)
        value = prior.copy()
        for members in _groups(loads):
            mine = _seen(rows, members, k)
            found = reconcile(prior[members], sigma[members], loading[members], mine.meters)
            value[members] = found.value_w
            residual[mine.at], spread[mine.at] = mine.meters.reading_w - found.expected_w, found.spread_w
            refused[mine.at] = found.refused
            solved.append((members, found))
        if len(solved) == 1 and len(solved[0][0]) == k:
            for i, kind in enumerate(CHAIN, COMMON - len(CHAIN)):
                ratio[site.of_kind(kind)] = max(1 + params.doubt.loss * float(solved[0][1].common[i]), 0.0)
        d = _shared_out(loads, d, prior, value)
    covered = np.divide(d.power_w, was_w, out=np.ones_like(was_w), where=was_w > 0)
    d = replace(d, measured_w=d.measured_w * covered)
    if solved:
        machine_w[loads.machines] = np.maximum(electric_w[loads.machines] + (value - prior)[loads.machine_of], 0.0)
        house_w = float(value[-1])
    return PowerBalance(d, machine_w, house_w, ratio, residual, spread, refused, loads, through, solved)


def _nodes(site: Site, state: State, params: Params, now: datetime, d: Demand) -> tuple[Demand, Floats, Floats, Bools]:
    """Nodes by their own meters beside the model: the weighted mean, but for a meter that is a gross error."""
    size, n = len(site.ids), site.count("node")
    residual, spread, refused = np.full(size, np.nan), np.full(size, np.nan), np.zeros(size, dtype=np.bool_)
    at, meter, sigma = site.of_kind("node"), state.column("node", "power_w", now), d.sigma_w[:n]
    free = ~np.isnan(meter) & ~d.metered[:n] & (d.heard_frac[:n] > 0) & (sigma > 0)
    apart, width = meter - d.power_w[:n], np.hypot(sigma, params.doubt.meter * meter)
    residual[at], spread[at] = np.where(free, apart, np.nan), np.where(free, width, np.nan)
    wrong = free & (np.abs(apart) > LIMIT_RATIO * width)
    refused[at] = wrong
    gain = np.divide(sigma**2, width**2, out=np.zeros(n), where=free & ~wrong)
    power, sigma_w = d.power_w.copy(), d.sigma_w.copy()
    shift = np.where(gain > 0, gain * apart, 0.0)
    power[:n] += shift
    sigma_w[:n] *= np.sqrt(1 - gain)
    return replace(d, power_w=power, sigma_w=sigma_w, node_w=d.node_w + shift), residual, spread, refused


def _loads(site: Site, state: State, now: datetime, d: Demand, electric_w: Floats) -> Loads:
    """A machine is a load where it draws or reads anything; pumps inside a CDU are part of it."""
    fed = is_target(site, "feeds")
    there = np.nan_to_num(electric_w) != 0
    for kind in MACHINES:
        there[site.of_kind(kind)] |= ~np.isnan(state.column(kind, "power_w", now))
    there[site.of_kind("pump")[site.within("pump", "cdu") >= 0]] = False
    machines = np.flatnonzero(there).astype(np.int32)
    at = np.concatenate([carrier(site, d.position, fed), carrier(site, machines, fed)])
    rack_of, hall_of = (np.full(len(site.ids), -1, dtype=np.int32) for _ in range(2))
    for kind in ("node", "switch", "storage", "rack"):
        rack_of[site.of_kind(kind)] = site.within(kind, "rack")
    for kind in ("node", "switch", "storage", "rack", *MACHINES):
        hall_of[site.of_kind(kind)] = site.within(kind, "hall")
    hall_of[site.of_kind("hall")] = np.arange(site.count("hall"))
    whose = np.concatenate([rack_of[d.position], -2 - np.arange(len(machines), dtype=np.int32)])  # a machine is for itself
    _, first, load = np.unique(at.astype(np.int64) * 2**32 + whose, return_index=True, return_inverse=True)
    hall, n = hall_of[np.concatenate([d.position, machines])[first]], len(d.position)
    load = load.astype(np.int32)
    rack, it = np.where(first < n, whose[first], -1), first < n
    house = np.array([site.of_kind("site")[0]], dtype=np.int32)  # which nothing feeds: only the connection's meter sees it
    return Loads(
        np.concatenate([at[first], house]), np.append(rack, -1).astype(np.int32), np.append(hall, -1).astype(np.int32),
        np.append(it, False), load[:n].astype(np.int32), machines, load[n:].astype(np.int32),
    )  # fmt: skip


def _prior(site: Site, params: Params, loads: Loads, d: Demand, electric_w: Floats) -> tuple[Floats, Floats, Floats]:
    """Expected power of each load, how far each alone may be off, and all together."""
    k, doubt = len(loads.carrier), params.doubt
    machine = electric_w[loads.machines]
    rated = np.full(len(site.ids), np.nan)
    for kind in MACHINES:
        rated[site.of_kind(kind)] = site.number(kind, "rated_w")
    rated = rated[loads.machines]
    prior = _summed(d.power_w, loads.piece_of, k) + _summed(machine, loads.machine_of, k)
    alone = _summed((1 - doubt.common_frac) * d.sigma_w**2, loads.piece_of, k)
    alone += _summed((doubt.machine * np.fmax(rated, machine)) ** 2, loads.machine_of, k)
    prior[-1] += params.house_w
    alone[-1] += _house_sigma_w(params, d) ** 2
    loading = np.zeros((k, COMMON))
    together = np.sqrt(doubt.common_frac) * d.sigma_w
    loading[:, 0] = _summed(np.where(d.metered, 0.0, together), loads.piece_of, k)
    loading[:, 1] = _summed(doubt.cooling * machine, loads.machine_of, k)
    loading[:, 2] = _summed(np.where(d.metered, together, 0.0), loads.piece_of, k)
    return prior, np.sqrt(alone), loading


def _house_sigma_w(params: Params, d: Demand) -> float:
    """A quarter of what calibration found, else a share of nominal IT."""
    return 0.25 * params.house_w if params.house_w else params.doubt.house * float(np.nan_to_num(d.nominal_w).sum())


def _summed(values: Floats, of: Ints, k: int) -> Floats:
    return np.bincount(of, weights=values, minlength=k).astype(np.float64, copy=False)


def _through(site: Site, params: Params, loads: Loads, power: Flow, losses: LossOf) -> Through:
    """The chain's gains around ``power``, and what losses of each kind add that are one standard deviation higher."""
    lost = np.zeros((len(site.ids), COMMON))
    for i, kind in enumerate(CHAIN, COMMON - len(CHAIN)):
        here = site.of_kind(kind)
        lost[here, i] = params.doubt.loss * power.loss[here]
    return gains(power, loads.carrier, losses.slope_frac(power.out), lost)


def _meters(
    site: Site, state: State, params: Params, now: datetime, loads: Loads, d: Demand, power: Flow, facility_w: float,
    through: Through,
) -> Metering:  # fmt: skip
    k, doubt, gather = len(loads.carrier), params.doubt, Gather()
    racks, halls = site.count("rack"), site.count("hall")
    rack_w, none = state.column("rack", "power_w", now), np.zeros((max(racks, halls, len(loads.machines), 1), COMMON))
    taken = np.zeros(racks, dtype=np.bool_)
    taken[loads.rack[loads.piece_of[d.by_rack]]] = True
    inside = indicator(loads.rack, racks)
    gather.add(site.of_kind("rack"), inside, none[:racks], np.where(taken, np.nan, rack_w), doubt.meter * rack_w)
    hall_w = state.column("hall", "power_w", now)
    gather.add(site.of_kind("hall"), indicator(np.where(loads.it, loads.hall, -1), halls), none[:halls], hall_w,
               doubt.meter * hall_w)  # fmt: skip
    own_w = _machine_readings(site, state, now)[loads.machines]
    alone = np.zeros((len(own_w), k))
    alone[np.arange(len(own_w)), loads.machine_of] = 1.0
    gather.add(loads.machines, alone, none[: len(own_w)], own_w, doubt.meter * own_w)
    silent = site.of_kind("rack")[taken & np.isnan(rack_w)]
    stood_in = power.links.source[np.isin(power.links.target, silent)]  # their readings are that rack's already
    for kind in (*CHAIN, "meter"):
        at = site.of_kind(kind)
        at = at[through.index[at] >= 0]
        rows = through.into[through.index[at]]
        reading = np.where(np.isin(at, stood_in), np.nan, state.column(kind, "power_w", now)[site.row_of[at]])
        parted = ((rows > 0.02) & (rows < 0.98)).any(axis=1)  # it has but a share of some load
        own = np.where(parted, np.hypot(doubt.meter, doubt.feed), doubt.meter) * reading
        sigma = np.hypot(own, doubt.device_loss * power.loss[at])
        gather.add(at, rows, through.lifts[through.index[at]], reading - through.fixed_w[through.index[at]], sigma)
    top, sigma = np.array([facility_w - through.total_fixed_w]), np.array([doubt.meter * facility_w])
    gather.add(site.of_kind("site"), through.total[None], through.total_lifts[None], top, sigma)
    return gather.all()


def _machine_readings(site: Site, state: State, now: datetime) -> Floats:
    read = np.full(len(site.ids), np.nan)
    for kind in MACHINES:
        read[site.of_kind(kind)] = state.column(kind, "power_w", now)
    return read


def indicator(home: Ints, size: int) -> Floats:
    """float64[size, k]: 1 where load j is in container i; ``home``: int32[k], its container, -1 for none."""
    rows = np.zeros((size, len(home)))
    inside = np.flatnonzero(home >= 0)
    rows[home[inside], inside] = 1.0
    return rows


def _groups(loads: Loads) -> list[Ints]:
    """All loads at once, or each hall's by themselves where that were too many; a group that is still too large is left as
    the model has it."""
    k = len(loads.carrier)
    if k <= MOST_TOGETHER:
        return [np.arange(k, dtype=np.int32)]
    groups = [np.flatnonzero(loads.hall == hall).astype(np.int32) for hall in np.unique(loads.hall)]
    return [group for group in groups if len(group) <= MOST_TOGETHER]


def _seen(rows: Metering, members: Ints, k: int) -> Metering:
    """The meters that see only ``members``."""
    if len(members) == k:
        return rows
    outside = np.ones(k, dtype=np.bool_)
    outside[members] = False
    m = rows.meters
    mine = ~(m.rows[:, outside] != 0).any(axis=1)
    return Metering(rows.at[mine], Meters(m.rows[mine][:, members], m.lifts[mine], m.reading_w[mine], m.sigma_w[mine]))


def _shared_out(loads: Loads, d: Demand, prior_w: Floats, value_w: Floats) -> Demand:
    """Pieces of IT take what their load was moved by, each by its variance, as least squares would."""
    k, variance = len(prior_w), d.sigma_w**2
    whole = _summed(variance, loads.piece_of, k)[loads.piece_of]
    part = np.divide(variance, whole, out=np.zeros_like(whole), where=whole > 0)
    shift = part * (value_w - prior_w)[loads.piece_of]
    n = len(d.node_w)
    return replace(d, power_w=d.power_w + shift, node_w=d.node_w + shift[:n])
