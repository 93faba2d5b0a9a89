"""What the centre used over an interval: energy, PUE, carbon and cost, from the store, with how much of it was seen.

PUE is reported and never optimised alone: see ``energy.levers.supply_temperature``. Edition: ISO/IEC 30134-2:2016 was
withdrawn in 2026; the definition used here, facility energy over IT energy of the same period, stands in both.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

import numpy as np

from twin.frame import Floats, Origin
from twin.metrics import metric
from twin.ports import Store

MAX_STEPS = 1_000_000  # of one call; a year in minutes is 525,600
_YEAR = timedelta(days=365)


class Category(IntEnum):
    """Where IT energy is metered (ISO/IEC 30134-2): the later in the chain, the more honest the ratio."""

    UPS_OUTPUT = 1
    PDU_OUTPUT = 2
    IT_INPUT = 3


@dataclass(frozen=True, slots=True)
class Kpis:
    """Of ``[start, end)``. Everything counts only steps in which facility and IT power are both known; nothing is
    extrapolated: ``coverage_frac`` is their share of the interval, and NaN stands where nothing is known.

    ``pue_name`` is what the standard lets it be called: ``PUE2`` only over a year or more, ``iPUE2 (24 h)`` below.
    ``carbon_kg`` (location-based, average intensity) and ``cost`` (the site's currency) count the steps whose grid signal
    is known too, ``carbon_coverage_frac`` and ``price_coverage_frac`` of the facility energy seen.
    """

    start: datetime
    end: datetime
    facility_energy_kwh: float
    it_energy_kwh: float
    pue_ratio: float
    pue_name: str
    carbon_kg: float
    cost: float
    coverage_frac: float
    carbon_coverage_frac: float
    price_coverage_frac: float


def kpis(
    store: Store,
    start: datetime,
    end: datetime,
    step_s: float = 60.0,
    category: Category = Category.UPS_OUTPUT,
    origin: Origin = Origin.MEASURED,
) -> Kpis:
    """KPIs of ``[start, end)``, integrated as step means times step length.

    Choose a step no shorter than the time between readings: a step without a reading is a gap. ``origin``: whose facility
    and IT power, the meters' or the twin's. ``ValueError`` for an interval that is empty or has over ``MAX_STEPS`` steps.
    """
    span_s = (end - start).total_seconds()
    if not 0 < span_s <= MAX_STEPS * step_s:
        raise ValueError(f"{start} to {end} in steps of {step_s:g} s is empty or over {MAX_STEPS} steps; use a longer step")
    series = store.series("site", ("facility_power_w", "it_power_w"), start, end, step_s, origin=origin)
    facility_w, it_w = (series.values[name][:, 0] for name in ("facility_power_w", "it_power_w"))
    both = ~np.isnan(facility_w) & ~np.isnan(it_w)
    # the first and last step may reach over the edges of the interval: only the part inside counts
    time_s = series.time_s
    length_s = np.minimum(time_s + step_s, end.timestamp()) - np.maximum(time_s, start.timestamp())
    facility_kwh = np.where(both, facility_w, 0.0) * length_s / 3.6e6
    it_kwh = np.where(both, it_w, 0.0) * length_s / 3.6e6
    total_kwh, it_total_kwh = float(facility_kwh.sum()), float(it_kwh.sum())
    seen = bool(both.any())
    intensity = held(store, "grid", "carbon_gco2_per_kwh", time_s, start, end)
    price = held(store, "grid", "price_per_mwh", time_s, start, end)
    carbon_kg, carbon_frac = _weighted(facility_kwh, intensity, 1e-3)
    cost, price_frac = _weighted(facility_kwh, price, 1e-3)
    return Kpis(
        start=start,
        end=end,
        facility_energy_kwh=total_kwh if seen else np.nan,
        it_energy_kwh=it_total_kwh if seen else np.nan,
        pue_ratio=total_kwh / it_total_kwh if it_total_kwh > 0 else np.nan,
        pue_name=pue_name(category, end - start),
        carbon_kg=carbon_kg,
        cost=cost,
        coverage_frac=float(length_s[both].sum()) / span_s,
        carbon_coverage_frac=carbon_frac,
        price_coverage_frac=price_frac,
    )


def pue_name(category: Category, period: timedelta) -> str:
    """How ISO/IEC 30134-2 lets a ratio over ``period`` be called: PUE with its category over a year, interim PUE below."""
    if period >= _YEAR:
        return f"PUE{category.value}"
    hours = period.total_seconds() / 3600
    return f"iPUE{category.value} ({hours:g} h)" if hours >= 1 else f"iPUE{category.value} (momentary)"


def held(store: Store, kind: str, name: str, time_s: Floats, start: datetime, end: datetime, row: int | None = None) -> Floats:
    """float64[t]: a slow signal of the asset of ``kind`` in ``row`` (None: of the first that there is) at ``time_s``: its
    newest sample then, NaN where that is older than the metric's maximum age. Samples from before ``start`` count."""
    max_age_s = metric(kind, name).max_age_s
    rows = None if row is None else np.array([row], dtype=np.int32)
    series = store.series(kind, (name,), start - timedelta(seconds=max_age_s), end, rows=rows)
    column = series.values[name]
    if not column.size:
        return np.full(len(time_s), np.nan)
    known = ~np.isnan(column[:, 0])
    sample_s, samples = series.time_s[known], column[known, 0]
    at = np.searchsorted(sample_s, time_s, side="right") - 1
    fresh = (at >= 0) & (time_s - sample_s[at] <= max_age_s) if len(samples) else np.zeros(len(time_s), dtype=np.bool_)
    return np.where(fresh, samples[at] if len(samples) else np.nan, np.nan)


def _weighted(energy_kwh: Floats, rate: Floats, scale: float) -> tuple[float, float]:
    """Sum of energy times ``rate`` where that is known, times ``scale``, and which part of the energy that was."""
    known = ~np.isnan(rate) & (energy_kwh > 0)
    total = energy_kwh.sum()
    if not known.any():
        return float("nan"), 0.0
    return float((energy_kwh[known] * rate[known]).sum() * scale), float(energy_kwh[known].sum() / total)
