"""One series by itself: is this something it has not done lately?

Computers' loads have no plain distribution: spikes by the hour, shelves, silence, sudden new levels that stay. What holds for
all of them is that a thing is odd when it lies outside of what the last week showed, by more than the breadth of the ordinary.
So a few causal views of the series (the value, its mean over two hours, its median over one, its peak over six) are each held
against a quantile of their own last week, in units of the distance from their median to that quantile. What was once seen
widens the range: a new level is said once and then is the level. A weaker echo within a day of a stronger exceedance is damped.

Where the hour of the day explains the series, what is left after it is watched instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd

from twin.frame import Floats
from twin.message import Message
from twin.site import Bools

HOUR_S, DAY_S, WEEK_S = 3600.0, 86400.0, 7 * 86400.0
MAX_WINDOW_ROWS = 2016  # a week of 5 min: what is remembered of a series, whatever its step
LEAST_ROWS = 60
SEASONAL = 0.6  # share of variance that the time of day must explain
ECHO, ECHO_DAMP = DAY_S, 0.25


@dataclass(frozen=True, slots=True)
class View:
    """A causal view: ``how`` over ``span_s`` (0: the value itself), held against a ``quantile`` of its past, with a limit."""

    how: str
    span_s: float
    quantile: float
    limit: float


VIEWS: Mapping[str, View] = MappingProxyType(
    {
        "value": View("mean", 0.0, 1.0, 0.3),
        "level": View("mean", 2 * HOUR_S, 0.995, 0.4),
        "middle": View("median", HOUR_S, 0.999, 0.6),
        "peak": View("max", 6 * HOUR_S, 0.995, 0.6),
    }
)


def score(time_s: Floats, values: Floats, calibrated: int) -> tuple[Floats, Bools] | Message:
    """(score, alarm) of each row from what came before only; 1 is the alarm limit. The first ``calibrated`` rows get no alarm.
    ``time_s``: s since 1970, not decreasing; NaN in ``values``: nothing read, and score 0 there. Or why it cannot be scored."""
    known = np.isfinite(values)
    if np.count_nonzero(known) < LEAST_ROWS:
        return Message("{rows} values; it takes {least}", {"rows": int(np.count_nonzero(known)), "least": LEAST_ROWS})
    step_s = max(float(np.median(np.diff(time_s))), 1e-3)
    filled: Floats = np.asarray(pd.Series(values).ffill().bfill(), dtype=np.float64)
    left = _without_day(filled, step_s, calibrated)
    raw = _novelty(filled if left is None else left, step_s, calibrated)
    raw[~known] = 0.0
    echo = max(2, round(min(ECHO / step_s, MAX_WINDOW_ROWS)))
    hour = _rows(HOUR_S, step_s)
    before = pd.Series(raw).shift(hour).rolling(echo, min_periods=1).max().fillna(0.0).to_numpy()
    said = np.where(raw > before, raw, ECHO_DAMP * raw)
    alarm = said > 1
    alarm[:calibrated] = False
    return said, alarm


def _rows(span_s: float, step_s: float) -> int:
    """Rows in a span; a fast series is looked at over as many rows as one of 5 min, a slow one over two at least."""
    if span_s == 0:
        return 1
    return int(np.clip(round(span_s / step_s), 2, round(span_s / 300.0)))


def _novelty(values: Floats, step_s: float, calibrated: int) -> Floats:
    """float64[n]: the most any view is beyond its range, over its limit."""
    window = int(min(max(WEEK_S / step_s, 288), MAX_WINDOW_ROWS))
    least = max(20, min(150, calibrated // 2, len(values) // 8))
    out = np.zeros(len(values))
    for view in VIEWS.values():
        rows = _rows(view.span_s, step_s)
        seen = getattr(pd.Series(values).rolling(rows, min_periods=1), view.how)()
        past = seen.shift(rows).rolling(window, min_periods=least)
        high, low = (past.quantile(q).to_numpy() for q in (view.quantile, 1 - view.quantile))
        middle, now = past.median().to_numpy(), seen.to_numpy()
        least_width = np.maximum(0.1 * (high - low), 1e-4 * np.abs(middle) + 1e-10)
        above = (now - high) / np.maximum(high - middle, least_width)
        below = (low - now) / np.maximum(middle - low, least_width)
        out = np.maximum(out, np.nan_to_num(np.maximum(above, below)) / view.limit)
    return out


def _without_day(values: Floats, step_s: float, calibrated: int) -> Floats | None:
    """The series less the median of the same time on up to seven days before, where that explains the calibration."""
    day = round(DAY_S / step_s)
    if day < 8 or calibrated < 3 * day:
        return None
    lags = np.column_stack(
        [np.concatenate([np.full(k * day, np.nan), values[: -k * day]]) for k in range(1, 8) if k * day < len(values)]
    )
    usual = pd.DataFrame(lags).median(axis=1).to_numpy()
    learnt = slice(day, calibrated)
    left = values[learnt] - usual[learnt]
    if left.var() > (1 - SEASONAL) * values[learnt].var() or values[learnt].var() == 0:
        return None
    return np.where(np.isfinite(usual), values - usual, 0.0)
