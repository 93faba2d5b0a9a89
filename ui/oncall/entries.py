"""What the on-call file may say: one model for each of its sections, one file of which is ``ui.oncall.file``'s to read."""

from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from analytics.oncall.labels import parse_matchers
from analytics.week import parse_week
from ui.faces.notify import Secret

WEEK_S = 7 * 86400.0


class Entry(BaseModel):
    """What holds for each."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Delivery(Entry):
    """``[delivery]``: ``allow``: hosts, globs and networks that may lie anywhere (see ``ui.faces.notify.post``); ``outside``:
    URL under which people reach icctwin (none: ``url`` of ``[access]``); ``fallback``: the channel for what another could not
    deliver; ``token``: what programs and people must show to acknowledge and silence from other machines, of 22 characters on;
    ``maintenance_reservations``: globs of names of a queue's reservations that are maintenance; flapping and how long an
    acknowledgement lasts as in ``analytics.oncall.policy.Policy``."""

    allow: tuple[str, ...] = ()
    outside: str = ""
    fallback: str = ""
    token: str | None = Field(default=None, pattern=r"^(env|file):.+")
    maintenance_reservations: tuple[str, ...] = ("*maint*",)
    flap_count: int = Field(default=4, ge=2, le=100)
    flap_window_s: float = Field(default=3600.0, gt=0, le=86400)
    flap_quiet_s: float = Field(default=1800.0, gt=0, le=86400)
    ack_lasts_s: float = Field(default=43200.0, ge=0, le=WEEK_S)


class PersonEntry(Entry):
    """``[[person]]``: by which channels somebody is reached."""

    name: str = Field(min_length=1)
    channels: tuple[str, ...] = Field(min_length=1)


class ScheduleEntry(Entry):
    """``[[schedule]]``: an iCalendar file whose events are named after people."""

    name: str = Field(min_length=1)
    calendar: Path


class MaintenanceEntry(Entry):
    """``[[maintenance]]``: an iCalendar file; while an event lasts, what ``match`` picks is quiet."""

    name: str = Field(min_length=1)
    calendar: Path
    match: tuple[str, ...] = ()

    @field_validator("match")
    @classmethod
    def _matchers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_matchers(value)
        return value


class LevelEntry(Entry):
    """One level of an escalation."""

    after_s: float = Field(ge=0, le=WEEK_S)
    channels: tuple[str, ...] = ()
    schedule: str = ""


class EscalationEntry(Entry):
    """``[[escalation]]``."""

    name: str = Field(min_length=1)
    levels: tuple[LevelEntry, ...] = Field(min_length=1)
    rounds: int = Field(default=1, ge=1, le=20)
    again_s: float = Field(default=1800.0, gt=0, le=WEEK_S)

    @field_validator("levels")
    @classmethod
    def _rising(cls, value: tuple[LevelEntry, ...]) -> tuple[LevelEntry, ...]:
        if any(one.after_s >= other.after_s for one, other in pairwise(value)):
            raise ValueError("after_s must grow from level to level")
        return value


class RouteEntry(Entry):
    """``[[route]]``; without ``match`` it takes everything."""

    name: str = Field(min_length=1)
    match: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    escalation: str = ""
    group_by: tuple[str, ...] = ("alertname", "hall")
    wait_s: float = Field(default=0.4, ge=0, le=3600)
    interval_s: float = Field(default=300.0, ge=1, le=86400)
    repeat_s: float = Field(default=14400.0, ge=60, le=WEEK_S)
    further: bool = False
    during: str = ""

    @field_validator("match")
    @classmethod
    def _matchers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_matchers(value)
        return value

    @field_validator("during")
    @classmethod
    def _week(cls, value: str) -> str:
        parse_week(value) if value else None
        return value


class InhibitEntry(Entry):
    """``[[inhibit]]``."""

    source: tuple[str, ...] = Field(min_length=1)
    target: tuple[str, ...] = Field(min_length=1)
    equal: tuple[str, ...] = Field(min_length=1)

    @field_validator("source", "target")
    @classmethod
    def _matchers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_matchers(value)
        return value


class HeartbeatEntry(Entry):
    """``[[heartbeat]]``: somebody outside who expects a sign of life ``every_s`` and tells people by a way of its own when it
    stops coming. ``url``: where it goes, or where that stands, for it is mostly a secret itself; ``authorization``: the
    header of that name, as the receiver wants it."""

    name: str = Field(min_length=1)
    url: Secret | str
    authorization: Secret | None = None
    every_s: float = Field(default=60.0, ge=10, le=3600)
