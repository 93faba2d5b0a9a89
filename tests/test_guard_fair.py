"""The guard between tenants: what each plan may ask alone, two together may not; what a lever gives by the rule, passes."""

from dataclasses import dataclass, replace
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest
from energy_house import NOW
from faces_harness import DayStore, Hands
from hypothesis import given, settings
from hypothesis import strategies as st
from test_acting import SITE, Proposes, Waits
from test_energy_orders import HOUR, Scheduler, T
from test_fair import FIRST, SEEN, SIGNALS, TRUTH, load, would

from energy.account.book import Given
from energy.guard_fair import FAIR_RULES
from energy.levers import Lever, QueueNow, open_lever
from energy.memory import Asked
from energy.plan import Mode
from energy.shift.bench_fair import Centre, _cluster
from energy.waiting import waits_of
from ingest.stores.records import open_records
from twin.job import JobState
from twin.order import Verb, orders
from twin.state import State
from ui.acting import Acting
from ui.switch import Wish, wish
from ui.view import Live
from ui.words import words

SAYS = FAIR_RULES["fair"][1]


def found(plan, queues, now=NOW):
    """What the rule finds."""
    return list(FAIR_RULES["fair"][0](SimpleNamespace(plan=plan, queues=queues, now=now)))


@pytest.fixture
def desk(tmp_path):
    """Four jobs of an hour on one GPU: two of acme, and two of others; two levers with a plan each that wait for a person."""

    class Desk:
        def __init__(self):
            self.clock, self.slurm, self.records = Hands(NOW), Waits(), open_records(tmp_path / "records.db")
            modes = dict.fromkeys(("job_start", "job_shift"), Mode.APPROVE)
            self.live = Live(SITE, State(SITE), DayStore(), self.records, self.clock, NOW, folder=tmp_path, modes=modes)
            self.live.given = lambda: Given(tenants={"p0": "acme", "p1": "acme"})
            each = (("job_start", "0"), ("job_shift", "1"))
            self.plans = {name: would(job, hours=11, since=0, key=name) for name, job in each}
            self.new()

        def new(self):
            levers = {name: Proposes(plan) for name, plan in self.plans.items()}
            self.acting = Acting(self.live, lambda frames: None, [self.slurm], {}, tmp_path, levers=levers)
            real = self.acting._judged

            async def judged(plan, now):
                """But for what a fake centre cannot know: signal, readings, simulation."""
                plan, said = await real(plan, now)
                return plan, replace(said, refusals=tuple(one for one in said.refusals if one.rule in FAIR_RULES))

            self.acting._judged = judged

        async def look(self):
            self.clock.skip(1.0)
            self.acting.seen("slurm", replace(Scheduler.jobs(self.slurm), projects=["p0", "p1", "", "p3"]), None)
            await self.acting.acts(self.clock.now())

        async def plan(self):
            await self.look()
            await self.acting.plans(self.clock.now())
            return {plan.key: list(verdict.refusals) for plan, verdict in self.live.plans}

    made = Desk()
    yield made
    made.records.close()


async def test_of_two_plans_that_a_person_approves_the_second_is_refused_where_both_are_too_much(desk):
    assert await desk.plan() == {"job_start": [], "job_shift": []}, "five and a half hours of acme's work each"
    for key in ("job_start", "job_shift"):
        wish(desk.records, Wish("approve", "li", plan=key), desk.clock.now())
    await desk.look()
    assert set(desk.slurm.begin) == {"0"}
    audit = [record for _, _, record in desk.records.read("audit", limit=100)]
    (refused,) = [record for record in audit if record["stage"] == "refused"]
    assert (refused["plan"], refused["verdict"][0]["rule"]) == ("job_shift", "fair")
    desk.new()  # the next process knows it by the records
    refusals = (await desk.plan())["job_shift"]
    assert [one.rule for one in refusals] == ["fair"]
    said, hours = refusals[0].why, {"hours": 11.0, "most": 6.0}
    assert {name: said.params[name] for name in hours} == pytest.approx(hours, abs=0.01)
    assert str(said) == (
        "With what was ordered before, the work of acme would wait 11.0 h in the mean; beside the others 6.0 h are fair"
    )
    assert words("zh").sentence(said) not in (str(said), SAYS)


def view(asked, n=4, cluster=None):
    """The queue of ``desk`` with jobs that were told to wait."""
    jobs = replace(Scheduler(n=n).jobs(), projects=["acme", "acme", "wu", "li"])
    queue = QueueNow("slurm", jobs, cluster)
    return [replace(queue, waits=waits_of([queue], {}, {"slurm": asked}, {}, T, 6 * HOUR)["slurm"])]


def test_an_order_that_holds_a_job_is_changed_and_not_added_to():
    held = view({"0": Asked(0.0, T - HOUR, T + 11 * HOUR, NOW)})
    assert found(would("0", hours=12, since=0, key="p"), held) == [], "13 of two jobs' hours: less than an hour over"
    (one,) = found(would("0", hours=14, since=0, key="p"), held)
    assert one["hours"] == pytest.approx(7.5)
    assert found(would("0", hours=10, since=0, key="p"), view({"0": Asked(0.0, T, T + 20 * HOUR, NOW)})) == [], "it waits less"


def test_others_that_wait_too_and_what_answers_the_grid():
    alike = view({"2": Asked(0.0, T, T + 20 * HOUR, NOW), "3": Asked(0.0, T, T + 20 * HOUR, NOW)})
    assert found(would("0", "1", hours=20, since=0, key="p"), alike) == []
    alone = would("0", "1", hours=20, since=0, key="p")
    assert [one["tenant"] for one in found(alone, view({}))] == ["acme"]
    assert found(replace(alone, request="contract"), view({})) == []
    moved = orders(Verb.MOVE, ["0", "1"], T + 20 * HOUR, "there", where=[("batch", "west")] * 2)
    assert [one["tenant"] for one in found(replace(alone, orders=(("slurm", moved),)), view({}))] == ["acme"]
    back = replace(moved, undo=True)
    assert found(replace(alone, orders=(("slurm", back),)), view({})) == []
    assert found(alone, [SimpleNamespace(name="slurm", jobs=view({})[0].jobs, waits=None)]) == [], "nobody says whose they are"


@pytest.mark.parametrize("cluster", [None, _cluster(8)], ids=["room unknown", "room"])
def test_a_plan_that_says_its_jobs_would_have_waited_anyway_is_not_believed_where_there_is_room(cluster):
    idle = view({}, cluster=cluster)
    (one,) = found(would("0", "1", hours=20, since=20, key="p"), idle)
    assert (one["tenant"], one["hours"]) == ("acme", pytest.approx(19)), "by an hour a lever may be out"
    assert found(would("0", "1", hours=7, since=1, key="p"), idle) == []


@pytest.mark.parametrize(("state", "limit_h"), [(JobState.RUNNING, 19), (JobState.RUNNING, np.nan), (JobState.SUSPENDED, 19)])
def test_a_plan_is_believed_where_others_have_the_room(state, limit_h):
    """Job 3 holds the only GPU, for ever where nobody says for how long."""
    (queue,) = view({}, cluster=_cluster(1))
    at, nan = np.array([0, 0, 0, 1], dtype=np.uint8), np.nan
    jobs = replace(
        queue.jobs, state=at * np.uint8(state), start_s=np.where(at, T, nan), limit_s=np.where(at, limit_h * HOUR, HOUR)
    )
    assert found(would("0", "1", hours=20, since=19, key="p"), [replace(queue, jobs=jobs)]) == []


@pytest.mark.parametrize(
    ("asked", "gpus", "hours", "room", "told"),
    [
        ("0", [1, 1, 1, 1], [1, 19, 1, 1], 1, 21),  # levers seat first who may not wait, and who has no more time
        ("3", [15, 14, 14, 6], [3, 1, 8, 7], 28, 4),  # nor do they let it start in a gap before the second
        ("3", [1, 1, 1, 1], [0.1, 0.1, 0.1, 0.1], 1, 3),  # and each takes a slot
    ],
)
def test_a_lever_is_believed_that_counts_as_levers_do(asked, gpus, hours, room, told):
    (queue,) = view({}, cluster=_cluster(room))
    jobs = replace(queue.jobs, gpus=np.array(gpus, dtype=np.int32), limit_s=HOUR * np.array(hours), projects=list("abcd"))
    queue = replace(queue, jobs=jobs)
    waits = waits_of([queue], {}, {}, {}, T, 6 * HOUR)["slurm"]
    assert found(would(asked, hours=told + 6, since=told, key="p"), [replace(queue, waits=waits)]) == []
    (one,) = found(would(asked, hours=told + 10, since=told + 4, key="p"), [replace(queue, waits=waits)])
    assert one["hours"] == pytest.approx(9)


@pytest.mark.parametrize("verb", [Verb.HOLD, Verb.SUSPEND])
def test_a_job_that_is_held_waits_for_as_long_as_it_may_be(verb):
    held = would("0", "1", hours=0, since=0, key="p")
    held = replace(held, orders=(("slurm", orders(verb, ["0", "1"], texts="waits")),))
    assert found(held, view({})) == [], "four hours"
    asked = {job: Asked(4 * HOUR, T - 6 * HOUR, T - HOUR, NOW) for job in ("0", "1")}
    (one,) = found(held, view(asked))
    assert (one["tenant"], one["hours"]) == ("acme", pytest.approx(4 + 5 + 4))
    (one,) = found(held, view({"0": Asked(0.0, T, T + 20 * HOUR, NOW)}))
    assert one["hours"] == pytest.approx((20 + 4) / 2), "a begin time that stands is longer"
    assert found(replace(held, orders=(("slurm", replace(held.orders[0][1], undo=True)),)), view(asked)) == []


@dataclass
class Asks:
    """A lever, and what the rule says of each of its plans."""

    lever: Lever
    name: str = "asks"

    def propose(self, site, state, jobs, outlook, now: datetime):
        plan = self.lever.propose(site, state, jobs, outlook, now)
        assert plan is None or found(plan, outlook.queues, now) == []
        return plan


tenants = st.sampled_from("abcd")


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(tenants, *(st.integers(*ends) for ends in ((0, 40), (1, 8), (0, 30), (1, 16)))), min_size=3, max_size=16
    ),
    st.integers(16, 40),
)
def test_no_plan_is_refused_that_a_lever_made_by_the_rule(rows, gpus):
    centre, asks = Centre(load(rows), TRUTH, SEEN, gpus, least_s=2 * HOUR, signals=SIGNALS), Asks(open_lever("job_start"))
    for hour in range(FIRST, FIRST + 44):
        centre.round(hour, asks)
