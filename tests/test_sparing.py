"""A fault that lasts fills no log: the same is said once a minute, with how often it was left out."""

import logging
import sys
import threading
import time
from datetime import UTC, datetime

import pytest

from twin.errors import SourceError
from ui.sparing import ASKED, MAX_KEPT, OneLine, Sparing
from ui.tasks import Task, run_once


def record(text: str, at_s: float, level: int = logging.ERROR, raised: Exception | None = None) -> logging.LogRecord:
    info = (type(raised), raised, None) if raised else None
    made = logging.LogRecord("ui.tasks", level, "tasks.py", 1, text, (), info)
    made.created = at_s
    return made


def said(sparing: Sparing, *records: logging.LogRecord) -> list[str]:
    return [one.getMessage() for one in records if sparing.filter(one)]


def test_a_fault_of_a_day_is_said_once_a_minute_and_counted() -> None:
    sparing = Sparing()
    lines = said(sparing, *(record("the disk is full", 0.5 * i) for i in range(2 * 86400)))
    assert len(lines) == 1440
    assert lines[0] == "the disk is full"
    assert set(lines[1:]) == {"the disk is full (said 119 times more, which are left out)"}


def test_what_differs_is_said_at_once() -> None:
    sparing = Sparing()
    others = [
        record("a is down", 0), record("b is down", 0), record("a is down", 1),
        record("a is down", 1, raised=ValueError("x")), record("a is down", 2, raised=ValueError("y")),
        record("a is down", 3, logging.INFO), record("a is down", 4, logging.INFO),
    ]  # fmt: skip
    assert said(sparing, *others) == ["a is down", "b is down", "a is down", "a is down", "a is down", "a is down"]
    assert said(sparing, record("b is down", -3600.0)) == ["b is down"], "a clock that was set back hides nothing"


def test_what_a_person_asked_for_is_said_each_time() -> None:
    answers = [record(text, 3.0 * i) for i, text in enumerate(("refused", "refused", "read again", "refused", "read again"))]
    for one in answers:
        vars(one).update(ASKED)
    assert said(Sparing(), *answers) == ["refused", "refused", "read again", "refused", "read again"]


def test_what_was_said_longest_ago_is_forgotten() -> None:
    sparing = Sparing()
    assert len(said(sparing, *(record(f"source {i} is down", 0.0) for i in range(2 * MAX_KEPT)))) == 2 * MAX_KEPT
    assert len(sparing._said) == MAX_KEPT
    assert said(sparing, record(f"source {2 * MAX_KEPT - 1} is down", 1.0)) == []
    assert said(sparing, record("source 0 is down", 1.0)) == ["source 0 is down"]


class Limit(int):
    """A limit that takes its time when it is asked, and counts how many threads ask at once."""

    inside = most = 0

    def __lt__(self, other: int) -> bool:
        self.inside += 1
        self.most = max(self.most, self.inside)
        time.sleep(0.005)
        self.inside -= 1
        return super().__lt__(other)


def test_threads_that_warn_at_once_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    limit, sparing = Limit(1), Sparing()
    monkeypatch.setattr("ui.sparing.MAX_KEPT", limit)
    texts = [[f"source {k}-{i} is down" for i in range(5)] for k in range(4)]
    threads = [threading.Thread(target=said, args=(sparing, *(record(one, 0.0) for one in some))) for some in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (limit.most, len(sparing._said)) == (1, 1)


class Counts:
    """In the place of ``Health``."""

    def __init__(self) -> None:
        self.failed: list[bool] = []

    def ran(self, task: str, duration_s: float, *, failed: bool) -> None:
        self.failed.append(failed)


@pytest.mark.parametrize(("raised", "traced"), [(SourceError("disk full; free space"), False), (KeyError("ours"), True)])
def test_a_task_that_the_world_refuses_says_one_sentence_and_a_fault_of_ours_its_trace(
    raised: Exception, traced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def run(now: datetime) -> None:
        raise raised

    counts = Counts()
    run_once(Task("store", run, 1.0), datetime(2026, 11, 26, tzinfo=UTC), counts, None)  # type: ignore[arg-type]
    (line,) = caplog.records
    assert (line.getMessage().startswith("task store failed"), line.exc_info is not None) == (True, traced)
    assert traced or "disk full; free space" in line.getMessage()
    assert counts.failed == [True]


def test_the_command_line_is_sparing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from ui.cli import main

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    assert main(["check", "--config", "/nowhere/site.toml"]) == 2
    for _ in range(3):
        logging.getLogger("x").error("again and again")
    assert capsys.readouterr().err.count("again and again") == 1
    assert [type(one) for handler in root.handlers for one in handler.filters] == [Sparing]


def test_words_that_somebody_chose_forge_no_line_and_a_trace_keeps_its_lines() -> None:
    form = OneLine("%(levelname)s: %(message)s")
    why = "leak\n2026-11-27 ERROR: forged\r\x1b[31m\u202eevil\x85\u2028"
    record = logging.LogRecord("ui", logging.WARNING, "f", 1, "stopped by %s", (why,), None)
    assert form.format(record) == r"WARNING: stopped by leak | 2026-11-27 ERROR: forged\r\x1b[31m\u202eevil\x85\u2028"
    try:
        raise ValueError("no")
    except ValueError:
        record = logging.LogRecord("ui", logging.ERROR, "f", 1, "机柜 failed", (), sys.exc_info())
    lines = form.format(record).splitlines()
    assert (lines[0], lines[1], lines[-1]) == ("ERROR: 机柜 failed", "Traceback (most recent call last):", "ValueError: no")
