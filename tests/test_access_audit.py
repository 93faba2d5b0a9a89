"""The chain of the audit: it holds, each way of tampering is found, and several writers make one chain."""

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from access_house import house, sign_in

from energy.notes import TOPIC, Stage
from ingest.stores.records import FileRecords, open_records
from twin.errors import SourceError
from ui.access.audit import ACCESS, Audited, Head, verify
from ui.access.role import Identity, Role
from ui.cli import main

NOW = datetime(2026, 3, 10, tzinfo=UTC)
WHO = Identity("li", "Li", Role.OPERATOR)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[FileRecords]:
    records = open_records(tmp_path / "records.db")
    yield records
    records.close()


def fill(audited: Audited, count: int = 5) -> None:
    for i in range(count):
        audited.note(
            WHO, "198.51.100.7", "thing done", NOW + timedelta(seconds=i), about=f"r{i}", before={"v": i}, after=0.1 * i
        )


def test_a_chain_goes_on_where_records_without_one_end(kept: FileRecords) -> None:
    kept.append("audit", NOW, {"plan": "p", "stage": "applied"})
    audited = Audited(kept)
    number = audited.append("audit", NOW, {"plan": "p", "stage": "reverted", "value": 0.1, "note": "机柜"})
    fill(audited)
    assert audited.read("audit")[1] == (number, NOW, {"plan": "p", "stage": "reverted", "value": 0.1, "note": "机柜"})
    verdict = verify(audited, "audit")
    assert (verdict.links, verdict.before, verdict.faults) == (1, 1, ())
    with pytest.raises(ValueError, match="kept whole"):
        audited.trim("audit", 1)


OLD = "INSERT INTO record(number, topic, time, text) VALUES (%d, 'audit', 0, '{\"plan\": \"forged\"}')"
BEFORE = {
    "one put in front": OLD % 1,
    "one put in behind": OLD % 12,
    "one changed": "UPDATE record SET text = replace(text, 'applied', 'refused') WHERE number = 11",
    "one taken out": "DELETE FROM record WHERE number = 10",
    "all taken out": "DELETE FROM record WHERE number < 12",
}


@pytest.mark.parametrize("how", BEFORE)
def test_what_was_there_before_the_chain_cannot_be_changed_either(kept: FileRecords, tmp_path: Path, how: str) -> None:
    for stage in ("announced", "applied"):
        kept.append("audit", NOW, {"plan": "p", "stage": stage})
    audited = Audited(kept)
    audited.append("audit", NOW, {"plan": "p", "stage": "reverted"})
    assert verify(audited, "audit").faults == ()
    with sqlite3.connect(tmp_path / "records.db") as con:
        con.execute("UPDATE record SET number = -number")
        con.execute("UPDATE record SET number = CASE number WHEN -3 THEN 13 ELSE 9 - number END")
        con.execute(BEFORE[how])
    con.close()
    (fault,) = verify(audited, "audit").faults
    assert (fault.number, "before the chain" in fault.what) == (13, True)


def test_a_record_put_in_front_of_a_chain_that_began_with_nothing_is_found(kept: FileRecords, tmp_path: Path) -> None:
    fill(Audited(kept))
    with sqlite3.connect(tmp_path / "records.db") as con:
        con.execute("UPDATE record SET number = -number")
        con.execute("UPDATE record SET number = 10 - number")
        con.execute("INSERT INTO record(number, topic, time, text) VALUES (1, 'access-audit', 0, '{}')")
    con.close()
    (fault,) = verify(Audited(kept), ACCESS).faults
    assert (fault.number, "put in" in fault.what) == (11, True)


def set_text(con: sqlite3.Connection, number: int, **what: object) -> None:
    text = json.loads(con.execute("SELECT text FROM record WHERE number = ?", (number,)).fetchone()[0])
    con.execute("UPDATE record SET text = ? WHERE number = ?", (json.dumps(text | what, ensure_ascii=False), number))


TAMPERED = {
    "a word changed": (lambda con: set_text(con, 3, who="wu"), [3]),
    "the newest changed": (lambda con: set_text(con, 5, about="r9"), [5]),
    "its time changed": (lambda con: con.execute("UPDATE record SET time = time - 1000000 WHERE number = 2"), [2]),
    "one taken out": (lambda con: con.execute("DELETE FROM record WHERE number = 3"), [4]),
    "the first taken out": (lambda con: con.execute("DELETE FROM record WHERE number = 1"), [2]),
    "two swapped": (
        lambda con: con.executescript(
            "UPDATE record SET number = 99 WHERE number = 2; UPDATE record SET number = 2 WHERE number = 3;"
            "UPDATE record SET number = 3 WHERE number = 99"
        ),
        [2, 3, 4],
    ),
    "one without a link put in": (
        lambda con: con.execute("INSERT INTO record(topic, time, text) VALUES ('access-audit', 0, '{}')"), [6],
    ),
    "a link whose number is none": (lambda con: set_text(con, 5, chain_no="x"), [5]),
    "its own hash taken out": (lambda con: set_text(con, 3, chain_before=None), [3]),
    "one that is no JSON": (lambda con: con.execute("UPDATE record SET text = '{' WHERE number = 4"), [4, 5]),
    "changed with its own hash made anew": (lambda con: rehash(con, 3), [4]),
}  # fmt: skip


def rehash(con: sqlite3.Connection, number: int) -> None:
    from ui.access.audit import _hash

    text, time_us = con.execute("SELECT text, time FROM record WHERE number = ?", (number,)).fetchone()
    record = json.loads(text) | {"who": "wu"}
    time = datetime.fromtimestamp(time_us / 1e6, UTC)
    set_text(con, number, who="wu", chain_hash=_hash(time, record))


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_is_found_where_it_was_done(kept: FileRecords, tmp_path: Path, name: str) -> None:
    audited = Audited(kept)
    fill(audited)
    assert verify(audited, ACCESS).faults == ()
    tamper, where = TAMPERED[name]
    with sqlite3.connect(tmp_path / "records.db") as con:
        tamper(con)  # type: ignore[no-untyped-call]
    con.close()
    assert sorted({fault.number for fault in verify(audited, ACCESS).faults}) == where


def test_a_chain_cut_off_or_written_anew_does_not_bear_the_link_that_was_noted(kept: FileRecords, tmp_path: Path) -> None:
    audited = Audited(kept)
    fill(audited)
    noted = audited.head(ACCESS)
    assert noted == Head(5, noted.hash)  # type: ignore[union-attr]
    fill(audited, 2)
    assert verify(audited, ACCESS, noted).faults == ()
    with sqlite3.connect(tmp_path / "records.db") as con:
        con.execute("DELETE FROM record WHERE number > 4")
    con.close()
    assert verify(audited, ACCESS).faults == (), "without it nothing shows"
    (fault,) = verify(audited, ACCESS, noted).faults
    assert "cut off or written anew" in fault.what


def together(records: list[Audited]) -> None:
    threads = [Thread(target=fill, args=(one, 15)) for one in records for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = verify(records[0], ACCESS)
    assert (verdict.links, verdict.faults) == (15 * len(threads), ())


def test_several_processes_make_one_chain(tmp_path: Path) -> None:
    records = [open_records(tmp_path / "records.db") for _ in range(2)]
    together([Audited(one) for one in records])
    for one in records:
        one.close()


SITE = '[site]\nname = "c"\nassets = "assets.csv"\n[store]\npath = "store"\n[access]\n'


def run(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main([*words, "--config", str(folder / "site.toml")])
    out = capsys.readouterr()
    return status, out.out + out.err


def test_users_and_audit_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    (tmp_path / "site.toml").write_text(SITE)
    (tmp_path / "store").mkdir()
    monkeypatch.setattr("sys.stdin", io.StringIO("a long enough password\n"))
    assert run(tmp_path, capsys, "user", "add", "li", "--role", "admin")[0] == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    status, said = run(tmp_path, capsys, "user", "add", "wu")
    assert (status, "15 to 256 characters" in said) == (2, True)
    assert run(tmp_path, capsys, "user", "role", "wu", "--role", "viewer")[0] == 2
    status, said = run(tmp_path, capsys, "user", "remove", "li")
    assert (status, "last who administers" in said) == (2, True)
    status, said = run(tmp_path, capsys, "user", "token", "li", "--scope", "look", "--json")
    token = json.loads(said.splitlines()[-1] if said.startswith("{") is False else said.splitlines()[0])["token"]
    status, said = run(tmp_path, capsys, "user", "list", "--json")
    assert json.loads(said) == [{"user": "li", "name": "li", "role": "admin", "active": "on"}]
    status, said = run(tmp_path, capsys, "audit", "heads")
    head = said.strip()
    status, said = run(tmp_path, capsys, "audit", "verify", "--head", head, "--json")
    found = {chain["topic"]: chain for chain in json.loads(said)["chains"]}
    assert (status, found[ACCESS]["links"], found[ACCESS]["faults"]) == (0, 2, [])
    path = tmp_path / "store" / "records.db"
    text = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert token.split("_", 2)[2].encode() not in text  # what is by chance may hold the sign itself
    assert b"long enough password" not in text
    with sqlite3.connect(path) as con:
        con.execute("UPDATE record SET text = replace(text, 'user added', 'nothing done') WHERE topic = 'access-audit'")
    con.close()
    status, said = run(tmp_path, capsys, "audit", "verify")
    assert (status, "its own hash does not fit" in said, "no head was given" in said) == (1, True, True)
    assert run(tmp_path, capsys, "audit", "verify", "--head", "x:y")[0] == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("another long enough password\n"))
    status, said = run(tmp_path, capsys, "user", "password", "li")
    assert (status, "sessions of li are over; tokens taken back: 1\n" in said) == (0, True)


async def test_everything_that_a_request_changed_is_in_the_audit(tmp_path: Path) -> None:
    made = house(tmp_path)
    made.user("root", Role.ADMIN)
    note = {"asset": "R01-01", "sort": "maintenance", "start": "2026-03-10T06:00:00Z", "text": "pump replaced"}
    async with made.browser() as browser:
        await sign_in(browser, "root")
        one = (await browser.post("/api/v1/annotations", json=note)).json()
        await browser.put(f"/api/v1/annotations/{one['id']}", json=note | {"text": "both pumps replaced"})
        await browser.delete(f"/api/v1/annotations/{one['id']}")
        assert (await browser.post("/api/v1/annotations", json=note | {"asset": "nothing"})).status_code == 422
        told = (await browser.get("/api/v1/audit?limit=4")).json()
        assert [(row["what"], row["who"], row["source"]) for row in told] == [
            ("annotation removed", "root", "198.51.100.7"), ("annotation changed", "root", "198.51.100.7"),
            ("annotation made", "root", "198.51.100.7"), ("signed in", "root", "198.51.100.7"),
        ]  # fmt: skip
        changed = told[1]
        assert (changed["before"]["text"], changed["after"]["text"]) == ("pump replaced", "both pumps replaced")
        verdicts = (await browser.get("/api/v1/audit/verify")).json()
        heads = (await browser.get("/api/v1/audit/heads")).json()
        assert [(one["topic"], one["links"], one["faults"]) for one in verdicts] == [
            ("access-audit", 4, []), ("audit", 0, []), ("oncall-audit", 0, []),
        ]  # fmt: skip
        assert heads == [verdicts[0]["head"]]


@pytest.mark.parametrize("error", [SourceError("the disk is full"), TypeError("5 is no record")])
async def test_whatever_keeps_the_audit_from_being_kept_is_said(tmp_path: Path, error: Exception) -> None:
    from ui.access.keep import Table

    made = house(tmp_path)
    made.user("li", Role.OPERATOR)

    def full(*_: object, **__: object) -> int:
        raise error

    async with made.browser() as browser:
        await sign_in(browser, "li")
        made.access.records.note = full  # type: ignore[method-assign]
        answer = await browser.post("/api/v1/views", json={"name": "mine", "page": "/explore"})
        assert (answer.status_code, answer.json()["detail"]) == (
            503, f"It is done, but the audit could not be kept: {error}.",
        )  # fmt: skip
        assert isinstance(made.access.views, Table)
        assert len(made.access.views.rows()) == 1


async def test_what_acts_is_booked_under_whoever_asked_with_before_and_after(tmp_path: Path) -> None:
    """Whatever name the body gives: a token speaks for its owner, whatever the token is called."""
    made = house(tmp_path)
    made.live.folder = tmp_path
    made.user("op", Role.ENGINEER)
    now = made.clock.now()
    wanted = {"by": "the director", "start": now.isoformat(), "end": (now + timedelta(hours=1)).isoformat(), "limit_kw": 50}
    async with made.program(made.token("op", Role.ENGINEER)) as program:
        assert (await program.put("/api/v1/requests/x1", json=wanted)).json()["by"] == "op"
        assert (await program.put("/api/v1/requests/x1", json=wanted | {"limit_kw": 40})).status_code == 202
        assert (await program.delete("/api/v1/requests/x1")).status_code == 202
        for what in ("stop", "go"):
            assert (await program.post(f"/api/v1/{what}", json={"by": "the director", "why": "leak"})).json()["by"] == "op"
        assert (await program.post("/api/v1/plans/p1/reject", json={"by": "the director"})).status_code == 202
    asked, again, back, stop, go, no = made.audited()
    assert {record["who"] for record in made.audited()} == {"op"}
    assert (asked["what"], asked["about"], asked["before"]) == ("request of the grid", "x1", None)
    assert (asked["after"]["by"], asked["after"]["limit_kw"]) == ("op", 50)
    assert (again["before"]["limit_kw"], again["after"]["limit_kw"]) == (50, 40)
    assert (back["before"]["limit_kw"], back["after"]) == (40, None)
    assert (stop["what"], stop["before"], stop["after"]) == ("stop", {"stopped": None}, {"by": "op", "why": "leak"})
    assert (go["what"], go["before"]["stopped"]["who"], go["after"]["by"]) == ("go", "op", "op")
    assert (no["what"], no["about"], no["after"]["by"]) == ("plan: reject", "p1", "op")


def test_what_acts_at_the_command_line_is_in_the_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "assets.csv").write_text("id,kind,parent\nhall,hall,\n")
    (tmp_path / "site.toml").write_text('[site]\nname = "s"\n[store]\npath = "store"\n')
    (tmp_path / "store").mkdir()
    plain = open_records(tmp_path / "store" / "records.db")
    plain.append(TOPIC, datetime.now(UTC), {"stage": Stage.WAITING, "plan": "p1"})
    plain.close()
    for words in (
        ("stop", "--who", "li", "--why", "leak"),
        ("go", "--who", "li"),
        ("approve", "p1", "--who", "li", "--no"),
        ("request", "evening", "--cut-kw", "250"),
        ("request", "evening", "--withdraw"),
    ):
        assert main([*words, "--config", str(tmp_path / "site.toml")]) == 0, words
    records = Audited(open_records(tmp_path / "store" / "records.db"))
    stop, go, no, asked, back = (record for _, _, record in records.read("access-audit"))
    assert verify(records, "access-audit").links == 5
    records.close()
    assert (stop["what"], stop["name"], stop["from"], stop["after"]["why"]) == ("stop", "li", "command line", "leak")
    assert go["before"]["stopped"]["why"] == "leak"
    assert (no["what"], no["about"]) == ("plan: reject", "p1")
    assert (asked["about"], asked["after"][0]["cut_w"]) == ("command/evening", "250000.0")
    assert back["what"] == "request of the grid taken back"


ODD = (
    "/api/v1/series?kind=gpu&metric=power_w&end=0001-01-01T00:00:00Z",
    "/api/v1/series?kind=gpu&metric=power_w&start=9999-12-31T23:59:59-12:00",
    "/api/v1/series?kind=gpu&metric=power_w&step_s=inf",
    "/api/v1/series?kind=gpu&metric=power_w&step_s=nan",
    "/api/v1/explore?kind=gpu&metric=power_w&end=0001-01-01T00:00:00Z",
    "/api/v1/explore/asset?asset=site&metric=it_power_w&step_s=nan",
    "/api/v1/explore/asset?asset=site&metric=it_power_w&step_s=1e308",
    "/api/v1/explore/asset?asset=site&metric=it_power_w&start=0001-01-01T00:00:00Z",
    "/api/v1/energy?end=0001-01-01T00:00:00Z",
    "/api/v1/energy?start=9999-12-31T23:59:59-12:00",
    "/api/v1/scene/frame?time=0001-01-01T00:00:00Z",
    "/api/v1/events?start=9999-12-31T23:59:59-12:00",
)


async def test_no_time_and_no_step_is_too_odd_for_an_answer(tmp_path: Path) -> None:
    made = house(tmp_path, {"mode": "single"})
    async with made.browser("127.0.0.1") as browser:
        for path in ODD:
            answer = await browser.get(path, headers={"host": "127.0.0.1", "origin": "http://127.0.0.1"})
            assert answer.status_code in (404, 422), f"{path}: {answer.text[:200]}"
            assert "detail" in answer.json()
    signs = house(tmp_path)
    async with signs.browser() as browser:
        cookie = {"cookie": b"icctwin-device=abc.\xe9"}
        said = {"name": "li", "password": "none of ours"}
        assert (await browser.post("/api/v1/access/sign-in", json=said, headers=cookie)).status_code == 401
