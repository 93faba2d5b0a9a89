"""The on-call file (``[alerts] oncall`` of a configuration): channels, people, schedules, escalations, routes, maintenance,
heartbeats.

Read and checked as a whole, every problem at once with its line; a file that is refused changes nothing. Secrets are named,
never written: ``env:NAME`` or ``file:path``."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, StringConstraints, ValidationError

from analytics.oncall.labels import parse_matchers
from analytics.oncall.policy import WORSE_OF_THE_SAME, Escalation, Inhibition, Level, Policy, Route
from analytics.oncall.schedule import Schedule
from analytics.oncall.silence import Silence
from analytics.week import ALWAYS, parse_week
from twin.errors import ConfigError, Problem
from twin.token import weak
from ui.faces.notify import CHANNELS, channel_module
from ui.faces.notify.post import Post
from ui.lines import line_of
from ui.oncall.calendars import Calendars, read_calendars
from ui.oncall.courier import Line
from ui.oncall.entries import (
    Delivery,
    Entry,
    EscalationEntry,
    HeartbeatEntry,
    InhibitEntry,
    MaintenanceEntry,
    PersonEntry,
    RouteEntry,
    ScheduleEntry,
)
from ui.oncall.heart import Beat
from ui.refusing import refusals, toml_refusal
from ui.words import LANGUAGES

MAX_ENTRIES = 500  # of each list
MAX_SECRET_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class OnCallFile:
    """The whole file, checked. ``token``: empty where none is asked for; ``paths``: every file that it was made of."""

    policy: Policy
    delivery: Delivery = field(default_factory=Delivery)
    lines: Mapping[str, Line] = field(default_factory=dict)
    schedules: tuple[ScheduleEntry, ...] = ()
    maintenance: tuple[MaintenanceEntry, ...] = ()
    token: str = ""
    paths: tuple[Path, ...] = ()
    beats: tuple[Beat, ...] = ()

    def calendars(self, now: datetime) -> tuple[list[Schedule], list[Silence]]:
        """Turns of duty and maintenance windows of the days around ``now``; ``ConfigError`` with every problem."""
        found = self.read_calendars(now)
        if found.wrong:
            raise ConfigError(found.wrong)
        return list(found.schedules.values()), [one for windows in found.windows.values() for one in windows]

    def read_calendars(self, now: datetime) -> Calendars:
        """What can be read of the calendars of the days around ``now``, and what is wrong with the rest."""
        return read_calendars(self.schedules, self.maintenance, self.policy, now)


def no_oncall(timezone: str, address: str = "") -> OnCallFile:
    """Nobody is told; alerts live, fold and are shown all the same. ``address``: as in ``load_oncall``."""
    return OnCallFile(Policy(timezone=timezone), Delivery(outside=address))


_E = TypeVar("_E", bound=Entry)
_LISTS: Mapping[str, type[Entry]] = {
    "person": PersonEntry,
    "schedule": ScheduleEntry,
    "maintenance": MaintenanceEntry,
    "escalation": EscalationEntry,
    "route": RouteEntry,
    "inhibit": InhibitEntry,
    "heartbeat": HeartbeatEntry,
}


def load_oncall(path: Path, timezone: str, environment: Mapping[str, str], address: str = "") -> OnCallFile:
    """The on-call file in ``path``; ``ConfigError`` with every problem found. ``address``: of the wall, where links lead that
    have no ``outside``."""
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error.strerror}); name an existing on-call file")]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        line, what = toml_refusal(error)
        raise ConfigError([Problem(f"{path}:{line}" if line else str(path), what)]) from error
    return _Reader(path, text, timezone, environment).read(raw, address)


class _Reader:
    def __init__(self, path: Path, text: str, timezone: str, environment: Mapping[str, str]) -> None:
        self._path, self._lines, self._timezone = path, text.splitlines(), timezone
        self._environment = environment
        self._problems: list[Problem] = []
        self._outside = ""  # of [delivery], for channels that have none of their own

    def read(self, raw: dict[str, Any], address: str) -> OnCallFile:
        delivery = self._entry(Delivery, ("delivery",), raw.pop("delivery", {})) or Delivery()
        delivery = delivery.model_copy(update={"outside": delivery.outside or address})
        channels = raw.pop("channel", [])
        lists = {name: self._list(name, model, raw.pop(name, [])) for name, model in _LISTS.items()}
        for name in raw:
            known = ", ".join(("delivery", "channel", *_LISTS))
            self._problem((name,), f"no section {name!r}; sections are {known}")
        post = Post(delivery.allow)
        self._outside = delivery.outside
        lines = dict(
            filter(None, (self._channel(i, entry, post) for i, entry in enumerate(self._entries("channel", channels))))
        )
        token = self._secret(delivery.token, ("delivery", "token")) if delivery.token else ""
        if token and (why := weak(token)):
            self._problem(("delivery", "token"), f"the token of [delivery] {why}")
        for i, one in enumerate(lists["heartbeat"]):
            if one.name in lines:
                self._problem(("heartbeat", i, "name"), f"{one.name!r} is a channel already; rename one")
        beats = tuple(filter(None, (self._beat(i, one, post) for i, one in enumerate(lists["heartbeat"]))))
        policy = self._policy(delivery, lists)
        self._references(delivery, lists, {str(one.get("name")) for one in channels if isinstance(one, dict)})
        if self._problems:
            raise ConfigError(self._problems)
        schedules = tuple(self._near(one) for one in lists["schedule"])
        maintenance = tuple(self._near(one) for one in lists["maintenance"])
        paths = (self._path, *(one.calendar for one in (*schedules, *maintenance)))
        return OnCallFile(policy, delivery, lines, schedules, maintenance, token, paths, beats)

    def _near(self, entry: Any) -> Any:
        """A calendar's path is meant from the file's place."""
        return entry.model_copy(update={"calendar": Path(os.path.abspath(self._path.parent / entry.calendar))})

    def _entries(self, name: str, entries: Any) -> list[Any]:
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            self._problem((name,), f"{name}s are a list: write [[{name}]] with two brackets")
            return []
        if len(entries) > MAX_ENTRIES:
            self._problem((name,), f"{len(entries)} entries; the most is {MAX_ENTRIES}")
        return entries[:MAX_ENTRIES]

    def _list(self, name: str, model: type[Entry], entries: Any) -> list[Any]:
        made = [self._entry(model, (name, i), entry) for i, entry in enumerate(self._entries(name, entries))]
        found = [one for one in made if one is not None]
        names = [str(getattr(one, "name", i)) for i, one in enumerate(found)]
        for twice in sorted({one for one in names if names.count(one) > 1}):
            self._problem((name,), f"two {name}s are named {twice!r}; rename one")
        return found

    def _entry(self, model: type[_E], place: tuple[str | int, ...], values: Any) -> _E | None:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            self._refused(place, error, model)
            return None

    def _channel(self, i: int, entry: dict[str, Any], post: Post) -> tuple[str, Line] | None:
        options = dict(entry)
        name, kind, place = options.pop("name", None), options.pop("type", None), ("channel", i)
        if not isinstance(name, str) or not name:
            self._problem(place, 'a channel without a name; write name = "…"')
            return None
        if kind not in CHANNELS:
            self._problem((*place, "type"), f"channel {name!r}: no type {kind!r}; types are {', '.join(CHANNELS)}")
            return None
        module = channel_module(kind)
        try:
            checked = module.Options.model_validate(options)
        except ValidationError as error:
            self._refused(place, error, module.Options)
            return None
        if checked.language not in LANGUAGES:
            self._problem((*place, "language"), f"no language {checked.language!r}; languages are {', '.join(LANGUAGES)}")
        if getattr(checked, "outside", None) == "":
            checked = checked.model_copy(update={"outside": self._outside})
        secrets = self._secrets(checked, place)
        if secrets is None:
            return None
        url = secrets.get("url") or getattr(checked, "url", "")
        try:
            if url and kind != "apprise":
                post.check(url)
            return name, Line(module.build(name, checked, secrets), checked, module.PACE)
        except ValueError as error:
            self._problem((*place, _at_fault(str(error))), f"{name}: {error}")
        except ConfigError as error:
            self._problem(place, f"{name}: {error.problems[0].what}")
        return None

    def _beat(self, i: int, entry: HeartbeatEntry, post: Post) -> Beat | None:
        place = ("heartbeat", i)
        secrets = self._secrets(entry, place)
        if secrets is None:
            return None
        url = secrets.get("url", entry.url)
        try:
            post.check(url)
        except ValueError as error:
            self._problem((*place, "url"), f"{entry.name}: {error}")
            return None
        return Beat(entry.name, url, secrets.get("authorization", ""), entry.every_s)

    def _secrets(self, options: BaseModel, place: tuple[str | int, ...]) -> dict[str, str] | None:
        found: dict[str, str] = {}
        for name, about in type(options).model_fields.items():
            value = getattr(options, name)
            named = isinstance(value, str) and value.startswith(("env:", "file:"))  # a URL may be a secret and may be none
            if named and _is_secret(about.annotation, about.metadata):
                found[name] = self._secret(value, (*place, name))
        return found if all(found.values()) else None

    def _secret(self, where: str, place: tuple[str | int, ...]) -> str:
        """What a secret's place holds, "" (and a problem) where it holds nothing. The secret itself is never said."""
        kind, _, name = where.partition(":")
        if kind == "env":
            value = self._environment.get(name, "")
            if not value.strip():
                self._problem(place, f"the environment has no {name}; set it, or name a file as file:path")
            return value.strip()
        path = self._path.parent / name
        try:
            if path.stat().st_size > MAX_SECRET_BYTES:
                raise OSError(None, f"larger than {MAX_SECRET_BYTES} bytes")
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            self._problem(place, f"the secret in {path} cannot be read ({getattr(error, 'strerror', None) or error})")
            return ""
        if not value:
            self._problem(place, f"the secret in {path} is empty")
        return value

    def _policy(self, delivery: Delivery, lists: Mapping[str, Sequence[Any]]) -> Policy:
        routes = tuple(
            Route(
                one.name,
                parse_matchers(one.match),
                one.channels,
                one.escalation,
                one.group_by,
                one.wait_s,
                one.interval_s,
                one.repeat_s,
                one.further,
                parse_week(one.during) if one.during else ALWAYS,
            )
            for one in lists["route"]
        )
        escalations = {
            one.name: Escalation(
                one.name, tuple(Level(x.after_s, x.channels, x.schedule) for x in one.levels), one.rounds, one.again_s
            )
            for one in lists["escalation"]
        }
        own = tuple(Inhibition(parse_matchers(x.source), parse_matchers(x.target), x.equal) for x in lists["inhibit"])
        return Policy(
            routes,
            escalations,
            {one.name: one.channels for one in lists["person"]},
            (*WORSE_OF_THE_SAME, *own),
            delivery.fallback,
            delivery.flap_count,
            delivery.flap_window_s,
            delivery.flap_quiet_s,
            delivery.ack_lasts_s,
            self._timezone,
        )

    def _references(self, delivery: Delivery, lists: Mapping[str, Sequence[Any]], channels: set[str]) -> None:
        """Every name that an entry uses must be there."""
        there = {"channel": channels} | {name: {one.name for one in lists[name]} for name in ("schedule", "escalation")}
        uses: list[tuple[tuple[str | int, ...], str, str]] = []
        if delivery.fallback:
            uses.append((("delivery", "fallback"), "channel", delivery.fallback))
        for name in ("person", "route"):
            for i, one in enumerate(lists[name]):
                uses += [((name, i, "channels"), "channel", channel) for channel in one.channels]
                if getattr(one, "escalation", ""):
                    uses.append(((name, i, "escalation"), "escalation", one.escalation))
        for i, one in enumerate(lists["escalation"]):
            for level in one.levels:
                uses += [(("escalation", i, "levels"), "channel", channel) for channel in level.channels]
                uses += [(("escalation", i, "levels"), "schedule", level.schedule)] if level.schedule else []
        for place, kind, name in uses:
            if name not in there[kind]:
                known = ", ".join(sorted(there[kind])) or "none"
                self._problem(place, f"there is no {kind} {name!r}; there are: {known}")

    def _refused(self, place: tuple[str | int, ...], error: ValidationError, model: type[BaseModel]) -> None:
        for inside, said, _ in refusals(error, model):
            self._problem((*place, *inside), said)

    def _problem(self, place: tuple[str | int, ...], what: str) -> None:
        self._problems.append(Problem(f"{self._path}:{line_of(self._lines, place)}", what))


def _at_fault(why: str) -> str:
    """The key of a channel that a refusal speaks of."""
    if "scheme" in why or "allow" in why:
        return "url"
    return "token" if why.startswith("the token") else "secret"


def _is_secret(annotation: Any, metadata: Sequence[Any]) -> bool:
    """Whether a field's type is ``ui.faces.notify.Secret``, or that or None."""
    marks = [*metadata, *(mark for inner in get_args(annotation) for mark in getattr(inner, "__metadata__", ()))]
    return any(isinstance(mark, StringConstraints) and str(mark.pattern).startswith("^(env:") for mark in marks)
