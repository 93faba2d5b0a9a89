"""Events: what happened at one moment to one asset, and is no value over time: an XID, a leak, a link that went down.

Sources tell of them (``twin.ports.Eventful``) or a detector finds them in frames; they are kept as records of ``TOPIC``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

TOPIC = "event"  # of ``twin.ports.Records``
Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    ``asset``: id of the asset that it happened to; ``code``: what, family first (``xid/79``, ``link/down``,
    ``redfish/Environmental.1.2.PumpFailed``), for programs and filters; ``meaning``: the same as a sentence for people;
    ``source``: id of the source that told.
    """

    time: datetime
    asset: str
    code: str
    meaning: str
    source: str = ""
    severity: Severity = "warning"

    def __post_init__(self) -> None:
        if self.time.tzinfo is None:
            raise ValueError(f"event {self.code} of {self.asset}: time {self.time} has no zone; pass aware UTC")
        if self.severity not in get_args(Severity):
            raise ValueError(f"event {self.code} of {self.asset}: severity {self.severity!r} is none of {get_args(Severity)}")

    @property
    def family(self) -> str:
        """What kind of event: the code up to its first ``/``."""
        return self.code.partition("/")[0]

    def record(self) -> dict[str, Any]:
        """All but the time, which a record has beside it."""
        return {name: getattr(self, name) for name in ("asset", "code", "meaning", "source", "severity")}


def event_of(time: datetime, record: Mapping[str, Any]) -> Event:
    """The event that ``Event.record`` was made of."""
    return Event(time, **record)
