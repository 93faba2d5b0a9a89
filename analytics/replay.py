"""The whole procedure at past moments of a series: what it would have said, from what was known then, and how good that was.

At each past moment judged, weights and interval were made from what was known at that moment, so nothing was chosen on what it
is judged by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module

import numpy as np

from analytics.blend import NEAR_POWER, POWER, blended, guarded
from analytics.conformal import intervals, lead_buckets
from analytics.grid import causally_filled
from analytics.known import Calendar, Driver, special_effect
from analytics.models import DRIVEN, CannotFit, Model, all_models
from analytics.models.coarse import FINE_DAY
from analytics.models.seasonal_naive import NAIVE_DAY, PERSISTENCE
from analytics.score import Rolling, Score, coverage, mase, mean_pinball, naive_scale, past_origins, unscored
from twin.frame import Floats

BLEND = "blend"
HISTORY_DAYS = 84
MAX_HISTORY = 24_192  # steps: 84 days at 5 min
ORIGINS, FINE_ORIGINS, NEAR_ORIGINS = 36, 16, 72  # past moments; fewer where a day has over FINE_DAY steps, for those cost more
MAX_REMEMBERED = 1000  # forecasts of single models in one memory: one replay asks for half as many

Band = tuple[Floats, Floats, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What is known of the future of one series: its calendar (over history and horizon) and its drivers."""

    calendar: Calendar | None = None
    drivers: Sequence[Driver] = ()


@dataclass(slots=True)
class Memory:
    """What models said at past moments of one series, so that it is not worked out again each hour; at ``MAX_REMEMBERED`` what
    was not asked for longest goes. What was said then stays said, though a late value may since have filled a gap before it."""

    said: dict[tuple[str, int, int, float], Floats | None] = field(default_factory=dict)

    def trim(self) -> None:
        """Back within the bound."""
        for key in list(self.said)[: max(0, len(self.said) - MAX_REMEMBERED)]:
            del self.said[key]


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """What the procedure and its peers said at each origin of ``rolling``, from what was known then: name -> (p10, p50, p90),
    float64[k, h] each; the last origin is the end of the series. ``judged``: positions of the origins that count for a score;
    ``buckets``: the ranges of lead; ``series``: what was replayed."""

    rolling: Rolling
    bands: Mapping[str, Band]
    judged: list[int]
    buckets: Sequence[slice]
    series: Floats

    def score(self, model: str, ahead: slice = slice(None)) -> Score:
        """The score of ``model`` (``blend``, or a baseline) over the steps ``ahead``."""
        truth, scale = self.rolling.truth[self.judged, ahead], self.rolling.scale[self.judged]
        if not self.judged or not np.isfinite(scale).any() or not np.isfinite(truth).any():
            return unscored(model)
        mine, naive = ([edge[self.judged, ahead] for edge in self.bands[name]] for name in (model, NAIVE_DAY))
        loss, naive_loss = mean_pinball(truth, mine), mean_pinball(truth, naive)
        return Score(
            model,
            mase(truth, mine[1], scale),
            mase(truth, naive[1], scale),
            loss / naive_loss if naive_loss > 0 else float("nan"),
            coverage(truth, mine[0], mine[2]),
            len(self.judged),
        )


def replay(
    series: Floats,
    horizon: int,
    step_s: float,
    most: int | None = None,
    *,
    first_s: float = 0.0,
    known: Known | None = None,
    memory: Memory | None = None,
    near: bool = False,
    peers: bool = False,
    judged_from: int | None = None,
) -> Replay:
    """The procedure at past moments of ``series`` (float64[n], regular, NaN in gaps, starting at ``first_s``) and at its end.

    ``most``: how many past moments (default: what a forecast uses); ``near``: only the models meant for the next hour, at more
    past moments; ``peers``: bands of every baseline, not of the daily naive alone. Judged are origins whose horizon has passed
    and which have an interval, of the last third, or from the position ``judged_from`` on."""
    day = max(1, round(86400 / step_s))
    n, history = len(series), min(MAX_HISTORY, HISTORY_DAYS * day)
    models = [model for model in all_models() if model.near or not near]
    if most is None:
        most = NEAR_ORIGINS if near else FINE_ORIGINS if day > FINE_DAY else ORIGINS
    first = _first_origin(n, horizon, day)
    origins = past_origins(n - 1, first, day, most, round(first_s / step_s))
    origins = np.append(origins, n).astype(np.int32)
    filled = causally_filled(series, day)
    rolling = _roll(_Moments(series, filled, first_s, step_s, day, history, known or Known(), memory), origins, horizon, models)
    buckets = lead_buckets(horizon, step_s)
    mixed = blended(rolling, buckets, day, NEAR_POWER if near else POWER)
    medians = {BLEND: guarded(mixed, rolling, buckets)}
    medians |= {
        model.name: rolling.said[model.name] for model in models if model.baseline and (peers or model.name == NAIVE_DAY)
    }
    # where the history is shorter than the season, the seasonal naive is persistence
    medians = {name: np.where(np.isnan(m), rolling.said[PERSISTENCE], m) for name, m in medians.items()}
    bands: dict[str, Band] = {}
    for name, median in medians.items():
        p10, p90 = intervals(
            median, rolling.truth, origins, buckets, day if name == BLEND and day > 1 else None, min(day, 4 * horizon)
        )
        bands[name] = (p10, median, p90)
    return Replay(rolling, bands, _judged(rolling, bands[BLEND][0], n, judged_from), buckets, series)


def _judged(rolling: Rolling, low: Floats, n: int, judged_from: int | None) -> list[int]:
    count = len(rolling.origins) - 1
    if judged_from is None:
        recent = range(count - max(1, count // 3), count)
    else:
        recent = range(int(np.searchsorted(rolling.origins[:count], judged_from)), count)
    whole = [i for i in recent if i >= 0 and rolling.origins[i] + rolling.horizon <= n]
    return [i for i in whole if np.isfinite(low[i]).all() and np.isfinite(rolling.truth[i]).any()]


def _first_origin(n: int, horizon: int, day: int) -> int:
    """Where replaying may begin: with as much history as leaves half of the series, and two horizons, to replay."""
    room = n - horizon - max(2 * horizon, n // 2)
    return next((first for first in (28 * day, 21 * day, 14 * day, 7 * day, 4 * day, 2 * day, day) if first <= room), 1)


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """A series and what may be seen of it at a moment."""

    values: Floats
    filled: Floats
    first_s: float
    step_s: float
    day: int
    history: int
    known: Known
    memory: Memory | None

    def past(self, plain: Floats, origin: int, horizon: int) -> tuple[Floats, Floats]:
        """(the history ``plain`` without what is special about its special days, what is special about the steps ahead)."""
        if self.known.calendar is None:
            return plain, np.zeros(horizon)
        effect = special_effect(plain, self.known.calendar.between(origin - len(plain), origin + horizon), self.day)
        return plain - effect[: len(plain)], effect[len(plain) :]

    def driven(self, name: str, past: Floats, origin: int, horizon: int) -> Floats:
        """What a model with drivers says; ``CannotFit`` where nothing had been said of them then."""
        now_s = self.first_s + origin * self.step_s
        ahead = [driver.ahead(now_s, horizon) for driver in self.known.drivers]
        columns = [column for column in ahead if column is not None]
        if not columns or len(columns) < len(ahead):
            raise CannotFit("no word of a driver from then")
        start_s = now_s - len(past) * self.step_s
        was = np.column_stack([driver.past(start_s, len(past)) for driver in self.known.drivers])
        said: Floats = import_module(DRIVEN[name]).fit_predict(past, was, np.column_stack(columns), self.day)
        return said


def _roll(moments: _Moments, origins: "np.ndarray", horizon: int, models: Sequence[Model]) -> Rolling:
    """What ``models`` say at ``origins``, each from the history before it. An origin at n gives a truth of NaN."""
    k = len(origins)
    truth, scale = np.full((k, horizon), np.nan), np.full(k, np.nan)
    driven = tuple(DRIVEN) if moments.known.drivers else ()
    said = {name: np.full((k, horizon), np.nan) for name in (*(model.name for model in models), *driven)}
    for i, origin in enumerate(int(o) for o in origins):
        coming = moments.values[origin : origin + horizon]
        truth[i, : len(coming)] = coming
        recent = slice(max(0, origin - moments.history), origin)
        plain = moments.filled[recent]
        past, ahead = moments.past(plain, origin, horizon)
        scale[i] = naive_scale(moments.values[recent], moments.day)
        for model in models:
            if len(past) >= model.least(horizon, moments.day):
                # a baseline stays what its name says: it knows no holidays
                run = partial(model.fit_predict, plain if model.baseline else past, horizon, moments.day)
                said[model.name][i] = _once(moments, model.name, origin, horizon, run, 0.0 if model.baseline else ahead)
        for name in driven:
            run = partial(moments.driven, name, past, origin, horizon)
            said[name][i] = _once(moments, name, origin, horizon, run, ahead)
    if moments.memory is not None:
        moments.memory.trim()
    return Rolling(origins, truth, said, scale)


def _once(moments: _Moments, name: str, origin: int, horizon: int, run: "partial[Floats]", ahead: Floats | float) -> Floats:
    """float64[h]: what a model says at a moment, from memory where it was said before; NaN where it cannot."""
    key = (name, round(moments.first_s / moments.step_s) + origin, horizon, moments.step_s)
    if moments.memory is not None and key in moments.memory.said:
        kept = moments.memory.said[key] = moments.memory.said.pop(key)
        return np.full(horizon, np.nan) if kept is None else kept
    try:
        path: Floats | None = run() + ahead
    except CannotFit:
        path = None
    if path is not None and not np.isfinite(path).all():
        path = None
    if moments.memory is not None:
        moments.memory.said[key] = path
    return np.full(horizon, np.nan) if path is None else path
