"""How orders are taken back: at their end, early, after a restart, half-way, and past what a person has set."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from energy_house import NOW, SETPOINT, MemoryRecords, a_plan
from obeying import GOOD, LATE, SITE, Plant, desk, reasons, state, yes

from energy.act import Stage
from energy.plan import Mode
from twin.frame import Frame
from twin.message import Message
from twin.ports import Action
from twin.state import State


async def test_a_later_plan_takes_over_and_goes_back_to_the_first_value_step_by_step() -> None:
    plant, records = Plant(), MemoryRecords()
    d = desk(plant, records)
    await d.decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)
    then = NOW + timedelta(hours=1)
    second = a_plan(("c1", 32.0), now=then, key="p2")
    await d.decide(second, yes(second), Mode.AUTO, state(plant, then), then)
    end = then + timedelta(hours=2)
    seen: list[float] = []
    for minute in range(3):
        now = end + timedelta(minutes=minute)
        await d.revert_due(state(plant, now), now)
        seen.append(plant.values["c1"])
    assert seen == [31.0, 30.0, 30.0]  # never by more than the metric's step at once
    assert plant.values["c2"] == 30.0


async def test_a_value_that_a_person_changed_is_left_alone() -> None:
    plant, records = Plant(), MemoryRecords()
    d = desk(plant, records)
    await d.decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)
    plant.values["c1"] = 27.0
    outcomes = await d.revert_due(state(plant, LATE), LATE)
    assert [o.stage for o in outcomes] == [Stage.LEFT, Stage.REVERTED]
    assert plant.values == {"c1": 27.0, "c2": 30.0}


async def test_a_device_that_keeps_our_orders_beside_others_goes_back_to_theirs() -> None:
    class Arrayed(Plant):
        """Its own schedule says 28.5 by now."""

        def relinquished(self, action: Action) -> bool:
            return action.last

        def keeps(self) -> bool:
            return True

        async def apply(self, action: Action, now: datetime) -> Frame:
            return await super().apply(replace(action, value=28.5) if action.last else action, now)

    plant, records = Arrayed(), MemoryRecords()
    d = desk(plant, records)
    await d.decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)
    assert plant.values == {"c1": 31.0, "c2": 31.0}
    assert [o.stage for o in await d.revert_due(state(plant, LATE), LATE)] == [Stage.REVERTED] * 2
    assert plant.values == {"c1": 28.5, "c2": 28.5}
    assert [one[3]["readback"] for one in records.all if one[3]["stage"] == "reverted"] == [28.5] * 2


async def test_it_goes_back_also_when_telemetry_is_gone_and_on_demand() -> None:
    plant, records = Plant(), MemoryRecords()
    d = desk(plant, records)
    await d.decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)
    await d.revert_due(State(SITE), NOW + timedelta(minutes=1), all_now=True)
    assert plant.values == {"c1": 30.0, "c2": 30.0}


async def test_killed_while_undoing_a_failed_plan_it_goes_on_undoing_at_once() -> None:
    plant, records = Plant(dead={"c2"}, die_at=3), MemoryRecords()
    with pytest.raises(asyncio.CancelledError):
        await desk(plant, records).decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)
    assert plant.values["c1"] == 31.0
    plant.dead.clear()
    soon = NOW + timedelta(minutes=1)  # long before the end of the actions
    d = desk(plant, records, soon)
    await d.revert_due(state(plant, soon), soon)
    assert plant.values["c1"] == 30.0
    assert d.in_force == ()


async def test_the_audit_says_why_a_setpoint_went_back() -> None:
    """At its end, taken back early, let go with everything, and with the rest of a plan that failed: each by its own reason."""
    early, all_of_it = Message("Water is not held"), Message("The stop switch is set")
    soon = NOW + timedelta(minutes=1)
    for way, why in (("end", "Its time is over"), ("early", early.text), ("all", all_of_it.text)):
        plant, records = Plant(), MemoryRecords()
        d = desk(plant, records)
        await d.decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)
        if way == "early":
            outcomes = await d.end("p", state(plant, soon), soon, early)
        else:
            now = soon if way == "all" else LATE
            outcomes = await d.revert_due(state(plant, now), now, all_now=way == "all", why=all_of_it)
        assert [outcome.why and outcome.why.text for outcome in outcomes] == [why] * 2
        assert reasons(records, Stage.REVERTING) == reasons(records, Stage.REVERTED) == [("c1", why), ("c2", why)]
    plant, records = Plant(deaf={"c2"}), MemoryRecords()
    await desk(plant, records).decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)
    said = "{asset} was told {ordered:g} and says {read:g}"
    assert reasons(records, Stage.REVERTED) == [("c1", said), ("c2", said)]


async def test_a_device_that_went_back_by_itself_at_the_end_is_no_persons_hand() -> None:
    plant, records = Plant(), MemoryRecords()
    d = desk(plant, records)
    await d.decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)
    plant.values = {"c1": 30.0, "c2": 28.0}
    outcomes = await d.revert_due(state(plant, LATE), LATE)
    assert {outcome.stage for outcome in outcomes} == {Stage.REVERTED, Stage.LEFT}
    assert reasons(records, Stage.REVERTED) == [("c1", "Its time is over")]
    assert [asset for asset, _ in reasons(records, Stage.LEFT)] == ["c2"]
    assert plant.values == {"c1": 30.0, "c2": 28.0}
    assert d.in_force == ()


async def test_a_setpoint_that_is_taken_back_in_steps_goes_on_after_a_restart_and_knows_why() -> None:
    plant, records, why = Plant(), MemoryRecords(), Message("Water is {over_k:.1f} K too warm", {"over_k": 2.0})
    d = desk(plant, records)
    await d.decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)
    then = NOW + timedelta(hours=1)
    further = a_plan(("c1", 32.0), now=then, key="p2")
    await d.decide(further, yes(further), Mode.AUTO, state(plant, then), then)
    await d.end("p2", state(plant, then), then, why)
    assert plant.values["c1"] == 31.0, "a step of the two"
    plant.dead.add("c1")
    now = then + timedelta(minutes=1)  # long before its end
    d = desk(plant, records, now)
    await d.revert_due(state(plant, now), now)
    plant.dead.clear()
    d = desk(plant, records, now)
    await d.revert_due(state(plant, now), now)
    assert plant.values["c1"] == 30.0
    (last,) = reasons(records, Stage.REVERTED)
    assert last == ("c1", why.text)
    (stuck,) = [r for _, _, _, r in records.all if r["stage"] == Stage.REVERT_FAILED]
    assert (stuck["why"]["params"]["error"], stuck["because"]["params"]) == ("no answer", {"over_k": 2.0})


@pytest.mark.parametrize(("stands_c", "after_s", "sent"), [
    (30.0, 61.0, False),  # never carried out
    (31.0, 61.0, True),  # it took the value, and its answer was lost
    (30.0, 59.0, True),  # the reading may be of before it had the order
    (None, 61.0, True),  # no reading
])  # fmt: skip
@pytest.mark.parametrize("restart", [False, True])
async def test_where_an_order_failed_the_reading_says_whether_there_is_anything_to_undo(
    stands_c: float | None, after_s: float, sent: bool, restart: bool
) -> None:
    plant, records, plan = Plant(dead={"c1"}), MemoryRecords(), a_plan(("c1", 31.0))
    d, now = desk(plant, records), NOW + timedelta(seconds=after_s)
    assert (await d.decide(plan, yes(plan), Mode.AUTO, state(plant), NOW)).stage is Stage.FAILED
    await d.revert_due(state(plant), now)  # by a reading of the moment when it was ordered
    assert plant.orders == [("c1", 31.0), ("c1", 30.0), ("c1", 30.0)]
    assert d.health(now).values["overdue_reverts_count"].tolist() == [1.0]
    if restart:
        d = desk(plant, records, now)
    plant.dead.clear()
    plant.values["c1"] = stands_c or 31.0
    await d.revert_due(State(SITE) if stands_c is None else state(plant, now - timedelta(seconds=1)), now)
    assert plant.orders[3:] == [("c1", 30.0)] * sent
    assert plant.values["c1"] == 30.0
    assert (records.stages()[-1], records.all[-1][3]["readback"]) == ("reverted", 30.0)
    assert d.in_force == desk(plant, records, now).in_force == ()
    assert d.health(now).values["overdue_reverts_count"].tolist() == [0.0]


async def test_an_order_that_a_device_keeps_beside_those_of_others_is_taken_back_wherever_it_stands() -> None:
    class Keeping(Plant):
        def relinquished(self, action: Action) -> bool:
            return action.last

        def keeps(self) -> bool:
            return True

    plant, plan = Keeping(dead={"c1"}), a_plan(("c1", 31.0))
    d, now = desk(plant, MemoryRecords()), NOW + timedelta(minutes=2)
    await d.decide(plan, yes(plan), Mode.AUTO, state(plant), NOW)
    plant.dead.clear()
    await d.revert_due(state(plant, now), now)
    assert plant.orders == [("c1", 31.0), ("c1", 30.0), ("c1", 30.0)]
    assert d.in_force == ()


@pytest.mark.parametrize(("fault", "stands_c", "goes_c"), [
    ("none", 25.0, 25.0),  # withdrawn before its time: what a person has set is the person's
    ("dead", 25.0, 25.0),  # the way back failed, and a person went there
    ("dead", 31.0, 30.0),
    ("killed", 25.0, 25.0),  # the way back was written down and never sent
    ("killed", 31.0, 30.0),
])  # fmt: skip
async def test_what_a_person_has_set_is_left_alone_on_every_way_back(fault: str, stands_c: float, goes_c: float) -> None:
    plant, records = Plant(), MemoryRecords()
    d, then, why = desk(plant, records), NOW + timedelta(minutes=20), Message("withdrawn")
    await d.decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)
    if fault == "dead":
        plant.dead = {"c1", "c2"}
        await d.end("p1", state(plant, then), then, why)
        plant.dead.clear()
    if fault == "killed":
        plant.die_at = 3
        with pytest.raises(asyncio.CancelledError):
            await d.end("p1", state(plant, then), then, why)
        plant.values = {"c1": 31.0, "c2": 31.0}
        d = desk(plant, records, then)
    plant.values["c1"] = stands_c
    later = then + timedelta(minutes=5)
    await d.end("p1", state(plant, later), later, why)
    assert plant.values == {"c1": goes_c, "c2": 30.0}
    assert d.in_force == ()


async def test_what_a_device_does_not_take_is_refused_before_anything_is_begun() -> None:
    class Choosing(Plant):
        def takes(self, asset: str) -> frozenset[str]:
            return frozenset({"pump_speed_frac"} if asset == "c2" else {SETPOINT, "pump_speed_frac"})

    plant, records = Choosing(), MemoryRecords()
    d, answers = desk(plant, records), replace(GOOD, key="r", request="r")
    outcome = await d.decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)
    assert (outcome.stage, plant.orders, records.stages(), d.in_force) == (Stage.REFUSED, [], ["refused"], ())
    assert str(outcome.why) == f"Nothing can set {SETPOINT} of c2, or its present value is not known"
    await d.decide(answers, yes(answers), Mode.AUTO, state(plant), NOW)
    assert plant.orders == [("c1", 31.0)]  # what answers the grid stands each for itself
