"""The tuner on plants that are not ours: EnergyPlus, days instead of years (``icctwin bench cooling`` has the years)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from energy.tune.tuner import Options, Reading
from twin.errors import ConfigError
from ui.benches import energyplus, kept, steered
from ui.benches.cooling import bounds_kept, frontier_like_w
from ui.benches.energyplus import STEP_S
from ui.benches.steered import HallPlant, LoopPlant, Steered

SPAN = ((100, 109),)
EAGER = Options(shadow=48, probe=24)
DAY = round(86_400 / STEP_S)


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    if missing := energyplus.why_missing():
        pytest.skip(missing)


def loop() -> LoopPlant:
    return LoopPlant(frontier_like_w(12 * DAY, np.random.Generator(np.random.PCG64(4))))


@pytest.fixture(scope="module")
def done() -> Steered:
    return steered.steer(loop(), "sterling_4a", EAGER, spans=SPAN)


def test_a_warm_water_loop_takes_less_and_keeps_its_bounds(done: Steered) -> None:
    """Fixed set-points and flow against the tuner, under a load that jumps by most of the machine within minutes: over the
    days after it only watched, cooling falls by more than the 27.8 % of the Frontier study (arXiv 2603.01198), IT no more."""
    plant = loop()
    own = np.array([knob.own for knob in plant.physics.knobs])
    fixed = steered.constant(plant, own, "sterling_4a", SPAN)
    after = slice(3 * DAY, None)
    cooling = [plant.cooling_w(run)[after].mean() for run in (done.run, fixed)]
    facility = [plant.facility_w(run)[after].mean() for run in (done.run, fixed)]
    assert cooling[0] < 0.722 * cooling[1]
    assert facility[0] < facility[1]
    found = bounds_kept(plant.physics.knobs, kept.tuned_of(plant, done))
    assert found == {"violations_count": 0, "ramp_violations_count": 0, "dwell_violations_count": 0}


def test_what_it_promises_is_what_the_plant_does(done: Steered) -> None:
    """80 % intervals of the change against the plant's own settings, day by day: four of five days or more."""
    plant = loop()
    own = np.array([knob.own for knob in plant.physics.knobs])
    change_w = plant.facility_w(done.run) - plant.facility_w(steered.constant(plant, own, "sterling_4a", SPAN))
    hits = []
    for day in range(3, len(change_w) // DAY):
        said = [(e.low_w, e.high_w) for step, e in done.effects if day * DAY <= step < (day + 1) * DAY]
        low_w, high_w = np.mean(said, axis=0)
        assert high_w < 0, "it is sure of the sign"
        hits.append(low_w <= change_w[day * DAY : (day + 1) * DAY].mean() <= high_w)
    assert np.mean(hits) >= 0.8


def test_silence_gives_the_loop_back_to_its_own_control() -> None:
    """From the fifth day on nothing is read: within the time that an order lives the plant stands as it would by itself."""
    quiet_s = 4 * 86_400.0

    def silenced(reading: Reading) -> Reading:
        return reading._replace(wet_bulb_c=float("nan")) if reading.time_s >= quiet_s else reading

    plant = loop()
    got = steered.steer(plant, "sterling_4a", EAGER, spans=((100, 105),), disturb=silenced)
    own = np.array([knob.own for knob in plant.physics.knobs])
    late = round((quiet_s + EAGER.expires_s) / STEP_S)
    assert np.abs(got.settings[: round(quiet_s / STEP_S)] - own).max() > 0
    assert (got.settings[late:] == own).all()
    assert got.handed_back[late:].all()
    assert not sum((margin < 0).sum() for margin in plant.margins(got.run).values())


def test_the_hall_runs_on_its_patched_model_and_own_control() -> None:
    """Chilled water in both zones, supply air as ordered; the set points move what they should, and it takes some seconds."""
    try:
        plant = HallPlant("half_percent")
    except ConfigError as error:
        pytest.skip(str(error))
    span = ((190, 191),)
    cool, warm = (steered.constant(plant, np.array([supply, 20.0, 23.0]), "sterling_4a", span) for supply in (15.0, 22.0))
    assert warm.readings["west_inlet_c"].mean() - cool.readings["west_inlet_c"].mean() > 4
    assert warm.readings["cooling_w"].mean() < 0.95 * cool.readings["cooling_w"].mean()
    parts_w = plant.reading({name: column[50] for name, column in warm.readings.items()}, np.zeros(3), 50).parts_w
    facility_w = warm.readings["facility_w"][50]
    lights_w = facility_w - sum(parts_w.values())
    assert 0 <= lights_w < 0.05 * facility_w, "the parts sum to the meter but for light"


def test_a_bench_that_was_broken_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was run is read back the same without the engine; a tuner with other options is another run."""
    monkeypatch.setattr(kept, "_FOLDER", tmp_path)
    span = ((100, 100),)
    first = kept.tuned(loop(), "sterling_4a", EAGER, (), span)
    read = kept.commissioned(loop(), "sterling_4a", 3, span)
    assert not list(tmp_path.glob("*.part"))
    monkeypatch.setattr(energyplus, "run", None)
    again = kept.tuned(loop(), "sterling_4a", EAGER, (), span)
    assert all((np.asarray(getattr(first, name)) == np.asarray(getattr(again, name))).all() for name in kept.Tuned.__slots__)
    back = kept.commissioned(loop(), "sterling_4a", 3, span)
    assert [(one.time_s, one.parts_w, one.margins) for one in back] == [(one.time_s, one.parts_w, one.margins) for one in read]
    assert all((one.settings == other.settings).all() for one, other in zip(back, read, strict=True))
    with pytest.raises(TypeError):
        kept.tuned(loop(), "sterling_4a", replace(EAGER, horizon=3), (), span)


def test_an_engine_that_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energyplus, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="make plants"):
        energyplus.run(energyplus.loop(), "denver_5b", lambda time_s, seen: {})
