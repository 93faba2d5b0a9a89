"""Records of the audit that cannot be read: each is named, the others are looked at and shown, and the audit goes on."""

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from access_house import house, sign_in

from ingest.stores.records import FileRecords, open_records
from twin.errors import Damaged
from ui.access.audit import ACCESS, Audited, verify
from ui.access.role import Identity, Role
from ui.cli import main

NOW = datetime(2026, 3, 10, tzinfo=UTC)
WHO = Identity("li", "Li", Role.OPERATOR)
DAMAGE = {  # what a record's text or time becomes
    "a number": ("text", "5"),
    "nothing": ("text", "null"),
    "no JSON": ("text", "{"),
    "brackets without end": ("text", "[" * 6000 + "]" * 6000),
    "deeper than anything written here": ("text", '{"chain_no":1,"chain_hash":"","a":' + "[" * 400 + "]" * 400 + "}"),
    "bytes that are no text": ("text", b'{"chain_no":3,"chain_hash":"","who":"\xff"}'),
    "half a character": ("text", '{"chain_no":3,"chain_hash":"","who":"\\ud800"}'),
    "no time": ("time", "abc"),
    "a time that is no date": ("time", 2**63 - 1),
}
READ = "cannot be read: it was changed or is damaged"


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[FileRecords]:
    records = open_records(tmp_path / "records.db")
    yield records
    records.close()


def fill(audited: Audited, count: int) -> None:
    for i in range(count):
        audited.note(WHO, "198.51.100.7", "thing done", NOW + timedelta(seconds=i), about=f"r{i}")


def damage(folder: Path, how: str, *numbers: int) -> None:
    column, value = DAMAGE[how]
    with sqlite3.connect(folder / "records.db") as con:
        for number in numbers:
            kept_as = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
            con.execute(f"UPDATE record SET {column} = {kept_as} WHERE number = ?", (value, number))
    con.close()


@pytest.mark.parametrize("how", DAMAGE)
def test_what_cannot_be_read_is_named_and_all_else_is_looked_at(kept: FileRecords, tmp_path: Path, how: str) -> None:
    audited = Audited(kept)
    fill(audited, 40)
    damage(tmp_path, how, 3, 30, 31)
    verdict = verify(audited, ACCESS)
    assert [(fault.number, fault.what) for fault in verdict.faults] == [
        (3, f"it {READ}"), (4, "link 4 follows link 2: records were taken out or put in"),
        (30, f"it {READ}"), (31, f"it {READ}"), (32, "link 32 follows link 29: records were taken out or put in"),
    ]  # fmt: skip
    assert (verdict.links, verdict.head) == (37, audited.head(ACCESS))
    with pytest.raises(Damaged, match=f"^record 3 of 'access-audit' {READ}$") as caught:
        audited.read(ACCESS)
    assert caught.value.number == 3


@pytest.mark.parametrize("how", DAMAGE)
def test_the_audit_goes_on_after_a_newest_that_cannot_be_read(kept: FileRecords, tmp_path: Path, how: str) -> None:
    fill(Audited(kept), 5)
    damage(tmp_path, how, 5)
    fill(Audited(kept), 2)  # as of a process that starts now
    verdict = verify(Audited(kept), ACCESS)
    begun = 6 if DAMAGE[how][0] == "time" else 1  # what it carries can be read still
    assert [(fault.number, fault.what) for fault in verdict.faults] == [
        (5, f"it {READ}"), (6, f"link {begun} follows link 4: records were taken out or put in"),
    ]  # fmt: skip
    assert (verdict.links, verdict.head) == (6, Audited(kept).head(ACCESS))


def test_what_could_not_be_read_before_the_chain_is_part_of_what_its_first_link_carries(
    kept: FileRecords, tmp_path: Path
) -> None:
    for stage in ("announced", "applied", "reverted"):
        kept.append("audit", NOW, {"plan": "p", "stage": stage})
    damage(tmp_path, "a number", 2, 3)
    audited = Audited(kept)
    audited.append("audit", NOW, {"plan": "p", "stage": "forgotten"})
    verdict = verify(audited, "audit")
    assert ([fault.number for fault in verdict.faults], verdict.before, verdict.links) == ([2, 3], 3, 1)
    with sqlite3.connect(tmp_path / "records.db") as con:
        con.execute("UPDATE record SET text = '{}' WHERE number = 2")
    con.close()
    assert [fault.number for fault in verify(audited, "audit").faults] == [3, 4]


async def test_a_damaged_record_hides_no_other_and_stops_no_audit(tmp_path: Path) -> None:
    made = house(tmp_path)
    made.live.folder = tmp_path
    made.user("root", Role.ADMIN)
    async with made.browser() as browser:
        await sign_in(browser, "root")
        view = {"name": "mine", "page": "/explore"}
        assert (await browser.post("/api/v1/views", json=view)).status_code == 201
        with sqlite3.connect(tmp_path / "records.db") as con:
            (number,) = con.execute("SELECT max(number) FROM record WHERE topic = 'access-audit'").fetchone()
            con.execute("UPDATE record SET text = '5' WHERE number = ?", (number,))
        con.close()
        heads = await browser.get("/api/v1/audit/heads")
        assert (heads.status_code, heads.json()["detail"]) == (503, f"record {number} of 'access-audit' {READ}")
        said = await browser.post("/api/v1/stop", json={"by": "root", "why": "leak"})
        assert said.status_code == 202, said.text
        told = (await browser.get("/api/v1/audit?topic=access-audit")).json()
        assert [(one["who"], one["what"]) for one in told] == [("root", "stop"), ("", "cannot be read"), ("root", "signed in")]
        access = (await browser.get("/api/v1/audit/verify")).json()[0]
        begun = f"record {told[0]['number']}: link 1 follows link 1: records were taken out or put in"
        assert access["faults"] == [f"record {number}: it {READ}", begun]
        assert (await browser.get("/api/v1/audit/heads")).json() == [access["head"]]


def test_the_command_names_the_record_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "site.toml").write_text('[site]\nname = "c"\nassets = "assets.csv"\n[store]\npath = "."\n')
    records = open_records(tmp_path / "records.db")
    fill(Audited(records), 2)
    damage(tmp_path, "nothing", 2)
    assert main(["audit", "verify", "--config", str(tmp_path / "site.toml")]) == 1
    assert f"record 2 of access-audit: it {READ}\n" in capsys.readouterr().out
    records.close()


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (
            "UPDATE record SET text = replace(text, 'thing done', 'nothing') WHERE number = 8",
            "record 8 is wrong; {} 7 {} 12 {}",
        ),
        ("DELETE FROM record WHERE number = 8", "record 9 is wrong; {} 7 {} 11 {}"),
        (
            "UPDATE record SET text = replace(text, 'thing done', 'nothing') WHERE number IN (8, 11)",
            "2 records are wrong, the first of them record 8; {} 7 {} 11 {}",
        ),
        ("DELETE FROM record WHERE number > 18", "its end, or all of it, is another"),
    ],
)
def test_the_command_says_what_is_wrong_and_nothing_that_reads_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tamper: str, said: str
) -> None:
    (tmp_path / "site.toml").write_text('[site]\nname = "c"\nassets = "assets.csv"\n[store]\npath = "."\n')
    audited = Audited(open_records(tmp_path / "records.db"))
    fill(audited, 20)
    verify_it = ["audit", "verify", "--config", str(tmp_path / "site.toml"), "--head", f"{ACCESS}:{audited.head(ACCESS)}"]
    audited.close()
    assert main(verify_it) == 0
    assert f"ok   {ACCESS}   20 links hold\n" in capsys.readouterr().out
    with sqlite3.connect(tmp_path / "records.db") as con:
        con.execute(tamper)
    con.close()
    assert main(verify_it) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("BAD")]
    assert line == f"BAD  {ACCESS}   does not hold: " + said.format("links that fit:", "before it,", "after it")
    assert main([*verify_it, "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["chains"][0]["ok"]


def test_what_could_not_be_read_again_is_not_written(kept: FileRecords) -> None:
    deepest: dict[str, object] = {}
    for _ in range(99):
        deepest = {"a": deepest}
    kept.append("t", NOW, deepest)
    assert kept.read("t")[0][2] == deepest
    with pytest.raises(ValueError, match="more than 100 lists and objects within one another"):
        kept.append("t", NOW, {"a": deepest})
