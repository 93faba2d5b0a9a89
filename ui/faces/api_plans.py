"""What icctwin does and who lets it: ``/api/v1/acting`` and its audit, yes and no to plans, the stop switch, signed links.

Who may is said in ``ui.access.routes``. A signed link is a right of its own: it names plan, person and
time, and counts once. Opening it changes nothing (programs that preview links open them too); its button does.
"""

import hmac
from datetime import UTC, datetime
from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from energy.levers import LEVERS
from energy.notes import TOPIC
from energy.plan import Mode
from twin.errors import SourceError
from ui.access.door import access_of, identity_of, note, source_of, speaker
from ui.faces.answers import Failure
from ui.faces.push import Pulse
from ui.stopping import stop_by_file
from ui.switch import STOP_FILE, Wish, last_sign, redeem, signature, signing_key, stopped, wish
from ui.view import Live
from ui.words import LANGUAGES, words

MAX_AUDIT = 10_000
Name = Annotated[str, Field(min_length=1, max_length=100)]


class Said(BaseModel):
    """Who says it (``by``, where neither session nor token does), and why."""

    by: str = Field("", max_length=100)
    why: str = Field("", max_length=500)


class Link(BaseModel):
    """What a signed link carries."""

    plan: str = Field(min_length=1, max_length=200)
    who: Name
    until: int
    sign: str = Field(pattern="^[0-9a-f]{64}$")


class Acting(BaseModel):
    """``modes`` by lever; ``stopped``: who stopped everything and why; ``alive``: the desk's last sign of life."""

    modes: dict[str, Mode]
    stopped: dict[str, Any] | None
    alive: datetime | None


class AuditPage(BaseModel):
    """Records of the audit, newest first; each names its ``stage``, its plan, who, what was before and what was ordered."""

    records: list[dict[str, Any]]


def add_plans(server: FastAPI, pulse: Pulse) -> None:
    """Serve it on ``server``."""
    live = pulse.live

    refusals: dict[int | str, dict[str, Any]] = {code: {"model": Failure} for code in (401, 403, 404, 409, 422, 503)}
    reading = APIRouter(responses=refusals)
    saying = APIRouter(responses=refusals)
    _add_reading(reading, live)
    _add_saying(saying, live)
    _add_switch(saying, live)
    _add_links(reading, live)
    server.include_router(reading)
    server.include_router(saying)


def _add_reading(router: APIRouter, live: Live) -> None:
    @router.get("/api/v1/acting")
    def acting() -> Acting:
        """How far each lever may go, whether everything is stopped, and whether the desk lives."""
        halted = stopped(live.records, live.folder) if live.folder else None
        modes = {name: live.modes.get(name, Mode.ADVISE) for name in LEVERS}
        return Acting(modes=modes, stopped=dict(halted) if halted else None, alive=last_sign(live.records))

    @router.get("/api/v1/acting/audit")
    def audit(
        limit: Annotated[int, Query(ge=1, le=MAX_AUDIT)] = 100,
        plan: Annotated[str | None, Query(description="of one plan alone, among the newest records")] = None,
    ) -> AuditPage:
        """What was decided, sent, read back and undone: who, why, before and after."""
        found = live.records.read(TOPIC, limit=MAX_AUDIT if plan else limit, newest=True)
        rows = [
            {"time": time.isoformat(), **record}
            for _, time, record in reversed(found)
            if plan is None or record.get("plan") == plan
        ]
        return AuditPage(records=rows[:limit])


def _add_saying(router: APIRouter, live: Live) -> None:
    def to_plan(what: str, key: str, said: Said, request: Request) -> dict[str, str]:
        by = speaker(request, live, said.by)
        known = [plan for plan, _ in live.plans if plan.key == key]
        if live.plans and not known:
            raise HTTPException(404, "No plan of that key is on the desk; /api/v1/plans lists them.")
        wish(live.records, Wish(what, by, key, said.why), live.clock.now())
        note(request, f"plan: {what}", about=key, after={"by": by, "why": said.why})
        return {"plan": key, "said": what, "by": by}

    @router.post("/api/v1/plans/{key}/approve", status_code=202)
    def approve(key: str, said: Said, request: Request) -> dict[str, str]:
        """Say yes: it is carried out within seconds, where the guard still allows it; /api/v1/acting/audit tells."""
        return to_plan("approve", key, said, request)

    @router.post("/api/v1/plans/{key}/reject", status_code=202)
    def reject(key: str, said: Said, request: Request) -> dict[str, str]:
        """Say no: the plan is taken off the desk, and the same one is not put there again."""
        return to_plan("reject", key, said, request)


def _add_switch(router: APIRouter, live: Live) -> None:
    def to_all(what: str, said: Said, request: Request) -> dict[str, str]:
        by = speaker(request, live, said.by)
        before = stopped(live.records, live.folder) if live.folder else None
        wish(live.records, Wish(what, by, why=said.why), live.clock.now())
        note(request, what, before={"stopped": before and dict(before)}, after={"by": by, "why": said.why})
        return {"said": what, "by": by}

    @router.post("/api/v1/stop", status_code=202)
    def stop(said: Said, request: Request) -> dict[str, str]:
        """Begin nothing more, and let go of everything: of orders within seconds, of setpoints a step every five seconds. 503
        with what was done instead where the records refuse it."""
        try:
            return to_all("stop", said, request)
        except SourceError as error:
            if live.folder is None:
                raise
            raise SourceError(f"{stop_by_file(live.folder, error)}.") from error

    @router.post("/api/v1/go", status_code=202)
    def go(said: Said, request: Request) -> dict[str, str]:
        """Let icctwin act again, as far as its modes allow; 409 where a file stops everything."""
        if live.folder and (live.folder / STOP_FILE).exists():
            raise HTTPException(409, f"The file {live.folder / STOP_FILE} stops everything; remove it, then let icctwin act.")
        return to_all("go", said, request)


def _time_of(until: int) -> datetime:
    try:
        return datetime.fromtimestamp(until, UTC)
    except (OverflowError, ValueError, OSError):
        raise HTTPException(422, "until is no time.") from None


def _unsigned(live: Live, plan: str, who: str, until: int, sign: str) -> str:
    """Why a link shows nothing, "" where it was signed here and is not over; whether it was used is asked by its button."""
    end = _time_of(until)
    if live.folder is None or not hmac.compare_digest(
        signature(signing_key(live.folder), plan, who, end).encode(), sign.encode()
    ):
        return "This link was not signed here, or was changed."
    return "" if live.clock.now() < end else "This link is over; ask for another."


_SCRIPT = """const b=document.querySelector("button"),s=document.querySelector("output");
b.addEventListener("click",async()=>{b.disabled=true;const q=new URLSearchParams(location.search);
const r=await fetch("/api/v1/approvals",{method:"POST",headers:{"content-type":"application/json"},
body:JSON.stringify({plan:q.get("plan"),who:q.get("who"),until:Number(q.get("until")),sign:q.get("sign")})});
const a=await r.json();s.textContent=r.ok?s.dataset.done:a.detail});
"""
_STYLE = "body{background:#0e1116;color:#d7dde5;font:18px/1.5 system-ui,sans-serif;margin:3rem auto;max-width:40rem}\
button{font:inherit;padding:.6rem 1.4rem}output{display:block;margin-top:1rem}"


def _add_links(router: APIRouter, live: Live) -> None:
    @router.get("/approve", response_class=HTMLResponse, include_in_schema=False)
    def page(plan: str, who: str, until: int, sign: str, lang: str = "en") -> HTMLResponse:
        """What the link is about, and a button."""
        say = words(lang if lang in LANGUAGES else "en")
        title, done = escape(say("Approve a plan")), escape(say("Taken: it is carried out where the guard still allows it"))
        if why := _unsigned(live, plan, who, until, sign):
            inside, status = f"<p>{escape(say(why))}</p>", 403
        else:
            reason = next((say.sentence(one.reason) for one, _ in live.plans if one.key == plan), plan)
            inside, status = f"<p>{escape(reason)}</p><p>{escape(who)}</p><button>{escape(say('Say yes'))}</button>", 200
            inside += f'<output data-done="{done}"></output><script src="/approve/page.js"></script>'
        language = "zh" if say.language == "zh" else "en"
        return HTMLResponse(
            f'<!DOCTYPE html><html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><h1>{title}</h1>'
            f"{inside}</body></html>",
            status,
        )

    @router.get("/approve/page.js", include_in_schema=False)
    def script() -> Response:
        """What its button does."""
        return Response(_SCRIPT, media_type="text/javascript")

    @router.post("/api/v1/approvals", status_code=202)
    def approval(link: Link, request: Request) -> dict[str, str]:
        """A signed link's yes; it counts once."""
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise HTTPException(403, "Send it as application/json.")
        if live.folder is None:
            raise HTTPException(503, "This process does not know where links are signed.")
        until = _time_of(link.until)
        now = live.clock.now()
        why = redeem(live.records, live.folder, link.plan, link.who, until, link.sign, now)
        if why:
            raise HTTPException(409, why)
        said = {"by": link.who, "until": until.isoformat()}
        asks = identity_of(request)
        access_of(live).records.note(asks, source_of(request), "plan: approve by link", now, about=link.plan, after=said)
        return {"plan": link.plan, "said": "approve", "by": link.who}
