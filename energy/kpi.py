"""What a ratio may be called, and slow signals as they stood at given times; the account itself is ``energy.account``.

PUE is reported and never optimised alone: see ``energy.levers.supply_temperature``. Edition: ISO/IEC 30134-2:2016 was
withdrawn in 2026; the definition used here, facility energy over IT energy of the same period, stands in both.
"""

from datetime import datetime, timedelta
from enum import IntEnum

import numpy as np

from twin.frame import Floats
from twin.metrics import metric
from twin.ports import How, Series, Store

_YEAR = timedelta(days=365)
WHOLE_FRAC = 0.99  # of a year that was read: what is missing is how meters are serviced, and not another period
ROUNDED_S = 1e-3  # more than two times of the same step differ by


class Category(IntEnum):
    """Where IT energy is metered (ISO/IEC 30134-2): the later in the chain, the more honest the ratio."""

    UPS_OUTPUT = 1
    PDU_OUTPUT = 2
    IT_INPUT = 3


def pue_name(category: Category, period: timedelta, read: timedelta) -> str:
    """How ISO/IEC 30134-2 lets a ratio be called that was measured for ``read`` of ``period``: PUE with its category over a
    year, interim PUE with the whole hours that were read below; "" where nothing was read, for nothing has that name."""
    if read <= timedelta(0):
        return ""
    if period >= _YEAR and read >= WHOLE_FRAC * period:
        return f"PUE{category.value}"
    hours = read.total_seconds() / 3600
    return f"iPUE{category.value} ({hours:.0f} h)" if hours >= 1 else f"iPUE{category.value} (momentary)"


def held(
    store: Store, kind: str, name: str, time_s: Floats, step_s: float, start: datetime, end: datetime, row: int | None = None
) -> Floats:
    """float64[t]: a slow signal of the asset of ``kind`` in ``row`` (None: of the first that there is) in the steps of
    ``step_s`` that begin at ``time_s``: the mean of what it told inside a step and inside ``[start, end)``; where that is
    nothing, its last value from before (also from before ``start``), NaN where the step in which that was told began longer
    before than the metric's maximum age. Read by steps, so rollups answer where values as stored are gone."""
    max_age_s = metric(kind, name).max_age_s
    rows = None if row is None else np.array([row], dtype=np.int32)
    told = _newest(store.series(kind, (name,), start, end, step_s, rows=rows), name, time_s, step_s, 0.0)
    if not np.isnan(told).any():
        return told
    since = start - timedelta(seconds=max_age_s + step_s)
    last = store.series(kind, (name,), since, end, step_s, How.LAST, rows=rows)
    return np.where(np.isnan(told), _newest(last, name, time_s, step_s, max_age_s), told)


def _newest(series: Series, name: str, time_s: Floats, step_s: float, max_age_s: float) -> Floats:
    """float64[t]: the value of the newest step that has one, up to each time; NaN where that began over ``max_age_s`` before.
    The store rounds steps to microseconds."""
    column = series.values[name]
    if not column.size:
        return np.full(len(time_s), np.nan)
    known = np.isfinite(column[:, 0])
    begin_s, values = np.append(-np.inf, series.time_s[known]), np.append(np.nan, column[known, 0])
    at = np.searchsorted(begin_s, time_s + step_s / 2) - 1
    return np.where(time_s - begin_s[at] <= max_age_s + ROUNDED_S, values[at], np.nan)
