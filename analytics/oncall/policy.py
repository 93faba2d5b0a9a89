"""Who wants to know what: routes, escalation, people, inhibition. Checked when read, immutable afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analytics.oncall.labels import OURS, Matcher, Signal, all_fit, parse_matchers
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
    """While what ``source`` picks fires, what ``target`` picks and has the same ``equal`` labels is not told."""

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...]


# A rule of higher severity on the same metric of the same asset says all that the lower one does.
WORSE_OF_THE_SAME = (
    Inhibition(parse_matchers(["severity=critical"]), parse_matchers(["severity=~warning|info"]), ("asset", "metric")),
    Inhibition(parse_matchers(["severity=warning"]), parse_matchers(["severity=info"]), ("asset", "metric")),
    # what a device tells as an event, a rule on its readings mostly says as well, and until it is over
    Inhibition(parse_matchers([f"origin={OURS}"]), parse_matchers(["origin=event"]), ("asset",)),
)


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it. ``people``: name -> channels by which that person is reached; ``fallback``: the channel for what another
    could not deliver, "" for none; ``flap_count`` times begun within ``flap_window_s`` is flapping, until quiet for
    ``flap_quiet_s``."""

    routes: tuple[Route, ...] = ()
    escalations: Mapping[str, Escalation] = field(default_factory=dict)
    people: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    inhibitions: tuple[Inhibition, ...] = WORSE_OF_THE_SAME
    fallback: str = ""
    flap_count: int = 4
    flap_window_s: float = 3600.0
    flap_quiet_s: float = 1800.0
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


def inhibited(inhibitions: Sequence[Inhibition], signals: Sequence[Signal]) -> frozenset[str]:
    """Keys of the firing signals that another keeps quiet."""
    found: set[str] = set()
    for one in inhibitions:
        sources: dict[tuple[str, ...], str] = {}
        for signal in signals:
            if signal.fires and all_fit(one.source, signal.labels):
                sources.setdefault(tuple(signal.labels.get(label, "") for label in one.equal), signal.key)
        if not sources:
            continue
        for signal in signals:
            values = tuple(signal.labels.get(label, "") for label in one.equal)
            if any(values) and sources.get(values, signal.key) != signal.key and all_fit(one.target, signal.labels):
                found.add(signal.key)
    return frozenset(found)
