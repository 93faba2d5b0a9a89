"""Bodies that are cut, quoted or odd, and moments that come in parts: what is good is taken, what is not is counted."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from small import small_site

from ingest import push
from ingest.mappings import load_mapping
from ingest.push import Batch, Refused, inflated, line_protocol, otlp, remote_write
from ingest.push.series import Pushed
from ingest.sources.push import PushSource
from twin.frame import Frame

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
GOOD = "".join(f"cpu,host=n{i} v={i}\n" for i in range(5))


def lines(body: str) -> tuple[int, int]:
    """Good values of five, and lines left out."""
    batch = line_protocol.read(body.encode(), "ns", NOW)
    return sum(str(key).startswith("cpu") for key in batch.keys), batch.left_out


@pytest.mark.parametrize(
    ("first", "left_out"),
    [
        ('# rack 3" wide', 0),
        ('disk,size=3.5" used=1', 0),
        (' disk,size=3.5" used=1', 0),
        ('disk "used=1', 0),
        (r'win,host=a path="C:\\" 1', 0),
        (r'win,host=a path="say \"so\"" 1', 0),
        ('log text="over\n\ntwo lines, v=1",v=2 1', 0),
        ('log text="never closed', 1),
        ('log text="never closed\nlog text="nor this', 2),
        ('log text="closed"too late', 1),
        (r'log text="a path C:\" 1', 1),
        ('log text="a\nb" and no time', 2),
    ],
)
def test_a_quote_swallows_no_line_behind_it_and_what_is_left_out_is_counted(first: str, left_out: int) -> None:
    assert lines(f"{GOOD}{first}\n{GOOD}") == (10, left_out)
    assert lines(f"{first}\n{GOOD}") == (5, left_out)
    assert lines(f'{first}\n{GOOD}log text="said" 1\n') == (5, left_out)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(['"', "\\", "=", '="', ",", " ", "\n", "a", "#", '",w="', '" ']), max_size=30).map("".join))
def test_each_line_is_seen_once_however_it_is_quoted(text: str) -> None:
    found = list(line_protocol._lines(text))
    assert "\n".join(line for _, line in found) + "\n" * text.endswith("\n") in (text, text + "\n")
    assert [number for number, _ in found] == list(np.cumsum([1, *(1 + line.count("\n") for _, line in found)])[:-1])


def test_the_work_of_a_body_of_quotes_is_bounded_by_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, reach = [0], line_protocol._reach

    def counted(text: str, start: int, end: int) -> tuple[int, bool]:
        found = reach(text, start, end)
        looked[0] += found[0] - start
        return found

    monkeypatch.setattr(line_protocol, "_reach", counted)
    for line in ('# a " quote', 'a v="x', 'b ",w="x', r'a v="\"'):
        body = "\n".join([f"{line} {i}" for i in range(2000)])
        looked[0] = 0
        line_protocol.read(body.encode(), "ns", NOW)
        assert looked[0] <= 4 * len(body), line


def test_a_body_of_zstd_is_taken_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = zstandard.compress(b"a v=1\n" * 500), zstandard.compress(np.random.default_rng(1).bytes(5000))
    plain = b"a v=1\n" * 500 + zstandard.decompress(two)
    assert inflated(one + two, "zstd") == plain
    assert inflated(two + one, "zstd") == zstandard.decompress(two) + b"a v=1\n" * 500
    for wrong in (two[:-1], one + two[:100], one + b"more", b""):
        with pytest.raises(Refused, match="not zstd") as refusal:
            inflated(wrong, "zstd")
        assert refusal.value.status == 400
    monkeypatch.setattr(push, "MAX_PLAIN_BYTES", 100_000)
    with pytest.raises(Refused, match="when unpacked"):
        inflated(zstandard.compress(bytes(10**8)), "zstd")


def test_of_otlp_what_has_no_value_is_left_out_what_has_no_time_is_of_now_and_no_sum_is_made_up() -> None:
    at = {"timeUnixNano": str(1_700_000_000 * 10**9)}
    metrics = [
        {"name": "power", "gauge": {"dataPoints": [{"asDouble": 612.0, **at}, at, {"asInt": "0", **at}]}},
        {"name": "late", "gauge": {"dataPoints": [{"asDouble": 450.0}]}},
        {"name": "none", "sum": {"aggregationTemporality": 2, "dataPoints": [at]}},
        {"name": "bare", "histogram": {"aggregationTemporality": 2, "dataPoints": [{"count": "4", **at}]}},
        {"name": "full", "histogram": {"aggregationTemporality": 2, "dataPoints": [{"count": "4", "sum": 9.5, **at}]}},
        {"name": "short", "summary": {"dataPoints": [{"count": "2", **at}]}},
    ]
    body = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}).encode()
    batch = otlp.read(body, otlp.JSON, NOW)
    told = [
        (batch.describe(key)[0], time_s, value)
        for key, time_s, value in zip(batch.keys, batch.times_s.tolist(), batch.values.tolist(), strict=True)
    ]
    assert told == [
        ("power", 1.7e9, 612),
        ("power", 1.7e9, 0),
        ("late", NOW.timestamp(), 450),
        ("bare_count", 1.7e9, 4),
        ("full_count", 1.7e9, 4),
        ("full_sum", 1.7e9, 9.5),
        ("short_count", 1.7e9, 2),
        ("short_sum", 1.7e9, 0),
    ]
    assert (batch.left_out, batch.faults) == (2, [f"{name}: points without a value are left out" for name in ("power", "none")])


def _field(number: int, body: bytes) -> bytes:
    """A field of protobuf that holds ``body``."""
    return bytes([number << 3 | 2]) + b"".join(bytes([len(body) >> shift & 127 | 128]) for shift in (0, 7, 14)) + b"\x00" + body


EMPTY = b"\x0a\x00" * 1_000_001  # messages of two bytes each, which become objects of a hundred
BOMBS: dict[str, Callable[[], object]] = {
    "points": lambda: otlp.read(_field(1, _field(2, _field(2, _field(5, EMPTY)))), otlp.PROTOBUF, NOW),
    "metrics": lambda: otlp.read(_field(1, _field(2, EMPTY.replace(b"\x0a", b"\x12"))), otlp.PROTOBUF, NOW),
    "resources": lambda: otlp.read(EMPTY, otlp.PROTOBUF, NOW),
    "objects": lambda: otlp.read(b'{"resourceMetrics":[' + b"{}," * 1_000_000 + b"{}]}", otlp.JSON, NOW),
    "series": lambda: remote_write.read(EMPTY, remote_write.V1),
    "samples": lambda: remote_write.read(_field(1, EMPTY.replace(b"\x0a", b"\x12")), remote_write.V1),
    "series of 2.0": lambda: remote_write.read(EMPTY.replace(b"\x0a", b"\x2a"), remote_write.V2),
    "bytes": lambda: remote_write.read(bytes(push.MAX_MESSAGE_BYTES + 1), remote_write.V1),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_small_body_that_would_become_a_million_objects_is_refused(what: str) -> None:
    with pytest.raises(Refused, match="send smaller batches") as refusal:
        BOMBS[what]()
    assert refusal.value.status == 413


def test_a_batch_larger_than_the_limit_is_taken_at_the_limits_pace_and_not_put_off_for_ever() -> None:
    source = PushSource("p", SimpleNamespace(max_samples_per_s=100.0), SimpleNamespace(take=lambda *_: []))  # type: ignore[arg-type]
    batch = Batch(["k"] * 2000, np.zeros(2000), np.zeros(2000), lambda key: (str(key), {}))
    taken = 0
    for second in range(0, 600, 5):
        with suppress(Refused):
            source.take(batch, NOW + timedelta(seconds=second))
            taken += 2000
    assert 30_000 <= taken <= 62_000


Counters = Sequence[tuple[str, dict[str, str], float]]


def counters(second: float) -> Counters:
    """Of a node at 12:00 and so many seconds: four CPUs, a quarter of each busy, and two ports of 1 and 3 MB/s."""
    modes = [("idle", 0.75), ("user", 0.25)]
    cpus = [("node_cpu_seconds_total", {"cpu": str(c), "mode": m}, 1000 + part * second) for c in range(4) for m, part in modes]
    ports = [("node_network_receive_bytes_total", {"device": d}, rate * second) for d, rate in (("eth0", 1e6), ("eth1", 3e6))]
    return [*cpus, *ports]


class Sender:
    """Pushes the counters of a node and keeps what became of them."""

    def __init__(self) -> None:
        self.pushed = Pushed("push", [load_mapping("node_exporter")], small_site("id=push kind=source"), None, {})
        self.said: dict[str, dict[float, float]] = {"cpu_util_frac": {}, "net_rx_bps": {}}
        self.clock = 0.0

    def push(self, some: Counters, second: float) -> None:
        """One request, that arrives now."""
        keys: list[Any] = [(name, (*sorted(labels.items()), ("instance", "r1n1:9100"))) for name, labels, _ in some]
        times = np.full(len(some), NOW.timestamp() + second)
        batch = Batch(keys, times, np.array([value for *_, value in some]), lambda key: (key[0], dict(key[1])))
        self._note(self.pushed.take(batch, self._now()))

    def until(self, second: float) -> None:
        """The receiver looks each second for what is whole."""
        while self.clock < second:
            self.clock += 1
            self._note(self.pushed.settle(self._now()))

    def _now(self) -> datetime:
        return NOW + timedelta(seconds=self.clock)

    def _note(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            for metric, found in self.said.items():
                if metric in frame.values and not np.isnan(frame.values[metric][0]):
                    found[(frame.time - NOW).total_seconds()] = round(float(frame.values[metric][0]), 6)


CUTS = {"whole": 10, "a port apart": 9, "two CPUs apart": 4, "CPUs and ports": 8}


@pytest.mark.parametrize("late_s", [1, 5, 9])
@pytest.mark.parametrize("cut", CUTS)
def test_rates_and_shares_are_right_however_a_moment_is_cut_into_requests(cut: str, late_s: float) -> None:
    sender = Sender()
    for second in range(0, 90, 15):
        some = counters(second)
        sender.push(some[: CUTS[cut]], second)
        sender.until(second + late_s)
        if rest := some[CUTS[cut] :]:
            sender.push(rest, second)
        sender.until(second + 15)
    for metric, value in (("cpu_util_frac", 0.25), ("net_rx_bps", 32e6)):
        assert sender.said[metric] == dict.fromkeys(map(float, range(15, 90, 15)), value)


def test_series_of_one_sender_that_are_dated_apart_have_rates_each_of_its_own() -> None:
    sender = Sender()
    for second in range(0, 90, 15):
        some = counters(second)
        sender.push(some[:8], second)
        sender.push(some[8:], second + 0.3)
        sender.until(second + 15)
    assert sender.said["cpu_util_frac"] == dict.fromkeys(map(float, range(15, 90, 15)), 0.25)
    assert sender.said["net_rx_bps"] == {second + 0.3: 32e6 for second in range(15, 90, 15)}


def test_one_late_series_wipes_no_rate_and_what_is_whole_does_not_wait() -> None:
    sender = Sender()
    for second in range(20):
        sender.push(counters(second), second)
        if second == 12:
            sender.push(counters(3)[8:9], 3)
        sender.until(second + 1)
        if second > 8:
            assert max(sender.said["cpu_util_frac"]) == second
    assert sorted(sender.said["cpu_util_frac"]) == list(range(1, 20))
    assert {metric: set(found.values()) for metric, found in sender.said.items()} == {
        "cpu_util_frac": {0.25},
        "net_rx_bps": {32e6},
    }
