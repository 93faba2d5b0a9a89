"""The twin's questions over HTTP and its page: answers, one sentence for bad ones, bounds, both languages."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from faces_harness import Hands, live_of

from ingest.sources.simulated.layout import demo_rows
from twin.load import build_site
from twin.params import Params
from ui.calibrating import Fitted
from ui.faces.server import build_server

SITE = build_site("demo", "UTC", *demo_rows(128))
TRIP = {"name": "trip", "fault": [{"asset": "h1-a-cdu1", "what": "trip", "start_s": 600}]}


@pytest.fixture
async def ask() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_server(live_of(SITE, Hands())))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_a_run_over_http(ask: httpx.AsyncClient) -> None:
    answer = await ask.post("/api/v1/simulate", json={"hours": 6, "step_s": 30, "scenario": TRIP})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["start"] == "2026-03-10T06:30:00Z"
    assert 1 < said["summary"]["pue_ratio"] < 2
    assert said["summary"]["carbon_kg"] is None, "nothing reads the grid"
    points = said["series"]["it_power_w"]
    assert len(points) <= 288
    assert said["series_step_s"] * len(points) == pytest.approx(6 * 3600, rel=0.02)
    assert said["limits"][0]["after_fault_s"] < 200


async def test_recorded_jobs_over_http(ask: httpx.AsyncClient) -> None:
    jobs = [
        {"job": "a", "submit_s": 0, "run_s": 1800, "nodes": 2, "start_s": 60},
        {"job": "b", "submit_s": 5, "run_s": 0, "nodes": 1},
    ]
    asked = {"hours": 1, "jobs": jobs, "scenario": {"policy": "recorded"}}
    said = (await ask.post("/api/v1/replay", json=asked)).json()
    assert said["summary"]["jobs_started_count"] == 1
    assert said["summary"]["wait_mean_s"] == 60
    assert any("it runs for no time at all, or less (first: job b)" in note for note in said["notes"])


async def test_two_scenarios_over_http(ask: httpx.AsyncClient) -> None:
    asked = {"hours": 1, "step_s": 60, "members": 3, "other": {"name": "cap", "gpu_cap_frac": 0.6}}
    said = (await ask.post("/api/v1/what-if", json=asked)).json()
    energy = next(row for row in said["rows"] if row["name"] == "it_energy_kwh")
    assert energy["difference"] == pytest.approx(energy["other"] - energy["base"])
    assert energy["difference_p10"] <= energy["difference_p90"] < 0
    assert (said["base"]["scenario"], said["other"]["scenario"]) == ("base", "cap")


async def test_answers_rest_on_the_fitted_parameters_and_say_where_they_end() -> None:
    live = live_of(SITE, Hands())
    asked = {"hours": 2, "step_s": 60}
    hungry = replace(Params().node, other_w=4000.0)
    said = []
    for live.fitted in (Fitted(), Fitted(replace(Params(), node=hungry), {"it_power_w": (1.0, 2.0)})):
        transport = httpx.ASGITransport(build_server(live))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            said.append((await client.post("/api/v1/simulate", json=asked)).json())
            both = (await client.post("/api/v1/what-if", json={**asked, "members": 0, "other": {"gpu_cap_frac": 0.6}})).json()
    assert said[1]["summary"]["facility_energy_kwh"] > said[0]["summary"]["facility_energy_kwh"]
    assert not any("extrapolation" in note for note in said[0]["notes"])
    for notes in (said[1]["notes"], both["base"]["notes"], both["other"]["notes"]):
        assert any("it_power_w" in note and "extrapolation" in note for note in notes)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("simulate", {"hours": 169}, "less than or equal to 168"),
    ("simulate", {"hours": 168, "step_s": 1}, "more than 20000 steps"),
    ("simulate", {"scenario": {"fault": [{"asset": "moon"}]}}, "moon: is no asset of the site"),
    (
        "simulate",
        {"scenario": {"parameter": [{"name": "plant.supply_c", "value": 3}]}},
        "scenario.parameter.0.source: field required",
    ),
    ("what-if", {"other": {}, "members": 99}, "less than or equal to 16"),
    ("replay", {"jobs": []}, "at least 1 item"),
]


@pytest.mark.parametrize(("path", "asked", "says"), BAD, ids=[b[2] for b in BAD])
async def test_a_bad_question_gets_one_sentence(ask: httpx.AsyncClient, path: str, asked: dict[str, Any], says: str) -> None:
    answer = await ask.post(f"/api/v1/{path}", json=asked)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


async def test_one_run_at_a_time(ask: httpx.AsyncClient) -> None:
    asked = {"hours": 24, "step_s": 60}
    answers = await asyncio.gather(*(ask.post("/api/v1/simulate", json=asked) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429]
    assert (await ask.post("/api/v1/simulate", json={"hours": 0.1, "step_s": 60})).status_code == 200


async def test_the_page_in_both_languages(ask: httpx.AsyncClient) -> None:
    empty = await ask.get("/twin")
    assert "A CDU&#x27;s pumps trip" in empty.text
    assert "<table" not in empty.text
    answer = await ask.get("/twin?case=cdu-lost")
    assert answer.status_code == 200
    assert "Time to the first limit" in answer.text
    assert answer.text.count("<path") == 12, "six panels of two lines"
    assert "<script>" not in answer.text
    chinese = (await ask.get("/twin?case=cdu-lost&lang=zh")).text
    assert "到首个限值的时间" in chinese
    assert "Hottest chip" not in chinese
    assert (await ask.get("/twin?case=%3Cscript%3E")).text == empty.text
