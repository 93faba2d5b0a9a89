"""The last day of the centre's power, for the chart and for what is a mean over a day. Read once a minute."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from energy.account.grids import Supply, mixed
from energy.account.tariff import QUARTER_S
from twin.event import TOPIC, Event, event_of
from twin.frame import Floats, Origin
from twin.ports import Records, Series, Store
from ui.reading import Reading, derived, fact, nothing

DAY = timedelta(hours=24)
CARBON_AGE = timedelta(hours=2)  # for so long an intensity counts, as in the metric table
STEP_S = 60.0
CARBON = "carbon_gco2_per_kwh"
MAX_EVENTS = 10_000  # as many as a start reads back
HOLD_S = 900.0  # for so long a step stands at most where the next is further away: demand is metered over it
MIN_SPAN_S = 3600.0  # a "mean over a day" of less than an hour's readings would mislead


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Means over steps of ``STEP_S`` of the day before ``read``: float64[t] each, NaN where nothing was known. Each
    is modelled where any step of it is."""

    read: datetime
    time_s: Floats
    it_power_w: Floats
    facility_power_w: Floats
    it_origin: Origin = Origin.MEASURED
    facility_origin: Origin = Origin.MEASURED
    carbon_gco2_per_kwh: Floats | None = None  # of the grids in each step, as last told; None where nobody reads it
    xids: Sequence[Event] = ()  # the last of each GPU, of the newest ``MAX_EVENTS`` that are kept

    @property
    def origin(self) -> Origin:
        """Of what is made of both."""
        return Origin.MODELLED if Origin.MODELLED in (self.it_origin, self.facility_origin) else Origin.MEASURED

    @property
    def empty(self) -> bool:
        """Nothing was known."""
        return not np.isfinite(self.it_power_w).any()

    def kwh(self, power_w: Floats) -> float:
        """Energy of ``power_w`` (float64[t]): each step that is known stands until the next, ``HOLD_S`` at most. NaN where none
        is known."""
        known = np.isfinite(power_w)
        if not known.any():
            return float("nan")
        at_s = self.time_s[known]
        lasts_s = np.minimum(np.diff(at_s, append=at_s[-1] + STEP_S), HOLD_S)
        return float(power_w[known] @ lasts_s) / 3.6e6

    def pue(self, now: datetime) -> Reading:
        """PUE of the day: facility energy over IT energy of the steps in which both are known (the ratio of ISO/IEC
        30134-2 over a day instead of a year); nothing before an hour of them has come in."""
        both = np.isfinite(self.it_power_w) & np.isfinite(self.facility_power_w)
        it, facility = (self.kwh(np.where(both, power, np.nan)) for power in (self.it_power_w, self.facility_power_w))
        if not it > 0 or float(np.ptp(self.time_s[both])) + STEP_S < MIN_SPAN_S:
            return nothing("ratio", self.origin)
        age_s = (now - self.read).total_seconds()
        part = Reading(it, "kwh", age_s, age_s <= 3 * STEP_S, self.origin, fact(0).quality)
        return derived(facility / it, "ratio", [part])

    def carbon_t(self, now: datetime) -> Reading:
        """Tonnes of CO2 that the centre's energy of the day stands for (location-based, GHG Protocol Scope 2): over the steps
        in which power and intensity are known; nothing before an hour of them has come in."""
        if self.carbon_gco2_per_kwh is None:
            return nothing("tco2", self.facility_origin)
        both = np.isfinite(self.facility_power_w) & np.isfinite(self.carbon_gco2_per_kwh)
        if not both.any() or float(np.ptp(self.time_s[both])) + STEP_S < MIN_SPAN_S:
            return nothing("tco2", self.facility_origin)
        grams = self.kwh(self.facility_power_w * self.carbon_gco2_per_kwh)  # NaN where either is not known
        age_s = (now - self.read).total_seconds()
        part = Reading(1.0, "w", age_s, age_s <= 3 * STEP_S, self.facility_origin, fact(0).quality)
        return derived(grams / 1e6, "tco2", [part])


def read_past(store: Store, now: datetime, records: Records | None = None, supply: Supply | None = None) -> Past:
    """The day before ``now`` as the store has it: each step as measured, as modelled where it was not; XIDs of ``records``;
    the mix of the grids by ``supply`` (None: the first is the only one)."""
    names = ("it_power_w", "facility_power_w")
    sides = [store.series("site", names, now - DAY, now, STEP_S, origin=o) for o in (Origin.MEASURED, Origin.MODELLED)]
    time_s = np.union1d(*(side.time_s for side in sides))
    it, facility = ([_on(time_s, side, name) for side in sides] for name in names)
    it_origin, facility_origin = (
        Origin.MODELLED if np.isnan(measured[np.isfinite(expected)]).any() else Origin.MEASURED
        for measured, expected in (it, facility)
    )
    it_power_w, facility_power_w = (np.where(np.isfinite(sides[0]), *sides) for sides in (it, facility))
    if supply is None:
        held = _held(
            time_s, store.series("grid", (CARBON,), now - DAY - CARBON_AGE, now, STEP_S, origin=Origin.MEASURED), CARBON
        )
    else:
        held = of_quarters(store, supply, (CARBON,), time_s)[CARBON]
    return Past(
        now,
        time_s,
        it_power_w,
        facility_power_w,
        it_origin,
        facility_origin,
        held,
        _last_xids(records) if records is not None else (),
    )


@dataclass(frozen=True, slots=True)
class _Quarters:
    """Quarters of an hour: what each grid carries is read of no finer steps, for there are thousands of racks."""

    time_s: Floats
    step_s: float = QUARTER_S


def of_quarters(store: Store, supply: Supply, names: tuple[str, ...], time_s: Floats) -> dict[str, Floats]:
    """float64[t]: of each signal in ``names`` the mix of the grids in the quarter of an hour of each of ``time_s``."""
    if not len(time_s):
        return {name: np.full(0, np.nan) for name in names}
    first = time_s[0] // QUARTER_S * QUARTER_S
    place = ((time_s - first) // QUARTER_S).astype(np.int64)
    found = mixed(store, _Quarters(first + QUARTER_S * np.arange(place[-1] + 1)), supply, names)
    return {name: column[place] for name, column in found.items()}


def _last_xids(records: Records) -> Sequence[Event]:
    events = (event_of(time, record) for _, time, record in records.read(TOPIC, limit=MAX_EVENTS, newest=True))
    return tuple({event.asset: event for event in events if event.family == "xid"}.values())


def _held(time_s: Floats, told: Series, name: str) -> Floats | None:
    """The only column of ``name`` as it was last told before each of ``time_s``, NaN where that is over ``CARBON_AGE`` ago."""
    found = told.values.get(name)
    if found is None or not found.shape[1]:
        return None
    known = np.isfinite(found[:, 0])
    at_s, value = told.time_s[known], found[known, 0]
    if not len(at_s):
        return None
    last = np.searchsorted(at_s, time_s, side="right") - 1
    held = (last >= 0) & (time_s - at_s[np.maximum(last, 0)] <= CARBON_AGE.total_seconds())
    return np.where(held, value[np.maximum(last, 0)], np.nan)


def _on(time_s: Floats, side: Series, name: str) -> Floats:
    """The only column of ``name`` on ``time_s``, NaN where it has no step."""
    column = np.full(len(time_s), np.nan)
    found = side.values.get(name)
    if found is not None and found.shape[1]:
        column[np.searchsorted(time_s, side.time_s)] = found[:, 0]
    return column
