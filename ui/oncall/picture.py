"""The picture of what an alert is about, from the store."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np

from twin.metrics import METRICS, metric, suffix
from twin.ports import How, Store
from twin.site import Site
from ui.faces.notify.picture import picture
from ui.words import Words

PICTURE_SPAN = timedelta(hours=3)
PICTURE_STEPS = 180


def series_picture(
    store: Store, site: Site, title: str, labels: Mapping[str, str], now: datetime, about: Mapping[str, float], words: Words
) -> bytes | None:
    """PNG of the metric that ``labels`` name over the last hours; None where there is no such series. ``about``: ``limit``
    (NaN: none; left out where it is of another quantity than the series) and ``since_s``."""
    kind, name, asset = (labels.get(label, "") for label in ("kind", "metric", "asset"))
    if not name or name not in METRICS.get(kind, {}) or asset not in site.position:
        return None
    row = np.array([site.row(asset)], dtype=np.int32)
    step_s = PICTURE_SPAN.total_seconds() / PICTURE_STEPS
    found = store.series(kind, [name], now - PICTURE_SPAN, now, step_s, How.MEAN, row)
    limits = metric(kind, name)
    limit = about["limit"] if limits.low <= about["limit"] <= limits.high and not limits.counter else float("nan")
    return picture(title, found.time_s, found.values[name][:, 0], limit, about["since_s"], suffix(name), words, site.timezone)
