"""Signs of life to somebody outside: sent while people would be told, and not a moment longer."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import receivers
from browsing import axe_on, chromium, tab
from faces_harness import served
from playwright.sync_api import expect
from receivers import Receiver, receiving
from test_oncall_flow import ONCALL, Run, centre
from test_oncall_leap import at_a_full_disk

from twin.errors import ConfigError, SourceError
from ui.cli import main
from ui.faces.server import build_server
from ui.oncall.file import load_oncall

SECRET = "7f3c9a52-a-ping-that-nobody-may-read"
BEAT = """
[[heartbeat]]
name = "outside"
url = "env:BEAT_URL"
authorization = "env:BEAT_KEY"
every_s = 60
"""

CHANNEL = '[[channel]]\nname = "outside"\ntype = "webhook"\nurl = "https://a.example.org"'


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Run, Receiver]]:
    with receiving(receivers.anything) as receiver:
        monkeypatch.setenv("BEAT_URL", f"{receiver.url}/ping/{SECRET}")
        monkeypatch.setenv("BEAT_KEY", "GenieKey 0123456789")
        with centre(tmp_path, receiver) as made:
            (tmp_path / "oncall.toml").write_text(ONCALL.replace("{url}", receiver.url) + BEAT)
            made.clock.time += timedelta(seconds=1)
            made.centre.close()
            made.open()
            yield made, receiver


def beats(receiver: Receiver) -> list[str]:
    return [one.body["at"] for one in receiver.taken if "/ping/" in one.path]


async def minutes(run: Run, count: int, hot: int = 0) -> None:
    for _ in range(count * 6):
        await run.at(10, hot=hot)


async def test_a_sign_of_life_goes_out_each_minute_with_its_header_whatever_the_clock_does(run: tuple[Run, Receiver]) -> None:
    made, receiver = run
    await minutes(made, 5)
    assert len(beats(receiver)) == 5
    assert receiver.taken[0].headers["authorization"] == "GenieKey 0123456789"
    assert (receiver.taken[0].body["from"], receiver.taken[0].body["site"]) == ("icctwin", "c")
    made.clock.time -= timedelta(hours=1)
    await minutes(made, 2)
    assert len(beats(receiver)) == 7, "a clock that was set back keeps no sign of life"
    await made.close()


async def test_none_goes_out_while_pages_cannot_be_kept_and_again_when_they_can(
    run: tuple[Run, Receiver], caplog: pytest.LogCaptureFixture
) -> None:
    made, receiver = run
    await minutes(made, 1)
    with pytest.MonkeyPatch.context() as full:
        full.setattr(made.centre.book, "keep", refuses)
        for _ in range(12):
            await at_a_full_disk(made, 10, hot=1)
            await made.centre._notify(made.centre.duties, made.clock.time)
    assert len(beats(receiver)) == 1
    assert "no sign of life is sent: alerts and pages cannot be kept" in caplog.text
    assert made.centre.duties.oncall.health(0)["heartbeats_silent_count"] == 1
    await minutes(made, 1, hot=1)
    assert len(beats(receiver)) == 2
    assert made.centre.duties.oncall.health(0)["heartbeats_silent_count"] == 0
    await made.close()


async def test_none_goes_out_while_a_page_has_waited_for_a_quarter_of_an_hour(run: tuple[Run, Receiver]) -> None:
    made, receiver = run
    receiver.judge = lambda seen: (200, {}) if "/ping/" in seen.path else (503, {})
    await minutes(made, 14, hot=1)
    assert len(beats(receiver)) == 14, "a receiver that is away for minutes is no reason yet"
    await minutes(made, 6, hot=1)
    assert len(beats(receiver)) in (15, 16)
    await made.close()


async def test_none_goes_out_while_no_alert_is_looked_for(run: tuple[Run, Receiver]) -> None:
    made, receiver = run
    await minutes(made, 1)
    for _ in range(20):
        made.clock.time += timedelta(seconds=10)
        await made.centre._notify(made.centre.duties, made.clock.time)
    assert len(beats(receiver)) == 2
    await made.close()


async def test_who_refuses_it_is_named_on_the_desk_and_no_secret_is(
    run: tuple[Run, Receiver], caplog: pytest.LogCaptureFixture
) -> None:
    made, receiver = run
    caplog.set_level(logging.DEBUG)
    receiver.judge = lambda seen: (404, {"no such check": seen.path})
    await minutes(made, 3)
    transport = httpx.ASGITransport(app=build_server(made.centre.live))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        desk = (await client.get("/api/v1/oncall")).json()
    assert desk["problems"][0].startswith("heartbeat outside: 127.0.0.1 answered 404")
    assert desk["delivery"]["heartbeats_silent_count"] == 1
    assert "heartbeat outside: 127.0.0.1 answered 404" in caplog.text
    assert SECRET not in caplog.text + str(desk)
    receiver.judge = receivers.anything
    await minutes(made, 1)
    assert made.centre.duties.oncall.silent == {}
    await made.close()


@pytest.mark.browser
def test_the_page_of_those_on_call_names_who_gets_none(run: tuple[Run, Receiver]) -> None:
    live = run[0].centre.live
    assert live.oncall
    live.oncall.silent = {"outside": "hc.example.org answered 404: <b>no such check</b>"}
    with served(live) as url, chromium() as browser, tab(browser) as page:
        page.goto(f"{url}/oncall")
        expect(page.locator("#problems")).to_have_text("heartbeat outside: hc.example.org answered 404: <b>no such check</b>")
        assert axe_on(page) == []


def test_notify_test_sends_one(run: tuple[Run, Receiver], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, receiver = run
    assert main(["notify", "test", "outside", "--config", str(tmp_path / "site.toml")]) == 0
    assert (len(beats(receiver)), "took a sign of life" in capsys.readouterr().out) == (1, True)
    receiver.judge = lambda _: (410, {})
    assert main(["notify", "test", "outside", "--config", str(tmp_path / "site.toml")]) == 1
    assert "heartbeat outside: 127.0.0.1 answered 410" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('url = "http://hc.example.org/ping"', "http to hc.example.org would show"),
        ('url = "https://hc.example.org/ping"\nevery_s = 1', "every_s"),
        (f'url = "https://hc.example.org/p"\n{CHANNEL}', "'outside' is a channel already; rename one"),
        ('url = "env:NOBODY_SET_IT"', "the environment has no NOBODY_SET_IT"),
    ],
)
def test_what_is_wrong_with_a_heartbeat_is_said_with_its_line(tmp_path: Path, written: str, said: str) -> None:
    file = tmp_path / "oncall.toml"
    file.write_text(f'[[heartbeat]]\nname = "outside"\n{written}\n')
    with pytest.raises(ConfigError, match=said) as refused:
        load_oncall(file, "UTC", {})
    assert str(file) in str(refused.value)


def refuses(*_: object) -> None:
    raise SourceError("database or disk is full")
