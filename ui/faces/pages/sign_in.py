"""``/sign-in``: name and password, or the way to the identity provider and back.

Not inside the shell of the other pages, which speaks to a socket that is open to nobody yet. A script sends the form as JSON,
for no form may be sent by the page itself (``form-action 'none'``).
"""

import html
from collections.abc import Callable
from typing import Annotated, ParamSpec
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from ui.access.desk import Access
from ui.access.door import access_of
from ui.access.lanes import Full, Lane
from ui.access.oidc import Oidc
from ui.access.signin import NotIn
from ui.faces.api_access import caller_of
from ui.faces.pages.shell import language_of
from ui.faces.push import Pulse
from ui.faces.statics import static
from ui.view import Live
from ui.words import Words, words

P = ParamSpec("P")
After = Annotated[str, Query(alias="next", max_length=2000)]


def add_sign_in(server: FastAPI, pulse: Pulse) -> None:
    """Serve it on ``server``."""
    live = pulse.live

    @server.get("/sign-in", response_class=HTMLResponse, include_in_schema=False)
    def sign_in(request: Request, after: After = "/") -> Response:
        access = access_of(live)
        if not access.accounts:
            return RedirectResponse(page_of_ours(after), 303)
        return HTMLResponse(_page(words(language_of(request)), access, live.site.name, page_of_ours(after), ""))

    _add_provider(server, live)


def _add_provider(server: FastAPI, live: Live) -> None:
    providers: dict[str, Oidc] = {}

    def provider(access: Access) -> Oidc:
        section = access.section.oidc
        if section is None:
            raise HTTPException(404, "No identity provider is configured; sign in at /sign-in.")
        key = section.model_dump_json()
        if key not in providers:
            providers.clear()  # a reload may have replaced it
            providers[key] = Oidc(section)
        return providers[key]

    async def asked(request: Request, lane: Lane, work: Callable[P, Response], *args: P.args, **options: P.kwargs) -> Response:
        try:
            return await lane.run(work, *args, **options)
        except Full:
            why = NotIn(503, "Too many people sign in at once; try again in a few seconds.", 5.0)
        except NotIn as refused:
            why = refused
        said = words(language_of(request))
        return HTMLResponse(_page(said, access_of(live), live.site.name, "/", str(why)), why.status)

    @server.get("/sign-in/oidc", include_in_schema=False)
    async def go(request: Request, after: After = "/") -> Response:
        access = access_of(live)
        of, home, now = provider(access), access.section.url, live.clock.now()
        return await asked(request, of.lane, of.go, access, home, page_of_ours(after), now)

    @server.get("/sign-in/oidc/back", include_in_schema=False)
    async def back(request: Request) -> Response:
        access, query = access_of(live), dict(request.query_params)
        of, home, now = provider(access), access.section.url, live.clock.now()
        return await asked(request, of.lane, of.back, access, caller_of(request, access), home, query, now)


def page_of_ours(after: str) -> str:
    """``after`` where it is a path of this server, else the wall: a sign-in leads nowhere else."""
    ours = after.startswith("/") and not after.startswith(("//", "/\\")) and after.isprintable() and "\\" not in after
    return after if ours else "/"


def _page(w: Words, access: Access, site: str, after: str, said: str) -> str:
    def t(text: str) -> str:
        return html.escape(w(text))

    oidc = access.section.oidc
    other = ""
    if oidc is not None:
        other = f'<p><a class="button" href="/sign-in/oidc?next={quote(after, safe="/")}">{html.escape(oidc.name)}</a></p>'
    tongue = "zh-CN" if w.language == "zh" else "en"
    return f"""<!DOCTYPE html>
<html lang="{tongue}" data-theme="dark">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{t("Sign in")} · icctwin</title>
<link rel="icon" href="{static("icon.svg")}" type="image/svg+xml">
<script src="{static("theme.js")}"></script>
<link rel="stylesheet" href="{static("theme.css")}">
<link rel="stylesheet" href="{static("dig.css")}">
</head>
<body class="sign-in">
<main>
<h1>{html.escape(site)}</h1>
<form id="sign-in" data-next="{html.escape(after)}">
<label>{t("Name")} <input name="name" autocomplete="username" required autofocus maxlength="100"></label>
<label>{t("Password")} <input name="password" type="password" autocomplete="current-password" required maxlength="1000"></label>
<button type="submit">{t("Sign in")}</button>
<p id="said" role="alert">{html.escape(said)}</p>
</form>
{other}
</main>
<script type="module" src="{static("dig_sign_in.js")}"></script>
</body>
</html>"""
