"""Model cards: what a forecast was made from, how it did beside its baselines, where it is weak. One card a series.

After Mitchell et al., Model cards for model reporting (FAT* 2019), reduced to what can be measured on the series itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from analytics.blend import shares
from analytics.forecast import Forecast
from analytics.models import all_models
from analytics.replay import BLEND, Replay
from analytics.score import Score
from twin.frame import Floats
from twin.message import Message

LOW_COVER, HIGH_COVER = 0.7, 0.9
FEW_ORIGINS = 6
LARGE_MISSING_FRAC = 0.1
SHIFT = 1.0  # of the naive's error, by which the last week's mean lies off that of the month before


@dataclass(frozen=True, slots=True, eq=False)
class Card:
    """``leads``: for each range of leads its end [s], the score there, and each model's share (0: switched off or not able);
    ``baselines``: scores over all leads; ``weak``: sentences that a user should know."""

    issued: datetime
    first: datetime
    last: datetime
    steps: int
    missing_frac: float
    score: Score
    baselines: Sequence[Score]
    leads: Sequence[tuple[float, Score, Mapping[str, float]]]
    weak: Sequence[Message]

    def plain(self) -> dict[str, Any]:
        """As a JSON object; what is not known is null."""
        return {
            "issued": self.issued.isoformat(),
            "data": {
                "first": self.first.isoformat(),
                "last": self.last.isoformat(),
                "steps": self.steps,
                "missing_frac": self.missing_frac,
            },
            "score": plain_score(self.score),
            "baselines": [plain_score(one) for one in self.baselines],
            "leads": [{"to_s": to_s, **plain_score(one), "shares": dict(share)} for to_s, one, share in self.leads],
            "weak": [str(one) for one in self.weak],
        }


def plain_score(score: Score) -> dict[str, Any]:
    """A score as a JSON object."""
    values = {name: getattr(score, name) for name in score.__slots__}
    return {name: None if isinstance(v, float) and not np.isfinite(v) else v for name, v in values.items()}


def card(forecast: Forecast) -> Card | Message:
    """The card of a forecast, or why there is none."""
    made = forecast.made
    if made is None:
        return Message("there is no card: {why}", {"why": "; ".join(str(note) for note in forecast.notes) or "no backtest"})
    n, series = len(made.series), made.series
    first_s = forecast.first_s
    names = [model.name for model in all_models() if model.baseline and model.name in made.bands]
    share = shares(made.rolling, made.buckets, _day(forecast))
    leads = []
    for i, bucket in enumerate(made.buckets):
        part = {name: float(column[i]) for name, column in share.items()}
        leads.append((bucket.stop * forecast.step_s, made.score(BLEND, bucket), part))
    return Card(
        forecast.issued,
        datetime.fromtimestamp(first_s, UTC),
        datetime.fromtimestamp(first_s + n * forecast.step_s, UTC),
        n,
        float(np.isnan(series).mean()),
        forecast.score,
        [made.score(name) for name in names],
        leads,
        _weak(forecast, made, series),
    )


def _day(forecast: Forecast) -> int:
    return max(1, round(86400 / forecast.step_s))


def _weak(forecast: Forecast, made: Replay, series: Floats) -> list[Message]:
    weak = list(forecast.notes)
    score, day = forecast.score, _day(forecast)
    if score.origins < FEW_ORIGINS:
        weak.append(Message("judged from {count} past moments only", {"count": score.origins}))
    if score.model != BLEND:
        weak.append(Message("the models did not beat the daily naive here and are switched off", {}))
    for bucket in made.buckets:
        one = made.score(BLEND, bucket)
        if one.origins and one.mase >= one.naive_mase:
            text = "no better than the daily naive {first} to {last} steps ahead"
            weak.append(Message(text, {"first": bucket.start + 1, "last": bucket.stop}))
    if score.origins and not LOW_COVER <= score.coverage_80_frac <= HIGH_COVER:
        weak.append(Message("the 80 % interval held {held:.0%} of the truths", {"held": score.coverage_80_frac}))
    if (missing := float(np.isnan(series).mean())) > LARGE_MISSING_FRAC:
        weak.append(Message("{missing:.0%} of the series is missing", {"missing": missing}))
    scale = float(made.rolling.scale[-1])
    if len(series) >= 35 * day and np.isfinite(scale):
        shift = float(np.nanmean(series[-7 * day :]) - np.nanmean(series[-35 * day : -7 * day]))
        if abs(shift) > SHIFT * scale:
            text = "the last week lies {shift:+.3g} off the month before: what was learnt then may not hold"
            weak.append(Message(text, {"shift": shift}))
    return weak
