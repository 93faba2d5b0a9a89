"""What the site's own photovoltaics give now and in the hours to come, with an 80 % interval.

Physics says what the panels would deliver under the sky that the weather's service foresees, or under a cloudless one where
nobody tells; how that came true on the days that were metered says the rest: the middle and the edges are quantiles of metered
over modelled, each hour modelled from what was known half a day before it. Powers are delivered, positive [W].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from analytics.told import Words
from twin.frame import Floats, Ints
from twin.message import Message
from twin.physics.sun import DC_OF_AC, MILD_C, STILL_MPS, Panels, clear_sky, delivered_w, parted
from twin.site import Bools, Site

STEP_S = 3600.0
PARTS = 4  # looks at the sky in an hour
DAY_S = 86_400.0
LEAST_HOURS = 60  # of daylight that were metered, before their quantiles count
LEAST_FRAC = 0.05  # of what the inverter can: less says nothing of a ratio
LEAD_S = 12 * 3600.0  # how long before an hour what is compared with it was known
DARK_W_PER_M2 = 20.0  # of a clear sky: below it a ratio of two irradiances says nothing
MOST_CLEARNESS = 1.3  # of irradiance over that of a clear sky: clouds beside the sun add for minutes, no more for an hour


class SkySeen(StrEnum):
    """What a figure rests on."""

    TOLD = "told-sky"  # the weather's service
    CLEAR = "clear-sky"  # nobody: the sky's usual range under a cloudless one


# 10 %, 50 % and 90 % quantile of delivered over modelled where nothing was metered yet; assumed: day-ahead irradiance misses by
# a fifth (sunny places) to two fifths (cloudy ones) in the mean square; of a clear sky all between a dark day and all of it
USUAL: Mapping[SkySeen, tuple[float, float, float]] = {SkySeen.TOLD: (0.6, 1.0, 1.2), SkySeen.CLEAR: (0.15, 0.65, 1.0)}


@dataclass(frozen=True, slots=True, eq=False)
class Sun:
    """What is told of sun and air: irradiance on the level, temperature, wind."""

    irradiance: Words
    dry_bulb: Words
    wind: Words


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """float64[h] each: what the panels deliver in the steps, p10 to p90; ``sky``: what most of it rests on; ``judged``: hours
    of daylight by which that was judged (0: none; the interval is assumed)."""

    p10: Floats
    p50: Floats
    p90: Floats
    sky: SkySeen
    judged: int


def plants(site: Site) -> tuple[Ints, list[Panels], list[Message]]:
    """Rows of the photovoltaic plants that say where they stand and look, what they are, and what is wrong with the others
    (one that says nothing of it is no fault: it is not foreseen)."""
    names = ("rated_w", "latitude_deg", "longitude_deg", "tilt_deg", "azimuth_deg")
    columns = {name: site.number("pv", name) for name in (*names, "inverter_w", "altitude_m")}
    rows, panels, wrong = [], [], []
    for row, asset in enumerate(site.ids_of("pv")):
        rated_w, latitude, longitude, tilt, azimuth = (float(columns[name][row]) for name in names)
        if np.isnan([rated_w, latitude, longitude, tilt, azimuth]).any():
            continue
        inverter_w, altitude_m = float(columns["inverter_w"][row]), float(np.nan_to_num(columns["altitude_m"][row]))
        try:
            most_w = rated_w / DC_OF_AC if np.isnan(inverter_w) else inverter_w
            made = Panels(rated_w, most_w, latitude, longitude, tilt, azimuth, altitude_m)
        except ValueError as error:
            wrong.append(Message("{asset} is not foreseen: {why}", {"asset": asset, "why": str(error)}))
            continue
        rows.append(row)
        panels.append(made)
    return np.array(rows, dtype=np.int32), panels, wrong


@dataclass(frozen=True, slots=True, eq=False)
class _Air:
    """float64[h] each, at the begins of hours: irradiance over a clear sky's, temperature [°C], wind [m/s]."""

    clearness: Floats
    dry_bulb_c: Floats
    wind_mps: Floats


def modelled_w(panels: Panels, sun: Sun | None, at_s: float, slots_s: Floats) -> tuple[Floats, SkySeen]:
    """float64[h]: mean power of the hours that begin at ``slots_s`` by physics, as known at ``at_s``; and under which sky."""
    air = None if sun is None else _told(sun, at_s, slots_s, clear_sky(panels, slots_s).level_w_per_m2)
    return _power_w(panels, slots_s, air), SkySeen.CLEAR if air is None else SkySeen.TOLD


def _power_w(panels: Panels, slots_s: Floats, air: _Air | None) -> Floats:
    """float64[h]: mean power of each hour; under a clear sky where nothing is told."""
    moments = (slots_s[:, None] + STEP_S * (np.arange(PARTS) + 0.5) / PARTS).ravel()
    sky = clear_sky(panels, moments)
    if air is None:
        power_w = delivered_w(panels, moments, sky)
    else:
        clearness, air_c, wind_mps = (
            np.interp(moments, slots_s, column) for column in (air.clearness, air.dry_bulb_c, air.wind_mps)
        )
        power_w = delivered_w(panels, moments, parted(panels, moments, sky.level_w_per_m2 * clearness), air_c, wind_mps)
    return np.asarray(power_w.reshape(-1, PARTS).mean(axis=1))


def _told(sun: Sun, at_s: float, slots_s: Floats, clear_w_per_m2: Floats) -> _Air | None:
    """What was known at ``at_s`` of each hour, bridged over the night; None where most of the daylight is not told of."""
    told = sun.irradiance.at(at_s, slots_s, STEP_S).values
    light = clear_w_per_m2 > DARK_W_PER_M2
    known = light & np.isfinite(told)
    if known.sum() <= light.sum() / 2:
        return None
    at = np.flatnonzero(known)
    ratio = np.clip(told[at] / clear_w_per_m2[at], 0.0, MOST_CLEARNESS)
    air_c, wind_mps = sun.dry_bulb.at(at_s, slots_s, STEP_S).values, sun.wind.at(at_s, slots_s, STEP_S).values
    clearness = np.interp(np.arange(len(slots_s)), at, ratio)
    return _Air(clearness, np.where(np.isnan(air_c), MILD_C, air_c), np.where(np.isnan(wind_mps), STILL_MPS, wind_mps))


def foresee(panels: Panels, sun: Sun | None, now_s: float, slots_s: Floats, past_s: Floats, metered_w: Floats) -> Given:
    """What the hours that begin at ``slots_s`` will give, from ``metered_w`` float64[m] of the hours ``past_s`` before
    (delivered, NaN where not read)."""
    power_w, sky = modelled_w(panels, sun, now_s, slots_s)
    low, middle, high, judged = ratios(panels, sun if sky is SkySeen.TOLD else None, past_s, metered_w)
    p10, p50, p90 = (np.clip(power_w * ratio, 0.0, panels.inverter_w) for ratio in (low, middle, high))
    return Given(p10, p50, p90, sky, judged)


def ratios(panels: Panels, sun: Sun | None, past_s: Floats, metered_w: Floats) -> tuple[float, float, float, int]:
    """Quantiles of metered over modelled, and of how many hours."""
    known, found = np.isfinite(metered_w), np.empty(0)
    if known.sum() >= LEAST_HOURS:
        past_s, metered_w = past_s[known], metered_w[known]
        judged: Bools = np.ones(len(past_s), dtype=np.bool_)
        air = None
        if sun is not None:
            air, judged = _half_a_day_before(panels, sun, past_s)
        model_w = _power_w(panels, past_s, air)
        judged &= model_w > LEAST_FRAC * panels.inverter_w
        found = metered_w[judged] / model_w[judged]
    if len(found) < LEAST_HOURS:
        return *USUAL[SkySeen.CLEAR if sun is None else SkySeen.TOLD], 0
    low, middle, high = np.quantile(found, (0.1, 0.5, 0.9))
    return float(low), float(middle), float(high), len(found)


def _half_a_day_before(panels: Panels, sun: Sun, past_s: Floats) -> tuple[_Air, Bools]:
    """What was known of the hours of each day (UTC) half a day before its first; bool[m]: of which something was."""
    clear = clear_sky(panels, past_s).level_w_per_m2
    columns, told = np.ones((3, len(past_s))), np.zeros(len(past_s), dtype=np.bool_)
    for part in np.split(np.arange(len(past_s)), np.flatnonzero(np.diff(past_s // DAY_S)) + 1):
        air = _told(sun, float(past_s[part[0]]) - LEAD_S, past_s[part], clear[part])
        if air is not None:
            columns[:, part], told[part] = (air.clearness, air.dry_bulb_c, air.wind_mps), True
    return _Air(*columns), told
