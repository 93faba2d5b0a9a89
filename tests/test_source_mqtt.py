"""MQTT against a real mosquitto: JSON by mapping, Sparkplug B, and the open BMS event bus, whose schema checks our messages."""

import asyncio
import json
import shutil
import subprocess
import tempfile
from contextlib import asynccontextmanager
from datetime import timedelta

import aiomqtt
import pytest
from devices import NOW, action, columns, free_port, garbage, opened, poll, refused, silent, tcp

from ingest.sources.sparkplug import Payload
from twin.frame import Origin

pytestmark = pytest.mark.server


@asynccontextmanager
async def broker(port=None, config=""):
    """A real mosquitto on a free port of loopback."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed (Debian: apt-get install mosquitto)")
    port = port or free_port()
    lines = [f"listener {port} 127.0.0.1", config or "allow_anonymous true"]
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        process = await asyncio.create_subprocess_exec(
            program, "-c", file.name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        async with awake(process, port):
            yield port


@asynccontextmanager
async def awake(process, port):
    try:
        for _ in range(100):
            try:
                async with aiomqtt.Client("127.0.0.1", port, timeout=1):
                    break
            except aiomqtt.MqttError as error:
                if "authori" in str(error):
                    break
                await asyncio.sleep(0.05)
        yield
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def device(port, **options):
    async with aiomqtt.Client("127.0.0.1", port, **options) as client:
        yield client


async def heard(one, kind, now=NOW):
    """The next frames of ``kind`` that a poll gives."""
    for _ in range(60):
        frames = await poll(one, now)
        if kind in frames:
            return frames[kind]
        await asyncio.sleep(0.03)
    raise AssertionError(f"no frame of {kind}")


JSON = """
format = "json"
[[topic]]
filter = "cooling/{cdu}/telemetry"
time = "ts"
[[topic]]
filter = "cooling/{cdu}/state/+"
[[command]]
name = "order"
topic = "cooling/{cdu}/set"
payload = '{"supply": %s}'
[assets.cdu]
id = ["cdu"]
[words.leak]
dry = 0
WET = 1
[[metric]]
kind = "cdu"
metric = "supply_temp_c"
series = "secondary.supply"
[[metric]]
kind = "cdu"
metric = "supply_temp_setpoint_c"
series = "secondary.setpoint"
[[metric]]
kind = "cdu"
metric = "leak_flag"
series = "leak"
[[set]]
kind = "cdu"
metric = "supply_temp_setpoint_c"
low = 18
high = 45
write = "order"
"""


async def test_json_is_read_by_its_members_and_orders_are_read_back(tmp_path):
    mapping = tmp_path / "m.toml"
    mapping.write_text(JSON)
    async with broker() as port, device(port) as plant:
        centre = opened("mqtt", targets=f"127.0.0.1:{port}", mapping=str(mapping), timeout_s=3, orders=["cdu"])
        one, held = centre.sources[0], {"setpoint": 30.0}
        stamp = (NOW - timedelta(seconds=3)).timestamp()

        async def telemetry():
            said = {"secondary": {"supply": 31.5, **held}, "ts": stamp * 1000}
            await plant.publish("cooling/cdu/telemetry", json.dumps(said), retain=True)

        async def obey():
            async for message in plant.messages:
                held["setpoint"] = json.loads(message.payload)["supply"] - 0.1  # it rounds in its own way
                await telemetry()

        await plant.subscribe("cooling/+/set")
        await telemetry()
        await plant.publish("cooling/cdu/state/leak", "WET", retain=True)
        await plant.publish("cooling/strange/telemetry", '{"secondary": {"supply": 9}}', retain=True)
        await plant.publish("cooling/cdu/state/broken", b"\xff\xfe", retain=True)
        task = asyncio.create_task(obey())
        try:
            frames = await one.poll(NOW)
            old, new = sorted(frames, key=lambda frame: frame.time)
            assert (old.time, columns(old)) == (
                NOW - timedelta(seconds=3),
                {"supply_temp_c": [31.5], "supply_temp_setpoint_c": [30]},
            )
            assert columns(new)["leak_flag"] == [1]
            assert one.unmapped >= 2  # the strange unit, and what is no text
            assert await one.poll(NOW) == []  # nothing new: no old value as a new one
            frame = await centre.actuators["cdu"].apply(action("cdu", "supply_temp_setpoint_c", 31), NOW)
            assert (frame.origin, columns(frame)) == (Origin.COMMANDED, {"supply_temp_setpoint_c": [30.9]})
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await one.close()


def sparkplug(*metrics, seq=0, timestamp=None):
    payload = Payload(seq=seq, timestamp=timestamp or round(NOW.timestamp() * 1000))
    for fields in metrics:
        payload.metrics.add(**fields)
    return payload.SerializeToString()


SPARKPLUG = """
format = "sparkplug"
[assets.cdu]
id = ["device"]
[[metric]]
kind = "cdu"
metric = "supply_temp_c"
series = "Secondary/Supply"
[[metric]]
kind = "cdu"
metric = "heat_w"
series = "Heat"
scale = 1000
[[metric]]
kind = "cdu"
metric = "supply_temp_setpoint_c"
series = "Setpoint"
scale = 0.1
[[set]]
kind = "cdu"
metric = "supply_temp_setpoint_c"
low = 18
high = 45
"""


async def test_sparkplug_speaks_by_alias_after_birth_dies_and_is_asked_to_be_born_again(tmp_path):
    mapping = tmp_path / "m.toml"
    mapping.write_text(SPARKPLUG)
    born = (
        {"name": "Secondary/Supply", "alias": 1, "datatype": 9, "float_value": 30.5},
        {"name": "Heat", "alias": 2, "datatype": 2, "int_value": 2**16 - 25},  # Int16: -25 kW
        {"name": "Setpoint", "alias": 3, "datatype": 3, "int_value": 300},
    )
    async with broker() as port, device(port) as edge:
        centre = opened("mqtt", targets=f"127.0.0.1:{port}", mapping=str(mapping), timeout_s=3, orders=["cdu"])
        one = centre.sources[0]
        asked, orders = [], asyncio.Queue()

        async def obey():
            async for message in edge.messages:
                order = Payload.FromString(message.payload)
                if "NCMD" in str(message.topic):
                    asked.append(order.metrics[0].name)
                    await edge.publish("spBv1.0/plant/NBIRTH/edge1", sparkplug(seq=0))
                    await edge.publish("spBv1.0/plant/DBIRTH/edge1/cdu", sparkplug(*born, seq=1))
                else:
                    await orders.put((str(message.topic), order.metrics[0].name, order.metrics[0].int_value))
                    say = {"alias": 3, "int_value": order.metrics[0].int_value}
                    await edge.publish("spBv1.0/plant/DDATA/edge1/cdu", sparkplug(say, seq=3))

        await edge.subscribe("spBv1.0/plant/NCMD/#")
        await edge.subscribe("spBv1.0/plant/DCMD/#")
        task = asyncio.create_task(obey())
        try:
            assert await one.poll(NOW) == []  # nothing has spoken yet
            await edge.publish("spBv1.0/plant/DDATA/edge1/cdu", sparkplug({"alias": 1, "float_value": 29.0}, seq=7))
            frame = await heard(one, "cdu")
            assert asked == ["Node Control/Rebirth"]
            assert columns(frame) == {"supply_temp_c": [30.5], "heat_w": [-25_000], "supply_temp_setpoint_c": [30]}
            assert frame.time == NOW
            later = round((NOW + timedelta(seconds=2)).timestamp() * 1000)
            await edge.publish(
                "spBv1.0/plant/DDATA/edge1/cdu", sparkplug({"alias": 1, "float_value": 31.25}, seq=2, timestamp=later)
            )
            frame = await heard(one, "cdu")
            assert (frame.time, frame.values["supply_temp_c"].tolist()) == (NOW + timedelta(seconds=2), [31.25])
            order = await centre.actuators["cdu"].apply(action("cdu", "supply_temp_setpoint_c", 30.5), NOW)
            assert columns(order) == {"supply_temp_setpoint_c": [30.5]}
            assert orders.get_nowait() == ("spBv1.0/plant/DCMD/edge1/cdu", "Setpoint", 305)
            await edge.publish("spBv1.0/plant/DDEATH/edge1/cdu", sparkplug(seq=4))
            await asyncio.sleep(0.1)
            assert await one.poll(NOW) == []
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await one.close()


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


async def test_a_sick_broker_is_one_clear_error_and_a_restarted_one_is_listened_to_again(tmp_path):
    mapping = tmp_path / "m.toml"
    mapping.write_text(JSON)
    options = {"mapping": str(mapping), "timeout_s": 0.5}
    for answer in (silent, garbage):
        async with tcp(answer) as port:
            one = opened("mqtt", targets=f"127.0.0.1:{port}", **options).sources[0]
            assert f"127.0.0.1:{port}" in await refused(one.poll(NOW))
            await one.close()
    port = free_port()
    one = opened("mqtt", targets=f"127.0.0.1:{port}", mapping=str(mapping), timeout_s=3, orders=["cdu"]).sources[0]
    assert "is the broker running" in await refused(one.poll(NOW))
    for value in (30, 31):
        async with broker(port), device(port) as plant:
            await plant.publish("cooling/cdu/telemetry", json.dumps({"secondary": {"supply": value}}), retain=True)
            frame = await heard(one, "cdu")
            assert frame.values["supply_temp_c"].tolist() == [value]
        for _ in range(100):
            if one._reach._task.done():
                break
            await asyncio.sleep(0.02)
        assert "is the broker running" in await refused(one.poll(NOW))
    await one.close()


async def test_a_login_is_needed_where_the_broker_says_so(tmp_path):
    (tmp_path / "m.toml").write_text(JSON)
    password, users = tmp_path / "secret", tmp_path / "users"
    password.write_text("word")
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("mosquitto is not installed (Debian: apt-get install mosquitto)")
    made = await asyncio.create_subprocess_exec(tool, "-c", "-b", str(users), "icct", "word", stderr=subprocess.DEVNULL)
    await made.wait()
    users.chmod(0o644)
    tmp_path.chmod(0o755)
    async with broker(config=f"allow_anonymous false\npassword_file {users}\nuser root") as port:
        one = opened("mqtt", targets=f"127.0.0.1:{port}", mapping=str(tmp_path / "m.toml"), timeout_s=2).sources[0]
        assert "uthori" in await refused(one.poll(NOW))
        await one.close()
        login = {"user": "icct", "password_file": password}
        one = opened("mqtt", targets=f"127.0.0.1:{port}", mapping=str(tmp_path / "m.toml"), timeout_s=2, **login).sources[0]
        async with device(port, username="icct", password="word") as plant:
            await plant.publish("cooling/cdu/telemetry", '{"secondary": {"supply": 30}}', retain=True)
            assert (await heard(one, "cdu")).values["supply_temp_c"].tolist() == [30]
        await one.close()
