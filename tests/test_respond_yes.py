"""What a yes and a no to a request of the grid count for: for what was shown, and for nothing larger or other.

Sixteen GPUs draw 650 W each and 4 kW stand beside: 14.4 kW. Eight may be capped, down to half of their throughput.
"""

from dataclasses import replace

import numpy as np
import pytest
from responding_house import asking_house, limit

from energy.plan import Mode
from energy.respond.agreed import lowest, mark, within
from twin.curtail import Interval, Request
from ui.responding import LEVERS
from ui.switch import Wish, wish

FULL_W, SMALL_KW, LARGE_KW = 14_400.0, 14.1, 12.5


@pytest.fixture
async def asked(tmp_path):
    """The house after its first look, in mode approve, and who asks."""
    house, grid = asking_house(tmp_path, Mode.APPROVE)
    house.hour_before(650.0)
    await house.minute()
    yield house, grid
    house.store.close()
    house.records.close()


def says(house, what, key, who="li"):
    wish(house.records, Wish(what, who, key), house.clock.now())


def waiting(house, lever="demand_response"):
    return [plan for plan in house.acting.desk.waiting if plan.lever == lever]


def begun(house):
    """Who began each change, by which mode."""
    return [(r["who"], r["mode"]) for _, _, r in house.records.read("audit", limit=10_000) if r["stage"] == "begun"]


async def agreed_to_little(house, grid, end_min=240):
    """A limit of 14.1 kW is put, and somebody says yes to it; when it is in force."""
    grid.asks(limit(house, "r", 0, end_min, SMALL_KW))
    await house.minute()
    (plan,) = waiting(house)
    assert plan.reason.params["limit_kw"] == SMALL_KW
    assert plan.effect.facility_power_w == pytest.approx(-328, abs=1)  # of 14.4 kW, to 0.2 % below 14.1
    says(house, "approve", plan.key)
    await house.minutes(8)
    assert house.meter[-1] == pytest.approx(14_072, abs=5)
    return plan


async def test_a_yes_is_followed_by_the_meter_and_needs_no_other_while_the_same_is_asked(asked):
    house, grid = asked
    await agreed_to_little(house, grid)
    house.draws[8:] = 690.0  # of a job that may not be capped: 320 W more
    await house.minutes(8)
    assert 13_700 <= house.meter[-1] <= 14_100
    assert waiting(house) == []
    assert set(begun(house)) == {("li", "approve"), ("icctwin", "auto")}
    house.anew()  # a yes outlives a restart
    house.draws[8:] = 650.0
    await house.minutes(20)
    assert waiting(house) == []
    assert 13_700 <= house.meter[-1] <= 14_100


@pytest.mark.parametrize("way", ["replaced", "another asker", "after a restart"])
async def test_more_than_was_agreed_to_waits_for_another_yes_and_what_was_agreed_to_goes_on(asked, way):
    house, grid = asked
    was = await agreed_to_little(house, grid)
    if way == "another asker":
        grid.asks(limit(house, "s", 0, 240, LARGE_KW), who="openadr/vtn")
    else:
        grid.asks(limit(house, "r", -9, 240, LARGE_KW))  # the same key and begin
    if way == "after a restart":
        house.anew()
    at, before = len(house.meter), begun(house)
    await house.minutes(10)
    (plan,) = waiting(house)
    assert plan.key != was.key
    assert plan.reason.params["limit_kw"] == LARGE_KW
    assert min(house.meter[at:]) >= 14_000
    assert begun(house) == before
    house.draws[8:] = 690.0
    await house.minutes(8)
    assert 13_700 <= house.meter[-1] <= 14_100  # what somebody agreed to is followed meanwhile
    says(house, "approve", waiting(house)[0].key, "wang")
    await house.minutes(15)
    assert 12_100 <= house.meter[-1] <= 12_500
    assert ("wang", "approve") in begun(house)
    assert waiting(house) == []


async def test_what_is_asked_anew_after_it_was_taken_back_needs_a_yes_of_its_own(asked):
    house, grid = asked
    await agreed_to_little(house, grid)
    grid.asks()
    await house.minutes(5)
    assert (house.caps == 700).all()
    before = begun(house)
    grid.asks(limit(house, "r", -14, 240, LARGE_KW))
    await house.minutes(10)
    assert house.meter[-1] == FULL_W
    assert begun(house) == before
    assert len(waiting(house)) == 1


@pytest.mark.parametrize("then", ["larger", "nothing"])
async def test_a_yes_to_what_is_not_asked_any_more_changes_nothing(asked, then):
    """The request is replaced, or taken back, between reading and saying yes."""
    house, grid = asked
    grid.asks(limit(house, "r", 0, 240, SMALL_KW))
    await house.minute()
    (read,) = waiting(house)
    grid.asks(*([limit(house, "r", -1, 240, LARGE_KW)] if then == "larger" else []))
    await house.minute()
    assert read.key not in {plan.key for plan in house.acting.desk.waiting}
    says(house, "approve", read.key)
    await house.minutes(10)
    assert house.meter[-1] == FULL_W
    assert begun(house) == []
    assert [plan.reason.params["limit_kw"] for plan in waiting(house)] == ([LARGE_KW] if then == "larger" else [])


async def test_a_no_to_one_request_is_none_to_another(asked):
    house, grid = asked
    grid.asks(limit(house, "r", 0, 240, SMALL_KW))
    await house.minute()
    for plan in house.acting.desk.waiting:
        says(house, "reject", plan.key)
    await house.minutes(5)
    assert house.acting.desk.waiting == ()
    assert [plan for plan, _ in house.live.plans if plan.lever in LEVERS] == []
    grid.asks(limit(house, "s", 0, 60, 11.6), who="tso")
    await house.minutes(2)
    (plan,) = waiting(house)
    assert plan.reason.params["limit_kw"] == 11.6
    assert [one.key for one, _ in house.live.plans if one.lever == "demand_response"] == [plan.key]
    assert begun(house) == []
    grid.asks(who="tso")
    await house.minutes(2)
    assert house.acting.desk.waiting == ()  # the no to the first holds


async def test_less_than_was_agreed_to_needs_no_further_yes(asked):
    """Two requests are agreed to together; one ends, and what is left of the other asks for less."""
    house, grid = asked
    grid.asks(limit(house, "r", 0, 30, LARGE_KW))
    grid.asks(limit(house, "s", 0, 240, SMALL_KW), who="tso")
    await house.minute()
    for plan in house.acting.desk.waiting:
        says(house, "approve", plan.key)
    await house.minutes(20)
    assert 12_100 <= house.meter[-1] <= 12_500
    await house.minutes(40)
    assert waiting(house) == []
    assert 13_700 <= house.meter[-1] <= 14_100


async def test_who_is_asked_for_a_yes_sees_the_lowest_limit_to_come(asked):
    house, grid = asked
    one, later = limit(house, "r", 0, 30, SMALL_KW), limit(house, "r", 60, 90, 11.0)
    grid.asks(replace(one, intervals=one.intervals + later.intervals))
    await house.minute()
    (plan,) = waiting(house)
    assert (plan.reason.params["limit_kw"], plan.reason.params["least_kw"]) == (SMALL_KW, 11.0)


def of(*parts, best_effort=False, key="r"):
    return Request(key, 0.0, tuple(Interval(*part) for part in parts), best_effort)


def test_what_is_within_a_yes_is_the_higher_limit_where_both_ask():
    """At most 5 W from 0 to 10 s agreed to; at most 3 W from 4 to 20 s and 7 W from then to 30 s asked."""
    agreed, wanted = of((0, 10, 5.0)), of((4, 20, 3.0), (20, 30, 7.0))
    part, whole = within(wanted, [agreed], np.nan, 0.0)
    assert not whole
    assert part.intervals == (Interval(4, 10, limit_w=5.0),)
    assert within(wanted, [agreed, of((10, 40, 2.0)), of((4, 10, 3.0))], np.nan, 0.0) == (wanted, True)
    assert within(of((0, 10, 6.0)), [agreed], np.nan, 0.0) == (of((0, 10, 6.0)), True)
    assert within(of((0, 11, 6.0)), [agreed], np.nan, 0.0)[1] is False
    assert within(wanted, [], np.nan, 0.0) == within(wanted, [of((40, 50, 1.0))], np.nan, 0.0) == (None, False)
    assert within(of((-9, 10, 5.0)), [agreed], np.nan, 0.0)[1], "what is over binds nobody"


def test_a_cut_is_compared_by_the_limit_that_it_comes_to_and_best_effort_stays_what_it_was():
    cut = Request("r", 0.0, (Interval(0, 10, cut_w=4.0),))
    assert within(cut, [of((0, 10, 6.0))], 10.0, 0.0) == (cut, True)
    assert within(cut, [of((0, 10, 7.0))], 10.0, 0.0) == (of((0, 10, 7.0)), False)
    eased = of((0, 10, 6.0), best_effort=True)
    assert within(cut, [eased], 10.0, 0.0) == (eased, False)
    assert within(eased, [of((0, 10, 6.0))], 10.0, 0.0) == (eased, True)
    assert lowest([cut, eased], 10.0, 0.0) == of((0, 10, 6.0))


def test_a_mark_stands_for_who_asks_for_how_much_and_when():
    one = {"dso/r@0": of((0, 10, 6.0))}
    others = [{"tso/r@0": of((0, 10, 6.0))}, {"dso/r@0": of((0, 11, 6.0))}, {"dso/r@0": of((0, 10, 5.0))},
              {"dso/r@0": of((0, 10, 6.0), best_effort=True)}, one | {"dso/s@0": of((0, 10, 6.0))}]  # fmt: skip
    assert len({mark(named, 10.0) for named in [one, *others]}) == 6
    assert mark({"dso/r@0": Request("r", 5.0, (Interval(0, 10, cut_w=4.0),))}, 10.0) == mark(one, 10.0)
