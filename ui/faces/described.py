"""What ``/openapi.json`` says of every route beside what the route says of itself: who may ask, and each way it may refuse.

The door, the guard and the bound on bodies stand before all routes (``ui.faces.guard``), so what they answer is written into
the description here, from the same table that they go by, and not at each route.
"""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from ui.access.role import Role
from ui.access.routes import ROUTES, Does, Route
from ui.faces.answers import Failure

API = "v1"  # of /api/v1: what is there stays, what is new is added; what would break a program becomes /api/v2 beside it
_ALWAYS = {"503": "A part that this needs does not answer; the sentence says which."}
_BODY = {"400": "The body is no JSON.", "413": "The body is larger than is taken."}
_ASKED = {"422": "The question is wrong; the sentence says how."}
_WHO = {"401": "Nobody has signed in, or the token is not known.", "403": "Whoever asks may not; the sentence says why."}
_FED = {"401": "The token of the push source is missing or wrong.", "404": "No push source is configured."}
_GONE = {"404": "There is nothing of that name."}
_FULL = {"429": "Too many ask at once or failed; come back later."}
_SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "A token of /account, with its role and scopes."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "icctwin-session",
        "description": "A browser's, after /sign-in; by TLS its name begins with __Host-.",
    },
}


def describe(server: FastAPI) -> None:
    """Complete the description that ``server`` gives of itself."""
    plain: Callable[[], dict[str, Any]] = server.openapi
    rows = {(row.method, row.path.replace(":path}", "}")): row for row in ROUTES}

    def whole() -> dict[str, Any]:
        if server.openapi_schema is None:
            schema = plain()
            parts = schema.setdefault("components", {})
            parts.setdefault("schemas", {})["Failure"] = Failure.model_json_schema()
            parts["securitySchemes"] = _SCHEMES
            schema["info"]["x-api"] = API
            for path, ways in schema["paths"].items():
                for method, operation in ways.items():
                    if row := rows.get((method.upper(), path)):
                        _complete(operation, row)
            for unused in ("HTTPValidationError", "ValidationError"):
                parts["schemas"].pop(unused, None)
            server.openapi_schema = schema
        return server.openapi_schema

    server.openapi = whole  # type: ignore[method-assign]


def _complete(operation: dict[str, Any], row: Route) -> None:
    said, feeds, closed = operation["responses"], row.does is Does.FEED, row.needs is not Role.NOBODY
    more = dict(_ALWAYS) if row.path not in ("/healthz", "/ping") else {}
    if "requestBody" in operation or feeds:
        more |= _BODY
    if operation.get("parameters") or "requestBody" in operation or feeds:
        more |= _ASKED
    if operation.get("parameters") and not feeds:
        more |= _GONE
    if feeds:
        more |= _FED | _FULL
    elif closed or row.does is not Does.LOOK:
        more |= _WHO
    if row.does is not Does.LOOK:
        more |= _FULL
    for status, why in more.items():
        if status == "422" or status not in said:
            said[status] = _failure(why)
    if closed and not feeds:
        operation["security"] = [{"token": []}, {"session": []}]
        operation["x-role"], operation["x-scope"] = row.needs.word, row.scope.value


def _failure(why: str) -> dict[str, Any]:
    return {"description": why, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}}
