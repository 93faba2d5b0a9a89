"""What a report says under ``data`` of each of its numbers: an address of the wall whose answer holds that very number, or in
words that only a report says it. All are asked, of a centre in which everything that a report tells of happened."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import pytest
from test_report_flow import MONDAY, QUICK, Run, centre_in

from energy.account.runs import TOPIC as RUNS
from twin.event import TOPIC as EVENTS
from twin.frame import Frame
from ui.faces.server import build_server
from ui.oncall.service import ALERT_LOG, INCIDENTS
from ui.report.behind import ONLY
from ui.report.data import as_json
from ui.report.from_live import about_of
from ui.report.make import make
from ui.report.scope import Scope
from ui.report.section import ReportSection
from ui.report.span import span_of

START = MONDAY - timedelta(days=7, hours=7)  # of the week
TARIFF = """
name = "t"
source = "a bill"
currency = "CNY"
dated = 2026-01-01
otherwise = "flat"
timezone = "Asia/Shanghai"
[per_kwh]
flat = 1.0
valley = 0.4
[[rule]]
period = "valley"
hours = [[0, 8]]
[demand]
per_kw_month = 30.0
basis = "contracted"
contracted_kw = 9.0
"""
ENERGY = '[energy]\nregion = "CN"\ntariff_file = "tariff.toml"\n'
MACHINES = "c1,chiller,\nlp,loop,\nct,tower,\ndh,heatreuse,\nsky,weather,\n"
SECTION = ReportSection.model_validate(
    {"picture": False, "pue_limit": 1.25, "gpu_peak_flops": 1e15, "embodied_kg_per_gpu": 1500})  # fmt: skip
FRAMES = {
    "loop": {"heat_w": 4e3}, "heatreuse": {"heat_w": 1e3}, "weather": {"wet_bulb_c": 12.0}, "tower": {"makeup_kgps": 0.002},
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("behind")
    (folder / "tariff.toml").write_text(TARIFF)
    path = centre_in(folder, site=QUICK + ENERGY)
    assets = folder / "assets.csv"
    assets.write_text(f"{assets.read_text()}\n{MACHINES}")
    made = Run(path, MONDAY)
    filled(made)
    yield made
    made.close()


def filled(run: Run) -> None:
    """Water, heat handed out, chillers off for a day, runs that waited and failed, an incident from before, a failure."""
    site, records = run.centre.site, run.centre.records
    for k in range(7 * 24):
        for kind, values in (FRAMES | {"chiller": {"power_w": 0.0 if k < 24 else 300.0}}).items():
            columns = {name: np.full(site.count(kind), value) for name, value in values.items()}
            run.centre.store.append([Frame(kind, START + timedelta(hours=k), site.all_rows(kind), columns)])

    def note(topic: str, hour: float, **record: Any) -> None:
        records.append(topic, START + timedelta(hours=hour), record)

    for job, first, last, gpus, how in (
        ("1", 1, 100, [0, 3], "completed"),
        ("2", 2, 20, [4, 5], "failed"),
        ("3", 30, 60, [4, 7], "completed"),
    ):
        start_s = START.timestamp() + 3600 * first
        about = {"key": f"q/{job}", "job": job, "user": f"u{job}", "project": "llm", "partition": "x", "start_s": start_s}
        note(RUNS, first, entry="begun", gpus=[gpus], submit_s=start_s - 60.0 * first, **about)
        note(RUNS, last, entry="ended", key=f"q/{job}", end_s=START.timestamp() + 3600 * last, end_told=True, how=how)
    for hour, what, name in (
        (-9, "opened", "i0"),
        (5, "opened", "i1"),
        (6, "acknowledged", "i1"),
        (7, "closed", "i0"),
        (8, "closed", "i1"),
    ):
        opened_s = START.timestamp() + 3600 * (-9 if name == "i0" else 5)
        note(
            INCIDENTS,
            hour,
            what=what,
            incident=name,
            at_s=START.timestamp() + 3600 * hour,
            opened_s=opened_s,
            rules=["hot"],
            summary="",
        )
    for hour, phase in ((5, "firing"), (7, "resolved")):
        note(ALERT_LOG, hour, key="hot:n1", asset="n1", rule="hot", phase=phase, cause="")
    note(ALERT_LOG, 9, key="hot:*", asset="*", rule="hot", phase="firing", cause="", count=40, assets=["n2"])
    note(EVENTS, 19.95, asset="g4", code="xid/79", severity="critical", meaning="fell off the bus", source="s")


@pytest.mark.parametrize("part", ["centre", "hall:h1", "project:llm"])
@pytest.mark.parametrize("span", ["2026-W46", "2026-11-15/2026-11-17"])
def test_what_stands_behind_a_number_holds_it_or_says_that_nothing_does(run: Run, part: str, span: str) -> None:
    """Also of a span that is not over."""
    about = about_of(run.centre.live, SECTION, run.clock.time)
    kind, _, name = part.partition(":")
    made = make(about, span_of(span, ZoneInfo("Asia/Shanghai")), Scope(kind, name))  # type: ignore[arg-type]
    sections = json.loads(as_json(made.report))["sections"].values()

    held, said = set[str](), set[str]()

    async def look() -> None:
        transport = httpx.ASGITransport(build_server(run.centre.live), client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as ask:
            for section, sort in ((section, sort) for section in sections for sort in ("figures", "tables")):
                for key, one in section[sort].items():
                    if "#" not in one["data"]:
                        assert one["data"].startswith(ONLY), (key, one["data"])
                        said.add(key)
                        continue
                    address, _, pointer = one["data"].removeprefix("https://twin.example.org").partition("#")
                    answer = await ask.get(address)
                    assert answer.status_code == 200, (key, address, answer.text)
                    found = answer.json()
                    for step in pointer.strip("/").split("/"):
                        found = found[step]
                    held.add(key)
                    if sort == "figures":
                        assert found == pytest.approx(one["value"], rel=1e-11), key
                    else:
                        holds(key, one, numbers(found))

    asyncio.run(look())
    keys = {key for section in sections for sort in ("figures", "tables") for key in section[sort]}
    assert held | said == keys
    if part == "centre" and span == "2026-W46":
        assert keys >= {
            "free_cooling_s",
            "fragmentation_frac",
            "goodput_frac",
            "wait_median_s",
            "contract_frac",
            "wue_kg_per_kwh",
            "erf_frac",
        }
        assert held >= {
            "facility_kwh",
            "it_kwh",
            "pue_ratio",
            "ppue_ratio",
            "cue_kg_per_kwh",
            "carbon_location_kg",
            "cost",
            "peak_w",
        }
        assert held >= {"coverage_frac", "alerts_count", "incidents_count", "by_user", "by_job", "demand", "alerts"}
        assert said >= {"mttr_s", "contract_frac", "free_cooling_s", "wue_kg_per_kwh", "days"}, "what no other answer holds"


def numbers(found: Any) -> list[float]:
    if isinstance(found, dict | list):
        return [number for one in (found.values() if isinstance(found, dict) else found) for number in numbers(one)]
    return [float(found)] if isinstance(found, int | float) and not isinstance(found, bool) else []


def holds(key: str, table: dict[str, Any], there: list[float]) -> None:
    """Every amount in its rows; hours are seconds there, shares and prices are worked out of the amounts."""
    for row in table["rows"]:
        for (head, unit), cell in zip(table["heads"], row, strict=True):
            if isinstance(cell, float) and unit not in ("frac", "per_mwh") and head != "Left of the contracted demand":
                wanted = cell * (3600 if unit == "gpu_h" else 1)
                assert any(one == pytest.approx(wanted, rel=1e-9, abs=1e-9) for one in there), (key, head, cell)
