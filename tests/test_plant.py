"""A plant that another program computed with other equations: what calibration makes of it on days that it has not seen."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from twin.calibrate import propose
from twin.history import History
from twin.params import Params
from twin.recorded_plant import LEARN, STEP_S, plant_scores, read_plant

FILE = "plant/energyplus-warm-water.csv"


def test_a_calibrated_twin_reproduces_a_plant_of_energyplus(fixtures: Path) -> None:
    """Best published of a twin of a real loop: CV(RMSE) under 2.7 %, |NMBE| under 2.5 % (Frontier, arXiv 2603.01198)."""
    made = plant_scores(fixtures / FILE)
    assert made["cvrmse_frac"] < 0.020
    assert abs(made["nmbe_frac"]) < 0.006
    for what in ("power", "heat"):
        assert made[f"before_{what}_cvrmse_frac"] > 3 * made[f"{what}_cvrmse_frac"], "it was worse before"


def test_the_exchanger_is_found_as_it_was_made(fixtures: Path) -> None:
    """The model beside the record has 1.5 MW/K whatever the flow; sensors off by 0.05 to 0.1 K move that a little."""
    plant = read_plant(fixtures / FILE)
    start = datetime.fromtimestamp(float(plant.time_s[0]), UTC)
    fits = {one.name: one for one in propose(History(plant.site, plant, start, start + LEARN, STEP_S), Params())}
    conductance, exponent = fits["exchanger"].values
    assert conductance.value == pytest.approx(1.5e6, rel=0.05)
    assert exponent.low < 0.05
    assert exponent.high < 0.2
    assert not fits["flow"].sound
    assert "only 0 readings" in str(fits["flow"].why)


def test_a_history_is_on_one_grid_of_times_and_bounded(fixtures: Path) -> None:
    plant = read_plant(fixtures / FILE)
    start = datetime.fromtimestamp(float(plant.time_s[0]), UTC) - timedelta(hours=2)
    history = History(plant.site, plant, start, start + timedelta(hours=6), STEP_S)
    fan = history.column("tower", "fan_speed_frac")
    assert fan.shape == (12, 1)
    assert np.isnan(fan[:4]).all()
    assert np.isfinite(fan[4:]).all()
    assert np.isnan(history.column("tower", "supply_temp_c")).all()
    with pytest.raises(ValueError, match="take longer steps"):
        History(plant.site, plant, start, start + timedelta(days=400), 1.0).column("tower", "power_w")
