"""A forecast where nothing better can be had: what was, with an interval from how such series move.

The median is the same hour of the day before where there is one, else the last value; the interval grows with the square root
of the lead as that of a random walk does (Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., 5.5).
"""

import numpy as np

from analytics.grid import Grid, causally_filled
from analytics.replay import Band

Z_80 = 1.2816  # standard deviations from the middle to the edge of 80 % (normal distribution)
LEAST_DIFFERENCES = 5  # below so many, the spread is not believed to be under the size of the values


def simple(grid: Grid, steps: int) -> Band:
    """(p10, p50, p90), float64[steps] each, of the next steps after ``grid``."""
    day = grid.day
    seen = grid.values
    filled = causally_filled(seen, day)
    season = day if len(filled) >= 2 * day and day > 1 else 1
    ahead = np.arange(steps)
    median = filled[len(filled) - season + ahead % season]
    change = seen[season:] - seen[:-season]
    change = change[np.isfinite(change)]
    spread = float(np.sqrt((change**2).mean())) if len(change) else 0.0
    if len(change) < LEAST_DIFFERENCES:
        known = seen[np.isfinite(seen)]
        spread = max(spread, float(np.abs(known).max()) if len(known) == 1 else float(known.std()) * 2)
    width = Z_80 * spread * np.sqrt(ahead // season + 1.0)
    return median - width, median, median + width
