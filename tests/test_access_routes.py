"""Each route of the table against each role, and the table against the routes that the server has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from access_house import House, house
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from ui.access.role import NOBODY, Role, Scope, Sort
from ui.access.routes import ROUTES, UNUSED, Does, Table
from ui.access.routes import Route as Row
from ui.faces.guard import Guard
from ui.faces.pages import PAGES
from ui.faces.push import BAR

TABLE = Table()


def served(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of everything that a server answers."""
    for route in routes:
        if isinstance(route, Mount):
            yield "GET", f"/{route.path.split('/')[1]}/{{path:path}}"  # the files' hash stands between
        elif isinstance(route, APIWebSocketRoute | WebSocketRoute):
            yield "WS", prefix + route.path
        elif isinstance(route, APIRoute | Route):
            for method in (route.methods or set()) - {"HEAD"} or {"GET"}:
                yield method, prefix + route.path
        else:  # a router that FastAPI includes as it is
            inner = route.original_router  # type: ignore[attr-defined]
            yield from served(inner.routes, prefix)


def sample(path: str) -> str:
    """A path that fits a row's; ``:path`` fields may hold a slash."""
    return re.sub(r"{\w+:path}", "a/b", re.sub(r"{\w+}", "a", path))


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> House:
    made = house(tmp_path_factory.mktemp("routes"))
    for role in (Role.VIEWER, Role.OPERATOR, Role.ENGINEER, Role.ADMIN):
        made.user(role.word, role)
    return made


def test_every_route_of_the_server_stands_in_the_table(centre: House) -> None:
    rows = {(row.method, row.path) for row in ROUTES}
    missing = sorted(set(served(centre.app.routes)) - rows - UNUSED)
    assert missing == [], "routes without a row in ui/access/routes.py are refused: say there who may"


def test_a_path_is_judged_by_the_row_of_the_route_that_answers_it(centre: House) -> None:
    assert len(ROUTES) == len({(row.method, row.path) for row in ROUTES}), "a row stands twice"
    for method, path in set(served(centre.app.routes)) - UNUSED:
        row = TABLE.find(method, sample(path))
        assert row is not None
        assert (row.method, row.path) == (method, path)


async def test_a_route_without_a_row_is_refused(tmp_path: Path) -> None:
    made = house(tmp_path, {"mode": "single"})
    made.app.add_api_route("/planted", lambda: "here")
    async with made.browser("127.0.0.1") as ask:
        assert (await ask.get("/planted")).status_code == 404
        assert (await ask.get("/healthz")).status_code == 200
    assert ("GET", "/planted") in set(served(made.app.routes))
    assert TABLE.find("GET", "/planted") is None


def test_nothing_is_changed_by_looking_and_nobody_changes_anything() -> None:
    for row in ROUTES:
        if row.does is Does.CHANGE:
            assert row.method not in ("GET", "WS"), f"{row.path}: a link could do it"
            assert row.needs >= Role.VIEWER, row.path
            assert row.scope is not Scope.LOOK, f"{row.path}: a kiosk could do it"
    assert all(row.scope is Scope.LOOK or row.does is not Does.LOOK or row.needs >= Role.VIEWER for row in ROUTES)


LET_IN = 299
PLAIN = [row for row in ROUTES if row.does is not Does.FEED]


async def verdict(centre: House, row: Row, token: str, query: str = "") -> int:
    """What the guard answers to a program with this token: 401, 403, or ``LET_IN`` from what stands in the routes' place."""

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        assert scope["identity"].sort is (Sort.TOKEN if token else Sort.NOBODY)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "http.response.start", "status": LET_IN, "headers": []})
            await send({"type": "http.response.body"})

    guard = Guard(inside, centre.door)
    headers = {"content-type": "application/json", "host": "twin"} | ({"authorization": f"Bearer {token}"} if token else {})
    raw = [(key.encode(), value.encode()) for key, value in headers.items()]
    kind = {"type": "websocket"} if row.method == "WS" else {"type": "http", "method": row.method, "http_version": "1.1"}
    said: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    scope = {**kind, "path": sample(row.path), "query_string": query.encode(), "headers": raw, "client": ("198.51.100.8", 1)}
    await guard(scope, receive, send)  # type: ignore[arg-type]
    if row.method == "WS":
        return LET_IN if said[0]["type"] == "websocket.accept" else 403
    assert said[0]["headers"], "what is refused carries the headers that guard, too"
    return int(said[0]["status"])


@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.word)
async def test_each_route_lets_in_who_may_and_nobody_else(centre: House, role: Role) -> None:
    token = centre.token(role.word, role) if role else ""
    for row in PLAIN:
        wanted = LET_IN if role >= row.needs else 401 if role is Role.NOBODY and row.method != "WS" else 403
        assert await verdict(centre, row, token) == wanted, f"{row.method} {row.path} as {role.word}"


@pytest.mark.parametrize("role", [role for role in Role if role], ids=lambda role: role.word)
async def test_what_is_pushed_to_a_page_is_for_whom_the_page_is(centre: House, role: Role) -> None:
    live, pulse = TABLE.find("WS", "/live"), centre.app.state.pulse
    assert live is not None
    pages = {page.name: page for page in PAGES}
    assert {name for name in pulse.feeds if name not in pages} == {BAR}, "of what is no page nobody says who may see it"
    for scopes in (tuple(Scope), (Scope.LOOK,)):
        token = centre.token(role.word, role, *scopes)
        for name in pulse.feeds:
            page = pages.get(name, PAGES[0])
            row = TABLE.find("GET", page.path)
            assert row is not None
            wanted = await verdict(centre, row, token)
            assert await verdict(centre, live, token, f"page={name}") == wanted, f"{name} as {role.word}"
            assert await verdict(centre, live, token, f"page={name}&page=overview") == wanted, f"{name} hidden behind another"


async def test_the_record_of_who_did_what_is_not_for_whoever_may_look(centre: House) -> None:
    for path in ("/audit", "/api/v1/audit", "/api/v1/acting/audit", "/api/v1/oncall/audit"):
        row = TABLE.find("GET", path)
        assert row is not None
        assert row.needs is Role.OPERATOR, path

    class Socket:
        """One that no door has looked at."""

        scope: ClassVar[dict[str, Any]] = {"identity": NOBODY}
        said: ClassVar[list[int]] = []

        async def accept(self) -> None:
            pass

        async def close(self, code: int, reason: str) -> None:
            self.said.append(code)

    await centre.app.state.pulse.serve(Socket(), "en", "audit")
    assert Socket.said == [1008]


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_token_goes_no_further_than_its_scope(centre: House, scope: Scope) -> None:
    token = centre.token("admin", Role.ADMIN, scope)
    for row in PLAIN:
        if row.needs is not Role.NOBODY:
            wanted = LET_IN if row.scope is scope else 403
            assert await verdict(centre, row, token) == wanted, f"{row.method} {row.path} with {scope}"


async def test_telemetry_is_refused_by_its_own_token_whatever_else_is_shown(centre: House) -> None:
    async with centre.program(centre.token("admin", Role.ADMIN)) as client:
        for row in ROUTES:
            if row.does is Does.FEED:
                assert (await client.post(row.path, content=b"x")).status_code == 404, "no push source is configured"
