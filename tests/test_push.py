"""What is pushed: bodies of three protocols become the same frames; limits, tokens and broken bodies; late and double ones."""

import asyncio
import gzip
import json
import struct
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import cramjam
import httpx
import numpy as np
import pytest
import zstandard
from faces_harness import Hands, live_of
from fastapi import FastAPI
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from influxdb_client import Point
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from small import small_site

import ingest.push
from ingest.collect import Collector
from ingest.push import Refused, inflated, line_protocol, remote_write
from ingest.registry import source_module
from twin.frame import Quality
from twin.state import State
from ui.access.door import Door
from ui.faces.api_push import LARGE, add_push, first_look
from ui.faces.guard import Guard
from ui.faces.server import build_server
from ui.gate import PushGate
from ui.tasks import VirtualClock

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NS = int(NOW.timestamp()) * 10**9
LABELS = {"__name__": "DCGM_FI_DEV_GPU_TEMP", "gpu": "1", "Hostname": "r1n1"}


def site():
    return small_site("id=push kind=source", "id=eth kind=port parent=r1n1 device=eth0")


class Field:
    """A whole way in: server, gate, collector, state, on a clock that stands still."""

    def __init__(self, tmp_path, **options):
        (tmp_path / "token").write_text("s3cret-of-senders-0123456789\n")
        of = site()
        module = source_module("push")
        opened = module.build("push", module.Options(token_file=tmp_path / "token", **options), of)
        self.clock, self.state, self.stored, self.events = VirtualClock(NOW), State(of), [], []
        self.collector = Collector(of, opened.sources, self.clock, self.publish, self.events.extend)
        self.gate = PushGate(opened.inlets, self.collector.push, self.collector.refused, self.clock)
        live = live_of(of, Hands())
        live.gate = self.gate
        server = FastAPI()
        add_push(server, SimpleNamespace(live=live))  # the whole server is asked once, below
        self.server = Guard(server, Door(live, first_look(live)), large=LARGE)
        self.site, self.source = of, opened.sources[0]

    def publish(self, frames):
        for frame in frames:
            self.state.absorb(frame, self.clock.now())
        self.stored += [frame for frame in frames if frame.source != "icctwin"]

    async def __aenter__(self):
        self.gate.open(asyncio.get_running_loop())
        self.ask = httpx.AsyncClient(transport=httpx.ASGITransport(self.server), base_url="http://localhost")
        return self

    async def __aexit__(self, *_):
        self.gate.shut()
        await self.ask.aclose()
        await self.collector.close()

    async def post(self, path, body, token="s3cret-of-senders-0123456789", **headers):
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        auth = {"Authorization": f"Token {token}"} if token else {}
        return await self.ask.post(path, content=body, headers={**auth, **named})

    async def later(self, seconds):
        self.clock.time = NOW + timedelta(seconds=seconds)
        await self.collector.tick(self.clock.now())
        await self.collector.drain()

    def told(self, kind, metric, asset):
        """(time, value) of everything that was stored of one cell, in the order of arrival."""
        row = self.site.row(asset)
        cells = [(f.time, f.values[metric][f.rows == row]) for f in self.stored if f.kind == kind and metric in f.values]
        return [((time - NOW).total_seconds(), float(value[0])) for time, value in cells if len(value)]


def v1(*series):
    """A WriteRequest of (labels, [(value, ms)]), packed; labels are encoded by hand, as a sender does it."""
    request = remote_write.MESSAGES["Request1"]()
    for labels, samples in series:
        one = request.timeseries.add()
        for name, value in sorted(labels.items()):
            one.labels.append(remote_write.MESSAGES["Label"](name=name, value=value).SerializeToString())
        for value, time_ms in samples:
            one.samples.add(value=value, timestamp=time_ms)
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def v2(*series):
    symbols = [""]
    request = remote_write.MESSAGES["Request2"]()
    for labels, samples in series:
        one = request.timeseries.add()
        for word in (word for pair in sorted(labels.items()) for word in pair):
            if word not in symbols:
                symbols.append(word)
            one.labels_refs.append(symbols.index(word))
        for value, time_ms in samples:
            one.samples.add(value=value, timestamp=time_ms)
    request.symbols.extend(symbols)
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


V1 = {"Content_Type": "application/x-protobuf", "Content_Encoding": "snappy", "X_Prometheus_Remote_Write_Version": "0.1.0"}
V2 = {**V1, "Content_Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}
OTLP = {
    "resourceMetrics": [
        {
            "resource": {"attributes": [{"key": "Hostname", "value": {"stringValue": "r1n1"}}]},
            "scopeMetrics": [
                {
                    "metrics": [
                        {
                            "name": "DCGM_FI_DEV_GPU_TEMP",
                            "gauge": {
                                "dataPoints": [
                                    {
                                        "timeUnixNano": str(NS),
                                        "asDouble": 61.5,
                                        "attributes": [{"key": "gpu", "value": {"intValue": "1"}}],
                                    }
                                ]
                            },
                        },
                        {
                            "name": "grown",
                            "sum": {"aggregationTemporality": 1, "dataPoints": [{"timeUnixNano": str(NS), "asInt": "5"}]},
                        },
                    ]
                }
            ],
        }
    ]
}


@pytest.mark.parametrize(
    "way", ["line", "line gzip", "v1 line", "remote write 1", "remote write 2", "otlp json", "otlp protobuf"]
)
async def test_every_way_in_gives_the_same_reading(tmp_path, way):
    line = f'DCGM_FI_DEV,gpu=1,Hostname=r1n1 GPU_TEMP=61.5,name="a b" {NS}\n'.encode()
    ms = NS // 10**6
    async with Field(tmp_path) as field:
        if way == "line":
            answer = await field.post("/api/v2/write?org=o&bucket=b&precision=ns", line)
        elif way == "line gzip":
            answer = await field.post("/api/v2/write", gzip.compress(line), Content_Encoding="gzip")
        elif way == "v1 line":
            answer = await field.post("/write?db=x&u=me&p=s3cret-of-senders-0123456789", line, token=None)
        elif way.startswith("remote"):
            pack, head = (v1, V1) if way.endswith("1") else (v2, V2)
            answer = await field.post("/api/v1/write", pack((LABELS, [(61.5, ms)])), **head)
            assert answer.headers["x-prometheus-remote-write-samples-written"] == "1"
        elif way == "otlp json":
            answer = await field.post("/v1/metrics", json.dumps(OTLP).encode(), Content_Type="application/json")
            assert answer.json()["partialSuccess"]["rejectedDataPoints"] == "1"
            assert "cumulative" in answer.json()["partialSuccess"]["errorMessage"]
        else:
            body = json_format.ParseDict(OTLP, ExportMetricsServiceRequest()).SerializeToString()
            answer = await field.post("/v1/metrics", body, Content_Type="application/x-protobuf")
            assert ExportMetricsServiceResponse.FromString(answer.content).partial_success.rejected_data_points == 1
        assert answer.status_code == (200 if way.startswith("otlp") else 204), answer.text
        assert field.told("gpu", "temp_c", "r1n1g1") == [(0, 61.5)]
        assert field.state.one("gpu", "temp_c", NOW, field.site.row("r1n1g1")) == 61.5


async def test_counters_become_rates_when_their_moment_is_whole_and_parts_of_one_moment_may_come_apart(tmp_path):
    def sample(name, value, second, **labels):
        return ({"__name__": name, "instance": "r1n1:9100", **labels}, [(value, int((NOW.timestamp() + second) * 1000))])

    async with Field(tmp_path, mapping="node_exporter", node="r1n1") as field:
        for second, grown in ((0, 0), (15, 1500), (30, 3000)):
            for device in ("eth0", "eth1"):  # two requests for one scrape
                one = sample("node_network_receive_bytes_total", 1e9 + grown, second, device=device)
                two = sample("node_memory_MemTotal_bytes", 8e9, second)
                assert (await field.post("/api/v1/write", v1(one, two), **V1)).status_code == 204
            await field.later(second + 0.5)
        await field.later(40)
        assert field.told("node", "net_rx_bps", "r1n1") == [(15, 1600), (30, 1600)]
        assert field.told("port", "rx_bps", "eth") == [(15, 800), (30, 800)]
        assert {value for _, value in field.told("node", "mem_total_bytes", "r1n1")} == {8e9}


async def test_a_late_push_is_kept_at_its_time_and_never_shown_over_a_newer_one_and_a_double_one_changes_nothing(tmp_path):
    async with Field(tmp_path) as field:
        for value, second in ((50, 0), (51, 10), (50, 0), (49, -3600), (51, 10)):
            ms = int((NOW.timestamp() + second) * 1000)
            field.clock.time = NOW + timedelta(seconds=20)
            assert (await field.post("/api/v1/write", v1((LABELS, [(value, ms)])), **V1)).status_code == 204
        assert field.told("gpu", "temp_c", "r1n1g1") == [(0, 50), (10, 51), (0, 50), (-3600, 49), (10, 51)]
        assert field.state.one("gpu", "temp_c", field.clock.now(), field.site.row("r1n1g1")) == 51


async def test_a_sender_whose_clock_is_an_hour_ahead_is_doubted_and_does_not_block_the_truth(tmp_path):
    async with Field(tmp_path) as field:
        await field.post("/api/v1/write", v1((LABELS, [(90, NS // 10**6 + 3_600_000)])), **V1)
        (frame,) = field.stored
        assert (frame.time, frame.quality["temp_c"].tolist()) == (NOW, [Quality.SUSPECT])
        field.clock.time = NOW + timedelta(seconds=1)
        await field.post("/api/v1/write", v1((LABELS, [(50, NS // 10**6 + 1000)])), **V1)
        assert field.state.one("gpu", "temp_c", field.clock.now(), field.site.row("r1n1g1")) == 50


async def test_only_who_shows_the_token_pushes_and_a_rotated_one_counts_at_once(tmp_path):
    line = b"DCGM_FI_DEV,gpu=1,Hostname=r1n1 GPU_TEMP=61.5\n"
    async with Field(tmp_path) as field:
        for token in (None, "wrong", "s3cre"):
            answer = await field.post("/api/v2/write", line, token=token)
            assert answer.status_code == 401
            assert "token" in answer.json()["message"]
        basic = await field.ask.post("/write", content=line, auth=("anybody", "s3cret-of-senders-0123456789"))
        assert basic.status_code == 204
        (tmp_path / "token").write_text("the-next-secret-of-senders")
        assert (await field.post("/api/v2/write", line)).status_code == 401
        assert (await field.post("/api/v2/write", line, token="the-next-secret-of-senders")).status_code == 204
        (tmp_path / "token").unlink()
        assert (await field.post("/api/v2/write", line, token="the-next-secret-of-senders")).status_code == 503
        assert len(field.stored) == 2


BOMB = gzip.compress(b"a b=1\n" * 500_000)
BAD = {
    "a line that is none": ("/api/v2/write", b"a b=1\nwhat\n", {}, 400, "line 2"),
    "no UTF-8": ("/api/v2/write", b"a b=\xff\n", {}, 400, "not UTF-8"),
    "a precision": ("/api/v2/write?precision=years", b"a b=1\n", {}, 400, "precision"),
    "a time that is no date": ("/api/v2/write?precision=s", f"a b=1 {NS}\n".encode(), {}, 400, "precision right"),
    "broken gzip": ("/api/v2/write", b"\x1f\x8b no", {"Content_Encoding": "gzip"}, 400, "not gzip"),
    "cut gzip": ("/api/v2/write", gzip.compress(b"a b=1\n")[:-4], {"Content_Encoding": "gzip"}, 400, "cut"),
    "a bomb": ("/api/v2/write", BOMB, {"Content_Encoding": "gzip"}, 413, "unpacked"),
    "a snappy bomb": ("/api/v1/write", b"\xff\xff\xff\xff\x0f" + b"x" * 100, V1, 413, "unpacked"),
    "an encoding": ("/api/v2/write", b"a b=1\n", {"Content_Encoding": "br"}, 415, "br"),
    "no snappy": ("/api/v1/write", b"\x05hello world", V1, 400, "not snappy"),
    "no protobuf": ("/api/v1/write", bytes(cramjam.snappy.compress_raw(b"\x0a\xff")), V1, 400, "is no prometheus.WriteRequest"),
    "another message": ("/api/v1/write", b"", {**V1, "Content_Type": "application/x-protobuf;proto=x.Y"}, 415, "1.0 and 2.0"),
    "no OTLP": ("/v1/metrics", b"\x0a\xff", {"Content_Type": "application/x-protobuf"}, 400, "ExportMetricsServiceRequest"),
    "JSON that is none": ("/v1/metrics", b"{", {"Content_Type": "application/json"}, 400, "ExportMetricsServiceRequest"),
    "another type": ("/v1/metrics", b"", {"Content_Type": "text/plain"}, 415, "text/plain"),
    "too many times": ("/api/v2/write", b"".join(b"a b=1 %d\n" % i for i in range(5001)), {}, 413, "different times"),
    "too many": ("/api/v2/write", b"a b=1\n" * 11, {}, 413, "Over 10 values"),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_body_that_is_none_is_one_sentence_and_the_next_one_is_taken(tmp_path, monkeypatch, what):
    path, body, headers, status, says = BAD[what]
    monkeypatch.setattr(ingest.push, "MAX_PLAIN_BYTES", 1_000_000)
    if what == "too many":
        monkeypatch.setattr(line_protocol, "MAX_SAMPLES", 10)
    async with Field(tmp_path, mapping="dcgm") as field:
        answer = await field.post(path, body, **headers)
        assert answer.status_code == status, answer.text
        assert says in answer.json()["message"]
        good = await field.post("/api/v2/write", b"DCGM_FI_DEV,gpu=1,Hostname=r1n1 GPU_TEMP=61.5\n")
        assert good.status_code == 204
        assert field.collector.health(NOW).values["errors_count"].tolist()[-1] == 1


async def test_good_lines_beside_a_bad_one_are_taken_and_the_answer_says_which_are_not(tmp_path):
    body = b"DCGM_FI_DEV,gpu=1,Hostname=r1n1 GPU_TEMP=61.5\nwhat\nDCGM_FI_DEV,gpu=2,Hostname=r1n1 GPU_TEMP=62\n"
    async with Field(tmp_path) as field:
        answer = await field.post("/api/v2/write", body)
        assert (answer.status_code, "partial write: 1 lines left out: line 2" in answer.json()["message"]) == (400, True)
        assert field.told("gpu", "temp_c", "r1n1g1") == [(0, 61.5)]
        assert field.told("gpu", "temp_c", "r1n1g2") == [(0, 62)]


async def test_a_body_over_the_limit_is_refused_unread_and_too_many_samples_a_second_are_told_to_wait(tmp_path):
    async with Field(tmp_path, max_samples_per_s=1) as field:
        large = await field.post("/api/v2/write", b"#" * (33 << 20))
        assert large.status_code == 413
        line = b"DCGM_FI_DEV,gpu=1,Hostname=r1n1 GPU_TEMP=61.5\n"
        assert (await field.post("/api/v2/write", line * 8)).status_code == 204
        answer = await field.post("/api/v2/write", line * 8)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        field.clock.time = NOW + timedelta(seconds=10)
        assert (await field.post("/api/v2/write", line * 8)).status_code == 204


async def test_what_nobody_asked_for_is_counted_by_name_and_silence_is_not_health(tmp_path):
    async with Field(tmp_path, silent_s=60) as field:
        await field.later(0)
        await field.post(
            "/api/v2/write", b"weather,town=x temp=5\nDCGM_FI_DEV,gpu=1,Hostname=nobody GPU_TEMP=61.5\ngo_gc x=1\n"
        )
        assert field.source.unmapped == 2  # go_.* is known to be nobody's
        assert list(field.source.unmapped_names) == ["weather_temp", "DCGM_FI_DEV_GPU_TEMP"]
        assert field.stored == []
        await field.later(50)
        assert field.collector.reasons == {}
        await field.later(120)
        assert "nothing was pushed for 120 s" in field.collector.reasons["push"]


async def test_an_xid_that_is_pushed_is_an_event(tmp_path):
    async with Field(tmp_path) as field:
        for value in (0, 79, 79):
            await field.post("/api/v2/write", f"DCGM_FI_DEV,gpu=1,Hostname=r1n1 XID_ERRORS={value}\n".encode())
            field.clock.time += timedelta(seconds=1)
        assert [(event.asset, event.code) for event in field.events] == [("r1n1g1", "xid/79")]


async def test_series_without_end_are_forgotten_at_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr("ingest.push.series.MAX_SERIES", 20)
    async with Field(tmp_path) as field:
        for day in range(30):
            body = "".join(f"DCGM_FI_DEV,gpu=1,Hostname=r1n1,pod={day}-{i} GPU_TEMP={day}\n" for i in range(5))
            assert (await field.post("/api/v2/write", body.encode())).status_code == 204
            assert len(field.source._pushed._known) <= 25
        assert field.told("gpu", "temp_c", "r1n1g1")[-1] == (0, 29)


async def test_without_a_source_to_push_into_the_paths_say_so(tmp_path):
    async with Field(tmp_path) as field:
        field.gate.shut()
        answer = await field.post("/api/v2/write", b"a b=1\n")
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    live = live_of(site(), Hands())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build_server(live)), base_url="http://localhost") as ask:
        assert (await ask.post("/api/v1/write", content=b"")).status_code == 404
        assert (await ask.get("/ping")).status_code == 204


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00\n\r\\", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8
)
NUMBERS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1), st.booleans())


@settings(max_examples=100, deadline=None)
@given(
    TEXTS.filter(lambda name: not name.startswith("#")),  # that would be a comment
    st.dictionaries(TEXTS, TEXTS, max_size=3),
    st.dictionaries(TEXTS, NUMBERS, min_size=1, max_size=3),
    st.integers(0, 2**60),
)
def test_any_point_of_the_influx_client_is_read_as_it_was_meant(name, tags, fields, time_ns):
    point = Point(name)
    for key, value in tags.items():
        point = point.tag(key, value)
    for key, value in fields.items():
        point = point.field(key, value)
    batch = line_protocol.read(point.time(time_ns).to_line_protocol().encode(), "ns", NOW)
    if batch.left_out:
        return  # what the library that reads refuses is said, never guessed
    pairs = zip(batch.keys, batch.values.tolist(), strict=True)
    found = {json.dumps(batch.describe(key)): value for key, value in pairs}
    assert found == {json.dumps((f"{name}_{key}", dict(sorted(tags.items())))): float(value) for key, value in fields.items()}
    np.testing.assert_allclose(batch.times_s, time_ns / 1e9)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_body_breaks_the_readers(body):
    for encoding in ("gzip", "snappy", "zstd", ""):
        try:
            plain = inflated(body, encoding)
            line_protocol.read(plain, "", NOW)
            remote_write.read(plain, remote_write.V1)
            remote_write.read(plain, remote_write.V2)
        except Refused as refusal:  # and nothing else
            if refusal.status not in (400, 413):
                raise


def test_every_encoding_gives_the_body_back():
    body = struct.pack("<100d", *range(100))
    packed = {
        "gzip": gzip.compress(body),
        "snappy": bytes(cramjam.snappy.compress_raw(body)),
        "zstd": zstandard.compress(body),
        "": body,
    }
    assert all(inflated(one, name) == body for name, one in packed.items())
