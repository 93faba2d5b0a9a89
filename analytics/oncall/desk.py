"""The desk: which groups of alerts are open, what has been told of them to whom, and what is to be told now.

What is told follows from what fires now against what was told before, not from transitions: so a restart with the desk as it
was kept tells nothing twice and forgets nothing. A group opens when something fires that no silence, inhibition or cause
keeps quiet; it is told after its route's wait, again with news after the interval, again without news after the repeat unless
somebody acknowledged it, up its escalation until then, and that it is over when the last of its alerts has ended. What flaps
counts as firing until it has been quiet for a while."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from analytics.oncall.flaps import flaps
from analytics.oncall.labels import Signal
from analytics.oncall.policy import Level, Policy, Route
from analytics.oncall.quiet import RANK, Hush, told_of
from analytics.oncall.silence import Silence
from analytics.rule import Severity

MAX_GROUPS = 5000  # open at one time; of more the most severe and oldest are kept and the rest is told when there is room
MAX_TOLD = 10_000  # alerts remembered of one group
MAX_IN_PAGE = 50  # signals in one page; the rest is counted
LATE_S = 15.0  # an escalation so late keeps its times; later, the next level is counted from now


class Event(StrEnum):
    """Why a page is sent."""

    TRIGGER = "trigger"
    UPDATE = "update"
    REPEAT = "repeat"
    ESCALATE = "escalate"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"
    HANDOVER = "handover"
    REPORT = "report"  # not of an alert: a report was made
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Page:
    """Something to tell by one channel. ``incident``: the same over the life of a group, other than of any earlier one;
    ``signals``: at most ``MAX_IN_PAGE``, the most severe and oldest first; ``left_out``: how many more; ``note``: what a person
    said; ``number``: of the group's pages, from 1; ``files``: of reports, which channels that can send along."""

    channel: str
    group: str
    incident: str
    event: Event
    severity: Severity
    labels: Mapping[str, str]
    signals: tuple[Signal, ...]
    left_out: int
    made_s: float
    opened_s: float
    number: int
    person: str = ""
    note: str = ""
    flapping: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """An open group. ``told``: keys of the alerts that receivers believe to fire, with their severity; ``shown``: the first
    of them as they were last told; ``channels``: who was told; ``level``: the next of the escalation; ``climb_s``: since when
    that is waited for, NaN: since it opened; ``told_s``: NaN before the first page; times in s since 1970."""

    key: str
    route: str
    labels: Mapping[str, str]
    opened_s: float
    due_s: float
    told_s: float = float("nan")
    told: Mapping[str, str] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    level: int = 0
    climb_s: float = float("nan")
    number: int = 0
    acked_s: float = float("nan")
    acked_by: str = ""
    note: str = ""
    severity: Severity = Severity.INFO
    summary: str = ""
    shown: Mapping[str, Signal] = field(default_factory=dict)

    @property
    def incident(self) -> str:
        """Names this opening of the group, for receivers."""
        return f"{self.key}@{self.opened_s:.3f}"

    @property
    def acked(self) -> bool:
        """Somebody has taken it."""
        return self.acked_s == self.acked_s


@dataclass(frozen=True, slots=True)
class Ack:
    """A person takes the incident; ``note`` is what they say."""

    incident: str
    by: str
    at_s: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Happened:
    """Something to be written down: ``what`` is opened, acknowledged or closed."""

    what: str
    group: Group
    at_s: float


@dataclass(frozen=True, slots=True)
class Desk:
    """All that is remembered. ``begun``: alert -> when it lately began to fire; ``seen``: firing alerts -> when last seen so;
    ``duty``: schedule -> who had it; ``silences``: of people, ended ones are dropped; ``at_s``: of the step."""

    groups: Mapping[str, Group] = field(default_factory=dict)
    begun: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    seen: Mapping[str, float] = field(default_factory=dict)
    duty: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    silences: tuple[Silence, ...] = ()
    at_s: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Told:
    """What one step of the desk gives: the desk after it, pages in order, and what happened."""

    desk: Desk
    pages: tuple[Page, ...]
    happened: tuple[Happened, ...]


@dataclass(slots=True)
class _Now:
    """One step at work."""

    policy: Policy
    now_s: float
    signals: Mapping[str, Signal]
    firing: frozenset[str]  # flapping ones included
    quiet: frozenset[str]  # see ``analytics.oncall.quiet``
    flapping: frozenset[str]
    duty: Mapping[str, tuple[str, ...]]
    pages: list[Page] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)


def step(
    policy: Policy,
    was: Desk,
    signals: Sequence[Signal],
    now_s: float,
    *,
    windows: Iterable[Silence] = (),
    acks: Sequence[Ack] = (),
    duty: Mapping[str, tuple[str, ...]] | None = None,
    holds: frozenset[str] | None = None,
) -> Told:
    """The desk at ``now_s`` and what is to be told. ``signals``: everything that fires, and what has lately ended; ``windows``:
    maintenance; ``duty``: schedule -> who is called; ``holds``: names of the routes that are there now (None: all)."""
    if now_s < was.at_s:
        was = _set_back(was, now_s)
    table = {signal.key: signal for signal in signals}
    begun, seen, flapping = flaps(policy, was.begun, was.seen, was.at_s, table, now_s)
    fires = frozenset(key for key, signal in table.items() if signal.fires)
    silences = tuple(one for one in was.silences if one.end_s > now_s)
    told = told_of(group.told for group in was.groups.values())
    quiet = Hush(policy, signals, [*silences, *windows], holds, told, now_s).keys()
    firing = fires | {key for key in flapping if key in seen}
    work = _Now(policy, now_s, table, firing, quiet, flapping, duty if duty is not None else was.duty)
    groups = _acknowledged(dict(was.groups), acks, work)
    for key, (route, members) in _grouped(work, holds).items():
        if key not in groups and len(groups) < MAX_GROUPS:
            labels = {label: table[members[0]].labels.get(label, "") for label in route.group_by}
            groups[key] = Group(key, route.name, labels, now_s, now_s + route.wait_s)
        if key in groups:
            _tell(groups, key, route, members, work)
    routes = {route.name: route for route in policy.routes}
    for key in list(groups):
        _close(groups, key, routes, work)
    _hand_over(was, groups, work)
    kept = Desk(groups, begun, seen, dict(work.duty), silences, now_s)
    return Told(kept, tuple(work.pages), tuple(work.happened))


def _set_back(was: Desk, now_s: float) -> Desk:
    """The desk after its clock was set back to ``now_s``: what was to come in a minute still comes in a minute. The name of an
    incident that was told stays, and so does when it was opened; silences end when people said."""
    by_s = was.at_s - now_s
    groups = {
        key: replace(
            group,
            opened_s=group.opened_s - (0 if group.number else by_s),
            due_s=group.due_s - by_s,
            told_s=group.told_s - by_s,
            climb_s=(group.climb_s if group.climb_s == group.climb_s else group.opened_s) - by_s,
            acked_s=group.acked_s - by_s,
        )
        for key, group in was.groups.items()
    }
    begun = {key: tuple(at_s - by_s for at_s in times) for key, times in was.begun.items()}
    seen = {key: at_s - by_s for key, at_s in was.seen.items()}
    return replace(was, groups=groups, begun=begun, seen=seen, at_s=now_s)


def _grouped(work: _Now, holds: frozenset[str] | None) -> dict[str, tuple[Route, list[str]]]:
    """Group key -> its route and the keys of what fires in it and may be told, the most severe and oldest first."""
    there = frozenset(route.name for route in work.policy.routes) if holds is None else holds
    loud = [signal for key, signal in work.signals.items() if signal.fires and key not in work.quiet]
    loud.sort(key=lambda signal: (RANK[signal.severity], signal.since_s, signal.key))
    groups: dict[str, tuple[Route, list[str]]] = {}
    for signal in loud:
        for route in work.policy.routes_of(signal.labels, there):
            values = ",".join(f'{label}="{signal.labels.get(label, "")}"' for label in route.group_by)
            groups.setdefault(f"{route.name}:{{{values}}}", (route, []))[1].append(signal.key)
    return groups


def _tell(groups: dict[str, Group], key: str, route: Route, members: Sequence[str], work: _Now) -> None:
    """News, repeats and escalation of one group."""
    group, now_s = _lapsed(groups[key], work), work.now_s
    if now_s >= group.due_s and group.told:  # what has ended and comes back after the interval is news
        group = replace(group, told={name: rank for name, rank in group.told.items() if name in work.firing})
    news = [name for name in members if _is_news(group, work.signals[name])]
    worst = work.signals[members[0]].severity
    worse = group.number > 0 and _worse(worst, group.severity)
    if news and (now_s >= group.due_s or worse):  # what is worse does not wait for the interval
        channels = route.channels or _climbed(group, route, work) or group.channels
        if group.acked and (worse or not channels):  # whoever took the lesser trouble has not taken this one
            group = _untaken(group, now_s)
        group = replace(group, severity=worst, summary=str(work.signals[members[0]].summary))
        event = Event.TRIGGER if group.number == 0 else Event.UPDATE
        opened, told = not group.told and group.number == 0, _remembered(group, members, work)
        group = _send(replace(group, told=told, due_s=now_s + route.interval_s), channels, event, members, work)
        if opened:
            work.happened.append(Happened("opened", group, now_s))
    elif group.number and not group.acked and now_s - group.told_s >= route.repeat_s:
        channels = (*route.channels, *_climbed(group, route, work)) or group.channels
        group = _send(group, channels, Event.REPEAT, members, work)
    groups[key] = _escalated(group, route, members, work)


def _is_news(group: Group, signal: Signal) -> bool:
    """Whether receivers do not know of it, or not that it is so bad; of a group that is full, only what is worse than it."""
    unknown = signal.key not in group.told and len(group.told) < MAX_TOLD
    return unknown or _worse(signal.severity, group.told.get(signal.key, group.severity))


def _worse(severity: Severity, than: str) -> bool:
    return RANK[severity] < RANK[Severity(than)]


def _untaken(group: Group, now_s: float) -> Group:
    """Nobody has it: the escalation begins anew."""
    return replace(group, acked_s=float("nan"), acked_by="", level=0, climb_s=now_s)


def _lapsed(group: Group, work: _Now) -> Group:
    """What was taken and is still there after so long has been forgotten."""
    lasts_s = work.policy.ack_lasts_s or float("inf")
    return _untaken(group, work.now_s) if group.acked and work.now_s - group.acked_s >= lasts_s else group


def _remembered(group: Group, members: Sequence[str], work: _Now) -> dict[str, str]:
    still = {name: severity for name, severity in group.told.items() if name in work.firing}
    return dict([*still.items(), *((name, work.signals[name].severity.value) for name in members)][:MAX_TOLD])


def _escalated(group: Group, route: Route, members: Sequence[str], work: _Now) -> Group:
    """At most the next level, when it has been waited for since the one before for as long as the two lie apart: whatever time
    went by without us or in quiet, levels never come closer together than they are written down."""
    policy = work.policy.escalations.get(route.escalation)
    due = policy.level(group.level) if policy and group.told and not group.acked else None
    if policy is None or due is None:
        return group
    before = policy.level(group.level - 1) if group.level else None
    since_s = group.climb_s if group.climb_s == group.climb_s else group.opened_s
    at_s = since_s + due[0] - (before[0] if before else 0.0)
    if work.now_s < at_s:
        return group
    group = replace(group, level=group.level + 1, climb_s=at_s if work.now_s - at_s <= LATE_S else work.now_s)
    event = Event.TRIGGER if group.number == 0 else Event.ESCALATE
    just = {page.channel for page in work.pages if page.incident == group.incident}
    for channel, person in _reached(due[1], work):
        if channel not in just:
            group = _send(group, (channel,), event, members, work, person)
    return group


def _reached(level: Level, work: _Now) -> list[tuple[str, str]]:
    """Channels that a level tells now, and the person whose they are."""
    people = work.duty.get(level.schedule, ()) if level.schedule else ()
    reached = [(channel, "") for channel in level.channels]
    reached += [(channel, person) for person in people for channel in work.policy.people.get(person, ())]
    if level.schedule and not people and not level.channels and work.policy.fallback:
        return [(work.policy.fallback, "")]  # nobody has duty: somebody must hear of it all the same
    return reached


def _climbed(group: Group, route: Route, work: _Now) -> tuple[str, ...]:
    """Channels of the levels that have been told, as of whoever has duty now."""
    policy = work.policy.escalations.get(route.escalation)
    levels = policy.levels[: group.level] if policy else ()
    return tuple(channel for level in levels for channel, _ in _reached(level, work))


def _send(
    group: Group, channels: Iterable[str], event: Event, members: Sequence[str], work: _Now, person: str = "", note: str = ""
) -> Group:
    """Make a page for each channel; gives the group with that remembered."""
    channels = tuple(dict.fromkeys(channels))
    over = event is Event.RESOLVE
    found = [_as_told(group, name, work, over) for name in members[:MAX_IN_PAGE]]
    shown = tuple(signal for signal in found if signal is not None)
    number = group.number + bool(channels)
    flapping = tuple(name for name in members[:MAX_IN_PAGE] if name in work.flapping)
    for channel in channels:
        work.pages.append(
            Page(
                channel,
                group.key,
                group.incident,
                event,
                group.severity,
                group.labels,
                shown,
                max(0, len(members) - len(shown)),
                work.now_s,
                group.opened_s,
                number,
                person,
                note or group.note,
                flapping,
            )
        )
    told_to = tuple(dict.fromkeys((*group.channels, *channels)))
    told_s = work.now_s if channels else group.told_s
    return replace(group, channels=told_to, number=number, told_s=told_s, shown={one.key: one for one in shown})


def _as_told(group: Group, name: str, work: _Now, over: bool) -> Signal | None:
    """The signal as it is, or as it was last told where a rule or an asset has gone with it; ended where the group is over."""
    signal = work.signals.get(name) or group.shown.get(name)
    return replace(signal, ended_s=work.now_s) if signal and over and signal.fires else signal


def _acknowledged(groups: dict[str, Group], acks: Sequence[Ack], work: _Now) -> dict[str, Group]:
    by_incident = {group.incident: key for key, group in groups.items()}
    for ack in acks:
        key = by_incident.get(ack.incident)
        if key is None or groups[key].acked:
            continue
        group = replace(groups[key], acked_s=ack.at_s, acked_by=ack.by, note=ack.note)
        work.happened.append(Happened("acknowledged", group, work.now_s))
        members = [name for name in group.told if name in work.signals]
        groups[key] = _send(group, group.channels, Event.ACKNOWLEDGE, members, work, note=ack.note)
    return groups


def _close(groups: dict[str, Group], key: str, routes: Mapping[str, Route], work: _Now) -> None:
    """Tell that a group is over when all that was told of it has ended; drop one that was over before it was told."""
    group = groups[key]
    ended = [name for name in group.told if name not in work.firing]
    if len(ended) < len(group.told):
        return
    if not group.told:
        if work.now_s >= group.due_s and group.number == 0:
            del groups[key]
        return
    work.happened.append(Happened("closed", group, work.now_s))
    _send(group, group.channels, Event.RESOLVE, ended, work)
    del groups[key]


def _hand_over(was: Desk, groups: Mapping[str, Group], work: _Now) -> None:
    """Whoever takes over duty is told what is open."""
    for schedule, people in work.duty.items():
        before = was.duty.get(schedule)
        new = [person for person in people if before is not None and person not in before]
        mine = [group for group in groups.values() if group.told and _on(schedule, group, work.policy)]
        for person in new:
            for channel in work.policy.people.get(person, ()) if mine else ():
                names = [name for group in mine for name in group.told if name in work.signals][:MAX_IN_PAGE]
                worst = min((group.severity for group in mine), key=lambda severity: RANK[severity])
                head = Group(f"handover:{schedule}", "", {"schedule": schedule}, work.now_s, work.now_s, severity=worst)
                _send(head, (channel,), Event.HANDOVER, names, work, person, f"{len(mine)}")


def _on(schedule: str, group: Group, policy: Policy) -> bool:
    route = next((route for route in policy.routes if route.name == group.route), None)
    escalation = policy.escalations.get(route.escalation) if route else None
    return escalation is not None and any(level.schedule == schedule for level in escalation.levels)
