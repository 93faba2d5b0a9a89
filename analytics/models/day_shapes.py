"""Whole days at once: what kind of day comes after these days, as weights of a few shapes that days have.

Functional principal components of the days, their scores continued day by day by a ridge on those of the day before, of the
week before and on the day of the week (after Hyndman & Ullah, Computational Statistics & Data Analysis 51 (2007) 4942).
"""

import numpy as np

from analytics.models import Model
from analytics.models.autoregression import ridge
from twin.frame import Floats

SHAPES = 6
HALF_LIFE_DAYS = 28
USUAL_DAYS = 28  # over which the usual day is taken
PENALTY = 0.02


def _fit_predict(history: Floats, horizon: int, day: int) -> Floats:
    count = len(history) // day
    days = history[len(history) - count * day :].reshape(count, day)
    usual = np.median(days[-USUAL_DAYS:], axis=0)
    _, _, shapes = np.linalg.svd(days - usual, full_matrices=False)
    shapes = shapes[:SHAPES]
    scores = (days - usual) @ shapes.T
    low, high = scores.min(axis=0), scores.max(axis=0)
    weekday = np.eye(7)[(np.arange(count + -(-horizon // day)) - count) % 7]
    x = np.hstack([scores[6:-1], scores[:-7], weekday[7:count], np.ones((count - 7, 1))])
    weight = 0.5 ** ((count - 1 - np.arange(7, count)) / HALF_LIFE_DAYS)
    factors = np.column_stack([ridge(x, column, weight, PENALTY) for column in scores[7:].T])
    path = list(scores)
    for coming in weekday[count:]:
        said = np.concatenate([path[-1], path[-7], coming, [1.0]]) @ factors
        path.append(np.clip(said, low, high))  # a regression that is not stationary would run away
    return np.asarray((usual + np.array(path[count:]) @ shapes).ravel()[:horizon], dtype=np.float64)


MODELS = (Model("day_shapes", lambda horizon, day: 28 * day if day >= 4 else 2**31, _fit_predict),)
