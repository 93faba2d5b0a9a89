"""Requests of the grid as they are kept, said over the API and by command, and put together where they overlap."""

import json
import math
from datetime import timedelta

import httpx
import pytest
from energy_house import NOW, MemoryRecords
from faces_harness import DayStore, Hands
from hypothesis import given
from hypothesis import strategies as st

from energy.respond import inbox
from energy.respond.inbox import MAX_STANDING, note, standing, together
from ingest.stores.records import open_records
from twin.curtail import Asked, Interval, Request
from twin.errors import SourceError
from twin.load import Row, build_site
from twin.state import State
from ui.cli import main
from ui.faces.server import build_server
from ui.view import Live

T = NOW.timestamp()
SITE = build_site("s", "UTC", [Row("t", {"id": "net", "kind": "grid"})])


class Kept(MemoryRecords):
    """With a bound."""

    def trim(self, topic, keep):
        pass


def one(key="r", begin_h=1.0, hours=1.0, **asked):
    return Request(key, T, (Interval(T + 3600 * begin_h, T + 3600 * (begin_h + hours), **(asked or {"limit_w": 5e5})),))


def test_what_somebody_asks_replaces_what_they_asked_and_nobody_elses():
    records = Kept()
    assert note(records, Asked("a", (one("1"), one("2", 3))), NOW)
    assert not note(records, Asked("a", (one("1"), one("2", 3))), NOW)  # no news
    assert note(records, Asked("b", (one("3", 2, cut_w=1e5),)), NOW)
    assert note(records, Asked("a", (one("2", 3),)), NOW)
    assert [(who, request.key) for who, request in standing(records, NOW)] == [("b", "3"), ("a", "2")]
    assert standing(records, NOW)[0][1].intervals[0].cut_w == 1e5
    assert [request.key for _, request in standing(records, NOW + timedelta(hours=3.5))] == ["2"]
    assert len(standing(records, NOW + timedelta(hours=3.5), after_s=7200)) == 2
    endless = Request("4", T, (Interval(T, float("inf"), limit_w=1.0),))
    assert note(records, Asked("b", (endless,)), NOW)
    assert standing(records, NOW)[0][1].end_s == float("inf")
    with pytest.raises(SourceError, match=f"more than {MAX_STANDING}"):
        note(records, Asked("c", tuple(one(str(i)) for i in range(MAX_STANDING))), NOW)


def test_a_limit_without_an_end_stands_whatever_its_age_and_however_many_came_after_it(tmp_path, monkeypatch):
    """Another asker changes its mind 50 times: 20 records are read."""
    monkeypatch.setattr(inbox, "MAX_RECORDS", 20)
    monkeypatch.setattr(inbox, "RENEWED", 10)
    records = open_records(tmp_path / "records.db")
    assert note(records, Asked("vtn", (Request("cap", T, (Interval(T, math.inf, limit_w=8e3),)),)), NOW)
    assert [one.key for _, one in standing(records, NOW + timedelta(days=400))] == ["cap"]
    for i in range(50):
        assert note(records, Asked("dso", (one(str(i), hours=1 + i % 7),)), NOW + timedelta(days=33))
    records.close()
    records = open_records(tmp_path / "records.db")  # also after a restart
    assert [request.key for _, request in standing(records, NOW + timedelta(days=33))] == ["cap"]
    assert note(records, Asked("vtn"), NOW + timedelta(days=33))
    assert standing(records, NOW + timedelta(days=33)) == []
    assert note(records, Asked("dso"), NOW + timedelta(days=33))
    records.close()


def test_what_is_over_takes_no_room_from_what_is_asked():
    records = Kept()
    assert note(records, Asked("a", tuple(one(str(i)) for i in range(MAX_STANDING))), NOW)
    assert note(records, Asked("b", (one("b", 4),)), NOW + timedelta(hours=3))


parts = st.tuples(st.integers(0, 20), st.integers(1, 20), st.floats(0, 1e6), st.booleans())


@given(st.lists(parts, min_size=1, max_size=6))
def test_overlapping_requests_are_one_that_asks_the_most_of_each_moment(asked):
    requests = [
        one(str(i), begin, hours, **({"limit_w": watts} if limit else {"cut_w": watts}))
        for i, (begin, hours, watts, limit) in enumerate(asked)
    ]
    whole = together(requests, 1e6)
    for half in range(90):
        at = T + 1800 * half + 1
        wanted = [p.target_w(1e6) for r in requests for p in r.intervals if p.begin_s <= at < p.end_s]
        got = [p.target_w(1e6) for p in whole.intervals if p.begin_s <= at < p.end_s]
        assert got == ([min(wanted)] if wanted else [])


async def test_the_api_takes_shows_and_takes_back_a_request(tmp_path):
    clock, records = Hands(NOW), open_records(tmp_path / "records.db")
    live = Live(SITE, State(SITE), DayStore(), records, clock, NOW, folder=tmp_path)
    transport = httpx.ASGITransport(build_server(live), client=("127.0.0.1", 4711))
    body = {"by": "li", "start": "2026-07-01T14:00:00Z", "end": "2026-07-01T16:00:00+00:00", "cut_kw": 250}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as ask:
        assert (await ask.put("/api/v1/requests/evening", json=body)).status_code == 202
        (shown,) = (await ask.get("/api/v1/requests")).json()["requests"]
        assert (shown["who"], shown["key"], shown["cut_kw"], shown["limit_kw"]) == ("api/evening", "evening", 250, None)
        for wrong in (
            {"cut_kw": None},
            {"limit_kw": 3},
            {"cut_kw": None, "limit_kw": True},
            {"cut_kw": None, "limit_kw": "50"},
            {"cut_kw": True},
            {"end": "2026-07-01T13:00:00Z"},
            {"start": "2026-07-01T14:00:00"},
            {"start": "2026-06-01T14:00:00Z", "end": "2026-06-01T16:00:00Z"},
        ):
            assert (await ask.put("/api/v1/requests/evening", json={**body, **wrong})).status_code == 422
        assert (await ask.delete("/api/v1/requests/evening")).status_code == 202
        assert (await ask.get("/api/v1/requests")).json()["requests"] == []
    records.close()


def test_a_request_that_cannot_be_is_refused_and_one_of_an_older_version_is_left_out(caplog):
    records = Kept()
    assert note(records, Asked("good", (one(),)), NOW)
    for asked in ({"limit_w": math.inf}, {"cut_w": math.inf}):
        with pytest.raises(ValueError, match="asks for nothing"):
            one(**asked)
    endless = {"begin_s": T, "end_s": T + 60, "limit_w": None, "cut_w": None}  # as null stands for infinity in a record
    poison = {"key": "x", "received_s": T, "intervals": [endless], "best_effort": False, "feeds": []}
    records.append("requests", NOW, {"who": "command/x", "requests": [poison]})
    assert [who for who, _ in standing(records, NOW)] == ["good"]
    assert note(records, Asked("command/x"), NOW) is False
    assert note(records, Asked("dso", (one("d"),)), NOW)
    assert "'x' of command/x is left out" in caplog.text


def test_the_command_says_it_lists_it_and_takes_it_back(tmp_path, capsys):
    (tmp_path / "assets.csv").write_text("id,kind,parent\nnet,grid,\n")
    config = tmp_path / "site.toml"
    config.write_text('[site]\nname = "s"\n[store]\npath = "store"\n')

    def run(*words):
        code = main(["request", *words, "--config", str(config), "--json"])
        return code, capsys.readouterr()

    code, told = run("evening", "--limit-kw", "800", "--hours", "2")
    assert (code, json.loads(told.out)) == (0, {"request": "evening", "said": "asked", "news": True})
    code, told = run()
    assert [(row["who"], row["key"]) for row in json.loads(told.out)] == [("command/evening", "evening")]
    assert run("evening", "--withdraw")[0] == 0
    assert run("evening", "--withdraw")[0] == 1  # there is none
    assert json.loads(run()[1].out) == []
    for words, says in ((("x",), "either"), (("x", "--cut-kw", "1", "--start", "2026-12-01T18:00"), "time zone")):
        code, told = run(*words)
        assert code == 2
        assert says in told.err
