"""The reliability section: alerts and how they were answered, what broke, what was not heard."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from analytics.oncall.report import noise, times
from twin.message import Message
from ui.report.document import NOTHING, Block, Figure, Section, Table
from ui.report.gather import Inputs
from ui.report.use import failures


def section(inputs: Inputs) -> Section:
    """The whole section."""
    blocks: list[Block] = [*figures(inputs), *_alerts(inputs), *_broke(inputs), *_heard(inputs)]
    return Section("reliability", "Reliability", (), tuple(blocks))


def figures(inputs: Inputs) -> list[Figure]:
    """Incidents and how fast they were taken and ended."""
    seen = times(inputs.incidents)
    fired = sum(record["phase"] == "firing" for _, record in inputs.alerts)
    rows = [
        Figure("alerts_count", "Alerts", float(fired), "count", good=-1, query="/api/v1/oncall/timeline"),
        Figure("incidents_count", "Incidents", float(seen.incidents), "count", good=-1, query="/api/v1/oncall/report"),
        Figure("mtta_s", "Mean time to acknowledge", seen.mtta_s, "s", good=-1),
        Figure("mttr_s", "Mean time to resolve", seen.mttr_s, "s", good=-1),
    ]
    return [row for row in rows if np.isfinite(row.value)]


def _alerts(inputs: Inputs) -> Iterator[Table]:
    opened, acked = Counter[str](), Counter[str]()
    for record in inputs.incidents:
        counter = {"opened": opened, "acknowledged": acked}.get(str(record["what"]))
        if counter is not None:
            counter.update(record.get("rules", ()))
    span_s = (inputs.span.end - inputs.span.start).total_seconds()
    found = noise([row for row in inputs.alerts if row[1]["asset"] != "*"], acked, opened, span_s)
    rows = [(one.rule, float(one.fired), float(one.assets), one.worst, one.median_lasting_s) for one in found]
    if rows:
        heads = (("rule", ""), ("times fired", "count"), ("assets", "count"), ("most often on", ""), ("Median length", "s"))
        yield Table("alerts", "Alerts that fired most", heads, rows, shown=10)


def _broke(inputs: Inputs) -> Iterator[Table]:
    rows = [(family, float(count), 3600 * value, 3600 * low, 3600 * high if np.isfinite(high) else NOTHING)
            for family, count, value, low, high in failures(inputs)]  # fmt: skip
    if rows:
        heads = (("event", ""), ("count", "count"), ("Hours in service per event", "s"), ("at least", "s"), ("at most", "s"))
        note = Message("Service hours of all assets that can have the event over their events; 90% by Garwood 1936.")
        yield Table("events", "What broke", heads, rows, note=note, shown=10)


def _heard(inputs: Inputs) -> Iterator[Table]:
    rows = [(kind, float(inputs.site.count(kind)), share) for kind, share in inputs.heard_frac.items()]
    if rows:
        heads = (("kind", ""), ("assets", "count"), ("hours with a reading", "frac"))
        yield Table("heard", "What was heard", heads, rows)
