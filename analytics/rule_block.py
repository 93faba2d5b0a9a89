"""Reads one ``[[rule]]`` of a rule file and says, with file and line, what is wrong with it. See ``analytics.rules``."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analytics.rule import Domain, Join, Of, Rule, Severity
from analytics.week import parse_week
from twin.errors import Problem
from twin.frame import Origin
from twin.kinds import KINDS, NUMBER_ATTRIBUTES
from twin.metrics import METRICS, Metric, suffix

WEEK_S = 7 * 86400.0
RELATIVE_HIGH = 10.0  # the highest limit that makes sense as a fraction of a rating
MODELLED = "modelled"  # what a residual may be relative to
CONDITIONS = ("above", "below", "codes", "bits", "absent_s")
KNOWN = frozenset(
    {"name", "kind", "metric", "origin", "clear", "hold_s", "severity", "summary", "runbook", "assets", "keep_firing_s", "of"}
    | {
        "window_s",
        "relative_to",
        "over",
        "horizon_s",
        "probability_frac",
        "tag",
        "inside",
        "during",
        "quiet",
        "armed",
        "breaks",
    }
    | {"suffers", "owner", "page", "source", "reason", *CONDITIONS, *Join}
)


class Lines:
    """Where things stand in the text: tomllib does not say, so the n-th header and the key below it are looked up."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.lines = text.splitlines()
        self.heads = [i for i, line in enumerate(self.lines) if re.match(r"\s*\[\[\s*rule\s*\]\]", line)]

    def top(self, key: str) -> str:
        """Where ``key`` stands at the top of the file."""
        found = (i for i, line in enumerate(self.lines, 1) if re.match(rf"\s*\[*\s*{re.escape(key)}\b", line))
        return f"{self.path}:{next(found, 1)}"

    def of(self, index: int, key: str = "") -> str:
        """Where ``key`` of the rule with this number stands, or its header."""
        if index >= len(self.heads):  # written in another form (rule = [{…}]): no header to count
            return str(self.path)
        start, end = self.heads[index], (*self.heads, len(self.lines))[index + 1]
        pattern = rf"\s*[\"']?{re.escape(key)}[\"']?\s*="
        found = (i for i in range(start, end) if key and re.match(pattern, self.lines[i]))
        return f"{self.path}:{next(found, start) + 1}"


@dataclass
class Block:
    """Reads one ``[[rule]]`` and notes what is wrong with it."""

    block: Mapping[str, Any]
    lines: Lines
    index: int
    problems: list[Problem] = field(default_factory=list)

    def _bad(self, key: str, what: str) -> None:
        self.problems.append(Problem(self.lines.of(self.index, key), what))

    def rule(self) -> Rule | None:
        """The rule, or None where something is wrong with it."""
        for key in self.block.keys() - KNOWN:
            self._bad(key, f"no key {key!r} in a rule; known: {', '.join(sorted(KNOWN))}")
        name = self._text("name")
        if name and not re.fullmatch(r"[a-z0-9_]{1,64}", name):
            self._bad("name", f"name is {name!r}; use 1 to 64 small letters, digits and underscores")
        joins = [join for join in Join if join in self.block]
        fields = self._composite(joins) if joins else self._simple()
        severity = self._one_of("severity", tuple(Severity))
        fields |= {"keep_firing_s": self._seconds("keep_firing_s", 0.0), "hold_s": self._seconds("hold_s")}
        fields |= {"summary": self._summary(), "runbook": self._text("runbook"), **self._scope(), **self._causes()}
        fields |= {key: self._text(key, "-") if key in self.block else "" for key in ("owner", "page", "source", "reason")}
        if self.problems:
            return None
        return Rule(name=name, severity=Severity(severity), **fields)

    def _simple(self) -> dict[str, Any]:
        """What a rule on a metric says of it."""
        metric = self._metric()
        origins = (Origin.MEASURED, Origin.MODELLED, Origin.COMMANDED)  # forecasts are series and never in the state
        origin = self._one_of("origin", origins, Origin.MEASURED)
        if metric is None or origin not in origins:
            return {}
        fields: dict[str, Any] = {"kind": metric.kind, "metric": metric.name, "origin": Origin(origin)}
        fields |= self._judged(metric)
        return fields | self._condition(metric, fields)

    def _composite(self, joins: Sequence[Join]) -> dict[str, Any]:
        """What a rule made of others says of them."""
        kind = self._text("kind")
        if kind and kind not in METRICS:
            self._bad("kind", f"no kind {kind!r}; kinds are {', '.join(KINDS)}")
        wrong = [key for key in (*CONDITIONS, "metric", "of", "origin") if key in self.block and key not in ("above", "below")]
        for key in wrong:
            self._bad(key, f"{key} goes with a metric; leave it out beside {joins[0]}")
        if len(joins) > 1:
            self._bad(joins[1], f"{' and '.join(joins)} stand together; write one of them")
        given = self.block[joins[0]]
        parts = [given] if joins[0] is Join.SHARE else given
        if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
            self._bad(joins[0], f"{joins[0]} is {given!r}; write the name of a rule, or a list of them for all_of and any_of")
            parts = []
        fields: dict[str, Any] = {"kind": kind, "metric": "", "join": joins[0], "parts": tuple(map(str, parts))}
        if joins[0] is Join.SHARE:
            if "above" not in self.block:
                self._bad("share_of", "share_of needs above: the share from which it holds")
                return fields
            return fields | self._levels("above", 0.0, 1.0, "of what it contains", "share")
        if "above" in self.block or "below" in self.block:
            self._bad("above", f"a limit goes with share_of; leave it out beside {joins[0]}")
        return fields

    def _scope(self) -> dict[str, Any]:
        """Which assets are meant, and when."""
        fields: dict[str, Any] = {
            "assets": self._text("assets", "*"),
            "quiet": self._flag("quiet"),
            "armed": self._flag("armed"),
        }
        if fields["armed"] and not ("above" in self.block or "below" in self.block):
            self._bad("armed", "armed goes with above or below: what it waits for is the clear level")
        fields |= {key: self._text(key) if key in self.block else "" for key in ("tag", "inside")}
        if "during" in self.block:
            try:
                fields["during"] = parse_week(self._text("during"))
            except ValueError as error:
                self._bad("during", str(error))
        return fields

    def _flag(self, key: str) -> bool:
        value = self.block.get(key, False)
        if not isinstance(value, bool):
            self._bad(key, f"{key} is {value!r}; write true or false")
        return value is True

    def _causes(self) -> dict[str, Any]:
        """What an alert of this rule explains, and what explains it."""
        breaks, suffers = self.block.get("breaks"), self.block.get("suffers")
        if breaks is not None and breaks not in tuple(Domain):
            self._bad("breaks", f"breaks is {breaks!r}; write one of {', '.join(Domain)}")
            breaks = None
        if suffers is None:
            telling = (Domain.POWER, Domain.NETWORK, Domain.TELEMETRY)
            suffers = telling if "absent_s" in self.block else (Domain.POWER,)
        if not isinstance(suffers, list | tuple) or any(domain not in tuple(Domain) for domain in suffers):
            self._bad("suffers", f"suffers is {suffers!r}; write a list of {', '.join(Domain)}")
            suffers = ()
        return {"breaks": Domain(breaks) if breaks else None, "suffers": tuple(Domain(domain) for domain in suffers)}

    def _text(self, key: str, default: str | None = None) -> str:
        value = self.block.get(key, default)
        if not isinstance(value, str) or not value.strip():
            self._bad(key, f"{key} is {value!r}; write a text" if value is not None else f"a rule needs {key!r}; add it")
            return ""
        return value

    def _one_of(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        value = self.block.get(key, default)
        if value not in choices:
            self._bad(key, f"{key} is {value!r}; write one of {', '.join(choices)}")
        return str(value)

    def _number(self, key: str) -> float:
        value = self.block.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self._bad(key, f"{key} is {value!r}; write a number" if key in self.block else f"a rule needs {key!r}; add it")
            return math.nan
        return float(value)

    def _seconds(self, key: str, default: float | None = None, above_zero: bool = False) -> float:
        if default is not None and key not in self.block:
            return default
        value = self._number(key)
        if value < 0 or value > WEEK_S or (above_zero and value == 0):
            self._bad(
                key, f"{key} is {value:g}; write seconds {'above' if above_zero else 'from'} 0, at most {WEEK_S:g} (a week)"
            )
        return value

    def _metric(self) -> Metric | None:
        kind, name = self._text("kind"), self._text("metric")
        if not (kind and name):
            return None
        if kind not in METRICS:
            self._bad("kind", f"no kind {kind!r}; kinds are {', '.join(KINDS)}")
            return None
        if name not in METRICS[kind]:
            self._bad("metric", f"no metric {name!r} of kind {kind!r}; known: {', '.join(METRICS[kind])}")
            return None
        return METRICS[kind][name]

    def _summary(self) -> str:
        text = self._text("summary")
        try:
            text.format(asset="a", value=1.0, limit=1.0, unit="u")
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            self._bad(
                "summary", f"summary cannot be filled in ({error}); it may name {{asset}}, {{value}}, {{limit}} and {{unit}}"
            )
        return text

    def _judged(self, metric: Metric) -> dict[str, Any]:
        """What of the metric is judged: the value, its part of a rating, its increase, and so on."""
        of = self._one_of("of", tuple(Of), Of.VALUE)
        if of not in tuple(Of):
            return {}
        fields: dict[str, Any] = {"of": Of(of), "window_s": 0.0, "relative_to": ""}
        counts = of in (Of.INCREASE, Of.RATE)
        if counts or of == Of.CHANGE:
            fields["window_s"] = self._seconds("window_s", above_zero=True)
        elif "window_s" in self.block:
            self._bad("window_s", 'window_s goes with of = "increase", "rate" or "change"; add that or leave it out')
        if counts and not metric.counter:
            self._bad("of", f"{metric.name} of {metric.kind} is no counter; only a counter has {of}")
        if of == Of.CHANGE and metric.counter:
            self._bad("of", f'{metric.name} of {metric.kind} is a counter; write of = "increase"')
        fields |= self._ratio(metric, of) | self._foreseen(of)
        if "relative_to" in self.block:
            fields["relative_to"] = self._relative(metric, of)
        return fields

    def _ratio(self, metric: Metric, of: str) -> dict[str, Any]:
        if of not in (Of.RATIO, Of.DIFFERENCE):
            if "over" in self.block:
                self._bad("over", 'over goes with of = "ratio" or "difference"; add that or leave it out')
            return {}
        over = self._text("over")
        if over and over not in METRICS[metric.kind]:
            self._bad("over", f"no metric {over!r} of kind {metric.kind!r}; known: {', '.join(METRICS[metric.kind])}")
        elif over and of == Of.DIFFERENCE and METRICS[metric.kind][over].unit != metric.unit:
            self._bad("over", f"{over} and {metric.name} have different units; only like can be taken from like")
        return {"over": over}

    def _foreseen(self, of: str) -> dict[str, Any]:
        if of != Of.FORECAST:
            for key in ("horizon_s", "probability_frac"):
                if key in self.block:
                    self._bad(key, f'{key} goes with of = "forecast"; add that or leave it out')
            return {}
        probability = self._number("probability_frac")
        if not 0.05 <= probability <= 0.95:
            self._bad("probability_frac", f"probability_frac is {probability:g}; write 0.05 to 0.95")
        return {"horizon_s": self._seconds("horizon_s", above_zero=True), "probability_frac": probability}

    def _relative(self, metric: Metric, of: str) -> str:
        relative_to = self._text("relative_to")
        if of == Of.RESIDUAL and relative_to == MODELLED:
            return relative_to
        if relative_to not in NUMBER_ATTRIBUTES:
            self._bad("relative_to", f"no attribute {relative_to!r}; known: {', '.join(NUMBER_ATTRIBUTES)}")
        elif relative_to.rpartition("_")[2] != suffix(metric.name):
            self._bad("relative_to", f"{relative_to} and {metric.name} have different units; name a rating in the same unit")
        return relative_to

    def _condition(self, metric: Metric, judged: Mapping[str, Any]) -> dict[str, Any]:
        given = [key for key in CONDITIONS if key in self.block]
        if len(given) != 1:
            wrong = f"{' and '.join(given)} stand together" if given else "a rule without a condition"
            self._bad(given[-1] if given else "", f"{wrong}; write exactly one of {', '.join(CONDITIONS)}")
            return {}
        key = given[0]
        if key in ("above", "below"):
            return self._limit(key, metric, judged)
        for extra in ("clear", "relative_to"):
            if extra in self.block:
                self._bad(extra, f"{extra} goes with above or below; leave it out beside {key}")
        if judged.get("of", Of.VALUE) != Of.VALUE:
            self._bad("of", f"of = {judged['of']!s} goes with above or below; leave it out beside {key}")
        if key == "absent_s":
            return {"absent_s": self._seconds("absent_s", above_zero=True)}
        return self._code(key, metric)

    def _code(self, key: str, metric: Metric) -> dict[str, Any]:
        if suffix(metric.name) != "code":
            self._bad(key, f"{metric.name} is no code; write above or below for it")
        value = self.block[key]
        numbers = value if key == "codes" and isinstance(value, list) else [value]
        high = min(metric.high, 2.0**32)
        if not numbers or any(isinstance(n, bool) or not isinstance(n, int) or not 0 < n <= high for n in numbers):
            form = "a list of whole numbers" if key == "codes" else "one whole number (a mask)"
            self._bad(key, f"{key} is {value!r}; write {form} from 1 to {high:g}")
            return {}
        return {"codes": tuple(numbers)} if key == "codes" else {"bits": int(value)}

    def _limit(self, key: str, metric: Metric, judged: Mapping[str, Any]) -> dict[str, Any]:
        low, high, unit = metric.low, metric.high, metric.unit or suffix(metric.name)
        of = judged.get("of", Of.VALUE)
        if of in (Of.INCREASE, Of.RATE):
            low, high = 0.0, math.inf
        elif of in (Of.CHANGE, Of.RESIDUAL, Of.DIFFERENCE):
            low, high = metric.low - metric.high, metric.high - metric.low
        elif of is Of.SIZE:
            low, high = 0.0, max(abs(metric.low), abs(metric.high))
        elif of is Of.RATIO:
            low, high, unit = -math.inf, math.inf, f"parts of {judged['over']}"
        if judged.get("relative_to"):
            low, high, unit = -RELATIVE_HIGH, RELATIVE_HIGH, f"parts of {judged['relative_to']}"
        return self._levels(key, low, high, unit, metric.name)

    def _levels(self, key: str, low: float, high: float, unit: str, name: str) -> dict[str, Any]:
        """Limit and clear level within bounds and on the right sides of each other."""
        limit, clear = self._number(key), self._number("clear")
        for which, value in ((key, limit), ("clear", clear)):
            if not math.isnan(value) and not low <= value <= high:
                hint = f"; a fraction is 0-1 here: write {value / 100:g} for {value:g} %" if (low, high) == (0, 1) else ""
                self._bad(which, f"{which} is {value:g}, outside {low:g} to {high:g} {unit} of {name}{hint}")
        rising = key == "above"
        if clear >= limit if rising else clear <= limit:
            side = "under" if rising else "over"
            self._bad(
                "clear", f"clear is {clear:g}; with {key} = {limit:g} it must lie {side} {limit:g}, or noise makes it flap"
            )
        return {"limit": limit, "clear": clear, "rising": rising}
