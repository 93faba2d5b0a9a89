"""THE table of routes: who may ask for what. A route that does not stand here is refused, and a test says so.

The middleware (``ui.access.door``) goes by this table and by nothing else, and so do the tests: each route against each role.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from starlette.routing import compile_path

from ui.access.role import Role, Scope
from ui.faces.pages import PAGES


class Does(StrEnum):
    """What a route does."""

    LOOK = "look"  # reads
    ASK = "ask"  # is sent a body, and nobody decides anything by it: computes, or reports
    CHANGE = "change"  # changes something: audited, and never on the word of another origin's page
    ENTER = "enter"  # signing in and out: as CHANGE, and writes its own audit
    FEED = "feed"  # telemetry in: who sends shows the token of a push source, looked at before the body is read


@dataclass(frozen=True, slots=True)
class Route:
    """``method``: of HTTP, or ``WS``. ``path``: as FastAPI writes it. ``needs``: the least role; ``scope``: what a token must
    be allowed."""

    method: str
    path: str
    needs: Role
    does: Does = Does.LOOK
    scope: Scope = Scope.LOOK


_N, _V, _O, _E, _A = Role.NOBODY, Role.VIEWER, Role.OPERATOR, Role.ENGINEER, Role.ADMIN


def _look(needs: Role, *paths: str, scope: Scope = Scope.LOOK) -> list[Route]:
    return [Route("GET", path, needs, Does.LOOK, scope) for path in paths]


ROUTES: tuple[Route, ...] = (
    # whether it lives; what a page of sign-in is made of
    *_look(_N, "/healthz", "/readyz", "/ping", "/sign-in", "/sign-in/oidc", "/sign-in/oidc/back"),
    *_look(_N, "/static/{path:path}", "/api/v1/access/me"),
    Route("POST", "/api/v1/access/sign-in", _N, Does.ENTER, Scope.ACCESS),
    Route("POST", "/api/v1/access/sign-out", _N, Does.ENTER, Scope.ACCESS),
    # pages; what is pushed to them by /live is for whom the page is, see ``Door``
    *(Route("GET", page.path, page.role, scope=page.scope) for page in PAGES),
    *_look(_V, "/wall", "/account", "/asset/{asset:path}", "/dig/plotly.js", "/runbooks/{area}"),
    Route("WS", "/live", _V),
    Route("WS", "/live/scene", _V),
    # what Dash needs for the page that is made with it
    *_look(_V, *(f"/forecast/{name}" for name in ("", "_dash-layout", "_dash-dependencies", "_reload-hash", "_favicon.ico"))),
    *_look(_V, "/forecast/_dash-component-suites/{package_name}/{fingerprinted_path:path}"),
    Route("POST", "/forecast/_dash-update-component", _V, Does.ASK),
    # what a program may read
    *_look(
        _V,
        "/openapi.json",
        "/metrics",
        "/api/v1/site",
        "/api/v1/site/links",
        "/api/v1/metrics",
        "/api/v1/state",
        "/api/v1/series",
    ),
    *_look(_V, "/api/v1/view", "/api/v1/sources", "/api/v1/plans", "/api/v1/alerts", "/api/v1/forecasts", "/api/v1/jobs"),
    *_look(_V, "/api/v1/energy", "/api/v1/energy/tables", "/api/v1/scene", "/api/v1/scene/colours", "/api/v1/scene/frame"),
    *_look(_V, "/api/v1/scene/runs", "/api/v1/scene.glb", "/api/v1/scene.usdc"),
    *_look(_V, "/api/v1/events", "/api/v1/findings", "/api/v1/causes", "/api/v1/calibration"),
    *_look(_V, "/api/v1/forecasts/accuracy", "/api/v1/forecasts/card", "/api/v1/forecasts/peaks", "/api/v1/kpis"),
    *_look(_V, "/api/v1/forecasts/parts", "/api/v1/forecasts/picture"),
    *_look(_V, "/api/v1/alerts/{key}/picture.png", "/api/v1/oncall", "/api/v1/oncall/silences", "/api/v1/oncall/rules"),
    *_look(_V, "/api/v1/oncall/timeline", "/api/v1/oncall/report", "/api/v1/search"),
    *_look(
        _V,
        "/api/v1/assets/{asset:path}",
        "/api/v1/explore",
        "/api/v1/explore/asset",
        "/api/v1/explore/export",
        "/api/v1/annotations",
    ),
    *_look(_O, "/api/v1/oncall/audit", "/api/v1/acting/audit"),
    # the offline twin
    Route("POST", "/api/v1/simulate", _V, Does.ASK, Scope.TWIN),
    Route("POST", "/api/v1/replay", _V, Does.ASK, Scope.TWIN),
    Route("POST", "/api/v1/what-if", _V, Does.ASK, Scope.TWIN),
    Route("POST", "/api/v1/scene/runs", _V, Does.ASK, Scope.TWIN),
    # being on call
    Route("POST", "/api/v1/oncall/incidents/{incident:path}/acknowledge", _O, Does.CHANGE, Scope.ONCALL),
    Route("POST", "/api/v1/oncall/silences", _O, Does.CHANGE, Scope.ONCALL),
    Route("DELETE", "/api/v1/oncall/silences/{name}", _O, Does.CHANGE, Scope.ONCALL),
    Route("POST", "/api/v2/alerts", _O, Does.ASK, Scope.ONCALL),
    Route("POST", "/api/v1/oncall/webhook", _O, Does.ASK, Scope.ONCALL),
    # plans and what is in force; a signed link carries its own right
    *_look(_V, "/api/v1/acting", "/api/v1/places", "/api/v1/requests"),
    Route("PUT", "/api/v1/requests/{key}", _O, Does.CHANGE, Scope.ACT),
    Route("DELETE", "/api/v1/requests/{key}", _O, Does.CHANGE, Scope.ACT),
    *_look(_N, "/approve", "/approve/page.js"),
    Route("POST", "/api/v1/approvals", _N, Does.ENTER, Scope.ACT),
    Route("POST", "/api/v1/plans/{key}/approve", _O, Does.CHANGE, Scope.ACT),
    Route("POST", "/api/v1/plans/{key}/reject", _O, Does.CHANGE, Scope.ACT),
    Route("POST", "/api/v1/stop", _O, Does.CHANGE, Scope.ACT),
    Route("POST", "/api/v1/go", _E, Does.CHANGE, Scope.ACT),
    # reports
    *_look(_V, "/api/v1/report", "/api/v1/reports", "/api/v1/reports/{report}/{format}"),
    Route("POST", "/api/v1/reports", _O, Does.CHANGE, Scope.NOTES),
    # saved views and annotations
    *_look(_V, "/api/v1/views"),
    Route("POST", "/api/v1/views", _V, Does.CHANGE, Scope.NOTES),
    Route("PUT", "/api/v1/views/{view}", _V, Does.CHANGE, Scope.NOTES),
    Route("DELETE", "/api/v1/views/{view}", _V, Does.CHANGE, Scope.NOTES),
    Route("POST", "/api/v1/annotations", _O, Does.CHANGE, Scope.NOTES),
    Route("PUT", "/api/v1/annotations/{annotation}", _O, Does.CHANGE, Scope.NOTES),
    Route("DELETE", "/api/v1/annotations/{annotation}", _O, Does.CHANGE, Scope.NOTES),
    # access itself, and what one chose to see it in
    *_look(_V, "/api/v1/access/choices"),
    Route("PUT", "/api/v1/access/choices", _V, Does.CHANGE, Scope.NOTES),
    Route("POST", "/api/v1/access/password", _V, Does.CHANGE, Scope.ACCESS),
    *_look(_V, "/api/v1/access/tokens", "/api/v1/access/sessions", scope=Scope.ACCESS),
    Route("POST", "/api/v1/access/tokens", _V, Does.CHANGE, Scope.ACCESS),
    Route("DELETE", "/api/v1/access/tokens/{token}", _V, Does.CHANGE, Scope.ACCESS),
    Route("DELETE", "/api/v1/access/sessions/{session}", _V, Does.CHANGE, Scope.ACCESS),
    *_look(_A, "/api/v1/access/users", scope=Scope.ACCESS),
    Route("POST", "/api/v1/access/users", _A, Does.CHANGE, Scope.ACCESS),
    Route("PATCH", "/api/v1/access/users/{user}", _A, Does.CHANGE, Scope.ACCESS),
    Route("DELETE", "/api/v1/access/users/{user}", _A, Does.CHANGE, Scope.ACCESS),
    *_look(_O, "/api/v1/audit", "/api/v1/audit/heads", scope=Scope.ACCESS),
    *_look(_A, "/api/v1/audit/verify", scope=Scope.ACCESS),
    # telemetry in
    Route("POST", "/api/v2/write", _N, Does.FEED),
    Route("POST", "/write", _N, Does.FEED),
    Route("POST", "/api/v1/write", _N, Does.FEED),
    Route("POST", "/v1/metrics", _N, Does.FEED),
)
# What the server has and nobody is let to: the answer to whatever there is not, which the door gives before it is asked.
UNUSED = frozenset({("GET", "/{path:path}")})


class Table:
    """``routes``, ready to be asked. A path written out counts before one with fields; of those the longer text first."""

    def __init__(self, routes: Sequence[Route] = ROUTES) -> None:
        self.routes = tuple(routes)
        self._plain = {(route.method, route.path): route for route in routes if "{" not in route.path}

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str], Route]]:
        fields = [route for route in self.routes if "{" in route.path]
        fields.sort(key=lambda route: -len(re.sub(r"{.*?}", "", route.path)))
        return [(route.method, compile_path(route.path)[0], route) for route in fields]

    def find(self, method: str, path: str) -> Route | None:
        """The row for a request; None where there is none."""
        method = "GET" if method == "HEAD" else method
        found = self._plain.get((method, path))
        if found is not None:
            return found
        return next((route for way, pattern, route in self._patterns if way == method and pattern.match(path)), None)
