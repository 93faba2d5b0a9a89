"""A small centre in which people sign in: records on disk, a clock that a test moves, and browsers that keep their cookies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from faces_harness import Hands, feed, live_of, small_site

from ingest.stores.records import open_records
from ui.access import passwords
from ui.access.desk import Access
from ui.access.door import Door
from ui.access.role import Identity, Role, Scope
from ui.access.section import AccessSection
from ui.faces.api_push import first_look
from ui.faces.server import build_server
from ui.view import Live

# A hash that takes no time: that ours is a slow one is looked at by itself.
passwords._HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
passwords._NOBODYS = passwords._HASHER.hash("nobody's")
PASSWORD = "three green pumps hum"
HOME = "http://twin"
ORIGIN = {"origin": HOME}


@dataclass
class House:
    live: Live
    access: Access
    app: Any
    clock: Hands
    door: Door

    def browser(self, address: str = "198.51.100.7", **headers: str) -> httpx.AsyncClient:
        """A browser: says whose page asks, keeps cookies."""
        transport = httpx.ASGITransport(self.app, client=(address, 4711))
        return httpx.AsyncClient(transport=transport, base_url=HOME, headers={**ORIGIN, **headers})

    def program(self, token: str = "", **headers: str) -> httpx.AsyncClient:
        """A program: shows a token and says nothing of pages."""
        given = {"authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.app, client=("198.51.100.8", 4711))
        return httpx.AsyncClient(transport=transport, base_url=HOME, headers={**given, **headers})

    def user(self, name: str, role: Role = Role.VIEWER) -> None:
        self.access.users.add(name, PASSWORD, role, self.clock.now())

    def token(self, name: str, role: Role, *scopes: Scope, days: float = 30, kiosk: bool = False) -> str:
        owner = Identity(name, name, self.access.users.role(name, self.clock.now()))
        return self.access.tokens.make(owner, "t", role, scopes or Scope, days, self.clock.now(), kiosk=kiosk)[1]

    def audited(self) -> list[dict[str, Any]]:
        return [record for _, _, record in self.access.records.read("access-audit", limit=1000)]


def house(folder: Path, section: Mapping[str, Any] | AccessSection | None = None) -> House:
    """``section``: of the configuration; none: everybody signs in."""
    clock = Hands()
    live = live_of(small_site(2), clock)
    live.records = open_records(folder / "records.db")
    made = section if isinstance(section, AccessSection) else AccessSection.model_validate(section or {})
    live.access = Access(live.records, made)
    live.records = live.access.records
    feed(live)
    return House(live, live.access, build_server(live), clock, Door(live, first_look(live)))


async def sign_in(browser: httpx.AsyncClient, name: str, password: str = PASSWORD) -> httpx.Response:
    return await browser.post("/api/v1/access/sign-in", json={"name": name, "password": password})
