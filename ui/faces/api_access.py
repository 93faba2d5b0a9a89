"""``/api/v1/access/…``: sign in and out, who I am, my tokens and sessions, and the users for whoever administers."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ParamSpec, TypeVar

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from ui.access.cookies import Cookies
from ui.access.desk import Access
from ui.access.door import access_of, identity_of, note, source_of
from ui.access.people import LONGEST_TOKEN_S
from ui.access.role import ROLES, Identity, Role, Scope, Sort, role_of
from ui.access.signin import Caller, NotIn, SignIn, leave
from ui.faces.answers import Failure
from ui.faces.push import Pulse
from ui.view import Live

P = ParamSpec("P")
T = TypeVar("T")
_NAME = Field(min_length=1, max_length=100)
_SECRET = Field(min_length=1, max_length=1000)


class SignInIn(BaseModel):
    """A local account."""

    name: str = _NAME
    password: str = _SECRET


class PasswordIn(BaseModel):
    """One's own password, before and from now on."""

    old: str = _SECRET
    new: str = _SECRET


class UserIn(BaseModel):
    """A new local account."""

    name: str = _NAME
    password: str = _SECRET
    role: str


class UserChange(BaseModel):
    """What is to be another; what is left out stays."""

    role: str | None = None
    active: bool | None = None
    password: Annotated[str, _SECRET] | None = None


class TokenIn(BaseModel):
    """A token of a program, or with ``kiosk`` of a screen that can only look."""

    name: str = _NAME
    role: str = "viewer"
    scopes: list[Scope] = Field(default=[Scope.LOOK], min_length=1, max_length=len(Scope))
    days: float = Field(90, gt=0, le=LONGEST_TOKEN_S / 86400)
    kiosk: bool = False


class Me(BaseModel):
    """Who asks. ``mode``: single, accounts or open; ``oidc``: name of the identity provider, "" where there is none."""

    user: str
    name: str
    role: str
    sort: str
    scopes: list[str]
    mode: str
    oidc: str


class UserOut(BaseModel):
    """A user; ``vouched``: an identity provider signs them in."""

    user: str
    name: str
    role: str
    active: bool
    vouched: bool
    made: str


class UserChanged(UserOut):
    """A user as they are now. ``tokens_ended_count``: how many of their tokens this took back."""

    tokens_ended_count: int


class TokenOut(BaseModel):
    """A token as it is listed. ``used``: when this process last saw it."""

    id: str
    owner: str
    name: str
    role: str
    scopes: list[str]
    kiosk: bool
    made: str
    end: datetime
    used: datetime | None


class TokenMade(TokenOut):
    """A token that was just made; what it says is shown here and never again."""

    token: str


class SessionOut(BaseModel):
    """A session of one's own; ``here``: the one that asks."""

    id: str
    source: str
    agent: str
    made: datetime
    seen: datetime
    here: bool


def add_access(server: FastAPI, pulse: Pulse) -> None:
    """Serve it on ``server``."""
    router = APIRouter(prefix="/api/v1/access", responses={key: {"model": Failure} for key in (401, 403, 404, 422)})
    signing = SignIn()  # every password of this process is hashed by it
    _add_signing(router, pulse.live, signing)
    _add_password(router, pulse.live, signing)
    _add_tokens(router, pulse.live)
    _add_sessions(router, pulse.live)
    _add_users(router, pulse.live, signing)
    server.include_router(router)


def caller_of(request: Request, access: Access) -> Caller:
    """The browser behind a request."""
    agent = request.headers.get("user-agent", "")
    return Caller(source_of(request), agent, Cookies(access.section, request.cookies))


def _accounts(live: Live) -> Access:
    access = access_of(live)
    if not access.accounts:
        raise HTTPException(422, "Nobody signs in here; write [access] into site.toml where several people use it.")
    return access


def _said(error: Exception) -> HTTPException:
    sentence = str(error.args[0] if error.args else error)
    return HTTPException(404 if isinstance(error, KeyError) else 422, f"{sentence[0].upper()}{sentence[1:]}.")


def _not_in(refusal: NotIn) -> HTTPException:
    wait = {"retry-after": str(max(round(refusal.wait_s), 1))} if refusal.wait_s else {}
    return HTTPException(refusal.status, str(refusal), wait)


async def _hashed(signing: SignIn, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """What ``work`` gives, which hashes a new password; the answer that says why not."""
    try:
        return await signing.hashing(work, *args, **options)
    except NotIn as refusal:
        raise _not_in(refusal) from None
    except (KeyError, ValueError) as error:
        raise _said(error) from None


def _add_signing(router: APIRouter, live: Live, signing: SignIn) -> None:
    @router.get("/me")
    def me(request: Request) -> Me:
        """Who asks, and how one signs in here."""
        access, who = access_of(live), identity_of(request)
        oidc = access.section.oidc
        return Me(
            user=who.user, name=who.name, role=who.role.word, sort=who.sort.value, scopes=sorted(who.scopes),
            mode=access.section.mode.value, oidc=oidc.name if oidc else "",
        )  # fmt: skip

    @router.post("/sign-in", responses={429: {"model": Failure}, 503: {"model": Failure}})
    async def sign_in(request: Request, said: SignInIn) -> Response:
        """With name and password; gives the session as a cookie."""
        access, answer = _accounts(live), JSONResponse({"user": said.name})
        try:
            await signing.local(access, caller_of(request, access), said.name, said.password, answer, live.clock.now())
        except NotIn as refusal:
            raise _not_in(refusal) from None
        return answer

    @router.post("/sign-out", status_code=204)
    def sign_out(request: Request) -> Response:
        """End this session, here and in the browser."""
        access, answer = _accounts(live), Response(status_code=204)
        leave(access, caller_of(request, access), answer, live.clock.now())
        return answer


def _add_password(router: APIRouter, live: Live, signing: SignIn) -> None:
    @router.post("/password", status_code=204, responses={429: {"model": Failure}, 503: {"model": Failure}})
    async def password(request: Request, said: PasswordIn) -> Response:
        """Change one's own password; all other sessions end."""
        access, who, now = _accounts(live), identity_of(request), live.clock.now()
        if who.sort is not Sort.SESSION:
            raise HTTPException(403, "A password is changed by whoever has signed in with it.")
        source = source_of(request)
        try:
            right = await signing.right(access, who.user, who.ref, source, said.old, now)
        except NotIn as refusal:
            raise _not_in(refusal) from None
        if not right:
            raise HTTPException(403, "The old password is wrong.")
        await _hashed(signing, access.users.change, who.user, now, password=said.new)
        await run_in_threadpool(access.sessions.end_all, who.user, now, but=who.ref)
        note(request, "password changed", about=who.user)
        return Response(status_code=204)


def _add_tokens(router: APIRouter, live: Live) -> None:
    @router.get("/tokens")
    def tokens(request: Request) -> list[TokenOut]:
        """One's own tokens; of everybody for whoever administers."""
        access, who = _accounts(live), identity_of(request)
        rows = access.tokens.table.rows().items()
        return [_token(access, key, row) for key, row in rows if who.role is Role.ADMIN or row["owner"] == who.user]

    @router.post("/tokens", status_code=201)
    def make_token(request: Request, said: TokenIn) -> TokenMade:
        """A new token; what it says is shown once, here."""
        access, who = _accounts(live), identity_of(request)
        if said.kiosk and who.role is not Role.ADMIN:
            raise HTTPException(403, "Tokens of kiosks are made by an admin.")
        role, scopes = (Role.VIEWER, [Scope.LOOK]) if said.kiosk else (_role(said.role), said.scopes)
        try:
            key, token, row = access.tokens.make(who, said.name, role, scopes, said.days, live.clock.now(), kiosk=said.kiosk)
        except ValueError as error:
            raise _said(error) from None
        made = _token(access, key, row)
        note(request, "token made", about=key, after=made.model_dump(mode="json"))
        return TokenMade(token=token, **made.model_dump())

    @router.delete("/tokens/{token}", status_code=204)
    def drop_token(request: Request, token: str) -> Response:
        """Take a token back, at once."""
        access, who = _accounts(live), identity_of(request)
        row = access.tokens.table.get(token)
        if row is None or (row["owner"] != who.user and who.role is not Role.ADMIN):
            raise HTTPException(404, "There is no token of that id; /api/v1/access/tokens lists them.")
        access.tokens.table.drop(token, live.clock.now())
        note(request, "token taken back", about=token, before=_token(access, token, row).model_dump(mode="json"))
        return Response(status_code=204)


def _add_sessions(router: APIRouter, live: Live) -> None:
    @router.get("/sessions")
    def sessions(request: Request) -> list[SessionOut]:
        """Where one is signed in."""
        access, who = _accounts(live), identity_of(request)
        return [_session(key, row, who) for key, row in access.sessions.table.rows().items() if row["user"] == who.user]

    @router.delete("/sessions/{session}", status_code=204)
    def end_session(request: Request, session: str) -> Response:
        """Sign out elsewhere."""
        access, who = _accounts(live), identity_of(request)
        mine = [key for key, row in access.sessions.table.rows().items() if row["user"] == who.user and key[:16] == session]
        if not mine:
            raise HTTPException(404, "You have no session of that id; /api/v1/access/sessions lists them.")
        access.sessions.end(mine[0], live.clock.now())
        note(request, "session ended", about=session)
        return Response(status_code=204)


def _add_users(router: APIRouter, live: Live, signing: SignIn) -> None:
    @router.get("/users")
    def users() -> list[UserOut]:
        """Everybody who may sign in."""
        return [_user(key, row) for key, row in _accounts(live).users.table.rows().items()]

    @router.post("/users", status_code=201, responses={503: {"model": Failure}})
    async def add_user(request: Request, said: UserIn) -> UserOut:
        """A new local account."""
        access, role = _accounts(live), _role(said.role)
        row = await _hashed(signing, access.users.add, said.name, said.password, role, live.clock.now())
        made = _user(said.name, row)
        note(request, "user added", about=said.name, after=made.model_dump())
        return made

    @router.patch("/users/{user}", responses={503: {"model": Failure}})
    async def change_user(request: Request, user: str, said: UserChange) -> UserChanged:
        """Another role or password, or whether they may sign in at all. With a new password, and where they may not, their
        sessions and tokens end."""
        access, now = _accounts(live), live.clock.now()
        if said.role is not None:
            _role(said.role)
        before, after = await _hashed(signing, access.users.change, user, now, **said.model_dump(exclude_none=True))
        shut = said.password is not None or said.active is False
        ended = await run_in_threadpool(access.end_all, user, now) if shut else 0
        made = UserChanged(**_user(user, after).model_dump(), tokens_ended_count=ended)
        note(request, "user changed", about=user, before=_user(user, before).model_dump(), after=made.model_dump())
        return made

    @router.delete("/users/{user}", status_code=204)
    def remove_user(request: Request, user: str) -> Response:
        """Take a user out: sessions, tokens and saved views end with them."""
        access, now = _accounts(live), live.clock.now()
        try:
            row = access.remove(user, now)
        except (KeyError, ValueError) as error:
            raise _said(error) from None
        note(request, "user removed", about=user, before=_user(user, row).model_dump())
        return Response(status_code=204)


def _role(word: str) -> Role:
    try:
        return role_of(word)
    except ValueError:
        raise HTTPException(422, f"There is no role {word[:40]!r}; roles are {', '.join(ROLES)}.") from None


def _user(key: str, row: Mapping[str, Any]) -> UserOut:
    vouched = key.startswith("oidc:")
    return UserOut(user=key, name=row["name"], role=row["role"], active=row["active"], vouched=vouched, made=row["made"])


def _token(access: Access, key: str, row: Mapping[str, Any]) -> TokenOut:
    used_s = access.tokens.used_s.get(key)
    return TokenOut(
        id=key, owner=row["owner"], name=row["name"], role=row["role"], scopes=row["scopes"], kiosk=row["kiosk"],
        made=row["made"], end=_time(row["end_s"]), used=None if used_s is None else _time(used_s),
    )  # fmt: skip


def _session(key: str, row: Mapping[str, Any], who: Identity) -> SessionOut:
    here, made, seen = key == who.ref, _time(row["made_s"]), _time(row["seen_s"])
    return SessionOut(id=key[:16], source=row["from"], agent=row["agent"], made=made, seen=seen, here=here)


def _time(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s, UTC)
