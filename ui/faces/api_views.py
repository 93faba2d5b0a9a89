"""``/api/v1/views`` and ``/api/v1/annotations``: what people keep for themselves, and what they note on a time of an asset."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, Field

from twin.site import Site
from ui.access.door import access_of, identity_of, note
from ui.access.keep import Full
from ui.access.role import Identity, Role
from ui.faces.answers import Failure, Moment, When
from ui.faces.push import Pulse
from ui.view import Live

VIEWS_EACH = 200
MAX_PAGE = 2000
MAX_SPAN = timedelta(days=400)


class ViewIn(BaseModel):
    """A page as one wants to see it again. ``query``: what stands after its ``?``; ``shared``: others see it too."""

    name: str = Field(min_length=1, max_length=100)
    page: str = Field(pattern=r"^/([A-Za-z0-9_.-][A-Za-z0-9/_.-]{0,300})?$")
    query: str = Field("", max_length=4000)
    shared: bool = False


class ViewOut(ViewIn):
    """A view that is kept; ``own``: whoever asks may change it."""

    id: str
    by: str
    own: bool


class AnnotationIn(BaseModel):
    """A note on a moment (``end`` none) or a span, on an asset (``asset`` "": on the whole site)."""

    asset: str = Field("", max_length=300)
    sort: Literal["note", "maintenance", "incident"] = "note"
    start: Moment
    end: Moment | None = None
    text: str = Field(min_length=1, max_length=2000)


class AnnotationOut(AnnotationIn):
    """A note that is kept; ``own``: whoever asks may change it."""

    id: str
    by: str
    made: AwareDatetime
    own: bool


def add_views(server: FastAPI, pulse: Pulse) -> None:
    """Serve them on ``server``."""
    router = APIRouter(prefix="/api/v1", responses={key: {"model": Failure} for key in (401, 403, 404, 422)})
    _add_views(router, pulse.live)
    _add_annotations(router, pulse.live)
    server.include_router(router)


def _add_views(router: APIRouter, live: Live) -> None:
    @router.get("/views")
    def views(request: Request) -> list[ViewOut]:
        """One's own views and those that others share, by name."""
        access, who = access_of(live), identity_of(request)
        access.views.refresh(live.clock.now())
        made = [_view(key, row, who) for key, row in access.views.rows().items()]
        return sorted((one for one in made if one.own or one.shared), key=lambda one: (not one.own, one.name))[:MAX_PAGE]

    @router.post("/views", status_code=201)
    def keep(request: Request, said: ViewIn) -> ViewOut:
        """Keep a view."""
        access, who, key = access_of(live), identity_of(request), secrets.token_hex(6)
        if sum(row["user"] == who.user for row in access.views.rows().values()) >= VIEWS_EACH:
            raise HTTPException(422, f"You have {VIEWS_EACH} views already; remove some.")
        row = said.model_dump() | {"user": who.user, "by": who.name}
        try:
            access.views.put(key, row, live.clock.now())
        except Full as full:
            raise HTTPException(422, f"Of saved views {full}.") from None
        note(request, "view kept", about=said.name, after=said.model_dump())
        return _view(key, row, who)

    def own(request: Request, view: str) -> dict[str, Any]:
        row = access_of(live).views.get(view)
        if row is None or row["user"] != identity_of(request).user:
            raise HTTPException(404, "You have no view of that id; /api/v1/views lists them.")
        return row

    @router.put("/views/{view}")
    def change(request: Request, view: str, said: ViewIn) -> ViewOut:
        """Keep it as it is now."""
        before = own(request, view)
        row = before | said.model_dump()
        access_of(live).views.put(view, row, live.clock.now())
        note(request, "view changed", about=said.name, before=_plain(before, ViewIn), after=said.model_dump())
        return _view(view, row, identity_of(request))

    @router.delete("/views/{view}", status_code=204)
    def forget(request: Request, view: str) -> Response:
        """Forget it."""
        before = own(request, view)
        access_of(live).views.drop(view, live.clock.now())
        note(request, "view forgotten", about=before["name"], before=_plain(before, ViewIn))
        return Response(status_code=204)


def _add_annotations(router: APIRouter, live: Live) -> None:
    @router.get("/annotations")
    def annotations(
        request: Request,
        asset: Annotated[str | None, Query(description="on this asset, what holds it, and the site; none: all")] = None,
        start: Annotated[When | None, Query(description="ISO 8601 with zone; none: as far back as there is")] = None,
        end: Annotated[When | None, Query(description="ISO 8601 with zone; none: without end")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="at most so many")] = 500,
    ) -> list[AnnotationOut]:
        """What people noted that touches ``[start, end)``, the newest first."""
        if asset and asset not in live.site.position:
            raise HTTPException(404, f"There is no asset {asset[:100]!r} in this site; /api/v1/search finds what there is.")
        access_of(live).annotations.refresh(live.clock.now())
        return annotations_on(live, identity_of(request), asset, start, end)[:limit]

    @router.post("/annotations", status_code=201)
    def annotate(request: Request, said: AnnotationIn) -> AnnotationOut:
        """Note something."""
        _check(live.site, said)
        who, now, key = identity_of(request), live.clock.now(), secrets.token_hex(6)
        row = said.model_dump(mode="json") | {"user": who.user, "by": who.name, "made": now.isoformat()}
        try:
            access_of(live).annotations.put(key, row, now)
        except Full as full:
            raise HTTPException(422, f"Of annotations {full}.") from None
        note(request, "annotation made", about=said.asset or "site", after=said.model_dump(mode="json"))
        return _annotation(key, row, who)

    def mine(request: Request, annotation: str) -> dict[str, Any]:
        row, who = access_of(live).annotations.get(annotation), identity_of(request)
        if row is None:
            raise HTTPException(404, "There is no annotation of that id; /api/v1/annotations lists them.")
        if not _may(row, who):
            raise HTTPException(403, "Only who made it, or an engineer, may change it.")
        return row

    @router.put("/annotations/{annotation}")
    def change(request: Request, annotation: str, said: AnnotationIn) -> AnnotationOut:
        """Say it otherwise."""
        _check(live.site, said)
        before = mine(request, annotation)
        row = before | said.model_dump(mode="json")
        access_of(live).annotations.put(annotation, row, live.clock.now())
        note(
            request,
            "annotation changed",
            about=annotation,
            before=_plain(before, AnnotationIn),
            after=said.model_dump(mode="json"),
        )
        return _annotation(annotation, row, identity_of(request))

    @router.delete("/annotations/{annotation}", status_code=204)
    def remove(request: Request, annotation: str) -> Response:
        """Take it back; the audit keeps what it said."""
        before = mine(request, annotation)
        access_of(live).annotations.drop(annotation, live.clock.now())
        note(request, "annotation removed", about=annotation, before=_plain(before, AnnotationIn))
        return Response(status_code=204)


def annotations_on(
    live: Live, who: Identity, asset: str | None, start: datetime | None, end: datetime | None
) -> list[AnnotationOut]:
    """Those on ``asset``, on what holds it and on the site (None: all) that touch ``[start, end)``, the newest first."""
    about = {"", *holders(live.site, asset)} if asset is not None else None
    found = []
    for key, row in access_of(live).annotations.rows().items():
        one = _annotation(key, row, who)
        within = (end is None or one.start < end) and (start is None or (one.end or one.start) >= start)
        if within and (about is None or one.asset in about):
            found.append(one)
    return sorted(found, key=lambda one: one.start, reverse=True)


def holders(site: Site, asset: str) -> list[str]:
    """``asset`` and what holds it, up to the site."""
    found, at = [], site.position.get(asset, -1)
    while at >= 0:
        found.append(site.ids[at])
        at = int(site.parent[at])
    return found


def _check(site: Site, said: AnnotationIn) -> None:
    if said.asset and said.asset not in site.position:
        raise HTTPException(422, f"There is no asset {said.asset[:100]!r} in this site; /api/v1/search finds what there is.")
    if said.end is not None and not timedelta() <= said.end - said.start <= MAX_SPAN:
        raise HTTPException(422, f"A span ends after it starts, at most {MAX_SPAN.days} days later.")


def _may(row: Mapping[str, Any], who: Identity) -> bool:
    return bool(row["user"] == who.user) or who.role >= Role.ENGINEER


def _plain(row: Mapping[str, Any], of: type[BaseModel]) -> dict[str, Any]:
    return {name: row[name] for name in of.model_fields}


def _view(key: str, row: Mapping[str, Any], who: Identity) -> ViewOut:
    return ViewOut(id=key, by=row["by"], own=row["user"] == who.user, **_plain(row, ViewIn))


def _annotation(key: str, row: Mapping[str, Any], who: Identity) -> AnnotationOut:
    made = datetime.fromisoformat(row["made"]).astimezone(UTC)
    return AnnotationOut(id=key, by=row["by"], made=made, own=_may(row, who), **_plain(row, AnnotationIn))
