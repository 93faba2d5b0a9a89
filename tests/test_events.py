"""Events: found once where something happens, kept in order, not told again after a restart, and on the API."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from faces_harness import Hands, live_of
from small import small_site

from ingest.collect import Collector
from ingest.events import Detector, xids
from ingest.stores import open_records
from twin.errors import SourceError
from twin.event import TOPIC, Event
from twin.frame import Frame, Origin, Quality, frame_of
from ui.eventlog import EventLog
from ui.faces.server import build_server
from ui.tasks import VirtualClock

START = datetime(2026, 11, 22, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def codes(detector: Detector, *readings: tuple[float, str, str, float]) -> list[tuple[str, str]]:
    """(asset, code) of what is found in readings (second, kind, metric, value) of each kind's first asset."""
    found = []
    for second, kind, metric, value in readings:
        found += detector.see(frame_of(kind, at(second), 0, source="s1", **{metric: value}), at(9))
    return [(event.asset, event.code) for event in found]


def test_a_sticky_xid_is_one_event_until_it_changes_and_a_late_page_is_none() -> None:
    seen = [(0, 0), (1, 79), (2, 79), (3, 79), (4, 31), (2.5, 79), (5, 31), (6, 0), (7, 31)]
    found = codes(Detector(small_site()), *((second, "gpu", "xid_code", xid) for second, xid in seen))
    assert found == [("r1n1g0", code) for code in ("xid/79", "xid/31", "xid/none", "xid/31")]


def test_what_was_already_so_at_the_start_is_told_unless_it_was_told_before() -> None:
    reading = (0, "gpu", "xid_code", 79.0)
    assert codes(Detector(small_site()), reading) == [("r1n1g0", "xid/79")]
    told = Event(at(-9), "r1n1g0", "xid/79", "the GPU has fallen off the bus")
    over = Event(at(-5), "r1n1g0", "xid/none", "over")
    assert codes(Detector(small_site(), [told]), reading) == []
    assert codes(Detector(small_site(), [told, over]), reading) == [("r1n1g0", "xid/79")]
    assert codes(Detector(small_site(), [told]), (0, "gpu", "xid_code", 0.0), (1, "gpu", "xid_code", 79.0)) == [
        ("r1n1g0", "xid/79")
    ]


def test_a_leak_is_told_at_once_after_our_own_clock_was_an_hour_ahead_and_is_right_again() -> None:
    detector, found = Detector(small_site("id=c kind=cdu parent=h1")), []
    for second, leak in ((0, 0), (3600, 0), (2, 1), (3, 1), (3599, 0)):
        found += detector.see(frame_of("cdu", at(second), 0, leak_flag=leak), at(second))
    assert [(event.code, event.time) for event in found] == [("leak/detected", at(2)), ("leak/over", at(3599))]


def test_leaks_breakers_flaps_and_reboots_are_events_and_counters_at_first_sight_are_not() -> None:
    site = small_site(
        "id=c kind=cdu parent=h1", "id=p kind=pdu parent=r1", "id=sw kind=switch parent=h1", "id=p1 kind=port parent=sw"
    )
    found = codes(
        Detector(site),
        (0, "cdu", "leak_flag", 0),
        (0, "port", "link_down_count", 7),
        (0, "node", "uptime_s", 5000),
        (1, "cdu", "leak_flag", 1),
        (1, "pdu", "breaker_open_flag", 1),
        (1, "port", "link_down_count", 10),
        (1, "node", "uptime_s", 12),
        (2, "cdu", "leak_flag", 0),
        (2, "port", "link_down_count", 0),  # the switch started anew
    )
    assert found == [
        ("c", "leak/detected"),
        ("p", "breaker/open"),
        ("p1", "link/down"),
        ("r1n1", "node/reboot"),
        ("c", "leak/over"),
    ]


def test_a_flap_that_two_metrics_show_is_one_event() -> None:
    site = small_site("id=sw kind=switch parent=h1", "id=p1 kind=port parent=sw")
    detector = Detector(site)
    detector.see(frame_of("port", at(0), 0, up_flag=1, link_down_count=3), at(9))
    (event,) = detector.see(frame_of("port", at(1), 0, up_flag=0, link_down_count=5), at(9))
    assert (event.code, event.asset, event.time) == ("link/down", "p1", at(1))


def test_an_xid_is_told_once_and_its_repetition_by_the_count_beside_the_sticky_gauge() -> None:
    detector, told = Detector(small_site()), []
    for second, xid, count in ((0, 0, 0), (1, 79, 1), (2, 79, 1), (3, 79, 2), (4, 79, 0)):
        told += detector.see(frame_of("gpu", at(second), 0, xid_code=xid, xid_count=count), at(9))
    assert [(event.code, event.time) for event in told] == [("xid/79", at(1)), ("xid/counted", at(3))]


def test_bad_and_modelled_values_are_no_events() -> None:
    detector = Detector(small_site())
    bad = {"xid_code": np.array([Quality.BAD], dtype=np.uint8)}
    rows, values = np.array([0], dtype=np.int32), {"xid_code": np.array([48.0])}
    assert detector.see(Frame("gpu", at(0), rows, values, quality=bad), at(9)) == []
    assert detector.see(Frame("gpu", at(1), rows, values, origin=Origin.MODELLED), at(9)) == []
    assert [event.code for event in detector.see(Frame("gpu", at(2), rows, values), at(9))] == ["xid/48"]


def test_the_catalogue_says_what_an_xid_means_and_how_bad_it_is() -> None:
    (event,) = Detector(small_site()).see(frame_of("gpu", at(0), 3, xid_code=79), at(9))
    assert (event.severity, event.meaning) == ("critical", "XID 79: the GPU has fallen off the bus; restart the machine")
    (event,) = Detector(small_site()).see(frame_of("gpu", at(0), 3, xid_code=999), at(9))
    assert "does not explain" in event.meaning
    assert {13, 31, 43, 48, 63, 64, 74, 79, 94, 95, 119, 120} <= xids().keys()


class Telling:
    """A source that tells of an event itself, also when its poll fails."""

    name, every_s, unmapped = "s1", 1.0, 0

    def __init__(self) -> None:
        self.events = [Event(START, "r1", "redfish/Environmental.1.2.PumpFailed", "Pump 2 failed", "s1", "critical")]

    async def poll(self, now: datetime) -> list[Frame]:
        raise SourceError("s1: half of it is dead")

    def take_events(self) -> list[Event]:
        taken, self.events = self.events, []
        return taken

    async def close(self) -> None:
        pass


async def test_events_of_a_source_are_noted_once_even_where_its_poll_fails() -> None:
    site, clock, noted = small_site(), VirtualClock(START), []
    collector = Collector(site, [Telling()], clock, lambda frames: None, noted.extend)
    for _ in range(3):
        await collector.tick(clock.now())
        await collector.drain()
        clock.time += timedelta(seconds=1)
    assert [event.code for event in noted] == ["redfish/Environmental.1.2.PumpFailed"]


def test_events_wait_while_the_records_refuse_and_are_then_kept_in_order(tmp_path: Path) -> None:
    records = open_records(tmp_path / "records.db")
    book = EventLog(records)
    book.note([Event(at(i), f"g{i}", "xid/79", "off the bus") for i in range(3)])
    refusing, keep = True, records.append

    def append(topic: str, time: datetime, record: dict[str, object]) -> int:
        if refusing:
            raise SourceError("disk full")
        return keep(topic, time, record)

    records.append = append  # type: ignore[method-assign, assignment]
    book.flush()
    assert records.read(TOPIC) == []
    refusing = False
    book.flush()
    book.flush()
    assert [event.asset for event in book.past()] == ["g0", "g1", "g2"]
    records.close()


async def test_the_api_gives_events_newest_first_and_filters_them(tmp_path: Path) -> None:
    live = live_of(small_site(), Hands())
    live.records = open_records(tmp_path / "records.db")
    book = EventLog(live.records)
    book.note(
        [
            Event(at(0), "g0", "xid/79", "off the bus", "dcgm", "critical"),
            Event(at(1), "c1", "leak/detected", "leak", "cdu", "critical"),
            Event(at(2), "g1", "xid/31", "page fault", "dcgm", "info"),
        ]
    )
    book.flush()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build_server(live)), base_url="http://localhost") as ask:
        for query, assets in (
            ("", ["g1", "c1", "g0"]),
            ("?code=xid", ["g1", "g0"]),
            ("?code=xid/79", ["g0"]),
            ("?asset=c1", ["c1"]),
            ("?severity=critical&limit=1", ["c1"]),
            ("?end=2026-11-22T00:00:01Z", ["g0"]),
        ):
            answer = await ask.get(f"/api/v1/events{query}")
            assert [event["asset"] for event in answer.json()] == assets, query
        assert (await ask.get("/api/v1/events?severity=loud")).status_code == 422
    live.records.close()


def test_events_are_refused_without_a_zone_or_with_an_unknown_severity() -> None:
    with pytest.raises(ValueError, match="zone"):
        Event(datetime(2026, 1, 1), "a", "b", "c")  # noqa: DTZ001
    with pytest.raises(ValueError, match="severity"):
        Event(START, "a", "b", "c", severity="loud")  # type: ignore[arg-type]
