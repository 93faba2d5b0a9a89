"""SNMP against a real snmpd of Debian, v2c and v3, and against its own objects that play a PDU, a UPS and a switch's
sensors."""

import asyncio
import shutil
import socket
from contextlib import asynccontextmanager

import psutil
import pytest
from devices import NOW, action, columns, opened, poll, refused, site

from ingest.sources.snmp import Columns, _points_of, text_of
from twin.errors import SourceError
from twin.frame import Origin
from ui.benches.demo import free_port

pytestmark = pytest.mark.server
APC = "1.3.6.1.4.1.318.1.1"
RARITAN, UPS, SENSORS = "1.3.6.1.4.1.13742.6", "1.3.6.1.2.1.33.1", "1.3.6.1.2.1.99.1.1.1"
# snmpd hands the trees of these to a program that speaks pass_persist, so that they answer as a recorded device does
WALKS = {
    RARITAN: [
        # decimal digits of inlet 1: RMS current 3, RMS voltage 0, active power 0, active energy 0; then what it measures
        *((f"{RARITAN}.3.3.4.1.7.1.1.{kind}", "gauge", digits) for kind, digits in ((1, 3), (4, 0), (5, 0), (8, 0))),
        *((f"{RARITAN}.5.2.3.1.4.1.1.{kind}", "gauge", value) for kind, value in ((1, 680), (4, 233), (5, 138), (8, 5000))),
        # outlets 3 and 4: current with 3 digits, power with 1
        *((f"{RARITAN}.3.5.4.1.7.1.{at}.{kind}", "gauge", digits) for at in (3, 4) for kind, digits in ((1, 3), (5, 1))),
        *((f"{RARITAN}.5.4.3.1.4.1.{at}.{kind}", "gauge", value) for at in (3, 4) for kind, value in ((1, 300), (5, 675))),
    ],
    UPS: [
        (f"{UPS}.2.3.0", "integer", 34),
        (f"{UPS}.2.4.0", "integer", 87),
        (f"{UPS}.2.7.0", "integer", 31),
        *((f"{UPS}.3.3.1.{column}.{line}", "integer", value) for column, value in ((3, 230), (4, 125), (5, 2700)) for line
        in (1, 2)), (f"{UPS}.4.1.0", "integer", 5),
        *((f"{UPS}.4.4.1.{column}.{line}", "integer", value + line) for column, value in ((4, 2500), (5, 40)) for line in
        (1, 2)),
    ],
    f"{APC}.26": [
        # hundredths of a kilowatt, tenths of a kilowatt-hour; three phases in tenths of an ampere, the third not measured
        (f"{APC}.26.4.3.1.5.1", "integer", 57),
        (f"{APC}.26.4.3.1.9.1", "integer", 170_982),
        *((f"{APC}.26.6.3.1.{column}.{phase}", "integer", value)
          for column, values in ((5, (28, 31, -1)), (6, (228, 230, -1))) for phase, value in enumerate(values, 1)),
    ],
    f"{APC}.1": [
        (f"{APC}.1.2.2.1.0", "gauge", 100),
        (f"{APC}.1.2.2.2.0", "gauge", 27),
        (f"{APC}.1.2.2.3.0", "timeticks", 216_000),
        (f"{APC}.1.2.2.4.0", "integer", 2),
        (f"{APC}.1.3.2.1.0", "gauge", 231),
        (f"{APC}.1.4.1.1.0", "integer", 2),
        (f"{APC}.1.4.2.3.0", "gauge", 37),
        (f"{APC}.1.4.2.4.0", "gauge", 6),
    ],
    f"{APC}.13.3": [  # tenths of a degree and of a percent
        *((f"{APC}.13.3.2.2.2.{column}.0", "integer", value) for column, value in ((9, 202), (11, 319), (16, 454))),
    ],
    SENSORS: [
        # type 8 is celsius; scales milli (8) and units (9); precision 1; status ok (1), unavailable (2)
        *((f"{SENSORS}.{column}.{row}", "integer", value)
          for row, values in ((1, (8, 9, 1, 415, 1)), (2, (8, 8, 0, 52_300, 1)), (3, (8, 9, 0, 99, 2)), (4, (4, 9, 0, 12, 1)))
          for column, value in enumerate(values, 1)),
    ],
}  # fmt: skip
PASS = """#!/usr/bin/env python3
import sys
walk = {walk!r}
def key(oid):
    return tuple(int(part) for part in oid.strip(".").split("."))
rows = sorted((key(oid), oid, kind, value) for oid, kind, value in walk)
held = {{}}
while True:
    line = sys.stdin.readline()
    if not line:
        break
    command = line.strip()
    if not command:  # one follows each set
        continue
    if command == "PING":
        print("PONG", flush=True)
        continue
    oid = key(sys.stdin.readline())
    if command == "set":
        kind, _, value = sys.stdin.readline().strip().partition(" ")
        held[oid] = value
        print("DONE", flush=True)
        continue
    found = next((row for row in rows if (row[0] == oid if command == "get" else row[0] > oid)), None)
    if found is None:
        print("NONE", flush=True)
    else:
        print("." + found[1], found[2], held.get(found[0], found[3]), sep="\\n", flush=True)
"""


@asynccontextmanager
async def snmpd(tmp_path, walks=WALKS):
    """A real snmpd on a free port of loopback."""
    program = shutil.which("snmpd") or shutil.which("snmpd", path="/usr/sbin")
    if program is None:
        pytest.skip("snmpd is not installed (Debian: apt-get install snmpd)")
    port = free_port(socket.SOCK_DGRAM)
    lines = [f"agentAddress udp:127.0.0.1:{port}", "rocommunity public 127.0.0.1", "rwcommunity writer 127.0.0.1",
             'createUser icct SHA-256 "auth-pass-phrase" AES "priv-pass-phrase"', "rwuser icct priv"]  # fmt: skip
    for i, (tree, walk) in enumerate(walks.items()):
        script = tmp_path / f"pass{i}.py"
        script.write_text(PASS.format(walk=walk))
        script.chmod(0o755)
        lines.append(f"pass_persist .{tree} {script}")
    (tmp_path / "snmpd.conf").write_text("\n".join(lines) + "\n")
    arguments = ("-f", "-LE", "0", "-C", "-c", str(tmp_path / "snmpd.conf"), "-p", str(tmp_path / "snmpd.pid"))
    quiet = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
    process = await asyncio.create_subprocess_exec(
        program, *arguments, env={"SNMP_PERSISTENT_DIR": str(tmp_path / "var")}, **quiet
    )
    try:
        for _ in range(100):  # it answers to nobody before it is ready: its socket tells
            if any(c.laddr.port == port for c in psutil.net_connections("udp4")):
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
        yield port
    finally:
        process.terminate()
        await process.wait()


def source(port, asset, mapping, of=None, **options):
    return opened("snmp", of, targets={f"127.0.0.1:{port}": asset}, mapping=mapping, timeout_s=5, **options)


async def polled(centre):
    try:
        return await poll(centre.sources[0])
    finally:
        await centre.sources[0].close()


async def test_the_machines_own_interfaces_agree_with_it_over_v2c_and_v3(tmp_path):
    nic = next((name for name, stats in psutil.net_if_stats().items() if name != "lo" and stats.isup), "lo")
    of = site(
        {"id": "nic", "kind": "port", "parent": "sw", "device": nic},
        {"id": "lo", "kind": "port", "parent": "sw", "device": "lo"},
    )
    auth, priv = tmp_path / "auth", tmp_path / "priv"
    auth.write_text("auth-pass-phrase")
    priv.write_text("priv-pass-phrase")
    async with snmpd(tmp_path) as port:
        v2c = await polled(source(port, "sw", "if_mib", of))
        v3 = await polled(source(port, "sw", "if_mib", of, user="icct", auth_file=auth, priv_file=priv))
        auth.write_text("not the pass phrase")
        stranger = source(port, "sw", "if_mib", of, user="icct", auth_file=auth, priv_file=priv).sources[0]
        says = await refused(stranger.poll(NOW))
        await stranger.close()
    assert says.startswith(f"127.0.0.1:{port}: ")
    for frames in (v2c, v3):
        up = dict(zip([of.ids_of("port")[row] for row in frames["port"].rows], columns(frames["port"])["up_flag"], strict=True))
        assert up == {"nic": 1, "lo": 1}
        assert columns(frames["switch"]) == {
            "temp_c": [pytest.approx(52.3)],
            "up_flag": [1],
        }  # milli and precision; what is unavailable is left out


async def test_counters_become_rates(tmp_path):
    of = site({"id": "lo", "kind": "port", "parent": "sw", "device": "lo"})
    async with snmpd(tmp_path) as port:
        one = source(port, "sw", "if_mib", of).sources[0]
        first = await poll(one)
        await asyncio.sleep(0.2)
        then = await poll(one)
        await one.close()
    assert columns(first["port"])["rx_bps"] == pytest.approx([float("nan")], nan_ok=True)
    assert columns(then["port"])["rx_bps"][0] >= 0


async def test_a_raritan_pdu_is_read_with_its_decimal_digits(tmp_path):
    async with snmpd(tmp_path) as port:
        frames = await polled(source(port, "pdu", "raritan"))
    assert columns(frames["pdu"]) == {
        "power_w": [138],
        "energy_j": [5000 * 3600],
        "voltage_v": [233],
        "current_a": [pytest.approx(0.68)],
    }


async def test_a_node_at_an_outlet_of_its_own_is_read_there(tmp_path):
    async with snmpd(tmp_path) as port:
        one = source(port, "pdu", "raritan", places={"index2": {"3": "node"}}).sources[0]
        frames = await poll(one)
        await one.close()
    assert columns(frames["node"]) == {"power_w": [67.5]}
    assert one.unmapped == 1, "outlet 4"


def test_a_label_stays_as_it_was_told():
    said = b"436207616", b"0012345", b"1e3", b"Ethernet1/1\0", 436_207_616, 2.5, None
    assert [text_of(value) for value in said] == ["436207616", "0012345", "1e3", "Ethernet1/1", "436207616", "2.5", ""]


@pytest.mark.parametrize(
    ("read", "says"),
    [
        ({"digits": {(1,): b"two"}}, "digits of p is 'two', no number"),
        ({"digits": {(1,): -400}}, "p is '675.0' times 10^397, no number"),
        ({"si_scale": {(1,): b"milli"}}, "si_scale of p is 'milli', no number"),
    ],
)
def test_digits_and_scales_that_are_none_are_one_clear_error(read, says):
    table = Columns(oid="1.3.6.1.2", columns={"p": 4}, digits="1.3.6.1.3")
    well = {"point p": {(1,): 675}, "digits": {(1,): 1}, "si_scale": {(1,): 8}}
    assert [value for _, _, value in _points_of(table, well)] == [0.0675], "tenths of a thousandth"
    with pytest.raises(SourceError) as caught:
        list(_points_of(table, well | read))
    assert says in str(caught.value)


async def test_a_ups_on_battery_is_read_by_the_standard_mib(tmp_path):
    async with snmpd(tmp_path) as port:
        frames = await polled(source(port, "ups", "ups_mib"))
    assert columns(frames["ups"]) == {
        "power_w": [5400],
        "loading_frac": [pytest.approx(0.42)],
        "loss_w": [5400 - 5003],
        "voltage_v": [230],
        "current_a": [12.5],
        "charge_frac": [pytest.approx(0.87)],
        "on_battery_flag": [1],
        "battery_runtime_s": [34 * 60],
        "battery_temp_c": [31],
    }


async def test_an_air_handler_of_apc_is_read_by_its_own_mib(tmp_path):
    of = site({"id": "row3", "kind": "crah", "parent": "hall"})
    async with snmpd(tmp_path) as port:
        frames = await polled(source(port, "row3", "apc_inrow", of))
    assert columns(frames["crah"]) == {
        "supply_air_temp_c": [pytest.approx(20.2)],
        "return_air_temp_c": [pytest.approx(31.9)],
        "fan_speed_frac": [pytest.approx(0.454)],
    }


async def test_apcs_pdus_and_upses_are_read_by_their_own_mib(tmp_path):
    async with snmpd(tmp_path) as port:
        pdu = await polled(source(port, "pdu", "apc_pdu"))
        ups = await polled(source(port, "ups", "apc_ups"))
    assert columns(pdu["pdu"]) == {
        "power_w": [570],
        "energy_j": [170_982 * 360_000],
        "voltage_v": [229],
        "current_a": [pytest.approx(3.1)],
    }
    assert columns(ups["ups"]) == {
        "charge_frac": [1],
        "battery_temp_c": [27],
        "battery_runtime_s": [2160],
        "battery_replace_flag": [1],
        "voltage_v": [231],
        "current_a": [6],
        "loading_frac": [0.37],
        "on_battery_flag": [0],
    }


async def test_an_object_is_set_within_bounds_in_its_own_type_and_read_back(tmp_path):
    tree = "1.3.6.1.4.1.99999.1"
    mapping = tmp_path / "m.toml"
    mapping.write_text(
        f'device = "cdu"\n[scalars]\nsetpoint = "{tree}.1.0"\n'
        '[[metric]]\nkind = "cdu"\nmetric = "supply_temp_setpoint_c"\nseries = "setpoint"\nscale = 0.1\n'
        '[[set]]\nkind = "cdu"\nmetric = "supply_temp_setpoint_c"\nlow = 18\nhigh = 40\n'
    )
    community = tmp_path / "community"
    community.write_text("writer")
    async with snmpd(tmp_path, {tree: [(f"{tree}.1.0", "integer", 300)]}) as port:
        centre = source(port, "cdu", str(mapping), community_file=community)
        order = action("cdu", "supply_temp_setpoint_c", 30.7)
        frame = await centre.actuators["cdu"].apply(order, NOW)
        assert (frame.origin, columns(frame)) == (Origin.COMMANDED, {"supply_temp_setpoint_c": [pytest.approx(30.7)]})
        assert "takes 18 to 40" in await refused(
            centre.actuators["cdu"].apply(action("cdu", "supply_temp_setpoint_c", 41), NOW)
        )
        await centre.sources[0].close()
        reader = source(port, "cdu", str(mapping))  # may read, not write
        assert "refuses with" in await refused(reader.actuators["cdu"].apply(action("cdu", "supply_temp_setpoint_c", 31), NOW))
        await reader.sources[0].close()


async def test_a_sick_agent_is_one_clear_error(tmp_path):
    async with snmpd(tmp_path, {}) as port:
        wrong = tmp_path / "community"
        wrong.write_text("wrong")
        one = opened(
            "snmp", targets={f"127.0.0.1:{port}": "sw"}, mapping="if_mib", timeout_s=1.5, community_file=wrong
        ).sources[0]
        says = await refused(one.poll(NOW))  # whichever runs out first: the agent's silence or the poll's time
        assert "version and community or user" in says or "no whole answer within" in says
        await one.close()
        one = source(port, "pdu", "apc_pdu").sources[0]  # another device: it has none of these
        assert await one.poll(NOW) == []
        await one.close()
    for answer in (None, b"\x30\x82\xff\xff garbage", b"\x00" * 60_000):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            peer.setblocking(False)
            port = peer.getsockname()[1]
            one = opened("snmp", targets={f"127.0.0.1:{port}": "sw"}, mapping="if_mib", timeout_s=1.5).sources[0]

            async def talk(peer=peer, answer=answer):
                loop = asyncio.get_running_loop()
                while answer is not None:
                    _, whom = await loop.sock_recvfrom(peer, 65_536)
                    await loop.sock_sendto(peer, answer, whom)

            task = asyncio.create_task(talk())
            assert f"127.0.0.1:{port}" in await refused(one.poll(NOW))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await one.close()


def test_options_that_do_not_fit_are_refused(tmp_path):
    for more, says in (
        ({"user": "u", "community_file": tmp_path}, "leave one"),
        ({"user": "u", "priv_file": tmp_path}, "needs auth_file"),
        ({"auth_file": tmp_path}, "needs user"),
        ({"targets": {"h:x": "sw"}}, "is no port"),
    ):
        with pytest.raises(ValueError, match=says):
            opened("snmp", **{"targets": {"h": "sw"}, "mapping": "if_mib", **more})
