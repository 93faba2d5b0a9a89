"""gNMI against a real gRPC server made of the published protocol, which answers with recorded notifications."""

import asyncio
import json
from base64 import b64encode
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
import pytest
import trustme
from devices import NOW, columns, endless, garbage, opened, poll, refused, silent, tcp
from google.protobuf import json_format
from pygnmi.spec.v080 import gnmi_pb2 as gnmi
from pygnmi.spec.v080 import gnmi_pb2_grpc

from ingest.mappings import FOLDER
from ui.benches.demo import free_port

NS = 10**9
T0 = round(NOW.timestamp())


class Switch(gnmi_pb2_grpc.gNMIServicer):
    """Answers a ONCE subscription with ``responses`` (as JSON) and a Get with their updates."""

    def __init__(self, responses=(), *, sync=True, wait_s=0.0, user=""):
        self.responses, self.sync, self.wait_s, self.user = list(responses), sync, wait_s, user
        self.asked = []
        self.later = asyncio.Queue()  # of a stream: what is said after the first time; None ends it

    async def Subscribe(self, requests, context):
        await self._admit(context)
        async for request in requests:
            self.asked.append(request.subscribe)
            break
        await asyncio.sleep(self.wait_s)
        for one in self.responses:
            yield json_format.ParseDict(one, gnmi.SubscribeResponse())
        if self.sync:
            yield gnmi.SubscribeResponse(sync_response=True)
        if request.subscribe.mode == gnmi.SubscriptionList.STREAM:
            while (one := await self.later.get()) is not None:
                yield json_format.ParseDict(one, gnmi.SubscribeResponse())
                self.later.task_done()

    async def Get(self, request, context):
        await self._admit(context)
        self.asked.append(request)
        found = [json_format.ParseDict(one["update"], gnmi.Notification()) for one in self.responses]
        return gnmi.GetResponse(notification=found)

    async def Capabilities(self, request, context):
        models = [gnmi.ModelData(name="openconfig-interfaces", organization="OpenConfig", version="3.0.0")]
        return gnmi.CapabilityResponse(supported_models=models, gNMI_version="0.7.0")

    async def _admit(self, context):
        said = dict(context.invocation_metadata())
        if self.user and (said.get("username"), said.get("password")) != (self.user, "secret"):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")


@asynccontextmanager
async def serving(switch, port=0, credentials=None):
    server = grpc.aio.server()
    gnmi_pb2_grpc.add_gNMIServicer_to_server(switch, server)
    place = f"127.0.0.1:{port}"
    port = server.add_secure_port(place, credentials) if credentials else server.add_insecure_port(place)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def path(*names):
    """``("interfaces", ("interface", {"name": "Ethernet1"}), …)`` as JSON of a path."""
    return {"elem": [{"name": n} if isinstance(n, str) else {"name": n[0], "key": n[1]} for n in names]}


def update(at_s, *updates, prefix=()):
    said = [{"path": path(*where), "val": value} for where, value in updates]
    return {"update": {"timestamp": str(at_s * NS), "prefix": path(*prefix), "update": said}}


def interface(name):
    return "interfaces", ("interface", {"name": name})


def counters(seconds, octets):
    """What an Arista and a Nokia say of the same: leaves one by one, and one JSON of a container with 64-bit numbers as
    text."""
    one = interface("Ethernet1")
    tree = {"openconfig-interfaces:in-octets": str(octets), "out-octets": str(2 * octets), "in-errors": "3", "out-errors": "4",
            "in-discards": 5, "out-discards": "6"}  # fmt: skip
    ietf = json.dumps(tree).encode()
    return [
        update(T0 + seconds, ((*one, "state", "oper-status"), {"stringVal": "UP"}),
               ((*one, "state", "counters", "in-octets"), {"uintVal": str(octets)}),
               ((*one, "state", "counters", "in-errors"), {"uintVal": "1"})),
        update(T0 + seconds, (("counters",), {"jsonIetfVal": b64encode(ietf).decode()}),
               (("oper-status",), {"stringVal": "openconfig-interfaces:LOWER_LAYER_DOWN"}),
               prefix=(*interface("Ethernet2"), "state")),
        update(T0 + seconds, (("qos", "interfaces", ("interface", {"interface-id": "Ethernet1"}), "output", "queues",
                               ("queue", {"name": "3"}), "state", "dropped-pkts"), {"uintVal": "7"}),
               (("qos", "interfaces", ("interface", {"interface-id": "Ethernet1"}), "output", "queues",
                 ("queue", {"name": "4"}), "state", "dropped-pkts"), {"uintVal": "8"})),
        update(T0 + seconds, ((*one, "openconfig-if-ethernet:ethernet", "state", "counters", "in-mac-pause-frames"),
        {"uintVal": "99"}),
               (("openconfig-platform:components", ("component", {"name": "CM-1"}), "state", "temperature", "instant"),
                {"decimalVal": {"digits": "204", "precision": 1}}),
               (("openconfig-platform:components", ("component", {"name": "AP-1"}), "state", "temperature", "instant"),
                {"decimalVal": {"digits": "343", "precision": 1}})),
    ]  # fmt: skip


def source(port, **options):
    return opened("gnmi", targets={f"127.0.0.1:{port}": "sw"}, **{"tls": False, "timeout_s": 2, **options}).sources[0]


async def test_openconfig_gives_ports_queues_pauses_and_the_hottest_component():
    switch = Switch(counters(0, 1000))
    async with serving(switch) as port:
        one = source(port)
        first = await poll(one)
        switch.responses = counters(10, 6000)
        then = await poll(one, NOW + timedelta(seconds=11))
        await one.close()
    nan = pytest.approx([float("nan")] * 2, nan_ok=True)
    assert columns(first["port"]) == {
        "up_flag": [1, 0],
        "rx_bps": nan,
        "tx_bps": nan,
        "error_count": [1, 7],
        "discard_count": pytest.approx([float("nan"), 11], nan_ok=True),
        "queue_drop_count": pytest.approx([15, float("nan")], nan_ok=True),
        "pause_rx_count": pytest.approx([99, float("nan")], nan_ok=True),
    }
    assert columns(first["switch"]) == {"temp_c": [34.3]}
    assert then["port"].time == NOW + timedelta(seconds=10)  # the switch's own
    assert columns(then["port"])["rx_bps"] == [4000, 4000]
    assert columns(then["port"])["tx_bps"] == pytest.approx([float("nan"), 8000], nan_ok=True)
    asked = switch.asked[0]
    assert asked.mode == gnmi.SubscriptionList.ONCE
    assert [e.name for e in asked.subscription[1].path.elem] == ["interfaces", "interface", "state", "counters"]


async def test_sonic_counters_are_read_by_get_with_their_target():
    table = {f"Ethernet{i}": {"SAI_PORT_STAT_PFC_3_RX_PKTS": str(10 * i), "SAI_PORT_STAT_PFC_4_RX_PKTS": "5",
                              "SAI_PORT_STAT_IF_IN_ERRORS": "1", "OTHER": "9"} for i in (1, 2)}  # fmt: skip
    body = b64encode(json.dumps(table).encode()).decode()
    switch = Switch([update(T0, (("COUNTERS", "Ethernet*"), {"jsonIetfVal": body}))])
    async with serving(switch) as port:
        one = source(port, mapping="sonic")
        frames = await poll(one)
        await one.close()
    assert columns(frames["port"]) == {"error_count": [1, 1], "pause_rx_count": [15, 25]}
    assert switch.asked[0].prefix.target == "COUNTERS_DB"
    assert one.unmapped == 2


async def test_a_login_is_sent_and_asked_for(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    async with serving(Switch(counters(0, 1), user="icct")) as port:
        one = source(port)
        assert "check user and password_file" in await refused(one.poll(NOW))
        await one.close()
        one = source(port, user="icct", password_file=secret)
        assert "port" in await poll(one)
        await one.close()


def streaming(tmp_path):
    """The shipped mapping of OpenConfig, read as a stream."""
    text = (FOLDER / "gnmi" / "openconfig.toml").read_text()
    (tmp_path / "stream.toml").write_text('mode = "stream"\n' + text)
    return str(tmp_path / "stream.toml")


async def heard(switch, answers):
    """Say ``answers`` on the open stream, and wait until they are under way."""
    for one in answers:
        switch.later.put_nowait(one)
    if answers[-1] is not None:
        await switch.later.join()
    await asyncio.sleep(0.1)


async def test_a_stream_stays_open_and_each_poll_takes_what_came_since(tmp_path):
    switch = Switch(counters(0, 1000))
    async with serving(switch) as port:
        one = source(port, mapping=streaming(tmp_path), every_s=10)
        first = await poll(one)
        assert columns(first["port"])["up_flag"] == [1, 0]
        await heard(switch, counters(10, 6000))
        then = await poll(one, NOW + timedelta(seconds=11))
        assert then["port"].time == NOW + timedelta(seconds=10)
        assert columns(then["port"])["rx_bps"] == [4000, 4000]
        assert await poll(one, NOW + timedelta(seconds=12)) == {}, "nothing came: nothing is said again"
        gone = {"update": {"timestamp": str((T0 + 20) * NS), "delete": [path(*interface("Ethernet2"))]}}
        await heard(switch, [*counters(20, 11_000), gone])
        last = await poll(one, NOW + timedelta(seconds=21))
        assert (last["port"].rows.tolist(), columns(last["port"])["rx_bps"]) == ([0], [4000]), "the other port was taken away"
        assert len(switch.asked) == 1, "one subscription all the time"
        asked = switch.asked[0]
        assert asked.mode == gnmi.SubscriptionList.STREAM
        assert {(s.mode, s.sample_interval) for s in asked.subscription} == {(gnmi.SAMPLE, 10 * NS)}
        await heard(switch, [None])
        assert "ends its subscription" in await refused(one.poll(NOW + timedelta(seconds=30)))
        switch.responses = counters(40, 21_000)
        again = await poll(one, NOW + timedelta(seconds=41))
        assert columns(again["port"])["up_flag"] == [1, 0]
        await one.close()
    large = update(T0, ((*interface("Ethernet1"), "state"), {"jsonVal": b64encode(b"1" + b"0" * 400).decode()}))
    async with serving(Switch([large])) as port:
        one = source(port, mapping=streaming(tmp_path))
        assert (await refused(one.poll(NOW))).startswith(f"127.0.0.1:{port}: a value is '1000000000")
        await one.close()
    async with serving(Switch(counters(0, 1), sync=False)) as port:
        one = source(port, mapping=streaming(tmp_path), timeout_s=0.3)
        assert "within 0.3 s" in await refused(one.poll(NOW))
        await one.close()


@pytest.mark.parametrize("seconds", [[0.2, 10.01, 19.98, 30.02, 39.97], [0.97, 6.0, 10.98, 16.01], [0.0, 1.02, 1.99, 3.01]])
async def test_a_constant_rate_is_constant_however_the_switch_times_fall_within_a_second(seconds):
    where = (*interface("Ethernet1"), "state", "counters", "in-octets")
    switch, told = Switch(), []
    async with serving(switch) as port:
        one = source(port)
        for second in seconds:
            octets = {"uintVal": str(round(1.25e9 * (100 + second)))}  # 10 Gbit/s
            switch.responses = [
                {"update": {**update(0, (where, octets))["update"], "timestamp": str(T0 * NS + round(second * NS))}}
            ]
            frames = await poll(one, NOW + timedelta(seconds=second))
            told += [(frame.time, columns(frame)["rx_bps"]) for frame in frames.values()]
        await one.close()
    assert told == [(NOW + timedelta(seconds=int(second)), [pytest.approx(1e10, rel=1e-6)]) for second in seconds[1:]]


async def test_the_hottest_component_of_a_stream_stays_the_hottest_while_only_others_speak(tmp_path):
    def said(second, name, tenths):
        where = "components", ("component", {"name": name}), "state", "temperature", "instant"
        return update(T0 + second, (where, {"decimalVal": {"digits": str(tenths), "precision": 1}}))

    switch = Switch(counters(0, 1000))  # AP-1 34.3, CM-1 20.4
    async with serving(switch) as port:
        one = source(port, mapping=streaming(tmp_path), every_s=10)
        told = [columns((await poll(one))["switch"])]
        for second, name, tenths in ((10, "CM-1", 210), (20, "AP-1", 250), (100, "CM-1", 220), (121, "CM-1", 230)):
            await heard(switch, [said(second, name, tenths)])
            frames = await poll(one, NOW + timedelta(seconds=second + 1))
            told.append(columns(frames["switch"]) if frames else {})
        pulled = {
            "update": {"timestamp": str((T0 + 130) * NS), "delete": [path("components", ("component", {"name": "AP-1"}))]}
        }
        await heard(switch, [pulled, said(130, "CM-1", 240)])
        told.append(columns((await poll(one, NOW + timedelta(seconds=131)))["switch"]))
        await one.close()
    hot, cooled, unknown, left = {"temp_c": [34.3]}, {"temp_c": [25]}, {}, {"temp_c": [24]}
    assert told == [hot, hot, cooled, cooled, unknown, left]


async def test_tls_both_ways_and_a_switch_that_is_not_trusted(tmp_path):
    authority, stranger = trustme.CA(), trustme.CA()
    for name, made in (("ca", authority), ("other", stranger)):
        made.cert_pem.write_to_path(tmp_path / f"{name}.pem")
    mine, its = authority.issue_cert("icct@centre.example"), authority.issue_cert("leaf1.centre.example")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "me.pem")
    mine.private_key_pem.write_to_path(tmp_path / "me.key")
    pair = (its.private_key_pem.bytes(), its.cert_chain_pems[0].bytes())
    credentials = grpc.ssl_server_credentials([pair], authority.cert_pem.bytes(), require_client_auth=True)
    async with serving(Switch(counters(0, 1)), credentials=credentials) as port:
        named = {"tls": True, "server_name": "leaf1.centre.example"}
        shown = {"cert_file": tmp_path / "me.pem", "key_file": tmp_path / "me.key"}
        good = source(port, ca_file=tmp_path / "ca.pem", **named, **shown)
        assert columns((await poll(good))["port"])["up_flag"] == [1, 0]
        await good.close()
        for options in (
            {"ca_file": tmp_path / "other.pem", **named, **shown},  # not who it should be
            {"ca_file": tmp_path / "ca.pem", **named},  # we do not show who we are
            {"ca_file": tmp_path / "ca.pem", "tls": True, **shown},  # its name is another
        ):
            one = source(port, **options)
            assert "UNAVAILABLE" in await refused(one.poll(NOW))
            await one.close()


async def test_a_sick_switch_is_one_clear_error_and_the_next_poll_recovers(monkeypatch):
    bad = [update(T0, ((*interface("Ethernet1"), "state"), {"jsonVal": "e3t7"}))]  # {{{
    huge = b64encode(json.dumps({"in-octets": 10**400}).encode()).decode()
    large = [update(T0, ((*interface("Ethernet1"), "state"), {"jsonVal": huge}))]
    tiny = [update(T0, ((*interface("Ethernet1"), "state", "in-octets"), {"decimalVal": {"digits": 5, "precision": 400}}))]
    none = [update(T0, ((*interface("Ethernet77"), "state", "oper-status"), {"stringVal": "UP"}))]
    for switch, says in (
        (Switch(counters(0, 1), sync=False), "before it is whole"),
        (Switch(counters(0, 1), wait_s=5), "slow"),
        (Switch(bad), "cannot be read"),
        (Switch(large), "in-octets is '1000000000"),
        (Switch(tiny), "a decimal is '5' times 10^-400"),
        (Switch(none), "none of its 1 points"),
    ):
        async with serving(switch) as port:
            one = source(port, timeout_s=0.5)
            said = await refused(one.poll(NOW))
            assert says in said
            assert f"127.0.0.1:{port}: " in said or "none of" in said
            await one.close()
    monkeypatch.setattr("ingest.sources.gnmi.MAX_MESSAGE_BYTES", 100_000)
    long = update(T0, ((*interface("Ethernet1"), "state", "description"), {"stringVal": "x" * 200_000}))
    async with serving(Switch([long])) as port:
        one = source(port)
        assert "its answer is too large" in await refused(one.poll(NOW))
        await one.close()
    for answer in (silent, garbage, endless):
        async with tcp(answer) as port:
            one = source(port, timeout_s=0.5)
            assert f"127.0.0.1:{port}" in await refused(one.poll(NOW))
            await one.close()
    port = free_port()
    one = source(port)
    assert "UNAVAILABLE" in await refused(one.poll(NOW))
    async with serving(Switch(counters(0, 1)), port):
        assert "port" in await poll(one)
    await one.close()
