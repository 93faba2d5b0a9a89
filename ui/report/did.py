"""What was done in a span and what happened in it: GPUs hour by hour, runs, alerts, incidents, events, findings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from analytics.detect.outcomes import TOPIC as OUTCOMES
from energy.account.meters import Meters
from energy.account.runs import Runs
from twin.event import TOPIC as EVENTS
from twin.frame import Floats
from twin.ports import How, Records, Store
from twin.site import Bools, Site
from ui.able import HOUR_S
from ui.findings import TOPIC as FINDINGS
from ui.meanings import short
from ui.oncall.service import ALERT_LOG, INCIDENTS
from ui.own import TASK
from ui.report.scope import Part, Scope
from ui.report.span import Span
from ui.report.used import Use, use_of

LOOKS = f"{TASK}alerts"  # looks for alerts, and says each time that it did
MEANS_CHARS = 160  # of what an event means; a controller may write a page
MAX_RECORDS = 100_000  # of one topic; the newest count
BEFORE = timedelta(days=35)  # the span, in which what somebody did about an incident that ended in it is looked for
Told = Sequence[tuple[datetime, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, eq=False)
class Did:
    """Of what ``scope`` names. ``until``: up to when the span is over, its end or the moment at which it was asked for; all
    is of the time before. ``read``: bool[h], hours in which a meter or a GPU was read; ``told``: by its end icctwin had
    told of something; ``alerted``: of an alert or incident; ``looked``: bool[h], hours in which it looked for alerts (empty:
    it never said so); ``answered``: what was written down of incidents that ended in the span, however long ago they began;
    ``open_count``: incidents that had begun before it and went on into it."""

    site: Site
    span: Span
    until: datetime
    scope: Scope
    use: Use
    read: Bools
    runs: Runs
    told: bool
    alerted: bool
    looked: Bools
    incidents: Sequence[Mapping[str, Any]]
    answered: Sequence[Mapping[str, Any]]
    open_count: int
    alerts: Told
    events: Told
    findings: Told
    outcomes: Sequence[Mapping[str, Any]]

    @property
    def watched(self) -> bool:
        """Whether icctwin was there to tell, so what it does not tell of did not happen."""
        return self.told or bool(self.looked.any())

    @property
    def judged(self) -> bool:
        """Whether rules were there to raise an alert, so that none means none."""
        return self.alerted or bool(self.looked.any())

    @property
    def looked_frac(self) -> float:
        """Share of the time in which it looked for alerts; NaN where it never said so."""
        hours_h = self.use.length_h
        return float(hours_h[self.looked].sum() / hours_h.sum()) if self.looked.size else float("nan")

    @property
    def heard(self) -> Bools:
        """bool[h]: hours in which a failure would have been heard of: what was read while icctwin was there."""
        return np.asarray(self.read & self.looked) if self.looked.size else self.read

    @property
    def fired_count(self) -> float:
        """Alerts that fired; those of a storm are one record."""
        return float(sum(record.get("count", 1) for _, record in self.alerts if record["phase"] == "firing"))

    @property
    def meanings(self) -> Mapping[str, str]:
        """By code of the events, what it means, as the newest says."""
        return {str(record["code"]): short(str(record.get("meaning", "")))[:MEANS_CHARS] for _, record in self.events}

    @property
    def read_frac(self) -> float:
        """Share of the time in which a meter or a GPU was read."""
        return float(self.use.length_h[self.read].sum() / self.use.length_h.sum())


def did_in(store: Store, records: Records, part: Part, meters: Meters, span: Span, until: datetime, end: datetime) -> Did:
    """What ``part`` did from the beginning of ``span`` to ``end``; ``meters``: of the centre, over the same time."""
    start = span.start
    use, asked = use_of(part.site, store, part, start, end), (records, start, end)

    def kept(*topics: str) -> bool:
        return any(records.read(topic, end=end, limit=1) for topic in topics)

    alerted = kept(ALERT_LOG, INCIDENTS)

    return Did(
        site=part.site,
        span=span,
        until=until,
        scope=part.scope,
        use=use,
        read=_read(use, meters, _read_here(store, part, meters)),
        runs=part.own,
        told=alerted or kept(FINDINGS, EVENTS),
        alerted=alerted,
        looked=_looked(store, part.site, use, start, end),
        incidents=[r for _, r in _told(part, INCIDENTS, *asked)],
        answered=_answered([r for _, r in _told(part, INCIDENTS, records, start - BEFORE, end)], start, end),
        open_count=_open_count(r for _, r in _told(part, INCIDENTS, records, None, start)),
        alerts=_told(part, ALERT_LOG, *asked),
        events=_told(part, EVENTS, *asked),
        findings=_told(part, FINDINGS, *asked),
        outcomes=[r for _, r in _told(part, OUTCOMES, *asked)],
    )


def _looked(store: Store, site: Site, use: Use, start: datetime, end: datetime) -> Bools:
    """Hours in which the count of looks rose; a process that stands by says how many it had, too."""
    if LOOKS not in site.position:
        return np.empty(0, dtype=np.bool_)
    rows = np.array([site.row(LOOKS)], dtype=np.int32)
    least, most = (store.series("task", ["runs_count"], start, end, HOUR_S, how, rows) for how in (How.MIN, How.MAX))
    rose = (most.values["runs_count"] > least.values["runs_count"]).any(axis=1)
    return _in_hours(use, most.time_s[rose]) if rose.any() else np.empty(0, dtype=np.bool_)


def _in_hours(use: Use, time_s: Floats) -> Bools:
    """bool[h]: any of ``time_s`` lies in it."""
    hour = np.clip(((time_s - use.time_s[0]) // HOUR_S).astype(np.int64), 0, len(use.time_s) - 1)
    return np.asarray(np.bincount(hour, minlength=len(use.time_s)) > 0)


def _read_here(store: Store, part: Part, meters: Meters) -> Bools:
    """bool[t]: steps in which the meters speak of this part: of a hall where it is known what it took of them."""
    if part.scope.kind != "hall":
        return np.ones(len(meters.time_s), dtype=np.bool_)
    return np.isfinite(part.piece(store, meters).share)


def _read(use: Use, meters: Meters, here: Bools) -> Bools:
    """bool[h]: a meter that speaks of it (``here`` bool[t]) or a GPU gave a reading."""
    seen = meters.time_s[here & (np.isfinite(meters.facility_w) | np.isfinite(meters.it_w))]
    return np.asarray((use.read & ~np.bool_(use.silent)) | _in_hours(use, seen))


def _answered(records: Sequence[Mapping[str, Any]], start: datetime, end: datetime) -> list[Mapping[str, Any]]:
    """Of the incidents that ended in ``[start, end)`` when they began, and all that was written down of them."""
    ended = {r["incident"]: r for r in records if r["what"] == "closed" and start.timestamp() <= r["at_s"] < end.timestamp()}
    began = [{**r, "what": "opened", "at_s": r["opened_s"]} for r in ended.values()]
    return [*began, *(r for r in records if r["incident"] in ended and r["what"] != "opened")]


def _open_count(records: Iterable[Mapping[str, Any]]) -> int:
    """Incidents of which ``records`` tell, but not that they ended."""
    ended: dict[str, bool] = {}
    for record in records:
        ended[record["incident"]] = ended.get(record["incident"], False) or record["what"] == "closed"
    return sum(not over for over in ended.values())


def _told(part: Part, topic: str, records: Records, start: datetime | None, end: datetime) -> Told:
    """The newest records of a topic; of a hall those about what stands in it; of whoever only uses the centre none but events,
    which may have ended their runs."""
    found = [(when, record) for _, when, record in records.read(topic, start, end, MAX_RECORDS, newest=True)]
    if part.scope.whole or (part.scope.kind != "hall" and topic == EVENTS):
        return found
    if part.scope.kind != "hall":
        return []
    return [(when, record) for when, record in found if _hall_of(part.site, str(record.get("asset", ""))) == part.scope.name]


def _hall_of(site: Site, asset: str) -> str:
    here = site.position.get(asset, -1)
    while here >= 0:
        if site.kind(site.ids[here]) == "hall":
            return site.ids[here]
        here = int(site.parent[here])
    return ""
