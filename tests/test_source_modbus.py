"""Modbus TCP against pymodbus' own server: telegraf's cases give its values, orders are bounded and read back."""

import math
import struct
import tomllib
from contextlib import asynccontextmanager

import numpy as np
import pytest
from devices import NOW, action, columns, endless, garbage, opened, poll, refused, silent, tcp
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from ingest.mappings import FOLDER, load_table
from ingest.sources.modbus import ModbusTable
from twin.errors import ConfigError
from twin.frame import Origin
from ui.benches.demo import free_port


@asynccontextmanager
async def server(*devices):
    """pymodbus' server on a free port."""
    one = ModbusTcpServer(list(devices), address=("127.0.0.1", 0))
    await one.serve_forever(background=True)
    try:
        yield one.transport.sockets[0].getsockname()[1]
    finally:
        await one.shutdown()


def device(words, unit=1, action=None):
    """A device with these registers: block -> address -> value."""
    blocks = []
    for block, kind in (("coil", DataType.BITS), ("discrete", DataType.BITS), ("holding", None), ("input", None)):
        some = words.get(block, {0: 0})
        kind = kind or DataType.REGISTERS
        blocks.append([SimData(address, values=value, datatype=kind) for address, value in sorted(some.items())])
    return SimDevice(unit, simdata=tuple(blocks), action=action)


def floats(**at):
    """Registers of 32-bit floats, by ``r<address>``."""
    found = {}
    for name, value in at.items():
        high, low = struct.unpack(">HH", struct.pack(">f", value))
        found |= {int(name[1:]): high, int(name[1:]) + 1: low}
    return found


CDU = floats(r0=32.5, r2=44.25, r4=600.0, r6=120.0, r8=18.0, r10=28.0, r12=540.0, r14=385.5) | {16: 4200, 17: 0b1}


async def test_the_cdu_pattern_reads_scales_floats_and_bits_in_two_requests():
    asked = []

    async def note(function, start, address, count, registers, values):
        asked.append((function, address, count))

    async with server(device({"input": CDU, "holding": {0: 455, 1: 320}}, action=note)) as port:
        one = opened("modbus", targets={f"127.0.0.1:{port}": "cdu"}, mapping="cdu").sources[0]
        try:
            frames = await poll(one)
        finally:
            await one.close()
    assert columns(frames["cdu"]) == {
        "supply_temp_c": [32.5],
        "return_temp_c": [44.25],
        "flow_kgps": [pytest.approx(10)],
        "diff_pressure_pa": [120_000],
        "primary_supply_temp_c": [18],
        "primary_return_temp_c": [28],
        "primary_flow_kgps": [pytest.approx(9)],
        "heat_w": [385_500],
        "power_w": [4200],
        "leak_flag": [1],
        "pump_speed_frac": [pytest.approx(0.455)],
        "supply_temp_setpoint_c": [32],
    }
    assert asked == [(4, 0, 18), (3, 0, 2)]
    assert (one.unmapped, frames["cdu"].time) == (0, NOW)


@pytest.mark.parametrize(
    ("order", "words"), [("ABCD", (0x41C8, 0)), ("CDAB", (0, 0x41C8)), ("BADC", (0xC841, 0)), ("DCBA", (0, 0xC841))]
)
async def test_every_order_of_bytes_is_read_and_written(order, words, tmp_path):
    mapping = tmp_path / "m.toml"
    mapping.write_text(
        f'device = "cdu"\norder = "{order}"\n'
        '[[register]]\nname = "t"\nat = 40011\ntype = "float32"\n'
        '[[metric]]\nkind = "cdu"\nmetric = "supply_temp_setpoint_c"\nseries = "t"\n'
        '[[set]]\nkind = "cdu"\nmetric = "supply_temp_setpoint_c"\nlow = 18\nhigh = 40\n'
    )
    async with server(device({"holding": {10: words[0], 11: words[1]}})) as port:
        centre = opened("modbus", targets={f"127.0.0.1:{port}": "cdu"}, mapping=str(mapping))
        try:
            assert columns((await poll(centre.sources[0]))["cdu"]) == {"supply_temp_setpoint_c": [25]}
            frame = await centre.actuators["cdu"].apply(action("cdu", "supply_temp_setpoint_c", 25.75), NOW)
            assert (frame.origin, columns(frame)) == (Origin.COMMANDED, {"supply_temp_setpoint_c": [25.75]})
        finally:
            await centre.sources[0].close()


async def test_orders_are_bounded_stepped_and_read_back():
    async def sticks(function, start, address, count, registers, values):
        if values is not None and address == 0:  # the pump takes the order and does something else
            values[0] = 470

    async with server(device({"input": CDU, "holding": {0: 455, 1: 320}}, action=sticks)) as port:
        centre = opened("modbus", targets={f"127.0.0.1:{port}": "cdu"}, mapping="cdu")
        actuator = centre.actuators["cdu"]
        try:
            frame = await actuator.apply(action("cdu", "supply_temp_setpoint_c", 32.7), NOW)
            assert (frame.kind, frame.source, columns(frame)) == ("cdu", "x", {"supply_temp_setpoint_c": [pytest.approx(32.7)]})
            assert columns((await poll(centre.sources[0]))["cdu"])["supply_temp_setpoint_c"] == [pytest.approx(32.7)]
            frame = await actuator.apply(action("cdu", "pump_speed_frac", 0.5), NOW)
            assert columns(frame) == {"pump_speed_frac": [pytest.approx(0.47)]}  # what it says, not what it was told
            for metric, value, says in (
                ("supply_temp_setpoint_c", 17.9, "takes 18 to 45"),
                ("supply_temp_setpoint_c", math.nan, "is refused"),
                ("supply_temp_setpoint_c", 34.0, "may move by 1 at once"),
                ("flow_kgps", 1.0, "cannot be set"),
            ):
                assert says in await refused(actuator.apply(action("cdu", metric, value), NOW))
            late = action("cdu", "supply_temp_setpoint_c", 33.0)
            assert "had ended" in await refused(actuator.apply(late, late.until))
            assert columns((await poll(centre.sources[0]))["cdu"])["supply_temp_setpoint_c"] == [pytest.approx(32.7)]
        finally:
            await centre.sources[0].close()
    assert set(centre.actuators) == {"cdu"}


async def starts(function, start, address, count, registers, values):
    """Telegraf's test server: every answer of 1, 2 or 4 registers is its start address, any other is nought."""
    packed = {1: ">H", 2: ">I", 4: ">Q"}
    words = struct.unpack(f">{count}H", struct.pack(packed[count], address)) if count in packed else [0] * count
    registers[address - start : address - start + count] = words


def registers_of(config):
    """Registers of a telegraf configuration in our words, each with its request's number and its field's scale."""
    (plugin,) = config["inputs"]["modbus"]
    for number, request in enumerate((*plugin.get("request", ()), *plugin.get("metric", ()))):
        for field in request["fields"]:
            labels = {"measurement": field.get("measurement", "modbus"), **request.get("tags", {})}
            register = {
                "name": field["name"],
                "labels": labels,
                "unit": request["slave_id"],
                "table": field.get("register", request.get("register", "holding")),
                "address": field["address"],
                "type": field["type"],
                "order": request.get("byte_order", "ABCD"),
            }
            yield number, register, field.get("scale", 1)


def expected_of(text):
    """(unit, tag element, measurement, field) -> value, of telegraf's line protocol."""
    found = {}
    for line in text.strip().splitlines():
        head, fields = line.replace("\\ ", "_").split(" ")[:2]
        measurement, *tags = head.split(",")
        tags = dict(tag.split("=", 1) for tag in tags)
        for field in fields.split(","):
            name, value = field.rsplit("=", 1)
            found[tags["slave_id"], measurement, tags.get("element", tags.get("location", "")), name] = float(
                value.rstrip("iu")
            )
    return found


CASES = ("duplicate_fields_issue_12091", "duplicate_fields_different_slave", "duplicate_fields_different_tags",
         "metric_style_issue_16031", "overflow_issue_14387")  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_telegrafs_cases_give_telegrafs_values(case, shared_data):
    folder = shared_data / "telegraf" / "modbus" / case
    wanted = expected_of((folder / "expected.out").read_text())
    requests = {}  # telegraf asks for each of its requests apart, and its server's answers depend on that
    for number, register, scale in registers_of(tomllib.loads((folder / "telegraf.conf").read_text())):
        requests.setdefault(number, []).append((register, scale))
    got = {}
    places = [one["address"] for some in requests.values() for one, _ in some]
    words = {min(places): [0] * (max(places) - min(places) + 8)}
    units = {one["unit"] for some in requests.values() for one, _ in some}
    async with server(*(device({"holding": words, "input": words}, unit, starts) for unit in units)) as port:
        for found in requests.values():
            read = await read_of(table_of([one for one, _ in found]), port)
            for (one, scale), (name, labels), value in zip(found, read.series, read.values, strict=True):
                named = labels["measurement"]
                measurement = next(key[1] for key in wanted) if named == "modbus" else named
                tags = labels.get("element", labels.get("location", "")).replace(" ", "_")
                got[str(one["unit"]), measurement, tags, name] = value * scale
    assert got == pytest.approx(wanted)


def table_of(registers):
    return ModbusTable.model_validate({"register": registers, "metric": [{"kind": "cdu", "metric": "heat_w", "series": "v"}]})


async def read_of(table, port):
    from ingest.sources.device import library
    from ingest.sources.modbus import ModbusReach

    reach = ModbusReach(f"127.0.0.1:{port}", table, library("pymodbus.client", "x"), library("pymodbus.exceptions", "x"), 2)
    try:
        return await reach.read(NOW)
    finally:
        await reach.close()


@pytest.mark.parametrize("case", ["same_slave_and_request", "same_tags", "different_registers"])
def test_telegrafs_refused_tables_are_refused(case, shared_data):
    folder = shared_data / "telegraf" / "modbus" / f"duplicate_fields_{case}"
    found = [one for _, one, _ in registers_of(tomllib.loads((folder / "telegraf.conf").read_text()))]
    with pytest.raises(ValueError, match="stands 2 times"):
        table_of(found)


@pytest.mark.parametrize("name", ["vertiv_chiller", "vertiv_door"])
async def test_vertivs_tables_read_scaled_and_swapped_values(name):
    chiller = {490: 122, 492: 70, 494: 65536 - 5}
    high, low = struct.unpack(">HH", struct.pack(">f", 17.25))
    words = {490: 0, **chiller} if name == "vertiv_chiller" else {130: low, 131: high, 134: low, 135: high}
    asset = {"vertiv_chiller": "chiller", "vertiv_door": "rack"}[name]
    async with server(device({"input": words})) as port:
        one = opened("modbus", targets={f"127.0.0.1:{port}": asset}, mapping=name).sources[0]
        frames = await poll(one)
        await one.close()
    wanted = {
        "vertiv_chiller": {"return_temp_c": [12.2], "supply_temp_c": [7], "supply_temp_setpoint_c": [-0.5]},
        "vertiv_door": {"supply_temp_c": [17.25], "return_temp_c": [17.25]},
    }[name]
    assert {metric: pytest.approx(values) for metric, values in columns(frames[asset]).items()} == wanted


async def busy(function, start, address, count, registers, values):
    return ExcCodes.DEVICE_BUSY


async def test_a_sick_device_is_one_clear_error_and_the_next_poll_recovers():
    good = device({"input": CDU, "holding": {0: 455, 1: 320}})
    missing = device({"input": {0: 1}, "holding": {0: 1}})
    for sick, says in (
        (missing, "illegal data address"),
        (device({"input": CDU}, action=busy), "device busy"),
        (device({}, unit=9), ""),
    ):
        async with server(sick) as port:
            one = opened("modbus", targets={f"127.0.0.1:{port}": "cdu"}, mapping="cdu", timeout_s=0.5).sources[0]
            assert says in await refused(one.poll(NOW))
            await one.close()
    for answer in (silent, garbage, endless):
        async with tcp(answer) as port:
            one = opened("modbus", targets={f"127.0.0.1:{port}": "cdu"}, mapping="cdu", timeout_s=0.3).sources[0]
            assert f"127.0.0.1:{port}" in await refused(one.poll(NOW))
            await one.close()
    port = free_port()
    one = opened("modbus", targets={f"127.0.0.1:{port}": "cdu"}, mapping="cdu", timeout_s=1).sources[0]
    assert "no connection" in await refused(one.poll(NOW))
    again = ModbusTcpServer([good], address=("127.0.0.1", port))
    await again.serve_forever(background=True)
    try:
        assert columns((await poll(one))["cdu"])["power_w"] == [4200]
    finally:
        await one.close()
        await again.shutdown()


def test_a_table_that_makes_no_sense_is_refused_with_its_place(tmp_path):
    mapping = tmp_path / "m.toml"
    for text, says in (
        ('[[register]]\nname = "a"\nat = 20001\n', "neither 1-"),
        ('[[register]]\nname = "a"\naddress = 1\n', "give table and address, or at"),
        ('[[register]]\nname = "a"\nat = 1\nbit = 2\n', "bit is of a 16-bit register"),
        ('[[register]]\nname = "a"\nat = 30001\n[[set]]\nkind = "cdu"\nmetric = "heat_w"\nlow = 1\nhigh = 2\n', "can be set"),
    ):
        mapping.write_text(text + '[[metric]]\nkind = "cdu"\nmetric = "heat_w"\nasset = "cdu"\nseries = "a"\n')
        with pytest.raises(ConfigError, match=says):
            load_table(str(mapping), ModbusTable, FOLDER / "modbus")


async def test_blanks_are_no_values(tmp_path):
    mapping = tmp_path / "m.toml"
    mapping.write_text(
        'device = "cdu"\nblanks = [[-32768, -32768]]\n[[register]]\nname = "t"\nat = 30001\ntype = "int16"\n'
        '[[register]]\nname = "u"\nat = 30002\ntype = "int16"\n'
        '[[metric]]\nkind = "cdu"\nmetric = "supply_temp_c"\nseries = "t"\nscale = 0.1\n'
        '[[metric]]\nkind = "cdu"\nmetric = "return_temp_c"\nseries = "u"\nscale = 0.1\n'
    )
    async with server(device({"input": {0: 0x8000, 1: 300}})) as port:
        one = opened("modbus", targets={f"127.0.0.1:{port}": "cdu"}, mapping=str(mapping)).sources[0]
        frames = await poll(one)
        await one.close()
    np.testing.assert_allclose(frames["cdu"].values["supply_temp_c"], [np.nan])
    assert columns(frames["cdu"])["return_temp_c"] == [30]
