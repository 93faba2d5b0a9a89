"""Signals: alerts as the outside knows them, by labels; and matchers, which pick some of them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from analytics.alerts import OURS, Alert, Phase
from analytics.oncall.pattern import Pattern
from analytics.rule import Severity
from twin.message import Message
from twin.metrics import METRICS
from twin.site import Site

MAX_MATCHERS = 20
MAX_MATCHER_CHARS = 500
PLACES = ("hall", "row", "rack", "node")


@dataclass(frozen=True, slots=True)
class Signal:
    """One alert that fires or has ended, ours or another's.

    ``labels`` identify it for people and matchers; ``since_s``, ``ended_s``: s since 1970, NaN where it still fires; ``value``,
    ``limit``: in ``unit``, NaN where there is none; ``cause``: key of what explains it; ``waits``: that is only pending;
    ``folded``: how many it explains; ``origin``: who raised it.
    """

    key: str
    labels: Mapping[str, str]
    severity: Severity
    summary: Message
    since_s: float
    ended_s: float = float("nan")
    value: float = float("nan")
    limit: float = float("nan")
    unit: str = ""
    runbook: str = ""
    page: str = ""
    cause: str = ""
    waits: bool = False
    folded: int = 0
    origin: str = OURS
    link: str = ""

    @property
    def fires(self) -> bool:
        """It has not ended."""
        return self.ended_s != self.ended_s


def labels_of(site: Site, name: str, kind: str, asset: str, severity: str, **more: str) -> dict[str, str]:
    """What an alert called ``name`` on ``asset`` is known by: the name, the asset, what contains it, its tags, and ``more``."""
    labels = {"alertname": name, "severity": severity, "site": site.name, "kind": kind, "asset": asset}
    here = site.position.get(asset, -1)
    if here >= 0 and (tags := site.texts.get("tags")) and tags[here]:
        labels["tags"] = tags[here]
    while here >= 0:
        above = site.kind(site.ids[here])
        if above in PLACES:
            labels[above] = site.ids[here]
        here = int(site.parent[here])
    return labels | {key: text for key, text in more.items() if text}


def signal_of(site: Site, alert: Alert, pending: frozenset[str] = frozenset()) -> Signal:
    """A firing or resolved alert of ours, as urgent as the worst of what it explains. ``pending``: keys of alerts that only
    may become causes."""
    more = {"metric": alert.metric, "owner": alert.owner, "origin": OURS}
    labels = labels_of(site, alert.rule, alert.kind, alert.asset, alert.urgency, **more)
    ended_s = alert.resolved.timestamp() if alert.phase is Phase.RESOLVED and alert.resolved else float("nan")
    fired = alert.fired or alert.since
    unit = str(alert.summary.params.get("unit", "")) or (METRICS[alert.kind][alert.metric].unit if alert.metric else "")
    return Signal(
        alert.key,
        labels,
        alert.urgency,
        alert.summary,
        fired.timestamp(),
        ended_s,
        alert.value,
        alert.limit,
        unit,
        alert.runbook,
        alert.page,
        alert.cause,
        alert.cause in pending,
        alert.folded,
    )


@dataclass(frozen=True)
class Matcher:
    """``label`` against ``value``, as Alertmanager writes it: ``=``, ``!=``, ``=~`` (a regular expression, RE2's, that must fit
    the whole value) or ``!~``. A label that is not there is empty."""

    label: str
    sign: str
    value: str

    @cached_property
    def _pattern(self) -> Pattern:
        return Pattern(self.value)

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether it picks what has these labels."""
        text = labels.get(self.label, "")
        hit = text == self.value if self.sign in ("=", "!=") else self._pattern.fits(text[:MAX_MATCHER_CHARS])
        return hit == (not self.sign.startswith("!"))

    def __str__(self) -> str:
        return f"{self.label}{self.sign}{self.value}"


_MATCHER = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*\"?(.*?)\"?\s*", re.DOTALL)


def parse_matcher(text: str) -> Matcher:
    """The matcher that ``text`` says; ``ValueError`` with one sentence where it says none."""
    found = _MATCHER.fullmatch(text)
    if not found or len(text) > MAX_MATCHER_CHARS:
        raise ValueError(f'{text[:80]!r} is no matcher; write label=value, or !=, =~, !~ as in "rack=~r0[1-4]"')
    label, sign, value = found.groups()
    if value[:1] in ("=", "~") and text[found.start(3) - 1] != '"':  # nobody means a value that begins so, but in quotes
        raise ValueError(f"{text[:80]!r} has a sign too many; write {label}{sign}{value.lstrip('=~ ')}, or the value in quotes")
    if "~" in sign:
        try:
            Pattern(value).fits("")
        except ValueError as error:
            raise ValueError(f"{value!r} is no regular expression as Alertmanager takes it ({error}); mend it") from None
    return Matcher(label, sign, value)


def parse_matchers(texts: Sequence[str]) -> tuple[Matcher, ...]:
    """All of ``texts``; ``ValueError`` with the first that is wrong."""
    if len(texts) > MAX_MATCHERS:
        raise ValueError(f"{len(texts)} matchers; the most is {MAX_MATCHERS}")
    return tuple(parse_matcher(text) for text in texts)


def all_fit(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every matcher picks what has these labels."""
    return all(matcher.fits(labels) for matcher in matchers)
