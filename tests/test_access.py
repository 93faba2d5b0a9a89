"""Signing in, sessions, tokens and what they may, over HTTP and on a clock that the test moves."""

import json
from pathlib import Path

import httpx
import pytest
from access_house import HOME, PASSWORD, House, house, sign_in
from argon2 import PasswordHasher
from faces_harness import served
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from twin.errors import ConfigError
from ui.access import guesses as guessing
from ui.access import passwords
from ui.access.guesses import Guesses
from ui.access.role import Identity, Role, Scope
from ui.access.section import AccessSection
from ui.config import load_config
from ui.faces.pages.sign_in import page_of_ours

ME = "/api/v1/access/me"
VIEW = {"name": "mine", "page": "/explore", "query": "kind=gpu"}


@pytest.fixture
def centre(tmp_path: Path) -> House:
    made = house(tmp_path)
    made.user("li", Role.OPERATOR)
    return made


async def role_of(client: httpx.AsyncClient) -> str:
    return str((await client.get(ME)).json()["role"])


def secret_of(browser: httpx.AsyncClient) -> str:
    return next((str(cookie.value) for cookie in browser.cookies.jar if cookie.name == "icctwin-session"), "")


async def test_a_session_begins_under_a_new_secret_and_ends_for_good(centre: House) -> None:
    async with centre.browser() as browser:
        page = await browser.get("/oncall", headers={"accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/sign-in?next=%2Foncall")
        assert (await browser.get("/api/v1/site")).status_code == 401
        planted = "a-secret-that-somebody-planted"
        browser.cookies.set("icctwin-session", planted, domain="twin.local", path="/")
        answer = await sign_in(browser, "li")
        cookie = answer.headers["set-cookie"]
        assert answer.status_code == 200
        assert all(word in cookie for word in ("HttpOnly", "SameSite=lax", "Path=/"))
        first = secret_of(browser)
        assert first not in ("", planted)
        assert await role_of(browser) == "operator"
        assert (await sign_in(browser, "li")).status_code == 200
        assert centre.access.sessions.whose(first, centre.clock.now()) is None, "the session of before is over"
        secret = secret_of(browser)
        assert (await browser.post("/api/v1/access/sign-out", json={})).status_code == 204
        browser.cookies.set("icctwin-session", secret, domain="twin.local", path="/")
        assert await role_of(browser) == "nobody", "what was signed out is over, whoever kept the cookie"
    text = (centre.access.records.kept._path).read_bytes()  # type: ignore[attr-defined]
    assert first.encode() not in text
    assert PASSWORD.encode() not in text


def test_behind_tls_a_cookie_is_for_this_host_and_for_tls_alone(tmp_path: Path) -> None:
    from starlette.responses import Response

    from ui.access.cookies import SESSION, Cookies

    answer = Response()
    Cookies(AccessSection.model_validate({"url": "https://noc.example.org"})).set(answer, SESSION, "x")
    assert answer.headers["set-cookie"].startswith("__Host-icctwin-session=x;")
    assert "Secure" in answer.headers["set-cookie"]


async def test_a_session_ends_unused_and_ends_however_much_it_is_used(centre: House) -> None:
    async with centre.browser() as browser:
        await sign_in(browser, "li")
        for _ in range(23):  # half an hour each: never idle for an hour
            centre.clock.skip(1800)
            assert await role_of(browser) == "operator"
        centre.clock.skip(1801)
        assert await role_of(browser) == "nobody", "twelve hours are the longest"
        await sign_in(browser, "li")
        centre.clock.skip(3601)
        assert await role_of(browser) == "nobody", "an hour unused is the longest"


async def test_who_is_demoted_or_removed_is_so_at_once(centre: House) -> None:
    centre.user("root", Role.ADMIN)
    async with centre.browser() as browser, centre.browser() as admin:
        await sign_in(browser, "li")
        await sign_in(admin, "root")
        assert (await admin.patch("/api/v1/access/users/li", json={"role": "viewer"})).status_code == 200
        assert await role_of(browser) == "viewer"
        assert (await admin.patch("/api/v1/access/users/li", json={"active": False})).status_code == 200
        assert await role_of(browser) == "nobody"
        assert (await sign_in(browser, "li")).status_code == 401
        refused = await admin.delete("/api/v1/access/users/root")
        assert (refused.status_code, "last who administers" in refused.text) == (422, True)
        changed = [entry for entry in centre.audited() if entry["what"] == "user changed"]
        assert [(one["who"], one["about"], one["before"]["role"], one["after"]["role"]) for one in changed] == [
            ("root", "li", "operator", "viewer"), ("root", "li", "viewer", "viewer"),
        ]  # fmt: skip
        assert {entry["from"] for entry in changed} == {"198.51.100.7"}


async def test_a_page_of_another_origin_changes_nothing(centre: House) -> None:
    body = {"matchers": ["rack=R01-01"], "author": "li", "reason": "r", "end": "2026-03-10T08:00:00Z"}
    path = "/api/v1/views"
    async with centre.browser() as browser:
        await sign_in(browser, "li")
        before = len(centre.audited())
        for headers in (
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": "http://twin.evil.example"},
            {"origin": HOME, "content-type": "text/plain"},
        ):
            refused = await browser.post(path, content=json.dumps(VIEW), headers={"content-type": "application/json"} | headers)
            assert refused.status_code == 403, headers
            assert (await browser.post("/api/v1/oncall/silences", json=body, headers=headers)).status_code == 403
        del browser.headers["origin"]
        for headers in ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {}):
            assert (await browser.post(path, json=VIEW, headers=headers)).status_code == 403, headers
        assert len(centre.audited()) == before
        assert (await browser.post(path, json=VIEW, headers={"sec-fetch-site": "same-origin"})).status_code == 201
        login = await browser.post("/api/v1/access/sign-in", json={}, headers={"origin": "https://evil.example"})
        assert login.status_code == 403, "nor does it sign anybody in"


async def test_a_token_is_shown_once_ends_and_goes_no_further_than_its_owner(centre: House) -> None:
    async with centre.browser() as browser:
        await sign_in(browser, "li")
        path = "/api/v1/access/tokens"
        over = await browser.post(path, json={"name": "t", "role": "admin", "scopes": ["look"]})
        assert (over.status_code, "more than whoever makes it" in over.text) == (422, True)
        ask = {"name": "grafana", "role": "operator", "scopes": ["look", "notes"], "days": 2}
        made = (await browser.post(path, json=ask)).json()
        (listed,) = (await browser.get(path)).json()
        assert "token" not in listed
        assert made["token"].split("_", 2)[2] not in json.dumps(centre.audited())
        async with centre.program(made["token"]) as program:
            assert await role_of(program) == "operator"
            assert (await program.post("/api/v1/views", json=VIEW)).status_code == 201
            refused = await program.delete("/api/v1/oncall/silences/a?by=li")
            assert (refused.status_code, "needs the scope 'oncall'" in refused.text) == (403, True)
            centre.access.users.change("li", centre.clock.now(), role="viewer")
            assert await role_of(program) == "viewer", "never above what its owner is now"
            centre.clock.skip(2 * 86400)
            assert (await program.get("/api/v1/site")).status_code == 401
        await sign_in(browser, "li")
        again = (await browser.post(path, json=ask | {"role": "viewer"})).json()
        async with centre.program(again["token"]) as program:
            assert (await program.get("/api/v1/site")).status_code == 200
            assert (await browser.delete(f"{path}/{again['id']}")).status_code == 204
            assert (await program.get("/api/v1/site")).status_code == 401
        async with centre.program(again["token"][:-1] + "x") as program:
            assert (await program.get("/api/v1/site")).status_code == 401


async def test_a_kiosk_can_only_look(centre: House) -> None:
    centre.user("root", Role.ADMIN)
    token = centre.token("root", Role.VIEWER, Scope.LOOK, kiosk=True)
    async with centre.browser() as screen:
        answer = await screen.get(f"/?kiosk={token}&lang=zh")
        assert (answer.status_code, answer.headers["location"]) == (303, "/?lang=zh")
        assert (await screen.get("/?lang=zh")).status_code == 200
        assert await role_of(screen) == "viewer"
        assert (await screen.post("/api/v1/views", json=VIEW)).status_code == 403
        assert (await screen.post("/api/v1/what-if", json={})).status_code == 403
        centre.access.tokens.table.drop(token.split("_")[1], centre.clock.now())
        assert (await screen.get("/api/v1/site")).status_code == 401
    async with centre.program(token) as program:
        assert (await program.get("/api/v1/site")).status_code == 401, "a kiosk's token is for screens"
    async with centre.browser() as screen:
        assert (await screen.get("/?kiosk=icctwin_wrong")).status_code == 401


def test_right_passwords_count_against_no_network() -> None:
    kept, address = Guesses(), "198.51.100.7"
    for k in range(100):
        assert kept.wait_s(f"user {k}", "", address, k) == 0.0
        kept.failed(f"user {k}", "", address, k)
        kept.passed(f"user {k}", "", address, k)
    for k in range(20):
        assert kept.wait_s(f"guess {k}", "", address, 1000.0) == 0.0
        kept.failed(f"guess {k}", "", address, 1000.0)
    assert kept.wait_s("user 1", "", address, 1000.0) == 2.0, "twenty wrong ones do"
    kept.failed("user 1", "", address, 1002.0)
    kept.passed("user 1", "", address, 1002.0)
    assert kept.wait_s("user 2", "", address, 1002.0) == 0.0, "the right one makes nobody wait anew"
    kept.failed("guess 1", "", address, 1002.0)
    assert kept.wait_s("user 2", "", address, 1002.0) == 4.0, "and forgives no wrong one"


async def test_guessing_waits_longer_each_time_and_its_owner_is_never_kept_out(centre: House) -> None:
    async with centre.browser("198.51.100.7") as own, centre.browser("203.0.113.66") as thief:
        assert (await sign_in(own, "li")).status_code == 200
        await own.post("/api/v1/access/sign-out", json={})
        for _ in range(guessing.FREE):
            assert (await sign_in(thief, "li", "wrong wrong wrong")).status_code == 401
        refused = await sign_in(thief, "li", PASSWORD)
        assert (refused.status_code, int(refused.headers["retry-after"])) == (429, 2), "not even with the right one"
        assert (await sign_in(own, "li")).status_code == 200, "this browser has signed in before"
        noted = [entry for entry in centre.audited() if entry["what"] == "sign-in refused"]
        assert {(entry["about"], entry["from"]) for entry in noted} == {("li", "203.0.113.66")}
        assert (await sign_in(thief, "nobody-of-that-name", PASSWORD)).status_code == 401


@given(st.lists(st.tuples(st.sampled_from(["li", "wu"]), st.sampled_from(["203.0.113.1", "2001:db8::1"])), max_size=300))
def test_no_flood_of_guesses_keeps_anybody_out_for_ever(attempts: list[tuple[str, str]]) -> None:
    kept = Guesses()
    for i, (name, address) in enumerate(attempts):
        kept.failed(name, "", address, float(i))
    end_s = float(len(attempts))
    assert kept.wait_s("li", "", "198.51.100.9", end_s) <= guessing.LONGEST_NAME_S, "from elsewhere"
    assert kept.wait_s("li", "its own browser", "203.0.113.1", end_s) == 0
    assert kept.wait_s("li", "", "203.0.113.1", end_s) <= guessing.LONGEST_S
    assert kept.wait_s("li", "", "203.0.113.1", end_s + guessing.LONGEST_S) == 0


def test_a_socket_ends_with_its_session(centre: House) -> None:
    with served(centre.live) as url:
        socket_url = url.replace("http", "ws") + "/live"
        with pytest.raises(Exception, match="403"), connect(socket_url):
            pass
        with httpx.Client(base_url=url, headers={"origin": url}) as browser:
            browser.post("/api/v1/access/sign-in", json={"name": "li", "password": PASSWORD})
            cookie = "; ".join(f"{key}={value}" for key, value in browser.cookies.items())
            with connect(socket_url, additional_headers={"cookie": cookie}, origin=url) as socket:  # type: ignore[arg-type]
                assert json.loads(socket.recv(timeout=10))["is"] == "hello"
                browser.post("/api/v1/access/sign-out", json={})
                with pytest.raises(ConnectionClosed) as closed:
                    list(iter(lambda: socket.recv(timeout=10), None))
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "the session is over")


@pytest.mark.parametrize("after", ["//evil.example", "/\\evil.example", "https://evil.example", "/\n/evil", "javascript:1", ""])
def test_signing_in_leads_to_a_page_of_ours(after: str) -> None:
    assert page_of_ours(after) == "/"
    assert page_of_ours("/asset/r1?lang=zh") == "/asset/r1?lang=zh"


async def test_one_person_on_this_machine_needs_none_of_it(tmp_path: Path) -> None:
    made = house(tmp_path, {"mode": "single"})
    async with made.browser("127.0.0.1") as here:
        del here.headers["origin"]
        here.headers["host"] = "localhost:8050"
        assert (await here.get(ME)).json()["sort"] == "local"
        assert (await here.post("/api/v1/views", json=VIEW)).status_code == 201
        rebound = {"origin": HOME, "host": "twin"}  # a name that its owner let point to this machine
        assert (await here.post("/api/v1/views", json=VIEW, headers=rebound)).status_code == 421
        proxied = {"x-forwarded-for": "203.0.113.9"}
        assert (await here.post("/api/v1/views", json=VIEW, headers=proxied)).status_code == 403
        assert (await here.get("/api/v1/site", headers=proxied)).status_code == 200
        assert [entry["who"] for entry in made.audited()] == ["local"]
        signing = await sign_in(here, "li")
        assert (signing.status_code, "Nobody signs in here" in signing.text) == (422, True)


async def test_what_the_store_says_is_for_whoever_may_look(centre: House) -> None:
    centre.live.store.broken = True  # type: ignore[attr-defined]
    async with centre.browser() as stranger, centre.program(centre.token("li", Role.VIEWER)) as viewer:
        assert (await stranger.get("/readyz")).json()["reasons"] == ["the store does not answer"]
        assert (await viewer.get("/readyz")).json()["reasons"] == ["the store does not answer: disk gone"]


VERIFY = "/api/v1/audit/verify"  # an admin looks at it
NAMED = [  # Host, mode, [access] url -> an admin's page, site, whether it lives
    ("localhost", "single", "", 200, 200, 200),
    ("127.0.0.1:8050", "single", "", 200, 200, 200),
    ("[::1]:8050", "single", "", 200, 200, 200),
    ("evil.example:8050", "single", "", 421, 421, 200),
    ("localhost.evil.example", "single", "", 421, 421, 200),
    ("[evil", "single", "", 403, 200, 200),
    ("10.0.0.5:8050", "single", "", 403, 200, 200),
    ("noc.example.org", "single", "https://noc.example.org", 403, 200, 200),
    ("evil.example", "open", "", 403, 200, 200),
    ("localhost", "open", "", 200, 200, 200),
]


@pytest.mark.parametrize(("host", "mode", "url", "verify", "site", "lives"), NAMED)
async def test_a_name_that_is_not_this_machines_leads_nobody_in(
    tmp_path: Path, host: str, mode: str, url: str, verify: int, site: int, lives: int
) -> None:
    made = house(tmp_path, {"mode": mode, "url": url})
    async with made.browser("127.0.0.1", host=host) as here:
        del here.headers["origin"]  # a browser that reads a page's own origin says nothing of it
        said = [(await here.get(path)).status_code for path in (VERIFY, "/api/v1/site", "/healthz")]
        assert said == [verify, site, lives]
    raw = [(b"host", host.encode())]
    socket = {"type": "websocket", "path": "/live", "query_string": b"", "headers": raw, "client": ("127.0.0.1", 1)}
    assert (await made.door.admit(socket) is not None) == (site == 421)


SITE = '[site]\nname = "c"\nassets = "assets.csv"\n[wall]\nhost = "{host}"\n{access}'


@pytest.mark.parametrize(
    ("host", "access", "says"),
    [
        ("127.0.0.1", "", ""),
        ("::1", "", ""),
        ("0.0.0.0", "", "site.toml:5: listens on 0.0.0.0, so that others reach it, and nobody signs in; write [access]"),
        ("0.0.0.0", "[access]\n", ""),
        ("0.0.0.0", '[access]\nmode = "open"\n', ""),
        ("0.0.0.0", '[access]\nmode = "single"\n', "nobody signs in"),
        ("::1", "[access]\nidle_minutes = 0\n", "idle_minutes"),
        ("::1", '[access.oidc]\nissuer = "http://id.example"\nclient_id = "x"\n', "reached by https"),
        ("::1", '[access.oidc]\nissuer = "https://id.example"\nclient_id = "x"\n', "write url"),
    ],
)
def test_others_are_not_shown_the_centre_unless_the_configuration_says_so(
    tmp_path: Path, host: str, access: str, says: str
) -> None:
    path = tmp_path / "site.toml"
    path.write_text(SITE.format(host=host, access=access))
    if not says:
        assert load_config(path).wall.host == host
        return
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert says in str(caught.value)


async def test_the_next_of_a_name_has_nothing_of_the_one_before(centre: House) -> None:
    centre.user("wu", Role.ADMIN)
    token, kept = centre.token("li", Role.OPERATOR), centre.access
    async with centre.browser() as browser, centre.browser() as admin, centre.program(token) as program:
        await sign_in(browser, "li")
        await sign_in(admin, "wu")
        assert (await browser.post("/api/v1/views", json=VIEW)).status_code == 201
        row = next(iter(kept.tokens.table.rows().values()))
        assert (await admin.delete("/api/v1/access/users/li")).status_code == 204
        assert kept.tokens.table.rows() == kept.views.rows() == {}
        key = token.split("_")[1]
        kept.tokens.table.put(key, row, centre.clock.now())  # as an earlier release left it
        centre.clock.skip(2)
        centre.user("li", Role.ENGINEER)
        assert (await program.get("/api/v1/site")).status_code == 401
        assert (await browser.get("/api/v1/site")).status_code == 401


def test_names_passwords_and_owners_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_HASHER", passwords._HASHER)
    made = house(tmp_path)
    users, now = made.access.users, made.clock.now()
    for name, password, why in (
        ("Li Na", PASSWORD, "a-z"),
        ("oidc:x", PASSWORD, "a-z"),
        *((name, PASSWORD, "call others than users") for name in ("guest", "local", "nobody", "icctwin", "oncall-file")),
        ("li", "short", "15 to 256"),
        ("li", "a" * 20, "easily guessed"),
    ):
        with pytest.raises(ValueError, match=why):
            users.add(name, password, Role.VIEWER, now)
    made.user("li")
    with pytest.raises(ValueError, match="already"):
        made.user("li")
    owner = Identity("li", "li", Role.VIEWER)
    with pytest.raises(ValueError, match="400 days"):
        made.access.tokens.make(owner, "t", Role.VIEWER, [Scope.LOOK], 500, now)
    _, token, _ = made.access.tokens.make(owner, "t", Role.VIEWER, [Scope.LOOK], 1, now)
    itself = made.access.tokens.whose(token, now)
    assert itself is not None
    with pytest.raises(ValueError, match="makes no tokens"):  # it would outlive its end, and being taken back
        made.access.tokens.make(itself, "child", Role.VIEWER, [Scope.LOOK], 400, now)
    light = users.table.get("li")
    passwords._HASHER = PasswordHasher()  # the house's is a quick one
    assert users.check("li", PASSWORD, now)
    slow = users.table.get("li")
    assert slow["hash"].startswith("$argon2id$v=19$m=65536,t=3,p=4$"), "RFC 9106, low memory; made anew at the sign-in"
    assert slow["hash"] != light["hash"]
    assert not users.check("li", PASSWORD + "x", now)
    assert not users.check("wu", PASSWORD, now)
