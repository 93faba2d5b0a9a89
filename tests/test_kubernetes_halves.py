"""Orders to Kubernetes of which any call fails: what is held is remembered, and every way back comes to its end."""

from copy import deepcopy
from datetime import timedelta

import numpy as np
import pytest
from aiohttp import web
from devices import NOW, opened
from energy_house import MemoryRecords
from test_queue_kubernetes import site
from test_queue_kubernetes_orders import AGREED, BATCH, CORE, KUEUE, Server, objects

from energy.act import Desk
from energy.plan import Effect, Gain, Mode, Plan, Verdict
from twin.message import Message
from twin.order import Result, Verb, orders
from twin.state import State

SITE = site()
WORKLOAD = f"{KUEUE}/namespaces/ml/workloads/job-train-1"
FIRST, SECOND = NOW + timedelta(hours=2), NOW + timedelta(hours=3)
FAULTS = ("touched", "forbidden", "broken", "lost", "dark")


class Faulty(Server):
    """``fault`` befalls the call number ``at``: a controller ``touched`` the object meanwhile, the call is ``forbidden`` or
    ``broken``, its answer is ``lost`` though it was done, or from it on it is ``dark`` until ``heal``."""

    def __init__(self, objects):
        super().__init__(objects)
        self.heal()

    def heal(self):
        self.fault, self.at, self.calls = "", 0, 0

    def break_at(self, call, fault):
        self.fault, self.at, self.calls = fault, call, 0

    async def _get(self, request):
        return await self._befallen(request, super()._get)

    async def _patch(self, request):
        return await self._befallen(request, super()._patch)

    async def _befallen(self, request, answer):
        self.calls += 1
        if self.calls != self.at and not (self.fault == "dark" and self.calls > self.at):
            return await answer(request)
        if self.fault == "touched" and request.method == "PATCH":
            self.change(request.path, {"metadata": {"labels": {"kueue": f"touched {self.calls}"}}})
        elif self.fault in ("forbidden", "broken"):
            return web.json_response({"message": "no"}, status=403 if self.fault == "forbidden" else 500)
        elif self.fault == "dark":
            request.transport.close()
        done = await answer(request) if self.fault != "dark" else web.Response()
        if self.fault == "lost":
            request.transport.close()
        return done


class House:
    """A desk, its records and a cluster; the clock goes on by twenty seconds with each look."""

    def __init__(self, server, tmp_path):
        (tmp_path / "token").write_text("secret")
        self.server, self.now, self.records = server, NOW, MemoryRecords()
        centre = opened("kubernetes", SITE, queue="k8s", url=server.url, token_file=tmp_path / "token")
        self.queue, self.close = centre.queues[0], centre.sources[0].close
        self.desk = Desk(SITE, self.records, {}, NOW, {"k8s": self.queue})
        self.plans = 0

    async def told(self, table):
        self.plans += 1
        gain = Gain("carbon_gco2_per_kwh", 10.0, -0.2, -0.3, -0.1)
        key, until = f"job_start:{self.plans}", self.now + timedelta(minutes=10)
        effect, said = Effect(0, 0, 0, 0), Message("test")
        plan = Plan(key, "job_start", (), said, effect, self.now, until, (("k8s", table),), gain)
        await self.desk.decide(plan, Verdict(plan.key, ()), Mode.AUTO, State(SITE), self.now)

    async def looks(self, count=3, **more):
        for _ in range(count):
            self.now += timedelta(seconds=20)
            await self.desk.follow("k8s", await self.queue.jobs(self.now), self.now)
            await self.desk.revert_orders(self.now, **more)

    def remembered(self, target):
        return next((one for one in self.desk.ordered if one.target == target), None)

    def of_persons(self):
        return [record for *_, record in self.records.all if record["stage"] == "left"]


def begin(job, when):
    return orders(Verb.BEGIN, [job], when.timestamp(), f"waits until {when:%H:%M}")


def held(server, job):
    spec = server.objects[WORKLOAD]["spec"] if job == "train" else server.objects[f"{BATCH}/{job}"]["spec"]
    return not spec.get("active", True) if job == "train" else bool(spec.get("suspend"))


def words(server, job):
    return {
        key: value for key, value in server.objects[f"{BATCH}/{job}"]["metadata"]["annotations"].items() if key not in AGREED
    }


def is_right(house, job):
    """Untouched and forgotten, or as it was told and remembered."""
    order = house.remembered(f"ml/{job}")
    if order is None:
        assert (held(house.server, job), words(house.server, job)) == (False, {})
    else:
        assert not order.stuck
        assert held(house.server, job)
        assert words(house.server, job)["icctwin/begin"] == f"{order.value:.0f}"
    return order


@pytest.fixture
async def opened_house(tmp_path):
    made = []

    async def house():
        server = Faulty(objects())
        await server.__aenter__()
        made.append(House(server, tmp_path))
        return made[-1]

    yield house
    for one in made:
        await one.close()
        await one.server.__aexit__(None, None, None)


async def each_call(opened_house, fault, prepare, act, look):
    """``act`` with the fault at its first call, at its second and so on, in a house of its own each, until no call is left;
    how many calls there were."""
    for call in range(1, 40):
        house = await opened_house()
        await prepare(house)
        house.server.break_at(call, fault)
        await act(house)
        reached = house.server.calls
        house.server.heal()
        await look(house)
        if reached < call:
            return reached
    raise AssertionError("it never ends")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("job", ["wait", "train"])
@pytest.mark.parametrize("again", [False, True])
async def test_whichever_call_of_an_order_fails_the_job_is_free_or_its_order_is_remembered(opened_house, job, fault, again):
    """``again``: it waits already by an older order."""

    async def prepare(house):
        if again:
            await house.told(begin(f"ml/{job}", FIRST))

    async def look(house):
        await house.looks()
        is_right(house, job)
        assert house.of_persons() == []
        await house.looks(all_now=True)
        assert is_right(house, job) is None

    assert await each_call(opened_house, fault, prepare, lambda h: h.told(begin(f"ml/{job}", SECOND)), look) >= 3


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("job", ["wait", "train"])
async def test_whichever_call_of_a_way_back_fails_the_job_is_let_go(opened_house, job, fault):
    async def look(house):
        await house.looks(all_now=True)
        assert is_right(house, job) is None
        assert house.of_persons() == []

    def prepare(house):
        return house.told(begin(f"ml/{job}", FIRST))

    assert await each_call(opened_house, fault, prepare, lambda h: h.desk.revert_orders(h.now, all_now=True), look) >= 3


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("job", ["wait", "train"])
@pytest.mark.parametrize("back", [False, True])
async def test_whoever_has_lost_all_records_finds_what_is_held_by_its_words_also_after_its_time(opened_house, job, fault, back):
    async def prepare(house):
        if back:
            await house.told(begin(f"ml/{job}", FIRST))

    async def act(house):
        await (house.desk.revert_orders(house.now, all_now=True) if back else house.told(begin(f"ml/{job}", FIRST)))

    async def look(house):
        house.desk = Desk(SITE, MemoryRecords(), {}, NOW, {"k8s": house.queue})
        await house.desk.release_strays("k8s", await house.queue.jobs(SECOND), SECOND)
        assert (held(house.server, job), words(house.server, job)) == (False, {})

    await each_call(opened_house, fault, prepare, act, look)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_cordoned_node_is_remembered_or_free_whichever_call_fails(opened_house, fault):
    node = f"{CORE}/n1"

    async def nothing(house):
        assert not house.server.objects[node]["spec"]["unschedulable"]

    async def look(house):
        await house.looks()
        order = house.remembered("n1")
        assert bool(house.server.objects[node]["spec"].get("unschedulable")) == (order is not None)
        await house.looks(all_now=True)
        assert not house.server.objects[node]["spec"].get("unschedulable")
        assert house.desk.ordered == ()

    drain = orders(Verb.DRAIN, ["n1"], texts="a CDU rests")
    assert await each_call(opened_house, fault, nothing, lambda h: h.told(drain), look) >= 3


async def test_one_touch_of_a_controller_is_no_failure_and_leaves_the_words_of_before(opened_house):
    house = await opened_house()
    house.server.race[WORKLOAD] = {"metadata": {"labels": {"kueue": "touched"}}}
    got = await house.queue.order(begin("ml/train", FIRST), NOW)
    assert (list(got.results), got.said[0], np.isnan(got.before[0])) == ([Result.DONE], "", True)
    house.server.race[WORKLOAD] = {"metadata": {"labels": {"kueue": "touched again"}}}
    got = await house.queue.order(orders(Verb.BEGIN, ["ml/train"], 0.0, undo=True, expected=np.array([FIRST.timestamp()])), NOW)
    assert (list(got.results), held(house.server, "train"), words(house.server, "train")) == ([Result.DONE], False, {})


async def test_a_workload_that_a_person_holds_while_it_is_ordered_is_the_persons(opened_house):
    house = await opened_house()
    house.server.race[WORKLOAD] = {"spec": {"active": False}}
    got = await house.queue.order(begin("ml/train", FIRST), NOW)
    assert (list(got.results), list(got.why)) == ([Result.REFUSED], ["a person holds it"])
    assert (held(house.server, "train"), words(house.server, "train")) == (True, {})


async def test_what_an_older_release_left_held_without_words_is_let_go(opened_house):
    house = await opened_house()
    await house.told(begin("ml/train", FIRST))
    house.server.change(f"{BATCH}/train", {"metadata": {"annotations": {"icctwin/begin": None, "icctwin/note": None}}})
    await house.looks(all_now=True)
    assert is_right(house, "train") is None


async def test_a_way_back_never_holds_a_job_though_its_order_knows_an_earlier_time(opened_house):
    """Of a process that lost its records another one's time is what stood there before."""
    house = await opened_house()
    await house.told(orders(Verb.BEGIN, ["ml/wait"], SECOND.timestamp(), "waits", expected=np.array([np.nan])))
    before = deepcopy(house.desk.ordered)
    back = orders(Verb.BEGIN, ["ml/wait"], FIRST.timestamp(), undo=True, expected=np.array([before[0].value]))
    assert list((await house.queue.order(back, NOW)).results) == [Result.DONE]
    assert (held(house.server, "wait"), words(house.server, "wait")) == (False, {})
