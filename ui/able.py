"""Which GPUs were able to work and which nodes could be given out, hour by hour: one measure for the API and the report."""

from datetime import datetime

import numpy as np

from analytics.kpis import able_frac
from twin.frame import Floats
from twin.ports import Store
from twin.site import Bools, Site

HOUR_S = 3600.0


def by_hour(site: Site, store: Store, kind: str, name: str, start: datetime, hours: int) -> Floats:
    """float64[hours, n]: mean of a metric of all of a kind in each hour from ``start``; NaN where nothing was read."""
    out = np.full((hours, site.count(kind)), np.nan)
    if not out.size:
        return out
    end = datetime.fromtimestamp(start.timestamp() + hours * HOUR_S, start.tzinfo)
    series = store.series(kind, (name,), start, end, HOUR_S)
    found = series.values.get(name)
    if found is not None and found.size:
        place = np.floor((series.time_s - start.timestamp()) / HOUR_S).astype(np.int64)
        fits = (place >= 0) & (place < hours)
        out[np.ix_(place[fits], series.rows)] = found[fits]
    return out


def able_by_hour(site: Site, store: Store, heard: Bools, usable: Floats, start: datetime) -> Floats:
    """float64[hours, gpus]: share of each hour from ``start`` in which a GPU could work, NaN where it was not ``heard`` of
    (bool[hours, gpus]). ``usable``: float64[hours, nodes], by ``by_hour``; see ``analytics.kpis.able_frac``."""
    node = site.within("gpu", "node")
    of_gpu = np.where(node >= 0, usable[:, node], np.nan) if usable.shape[1] else np.full(heard.shape, np.nan)
    return able_frac(heard, by_hour(site, store, "gpu", "unhealthy_flag", start, len(heard)), of_gpu)
