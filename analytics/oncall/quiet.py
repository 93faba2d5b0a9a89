"""What is kept quiet: by a silence, by another alert (inhibition), by a cause that somebody is told of.

Whatever fires is told unless something that is itself told says as much: an alert stays quiet under its cause only while
people hear of the cause, as of something that is at least so severe. For that a cause is raised to the worst of what it
explains (``analytics.oncall.folding``). One that is silenced before anybody was told of it, that no route takes, or that
another alert keeps quiet, keeps nothing quiet."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from analytics.oncall.folding import Folded
from analytics.oncall.labels import Signal, signal_of
from analytics.oncall.others import Others, other_signals
from analytics.oncall.policy import Policy, inhibited
from analytics.oncall.silence import Silence, silenced
from analytics.rule import Severity

RANK = {severity: rank for rank, severity in enumerate(Severity)}
Told = Mapping[str, Severity]  # key -> the worst severity as of which receivers believe it to fire


def told_of(groups: Iterable[Mapping[str, str]]) -> Told:
    """What receivers believe, from the ``told`` of each group."""
    worst: dict[str, Severity] = {}
    for told in groups:
        for key, value in told.items():
            severity = Severity(value)
            if key not in worst or RANK[severity] < RANK[worst[key]]:
                worst[key] = severity
    return worst


class Hush:
    """Who keeps what quiet at ``now_s``. ``silences``: of people and of maintenance; ``holds``: names of the routes that are
    there now, None for all; ``told``: as ``told_of`` gives it, of the step before."""

    def __init__(
        self,
        policy: Policy,
        signals: Sequence[Signal],
        silences: Sequence[Silence],
        holds: frozenset[str] | None,
        told: Told,
        now_s: float,
    ) -> None:
        self._table = {signal.key: signal for signal in signals}
        self._policy, self._told = policy, told
        self._holds = frozenset(route.name for route in policy.routes) if holds is None else holds
        hushed = frozenset(key for key, signal in self._table.items() if silenced(silences, signal.labels, now_s))
        self._itself = hushed | inhibited(policy.inhibitions, signals, hushed)

    def keys(self) -> frozenset[str]:
        """Keys of what is kept quiet."""
        return self._itself | {key for key, signal in self._table.items() if signal.cause and self._covered(signal)}

    def bare(self, worst: Mapping[str, Severity], pending: Collection[str]) -> frozenset[str]:
        """Those causes that do not keep quiet all that they explain: each of that must be looked at. ``worst``: cause -> the
        worst severity of what it explains and fires; ``pending``: causes that only may become some."""
        found = set()
        for key, severity in worst.items():
            cause = self._table.get(key)
            if key not in pending and not (cause and self._covers(cause, severity)):
                found.add(key)
        return frozenset(found)

    def _covered(self, signal: Signal) -> bool:
        """Whether its cause speaks for it. While that is only pending, it waits for what becomes of it; when it has ended, what
        it has left behind ends soon."""
        cause = self._table.get(signal.cause)
        if signal.waits or cause is None:
            return signal.waits
        left_behind = not cause.fires and signal.since_s <= cause.ended_s
        return self._covers(cause, cause.severity if left_behind else signal.severity)

    def _covers(self, cause: Signal, severity: Severity) -> bool:
        """Whether people hear of ``cause`` as of something at least so severe."""
        told = self._told.get(cause.key)
        if told is not None and RANK[told] <= RANK[severity]:
            return True
        if cause.key in self._itself or RANK[cause.severity] > RANK[severity]:
            return False
        return any(route.reaches for route in self._policy.routes_of(cause.labels, self._holds))


def signals_of(
    seen: Folded,
    others: Others,
    policy: Policy,
    groups: Iterable[Mapping[str, str]],
    silences: Sequence[Silence],
    holds: frozenset[str] | None = None,
) -> list[Signal]:
    """All that the desk must know of: what fires and no other explains, what people were told of (``groups``: the ``told`` of
    each), and what something explains that nobody is told of. The rest, of which a storm has thousands, is never made."""
    told, now_s = told_of(groups), seen.table.now.timestamp()
    theirs = other_signals(seen.table.site, others, seen.others, seen.pending, seen.table.raised)
    signals = [*_ours(seen, told), *theirs]
    bare = Hush(policy, signals, silences, holds, told, now_s).bare(seen.worst, seen.pending) if seen.worst else frozenset()
    return [*_ours(seen, told, bare), *theirs] if bare else signals


def _ours(seen: Folded, told: Told, bare: Collection[str] = ()) -> list[Signal]:
    return [signal_of(seen.table.site, alert, seen.pending) for alert in seen.table.spoken(told, bare)]
