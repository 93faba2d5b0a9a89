"""Power of jobs: hours add up, a job's own end and power are never looked at, and recorded weeks are predicted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twin.jobpower import JobLog, fit_job_power, hourly
from twin.recorded_jobs import FILE, FIRST_S, kestrel_other_splits, kestrel_scores, read_kestrel

WEEK_S = 7 * 86400.0


def made_up(seed: int = 1, n: int = 4000) -> JobLog:
    """Two weeks of jobs: wide ones draw 700 W a node, single ones 500 W, each half hour's batch 80 W more or less."""
    rng = np.random.Generator(np.random.PCG64(seed))
    submit = np.sort(rng.uniform(0, 2 * WEEK_S, n // 8)).repeat(8)
    start = submit + rng.exponential(3600, n)
    nodes = np.where(np.arange(n) // 8 % 3 == 0, 16.0, 1.0)
    batch = rng.normal(0, 80, n // 8).repeat(8)
    power = np.where(nodes > 1, 700.0, 500.0) + batch + rng.normal(0, 10, n)
    return JobLog(submit, start, start + rng.exponential(5 * 3600, n), nodes, power)


def test_hours_are_means_over_what_runs() -> None:
    """Against sampling every ten seconds."""
    log, hours = made_up(n=400), np.arange(0.0, 86400 + 1, 3600)
    moments = np.arange(5.0, 86400, 10)
    running = (log.start_s[:, None] <= moments) & (log.end_s[:, None] > moments)
    sampled = (running * log.nodes[:, None]).sum(axis=0).reshape(24, 360).mean(axis=1)
    np.testing.assert_allclose(hourly(log, log.nodes, hours), sampled, atol=0.05 * sampled.max())


def _fitted(log: JobLog) -> np.ndarray:
    hours = np.arange(0.0, WEEK_S + 1, 3600)
    model = fit_job_power(log, WEEK_S, hours, hourly(log, log.nodes * log.power_w, hours))
    return model.node_w(log.submit_s, log.start_s, log.nodes)


def test_classes_and_batches_are_learnt() -> None:
    log = made_up()
    expected = _fitted(log)
    late = log.start_s > WEEK_S
    error = {"model": expected - log.power_w, "mean": np.mean(log.power_w[~late]) - log.power_w}
    assert np.sqrt((error["model"][late] ** 2).mean()) < 0.75 * np.sqrt((error["mean"][late] ** 2).mean())
    assert expected[late & (log.nodes > 1)].mean() - expected[late & (log.nodes == 1)].mean() > 150


def test_nothing_is_known_of_a_job_but_what_the_scheduler_knows_at_its_start() -> None:
    """Other ends and powers of the second week's jobs change no prediction of any; those of a job that had not ended when
    another of its batch started do not change that one's."""
    log = made_up()
    late = log.start_s > WEEK_S
    others = replace(log, end_s=np.where(late, log.start_s + 60, log.end_s), power_w=np.where(late, 9e9, log.power_w))
    hours = np.arange(0.0, WEEK_S + 1, 3600)
    meter = hourly(log, log.nodes * log.power_w, hours)
    models = [fit_job_power(each, WEEK_S, hours, meter) for each in (log, others)]
    told = [model.node_w(log.submit_s, log.start_s, log.nodes) for model in models]
    np.testing.assert_array_equal(told[0], told[1])
    key = (float(np.floor(log.submit_s[0] / 1800)), float(log.nodes[0]))
    ends, *_ = models[0].campaigns[key]
    before = models[0].node_w(log.submit_s[:1], np.array([ends[0] - 1.0]), log.nodes[:1])
    after = models[0].node_w(log.submit_s[:1], np.array([ends[0] + 1.0]), log.nodes[:1])
    nobody = replace(models[0], campaigns={}).node_w(log.submit_s[:1], np.array([ends[0] - 1.0]), log.nodes[:1])
    assert before == nobody
    assert after != before


def test_a_past_without_an_ended_job_is_refused() -> None:
    log = made_up(n=80)
    with pytest.raises(ValueError, match="no job ended"):
        fit_job_power(log, -1.0, np.array([-7200.0, -3600.0]), np.array([1.0]))


def test_the_second_week_of_a_recorded_cluster(shared_data: Path) -> None:
    """Kestrel (NREL): hourly power of 2,100 busy nodes from a fit on the week before, beside two baselines fitted alike."""
    scores = kestrel_scores(read_kestrel(shared_data / "twin" / FILE))
    model = scores.pop("model")
    assert model["mape_frac"] < 0.050
    assert abs(model["bias_frac"]) < 0.010
    for baseline in scores.values():
        assert model["mape_frac"] < 0.95 * baseline["mape_frac"]
        assert abs(model["bias_frac"]) < 0.6 * abs(baseline["bias_frac"])
    assert FIRST_S % 86400 == 0


def test_on_other_splits_it_is_as_good_as_a_constant_and_no_better(shared_data: Path) -> None:
    """The method was chosen with an eye on the second week; elsewhere it is within a twentieth of a constant per node. Should
    it become better, the README may say so."""
    scores = kestrel_other_splits(read_kestrel(shared_data / "twin" / FILE))
    assert scores["model"]["mape_frac"] == pytest.approx(scores["per_node_constant"]["mape_frac"], rel=0.05)
    assert scores["model"]["bias_frac"] < scores["per_node_constant"]["bias_frac"] * 1.1
