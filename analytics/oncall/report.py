"""How well the pages serve those who are woken by them: times to acknowledge and to resolve, and what is only noise."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from analytics.rule import Rule
from twin.message import Message

TOP = 20
FLAPS_PER_DAY = 4.0
SHORT_S = 300.0


@dataclass(frozen=True, slots=True)
class Times:
    """Over incidents: how many, how many were acknowledged and closed; mean time to acknowledge and to resolve and their
    medians in s, NaN where there is none."""

    incidents: int
    acknowledged: int
    closed: int
    mtta_s: float
    mttr_s: float
    median_ack_s: float
    median_resolve_s: float


@dataclass(frozen=True, slots=True)
class Noise:
    """One rule's share of the noise, and what might help."""

    rule: str
    fired: int
    assets: int
    worst: str
    never_acked_frac: float
    median_lasting_s: float
    proposal: Message | None


Incident = Mapping[str, Any]  # as ui.oncall writes them down: what, incident, opened_s, at_s
Fired = tuple[datetime, Mapping[str, Any]]  # a record of the alert log


def times(records: Sequence[Incident]) -> Times:
    """Figures of incidents from what was written down of them, in order."""
    opened: dict[str, float] = {}
    acked: dict[str, float] = {}
    closed: dict[str, float] = {}
    for record in records:
        if record["what"] == "opened":
            opened[record["incident"]] = float(record["at_s"])
        elif record["what"] == "acknowledged":
            acked.setdefault(record["incident"], float(record["at_s"]))
        elif record["what"] == "closed":
            closed[record["incident"]] = float(record["at_s"])
    to_ack = [acked[one] - opened[one] for one in acked if one in opened]
    to_end = [closed[one] - opened[one] for one in closed if one in opened]
    return Times(len(opened), len(to_ack), len(to_end), *(_mean(v) for v in (to_ack, to_end)), *map(_median, (to_ack, to_end)))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")


def noise(
    log: Sequence[Fired], acked: Mapping[str, int], pages: Mapping[str, int], span_s: float, rules: Sequence[Rule] = ()
) -> tuple[Noise, ...]:
    """The rules that fire most over ``span_s``, at most ``TOP``, with a proposal where one suggests itself. ``log``: records of
    alerts that began to fire or resolved, in order; ``pages``, ``acked``: by rule, how many incidents it opened and how many of
    these somebody took; ``rules``: as they are now, of those that are not among them the hold is taken for none."""
    now = {rule.name: rule for rule in rules}
    by_rule: dict[str, Counter[str]] = defaultdict(Counter)
    since: dict[str, datetime] = {}
    lasting: dict[str, list[float]] = defaultdict(list)
    for when, record in log:
        if record["phase"] == "firing":
            by_rule[record["rule"]][record["asset"]] += 1
            since[record["key"]] = when
        elif record["key"] in since:
            lasting[record["rule"]].append((when - since.pop(record["key"])).total_seconds())
    found = [_noise(rule, assets, lasting[rule], acked, pages, span_s, now.get(rule)) for rule, assets in by_rule.items()]
    return tuple(sorted(found, key=lambda one: (-one.fired, one.rule))[:TOP])


def _noise(
    rule: str,
    assets: Counter[str],
    lasting: Sequence[float],
    acked: Mapping[str, int],
    pages: Mapping[str, int],
    span_s: float,
    now: Rule | None,
) -> Noise:
    fired, (worst, most) = assets.total(), assets.most_common(1)[0]
    opened = pages.get(rule, 0)
    never = 1.0 - acked.get(rule, 0) / opened if opened else float("nan")
    median = _median(lasting)
    proposal = None
    if most / (span_s / 86400.0) >= FLAPS_PER_DAY and most >= FLAPS_PER_DAY:
        said = "flaps on {asset} ({count} times): look at the asset first, then widen the gap between limit and clear"
        proposal = Message(said, {"asset": worst or rule, "count": most})
    elif len(lasting) >= 5 and median < SHORT_S:
        # an alert fires when its condition has been met for the hold, and goes on for a while after it has ended
        held_s, kept_s = (now.hold_s, now.keep_firing_s) if now else (0.0, 0.0)
        hold_s = held_s + max(0.0, float(np.quantile(lasting, 0.8)) - kept_s)
        said = "half of its alerts end within {median:.0f} s by themselves: a hold_s of {hold:.0f} would leave out four of five"
        proposal = Message(said, {"median": median, "hold": hold_s})
    elif opened >= 5 and never > 0.9:
        said = "nobody takes it ({count} incidents): lower its severity, route it to a channel that wakes nobody, or delete it"
        proposal = Message(said, {"count": opened})
    return Noise(rule, fired, len(assets), worst, never, median, proposal)
