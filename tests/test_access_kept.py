"""Users, sessions and tables that several processes keep in one place: what one of them changes, the others never undo."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from access_house import PASSWORD, House, house, sign_in
from faces_harness import Hands

from ingest.stores.records import open_records
from ui.access.desk import Access
from ui.access.keep import Full, Table
from ui.access.people import SEEN_EVERY_S
from ui.access.role import Role
from ui.access.section import AccessSection


@pytest.fixture
def centre(tmp_path: Path) -> House:
    made = house(tmp_path)
    made.user("li", Role.OPERATOR)
    return made


def test_a_session_that_another_process_ended_does_not_come_back(centre: House, tmp_path: Path) -> None:
    """``here`` still shows what it read half a second ago, and a page asks it."""
    there = Access(open_records(tmp_path / "records.db"), AccessSection())
    here, now = centre.access, centre.clock.now()
    secrets = [here.sessions.begin("li", "198.51.100.7", "", now) for _ in range(2)]
    now += timedelta(seconds=2 * SEEN_EVERY_S)
    here.refresh(now)
    there.refresh(now)
    there.users.change("li", now, password="four blue chillers sing")
    there.sessions.end_all("li", now)
    now += timedelta(seconds=0.5)
    assert [here.sessions.whose(secret, now) for secret in secrets] == [None, None]
    for access in (here, there):
        access.refresh(now + timedelta(seconds=5))
        assert access.sessions.table.rows() == {}
    there.records.close()


async def test_a_new_password_by_an_admin_and_being_made_inactive_end_all_that_speaks_for_a_user(centre: House) -> None:
    centre.user("root", Role.ADMIN)
    path = "/api/v1/access/users/li"
    async with centre.browser() as admin:
        await sign_in(admin, "root")
        for said, back in (({"password": "four blue chillers sing"}, {}), ({"active": False}, {"active": True})):
            tokens = [centre.token("li", Role.OPERATOR), centre.token("li", Role.VIEWER, kiosk=True)]
            own = centre.token("root", Role.VIEWER)
            answer = (await admin.patch(path, json=said)).json()
            assert answer["tokens_ended_count"] == 2
            assert (await admin.patch(path, json=back | {"role": "operator"})).json()["tokens_ended_count"] == 0
            now = centre.clock.now()
            assert [centre.access.tokens.whose(token, now) for token in tokens] == [None, None]
            assert centre.access.tokens.whose(own, now) is not None, "nobody else's"
        noted = [entry["after"]["tokens_ended_count"] for entry in centre.audited() if entry["what"] == "user changed"]
        assert noted == [2, 0, 2, 0]


async def test_ones_own_new_password_leaves_ones_tokens(centre: House) -> None:
    token = centre.token("li", Role.OPERATOR)
    async with centre.browser() as browser:
        await sign_in(browser, "li")
        said = {"old": PASSWORD, "new": "four blue chillers sing"}
        assert (await browser.post("/api/v1/access/password", json=said)).status_code == 204
    assert centre.access.tokens.whose(token, centre.clock.now()) is not None


def test_a_change_is_made_of_what_stands_there_and_not_of_what_was_read(centre: House, tmp_path: Path) -> None:
    there = Access(open_records(tmp_path / "records.db"), AccessSection())
    here, now = centre.access, centre.clock.now()
    centre.user("wu", Role.ADMIN)
    there.refresh(now)
    here.users.change("li", now, active=False)
    there.users.change("li", now, role="viewer")
    here.users.add("zhao", PASSWORD, Role.ADMIN, now)
    there.users.remove("wu", now)
    with pytest.raises(ValueError, match="last who administers"):
        here.users.change("zhao", now, active=False)
    with pytest.raises(ValueError, match="is a user 'zhao' already"):
        there.users.add("zhao", PASSWORD, Role.VIEWER, now)
    here.refresh(now + timedelta(seconds=2))
    assert here.users.table.get("li") == there.users.table.get("li")
    assert here.users.table.get("li") | {"active": False, "role": "viewer"} == here.users.table.get("li")
    there.records.close()


def test_tidying_brings_nothing_back_that_another_process_took_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.access.keep._SLACK", 100)
    both = [open_records(tmp_path / "records.db") for _ in range(2)]
    here, there = (Table(records, "t", 2000) for records in both)
    now = Hands().now()
    for i in range(20):
        here.put(f"k{i}", {"n": 0}, now)
    there.refresh(now)
    dropped = there.rows()
    real = here._edit

    def edit(key: str, *args: Any, **options: Any) -> Any:
        """Each row is taken away elsewhere as it is about to be written down anew."""
        if options.get("anew") and key == "k7":
            there.drop("k7", now)
        return real(key, *args, **options)

    here._edit = edit  # type: ignore[method-assign]
    for i in range(220):
        here.put("k0", {"n": i + 1}, now)
    assert len(both[0].read("t", limit=10_000)) < 150, "it was tidied"
    assert set(dropped) - set(here.rows()) == {"k7"}
    there.refresh(now + timedelta(seconds=2))  # what it read last is not there any more
    assert there.rows() == here.rows()
    for records in both:
        records.close()


def test_what_another_process_wrote_is_seen_and_what_no_longer_counts_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.access.keep._SLACK", 20)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    records = [open_records(tmp_path / "r.db") for _ in range(2)]
    here, there = (Table(one, "t", 3) for one in records)
    for i in range(100):
        here.put(f"k{i % 3}", {"i": i}, now)
        there.refresh(now + timedelta(seconds=2 * i))
        there.put(f"k{i % 3}", {"i": -i}, now)
        here.refresh(now + timedelta(seconds=2 * i))
        assert here.rows() == there.rows()
    assert here.get("k0") == {"i": -99}
    assert len(records[0].read("t", limit=1000)) < 60
    with pytest.raises(Full):
        here.put("k4", {}, now)
    here.drop("k0", now)
    fresh = Table(records[1], "t", 3)
    fresh.refresh(now)
    assert list(fresh.rows()) == ["k1", "k2"]
    for one in records:
        one.close()
