"""The account on the command line and over HTTP: the same numbers, and one sentence for what cannot be."""

import asyncio
import json
import math
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from energy_house import MemoryStore
from faces_harness import Hands
from small import small_site
from test_account import START, queue

from energy.account.book import Given
from energy.account.runs import RunLog
from energy.account.tariff import load_tariff
from ingest.stores.records import open_records
from ingest.stores.registry import open_kept
from twin.frame import Frame, frame_of
from twin.job import JobState
from twin.site import Site
from twin.state import State
from ui.benches.wall_process import NoRecords
from ui.cli import main
from ui.config import load_config
from ui.faces.pages.priced import read_priced
from ui.faces.server import build_server
from ui.given import given_by
from ui.view import Live


def asked_of(live: Live, *paths: tuple[str, dict[str, str]]) -> list[httpx.Response]:
    """Answers of the server over ``live``."""

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=build_server(live))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return [await client.get(path, params=params) for path, params in paths]

    return asyncio.run(ask())


def test_the_command_says_what_is_wrong_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "c")]) == 0
    words = ["account", "--config", str(tmp_path / "c" / "site.toml"), "--json"]
    capsys.readouterr()
    assert main([*words, "--from", "2026-11-02", "--to", "2026-11-01"]) == 2
    assert "is not between nothing and 400 days" in capsys.readouterr().err
    assert main([*words, "--region", "Mars"]) == 2
    assert "regions are CN" in capsys.readouterr().err
    assert main(words) == 2
    assert "no store here to read" in capsys.readouterr().err


def test_the_command_and_the_api_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two hours in a real store, an hour of a run in its records: asked for on the command line and over HTTP."""
    site = small_site("id=pv1 kind=pv")
    path = write_centre(tmp_path, site)
    config = load_config(path)
    store, records = open_kept(config.store, site), open_records(config.store.path / "records.db")
    for minute in range(120):
        now = START + timedelta(minutes=minute)
        gpus = Frame("gpu", now, site.all_rows("gpu"), {"power_w": np.full(16, 500.0)})
        store.append([frame_of("site", now, 0, facility_power_w=13e3, it_power_w=10e3), gpus])
    log, hour = RunLog(site.ids_of("gpu")), timedelta(hours=1)
    going, over = JobState.RUNNING, JobState.COMPLETED
    log.note(records, {"q": queue(START, ("j1", going, 0, math.nan, [0, 1, 2, 3]), ("=1+2", going, 0, math.nan, [4]))}, START)
    log.note(records, {"q": queue(START, ("j1", over, 0, 1, []), ("=1+2", over, 0, 1, []))}, START + hour)
    asked = {"start": START.isoformat(), "end": (START + 2 * hour).isoformat()}

    live = Live(site, State(site), store, records, Hands(START + 2 * hour), START, given=given_by(config.energy, site))
    turned = {"start": asked["end"], "end": asked["start"]}
    odd = [{**asked, "by": "job", "step_s": step_s} for step_s in (61.7, 617.369241114849, 2667.369241114849)]
    answers = asked_of(
        live,
        ("/api/v1/energy", {**asked, "by": "job"}),
        ("/api/v1/energy", turned),
        ("/api/v1/energy/tables", {}),
        *(("/api/v1/energy", one) for one in odd),
    )
    assert [one.json()["facility_kwh"] for one in answers[3:]] == pytest.approx([26] * len(odd), rel=0.3)
    over_http: dict[str, Any] = answers[0].json()
    assert answers[1].status_code == 422
    assert {one["region"] for one in answers[2].json()["factors"]} >= {"CN", "CN-east"}
    store.close()
    records.close()
    words = ["account", "--config", str(path), "--from", asked["start"], "--to", asked["end"], "--by", "job"]
    assert main([*words, "--json", "--csv", str(tmp_path / "o.csv")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == over_http
    assert said["facility_kwh"] == pytest.approx(26)
    assert said["carbon"]["location_kg"] == pytest.approx(26 * 0.55)  # no intensity was read: the region's factor
    assert said["split"]["rows"][0]["facility_kwh"] == pytest.approx(13 * 4 / 16)
    assert said["bill"]["cost"] == pytest.approx(26)  # 8 to 10 in the morning of Shanghai is flat
    lines = (tmp_path / "o.csv").read_text().splitlines()
    assert lines[0].startswith("name,gpu_s,")
    assert lines[1].startswith("j1,14400.0,")
    assert lines[2].startswith("'=1+2,3600.0,"), "no spreadsheet runs a name"
    assert main(words) == 0
    assert "sums to the meter within" in capsys.readouterr().out
    own = 'residual_mix_gco2_per_kwh = 700\n[[energy.contract]]\nname = "wind"\nshare_frac = 0.25\n'
    path.write_text(path.read_text() + own)  # in [energy], the last section
    assert main([*words, "--json"]) == 0
    mixed = json.loads(capsys.readouterr().out)["carbon"]
    assert (mixed["location_kg"], mixed["market_kg"]) == pytest.approx((26 * 0.55, 26 * 0.75 * 0.7))


def test_of_what_nobody_knows_the_sum_nobody_has_nought(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An hour at 13 kW; nobody tells an intensity of the grid or a price, and no contract has all of it."""
    site = small_site()
    path = write_centre(tmp_path, site, "")
    config = load_config(path)
    with closing(open_kept(config.store, site)) as store, closing(open_records(config.store.path / "records.db")) as records:
        for minute in range(60):
            now = START + timedelta(minutes=minute)
            gpus = Frame("gpu", now, site.all_rows("gpu"), {"power_w": np.full(16, 500.0)})
            store.append([frame_of("site", now, 0, facility_power_w=13e3, it_power_w=10e3), gpus])
        going = queue(START, ("j1", JobState.RUNNING, 0, math.nan, list(range(8))))
        RunLog(site.ids_of("gpu")).note(records, {"q": going}, START)
    words = ["account", "--config", str(path), "--from", START.isoformat(), "--by", "job", "--to"]
    words += [(START + timedelta(hours=1)).isoformat(), "--csv", str(tmp_path / "o.csv")]
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    (row,) = said["split"]["rows"]
    assert row["facility_kwh"] == pytest.approx(6.5)
    nought = ("carbon_location_kg", "carbon_marginal_kg", "carbon_market_kg", "cost")
    assert {one[name] for one in (row, *said["split"]["remainder"].values()) for name in nought} == {None}
    heads, line, *_ = (tmp_path / "o.csv").read_text().splitlines()
    cells = dict(zip(heads.split(","), line.split(","), strict=True))
    assert [cells[name] for name in nought] == [""] * 4
    assert main(words) == 0
    (shown,) = (line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("j1"))
    assert shown == ["j1", "8", "5", "6.5", "–", "–"]


ENERGY = '[energy]\nregion = "华东"\ntariff = "guangdong-2021"\n'


def write_centre(folder: Path, site: Site, energy: str = ENERGY) -> Path:
    """A configuration of ``site`` with a region and a tariff."""
    rows = [
        "id,kind,parent",
        *(f"{one},{site.kind(one)},{parent_of(site, one)}" for one in site.ids if site.kind(one) != "site"),
    ]
    (folder / "assets.csv").write_text("\n".join(rows) + "\n")
    path = folder / "site.toml"
    path.write_text('[site]\nname = "test"\n[store]\npath = "s"\n' + energy)
    return path


def parent_of(site: Site, asset: str) -> str:
    """Id of what contains it, "" where that is the site."""
    parent = int(site.parent[site.position[asset]])
    return "" if parent < 0 or site.kind(site.ids[parent]) == "site" else site.ids[parent]


MIDNIGHT = datetime(2026, 11, 2, tzinfo=UTC)  # of the site too


def today(hours: float, **of_site: float) -> Live:
    """A centre read each minute since midnight: 2 MW, of which it made 0.4 on the spot."""
    store, minutes = MemoryStore(), round(60 * hours)
    for name, watts in ({"facility_power_w": 2e6, "it_power_w": 1.6e6} | of_site).items():
        store.put("site", name, MIDNIGHT, 60, np.full(minutes, watts))
    store.put("pv", "power_w", MIDNIGHT, 60, np.full(minutes, -4e5))
    site = small_site()
    return Live(site, State(site), store, NoRecords(), Hands(MIDNIGHT), MIDNIGHT)  # type: ignore[arg-type]


def test_each_price_of_today_counts_for_as_long_as_it_held() -> None:
    """Told each five minutes: 100 for ten of the first quarter and 400 for five, 400 in the second; nothing in the third, which
    has the last; 40, 40 and 10 in the fourth; and nothing in the six minutes since."""
    live = today(1.1)
    told = [100.0, 100.0, 400.0, 400.0, 400.0, 400.0, *[np.nan] * 3, 40.0, 40.0, 10.0]
    live.store.put("grid", "price_per_mwh", MIDNIGHT, 300, np.array(told))  # type: ignore[attr-defined]
    made = read_priced(live, MIDNIGHT + timedelta(hours=1.1))
    assert made.cost_today == pytest.approx(1.6 * (0.25 * (200 + 400 + 400 + 30) + 0.1 * 10))
    assert made.known_frac == pytest.approx(1.0)


def test_a_price_counts_for_two_hours_and_then_no_more() -> None:
    live, now = today(4), MIDNIGHT + timedelta(hours=4)
    live.store.put("grid", "price_per_mwh", MIDNIGHT, 300, np.array([80.0]))  # type: ignore[attr-defined]
    made = read_priced(live, now)
    assert made.known_frac == pytest.approx(2.25 / 4), "the quarter in which it was told, and two hours"
    assert made.cost_today == pytest.approx(1.6 * 80 * 2.25)
    assert read_priced(live, MIDNIGHT).known_frac == 0.0, "a day that has just begun"


def test_today_costs_what_the_tariff_says_of_each_quarter_of_an_hour() -> None:
    live, now = today(6), MIDNIGHT + timedelta(hours=6)
    tariff = load_tariff("guangdong-2021")
    live.given = lambda: Given(tariff=tariff)
    quarters = MIDNIGHT.timestamp() + 900.0 * np.arange(24)
    made = read_priced(live, now)
    assert made.cost_today == pytest.approx(float((1.6 / 4 * tariff.price_per_mwh(quarters)).sum()))
    assert (made.known_frac, made.currency) == (pytest.approx(1.0), "CNY")
    live.given = lambda: Given()
    made = read_priced(live, now)
    assert np.isnan(made.cost_today)
    assert made.known_frac == 0.0
