"""The open BMS event bus over a real mosquitto; its published schema checks our messages."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from brokers import broker, device, heard
from devices import NOW, action, columns, opened, poll

pytestmark = pytest.mark.server


def meta(kind, point, tag, **fields):
    return f"BMS/v1/PUB/Metadata/{kind}/{point}/{tag}", {"objectType": kind, "pointType": point, **fields}


CDU5 = {"objectName": "CDU 5", "objectId": "cdu"}
STATES = [{"value": 0, "text": "NoLeak"}, {"value": 1, "text": "Leak"}]
METADATA = dict(
    [
        meta(
            "CDU", "LiquidTemperature", "h1/cdu/ts", engUnit="C", processArea=["Secondary", "Supply"], servesId=["rack"], **CDU5
        ),
        meta(
            "CDU", "LiquidTemperature", "h1/cdu/sp", engUnit="C", processArea=["Secondary", "Supply"], isSetpoint=True, **CDU5
        ),
        meta("CDU", "LiquidFlow", "h1/cdu/f", engUnit="LPM", processArea=["Secondary"], **CDU5),
        meta("CDU", "LiquidTemperatureSpRequest", "h1/cdu/req", engUnit="C", integration="ICCTWIN", **CDU5),
        meta("Rack", "RackLeakDetect", "h1/r1/leak", rackLocationName="R1", rackLocationId="rack", stateText=STATES),
        meta("Rack", "RackPower", "h1/r1/p", rackLocationName="R1", rackLocationId="rack", engUnit="kW"),
        meta("Pump", "PumpSpeed", "h1/p1/s", objectName="P1", objectId="pump1", engUnit="%"),
        meta("System", "HeartbeatTimestampBms", "bms/beat", objectName="BMS", objectId="BMS"),
        meta("System", "HeartbeatTimestampIntegration", "us/beat", objectName="ICC", objectId="ICCTWIN", integration="ICCTWIN"),
        meta("PowerMeter", "ActivePower", "h1/m1/p", objectName="M1", objectId="m1", engUnit="kW", servesId=["rack", "ups"]),
    ]
)


class Bms:
    """The building's side of the bus."""

    def __init__(self, client):
        self._client = client
        self.received = {}

    async def publish_metadata(self):
        for topic, body in METADATA.items():
            await self._client.publish(topic, json.dumps(body), retain=True)

    async def say(self, place, value, seconds=0, quality=1):
        stamp = round((NOW + timedelta(seconds=seconds)).timestamp() * 1000)
        body = {"value": value, "timestamp": stamp, "quality": quality}
        await self._client.publish(f"BMS/v1/PUB/Value/{place}", json.dumps(body), retain=True)

    async def raw(self, topic, text):
        await self._client.publish(topic, text)

    async def obey(self):
        await self._client.subscribe("BMS/v1/ICCTWIN/#")
        async for message in self._client.messages:
            topic, body = str(message.topic), json.loads(message.payload)
            self.received.setdefault(topic, []).append(body)
            if "SpRequest" in topic:
                await self.say("CDU/LiquidTemperature/h1/cdu/sp", body["value"], 1)


@asynccontextmanager
async def bus(**options):
    async with broker() as port, device(port) as client:
        bms = Bms(client)
        await bms.publish_metadata()
        task = asyncio.create_task(bms.obey())
        centre = opened(
            "mqtt", targets=f"127.0.0.1:{port}", mapping="bms", timeout_s=3, integration="ICCTWIN", orders=["cdu"], **options
        )
        try:
            yield bms, centre
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await centre.sources[0].close()


async def test_the_bms_bus_is_read_by_its_metadata_in_our_units_and_holds_at_its_heartbeat():
    async with bus() as (bms, centre):
        one = centre.sources[0]
        await bms.say("CDU/LiquidTemperature/h1/cdu/ts", 31.5)
        await bms.say("CDU/LiquidTemperature/h1/cdu/sp", 31)
        await bms.say("CDU/LiquidFlow/h1/cdu/f", 600)
        await bms.say("Rack/RackLeakDetect/h1/r1/leak", 1)
        await bms.say("Rack/RackPower/h1/r1/p", 120.5)
        await bms.say("Pump/PumpSpeed/h1/p1/s", 55, quality=0)  # not trustworthy: not taken
        for topic, strange in (
            ("Metadata/CDU/X/y", "[]"),
            ("Value/CDU/LiquidTemperature/h1/cdu/ts", "{}"),
            ("Metadata/CDU", "{}"),
            ("z", "1"),
        ):
            await bms.raw(f"BMS/v1/PUB/{topic}", strange)
        frames = await poll(one)
        assert columns(frames["cdu"]) == {
            "supply_temp_c": [31.5],
            "flow_kgps": [pytest.approx(10)],
            "supply_temp_setpoint_c": [31],
        }
        assert columns(frames["rack"]) == {"power_w": [120_500], "leak_flag": [1]}
        assert frames["cdu"].time == NOW
        assert "pump" not in {k: f for k, f in frames.items() if f.samples}
        await bms.say("System/HeartbeatTimestampBms/bms/beat", 1, seconds=8)
        frame = await heard(one, "rack", NOW + timedelta(seconds=9))
        assert frame.time == NOW + timedelta(seconds=8)  # as new as the heartbeat, not as the poll
        assert columns(frame) == {"power_w": [120_500], "leak_flag": [1]}
        await asyncio.sleep(0.1)
        assert await one.poll(NOW + timedelta(seconds=12)) == []  # one heartbeat, one reading
        beats = bms.received["BMS/v1/ICCTWIN/Value/System/HeartbeatTimestampIntegration/us/beat"]
        assert len(beats) == 1
        assert set(beats[0]) == {"value", "timestamp", "quality"}


async def test_a_bus_that_retains_more_than_its_broker_queues_is_read_whole_at_the_first_poll():
    """A broker drops retained messages at QoS 1 beyond what it queues for a client: mosquitto 1,000, here 20."""
    async with broker(config="allow_anonymous true\nmax_queued_messages 20") as port, device(port) as client:
        stamp = round(NOW.timestamp() * 1000)
        for n in range(60):
            rack = "rack" if n == 59 else f"other{n}"  # the one that the site has comes last
            topic, body = meta("Rack", "RackPower", f"{n:02d}", rackLocationName=rack, rackLocationId=rack, engUnit="kW")
            await client.publish(topic, json.dumps(body), qos=1, retain=True)
            said = {"value": n, "timestamp": stamp, "quality": 1}
            await client.publish(topic.replace("Metadata", "Value"), json.dumps(said), qos=1, retain=True)
        one = opened("mqtt", targets=f"127.0.0.1:{port}", mapping="bms", timeout_s=5).sources[0]
        try:
            assert columns((await poll(one))["rack"]) == {"power_w": [59_000]}
            assert one._reach.decoder.metadata_count == 60
        finally:
            await one.close()


async def test_an_order_goes_out_as_the_request_that_the_bms_names_and_is_read_back():
    async with bus() as (bms, centre):
        one = centre.sources[0]
        await bms.say("CDU/LiquidTemperature/h1/cdu/sp", 31)
        await poll(one)
        frame = await centre.actuators["cdu"].apply(action("cdu", "supply_temp_setpoint_c", 31.5), NOW)
        assert columns(frame) == {"supply_temp_setpoint_c": [31.5]}
        (sent,) = bms.received["BMS/v1/ICCTWIN/Value/CDU/LiquidTemperatureSpRequest/h1/cdu/req"]
        assert (sent["value"], sent["quality"]) == (31.5, 1)
        assert abs(sent["timestamp"] - NOW.timestamp() * 1000) < 5000


async def test_the_published_schema_allows_what_we_read_and_what_we_send(shared_data):
    text = (shared_data / "bms" / "bms.yaml").read_text()
    kinds = {line.split("/")[4] for line in text.splitlines() if "address: 'BMS/v1/PUB/Value/" in line}
    for topic in METADATA:
        _, _, _, _, kind, point, *_ = topic.split("/")
        assert kind in kinds
        assert f"- {point}\n" in text
    from ingest.mappings import FOLDER, load_table
    from ingest.sources.mqtt import MqttTable

    table = load_table("bms", MqttTable, FOLDER / "mqtt")
    for name in {*table.names, *(one.write for one in table.settings)}:
        kind, point = name.split(".")
        assert kind in kinds, name
        assert f"- {point}\n" in text, name
