"""A reload of a centre that runs: whatever is wrong with the new configuration, the old one goes on."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from twin.errors import ConfigError, SourceError
from twin.frame import Frame
from ui import app, running
from ui.app import WHOLE, Centre
from ui.cli import main
from ui.config import load_config
from ui.faces.server import build_server
from ui.running import _Run
from ui.sparing import Sparing
from ui.tasks import RealClock
from ui.view import JUDGED_S, unjudged_s, view

CONFIG = """[site]
name = "small"
assets = "assets.csv"
[store]
path = "store"
[[source]]
name = "in"
type = "push"
token_file = "token"
"""
WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no such channel": (lambda path: path.write_text(CONFIG + '[report]\nrecipients = ["board"]\n'), "'board'"),
    "a dead database": (lambda path: path.write_text(f'{CONFIG}[cluster]\npostgres = "host=127.0.0.1 port=1"\n'), "PostgreSQL"),
    "no calibration": (lambda path: path.with_name("calibration.json").write_text("{"), "calibration.json"),
    "a route to nowhere": (
        lambda path: path.write_text(f'{CONFIG}[[energy.place]]\nname = "a"\nqueue = "q"\npartitions = ["p"]\n'),
        "'q' is no queue",
    ),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "assets.csv").write_text("id,kind,parent\nhall,hall,\nrack,rack,hall\n")
    (tmp_path / "token").write_text("a token of many senders\n")
    (tmp_path / "site.toml").write_text(CONFIG)
    return tmp_path / "site.toml"


@pytest.fixture
def run(path: Path) -> Iterator[_Run]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made = _Run(Centre(load_config(path), RealClock()), loop, 1.0, path, lambda: None)
    made.centre.start(loop, 1.0)
    yield made
    assert made.centre.stop(loop), "it ends in good order"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def lives(centre: Centre) -> bool:
    """Whether it writes and reads."""
    centre.records.append("planted", datetime.now(UTC), {"no": 1})
    return bool(centre.records.read("planted")) and centre._alarm is not None and centre.store.size_bytes() > 0


class Heard(logging.Handler):
    """The first words of what a log that is sparing says."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.addFilter(Sparing())

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage().partition(",")[0].partition(":")[0])


def test_the_last_word_of_the_log_on_reloads_is_true(run: _Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, log = Heard(), logging.getLogger("ui.running")
    log.addHandler(heard)

    def reload(text: str) -> None:
        path.write_text(text)
        run._reload()

    for text in (CONFIG, CONFIG + "[nonsense]\n", CONFIG + "[nonsense]\n", CONFIG):
        reload(text)
    again, refused = "the configuration was read again", "the new configuration is refused"
    assert heard.said == [again, refused, refused, again]
    for text in (CONFIG + "# breaks\n", CONFIG, CONFIG + "# breaks\n"):
        with monkeypatch.context() as broken:
            if "breaks" in text:
                broken.setattr(running, "Centre", once_broken(running.Centre))
            reload(text)
    assert heard.said[-1] == "the new configuration does not start"
    log.removeHandler(heard)


def once_broken(whole: type[Centre]) -> Callable[..., Centre]:
    """``Centre``, of which the first cannot be made."""
    tries: list[int] = []

    def make(*given: Any, **more: Any) -> Centre:
        tries.append(1)
        if len(tries) == 1:
            raise SourceError("the database went away just now")
        return whole(*given, **more)

    return make


def test_a_wrong_configuration_leaves_the_running_centre_as_it_is(run: _Run, path: Path) -> None:
    old = run.centre
    for what, (wrong, said) in WRONG.items():
        wrong(path)
        run._reload()
        assert run.centre is old, what
        assert said in str(run.live.notices[0]), what
        path.write_text(CONFIG)
        path.with_name("calibration.json").unlink(missing_ok=True)
    assert lives(old)
    run._reload()
    assert run.centre is not old
    assert run.live.notices == ()


def test_what_fails_only_when_it_starts_gives_way_to_the_old_one(
    run: _Run, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last that is wired breaks, twice with an error that nobody expects: then neither the new configuration nor the old
    one starts, and both are tried again."""
    real, breaks = app.Delivery, iter([SourceError("no room for pages"), RuntimeError("planted"), KeyError("planted"), None])

    def delivery(*args: Any) -> Any:
        if (error := next(breaks, None)) is not None:
            raise error
        return real(*args)

    monkeypatch.setattr(app, "Delivery", delivery)
    monkeypatch.setattr(running, "AGAIN_S", 0.0)
    path.write_text(CONFIG.replace('"small"', '"other"'))
    run._reload()
    assert (run.centre.config.site.name, lives(run.centre)) == ("small", True)
    assert "no room for pages" in str(run.live.notices[0])


def test_a_centre_that_does_not_start_lets_go_of_all_it_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(path)
    with monkeypatch.context() as planted:
        planted.setattr(app, "Delivery", lambda *_: (_ for _ in ()).throw(SourceError("planted")))
        with pytest.raises(SourceError, match="planted"):
            Centre(config, RealClock())
    Centre(config, RealClock()).close()  # the store's lock is free, no file warns that it was left open


def test_all_that_a_centre_refuses_is_known_before_anything_is_opened(path: Path) -> None:
    for what, (wrong, said) in WRONG.items():
        if what != "a dead database":
            wrong(path)
            with pytest.raises(ConfigError, match=said):
                app.prepared(load_config(path), WHOLE, datetime.now(UTC))
            path.write_text(CONFIG)
            path.with_name("calibration.json").unlink(missing_ok=True)
    assert not path.with_name("store").exists()


def test_every_command_asks_the_records_that_the_processes_of_a_centre_share(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a database that is away none of them looks into a file beside the store instead."""
    Centre(load_config(path), RealClock()).close()
    (path.parent / "store" / "records.db").unlink()
    path.write_text(f'{CONFIG}[cluster]\npostgres = "host=127.0.0.1 port=1"\n')
    for words in (
        ("account", "--by", "project"),
        ("report", "--out", str(path.parent)),
        ("calibrate",),
        ("detect", "--outcome", "x=true"),
        ("acting",),
    ):
        assert main([*words, "--config", str(path)]) == 1, words
        assert "PostgreSQL" in capsys.readouterr().err, words
    assert not (path.parent / "store" / "records.db").exists()


async def test_a_hung_alert_engine_is_neither_healthy_nor_ready(run: _Run) -> None:
    live, now = run.live, run.centre.clock.now()
    alarm, run.centre._alarm = run.centre._alarm, None
    assert alarm is not None
    alarm.stop()  # as where the task hangs
    run.centre._self(now)
    assert view(live, now).centre.alerts_critical.fresh
    assert unjudged_s(live, now) < JUDGED_S
    live.judged = now - timedelta(seconds=JUDGED_S + 1)
    assert not view(live, now).centre.alerts_critical.fresh
    transport = httpx.ASGITransport(build_server(live), client=("127.0.0.1", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as ask:
        assert "nobody has looked for alerts for " in (await ask.get("/readyz")).text
        metrics = (await ask.get("/metrics")).text
    for name in ("store_bytes", "spool_waiting_values", "spool_dropped_values", "pages_waiting", "pages_dead"):
        assert f'icctwin_{name}{{process="icctwin"}}' in metrics


def test_a_past_that_is_made_up_is_said_while_it_is(run: _Run) -> None:
    said: list[str] = []

    def history(now: datetime) -> Iterator[list[Frame]]:
        said.extend(str(one) for one in run.live.notices)
        return iter(())

    run.centre.opened = [replace(one, history=history) for one in run.centre.opened]
    run._over.set()  # it ends after its past
    run._live_on()
    assert said == ["The simulated plant makes up its past; numbers come after it"]
    assert run.live.notices == ()
