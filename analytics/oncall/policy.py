"""Who wants to know what: routes, escalation, people, inhibition. Checked when read, immutable afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analytics.alerts import OURS
from analytics.oncall.labels import Matcher, Signal, all_fit, parse_matchers
from analytics.week import ALWAYS, Week


@dataclass(frozen=True, slots=True)
class Route:
    """What the matchers pick goes to ``channels`` at once and up the ``escalation`` after that.

    ``group_by``: labels that alerts of one page have in common; ``wait_s``: how long a new group waits for company;
    ``interval_s``: the shortest time between two pages of a group that has news; ``repeat_s``: how often a group that nobody
    acknowledged is told again without news; ``further``: later routes are asked too; ``during``: outside of it the route is
    not there."""

    name: str
    matchers: tuple[Matcher, ...]
    channels: tuple[str, ...] = ()
    escalation: str = ""
    group_by: tuple[str, ...] = ("alertname", "hall")
    wait_s: float = 0.4
    interval_s: float = 300.0
    repeat_s: float = 14400.0
    further: bool = False
    during: Week = ALWAYS

    @property
    def reaches(self) -> bool:
        """It tells somebody; a route without channels is there to let alerts fall."""
        return bool(self.channels or self.escalation)


@dataclass(frozen=True, slots=True)
class Level:
    """After ``after_s`` without acknowledgement ``channels`` are told, and whoever has duty by ``schedule``."""

    after_s: float
    channels: tuple[str, ...] = ()
    schedule: str = ""


@dataclass(frozen=True, slots=True)
class Escalation:
    """Levels in order of time. After the last one all are gone through again, ``rounds`` times in all, ``again_s`` apart."""

    name: str
    levels: tuple[Level, ...]
    rounds: int = 1
    again_s: float = 1800.0

    def level(self, number: int) -> tuple[float, Level] | None:
        """After how many seconds the level with this number (counted through all rounds) is due, and the level."""
        if not self.levels or number >= len(self.levels) * self.rounds:
            return None
        turn, at = divmod(number, len(self.levels))
        span_s = self.levels[-1].after_s + self.again_s
        return turn * span_s + self.levels[at].after_s, self.levels[at]


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While what ``source`` picks fires, what ``target`` picks and has the same ``equal`` labels is not told, where both began
    within ``within_s`` of each other."""

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...]
    within_s: float = float("inf")


SAME_MOMENT_S = 600.0  # a device's trap and a rule on its readings, polls and holds between them
_EVENT, _RULE = "origin=event", f"origin={OURS}"


# A rule of higher severity on the same metric of the same asset says all that the lower one does.
WORSE_OF_THE_SAME = (
    Inhibition(parse_matchers(["severity=critical"]), parse_matchers(["severity=~warning|info"]), ("asset", "metric")),
    Inhibition(parse_matchers(["severity=warning"]), parse_matchers(["severity=info"]), ("asset", "metric")),
    # What a device tells as an event, a rule on its readings mostly says as well, and until it is over. Nothing says whether
    # both speak of one thing: so the rule must be as severe, and of what is critical it must have begun at the same time.
    Inhibition(
        parse_matchers([_RULE, "severity=critical"]), parse_matchers([_EVENT, "severity=critical"]), ("asset",), SAME_MOMENT_S
    ),
    Inhibition(parse_matchers([_RULE, "severity=~critical|warning"]), parse_matchers([_EVENT, "severity=warning"]), ("asset",)),
    Inhibition(parse_matchers([_RULE]), parse_matchers([_EVENT, "severity=info"]), ("asset",)),
)


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it. ``people``: name -> channels by which that person is reached; ``fallback``: the channel for what another
    could not deliver, "" for none; ``flap_count`` times begun within ``flap_window_s`` is flapping, until quiet for
    ``flap_quiet_s``; an acknowledgement lapses after ``ack_lasts_s``, never where that is 0."""

    routes: tuple[Route, ...] = ()
    escalations: Mapping[str, Escalation] = field(default_factory=dict)
    people: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    inhibitions: tuple[Inhibition, ...] = WORSE_OF_THE_SAME
    fallback: str = ""
    flap_count: int = 4
    flap_window_s: float = 3600.0
    flap_quiet_s: float = 1800.0
    ack_lasts_s: float = 43200.0
    timezone: str = "UTC"

    def routes_of(self, labels: Mapping[str, str], holds: frozenset[str]) -> list[Route]:
        """The routes that what has these labels takes; ``holds``: names of the routes that are there now."""
        found = []
        for route in self.routes:
            if route.name in holds and all_fit(route.matchers, labels):
                found.append(route)
                if not route.further:
                    break
        return found


def inhibited(
    inhibitions: Sequence[Inhibition], signals: Sequence[Signal], hushed: frozenset[str] = frozenset()
) -> frozenset[str]:
    """Keys of the firing signals that another keeps quiet; none of those in ``hushed`` does, for nobody is told of them."""
    found: set[str] = set()
    for one in inhibitions:
        targets = [signal for signal in signals if all_fit(one.target, signal.labels)]
        sources: dict[tuple[str, ...], list[Signal]] = {}
        for signal in signals if targets else ():
            if signal.fires and signal.key not in hushed and all_fit(one.source, signal.labels):
                sources.setdefault(tuple(signal.labels.get(label, "") for label in one.equal), []).append(signal)
        for signal in targets if sources else ():
            values = tuple(signal.labels.get(label, "") for label in one.equal)
            if any(values) and _beside(one, signal, sources.get(values, ())):
                found.add(signal.key)
    return frozenset(found)


def _beside(one: Inhibition, signal: Signal, sources: Sequence[Signal]) -> bool:
    """Whether one of ``sources`` is another signal that began when this one did."""
    return any(by.key != signal.key and abs(by.since_s - signal.since_s) <= one.within_s for by in sources)
