"""How forecasts did when the truth came: by lead, beside what was expected of them and beside the daily naive; and drift.

A backtest says how good a forecast should be; only what came says how good it was. Errors that stay larger than expected are
found by a cumulative sum (Page, Biometrika 41 (1954) 100) and ask for a refit; a procedure that does no better than the naive
for days is switched off until it does again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytics.conformal import lead_buckets
from analytics.forecast import Forecast
from analytics.replay import BLEND
from analytics.score import naive_scale
from twin.errors import SourceError
from twin.frame import Floats

KEPT = 24 * 15  # forecasts of one series: half a month, one an hour
ALLOWANCE = 0.5  # of the expected error, by which errors may exceed it for ever without an alarm
# Expected errors of surplus, summed over steps, from which it is drift: on hourly series that were not drifting 0.7 alarms in
# half a year; errors that triple are seen after four days, wild ones after 29 hours (24 gave 12 alarms, 96 gave 0.3).
LIMIT = 72.0
MOST_A_STEP = 4.0  # expected errors that one step may add: a single wild reading is no drift
OFF_TRUTHS = 168  # steps whose truth came, before a procedure can be switched off: a week by the hour
OFF_RATIO, ON_RATIO = 1.0, 0.95  # live error over the naive's: off at the first or above, on again below the second


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """A forecast as it was issued: quantiles float64[h] for steps from ``first_s``; ``mase``: what its backtest had
    promised."""

    issued_s: float
    first_s: float
    step_s: float
    mase: float
    p10: Floats
    p50: Floats
    p90: Floats

    def record(self) -> dict[str, Any]:
        """As a JSON object."""
        numbers = {name: getattr(self, name) for name in ("issued_s", "first_s", "step_s")}
        mase = self.mase if np.isfinite(self.mase) else None
        return {**numbers, "mase": mase, **{name: getattr(self, name).tolist() for name in ("p10", "p50", "p90")}}


def said(forecast: Forecast) -> Said:
    """What is kept of a forecast: the word of the procedure, also where the naive speaks in its place, for only by what it
    would have said can it be seen to do better again."""
    first_s, mase = float(forecast.time_s[0]), forecast.score.mase
    bands = (forecast.p10, forecast.p50, forecast.p90)
    if forecast.made is not None and forecast.score.model != BLEND:
        h, score = len(forecast.p50), forecast.made.score(BLEND)
        left = 1.0 if forecast.left is None else forecast.left
        low, median, high = (band[-1][-h:] * left for band in forecast.made.bands[BLEND])
        bands, mase = (low, median, high), score.mase
    return Said(forecast.issued.timestamp(), first_s, forecast.step_s, mase, *bands)


def remembered(record: Mapping[str, Any]) -> Said:
    """A forecast from its record; ``SourceError`` where the record is none."""
    try:
        columns = [np.array(record[name], dtype=np.float64) for name in ("p10", "p50", "p90")]
        mase = float("nan") if record["mase"] is None else float(record["mase"])
        issued_s, first_s, step_s = (float(record[name]) for name in ("issued_s", "first_s", "step_s"))
        return Said(issued_s, first_s, step_s, mase, columns[0], columns[1], columns[2])
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"a record of a forecast cannot be read ({error!r}); it is left out") from None


@dataclass(frozen=True, slots=True)
class LeadAccuracy:
    """Of steps ``from_s`` to ``to_s`` ahead: ``steps`` judged; mean absolute error over the in-sample daily naive's
    (``mase``) and over that of the naive as it did at the same steps (``vs_naive_ratio``); share of truths inside p10-p90."""

    from_s: float
    to_s: float
    steps: int
    mase: float
    vs_naive_ratio: float
    coverage_80_frac: float


@dataclass(frozen=True, slots=True, eq=False)
class Accuracy:
    """How the forecasts of one series did: ``steps`` judged, of ``truths`` different times, most of them foreseen more than
    once. ``drift``: the cumulative sum over its limit, 1 and above is drift."""

    by_lead: Sequence[LeadAccuracy]
    steps: int
    truths: int
    mase: float
    vs_naive_ratio: float
    coverage_80_frac: float
    drift: float


def accuracy(issued: Sequence[Said], time_s: Floats, values: Floats) -> Accuracy:
    """What came (``time_s`` float64[n], starts of steps of the forecasts' own length; ``values`` float64[n], NaN where nothing
    was measured) beside what had been said of it. At most the newest ``KEPT`` forecasts count."""
    usable = list(issued)[-KEPT:]
    nothing = float("nan")
    empty = Accuracy((), 0, 0, nothing, nothing, nothing, 0.0)
    if not usable or not np.isfinite(values).any():
        return empty
    step_s, horizon = usable[-1].step_s, max(len(one.p50) for one in usable)
    usable = [one for one in usable if one.step_s == step_s]
    day = max(1, round(86400 / step_s))
    start_s = float(time_s[0])
    grid = np.full(round((float(time_s[-1]) - start_s) / step_s) + 1, np.nan)
    grid[((time_s - start_s) / step_s).round().astype(np.int64)] = values
    table = np.full((5, len(usable), horizon), np.nan)  # error, naive's error, inside, promised, step
    for i, one in enumerate(usable):
        _judge(table[:, i], one, grid, start_s, day)
    if not np.isfinite(table[0]).any():
        return empty
    first = int(np.nanmin(table[4][np.isfinite(table[0])]))  # a change must not widen the measure that it is seen by
    before = grid[:first] if first >= 2 * day else grid
    scale = naive_scale(before, day)
    buckets = lead_buckets(horizon, step_s)
    leads = [_lead(table[:, :, b], b, step_s, scale) for b in buckets]
    whole = _lead(table, slice(0, horizon), step_s, scale)
    drift = _drift(table, scale) / LIMIT
    truths = len(np.unique(table[4][np.isfinite(table[0])]))
    return Accuracy(
        [one for one in leads if one.steps],
        whole.steps,
        truths,
        whole.mase,
        whole.vs_naive_ratio,
        whole.coverage_80_frac,
        drift,
    )


def _judge(out: Floats, one: Said, grid: Floats, start_s: float, day: int) -> None:
    """Fill float64[5, h]: absolute error, that of the naive, whether inside, the promise, the step's place in ``grid``."""
    first = round((one.first_s - start_s) / one.step_s)
    at = first + np.arange(len(one.p50))
    inside = (at >= 0) & (at < len(grid))
    truth = np.where(inside, grid[np.clip(at, 0, len(grid) - 1)], np.nan)
    was = at - day * -(-(at - first + 1) // day)  # the newest same hour that was known when it was said
    naive = np.where((was >= 0) & (was < len(grid)), grid[np.clip(was, 0, len(grid) - 1)], np.nan)
    h = len(one.p50)
    known = np.isfinite(truth)
    out[0, :h] = np.abs(truth - one.p50)
    out[1, :h] = np.abs(truth - naive)
    out[2, :h] = np.where(known, (truth >= one.p10) & (truth <= one.p90), np.nan)
    out[3, :h] = one.mase
    out[4, :h] = at


def _lead(table: Floats, bucket: slice, step_s: float, scale: float) -> LeadAccuracy:
    error, naive, inside = table[0], table[1], table[2]
    known = np.isfinite(error)
    both = known & np.isfinite(naive)
    base = float(naive[both].sum()) if both.any() else 0.0
    nothing = float("nan")
    return LeadAccuracy(
        bucket.start * step_s,
        bucket.stop * step_s,
        int(known.sum()),
        float(error[known].mean()) / scale if known.any() and scale > 0 else nothing,
        float(error[both].sum()) / base if base > 0 else nothing,
        float(inside[known].mean()) if known.any() else nothing,
    )


def _drift(table: Floats, scale: float) -> float:
    """The cumulative sum at the newest step: at each step, the mean over the forecasts of it of error over promise, less 1 and
    the allowance; never below 0."""
    known = np.isfinite(table[0]) & (table[3] > 0)
    if not known.any() or not scale > 0:
        return 0.0
    place = table[4][known].astype(np.int64)
    place -= place.min()
    ratio = table[0][known] / (table[3][known] * scale)
    count = np.bincount(place)
    mean = np.bincount(place, weights=ratio)[count > 0] / count[count > 0]
    total = 0.0
    for surplus in np.minimum(mean, MOST_A_STEP) - 1.0 - ALLOWANCE:
        total = max(0.0, total + float(surplus))
    return total


def switched_off(was_off: bool, found: Accuracy) -> bool:
    """Whether a procedure is off, from how it did: a gap between off and on keeps it from flapping."""
    if found.truths < OFF_TRUTHS or not np.isfinite(found.vs_naive_ratio):
        return was_off
    return found.vs_naive_ratio >= (ON_RATIO if was_off else OFF_RATIO)
