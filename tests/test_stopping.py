"""The emergency stop on a disk that takes nothing more, and where nobody is there to let go."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from energy_house import NOW, a_plan, hall
from faces_harness import DayStore, Hands

from energy.notes import TOPIC
from ingest.stores.records import open_records
from twin.errors import SourceError
from twin.state import State
from ui.cli import main
from ui.faces.server import build_server
from ui.stopping import hand, stop_by_file
from ui.switch import ALIVE, STOP_FILE, stopped
from ui.view import Live


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Callable[[bool], None]]:
    """Says whether the disk is full: no file may grow then."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def say(is_full: bool) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0 if is_full else hard, hard))

    yield say
    say(False)


@pytest.fixture
def centre(tmp_path: Path) -> list[str]:
    """Of a small centre with a store: the option that names it."""
    (tmp_path / "assets.csv").write_text("id,kind,parent\nhall,hall,\n")
    (tmp_path / "site.toml").write_text('[site]\nname = "s"\n[store]\npath = "store"\n')
    open_records(tmp_path / "store" / "records.db").close()
    return ["--config", str(tmp_path / "site.toml")]


def test_a_stop_on_a_full_disk_is_kept_by_the_file(
    tmp_path: Path, centre: list[str], full: Callable[[bool], None], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "store" / STOP_FILE
    full(True)
    status = main(["stop", "--who", "li", "--why", "leak", *centre])
    full(False)
    out = capsys.readouterr().out
    assert (status, out.startswith(f"it is done, by the file {file}: "), file.exists()) == (0, True, True)
    assert "the records refused (store " in out
    assert main(["acting", "--json", *centre]) == 0
    assert json.loads(capsys.readouterr().out)["stopped"] == {"who": "the file", "why": str(file)}
    assert main(["go", *centre]) == 2
    assert "remove this file as well" in capsys.readouterr().err
    file.unlink()
    assert main(["acting", "--json", *centre]) == 0
    assert json.loads(capsys.readouterr().out)["stopped"] is None
    full(True)
    assert main(["stop", "--json", "--who", "li", *centre]) == 0
    full(False)
    assert json.loads(capsys.readouterr().out) == {"stopped": True, "who": "li", "file": str(file)}


async def test_the_api_keeps_a_stop_by_the_file_and_does_not_go_while_it_is_there(
    tmp_path: Path, full: Callable[[bool], None]
) -> None:
    of = hall()
    records = open_records(tmp_path / "records.db")
    live = Live(of, State(of), DayStore(), records, Hands(NOW), NOW, folder=tmp_path)
    transport = httpx.ASGITransport(build_server(live), client=("127.0.0.1", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as ask:
        full(True)
        answer = await ask.post("/api/v1/stop", json={"by": "li", "why": "leak"})
        full(False)
        file = tmp_path / STOP_FILE
        assert (answer.status_code, file.exists()) == (503, True)
        assert answer.json()["detail"].startswith(f"it is done, by the file {file}: ")
        assert (await ask.get("/api/v1/acting")).json()["stopped"]["who"] == "the file"
        going = await ask.post("/api/v1/go", json={"by": "li"})
        assert (going.status_code, f"The file {file} stops everything" in going.json()["detail"]) == (409, True)
        file.unlink()
        assert (await ask.post("/api/v1/go", json={"by": "li"})).status_code == 202
    assert stopped(records, tmp_path) is None
    records.close()


def test_where_not_even_the_file_can_be_made_it_says_that_nothing_is_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "not-there"
    with pytest.raises(SourceError, match=rf"^NOT stopped: no room; nor can the file {folder / STOP_FILE} be made \(No such"):
        stop_by_file(folder, SourceError("no room"))


def begun(folder: Path, sign: datetime | None) -> None:
    """One setpoint in force, and the last sign of life."""
    plan = a_plan(("c1", 31.0), now=datetime.now(UTC))
    (action,) = plan.actions
    records = open_records(folder / "records.db")
    if sign is not None:
        records.append(ALIVE, sign, {"pid": 1})
    note = {
        "stage": "begun", "plan": plan.key, "action": action.key, "asset": "c1", "metric": action.metric, "before": 30.0,
        "ordered": 31.0, "value": 31.0, "until": action.until.isoformat(), "from": 30.0,
    }  # fmt: skip
    records.append(TOPIC, datetime.now(UTC), note)
    records.close()


@pytest.mark.parametrize("age_s", [70.0, None])
def test_a_stop_that_nobody_hears_says_so_and_what_is_in_force(
    age_s: float | None, tmp_path: Path, centre: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sign = None if age_s is None else datetime.now(UTC) - timedelta(seconds=age_s)
    begun(tmp_path / "store", sign)
    assert main(["stop", *centre]) == 1
    told = capsys.readouterr()
    silent = f"has said that it lives since {sign:%Y-%m-%dT%H:%M:%S}" if sign else "has ever said that it lives"
    assert silent in told.err
    assert "what is in force stays so (setpoints: 1, orders: 0)" in told.err
    assert "run icctwin watchdog --once --after 60" in told.err
    assert told.out == ""


def test_a_stop_says_that_icctwin_lets_go_only_where_it_lives(
    tmp_path: Path, centre: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stop", *centre]) == 0
    assert "no icctwin has ever said that it lives, and nothing is in force" in capsys.readouterr().out
    begun(tmp_path / "store", datetime.now(UTC) - timedelta(seconds=40))
    assert main(["stop", *centre]) == 0
    assert "icctwin lets go of everything" in capsys.readouterr().out
    assert main(["stop", "--json", *centre]) == 0
    assert json.loads(capsys.readouterr().out)["in_force_count"] == 1


def test_who_lets_go_is_told_by_the_last_sign(tmp_path: Path) -> None:
    begun(tmp_path, datetime.now(UTC))
    records = open_records(tmp_path / "records.db")
    ages_s = (0.0, 59.0, 61.0)
    seen = [hand(records, datetime.now(UTC) + timedelta(seconds=age_s)) for age_s in ages_s]
    records.close()
    assert [(one.alive, one.setpoints_count, one.orders_count) for one in seen] == [(True, 1, 0), (True, 1, 0), (False, 1, 0)]


def test_the_watchdog_ends_when_it_is_told_to(centre: list[str]) -> None:
    """As the first process of a container it would be left alone by a signal that it does not handle."""
    command = [sys.executable, "-m", "ui", "watchdog", "--json", *centre]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as child:
        assert child.stdout is not None
        assert json.loads(child.stdout.readline()) == {"alive": None, "let_go": False, "left": 0}
        child.terminate()
        assert child.wait(60) == 0
