"""What a report is made of. Values stay numbers with their units until a writer shows them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from twin.frame import Floats
from twin.message import Message
from ui.report.scope import scope_of

NOTHING = float("nan")
LEAST_MODELLED_FRAC = 0.005  # that is marked: below it a percentage shows nothing
COVER = ("power", "flow")  # keys of what a director sees first
Cell = str | float
MEANS = "what it means"  # head of a column of sentences, said in the reader's language


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. ``unit``: a suffix of the metric table; ``was`` and ``year``: the same of the span before and a year ago, NaN
    where not known; ``length_ratio``: of a sum, how long this span is over the one before; ``good``: which way is better (-1
    down, 1 up, 0 neither); ``query``: where else it stands (``ui.report.behind``); ``answer``: where this very number can be
    asked for again; ``modelled_frac``: of the time that it is of, in which it rests on the twin and not on a meter."""

    key: str
    label: str
    value: float
    unit: str
    was: float = NOTHING
    year: float = NOTHING
    good: int = 0
    note: str = ""
    query: str = ""
    answer: str = ""
    length_ratio: float = 1.0
    modelled_frac: float = 0.0

    @property
    def modelled(self) -> bool:
        """It bears the sign of the twin's word."""
        return self.modelled_frac >= LEAST_MODELLED_FRAC and np.isfinite(self.value)

    @property
    def apart(self) -> float:
        """More than in the span before, of a sum in the same time; NaN where that is not known."""
        return self.value - self.was * self.length_ratio

    @property
    def change_frac(self) -> float:
        """``apart`` over the span before; NaN where that is not known or was nothing."""
        return self.apart / (self.was * self.length_ratio) if self.was else NOTHING


@dataclass(frozen=True, slots=True)
class Table:
    """``heads``: (label, unit) of each column, the unit of a text is ""; ``rows``: as many cells each; ``total``: a last row;
    ``shown``: so many rows stand on page and PDF, all in the data files; ``query``, ``answer``: as of a figure."""

    key: str
    title: str
    heads: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Cell]]
    total: Sequence[Cell] = ()
    note: Message | None = None
    query: str = ""
    shown: int = 20
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: float64[n] over the chart's ``x``; ``tone``: the colour's name in the theme."""

    label: str
    y: Floats
    tone: str = "measured"


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines or bars over ``x`` (s since 1970 UTC where ``time``), in ``unit``; ``limit``: a level to stay under."""

    key: str
    title: str
    unit: str
    x: Floats
    lines: Sequence[Line]
    kind: Literal["line", "bar", "dots"] = "line"
    time: bool = True
    x_unit: str = ""
    limit: float = NOTHING
    note: Message | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """A Sankey diagram: energy that goes from one station to the next; ``value`` in ``unit``."""

    key: str
    title: str
    unit: str
    links: Sequence[tuple[str, str, float]]
    note: Message | None = None


@dataclass(frozen=True, slots=True)
class Pin:
    """What a picture points at: a place (px), its name and its value."""

    x: float
    y: float
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Scale:
    """What a picture's colours stand for: ``low`` to ``high`` of ``metric`` in ``unit``, in so many round ``steps``;
    ``silent``: some of it is grey."""

    low: float
    high: float
    steps: int
    unit: str
    metric: str
    silent: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing without words (``drawing``: SVG, as wide as charts and ``height_px`` high), with what words are set on it;
    ``alt``: what it shows, in a sentence."""

    key: str
    title: str
    drawing: str
    height_px: float
    pin: Pin
    scale: Scale
    alt: Message
    note: Message | None = None


Block = Figure | Table | Chart | Flow | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """``lead``: sentences before the blocks."""

    key: str
    title: str
    lead: Sequence[Message] = ()
    blocks: Sequence[Block] = ()

    @property
    def figures(self) -> list[Figure]:
        """Its numbers."""
        return [block for block in self.blocks if isinstance(block, Figure)]


@dataclass(frozen=True, slots=True)
class Report:
    """``head``: the figures that a director reads; ``said``: the sentences; ``scope``: "" for the whole centre."""

    site: str
    scope: str
    span: str
    first_day: str
    last_day: str
    zone: str
    head: Sequence[Figure]
    said: Sequence[Message]
    sections: Sequence[Section]
    notes: Sequence[Message] = field(default=())

    @property
    def name(self) -> str:
        """As a file's name: the span and, of a part, whose it is."""
        span = self.span.replace("/", "--")
        return f"{span}.{scope_of(self.scope).slug}" if self.scope else span

    @property
    def cover(self) -> "list[Chart | Flow]":
        """The drawings that stand on the first page and not again in their section."""
        drawn = (block for section in self.sections for block in section.blocks if isinstance(block, Chart | Flow))
        return [block for block in drawn if block.key in COVER]

    def body(self, section: Section) -> "list[Table | Chart | Flow | Picture]":
        """What a section shows beside its figures."""
        return [block for block in section.blocks if not isinstance(block, Figure) and block.key not in COVER]

    def tables(self) -> list[Table]:
        """Every table, in order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Table)]


def known(values: Floats) -> bool:
    """Whether there is anything to draw."""
    return bool(np.isfinite(values).any())
