"""Maps many pages at once: those of one form (as all nodes of one make have it) become one table.

What mapping costs, it costs a call of numpy and hardly a number: a thousand pages of a centre cost little more than ten.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from ingest.mappings.bind import MAX_GAP, Binding
from ingest.mappings.columns import derive, put, rates_of
from ingest.mappings.form import Form
from twin.frame import Floats, Frame, Ints
from twin.site import Bools


class Reading(NamedTuple):
    """A page that was read and bound, and not mapped yet: float64[n] ``values`` of the series of ``binding``, read ``now``.
    ``clock_s``, ``every_s`` and ``source``: as ``Binding.frames`` takes them."""

    binding: Binding
    values: Floats
    now: datetime
    clock_s: float
    every_s: float
    source: str

    def frames(self) -> list[Frame]:
        """Of this page alone."""
        return self.binding.frames(self.values, None, self.now, self.clock_s, self.every_s, self.source)


@runtime_checkable
class Pooled(Protocol):
    """A source whose pages may be mapped together with those of others. ``twin.ports.Source`` it is beside that."""

    async def read_page(self, now: datetime) -> "Reading | Sequence[Frame]":
        """Read once, as ``poll`` does. What is mapped already is frames."""
        ...


class Said(NamedTuple):
    """A frame, and for each of its rows whose reading it comes from."""

    frame: Frame
    by: Ints


def mapped(readings: Iterable[tuple[int, Reading]]) -> list[Said]:
    """Frames of all ``readings``, each with the number of who read it: one frame a kind where form and time are the same."""
    groups: dict[tuple[object, ...], list[tuple[int, Reading]]] = {}
    for by, one in readings:
        groups.setdefault((one.binding.form, one.now, one.every_s, one.binding), []).append((by, one))
    # a page that was read twice meanwhile: its counters' second reading builds on the first
    alone = [some for some in groups.values() if len(some) > 1]
    rest: dict[tuple[object, ...], list[tuple[int, Reading]]] = {}
    for (form, now, every_s, _), some in groups.items():
        if len(some) == 1:
            rest.setdefault((form, now, every_s), []).extend(some)
    made: list[Said] = []
    for some in rest.values():
        if len(some) == 1 or _overlap([one for _, one in some]):
            alone.append(some)
        else:
            made += _together(np.array([by for by, _ in some], dtype=np.int32), [one for _, one in some])
    for some in alone:
        for by, one in some:
            made += [Said(frame, np.full(len(frame.rows), by, dtype=np.int32)) for frame in one.frames()]
    return made


def _overlap(readings: Sequence[Reading]) -> bool:
    """Whether two pages speak of one asset."""
    return any(bool(np.any(np.bincount(rows) > 1)) for rows in _rows(readings))


def _rows(readings: Sequence[Reading]) -> list[Ints]:
    """Of each block, the rows of all pages, one page after the other."""
    return [np.concatenate(rows) for rows in zip(*(one.binding.rows for one in readings), strict=True)]


def _together(by: Ints, readings: Sequence[Reading]) -> list[Said]:
    first = readings[0]
    form, pages, n = first.binding.form, len(readings), len(first.values)
    padded = np.full((pages, n + 1), np.nan)
    padded[:, :n] = [one.values for one in readings]
    values = padded[:, :n].ravel()
    known = form.unblank(values)
    rates = _rates(form, readings, values.reshape(pages, n), known)
    if known is not None:
        padded[:, :n][~known.reshape(pages, n)] = np.nan
    made = []
    for number, (block, rows) in enumerate(zip(form.blocks, _rows(readings), strict=True)):
        each = len(block.rows)
        table = (padded[:, block.of] * block.scale + block.offset).transpose(1, 0, 2).reshape(len(block.metrics), -1)
        for one in form.spread(number, pages, n):
            put(table, one, derive(one, rates if one.entry.rate else values, known, pages * each))
        frame = Frame(block.kind, first.now, rows, dict(zip(block.metrics, table, strict=True)))
        made.append(Said(frame, np.repeat(by, each)))
    return made


def _rates(form: Form, readings: Sequence[Reading], values: Floats, known: Bools | None) -> Floats:
    """float64[pages * n]: growth per second of the counters, as ``Binding.frames`` makes it."""
    at, pages = form.rated, len(readings)
    if not len(at):
        return values.ravel()
    is_ = values[:, at]
    if known is not None:
        is_[~known.reshape(values.shape)[:, at]] = np.nan
    time_s = np.repeat(np.array([one.clock_s for one in readings])[:, None], len(at), axis=1)
    was, was_s = np.full((2, pages, len(at)), np.nan)
    for k, one in enumerate(readings):
        had = one.binding.was
        if had is not None:
            was[k], was_s[k] = had
        one.binding.was = is_[k], time_s[k]
    rates = np.full(values.shape, np.nan)
    rates[:, at] = rates_of((was, was_s), is_, time_s, form.wraps, readings[0].every_s * MAX_GAP)
    return rates.ravel()
