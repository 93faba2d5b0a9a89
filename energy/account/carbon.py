"""Carbon of what was drawn: location- and market-based (GHG Protocol Scope 2, 2015), average and marginal never in one sum.

Location-based: what comes from the grid times the grid's average intensity; own generation used on the spot counts as nothing.
Market-based: contracts first (a purchase agreement or certificates with their own factor), then the residual mix, or the
average where none is published. Marginal: what one kWh less would have saved; for decisions, never for an inventory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from twin.frame import Floats

YEAR_S = 365 * 86400.0


@dataclass(frozen=True, slots=True)
class Contract:
    """A power purchase agreement or certificates. ``share_frac`` of what is taken from the grid in each step (hourly matched),
    or ``kwh`` in the whole period or ``yearly_kwh`` (matched by volume); ``gco2_per_kwh``: its own factor; ``renewable``:
    counts for REF."""

    name: str
    share_frac: float = 0.0
    kwh: float = 0.0
    gco2_per_kwh: float = 0.0
    renewable: bool = True
    yearly_kwh: float = 0.0

    def __post_init__(self) -> None:
        said = [self.share_frac, self.kwh, self.yearly_kwh]
        if not (min(*said, self.gco2_per_kwh) >= 0 and self.share_frac <= 1) or np.count_nonzero(said) > 1:
            raise ValueError(f"contract {self.name!r} must say a share of 0-1 or kWh from 0, not both, and a factor from 0")

    def over(self, length_s: float) -> "Contract":
        """With the volume of ``length_s`` in place of that of a year: the time of which the energy is counted, for what was not
        read, or is still to come, has its own part of the volume."""
        return replace(self, kwh=self.kwh + self.yearly_kwh * length_s / YEAR_S, yearly_kwh=0.0)


@dataclass(frozen=True, slots=True)
class Carbon:
    """kg CO2; ``marginal_kg`` stands alone. ``coverage_frac`` and ``marginal_coverage_frac``: part of the grid energy whose
    intensity was known; the rest is not in the sums. ``market_average_kg``: of ``market_kg``, what rests on the grid's average.
    ``contracted_kwh``: grid energy under contracts; ``renewable_kwh``: of it renewable, with own generation used."""

    location_kg: float
    market_kg: float
    marginal_kg: float
    coverage_frac: float
    marginal_coverage_frac: float
    contracted_kwh: float
    renewable_kwh: float
    market_average_kg: float

    def market_of(self, location_kg: Floats | float, energy_frac: Floats | float) -> Floats | float:
        """Market-based carbon of parts with ``location_kg`` that took ``energy_frac`` of the energy: what rests on the grid's
        average follows when they took it, what contracts and a residual mix count for follows their energy."""
        average = self.market_average_kg * location_kg / self.location_kg if self.location_kg > 0 else 0.0
        return average + (self.market_kg - self.market_average_kg) * energy_frac


def carbon(
    grid_kwh: Floats,
    average_gco2_per_kwh: Floats,
    marginal_gco2_per_kwh: Floats,
    own_kwh: float = 0.0,
    contracts: Sequence[Contract] = (),
    residual_gco2_per_kwh: float | None = None,
) -> Carbon:
    """Of ``grid_kwh`` (float64[t], taken from the grid in each step) under intensities of the same steps (NaN: not known).
    ``own_kwh``: own generation that was used; ``contracts``: ``over`` the time of these steps. ``ValueError`` where contracts
    by share promise more than all."""
    if sum(one.share_frac for one in contracts) > 1 + 1e-9:
        raise ValueError("the contracts' shares are more than all of the energy; let them sum to 1 at most")
    total = float(grid_kwh.sum())
    location, known = _weighted(grid_kwh, average_gco2_per_kwh)
    marginal, marginal_known = _weighted(grid_kwh, marginal_gco2_per_kwh)
    held, contract_kg, renewable, covered = grid_kwh.copy(), 0.0, own_kwh, 0.0
    for one in contracts:
        part = one.share_frac * grid_kwh if one.share_frac else grid_kwh * min(one.kwh / total, 1.0) if total else held * 0
        part = np.minimum(part, held)
        held = held - part
        kwh = float(part.sum())
        covered += kwh
        contract_kg += kwh * one.gco2_per_kwh * 1e-3
        renewable += kwh if one.renewable else 0.0
    if residual_gco2_per_kwh is None:
        rest, _ = _weighted(held, average_gco2_per_kwh)
        rest = 0.0 if not held.any() else rest
    else:
        rest = float(held.sum()) * residual_gco2_per_kwh * 1e-3
    return Carbon(
        location_kg=location,
        market_kg=contract_kg + rest,
        marginal_kg=marginal,
        coverage_frac=known,
        marginal_coverage_frac=marginal_known,
        contracted_kwh=covered,
        renewable_kwh=renewable,
        market_average_kg=rest if residual_gco2_per_kwh is None else 0.0,
    )


def nothing_known() -> Carbon:
    """Of an interval in which no meter spoke."""
    unknown = float("nan")
    return Carbon(unknown, unknown, unknown, 0.0, 0.0, unknown, unknown, unknown)


def _weighted(kwh: Floats, gco2_per_kwh: Floats) -> tuple[float, float]:
    """kg of the steps whose intensity is known (NaN where none is), and which part of the energy those are."""
    seen = np.isfinite(gco2_per_kwh) & (kwh != 0)
    total = float(kwh.sum())
    if not seen.any():
        return (0.0 if not kwh.any() else float("nan")), (1.0 if not kwh.any() else 0.0)
    return float(kwh[seen] @ gco2_per_kwh[seen]) * 1e-3, float(kwh[seen].sum()) / total if total else 0.0
