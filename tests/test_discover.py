"""``icctwin discover`` against peers of every protocol on loopback: what it finds, writes, and leaves alone."""

import asyncio
import json
import tomllib
from contextlib import AsyncExitStack

import aiomqtt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from brokers import broker
from devices import site, tcp
from redfish_mockup import Mockup
from test_queue_kubernetes import CLUSTER, Api
from test_source_bms import METADATA
from test_source_gnmi import Switch, serving
from test_source_modbus import CDU, device, server
from test_source_snmp import snmpd

from ingest.bus_site import compare, site_of_bus
from ingest.discover import Found, Proposal, _propose, addresses_in, discover, endpoint
from ingest.probes import Given
from ingest.sources.mqtt import bus_of
from twin.errors import ConfigError, SourceError
from twin.load import Row, build_site
from ui.benches.demo import free_port
from ui.cli import main
from ui.commands.scrape import add_sources
from ui.config import load_config

pytestmark = pytest.mark.server


def quiet(done, total):
    assert done <= total


async def test_each_protocol_is_found_where_it_is_and_nothing_else_is_touched(tmp_path, shared_data):
    touched = []

    async def note(reader, writer):
        touched.append(await reader.read(100))

    page = web.Application()
    text = (shared_data / "prometheus" / "dcgm-exporter-t4.txt").read_text()

    async def metrics(request):
        return web.Response(text=text)

    page.router.add_get("/metrics", metrics)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        await enter(tcp(note))
        redfish = await enter(Mockup(shared_data / "redfish" / "public-cooling-unit"))
        exporter = await enter(TestServer(page, host="127.0.0.1"))
        ports = {
            "redfish": int(redfish.url.rstrip("/").rpartition(":")[2]),
            "prometheus": exporter.port,
            "snmp": await enter(snmpd(tmp_path)),
            "modbus": await enter(server(device({"input": CDU, "holding": {0: 455, 1: 320}}))),
            "mqtt": await enter(broker()),
            "gnmi": await enter(serving(Switch())),
            "kubernetes": int((await enter(Api(CLUSTER))).url.rstrip("/").rpartition(":")[2]),
        }
        async with aiomqtt.Client("127.0.0.1", ports["mqtt"]) as bus:
            for topic, body in METADATA.items():
                await bus.publish(topic, json.dumps(body), retain=True)
        nobody = free_port()
        words = [*(f"127.0.0.1:{port}" for port in ports.values()), f"127.0.0.1:{nobody}"]
        found = await discover(words, Given(timeout_s=1.5), site(), quiet)
    assert touched == []  # a port that nobody named
    assert found.silent == [f"127.0.0.1:{nobody}"], (ports, found.silent)
    got = {one.type: (one.options.get("mapping"), one.kind) for one in found.found}
    assert got == {
        "redfish": ("standard", "cdu"),
        "prometheus": ("dcgm", ""),
        "snmp": ("if_mib", "switch"),
        "modbus": ("yours.toml", "cdu"),
        "mqtt": ("bms", ""),
        "gnmi": ("openconfig", "switch"),
        "kubernetes": (None, "queue"),
    }
    assert {one.target for one in found.found if one.type == "redfish"} == {f"http://127.0.0.1:{ports['redfish']}"}
    sources = {str(one["type"]): one for one in [*found.sources, *found.later]}
    assert {str(one["type"]) for one in found.later} == {"modbus", "kubernetes"}, "without mapping or token"
    assert sources["redfish"]["targets"] == {f"http://127.0.0.1:{ports['redfish']}": "node"}  # the site's asset at that address
    assert sources["modbus"]["orders"] is False  # nobody knows what its registers are
    assert sources["kubernetes"]["url"] == f"http://127.0.0.1:{ports['kubernetes']}"


async def test_an_answer_that_cannot_be_read_ends_no_discovery():
    page = web.Application()

    async def metrics(request):
        return web.Response(body=b"name\xff\xfe 1\n", content_type="text/plain")

    page.router.add_get("/metrics", metrics)
    async with TestServer(page, host="127.0.0.1") as odd:
        place = f"127.0.0.1:{odd.port}"
        found = await discover([place], Given(only=("prometheus",), timeout_s=1.5), None, quiet)
    assert found.silent == [place]


async def test_a_page_of_metrics_that_no_mapping_knows_is_an_answer():
    """As a Prometheus gives of itself; what is no such page is none, whatever it says."""

    async def metrics(_):
        return web.Response(text="# HELP prometheus_ready Whether it is.\n# TYPE prometheus_ready gauge\nprometheus_ready 1\n")

    async def other(_):
        return web.Response(text="this is\nsomething else\n")

    strange, plain = web.Application(), web.Application()
    strange.router.add_get("/metrics", metrics)
    plain.router.add_get("/metrics", other)
    async with TestServer(strange, host="127.0.0.1") as one, TestServer(plain, host="127.0.0.1") as two:
        places = [f"127.0.0.1:{at.port}" for at in (one, two)]
        found = await discover(places, Given(only=("prometheus",), timeout_s=1.5), None, quiet)
    assert found.silent == places[1:]
    (said,) = found.found
    assert (said.type, said.options, said.says) == (
        "prometheus", {"mapping": "yours.toml"}, "1 metrics; fits no mapping that ships: write one")  # fmt: skip
    assert (found.sources, [source["targets"] for source in found.later]) == ([], [places[:1]])


def test_addresses_are_spelt_out_bounded_and_refused_all_at_once():
    assert addresses_in(["10.0.0.0/30", "h", "h", "h:9100", "[::1]:9"]) == ["10.0.0.1", "10.0.0.2", "h", "h:9100", "[::1]:9"]
    with pytest.raises(ConfigError) as caught:
        addresses_in(["10.0.0.0/99", "h:x", ":1"])
    assert [problem.where for problem in caught.value.problems] == ["10.0.0.0/99", "h:x", ":1"]
    with pytest.raises(ConfigError, match="more than 65536"):
        addresses_in(["10.0.0.0/8"])


SITE = (
    '[site]\nname = "t"\nassets = "assets.csv"\n\n# a comment that stays\n[[source]]\nname = "old"\ntype = "host"\nnode = "n"\n'
)


def test_the_command_adds_to_a_configuration_that_then_loads_and_writes_the_assets_it_lacks(tmp_path, shared_data, capsys):
    (tmp_path / "site.toml").write_text(SITE)
    (tmp_path / "assets.csv").write_text("id,kind,parent\nh,hall,\nr,rack,h\nn,node,r\n")
    listed = tmp_path / "list.txt"

    async def serve(stop, ready):
        async with Mockup(shared_data / "redfish" / "public-cooling-unit") as redfish:
            ready.set_result(redfish.url.rstrip("/").rpartition("/")[2])
            await stop.wait()

    def run(loop, stop, place):
        listed.write_text(f"# our CDU\n{place}\n")
        words = [
            "discover",
            "--list",
            str(listed),
            "--only",
            "redfish",
            "--timeout",
            "2",
            "--config",
            str(tmp_path / "site.toml"),
        ]
        first = main([*words, "--json"])
        second = main([*words, "--add", "--out", str(tmp_path / "found")])
        loop.call_soon_threadsafe(stop.set)
        return first, second

    async def both():
        stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        serving_ = asyncio.create_task(serve(stop, ready))
        place = await ready
        result = await asyncio.to_thread(run, asyncio.get_running_loop(), stop, place)
        await serving_
        return place, result

    place, result = asyncio.run(both())
    assert result == (0, 0)
    said = json.loads(capsys.readouterr().out.splitlines()[0])
    assert said["found"] == [{"type": "redfish", "target": f"http://{place}", "kind": "cdu", "says": said["found"][0]["says"]}]
    text = (tmp_path / "site.toml").read_text()
    assert "# a comment that stays" in text
    assert "cdu-127.0.0.1,cdu,,127.0.0.1" in (tmp_path / "found" / "found-assets.csv").read_text()
    config = load_config(tmp_path / "site.toml")
    assert [source.type for source in config.sources] == ["host"], "its asset is in no table yet"
    later = (tmp_path / "found" / "found-sources.toml").read_text()
    assert all(line.startswith("#") for line in later.splitlines())
    (source,) = tomllib.loads(later.replace("# ", ""))["source"]
    assert source["targets"] == {f"http://{place}": "cdu-127.0.0.1"}


def found_at(kind, target, asset_kind, **options):
    return Found(kind, target, options, asset_kind, "")


def test_what_cannot_run_or_is_read_is_not_proposed_as_a_source():
    of = site(
        {"id": "sw9", "kind": "switch", "parent": "rack", "address": "10.0.0.9"},
        {"id": "cdu9", "kind": "cdu", "parent": "hall", "address": "10.0.0.9"},
    )
    proposal = Proposal(
        found=[
            found_at("redfish", "https://10.0.0.9", "cdu", mapping="standard"),
            found_at("snmp", "10.0.0.9:161", "switch", mapping="if_mib"),
            found_at("snmp", "10.0.0.8:161", "switch", mapping="if_mib"),
            found_at("snmp", "10.0.0.7:161", "switch", mapping="if_mib"),
            found_at("modbus", "10.0.0.9:502", "cdu", mapping="yours.toml"),
            found_at("slurm", "http://10.0.0.1:6820", "queue", token_file="slurm.token"),
        ]
    )
    _propose(proposal, of, {endpoint("snmp", "10.0.0.7")})
    assert {one["type"]: one["targets"] for one in proposal.sources} == {
        "redfish": {"https://10.0.0.9": "cdu9"},
        "snmp": {"10.0.0.9:161": "sw9"},
    }
    assert {one["type"]: one.get("targets") for one in proposal.later} == {
        "snmp": {"10.0.0.8:161": "switch-10.0.0.8"},
        "modbus": {"10.0.0.9:502": "cdu9"},
        "slurm": None,
    }
    assert proposal.read == ["10.0.0.7:161"]
    assert [row["id"] for row in proposal.assets] == ["switch-10.0.0.8"]


@pytest.mark.parametrize(
    "words", [[], ["--add", "h"], ["h:x"], ["h", "--timeout", "99"], ["h", "--user", "u"], ["--list", "/none"]]
)
def test_wrong_usage_is_refused_before_anything_is_asked(words, capsys):
    assert main(["discover", *words]) != 0
    assert capsys.readouterr().err


def test_nobody_there_is_exit_1_and_named(capsys, caplog):
    nobody = f"127.0.0.1:{free_port()}"
    assert main(["discover", nobody, "--timeout", "0.5", "--only", "prometheus", "modbus"]) == 1
    assert f"no answer from {nobody}" in capsys.readouterr().err
    assert not caplog.records  # no library says it again in its own words


@pytest.mark.parametrize(("node", "placed"), [("node", True), ("gone", False)])
def test_a_target_on_this_machine_is_of_its_node_where_the_site_has_that_node(node, placed, tmp_path):
    config = tmp_path / "site.toml"
    config.write_text(f'[[source]]\nname = "here"\ntype = "host"\nnode = "{node}"\n')
    add_sources(config, [{"name": "gpus", "type": "prometheus", "targets": ["127.0.0.1:9400"]}], site())
    assert ("node" in tomllib.loads(config.read_text())["source"][1]) == placed


async def test_the_bus_builds_links_through_what_is_no_asset_and_checks_a_sites(tmp_path):
    breaker = {"objectType": "Breaker", "pointType": "Status", "objectName": "B1", "objectId": "b1", "servesId": ["rack"]}
    meter = {**METADATA["BMS/v1/PUB/Metadata/PowerMeter/ActivePower/h1/m1/p"], "servesId": ["b1"]}
    told = {
        **METADATA,
        "BMS/v1/PUB/Metadata/Breaker/Status/h1/b1": breaker,
        "BMS/v1/PUB/Metadata/PowerMeter/ActivePower/h1/m1/p": meter,
    }
    async with broker() as port:
        with pytest.raises(SourceError, match="retains no metadata"):
            await bus_of(f"127.0.0.1:{port}", 2.0)
        async with aiomqtt.Client("127.0.0.1", port) as bus:
            for topic, body in told.items():
                await bus.publish(topic, json.dumps(body), retain=True)
        found = site_of_bus(await bus_of(f"127.0.0.1:{port}", 2.0))
    assert [(row["id"], row["kind"]) for row in found.assets] == [
        ("cdu", "cdu"),
        ("m1", "meter"),
        ("pump1", "pump"),
        ("rack", "rack"),
    ]
    assert sorted((row["from"], row["relation"], row["to"]) for row in found.links) == [
        ("cdu", "cools", "rack"),
        ("m1", "feeds", "rack"),
    ]
    rows = [{"id": "hall", "kind": "hall"}, {"id": "rack", "kind": "rack", "parent": "hall"}, {"id": "c7", "kind": "cdu",
    "name": "CDU 5"},
            {"id": "pump1", "kind": "valve"}, {"id": "m1", "kind": "meter"}]  # fmt: skip
    links = [Row("t", {"from": "c7", "to": "rack", "relation": "cools"})]
    ours = build_site("s", "UTC", [Row("t", row) for row in rows], links)
    assert compare(found, ours) == [
        "pump1: a pump on the bus, a valve in the site",
        "m1 feeds rack on the bus, not in the site",
    ]
