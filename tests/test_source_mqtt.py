"""MQTT against a real mosquitto: JSON by mapping and Sparkplug B."""

import asyncio
import json
import shutil
import subprocess
from datetime import timedelta

import pytest
from brokers import broker, device, heard
from devices import NOW, action, columns, garbage, opened, refused, silent, tcp

from ingest.sources.sparkplug import Payload
from twin.frame import Origin
from ui.benches.demo import free_port

pytestmark = pytest.mark.server


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
