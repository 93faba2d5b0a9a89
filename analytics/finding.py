"""Findings: what the detectors say of an asset, with the evidence, what to do about it, and what it costs to be wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from twin.message import Message


class Sort(StrEnum):
    """What kind of thing was found."""

    ANOMALY = "anomaly"  # the asset behaves otherwise than its past, its peers or the physics say
    FAILURE = "failure"  # it has failed or is about to
    STRAGGLER = "straggler"  # it holds up the job it works on
    DATA = "data"  # the value cannot be believed: stuck, drifted, swapped, silent
    CAUSE = "cause"  # why several of the others are seen


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. ``question``: which detector asked; ``score``: -log10 of how often an hour a healthy asset would score
    as high, the same scale for every detector and asset; ``confidence``: 0-1, that it is true, as the outcomes so far have it;
    ``lead_s``: how long before harm such a finding comes (NaN: not known); ``since``: first evidence; ``seen``: newest."""

    sort: Sort
    question: str
    kind: str
    asset: str
    metric: str
    score: float
    confidence: float
    since: datetime
    seen: datetime
    summary: Message
    evidence: tuple[Message, ...]
    action: Message
    cost_wrong: Message
    lead_s: float = float("nan")

    @property
    def key(self) -> str:
        """Identifies the finding over its life."""
        return f"{self.question}:{self.asset}:{self.metric}"


def record_of(finding: Finding) -> dict[str, Any]:
    """The finding as a JSON object for the records and the API; sentences both as text and as template with parameters."""
    return {
        "key": finding.key,
        "sort": finding.sort.value,
        "question": finding.question,
        "kind": finding.kind,
        "asset": finding.asset,
        "metric": finding.metric,
        "score": round(finding.score, 3),
        "confidence": round(finding.confidence, 3),
        "since": finding.since.isoformat(),
        "seen": finding.seen.isoformat(),
        "lead_s": None if finding.lead_s != finding.lead_s else finding.lead_s,
        "summary": _spoken(finding.summary),
        "evidence": [_spoken(message) for message in finding.evidence],
        "action": _spoken(finding.action),
        "cost_wrong": _spoken(finding.cost_wrong),
    }


def _spoken(message: Message) -> Mapping[str, Any]:
    return {"text": str(message), "template": message.text, "params": dict(message.params)}
