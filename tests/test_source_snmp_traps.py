"""SNMP traps as net-snmp sends them (Debian's snmptrap), v2c and v3: which asset, which event, what of strangers and storms."""

import asyncio
import shutil
import socket

import pytest
from devices import NOW, opened, refused

from twin.errors import ConfigError
from twin.load import Row, build_site
from twin.ports import Eventful
from ui.benches.demo import free_port

pytestmark = pytest.mark.server
ENGINE = "8000000001020304"
LINK_DOWN, IF_INDEX, IF_NAME = "1.3.6.1.6.3.1.1.5.3", "1.3.6.1.2.1.2.2.1.1", "1.3.6.1.2.1.31.1.1.1.1"


async def send(port, *words, inform=False):
    program = shutil.which("snmpinform" if inform else "snmptrap")
    if program is None:
        pytest.skip("snmptrap is not installed (Debian: apt-get install snmp)")
    process = await asyncio.create_subprocess_exec(program, *words[0], f"127.0.0.1:{port}", "", *words[1:])
    assert await process.wait() == 0


async def told(one, count):
    found = []
    for _ in range(100):
        await one.poll(NOW)
        found += one.take_events()
        if len(found) >= count:
            break
        await asyncio.sleep(0.03)
    return found


def listener(port, of=None, **options):
    return opened("snmp_traps", of, listen=f"127.0.0.1:{port}", **options).sources[0]


V2C = ("-v2c", "-c", "public")


async def test_a_link_goes_down_at_its_port_and_a_ups_tells_of_itself():
    port = free_port(socket.SOCK_DGRAM)
    one = listener(port, senders={"127.0.0.1": "sw"})
    assert isinstance(one, Eventful)
    try:
        assert await one.poll(NOW) == []
        await send(port, V2C, LINK_DOWN, f"{IF_INDEX}.7", "i", "7", f"{IF_NAME}.7", "s", "Ethernet2")
        await send(port, V2C, "1.3.6.1.4.1.318.0.636", "1.3.6.1.4.1.318.2.3.3.0", "s", "Rack PDU: Phase L1 overload\n")
        await send(port, V2C, "1.3.6.1.4.1.4711.1", inform=True)
        events = await told(one, 3)
        assert await told(one, 0) == []
    finally:
        await one.close()
    assert [(e.asset, e.code, e.severity, e.meaning) for e in events] == [
        ("sw/2", "link/down", "warning", "The link Ethernet2 (interface 7) went down"),
        ("sw", "power/apc", "warning", "Rack PDU: Phase L1 overload?"),
        ("sw", "snmp/1.3.6.1.4.1.4711.1", "info", "Trap 1.3.6.1.4.1.4711.1: "),
    ]
    assert all(abs((event.time - NOW).total_seconds()) < 60 for event in events)
    assert one.unmapped == 0


async def test_a_trap_of_version_3_needs_its_engine_and_pass_phrases(tmp_path):
    auth, priv = tmp_path / "auth", tmp_path / "priv"
    auth.write_text("auth-pass-phrase")
    priv.write_text("priv-pass-phrase")
    port = free_port(socket.SOCK_DGRAM)
    said = {"user": "icct", "auth_file": auth, "priv_file": priv, "engines": [ENGINE]}
    one = listener(port, senders={"127.0.0.1": "ups"}, **said)
    v3 = ("-v3", "-e", f"0x{ENGINE}", "-u", "icct", "-l", "authPriv", "-a", "SHA-256", "-x", "AES")
    try:
        await one.poll(NOW)
        await send(port, (*v3, "-A", "not the pass phrase", "-X", "priv-pass-phrase"), "1.3.6.1.2.1.33.2.1")
        await send(
            port,
            (*v3, "-A", "auth-pass-phrase", "-X", "priv-pass-phrase"),
            "1.3.6.1.2.1.33.2.1",
            "1.3.6.1.2.1.33.1.2.3.0",
            "i",
            "9",
        )
        events = await told(one, 1)
    finally:
        await one.close()
    assert [(e.asset, e.code, e.meaning) for e in events] == [
        ("ups", "power/on_battery", "The load runs from the battery; minutes left: 9")
    ]


async def test_strangers_are_counted_and_a_storm_has_a_bound(monkeypatch):
    port = free_port(socket.SOCK_DGRAM)
    monkeypatch.setattr("ingest.sources.snmp_traps.MAX_EVENTS", 3)
    of = build_site(
        "s", "UTC", [Row("t", {"id": "hall", "kind": "hall"}), Row("t", {"id": "p", "kind": "pdu", "address": "10.9.9.9"})]
    )
    one = listener(port, of)
    try:
        await one.poll(NOW)
        for _ in range(5):
            await send(port, V2C, LINK_DOWN)
        for _ in range(100):
            if one.unmapped == 5 + 2:
                break
            await asyncio.sleep(0.03)
        events = one.take_events()
    finally:
        await one.close()
    assert (len(events), one.unmapped) == (3, 7)
    assert {event.asset for event in events} == {"x"}
    assert "From 127.0.0.1, which no asset has" in events[0].meaning


async def test_garbage_hurts_nobody_and_a_taken_port_is_one_clear_error():
    port = free_port(socket.SOCK_DGRAM)
    one = listener(port, senders={"127.0.0.1": "sw"})
    try:
        await one.poll(NOW)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            for garbage in (b"", b"\x30", b"\x30\x82\xff\xff" + b"x" * 60_000, b"GET / HTTP/1.1\r\n\r\n"):
                peer.sendto(garbage, ("127.0.0.1", port))
        await send(port, V2C, LINK_DOWN)
        assert [event.code for event in await told(one, 1)] == ["link/down"]
        other = listener(port)
        assert f"cannot listen on 127.0.0.1:{port}" in await refused(other.poll(NOW))
        await other.close()
    finally:
        await one.close()


def test_a_mapping_that_makes_no_sense_is_refused(tmp_path):
    (tmp_path / "m.toml").write_text('[[trap]]\noid = "x"\ncode = "no family"\nmeaning = "m"\n')
    with pytest.raises(ConfigError) as caught:
        opened("snmp_traps", mapping=str(tmp_path / "m.toml"))
    assert {problem.what.partition(":")[0] for problem in caught.value.problems} >= {"trap.0.oid", "trap.0.code"}
    with pytest.raises(ConfigError, match="no asset 'nobody'"):
        opened("snmp_traps", senders={"10.0.0.1": "nobody"})
