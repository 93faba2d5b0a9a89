"""Whose page asks, and whether somebody speaks for somebody else: what the door makes of the headers alone."""

from pathlib import Path

import pytest
from access_house import House, house

from ui.access.role import Role
from ui.access.section import AccessSection

STOP = {"by": "li", "why": "leak"}
NOC = "https://noc.example.org"
ASKED = [  # [access] url, Host, Origin, Sec-Fetch-Site -> whether it may stop
    (NOC, "noc.example.org", NOC, "same-origin", True),
    (NOC, "noc.example.org", NOC, None, True),
    (NOC, "127.0.0.1:8050", NOC, "same-origin", True),  # a proxy that asks by its own name for us
    (NOC, "noc.example.org", "http://noc.example.org", "cross-site", False),
    (NOC, "noc.example.org", "http://noc.example.org", None, False),
    (NOC, "noc.example.org", NOC, "cross-site", False),
    (NOC, "noc.example.org", NOC, "same-site", False),
    (NOC, "localhost:8050", "http://localhost:8050", "same-origin", True),
    ("", "noc.example.org", NOC, None, True),  # a proxy has the certificate, and nobody told us
    ("", "noc.example.org", NOC, "same-site", False),
    ("", "noc.example.org", "http://noc.example.org:81", None, False),
    ("", "[evil", "http://[evil", None, False),
    ("", "", "null", None, False),
]


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> House:
    folder = tmp_path_factory.mktemp("origin")
    made = house(folder)
    made.live.folder = folder
    made.user("li", Role.OPERATOR)
    return made


@pytest.mark.parametrize(("url", "host", "origin", "site", "may"), ASKED)
async def test_only_a_page_of_ours_stops_anything(
    centre: House, url: str, host: str, origin: str, site: str | None, may: bool
) -> None:
    centre.access.section = AccessSection.model_validate({"url": url})
    name = f"{'__Host-' if url else ''}icctwin-session"
    secret = centre.access.sessions.begin("li", "198.51.100.7", "", centre.clock.now())
    headers = {"host": host, "origin": origin, "cookie": f"{name}={secret}"} | ({"sec-fetch-site": site} if site else {})
    async with centre.browser(**headers) as browser:
        answer = await browser.post("/api/v1/stop", json=STOP)
        assert answer.status_code == (202 if may else 403), answer.text
        refused = {"detail": "A page of another origin may not do this."}
        assert answer.json() == ({"said": "stop", "by": "li"} if may else refused)


PROXIED = (
    "Via",
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Server",
    "X-Forwarded-Port",
)
OF_CDNS = ("X-Real-IP", "X-Client-IP", "CF-Connecting-IP", "True-Client-IP")


async def test_who_comes_through_a_proxy_on_this_machine_does_not_sit_at_it(tmp_path: Path) -> None:
    made = house(tmp_path, {"mode": "single"})
    async with made.browser("127.0.0.1", host="localhost:8050") as here:
        here.headers["origin"] = "http://localhost:8050"
        assert (await here.get("/api/v1/access/me")).json()["role"] == "admin"
        for name in (*PROXIED, *OF_CDNS):
            said = await here.get("/api/v1/access/me", headers={name: "203.0.113.9"})
            assert (said.json()["role"], said.json()["user"]) == ("viewer", "guest"), name
