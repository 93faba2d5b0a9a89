"""The reliability section: alerts and how they were answered, what broke, what was not heard."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from analytics.detect import outcomes
from analytics.finding import Sort
from analytics.kpis import exposure_per_event
from analytics.oncall.report import noise, times
from twin.message import Message
from ui.report.beside import beside, unread
from ui.report.did import Did
from ui.report.document import MEANS, NOTHING, Block, Cell, Figure, Section, Table
from ui.report.gather import Inputs
from ui.report.jobs import PROGRAM

Failure = tuple[float, str, str]  # when [s since 1970 UTC], asset, code
SAME_S = 3600.0
USERS = ("tenant", "project")  # of whom only use stands in a report
UNWATCHED = (
    "By the end of this span icctwin had told of no alert, incident, event or finding, nor looked for one: what did not happen "
    "cannot be told from what nobody watched, so neither alerts nor failures are counted."
)
UNJUDGED = (
    "By the end of this span icctwin had raised no alert, nor looked for one: what devices told of themselves is counted, "
    "alerts and incidents are not."
)
PARTLY = "icctwin looked for alerts in {share:.0%} of the hours; what happened in the others is in no figure."
WHOLE_FRAC = 0.95
COMPONENTS = ("gpu", "node", "switch", "port", "storage", "cdu", "pump", "chiller", "ups", "pdu",
              "transformer")  # fmt: skip


def section(inputs: Inputs) -> Section:
    """The whole section."""
    blocks: list[Block] = [*figures(inputs), *_alerts(inputs), *_components(inputs), *_broke(inputs), *_liars(inputs)]
    blocks += _heard(inputs)
    lead = (*unwatched(inputs), *unread(inputs)) if blocks else ()
    return Section("reliability", "Reliability", lead, tuple(blocks))


def unwatched(inputs: Inputs) -> Iterator[Message]:
    """That nobody looked for alerts, or only for a part of the time."""
    if inputs.scope.kind in USERS:
        return
    if not inputs.watched:
        yield Message(UNWATCHED)
    elif not inputs.judged:
        yield Message(UNJUDGED)
    elif inputs.looked_frac < WHOLE_FRAC:
        yield Message(PARTLY, {"share": inputs.looked_frac})


def figures(inputs: Inputs) -> list[Figure]:
    """Incidents that began, and how fast those that ended were taken and ended, whenever they began; failures, and which of
    them were foretold; with the same of the span before and of a year ago. Of each only where icctwin was there to tell."""
    return beside(inputs, lambda did: _figures(did) if did.watched else [])


def _figures(did: Did) -> list[Figure]:
    if did.scope.kind in USERS:
        return []
    start, end = (f"{moment:%Y-%m-%dT%H:%MZ}" for moment in (did.span.start, did.span.end))
    timeline, on_call = (f"/api/v1/oncall/{route}?start={start}&end={end}" for route in ("timeline", "report"))
    rows = [Figure("alerts_count", "Alerts", did.fired_count, "count", good=-1, query=timeline)] if did.judged else []
    if did.scope.whole and did.judged:
        seen, ended = times(did.incidents), times(did.answered)
        rows += [
            Figure("incidents_count", "Incidents", float(seen.incidents), "count", good=-1, query=on_call),
            Figure("mtta_s", "Mean time to acknowledge", ended.mtta_s, "s", good=-1, query=on_call),
            Figure("mttr_s", "Mean time to resolve", ended.mttr_s, "s", good=-1, query=on_call),
        ]
    broke = failures(did)
    foretold = _foretold(did, broke)
    told = f"/api/v1/events?start={start}&end={end}"
    rows += [
        Figure("failures_count", "Failures of hardware", float(len(broke)), "count", good=-1, query=told),
        Figure("foretold_count", "Failures foretold", float(len(foretold)), "count", good=1, query="/api/v1/findings"),
        Figure("missed_count", "Failures not foretold", float(len(broke) - len(foretold)), "count", good=-1, query=told),
        Figure("lead_s", "Foretold by, median", float(np.median(foretold)) if foretold else NOTHING, "s", good=1,
               query="/api/v1/findings"),
    ]  # fmt: skip
    false = sum(record.get("verdict") in outcomes.VERDICTS and record.get("verdict") not in outcomes.TRUE
                for record in did.outcomes)  # fmt: skip
    if did.outcomes:
        rows.append(Figure("false_count", "Findings that people called wrong", float(false), "count", good=-1,
                           query="/api/v1/findings"))  # fmt: skip
    return [row for row in rows if np.isfinite(row.value)]


def failures(did: Did) -> list[Failure]:
    """What devices told of hardware that broke, in order: a warning or worse that is no program's fault. The same code of the
    same asset within ``SAME_S`` is the same failure."""
    found: list[Failure] = []
    last: dict[tuple[str, str], float] = {}
    for when, record in sorted(did.events, key=lambda row: row[0]):
        code, asset, at_s = str(record["code"]), str(record["asset"]), when.timestamp()
        if record["severity"] == "info" or code in PROGRAM or asset not in did.site.position:
            continue
        if at_s - last.get((asset, code), -np.inf) >= SAME_S:
            found.append((at_s, asset, code))
        last[asset, code] = at_s
    return found


def _foretold(did: Did, broke: Sequence[Failure]) -> list[float]:
    """How long before [s] each failure that a finding of the same asset foretold it; the finding began in the span."""
    began: dict[str, list[float]] = {}
    for when, record in did.findings:
        if record["phase"] == "began" and record["sort"] == Sort.FAILURE.value:
            began.setdefault(str(record["asset"]), []).append(when.timestamp())
    leads = ([at_s - told for told in began.get(asset, ()) if told < at_s] for at_s, asset, _ in broke)
    return [max(one) for one in leads if one]


def _alerts(inputs: Inputs) -> Iterator[Table]:
    opened, acked = Counter[str](), Counter[str]()
    for record in inputs.incidents:
        counter = {"opened": opened, "acknowledged": acked}.get(str(record["what"]))
        if counter is not None:
            counter.update(record.get("rules", ()))
    span_s = (inputs.until - inputs.span.start).total_seconds()
    found = noise([row for row in inputs.alerts if row[1]["asset"] != "*"], acked, opened, span_s)
    rows = [(one.rule, float(one.fired), float(one.assets), one.worst, one.median_lasting_s) for one in found]
    if rows:
        heads = (("rule", ""), ("times fired", "count"), ("assets", "count"), ("most often on", ""), ("Median length", "s"))
        yield Table("alerts", "Alerts that fired most", heads, rows, shown=10)


def _components(inputs: Inputs) -> Iterator[Table]:
    """Mean time between failures by kind of component, with its interval; kinds that did not fail say at least how long."""
    if inputs.scope.kind in USERS or not inputs.watched:
        return
    site, heard = inputs.site, inputs.heard
    heard_h, gpu_h = float(inputs.use.length_h[heard].sum()), float(inputs.use.there[heard].sum())
    inside = None if inputs.scope.whole else inputs.scope.name
    count = Counter(site.kind(asset) for _, asset, _ in failures(inputs))
    rows: list[list[Cell]] = []
    for kind in (*COMPONENTS, *sorted(set(count) - set(COMPONENTS))):
        there = site.count(kind) if inside is None else int((site.within(kind, "hall") == site.row(inside)).sum())
        if there and heard_h > 0:
            rate = exposure_per_event(gpu_h if kind == "gpu" else there * heard_h, count[kind])
            bounds = [3600 * one if np.isfinite(one) else NOTHING for one in (rate.value, rate.low, rate.high)]
            rows.append([kind, float(there), float(count[kind]), *bounds])
    if rows:
        heads = (
            ("component", ""),
            ("assets", "count"),
            ("Failures", "count"),
            ("MTBF", "s"),
            ("at least", "s"),
            ("at most", "s"),
        )
        note = Message("Hours read, while icctwin was there, of all assets of a kind over their failures; 90% by Garwood 1936.")
        yield Table("components", "Mean time between failures", heads, rows, note=note, shown=15)


def _broke(inputs: Inputs) -> Iterator[Table]:
    if inputs.scope.kind in USERS:
        return
    count = Counter(code for _, _, code in failures(inputs))
    order = sorted(count.items(), key=lambda row: (-row[1], row[0]))
    means = inputs.meanings
    rows = [(code, means[code], float(n)) for code, n in order]
    if rows:
        yield Table("events", "What broke", (("event", ""), (MEANS, ""), ("count", "count")), rows, shown=10)


def _liars(inputs: Inputs) -> Iterator[Table]:
    """Values that could not be believed: stuck, drifted, swapped, silent."""
    found = Counter(
        (str(record["asset"]), str(record["metric"]), str(record["question"]))
        for _, record in inputs.findings
        if record["phase"] == "began" and record["sort"] == Sort.DATA.value
    )
    rows: list[list[Cell]] = [[*key, float(n)] for key, n in sorted(found.items(), key=lambda row: (-row[1], row[0]))]
    if rows:
        heads = (("asset", ""), ("metric", ""), ("question", ""), ("times", "count"))
        yield Table("liars", "Sensors that were not believed", heads, rows, shown=15)


def _heard(inputs: Inputs) -> Iterator[Table]:
    rows = [(kind, float(inputs.site.count(kind)), share) for kind, share in inputs.heard_frac.items()]
    if rows:
        heads = (("kind", ""), ("assets", "count"), ("hours with a reading", "frac"))
        yield Table("heard", "What was heard", heads, rows)
