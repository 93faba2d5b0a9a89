"""On the page ``/energy``: requests of the grid with their proofs, what the guard refused, and losses beside wins."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from browsing import WAIT_MS, axe_on, chromium, tab
from faces_harness import DayStore, Hands, served
from playwright.sync_api import expect
from test_acting import SITE
from test_energy_orders import begin

from analytics.told import Word
from energy.ledger import TOPIC as LEDGER
from energy.ledger_book import TOPIC as JOBS
from energy.notes import TOPIC as AUDIT
from energy.notes import Stage, decision
from energy.plan import Gain, Mode, Refusal, Verdict
from energy.respond.inbox import note
from energy.respond.proof import Proof
from ingest.stores.records import open_records
from twin.curtail import Asked, Interval, Request
from twin.frame import Origin
from twin.message import Message
from twin.state import State
from ui.faces.pages import proposed
from ui.faces.pages.answered import Answered, Reader, table
from ui.faces.pages.energy import read_books
from ui.faces.shelf import Kept
from ui.responding import FIRST
from ui.responding import TOPIC as RESPONSES
from ui.view import Live, view
from ui.words import words

NOW = begin("0").made
HOUR = timedelta(hours=1)
T = NOW.timestamp()
PROOF = Proof("mean of the hour before the first order", 99.7, 90.0, 0.26, 0.24, 0.004, 0, 240.0, 0.01, 600.0, 1.0)


def request(key: str, begin_h: float, hours: float, **asked: float) -> Request:
    begin_s = T + 3600 * begin_h
    return Request(key, T - 86400, (Interval(begin_s, begin_s + 3600 * hours, **asked),))


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    records = open_records(tmp_path / "r.db")
    made = Live(SITE, State(SITE), DayStore(), records, Hands(NOW), NOW, folder=tmp_path)
    done, going = request("heat", -6, 3, cut_w=250e3), request("peak", -0.5, 2, limit_w=5e6)
    asked = (done, going, request("next", 3, 1, cut_w=1e5), request("lost", -3, 1, cut_w=1e5))
    note(records, Asked("grid", asked), NOW - 8 * HOUR)
    for one in (done, going):
        records.append(RESPONSES, NOW, {"stage": "begun", "key": f"{one.key}@{one.begin_s:.0f}", "time_s": T})
    proved = {"stage": "proved", "request": f"grid/heat@{done.begin_s:.0f}", "key": f"heat@{done.begin_s:.0f}"}
    records.append(RESPONSES, NOW, {**proved, **asdict(PROOF)})
    plan = begin("0", "1")
    why = Message("{asset} is locked by the operator", {"asset": "c1"})
    refused = Verdict(plan.key, (Refusal("locked", why), Refusal("stop", Message("The plan changes nothing"))))
    for minute in range(3):  # asked again, refused again: one row
        at = NOW - timedelta(minutes=9 - minute)
        records.append(AUDIT, at, decision(Stage.REFUSED, plan, refused, Mode.AUTO, why, ""))
    measured = {"entry": "measured", "lever": "supply_temperature", "expected_kwh": -12.0}
    sure, worse = (
        {"change_kwh": -10.0, "low_kwh": -14.0, "high_kwh": -6.0},
        {"change_kwh": 5.0, "low_kwh": 1.0, "high_kwh": 9.0},
    )
    records.append(LEDGER, NOW - 5 * HOUR, {**measured, "plan": "s1", **sure, "note": "saved"})
    records.append(LEDGER, NOW - 4 * HOUR, {**measured, "plan": "s2", **worse, "note": "lost"})
    records.append(LEDGER, NOW - 3 * HOUR, {**measured, "plan": "s3", "note": "not enough data to judge"})
    for job, change in (("1", -4000.0), ("2", -1000.0)):
        entry = {"entry": "job", "queue": "slurm", "job": job, "plan": "job_start:a", "signal": "carbon_gco2_per_kwh"}
        records.append(
            LEDGER, NOW - 2 * HOUR, {**entry, "change": change, "low": change - 300, "high": change + 400, "note": "saved"}
        )
    alone = {"entry": "job", "queue": "slurm", "job": "3", "plan": "", "signal": "price_per_mwh", "note": "lost"}
    records.append(LEDGER, NOW - HOUR, {**alone, "change": 2000.0, "low": 1500.0, "high": 2500.0})
    yield made
    records.close()


def test_requests_say_how_they_were_met(live: Live) -> None:
    asked = {one.name: one for one in Reader().read(live, NOW).asked}
    states = {name: one.state for name, one in asked.items()}
    assert states == {
        "grid · heat": "proven", "grid · peak": "in force", "grid · next": "to come", "grid · lost": "over"
    }  # fmt: skip
    assert asked["grid · heat"].proof["cut_kwh"] == 99.7
    assert Reader().read(live, NOW).asked[0].name == "grid · next", "what comes stands first"
    rows = table(Reader().read(live, NOW), words("en"))["l.requests"]
    heat = next(one for one in rows if one["c"][0] == "grid · heat")
    assert heat["k"] == "ok"
    assert heat["c"][2].split() == ["−", "250", "kW"]
    assert [cell["n"] for cell in heat["c"][4:]] == ["99.7", "0.4", "4.0", "1.0"]
    assert next(one for one in rows if one["c"][0] == "grid · peak")["c"][2].split() == ["≤", "5.00", "MW"]


def test_a_request_that_was_missed_for_a_minute_asks_to_be_seen(live: Live) -> None:
    records, begin_s = live.records, T - 6 * 3600
    missed = {"stage": "proved", "request": f"grid/heat@{begin_s:.0f}", "key": f"heat@{begin_s:.0f}"}
    records.append(RESPONSES, NOW, {**missed, **asdict(replace(PROOF, short_steps=2, worst_short_frac=0.03))})
    rows = table(Reader().read(live, NOW), words("en"))["l.requests"]
    assert next(one for one in rows if one["c"][0] == "grid · heat")["k"] == "warning"


def test_each_refused_plan_is_shown_once_with_every_reason(live: Live) -> None:
    (one,) = Reader().read(live, NOW).refused
    assert [str(why) for why in one.why] == ["c1 is locked by the operator", "The plan changes nothing"]
    assert one.time == NOW - timedelta(minutes=7), "the last time it was asked for"
    (row,) = table(Reader().read(live, NOW), words("zh"))["l.refusals"]
    assert "c1" in row["c"][2]
    assert "locked" not in row["c"][2]


def test_losses_stand_beside_wins_and_jobs_of_one_plan_are_one_row(live: Live) -> None:
    seen = Reader().read(live, NOW)
    assert seen.counts == (2, 2, 0)
    by = {(one.lever, one.unit, one.note): one for one in seen.brought}
    moved = by["job_start", "kg", "saved"]
    assert moved.change == pytest.approx(-5.0)
    assert moved.low == pytest.approx(-5.0 - 0.3 - 0.3)
    assert by["moved along", "", "lost"].change == pytest.approx(2.0)
    reader = Reader()
    for _ in range(2):
        assert reader.read(live, NOW).brought == seen.brought, "each entry counts once"
    made = table(seen, words("en"))
    assert [made[f"n.{name}"]["n"] for name in ("won", "lost", "undecided")] == ["2", "2", "0"]
    assert {row["k"] for row in made["l.ledger"]} == {"ok", "warning", ""}
    row = next(one for one in made["l.ledger"] if one["c"][3].get("u") == "kg")
    assert row["c"][4].split()[1::3] == ["kg", "kg"]


def test_all_jobs_of_a_plan_are_in_its_sum_however_many_there_are(live: Live) -> None:
    """And each for thirty days, also for a reader that has long been there."""
    entry = {"entry": "job", "queue": "slurm", "plan": "job_move:b", "signal": "carbon_gco2_per_kwh"}
    figures, reader = {"change": -1000.0, "low": -1000.0, "high": -1000.0}, Reader()
    reader.read(live, NOW)
    for days in (31 * 24 + 13, 24):
        many = [(NOW - days * HOUR, {**entry, "job": str(k), **figures}) for k in range(3000)]
        live.records.append_all(JOBS, many)
    live.records.append(JOBS, NOW - HOUR, {"entry": "unseen", "queue": "slurm", "job": "x", "plan": "job_move:b", "note": ""})
    for one in (reader, Reader()):
        (moved,) = [row for row in one.read(live, NOW).brought if row.lever == "job_move"]
        assert moved.change == pytest.approx(-3000.0)
    assert all(row.lever != "job_move" for row in reader.read(live, NOW + 31 * 24 * HOUR).brought)


def test_after_a_reload_that_names_another_store_only_its_records_count(live: Live, tmp_path: Path) -> None:
    reader = Reader()
    reader.read(live, NOW)
    with closing(open_records(tmp_path / "other.db")) as live.records:
        entry = {"entry": "job", "queue": "slurm", "job": "9", "plan": "job_move:b", "signal": "carbon_gco2_per_kwh"}
        live.records.append(JOBS, NOW - HOUR, {**entry, "change": -1000.0, "low": -1000.0, "high": -1000.0})
        seen = reader.read(live, NOW)
    assert [(one.lever, one.change) for one in seen.brought] == [("job_move", -1.0)]


def test_nothing_read_yet_is_no_number() -> None:
    made = table(None, words("en"))
    assert made["l.requests"] == made["l.refusals"] == made["l.ledger"] == []
    assert made["n.won"]["f"] == "none"
    assert table(Answered((), (), (), (0, 0, 0)), words("en"))["n.won"]["n"] == "0"


def test_a_plan_says_whose_forecast_it_rests_on(live: Live) -> None:
    for basis, said in (("own", "by our own forecast"), ("late", "by the service's last forecast: it is silent")):
        plan = replace(begin("0"), gain=Gain("carbon_gco2_per_kwh", 9.0, -0.2, -0.3, -0.1, basis))
        live.plans = ((plan, Verdict(plan.key, ())),)
        (row,) = view(live, NOW).plans
        assert proposed._row(row, None, NOW, words("en"))["c"][0].endswith(said)


def test_the_page_says_why_levers_rest(live: Live) -> None:
    live.resting = FIRST
    for language, said in (
        ("en", "While a request of the grid is answered, no other lever moves work"),
        ("zh", "响应电网请求期间"),
    ):
        made = proposed.table((), Kept(lambda live, now: None, 1.0, 1.0), 8, NOW, words(language), live.resting)
        assert str(made["t.rests"]).startswith(said)
    assert proposed.table((), Kept(lambda live, now: None, 1.0, 1.0), 8, NOW, words("en"))["t.rests"] == ""


def test_what_the_service_told_last_is_drawn_beside_our_forecast(live: Live) -> None:
    valid_s = T + 3600 * np.arange(1, 5)
    word = Word(("grid", 0, "price_per_mwh"), "s", Origin.FORECAST, T - 60, T, valid_s, np.arange(4.0))
    live.records.append("signals", NOW, word.record())
    books = read_books(live, NOW)
    assert list(books.told["carbon_gco2_per_kwh"]) == [None]  # of each grid
    (told,) = books.told["price_per_mwh"]
    assert told is not None
    np.testing.assert_array_equal(told.values, np.arange(4.0))


@pytest.mark.browser
def test_the_page_shows_them_in_both_languages_and_is_accessible(live: Live) -> None:
    expect.set_options(timeout=WAIT_MS)
    with chromium() as browser, served(live) as url, tab(browser) as page:
        for language, theme, refused in (
            ("en", "dark", "c1 is locked by the operator"),
            ("zh", "light", "c1"),
            ("en", "contrast", "c1"),
        ):
            page.goto(f"{url}/energy?lang={language}")
            page.locator("#theme").select_option(theme)
            expect(page.locator('[data-l="requests"] .row')).to_have_count(4)
            expect(page.locator('[data-l="refusals"] .row')).to_contain_text(refused)
            expect(page.locator('[data-l="ledger"] .row')).to_have_count(5)
            expect(page.locator('[data-n="lost"] .v')).to_have_text("2")
            assert axe_on(page) == []
