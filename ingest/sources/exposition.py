"""Reads exposition pages (Prometheus text 0.0.4 and OpenMetrics 1.0) at the rate of a centre.

``prometheus_client`` decides what a page says, but takes 30-140 CPU-seconds a million samples. Nearly all of a page is the
same at every scrape, so its verdict is kept:

1. *read*: same lines as last time but for the numbers: checked and converted by C loops, about 1 CPU-second a million.
2. *learn*, text: a line is a name, a block of labels and a number. ``prometheus_client`` is asked once for each distinct name,
   block and comment (a page of 200 samples has some ten blocks); a line of any other shape is handed to it whole.
3. *learn*, OpenMetrics: the format's rules span lines, so the whole page is handed to it.

In OpenMetrics only gauges, unknowns and counters without exemplars and timestamps are read in way 1; the lines of other
families on the page are handed over each time. Names are as exposed (the reference appends ``_total`` to the counters of
text pages that lack it).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families
from prometheus_client.samples import Sample

from twin.frame import Floats

Series = tuple[str, Mapping[str, str]]
Positions = NDArray[np.intp]

# What the reference's parsers raise on a page that they refuse; they index and compare before they check.
_REFUSALS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
_TAIL = re.compile(r"[ \t]*(\S+)(?:[ \t]+(\S+))?[ \t\r]*")  # value and timestamp of a text line
_PROBE = 0.5  # value of the lines that the reference is asked with
_SHOWN = 120  # characters of a bad line that an error quotes


def _nowhere() -> Positions:
    return np.empty(0, dtype=np.intp)


class Garbage(ValueError):
    """The page is not what its format allows; the sentence says where."""


@dataclass(slots=True, eq=False)
class Layout:
    """Everything on a page but its numbers.

    ``series``: name and labels of each sample, in the page's order. A *plain* line is a prefix and a number; lines of
    ``blocks`` (OpenMetrics: slice of lines, slice of samples) go to the reference each time; the *other* lines stand for
    themselves. ``plain`` and ``other`` are masks over the lines.
    """

    series: Sequence[Series]
    plain: list[bool] = field(default_factory=list)
    other: list[bool] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    prefix_chars: int = 0  # in all prefixes together
    others: list[str] = field(default_factory=list)
    at: Positions = field(default_factory=_nowhere)  # for each plain line its sample
    counters: Positions = field(default_factory=_nowhere)  # plain lines whose number must not be below 0 (OpenMetrics)
    blocks: list[tuple[slice, slice]] = field(default_factory=list)
    stamped: bool = False  # plain lines may carry a timestamp too (text)

    @property
    def fast(self) -> bool:
        """Whether ``Reader.read`` can do anything with it."""
        return bool(self.prefixes or self.blocks)

    def finish(self, lines: Sequence[str]) -> "Layout":
        """Fill in what follows from the masks and prefixes."""
        self.others = list(compress(lines, self.other))
        self.prefix_chars = sum(map(len, self.prefixes))
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """One page: float64[n] ``values`` for ``layout.series``, and ``times_s`` (seconds since 1970 as the page says, NaN
    where a sample has none; None where none has one)."""

    layout: Layout
    values: Floats
    times_s: Floats | None = None


class _Asked:
    """What the reference said of parts of lines; remembers what the last two pages used and no more."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._old: dict[str, Sample] = {}
        self._new: dict[str, Sample] = {}

    def turn(self) -> None:
        """Begin a page."""
        self._old, self._new = self._new, {}

    def get(self, part: str) -> Sample | None:
        """The sample that a line with this part and nothing unusual gives; None where the reference reads it otherwise."""
        found = self._new.get(part)
        if found is None:
            found = self._old.get(part) or _probe(self._form.format(part, _PROBE))
            if found is not None:
                self._new[part] = found
        return found


class Reader:
    """Reads the pages of one endpoint. What it keeps is bounded by the size of a page."""

    def __init__(self, openmetrics: bool) -> None:
        self.openmetrics = openmetrics
        self._layout: Layout | None = None
        self._names, self._blocks = _Asked("{} {}"), _Asked("x{} {}")
        self._comments: set[str] = set()

    def read(self, text: str) -> Page | None:
        """The page if it differs from the last learnt one in nothing but numbers, else None: ``learn`` it then."""
        layout = self._layout
        if layout is None:
            return None
        lines = text.split("\n")
        if len(lines) != len(layout.plain) or list(compress(lines, layout.other)) != layout.others:
            return None
        plain = list(compress(lines, layout.plain))
        tails = list(map(str.removeprefix, plain, layout.prefixes))
        joined = "".join(tails)
        if len(joined) != sum(map(len, plain)) - layout.prefix_chars:
            return None  # a line that does not begin with its prefix has kept its length
        if "_" in joined or (self.openmetrics and tails and joined.split() != [joined]):
            return None  # float() would take what the formats forbid
        if layout.stamped:
            return _stamped(layout, tails)
        try:
            numbers = np.fromiter(map(float, tails), dtype=np.float64, count=len(tails))
        except ValueError:
            return None
        return _with_blocks(layout, lines, numbers) if self.openmetrics else Page(layout, numbers)

    def learn(self, text: str) -> Page:
        """The page, whatever it is; slow, may run in another thread. ``Garbage`` where it is not a page of the format."""
        page = _learn_openmetrics(text) if self.openmetrics else self._learn_text(text)
        if not page.layout.series:
            raise Garbage("there is no sample on the page")
        self._layout = page.layout if page.layout.fast else None
        return page

    def _learn_text(self, text: str) -> Page:
        lines = _lines(text)
        self._names.turn()
        self._blocks.turn()
        asked, self._comments = self._comments, set()
        plain, prefixes = [], []
        series: list[Series] = []
        values: list[float] = []
        times: list[float | None] = []
        for number, line in enumerate(lines, 1):
            if not line[:1].isalpha():  # else it is no comment, whatever it is
                stripped = line.strip()
                if not stripped or stripped.startswith("#"):
                    plain.append(False)
                    if stripped not in asked and stripped not in self._comments:
                        _ask(stripped, number)
                    self._comments.add(stripped)
                    continue
            plain.append(True)
            found = self._split(line)
            if found is None:
                sample = _ask(line.strip(), number)[0]
                stamp = None if sample.timestamp is None else _number(sample.timestamp)
                found = "", (sample.name, sample.labels), _number(sample.value), stamp
            prefixes.append(found[0])
            series.append(found[1])
            values.append(found[2])
            times.append(found[3])
        stamped = any(time is not None for time in times)
        layout = Layout(series)
        if all(prefixes):
            at = np.arange(len(prefixes), dtype=np.intp)
            other = [not is_plain for is_plain in plain]
            layout = Layout(series, plain, other, prefixes, at=at, stamped=stamped).finish(lines)
        return Page(layout, np.array(values), np.array(times, dtype=np.float64) if stamped else None)

    def _split(self, line: str) -> tuple[str, Series, float, float | None] | None:
        """Prefix, series, value and time [s] of a text line of the usual shape, name and labels as the reference takes them;
        else None."""
        end = line.rfind("}") + 1
        start = line.find("{") if end else line.find(" ")
        end = end or start
        if start <= 0 or not line.startswith(" ", end):
            return None
        name, block = self._names.get(line[:start]), self._blocks.get(line[start:end])
        if name is None or block is None:
            return None
        rest, time = line[end + 1 :], None
        if rest.split() != [rest]:
            tail = _TAIL.fullmatch(line, end)
            if tail is None:
                return None
            rest, time = tail.groups()
        try:
            return line[: end + 1], (name.name, block.labels), _float(rest), None if time is None else _float(time) / 1000
        except ValueError:
            return None


def _learn_openmetrics(text: str) -> Page:
    lines = _lines(text)
    try:
        families = _families(text)
    except _REFUSALS as error:
        raise Garbage(f"it is not OpenMetrics ({_said(error)})") from None
    samples = [sample for family in families for sample in family.samples]
    layout = _openmetrics_layout(lines, families, [(sample.name, dict(sample.labels or {})) for sample in samples])
    return Page(layout, np.array([_number(sample.value) for sample in samples]), _times(samples))


def _openmetrics_layout(lines: Sequence[str], families: Sequence[Metric], series: Sequence[Series]) -> Layout:
    """Sample lines stand in the order of the samples; comments belong to the family whose samples follow."""
    layout = Layout(series)
    stops = [i + 1 for i, line in enumerate(lines) if line and not line.startswith("#")]
    if len(stops) != len(series):
        return layout  # the reference leaves out repeats with the same timestamp: too rare to be fast
    at: list[int] = []
    counters: list[int] = []
    done = line_at = 0
    for family in families:
        n = len(family.samples)
        block = lines[line_at : stops[done + n - 1]] if n else []
        comments = [line.startswith("#") for line in block]
        prefixes = _plain_prefixes(family, [line for line in block if not line.startswith("#")])
        if prefixes:
            counters += range(len(at), len(at) + n) if family.type == "counter" else ()
            at += range(done, done + n)
            layout.prefixes += prefixes
        elif n:
            layout.blocks.append((slice(line_at, line_at + len(block)), slice(done, done + n)))
        layout.plain += [bool(prefixes) and not comment for comment in comments]
        layout.other += comments
        done, line_at = done + n, line_at + len(block)
    rest = len(lines) - line_at
    layout.plain += [False] * rest
    layout.other += [True] * rest
    layout.at, layout.counters = np.array(at, dtype=np.intp), np.array(counters, dtype=np.intp)
    return layout.finish(lines)


def _plain_prefixes(family: Metric, lines: Sequence[str]) -> list[str]:
    """What stands before the number of each sample of ``family``; none where a sample has more than a number."""
    if family.type not in ("gauge", "unknown", "counter"):
        return []
    prefixes = []
    for sample, line in zip(family.samples, lines, strict=True):
        end = line.rfind("}") + 1 or line.find(" ")
        if sample.timestamp is not None or sample.exemplar is not None or not line.startswith(" ", end):
            return []
        prefixes.append(line[: end + 1])
    return prefixes


def _stamped(layout: Layout, tails: Sequence[str]) -> Page | None:
    matches = [match for match in map(_TAIL.fullmatch, tails) if match]
    if len(matches) != len(tails):
        return None
    try:
        pairs = np.array([(float(match[1]), float(match[2] or "nan")) for match in matches])
    except ValueError:
        return None
    times_s = pairs[:, 1] / 1000
    return Page(layout, pairs[:, 0].copy(), None if np.isnan(times_s).all() else times_s)


def _with_blocks(layout: Layout, lines: Sequence[str], numbers: Floats) -> Page | None:
    """The page of OpenMetrics whose plain lines say ``numbers``; None where the reference must see all of it."""
    if not (numbers[layout.counters] >= 0).all():  # NaN is not either
        return None
    values = np.empty(len(layout.series), dtype=np.float64)
    values[layout.at] = numbers
    times = np.full(len(values), np.nan)
    for these, where in layout.blocks:
        try:
            found = [s for family in _families("\n".join([*lines[these], "# EOF", ""])) for s in family.samples]
        except _REFUSALS:
            return None
        if [(s.name, s.labels or {}) for s in found] != list(layout.series[where]):
            return None
        values[where] = [_number(s.value) for s in found]
        stamps = _times(found)
        if stamps is not None:
            times[where] = stamps
    return Page(layout, values, None if np.isnan(times).all() else times)


def _lines(text: str) -> list[str]:
    if not text.endswith("\n"):
        raise Garbage("its last line has no end, so it is cut" if text else "it is empty")
    return text.split("\n")


def _families(text: str) -> list[Metric]:
    return list(openmetrics_families(text))  # type: ignore[no-untyped-call]


def _ask(line: str, number: int) -> list[Sample]:
    """What the reference reads on one line of a text page."""
    try:
        return [sample for family in text_families(line) for sample in family.samples]
    except _REFUSALS as error:
        shown = line if len(line) <= _SHOWN else line[:_SHOWN] + "…"
        raise Garbage(f"line {number} is not the text format ({_said(error)}): {shown}") from None


def _probe(line: str) -> Sample | None:
    """The sample that the reference reads on ``line`` if it reads it as meant: one number, ``_PROBE``, no more."""
    try:
        ((sample,),) = (family.samples for family in text_families(line))
    except _REFUSALS:
        return None
    return sample if sample.value == _PROBE and sample.timestamp is None else None


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:_SHOWN] or type(error).__name__


def _float(token: str) -> float:
    if "_" in token:
        raise ValueError(token)
    return float(token)


def _number(value: object) -> float:
    """A number of the reference's as float (an int of any size, a ``Timestamp``); a native histogram's None is NaN."""
    if value is None:
        return float("nan")
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return float("inf")


def _times(samples: Sequence[Sample]) -> Floats | None:
    if all(sample.timestamp is None for sample in samples):
        return None
    return np.array([_number(sample.timestamp) for sample in samples])
