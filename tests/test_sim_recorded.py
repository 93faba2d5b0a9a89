"""Recorded power in place of jobs: what cannot be is located, what is missing is held and said."""

from pathlib import Path

import numpy as np
import pytest

from ingest.traces import read_trace
from tests.small import small_site
from twin.errors import ConfigError
from twin.params import Params
from twin.sim.fleet import fleet_of
from twin.sim.outlook import Outlook
from twin.sim.telemetry import PowerReplay, Telemetry
from twin.simulate import Trajectory, simulate

SITE = small_site()


def run(work: Telemetry, hours: float = 0.1, step_s: float = 60.0) -> Trajectory:
    return simulate(SITE, work, Params(), Outlook(), 3600 * hours, step_s)


def test_recorded_power_that_cannot_be_is_located() -> None:
    time_s = np.array([0.0, 60.0])
    with pytest.raises(ConfigError, match=r"row 2, column r1: a power of -5 W cannot be"):
        run(Telemetry(time_s, ("r1",), np.array([[5.0], [-5.0]])))
    with pytest.raises(ConfigError, match="column moon: is no rack"):
        run(Telemetry(time_s, ("moon",), np.array([[5.0], [5.0]])))
    with pytest.raises(ConfigError, match="column h1: tells of the same rack as column r1: leave one of the two out"):
        run(Telemetry(time_s, ("h1", "r1"), np.full((2, 2), 5.0)))
    with pytest.raises(ConfigError, match="column r1n1: has no reading"):
        run(Telemetry(time_s, ("r1n1", "r1n2"), np.array([[np.nan, 5.0], [np.nan, 5.0]])))


def test_a_gap_in_recorded_power_is_held_and_said() -> None:
    """An hour told, three silent, an hour told and an hour beyond the end; one blank cell is a reading that is not there."""
    time_s = np.concatenate([np.arange(0, 3600, 60.0), np.arange(4 * 3600, 5 * 3600, 60.0)])
    power_w = np.tile([8000.0, 9000.0], (len(time_s), 1))
    power_w[time_s >= 4 * 3600] = 5000.0
    power_w[:2, 0], power_w[5, 1] = np.nan, np.nan
    made = run(Telemetry(time_s, ("r1n1", "r1n2"), power_w), hours=6.0, step_s=60.0)
    it = made.series["it_power_w"]
    others_w = it[0] - 17e3
    np.testing.assert_allclose(it - others_w, np.where(np.arange(360) < 240, 17e3, 10e3))
    assert "r1n1 has no reading for 4.0 h of the run (2 columns have gaps); the reading before was held" in made.notes
    whole = run(Telemetry(time_s[:60], ("r1n2",), power_w[:60, 1:]), hours=1.0, step_s=60.0)
    assert not any("no reading" in note for note in whole.notes)


def test_power_of_a_step_is_its_mean_and_both_ends_are_held() -> None:
    """100 W from 0 s and 300 W from 600 s on: before and after as at the ends; a step across the change has both by halves."""
    replay = PowerReplay(
        SITE, fleet_of(SITE, Params()), Telemetry(np.array([0.0, 600.0]), ("r1",), np.array([[100.0], [300.0]]))
    )
    for start_s, mean_w in ((-600.0, 100.0), (-150.0, 100.0), (0.0, 100.0), (450.0, 200.0), (600.0, 300.0), (5000.0, 300.0)):
        assert replay.advance(start_s, 300.0, 1)[0][0, 0] == pytest.approx(mean_w), start_s


def test_a_clock_that_was_set_back_is_located(tmp_path: Path) -> None:
    """The hour in October that comes twice, written without its zone."""
    file = tmp_path / "p.csv"
    file.write_text("time,r1\n2026-10-25T02:59:00,100\n2026-10-25T02:00:00,100\n")
    with pytest.raises(ConfigError, match=r"p\.csv:3: time '2026-10-25T02:00:00' does not lie after the row before"):
        read_trace(file, "power-csv")
