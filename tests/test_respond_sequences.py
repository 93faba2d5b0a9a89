"""Requests of the grid one beside and after the other, as they come in life: what is held, let go and proven in each case."""

from dataclasses import replace

import numpy as np
import pytest
from responding_house import asking_house, limit

from energy.plan import Mode
from twin.job import JobState


@pytest.fixture
async def asked(tmp_path):
    """The house after its first look, and who asks."""
    house, grid = asking_house(tmp_path)
    house.hour_before()
    await house.minute()
    yield house, grid
    house.store.close()
    house.records.close()


# --- limits that lie above the load -----------------------------------------------------------------------------------


async def test_a_limit_above_the_load_holds_once_the_load_comes_to_it_and_lets_go_when_it_is_gone(tmp_path):
    """7.2 kW when a limit of 10.8 kW begins; the jobs would draw 12 kW an hour later, and 7.2 kW again after another."""
    house, grid = asking_house(tmp_path)
    house.hour_before(200.0)
    grid.asks(limit(house, "cap", 10, 250, 10.8))
    await house.minutes(60)
    assert house.told("begun")[0]["baseline_w"] == 7200
    assert (house.caps == 700).all()
    assert house.slurm.orders == []
    house.draws[:] = 500.0
    await house.minutes(60)
    assert max(house.meter[65:]) <= 10_800
    assert house.meter[-1] >= 10_800 * 0.99  # not more than is asked
    assert house.slurm.begin[2] > house.clock.now().timestamp()
    house.draws[:] = 200.0
    await house.minutes(30)
    assert (house.caps == 700).all()
    assert np.isnan(house.slurm.begin[2])
    house.store.close()
    house.records.close()


@pytest.mark.parametrize(("kw", "waits"), [(10.8, True), (14.1, True), (14.2, False)])
async def test_below_a_limit_only_what_does_not_fit_waits(asked, kw, waits):
    """Eight GPUs are free: 4 + 8 x 0.5 + 8 x 0.07 = 8.56 kW, and 8 x 0.7 = 5.6 kW could start. 0.2 % of a limit are kept."""
    house, grid = asked
    house.slurm.state[1] = JobState.COMPLETED
    grid.asks(limit(house, "cap", 0, 240, kw))
    await house.minutes(10)
    assert (not np.isnan(house.slurm.begin[2])) == waits
    assert (house.caps == 700).all()
    if kw == 10.8:
        house.draws[:8] = 30.0  # 4.8 kW: now it fits, and has 2 % to spare
        await house.minutes(3)
        assert np.isnan(house.slurm.begin[2])


@pytest.mark.parametrize(
    ("kw", "mode", "rests"),
    [(20.0, Mode.AUTO, False), (10.8, Mode.ADVISE, False), (10.8, Mode.AUTO, True), (10.8, Mode.APPROVE, True)],
)
async def test_other_levers_rest_only_while_an_answer_is_in_force(asked, kw, mode, rests):
    """12 kW under a limit without an end: below 20 kW there is nothing to do, and what is advised touches nobody's work."""
    house, grid = asked
    house.live.modes |= dict.fromkeys(("demand_response", "job_respond"), mode)
    grid.asks(limit(house, "cap", 0, np.inf, kw))
    await house.minutes(5)
    assert house.acting._responding.busy == rests
    assert (house.live.resting is not None) == rests
    grid.asks()
    await house.minute()
    assert house.live.resting is None


async def test_between_two_parts_of_a_request_work_may_move_unless_some_is_held(asked):
    """10.8 kW in the minutes 10 to 40 and 160 to 190: an hour after the first part nobody is capped."""
    house, grid = asked
    first, second = (limit(house, "parts", begin, begin + 30, 10.8) for begin in (10, 160))
    house.slurm.state[2] = JobState.COMPLETED
    grid.asks(replace(first, intervals=first.intervals + second.intervals))
    await house.minutes(30)
    assert house.live.resting is not None
    await house.minutes(70)
    assert house.live.resting is None
    await house.minutes(70)
    assert house.live.resting is not None


async def test_after_a_clock_that_leapt_ahead_and_back_the_meter_is_followed_at_the_next_minute(asked):
    house, grid = asked
    grid.asks(limit(house, "cap", 0, 600, 10.8))
    await house.minutes(20)
    house.clock.skip(3600)
    await house.minute()
    house.clock.skip(-3660)
    seen = house.acting._responding._going.trim
    await house.minutes(3)
    assert house.acting._responding._going.trim != seen


async def test_what_was_taken_back_is_let_go_though_another_request_ended_within_the_hour(asked):
    house, grid = asked
    grid.asks(limit(house, "a", 10, 30, 10.8))
    grid.asks(limit(house, "b", 45, 200, 10.5), who="tso")
    await house.minutes(55)
    assert house.meter[-1] <= 10_500 * 1.01
    grid.asks(who="tso")
    await house.minutes(5)
    assert (house.caps == 700).all()
    assert house.meter[-1] == 12_000
    await house.minutes(60 * 24)
    assert [record["request"].partition("@")[0] for record in house.told("withdrawn")] == ["tso/b"]
    (proof,) = house.told("proved")
    assert (proof["request"].partition("@")[0], proof["short_steps"]) == ("dso/a", 0)
    assert house.told("unproven") == []


async def test_requests_that_overlap_are_each_proven_against_the_hour_before_all_of_them(asked):
    house, grid = asked
    grid.asks(limit(house, "a", 10, 70, 10.8))
    grid.asks(limit(house, "b", 40, 100, 10.5), who="tso")
    await house.minutes(50)
    house.anew()  # a restart in between forgets neither
    await house.minutes(100 + 61 - 50)
    proofs = {record["request"].partition("@")[0]: record for record in house.told("proved")}
    assert set(proofs) == {"dso/a", "tso/b"}
    for proof in proofs.values():
        assert (proof["short_steps"], proof["coverage_frac"]) == (0, 1.0)
        assert proof["rebound_frac"] < 0.001, "12 kW is usual, not what was left of it"
        assert proof["baseline_w"] == 12_000
    assert [record["request"].partition("@")[0] for record in house.told("answered")] == ["dso/a", "tso/b"]


async def test_a_request_is_proven_though_its_asker_asks_for_something_else_since(asked):
    house, grid = asked
    grid.asks(limit(house, "a", 10, 40, 10.8))
    await house.minutes(60)
    grid.asks(limit(house, "tomorrow", 22 * 60, 23 * 60, 10.8))
    await house.minutes(45)
    (proof,) = house.told("proved")
    assert (proof["request"].partition("@")[0], proof["short_steps"]) == ("dso/a", 0)
