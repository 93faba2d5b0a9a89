"""What became of findings: drained, replaced, confirmed or a false alarm. Confidence is the share of such findings that were
true.

An outcome is a record ``{"key": finding's key, "verdict": …}``. Each question starts with what its author believes (``PRIOR``)
and moves with what people say: a Beta-Bernoulli count over the newest ``KEPT`` outcomes.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from twin.errors import ConfigError, Problem
from twin.ports import Records

TOPIC = "outcome"
TRUE, FALSE = ("confirmed", "drained", "reset", "replaced", "repaired"), ("false_alarm",)
VERDICTS = (*TRUE, *FALSE)
KEPT = 10_000
# (true, false) that each question starts with
PRIOR: Mapping[str, tuple[float, float]] = {
    "gpu_lost": (19, 1),
    "node_down": (19, 1),
    "leak": (9, 1),
    "link_flap": (9, 1),
    "source_silent": (19, 1),
    "sensor_stuck": (9, 1),
    "straggler": (8, 2),
    "pump_wear": (8, 2),
    "fouling": (6, 4),
    "sensor_drift": (7, 3),
    "gpu_hazard": (5, 5),
    "gpu_hot": (6, 4),
}


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Counts by question, and exclusions by asset."""

    true: Mapping[str, int] = field(default_factory=dict)
    false: Mapping[str, int] = field(default_factory=dict)
    excluded: Mapping[str, int] = field(default_factory=dict)

    def confidence(self, question: str) -> float:
        """0-1: that a finding of this question is true."""
        a, b = PRIOR.get(question, (5, 5))
        true, false = a + self.true.get(question, 0), b + self.false.get(question, 0)
        return true / (true + false)


def learn(records: Iterable[Mapping[str, object]]) -> Outcomes:
    """From outcome records; those that cannot be read are left out."""
    true: dict[str, int] = defaultdict(int)
    false: dict[str, int] = defaultdict(int)
    excluded: dict[str, int] = defaultdict(int)
    for record in records:
        parts = str(record.get("key", "")).split(":")
        verdict = str(record.get("verdict", ""))
        if len(parts) < 3 or verdict not in VERDICTS:
            continue
        (true if verdict in TRUE else false)[parts[0]] += 1
        if verdict in ("drained", "reset", "replaced"):
            excluded[parts[1]] += 1
    return Outcomes(dict(true), dict(false), dict(excluded))


def read(records: Records) -> Outcomes:
    """What the records say."""
    return learn(record for _, _, record in records.read(TOPIC, limit=KEPT, newest=True))


def note(records: Records, key: str, verdict: str, now: datetime) -> None:
    """Write an outcome down. ``ConfigError`` for a key that is no finding's or an unknown verdict."""
    if len(key.split(":")) < 3 or verdict not in VERDICTS:
        what = f"{key!r} with {verdict!r} is no outcome; give question:asset:metric and one of {', '.join(VERDICTS)}"
        raise ConfigError([Problem("outcome", what)])
    records.append(TOPIC, now, {"key": key, "verdict": verdict})
