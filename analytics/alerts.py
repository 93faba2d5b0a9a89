"""Alerts: conditions that hold for an asset, and their life from pending to resolved. Pure: no clock, no store."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from twin.message import Message


class Severity(StrEnum):
    """How soon a person must look."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Phase(StrEnum):
    """Prometheus' words. ``resolved`` is kept a while so that faces can show what ended."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule's condition on one asset. ``value`` is the newest reading judged, NaN for an absence."""

    rule: str
    kind: str
    asset: str
    metric: str
    severity: Severity
    phase: Phase
    value: float
    limit: float
    summary: Message
    runbook: str
    since: datetime  # pending since
    fired: datetime | None
    resolved: datetime | None

    @property
    def key(self) -> str:
        """Identifies the alert over its life and after a restart."""
        return f"{self.rule}:{self.asset}"
