"""The door: who asks, may they, and is it written down. Asked by the outermost middleware, before any body is read.

Against pages of other origins that make a browser change something with the cookies it holds: cookies are ``SameSite``, a
request that changes something must come from a page of ours by what the browser itself says (``Sec-Fetch-Site``, ``Origin``),
and its body must be JSON, which no form can send.
"""

import hmac
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from math import ceil
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Scope as Asgi

from twin.errors import SourceError
from ui.access.cookies import KIOSK, SESSION, Cookies
from ui.access.desk import Access
from ui.access.lanes import Lane
from ui.access.role import NOBODY, Identity, Role, Scope, Sort
from ui.access.routes import Does, Route, Table
from ui.access.section import Mode, is_address, is_loopback
from ui.faces.pages import may_see
from ui.view import Live

log = logging.getLogger(__name__)

# A proxy on this machine speaks for somebody elsewhere: RFC 7239, RFC 9110 (7.6.3), what CDNs say; beside "x-forwarded-…".
_FORWARDED = {"forwarded", "via", "x-real-ip", "x-client-ip", "cf-connecting-ip", "true-client-ip"}
_WRITES = ("POST", "PUT", "PATCH")
THREADS = 8  # of the door alone: whatever hangs in the threads of pages, who asks is known and a stop gets through
STILL_S = 1.0  # how often an open socket is asked whether its session still holds


def access_of(live: Live) -> Access:
    """The access of the running centre; one over its records where nobody made any, for faces that are shown alone."""
    if live.access is None:
        live.access = Access(live.records)
    return live.access


def identity_of(request: HTTPConnection) -> Identity:
    """Who asks, as the door found it."""
    found: Identity = request.scope.get("identity", NOBODY)
    return found


def source_of(request: HTTPConnection) -> str:
    """The address that a request came from."""
    return request.client.host if request.client else ""


def note(request: Request, what: str, *, about: str = "", before: Any = None, after: Any = None) -> None:
    """Say what a request changes, for the audit; without it the audit names the route alone."""
    request.scope["noted"] = {"what": what, "about": about, "before": before, "after": after}


def speaker(request: Request, live: Live, said: str, name: str = "by") -> str:
    """In whose name a request counts. Whoever signed in speaks in their own and a token in its owner's, whatever it says; where
    nobody signs in, and for the shared token of the on-call file, as it is ``said`` under ``name``: a 422 without it."""
    access, who = access_of(live), identity_of(request)
    row = access.users.table.get(who.user) if access.accounts else None
    if row is None and not said.strip():
        raise HTTPException(422, f"Say in {name!r} who asks: this request shows neither a session nor a user's token.")
    return str(row["name"]) if row else said


class Refused(Exception):
    """Not let in: the status and one sentence."""

    def __init__(self, status: int, sentence: str, wait_s: float = 0.0) -> None:
        super().__init__(sentence)
        self.status, self.wait_s = status, wait_s


class Door:
    """``feed``: looks at the token of telemetry that is sent in and gives the answer where it is refused; ``origins``: web
    origins beside the server's own whose pages may speak to it."""

    def __init__(
        self,
        live: Live,
        feed: Callable[[Asgi], Awaitable[Response | None]],
        origins: Sequence[str] = (),
        table: Table | None = None,
    ) -> None:
        self._live, self._feed, self._origins = live, feed, frozenset(origins)
        self.table = table or Table()
        self._lane = Lane(THREADS)

    async def admit(self, scope: Asgi) -> Response | None:
        """None where the request may go on, with who asks in its scope; else the answer."""
        method = "WS" if scope["type"] == "websocket" else scope["method"]
        route, headers = self.table.find(method, scope["path"]), Headers(scope=scope)
        if route is None:
            path = scope["path"][:200]
            return JSONResponse({"detail": f"There is nothing at {path}; /openapi.json lists what there is."}, 404)
        scope["row"] = route
        try:
            if route.does is Does.FEED:
                refused = await self._feed(scope)
                if refused is not None:
                    self._pace(scope, NOBODY)  # whoever shows a wrong token is anybody
                return refused
            await self._refresh()
            if (entered := self._kiosk(scope, route)) is not None:
                return entered
            scope["identity"] = who = await self._who(scope, headers)
            self._pace(scope, who)
            self._judge(scope, route, who, headers)
        except Refused as refusal:
            return self._refusal(scope, route, headers, refusal)
        return None

    async def still(self, scope: Asgi) -> bool:
        """Whether who opened a socket may still have it."""
        await self._refresh()
        try:
            who = await self._who(scope, Headers(scope=scope), used=False)
        except Refused:
            return False
        row: Route = scope["row"]
        return who.role >= row.needs and row.scope in who.scopes and _sees(scope, who)

    async def wrote(self, scope: Asgi, status: int) -> None:
        """Write down what a request changed. ``SourceError`` where that cannot be kept."""
        row: Route | None = scope.get("row")
        if row is None or row.does is not Does.CHANGE or status >= 400:
            return
        who: Identity = scope["identity"]
        noted = scope.get("noted") or {"what": f"{row.method} {row.path}", "about": scope["path"]}
        source = scope["client"][0] if scope.get("client") else ""
        access, now = access_of(self._live), self._live.clock.now()
        await self._lane.run(lambda: access.records.note(who, source, now=now, **noted))

    async def _refresh(self) -> None:
        access, now = access_of(self._live), self._live.clock.now()
        if access.accounts and access.due(now):
            try:
                await self._lane.run(access.refresh, now)
            except SourceError as error:
                log.error("users and tokens are those of before, the records do not answer: %s", error)

    # who it is

    async def _who(self, scope: Asgi, headers: Headers, *, used: bool = True) -> Identity:
        access, now = access_of(self._live), self._live.clock.now()
        scheme, _, said = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._bearer(scope, access, said.strip())
        if not access.accounts:
            return _local(scope, headers)
        cookies = Cookies(access.section, HTTPConnection(scope).cookies)
        if secret := cookies.get(SESSION):
            try:
                found = await self._lane.run(lambda: access.sessions.whose(secret, now, used=used))
            except SourceError as error:
                raise Refused(503, f"{error}.") from None
            if found is not None:
                return found
        kiosk = access.tokens.whose(cookies.get(KIOSK), now)
        return kiosk if kiosk is not None and kiosk.sort is Sort.KIOSK else NOBODY

    def _bearer(self, scope: Asgi, access: Access, said: str) -> Identity:
        found = access.tokens.whose(said, self._live.clock.now()) if access.accounts else None
        if found is not None and found.sort is Sort.TOKEN:
            return found
        self._pace(scope, NOBODY)  # before the word that people chose is looked at, so that nobody tries many
        token = self._live.oncall.file.token if self._live.oncall else ""
        if token and hmac.compare_digest(said.encode(), token.encode()):
            scopes = frozenset({Scope.ONCALL, Scope.LOOK})
            return Identity("oncall-file", "on-call file", Role.OPERATOR, scopes, Sort.ONCALL)
        if access.accounts:
            raise Refused(401, "This token is not known, over or taken back; make one at /account.")
        raise Refused(401, "This token is not known; show the token of the on-call file: Authorization: Bearer …")

    def _kiosk(self, scope: Asgi, route: Route) -> Response | None:
        """A screen that opens a page with ``?kiosk=TOKEN`` is sent on to the page without it, and keeps it as a cookie."""
        if scope["type"] != "http" or route.does is not Does.LOOK or b"kiosk=" not in scope["query_string"]:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        said = next((value for key, value in query if key == "kiosk"), "")
        access, now = access_of(self._live), self._live.clock.now()
        found = access.tokens.whose(said, now) if access.accounts else None
        if found is None or found.sort is not Sort.KIOSK:
            self._pace(scope, NOBODY)
            raise Refused(401, "This kiosk token is not known, over or taken back; an admin makes another.")
        rest = urlencode([(key, value) for key, value in query if key != "kiosk"])
        answer = RedirectResponse(quote(scope["path"]) + (f"?{rest}" if rest else ""), 303)
        row = access.tokens.table.get(found.ref) or {}
        Cookies(access.section).set(answer, KIOSK, said, float(row["end_s"]) - now.timestamp())
        return answer

    # may they

    def _pace(self, scope: Asgi, who: Identity) -> None:
        address = scope["client"][0] if scope.get("client") else ""
        wait_s = access_of(self._live).rates.wait_s(who, address, self._live.clock.now().timestamp())
        if wait_s:
            raise Refused(429, "Too many questions; ask more slowly, or raise [access] requests_per_s.", wait_s)

    def _judge(self, scope: Asgi, route: Route, who: Identity, headers: Headers) -> None:
        if route.needs is Role.NOBODY and route.does is Does.LOOK:
            return
        if route.does is not Does.LOOK:
            self._from_our_page(route, who, headers)
        section = access_of(self._live).section
        if who.sort is Sort.LOCAL and section.mode is Mode.SINGLE and not _names_us(headers, section.url):
            raise Refused(421, "This name is not this machine's; open it by its address, or write the name as [access] url.")
        if route.does is Does.ENTER:
            return
        token = self._live.oncall.file.token if self._live.oncall else ""
        if route.scope is Scope.ONCALL and who.sort is Sort.LOCAL and token:
            raise Refused(401, "Show the token of the on-call file: Authorization: Bearer …")
        if who.role is Role.NOBODY:
            raise Refused(401, "Sign in at /sign-in, or show a token: Authorization: Bearer …")
        if route.scope not in who.scopes:
            raise Refused(403, f"{_named(who)} may not do this: it needs the scope {route.scope.value!r}.")
        if who.role < route.needs:
            raise Refused(403, f"{_named(who)} may not do this: it needs the role {route.needs.word!r}.")
        if not _sees(scope, who):
            raise Refused(403, f"{_named(who)} may not see this page.")

    def _from_our_page(self, route: Route, who: Identity, headers: Headers) -> None:
        if self.foreign(headers):
            raise Refused(403, "A page of another origin may not do this.")
        told = "origin" in headers or "sec-fetch-site" in headers
        if who.sort is Sort.SESSION and route.does is not Does.ASK and not told:
            raise Refused(403, "A session is for browsers, which say whose page asks; a program shows a token.")
        if route.method in _WRITES and not headers.get("content-type", "").startswith("application/json"):
            raise Refused(403, "Send it as application/json.")

    def foreign(self, headers: Headers) -> bool:
        """Whether a page of another origin asks. Browsers always say whose page it is; what says nothing is no browser. What
        the browser found (``Sec-Fetch-Site``, from pages of TLS and of this machine) counts before what we can tell."""
        origin, url = headers.get("origin"), access_of(self._live).section.url
        if origin in self._origins:
            return False
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return True
        return origin is not None and origin != url and not _same(origin, headers.get("host", ""), url)

    def _refusal(self, scope: Asgi, route: Route, headers: Headers, refusal: Refused) -> Response:
        page = "text/html" in headers.get("accept", "")
        if refusal.status == 401 and page and route.method == "GET" and access_of(self._live).accounts:
            query = scope["query_string"].decode("latin-1")
            at = scope["path"] + (f"?{query}" if query and "kiosk=" not in query else "")
            return RedirectResponse("/sign-in?" + urlencode({"next": at}), 303)
        headers_ = {"www-authenticate": "Bearer"} if refusal.status == 401 else {}
        if refusal.wait_s:
            headers_["retry-after"] = str(ceil(refusal.wait_s))
        return JSONResponse({"detail": str(refusal)}, refusal.status, headers_)


def _same(origin: str, host: str, url: str) -> bool:
    """Whether ``origin`` is a page of the ``host`` that was asked. Where ``url`` names that host its scheme counts too: who
    stands on the way writes what comes without TLS. Of other names it is not known here: a proxy may have the certificate."""
    try:
        page, ours = urlsplit(origin), urlsplit(url)
        return bool(host) and page.netloc == host and (page.hostname != ours.hostname or page.scheme == ours.scheme)
    except ValueError:
        return False


def _sees(scope: Asgi, who: Identity) -> bool:
    """Whether every page that a socket asks for is for ``who``."""
    if scope["type"] != "websocket":
        return True
    return all(may_see(page, who.role, who.scopes) for page in HTTPConnection(scope).query_params.getlist("page"))


def _named(who: Identity) -> str:
    if who.sort in (Sort.TOKEN, Sort.KIOSK):
        return f"The token {who.name!r}"
    return f"{who.name or 'who has not signed in'} ({who.role.word})"


def _local(scope: Asgi, headers: Headers) -> Identity:
    """Nobody signs in: this machine may do everything, whoever else reaches the address may look. Who came by a name which is
    not this machine's may be a browser that was led here by whoever owns that name (DNS rebinding): one that reads what has
    the origin of its page does not say that it is a browser. A proxy on this machine that says nothing of itself is not told
    from this machine."""
    host = scope["client"][0] if scope.get("client") else ""
    proxied = any(name in _FORWARDED or name.startswith("x-forwarded-") for name in headers)
    here = is_loopback(host) and not proxied
    if here and is_loopback(_name_of(headers)):
        return Identity("local", "local", Role.ADMIN)
    guest = Identity("guest", "guest", Role.VIEWER)
    return replace(guest, scopes=frozenset({Scope.LOOK, Scope.TWIN, Scope.ONCALL, Scope.ACT}))


def _name_of(headers: Headers) -> str:
    """The host that was asked for, "" where none is said."""
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _names_us(headers: Headers, url: str) -> bool:
    """Whether nobody else can have led a browser here: it came by an address, which is no name at all, or by a name of ours."""
    name = _name_of(headers)
    return name in ("", urlsplit(url).hostname) or is_loopback(name) or is_address(name)
