"""Scraping as centres do it: certificates both ways, passwords, targets that come and go."""

import asyncio
import gzip
import json
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from aiohttp import encode_basic_auth, web
from aiohttp.test_utils import TestServer
from small import small_site

from ingest.collect import Collector
from ingest.sources import scrape
from ingest.sources.prometheus import Options, build, source_ids
from ingest.wire import shown
from twin.errors import SourceError
from twin.state import State
from ui.tasks import VirtualClock

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HEAD = {"Content-Type": "text/plain; version=0.0.4"}


def line(gpu=0, temp=50):
    return f'DCGM_FI_DEV_GPU_TEMP{{gpu="{gpu}"}} {temp}\n'


class Endpoint:
    """A real server on loopback; ``answer`` gives the response to a request. ``tls``: its context."""

    def __init__(self, answer, tls=None):
        async def handle(request):
            self.requests.append(request)
            found = answer(request)
            return await found if asyncio.iscoroutine(found) else found

        self.requests, self._tls = [], tls
        app = web.Application()
        app.router.add_get("/{path:.*}", handle)
        self._server = TestServer(app, host="127.0.0.1", scheme="https" if tls else "http")

    async def __aenter__(self):
        await self._server.start_server(ssl=self._tls)
        return self

    async def __aexit__(self, *_):
        await self._server.close()

    @property
    def at(self):
        return f"127.0.0.1:{self._server.port}"


def page(text=None):
    return lambda request: web.Response(text=text or line(), headers=HEAD)


def source(of=None, **options):
    return build("x", Options(**{"mapping": "dcgm", "every_s": 1, **options}), of or small_site()).sources[0]


async def polled(one):
    try:
        return await one.poll(NOW)
    finally:
        await one.close()


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path):
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made


def context(authority, identity="127.0.0.1", mutual=False, **cert):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(identity, **cert).configure_cert(made)
    if mutual:
        authority.configure_trust(made)
        made.verify_mode = ssl.CERT_REQUIRED
    return made


async def test_both_sides_show_a_certificate_where_the_server_wants_it(authority, tmp_path):
    me = authority.issue_cert("icctwin@centre.example")
    me.cert_chain_pems[0].write_to_path(tmp_path / "me.pem")
    me.private_key_pem.write_to_path(tmp_path / "me.key")
    mine = {"ca_file": tmp_path / "ca.pem", "cert_file": tmp_path / "me.pem", "key_file": tmp_path / "me.key"}
    async with Endpoint(page(), context(authority, mutual=True)) as endpoint:
        asked = {"targets": endpoint.at, "scheme": "https", "node": "r1n1"}
        assert len(await polled(source(**asked, **mine))) == 1
        with pytest.raises(SourceError, match=r"cert_file|connection|broken HTTP"):
            await polled(source(**asked, ca_file=tmp_path / "ca.pem"))
        with pytest.raises(SourceError, match="not a readable PEM"):
            await polled(source(**asked, **{**mine, "key_file": tmp_path / "ca.pem"}))


@pytest.mark.parametrize(
    ("cert", "says"),
    [
        ({"not_after": datetime(2020, 1, 1, tzinfo=UTC)}, "expired.*renew it there"),
        ({"identity": "other.example"}, "not trusted"),
    ],
)
async def test_a_certificate_that_is_over_or_of_another_is_not_trusted(authority, tmp_path, cert, says):
    async with Endpoint(page(), context(authority, **cert)) as endpoint:
        one = source(targets=endpoint.at, scheme="https", node="r1n1", ca_file=tmp_path / "ca.pem")
        with pytest.raises(SourceError, match=says):
            await polled(one)


async def test_a_server_under_another_name_is_known_by_server_name_and_a_stranger_is_not(authority, tmp_path):
    async with Endpoint(page(), context(authority, "gpu-a01.example")) as endpoint:
        asked = {"targets": endpoint.at, "scheme": "https", "node": "r1n1"}
        one = source(**asked, ca_file=tmp_path / "ca.pem", server_name="gpu-a01.example")
        assert len(await polled(one)) == 1
        with pytest.raises(SourceError, match=r"not trusted.*set ca_file"):
            await polled(source(**asked, server_name="gpu-a01.example"))  # an authority that nobody knows


# --- passwords and multi-target exporters -----------------------------------------------------------------------------


async def test_user_and_password_are_shown_and_read_anew(tmp_path):
    (tmp_path / "word").write_text("hunter2\n")

    def answer(request):
        good = request.headers.get("Authorization") == encode_basic_auth("prom", (tmp_path / "word").read_text().strip())
        return web.Response(text=line(), headers=HEAD) if good else web.Response(status=401)

    async with Endpoint(answer) as endpoint:
        one = source(targets=endpoint.at, node="r1n1", username="prom", password_file=tmp_path / "word")
        await one.poll(NOW)
        (tmp_path / "word").write_text("hunter3")
        await polled(one)
        with pytest.raises(SourceError, match="status 401"):
            await polled(source(targets=endpoint.at, node="r1n1"))


async def test_an_exporter_that_reads_others_is_asked_for_each_of_them(fixtures):
    site = small_site()
    text = (fixtures / "prometheus" / "ipmi.txt").read_text()
    async with Endpoint(lambda request: web.Response(text=text, headers=HEAD)) as endpoint:
        options = Options(
            targets=["r1n1", "r1n2"], through=endpoint.at, metrics_path="/ipmi", params={"module": "default"}, mapping="auto"
        )
        assert source_ids("bmc", options) == ["bmc/r1n1", "bmc/r1n2"]
        sources = build("bmc", options, site).sources
        frames = [frame for one in sources for frame in await polled(one)]
        assert [request.path_qs for request in endpoint.requests] == [
            f"/ipmi?module=default&target={node}" for node in ("r1n1", "r1n2")
        ]
    assert [site.ids_of("node")[int(frame.rows[0])] for frame in frames] == ["r1n1", "r1n2"]
    assert [float(frame.values["power_w"][0]) for frame in frames] == [6420, 6420]


# --- discovery --------------------------------------------------------------------------------------------------------


def groups(*targets, **labels):
    return json.dumps([{"targets": list(targets), "labels": labels}])


async def test_targets_of_files_come_and_go_and_a_dead_one_takes_no_other_along(tmp_path):
    site = small_site("id=x kind=source")
    async with Endpoint(page(line(0, 50))) as one, Endpoint(page(line(0, 60))) as two:
        (tmp_path / "a.json").write_text(groups(one.at, hostname="r1n1"))
        (tmp_path / "b.yml").write_text(f"- targets: ['{two.at}', '127.0.0.1:1']\n  labels: {{node: r1n2}}\n")
        made = source(site, file_sd=[str(tmp_path / "*.json"), str(tmp_path / "b.yml")], refresh_s=10)
        state, clock = State(site), VirtualClock(NOW)
        collector = Collector(site, [made], clock, lambda frames: [state.absorb(f, clock.now()) for f in frames])

        async def after(seconds):
            clock.time = NOW + timedelta(seconds=seconds)
            await collector.tick(clock.now())
            await collector.drain()
            health = collector.health(clock.now()).values
            return [float(health[name][0]) for name in ("up_flag", "targets_count", "targets_down_count")]

        assert await after(0) == [1, 3, 1]
        assert "127.0.0.1:1" in collector.reasons["x"]
        assert state.column("gpu", "temp_c", clock.now())[[0, 4]].tolist() == [50, 60]
        (tmp_path / "b.yml").write_text("- targets: [")  # half written: what it listed stays
        assert await after(11) == [1, 3, 1]
        assert "b.yml: is not YAML" in " ".join(made.troubles.values())
        (tmp_path / "b.yml").write_text("[]")
        assert await after(22) == [1, 1, 0]
        assert "x" not in collector.reasons
        (tmp_path / "a.json").unlink()
        assert (await after(33))[0] == 0
        await collector.close()


async def test_targets_of_a_server_keep_while_it_is_away_and_labels_place_them():
    broken = False

    def answer(request):
        if request.path == "/metrics/deep":
            return web.Response(text=line(), headers=HEAD)
        if broken:
            return web.Response(status=500)
        labels = {"__metrics_path__": "/metrics/deep", "__param_collect": "gpu", "instance": "r2n1:9400"}
        return web.json_response([{"targets": [endpoint.at], "labels": labels}])

    site = small_site()
    async with Endpoint(answer) as endpoint:
        one = source(site, http_sd=f"http://{endpoint.at}/targets", refresh_s=1)
        (frame,) = await one.poll(NOW)
        assert site.ids_of("gpu")[int(frame.rows[0])] == "r2n1g0"
        assert endpoint.requests[-1].path_qs == "/metrics/deep?collect=gpu"
        broken = True
        assert len(await one.poll(NOW + timedelta(seconds=5))) == 1
        assert "status 500" in next(iter(one.troubles.values()))
        await one.close()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('{"targets": []}', "no list of target groups"),
        ('[{"targets": [5]}]', "no list of target groups"),
        ("nonsense", "is not JSON"),
        ("[]", "no target is known"),
        ('[{"targets": ["http://me:word@a/"]}]', "secret"),
    ],
)
async def test_a_directory_of_something_else_is_one_clear_error(tmp_path, body, says):
    (tmp_path / "a.json").write_text(body)
    with pytest.raises(SourceError, match=says):
        await polled(source(file_sd=str(tmp_path / "a.json")))


async def test_targets_that_hang_are_down_and_the_others_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("ingest.sources.discovery.MAX_AT_ONCE", 1)

    async def hang(_request):
        await asyncio.sleep(30)

    async with Endpoint(page()) as well, Endpoint(hang) as sick:
        (tmp_path / "a.json").write_text(groups(*(f"{sick.at}/{i}" for i in range(4)), well.at, node="r1n1"))
        one = source(file_sd=str(tmp_path / "a.json"), every_s=0.1)
        assert len(await one.poll(NOW)) == 1
        assert (one.targets, one.targets_down) == (5, 4)
        assert "no whole answer" in next(iter(one.troubles.values()))
        await one.close()


# --- faults of endpoints ----------------------------------------------------------------------------------------------


async def drip(request):
    response = web.StreamResponse(headers={**HEAD, "Content-Length": "1000"})
    await response.prepare(request)
    for _ in range(1000):
        await response.write(b"#")
        await asyncio.sleep(0.05)
    return response


async def stall(request):
    response = web.StreamResponse(headers=HEAD)
    await response.prepare(request)
    await asyncio.sleep(30)


@pytest.mark.parametrize("sick", [drip, stall])
async def test_an_endpoint_that_drips_or_stops_after_its_headers_is_left_in_time(sick):
    async with Endpoint(sick) as endpoint:
        with pytest.raises(SourceError, match=r"no whole answer within 0.3 s"):
            await polled(source(targets=endpoint.at, node="r1n1", timeout_s=0.3))


async def test_a_gzip_page_is_read():
    def answer(_request):
        return web.Response(body=gzip.compress(line().encode()), headers={**HEAD, "Content-Encoding": "gzip"})

    async with Endpoint(answer) as endpoint:
        assert len(await polled(source(targets=endpoint.at, node="r1n1"))) == 1


async def test_labels_that_change_at_every_scrape_cost_memory_of_one_page_and_too_many_are_refused():
    count = 0

    def answer(_request):
        nonlocal count
        count += 1
        more = "".join(f'DCGM_FI_DEV_GPU_UTIL{{gpu="0",pod="{count}-{i}"}} 50\n' for i in range(50))
        return web.Response(text=line() + more, headers=HEAD)

    async with Endpoint(answer) as endpoint:
        one = source(targets=endpoint.at, node="r1n1")
        for _ in range(10):
            (frame,) = await one.poll(NOW)
            assert frame.values["temp_c"].tolist() == [50]
        blocks = one._scraper._reader._blocks
        assert len(blocks._old) + len(blocks._new) <= 2 * 51
        assert len(one._scraper._binding.series) == 51
        await one.close()
        with pytest.raises(SourceError, match=r"51 samples on the page, over max_samples = 50"):
            await polled(source(targets=endpoint.at, node="r1n1", max_samples=50))


async def test_a_page_that_no_mapping_knows_is_said_and_auto_finds_the_right_one(fixtures):
    text = (fixtures / "prometheus" / "dcgm-h100x8.txt").read_text()
    async with Endpoint(page(text)) as known, Endpoint(page("mystery 1\n")) as unknown:
        one = source(small_site(), targets=known.at, node="r1n1", mapping="auto")
        await polled(one)
        assert one._scraper.mapping_name == "dcgm"
        with pytest.raises(SourceError, match="no mapping that comes with icctwin"):
            await polled(source(targets=unknown.at, node="r1n1", mapping="auto"))


# --- a node that changed its name -------------------------------------------------------------------------------------


async def test_a_renamed_node_is_known_by_its_cards_and_a_swapped_card_is_told():
    site = small_site("id=n9 kind=node parent=r1 hostname=gpu-a01", "id=c0 kind=gpu parent=n9 index=0 uuid=GPU-a")
    text, name = 'DCGM_FI_DEV_GPU_TEMP{{gpu="0",UUID="{}",Hostname="{}"}} 50\n', "gpu-a01"
    card = "GPU-a"

    def answer(_request):
        return web.Response(text=text.format(card, name), headers=HEAD)

    async with Endpoint(answer) as endpoint:
        one = source(site, targets=endpoint.at)
        told = []
        for name in ("gpu-a01", "compute-7", "compute-7"):  # noqa: B007 - the answer reads it
            (frame,) = await one.poll(NOW)
            assert site.ids_of("gpu")[int(frame.rows[0])] == "c0"
            told.append([(event.asset, event.code) for event in one.take_events()])
        card, name = "GPU-b", "gpu-a01"
        with pytest.raises(SourceError, match="none of its 1 series"):
            await one.poll(NOW)
        told.append([(event.asset, event.code) for event in one.take_events()])
        await one.close()
    assert told == [[], [("n9", "node/renamed")], [], [("c0", "gpu/replaced")]]


async def test_another_card_where_the_site_knows_no_ids_is_told_once():
    cards = iter(["GPU-a", "GPU-a", "GPU-b", "GPU-b"])

    def answer(_request):
        return web.Response(text=f'DCGM_FI_DEV_GPU_TEMP{{gpu="0",UUID="{next(cards)}"}} 50\n', headers=HEAD)

    async with Endpoint(answer) as endpoint:
        one = source(targets=endpoint.at, node="r1n1")
        told = []
        for _ in range(4):
            await one.poll(NOW)
            told += [(event.asset, event.code, event.meaning) for event in one.take_events()]
        await one.close()
    assert [(asset, code) for asset, code, _ in told] == [("r1n1g0", "gpu/replaced")]
    assert "GPU-b where GPU-a was" in told[0][2]


def test_secrets_in_a_query_are_not_shown():
    url = scrape.URL("https://a/api?securityToken=abc&zone=DE")
    assert "abc" not in shown(url)
    assert "zone=DE" in shown(url)
