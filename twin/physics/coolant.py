"""Properties of coolants: water and aqueous glycols; PG25 (25 % propylene glycol by mass) is usual in direct liquid cooling."""

import csv
from pathlib import Path

import numpy as np

from twin.frame import Floats
from twin.physics import Numbers

# Melinder (2010), "Properties of secondary working fluids for indirect systems", as CoolProp 8.0 gives it (MPG and MEG at these
# shares by mass): density [kg/m³] and specific heat [J/(kg·K)], a row for a share, a column for a temperature
with Path(__file__).with_name("glycols.csv").open(newline="", encoding="utf-8") as _file:
    _ROWS = list(csv.reader(_file))
_TEMP_C = np.array(_ROWS[0][2:], dtype=np.float64)


def _table(quantity: str) -> Floats:
    return np.array([row[2:] for row in _ROWS if row[0] == quantity], dtype=np.float64)


GLYCOL_FRAC = np.array([row[1] for row in _ROWS if row[0] == "propylene_kgpm3"], dtype=np.float64)
_PROPYLENE_KGPM3, _PROPYLENE_JPKGK = _table("propylene_kgpm3"), _table("propylene_jpkgk")
_ETHYLENE_KGPM3, _ETHYLENE_JPKGK = _table("ethylene_kgpm3"), _table("ethylene_jpkgk")
_PG25 = int(np.flatnonzero(GLYCOL_FRAC == 0.25)[0])


def water_density_kgpm3(temp_c: Numbers) -> Floats:
    """Density of water [kg/m³] at 1 atm, 0-100 °C. Kell (1975), J. Chem. Eng. Data 20(1), equation 16."""
    t = np.asarray(temp_c)
    top = 999.83952 + t * (16.945176 + t * (-7.9870401e-3 + t * (-46.170461e-6 + t * (105.56302e-9 - t * 280.54253e-12))))
    return np.asarray(top / (1 + 16.879850e-3 * t))


def water_heat_jpkgk(temp_c: Numbers) -> Floats:
    """Specific heat of water [J/(kg·K)] at 1 atm, 0-100 °C, within 0.1 %; held at the ends.

    Popiel & Wojtkowiak (1998), "Simple formulas for thermophysical properties of liquid water", Heat Transfer Eng. 19(3).
    """
    t = np.clip(temp_c, 0.0, 100.0)
    return np.asarray(1e3 * (4.2174356 - 5.6181625e-3 * t + 1.2992528e-3 * t**1.5 - 1.1535353e-4 * t**2 + 4.14964e-6 * t**2.5))


def propylene_density_kgpm3(temp_c: Numbers, share_frac: Numbers) -> Floats:
    """Density of water with ``share_frac`` (0.1-0.6 by mass) of propylene glycol [kg/m³], 0-80 °C, both held at the ends;
    linear between Melinder's values every 10 K, as everything here."""
    return _between(_PROPYLENE_KGPM3, temp_c, share_frac)


def propylene_heat_jpkgk(temp_c: Numbers, share_frac: Numbers) -> Floats:
    """Specific heat of that [J/(kg·K)], as ``propylene_density_kgpm3``."""
    return _between(_PROPYLENE_JPKGK, temp_c, share_frac)


def ethylene_density_kgpm3(temp_c: Numbers, share_frac: Numbers) -> Floats:
    """Density of water with ``share_frac`` (0.1-0.6 by mass) of ethylene glycol [kg/m³], as ``propylene_density_kgpm3``."""
    return _between(_ETHYLENE_KGPM3, temp_c, share_frac)


def ethylene_heat_jpkgk(temp_c: Numbers, share_frac: Numbers) -> Floats:
    """Specific heat of that [J/(kg·K)], as ``propylene_density_kgpm3``."""
    return _between(_ETHYLENE_JPKGK, temp_c, share_frac)


def pg25_density_kgpm3(temp_c: Numbers) -> Floats:
    """Density of PG25 [kg/m³], 0-80 °C (held at the ends)."""
    return np.asarray(np.interp(temp_c, _TEMP_C, _PROPYLENE_KGPM3[_PG25]))


def pg25_heat_jpkgk(temp_c: Numbers) -> Floats:
    """Specific heat of PG25 [J/(kg·K)], 0-80 °C (held at the ends)."""
    return np.asarray(np.interp(temp_c, _TEMP_C, _PROPYLENE_JPKGK[_PG25]))


def _between(table: Floats, temp_c: Numbers, share_frac: Numbers) -> Floats:
    from scipy.interpolate import RegularGridInterpolator  # a fifth of a start, for who has such a loop

    share, temp = np.broadcast_arrays(
        np.clip(share_frac, GLYCOL_FRAC[0], GLYCOL_FRAC[-1]), np.clip(temp_c, _TEMP_C[0], _TEMP_C[-1])
    )
    return np.asarray(
        RegularGridInterpolator((GLYCOL_FRAC, _TEMP_C), table, bounds_error=False)(np.stack([share, temp], -1))
    ).reshape(share.shape)
