"""Being on call while the disk is full, and while the machine's clock is set: told once, and in time."""

from datetime import timedelta
from pathlib import Path

import pytest
import receivers
from receivers import receiving
from test_oncall_flow import centre, told

from twin.errors import SourceError


async def test_a_page_that_was_taken_while_the_disk_is_full_is_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        book = run.centre.book
        with monkeypatch.context() as full:

            def refuses(*_: object) -> None:
                raise SourceError("database or disk is full")

            full.setattr(book, "sent", refuses)
            for _ in range(5):
                await run.at(2, hot=1)
        assert [status for _, status, *_ in told(receiver)] == ["firing"]
        assert book.counts()[0] == 1, "it is not known to be taken yet"
        await run.at(2, hot=1)
        assert (book.counts()[0], len(receiver.taken)) == (0, 1)
        await run.close()


async def test_a_clock_that_was_an_hour_ahead_keeps_no_page_waiting_for_an_hour(tmp_path: Path) -> None:
    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        receiver.answers = [(500, {}, {})] * 3
        run.clock.time += timedelta(hours=1)
        for _ in range(3):
            await run.at(1, hot=1)  # refused: the channel rests by a clock that is wrong
        assert told(receiver) == []
        run.clock.time -= timedelta(hours=1)
        for _ in range(20):
            await run.at(1, hot=1)
        assert [status for _, status, *_ in told(receiver)] == ["firing"]
        await run.close()


async def test_a_clock_that_only_a_delivery_saw_ahead_keeps_no_page_waiting_for_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine it may be set ahead and right again between two looks for what is due."""
    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        channels = run.centre.book.channels

        def then_ahead() -> list[str]:
            run.clock.time += timedelta(hours=bool(due := channels()))
            return due

        with monkeypatch.context() as busy:
            busy.setattr(run.centre.book, "channels", then_ahead)
            for _ in range(20):
                right = run.clock.time + timedelta(seconds=1)
                await run.at(1, hot=1)
                run.clock.time = right
        assert [status for _, status, *_ in told(receiver)] == ["firing"]
        for _ in range(400):
            await run.at(1)
        assert [status for _, status, *_ in told(receiver)] == ["firing", "resolved"]
        await run.close()
