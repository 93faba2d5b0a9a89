"""What became of findings: drained, replaced, confirmed or a false alarm; and what that teaches.

An outcome is a record ``{"key": finding's key, "verdict": …}``, with ``code`` (the XID behind a GPU's hazard), ``began_s``,
``noted_s``, ``age_s`` and ``model`` where the finding is on record. Four things are learnt from the newest ``KEPT``:

* confidence, the share of a question's findings that were true: it starts with what its author believes (``PRIOR``) and moves
  as a Beta-Bernoulli count;
* limits: of a question that was wrong more often than right, at least ``ENOUGH`` times, the limit rises up to twofold;
* weights of the GPU hazard: the log odds of an XID move by how much oftener it was right than its question's prior says;
* lead: how long before what people did a true finding had begun, the median of at least ``ENOUGH``.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite, log, nan
from statistics import median

from twin.errors import ConfigError, Problem
from twin.ports import Records

TOPIC = "outcome"
TRUE, FALSE = ("confirmed", "drained", "reset", "replaced", "repaired"), ("false_alarm",)
VERDICTS = (*TRUE, *FALSE)
KEPT = 10_000
ENOUGH = 5
MOST_SHIFT = 3.0  # log odds that a weight may move
_FINDING = "finding"  # topic of the records of what began and ended
_LOOKED_AT = 20_000
# (true, false) that each question starts with
PRIOR: Mapping[str, tuple[float, float]] = {
    "gpu_lost": (19, 1),
    "node_down": (19, 1),
    "leak": (9, 1),
    "link_flap": (9, 1),
    "link_errors": (9, 1),
    "source_silent": (19, 1),
    "sensor_stuck": (9, 1),
    "straggler": (8, 2),
    "pump_wear": (8, 2),
    "pump_flow": (8, 2),
    "pump_stopped": (8, 2),
    "fouling": (6, 4),
    "rack_supply": (7, 3),
    "rack_flow": (7, 3),
    "rack_power": (7, 3),
    "rack_return": (7, 3),
    "gpu_hazard": (5, 5),
    "gpu_hot": (6, 4),
    "sensor_swapped": (8, 2),
    "psu": (9, 1),
    "ups_battery": (7, 3),
    "disk_hazard": (5, 5),
}


@dataclass(frozen=True, slots=True)
class Replaced:
    """An asset that was replaced at ``at_s`` (s since 1970), by what was on record of it: NaN and "" where nothing was."""

    asset: str
    at_s: float
    age_s: float
    model: str


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Counts by question, exclusions by asset; ``shift``: XID (0: none) -> log odds; ``lead_s``: by question; ``replaced``:
    what was, oldest first."""

    true: Mapping[str, int] = field(default_factory=dict)
    false: Mapping[str, int] = field(default_factory=dict)
    excluded: Mapping[str, int] = field(default_factory=dict)
    shift: Mapping[int, float] = field(default_factory=dict)
    lead_s: Mapping[str, float] = field(default_factory=dict)
    replaced: tuple[Replaced, ...] = ()

    def confidence(self, question: str) -> float:
        """0-1: that a finding of this question is true."""
        a, b = PRIOR[question]
        true, false = a + self.true.get(question, 0), b + self.false.get(question, 0)
        return true / (true + false)

    def stricter(self, question: str) -> float:
        """1-2: factor on the question's limit."""
        if self.true.get(question, 0) + self.false.get(question, 0) < ENOUGH:
            return 1.0
        return 1.0 + max(0.0, 1.0 - 2.0 * self.confidence(question))


def learn(records: Iterable[Mapping[str, object]]) -> Outcomes:
    """From outcome records; those that cannot be read are left out."""
    true: dict[str, int] = defaultdict(int)
    false: dict[str, int] = defaultdict(int)
    excluded: dict[str, int] = defaultdict(int)
    codes: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    leads: dict[str, list[float]] = defaultdict(list)
    replaced: list[Replaced] = []
    for record in records:
        parts = str(record.get("key", "")).split(":")
        verdict = str(record.get("verdict", ""))
        if len(parts) < 3 or verdict not in VERDICTS:
            continue
        question, right = parts[0], verdict in TRUE
        (true if right else false)[question] += 1
        if verdict in ("drained", "reset"):
            excluded[parts[1]] += 1
        elif verdict == "replaced":  # what stands there now was never excluded
            excluded.pop(parts[1], None)
        began_s, noted_s = (_number(record.get(name)) for name in ("began_s", "noted_s"))
        if verdict == "replaced" and noted_s == noted_s:
            replaced.append(Replaced(parts[1], noted_s, _number(record.get("age_s")), str(record.get("model", ""))))
        code = _number(record.get("code"))
        if question == "gpu_hazard" and isfinite(code):
            codes[int(code)][right] += 1
        if right and noted_s > began_s:
            leads[question].append(noted_s - began_s)
    a, b = PRIOR["gpu_hazard"]
    shift = {code: _moved(right, wrong, a, b) for code, (wrong, right) in codes.items()}
    lead_s = {question: median(those) for question, those in leads.items() if len(those) >= ENOUGH}
    return Outcomes(dict(true), dict(false), dict(excluded), shift, lead_s, tuple(sorted(replaced, key=lambda one: one.at_s)))


def _moved(right: int, wrong: int, a: float, b: float) -> float:
    """How far the log odds of being right have moved from those of the prior (a, b)."""
    odds = log((right + a) / (wrong + b)) - log(a / b)
    return max(-MOST_SHIFT, min(MOST_SHIFT, odds))


def _number(said: object) -> float:
    return float(said) if isinstance(said, int | float) else nan


def read(records: Records) -> Outcomes:
    """What the records say."""
    return learn(record for _, _, record in records.read(TOPIC, limit=KEPT, newest=True))


def note(records: Records, key: str, verdict: str, now: datetime) -> None:
    """Write an outcome down. ``ConfigError`` for a key that is no finding's or an unknown verdict."""
    if len(key.split(":")) < 3 or verdict not in VERDICTS:
        what = f"{key!r} with {verdict!r} is no outcome; give question:asset:metric and one of {', '.join(VERDICTS)}"
        raise ConfigError([Problem("outcome", what)])
    records.append(TOPIC, now, {"key": key, "verdict": verdict, "noted_s": now.timestamp(), **_of_finding(records, key)})


def _of_finding(records: Records, key: str) -> dict[str, float | str]:
    """When the newest finding of this key began, the code behind it, age and model; empty where none is on record."""
    for _, _, record in reversed(records.read(_FINDING, limit=_LOOKED_AT, newest=True)):
        if record.get("key") == key and record.get("phase") == "began":
            params = record.get("summary", {}).get("params", {})
            began_s = datetime.fromisoformat(str(record["since"])).timestamp()
            return {"began_s": began_s} | {name: params[name] for name in ("code", "age_s", "model") if name in params}
    return {}
