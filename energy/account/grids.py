"""A centre on several grids: what a kWh emits and costs is the mix of the grids that its halls hang on, by what each takes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from energy.account.meters import SIGNALS, Meters
from energy.account.power import Steps, parts, parts_of_groups
from energy.kpi import held
from twin.frame import Floats, Ints, Origin
from twin.ports import Store
from twin.site import Bools, Site
from twin.state import State

UNSAID = -1
_KINDS = ("rack", "gpu")  # whose power says what a hall takes: of racks, of GPUs where no rack is read


@dataclass(frozen=True, slots=True, eq=False)
class Supply:
    """Which grid feeds what. ``grids``: int32[halls], row of each hall's grid; ``hall_of``: by kind (racks, then GPUs where no
    rack is read) int32[n], row of each asset's hall. What stands in no hall (-1) hangs on the first grid. ``said``: somebody
    said so of any hall; else nothing is known of how much each grid carries."""

    grids: Ints
    hall_of: Mapping[str, Ints]
    said: bool = True

    def grid_of(self, kind: str) -> Ints:
        """int32[n]: row of the grid that each asset of ``kind`` hangs on."""
        hall = self.hall_of[kind]
        return np.where(hall >= 0, self.grids[hall], 0).astype(np.int32) if len(self.grids) else np.zeros(len(hall), np.int32)


def supplied(site: Site, named: Mapping[str, str], placed: bool = False) -> Supply | None:
    """Which hall of ``site`` hangs on which grid: by ``named`` (hall -> grid), else by the one grid that is above it along
    ``feeds``, else on the first. None where all hang on the first grid, or it is the only one. ``placed``: whoever named
    places said all that there is to say."""
    if site.count("grid") < 2:
        return None
    grids = _above(site)
    for hall, grid in named.items():
        grids[site.row(hall)] = site.row(grid)
    said = placed or bool((grids != UNSAID).any())
    grids = np.maximum(grids, 0)
    hall_of = {kind: site.within(kind, "hall") for kind in _KINDS}
    return Supply(grids, hall_of, said) if grids.any() or not said else None


def _above(site: Site) -> Ints:
    """int32[halls]: row of the only grid above what stands in each hall along ``feeds``; ``UNSAID`` where there is none, or
    are several."""
    fed = np.stack([_fed(site, grid) for grid in site.of_kind("grid")])
    halls = fed[:, site.of_kind("hall")].copy()
    for kind in ("row", "rack", "node", "pdu", "ups", "transformer"):
        hall = site.within(kind, "hall")
        for grid, mine in enumerate(fed[:, site.of_kind(kind)]):
            halls[grid, hall[mine & (hall >= 0)]] = True
    return np.where(halls.sum(axis=0) == 1, halls.argmax(axis=0), UNSAID).astype(np.int32)


def _fed(site: Site, top: int) -> Bools:
    """bool[N]: what hangs on the asset ``top`` along ``feeds``."""
    feeds = site.links["feeds"]
    fed: Bools = np.zeros(len(site.ids), dtype=np.bool_)
    fed[top] = True
    while (more := fed[feeds.source] & ~fed[feeds.target]).any():
        fed[feeds.target[more]] = True
    return fed


def on_grids(store: Store, meters: Meters, supply: Supply | None, hall: int = -1) -> Meters:
    """``meters`` with the intensities and the price of what was drawn: of each step the mix of the grids by the power of their
    halls, or of the one grid of ``hall`` (its row). A step in which a grid that was drawn from has no value, or in which
    nothing says how much each took, has none. Without ``supply`` the site's first grid is the only one."""
    if supply is None:
        return meters
    average, marginal, price = mixed(store, meters, supply, SIGNALS, hall).values()
    return replace(meters, average_gco2_per_kwh=average, marginal_gco2_per_kwh=marginal, price_per_mwh=price)


def mixed(store: Store, steps: Steps, supply: Supply, names: tuple[str, ...], hall: int = -1) -> dict[str, Floats]:
    """float64[t] of each signal in ``names``, as ``on_grids`` says."""
    if not supply.said:
        return {name: np.full(len(steps.time_s), np.nan) for name in names}
    rows = np.unique(supply.grids[[hall]] if hall >= 0 else np.append(supply.grids, 0))
    shares = _shares(store, steps, supply, rows) if len(rows) > 1 else np.ones((1, len(steps.time_s)))
    start, end = (datetime.fromtimestamp(float(s), UTC) for s in (steps.time_s[0], steps.time_s[-1] + steps.step_s))
    told = {
        name: np.array([held(store, "grid", name, steps.time_s, steps.step_s, start, end, int(row)) for row in rows])
        for name in names
    }
    return {name: mix(shares, of_each) for name, of_each in told.items()}


def mix(share: Floats, values: Floats) -> Floats:
    """float64[t]: the mean of ``values`` of a signal (float64[grids, t]) by the ``share`` of each grid (the same shape, sums
    to 1; NaN where that is not known). NaN there, and where a grid that was drawn from told nothing."""
    drawn = share > 0
    made: Floats = np.where(drawn.any(axis=0), np.where(drawn, share * values, 0.0).sum(axis=0), np.nan)
    return made


def _shares(store: Store, steps: Steps, supply: Supply, rows: Ints) -> Floats:
    """float64[grids, t]: part of each step's power that hangs on each of the grids ``rows``: by racks, by GPUs in steps in
    which those do not say it, NaN where neither do."""
    grid_of = {kind: np.searchsorted(rows, supply.grid_of(kind)).astype(np.int32) for kind in supply.hall_of}
    return parts_of_groups(store, steps, grid_of, len(rows))


def shares_now(state: State, supply: Supply, grids: int, now: datetime) -> Floats:
    """float64[grids]: part of the power that each grid carries now, by the same racks or GPUs; NaN where that is not known:
    nobody said which hall hangs where, or nothing that hangs on one of them is read now."""
    for kind in supply.hall_of if supply.said else ():
        power = state.column(kind, "power_w", now)
        if np.isnan(power).all():
            power = state.column(kind, "power_w", now, Origin.MODELLED)
        share: Floats = parts(power[None, :], supply.grid_of(kind), grids)[:, 0]
        if not np.isnan(share).any():
            return share
    return np.full(grids, np.nan)
