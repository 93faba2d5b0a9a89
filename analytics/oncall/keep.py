"""The desk and its pages as JSON, for the outbox and for a restart."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from analytics.oncall.desk import Desk, Event, Group, Page
from analytics.oncall.labels import Signal
from analytics.oncall.others import TIMEOUT_S, Other, Others
from analytics.oncall.silence import from_json
from analytics.rule import Domain, Severity
from twin.errors import SourceError
from twin.message import Message

VERSION = 1


def plain(value: Any) -> Any:
    """``value`` as JSON's own types: NaN and infinities are null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | frozenset | set):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def page_text(page: Page) -> str:
    """A page as JSON."""
    return json.dumps(plain(page), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def page_of(text: str) -> Page:
    """What ``page_text`` gave; ``SourceError`` where ``text`` is none."""
    try:
        kept = json.loads(text)
        signals = tuple(_signal(one) for one in kept.pop("signals"))
        kept |= {"event": Event(kept["event"]), "severity": Severity(kept["severity"]), "signals": signals}
        return Page(**kept | {name: tuple(kept.get(name, ())) for name in ("flapping", "files")})
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"a page that was kept cannot be read ({error}); it goes to the dead letters") from error


def _signal(kept: dict[str, Any]) -> Signal:
    text, given = kept["summary"]["text"], kept["summary"]["params"]
    params = {name: math.nan if value is None else value for name, value in given.items()}
    numbers = {name: math.nan if kept[name] is None else kept[name] for name in ("ended_s", "value", "limit")}
    return Signal(**kept | numbers | {"summary": Message(text, params), "severity": Severity(kept["severity"])})


def desk_text(desk: Desk) -> str:
    """The desk as JSON."""
    table = {
        "version": VERSION,
        "groups": {key: plain(group) for key, group in desk.groups.items()},
        "begun": {key: list(times) for key, times in desk.begun.items()},
        "seen": dict(desk.seen),
        "at_s": desk.at_s if math.isfinite(desk.at_s) else None,
        "duty": {name: list(people) for name, people in desk.duty.items()},
        "silences": [one.as_json() for one in desk.silences],
    }
    return json.dumps(table, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def desk_of(text: str) -> Desk:
    """What ``desk_text`` gave; ``SourceError`` where ``text`` is none of this version."""
    try:
        kept = json.loads(text)
        if kept["version"] != VERSION:
            raise ValueError(f"version {kept['version']}")
        return Desk(
            {key: _group(group) for key, group in kept["groups"].items()},
            {key: tuple(times) for key, times in kept["begun"].items()},
            kept["seen"],
            {name: tuple(people) for name, people in kept["duty"].items()},
            tuple(from_json(one) for one in kept["silences"]),
            -math.inf if kept["at_s"] is None else kept["at_s"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(f"what was kept of the pages cannot be read ({error}); they start anew") from error


def others_text(others: Others) -> str:
    """The alerts of others as JSON."""
    return json.dumps([plain(one) for one in others.known.values()], ensure_ascii=False, allow_nan=False)


def others_of(text: str) -> Others:
    """What ``others_text`` gave; ``SourceError`` where ``text`` is none."""
    try:
        found = [_other(one) for one in json.loads(text)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(f"what was kept of the alerts of others cannot be read ({error}); they are told again") from error
    return Others({one.key: one for one in found})


def _other(kept: dict[str, Any]) -> Other:
    ended_s = math.nan if kept["ended_s"] is None else kept["ended_s"]
    breaks = Domain(kept["breaks"]) if kept["breaks"] else None
    until_s = kept["heard_s"] + TIMEOUT_S if kept.get("until_s") is None else kept["until_s"]
    more = {"ended_s": ended_s, "until_s": until_s, "severity": Severity(kept["severity"]), "breaks": breaks}
    return Other(**kept | more)


def _group(kept: dict[str, Any]) -> Group:
    numbers = {name: math.nan if kept.get(name) is None else kept[name] for name in ("told_s", "acked_s", "climb_s")}
    shown = {key: _signal(one) for key, one in kept["shown"].items()}
    severity = Severity(kept["severity"])
    return Group(**kept | numbers | {"channels": tuple(kept["channels"]), "severity": severity, "shown": shown})
