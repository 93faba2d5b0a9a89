"""The report as data: JSON of everything, one CSV a table, one XLSX workbook. The same report gives the same bytes."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import numpy as np

from ui.report.document import Block, Cell, Chart, Figure, Flow, Picture, Report, Section, Table
from ui.report.settle import DIGITS

MAX_SHEET = 1_048_000  # rows of a worksheet
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a text begins with that a spreadsheet runs
SORTS: Mapping[type[Block], str] = {
    Figure: "figures", Table: "tables", Chart: "charts", Flow: "flows", Picture: "pictures"}  # fmt: skip
FIGURE_HEADS = ("section", "key", "figure", "value", "unit", "before", "year ago", "query")
_TEXTS = {"strings_to_formulas": False, "strings_to_urls": False}
CellT = TypeVar("CellT", bound=Cell)


def as_json(report: Report, currency: str = "") -> str:
    """Every figure, table, chart and flow under keys that are the same in every language, numbers bare, what is not known null;
    sentences as key and numbers. ``currency``: that of all money."""
    body = {
        "site": report.site, "scope": report.scope or "centre", "span": report.span, "first_day": report.first_day,
        "last_day": report.last_day, "zone": report.zone, "currency": currency, "significant_digits": DIGITS,
        "head": [figure.key for figure in report.head],
        "said": [{"text": m.text, "params": dict(m.params)} for m in report.said],
        "sections": {section.key: _by_sort(section) for section in report.sections},
    }  # fmt: skip
    return json.dumps(_clean(body), ensure_ascii=False, allow_nan=False) + "\n"


def _by_sort(section: Section) -> dict[str, dict[str, Any]]:
    """Blocks by what they are: a figure and a table may share a key."""
    found: dict[str, dict[str, Any]] = {sort: {} for sort in SORTS.values()}
    for block in section.blocks:
        found[SORTS[type(block)]][block.key] = plain(block)
    return found


def plain(block: Block) -> dict[str, Any]:
    """A block as JSON has it, but for what is no finite number."""
    if isinstance(block, Figure):
        return {"value": block.value, "unit": block.unit, "before": block.was, "year_ago": block.year,
                "label": block.label, "query": block.answer, "data": block.query}  # fmt: skip
    if isinstance(block, Table):
        return {"heads": [list(head) for head in block.heads], "rows": [list(row) for row in block.rows],
                "total": list(block.total), "title": block.title, "query": block.answer, "data": block.query}  # fmt: skip
    if isinstance(block, Chart):
        return {"unit": block.unit, "x": block.x.tolist(), "lines": {line.label: line.y.tolist() for line in block.lines}}
    if isinstance(block, Picture):
        return {"alt": {"text": block.alt.text, "params": dict(block.alt.params)}}
    return {"unit": block.unit, "links": [list(link) for link in block.links]}


def _clean(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _clean(one) for key, one in value.items()}
    return [_clean(one) for one in value] if isinstance(value, list | tuple) else value


def as_csv(table: Table, currency: str = "") -> str:
    """All rows of a table and its total, bare numbers, the unit in each head. A name that a spreadsheet would run as a formula
    begins with an apostrophe (OWASP, CSV injection): users and projects choose their own."""
    return _text(_heads(table, currency), _rows(table))


def figures_csv(report: Report, currency: str = "") -> str:
    """Every figure with its unit, the same of the span before and of a year ago."""
    return _text(FIGURE_HEADS, _figures(report, currency))


def _text(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Lines end in a line feed; ``csv`` quotes only those characters of a line's end that it writes itself, and a bare carriage
    return in a name begins a row where a spreadsheet reads it: so it ends lines in both here, and one is taken off again."""
    lines: list[str] = []
    table: list[Sequence[Cell]] = [heads, *([inert(cell) for cell in _bare(row)] for row in rows)]
    for cells in table:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow(cells)
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


def _figures(report: Report, currency: str) -> Iterator[list[Cell]]:
    for section in report.sections:
        for one in section.figures:
            yield [section.key, one.key, one.label, one.value, _unit(one.unit, currency), one.was, one.year, one.answer]


def _heads(table: Table, currency: str) -> list[str]:
    return [f"{label} [{_unit(unit, currency)}]" if unit else label for label, unit in table.heads]


def _rows(table: Table) -> list[Sequence[Cell]]:
    return [*table.rows, table.total] if table.total else list(table.rows)


def _unit(unit: str, currency: str) -> str:
    """As the metric table has it; money by the name of its currency."""
    return {"money": currency, "per_mwh": f"{currency}_per_mwh"}.get(unit, unit) if currency else unit


def _bare(row: "tuple[Cell, ...] | list[Cell] | Any") -> list[Cell]:
    return ["" if isinstance(cell, float) and not np.isfinite(cell) else cell for cell in row]


def inert(cell: CellT) -> CellT | str:
    """``cell`` as no spreadsheet takes it for a formula, whoever chose its words (OWASP, CSV injection)."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell


def as_xlsx(report: Report, made: datetime, currency: str = "") -> bytes:
    """A workbook: figures on the first sheet, a sheet for each table with its total. ``made``: when it says that it was
    created."""
    import xlsxwriter

    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {**_TEXTS, "in_memory": True, "nan_inf_to_errors": False})
    book.set_properties({"title": f"{report.site} {report.span}", "created": made.replace(tzinfo=None)})
    head = book.add_format({"bold": True, "bottom": 1})
    sheets: list[tuple[str, Sequence[str], Sequence[Sequence[Cell]]]] = [
        ("figures", FIGURE_HEADS, list(_figures(report, currency)))
    ]
    sheets += [(table.key[:31], _heads(table, currency), _rows(table)) for table in report.tables()]
    for name, heads, rows in sheets:
        sheet = book.add_worksheet(name)
        sheet.write_row(0, 0, heads, head)
        for i, cells in enumerate(rows[:MAX_SHEET], 1):
            sheet.write_row(i, 0, _bare(cells))
        sheet.freeze_panes(1, 1)
        sheet.autofit()
    book.close()
    return out.getvalue()
