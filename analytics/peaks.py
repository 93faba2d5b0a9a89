"""Questions about peaks, answered with probabilities: will a limit be crossed and when, at what hour is the day's peak, how
high.

A peak is a matter of whole paths, not of single steps: the highest of 24 medians is neither the median of the highest nor at
its hour. The paths here are the medians plus errors as they hung together in past forecasts of the same series, each scaled
from the width of the interval then to that of now (the idea of the Schaake shuffle: Clark et al., Journal of Hydrometeorology 5
(2004) 243). Paths made from few past errors scatter, so the hour is told by several views in equal parts (a linear pool of
probabilities: Stone, Annals of Mathematical Statistics 32 (1961) 1339): where paths have their peak, where the median is high,
where each model has its own, where past days had theirs, and where the mean day is high. To learn the parts from past days was
tried and was no better.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analytics.blend import trust
from analytics.forecast import Forecast
from analytics.models.seasonal_naive import PERSISTENCE
from analytics.replay import BLEND, Replay
from twin.frame import Floats

LEAST_PATHS = 8
MAX_PATHS = 400
USUAL_DAYS = 28
MEAN_DAYS = 14  # over which the mean day is taken
SHARPNESS = 4.0  # a step lower by the usual error counts exp(-4); 1 and 2 are duller and no better on the series that choose
BLUR = (0.25, 0.5, 0.25)  # a peak seen in one hour might as well have been in the next
OUTER = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """Whether and when a limit is crossed. ``probability``: within all steps; ``by_step``: float64[h], by the end of each step;
    ``step_p10``, ``step_p50``, ``step_p90``: after how many steps, given that it is (NaN where no path does)."""

    probability: float
    by_step: Floats
    step_p10: float
    step_p50: float
    step_p90: float


@dataclass(frozen=True, slots=True, eq=False)
class DayPeak:
    """The highest step of 24 hours. ``probability``: float64[day], that it is this step, sums to 1; ``step``: the one that with
    its neighbours within an hour is likeliest; ``p10``, ``p50``, ``p90``: how high."""

    probability: Floats
    step: int
    p10: float
    p50: float
    p90: float


def paths(made: Replay, i: int | None = None, model: str = BLEND) -> Floats | None:
    """float64[p, h]: what may come after origin ``i`` of a replay (None: its last), equally likely; None with fewer than
    ``LEAST_PATHS`` past forecasts known by then."""
    low, median, high = made.bands[model]
    rolling = made.rolling
    i = len(rolling.origins) - 1 if i is None else i
    known = rolling.origins + rolling.horizon <= rolling.origins[i]
    error = rolling.truth - median
    usable = np.flatnonzero(known & np.isfinite(error).all(axis=1) & np.isfinite(low).all(axis=1))[-MAX_PATHS:]
    if len(usable) < LEAST_PATHS or not np.isfinite(low[i]).all():
        return None
    least = np.maximum(np.abs(median).max() * OUTER, 1e-300)
    up, down = np.maximum(high - median, least), np.maximum(median - low, least)
    was = error[usable]
    # the outermost tenth is bounded: an interval that was far too narrow once would throw its error across the plot
    sure = np.clip(np.where(was > 0, was / up[usable], was / down[usable]), -4.0, 4.0)
    return np.asarray(median[i] + np.where(sure > 0, sure * up[i], sure * down[i]))


def crossing(of: Floats, limit: float, above: bool = True) -> Crossing:
    """When ``of`` (float64[p, h], paths) first reaches ``limit`` or goes beyond it. Probabilities are rule-of-succession shares
    of paths ((k + 1/2) / (p + 1)): some tens of paths cannot say never."""
    beyond = of >= limit if above else of <= limit
    by = np.logical_or.accumulate(beyond, axis=1)
    share = (by.sum(axis=0) + 0.5) / (len(of) + 1.0)
    first = np.where(by[:, -1], beyond.argmax(axis=1), -1)
    steps = first[first >= 0] + 1.0
    nothing = float("nan")
    p10, p50, p90 = np.quantile(steps, (0.1, 0.5, 0.9)) if len(steps) else (nothing, nothing, nothing)
    return Crossing(float(share[-1]), share, float(p10), float(p50), float(p90))


def usual_peaks(history: Floats, day: int) -> Floats:
    """float64[day]: how often each step, counted on from the end of ``history``, was the highest of its 24 hours in the last
    ``USUAL_DAYS``; even where there is no whole day."""
    count = min(USUAL_DAYS, len(history) // day)
    days = history[len(history) - count * day :].reshape(count, day)
    whole = days[np.isfinite(days).all(axis=1)]
    hits = np.bincount(whole.argmax(axis=1), minlength=day) if len(whole) else np.ones(day)
    return _blurred(hits / hits.sum(), day)


def high_steps(path: Floats, size: float) -> Floats:
    """float64[day] that sums to 1: how near each step of ``path`` is to its highest, in sizes of ``size``."""
    height = np.exp((path - path.max()) * SHARPNESS / max(size, 1e-300))
    return _blurred(height / height.sum(), len(path))


def views(made: Replay, i: int, start: int, day: int, trusted: Floats) -> Floats:
    """float64[v, day]: what speaks beside the paths for the hour of the peak in the 24 hours from ``start`` on of what was said
    at origin ``i``: the median, the models' votes (``trusted``: float64[m, k], see ``analytics.blend.trust``), the past days'
    peaks, the mean day."""
    rolling, (_, median, _) = made.rolling, made.bands[BLEND]
    block = slice(start, start + day)
    known = rolling.origins + rolling.horizon <= rolling.origins[i]
    error = np.abs(rolling.truth - median)[known, block]
    size = float(np.nanmean(error)) if np.isfinite(error).any() else float(median[i, block].std())
    vote = np.full(day, 1e-9)
    for (name, said), share in zip(rolling.said.items(), trusted[:, i].tolist(), strict=True):
        if name != PERSISTENCE and np.isfinite(said[i, block]).all():  # a flat line has its highest step nowhere
            vote[int(said[i, block].argmax())] += share
    history = made.series[: int(rolling.origins[i])]
    whole = history[len(history) - min(MEAN_DAYS, len(history) // day) * day :].reshape(-1, day)
    whole = whole[np.isfinite(whole).all(axis=1)]
    mean_day = high_steps(whole.mean(axis=0), float(whole.std(axis=0).mean())) if len(whole) else np.full(day, 1.0 / day)
    return np.stack([high_steps(median[i, block], size), _blurred(vote / vote.sum(), day), usual_peaks(history, day), mean_day])


def day_peaks(of: Floats, day: int, beside: Sequence[Floats] = ()) -> Sequence[DayPeak]:
    """The peak of each whole 24 hours of ``of`` (float64[p, h], paths). ``beside``: for each of these float64[v, day], other
    views of the hour (see ``views``)."""
    found = []
    within = max(1, round(day / 24))
    for k, start in enumerate(range(0, of.shape[1] - day + 1, day)):
        block = of[:, start : start + day]
        share = _blurred(np.bincount(block.argmax(axis=1), minlength=day) / len(block), day)
        if k < len(beside):
            share = np.vstack([share, beside[k]]).mean(axis=0)
        near = sum(np.roll(share, k) for k in range(-within, within + 1))
        p10, p50, p90 = np.quantile(block.max(axis=1), (0.1, 0.5, 0.9))
        found.append(DayPeak(share, int(np.argmax(near)), float(p10), float(p50), float(p90)))
    return found


def _blurred(share: Floats, day: int) -> Floats:
    """``share`` laid over its neighbours, an hour to each side, round the clock."""
    hour = max(1, round(day / 24))
    return np.asarray(sum(weight * np.roll(share, k * hour) for weight, k in zip(BLUR, (-1, 0, 1), strict=True)))


def paths_of(forecast: Forecast) -> Floats | None:
    """float64[p, h]: what may come in the steps of a forecast; None where too little is known to tell, or where its model was
    switched off."""
    if forecast.made is None or forecast.score.model not in forecast.made.bands:
        return None
    of = paths(forecast.made, model=forecast.score.model)
    if of is None:
        return None
    skip = of.shape[1] - len(forecast.time_s)
    return of[:, skip:] if forecast.left is None else of[:, skip:] * forecast.left


def peaks_of(forecast: Forecast) -> Sequence[tuple[int, DayPeak]]:
    """(position of the first step, peak) of each whole 24 hours of a forecast; none where too little is known to tell."""
    of, day, made = paths_of(forecast), max(1, round(86400 / forecast.step_s)), forecast.made
    if of is None or made is None or day == 1:
        return ()
    skip, last = made.rolling.horizon - of.shape[1], len(made.rolling.origins) - 1
    trusted = trust(made.rolling, made.buckets, day)
    beside = [views(made, last, skip + start, day, trusted) for start in range(0, of.shape[1] - day + 1, day)]
    beside = [
        np.vstack([one[:2], np.roll(one[2:], -skip, axis=1)]) for one in beside
    ]  # what is usual counts from the last value
    return [(i * day, peak) for i, peak in enumerate(day_peaks(of, day, beside))]
