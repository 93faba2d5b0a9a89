"""How a live page is served: its places in the shell, its table in the pulse; one call for each page."""

from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from ui.faces.pages import page_of
from ui.faces.pages.shell import language_of, shell
from ui.faces.push import Feed, Pulse
from ui.words import words


def serve_page(
    server: FastAPI, pulse: Pulse, name: str, feed: Feed, scripts: Sequence[str] = (), styles: Sequence[str] = ()
) -> None:
    """Serve the page called ``name``, whose places are ``feed.body``, and push it ``feed``."""
    page = page_of(name)
    pulse.add(name, feed)

    @server.get(page.path, response_class=HTMLResponse, include_in_schema=False, name=f"page {name}")
    async def document(request: Request) -> HTMLResponse:
        made = shell(
            page,
            words(language_of(request)),
            body=feed.body,
            scripts=scripts,
            styles=("pages.css", *styles),
            labels=feed.labels,
        )
        return HTMLResponse(made)
