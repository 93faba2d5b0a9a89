"""The guard on alerts: what is set lies near no equipment that something is wrong with, or may soon be."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

import numpy as np

from analytics.alerts import Alert, Phase, Severity
from energy import guard_orders as orders
from energy.guard_orders import Found
from energy.levers.tune_chain import FAN_LIMIT
from energy.reach import above, first_loops, neighbours
from twin.ports import Action

DOUBTS = ("refused_flag", "score_ratio")  # how metrics end that are the twin's word on a reading: it comes and goes with noise
DOUBTED_S = 300.0  # from when on such a word counts before its alert fires; noise does not hold for so long


class Case(orders.Case, Protocol):
    """What the rules on orders know, and what can be set."""

    def settable(self) -> Iterator[Action]:
        """Actions whose asset and metric exist and can be set."""
        ...


def _alert(case: Case) -> Found:
    """What fires near an asset that is to be set."""
    yield from _near(case, [alert for alert in case.alerts if alert.phase is Phase.FIRING])


def _opening(case: Case) -> Found:
    """What is still pending counts: it may be the very thing that the change would make worse. What the twin says of a reading
    comes and goes with noise, and counts once it has lasted."""
    pending = [alert for alert in case.alerts if alert.phase is Phase.PENDING]
    lasting = timedelta(seconds=DOUBTED_S)
    yield from _near(case, [a for a in pending if not a.metric.endswith(DOUBTS) or case.now - a.since >= lasting])


def _near(case: Case, alerts: Sequence[Alert]) -> Found:
    """Warnings and worse on the asset or one ``cools`` link away; critical ones also on what stands in those, and on the
    site."""
    open_ = [alert for alert in alerts if alert.severity is not Severity.INFO]
    first: dict[int, int] = {}  # asset's position -> the first alert that speaks of it, or of what stands in it
    everywhere = len(open_)
    for n, alert in enumerate(open_):
        at, critical = case.site.position.get(alert.asset, -1), alert.severity is Severity.CRITICAL
        everywhere = min(everywhere, n) if critical and alert.kind == "site" else everywhere
        for i in () if at < 0 else above(case.site, at) if critical else (at,):
            first.setdefault(i, n)
    for action in case.settable() if open_ else ():
        near = neighbours(case.site, case.site.position[action.asset])
        if action.metric == FAN_LIMIT:  # chillers may stand between a tower and the water that it cools
            near = np.append(near, case.site.of_kind("loop")[first_loops(case.site, case.site.position[action.asset])])
        n = min((first[i] for i in near.tolist() if i in first), default=everywhere)
        if min(n, everywhere) < len(open_):
            alert = open_[min(n, everywhere)]
            for_s = max(0.0, (case.now - alert.since).total_seconds())
            yield {"asset": action.asset, "rule": alert.rule, "where": alert.asset, "for_s": for_s}


# rule -> (what it finds, what it says of it)
ALERT_RULES: Mapping[str, tuple[Callable[[Case], Found], str]] = {
    "alert": (_alert, "Alert {rule} is open on {where}: {asset} is left alone"),
    "opening": (_opening, "Alert {rule} may be opening on {where}, for {for_s:.0f} s so far: {asset} is left alone"),
}
