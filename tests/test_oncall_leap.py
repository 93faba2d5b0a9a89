"""Being on call while the disk is full, and while the machine's clock is set: told once, and in time."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import receivers
from receivers import receiving
from test_oncall_flow import Run, centre, told

from analytics.alerts import Phase
from twin.errors import SourceError
from ui.faces.server import build_server


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


async def at_a_full_disk(run: Run, after_s: float, hot: int = 0, flow: float = 18.0) -> None:
    """A step whose task says that it failed."""
    with pytest.raises(SourceError, match="disk is full"):
        await run.at(after_s, hot, flow)


def firing(run: Run) -> set[str]:
    return {alert.key for alert in run.centre.live.alerts if alert.phase is Phase.FIRING}


async def test_alerts_fire_and_are_shown_while_the_disk_is_full_and_are_told_and_kept_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise SourceError("database or disk is full")

    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        await run.at(1)
        asks = httpx.ASGITransport(build_server(run.centre.live), client=("127.0.0.1", 5))
        async with httpx.AsyncClient(transport=asks, base_url="http://localhost") as ask:
            with monkeypatch.context() as full:
                full.setattr(run.centre.book, "keep", refuses)
                await at_a_full_disk(run, 1, hot=1)
                began = run.clock.time
                assert firing(run) == {"hot:g0"}
                await at_a_full_disk(run, 30, hot=1)
                await at_a_full_disk(run, 30, hot=1, flow=2)
                assert firing(run) == {"hot:g0", "slow:c1"}, "what begins later is judged too"
                said = (await ask.get("/readyz")).json()["reasons"]
                assert "alerts and pages cannot be kept: database or disk is full" in said
                assert [one for one in said if "nobody has looked" in one] == []
                assert run.centre.records.read("alert") == told(receiver) == []
            for _ in range(3):
                await run.at(1, hot=1, flow=2)
            said = (await ask.get("/readyz")).json()["reasons"]
            assert [one for one in said if "kept" in one] == []
        history = [(record["key"], time) for _, time, record in run.centre.records.read("alert")]
        assert history == [("hot:g0", began), ("slow:c1", began + timedelta(seconds=60))], "when it began, not when it was kept"
        assert [summary for *_, summary in told(receiver)] == ["g0 is at 90 °C", "c1 moves 2.0 kg/s"]
        await run.kill()
        for _ in range(3):
            await run.at(40, hot=1, flow=2)
        assert (len(receiver.taken), firing(run)) == (2, {"hot:g0", "slow:c1"})
        await run.close()


async def test_history_that_is_refused_after_the_book_was_kept_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        await run.at(1)

        def refuses(*_: object) -> None:
            raise SourceError("database or disk is full")

        with monkeypatch.context() as full:
            full.setattr(run.centre.duties.oncall._records, "append", refuses)
            await at_a_full_disk(run, 1, hot=1)
            await at_a_full_disk(run, 1, hot=1)
        await run.at(1, hot=1)
        assert [record["key"] for _, _, record in run.centre.records.read("alert")] == ["hot:g0"]
        assert [status for _, status, *_ in told(receiver)] == ["firing"]
        await run.close()
