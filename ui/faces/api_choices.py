"""``/api/v1/access/choices``: language, theme and time zone of whoever signed in, the same in every browser of theirs."""

from zoneinfo import available_timezones

from fastapi import APIRouter, FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ui.access.door import access_of, identity_of, note
from ui.access.keep import Full
from ui.faces.answers import Failure
from ui.faces.pages.shell import THEMES
from ui.faces.push import Pulse
from ui.words import LANGUAGES

ZONES = available_timezones() | {"site", "browser"}


class Choices(BaseModel):
    """What a person chose; "" where nothing was. ``zone``: an IANA name, ``site`` or ``browser``."""

    model_config = ConfigDict(extra="forbid")

    language: str = Field("", max_length=10)
    theme: str = Field("", max_length=20)
    zone: str = Field("", max_length=100)

    @field_validator("language")
    @classmethod
    def _spoken(cls, value: str) -> str:
        return _known(value, LANGUAGES)

    @field_validator("theme")
    @classmethod
    def _painted(cls, value: str) -> str:
        return _known(value, THEMES)

    @field_validator("zone")
    @classmethod
    def _on_earth(cls, value: str) -> str:
        return _known(value, ZONES)


def _known(value: str, known: object) -> str:
    if value and value not in known:  # type: ignore[operator]  # a mapping, a tuple, a set
        raise ValueError(f"{value!r} is not known here")
    return value


def add_choices(server: FastAPI, pulse: Pulse) -> None:
    """Serve it on ``server``."""
    router = APIRouter(prefix="/api/v1/access", responses={key: {"model": Failure} for key in (401, 403, 422)})
    live = pulse.live

    @router.get("/choices")
    def choices(request: Request) -> Choices:
        """One's own."""
        access = access_of(live)
        access.choices.refresh(live.clock.now())
        return Choices(**(access.choices.get(identity_of(request).user) or {}))

    @router.put("/choices")
    def choose(request: Request, said: Choices) -> Choices:
        """Keep them for whoever signed in."""
        access, who = access_of(live), identity_of(request)
        if not access.accounts:
            raise HTTPException(422, "Nobody signs in here; each browser keeps its own choices.")
        before = access.choices.get(who.user)
        try:
            access.choices.put(who.user, said.model_dump(), live.clock.now())
        except Full as full:
            raise HTTPException(422, f"Of people's choices {full}.") from None
        note(request, "choices changed", before=before, after=said.model_dump())
        return said

    server.include_router(router)
