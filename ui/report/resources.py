"""Water and reused heat over a span: as meters read them, and water as the twin works it out where there is no meter."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from energy.account.book import Account, Given
from energy.account.meters import Meters
from twin.frame import Floats, Origin
from twin.message import Message
from twin.physics import Numbers
from twin.physics.water import evaporated_kgps, makeup_kgps
from twin.ports import Store
from ui.report.plant import on_steps, table_on_steps

CYCLES = 5.0  # of concentration in towers: the middle of 3-7 that is usual (US DOE FEMP, cooling-tower management)
WATERED = ("site", "tower", "drycooler")  # what make-up is metered of: one meter for all, else those of the machines
WUE_READ = "WUE: make-up water was read for {coverage:.0%} of the time."
WUE_MODELLED = (
    "WUE is modelled, make-up water was not read, or never by all of its meters at one time: the heat of the loop evaporates "
    "while towers run, at {cycles:.0f} cycles of concentration, an upper bound, known for {coverage:.0%} of the time. With "
    "makeup_kgps of the site or of its towers it is measured."
)
NO_WUE = (
    "WUE is not known: no meter of make-up water (makeup_kgps of the site or of its towers) was read, or never all of them at "
    "one time, and the twin does not know when towers ran and with what heat."
)
ERF_READ = "ERF: heat handed to users outside was read for {coverage:.0%} of the time."
NO_ERF = (
    "ERF is not known: no meter of heat handed to users outside (heat_w of an asset of kind heatreuse) was read, or never all "
    "of them at one time."
)
TOO_MUCH = (
    "ERF is not known: the meters of heat handed to users outside read more than the centre took in. Check their factors."
)
OWN_READ = (
    "Own generation: every plant was read for {coverage:.0%} of the time. One that is silent beside others counts in "
    "proportion to them, {guessed:,.0f} kWh in all; it counts as nothing while none is read, or where it never was read beside "
    "them."
)


@dataclass(frozen=True, slots=True)
class Rate:
    """An amount over the time in which it is known, as its ``each``: for a kWh of IT (water, kg) or of all energy (reused heat,
    kWh); NaN where it never was. ``coverage_frac``: of the time in which the centre's energy is known."""

    each: float
    coverage_frac: float


@dataclass(frozen=True, slots=True)
class Resources:
    """``modelled``: water as the twin works it out, an upper bound."""

    water: Rate
    modelled: Rate
    reused: Rate


def modelled_kgps(heat_w: Numbers) -> Floats:
    """Water that towers which give off ``heat_w`` take in [kg/s], as the twin works it out."""
    return makeup_kgps(evaporated_kgps(heat_w), CYCLES)


def resources_of(store: Store, meters: Meters) -> Resources:
    """Of the whole centre over the steps of ``meters``."""
    water = (_read(store, kinds, "makeup_kgps", meters) for kinds in (WATERED[:1], WATERED[1:]))
    read = next((one for one in water if np.isfinite(one).any()), np.full(len(meters.time_s), np.nan))
    tables = [table_on_steps(store, "loop", "heat_w", meters, origin) for origin in (Origin.MEASURED, Origin.MODELLED)]
    heat_w = np.where(np.isfinite(most := _most(tables[0])), most, _most(tables[1]))  # of the loop that all heat passes
    tower_w = on_steps(store, "tower", "power_w", meters, total=True)
    modelled = np.where(
        tower_w > 0, modelled_kgps(np.maximum(heat_w, 0.0)), np.where(np.isfinite(tower_w + heat_w), 0.0, np.nan)
    )
    reused_w = _read(store, ("heatreuse",), "heat_w", meters)
    it_w, facility_w = meters.it_w, meters.facility_w
    return Resources(
        _rate(read * 3.6e6, it_w, meters), _rate(modelled * 3.6e6, it_w, meters), _rate(reused_w, facility_w, meters)
    )


def _read(store: Store, kinds: tuple[str, ...], metric: str, meters: Meters) -> Floats:
    """float64[t]: the sum over the assets of ``kinds`` that meters read; NaN where one of those is silent that ever spoke: the
    others' sum would be taken for all."""
    found = np.hstack([table_on_steps(store, kind, metric, meters, Origin.MEASURED) for kind in kinds])
    spoke = np.isfinite(found).any(axis=0)
    return found[:, spoke].sum(axis=1) if spoke.any() else np.full(len(found), np.nan)


def _most(found: Floats) -> Floats:
    """float64[t] of float64[t, n]: the largest that is known."""
    most = np.where(np.isfinite(found), found, -np.inf).max(axis=1)
    return np.where(np.isfinite(most), most, np.nan)


def _rate(amount: Floats, power_w: Floats, meters: Meters) -> Rate:
    """``amount`` over ``power_w`` (float64[t] each) over the steps in which both are known."""
    known = meters.known & np.isfinite(amount)
    length_s = np.where(known, meters.length_s, 0.0)
    energy, all_s = float((np.nan_to_num(power_w) * length_s).sum()), float(meters.length_s.sum())
    each = float((np.nan_to_num(amount) * length_s).sum()) / energy if energy > 0 else float("nan")
    return Rate(each, float(length_s.sum()) / all_s if all_s > 0 else 0.0)


def given_read(given: Given, found: Resources, whole: Account) -> Given:
    """``given`` with water and reused heat as meters read them, at the rate of the time in which they did, over all energy of
    ``whole``."""
    reused = found.reused.each if found.reused.each <= 1 else float("nan")
    return replace(given, water_kg=found.water.each * whole.it_kwh, reused_kwh=reused * whole.facility_kwh)


def own_said(made: Account) -> Iterator[Message]:
    """What own generation rests on, where the site has plants that were not read all the time."""
    if made.own_read_frac < 1:
        yield Message(OWN_READ, {"coverage": made.own_read_frac, "guessed": round(made.own_guessed_kwh)})


def said(found: Resources) -> Iterator[Message]:
    """What WUE and ERF rest on, or which meter is missing."""
    if np.isfinite(found.water.each):
        yield Message(WUE_READ, {"coverage": found.water.coverage_frac})
    elif np.isfinite(found.modelled.each):
        yield Message(WUE_MODELLED, {"cycles": CYCLES, "coverage": found.modelled.coverage_frac})
    else:
        yield Message(NO_WUE)
    if found.reused.each <= 1:
        yield Message(ERF_READ, {"coverage": found.reused.coverage_frac})
    else:
        yield Message(TOO_MUCH if found.reused.each > 1 else NO_ERF)
