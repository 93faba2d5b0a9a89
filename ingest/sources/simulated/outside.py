"""What comes from outside: weather, grid, sun.

Temperature is season, day and two kinds of chance (fronts over days, clouds over hours), each an exact autoregression over any
step; wet bulb is Stull's formula (J. Appl. Meteorol. Climatol. 50, 2011). The grid's carbon intensity dips at noon with the
sun, peaks in the evening and follows the wind; the price follows it with noise of its own.
"""

import math

import numpy as np

MEAN_C, SEASON_C, DAY_C = 13.0, 12.0, 4.5
_NOISES = {
    "front": 60 * 3600.0,
    "cloud": 3 * 3600.0,
    "damp": 20 * 3600.0,
    "wind": 9 * 3600.0,
    "market": 2 * 3600.0,
    "mains": 20.0,
}


def stull_wet_bulb(dry_c: float, humidity: float) -> float:
    """Wet-bulb temperature [°C] from dry bulb [°C] and relative humidity [0-1] at sea level (Stull 2011, eq. 1)."""
    rh = 100.0 * humidity
    wet_c: float = (
        dry_c * math.atan(0.151977 * math.sqrt(rh + 8.313659))
        + math.atan(dry_c + rh)
        - math.atan(rh - 1.676331)
        + 0.00391838 * rh**1.5 * math.atan(0.023101 * rh)
        - 4.686035
    )
    return wet_c


class Outside:
    """The world around the site. Temperatures [°C], ``humidity`` and ``sun`` 0-1, ``carbon`` [gCO2/kWh], ``price`` [/MWh]."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._noise = dict(zip(_NOISES, rng.standard_normal(len(_NOISES)).tolist(), strict=True))
        self.dry_c = self.wet_c = MEAN_C
        self.humidity, self.sun, self.carbon, self.price, self.mains_hz = 0.6, 0.0, 420.0, 60.0, 50.0

    def step(self, time_s: float, offset_s: float, dt_s: float) -> None:
        """Advance ``dt_s`` to ``time_s`` (s since 1970), local time ``offset_s`` ahead of UTC."""
        noise = self._noise
        for (name, lag_s), normal in zip(_NOISES.items(), self._rng.standard_normal(len(_NOISES)).tolist(), strict=True):
            keep = math.exp(-dt_s / lag_s)
            noise[name] = keep * noise[name] + math.sqrt(1.0 - keep * keep) * normal
        days = (time_s + offset_s) / 86400.0
        hour = days % 1.0 * 24
        season = math.cos(2 * math.pi * (days % 365.25 - 201) / 365.25)  # warmest on 20 July
        day = math.cos(2 * math.pi * (hour - 15.0) / 24)
        self.dry_c = MEAN_C + SEASON_C * season + (DAY_C + season) * day + 3.2 * noise["front"] + 0.7 * noise["cloud"]
        self.humidity = min(0.97, max(0.15, 0.64 + 0.06 * season - 0.16 * day + 0.10 * noise["damp"]))
        self.wet_c = min(self.dry_c, stull_wet_bulb(self.dry_c, self.humidity))
        height = (0.55 + 0.12 * season) * math.cos(2 * math.pi * (hour - 12.4) / 24) + 0.12 * season
        self.sun = max(0.0, height) * min(1.0, max(0.15, 0.75 + 0.25 * noise["cloud"]))
        evening = math.exp(-(((hour - 19.5) / 2.2) ** 2))
        raw = 455.0 - 260.0 * self.sun + 70.0 * evening - 62.0 * noise["wind"] + 12.0 * noise["cloud"]
        self.carbon = min(900.0, max(60.0, raw))
        self.price = 62.0 + 0.16 * (self.carbon - 430.0) + 38.0 * evening + 9.0 * noise["market"]
        self.mains_hz = 50.0 + 0.018 * noise["mains"]
