"""How many chillers may run: what the tuner takes it to be worth, and the whole way of the order on the simulated centre, whose
chillers share no equation with the tuner's. Each bound is tried to be broken."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from energy_house import LIMIT
from hypothesis import given
from hypothesis import strategies as st
from tuned_centre import STEP_MIN, Life

from energy.act import Desk, Stage
from energy.levers.tune import WARM
from energy.plan import Mode
from energy.tune.bank import Bank
from energy.tune.water import HELD_K
from ingest.sources.simulated import Options, source_ids
from ingest.sources.simulated.layout import demo_rows
from twin.errors import SourceError
from twin.load import Row, build_site
from twin.physics.chiller import bank_power_w
from twin.ports import Action
from twin.site import Site
from twin.state import State
from ui.acting import release_all

NOON = datetime(2026, 7, 20, 9, 30, tzinfo=UTC)
UNITS, GPUS = 4, 64
CAREFUL = Options(gpus=GPUS, seed=3, faults=False, stage_frac=0.3)  # starts a further chiller early, as careful plants do


def centre() -> Site:
    """The demo with four chillers, of which three carry all."""
    assets, links = demo_rows(GPUS)
    cells = next(row.cells for row in assets if row.cells["id"] == "ch1")
    each = {**cells, "rated_w": str(float(cells["rated_w"]) / (UNITS - 1))}
    assets = [row for row in assets if row.cells["kind"] != "chiller"]
    links = [row for row in links if not any(row.cells[end].startswith("ch") for end in ("from", "to"))]
    for i in range(1, UNITS + 1):
        assets.append(Row("t", {**each, "id": f"ch{i}", "name": f"Chiller {i}"}))
        links += [
            Row("t", {"from": one, "to": other, "relation": relation})
            for one, other, relation in (
                (f"ch{i}", "plant-loop", "cools"), ("ct1", f"ch{i}", "cools"), ("plant-ta", f"ch{i}", "feeds"),
            )
        ]  # fmt: skip
    assets += [Row("s", {"id": i, "kind": "source"}) for i in source_ids("sim", CAREFUL)]
    return build_site("demo", "UTC", assets, links)


SITE = centre()


def life_of(mode: Mode, start: datetime = NOON) -> Life:
    return Life(SITE, CAREFUL, mode, start)


# what it is taken to be worth


@pytest.mark.parametrize(("heat", "most"), [(0.2, 4.0), (0.4, 2.0), (0.4, 4.0), (0.75, 4.0)])
def test_part_load_costs_what_the_twins_chillers_take(heat: float, most: float) -> None:
    bank = Bank(4, 0.25, stage_frac=0.5)
    running = float(bank.running(np.array(heat), np.array(most)))
    assert running == min(np.ceil(heat / 0.25 / 0.5), most)
    taken = running * float(bank_power_w(heat / running, 0.25, 1, 5.0))
    assert float(bank.surplus_frac(np.array(heat), np.array(most))) == pytest.approx(taken / (heat / 5.0) - 1)


@given(st.floats(0.05, 0.95), st.lists(st.floats(0.01, 0.99), min_size=8, max_size=20))
def test_a_sequence_is_read_off_how_many_run(true_frac: float, heats: list[float]) -> None:
    """Whatever the plant's own threshold: what was seen is explained, and what cannot tell changes nothing."""
    plant, bank = Bank(4, 0.25, stage_frac=max(true_frac, 0.2)), Bank(4, 0.25)
    for heat in heats:
        running = float(plant.running(np.array(heat), np.array(4.0)))
        bank = bank.staged(heat, running, 4.0)
        assert float(bank.running(np.array(heat), np.array(4.0))) == running
    assert bank.staged(heats[0], 0.0, 4.0) == bank, "none runs"
    assert bank.staged(0.5, 2.0, 2.0) == bank, "no more may"
    assert bank.staged(float("nan"), 2.0, 4.0) == bank


# the whole way


async def test_chillers_that_are_not_needed_rest_and_that_saves() -> None:
    """A summer's noon lived twice, once advised and once steered, by an operator who lets neither water move: fewer run,
    cooling takes less, water stays as cold as ordered, and without a word of ours all is as it was within the hour."""
    advised, steered = life_of(Mode.ADVISE), life_of(Mode.AUTO)
    for life in (advised, steered):
        await life.go(5.5 * 60)
    ordered = steered.audit(LIMIT)
    begun = [i for i, most in enumerate(steered.limits) if most < UNITS]
    assert begun, "chillers were held back"
    held = slice(begun[0], begun[-1] + 1)
    assert advised.limits == [UNITS] * len(advised.limits)
    assert np.mean(steered.running[held]) < np.mean(advised.running[held]) - 0.5
    saved = 1 - np.mean(steered.cold_w[held]) / np.mean(advised.cold_w[held])
    assert saved > 0.01
    assert max(steered.over_k) < 1.0
    assert all(r["readback"] == r["ordered"] for r in ordered if r["stage"] == Stage.DONE)
    changes = np.flatnonzero(np.diff([UNITS, *steered.limits]))
    assert (np.diff(changes) * STEP_MIN >= 60).all(), "compressors rest and run for a while"
    steered.mode = Mode.ADVISE  # nobody renews
    await steered.go(70)
    assert steered.plant.loops.limit == UNITS
    assert LIMIT not in {entry.action.metric for entry in steered.desk.in_force}


async def test_too_few_are_given_back_as_soon_as_water_is_not_held() -> None:
    """No chiller in the afternoon, ordered past lever and guard: it is taken back within minutes, not at its end."""
    life = life_of(Mode.ADVISE, NOON + timedelta(hours=4))
    await life.go(30)
    assert life.running[-1] >= 2
    assert await life.order(LIMIT, ("plant-loop", 0.0)) is Stage.DONE
    life.lever._made, life.lever._back_until_s = None, life.now.timestamp() + 3600  # as if it were the lever's own
    await life.go(40, 2.0, plans=False)
    assert 0 in life.running[-20:]
    assert life.plant.loops.limit == UNITS
    assert life.running[-1] >= 1
    assert max(life.over_k) < HELD_K + 1.5
    assert life.lever.withdraw(SITE, life.state, life.now) is None, "once"
    last = life.audit(LIMIT)[-1]
    assert (last["stage"], last["why"]["text"]) == (Stage.REVERTED, WARM)


async def test_when_nobody_is_left_the_plant_calls_its_chillers_and_the_watchdog_lets_go() -> None:
    life = life_of(Mode.ADVISE, NOON + timedelta(hours=4))
    await life.go(20)
    assert await life.order(LIMIT, ("plant-loop", 0.0)) is Stage.DONE
    for _ in range(15):  # our process is dead: nobody looks, and the plant's own protection heeds no order
        life.now += timedelta(minutes=2)
        await life.look()
    assert life.plant.loops.limit == 0
    assert life.running[-1] >= 1
    assert max(life.over_k) < 4
    heir = Desk(SITE, life.records, life.opened.actuators, life.now)
    assert await release_all(heir, State(SITE), {}, life.now) == 0
    assert life.plant.loops.limit == UNITS


@pytest.mark.parametrize("most", [-1.0, 1.5, 5.0])
async def test_the_controller_takes_whole_numbers_of_its_chillers_only(most: float) -> None:
    life = life_of(Mode.ADVISE)
    await life.look()
    action = Action("plant-loop", LIMIT, most, life.now + timedelta(hours=1), "k")
    with pytest.raises(SourceError, match="refuses"):
        await life.opened.actuators["plant-loop"].apply(action, life.now)
    assert life.plant.loops.limit == UNITS
