"""A page whose middle is a Dash app: the shell around it, its own push, and Dash's callbacks for what people play with."""

from collections.abc import Sequence
from contextvars import ContextVar

from dash import Dash
from dash.development.base_component import Component
from fastapi import FastAPI, Request
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
        server=server,  # type: ignore[arg-type]  # the backend takes a FastAPI, the annotation has not heard of it
        backend="fastapi",
        url_base_pathname=f"{page.path}/",
        serve_locally=True,
        add_log_handler=False,
        update_title="",
    )
    app.interpolate_index = around  # type: ignore[assignment,method-assign]  # as Dash's documentation says to
    app.backend.websocket_capability = False  # the page has its socket; one more to Dash would say nothing
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


def csp_hashes(server: FastAPI) -> tuple[str, ...]:
    """Of the inline scripts of every Dash app of ``server``."""
    return tuple(dict.fromkeys(one for app in getattr(server.state, "dashes", ()) for one in app.csp_hashes()))
