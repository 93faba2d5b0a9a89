"""The whole way to an identity provider and back, and everything that must not get anybody in."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from access_house import HOME, ORIGIN, House, house, sign_in
from joserfc.jwk import OctKey, RSAKey
from oidc_provider import CLIENT, SECRET, Provider, rotate

from twin.errors import SourceError
from ui.access.oidc import Oidc
from ui.access.role import Role

pytest.importorskip("authlib", reason="authlib is not installed: make field")


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[tuple[House, Provider]]:
    (tmp_path / "secret").write_text(SECRET)
    provider = Provider(f"{HOME}/sign-in/oidc/back", None)
    server = provider.serve()
    oidc = {
        "issuer": provider.issuer, "client_id": CLIENT, "client_secret_file": str(tmp_path / "secret"),
        "roles": {"noc": "operator", "boss": "admin"},
    }  # fmt: skip
    made = house(tmp_path, {"url": HOME, "oidc": oidc})
    provider.now = made.clock.now
    yield made, provider
    server.shutdown()
    server.server_close()


async def there(browser: httpx.AsyncClient, after: str = "/explore") -> str:
    """To the provider, which sends the browser back: the address that it names."""
    sent = await browser.get(f"/sign-in/oidc?next={after}")
    assert sent.status_code == 303, sent.text
    query = parse_qs(urlsplit(sent.headers["location"]).query)
    assert len(query["nonce"][0]) >= 32
    assert len(query["state"][0]) >= 32
    async with httpx.AsyncClient() as outside:
        answer = await outside.get(sent.headers["location"])
    assert answer.status_code == 302, answer.text
    return str(answer.headers["location"]).removeprefix(HOME)


async def test_the_whole_way_there_and_back(centre: tuple[House, Provider]) -> None:
    made, provider = centre
    async with made.browser() as browser:
        back = await browser.get(await there(browser))
        assert (back.status_code, back.headers["location"]) == (303, "/explore")
        me = (await browser.get("/api/v1/access/me")).json()
        assert (me["name"], me["role"], me["sort"]) == ("wang.lei", "operator", "session")
        provider.claims["groups"] = ["noc", "boss", "other"]
        again = await browser.get(await there(browser, "//evil.example"))
        assert again.headers["location"] == "/"
        assert (await browser.get("/api/v1/access/me")).json()["role"] == "admin", "as the provider says now"
        assert len(made.access.users.table.rows()) == 1
        rotate(provider)
        assert (await browser.get(await there(browser))).status_code == 303, "a new key of the provider's is looked up"
        assert [row["what"] for row in made.audited()] == ["signed in"] * 3
        made.user("root", Role.ADMIN)
        made.access.users.change(me["user"], made.clock.now(), active=False)
        shut = await browser.get(await there(browser))
        assert (shut.status_code, "not active" in shut.text) == (403, True)


TAKEN = "is another user&#x27;s name here; an admin removes one of the two (icctwin user remove)."


@pytest.mark.parametrize("said", ["wang.lei", "Wang.Lei", "\uff57ang.lei", " wang.\u200blei\n"])
async def test_nobody_comes_in_under_the_name_of_another_user(centre: tuple[House, Provider], said: str) -> None:
    """Of a local one, whatever its case, width and unseen characters; nor is a local one made with the name of theirs."""
    made, provider = centre
    made.user("wang.lei")
    provider.claims["preferred_username"] = said
    async with made.browser() as browser:
        back = await browser.get(await there(browser))
        assert (back.status_code, TAKEN in back.text) == (403, True), back.text
        assert (await browser.get("/api/v1/access/me")).json()["role"] == "nobody"
        assert list(made.access.users.table.rows()) == ["wang.lei"]
        assert [(row["what"], row["who"]) for row in made.audited()] == [("sign-in refused", "nobody")]
        provider.claims["preferred_username"] = "Chen.Y"
        assert (await browser.get(await there(browser))).status_code == 303
        with pytest.raises(ValueError, match=r"there is a user 'chen\.y' already"):
            made.user("chen.y")
        provider.claims["preferred_username"] = "chen.y"
        assert (await browser.get(await there(browser))).status_code == 303, "to themself they are no other"


async def test_two_whom_the_provider_calls_alike_and_what_we_call_nobody_are_told_apart(centre: tuple[House, Provider]) -> None:
    made, provider = centre
    async with made.browser() as first, made.browser() as second:
        assert (await first.get(await there(first))).status_code == 303
        provider.claims["sub"] = "another"
        assert TAKEN in (await second.get(await there(second))).text
        key = next(iter(made.access.users.table.rows()))
        for ours in ("on-call file", "Local", "guest", "icctwin", "oncall-file", "The File", "cli:root", "UID:1000", key):
            provider.claims["preferred_username"] = ours
            said = (await second.get(await there(second))).text
            assert "call others than users" in said, ours
            assert "must give another name" in said, ours
        provider.claims["preferred_username"] = "\u200b"
        assert (await second.get(await there(second))).status_code == 303
        names = {(await browser.get("/api/v1/access/me")).json()["name"] for browser in (first, second)}
    assert names == {
        "wang.lei",
        next(key for key, row in made.access.users.table.rows().items() if row["subject"] == "another"),
    }


WRONG = {
    "another nonce": {"claims": {"nonce": "of another sign-in"}},
    "no nonce": {"claims": {"nonce": None}},
    "for another client": {"claims": {"aud": "somebody-else"}},
    "for several, not by us": {"claims": {"aud": [CLIENT, "other"], "azp": "other"}},
    "of another issuer": {"claims": {"iss": "https://evil.example"}},
    "long over": {"claims": {"exp": 1}},
    "of a stranger's key": {"key": RSAKey.generate_key(2048)},
    "signed with the public key as a secret": {"header": {"alg": "HS256"}, "key": OctKey.import_key("k" * 64)},
    "another issuer answers": {"back": {"iss": "https://evil.example"}},
    "an error": {"back": {"error": "access_denied"}},
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_does_not_hold_lets_nobody_in(centre: tuple[House, Provider], name: str) -> None:
    made, provider = centre
    provider.bend = WRONG[name]
    async with made.browser() as browser:
        back = await browser.get(await there(browser))
        assert back.status_code == 403, back.text
        assert "icctwin-session" not in back.headers.get("set-cookie", "")
        assert (await browser.get("/api/v1/access/me")).json()["role"] == "nobody"
    assert made.access.users.table.rows() == {}


async def test_a_sign_in_is_ended_where_it_was_begun_once_and_soon(centre: tuple[House, Provider]) -> None:
    made, provider = centre
    async with made.browser() as thief, made.browser() as victim:
        lured = await there(thief)
        answer = await victim.get(lured)
        assert (answer.status_code, "not begun in this browser" in answer.text) == (403, True)
        await there(victim)
        assert (await victim.get(lured)).status_code == 403, "nor with the state of another"
        late = await there(victim)
        made.clock.skip(601)
        assert "took over 10 minutes" in (await victim.get(late)).text
        twice = await there(victim)
        assert (await victim.get(twice)).status_code == 303
        assert (await victim.get(twice)).status_code == 403, "a code counts once"
        provider.claims = {"sub": "u-2", "groups": ["guests"]}
        refused = await thief.get(await there(thief))
        assert (refused.status_code, "has a role here" in refused.text) == (403, True)


async def test_a_provider_that_is_away_or_another_is_said_in_a_sentence(centre: tuple[House, Provider]) -> None:
    made, provider = centre
    async with made.browser() as browser:
        provider.bend = {"about": {"issuer": "https://evil.example"}}
        answer = await browser.get("/sign-in/oidc")
        assert (answer.status_code, "calls itself 'https://evil.example'" in answer.json()["detail"]) == (503, True)
        provider.bend = {"about": {"token_endpoint": None}}
        made.clock.skip(30)
        assert "names no token_endpoint" in (await browser.get("/sign-in/oidc")).json()["detail"]


async def test_a_provider_that_hangs_holds_up_nobody_but_those_who_go_there(
    centre: tuple[House, Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = centre
    made.user("op", Role.OPERATOR)
    gate, asked = threading.Event(), []

    def hangs(self: Oidc, url: str) -> dict[str, object]:
        asked.append(url)
        gate.wait(60)
        raise SourceError("the identity provider does not answer; is it up?")

    monkeypatch.setattr(Oidc, "_get", hangs)
    async with made.browser() as browser, made.browser("203.0.113.9") as stranger:
        await sign_in(browser, "op")
        made.clock.skip(2)  # so that the door reads users and sessions again
        going = [asyncio.create_task(stranger.get("/sign-in/oidc")) for _ in range(120)]
        try:
            ended = asyncio.as_completed(going, timeout=30)
            for _ in range(112):
                await next(ended)
            async with asyncio.timeout(30):
                stop = await browser.post("/api/v1/stop", json={"by": "op", "why": "smoke"}, headers=ORIGIN)
            assert stop.status_code == 202, stop.text
        finally:
            gate.set()
        said = Counter((one.status_code, "Too many people" in one.text) for one in await asyncio.gather(*going))
        assert said == {(503, True): 112, (503, False): 8}
        assert len(asked) == 1, "one asks for all"
        made.clock.skip(29)
        assert "does not answer" in (await stranger.get("/sign-in/oidc")).text
        assert len(asked) == 1, "and what failed is not asked again at once"
        made.clock.skip(2)
        await stranger.get("/sign-in/oidc")
        assert len(asked) == 2
