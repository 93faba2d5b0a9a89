"""The centre's own meters over an interval: as measured, as the twin works them out where they were not, told apart."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from energy.account.tariff import QUARTER_S
from energy.kpi import held
from twin.frame import Floats, Origin
from twin.ports import Series, Store
from twin.site import Bools

MAX_STEPS = 1_100_000  # two years in minutes
Whose = Literal["measured", "modelled", "best"]
_SIDES = (Origin.MEASURED, Origin.MODELLED)
SIGNALS = ("carbon_gco2_per_kwh", "marginal_carbon_gco2_per_kwh", "price_per_mwh")
_NAMES = ("facility_power_w", "it_power_w", "cooling_power_w")


@dataclass(frozen=True, slots=True, eq=False)
class Meters:
    """float64[t] each, for steps that begin at ``time_s``; ``length_s``: the part of each step inside the interval. Powers [W]
    are NaN where not known; ``modelled``: bool[t], facility or IT power is the twin's. ``own_w``: on-site generation (0: none
    read). Intensities [gCO2/kWh] and price [/MWh]: NaN where not known."""

    time_s: Floats
    length_s: Floats
    step_s: float
    facility_w: Floats
    it_w: Floats
    cooling_w: Floats
    own_w: Floats
    modelled: Bools
    average_gco2_per_kwh: Floats
    marginal_gco2_per_kwh: Floats
    price_per_mwh: Floats

    @property
    def known(self) -> Bools:
        """bool[t]: facility and IT power are both known."""
        return np.isfinite(self.facility_w) & np.isfinite(self.it_w)

    def kwh(self, power_w: Floats) -> Floats:
        """float64[t]: energy of each step in which facility and IT power are known; 0 in the others."""
        return np.where(self.known & np.isfinite(power_w), power_w, 0.0) * self.length_s / 3.6e6


def read_meters(store: Store, start: datetime, end: datetime, step_s: float = 300.0, whose: Whose = "best") -> Meters:
    """The meters over ``[start, end)``. ``ValueError`` for an interval that is empty or has over ``MAX_STEPS`` steps."""
    span_s = (end - start).total_seconds()
    if not 0 < span_s <= MAX_STEPS * step_s:
        raise ValueError(f"{start} to {end} in steps of {step_s:g} s is empty or over {MAX_STEPS} steps; use a longer step")
    first = np.floor(start.timestamp() / step_s)
    count = int(np.ceil(end.timestamp() / step_s) - first)
    time_s = step_s * (first + np.arange(count))
    sides = {o: _columns(store.series("site", _NAMES, start, end, step_s, origin=o), first, count, step_s) for o in _SIDES}
    best = dict(sides[Origin.MODELLED if whose == "modelled" else Origin.MEASURED])
    if whose == "best":
        best = {name: np.where(np.isfinite(best[name]), best[name], sides[Origin.MODELLED][name]) for name in _NAMES}
    metered = sides[Origin.MEASURED]
    measured = np.isfinite(metered["facility_power_w"]) & np.isfinite(metered["it_power_w"])
    own_w = _generated_w(store.series("pv", ("power_w",), start, end, step_s), first, count, step_s)
    average, marginal, price = (held(store, "grid", name, time_s, step_s, start, end) for name in SIGNALS)
    length_s = np.minimum(time_s + step_s, end.timestamp()) - np.maximum(time_s, start.timestamp())
    modelled = ~measured if whose != "measured" else np.zeros(count, dtype=np.bool_)
    facility_w, it_w, cooling_w = (best[name] for name in _NAMES)
    return Meters(time_s, length_s, step_s, facility_w, it_w, cooling_w, own_w, modelled, average, marginal, price)


def _columns(series: Series, first: float, count: int, step_s: float) -> dict[str, Floats]:
    """float64[t] for each of ``_NAMES`` on the account's own steps."""
    place = np.rint(series.time_s / step_s - first).astype(np.int64)
    columns = {}
    for name in _NAMES:
        column: Floats = np.full(count, np.nan)
        if name in series.values and series.values[name].shape[1]:
            column[place] = series.values[name][:, 0]
        columns[name] = column
    return columns


def _generated_w(series: Series, first: float, count: int, step_s: float) -> Floats:
    """float64[t]: what the site's own plants delivered; a delivering asset has negative power."""
    own_w: Floats = np.zeros(count)
    if "power_w" in series.values and series.values["power_w"].size:
        place = np.rint(series.time_s / step_s - first).astype(np.int64)
        own_w[place] = np.maximum(-np.nansum(series.values["power_w"], axis=1), 0.0)
    return own_w


def peak_of(meters: Meters) -> tuple[float, float]:
    """Highest quarter of an hour drawn from the grid [W] and when it began (s since 1970 UTC); NaN where nothing is known."""
    drawn = np.maximum(meters.facility_w - meters.own_w, 0.0)
    seen = np.isfinite(drawn)
    if not seen.any():
        return float("nan"), float("nan")
    quarter = np.floor(meters.time_s / QUARTER_S).astype(np.int64)
    base = int(quarter[0])
    count = np.bincount(quarter[seen] - base)
    mean = np.bincount(quarter[seen] - base, weights=drawn[seen]) / np.maximum(count, 1)
    top = int(mean.argmax())
    return float(mean[top]), float((base + top) * QUARTER_S)
