"""What is heard over MQTT: times of any unit, times that are none, and the births and deaths of Sparkplug B."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from small import small_site

from ingest.mappings.device import Bound
from ingest.sources import sparkplug
from ingest.sources.mqtt import MqttTable
from ingest.sources.mqtt_points import Cache, JsonDecoder, time_of
from ingest.sources.sparkplug import Payload, SparkplugDecoder

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOW_S = NOW.timestamp()


@pytest.mark.parametrize("per_s", [1, 1e3, 1e6, 1e9])
def test_a_time_is_read_in_whatever_unit_it_is_told(per_s: float) -> None:
    assert time_of(NOW_S * per_s) == NOW_S
    assert time_of(int(NOW_S * per_s)) == NOW_S


@pytest.mark.parametrize("said", [-5, 0, 12.5, 1e30, math.inf, math.nan, NOW_S + 90_000])
def test_a_device_whose_time_is_none_silences_no_other(said: float) -> None:
    table = MqttTable.model_validate(
        {
            "topic": [{"filter": "cooling/{cdu}/t", "time": "ts"}],
            "assets": {"cdu": {"id": ["cdu"]}},
            "metric": [
                {"kind": "cdu", "metric": "supply_temp_c", "series": "temp"},
                {"kind": "cdu", "metric": "heat_w", "series": "energy", "rate": True},
            ],
        }
    )
    cache = Cache()
    decoder = JsonDecoder(cache, table.topic, ())
    bound = Bound(table, small_site("id=c1 kind=cdu", "id=c2 kind=cdu"), "", {})
    for second in (1, 2):
        told = {"temp": 30 + second, "energy": 500 * second}
        decoder.take("cooling/c1/t", json.dumps({**told, "ts": NOW_S + second}).encode(), 100.0 + second)
        decoder.take("cooling/c2/t", json.dumps({**told, "ts": said}).encode(), 100.0 + second)
        frames = bound.frames(cache.points(NOW_S - 100), NOW, 100.0 + second, 5.0, "broker")
    (frame,) = frames
    assert frame.time_s == NOW_S + 2, "the one is of its own time, the other of its arrival"
    assert {name: column.tolist() for name, column in frame.values.items()} == {
        "supply_temp_c": [32, 32],
        "heat_w": [500, 500],
    }
    assert "(no time)" in bound.unmapped_names


def _payload(seq: int | None, **metrics: float) -> bytes:
    made = Payload(timestamp=int(NOW_S * 1000)) if seq is None else Payload(seq=seq, timestamp=int(NOW_S * 1000))
    for name, value in metrics.items():
        if name == "bdSeq":
            made.metrics.add(name=name, datatype=8, long_value=int(value))
        else:
            made.metrics.add(name=name, datatype=10, double_value=value)
    raw: bytes = made.SerializeToString()
    return raw


def _temp(cache: Cache) -> Any:
    read = cache.last(10.0)
    return dict(zip([name for name, _ in read.series], read.values, strict=True)).get("temp")


def test_the_death_of_an_earlier_session_is_none_and_data_without_a_birth_asks_for_one() -> None:
    cache = Cache()
    decoder = SparkplugDecoder(cache, rebirth=True)
    decoder.take("spBv1.0/g/NBIRTH/e", _payload(0, bdSeq=7, temp=30.0), 1.0)
    decoder.take("spBv1.0/g/NDEATH/e", _payload(None, bdSeq=6), 2.0)
    assert _temp(cache) == 30
    decoder.take("spBv1.0/g/NDATA/e", _payload(1, other=1.0), 3.0)
    assert not decoder.say()
    decoder.take("spBv1.0/g/NDEATH/e", _payload(None, bdSeq=7), 4.0)
    assert _temp(cache) is None
    decoder.take("spBv1.0/g/NDATA/e", _payload(2, other=1.0), 5.0)
    ((topic, _),) = decoder.say()
    assert topic == "spBv1.0/g/NCMD/e"


def test_the_death_of_a_device_is_counted_and_a_missed_one_is_noticed() -> None:
    cache = Cache()
    decoder = SparkplugDecoder(cache, rebirth=True)
    decoder.take("spBv1.0/g/NBIRTH/e", _payload(254), 1.0)
    decoder.take("spBv1.0/g/DBIRTH/e/d", _payload(255, temp=30.0), 1.0)
    assert _temp(cache) == 30
    decoder.take("spBv1.0/g/DDEATH/e/d", _payload(0), 2.0)
    decoder.take("spBv1.0/g/NDATA/e", _payload(1, other=1.0), 3.0)
    assert _temp(cache) is None
    assert not decoder.say()
    decoder.take("spBv1.0/g/NDATA/e", _payload(3, other=2.0), 4.0)  # 2 was the death of another device, and is lost
    assert [topic for topic, _ in decoder.say()] == ["spBv1.0/g/NCMD/e"]
    with pytest.raises(ValueError, match="no Sparkplug payload"):
        decoder.take("spBv1.0/g/DDEATH/e/d", b"\xff", 5.0)


def test_names_of_nodes_without_end_fill_no_memory_and_hide_none_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparkplug, "MAX_ALIASES", 3)
    decoder = SparkplugDecoder(Cache(), rebirth=True)
    for i in range(50):
        decoder.take(f"spBv1.0/g/NDATA/e{i}", _payload(0, temp=1.0), 1.0)
    assert [topic for topic, _ in decoder.say()] == [f"spBv1.0/g/NCMD/e{i}" for i in range(3)]
    for i in range(50):
        decoder.take(f"spBv1.0/g/NDATA/x{i}", _payload(None, **{"": 1.0}), 2.0)  # a metric without a name asks too
    decoder.tick(60.5, NOW_S)
    assert not decoder.say(), "three were asked within the minute"
    decoder.take("spBv1.0/g/NDATA/e2", _payload(7, temp=1.0), 61.0)
    assert [topic for topic, _ in decoder.say()] == ["spBv1.0/g/NCMD/e2"], "those asked over a minute ago are forgotten"
    assert (len(decoder._seq), len(decoder._asking), len(decoder._asked_s)) == (3, 0, 1)
