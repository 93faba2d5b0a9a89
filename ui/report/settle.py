"""Numbers of a report, rounded before anything is shown or written: a mean over quarters of an hour and the same mean over the
rollups that a store keeps of them differ in the last of a double's 16 digits, and the same week must give the same bytes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from twin.frame import Floats
from twin.message import Message
from ui.report.document import Block, Cell, Chart, Figure, Flow, Line, Report, Section, Table

DIGITS = 12  # significant ones of every number
NOTHING_FRAC = 10.0**-DIGITS  # what is below this part of the largest in its column is left of a subtraction, and nothing


def settled(report: Report) -> Report:
    """The same report with every number, those in sentences too, at ``DIGITS`` significant digits."""
    return replace(
        report,
        head=[_figure(one) for one in report.head],
        said=tuple(_message(one) for one in report.said),
        sections=[_section(one) for one in report.sections],
    )


def _section(one: Section) -> Section:
    return replace(one, lead=tuple(_message(m) for m in one.lead), blocks=tuple(_block(b) for b in one.blocks))


def _block(one: Block) -> Block:
    if isinstance(one, Figure):
        return _figure(one)
    if one.note is not None:
        one = replace(one, note=_message(one.note))
    if isinstance(one, Table):
        rows = [*one.rows, one.total] if one.total else list(one.rows)
        rows = list(zip(*(_column(cells) for cells in zip(*rows, strict=True)), strict=True))
        return replace(one, rows=rows[: len(one.rows)], total=rows[-1] if one.total else ())
    if isinstance(one, Chart):
        return replace(one, x=_all(one.x), lines=[Line(line.label, _all(line.y), line.tone) for line in one.lines])
    if isinstance(one, Flow):
        return replace(one, links=[(source, target, _one(value)) for source, target, value in one.links])
    return one


def _figure(one: Figure) -> Figure:
    return replace(one, value=_one(one.value), was=_one(one.was), year=_one(one.year))


def _message(one: Message) -> Message:
    params = {key: _nought(_one(value), 1.0) if isinstance(value, float) else value for key, value in one.params.items()}
    return Message(one.text, params)


def _column(cells: Sequence[Cell]) -> list[Cell]:
    largest = max((abs(cell) for cell in cells if not isinstance(cell, str) and np.isfinite(cell)), default=0.0)
    return [cell if isinstance(cell, str) else _nought(_one(cell), largest) for cell in cells]


def _nought(value: float, largest: float) -> float:
    return 0.0 if abs(value) < NOTHING_FRAC * largest else value


def _all(values: Floats) -> Floats:
    return np.array([_one(value) for value in values.tolist()])


def _one(value: float) -> float:
    return float(f"{value:.{DIGITS - 1}e}") + 0.0  # a negative nought is none
