"""KPIs against published numbers, by hand, and where nothing was measured."""

from dataclasses import replace

import numpy as np
import pytest
from test_known import jobs

from analytics import kpis
from twin.job import Jobs, JobState

NAN = float("nan")


def test_llama_3_s_interruptions() -> None:
    """Llama 3 405B: 16,384 H100 for 54 days with 419 unexpected interruptions: 50.7 thousand GPU-hours each."""
    rate = kpis.exposure_per_event(16_384 * 54 * 24, 419)
    assert rate.value == pytest.approx(50_677, rel=1e-3)
    assert 46_500 < rate.low < rate.value < rate.high < 55_300


def test_titan_s_double_bit_errors() -> None:
    """Titan: 100,820 GPU-years with 4,826 double-bit errors, one in 20.9 GPU-years."""
    assert kpis.exposure_per_event(100_820, 4_826).value == pytest.approx(20.9, abs=0.05)


def test_no_event_still_says_something() -> None:
    """The rule of three: with none seen, 3.0 expected is the most at 95 %, one-sided (Hanley & Lippman-Hand 1983)."""
    rate = kpis.exposure_per_event(300.0, 0, confidence_frac=0.9)
    assert rate.low == pytest.approx(300 / 2.996, rel=1e-3)
    assert np.isinf([rate.value, rate.high]).all()
    with pytest.raises(ValueError, match="from 0"):
        kpis.exposure_per_event(-1, 0)


def test_effective_training_time() -> None:
    gpus = np.array([8, 16], dtype=np.int32)
    assert kpis.ettr_frac(np.array([90.0, 50]), np.array([100.0, 100]), gpus) == pytest.approx((8 * 90 + 16 * 50) / 2400)
    with pytest.raises(ValueError, match="productive for longer"):
        kpis.ettr_frac(np.array([101.0]), np.array([100.0]), gpus[:1])


def waits_of(table: Jobs) -> list[kpis.Wait]:
    return kpis.queue_waits(table.start_s - table.submit_s, table.gpus, table.limit_s)


def test_waits_by_size_class_count_only_who_started() -> None:
    run, wait = JobState.RUNNING, JobState.PENDING
    table = jobs((run, 1, 0, 1, 2), (run, 4, 0, 3, 1), (run, 64, 0, 10, 1), (wait, 512, 0, NAN, 1))
    found = {(one.least, one.most): one for one in waits_of(table)}
    assert (found[1, 7].jobs, found[1, 7].p50_s) == (2, 2 * 3600)
    assert found[64, 511].p95_s == 36_000
    assert found[512, 4095].jobs == 0
    assert found[1, 0].gpu_weighted_mean_s == pytest.approx(3600 * (1 * 2 + 3 * 4 + 10 * 64) / 70)


def test_a_job_without_a_limit_weighs_as_one_of_the_usual_length() -> None:
    """8 GPUs that waited an hour, 1,024 without a limit that waited ten: the mean is near ten, whoever has a limit."""
    table = jobs((JobState.RUNNING, 8, 0, 1, 24), (JobState.RUNNING, 1024, 0, 10, 24))
    for told in ([86400.0, NAN], [NAN, NAN], [86400.0, 86400.0]):
        one = waits_of(replace(table, limit_s=np.array(told)))[-1]
        assert one.gpu_weighted_mean_s == pytest.approx(3600 * (8 * 1 + 1024 * 10) / 1032)


def test_fragmentation_by_hand() -> None:
    """Idle 8 + 3 + 1; of the tasks half want 8 (4 are stranded), half want 2 (1 is stranded)."""
    idle, sizes = np.array([8, 3, 1], dtype=np.int32), np.array([8, 16, 2, 2], dtype=np.int32)
    assert kpis.fragmentation_frac(idle, sizes, 8) == pytest.approx((0.5 * 4 + 0.5 * 1) / 12)
    assert kpis.fragmentation_frac(idle * 0, sizes, 8) == 0
    assert np.isnan(kpis.fragmentation_frac(idle, sizes[:0], 8))


def test_utilisation_counts_what_lies_in_the_window() -> None:
    held = np.array([4, 2], dtype=np.int32)
    begun, over = np.array([-18_000.0, 3600.0]), np.array([np.inf, 5400.0])
    assert kpis.utilisation_frac(begun, over, held, 8, 0.0, 7200.0) == pytest.approx((4 * 2 + 2 * 0.5) / 16)
    assert kpis.utilisation_frac(begun[:0], over[:0], held[:0], 8, 0.0, 7200.0) == 0
    assert np.isnan(kpis.utilisation_frac(begun, over, held, 0, 0.0, 7200.0))


def test_silence_is_not_availability_and_nothing_is_nothing() -> None:
    assert kpis.availability_frac(np.array([[1.0, 1], [NAN, 0]])) == 0.5
    mean, seen = kpis.known_mean(np.array([0.5, NAN, 1.0]))
    assert (mean, seen) == (0.75, pytest.approx(2 / 3))
    assert np.isnan(kpis.known_mean(np.array([NAN]))[0])


def test_ratios() -> None:
    assert kpis.goodput_frac(0.95, 0.9, 0.5) == pytest.approx(0.4275)
    assert kpis.effective_flops(1e15, 100, 0.98, 0.4) == pytest.approx(3.92e16)
    assert kpis.rack_fill_frac(45, 60) == 0.75
