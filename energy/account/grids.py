"""A centre on several grids: what a kWh emits and costs is the mix of the grids that its halls hang on, by what each takes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from energy.account.meters import SIGNALS, Meters
from energy.account.power import shares_of_groups
from energy.kpi import held
from twin.frame import Floats, Ints
from twin.ports import Store


@dataclass(frozen=True, slots=True, eq=False)
class Supply:
    """Which grid feeds what. ``grids``: int32[halls], row of each hall's grid; ``hall_of``: by kind (racks, then GPUs where no
    rack is read) int32[n], row of each asset's hall. What stands in no hall (-1) hangs on the first grid."""

    grids: Ints
    hall_of: Mapping[str, Ints]


def on_grids(store: Store, meters: Meters, supply: Supply | None, hall: int = -1) -> Meters:
    """``meters`` with the intensities and the price of what was drawn: of each step the mix of the grids by the power of their
    halls, or of the one grid of ``hall`` (its row). A step in which a grid that was drawn from has no value, or in which
    nothing says how much each took, has none. Without ``supply`` the site's first grid is the only one."""
    if supply is None:
        return meters
    rows = np.unique(supply.grids[[hall]] if hall >= 0 else np.append(supply.grids, 0))
    shares = _shares(store, meters, supply, rows) if len(rows) > 1 else np.ones((1, len(meters.time_s)))
    start, end = (datetime.fromtimestamp(float(s), UTC) for s in (meters.time_s[0], meters.time_s[-1] + meters.step_s))
    mixed = []
    for name in SIGNALS:
        told = np.array([held(store, "grid", name, meters.time_s, start, end, int(row)) for row in rows])
        drawn = shares > 0
        mixed.append(np.where(drawn.any(axis=0), np.where(drawn, shares * told, 0.0).sum(axis=0), np.nan))
    average, marginal, price = mixed
    return replace(meters, average_gco2_per_kwh=average, marginal_gco2_per_kwh=marginal, price_per_mwh=price)


def _shares(store: Store, meters: Meters, supply: Supply, rows: Ints) -> Floats:
    """float64[grids, t]: part of each step's power that hangs on each of the grids ``rows``."""
    made: Floats = np.zeros((len(rows), len(meters.time_s)))
    for kind, hall in supply.hall_of.items():
        if len(hall) and not made.any():
            grid = np.where(hall >= 0, supply.grids[hall], 0)
            made = shares_of_groups(store, kind, meters, np.searchsorted(rows, grid).astype(np.int32), len(rows))
    return made
