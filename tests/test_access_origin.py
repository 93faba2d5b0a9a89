"""Whose page asks, and whether somebody speaks for somebody else: what the door makes of the headers alone."""

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
