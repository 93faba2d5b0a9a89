"""Properties of coolants: water and aqueous glycols; PG25 (25 % propylene glycol by mass) is usual in direct liquid cooling."""

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from twin.frame import Floats
from twin.physics import Numbers

# Melinder (2010), "Properties of secondary working fluids for indirect systems", as CoolProp 8.0 gives it (MPG and MEG at these
# shares by mass): density [kg/m³] and specific heat [J/(kg·K)] at these temperatures
GLYCOL_FRAC = np.array([0.10, 0.20, 0.25, 0.30, 0.40, 0.50, 0.60])
_TEMP_C = np.array([0.0, 10, 20, 30, 40, 50, 60, 70, 80])
_PROPYLENE_KGPM3 = np.array([
    [1009.31, 1008.27, 1006.20, 1003.22, 999.42, 994.91, 989.81, 984.21, 978.22],
    [1020.08, 1017.86, 1014.78, 1010.91, 1006.37, 1001.23, 995.59, 989.54, 983.18],
    [1025.81, 1022.94, 1019.28, 1014.90, 1009.91, 1004.38, 998.40, 992.05, 985.43],
    [1031.56, 1028.04, 1023.78, 1018.89, 1013.43, 1007.49, 1001.15, 994.49, 987.60],
    [1042.35, 1037.62, 1032.27, 1026.40, 1020.06, 1013.34, 1006.31, 999.05, 991.63],
    [1050.94, 1045.26, 1039.06, 1032.41, 1025.37, 1018.03, 1010.46, 1002.72, 994.90],
    [1055.98, 1049.75, 1043.03, 1035.90, 1028.44, 1020.72, 1012.81, 1004.79, 996.74],
])  # fmt: skip
_PROPYLENE_JPKGK = np.array([
    [4059.0, 4066.6, 4076.3, 4088.0, 4101.1, 4115.4, 4130.3, 4145.7, 4161.0],
    [3935.9, 3956.1, 3976.8, 3997.8, 4019.0, 4040.2, 4061.2, 4081.7, 4101.6],
    [3872.2, 3896.3, 3920.5, 3944.6, 3968.6, 3992.4, 4015.7, 4038.5, 4060.7],
    [3802.6, 3829.9, 3857.0, 3883.9, 3910.4, 3936.6, 3962.3, 3987.6, 4012.2],
    [3641.6, 3674.3, 3706.7, 3738.9, 3770.8, 3802.5, 3833.9, 3865.0, 3895.8],
    [3453.1, 3491.7, 3530.2, 3568.6, 3607.0, 3645.3, 3683.5, 3721.7, 3759.8],
    [3249.8, 3295.0, 3340.3, 3385.6, 3430.8, 3475.8, 3520.7, 3565.4, 3609.8],
])  # fmt: skip
_ETHYLENE_KGPM3 = np.array([
    [1013.62, 1012.52, 1010.58, 1007.84, 1004.35, 1000.13, 995.23, 989.69, 983.55],
    [1029.06, 1026.94, 1024.10, 1020.58, 1016.40, 1011.60, 1006.21, 1000.25, 993.76],
    [1037.02, 1034.36, 1031.05, 1027.10, 1022.55, 1017.43, 1011.77, 1005.59, 998.92],
    [1044.97, 1041.81, 1038.05, 1033.70, 1028.80, 1023.38, 1017.46, 1011.08, 1004.26],
    [1060.39, 1056.39, 1051.86, 1046.84, 1041.35, 1035.43, 1029.11, 1022.42, 1015.39],
    [1074.62, 1070.02, 1064.93, 1059.39, 1053.44, 1047.13, 1040.49, 1033.57, 1026.41],
    [1087.85, 1082.75, 1077.14, 1071.08, 1064.62, 1057.83, 1050.76, 1043.47, 1036.01],
])  # fmt: skip
_ETHYLENE_JPKGK = np.array([
    [4037.4, 4040.5, 4045.9, 4053.1, 4061.9, 4072.0, 4083.1, 4094.9, 4107.1],
    [3860.8, 3878.3, 3896.2, 3914.4, 3932.8, 3951.1, 3969.3, 3987.3, 4004.8],
    [3762.9, 3786.9, 3810.7, 3834.3, 3857.4, 3880.1, 3902.1, 3923.5, 3944.1],
    [3658.1, 3688.5, 3718.3, 3747.2, 3775.4, 3802.5, 3828.7, 3853.8, 3877.7],
    [3434.2, 3477.3, 3519.0, 3559.2, 3597.8, 3634.7, 3669.7, 3702.8, 3733.8],
    [3202.9, 3258.4, 3312.0, 3363.6, 3412.7, 3459.3, 3503.1, 3544.0, 3581.6],
    [2966.9, 3033.7, 3098.0, 3159.5, 3217.8, 3272.4, 3323.0, 3369.1, 3410.3],
])  # fmt: skip
_PG25 = int(np.flatnonzero(GLYCOL_FRAC == 0.25)[0])


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
    share, temp = np.broadcast_arrays(
        np.clip(share_frac, GLYCOL_FRAC[0], GLYCOL_FRAC[-1]), np.clip(temp_c, _TEMP_C[0], _TEMP_C[-1])
    )
    return np.asarray(
        RegularGridInterpolator((GLYCOL_FRAC, _TEMP_C), table, bounds_error=False)(np.stack([share, temp], -1))
    ).reshape(share.shape)
