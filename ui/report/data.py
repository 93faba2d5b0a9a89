"""The report as data: JSON of everything, one CSV a table, one XLSX workbook. The same report gives the same bytes."""

import csv
import io
import json
from datetime import datetime
from typing import Any

import numpy as np

from ui.report.document import Block, Cell, Chart, Figure, Picture, Report, Table

MAX_SHEET = 1_048_000  # rows of a worksheet
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a text begins with that a spreadsheet runs
_TEXTS = {"strings_to_formulas": False, "strings_to_urls": False}


def as_json(report: Report) -> str:
    """Every figure, table, chart and flow, numbers bare, what is not known null; sentences as key and numbers."""
    body = {
        "site": report.site, "span": report.span, "first_day": report.first_day, "last_day": report.last_day,
        "zone": report.zone,
        "head": [figure.key for figure in report.head],
        "said": [{"text": m.text, "params": dict(m.params)} for m in report.said],
        "sections": {s.key: {block.key: _plain(block) for block in s.blocks} for s in report.sections},
    }  # fmt: skip
    return json.dumps(_clean(body), ensure_ascii=False, allow_nan=False) + "\n"


def _plain(block: Block) -> dict[str, Any]:
    if isinstance(block, Figure):
        return {"value": block.value, "unit": block.unit, "before": block.was, "year_ago": block.year, "query": block.query}
    if isinstance(block, Table):
        return {"heads": [list(head) for head in block.heads], "rows": [list(row) for row in block.rows],
                "total": list(block.total)}  # fmt: skip
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


def as_csv(table: Table) -> str:
    """All rows of a table, bare numbers, the unit in each head. A name that a spreadsheet would run as a formula begins with an
    apostrophe (OWASP, CSV injection): users and projects choose their own."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([f"{label} [{unit}]" if unit else label for label, unit in table.heads])
    writer.writerows([[_inert(cell) for cell in _bare(row)] for row in table.rows])
    return out.getvalue()


def _bare(row: "tuple[Cell, ...] | list[Cell] | Any") -> list[Cell]:
    return ["" if isinstance(cell, float) and not np.isfinite(cell) else cell for cell in row]


def _inert(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell


def as_xlsx(report: Report, made: datetime) -> bytes:
    """A workbook: figures on the first sheet, a sheet for each table. ``made``: what it says of when it was created."""
    import xlsxwriter

    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {**_TEXTS, "in_memory": True, "nan_inf_to_errors": False})
    book.set_properties({"title": f"{report.site} {report.span}", "created": made.replace(tzinfo=None)})
    head = book.add_format({"bold": True, "bottom": 1})
    sheet = book.add_worksheet("figures")
    sheet.write_row(0, 0, ["section", "figure", "value", "unit", "before", "year ago"], head)
    k = 1
    for section in report.sections:
        for figure in section.figures:
            row: list[Cell] = [section.key, figure.label, figure.value, figure.unit, figure.was, figure.year]
            sheet.write_row(k, 0, _bare(row))
            k += 1
    for table in report.tables():
        sheet = book.add_worksheet(table.key[:31])
        sheet.write_row(0, 0, [f"{label} [{unit}]" if unit else label for label, unit in table.heads], head)
        for i, cells in enumerate(table.rows[:MAX_SHEET], 1):
            sheet.write_row(i, 0, _bare(cells))
        sheet.freeze_panes(1, 1)
        sheet.autofit()
    book.close()
    return out.getvalue()
