"""A page whose middle is a Dash app: the shell around it, its own push, and Dash's callbacks for what people play with."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any, get_type_hints

from dash import Dash
from dash.backends._fastapi import FastAPIDashServer
from dash.development.base_component import Component
from dash.exceptions import DependencyException
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import TypeAdapter, ValidationError
from starlette.responses import HTMLResponse

from ui.faces.pages import page_of
from ui.faces.pages.shell import language_of, shell
from ui.faces.push import Feed, Pulse
from ui.words import words

_LANGUAGE: ContextVar[str] = ContextVar("language", default="en")


def dash_page(
    server: FastAPI,
    pulse: Pulse,
    name: str,
    feed: Feed,
    inside: Component,
    scripts: Sequence[str] = (),
    styles: Sequence[str] = (),
) -> Dash:
    """Serve the page called ``name``. ``feed.body`` holds ``{%app_entry%}`` where ``inside`` goes. Gives the app.

    The inline scripts that Dash needs are allowed by their hashes, which ``csp_hashes`` collects once all callbacks are there.
    """
    page = page_of(name)

    def around(**parts: str) -> str:
        return shell(
            page,
            words(_LANGUAGE.get()),
            body=feed.body.replace("{%app_entry%}", parts["app_entry"]),
            scripts=scripts,
            styles=("pages.css", *styles),
            labels=feed.labels,
            end=f"{parts['config']}{parts['scripts']}{parts['renderer']}",
        )

    app = Dash(
        f"icctwin-{name}",
        server=False,  # given below: Dash asks a server that it is given here for a backend, and takes none of ours
        backend=_Asked,
        url_base_pathname=f"{page.path}/",
        serve_locally=True,
        add_log_handler=False,
        update_title="",
    )
    app.interpolate_index = around  # type: ignore[assignment,method-assign]  # as Dash's documentation says to
    app.backend.websocket_capability = False  # the page has its socket; one more to Dash would say nothing
    app.init_app(server)
    app.layout = inside
    server.state.dashes = [*getattr(server.state, "dashes", ()), app]
    pulse.add(name, feed)

    @server.get(page.path, response_class=HTMLResponse, include_in_schema=False, name=f"page {name}")
    async def document(request: Request) -> HTMLResponse:
        token = _LANGUAGE.set(language_of(request))
        try:
            return HTMLResponse(app.index())  # type: ignore[no-untyped-call]
        finally:
            _LANGUAGE.reset(token)

    return app


class _Asked(FastAPIDashServer):
    """Dash on FastAPI, which is asked nothing but what a page of ours asks. Dash believes whatever it is sent, and what does
    not fit becomes a fault of the server's; here it is 400 or 404 and a sentence."""

    def serve_component_suites(self, dash_app: Dash, package_name: str, fingerprinted_path: str, request: Request) -> Response:
        try:
            found: Response = super().serve_component_suites(dash_app, package_name, fingerprinted_path, request)
        except DependencyException:
            raise HTTPException(404, "There is no such part of this page; reload the page.") from None
        return found

    def serve_callback(self, dash_app: Dash) -> Callable[[Request], Awaitable[Response]]:
        answer = super().serve_callback(dash_app)

        async def asked(request: Request) -> Response:
            request.state.json_body = _fitting(dash_app.callback_map, request.state.json_body)
            given: Response = await answer(request)
            return given

        return asked


def _fitting(callbacks: dict[str, Any], body: Any) -> dict[str, Any]:
    """The question to one of ``callbacks``, made anew: of ``body`` (None where it was no JSON) nothing is taken over but which
    callback is asked, the values, of the types that its function says, and which of them are new."""
    output = body.get("output") if isinstance(body, dict) else None
    known = callbacks.get(output) if isinstance(output, str) else None
    if known is None:
        raise HTTPException(400, "This asks for nothing that the page has; reload the page.")
    inputs, state = (_filled(known[part], body.get(part, [])) for part in ("inputs", "state"))
    changed = body.get("changedPropIds", [])
    if inputs is None or state is None or not isinstance(changed, list):
        raise HTTPException(400, f"These are not the inputs of {output}; reload the page.")
    expected = get_type_hints(inspect.unwrap(known["callback"])).values()  # in order; that of the answer is the last
    try:
        for one, kind in zip((*inputs, *state), expected, strict=False):
            TypeAdapter(kind).validate_python(one["value"], strict=True)
    except ValidationError:
        raise HTTPException(400, f"An input of {output} has a value of another type; reload the page.") from None
    where = known["output"]
    return {
        "output": output,
        "outputs": [one.to_dict() for one in where] if isinstance(where, list) else where.to_dict(),
        "inputs": inputs,
        "state": state,
        "changedPropIds": [name for one in inputs if (name := f"{one['id']}.{one['property']}") in changed],
    }


def _filled(places: list[dict[str, Any]], sent: Any) -> list[dict[str, Any]] | None:
    """``places`` (id and property each) with the values that were sent for them; None where they are not of these places."""
    if not isinstance(sent, list) or not all(isinstance(one, dict) for one in sent):
        return None
    if [(one.get("id"), one.get("property")) for one in sent] != [(one["id"], one["property"]) for one in places]:
        return None
    return [place | {"value": one.get("value")} for place, one in zip(places, sent, strict=True)]


def csp_hashes(server: FastAPI) -> tuple[str, ...]:
    """Of the inline scripts of every Dash app of ``server``."""
    return tuple(dict.fromkeys(one for app in getattr(server.state, "dashes", ()) for one in app.csp_hashes()))
