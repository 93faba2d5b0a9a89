"""Who may touch the plant, when, how often, and what happens when it does not obey or we die half-way."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from energy_house import NOW, SETPOINT, MemoryRecords, Physics, a_plan, hall, read

from energy.act import Desk, Stage
from energy.guard import Limits, guard
from energy.plan import Mode, Plan, Refusal, Verdict
from twin.errors import SourceError
from twin.frame import Frame, Origin
from twin.message import Message
from twin.ports import Action
from twin.state import State

SITE = hall()
GOOD = a_plan(("c1", 31.0), ("c2", 31.0))
LATE = NOW + timedelta(hours=3)


@dataclass
class Plant:
    """Two CDUs that can be told a setpoint; ``dead`` ones do not answer, ``deaf`` ones answer with their old value,
    ``mute`` ones with nothing."""

    values: dict[str, float] = field(default_factory=lambda: {"c1": 30.0, "c2": 30.0})
    dead: set[str] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)
    orders: list[tuple[str, float]] = field(default_factory=list)
    die_at: int = 0  # the process is killed at this order

    async def apply(self, action: Action, now: datetime) -> Frame:
        self.orders.append((action.asset, action.value))
        if len(self.orders) == self.die_at:
            raise asyncio.CancelledError
        if action.asset in self.dead:
            raise SourceError("no answer")
        if action.asset not in self.deaf:
            self.values[action.asset] = action.value
        row = np.array([SITE.row(action.asset)], dtype=np.int32)
        read = np.nan if action.asset in self.mute else self.values[action.asset]
        return Frame("cdu", now, row, {action.metric: np.array([read])}, Origin.COMMANDED)


def desk(plant: Plant, records: MemoryRecords, now: datetime = NOW) -> Desk:
    return Desk(SITE, records, {"c1": plant, "c2": plant}, now)


def state(plant: Plant, now: datetime = NOW) -> State:
    made = read(SITE, Physics(), 24.0, 30.0, now)
    values = np.array([plant.values["c1"], plant.values["c2"]])
    made.absorb(Frame("cdu", now + timedelta(seconds=1), SITE.all_rows("cdu"), {SETPOINT: values}), now + timedelta(seconds=1))
    return made


def yes(plan: Plan = GOOD) -> Verdict:
    return Verdict(plan.key, ())


def no(plan: Plan = GOOD) -> Verdict:
    return Verdict(plan.key, (Refusal("stop", Message("the stop switch is set")),))


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


def reasons(records: MemoryRecords, *stages: Stage) -> list[tuple[str, str]]:
    """Which asset went back, and why, as the audit has it."""
    return [(r["asset"], (r["why"] or {}).get("text", "")) for _, _, _, r in records.all if r["stage"] in stages]


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
    """How often the disk was asked to keep something."""

    writes = 0

    def append_all(self, topic, records) -> None:
        self.writes += 1
        super().append_all(topic, records)


MANY = hall(gpus=1500)


async def test_three_thousand_caps_are_written_in_one_go_remembered_and_given_back_at_once() -> None:
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
    assert records.writes == 8  # what is about to be sent, and what came of it
    assert len(records.all) > 20_000
    d = Desk(MANY, records, dict.fromkeys(gpus, fleet), now)
    assert len(d.in_force) == 3000  # what was capped first and not since, too
    fleet.most, records.writes = 0, 0
    for minute in (1, 2):
        await d.revert_due(State(MANY), now + timedelta(minutes=minute), all_now=True)
    assert (set(fleet.cap_w.values()), d.in_force, fleet.most) == ({700.0}, (), 32)
    assert records.writes == 4
