"""Properties of coolants: water, and PG25 (25 % propylene glycol by mass), the usual fluid of direct liquid cooling."""

import numpy as np

from twin.frame import Floats
from twin.physics import Numbers

# Melinder (2010), "Properties of secondary working fluids for indirect systems", as CoolProp gives it (MPG, 0.25 by mass)
_PG25_C = np.array([0.0, 10, 20, 30, 40, 50, 60, 70, 80])
_PG25_KGPM3 = np.array([1025.81, 1022.94, 1019.28, 1014.90, 1009.91, 1004.38, 998.40, 992.05, 985.43])
_PG25_JPKGK = np.array([3872.2, 3896.3, 3920.5, 3944.6, 3968.6, 3992.4, 4015.7, 4038.5, 4060.7])


def water_density_kgpm3(temp_c: Numbers) -> Floats:
    """Density of water [kg/m³] at 1 atm, 0-100 °C. Kell (1975), J. Chem. Eng. Data 20(1), equation 16."""
    t = np.asarray(temp_c)
    top = 999.83952 + t * (16.945176 + t * (-7.9870401e-3 + t * (-46.170461e-6 + t * (105.56302e-9 - t * 280.54253e-12))))
    return np.asarray(top / (1 + 16.879850e-3 * t))


def water_heat_jpkgk(temp_c: Numbers) -> Floats:
    """Specific heat of water [J/(kg·K)] at 1 atm, 0-100 °C, within 0.1 %.

    Popiel & Wojtkowiak (1998), "Simple formulas for thermophysical properties of liquid water", Heat Transfer Eng. 19(3).
    """
    t = np.asarray(temp_c)
    return np.asarray(1e3 * (4.2174356 - 5.6181625e-3 * t + 1.2992528e-3 * t**1.5 - 1.1535353e-4 * t**2 + 4.14964e-6 * t**2.5))


def pg25_density_kgpm3(temp_c: Numbers) -> Floats:
    """Density of PG25 [kg/m³], 0-80 °C (held at the ends); linear between Melinder's values every 10 K."""
    return np.asarray(np.interp(temp_c, _PG25_C, _PG25_KGPM3))


def pg25_heat_jpkgk(temp_c: Numbers) -> Floats:
    """Specific heat of PG25 [J/(kg·K)], 0-80 °C (held at the ends); linear between Melinder's values every 10 K."""
    return np.asarray(np.interp(temp_c, _PG25_C, _PG25_JPKGK))
