"""Nothing that was to be told, or that people said, is lost while a receiver is away, the disk says no, or all is full."""

import json
import sqlite3
from contextlib import closing
from math import nan
from pathlib import Path
from typing import Any

import pytest
from receivers import Seen, receiving
from test_oncall_flow import Run, centre

from analytics.oncall.others import Other
from analytics.rule import Severity
from twin.errors import SourceError
from ui.oncall.book import Book

DAY_S = 86_400.0


class Receivers:
    """Paths that answer, but for those that are away (503) or refuse for good (404)."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.refuse: set[str] = set()

    def __call__(self, one: Seen) -> tuple[int, Any]:
        return (503 if one.path in self.away else 404 if one.path in self.refuse else 200), {}


def first_pages(run: Run) -> list[tuple[str, str, int]]:
    """(channel, status, tries) of what became of the first page, the oldest first."""
    pages = list(reversed(run.centre.book.pages()))
    return [(one.channel, one.status, one.attempts) for one in pages if one.text == pages[0].text]


async def first_try(run: Run, judge: Receivers) -> None:
    """A page is made and tried once, while both channels are away."""
    judge.away = {"/hook", "/second"}
    await run.at(1, hot=1)
    await run.at(1, hot=1)


async def test_the_fallback_channel_is_tried_for_a_day_of_its_own(tmp_path: Path) -> None:
    judge = Receivers()
    with receiving(judge) as receiver, centre(tmp_path, receiver) as run:
        await first_try(run, judge)
        assert first_pages(run) == [("hook", "waiting", 1)]
        await run.at(DAY_S + 100, hot=1)  # a day later it is given up, and the turn of the fallback comes
        await run.at(2, hot=1)
        assert first_pages(run) == [("hook", "dead", 2), ("second", "waiting", 1)]  # whose server hiccups too
        judge.away = {"/hook"}
        await run.at(5, hot=1)
        assert first_pages(run) == [("hook", "dead", 2), ("second", "sent", 2)]
        assert [one.path for one in receiver.taken] == ["/second"]
        await run.close()


async def test_the_fallback_too_is_given_up_after_a_day(tmp_path: Path) -> None:
    judge = Receivers()
    with receiving(judge) as receiver, centre(tmp_path, receiver) as run:
        await first_try(run, judge)
        await run.at(DAY_S + 100, hot=1)
        await run.at(2, hot=1)
        await run.at(DAY_S + 100, hot=1)
        assert first_pages(run) == [("hook", "dead", 2), ("second", "dead", 2)]
        await run.close()


async def test_a_dead_letter_sent_again_is_tried_for_a_day(tmp_path: Path) -> None:
    judge = Receivers()
    with receiving(judge) as receiver, centre(tmp_path, receiver) as run:
        judge.refuse = {"/hook", "/second"}
        for _ in range(4):
            await run.at(1, hot=1)
        assert first_pages(run) == [("hook", "dead", 1), ("second", "dead", 1)]
        judge.refuse, judge.away = set(), {"/hook"}
        await run.at(DAY_S + 100, hot=1)
        assert run.centre.book.again([1], run.clock.time.timestamp()) == 1
        await run.at(5, hot=1)
        assert first_pages(run)[0] == ("hook", "waiting", 1)
        judge.away = set()
        await run.at(5, hot=1)
        assert first_pages(run)[0] == ("hook", "sent", 2)
        await run.close()


async def test_an_acknowledgement_waits_while_the_book_cannot_be_written(tmp_path: Path) -> None:
    with receiving(Receivers()) as receiver, centre(tmp_path, receiver) as run:
        await run.at(1, hot=1)
        await run.at(1, hot=1)
        oncall = run.centre.duties.oncall
        (group,) = oncall.desk.groups.values()
        assert oncall.acknowledge(group.incident, "Li Na", "mine", run.clock.time)
        now_s = run.clock.time.timestamp()
        oncall.hear([Other("x:1", "x", "PumpFailed", "n", Severity.INFO, {}, "", "", now_s, nan, now_s)], run.clock.time)
        oncall.book._con.execute("PRAGMA busy_timeout=20")
        with closing(sqlite3.connect(oncall.book._path, isolation_level=None)) as other:  # a backup, a shell
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(SourceError, match="locked"):
                await run.at(1, hot=1)
            other.execute("ROLLBACK")
        await run.at(1, hot=1)
        await run.at(1, hot=1)
        assert {one.incident: one.acked_by for one in oncall.desk.groups.values()}[group.incident] == "Li Na"
        assert "PumpFailed" in (oncall.book.read("others") or "")
        await run.close()


def test_a_full_outbox_drops_repeats_and_updates_of_the_fullest_channel_and_triggers_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.oncall.book.MAX_WAITING", 8)
    book = Book(tmp_path / "book.sqlite")

    def put(channel: str, *events: str, severity: str = "warning") -> None:
        book.keep({}, [(channel, "g", severity, 1.0, json.dumps({"event": event})) for event in events])

    def dropped() -> list[int]:
        return sorted(one.number for one in book.pages("dead"))

    put("a", "trigger", "repeat", "update", severity="critical")  # 1 2 3
    put("b", "trigger", "update", "repeat", "repeat", "acknowledge")  # 4 ... 8
    assert dropped() == []
    put("b", "trigger")  # 9, and the older repeat of the fuller channel goes
    assert dropped() == [6]
    put("b", "trigger", "trigger")  # the other repeat of b, then that of a
    assert dropped() == [2, 6, 7]
    put("b", "resolve", "trigger")  # the update of b, then that of a
    assert dropped() == [2, 3, 5, 6, 7]
    put("b", "trigger", "trigger")  # what is none of these, then the end of what began
    assert dropped() == [2, 3, 5, 6, 7, 8, 12]
    put("b", "trigger", severity="critical")
    assert dropped() == [
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        12,
    ]  # of triggers that of the fuller channel, of these the oldest of the less severe
    assert [one.number for one in book.pages("waiting") if one.channel == "a"] == [1]
    book.close()
