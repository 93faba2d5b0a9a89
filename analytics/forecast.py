"""Forecasts of one regular series: what a forecast is, how it is made, and how far it may be believed.

No model wins on all series, so none is chosen once: all of them are run from past moments of the very series, and what they
say is averaged with weights from the errors they made there, for each range of leads apart. The interval comes from the errors
of that average (``analytics.conformal``). The score is that of the whole procedure: at each past moment judged, weights and
interval were made from what was known at that moment, so nothing was chosen on what it is judged by. Only one choice sees the
score: an average that did not beat the daily seasonal naive gives way to it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from analytics.conformal import MIN_PATHS, intervals, known_by, lead_buckets
from analytics.models import all_models
from analytics.models.seasonal_naive import NAIVE_DAY, PERSISTENCE
from analytics.score import Rolling, coverage, mase, mean_pinball, past_origins, roll
from twin.frame import Floats, Frame, Origin
from twin.message import Message

BANDS = ("p10", "", "p90")
BLEND = "blend"
HISTORY_DAYS = 84
MAX_HISTORY = 6048  # steps: 84 days at 20 min, 21 days at 5 min
MAX_HORIZON = 2016  # steps: a week at 5 min
ORIGINS, FINE_ORIGINS = 36, 12  # past moments; fewer where a day has more than FINE_DAY steps, for those cost more
FINE_DAY = 48
POWER = 4  # weights are errors to the minus this; 2 to 4 are alike on the recorded series, 1 is worse
MAX_MISSING_FRAC = 0.4
HELD_STEPS = 2  # a gap's first steps repeat the last value, the rest the day before


@dataclass(frozen=True, slots=True)
class Score:
    """How the procedure did from past moments of the same series, beside the seasonal naive forecast of one day.

    ``mase``: mean absolute error over that of the in-sample daily seasonal naive (Hyndman & Koehler 2006);
    ``pinball_vs_naive_frac``: mean pinball loss at 0.1, 0.5, 0.9 over that of the naive with intervals made in the same way;
    ``coverage_80_frac``: share of truths inside p10-p90; ``origins``: from how many past moments it was judged. With none, and
    where the series is constant, the figures are NaN.
    """

    model: str
    mase: float
    naive_mase: float
    pinball_vs_naive_frac: float
    coverage_80_frac: float
    origins: int


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Quantiles of ``metric`` of one asset: float64[h] each, for steps that start at ``time_s`` (s since 1970 UTC)."""

    kind: str
    row: int
    metric: str
    issued: datetime
    time_s: Floats
    p10: Floats
    p50: Floats
    p90: Floats
    score: Score

    def frames(self) -> Iterator[Frame]:
        """One frame a step and band, origin ``forecast``."""
        rows = np.array([self.row], dtype=np.int32)
        for i, time_s in enumerate(self.time_s):
            time = datetime.fromtimestamp(float(time_s), UTC)
            for band, column in zip(BANDS, (self.p10, self.p50, self.p90), strict=True):
                values = {self.metric: column[i : i + 1]}
                yield Frame(self.kind, time, rows, values, Origin.FORECAST, self.score.model, band, issued=self.issued)


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """What the procedure and its peers said at each origin of ``rolling``, from what was known then: name -> (p10, p50, p90),
    float64[k, h] each. ``judged``: the positions of the origins that count for a score."""

    rolling: Rolling
    bands: Mapping[str, tuple[Floats, Floats, Floats]]
    judged: list[int]

    def score(self, model: str) -> Score:
        """The score of ``model`` (``blend``, or a baseline)."""
        truth, scale = self.rolling.truth[self.judged], self.rolling.scale[self.judged]
        mine = [band[self.judged] for band in self.bands[model]]
        naive = [band[self.judged] for band in self.bands[NAIVE_DAY]]
        nothing = float("nan")
        if not self.judged or not np.isfinite(scale).any():
            return Score(model, nothing, nothing, nothing, nothing, 0)
        loss, naive_loss = mean_pinball(truth, mine), mean_pinball(truth, naive)
        return Score(
            model,
            mase(truth, mine[1], scale),
            mase(truth, naive[1], scale),
            loss / naive_loss if naive_loss > 0 else nothing,
            coverage(truth, mine[0], mine[2]),
            len(self.judged),
        )


def forecast_series(
    time_s: Floats,
    values: Floats,
    issued: datetime,
    horizon: int,
    step_s: float,
    *,
    kind: str = "",
    row: int = 0,
    metric: str = "",
    low: float = -np.inf,
    high: float = np.inf,
) -> Forecast | Message:
    """The next ``horizon`` steps of ``step_s`` seconds of a series, or one sentence that says why there is no forecast.

    ``time_s``: float64[n], starts of steps, increasing (missing ones are gaps); ``values``: float64[n], NaN where nothing was
    measured. The first step foreseen is the one that holds ``issued``, or the one after the last value where that is later; the
    quantiles stay within ``[low, high]``. At most ``HISTORY_DAYS`` and ``MAX_HISTORY`` steps back are looked at. Takes about a
    second for an hourly day ahead, some seconds for a week ahead or 5-minute steps.
    """
    series = _regular(np.asarray(time_s, dtype=np.float64), np.asarray(values, dtype=np.float64), step_s)
    if isinstance(series, Message):
        return series
    last_s = float(time_s[0]) + step_s * (len(series) - 1 + _leading_gap(values))
    day = round(86400 / step_s)
    skip = max(0, int((issued.timestamp() - last_s - step_s) // step_s))
    steps = horizon + skip
    if skip > day or steps > MAX_HORIZON or horizon < 1:
        text = (
            "the last value is {age_h:.1f} h old and {horizon} steps are asked for: more than {most} steps or a day of silence"
        )
        age_h = (issued.timestamp() - last_s) / 3600
        return Message(text, {"age_h": age_h, "horizon": horizon, "most": MAX_HORIZON})
    least = steps + 2 * MIN_PATHS + 1  # some past forecasts whose truths are known
    if len(series) < least:
        text = "{count} steps of history are too few to foresee {horizon}: {least} are needed"
        return Message(text, {"count": len(series), "horizon": horizon, "least": least})
    ahead_s = last_s + step_s * np.arange(1.0 + skip, 1.0 + skip + horizon)
    if np.nanmax(series) == np.nanmin(series):
        flat = np.full(horizon, float(np.nanmax(series)))
        nothing = float("nan")
        score = Score(PERSISTENCE, nothing, nothing, nothing, nothing, 0)
        return Forecast(kind, row, metric, issued, ahead_s, flat, flat, flat, score)
    bands, score = _best(replay(series, steps, step_s))
    p10, p50, p90 = (np.clip(band[skip:], low, high) for band in bands)
    return Forecast(kind, row, metric, issued, ahead_s, p10, p50, p90, score)


def replay(series: Floats, horizon: int, step_s: float, most: int | None = None) -> Replay:
    """The procedure at past moments of ``series`` (float64[n], regular, NaN in gaps) and, as last origin, at its end.

    ``most``: how many past moments (default: what a forecast uses); the last third of them is judged, and of those only what
    has an interval."""
    day = round(86400 / step_s)
    history = min(MAX_HISTORY, HISTORY_DAYS * day)
    if most is None:
        most = FINE_ORIGINS if day > FINE_DAY else ORIGINS
        series = series[-(history + round(41 / 24 * day) * most + horizon) :]
    origins = past_origins(len(series), horizon, _first_origin(len(series), horizon, day), day, most)
    origins = np.append(origins, len(series)).astype(np.int32)
    rolling = roll(series, causally_filled(series, day), origins, horizon, day, all_models(), history)
    buckets = lead_buckets(horizon, step_s)
    medians = {BLEND: _blended(rolling, buckets)}
    medians |= {model.name: rolling.said[model.name] for model in all_models() if model.baseline}
    # where the history is shorter than the season, the seasonal naive is persistence
    medians = {name: np.where(np.isnan(m), rolling.said[PERSISTENCE], m) for name, m in medians.items()}
    bands = {}
    for name, median in medians.items():
        p10, p90 = intervals(median, rolling.truth, origins, buckets)
        bands[name] = (p10, median, p90)
    recent = range(len(origins) - 1 - max(1, (len(origins) - 1) // 3), len(origins) - 1)
    judged = [i for i in recent if np.isfinite(bands[BLEND][0][i]).all() and np.isfinite(rolling.truth[i]).any()]
    return Replay(rolling, bands, judged)


def _first_origin(n: int, horizon: int, day: int) -> int:
    """Where replaying may begin: with as much history as leaves a third of the series, and two horizons, to replay."""
    room = n - horizon - max(2 * horizon, n // 3)
    return next((first for first in (21 * day, 14 * day, 7 * day, 2 * day, day) if first <= room), 1)


def _blended(rolling: Rolling, buckets: list[slice]) -> Floats:
    """float64[k, h]: at every origin the weighted mean of the models; before there is anything to weigh by, their median."""
    names = list(rolling.said)
    said = np.stack([rolling.said[name] for name in names])
    error = np.abs(said - rolling.truth)
    out = np.full(rolling.truth.shape, np.nan)
    for i, origin in enumerate(rolling.origins):
        able = np.isfinite(said[:, i, 0])
        known = known_by(rolling.origins, rolling.horizon, int(origin))
        for bucket in buckets:
            weights = _weights(error[:, known, bucket], names.index(PERSISTENCE))
            weights[~able] = 0.0
            if len(known) >= MIN_PATHS and weights.sum() > 0:
                out[i, bucket] = np.tensordot(weights[able] / weights.sum(), said[able, i, bucket], axes=1)
            else:
                out[i, bucket] = np.median(said[able, i, bucket], axis=0)
    return out


def _weights(error: Floats, reference: int) -> Floats:
    """float64[m]: errors (float64[m, k, b], NaN where a model was not able or nothing was measured) relative to those of the
    model ``reference`` at the same origins, to the minus ``POWER``; 0 with fewer than ``MIN_PATHS`` origins."""
    weights = np.zeros(len(error))
    for m, mine in enumerate(error):
        both = np.isfinite(mine) & np.isfinite(error[reference])
        if np.count_nonzero(both.any(axis=1)) >= MIN_PATHS:
            base = max(float(error[reference][both].mean()), 1e-300)
            weights[m] = max(float(mine[both].mean()) / base, 1e-3) ** -POWER
    return weights


def _best(made: Replay) -> tuple[tuple[Floats, Floats, Floats], Score]:
    """The bands at the last origin and the score: of the blend, or of the naive where the blend was no better."""
    score = made.score(BLEND)
    if score.origins and score.mase >= score.naive_mase:
        score = made.score(NAIVE_DAY)
    low, median, high = (band[-1] for band in made.bands[score.model])
    return (low, median, high), score


def causally_filled(series: Floats, day: int) -> Floats:
    """float64[n] without NaN: a gap's first steps repeat the last value, the rest what was a day before. Made from the past
    alone, so that a forecast from inside a gap sees what it would have seen. ``series`` starts with a value."""
    filled = series.copy()
    missing = np.isnan(series)
    run = 0
    for i in np.flatnonzero(missing):
        run = run + 1 if i and missing[i - 1] else 1
        filled[i] = filled[i - 1] if run <= HELD_STEPS or i < day else filled[i - day]
    return filled


def _leading_gap(values: Floats) -> int:
    """How many steps stand before the first value."""
    return int(np.isfinite(values).argmax())


def _regular(time_s: Floats, values: Floats, step_s: float) -> Floats | Message:
    """float64[n] on the grid of ``step_s`` from the first to the last value, NaN in gaps; or why there is none."""
    if time_s.shape != values.shape or time_s.ndim != 1:
        raise ValueError(f"{time_s.shape} times for {values.shape} values; pass two columns of one length")
    if not 1 <= step_s <= 86400 or 86400 % step_s:
        return Message(
            "a step of {step_s:g} s does not divide a day; resample the series, to 300 or 3600 s say", {"step_s": step_s}
        )
    known = np.isfinite(values)
    if not known.any():
        return Message("the series has no value", {})
    place = (time_s - time_s[0]) / step_s
    if len(place) > 1 and (np.abs(place - place.round()).max() > 0.01 or (np.diff(place.round()) < 1).any()):
        return Message("the times of the series are not increasing steps of {step_s:g} s", {"step_s": step_s})
    at = place.round().astype(np.int64)[known]
    at -= at[0]
    if at[-1] > 10_000_000:
        return Message("the series has more than {most} steps", {"most": 10_000_000})
    grid = np.full(at[-1] + 1, np.nan)
    grid[at] = values[known]
    recent = grid[-min(len(grid), HISTORY_DAYS * round(86400 / step_s), MAX_HISTORY) :]
    missing = float(np.isnan(recent).mean())
    if missing > MAX_MISSING_FRAC:
        return Message(
            "{missing:.0%} of the series is missing; at most {most:.0%} may be", {"missing": missing, "most": MAX_MISSING_FRAC}
        )
    return grid
