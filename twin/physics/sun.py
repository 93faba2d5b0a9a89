"""Photovoltaics: where the sun stands, what falls on tilted panels, and the power that their inverters deliver.

The models are pvlib's (BSD-3; Anderson et al. 2023, J. Open Source Softw. 8, 5994), in the chain of NREL's PVWatts (Dobos 2014,
PVWatts Version 5 Manual, NREL/TP-6A20-62641). Times are s since 1970 UTC, powers delivered are positive here. pvlib comes with
the extra ``pv`` and is imported when it is first needed.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from twin.errors import SourceError
from twin.frame import Floats

# PVWatts 5: power falls by 0.35 %/K in premium (mono-crystalline) modules, 14 % are lost in soiling, wiring and mismatch, the
# inverter takes 96 % at its rating, and there is 1.2 W of panels for each W of inverter (the default of its version 6).
GAMMA_PER_K, LOSS_FRAC, INVERTER_FRAC, DC_OF_AC = -0.0035, 0.14, 0.96, 1.2
ALBEDO = 0.2  # of the ground before them; PVWatts 5
# of roofs with little air behind (Faiman 2008 with the constants of a roof mount by Koehl et al. 2011: 25 and 6.84 in the open,
# less behind: assumed half way to insulated ones)
FAIMAN_U0, FAIMAN_U1 = 20.0, 5.0
STILL_MPS, MILD_C = 1.0, 15.0  # where neither wind nor temperature is known; assumed


@dataclass(frozen=True, slots=True)
class Panels:
    """One plant. ``rated_w``: of its panels (direct current, standard conditions); ``inverter_w``: the most that it delivers;
    ``azimuth_deg``: where the panels look (0 north, 90 east, 180 south); ``tilt_deg``: from the horizontal;
    ``loss_frac``: in soiling, wiring and mismatch."""

    rated_w: float
    inverter_w: float
    latitude_deg: float
    longitude_deg: float
    tilt_deg: float
    azimuth_deg: float
    altitude_m: float = 0.0
    loss_frac: float = LOSS_FRAC

    def __post_init__(self) -> None:
        if not (abs(self.latitude_deg) <= 90 and abs(self.longitude_deg) <= 180 and 0 <= self.tilt_deg <= 90):
            raise ValueError("latitude must be within 90, longitude within 180, tilt within 0 to 90 degrees")
        if not (self.rated_w > 0 and self.inverter_w > 0 and 0 <= self.azimuth_deg <= 360):
            raise ValueError("rated_w and inverter_w must be above 0, azimuth within 0 to 360 degrees")


@dataclass(frozen=True, slots=True, eq=False)
class Sky:
    """float64[t] each: irradiance on the level, straight from the sun (on a plane that faces it), and from the rest of the sky
    on the level."""

    level_w_per_m2: Floats
    direct_w_per_m2: Floats
    diffuse_w_per_m2: Floats


def _library() -> Any:
    """The library; ``SourceError`` where it is not there."""
    try:
        found: ModuleType = importlib.import_module("pvlib")
    except ImportError:
        raise SourceError("photovoltaics need pvlib: pip install 'icctwin[pv]', or make field") from None
    return found


def _index(time_s: Floats) -> Any:
    import pandas as pd

    return pd.to_datetime(np.asarray(time_s), unit="s", utc=True)


def _extra(index: Any) -> Floats:
    """float64[t]: what reaches the top of the air [W/m²] (Spencer 1971)."""
    return np.asarray(_library().irradiance.get_extra_radiation(index.day_of_year.to_numpy()), dtype=np.float64)


def sun_deg(panels: Panels, time_s: Floats) -> tuple[Floats, Floats]:
    """float64[t] each: apparent (refracted) zenith and azimuth of the sun (Reda & Andreas 2004, Solar Energy 76, 577)."""
    found = _library().solarposition.get_solarposition(
        _index(time_s), panels.latitude_deg, panels.longitude_deg, altitude=panels.altitude_m
    )
    return found["apparent_zenith"].to_numpy(), found["azimuth"].to_numpy()


def clear_sky(panels: Panels, time_s: Floats) -> Sky:
    """What a cloudless sky gives (Ineichen & Perez 2002, Solar Energy 73, 151) under the place's usual haze (SoDa's monthly
    Linke turbidities)."""
    lib, index = _library(), _index(time_s)
    zenith, _ = sun_deg(panels, time_s)
    air = lib.atmosphere.get_absolute_airmass(
        lib.atmosphere.get_relative_airmass(zenith), lib.atmosphere.alt2pres(panels.altitude_m)
    )
    haze = lib.clearsky.lookup_linke_turbidity(index, panels.latitude_deg, panels.longitude_deg, interp_turbidity=False)
    with np.errstate(divide="ignore", invalid="ignore"):  # of a sun under the horizon
        found = lib.clearsky.ineichen(zenith, air, np.asarray(haze), panels.altitude_m, _extra(index))
    return Sky(*(np.asarray(found[name], dtype=np.float64) for name in ("ghi", "dni", "dhi")))


def parted(panels: Panels, time_s: Floats, level_w_per_m2: Floats) -> Sky:
    """The sky where only the irradiance on the level is known: its direct and diffuse part by Erbs, Klein & Duffie 1982, Solar
    Energy 28, 293."""
    zenith, _ = sun_deg(panels, time_s)
    found = _library().irradiance.erbs(np.asarray(level_w_per_m2), zenith, _index(time_s).day_of_year.to_numpy())
    return Sky(np.asarray(level_w_per_m2), np.asarray(found["dni"]), np.asarray(found["dhi"]))


def delivered_w(
    panels: Panels, time_s: Floats, sky: Sky, dry_bulb_c: Floats | float = MILD_C, wind_mps: Floats | float = STILL_MPS
) -> Floats:
    """float64[t]: power that the inverter delivers [W], 0 at night, NaN where the sky is not known.

    On the tilted plane by Hay & Davies (1980); reflection by Fresnel's law (De Soto et al. 2006, Solar Energy 80, 78);
    temperature by Faiman (2008, Prog. Photovolt. 16, 307); panels and inverter by PVWatts 5.
    """
    lib, index = _library(), _index(time_s)
    zenith, azimuth = sun_deg(panels, time_s)
    parts = (sky.direct_w_per_m2, sky.level_w_per_m2, sky.diffuse_w_per_m2)
    plane = lib.irradiance.get_total_irradiance(
        panels.tilt_deg, panels.azimuth_deg, zenith, azimuth, *parts, _extra(index), albedo=ALBEDO, model="haydavies"
    )
    through = lib.iam.physical(lib.irradiance.aoi(panels.tilt_deg, panels.azimuth_deg, zenith, azimuth))
    reached = np.asarray(plane["poa_direct"]) * np.asarray(through) + np.asarray(plane["poa_diffuse"])
    cell_c = lib.temperature.faiman(np.asarray(plane["poa_global"]), dry_bulb_c, wind_mps, FAIMAN_U0, FAIMAN_U1)
    direct_w = lib.pvsystem.pvwatts_dc(reached, cell_c, panels.rated_w, GAMMA_PER_K) * (1 - panels.loss_frac)
    made = np.asarray(lib.inverter.pvwatts(direct_w, panels.inverter_w / INVERTER_FRAC, eta_inv_nom=INVERTER_FRAC))
    known = np.isfinite(parts).all(axis=0)
    return np.where(zenith < 90.0, np.where(known, np.clip(np.nan_to_num(made), 0.0, panels.inverter_w), np.nan), 0.0)
