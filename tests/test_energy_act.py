"""Who may touch the plant, when, how often, and what happens when it does not obey or we die half-way."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from energy_house import NOW, SETPOINT, MemoryRecords, a_plan, hall
from obeying import GOOD, LATE, SITE, Plant, desk, no, state, yes

from energy.act import Desk, Stage
from energy.guard import Limits, guard
from energy.plan import Mode
from twin.frame import Frame, Origin
from twin.ports import Action
from twin.state import State


async def test_advise_never_touches_the_plant() -> None:
    plant, records = Plant(), MemoryRecords()
    d = desk(plant, records)
    for _ in range(3):
        assert (await d.decide(GOOD, yes(), Mode.ADVISE, state(plant), NOW)).stage is Stage.ADVISED
    assert (await d.approve(GOOD.key, "li", yes(), state(plant), NOW)).stage is Stage.REFUSED
    assert await d.revert_due(state(plant), LATE) == []
    assert plant.orders == []
    assert records.stages() == ["advised"]  # said once, not at every look


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_refused_plan_is_not_carried_out_in_any_mode(mode: Mode) -> None:
    plant, records = Plant(), MemoryRecords()
    d = desk(plant, records)
    assert (await d.decide(GOOD, no(), mode, state(plant), NOW)).stage is Stage.REFUSED
    assert (await d.approve(GOOD.key, "li", yes(), state(plant), NOW)).stage is Stage.REFUSED
    assert plant.orders == []


async def test_a_refusal_that_names_no_number_is_still_recorded() -> None:
    plant, records = Plant(), MemoryRecords()
    d, seen = desk(plant, records), state(plant)
    wild = a_plan(("c1", float("nan")))
    verdict = guard(wild, SITE, seen, (), NOW, Limits(), ())
    assert (await d.decide(wild, verdict, Mode.AUTO, seen, NOW)).stage is Stage.REFUSED
    assert plant.orders == []
    assert records.stages() == ["refused"]


async def test_auto_with_the_guard_itself() -> None:
    plant, records = Plant(), MemoryRecords()
    d, seen = desk(plant, records), state(plant)
    far = a_plan(("c1", 33.0))
    verdict = guard(far, SITE, seen, (), NOW, Limits(), d.history(NOW))
    assert (await d.decide(far, verdict, Mode.AUTO, seen, NOW)).stage is Stage.REFUSED
    verdict = guard(GOOD, SITE, seen, (), NOW, Limits(), d.history(NOW))
    assert (await d.decide(GOOD, verdict, Mode.AUTO, seen, NOW)).stage is Stage.DONE
    again = guard(a_plan(("c1", 31.5), key="p2"), SITE, seen, (), NOW, Limits(), d.history(NOW))
    assert "dwell" in [refusal.rule for refusal in again.refusals]


async def test_auto_acts_once_also_over_a_restart_and_goes_back_at_the_end() -> None:
    plant, records = Plant(), MemoryRecords()
    outcome = await desk(plant, records).decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)
    assert outcome.stage is Stage.DONE
    assert [float(f.values[SETPOINT][0]) for f in outcome.frames] == [31.0, 31.0]
    assert all(f.origin is Origin.COMMANDED for f in outcome.frames)
    d = desk(plant, records, NOW + timedelta(minutes=5))
    assert (await d.decide(GOOD, yes(), Mode.AUTO, state(plant), NOW + timedelta(minutes=5))).stage is Stage.DONE
    assert plant.orders == [("c1", 31.0), ("c2", 31.0)]
    assert await d.revert_due(state(plant), NOW + timedelta(minutes=119)) == []
    d = desk(plant, records, LATE)  # and over another one
    assert [o.stage for o in await d.revert_due(state(plant, LATE), LATE)] == [Stage.REVERTED] * 2
    assert plant.values == {"c1": 30.0, "c2": 30.0}
    assert await d.revert_due(state(plant, LATE), LATE) == []
    assert records.stages() == ["begun", "done", "begun", "done", "reverting", "reverting", "reverted", "reverted"]
    begun = records.all[0][3]
    assert (begun["who"], begun["before"], begun["ordered"], begun["effect_w"]) == ("icctwin", 30.0, 31.0, -1000.0)


@pytest.mark.parametrize("die_at", [1, 2])
async def test_killed_half_way_nothing_is_sent_twice_and_everything_goes_back(die_at: int) -> None:
    plant, records = Plant(die_at=die_at), MemoryRecords()
    with pytest.raises(asyncio.CancelledError):
        await desk(plant, records).decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)
    sent = len(plant.orders)
    d = desk(plant, records, NOW)
    assert (await d.decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)).stage is not Stage.ADVISED
    assert len(plant.orders) == sent
    await d.revert_due(state(plant, LATE), LATE)
    assert plant.values == {"c1": 30.0, "c2": 30.0}
    assert d.in_force == ()


@pytest.mark.parametrize("fault", ["dead", "mute", "deaf"])
async def test_what_is_not_read_back_is_undone_with_the_rest_of_its_plan(fault: str) -> None:
    plant, records = Plant(**{fault: {"c2"}}), MemoryRecords()
    d = desk(plant, records)
    outcome = await d.decide(GOOD, yes(), Mode.AUTO, state(plant), NOW)
    assert outcome.stage is Stage.FAILED
    assert plant.values == {"c1": 30.0, "c2": 30.0}
    stuck = float(d.health(NOW).values["overdue_reverts_count"][0])
    assert stuck == (0.0 if fault == "deaf" else 1.0)  # a deaf one already stands where it should
    for minute in range(1, 200):  # a silent one is tried again and again, and noted once an hour
        await d.revert_due(state(plant), NOW + timedelta(minutes=minute))
    assert records.stages().count("revert_failed") == (0 if fault == "deaf" else 4)
    plant.dead.clear()
    plant.mute.clear()
    await d.revert_due(state(plant, LATE), LATE)
    assert float(d.health(LATE).values["overdue_reverts_count"][0]) == 0.0
    assert d.in_force == ()


async def test_approval_waits_for_a_named_person_and_a_new_verdict() -> None:
    plant, records = Plant(), MemoryRecords()
    d = desk(plant, records)
    assert (await d.decide(GOOD, yes(), Mode.APPROVE, state(plant), NOW)).stage is Stage.WAITING
    assert [plan.key for plan in d.waiting] == [GOOD.key]
    assert (await d.approve(GOOD.key, "  ", yes(), state(plant), NOW)).stage is Stage.REFUSED
    assert plant.orders == []
    assert (await d.approve(GOOD.key, "li wei", no(), state(plant), NOW)).stage is Stage.REFUSED
    await d.decide(GOOD, yes(), Mode.APPROVE, state(plant), NOW)
    assert (await d.approve(GOOD.key, "li wei", yes(), state(plant), NOW)).stage is Stage.DONE
    assert plant.values == {"c1": 31.0, "c2": 31.0}
    assert (await d.approve(GOOD.key, "li wei", yes(), state(plant), NOW)).stage is Stage.REFUSED
    assert [r["who"] for _, _, _, r in records.all if r["stage"] in ("approved", "begun")] == ["li wei"] * 3
    expired = a_plan(("c1", 31.5), key="p3")
    await d.decide(expired, yes(expired), Mode.APPROVE, state(plant), NOW)
    assert (await d.approve("p3", "li wei", yes(expired), state(plant), NOW + timedelta(minutes=10))).stage is Stage.REFUSED
    with pytest.raises(ValueError, match="the verdict is on plan"):
        await d.decide(GOOD, yes(expired), Mode.AUTO, state(plant), NOW)


async def test_what_nothing_can_set_is_refused_before_anything_moves() -> None:
    plant, records = Plant(), MemoryRecords()
    plan = a_plan(("c1", 31.0), ("pl", 25.0))
    outcome = await desk(plant, records).decide(plan, yes(plan), Mode.AUTO, state(plant), NOW)
    assert outcome.stage is Stage.REFUSED
    assert "pl" in str(outcome.why)
    blind = await desk(plant, records).decide(
        replace(GOOD, key="p9"), yes(replace(GOOD, key="p9")), Mode.AUTO, State(SITE), NOW
    )
    assert blind.stage is Stage.REFUSED
    assert plant.orders == []


async def test_a_persons_no_holds_and_what_nobody_answers_leaves_the_desk() -> None:
    plant, records = Plant(), MemoryRecords()
    d, later = desk(plant, records), NOW + timedelta(minutes=5)
    await d.decide(GOOD, yes(), Mode.APPROVE, state(plant), NOW)
    assert d.reject(GOOD.key, "li", NOW).stage is Stage.REJECTED
    renewed = replace(GOOD, made=later, expires=later + timedelta(minutes=10))
    for one in (d, desk(plant, records, later)):  # also after a restart, and in any mode
        for mode in Mode:
            assert (await one.decide(renewed, yes(), mode, state(plant, later), later)).stage is Stage.REJECTED
        assert one.waiting == ()
    other = replace(GOOD, key="p2")
    await d.decide(other, yes(other), Mode.APPROVE, state(plant), NOW)
    d.tidy(other.expires - timedelta(seconds=1))
    assert [plan.key for plan in d.waiting] == ["p2"]
    d.tidy(other.expires)
    assert d.waiting == ()
    assert "expired" in str((await d.approve("p2", "li", yes(other), state(plant), other.expires)).why)
    assert (await d.decide(replace(renewed, key="p2"), yes(other), Mode.APPROVE, state(plant), later)).stage is Stage.WAITING
    assert records.stages() == ["waiting", "rejected", "waiting", "expired", "waiting"]
    assert plant.orders == []


class Fleet:
    """GPUs that take caps, each after a moment; ``most``: how many were spoken to at once."""

    def __init__(self) -> None:
        self.cap_w: dict[str, float] = {}
        self.now = self.most = 0

    async def apply(self, action: Action, now: datetime) -> Frame:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        self.cap_w[action.asset] = action.value
        row = np.array([MANY.row(action.asset)], dtype=np.int32)
        return Frame("gpu", now, row, {action.metric: np.array([action.value])}, Origin.COMMANDED)


class Counted(MemoryRecords):
    """How often the disk was asked to keep several notes in one go."""

    writes = 0

    def append_all(self, topic, records) -> None:
        self.writes += 1
        super().append_all(topic, records)


MANY = hall(gpus=1500)


async def test_three_thousand_caps_are_begun_in_one_go_remembered_and_given_back_at_once() -> None:
    fleet, records, gpus = Fleet(), Counted(), MANY.ids_of("gpu")
    d = Desk(MANY, records, dict.fromkeys(gpus, fleet), NOW)
    for turn, cap_w in enumerate((600.0, 550.0, 500.0, 450.0)):
        now = NOW + timedelta(minutes=turn)
        seen = State(MANY)
        cap = {"power_cap_w": np.array([fleet.cap_w.get(gpu, 700.0) for gpu in gpus])}
        seen.absorb(Frame("gpu", now, MANY.all_rows("gpu"), cap), now)
        ids = gpus if turn == 0 else gpus[:2000]
        plan = replace(a_plan(*((gpu, cap_w) for gpu in ids), now=now, key=f"r{turn}", metric="power_cap_w"), request="r")
        assert (await d.decide(plan, yes(plan), Mode.AUTO, seen, now)).why is None
    assert records.writes == 4  # what is about to be sent; what came of it one by one, for each must stand once
    assert len(records.all) > 20_000
    d = Desk(MANY, records, dict.fromkeys(gpus, fleet), now)
    assert len(d.in_force) == 3000  # what was capped first and not since, too
    fleet.most, records.writes = 0, 0
    for minute in (1, 2):
        await d.revert_due(State(MANY), now + timedelta(minutes=minute), all_now=True)
    assert (set(fleet.cap_w.values()), d.in_force, fleet.most) == ({700.0}, (), 32)
    assert (records.writes, records.stages()[-6000:].count("reverted")) == (0, 3000)
