"""Which GPUs were able to work and which nodes could be given out, hour by hour: one measure for the API and the report."""

from datetime import UTC, datetime

import numpy as np

from analytics.kpis import able_frac
from twin.frame import Floats
from twin.ports import Store
from twin.site import Bools, Site

HOUR_S, QUARTER_S = 3600.0, 900.0
QUARTERS = 4
PORTION_VALUES = 4_000_000  # quarters of an hour that are read at once


def by_hour(site: Site, store: Store, kind: str, name: str, start: datetime, hours: int, end: datetime | None = None) -> Floats:
    """float64[hours, n]: mean of a metric of all of a kind in each hour from ``start`` (before ``end``, where it is given); NaN
    where nothing was read. A store's hours are those of UTC: others, as of a zone half an hour off, are made of quarters."""
    out = np.full((hours, site.count(kind)), np.nan)
    if not out.size:
        return out
    start_s = start.timestamp()
    end_s = min(start_s + hours * HOUR_S, end.timestamp() if end else np.inf)
    whole = start_s % HOUR_S == 0
    portion = hours if whole else max(1, PORTION_VALUES // (QUARTERS * out.shape[1]))
    for first in range(0, hours, portion):
        low_s, count = start_s + first * HOUR_S, min(portion, hours - first)
        low, high = (datetime.fromtimestamp(at_s, UTC) for at_s in (low_s, min(low_s + count * HOUR_S, end_s)))
        series = store.series(kind, (name,), low, high, HOUR_S if whole else QUARTER_S)
        found = series.values.get(name)
        if found is not None and found.size:
            mine = out[first : first + count]
            steps = mine if whole else np.full((count * QUARTERS, out.shape[1]), np.nan)
            place = np.floor((series.time_s - low_s) / (HOUR_S if whole else QUARTER_S)).astype(np.int64)
            fits = (place >= 0) & (place < len(steps))
            steps[np.ix_(place[fits], series.rows)] = found[fits]
            if not whole:
                mine[:] = _of_quarters(steps)
    return out


def _of_quarters(quarters: Floats) -> Floats:
    """float64[hours, n]: mean of those of each four rows that are known."""
    four = quarters.reshape(-1, QUARTERS, quarters.shape[1])
    known = np.isfinite(four).sum(axis=1)
    return np.where(known > 0, np.nansum(four, axis=1) / np.maximum(known, 1), np.nan)


def able_by_hour(site: Site, store: Store, heard: Bools, usable: Floats, start: datetime) -> Floats:
    """float64[hours, gpus]: share of each hour from ``start`` in which a GPU could work, NaN where it was not ``heard`` of
    (bool[hours, gpus]). ``usable``: float64[hours, nodes], by ``by_hour``; see ``analytics.kpis.able_frac``."""
    node = site.within("gpu", "node")
    of_gpu = np.where(node >= 0, usable[:, node], np.nan) if usable.shape[1] else np.full(heard.shape, np.nan)
    return able_frac(heard, by_hour(site, store, "gpu", "unhealthy_flag", start, len(heard)), of_gpu)
