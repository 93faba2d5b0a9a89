"""A clock that leapt a day ahead and is right again: nobody is kept out by it, and nothing counts twice."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from access_house import house, sign_in

from ingest.stores.records import open_records
from ui.access.guesses import Guesses
from ui.access.role import Role, Scope
from ui.switch import KEPT_USED, USED, redeem, signature, signing_key

DAY_S = 86400.0
LI = ("li", "", "198.51.100.7")


def test_what_was_guessed_while_the_clock_was_ahead_waits_no_longer_than_it_would() -> None:
    kept, now_s = Guesses(), 1e9
    for _ in range(6):
        kept.failed(*LI, now_s + DAY_S)
    assert kept.wait_s(*LI, now_s) == 4.0
    assert kept.wait_s(*LI, now_s + 3.0) == 1.0
    assert kept.wait_s(*LI, now_s + 4.0) == 0.0
    kept.failed(*LI, now_s + 4.0)
    assert kept.wait_s(*LI, now_s + 4.0) == 8.0, "and it counts on from there"
    assert kept.wait_s(*LI, now_s + 4.0 + DAY_S) == 0.0


async def test_who_was_added_while_the_clock_was_ahead_signs_in_once_it_is_right(tmp_path: Path) -> None:
    made = house(tmp_path)
    made.clock.skip(DAY_S)
    made.user("root", Role.ADMIN)
    made.clock.skip(-DAY_S)
    async with made.browser() as browser:
        assert (await sign_in(browser, "root")).status_code == 200
        token = (await browser.post("/api/v1/access/tokens", json={"name": "t", "role": "admin", "scopes": ["look"]})).json()
        async with made.program(token["token"]) as program:
            assert (await program.get("/api/v1/access/me")).json()["role"] == "admin"
        made.user("spare", Role.ADMIN)
        made.access.users.remove("root", made.clock.now())
        made.user("root", Role.ADMIN)
        assert made.access.tokens.table.get(token["id"]) is not None
        for client in (browser, made.program(token["token"])):
            assert (await client.get("/api/v1/site")).status_code == 401, "another of that name has nothing of it"


@pytest.mark.parametrize(("later_s", "role"), [(1.0, Role.OPERATOR), (-1.0, Role.NOBODY)])
def test_what_a_release_before_made_is_told_apart_by_its_times(tmp_path: Path, later_s: float, role: Role) -> None:
    made = house(tmp_path)
    now = made.clock.now()
    old = {"name": "li", "role": "operator", "hash": "", "active": True, "made": now.isoformat()}
    made.access.users.table.put("li", old, now)
    token = made.token("li", Role.OPERATOR, Scope.LOOK)
    row = made.access.tokens.table.get(token.split("_")[1])
    assert row is not None
    row = {key: value for key, value in row.items() if key != "born"}
    row["made"] = (now + timedelta(seconds=later_s)).isoformat()
    made.access.tokens.table.put(token.split("_")[1], row, now)
    who = made.access.tokens.whose(token, now)
    assert (who.role if who else Role.NOBODY) is role


def test_a_link_counts_once_whatever_the_clock_said_between(tmp_path: Path) -> None:
    records, now = open_records(tmp_path / "records.db"), datetime(2026, 3, 10, tzinfo=UTC)

    def use(plan: str, at: datetime, hours: float = 11.0) -> str:
        until = at + timedelta(hours=hours)
        return redeem(records, tmp_path, plan, "li", until, signature(signing_key(tmp_path), plan, "li", until), at)

    assert use("p1", now) == ""
    assert use("p2", now + timedelta(days=1)) == ""
    assert use("p1", now) == "This link was used already."
    signs = {f"{i:064x}": now.timestamp() + i for i in range(KEPT_USED)}
    records.append(USED, now, {"signs": signs})
    full = f"{KEPT_USED} links were used within their time, and no more are taken; say yes on the wall."
    assert use("p3", now - timedelta(seconds=1)) == full
    assert use("p3", now) == "", "the one that is over makes room"
    ((_, _, last),) = records.read(USED)
    assert (len(last["signs"]), f"{0:064x}" in last["signs"], f"{1:064x}" in last["signs"]) == (KEPT_USED, False, True)
    records.close()
