"""Why a source fails, and what of it nobody can place: from the poll through the records to the API and the pages."""

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from browsing import chromium, tab
from faces_harness import NOW, Hands, feed, live_of, served, small_site
from playwright.sync_api import expect
from wall_harness import Notes

from ingest.stores import open_records
from twin.condition import MAX_TOLD, Condition
from twin.errors import SourceError
from twin.frame import Frame
from ui.app import Centre
from ui.conditions import TOPIC, ConditionLog, error_of, read_conditions, troubles_of
from ui.config import load_config
from ui.faces.pages.sources import look, told
from ui.faces.server import build_server
from ui.faces.shelf import Kept
from ui.own import source_row
from ui.tasks import VirtualClock, run_virtual
from ui.view import Live, view
from ui.words import words

ADVICE = "name them in its mapping, add what they speak of to the assets, or list them under ignore"
GONE = "The process that polls it hangs or has gone; look at its log and restart it."


class Exporter(ThreadingHTTPServer):
    """A page that fails, with a password in what it says of that, until it has a ``page``."""

    page = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/metrics"


class Answer(BaseHTTPRequestHandler):
    server: Exporter

    def do_GET(self) -> None:
        body = self.server.page.encode()
        self.send_response(*(200, "OK") if body else (500, "ask http://admin:hunter2@bmc/"))
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    with Exporter(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def house(folder: Path, exporter: Exporter) -> Iterator[tuple[Centre, Any]]:
    """A centre that reads one exporter, and what makes it live so many seconds more: it polls and keeps, all else rests."""
    (folder / "assets.csv").write_text("id,kind,parent,hostname,index\nh,hall,,,\nr,rack,h,,\nn,node,r,n,\ng,gpu,n,,0\n")
    (folder / "site.toml").write_text(
        '[site]\nname = "house"\n[store]\npath = "store"\n[[source]]\nname = "gpus"\ntype = "prometheus"\n'
        f'mapping = "dcgm"\nevery_s = 1\ntargets = ["{exporter.url}"]\n'
    )
    clock, loop = VirtualClock(NOW), asyncio.new_event_loop()
    centre = Centre(load_config(folder / "site.toml"), clock, wait=True)
    tasks = [task for task in centre.tasks if task.name in ("collect", "flush")]

    def lives(seconds: float) -> None:
        run_virtual(tasks, clock, clock.now() + timedelta(seconds=seconds), centre.health, loop)

    try:
        yield centre, lives
    finally:
        loop.run_until_complete(centre.collector.close())
        loop.close()
        asyncio.set_event_loop(None)
        centre.close()


def asked(live: Live, path: str) -> Any:
    async def ask() -> Any:
        transport = httpx.ASGITransport(build_server(live))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.get(path)).json()

    return asyncio.run(ask())


def rows(live: Live, language: str = "en") -> Sequence[Mapping[str, Any]]:
    """Of the sources, as their page has them."""
    now, kept = live.clock.now(), Kept(lambda *_: {}, 5.0, 0.0, read_conditions(live.records), live.clock.now())
    shown = view(live, now)
    made: Sequence[Mapping[str, Any]] = told(look(shown, live, 1, kept), shown, words(language))["l.sources"]
    return made


def details(live: Live, language: str = "en") -> list[str]:
    return [row["c"][0] for row in rows(live, language) if row["k"] == "detail"]


def test_a_source_that_fails_says_why_on_every_face_until_it_answers(tmp_path: Path, exporter: Exporter) -> None:
    with house(tmp_path, exporter) as (centre, lives):
        records = open_records(tmp_path / "store" / "records.db", readonly=True)  # as another process has it
        wall = replace(centre.live, records=records)
        lives(3)
        error = f"{exporter.url}: status 500 ask http://***@bmc/; 200 is expected"
        (said,) = asked(wall, "/api/v1/sources")
        since = NOW.isoformat().replace("+00:00", "Z")
        assert [said[name] for name in ("status", "error", "error_since", "unmapped_names")] == ["down", error, since, []]
        assert asked(wall, "/api/v1/assets/gpus")["troubles"] == [{"text": error, "since": since}]
        assert details(wall) == [f"for 3\u202fs: {error}"]
        assert details(wall, "zh") == [f"已持续 3\u202f秒：{error}"]
        assert "hunter2" not in str(records.read(TOPIC))

        exporter.page = (
            'DCGM_FI_DEV_GPU_TEMP{gpu="0",Hostname="n"} 50\nmine_total 1\nDCGM_FI_DEV_GPU_TEMP{gpu="9",Hostname="n"} 5\n'
        )
        lives(4)
        (said,) = asked(wall, "/api/v1/sources")
        assert [said[name] for name in ("status", "error", "error_since")] == ["up", "", None], "before it is written anew"
        assert read_conditions(records)["gpus"].error == error
        assert details(wall) == []

        lives(30)
        assert read_conditions(records) == {
            "gpus": Condition(True, "", None, 2, ("mine_total", "gpu 9 of n")),
        }
        assert details(wall) == [f"2 of its series belong to nothing known: mine_total, gpu 9 of n; {ADVICE}"]
        (said,) = asked(wall, "/api/v1/sources")
        assert said["unmapped_names"] == ["mine_total", "gpu 9 of n"]
        assert asked(wall, "/api/v1/assets/gpus?lang=zh")["said"][details(wall)[0]].startswith("其中 2 个序列不属于任何已知")
        assert asked(wall, "/api/v1/assets/g")["troubles"] == []
        records.close()


def test_a_source_whose_process_has_gone_says_so_beside_what_it_said_last(tmp_path: Path, exporter: Exporter) -> None:
    with house(tmp_path, exporter) as (centre, lives):
        lives(3)
        centre.clock.time += timedelta(hours=2)  # type: ignore[attr-defined]  # nobody polls
        error = f"{exporter.url}: status 500 ask http://***@bmc/; 200 is expected"
        assert details(centre.live) == [f"for 2\u202fh: {GONE}", f"for 2\u202fh: it last said: {error}"]
        (said,) = asked(centre.live, "/api/v1/sources")
        assert (said["status"], said["error"]) == ("silent", error)
    with house(tmp_path, exporter) as (centre, lives):  # it is started again, and its field is well
        assert read_conditions(centre.records)["gpus"].error == error
        exporter.page = 'DCGM_FI_DEV_GPU_TEMP{gpu="0",Hostname="n"} 50\n'
        lives(2)
        assert read_conditions(centre.records) == {}, "an error of before does not stand for ever"


def test_what_sources_measure_is_told_where_the_records_do_not_answer() -> None:
    class Deaf(Notes):
        def read(self, *_: object, **__: object) -> Any:
            raise SourceError("the disk is gone")

    live = live_of(small_site(), Hands())
    feed(live)
    live.records = Deaf()  # type: ignore[assignment]
    said = asked(live, "/api/v1/sources")
    assert {(one["status"], one["error"], one["error_since"], one["unmapped_names"]) for one in said} == {
        ("up", None, None, None)
    }
    shown = view(live, NOW)
    for read_s, text in ((-40.0, "errors were not read for 40\u202fs"), (-15.0, "")):
        kept = Kept(lambda *_: {}, 5.0, 0.0, {}, NOW + timedelta(seconds=read_s))
        assert told(look(shown, live, 1, kept), shown, words("en"))["t.unread"] == text
    assert told(look(shown, live, 1, Kept(lambda *_: {}, 5.0, 0.0)), shown, words("zh"))["t.unread"] == "尚未读到错误信息"


IDS = ("src-bmc", "src-dcgm", "src-fabric", "src-plant")


def down(why: str) -> Condition:
    return Condition(False, why, NOW)


def written(log: ConditionLog, said: Mapping[str, Condition], at_s: float) -> None:
    log.note(said)
    log.flush(NOW + timedelta(seconds=at_s))


def test_it_is_written_when_something_changed_and_at_most_every_30_s() -> None:
    records = Notes()
    log = ConditionLog(records, small_site(), IDS[:2])  # type: ignore[arg-type]
    for second in range(100):
        written(log, {"src-bmc": down("no")}, second)
    for second in range(100, 200):  # its words are new at each poll
        written(log, {"src-bmc": down(f"no answer to question {second}")}, second)
    assert [(at - NOW).total_seconds() for _, at, _ in records.rows] == [0, 100, 130, 160, 190]
    written(log, {"src-bmc": down("no")}, 100)  # the clock is set back
    assert len(records.rows) == 6


def test_each_process_writes_its_own_part_and_leaves_that_of_others() -> None:
    records, site = Notes(), small_site()
    one, other = (ConditionLog(records, site, mine) for mine in (IDS[:2], IDS[2:]))  # type: ignore[arg-type]
    records.append(TOPIC, NOW, {"sources": {"of-old": {"up": False, "error": "renamed since"}}})
    written(one, {"src-bmc": down("no route")}, 0)
    written(other, {"src-plant": down("no answer"), "src-fabric": Condition(True, "1 of its parts fail: a", NOW)}, 1)
    assert list(read_conditions(records)) == ["src-bmc", "src-plant", "src-fabric"], "what is down stands first"  # type: ignore[arg-type]
    written(one, {}, 40)
    assert {name: row.error for name, row in read_conditions(records).items()} == {  # type: ignore[arg-type]
        "src-plant": "no answer",
        "src-fabric": "1 of its parts fail: a",
    }

    anew = ConditionLog(records, site, IDS[2:])  # type: ignore[arg-type]
    for second in range(100, 141):  # one of them hangs at the start; what was last said of it stands until it was asked
        written(anew, {"src-plant": Condition(None)}, second)
    at, row = records.rows[-1][1:]
    assert ((at - NOW).total_seconds(), list(row["sources"])) == (130, ["src-plant"])
    written(anew, {}, 161)
    assert read_conditions(records) == {}  # type: ignore[arg-type]


def test_a_process_without_sources_writes_nothing_and_a_refusal_is_tried_again() -> None:
    class Full(Notes):
        def append_next(self, *_: object) -> int:
            self.tries = getattr(self, "tries", 0) + 1
            raise SourceError("disk full")

    records = Full()
    written(ConditionLog(records, small_site(), ()), {}, 0)  # type: ignore[arg-type]
    assert not hasattr(records, "tries")
    log = ConditionLog(records, small_site(), IDS)  # type: ignore[arg-type]
    for second in range(61):
        written(log, {"src-bmc": down("no")}, second)
    assert records.tries == 3


def test_the_record_is_bounded_and_keeps_what_is_down(tmp_path: Path) -> None:
    site = small_site()
    names = [f"s{i:05}" for i in range(1000)]
    records = open_records(tmp_path / "records.db")
    log = ConditionLog(records, site, names)
    part = Condition(True, "界" * 400, NOW, 9, ("界" * 80,) * 10)
    written(log, {name: replace(part, up=i % 10 != 7) for i, name in enumerate(names)}, 0)
    found = read_conditions(records)
    assert len(found) == MAX_TOLD
    assert sum(not one.up for one in found.values()) == 100
    written(log, {}, 30)
    assert [record for _, _, record in records.read(TOPIC)] == [{"sources": {}}], "the one before is dropped"
    records.close()


@pytest.mark.parametrize(
    ("up", "said", "error"),
    [
        (1.0, Condition(False, "no route", NOW), ""),
        (0.0, Condition(False, "no route", NOW), "no route"),
        (1.0, Condition(True, "1 of its parts fail: cdu-2", NOW), "1 of its parts fail: cdu-2"),
        (np.nan, Condition(False, "no route", NOW), "no route"),
        (0.0, None, ""),
    ],
)
def test_words_of_before_it_answered_are_over_and_those_of_a_part_are_not(
    up: float, said: Condition | None, error: str
) -> None:
    live = live_of(small_site(), Hands())
    live.state.absorb(Frame("source", NOW, np.arange(4, dtype=np.int32), {"up_flag": np.full(4, up)}), NOW)
    row = source_row(live.state, "src-dcgm", NOW)
    assert (row.id, error_of(row, said)) == ("src-dcgm", error)
    last = "it last said: " if np.isnan(up) else ""
    assert [str(one.text) for one in troubles_of(row, said)] == ([last + error] if error else [])


LONG = "http://10.20.30.41:9400/metrics: no connection (Connection refused); is it running and the address right? " * 3


@pytest.mark.browser
def test_the_page_shows_all_of_an_error_on_a_wall_and_on_a_telephone() -> None:
    live = live_of(small_site(), Hands())
    feed(live)
    live.clock.skip(1)  # type: ignore[attr-defined]
    now = live.clock.now()
    live.state.absorb(Frame("source", now, np.array([1], dtype=np.int32), {"up_flag": np.zeros(1)}), now)
    live.records = Notes()  # type: ignore[assignment]
    names = tuple(f"an_exporter_of_our_own_name_{i}_total" for i in range(10))
    said = {"src-dcgm": down(LONG.strip()), "src-plant": Condition(True, "", None, 812, names)}
    written(ConditionLog(live.records, live.site, IDS), said, 0)
    with chromium() as browser, served(live) as url:
        for width, height in ((1920, 1080), (390, 844)):
            with tab(browser, viewport={"width": width, "height": height}) as page:
                for language, heard in (("en", "for 1\u202fs: "), ("zh", "已持续 1\u202f秒：")):
                    page.goto(f"{url}/sources?lang={language}")
                    shown = page.locator(".list-sources .row.detail .cell")
                    expect(shown).to_have_count(2)
                    expect(shown.first).to_contain_text(LONG.strip())
                    expect(shown.first).to_contain_text(heard)
                    expect(shown.last).to_contain_text("812")
                    right = "(e) => e.getBoundingClientRect().right - e.closest('.list').getBoundingClientRect().right"
                    assert max(shown.first.evaluate(right), shown.last.evaluate(right)) <= 0, "nobody moves it to read it"
                    assert shown.first.evaluate("(e) => e.scrollHeight <= e.clientHeight + 3")
                    expect(page.locator('[data-m="sources"]')).to_have_text("")
