"""Forecasts of many like series at once (the power of every rack, the load of every link): in columns, a millisecond a series.

The procedure of ``analytics.forecast`` in small: a few models that are sums and means are run from past moments, averaged with
weights from their errors there (each series and range of leads for itself), and the interval comes from the errors of that
average. Series whose average did not beat the daily naive get the naive. Where there is a day or two of history only, nothing
is foreseen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from analytics.conformal import lead_buckets
from analytics.forecast import BANDS, Forecast
from analytics.score import QUANTILES, Score, naive_scale, past_origins, pinball
from twin.frame import Floats, Frame, Ints, Origin
from twin.message import Message
from twin.site import Bools

MODEL = "columns"
MAX_SERIES = 4096  # of one call; at a block of ``BLOCK`` a call takes 60 MB
BLOCK = 512
HISTORY_DAYS, LEAST_DAYS = 35, 3
ORIGINS, LEAST_ORIGINS = 28, 6  # past moments; fewer than the least give no forecast
MAX_MISSING_FRAC = 0.4
HELD_STEPS = 2  # a gap's first steps repeat the last value, the rest the day before
POWER = 3  # weights are errors to the minus this
FADE_A_DAY = 0.1  # of how far the last value lies off its usual hour, what is left of it a day later
_TAIL = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Foreseen:
    """Quantiles of ``metric`` of many assets (or of whatever ``names`` says, with ``rows`` -1): float64[h, s] each, for steps
    that start at ``time_s``. ``past``: float64[n, s], the newest days, up to the first step; ``mase``, ``naive_mase``,
    ``pinball_vs_naive_frac``, ``coverage_80_frac``: float64[s], from ``origins`` past moments; ``spread``: float64[s], rms of
    the mean error of a past forecast."""

    kind: str
    metric: str
    names: Sequence[str]
    rows: Ints
    issued: datetime
    step_s: float
    time_s: Floats
    p10: Floats
    p50: Floats
    p90: Floats
    past: Floats
    mase: Floats
    naive_mase: Floats
    pinball_vs_naive_frac: Floats
    coverage_80_frac: Floats
    spread: Floats
    origins: int
    notes: Sequence[Message] = ()

    def one(self, i: int) -> Forecast:
        """The forecast of series ``i`` by itself, as faces show it."""
        score = Score(
            MODEL,
            float(self.mase[i]),
            float(self.naive_mase[i]),
            float(self.pinball_vs_naive_frac[i]),
            float(self.coverage_80_frac[i]),
            self.origins,
        )
        bands = (self.p10[:, i], self.p50[:, i], self.p90[:, i])
        row = int(self.rows[i])
        return Forecast(self.kind, row, self.metric, self.issued, self.time_s, *bands, score, self.notes, None, self.step_s)

    def frames(self) -> Iterator[Frame]:
        """One frame a step and band, origin ``forecast``, of all that are assets."""
        mine = self.rows >= 0
        rows = self.rows[mine]
        for i, time_s in enumerate(self.time_s.tolist()):
            time = datetime.fromtimestamp(time_s, UTC)
            for band, table in zip(BANDS, (self.p10, self.p50, self.p90), strict=True):
                if len(rows):
                    yield Frame(
                        self.kind, time, rows, {self.metric: table[i, mine]}, Origin.FORECAST, MODEL, band, issued=self.issued
                    )


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """What was worked out of s series: see ``Foreseen``."""

    p10: Floats
    p50: Floats
    p90: Floats
    mase: Floats
    naive_mase: Floats
    pinball_vs_naive_frac: Floats
    coverage_80_frac: Floats
    spread: Floats
    origins: int


def foreseeable(values: Floats, day: int) -> Bools:
    """bool[s]: which series (columns of float64[n, s], NaN in gaps) have history enough, not too many gaps in it, and a value
    in their last day: of what has been silent for longer nothing is foreseen, as of a single series."""
    recent = values[-HISTORY_DAYS * day :]
    known = np.isfinite(recent)
    first = np.where(known.any(axis=0), known.argmax(axis=0), len(recent))
    span = len(recent) - first
    missing = 1 - known.sum(axis=0) / np.maximum(span, 1)
    return np.asarray((span >= LEAST_DAYS * day) & (missing <= MAX_MISSING_FRAC) & known[-day:].any(axis=0))


def foresee(values: Floats, horizon: int, day: int, low: float = -np.inf, high: float = np.inf) -> Bands | Message:
    """The next ``horizon`` steps (at most a day or a week of ``day`` steps) of all columns of ``values`` (float64[n, s], NaN in
    gaps, each ``foreseeable``), within ``[low, high]``; a sentence where there is too little history for all of them."""
    n, s = values.shape
    if s > MAX_SERIES:
        raise ValueError(f"{s} series at once; the most is {MAX_SERIES}")
    recent = values[-HISTORY_DAYS * day :]
    first = max(2 * day, min(7 * day, len(recent) - 2 * horizon - day))
    origins = past_origins(len(recent) - 1, first, day, ORIGINS)
    whole = np.count_nonzero(origins + horizon <= len(recent))
    if day < 2 or s == 0 or whole < LEAST_ORIGINS:
        text = "{count} steps of history are too few to foresee {horizon} of many series"
        return Message(text, {"count": n, "horizon": horizon})
    at = np.append(origins[origins + horizon <= len(recent)], len(recent)).astype(np.int32)
    made = [_block(recent[:, i : i + BLOCK], at, horizon, day) for i in range(0, s, BLOCK)]
    p10, p50, p90 = (np.clip(np.concatenate([one[k] for one in made], axis=1), low, high) for k in range(3))
    mase, naive_mase, pinball_frac, inside, spread = (np.concatenate([one[k] for one in made]) for k in range(3, 8))
    return Bands(p10, p50, p90, mase, naive_mase, pinball_frac, inside, spread, len(at) - 1)


def _block(values: Floats, origins: Ints, horizon: int, day: int) -> tuple[Floats, ...]:
    filled = _filled(values, day)
    k, s = len(origins), values.shape[1]
    truth = np.full((k, horizon, s), np.nan)
    for i, origin in enumerate(origins.tolist()):
        coming = values[origin : origin + horizon]
        truth[i, : len(coming)] = coming
    said = np.stack([_said(filled[:origin], horizon, day) for origin in origins.tolist()], axis=1)  # [m, k, h, s]
    naive = said[1]
    error = np.abs(said - truth)
    blend = np.empty_like(truth)
    buckets = lead_buckets(horizon, 86400.0 / day)
    for bucket in buckets:
        for i in range(k):
            known = np.flatnonzero(origins + bucket.stop <= origins[i])
            weight = _weights(error[:, known, bucket])
            blend[i, bucket] = (weight[:, None] * said[:, i, bucket]).sum(axis=0)
    judged = slice(k // 3, k - 1)  # the first have nothing to weigh by
    mine = np.nanmean(np.abs(blend - truth)[judged], axis=(0, 1))
    base = np.nanmean(error[1][judged], axis=(0, 1))
    off = mine >= base  # no better than the daily naive: the naive speaks
    blend = np.where(off, naive, blend)
    low, high = _edges(blend, truth, origins, buckets)
    scale = np.array([naive_scale(column, day) for column in values.T])
    naive_low, naive_high = _edges(naive, truth, origins, buckets)
    loss, naive_loss = (
        sum(np.nanmean(pinball(truth[judged], b[judged], q), axis=(0, 1)) for b, q in zip(bands, QUANTILES, strict=True))
        for bands in ((low, blend, high), (naive_low, naive, naive_high))
    )
    inside = np.where(np.isfinite(truth), (truth >= low) & (truth <= high), np.nan)[judged]
    path = np.nanmean((blend - truth)[judged], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(naive_loss > 0, loss / naive_loss, np.nan)
    return (
        low[-1],
        blend[-1],
        high[-1],
        np.minimum(mine, base) / scale,
        base / scale,
        ratio,
        np.nanmean(inside, axis=(0, 1)),
        np.sqrt(np.nanmean(path**2, axis=0)),
    )


def _filled(values: Floats, day: int) -> Floats:
    """float64[n, s] without NaN, each gap from its own past: as ``analytics.grid.causally_filled``, all columns at once; what
    comes before a series begins is its first value."""
    known = np.isfinite(values)
    first = known.argmax(axis=0)
    filled = values.copy()
    start = values[first, np.arange(values.shape[1])]
    run = np.zeros(values.shape[1], dtype=np.int64)
    for i in range(len(values)):
        gap = ~known[i]
        run = np.where(gap, run + 1, 0)
        if gap.any():
            before = filled[i - 1] if i else start
            yesterday = filled[i - day] if i >= day else before
            filled[i] = np.where(gap, np.where(run <= HELD_STEPS, before, yesterday), filled[i])
            filled[i] = np.where(i < first, start, filled[i])
    return filled


def _said(past: Floats, horizon: int, day: int) -> Floats:
    """float64[m, h, s]: what persistence, yesterday, the mean day, the mean week (the mean day where there is no week), and the
    mean day moved by how far today lies off it say. The second is the daily naive."""
    n = len(past)
    ahead = np.arange(horizon)
    yesterday = past[n - day + ahead % day]
    days = min(7, n // day)
    usual = past[n - days * day :].reshape(days, day, -1).mean(axis=0)
    mean_day = usual[ahead % day]
    weeks = min(4, n // (7 * day))
    mean_week = mean_day
    if weeks:
        mean_week = past[n - weeks * 7 * day :].reshape(weeks, 7 * day, -1).mean(axis=0)[ahead % (7 * day)]
    fade = (FADE_A_DAY ** ((ahead + 1) / day))[:, None]
    moved = mean_day + (past[-1] - usual[-1]) * fade
    return np.stack([np.broadcast_to(past[-1], yesterday.shape), yesterday, mean_day, mean_week, moved])


def _weights(error: Floats) -> Floats:
    """float64[m, s] that sum to 1 over the models, from errors float64[m, k, b, s]; even where nothing is known yet."""
    m, s = error.shape[0], error.shape[3]
    known = np.isfinite(error)
    count = known.sum(axis=(1, 2))
    size = np.where(known, error, 0.0).sum(axis=(1, 2)) / np.maximum(count, 1)
    least = np.maximum(size.max(axis=0, initial=0.0) * 1e-3, 1e-300)
    weight = np.where(count > 0, (np.maximum(size, least) / least) ** -float(POWER), 1.0) if m else np.ones((m, s))
    return np.asarray(weight / weight.sum(axis=0))


def _edges(median: Floats, truth: Floats, origins: Ints, buckets: Sequence[slice]) -> tuple[Floats, Floats]:
    """(p10, p90), float64[k, h, s]: by split conformal prediction, from errors of forecasts whose truths were known by then,
    each series and range of leads for itself; with few paths edges lie further out."""
    low, high = median.copy(), median.copy()
    error = truth - median
    for bucket in buckets:
        for i, origin in enumerate(origins.tolist()):
            known = np.flatnonzero(origins + bucket.stop <= origin)
            if not len(known):
                continue
            pool = error[known, bucket].reshape(-1, error.shape[2])
            level = min((1 - _TAIL) * (1 + 0.5 / len(known)), 1.0)
            with np.errstate(invalid="ignore"):
                edges = _quantiles(pool, (1 - level, level))
            low[i, bucket] += np.minimum(edges[0], 0.0)
            high[i, bucket] += np.maximum(edges[1], 0.0)
    return low, high


def _quantiles(pool: Floats, levels: tuple[float, float]) -> Floats:
    """float64[2, s] over the rows of ``pool``, NaN left out; 0 where a column knows nothing. ``np.nanquantile`` goes column by
    column in Python where there is a NaN, which takes twenty times as long."""
    count = np.isfinite(pool).sum(axis=0)
    ordered = np.sort(pool, axis=0)  # NaN last
    last = np.maximum(count - 1, 0)
    columns = np.arange(pool.shape[1])
    out = []
    for level in levels:
        place = level * last
        below = place.astype(np.int64)
        lower, upper = ordered[below, columns], ordered[np.minimum(below + 1, last), columns]
        out.append(np.where(count > 0, lower + (place - below) * (upper - lower), 0.0))
    return np.array(out)
