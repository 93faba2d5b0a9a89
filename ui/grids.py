"""The grids that a centre hangs on, as they are now: each by itself, and what a kWh of the centre is made of."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from energy.account.grids import mix, shares_now
from twin.frame import Floats
from twin.metrics import suffix
from ui.reading import Reading, best, derived, fact, nothing

if TYPE_CHECKING:
    from ui.view import Live

MAX_GRIDS = 20  # that a face names; all count in the mean


@dataclass(frozen=True, slots=True)
class GridRow:
    """A grid: ``zone`` by which its service knows it ("": none, or several), ``share`` of the power that it carries now."""

    id: str
    zone: str
    share: Reading
    carbon: Reading
    price: Reading


@dataclass(frozen=True, slots=True)
class Grids:
    """What a kWh of the centre emits and costs, the mean of the grids by the power that each carries now: nothing where that is
    not known, and the ``rows`` say what each has. No rows where there is one grid."""

    carbon: Reading
    price: Reading
    rows: tuple[GridRow, ...] = ()


def grids_now(live: "Live", now: datetime) -> Grids:
    """The grids of ``live``. Which hangs where: ``live.supply``; without it all hangs on the first."""
    count = live.site.count("grid")
    names = "carbon_gco2_per_kwh", "price_per_mwh"
    carbon, price = ([best(live.state, "grid", name, now, row) for row in range(count)] for name in names)
    share = np.eye(1, count)[0] if live.supply is None else shares_now(live.state, live.supply, count, now)
    said = [fact(part, "frac") if np.isfinite(part) else nothing("frac") for part in share.tolist()]
    parts = zip(live.site.ids_of("grid"), said, carbon, price, strict=True)
    rows = tuple(GridRow(id_, live.zones.get(id_, ""), *rest) for id_, *rest in list(parts)[:MAX_GRIDS])
    return Grids(_mean(names[0], share, carbon), _mean(names[1], share, price), rows if count > 1 else ())


def _mean(name: str, share: Floats, told: list[Reading]) -> Reading:
    """As old as the oldest of those that carry something."""
    value = mix(share[:, None], np.array([one.value for one in told]).reshape(-1, 1))
    return derived(float(value[0]), suffix(name), [one for one, part in zip(told, share, strict=True) if part > 0])
