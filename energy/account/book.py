"""An account from the store: what the centre took in over an interval, and for whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from energy.account.carbon import Carbon, Contract, carbon, nothing_known
from energy.account.grids import Supply, on_grids
from energy.account.indicators import Indicators, indicators
from energy.account.meters import Meters, Whose, peak_of, read_meters
from energy.account.power import portions
from energy.account.runs import Runs
from energy.account.share import Shares, begin_shares
from energy.account.tariff import Bill, Tariff, bill
from energy.kpi import Category, pue_name
from twin.frame import Floats
from twin.ports import Store
from twin.site import Bools

BY = ("job", "user", "project", "tenant", "partition")
By = Literal["job", "user", "project", "tenant", "partition"]
IDLE, UNSEEN = "(idle)", "(unseen)"
QUANTITIES = ("it_kwh", "facility_kwh", "carbon_location_kg", "carbon_marginal_kg", "cost")
RULE = (
    "A GPU's energy goes to the run that holds it; processors, network, cooling and losses of the same step follow the"
    " energy of the GPUs; the demand charge follows energy; GPUs that nobody holds are idle and stand apart."
)


@dataclass(frozen=True, slots=True)
class Given:
    """What no metric holds yet and the operator knows: water taken in [kg], heat handed to users outside [kWh], contracts, the
    residual mix, the factor of the grid where there is no live intensity, and a tariff. ``currency``: of the grid's prices."""

    water_kg: float = float("nan")
    reused_kwh: float = float("nan")
    contracts: Sequence[Contract] = ()
    residual_gco2_per_kwh: float | None = None
    average_gco2_per_kwh: float | None = None
    tariff: Tariff | None = None
    spot: bool = False  # the grid's price series counts in place of the tariff's periods
    currency: str = ""
    tenants: Mapping[str, str] = field(default_factory=dict)  # project -> tenant
    category: Category = Category.UPS_OUTPUT
    supply: Supply | None = None  # which hall hangs on which grid, where there are several


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Columns over the parts, those that took most first, then ``IDLE`` and ``UNSEEN``: ``names``; ``gpu_s``: float64[n], GPU
    seconds held, and of ``IDLE`` those in which a GPU's power is known and nobody held it; ``unread_gpu_s``: float64[n], of
    those held the ones whose part is estimated, for no meter read the GPU; ``values``: float64[n, q] of ``QUANTITIES``;
    ``sum_error_frac``: most that their sum is off the meter.
    """

    by: By
    names: Sequence[str]
    gpu_s: Floats
    unread_gpu_s: Floats
    values: Floats
    sum_error_frac: float

    def column(self, name: str) -> Floats:
        """float64[n] of one of ``QUANTITIES``."""
        return np.asarray(self.values[:, QUANTITIES.index(name)])


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """Of ``[start, end)``. Energies [kWh] count the time in which facility and IT power are known: ``coverage_frac`` of the
    interval, of which ``modelled_frac`` was the twin's word and not a meter's, of facility power
    ``facility_modelled_frac``. ``it_read_kwh`` is IT's over all the time in
    which its own power is known, ``it_read_frac`` of the interval, of which ``it_modelled_frac`` by the twin: all that a centre
    without a facility meter has. ``own_guessed_kwh``: of own generation what is estimated, of plants silent beside others;
    ``own_read_frac``: of the time that is counted, in which every plant was read. ``peak_w``: highest quarter of an hour drawn
    from the grid, which began at ``peak_s``. ``pue_name``: "" where nothing was counted."""

    start: datetime
    end: datetime
    step_s: float
    facility_kwh: float
    it_kwh: float
    cooling_kwh: float
    own_kwh: float
    own_guessed_kwh: float
    own_read_frac: float
    grid_kwh: float
    coverage_frac: float
    modelled_frac: float
    facility_modelled_frac: float
    it_read_kwh: float
    it_read_frac: float
    it_modelled_frac: float
    peak_w: float
    peak_s: float
    pue_name: str
    indicators: Indicators
    carbon: Carbon
    bill: Bill | None
    split: Split | None

    @property
    def meters_apart_frac(self) -> float:
        """By which part the meters of IT read more than the one that holds them; 0 where they do not. Counted is what was
        read."""
        return max(self.it_kwh / self.facility_kwh - 1, 0.0) if self.facility_kwh > 0 else 0.0


def account(
    store: Store,
    start: datetime,
    end: datetime,
    given: Given,
    runs: Runs | None = None,
    by: By = "project",
    gpus: int = 0,
    step_s: float = 300.0,
    whose: Whose = "best",
) -> Account:
    """The account of ``[start, end)``; with ``runs`` and the number of ``gpus`` of the site also whose it was, see
    ``accounts``. ``ValueError`` for an interval that is empty or too long for its step."""
    if runs is not None and gpus:
        return accounts(store, start, end, given, runs, (by,), gpus, step_s, whose)[by]
    return _whole(store, start, end, given, step_s, whose)[0]


def accounts(
    store: Store,
    start: datetime,
    end: datetime,
    given: Given,
    runs: Runs,
    ways: Sequence[By],
    gpus: int,
    step_s: float = 300.0,
    whose: Whose = "best",
) -> Mapping[By, Account]:
    """The account of ``[start, end)`` split in each of ``ways``; the store is read once for all of them.

    GPU power is read in pieces of ``CHUNK_VALUES``, so memory does not grow with the interval. ``ValueError`` as ``account``.
    """
    made, meters, values = _whole(store, start, end, given, step_s, whose)
    shares = read_shares(store, meters, runs, gpus, values)
    return {by: replace(made, split=grouped(shares, runs, by, values.sum(axis=0), given)) for by in ways}


def _whole(
    store: Store, start: datetime, end: datetime, given: Given, step_s: float, whose: Whose
) -> tuple[Account, Meters, Floats]:
    """The account without a split, the meters that it rests on, and float64[t, q]: ``QUANTITIES`` of each step."""
    meters = on_grids(store, read_meters(store, start, end, step_s, whose), given.supply)
    made, values = account_of(meters, start, end, given)
    return made, meters, values


def account_of(meters: Meters, start: datetime, end: datetime, given: Given) -> tuple[Account, Floats]:
    """The account of ``[start, end)`` from meters that were read already, without a split, and float64[t, q]: ``QUANTITIES``
    of each step."""
    facility, it, cooling = (meters.kwh(column) for column in (meters.facility_w, meters.it_w, meters.cooling_w))
    own = np.minimum(meters.kwh(meters.own_w), facility)
    grid = facility - own
    average = meters.average_gco2_per_kwh
    if given.average_gco2_per_kwh is not None:
        average = np.where(np.isfinite(average), average, given.average_gco2_per_kwh)
    seen = bool(meters.known.any())
    residual, marginal = given.residual_gco2_per_kwh, meters.marginal_gco2_per_kwh
    length = float(meters.length_s.sum())
    contracts = [one.over(length) for one in given.contracts]
    emitted = carbon(grid, average, marginal, float(own.sum()), contracts, residual) if seen else nothing_known()
    charged = _bill(meters, given) if seen else None
    total, it_total = (float(column.sum()) if seen else float("nan") for column in (facility, it))
    cool = float(cooling.sum()) if np.isfinite(meters.cooling_w[meters.known]).all() and seen else float("nan")
    counted = float(it[np.isfinite(average) | (grid == 0)].sum())  # IT's in the steps whose carbon is known
    emitted_kg = emitted.location_kg * it_total / counted if counted > 0 else emitted.location_kg
    highest_w, highest_s = peak_of(meters)
    it_read_s = float(meters.it_alone_s.sum())
    it_read_kwh = float((np.nan_to_num(meters.it_alone_w) * meters.it_alone_s).sum()) / 3.6e6
    made = Account(
        start=start,
        end=end,
        step_s=meters.step_s,
        facility_kwh=total,
        it_kwh=it_total,
        cooling_kwh=cool,
        own_kwh=float(own.sum()) if seen else float("nan"),
        own_guessed_kwh=float(np.minimum(meters.kwh(meters.own_guessed_w), own).sum()) if seen else float("nan"),
        own_read_frac=float(meters.length_s[meters.own_read].sum()) / length if length else float("nan"),
        grid_kwh=float(grid.sum()) if seen else float("nan"),
        coverage_frac=length / (end - start).total_seconds(),
        modelled_frac=float(meters.modelled_s.sum()) / length if length else 0.0,
        facility_modelled_frac=float(meters.facility_modelled_s.sum()) / length if length else 0.0,
        it_read_kwh=it_read_kwh if it_read_s else float("nan"),
        it_read_frac=it_read_s / (end - start).total_seconds(),
        it_modelled_frac=float(meters.it_modelled_s.sum()) / it_read_s if it_read_s else 0.0,
        peak_w=highest_w,
        peak_s=highest_s,
        pue_name=pue_name(given.category, end - start, timedelta(seconds=length)),
        indicators=indicators(total, it_total, cool, given.water_kg, emitted_kg, given.reused_kwh, emitted.renewable_kwh),
        carbon=emitted,
        bill=charged,
        split=None,
    )
    return made, _amounts(meters, facility, it, grid, average, charged, given)


def _prices(meters: Meters, given: Given) -> Floats:
    """float64[t]: price of a MWh in each step, NaN where there is none."""
    if given.tariff is None or given.spot:
        return meters.price_per_mwh
    return given.tariff.price_per_mwh(meters.time_s)


def _bill(meters: Meters, given: Given) -> Bill | None:
    if given.tariff is not None:
        spot = meters.price_per_mwh if given.spot else None
        return bill(given.tariff, meters.time_s, meters.drawn_w, meters.step_s, spot, meters.length_s)
    priced = np.isfinite(meters.price_per_mwh)
    if not priced.any():
        return None
    kwh = meters.kwh(meters.drawn_w)
    total, known = float(kwh.sum()), float(kwh[priced].sum())
    cost = float((kwh * np.where(priced, meters.price_per_mwh, 0.0)).sum() * 1e-3)
    return Bill(given.currency, {"spot": total}, {"spot": known}, {"spot": cost}, (), known / total if total else 1.0)


def _amounts(
    meters: Meters, facility: Floats, it: Floats, grid: Floats, average: Floats, charged: Bill | None, given: Given
) -> Floats:
    """float64[t, q]: ``QUANTITIES`` of each step; the demand charge by energy. What is not known is 0, as in the totals."""
    price = np.nan_to_num(_prices(meters, given))
    total = float(facility.sum())
    demand = charged.demand_cost / total if charged is not None and total else 0.0
    columns = (
        it,
        facility,
        grid * np.nan_to_num(average) * 1e-3,
        grid * np.nan_to_num(meters.marginal_gco2_per_kwh) * 1e-3,
        grid * price * 1e-3 + facility * demand,
    )
    return np.column_stack(columns)


def read_shares(store: Store, meters: Meters, runs: Runs, gpus: int, values: Floats, inside: Bools | None = None) -> Shares:
    """``values`` (float64[t, q]) shared among ``runs`` by GPU energy: of all GPUs, or of those ``inside`` (bool[g])."""
    shares = begin_shares(runs, meters.start_s, meters.end_s, len(QUANTITIES), meters.time_s, meters.step_s)
    inside_s, read_s = meters.inside_s, meters.read_s
    for at, power_w, measured in portions(store, "gpu", meters, gpus):
        if inside is not None:
            power_w[:, ~inside] = np.nan
        begin_s = float(meters.time_s[at.start])
        shares.add(begin_s, meters.step_s, power_w, measured, values[at], inside_s[at], read_s[at])
    return shares


def grouped(shares: Shares, runs: Runs, by: By, values: Floats, given: Given) -> Split:
    """What the runs took, put together ``by``; ``values``: float64[q], what the parts should sum to."""
    names, group = np.unique(np.array(keys_of(runs, by, given), dtype=np.str_), return_inverse=True)
    sums = np.zeros((len(names), len(QUANTITIES)))
    np.add.at(sums, group, shares.runs)
    held_s, unread_s = (np.bincount(group, weights=each, minlength=len(names)) for each in (shares.gpu_s, shares.unread_s))
    order = np.argsort(-sums[:, QUANTITIES.index("facility_kwh")], kind="stable")
    everything = np.vstack([sums[order], shares.idle, shares.unseen])
    off = np.abs(everything.sum(axis=0) - values) / np.where(values != 0, np.abs(values), 1.0)
    listed = [str(name) for name in names[order]] + [IDLE, UNSEEN]
    gpu_s, unread_gpu_s = np.append(held_s[order], [shares.idle_gpu_s, 0.0]), np.append(unread_s[order], [0.0, 0.0])
    return Split(by, listed, gpu_s, unread_gpu_s, everything, float(off.max(initial=0.0)))


def tenant_of(project: str, tenants: Mapping[str, str]) -> str:
    """Whose a project is, by the operator's table; its own where that does not name it."""
    return tenants.get(project, project)


def keys_of(runs: Runs, by: By, given: Given) -> Sequence[str]:
    """Whose each run is, split ``by``; who is not named is "(no …)"."""
    if by == "tenant":
        return [tenant_of(project, given.tenants) or "(no tenant)" for project in runs.projects]
    words = {"job": runs.jobs or runs.ids, "user": runs.users, "project": runs.projects, "partition": runs.partitions}[by]
    return [word or f"(no {by})" for word in words]
