"""Models of a regular series: each sees a history and says what comes next. The growing folder of ``analytics``.

A module here has ``MODELS``, a tuple of ``Model``, and a row in ``MODULES``. A model is a pure function: the same history gives
the same answer. It makes a median only; how far it may be believed is measured from outside (``analytics.replay``), the same
way for all. A model that does not beat the seasonal naive on recorded data that it has not seen is not shipped: boosted trees
(scikit-learn's, absolute error, all leads in one) were tried and stayed out, at 1.01 where the ridge has 0.81 on GPU demand.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from twin.frame import Floats

MODULES = (
    "analytics.models.seasonal_naive",
    "analytics.models.harmonic",
    "analytics.models.lag_ridge",
    "analytics.models.mstl",
    "analytics.models.theta",
    "analytics.models.analog",
    "analytics.models.day_shapes",
    "analytics.models.near_lags",
)
# Models that need known futures (``analytics.known``) beside the history: a model's name -> its module.
DRIVEN = MappingProxyType({"driven": "analytics.models.driven"})


class CannotFit(Exception):
    """This history does not let the model be fitted; the others go on without it."""


@dataclass(frozen=True, slots=True)
class Model:
    """``fit_predict(history, horizon, day)``: float64[h], the next ``horizon`` steps after ``history`` (float64[n], no NaN), of
    which ``day`` steps make 24 hours; raises ``CannotFit``. ``least(horizon, day)``: the shortest history it works on.
    ``baseline`` marks what others are measured against, ``near`` what is also asked for the next hour of a series of
    minutes."""

    name: str
    least: Callable[[int, int], int]
    fit_predict: Callable[[Floats, int, int], Floats]
    baseline: bool = False
    near: bool = False


@cache
def all_models() -> tuple[Model, ...]:
    """Every model, in the order of ``MODULES``; imported only now, for nobody needs them at start."""
    return tuple(model for name in MODULES for model in importlib.import_module(name).MODELS)
