"""Multiple seasonal-trend decomposition (MSTL) with the seasons of a day and a week, and a remainder that fades.

Bandara, Hyndman & Bergmeir, arXiv 2107.13462; the decomposition is that of statsmodels. Its smoothers are evaluated at every
few steps and interpolated between (``*_jump``): fifteen times faster and no worse on the recorded series.
"""

import numpy as np

from analytics.models import CannotFit, Model
from analytics.models.autoregression import continue_remainder
from analytics.models.coarse import coarsely, hours_least
from twin.frame import Floats

WEEKS = 8  # of history that it looks at
LEVEL_DAYS = 14  # over which the level to which it returns is taken


def _fit_predict(history: Floats, horizon: int, day: int) -> Floats:
    from statsmodels.tsa.seasonal import MSTL  # 1-2 s to import: only who forecasts pays

    week = 7 * day
    recent = history[-WEEKS * week :]
    jump = {"seasonal_jump": max(1, day // 12), "trend_jump": day, "low_pass_jump": day}
    try:
        parts = MSTL(recent, periods=(day, week), iterate=1, stl_kwargs=jump).fit()
    except (ValueError, np.linalg.LinAlgError) as error:
        raise CannotFit(str(error)) from error
    seasonal: Floats = np.asarray(parts.seasonal, dtype=np.float64)
    rest = recent - seasonal.sum(axis=1)
    level = float(rest[-LEVEL_DAYS * day :].mean())
    ahead = np.arange(horizon)
    n = len(recent)
    seasons = seasonal[n - day + ahead % day, 0] + seasonal[n - week + ahead % week, 1]
    out: Floats = seasons + level + continue_remainder(rest - level, horizon, (1, 2, 3))
    return out


MODELS = (Model("mstl", hours_least(lambda horizon, day: 15 * day if day >= 4 else 2**31), coarsely(_fit_predict)),)
