"""How fast fans may turn at most: what the tuner takes it to be worth, beside a search over the limit on the same plant, and
the whole way of the order on the simulated centre, whose towers share no equation with the tuner's. Each bound is tried to be
broken."""

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from energy_house import FAN_LIMIT
from faces_harness import DayStore, Hands
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.random import PCG64, Generator
from tuned_centre import STILL, Life

from energy.act import Desk, Stage
from energy.levers.tune import MODEL_DOUBT, MODEL_LEAST, MOVING_DOUBT_FRAC, WARM
from energy.plan import Mode
from energy.setpoints import OVER
from energy.tune.case import Case
from energy.tune.fans import EXCHANGER_K, LEAST, STEP, Fans
from energy.tune.tuner import Options as TunerOptions
from energy.tune.tuner import Reading, Tuner
from energy.tune.watch import Watch
from energy.tune.water import HELD_K, RANGE_K, WaterSite
from ingest.sources.simulated import Options, source_ids
from ingest.sources.simulated.effects import healthy
from ingest.sources.simulated.fleet import fleet_of
from ingest.sources.simulated.layout import demo_rows
from ingest.sources.simulated.loops import Loops
from twin.errors import SourceError
from twin.load import Row, build_site
from twin.params import PlantParams
from twin.ports import Action
from twin.state import State
from ui.acting import release_all
from ui.faces.pages import cooling
from ui.faces.pages.columns import look_at
from ui.view import Live, view
from ui.words import words

GPUS = 64
PLAIN = Options(gpus=GPUS, seed=45, faults=False)  # 15 °C of wet bulb at dawn, 24 °C in the afternoon
DAWN, NOON = (datetime(2026, 7, 20, hour, tzinfo=UTC) for hour in (6, 13))
_ASSETS, _LINKS = demo_rows(GPUS)
SITE = build_site("demo", "UTC", [*_ASSETS, *(Row("s", {"id": i, "kind": "source"}) for i in source_ids("sim", PLAIN))], _LINKS)
TOWERS = SITE.ids_of("tower")


# what it is taken to be worth


@given(st.floats(0.05, 0.6), st.floats(5.0, 26.0), st.floats(0.4, 1.2), st.floats(0.3, 1.0))
def test_how_much_water_towers_have_is_read_off_what_their_fans_reach(
    crowded: float, wet_c: float, load: float, speed: float
) -> None:
    """Whatever the plant's own: how near the wet bulb its water comes at a speed shows it, and what tells nothing changes
    nothing."""
    plant, fans = Fans(0.03, 2.0, RANGE_K, crowded), Fans(0.03, 2.0, RANGE_K, 0.3)
    near_k = float(plant.approach_k(np.array(load), np.array(speed), np.array(wet_c)))
    assume(near_k > EXCHANGER_K + 0.55)
    for _ in range(90):
        fans = fans.turned(load, near_k - EXCHANGER_K, wet_c, speed)
    assert fans.crowded_ratio == pytest.approx(crowded, rel=0.01)
    held = float(plant.speed_frac(np.array(load), np.array(near_k), np.array(wet_c)))
    assert held == pytest.approx(speed, rel=1e-6), "speed and approach are each other's inverse"
    for silent in (np.nan, 0.2):
        assert fans.turned(load, near_k, wet_c, silent) == fans
    assert fans.turned(load, np.nan, wet_c, speed) == fans
    assert fans.ranged(load, np.nan) == fans


class Steady(NamedTuple):
    """The simulated plant at rest: power of chillers and of fans [W], speed of fans, how near the wet bulb towers come,
    range of the water, and how far it is over its setpoint [K]."""

    chill_w: float
    fan_w: float
    speed: float
    near_k: float
    range_k: float
    over_k: float

    @property
    def cold_w(self) -> float:
        return self.chill_w + self.fan_w


FLEET = fleet_of(SITE)
RACK_W = SITE.number("rack", "rated_w")
IT_W = float(RACK_W.sum())


@cache
def steady(wet_c: float, load: float, limit: float) -> Steady:
    water = Loops(FLEET, healthy(FLEET, Generator(PCG64(1))), Generator(PCG64(2)))
    water.fan_limit[:] = limit
    for _ in range(40):
        water.advance(RACK_W * load, wet_c, wet_c + 6, 180.0)
    powers = float(water.chiller_w.sum()), float(water.tower_w.sum())
    return Steady(
        *powers, float(water.fan.mean()), water.tower_c - wet_c, water.plant_return_c - water.plant_c, water.plant_c - 25.0
    )


def reading(i: int, wet_c: float, load: float, limit: float) -> Reading:
    at = steady(wet_c, load, limit)
    parts = {"it": IT_W * load, "chill": at.chill_w, "fan": at.fan_w, "cold": at.cold_w, "pump": 0.01 * IT_W * load}
    margins = {"junction_k": 9.0, "dew_k": 9.0, "gap_k": 2.0, "held_k": HELD_K - at.over_k}
    return Reading(1800.0 * i, np.array([25.0, 32.0, limit]), wet_c + 5, wet_c, load, parts, margins)


def seen(physics: WaterSite, one: Reading, at: Steady) -> WaterSite:
    case = Case(one.settings, *map(np.asarray, (one.dry_bulb_c, one.wet_bulb_c, one.load_frac)))
    return physics.staged(case, np.nan, np.nan, at.speed, at.near_k, at.range_k)


@cache
def taught() -> tuple[WaterSite, Tuner]:
    """What a week by the plant's own control teaches, of 11 to 25 °C of wet bulb and loads from 0.3 to full."""
    chilled_w = float(SITE.number("chiller", "rated_w").sum()) * PlantParams().chiller_cop
    fans = Fans(float(SITE.number("tower", "rated_w").sum()) / IT_W, chilled_w / IT_W, RANGE_K, IT_W / chilled_w)
    physics = WaterSite(IT_W, (25.0, 32.0), 9.0, STILL, 25.0, 1.0, None, fans)
    past, then = [], []
    for i in range(7 * 48):
        wet_c = round(18.0 + 4 * np.sin(2 * np.pi * i / 48) + 3 * np.sin(2 * np.pi * i / 240))
        load = round(0.65 + 0.35 * np.sin(2 * np.pi * i / 110), 1)
        past.append(reading(i, float(wet_c), load, 1.0))
        physics = seen(physics, past[-1], steady(float(wet_c), load, 1.0))
        then.append(physics)
    options = TunerOptions(shadow=0, probe=0, moving_doubt_frac=MOVING_DOUBT_FRAC, watch=Watch(rest=4))
    tuner = Tuner(physics, options)
    tuner.commission(past, MODEL_DOUBT, MODEL_LEAST, then)
    return physics, tuner


def settled(wet_c: float, load: float) -> float:
    """The limit that the tuner comes to under one weather and load; what it does not promise surely is not ordered."""
    physics, tuner = deepcopy(taught())
    limit = 1.0
    for i in range(10):
        now = reading(7 * 48 + i, wet_c, load, limit)
        physics = tuner.physics = seen(physics, now, steady(wet_c, load, limit))
        made = tuner.step(now)
        sure = made.settings is not None and made.effect is not None and made.effect.high_w < 0
        limit = round(float(made.settings[-1]), 2) if sure and made.settings is not None else 1.0
    return limit


def searched(wet_c: float, load: float) -> tuple[float, float, float, float, float]:
    """Power [W] by own control, by the tuner and at best, and both limits."""
    limit, own_w = settled(wet_c, load), steady(wet_c, load, 1.0).cold_w
    every = {most: steady(wet_c, load, most).cold_w for most in np.arange(LEAST, 1.01, STEP).round(2).tolist()}
    best = min(every, key=lambda most: every[most])
    return own_w, every[limit], every[best], limit, best


CASES = [(wet_c, load) for load in (0.3, 0.5, 0.75, 1.0) for wet_c in (14.0, 18.0, 22.0, 24.0, 26.0)]


def test_the_tuner_comes_near_the_best_limit_of_a_search_on_the_same_plant() -> None:
    """The optimum moves with wet bulb and load; where nothing is to be had, nothing is ordered, and it is never a loss."""
    found = np.array([searched(*case) for case in CASES])
    own, tuned, best = found[:, :3].T
    assert (tuned <= own * 1.002).all()
    assert (own - tuned).sum() > 0.4 * (own - best).sum()
    cool = np.array([wet_c < 16 for wet_c, _ in CASES])
    assert (found[cool, 3] == 1.0).all()
    assert len(set(found[~cool, 3])) > 2


# the whole way


async def test_fans_slow_down_on_a_warm_afternoon_and_that_saves() -> None:
    """A summer's day lived twice, once advised and once steered, by an operator who lets no water move: in the cool of the
    morning nothing is ordered, later fans are held back, cooling takes less, water stays as cold as ordered."""
    advised, steered = (Life(SITE, PLAIN, mode, DAWN, days=7) for mode in (Mode.ADVISE, Mode.AUTO))
    for life in (advised, steered):
        await life.go(14 * 60, 10.0)
    assert advised.fan_limit == [1.0] * len(advised.fan_limit)
    limit = np.array(steered.fan_limit)
    assert (limit[: 4 * 6] == 1.0).all(), "the air of the morning is cold enough"
    assert limit.min() <= 0.8
    assert limit.min() >= LEAST
    held = limit < 1.0
    saved = 1 - np.mean(np.array(steered.cold_w)[held]) / np.mean(np.array(advised.cold_w)[held])
    assert saved > 0.1
    assert np.mean(steered.cold_w) < 0.9 * np.mean(advised.cold_w)
    assert max(steered.over_k) < 1.0
    assert (np.diff(limit) >= -STEP - 1e-9).all(), "a step at a time"
    lowered = np.flatnonzero(np.diff(limit) < -1e-9)
    assert (np.diff(lowered) * 10.0 >= 30).all(), "half an hour apart"
    orders = steered.audit(FAN_LIMIT)
    assert all(r["readback"] == r["ordered"] for r in orders if r["stage"] == Stage.DONE)
    steered.mode = Mode.ADVISE  # nobody renews
    await steered.go(70, 10.0)
    assert (steered.plant.loops.fan_limit == 1.0).all()
    assert not steered.desk.in_force
    assert steered.audit(FAN_LIMIT)[-1]["why"]["text"] == OVER.text


async def test_fans_are_given_back_as_soon_as_water_is_not_held() -> None:
    """Fans at 0.5 past lever and guard, and no chiller that could help: given back within minutes, not at the order's end."""
    life = Life(SITE, PLAIN, Mode.ADVISE, NOON)
    await life.go(30)
    assert life.running[-1] >= 1
    assert await life.order(FAN_LIMIT, *((tower, LEAST) for tower in TOWERS)) is Stage.DONE
    life.plant.loops.limit = 0
    life.lever._made, life.lever._back_until_s = None, life.now.timestamp() + 3600  # as if it were the lever's own
    await life.go(40, 2.0, plans=False)
    assert min(life.fan) == pytest.approx(LEAST, abs=0.02)
    assert (life.plant.loops.fan_limit == 1.0).all()
    assert life.fan[-1] > 0.99
    assert life.lever.withdraw(SITE, life.state, life.now) is None, "once"
    last = life.audit(FAN_LIMIT)[-1]
    assert (last["stage"], last["why"]["text"]) == (Stage.REVERTED, WARM)
    back = [r for r in life.audit(FAN_LIMIT) if r["stage"] == Stage.REVERTING]
    assert len(back) == len(TOWERS), "at once, and not in steps"


async def test_when_nobody_is_left_the_plant_heeds_no_limit_and_the_watchdog_lets_go() -> None:
    life = Life(SITE, PLAIN, Mode.ADVISE, NOON)
    await life.go(20)
    assert await life.order(FAN_LIMIT, *((tower, LEAST) for tower in TOWERS)) is Stage.DONE
    life.plant.loops.limit = 0
    for _ in range(20):  # our process is dead: nobody looks
        life.now += timedelta(minutes=2)
        await life.look()
    assert (life.plant.loops.fan_limit == LEAST).all()
    assert max(life.fan[-15:]) > 0.99, "its own protection"
    assert max(life.over_k) < 4
    heir = Desk(SITE, life.records, life.opened.actuators, life.now)
    assert await release_all(heir, State(SITE), {}, life.now) == 0
    assert (life.plant.loops.fan_limit == 1.0).all()
    assert "watchdog" in life.audit(FAN_LIMIT)[-1]["why"]["text"]


async def test_an_order_that_nobody_renews_ends_at_the_plant_itself() -> None:
    life = Life(SITE, PLAIN, Mode.ADVISE, NOON)
    await life.look()
    assert await life.order(FAN_LIMIT, (TOWERS[0], 0.6)) is Stage.DONE
    life.now += timedelta(minutes=61)
    await life.look()
    assert (life.plant.loops.fan_limit == 1.0).all()


@pytest.mark.parametrize("limit", [-0.1, 0.2, 1.1])
async def test_a_drive_takes_what_it_can_only(limit: float) -> None:
    life = Life(SITE, PLAIN, Mode.ADVISE, NOON)
    await life.look()
    action = Action(TOWERS[0], FAN_LIMIT, limit, life.now + timedelta(hours=1), "k")
    with pytest.raises(SourceError, match="refuses"):
        await life.opened.actuators[TOWERS[0]].apply(action, life.now)
    assert (life.plant.loops.fan_limit == 1.0).all()


@pytest.mark.parametrize(("language", "label"), [("en", "fan at most"), ("zh", "风机上限")])
async def test_the_page_shows_the_limit_beside_the_speed_where_there_is_one(language: str, label: str) -> None:
    life = Life(SITE, PLAIN, Mode.ADVISE, NOON)
    await life.look()
    assert await life.order(FAN_LIMIT, (TOWERS[0], 0.75)) is Stage.DONE
    life.now += timedelta(minutes=1)
    await life.look()

    def boxes(state: State) -> dict[str, dict[str, str]]:
        live = Live(SITE, state, DayStore(), life.records, Hands(life.now), life.now)
        seen = view(live, life.now)
        drawn = cooling.told(look_at(cooling.METRICS)(seen, live), seen, words(language))["d.loops"]
        return {node["id"]: {name: cell["n"] for name, cell in node["cells"]} for node in drawn["nodes"]}

    shown = boxes(life.state)
    assert [float(shown[tower][label]) for tower in TOWERS] == [75, 100]
    assert label not in boxes(State(SITE))[TOWERS[0]], "no place is kept for what a plant never tells"


@given(st.floats(0.22, 1.0), st.floats(0.3, 1.0), st.floats(0.3, 1.0), st.booleans())
def test_fans_that_may_turn_faster_stand_in_for_those_that_may_not(need: float, one: float, other: float, called: bool) -> None:
    water = Loops(FLEET, healthy(FLEET, Generator(PCG64(1))), Generator(PCG64(2)))
    water.fan_limit[:] = (one, other)
    water.called = called
    told = water._turned(need)
    assert (told <= (1.0 if called else water.fan_limit + 1e-12)).all()
    assert told.mean() == pytest.approx(need if called else min(need, (one + other) / 2))
