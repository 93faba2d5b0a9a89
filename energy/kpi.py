"""What a ratio may be called, and slow signals as they stood at given times; the account itself is ``energy.account``.

PUE is reported and never optimised alone: see ``energy.levers.supply_temperature``. Edition: ISO/IEC 30134-2:2016 was
withdrawn in 2026; the definition used here, facility energy over IT energy of the same period, stands in both.
"""

from datetime import datetime, timedelta
from enum import IntEnum

import numpy as np

from twin.frame import Floats
from twin.metrics import metric
from twin.ports import Store

_YEAR = timedelta(days=365)


class Category(IntEnum):
    """Where IT energy is metered (ISO/IEC 30134-2): the later in the chain, the more honest the ratio."""

    UPS_OUTPUT = 1
    PDU_OUTPUT = 2
    IT_INPUT = 3


def pue_name(category: Category, period: timedelta) -> str:
    """How ISO/IEC 30134-2 lets a ratio over ``period`` be called: PUE with its category over a year, interim PUE below."""
    if period >= _YEAR:
        return f"PUE{category.value}"
    hours = period.total_seconds() / 3600
    return f"iPUE{category.value} ({hours:g} h)" if hours >= 1 else f"iPUE{category.value} (momentary)"


def held(store: Store, kind: str, name: str, time_s: Floats, start: datetime, end: datetime, row: int | None = None) -> Floats:
    """float64[t]: a slow signal of the asset of ``kind`` in ``row`` (None: of the first that there is) at ``time_s``: its
    newest sample then, NaN where that is older than the metric's maximum age. Samples from before ``start`` count."""
    max_age_s = metric(kind, name).max_age_s
    rows = None if row is None else np.array([row], dtype=np.int32)
    series = store.series(kind, (name,), start - timedelta(seconds=max_age_s), end, rows=rows)
    column = series.values[name]
    if not column.size:
        return np.full(len(time_s), np.nan)
    known = ~np.isnan(column[:, 0])
    sample_s, samples = series.time_s[known], column[known, 0]
    at = np.searchsorted(sample_s, time_s, side="right") - 1
    fresh = (at >= 0) & (time_s - sample_s[at] <= max_age_s) if len(samples) else np.zeros(len(time_s), dtype=np.bool_)
    return np.where(fresh, samples[at] if len(samples) else np.nan, np.nan)
