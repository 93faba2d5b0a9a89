"""Tests of rules in plain text: series in shorthand, and which alerts fire when.

    case a hot card fires once it has been hot for two minutes
    every 10s
    gpu temp_c: 60x3 86x13
    gpu@2 temp_c: 50
    at 20s gpu_hot silent
    at 2m30s gpu_hot fires "86 °C"

A series names kind and metric, ``@`` and a number or an id for one asset (else all of the kind), and the origin where that is
not ``measured``. Its values stand for steps of ``every``: ``86`` one step, ``86x13`` thirteen, ``60+0.5x10`` a start and ten
steps that each add 0.5 (``60-0.5x10`` take away), ``_`` a step without a reading, ``_x5`` five. The last value goes on to the
end of the case; after ``_`` nothing does. ``forecast`` as the origin gives the median over the next day in hours, p10 and p90
a ``spread`` below and above (``gpu temp_c forecast spread 5: 70+1x23``). ``at`` names a time after the start, a rule, and
``fires`` (with what its summary says, if that matters) or ``silent``; ``never gpu_hot`` says that it does not fire at all.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from analytics.alerts import Phase, begin, step
from analytics.rule import Rules
from twin.errors import ConfigError, Problem
from twin.frame import Floats, Frame, Origin
from twin.kinds import KINDS
from twin.metrics import METRICS
from twin.site import Site
from twin.state import State

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
MAX_STEPS = 100_000
MAX_ASSETS = 1000  # of a kind, in the site of a case that names no centre
_TOKEN = re.compile(r"(?P<value>_|-?[\d.]+(?:e-?\d+)?)(?P<by>[+-][\d.]+(?:e-?\d+)?)?(?:x(?P<times>\d+))?")
_SERIES = re.compile(r"(\w+)(?:@(\S+))?\s+(\w+)((?:\s+\w+)*?)(?:\s+spread\s+([\d.]+))?\s*:\s*(.*)")
_EXPECT = re.compile(r"at\s+(\S+)\s+(\w+)\s+(fires|silent)(?:\s+\"(.*)\")?")
_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


@dataclass(frozen=True, slots=True)
class Fed:
    """One series of a case. ``value``: float64[t], NaN: nothing is read; ``asset``: "" for all of the kind, else an id or a
    number; ``where``: file and line."""

    kind: str
    asset: str
    metric: str
    origin: Origin
    value: Floats
    spread: float = 0.0
    where: str = ""


@dataclass(frozen=True, slots=True)
class Expected:
    """``rule`` fires (``says`` in its summary) or not ``at_s`` after the start; NaN: it never does."""

    where: str
    rule: str
    fires: bool
    at_s: float
    says: str = ""


@dataclass(slots=True)
class Case:
    """One case. ``where``: file and line."""

    where: str
    name: str
    every_s: float = 10.0
    start: datetime = START
    series: list[Fed] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Kind -> how many there must be for each number that a series names, at most ``MAX_ASSETS``."""
        numbers = [(fed.kind, int(fed.asset)) for fed in self.series if fed.asset.isdigit()]
        return {kind: min(max(n for of, n in numbers if of == kind) + 1, MAX_ASSETS) for kind, _ in numbers}


def read_cases(path: Path) -> list[Case]:
    """The cases in ``path``, or of all ``*.cases`` in a folder; ``ConfigError`` with every problem and its line."""
    files = sorted(path.glob("*.cases")) if path.is_dir() else [path]
    cases: list[Case] = []
    problems: list[Problem] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(str(file), f"cannot be read ({error}); name a file of cases"))
            continue
        cases += parse_cases(text, str(file), problems)
    if problems:
        raise ConfigError(problems)
    return cases


def parse_cases(text: str, name: str, problems: list[Problem]) -> list[Case]:
    """The cases in ``text``; what is wrong is added to ``problems``."""
    cases: list[Case] = []
    for number, line in enumerate(text.splitlines(), 1):
        here, words = f"{name}:{number}", line.split("#", 1)[0].strip()
        if not words:
            continue
        if words.startswith("case "):
            cases.append(Case(here, words[5:].strip()))
        elif not cases:
            problems.append(Problem(here, 'begin with "case" and what it shows'))
        else:
            try:
                _take(cases[-1], here, words)
            except ValueError as error:
                problems.append(Problem(here, str(error)))
    return cases


def _take(case: Case, here: str, words: str) -> None:
    """One line of a case."""
    head, _, rest = words.partition(" ")
    if head == "every":
        every_s = span_s(rest)
        if not every_s > 0:
            raise ValueError(f"every {rest} makes no step; write it as in every 10s")
        case.every_s = every_s
    elif head == "start":
        start = datetime.fromisoformat(rest.strip())
        case.start = start.astimezone(UTC) if start.tzinfo else start.replace(tzinfo=UTC)
    elif head == "never":
        case.expected.append(Expected(here, rest.strip(), False, float("nan")))
    elif head == "at":
        found = _EXPECT.fullmatch(words)
        if not found:
            raise ValueError(f'{words!r} says no expectation; write: at 2m30s gpu_hot fires "86", or silent')
        case.expected.append(Expected(here, found[2], found[3] == "fires", span_s(found[1]), found[4] or ""))
    else:
        case.series.append(_series(here, words))


def _series(here: str, words: str) -> Fed:
    found = _SERIES.fullmatch(words)
    if not found:
        raise ValueError(f"{words[:60]!r} is neither a series nor at, never, every or start; write: gpu temp_c: 60x3 86")
    kind, asset, metric, origin, spread, values = found.groups()
    if kind not in KINDS:
        raise ValueError(f"no kind {kind!r}; kinds are {', '.join(KINDS)}")
    if metric not in METRICS[kind]:
        raise ValueError(f"no metric {metric!r} of kind {kind!r}; known: {', '.join(METRICS[kind])}")
    if origin.strip() and origin.strip() not in tuple(Origin):
        raise ValueError(f"no origin {origin.strip()!r}; origins are {', '.join(Origin)}")
    return Fed(kind, asset or "", metric, Origin(origin.strip() or "measured"), shorthand(values), float(spread or 0.0), here)


def shorthand(text: str) -> Floats:
    """float64[t]: the values that ``text`` writes; ``ValueError`` where a word of it writes none."""
    values: list[float] = []
    for word in text.split():
        found = _TOKEN.fullmatch(word)
        if not found:
            raise ValueError(f"{word!r} is no value; write 86, 86x13, 60+0.5x10, _ or _x5")
        times = int(found["times"] or (0 if found["by"] else 1))
        if len(values) + times > MAX_STEPS:
            raise ValueError(f"more than {MAX_STEPS} steps; write a longer every")
        if found["value"] == "_":
            values += [float("nan")] * times
        elif found["by"]:
            values += [float(found["value"]) + float(found["by"]) * i for i in range(times + 1)]
        else:
            values += [float(found["value"])] * times
    if not values:
        raise ValueError("a series without a value; write at least one")
    return np.array(values)


def span_s(text: str) -> float:
    """Seconds of ``1d2h3m4s``, any part of it; ``ValueError`` where it says none."""
    found = _SPAN.fullmatch(text.strip())
    if not text.strip() or not found:
        raise ValueError(f"{text!r} is no time; write it as in 90s, 2m30s or 1d12h")
    return sum(float(part or 0) * unit for part, unit in zip(found.groups(), (86400, 3600, 60, 1), strict=True))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case went; ``faults``: (where, what) of each expectation that was not met."""

    case: Case
    faults: tuple[Problem, ...]


def run_case(case: Case, rules: Rules, site: Site) -> Outcome:
    """Feed the case's series to the rules on ``site``, a step at a time."""
    unknown = [Problem(one.where, f"there is no rule {one.rule!r}") for one in case.expected if rules.named(one.rule) is None]
    unknown += [problem for fed in case.series if (problem := _misplaced(fed, site))]
    if unknown:
        return Outcome(case, tuple(unknown))
    wanted = {one.rule for one in case.expected}
    wanted |= {part for rule in rules.rules if rule.name in wanted for part in rule.parts}
    some = Rules(tuple(replace(rule, quiet=False) for rule in rules.rules if rule.name in wanted))
    last_s = max((one.at_s for one in case.expected if one.at_s == one.at_s), default=0.0)
    longest = max((len(fed.value) for fed in case.series), default=1)
    fires = dict(_stepped(case, some, site, max(round(last_s / case.every_s) + 1, longest)))
    return Outcome(case, tuple(fault for one in case.expected if (fault := _fault(one, case, fires))))


def _stepped(case: Case, rules: Rules, site: Site, steps: int) -> Iterator[tuple[int, dict[str, list[str]]]]:
    """(number of the step, rule -> what its firing alerts say)."""
    state, table = State(site), begin(rules, site, case.start)
    for i in range(min(steps, MAX_STEPS)):
        now = case.start + timedelta(seconds=i * case.every_s)
        for fed in case.series:
            value = fed.value[min(i, len(fed.value) - 1)]
            if value == value and fed.origin is not Origin.FORECAST:
                state.absorb(_frame(fed, site, now, value), now)
        outlooks = [_outlook(fed, site, case.start) for fed in case.series if fed.origin is Origin.FORECAST]
        table = step(rules, site, state, table, now, outlooks)
        said: dict[str, list[str]] = {}
        for alert in table.alerts():
            if alert.phase is Phase.FIRING:
                said.setdefault(alert.rule, []).append(str(alert.summary))
        yield i, said


def _misplaced(fed: Fed, site: Site) -> Problem | None:
    """What is wrong with the asset that a series names."""
    n = site.count(fed.kind)
    if not fed.asset or (fed.asset.isdigit() and int(fed.asset) < n):
        return None
    if fed.asset.isdigit():
        return Problem(fed.where, f"there is no {fed.kind} number {fed.asset}; the site has {n}, numbered from 0")
    if fed.asset in site.position and site.kind(fed.asset) == fed.kind:
        return None
    return Problem(fed.where, f"the site has no {fed.kind} {fed.asset!r}; name one that it has, or a number as in {fed.kind}@0")


def _row(fed: Fed, site: Site) -> int:
    return int(fed.asset or 0) if not fed.asset or fed.asset.isdigit() else site.row(fed.asset)


def _frame(fed: Fed, site: Site, now: datetime, value: float) -> Frame:
    rows = np.array([_row(fed, site)], dtype=np.int32) if fed.asset else site.all_rows(fed.kind)
    return Frame(fed.kind, now, rows, {fed.metric: np.full(len(rows), value)}, fed.origin)


@dataclass(frozen=True, slots=True, eq=False)
class _Outlook:
    """A forecast as ``analytics.judge`` reads it."""

    kind: str
    row: int
    metric: str
    issued: datetime
    time_s: Floats
    p10: Floats
    p50: Floats
    p90: Floats


def _outlook(fed: Fed, site: Site, start: datetime) -> _Outlook:
    row = _row(fed, site)
    time_s = start.timestamp() + 3600.0 * np.arange(len(fed.value), dtype=np.float64)
    return _Outlook(fed.kind, row, fed.metric, start, time_s, fed.value - fed.spread, fed.value, fed.value + fed.spread)


def _fault(one: Expected, case: Case, fires: dict[int, dict[str, list[str]]]) -> Problem | None:
    if one.at_s != one.at_s:
        first = next((i for i, said in fires.items() if one.rule in said), None)
        if first is None:
            return None
        return Problem(one.where, f"{one.rule} fires at {first * case.every_s:g} s: {fires[first][one.rule][0]}")
    said = fires[min(round(one.at_s / case.every_s), max(fires))].get(one.rule, [])
    if one.fires and not said:
        return Problem(one.where, f"{one.rule} does not fire")
    if not one.fires and said:
        return Problem(one.where, f"{one.rule} fires: {said[0]}")
    if one.says and not any(one.says in text for text in said):
        return Problem(one.where, f"{one.rule} says {said[0]!r}, not {one.says!r}")
    return None


def uncovered(rules: Rules, cases: Sequence[Case]) -> list[str]:
    """Rules that no case makes fire, or that no case keeps silent."""
    shown = {(one.rule, one.fires) for case in cases for one in case.expected}
    return [rule.name for rule in rules.rules if not {(rule.name, True), (rule.name, False)} <= shown]
