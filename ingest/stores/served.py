"""What stores on servers have in common: frames go out as line protocol, and a question of the port is put once for all."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from ingest.stores.errors import LeftOut, StoreError
from ingest.stores.line_protocol import GRADE, LineWriter
from ingest.stores.points import MICRO, Points, Times, as_stored, check_question, starts_of
from ingest.stores.server import Refused, Server, TooLarge
from twin.frame import Floats, Frame, Ints, Origin
from twin.ports import How, Series
from twin.site import Site
from twin.times import micros

NAMED_ASSETS = 100  # assets that a question names; of more, all are asked for


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Whose values are asked for: ``rows`` int32[n] of ``kind``, ``[start, end)`` in microseconds since 1970."""

    kind: str
    rows: Ints
    start: int
    end: int
    origin: Origin
    band: str


class Served(ABC):
    """``twin.ports.Store`` on a server, less what each speaks of its own. ``writes_to``: where values go."""

    def __init__(self, writes_to: Server, site: Site, readonly: bool) -> None:
        self._insert, self._site, self._readonly = writes_to, site, readonly
        self._writer = LineWriter(site)

    @property
    def raw_from(self) -> datetime | None:
        """See ``ingest.stores.kept.Kept``."""
        return None

    def append(self, frames: Sequence[Frame]) -> None:
        """See ``twin.ports.Store``. ``StoreError`` where the server does not take it; what it had taken of ``frames`` by then
        is simply written again the next time. ``LeftOut`` for values that it will never take."""
        if self._readonly:
            raise StoreError(f"store {self._insert.url}: opened for reading only; append in the writing process")
        lost = -self._writer.left_out
        why = "an infinite value is none"
        for body in self._writer.bodies(frames):
            for refusal, samples in self._hand(body):
                lost, why = lost + samples, str(refusal)
        lost += self._writer.left_out
        if lost:
            raise LeftOut(f"{lost} values are left out: {why}", lost)

    def _hand(self, body: bytes) -> Iterator[tuple[Refused, int]]:
        """Write ``body``, in halves where it is too large at once; what is refused of it, and how many values that are."""
        try:
            self._write(body)
        except Refused as refusal:
            yield refusal, _samples(body, refusal.lines)
        except TooLarge:
            middle = body.find(b"\n", len(body) // 2)
            if middle < 0:
                raise
            for half in (body[:middle], body[middle + 1 :]):
                yield from self._hand(half)

    def series(
        self,
        kind: str,
        metrics: Sequence[str],
        start: datetime,
        end: datetime,
        step_s: float | None = None,
        how: How = How.MEAN,
        rows: Ints | None = None,
        origin: Origin = Origin.MEASURED,
        band: str = "",
    ) -> Series:
        """See ``twin.ports.Store``."""
        step = check_question(kind, metrics, step_s)
        rows = self._site.all_rows(kind) if rows is None else np.asarray(rows, dtype=np.int32)
        asked = Asked(kind, rows, micros(start), micros(end), origin, band)
        if step is None:
            return as_stored(self._believed(asked, metrics), rows)
        starts = starts_of(asked.start, asked.end, step, len(rows) * len(metrics), kind)
        tables = {name: np.full((len(starts), len(rows)), np.nan) for name in metrics}
        if len(starts) and len(rows):
            self._step(asked, starts, step, how, tables)
        return Series(starts / MICRO, rows, tables)

    def marked(
        self, kind: str, metrics: Sequence[str], start: datetime, end: datetime, rows: Ints, origin: Origin, band: str
    ) -> Series:
        """See ``ingest.stores.kept.Kept``."""
        return as_stored(self._marked(Asked(kind, rows, micros(start), micros(end), origin, band), metrics), rows)

    def maintain(self, now: datetime) -> None:  # noqa: B027 - there is nothing to do
        """See ``twin.ports.Store``: the server sees to itself."""

    @abstractmethod
    def _write(self, body: bytes) -> None:
        """Hand over lines with times in microseconds."""

    @abstractmethod
    def _believed(self, asked: Asked, metrics: Sequence[str]) -> Mapping[str, Points]:
        """Every value of each metric that is not bad."""

    @abstractmethod
    def _marked(self, asked: Asked, metrics: Sequence[str]) -> Mapping[str, Points]:
        """Every value of each metric, and under its name with ``GRADE`` what quality was said of it."""

    @abstractmethod
    def _step(self, asked: Asked, starts: Times, step: int, how: How, tables: Mapping[str, Floats]) -> None:
        """Fill ``tables``: metric -> float64[t, n] of steps of ``step`` microseconds that begin at ``starts``."""


def _samples(body: bytes, lines: int | None) -> int:
    """Values in a body; where only so many ``lines`` of it are meant, their share."""
    every = 1 + body.count(b"\n")
    values = sum(
        field.partition(b"=")[0][-len(GRADE) :] != GRADE.encode() for line in body.split(b"\n") for field in _fields(line)
    )
    return values if lines is None else round(values * min(lines, every) / every)


def _fields(line: bytes) -> list[bytes]:
    return line.rsplit(b" ", 2)[1].split(b",")  # numbers alone: nothing in them is escaped
