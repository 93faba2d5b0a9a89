"""The calendars of an on-call file: each is read by itself, so that one that is wrong takes none of the others along."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from analytics.oncall.policy import Policy
from analytics.oncall.schedule import Schedule, read_schedule
from analytics.oncall.silence import Silence, calendar_windows
from twin.errors import Problem

MAX_CALENDAR_BYTES = 2_000_000


class Entry(Protocol):
    """A ``[[schedule]]`` of the file."""

    @property
    def name(self) -> str: ...  # noqa: D102 - as there
    @property
    def calendar(self) -> Path: ...  # noqa: D102


class WorksEntry(Entry, Protocol):
    """A ``[[maintenance]]`` of the file."""

    @property
    def match(self) -> tuple[str, ...]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Calendars:
    """What was read, by the name of its entry. ``wrong``: what cannot be read, and turns of people whom nobody knows;
    ``left_out``: events that say not what is to be quiet, and so keep nothing quiet."""

    schedules: Mapping[str, Schedule]
    windows: Mapping[str, Sequence[Silence]]
    wrong: tuple[Problem, ...]
    left_out: tuple[Problem, ...]


def read_calendars(schedules: Sequence[Entry], works: Sequence[WorksEntry], policy: Policy, now: datetime) -> Calendars:
    """The days around ``now`` of all calendars."""
    turns: dict[str, Schedule] = {}
    windows: dict[str, Sequence[Silence]] = {}
    wrong, left_out = list[Problem](), list[Problem]()
    for one in schedules:
        strangers: list[str] = []
        try:
            text = calendar_text(one.calendar)
            turns[one.name] = read_schedule(one.name, text, policy.people, now, policy.timezone, strangers)
        except (ValueError, OSError) as error:
            wrong.append(Problem(str(one.calendar), f"{error}; write an iCalendar file"))
        wrong += [Problem(str(one.calendar), what) for what in strangers]
    for work in works:
        nothing: list[str] = []
        try:
            text = calendar_text(work.calendar)
            windows[work.name] = calendar_windows(work.name, work.match, text, now, policy.timezone, nothing)
        except (ValueError, OSError) as error:
            wrong.append(Problem(str(work.calendar), f"{error}; write an iCalendar file"))
        left_out += [Problem(str(work.calendar), what) for what in nothing]
    return Calendars(turns, windows, tuple(wrong), tuple(left_out))


def calendar_text(path: Path) -> bytes:
    """The calendar in ``path``; ``ValueError`` where it is too large."""
    if path.stat().st_size > MAX_CALENDAR_BYTES:
        raise ValueError(f"the calendar has {path.stat().st_size} bytes, at most {MAX_CALENDAR_BYTES} are read")
    return path.read_bytes()
