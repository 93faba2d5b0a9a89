"""Several columns together: have they moved away from what they were while all was well?

A multivariate EWMA chart (Lowry et al. 1992) with what makes such charts fail in plants taken care of:

* columns wander (water warms, ambient air changes) and a short calibration sees only a part of it. So a column's scale is not
  its spread but how far it goes from itself in ``HORIZON`` rows: its structure function over the calibration, carried on with
  its own exponent. What wanders much within the calibration is trusted less still (``WANDER``), and not combined with others;
* columns move together. The steady ones are judged also along the principal axes of their smoothed covariance (shrunk, Ledoit &
  Wolf 2004): flow against current shows there before either shows alone. Those that wander together (flow with a pump's speed)
  are judged along the directions in which they hardly do: what ties them shows a fault that is small beside their wandering. It
  is believed as far as it was seen: the farther they go beyond the calibration's range, the less it counts (``BEYOND``);
* a fault may change how restless a column is and not where it stands (cavitation, a stuck sensor): so the log of its
  restlessness is watched too.

The alarm limit is ``MARGIN`` times the highest score of the calibration itself, held for ``HOLD`` rows.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import lfilter
from sklearn.covariance import LedoitWolf

from analytics.detect.judge import held
from twin.frame import Floats, Ints
from twin.message import Message
from twin.site import Bools

SPAN, REST_SPAN = 15, 30  # rows of the EWMA of values, and of their restlessness
HORIZON = 600  # rows ahead for which a column's wandering is allowed
WANDER, STEADY = 3.0, 0.6  # weight of wandering; share of slow variance up to which a column may be combined with others
TIED, BEYOND = 0.1, 3.0  # share of slow variance up to which a direction ties columns; how fast it counts less, per range
BLOCK = 40  # rows whose mean tells slow from fast
MARGIN, HOLD, CALM, CLEAR = 1.5, 5, 30, 0.5
ADAPT, STRIDE = 1 / 2000, 0.5  # how fast, and at most how far at once, the reference follows
LEAST_ROWS = 4 * BLOCK
_LEAST_SCALE = 0.15  # of a spread: what is smoother than white noise would be is not believed to stay so
_LEAST_TIE = 0.02  # of a spread: two columns of the same reading are not held to its rounding
_LEAST_RAW = 0.5  # columns that stood still while it learnt do not ask for a limit of 0
_MOST_EXPONENT = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """``score``: float64[n], 1 is the alarm limit; ``alarm``: bool[n]; ``column``: int32[n], the one that deviates most."""

    score: Floats
    alarm: Bools
    column: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Shift:
    """What was learnt. ``mean``, ``spread``, ``step`` (from row to row, in spreads): float64[m]; ``steady``: bool[m]; ``axes``:
    float64[s, s] of the steady columns; ``ties``: float64[w, t] of the wandering ones; ``seen``: float64[2, w], from where to
    where those went; ``scale``, ``centre``: float64[k] of what is watched: columns, axes, ties, restlessness; ``limit``: a raw
    score."""

    mean: Floats
    spread: Floats
    step: Floats
    steady: Bools
    axes: Floats
    ties: Floats
    seen: Floats
    scale: Floats
    centre: Floats
    limit: float


def fit(values: Floats) -> Shift | Message:
    """Learn from ``values``, float64[n, m], of a time when all was well (NaN: nothing read); or why that cannot be."""
    n = len(values)
    if n < LEAST_ROWS:
        return Message("{rows} rows to learn from; it takes {least}", {"rows": n, "least": LEAST_ROWS})
    known = np.isfinite(values)
    if not known.any(axis=0).all():
        return Message("A column has no value in the rows to learn from; leave it out")
    mean = np.nanmean(np.where(known, values, np.nan), axis=0)
    spread = np.nanstd(np.where(known, values, np.nan), axis=0)
    spread = np.maximum(spread, np.maximum(5e-3 * np.abs(mean), 1e-9))
    z = _filled((values - mean) / spread)
    steps = np.abs(np.diff(z, axis=0, prepend=z[:1]))
    slow = _slow(z)
    steady = slow < STEADY
    smooth = _ewma(z, SPAN)
    warm = 2 * SPAN
    axes = np.empty((np.count_nonzero(steady), 0))
    if np.count_nonzero(steady) >= 2:
        axes = np.linalg.eigh(LedoitWolf().fit(smooth[warm:, steady]).covariance_)[1]
    moving = smooth[warm:, ~steady]
    seen = np.stack([moving.min(axis=0), moving.max(axis=0)])
    learnt = Shift(mean, spread, steps.mean(axis=0), steady, axes, _ties(z[:, ~steady]), seen, np.empty(0), np.empty(0), 1.0)
    watched = _watched(learnt, z, known)
    fast = np.concatenate([z, z[:, steady] @ axes, z[:, ~steady] @ learnt.ties, watched[:, -z.shape[1] :]], axis=1)
    scale = np.sqrt(_reach(watched[warm:])) * (1 + WANDER * _slow(fast[warm:]))
    centre = (watched[warm:] / scale).mean(axis=0)
    raw = np.sqrt((((watched / scale) - centre) ** 2).sum(axis=1))
    limit = MARGIN * max(float(raw[warm:].max()), _LEAST_RAW)
    return replace(learnt, scale=scale, centre=centre, limit=limit)


def score(learnt: Shift, values: Floats, calibrated: int = 0) -> Scored:
    """Score ``values``, float64[n, m], row by row from what came before only. The first ``calibrated`` rows are those it learnt
    from: they get a score and no alarm, and move no reference. A column that is silent counts as standing where it stood."""
    z = _filled((values - learnt.mean) / learnt.spread)
    watched = _watched(learnt, z, np.isfinite(values)) / learnt.scale
    columns = z.shape[1]
    raw, worst = np.empty(len(z)), np.empty(len(z), dtype=np.int32)
    centre = learnt.centre.copy()
    for i, row in enumerate(watched):
        away = row - centre
        raw[i] = np.sqrt(away @ away)
        worst[i] = int(np.maximum(np.abs(away[:columns]), np.abs(away[-columns:])).argmax())
        if i >= calibrated:
            centre += ADAPT * np.clip(away, -STRIDE, STRIDE)
    said = raw / learnt.limit
    above = said > 1
    above[:calibrated] = False
    return Scored(said, held(above, said < CLEAR, HOLD, CALM), worst)


def _watched(learnt: Shift, z: Floats, known: Bools) -> Floats:
    """float64[n, k]: columns, axes of the steady ones, ties of the others, restlessness: the log of the mean step from row to
    row, where the constant is about the rounding of a reading."""
    smooth = _ewma(z, SPAN)
    steps = np.where(known, np.abs(np.diff(z, axis=0, prepend=z[:1])), learnt.step)
    rest = np.log(_ewma(steps, REST_SPAN) + 0.05)
    return np.concatenate([smooth, smooth[:, learnt.steady] @ learnt.axes, _tied(learnt, z, smooth, known), rest], axis=1)


def _tied(learnt: Shift, z: Floats, smooth: Floats, known: Bools) -> Floats:
    """float64[n, t]: the wandering columns along their ties. One that is silent has left none of them."""
    moving, (low, high) = ~learnt.steady, learnt.seen
    if not learnt.ties.size:
        return np.empty((len(z), 0))
    all_known = known[:, moving].all(axis=1, keepdims=True)
    beyond = np.maximum(low - smooth[:, moving], smooth[:, moving] - high) / np.maximum(high - low, 1e-9)
    trust = 1 + (BEYOND * np.maximum(beyond.max(axis=1, keepdims=True), 0.0)) ** 2
    return np.asarray(_ewma(np.where(all_known, z[:, moving] @ learnt.ties, 0.0), SPAN) / trust)


def _ties(z: Floats) -> Floats:
    """float64[w, t]: directions of the wandering columns ``z`` along which together they do not wander, scaled to spread 1."""
    if z.shape[1] < 2:
        return np.empty((z.shape[1], 0))
    axes = np.linalg.eigh(np.cov(z, rowvar=False))[1]
    along = z @ axes
    tied = _slow(along) < TIED
    return np.asarray(axes[:, tied] / np.maximum(along[:, tied].std(axis=0), _LEAST_TIE))


def _ewma(x: Floats, span: int) -> Floats:
    """Exponentially weighted mean down the rows, beginning at 0."""
    weight = 2 / (span + 1)
    return np.asarray(lfilter([weight], [1, weight - 1], x, axis=0))


def _filled(z: Floats) -> Floats:
    """Where nothing was read, the last reading; 0 before the first."""
    known = np.isfinite(z)
    if known.all():
        return z
    last = np.maximum.accumulate(np.where(known, np.arange(len(z))[:, None], -1), axis=0)
    return np.where(last >= 0, np.take_along_axis(z, np.maximum(last, 0), axis=0), 0.0)


def _slow(z: Floats) -> Floats:
    """float64[m]: share of a column's variance that is in the means of blocks, 0-1."""
    blocks = len(z) // BLOCK
    means = z[: blocks * BLOCK].reshape(blocks, BLOCK, -1).mean(axis=1)
    return np.asarray(np.minimum(means.var(axis=0, ddof=1) / np.maximum(z.var(axis=0), 1e-12), 1.0))


def _reach(x: Floats) -> Floats:
    """float64[k]: mean square of how far a column is from itself ``HORIZON`` rows later, from its structure function."""
    n = len(x)
    lags = np.unique(np.geomspace(SPAN, n // 2, 12).astype(int))
    square = np.array([((x[lag:] - x[:-lag]) ** 2).mean(axis=0) for lag in lags])
    square = np.maximum(square, _LEAST_SCALE**2)
    logs = np.log(lags) - np.log(lags).mean()
    exponent = np.clip(logs @ np.log(square) / (logs @ logs), 0.0, _MOST_EXPONENT)
    return np.asarray(square.max(axis=0) * (HORIZON / lags[-1]) ** exponent)
