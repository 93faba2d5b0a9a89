"""What people say while nobody acts, and what becomes of it at the next start; and a disk that is busy for a moment."""

from dataclasses import replace
from datetime import timedelta

import pytest
import test_acting
from test_energy_orders import begin

from energy.notes import TOPIC, Stage
from energy.plan import Mode
from twin.errors import SourceError
from ui.hearing import YES_FOR
from ui.switch import HEARD, KEPT_WISHES, STOPS, UNTOLD, WISHES, Wish, wish

house = test_acting.house


def said(house, *words):
    """To the desk, about its plan, while it is away."""
    for what in words:
        wish(house.records, Wish(what, "li", house.plan.key if what in ("approve", "reject") else ""), house.clock.now())


def told(house):
    """Stage, person and sentence of each decision on the plan, the oldest first."""
    records = [record for _, _, record in house.records.read(TOPIC) if record["plan"] == house.plan.key]
    return [(r["stage"], r.get("who", ""), (r.get("why") or {}).get("text", "")) for r in records]


async def proposed(house, mode=Mode.APPROVE):
    """The levers are asked before anybody looks at what people said."""
    house.live.modes["job_start"] = mode
    house.acting.seen("slurm", super(test_acting.Waits, house.slurm).jobs(), None)
    house.acting._judged = test_acting.allowed(house.acting)
    await house.acting.plans(house.clock.now())


async def test_a_yes_while_nobody_acts_is_done_once_as_soon_as_its_plan_is_proposed(house):
    await house.act(Mode.APPROVE)
    said(house, "approve")
    house.new()
    house.clock.skip(60)
    await house.pass_by()
    assert house.slurm.begin == {}  # the plan is still to come
    house.new()  # one more restart before it does
    await house.act(Mode.APPROVE)
    await house.pass_by()
    assert set(house.slurm.begin) == {"0", "1"}
    assert [one[:2] for one in told(house)] == [("waiting", ""), ("approved", "li"), ("begun", "li"), ("done", "")]
    writes = house.slurm.writes
    house.new()
    for _ in range(3):  # what stands is proposed again, and waits again
        await house.act(Mode.APPROVE)
    assert (house.slurm.writes, told(house)[-1][0]) == (writes, "waiting")


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_no_while_nobody_acts_holds_in_any_mode_whoever_is_asked_first(house, mode):
    await house.act(Mode.APPROVE)
    said(house, "approve", "reject")  # who says both means no
    house.new()
    await proposed(house, mode)
    house.new()  # also later
    await proposed(house, mode)
    for _ in range(2):
        await house.act(mode)
    assert (house.slurm.begin, house.acting.desk.waiting) == ({}, ())
    assert told(house) == [("waiting", "", ""), ("rejected", "li", "{who} said no")]


async def test_a_no_to_what_the_guard_refused_meanwhile_holds(house):
    await house.act(Mode.APPROVE)
    said(house, "stop")
    await proposed(house)
    assert house.acting.desk.stage(house.plan.key) is Stage.REFUSED
    said(house, "reject", "go")
    for mode in (Mode.APPROVE, Mode.AUTO):
        await house.act(mode)
    assert (house.slurm.begin, house.acting.desk.stage(house.plan.key)) == ({}, Stage.REJECTED)


@pytest.mark.parametrize(("away_s", "done"), [(YES_FOR.total_seconds() - 10, True), (YES_FOR.total_seconds(), False)])
async def test_a_yes_waits_ten_minutes_for_its_plan(house, away_s, done):
    house.plan = replace(house.plan, expires=house.clock.now() + timedelta(hours=1))
    house.new()
    await house.act(Mode.APPROVE)
    said(house, "approve")
    house.clock.skip(away_s)
    house.new()
    await house.act(Mode.APPROVE)
    await house.pass_by()
    assert set(house.slurm.begin) == ({"0", "1"} if done else set())
    late = [("waiting", "", ""), ("refused", "li", "No plan {key} waits for approval"), ("waiting", "", "")]
    assert done or told(house) == late  # so the page asks for a yes anew


async def test_a_yes_counts_for_no_other_plan_and_not_after_a_stop(house):
    await house.act(Mode.APPROVE)
    said(house, "approve")
    first, house.plan = house.plan, begin("0", "1", key="other")
    house.new()
    for _ in range(3):
        await house.act(Mode.APPROVE)
    assert (house.slurm.begin, [plan.key for plan in house.acting.desk.waiting]) == ({}, ["other"])
    house.plan = first
    said(house, "stop", "go")
    house.new()
    await proposed(house)
    await house.pass_by()
    assert (house.slurm.begin, told(house)[-1]) == ({}, ("refused", "li", "Everything was stopped after somebody said yes"))


async def test_a_stop_holds_against_a_yes_that_came_after_it(house):
    await house.act(Mode.APPROVE)
    said(house, "stop", "approve")
    house.new()
    for _ in range(3):
        await house.act(Mode.APPROVE)
    said(house, "go")
    await house.act(Mode.APPROVE)
    await house.pass_by()
    assert house.slurm.begin == {}
    assert [stage for stage, _, _ in told(house)] == ["waiting", "refused", "waiting"]


async def test_a_yes_is_not_done_again_by_who_comes_after_a_crash_in_the_middle(house, monkeypatch):
    await house.act(Mode.APPROVE)
    said(house, "approve")
    monkeypatch.setattr(house.acting.desk, "approve", dies)
    with pytest.raises(KeyboardInterrupt):
        await house.pass_by()
    house.new()
    for _ in range(3):
        await house.act(Mode.APPROVE)
    assert (house.slurm.begin, [plan.key for plan in house.acting.desk.waiting]) == ({}, ["p1"])


async def dies(*_):
    raise KeyboardInterrupt


async def test_a_no_that_could_not_be_written_down_is_said_again(house, monkeypatch):
    await house.act(Mode.APPROVE)
    said(house, "reject")
    append, full = house.records.append_all, [True]

    def hindered(topic, *rest):
        if topic == TOPIC and full:
            full.clear()
            raise SourceError("disk full")
        return append(topic, *rest)

    monkeypatch.setattr(house.records, "append_all", hindered)
    with pytest.raises(SourceError, match="disk full"):
        await house.pass_by()
    await house.pass_by()
    assert told(house) == [("waiting", "", ""), ("rejected", "li", "{who} said no")]


async def test_the_first_start_of_this_release_hears_nothing_of_before(house):
    await house.act(Mode.APPROVE)
    said(house, "approve")
    house.records.trim(HEARD, 0)
    house.new()
    for _ in range(3):
        await house.act(Mode.APPROVE)
    assert house.slurm.begin == {}
    house.records.append_all(WISHES, [(house.clock.now(), {"what": "reject", "who": "op"})] * KEPT_WISHES)
    await house.pass_by()
    assert [record["open"] for _, _, record in house.records.read(HEARD)] == [[]]


@pytest.mark.parametrize("looks", [1, 5])
async def test_a_busy_disk_gives_nothing_back_and_begins_nothing(house, monkeypatch, looks):
    await house.act()
    read, busy = house.records.read, [True]

    def hindered(topic, *rest, **named):
        if topic == STOPS and busy:
            raise SourceError("database is locked")
        return read(topic, *rest, **named)

    monkeypatch.setattr(house.records, "read", hindered)
    house.plan = begin("2", key="p2")
    house.acting._levers["job_start"].plan = house.plan
    for _ in range(looks):
        await house.act()
    assert set(house.slurm.begin) == {"0", "1"}
    assert told(house) == [("refused", "", "The stop switch is set: nothing is changed until a person releases it")]
    if looks > 1:  # for a minute: as if somebody had stopped
        await house.pass_by(UNTOLD.total_seconds())
        assert house.slurm.begin == {}
    busy.clear()
    await house.act()
    assert set(house.slurm.begin) == ({"0", "1", "2"} if looks == 1 else {"2"})
