"""What every real source must do: recorded payloads give golden frames; a sick endpoint is one clear ``SourceError``."""

import asyncio
import gzip
import math
import os
import shutil
import socket
import subprocess
from datetime import UTC, datetime, timedelta

import numpy as np
import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from ingest.registry import source_module
from ingest.sources.prometheus import Options, build, source_ids
from twin.errors import SourceError
from twin.load import Row, build_site
from twin.metrics import METRICS

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NAN = math.nan
MIB = 2.0**20
H100 = "GPU-1d9c0b5e-7f34-4a11-9c1e-0000000000{:02d}"


def site(*more, hostname="gpu-a01", uuids=("",) * 8):
    """One node of eight GPUs, and a second node."""
    cells = [
        {"id": "hall", "kind": "hall"},
        {"id": "rack", "kind": "rack", "parent": "hall"},
        {"id": "other", "kind": "node", "parent": "rack"},
        {"id": "node", "kind": "node", "parent": "rack", "hostname": hostname},
        *({"id": f"gpu{i}", "kind": "gpu", "parent": "node", "index": str(i), "uuid": uuids[i]} for i in range(8)),
        *more,
    ]
    return build_site("s", "UTC", [Row("test", row) for row in cells])


def source(where, mapping="dcgm", of=None, **options):
    return build("x", Options(targets=str(where), mapping=mapping, **options), of or site()).sources[0]


async def close_after(one, poll):
    try:
        return await poll
    finally:
        await one.close()


class Endpoint:
    """A real HTTP server on loopback that answers every path as ``answer`` (a coroutine function) does."""

    def __init__(self, answer):
        async def handle(request):
            self.requests.append(request)
            return await answer(request)

        self.requests = []
        app = web.Application()
        app.router.add_get("/{path:.*}", handle)
        self._server = TestServer(app, host="127.0.0.1")

    async def __aenter__(self):
        await self._server.start_server()
        return self

    async def __aexit__(self, *_):
        await self._server.close()

    @property
    def url(self):
        return str(self._server.make_url("/metrics"))


def page(text, **more):
    return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}, **more)


def columns(frame):
    for metric in frame.values:
        assert metric in METRICS[frame.kind]
    return {metric: values.tolist() for metric, values in frame.values.items()}


async def test_the_page_of_a_real_dcgm_exporter_gives_its_golden_frame(shared_data):
    text = (shared_data / "prometheus" / "dcgm-exporter-t4.txt").read_text()
    async with Endpoint(page_of(text)) as endpoint:
        one = source(endpoint.url, of=site(hostname="424773df46e0"))
        (frame,) = await close_after(one, one.poll(NOW))
    assert (frame.kind, frame.time, frame.source, frame.rows.tolist()) == ("gpu", NOW, "x", [0])
    assert columns(frame) == {
        "power_w": [8.969],
        "energy_j": [128996.013],
        "util_frac": [0],
        "mem_copy_util_frac": [0],
        "mem_used_bytes": [0],
        "mem_free_bytes": [15109 * MIB],
        "temp_c": [25],
        "sm_clock_hz": [300e6],
        "mem_clock_hz": [405e6],
        "xid_code": [0],
        "pcie_replay_count": [0],
    }
    assert one.unmapped == 0


def page_of(text):
    async def answer(_request):
        return page(text)

    return answer


async def test_blanks_are_no_values_and_a_mig_instance_is_not_its_gpu(fixtures):
    text = (fixtures / "prometheus" / "dcgm-h100x8.txt").read_text()
    async with Endpoint(page_of(text)) as endpoint:
        one = source(endpoint.url)
        (frame,) = await close_after(one, one.poll(NOW))
    assert frame.rows.tolist() == list(range(8))
    np.testing.assert_allclose(frame.values["power_w"], [652.417, 661.02, 640.993, 655.1, 498.25, 649.804, 71.337, NAN])
    np.testing.assert_allclose(frame.values["util_frac"], [0.99, 1, 0.98, 1, 1, 0.97, 0, NAN])
    np.testing.assert_allclose(frame.values["mem_temp_c"], [61, 62, 60, 63, 71, 59, 40, NAN])
    np.testing.assert_allclose(frame.values["energy_j"][:7], [812345678.901 + 1000.003 * i for i in range(7)])
    assert np.isnan(frame.values["energy_j"][7])
    # a blank among the parts of a sum is not there; GPU 6 keeps its own value beside its MIG instance's
    assert frame.values["nvlink_error_count"].tolist() == [1, 7, 0, 0, 0, 0, 0, 0]
    assert frame.values["mem_used_bytes"].tolist() == [75880 * MIB] * 6 + [0, 0]
    assert frame.values["xid_code"].tolist() == [0] * 7 + [79]
    assert frame.values["throttle_code"].tolist() == [4, 4, 4, 4, 64, 4, 1, 1]
    assert frame.values["ecc_corrected_count"].tolist() == [0, 0, 3, 0, 0, 0, 0, 0]
    assert one.unmapped == 1  # the mystery; the instance's readings are known, its GPU's own count
    assert one.unmapped_names == ("DCGM_FI_DEV_MYSTERY",)


async def test_a_gpu_is_found_by_its_uuid_wherever_it_sits_and_never_taken_for_another(fixtures):
    text = (fixtures / "prometheus" / "dcgm-h100x8.txt").read_text()
    swapped = [H100.format(1), H100.format(0), "GPU-of-another-card", "", "", "", "", ""]
    async with Endpoint(page_of(text)) as endpoint:
        one = source(endpoint.url, of=site(uuids=swapped))
        (frame,) = await close_after(one, one.poll(NOW))
    assert frame.rows.tolist() == [0, 1, 3, 4, 5, 6, 7]  # 2 is another card than the site says
    np.testing.assert_allclose(frame.values["power_w"][:2], [661.02, 652.417])
    told = sorted((event.asset, event.code) for event in one.take_events())
    assert told == [("gpu0", "gpu/moved"), ("gpu1", "gpu/moved"), ("gpu2", "gpu/replaced")]
    assert one.take_events() == []


async def test_npu_pages_with_seconds_for_milliseconds_are_dated_by_the_page_or_not_at_will(shared_data):
    text = (shared_data / "prometheus" / "ascend-npu-exporter.txt").read_text()
    async with Endpoint(page_of(text)) as endpoint:
        for honour, time in ((True, datetime(2020, 11, 26, 14, 46, 40, tzinfo=UTC)), (False, NOW)):
            one = source(endpoint.url, "ascend", node="node", honour_timestamps=honour)
            (frame,) = await close_after(one, one.poll(NOW))
            assert (frame.time, len(frame.rows)) == (time, 8)
            assert {"power_w", "temp_c", "util_frac", "mem_used_bytes", "unhealthy_flag"} <= columns(frame).keys()


async def test_samples_of_different_times_are_frames_of_different_times():
    text = (
        f'DCGM_FI_DEV_GPU_TEMP{{gpu="0",Hostname="gpu-a01"}} 50 {int(NOW.timestamp() * 1000) - 2000}\n'
        f'DCGM_FI_DEV_GPU_TEMP{{gpu="1",Hostname="gpu-a01"}} 51\n'
        f'DCGM_FI_DEV_POWER_USAGE{{gpu="1",Hostname="gpu-a01"}} 400 {int(NOW.timestamp() * 1000) - 2000}\n'
    )
    async with Endpoint(page_of(text)) as endpoint:
        one = source(endpoint.url)
        frames = await close_after(one, one.poll(NOW))
    older, newer = sorted(frames, key=lambda frame: frame.time)
    assert (older.time, older.rows.tolist()) == (NOW - timedelta(seconds=2), [0, 1])
    np.testing.assert_array_equal(older.values["temp_c"], [50, NAN])
    np.testing.assert_array_equal(older.values["power_w"], [NAN, 400])
    assert (newer.time, newer.rows.tolist(), columns(newer)) == (NOW, [1], {"temp_c": [51]})


async def endless(request):
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    try:
        while True:
            await response.write(b"# more\n" * 10_000)
    except ConnectionError:
        return response


async def slow(_request):
    await asyncio.sleep(30)


async def cut(request):
    response = web.StreamResponse(headers={"Content-Type": "text/plain", "Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"a 1\n")
    request.transport.abort()
    return response


OPENMETRICS = {"Content-Type": "application/openmetrics-text; version=1.0.0; charset=utf-8"}
GOOD = 'DCGM_FI_DEV_GPU_TEMP{gpu="0",Hostname="gpu-a01"} 50\n'
SICK = {
    "slow": (slow, "within 0.3 s"),
    "oversize": (endless, "over 100000 bytes"),
    "gzip bomb": (web.Response(body=gzip.compress(b"\n" * 10**7), headers={"Content-Encoding": "gzip"}), "over 100000 bytes"),
    "cut": (cut, "before the body was whole"),
    "status": (web.Response(status=503), "status 503"),
    "web page": (web.Response(text="<html>", content_type="text/html"), "text/html"),
    "garbage": (page(GOOD + "this is no sample\n"), "line 2 is not the text format"),
    "no end": (page(GOOD.strip()), "is cut"),
    "empty": (page(""), "empty"),
    "no EOF": (web.Response(body=b"# TYPE a gauge\na 1\n", headers=OPENMETRICS), "EOF"),
    "charset": (web.Response(body=b"a 1\n", headers={"Content-Type": "text/plain; charset=utf-16"}), "only UTF-8"),
    "bytes": (web.Response(body=b'a{b="\xff"} 1\n', headers={"Content-Type": "text/plain"}), "not UTF-8"),
    "redirect away": (web.Response(status=302, headers={"Location": "http://127.0.0.2/metrics"}), "another server"),
    "redirect round": (web.Response(status=302, headers={"Location": "/metrics"}), "redirects"),
    "no asset": (page('DCGM_FI_DEV_GPU_TEMP{gpu="0",Hostname="unknown"} 50\n'), "none of its 1 series"),
    "times": (page(GOOD.strip() + f" 1{'9' * 30}\n"), "no date"),
}


@pytest.mark.parametrize("sick", SICK)
async def test_a_sick_endpoint_is_one_clear_error_and_the_next_poll_recovers(sick):
    answer, says = SICK[sick]
    well = False

    async def handle(request):
        if well:
            return page(GOOD)
        if isinstance(answer, web.Response):
            return web.Response(body=answer.body, status=answer.status, headers=answer.headers)
        return await answer(request)

    async with Endpoint(handle) as endpoint:
        one = source(endpoint.url, timeout_s=0.3 if sick == "slow" else 10, max_body_bytes=100_000)
        try:
            with pytest.raises(SourceError) as caught:
                await one.poll(NOW)
            assert says in str(caught.value)
            assert "\n" not in str(caught.value)
            assert ("x: " if sick == "times" else endpoint.url) in str(caught.value)
            well = True
            (frame,) = await one.poll(NOW)
            assert columns(frame) == {"temp_c": [50]}
        finally:
            await one.close()


HOURLY = '{"current": {"time": 1, "temperature_2m": 8}, "current_units": {"temperature_2m": "°C"}, "hourly": %s}'
NO_OUTLOOK = {
    "weather hourly": ("weather", HOURLY % "[1]", "hourly is '[1]', no object"),
    "weather time": ("weather", HOURLY % '{"time": null}', "hourly time is no list"),
    "weather column": ("weather", HOURLY % '{"time": [1], "temperature_2m": 8}', "hourly temperature_2m is no list"),
    "weather units": ("weather", '{"current": {"time": 1, "temperature_2m": 8}, "current_units": "K"}', "current_units is 'K'"),
    "weather number": ("weather", HOURLY.replace("8", "1" + "0" * 400) % "{}", "temperature_2m is '10000000"),
    "weather infinite": ("weather", HOURLY.replace("8", "Infinity") % "{}", "temperature_2m is 'inf', no finite number"),
    "grid intensity": ("grid", '{"data": [{"from": "2026-11-22T12:00Z", "intensity": "high"}]}', "intensity is 'high'"),
    "grid number": ("grid", '{"data": [{"from": "2026-11-22T12:00Z", "intensity": {"actual": true}}]}', "is 'True', no finite"),
}


@pytest.mark.parametrize("sick", NO_OUTLOOK)
async def test_a_service_that_says_no_outlook_is_one_clear_error(sick):
    kind, body, says = NO_OUTLOOK[sick]
    options = {"weather": {"latitude": 1, "longitude": 2}, "grid": {"provider": "gb"}}[kind]
    async with Endpoint(page_of(body)) as endpoint:
        module = source_module(kind)
        of = site({"id": kind, "kind": kind})
        one = module.build("x", module.Options(url=endpoint.url, **options), of).sources[0]
        with pytest.raises(SourceError) as caught:
            await close_after(one, one.poll(NOW))
        assert endpoint.url in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_dead_endpoint_is_one_clear_error():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    one = source(f"127.0.0.1:{port}")
    with pytest.raises(SourceError, match=f"http://127.0.0.1:{port}/metrics: no connection"):
        await close_after(one, one.poll(NOW))


async def test_a_redirect_on_the_same_server_is_followed_and_the_token_file_read_anew_each_time(tmp_path):
    token = tmp_path / "token"

    async def answer(request):
        if request.path == "/metrics":
            return web.Response(status=307, headers={"Location": "/metrics/"})
        return page(GOOD)

    async with Endpoint(answer) as endpoint:
        one = source(endpoint.url, bearer_token_file=token)
        try:
            with pytest.raises(SourceError, match="the secret in"):
                await one.poll(NOW)
            for word in ("first", "second"):
                token.write_text(f"{word}\n")
                await one.poll(NOW)
                assert endpoint.requests[-1].path == "/metrics/"
                assert endpoint.requests[-1].headers["Authorization"] == f"Bearer {word}"
        finally:
            await one.close()


async def test_each_target_is_a_source_of_its_own():
    async with Endpoint(page_of(GOOD)) as endpoint:
        options = Options(targets=[endpoint.url, "127.0.0.1:1"], mapping="dcgm")
        names = [f"x/{URL(endpoint.url).authority}", "x/127.0.0.1:1"]
        assert source_ids("x", options) == names
        alive, dead = build("x", options, site()).sources
        try:
            assert [alive.name, dead.name] == names
            assert len(await alive.poll(NOW)) == 1
            with pytest.raises(SourceError, match="no connection"):
                await dead.poll(NOW)
        finally:
            await alive.close()
            await dead.close()


@pytest.fixture
async def node_exporter():
    """A real node_exporter from Debian on a free port of loopback."""
    program = shutil.which("prometheus-node-exporter")
    if program is None:
        pytest.skip("prometheus-node-exporter is not installed (Debian: apt-get install prometheus-node-exporter)")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    process = await asyncio.create_subprocess_exec(program, f"--web.listen-address=127.0.0.1:{port}", stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            await asyncio.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.server
async def test_a_real_node_exporter_agrees_with_this_machine(node_exporter):
    nic = next((name for name, stats in psutil.net_if_stats().items() if name != "lo" and stats.isup), "lo")
    of = site(
        {"id": "port", "kind": "port", "parent": "node", "device": nic},
        {"id": "root", "kind": "storage", "parent": "node", "device": "/"},
    )
    options = {"node": "node", "every_s": 1}
    one = build("x", Options(targets=node_exporter, mapping="node_exporter", **options), of).sources[0]
    here_module = source_module("host")
    here = here_module.build("here", here_module.Options(**options), of).sources[0]
    try:
        for _ in range(2):
            now = datetime.now(UTC)
            frames = {frame.kind: frame for frame in await one.poll(now)}
            mine = {frame.kind: frame for frame in await here.poll(now)}
            await asyncio.sleep(0.5)
    finally:
        await one.close()
        await here.close()
    node, host = columns(frames["node"]), columns(mine["node"])
    assert frames["node"].rows.tolist() == mine["node"].rows.tolist() == [of.row("node")]
    assert node["mem_total_bytes"] == host["mem_total_bytes"] == [psutil.virtual_memory().total]
    assert node["uptime_s"] == pytest.approx(host["uptime_s"], abs=5)
    assert node["up_flag"] == host["up_flag"] == [1]
    assert 0 <= node["cpu_util_frac"][0] <= 1
    assert 0 <= host["cpu_util_frac"][0] <= 1
    assert node["mem_used_bytes"] == pytest.approx(host["mem_used_bytes"], rel=0.3)
    assert node.keys() >= {"load1_ratio", "disk_read_bps", "disk_write_bps"}
    for kind in ("port", "storage"):
        assert columns(frames[kind]).keys() == columns(mine[kind]).keys()
    total, used, share = (columns(frames["storage"])[m][0] for m in ("total_bytes", "used_bytes", "used_frac"))
    assert total == os.statvfs("/").f_frsize * os.statvfs("/").f_blocks
    assert used / total == pytest.approx(share)
