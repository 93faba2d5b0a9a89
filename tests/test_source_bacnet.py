"""BACnet/IP against bacpypes3's own device on loopback: objects, faults, orders with priority, sick peers."""

import socket
from dataclasses import replace

import pytest
from bacpypes3.app import Application
from bacpypes3.local.analog import AnalogInputObject, AnalogOutputObject, AnalogValueObject
from bacpypes3.local.binary import BinaryInputObject
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.networkport import NetworkPortObject
from devices import NOW, action, columns, opened, poll, refused, site

from twin.frame import Origin
from ui.benches.demo import free_port

OF = site({"id": "ahu", "kind": "crah", "parent": "hall"})


def port():
    return free_port(socket.SOCK_DGRAM)


def device(at, *objects):
    one = DeviceObject(objectIdentifier=("device", 1), objectName="ahu", vendorIdentifier=999)
    network = NetworkPortObject(f"127.0.0.1/8:{at}", objectIdentifier=("network-port", 1), objectName="n")
    return Application.from_object_list([one, network, *objects])


def analog(kind, instance, value, **more):
    made = {"analog-input": AnalogInputObject, "analog-output": AnalogOutputObject, "analog-value": AnalogValueObject}[kind]
    return made(objectIdentifier=(kind, instance), objectName=f"{kind} {instance}", presentValue=value, **more)


def handler(at, fan=55.0):
    setpoint = analog("analog-value", 1, 22.0)
    return device(
        at,
        analog("analog-input", 1, 21.5),
        analog("analog-input", 2, 34.25),
        analog("analog-input", 3, 45.0, reliability="no-sensor"),  # the humidity sensor is faulty
        analog("analog-output", 1, fan, relinquishDefault=fan),
        setpoint,
        BinaryInputObject(objectIdentifier=("binary-input", 1), objectName="leak", presentValue="active"),
    )


def centre(at, mapping="air_handler", timeout_s=2):
    bind = f"127.0.0.1/8:{port()}"
    return opened("bacnet", OF, targets={f"127.0.0.1:{at}": "ahu"}, mapping=mapping, bind=bind, timeout_s=timeout_s)


async def test_an_air_handler_is_read_in_one_request_and_a_faulty_sensor_has_no_value():
    at = port()
    peer = handler(at)
    here = centre(at)
    try:
        frames = await poll(here.sources[0])
    finally:
        await here.sources[0].close()
        peer.close()
    assert columns(frames["crah"]) == {
        "supply_air_temp_c": [21.5],
        "return_air_temp_c": [34.25],
        "humidity_frac": pytest.approx([float("nan")], nan_ok=True),
        "fan_speed_frac": [0.55],
        "supply_air_setpoint_c": [22],
        "leak_flag": [1],
    }


async def test_orders_take_their_place_in_the_priority_array_and_are_read_back():
    at = port()
    peer = handler(at)
    here = centre(at)
    try:
        frame = await here.actuators["ahu"].apply(action("ahu", "fan_speed_frac", 0.6), NOW)
        assert (frame.origin, columns(frame)) == (Origin.COMMANDED, {"fan_speed_frac": [pytest.approx(0.6)]})
        output = next(o for o in peer.objectIdentifier.values() if o.objectName == "analog-output 1")
        held = output.priorityArray[9]
        assert held.real == pytest.approx(60)
        output.priorityArray[7] = type(held)(real=80.0)  # a person at the panel counts before us
        output.presentValue = 80.0
        assert "stands at 0.8" in await refused(here.actuators["ahu"].apply(action("ahu", "fan_speed_frac", 0.6), NOW))
        assert "takes 16 to 30" in await refused(here.actuators["ahu"].apply(action("ahu", "supply_air_setpoint_c", 31), NOW))
    finally:
        await here.sources[0].close()
        peer.close()


async def test_an_order_is_given_back_to_whatever_else_commands_the_object():
    """Null at our priority: a former value, written there, would block the building's own schedule for ever."""
    at = port()
    peer = handler(at)
    here = centre(at)
    actuator = here.actuators["ahu"]
    try:
        await actuator.apply(action("ahu", "fan_speed_frac", 0.6), NOW)
        output = next(o for o in peer.objectIdentifier.values() if o.objectName == "analog-output 1")
        real = type(output.priorityArray[9])
        assert output.priorityArray[9].real == pytest.approx(60)
        output.priorityArray[15] = real(real=58.0)  # the schedule, meanwhile
        back = replace(action("ahu", "fan_speed_frac", 0.55), last=True)
        assert not actuator.relinquished(back)
        frame = await actuator.apply(back, NOW)
        assert output.priorityArray[9].real is None
        assert columns(frame) == {"fan_speed_frac": [pytest.approx(0.58)]}
        assert actuator.relinquished(back)
        # a value without such an array gets its former one
        await actuator.apply(action("ahu", "supply_air_setpoint_c", 22.5), NOW)
        plain = replace(action("ahu", "supply_air_setpoint_c", 22.0), last=True)
        assert columns(await actuator.apply(plain, NOW)) == {"supply_air_setpoint_c": [22]}
        assert not actuator.relinquished(plain)
    finally:
        await here.sources[0].close()
        peer.close()


async def test_an_old_device_is_asked_for_one_property_at_a_time(tmp_path):
    text = 'device = "crah"\nmultiple = false\n'
    for i, metric in ((1, "supply_air_temp_c"), (3, "humidity_frac")):
        text += f'[[object]]\nname = "o{i}"\nobject = "analog-input,{i}"\n'
        text += f'[[metric]]\nkind = "crah"\nmetric = "{metric}"\nseries = "o{i}"\n'
    (tmp_path / "m.toml").write_text(text)
    at = port()
    peer = handler(at)
    here = centre(at, str(tmp_path / "m.toml"))
    try:
        crah = columns((await poll(here.sources[0]))["crah"])
        assert crah["supply_air_temp_c"] == [21.5]
        assert crah["humidity_frac"] == pytest.approx([float("nan")], nan_ok=True), "its sensor is faulty"
    finally:
        await here.sources[0].close()
        peer.close()


async def test_a_sick_device_is_one_clear_error_and_the_next_poll_recovers():
    at = port()
    here = centre(at, timeout_s=0.6)
    assert f"127.0.0.1:{at}" in await refused(here.sources[0].poll(NOW))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:  # there, and says nothing
        deaf.bind(("127.0.0.1", at))
        assert f"127.0.0.1:{at}" in await refused(here.sources[0].poll(NOW))
    peer = device(at, analog("analog-input", 1, 1.0))
    try:
        says = await refused(here.sources[0].poll(NOW))
        assert "does not give present-value of analog-input,2 (object: unknown-object)" in says
    finally:
        peer.close()
    peer = handler(at)
    try:
        assert columns((await poll(here.sources[0]))["crah"])["supply_air_temp_c"] == [21.5]
    finally:
        await here.sources[0].close()
        peer.close()


async def test_an_address_that_is_not_ours_is_one_clear_error():
    here = opened("bacnet", OF, targets={"127.0.0.1": "ahu"}, mapping="air_handler", bind="203.0.113.7/24:47808", timeout_s=0.5)
    assert "203.0.113.7" in await refused(here.sources[0].poll(NOW))
    await here.sources[0].close()
