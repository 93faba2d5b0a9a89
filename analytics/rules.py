"""Rules: conditions on metrics, read from one TOML file and checked before anything starts.

A ``[[rule]]`` names one metric of one kind of asset and one of these conditions:

- ``above = 85.0`` or ``below = 0.2``: the value has reached the limit; ``clear`` is the level at which it is well again;
- ``codes = [48, 79]``: the value is one of these codes; ``bits = 0xE8``: the value has one of these bits set;
- ``absent_s = 120``: an asset that used to report this metric has not for so long.

``hold_s`` says how long the condition must last; a limit cannot be written without ``clear`` and ``hold_s``. Limits stand in
the metric's own unit; with ``relative_to = "rated_w"`` they are fractions of that attribute of each asset. With
``of = "increase"`` the value judged is by how much a counter grew over ``window_s``.
"""

import fnmatch
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from twin.errors import ConfigError, Problem
from twin.frame import Origin
from twin.kinds import KINDS, NUMBER_ATTRIBUTES
from twin.metrics import METRICS, Metric, suffix

DEFAULT_RULES = Path(__file__).with_name("default_rules.toml")
MAX_RULES = 1000
MAX_PROBLEMS = 200  # of one file; the rest is counted
WEEK_S = 7 * 86400.0
RELATIVE_HIGH = 10.0  # the highest limit that makes sense as a fraction of a rating
CONDITIONS = ("above", "below", "codes", "bits", "absent_s")


class Severity(StrEnum):
    """How soon a person must look."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition on one metric; see the module for what the fields mean.

    ``limit`` and ``clear``: in the metric's unit, or fractions of ``relative_to``; NaN where the condition has none;
    ``rising``: the limit is crossed upwards; ``absent_s``, ``window_s``: 0 where not used; times in seconds.
    """

    name: str
    kind: str
    metric: str
    severity: Severity
    summary: str
    runbook: str
    hold_s: float
    limit: float = math.nan
    clear: float = math.nan
    rising: bool = True
    codes: tuple[int, ...] = ()
    bits: int = 0
    absent_s: float = 0.0
    window_s: float = 0.0
    relative_to: str = ""
    keep_firing_s: float = 0.0
    assets: str = "*"
    origin: Origin = Origin.MEASURED

    @property
    def unit(self) -> str:
        """Unit of the alert's value and limit, as a face prints it."""
        return "s" if self.absent_s else METRICS[self.kind][self.metric].unit

    def applies(self, asset: str) -> bool:
        """Whether the asset with this id is meant."""
        return self.assets == "*" or fnmatch.fnmatchcase(asset, self.assets)


@dataclass(frozen=True, slots=True)
class Rules:
    """The checked rules of one file, in its order."""

    rules: tuple[Rule, ...]
    path: Path | None = None

    def named(self, name: str) -> Rule | None:
        """The rule of this name."""
        return next((rule for rule in self.rules if rule.name == name), None)


def load_rules(path: Path = DEFAULT_RULES) -> Rules:
    """The rules of a TOML file. Raises ``ConfigError`` with every problem found, each with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error.strerror}); name an existing rule file")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), f"is not UTF-8 ({error}); save it as UTF-8")]) from None
    return parse_rules(text, path)


def parse_rules(text: str, path: Path) -> Rules:
    """As ``load_rules``, from text; ``path`` only says where problems are."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        where = f"{path}:{line[1]}" if line else str(path)
        raise ConfigError([Problem(where, f"is not TOML ({error}); mend the line")]) from None
    blocks = table.get("rule", [])
    lines = _Lines(path, text)
    problems = [Problem(lines.top(key), f"no table {key!r} in a rule file; write [[rule]]") for key in table if key != "rule"]
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise ConfigError([*problems, Problem(lines.top("rule"), "rules are a list: write [[rule]] with two brackets")])
    if len(blocks) > MAX_RULES:
        problems.append(Problem(str(path), f"{len(blocks)} rules; the most that one file may have is {MAX_RULES}"))
    rules: list[Rule] = []
    first: dict[str, str] = {}
    for i, block in enumerate(blocks[:MAX_RULES]):
        reader = _Block(block, lines, i)
        rule = reader.rule()
        problems += reader.problems
        name = block.get("name")
        if isinstance(name, str) and (stands := first.setdefault(name, lines.of(i, "name"))) != lines.of(i, "name"):
            problems.append(Problem(lines.of(i, "name"), f"rule {name!r} stands twice (first at {stands}); rename one"))
        if rule:
            rules.append(rule)
    if len(problems) > MAX_PROBLEMS:
        left = Problem("…", f"{len(problems) - MAX_PROBLEMS} more problems are not listed")
        problems = [*problems[:MAX_PROBLEMS], left]
    if problems:
        raise ConfigError(problems)
    return Rules(tuple(rules), path)


class _Lines:
    """Where things stand in the text: tomllib does not say, so the n-th header and the key below it are looked up."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.lines = text.splitlines()
        self.heads = [i for i, line in enumerate(self.lines) if re.match(r"\s*\[\[\s*rule\s*\]\]", line)]

    def top(self, key: str) -> str:
        found = (i for i, line in enumerate(self.lines, 1) if re.match(rf"\s*\[*\s*{re.escape(key)}\b", line))
        return f"{self.path}:{next(found, 1)}"

    def of(self, index: int, key: str = "") -> str:
        if index >= len(self.heads):  # written in another form (rule = [{…}]): no header to count
            return str(self.path)
        start, end = self.heads[index], (*self.heads, len(self.lines))[index + 1]
        pattern = rf"\s*[\"']?{re.escape(key)}[\"']?\s*="
        found = (i for i in range(start, end) if key and re.match(pattern, self.lines[i]))
        return f"{self.path}:{next(found, start) + 1}"


@dataclass
class _Block:
    """Reads one ``[[rule]]`` and notes what is wrong with it."""

    block: Mapping[str, Any]
    lines: _Lines
    index: int
    problems: list[Problem] = field(default_factory=list)

    def bad(self, key: str, what: str) -> None:
        self.problems.append(Problem(self.lines.of(self.index, key), what))

    def rule(self) -> Rule | None:
        known = {"name", "kind", "metric", "origin", "clear", "hold_s", "severity", "summary", "runbook", "assets"}
        known |= {"keep_firing_s", "of", "window_s", "relative_to", *CONDITIONS}
        for key in self.block.keys() - known:
            self.bad(key, f"no key {key!r} in a rule; known: {', '.join(sorted(known))}")
        name = self.text("name")
        if name and not re.fullmatch(r"[a-z0-9_]{1,64}", name):
            self.bad("name", f"name is {name!r}; use 1 to 64 small letters, digits and underscores")
        metric = self.metric()
        severity = self.one_of("severity", tuple(Severity))
        origins = (Origin.MEASURED, Origin.MODELLED, Origin.COMMANDED)  # forecasts are series and never in the state
        origin = self.one_of("origin", origins, Origin.MEASURED)
        hold_s = self.seconds("hold_s")
        fields: dict[str, Any] = {"keep_firing_s": self.seconds("keep_firing_s", 0.0), "assets": self.text("assets", "*")}
        summary, runbook = self.summary(), self.text("runbook")
        if metric is not None:
            fields |= self.judged(metric)
            fields |= self.condition(metric, fields)
        if self.problems or metric is None:
            return None
        return Rule(
            name, metric.kind, metric.name, Severity(severity), summary, runbook, hold_s, origin=Origin(origin), **fields
        )

    def text(self, key: str, default: str | None = None) -> str:
        value = self.block.get(key, default)
        if not isinstance(value, str) or not value.strip():
            self.bad(key, f"{key} is {value!r}; write a text" if value is not None else f"a rule needs {key!r}; add it")
            return ""
        return value

    def one_of(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        value = self.block.get(key, default)
        if value not in choices:
            self.bad(key, f"{key} is {value!r}; write one of {', '.join(choices)}")
        return str(value)

    def number(self, key: str) -> float:
        value = self.block.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.bad(key, f"{key} is {value!r}; write a number" if key in self.block else f"a rule needs {key!r}; add it")
            return math.nan
        return float(value)

    def seconds(self, key: str, default: float | None = None, above_zero: bool = False) -> float:
        if default is not None and key not in self.block:
            return default
        value = self.number(key)
        if value < 0 or value > WEEK_S or (above_zero and value == 0):
            self.bad(
                key, f"{key} is {value:g}; write seconds {'above' if above_zero else 'from'} 0, at most {WEEK_S:g} (a week)"
            )
        return value

    def metric(self) -> Metric | None:
        kind, name = self.text("kind"), self.text("metric")
        if not (kind and name):
            return None
        if kind not in METRICS:
            self.bad("kind", f"no kind {kind!r}; kinds are {', '.join(KINDS)}")
            return None
        if name not in METRICS[kind]:
            self.bad("metric", f"no metric {name!r} of kind {kind!r}; known: {', '.join(METRICS[kind])}")
            return None
        return METRICS[kind][name]

    def summary(self) -> str:
        text = self.text("summary")
        try:
            text.format(asset="a", value=1.0, limit=1.0, unit="u")
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            self.bad(
                "summary", f"summary cannot be filled in ({error}); it may name {{asset}}, {{value}}, {{limit}} and {{unit}}"
            )
        return text

    def judged(self, metric: Metric) -> dict[str, Any]:
        """What of the metric is judged: the value, its part of a rating, or its increase."""
        of = self.one_of("of", ("value", "increase"), "value")
        window_s = 0.0
        if of == "increase":
            window_s = self.seconds("window_s", above_zero=True)
            if not metric.counter:
                self.bad("of", f"{metric.name} of {metric.kind} is no counter; only a counter has an increase")
        elif "window_s" in self.block:
            self.bad("window_s", 'window_s goes with of = "increase"; add that or leave it out')
        relative_to = self.text("relative_to") if "relative_to" in self.block else ""
        if relative_to:
            if relative_to not in NUMBER_ATTRIBUTES:
                self.bad("relative_to", f"no attribute {relative_to!r}; known: {', '.join(NUMBER_ATTRIBUTES)}")
            elif relative_to.rpartition("_")[2] != suffix(metric.name):
                self.bad("relative_to", f"{relative_to} and {metric.name} have different units; name a rating in the same unit")
        return {"window_s": window_s, "relative_to": relative_to}

    def condition(self, metric: Metric, judged: Mapping[str, Any]) -> dict[str, Any]:
        given = [key for key in CONDITIONS if key in self.block]
        if len(given) != 1:
            wrong = f"{' and '.join(given)} stand together" if given else "a rule without a condition"
            self.bad(given[-1] if given else "", f"{wrong}; write exactly one of {', '.join(CONDITIONS)}")
            return {}
        key = given[0]
        if key in ("above", "below"):
            return self.limit(key, metric, judged)
        for extra in ("clear", "relative_to"):
            if extra in self.block:
                self.bad(extra, f"{extra} goes with above or below; leave it out beside {key}")
        if judged["window_s"]:
            self.bad("of", f"an increase goes with above or below; leave it out beside {key}")
        if key == "absent_s":
            return {"absent_s": self.seconds("absent_s", above_zero=True)}
        return self.code(key, metric)

    def code(self, key: str, metric: Metric) -> dict[str, Any]:
        if suffix(metric.name) != "code":
            self.bad(key, f"{metric.name} is no code; write above or below for it")
        value = self.block[key]
        numbers = value if key == "codes" and isinstance(value, list) else [value]
        high = min(metric.high, 2.0**32)
        if not numbers or any(isinstance(n, bool) or not isinstance(n, int) or not 0 < n <= high for n in numbers):
            form = "a list of whole numbers" if key == "codes" else "one whole number (a mask)"
            self.bad(key, f"{key} is {value!r}; write {form} from 1 to {high:g}")
            return {}
        return {"codes": tuple(numbers)} if key == "codes" else {"bits": int(value)}

    def limit(self, key: str, metric: Metric, judged: Mapping[str, Any]) -> dict[str, Any]:
        limit, clear = self.number(key), self.number("clear")
        low, high = (0.0, math.inf) if judged["window_s"] else (metric.low, metric.high)
        unit = metric.unit or suffix(metric.name)
        if judged["relative_to"]:
            low, high, unit = -RELATIVE_HIGH, RELATIVE_HIGH, f"parts of {judged['relative_to']}"
        for name, value in ((key, limit), ("clear", clear)):
            if not math.isnan(value) and not low <= value <= high:
                hint = f"; a fraction is 0-1 here: write {value / 100:g} for {value:g} %" if (low, high) == (0, 1) else ""
                self.bad(name, f"{name} is {value:g}, outside {low:g} to {high:g} {unit} of {metric.name}{hint}")
        rising = key == "above"
        if clear >= limit if rising else clear <= limit:
            side = "under" if rising else "over"
            self.bad(
                "clear", f"clear is {clear:g}; with {key} = {limit:g} it must lie {side} {limit:g}, or noise makes it flap"
            )
        return {"limit": limit, "clear": clear, "rising": rising}
