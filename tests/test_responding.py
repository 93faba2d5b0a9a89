"""A request of the grid from the wire to the proof: a real mosquitto brings it and carries the caps; the clock is virtual.

Two jobs of eight GPUs run; the owner of one agreed. Behind the broker stand the GPUs, which draw what they want, at most
their cap; the meter shows theirs and 4 kW beside.
"""

import asyncio
import json
import uuid
from datetime import timedelta

import numpy as np
import pytest
from brokers import broker, device
from devices import opened
from responding_house import House, plant_site

from energy.plan import Mode
from twin.job import JobState
from ui.responding import TOPIC
from ui.switch import Wish, wish

pytestmark = pytest.mark.server
MAPPING = """
format = "json"
[[topic]]
filter = "gpu/{gpu}/now"
[[topic]]
filter = "meter/now"
[[command]]
name = "cap"
topic = "gpu/{gpu}/cap"
payload = '%s'
[assets.gpu]
id = ["gpu"]
[[metric]]
kind = "gpu"
metric = "power_w"
series = "power"
[[metric]]
kind = "gpu"
metric = "power_cap_w"
series = "cap"
[[set]]
kind = "gpu"
metric = "power_cap_w"
low = 100
high = 700
write = "cap"
"""


async def gpus_obey(client, house):
    """Behind the broker: each GPU takes its cap and says so."""
    await client.subscribe("gpu/+/cap")
    for gpu in house.site.ids_of("gpu"):
        await client.publish(f"gpu/{gpu}/now", json.dumps({"cap": 700.0}), retain=True)
    async for message in client.messages:
        gpu = str(message.topic).split("/")[1]
        house.caps[house.site.row(gpu)] = float(message.payload)
        await client.publish(f"gpu/{gpu}/now", json.dumps({"cap": float(message.payload)}))


def target(house, kw=None, begin_min=10, hours=1.0, **more):
    """A load target as the bus carries it (plain data; signatures have a test of their own)."""
    now = house.clock.now()
    begin = now + timedelta(minutes=begin_min)
    end = begin + timedelta(hours=hours)
    one = {"interval": {"start_time": begin.isoformat(), "end_time": end.isoformat()}, "load_constraint": None}
    if kw is not None:
        one["load_constraint"] = {"value": kw, "unit": "kilowatt"}
    return json.dumps({
        "specversion": "1.0.2", "id": str(uuid.uuid4()), "source": "//grid/v1/isv/acme", "type": "grid.loadtarget.set.v1",
        "time": now.isoformat(), "datacontenttype": "application/json", "subject": "loadtarget", "traceparent": "00-0-0-00",
        "correlationid": "c0ffee", "data": {"targets": [one]}, **more,
    })  # fmt: skip


@pytest.fixture
async def world(tmp_path, request):
    mapping = tmp_path / "gpus.toml"
    mapping.write_text(MAPPING)
    async with broker() as port, device(port) as field, device(port) as isv:
        of = plant_site()
        bus = opened("mqtt", of, targets=f"127.0.0.1:{port}", mapping=str(mapping), orders=True, every_s=1)
        grid = opened("flexbus", of, broker=f"127.0.0.1:{port}", publishers={"acme": None}, unsigned=True)
        house = House(tmp_path, bus, grid, request.param)
        task = asyncio.create_task(gpus_obey(field, house))
        try:
            house.hour_before()
            await house.minute()  # and the first look, which connects

            async def says(text):
                await isv.publish("grid/v1/isv/acme/loadtarget/set", text, qos=1)
                (listener,) = grid.sources
                for _ in range(200):
                    if listener._waiting:
                        return
                    await asyncio.sleep(0.01)
                raise AssertionError("the message did not come")

            yield house, says
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for source in (*bus.sources, *grid.sources):
                await source.close()
            house.store.close()
            house.records.close()


@pytest.mark.parametrize("world", [Mode.AUTO], indirect=True)
async def test_a_request_is_met_within_its_notice_ends_without_a_rebound_and_is_proven(world):
    house, says = world
    await says(target(house, 10.8))  # of 12 kW
    at = len(house.meter)
    await house.minutes(11)
    assert house.meter[-1] <= 10_800 * 1.01  # at its begin
    await house.minutes(20)
    house.anew()  # a restart goes on with what stands
    await house.minutes(150)
    event = np.array(house.meter[at + 10 : at + 70])
    assert event.max() <= 10_800 * 1.01
    assert event.min() >= 10_800 * 0.93  # not more than is asked
    assert max(house.meter[at + 70 :]) <= 12_000 * 1.001
    assert house.meter[-1] == pytest.approx(12_000)
    assert (house.caps == 700).all()
    (proof,) = [record for _, _, record in house.records.read(TOPIC) if record["stage"] == "proved"]
    assert (proof["short_steps"], proof["coverage_frac"]) == (0, 1.0)
    assert proof["cut_kwh"] == pytest.approx(float((12_000 - event).sum()) / 60e3, rel=0.02)
    assert proof["rebound_frac"] < 0.001
    audit = [record for _, _, record in house.records.read("audit", limit=10_000)]
    touched = {record["asset"] for record in audit if record.get("metric") == "power_cap_w"}
    assert touched == {f"n0g{g}" for g in range(8)}  # the other owner has not agreed


@pytest.mark.parametrize("world", [Mode.AUTO], indirect=True)
async def test_where_caps_are_not_enough_what_may_pause_pauses_and_what_waits_waits(world):
    house, says = world
    await says(target(house, 8.7))
    await house.minutes(12)
    assert house.slurm.state[0] == JobState.PENDING
    assert house.meter[-1] <= 8_700 * 1.01
    assert house.slurm.begin[0] > house.clock.now().timestamp() + 3000
    assert house.slurm.begin[2] > house.clock.now().timestamp() + 3000
    assert "1" not in {target for _, target in house.slurm.orders}
    await says(target(house))  # taken back
    await house.minutes(3)
    assert np.isnan(house.slurm.begin).all()
    assert (house.caps == 700).all()


@pytest.mark.parametrize("world", [Mode.ADVISE, Mode.APPROVE], indirect=True)
async def test_advise_touches_nothing_and_approve_waits_for_one_yes(world):
    house, says = world
    await says(target(house, 10.8))
    at = len(house.meter)
    await house.minutes(20)
    assert (house.caps == 700).all()
    plans = [plan for plan, _ in house.live.plans if plan.lever == "demand_response"]
    assert len(plans) == 1
    if house.live.modes["demand_response"] is Mode.ADVISE:
        return
    wish(house.records, Wish("approve", "li", plans[0].key), house.clock.now())
    await house.minutes(30)
    assert max(house.meter[at + 30 :]) <= 10_800 * 1.01
    who = {record["who"] for _, _, record in house.records.read("audit", limit=10_000) if record["stage"] == "begun"}
    assert "li" in who
