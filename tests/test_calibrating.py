"""Calibration as people meet it: the command on a real store, the task, the API and the page."""

import asyncio
import json
import shutil
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from faces_harness import Hands, live_of, small_site

from ingest.sources import simulated
from ingest.sources.simulated.layout import demo_rows
from ingest.stores import open_records, open_store
from tests.hall import START, polled
from twin.adopt import fitted_ranges, save_adoptions
from twin.errors import SourceError
from twin.frame import frame_of
from twin.simulate import Trajectory
from twin.tables import write_table
from ui.app import TASK_NAMES, Centre
from ui.calibrating import TOPIC, adoption_file, told_beyond
from ui.cli import main
from ui.config import load_config, site_of
from ui.faces.server import build_server
from ui.tasks import VirtualClock

HOURS = 2


def _folder(folder: Path, more: str = "") -> Path:
    assets, links = demo_rows(64)
    write_table(folder / "assets.csv", assets)
    write_table(folder / "links.csv", links)
    path = folder / "site.toml"
    path.write_text(
        f'[site]\nname = "small"\nassets = "assets.csv"\nlinks = "links.csv"\n[store]\npath = "store"\n{more}\n'
        '[[source]]\nname = "sim"\ntype = "simulated"\nfaults = false\n'
    )
    return path


END = START + timedelta(hours=HOURS)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two hours of readings in its store."""
    folder = tmp_path_factory.mktemp("lived")
    config = load_config(_folder(folder))
    site = site_of(config, TASK_NAMES)
    store = open_store(config.store.path, site)
    opened = simulated.build("sim", simulated.Options(faults=False), site)

    async def live() -> None:
        for t in range(0, HOURS * 3600, 60):
            store.append(await polled(opened, START + timedelta(seconds=t)))

    asyncio.run(live())
    store.close()
    return folder


def test_the_command_proposes_adopts_and_takes_back(lived: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(lived, tmp_path, dirs_exist_ok=True)
    path = _folder(tmp_path)
    asked = ["calibrate", "--config", str(path), "--hours", str(HOURS), "--end", END.isoformat()]
    kept = tmp_path / "store" / "calibration.json"
    assert main([*asked, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in record["summary"]}
    assert not record["adopted"]
    assert not kept.exists()
    assert rows["node"]["sound"] == 1
    assert abs(rows["node"]["nmbe_frac"]) < 0.02 < abs(rows["node"]["nmbe_before_frac"])
    assert main([*asked, "--adopt"]) == 0
    out = capsys.readouterr().out
    assert "adopted into" in out
    assert "refused" in out, "what was refused is said too"
    (entry,) = json.loads(kept.read_text())["adoptions"]
    assert entry["by"] == "icctwin calibrate"
    low, high = entry["ranges"]["supply_c"]
    assert 0 < low < high
    assert fitted_ranges([entry]) == {name: tuple(ends) for name, ends in entry["ranges"].items()}
    assert fitted_ranges([{**entry, "undone": "2026-11-19"}]) == {}
    assert main(["calibrate", "--config", str(path), "--undo"]) == 0
    assert "is taken back" in capsys.readouterr().out
    assert main(["calibrate", "--config", str(path), "--undo"]) == 1
    records = open_records(tmp_path / "store" / "records.db")
    assert [record["adopted"] for _, _, record in records.read(TOPIC)] == [False, True]
    records.close()


def test_an_answer_beyond_what_was_fitted_says_so() -> None:
    series = {"it_power_w": np.array([1e5, 3e5]), "wet_bulb_c": np.array([5.0, 9.0])}
    made = Trajectory("base", 0.0, 60.0, 2, {}, series, (), {}, ("before",))
    same = told_beyond(made, {"it_power_w": (0.9e5, 3e5), "wet_bulb_c": (0.0, 20.0), "supply_c": (20.0, 30.0)})
    assert same.notes == ("before",)
    beyond = told_beyond(made, {"it_power_w": (0.9e5, 2e5), "wet_bulb_c": (6.0, 20.0)})
    assert [note.split()[0] for note in beyond.notes] == ["before", "it_power_w", "wet_bulb_c"]
    assert "calibrated on 9e+04 to 2e+05" in beyond.notes[1]


@pytest.mark.parametrize(
    ("more", "status", "says"),
    [(["--hours", "0"], 2, "--hours"), (["--end", "now"], 2, "is no time"), (["--end", "2026-11-18T00:00"], 2, "has no zone"),
     ([], 2, "no store here to read")],
)  # fmt: skip
def test_a_mistake_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], status: int, says: str
) -> None:
    path = _folder(tmp_path)
    if more[:1] == ["--end"]:
        open_store(tmp_path / "store", site_of(load_config(path), TASK_NAMES)).close()
    assert main(["calibrate", "--config", str(path), *more]) == status
    assert says in capsys.readouterr().err


def test_a_store_without_readings_says_no(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _folder(tmp_path)
    open_store(tmp_path / "store", site_of(load_config(path), TASK_NAMES)).close()
    assert main(["calibrate", "--config", str(path)]) == 1
    assert "no reading to learn from" in capsys.readouterr().err


def test_a_centre_that_reads_only_its_gpus_is_told_that_nothing_can_be_fitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "site.toml"
    (tmp_path / "assets.csv").write_text("id,kind,parent,index\nh1,hall,,\nr1,rack,h1,\nn1,node,r1,\ng0,gpu,n1,0\n")
    path.write_text('[site]\nname = "small"\n[store]\npath = "store"\n')
    with closing(open_store(tmp_path / "store", site_of(load_config(path), TASK_NAMES))) as store:
        store.append([frame_of("gpu", START, 0, power_w=600.0)])
    assert main(["calibrate", "--config", str(path), "--end", END.isoformat()]) == 1
    assert "nothing could be fitted" in capsys.readouterr().out


@pytest.mark.parametrize("adopts", [False, True])
def test_the_task_proposes_and_adopts_only_where_the_operator_said_so(lived: Path, tmp_path: Path, adopts: bool) -> None:
    shutil.copytree(lived, tmp_path, dirs_exist_ok=True)
    path = _folder(tmp_path, f"[twin]\nadopt = {'true' if adopts else 'false'}")
    centre = Centre(load_config(path), VirtualClock(END))
    try:
        assert not centre.live.fitted.params.learned.columns
        next(task for task in centre.tasks if task.name == "calibrate").run(END)
        ((_, _, record),) = centre.records.read(TOPIC)
        assert record["adopted"] is adopts
        assert bool(centre.live.fitted.params.learned.columns) is adopts
        assert (tmp_path / "store" / "calibration.json").exists() is adopts
    finally:
        centre.close()
    again = Centre(load_config(path), VirtualClock(END))
    assert bool(again.live.fitted.params.learned.columns) is adopts, "in force after a restart"
    again.close()


# --- faces


class _Told:
    """Records that hold one report."""

    def __init__(self, record: dict[str, object] | None) -> None:
        self.record = record

    def read(self, topic: str, *_: object, **__: object) -> list[tuple[int, datetime, dict[str, object]]]:
        return [(1, START, self.record)] if self.record and topic == TOPIC else []


def _report() -> dict[str, object]:
    score = {"rows": 90, "cvrmse_frac": 0.01, "nmbe_frac": None}
    value = {"name": "conductance_wpk", "value": 1e5, "low": 9e4, "high": 1.1e5, "before": 2e5}
    made = {"asset": "<cdu>", "values": [value], "train": score, "validate": score, "present": score, "sigma_frac": 0.01}
    why = {"text": "{name} rests on its bound {value}: the model lacks something that this record shows",
           "params": {"name": "x", "value": "3"}}  # fmt: skip
    fits = [
        {"name": "exchanger", "sound": True, "why": {"text": "", "params": {}}, **made},
        {"name": "pump", "sound": False, "why": why, **made},
    ]
    row = {"name": "exchanger", "fits": 1, "sound": 1, "kept": 0, "cvrmse_frac": 0.01, "nmbe_frac": 0.0,
           "cvrmse_before_frac": 0.08, "nmbe_before_frac": None}  # fmt: skip
    return {"start": "2026-11-18T00:00:00+00:00", "end": "2026-11-18T02:00:00+00:00", "step_s": 60.0, "by": "someone",
            "adopted": True, "summary": [row], "fits": fits, "left_out": 0}  # fmt: skip


def _ask(record: dict[str, object] | None) -> httpx.AsyncClient:
    live = live_of(small_site(), Hands())
    live.records = _Told(record)  # type: ignore[assignment]
    return httpx.AsyncClient(transport=httpx.ASGITransport(build_server(live)), base_url="http://localhost")


async def test_the_api_and_the_page_show_the_newest_run() -> None:
    async with _ask(_report()) as client:
        (run,) = (await client.get("/api/v1/calibration")).json()
        assert run["adopted"] is True
        assert [one["held_out"]["cvrmse_frac"] for one in run["fits"]] == [0.01, 0.01]
        assert run["fits"][0]["held_out"]["nmbe_frac"] is None
        page = (await client.get("/calibration")).text
        assert "Calibration of the twin" in page
        assert "&lt;cdu&gt;" in page, "escaped"
        assert "x rests on its bound 3" in page
        chinese = (await client.get("/calibration?lang=zh")).text
        assert "孪生模型校准" in chinese
        assert "停在其界限" in chinese
        assert (await client.get("/api/v1/calibration?limit=0")).status_code == 422


async def test_before_the_first_run_both_say_so() -> None:
    async with _ask(None) as client:
        assert (await client.get("/api/v1/calibration")).json() == []
        assert "Nothing was calibrated yet" in (await client.get("/calibration")).text
        assert (await client.get("/calibration?lang=xx")).text.startswith('<!DOCTYPE html><html lang="en"')


def test_what_was_adopted_lies_with_the_store_but_for_what_an_earlier_version_left(tmp_path: Path) -> None:
    assets, store = tmp_path / "config" / "assets.csv", tmp_path / "store"
    assets.parent.mkdir()
    store.mkdir()
    assert adoption_file(assets, store) == store / "calibration.json"
    (assets.parent / "calibration.json").touch()
    assert adoption_file(assets, store) == assets.parent / "calibration.json"
    (store / "calibration.json").touch()
    assert adoption_file(assets, store) == store / "calibration.json"
    with pytest.raises(SourceError, match="nothing was adopted"):
        save_adoptions(tmp_path / "nowhere" / "calibration.json", [])
