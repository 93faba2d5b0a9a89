"""Metrics made of several points that each speak by themselves: what did not speak is as it last was, then unknown."""

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from small import small_site

from ingest.events import Detector
from ingest.mappings import FOLDER, load_table
from ingest.mappings.device import Bound
from ingest.sources.bms import BmsDecoder
from ingest.sources.mqtt import MqttTable
from ingest.sources.mqtt_points import MAX_STAMPS, Cache, Decoder, JsonDecoder
from ingest.sources.sparkplug import Payload, SparkplugDecoder
from twin.frame import Frame
from twin.state import State

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOW_S = NOW.timestamp()
CLOCK_S = 100.0  # of arrivals, at NOW


class Bus:
    """One CDU behind a decoder: messages in, frames and the live state out."""

    def __init__(self, table: MqttTable) -> None:
        self.site = small_site("id=cdu kind=cdu")
        self.cache, self.state = Cache(), State(self.site)
        self.decoder: Decoder = JsonDecoder(self.cache, table.topic, ())
        if table.format == "bms":
            self.decoder = BmsDecoder(self.cache)
        elif table.format == "sparkplug":
            self.decoder = SparkplugDecoder(self.cache, rebirth=True)
        self._bound = Bound(table, self.site, "", {})

    def hear(self, second: float, topic: str, body: bytes) -> None:
        self.decoder.take(topic, body, CLOCK_S + second)

    def poll(self, second: float) -> list[Frame]:
        now = NOW + timedelta(seconds=second)
        self.decoder.tick(CLOCK_S + second, now.timestamp())
        made = self._bound.frames(self.cache.points(NOW_S - CLOCK_S), now, CLOCK_S + second, 5.0, "bus")
        for frame in made:
            self.state.absorb(frame, now)
        return made

    def told(self, second: float, metric: str) -> list[float]:
        """The values of ``metric`` in the frames of a poll; the ones that say nothing are none."""
        found = [frame.values[metric][0] for frame in self.poll(second) if metric in frame.values]
        return [float(value) for value in found if not np.isnan(value)]

    def stands(self, second: float, metric: str) -> float:
        return self.state.one("cdu", metric, NOW + timedelta(seconds=second))


def bms(place: str, **said: object) -> tuple[str, bytes]:
    return f"BMS/v1/PUB/{place}", json.dumps(said).encode()


def bms_value(place: str, value: float, second: float) -> tuple[str, bytes]:
    return bms(f"Value/{place}", value=value, timestamp=round((NOW_S + second) * 1000), quality=1)


def test_a_leak_on_the_bms_bus_is_one_event_until_the_detector_that_is_wet_says_it_is_dry() -> None:
    bus = Bus(load_table("bms", MqttTable, FOLDER / "mqtt"))
    events = Detector(bus.site)
    for tag in ("front", "back"):
        bus.hear(0, *bms(f"Metadata/CDU/LeakDetect/c/{tag}", objectId="cdu", stateText=["ok", "leak"]))
    bus.hear(0, *bms("Metadata/System/HeartbeatTimestampBms/beat", objectId="bms"))
    codes, stood = [], set()
    for second in range(0, 3600, 5):  # the front one is wet for the first half of an hour
        if second % 100 == 0:
            bus.hear(second, *bms_value("CDU/LeakDetect/c/front", float(second < 1800), second))
        if second % 100 == 15:
            bus.hear(second, *bms_value("CDU/LeakDetect/c/back", 0, second))
        if second % 10 == 0:
            bus.hear(second, *bms_value("System/HeartbeatTimestampBms/beat", 1, second))
        for frame in bus.poll(second + 0.5):
            codes += [(second, event.severity) for event in events.see(frame, NOW + timedelta(seconds=second))]
        stood.add((second < 1800, bus.stands(second + 0.5, "leak_flag")))
    assert codes == [(0, "critical"), (1800, "info")]
    assert stood == {(True, 1.0), (False, 0.0)}


SPARKPLUG = MqttTable.model_validate(
    {
        "format": "sparkplug",
        "assets": {"cdu": {"id": ["device"]}},
        "metric": [{"kind": "cdu", "metric": "leak_flag", "series": ["front", "back"], "combine": "max"}],
    }
)


def born(kind: str, seq: int, second: float, **states: float) -> tuple[str, bytes]:
    made = Payload(seq=seq, timestamp=round((NOW_S + second) * 1000))
    for name, value in states.items():
        known = {"is_null": True} if math.isnan(value) else {"boolean_value": bool(value)}
        made.metrics.add(name=name, datatype=11, **known)
    return f"spBv1.0/g/{kind}/e" + "/cdu" * kind.startswith("D"), made.SerializeToString()


def test_a_detector_that_is_silent_is_as_it_was_for_as_long_as_a_reading_is_believed_and_then_unknown() -> None:
    bus = Bus(SPARKPLUG)
    bus.hear(0, *born("NBIRTH", 0, 0))
    bus.hear(0, *born("DBIRTH", 1, 0, front=1, back=1))
    assert bus.told(0, "leak_flag") == [1]
    for seq, second in enumerate((5, 50, 90), start=2):
        bus.hear(second, *born("DDATA", seq, second, back=0))
        assert bus.told(second, "leak_flag") == [1], "the front one has not said that it is dry"
    bus.hear(95, *born("DDATA", 5, 95, back=0))
    assert bus.told(95, "leak_flag") == [], "over 90 s old: nobody knows of the front one, and the back one is not all"
    assert bus.stands(95, "leak_flag") == 1
    assert math.isnan(bus.stands(181, "leak_flag"))
    bus.hear(190, *born("DDATA", 6, 190, back=1))
    assert bus.told(190, "leak_flag") == [1], "wet is wet, whatever the front one would say"
    bus.hear(195, *born("DDATA", 7, 195, front=0, back=0))
    assert bus.told(195, "leak_flag") == [0]


def test_a_detector_that_dies_or_says_that_it_knows_nothing_ends_no_leak() -> None:
    for seq, end in ((2, ("DDEATH", {})), (2, ("DDATA", {"front": math.nan}))):
        bus = Bus(SPARKPLUG)
        bus.hear(0, *born("NBIRTH", 0, 0))
        bus.hear(0, *born("DBIRTH", 1, 0, front=1, back=0))
        assert bus.told(0, "leak_flag") == [1]
        bus.hear(5, *born(end[0], seq, 5, **end[1]))
        bus.hear(6, *born("DDATA", seq + 1, 6, back=0))
        assert bus.told(10, "leak_flag") == []
        assert bus.stands(10, "leak_flag") == 1


def test_a_birth_names_all_that_there_is_and_a_detector_that_was_taken_out_is_waited_for_no_more() -> None:
    bus = Bus(SPARKPLUG)
    bus.hear(0, *born("NBIRTH", 0, 0))
    bus.hear(0, *born("DBIRTH", 1, 0, front=0, back=0))
    assert bus.told(0, "leak_flag") == [0]
    bus.hear(5, *born("DDEATH", 2, 5))
    assert bus.told(5, "leak_flag") == []
    bus.hear(10, *born("DBIRTH", 3, 10, back=0))
    assert bus.told(10, "leak_flag") == [0]


def json_table(*metrics: dict[str, object]) -> MqttTable:
    return MqttTable.model_validate(
        {
            "topic": [{"filter": "{cdu}/{part}", "time": "ts"}],
            "assets": {"cdu": {"id": ["cdu"]}},
            "words": {"state": {"dry": 0, "wet": 1}},
            "metric": [{"kind": "cdu", **one} for one in metrics],
        }
    )


def said(part: str, **members: object) -> tuple[str, bytes]:
    return f"cdu/{part}", json.dumps(members).encode()


def test_sums_differences_and_quotients_of_what_speaks_in_turn_are_whole() -> None:
    table = json_table(
        {"metric": "flow_kgps", "series": "flow", "combine": "sum"},
        {"metric": "diff_pressure_pa", "series": "out", "minus": "in"},
        {"metric": "pump_speed_frac", "series": "rpm", "over": "rated"},
    )
    bus = Bus(table)
    bus.hear(1, *said("a", flow=3.0, out=5e4, rated=3000))
    (frame,) = bus.poll(2)
    assert list(frame.values) == ["flow_kgps"], "of the others one part was never heard"
    bus.hear(4, *said("a", **{"in": 2e4, "rpm": 1500}))
    bus.hear(4, *said("b", flow=4.0))
    (frame,) = bus.poll(5)
    assert {name: column.tolist() for name, column in frame.values.items()} == {
        "flow_kgps": [7],
        "diff_pressure_pa": [3e4],
        "pump_speed_frac": [0.5],
    }
    bus.hear(8, *said("b", flow=4.5))
    (frame,) = bus.poll(10)
    assert (frame.time, frame.values["flow_kgps"].tolist()) == (NOW + timedelta(seconds=8), [7.5])
    assert bus.poll(15) == [], "nothing was heard: nothing is said again"


def test_growth_adds_up_over_counters_that_speak_in_turn() -> None:
    bus = Bus(json_table({"metric": "heat_w", "series": "energy", "rate": True, "combine": "sum"}))
    told = []
    for second in range(0, 40, 5):
        part, per_s = ("a", 500) if second % 10 == 0 else ("b", 200)
        bus.hear(second, *said(part, energy=per_s * second))
        told.append(bus.told(second + 1, "heat_w"))
    assert told == [[], [], [], [700], [700], [700], [700], [700]]


def test_growth_is_by_the_exact_times_of_its_readings() -> None:
    bus = Bus(json_table({"metric": "heat_w", "series": "energy", "rate": True}))
    told = []
    for second in (0.97, 3.02, 4.99, 7.01, 8.98):
        bus.hear(second, *said("a", energy=50_000 * second, ts=NOW_S + second))
        told += [(frame.time_s - NOW_S, round(frame.values["heat_w"][0])) for frame in bus.poll(second)]
    assert told == [(3, 50_000), (4, 50_000), (7, 50_000), (8, 50_000)], "frames are of whole seconds"


def test_a_word_that_nobody_explained_is_no_all_clear() -> None:
    bus = Bus(json_table({"metric": "leak_flag", "series": "state", "combine": "max"}))
    bus.hear(0, *said("front", state="wet"))
    bus.hear(0, *said("back", state="dry"))
    assert bus.told(1, "leak_flag") == [1]
    bus.hear(5, *said("front", state="broken"))
    bus.hear(5, *said("back", state="dry"))
    assert bus.told(6, "leak_flag") == []


@pytest.mark.parametrize("behind_s", [0.0, 20.0, 60.0])
def test_what_a_slower_clock_says_anew_is_not_late(behind_s: float) -> None:
    bus = Bus(json_table({"metric": "leak_flag", "series": "state", "combine": "max"}))
    for second, part, state, stands in (
        (0, "front", "dry", 0),
        (0, "back", "dry", 0),
        (5, "back", "dry", 0),
        (6, "front", "wet", 1),  # by its own clock before what the back one said last
        (11, "front", "dry", 0),
        (12, "back", "wet", 1),
    ):
        stamp = NOW_S + second - (behind_s if part == "front" else 0)
        bus.hear(second, *said(part, state=state, ts=stamp))
        bus.poll(second + 0.5)
        if second:
            assert bus.stands(second + 0.5, "leak_flag") == stands, second


def test_parts_of_a_clock_that_is_an_hour_behind_stay_at_its_time() -> None:
    bus = Bus(json_table({"metric": "flow_kgps", "series": "flow", "combine": "sum"}))
    told = []
    for second in range(0, 40, 10):
        for part, at in (("a", second), ("b", second + 1)):
            bus.hear(at, *said(part, flow=3.5, ts=NOW_S + at - 3600))
        told += [(frame.time_s - NOW_S, frame.values["flow_kgps"].tolist()) for frame in bus.poll(second + 2)]
    assert told == [(second + 1 - 3600, [7]) for second in range(0, 40, 10)]


def test_a_message_that_is_told_again_with_its_time_is_no_new_reading() -> None:
    bus = Bus(json_table({"metric": "leak_flag", "series": "state", "combine": "max"}))
    for part in ("front", "back"):
        bus.hear(0, *said(part, state="dry", ts=NOW_S))
    assert bus.told(1, "leak_flag") == [0]
    for part in ("front", "back"):  # retained by the broker, and sent at each new connection
        bus.hear(30, *said(part, state="dry", ts=NOW_S))
    assert bus.poll(31) == []


def test_points_that_were_heard_over_many_days_are_no_page_of_many_times() -> None:
    bus = Bus(json_table({"metric": "heat_w", "series": "heat", "combine": "sum"}))
    for n in range(3 * MAX_STAMPS):
        bus.hear(60 * n, *said(f"p{n}", heat=1.0))
        bus.poll(60 * n + 1)
    second = 60 * 3 * MAX_STAMPS
    for n in range(3 * MAX_STAMPS):
        bus.hear(second + n / 100, *said(f"p{n}", heat=1.0))
    assert bus.told(second + 10, "heat_w") == [600]
