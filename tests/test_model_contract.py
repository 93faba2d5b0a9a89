"""What every model must do; a new one is picked up from the registry and no test is written for it."""

import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest

import analytics.models
from analytics.models import MODULES, CannotFit, Model, all_models
from analytics.models.seasonal_naive import NAIVE_DAY
from analytics.recorded import OWN_RECORDINGS, RECORDINGS, read_values
from analytics.score import mase, naive_scale, past_origins
from twin.frame import Floats

DAY = 24
MODELS = [pytest.param(model, id=model.name) for model in all_models()]


@pytest.fixture(scope="module")
def loads(fixtures: Path) -> list[Floats]:
    """Recorded hourly loads: a month of rack power, ten weeks of a grid."""
    return [read_values(fixtures / "loads", recording) for recording in OWN_RECORDINGS]


@pytest.fixture(scope="module")
def demand(shared_data: Path) -> Floats:
    """Requested GPUs, hourly: the part of the recording that chooses and does not judge."""
    recording = next(one for one in RECORDINGS if one.family == "gpu_demand")
    values = read_values(shared_data, recording)
    return values[: round((recording.judged or 0) * len(values))]


def test_every_module_is_registered() -> None:
    names = [f"analytics.models.{found.name}" for found in pkgutil.iter_modules(analytics.models.__path__)]
    have = [name for name in names if hasattr(importlib.import_module(name), "MODELS")]
    assert sorted(have) == sorted(MODULES)
    assert len({model.name for model in all_models()}) == len(all_models()) >= 5
    words = ("Fourteen", "Fifteen", "Sixteen", "Seventeen")
    told = (Path(__file__).parents[1] / "docs" / "forecasts.md").read_text(encoding="utf-8")
    assert f"\n{words[len(all_models()) - 14]} small models" in told


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("horizon", [1, 24, 168])
def test_same_history_same_answer_and_history_untouched(model: Model, horizon: int, loads: list[Floats]) -> None:
    history = loads[1].copy()
    first, second = (model.fit_predict(history, horizon, DAY) for _ in range(2))
    assert first.shape == (horizon,)
    assert np.isfinite(first).all()
    assert np.array_equal(first, second)
    assert np.array_equal(history, loads[1])


SHORTEST = [
    pytest.param(model, horizon, day, id=f"{model.name}-{horizon}-{day}")
    for model in all_models()
    for horizon, day in ((1, 24), (24, 24), (48, 24), (7, 1), (36, 12))
    if model.least(horizon, day) < 60 * day  # not for every length of a day
]


@pytest.mark.parametrize(("model", "horizon", "day"), SHORTEST)
def test_works_on_the_shortest_history_that_it_names(model: Model, horizon: int, day: int, loads: list[Floats]) -> None:
    least = model.least(horizon, day)
    assert np.isfinite(model.fit_predict(loads[1][-least:], horizon, day)).all()


@pytest.mark.parametrize("model", MODELS)
def test_odd_histories_give_a_number_or_a_clear_no(model: Model) -> None:
    steps = np.arange(60.0 * DAY)
    jump, zero = np.where(steps < 700, 1e9, 1e-3), np.where(steps % 240 == 0, 1.0, 0.0)
    for history in (np.full(len(steps), 5.0), jump, zero, steps * 1e6):
        try:
            path = model.fit_predict(history, DAY, DAY)
        except CannotFit:
            continue
        assert np.isfinite(path).all()


ELSEWHERE = {"theta_day"}  # models that earn their place where weeks are unlike each other, as those of GPU demand are
NEAR = {"near_lags"}  # that foresee minutes only


@pytest.mark.parametrize("model", [case for case in MODELS if case.values[0].name in NEAR])
def test_beats_persistence_in_the_next_minutes(model: Model, shared_data: Path) -> None:
    """On the first half of a recording of five minutes, which judges nothing."""
    recording = next(one for one in RECORDINGS if "pdu7" in one.file)
    values = read_values(shared_data, recording)[: 15 * 288]
    error = []
    for origin in range(9 * 288, len(values) - 3, 5):
        truth = values[origin : origin + 3]
        error.append((np.abs(truth - model.fit_predict(values[:origin], 3, 288)), np.abs(truth - values[origin - 1])))
    mine, persistence = np.mean(error, axis=0)
    assert (mine < 0.99 * persistence).all()
    assert mine.sum() < 0.96 * persistence.sum()
    assert model.least(24, 24) > len(values)


@pytest.mark.parametrize("model", [case for case in MODELS if case.values[0].name in ELSEWHERE])
def test_beats_the_naive_on_gpu_demand_and_is_no_loss_elsewhere(model: Model, demand: Floats, loads: list[Floats]) -> None:
    assert ratio(model, demand) < 0.9
    assert max(ratio(model, load) for load in loads) < 1.3


def ratio(model: Model, load: Floats) -> float:
    """Of the model's error to the daily naive's over past moments of a load that it has not seen; NaN with under five."""
    origins = past_origins(len(load) - DAY, 15 * DAY, DAY, 14)
    able = [int(o) for o in origins if o >= model.least(DAY, DAY)]
    if len(able) < 5:
        return float("nan")
    errors = {}
    for name, one in ((model.name, model), (NAIVE_DAY, next(m for m in all_models() if m.name == NAIVE_DAY))):
        said = np.array([one.fit_predict(load[:o], DAY, DAY) for o in able])
        truth = np.array([load[o : o + DAY] for o in able])
        errors[name] = mase(truth, said, np.array([naive_scale(load[:o], DAY) for o in able]))
    return errors[model.name] / errors[NAIVE_DAY]


@pytest.mark.parametrize(
    "model", [case for case in MODELS if not (case.values[0].baseline or case.values[0].name in ELSEWHERE | NEAR)]
)
def test_beats_the_daily_seasonal_naive_on_recorded_data_it_has_not_seen(model: Model, loads: list[Floats]) -> None:
    ratios = [one for load in loads if np.isfinite(one := ratio(model, load))]
    assert min(ratios) < 0.9, ratios
    assert max(ratios) < 1.3, ratios
