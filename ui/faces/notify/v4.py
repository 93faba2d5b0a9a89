"""Pages in Alertmanager's terms: the webhook payload of version 4 and the alerts of its API v2.

Field by field as in prometheus/alertmanager, notify/webhook/webhook.go and template/template.go (0.25).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from analytics.oncall.desk import Event, Page
from analytics.oncall.labels import Signal
from ui.words import Words

REPORT = "report"  # the label of what tells a report: its id
NEVER = "0001-01-01T00:00:00Z"  # Go's zero time: an alert that fires has no end
_FNV_OFFSET, _FNV_PRIME, _MASK = 14695981039346656037, 1099511628211, 2**64 - 1


def fingerprint(labels: Mapping[str, str]) -> str:
    """Alertmanager's name for a set of labels (prometheus/common, model/signature.go: FNV-1a, 64 bits, 0xff after each
    part)."""
    mark = _FNV_OFFSET
    for key in sorted(labels):
        for byte in key.encode() + b"\xff" + labels[key].encode() + b"\xff":
            mark = (mark ^ byte) * _FNV_PRIME & _MASK
    return f"{mark:016x}"


def moment(time_s: float) -> str:
    """RFC 3339 in UTC; Go's zero time for NaN."""
    if time_s != time_s:
        return NEVER
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def annotations(signal: Signal, words: Words, outside: str) -> dict[str, str]:
    """What is said of an alert beside its labels. ``outside``: as of ``payload``."""
    said = {
        "summary": words.sentence(signal.summary),
        "runbook": words(signal.runbook),
        "runbook_url": runbook(signal, outside),
        "report_url": page_of(signal, outside) if _report(signal) else "",
    }
    said["explains"] = str(signal.folded) if signal.folded else ""
    return {key: text for key, text in said.items() if text}


def generator(signal: Signal, outside: str) -> str:
    """Where it is shown, by us or by whoever told it."""
    return page_of(signal, outside) or signal.link


def page_of(signal: Signal, outside: str) -> str:
    """The page of ours on which a report or an alert is shown; "" where nobody said under which URL people reach us."""
    if not outside:
        return ""
    report = _report(signal)
    page = f"reports?report={quote(report, safe='')}" if report else f"oncall?alert={quote(signal.key, safe='')}"
    return f"{outside.rstrip('/')}/{page}"


def _report(signal: Signal) -> str:
    """Id of the report that it tells; "" for an alert, whatever labels others gave it."""
    return signal.labels.get(REPORT, "") if signal.key.startswith(f"{REPORT}:") else ""


def runbook(signal: Signal, outside: str) -> str:
    """Where its runbook is: the rule's own URL, or a page of ours; "" where nobody said under which URL people reach us."""
    if "://" in signal.page:
        return signal.page
    return f"{outside.rstrip('/')}/runbooks/{signal.page}" if signal.page and outside else ""


def payload(page: Page, receiver: str, words: Words, outside: str) -> dict[str, Any]:
    """The webhook payload of version 4."""
    alerts = [
        {
            "status": "firing" if signal.fires else "resolved",
            "labels": dict(signal.labels),
            "annotations": annotations(signal, words, outside),
            "startsAt": moment(signal.since_s),
            "endsAt": moment(signal.ended_s),
            "generatorURL": generator(signal, outside),
            "fingerprint": fingerprint(signal.labels),
        }
        for signal in page.signals
    ]
    return {
        "receiver": receiver,
        "status": "resolved" if page.event is Event.RESOLVE else "firing",
        "alerts": alerts,
        "groupLabels": {label: text for label, text in page.labels.items() if text},
        "commonLabels": _common([signal.labels for signal in page.signals]),
        "commonAnnotations": _common([annotations(signal, words, outside) for signal in page.signals]),
        "externalURL": outside,
        "version": "4",
        "groupKey": "{}:" + page.group.partition(":")[2],
        "truncatedAlerts": page.left_out,
    }


def _common(tables: Sequence[Mapping[str, str]]) -> dict[str, str]:
    if not tables:
        return {}
    return {key: text for key, text in tables[0].items() if all(table.get(key) == text for table in tables[1:])}
