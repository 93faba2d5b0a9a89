"""The curve of IT power: the last day as it was, the next as expected with its 80 % interval. ``static/draw.js`` draws it."""

from typing import Any

import numpy as np

from analytics.forecast import Forecast
from twin.frame import Floats
from ui.past import STEP_S, Past
from ui.view import View

AHEAD_S = 24 * 3600.0
GRAIN_S = 300.0  # a point each: 288 a day are more than a wall's panel has pixels for
MAX_GAP_S = 1800.0  # what lies farther apart is not joined by a line

Curve = dict[str, Any]


def power_curve(view: View, past: Past | None, forecasts: tuple[Forecast, ...]) -> Curve:
    """``site.it_power_w``: ``t`` (s since 1970) and ``y`` (W, null: a gap) until the last whole step, ``ft``, ``p10``, ``p50``,
    ``p90`` from now on. The reading of now is not in it: it changes each second, and this once a minute."""
    now_s = view.time.timestamp()
    time_s, power_w = coarse(past.time_s, past.it_power_w) if past else (np.empty(0), np.empty(0))
    mine = [one for one in forecasts if (one.kind, one.metric) == ("site", "it_power_w")]
    ahead = max(mine, key=lambda forecast: forecast.issued, default=None)
    return curve(*with_gaps(time_s, power_w)) | (band(ahead, now_s, now_s + AHEAD_S) if ahead else {})


def coarse(time_s: Floats, values: Floats, grain_s: float = GRAIN_S) -> tuple[Floats, Floats]:
    """Means over steps of ``grain_s`` of what is known; a step in which nothing is has no point."""
    known = np.isfinite(values)
    time_s, values = time_s[known], values[known]
    if not len(time_s):
        return time_s, values
    step, first = np.unique(np.floor(time_s / grain_s), return_index=True)
    counts = np.diff(np.append(first, len(time_s)))
    return (step + 0.5) * grain_s, np.add.reduceat(values, first) / counts


def with_gaps(time_s: Floats, values: Floats, most_s: float = MAX_GAP_S) -> tuple[Floats, Floats]:
    """A NaN wherever two neighbours lie more than ``most_s`` apart."""
    breaks = np.flatnonzero(np.diff(time_s) > most_s) + 1
    return np.insert(time_s, breaks, time_s[breaks - 1] + STEP_S), np.insert(values, breaks, np.nan)


def curve(time_s: Floats, values: Floats) -> Curve:
    """``t`` and ``y`` as JSON takes them."""
    return {"t": np.round(time_s).astype(np.int64).tolist(), "y": rounded(values)}


def band(ahead: Forecast, start_s: float, end_s: float) -> Curve:
    """``ft``, ``p10``, ``p50``, ``p90`` of a forecast within a span."""
    take = (ahead.time_s >= start_s) & (ahead.time_s < end_s)
    edges = {name: rounded(getattr(ahead, name)[take]) for name in ("p10", "p50", "p90")}
    return {"ft": np.round(ahead.time_s[take]).astype(np.int64).tolist(), **edges}


def rounded(values: Floats) -> list[float | None]:
    """Four significant digits, null where NaN."""
    return [None if value != value else float(f"{value:.4g}") for value in values.tolist()]
