"""Each figure, tile and table of a report links to a question that answers with what it says, of that span and that part; who
asks by hand gets the same report as who waits for Monday; a name that nobody has is refused."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from test_report_flow import MONDAY, SITE, Run, centre_in

from energy.account.runs import TOPIC
from twin.errors import ConfigError
from twin.message import Message
from ui.cli import main
from ui.faces.server import build_server
from ui.report.document import Picture, Pin, Scale
from ui.report.from_live import about_of
from ui.report.make import make
from ui.report.page import at_home
from ui.report.scope import Scope
from ui.report.section import ReportSection
from ui.report.span import span_of

FILES = '["html", "pdf", "json", "csv"]'
SECTION = ReportSection.model_validate({"picture": False, "pue_limit": 1.25})
ZONE = ZoneInfo("Asia/Shanghai")
BASE = "https://twin.example.org"
Look = Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(centre_in(tmp_path, site=SITE.replace(FILES, '["html", "json"]')), MONDAY)
    week_s = (MONDAY - timedelta(days=7, hours=7)).timestamp()
    job = {"key": "q/1", "job": "1", "user": "u", "project": "llm", "partition": "", "start_s": week_s + 3600, "gpus": [[0, 3]]}
    made.centre.records.append(TOPIC, MONDAY - timedelta(days=6), {"entry": "begun", **job})
    yield made
    made.close()


def looked(run: Run, look: Look) -> None:
    async def inside() -> None:
        transport = httpx.ASGITransport(build_server(run.centre.live), client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as ask:
            await look(ask)

    asyncio.run(inside())


def pointed(answer: Any, pointer: str) -> Any:
    for part in pointer.strip("/").split("/"):
        answer = answer[part]
    return answer


@pytest.mark.parametrize("scope", ["centre", "hall:h1", "project:llm"])
@pytest.mark.parametrize("kept", [True, False])
def test_each_figure_and_table_links_to_a_question_that_answers_with_it(run: Run, scope: str, kept: bool) -> None:
    kind, _, name = scope.partition(":")
    made = make(about_of(run.centre.live, SECTION, run.clock.time), span_of("2026-W46", ZONE), Scope(kind, name))  # type: ignore[arg-type]
    reports = run.centre.live.reports
    assert reports is not None
    if kept:
        reports.ask(made.span, Scope(kind, name), "li", run.clock.time)  # type: ignore[arg-type]
        run.steps(3)

    async def look(ask: httpx.AsyncClient) -> None:
        for section in made.report.sections:
            for one in section.figures:
                assert one.answer.startswith(f"{BASE}/api/v1/report?span=2026-W46&scope=")
                answer = await ask.get(one.answer.removeprefix(BASE))
                assert answer.status_code == 200, (one.key, answer.text)
                assert answer.json()["kept"] is kept
                assert list(answer.json()["figures"]) == [one.key]
                assert pointed(answer.json(), one.answer.partition("#")[2]) == pytest.approx(one.value, nan_ok=True, rel=0)
        for table in made.report.tables():
            found = pointed((await ask.get(table.answer.removeprefix(BASE))).json(), table.answer.partition("#")[2])
            assert len(found) == len(table.rows) > 0
            assert [row[0] for row in found] == [row[0] for row in table.rows]
        whole = (await ask.get("/api/v1/report", params={"span": "2026-W46", "scope": scope})).json()
        assert len(whole["figures"]) == sum(len(section.figures) for section in made.report.sections)
        facility = {"centre": 6.0 * 168, "hall:h1": 3.0 * 168}.get(scope)
        assert facility is None or whole["figures"]["facility_kwh"]["value"] == pytest.approx(facility)

    looked(run, look)
    page = dict(made.files(["en"], ["html"]).files)[f"{made.report.name}.html"].decode()
    linked = sum(len(section.figures) for section in made.report.sections) + len(made.report.tables()) + len(made.report.head)
    assert page.count(f'href="{BASE}/api/v1/report?') == linked


def test_a_page_that_has_no_address_has_no_links_that_lead_nowhere(run: Run) -> None:
    from dataclasses import replace

    about = replace(about_of(run.centre.live, SECTION, run.clock.time), outside="")
    made = make(about, span_of("2026-W46", ZONE), Scope())
    page = dict(made.files(["en"], ["html"]).files)["2026-W46.html"].decode()
    assert 'href="/' not in page
    said = page.count('<span title="/api/v1/report?')
    assert said > 20, "what can be asked is told"
    assert at_home(page).count('<a href="/api/v1/report?') == said, "and is a link where the wall gives it out"
    assert made.report.head[0].answer.startswith("/api/v1/report?"), "the data files say where"


def test_what_cannot_be_answered_is_one_sentence(run: Run) -> None:
    async def look(ask: httpx.AsyncClient) -> None:
        for params, code, says in (
            ({"span": "2026-W46", "figure": "moons"}, 404, "no figure 'moons'"),
            ({"span": "2026-W60"}, 422, "2026-W60"),
            ({"span": "2027-W01"}, 422, "has not begun"),
            ({"span": "2026-W46", "scope": "hall:h9"}, 422, "there are h1, h2"),
            ({"span": "2026-W46", "scope": "project:lllm"}, 422, "there is no project 'lllm'; there are llm"),
        ):
            answer = await ask.get("/api/v1/report", params=params)
            assert answer.status_code == code, answer.text
            assert says in answer.text

    looked(run, look)


def test_one_report_is_worked_out_at_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, codes = Event(), Event(), list[int]()

    def slow(*asked: Any) -> Any:
        begun.set()
        assert go_on.wait(20)
        return make(*asked)

    monkeypatch.setattr("ui.faces.api_report.make", slow)
    server = build_server(run.centre.live)

    def ask() -> None:
        async def inside() -> None:
            transport = httpx.ASGITransport(server, client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                codes.append((await client.get("/api/v1/report?span=2026-W46&figure=facility_kwh")).status_code)

        asyncio.run(inside())

    first = Thread(target=ask)
    first.start()
    assert begun.wait(20)
    ask()
    assert codes == [429]
    go_on.set()
    first.join(20)
    assert codes == [429, 200]


def test_by_hand_and_by_itself_it_is_the_same_report(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``picture = false`` and the address under which people reach icctwin hold for both."""

    def drawer(*_: Any) -> Any:
        pin, scale = Pin(1, 1, "r1", 40.0), Scale(30.0, 40.0, 2, "c", "return_temp_c", False)
        return lambda span: iter([Picture("hottest", "The hottest hour", "<g/>", 99.0, pin, scale, Message("x"))])

    monkeypatch.setattr("ui.report.make.drawer", drawer)
    run.steps(1)
    assert run.made == ["2026-W46"]
    reports = run.centre.live.reports
    assert reports is not None
    out = tmp_path / "out"
    argv = ["report", "--config", str(run.config), "--week", "2026-W46", "--format", "html,json", "--out", str(out)]
    assert main(argv) == 0
    for path in sorted(out.iterdir()):
        assert path.read_bytes() == (reports.folder / "2026-W46" / path.name).read_bytes(), path.name
    data = json.loads((out / "2026-W46.json").read_text())
    assert data["sections"]["energy"]["pictures"] == {}
    assert data["sections"]["energy"]["figures"]["pue_ratio"]["query"].startswith(BASE)


@pytest.mark.parametrize("name", ["tenant:acmee", "project:lllm"])
def test_a_name_that_nobody_has_is_refused(run: Run, name: str) -> None:
    kind, _, word = name.partition(":")
    about = about_of(run.centre.live, SECTION, run.clock.time)
    with pytest.raises(ConfigError, match=f"there is no {kind} '{word}'; there are llm"):
        make(about, span_of("2026-W46", ZONE), Scope(kind, word))  # type: ignore[arg-type]
    known = make(about, span_of("2026-11-14/2026-11-15", ZONE), Scope("project", "llm"))
    assert known.report.scope == "project:llm", "its run of the week before is known"


def test_a_year_ago_is_not_known_where_nobody_noted_runs(run: Run) -> None:
    made = make(about_of(run.centre.live, SECTION, run.clock.time), span_of("2026-W46", ZONE), Scope("project", "llm"))
    facility = made.report.head[0]
    assert facility.key == "facility_kwh"
    assert facility.value > 0
    assert facility.was != facility.was, "the week before was read, and nobody noted then who held what"
