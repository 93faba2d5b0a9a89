"""The report as data: JSON of everything, one CSV a table, one XLSX workbook. The same report gives the same bytes."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any, TypeVar

import numpy as np

from ui.report.document import Block, Cell, Chart, Figure, Flow, Picture, Report, Section, Table
from ui.report.settle import DIGITS
from ui.report.show import Show
from ui.words import words

MAX_SHEET, MAX_SHEET_NAME, MAX_LINK = 1_048_000, 31, 2_000  # of a worksheet: rows, characters of its name and of a link
_NO_SHEET = re.compile(r"[\[\]:*?/\\]")
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


def as_xlsx(report: Report, made: datetime, currency: str = "", show: Show | None = None) -> bytes:
    """A workbook to be read: figures on the first sheet, a sheet for each table with its total, texts in the language of
    ``show`` (none: English), numbers bare, queries that have an address as links. ``made``: when it says it was created."""
    import xlsxwriter

    show = show or Show(words("en"), currency)
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {**_TEXTS, "in_memory": True, "nan_inf_to_errors": False})
    book.set_properties({"title": f"{report.site} {report.span}", "created": made.replace(tzinfo=None)})
    head, taken = book.add_format({"bold": True, "bottom": 1}), set[str]()
    for number, (name, heads, rows) in enumerate(_sheets(report, currency, show)):
        sheet = book.add_worksheet(_sheet_name(name, taken))
        sheet.write_row(0, 0, heads, head)
        for i, cells in enumerate(rows[:MAX_SHEET], 1):
            sheet.write_row(i, 0, _bare(cells))
            link = str(cells[-1])
            if number == 0 and "://" in link and len(link) <= MAX_LINK:  # of the figures alone, where the query stands last
                sheet.write_url(i, len(cells) - 1, link, string=link)
        sheet.freeze_panes(1, 1)
        sheet.autofit()
    book.close()
    return out.getvalue()


def _sheets(report: Report, currency: str, show: Show) -> Iterator[tuple[str, list[str], list[Sequence[Cell]]]]:
    """(name, heads, rows) of each sheet; in English named by the keys of the data files."""
    w, english = show.words, show.words.language == "en"
    titles = {section.key: section.key if english else w(section.title) for section in report.sections}
    figures: list[Sequence[Cell]] = [
        [titles[str(section)], key, w(str(label)), *rest] for section, key, label, *rest in _figures(report, currency)
    ]
    yield "figures" if english else w("figures"), [w(head) for head in FIGURE_HEADS], figures
    for table in report.tables():
        spoken = replace(table, heads=[(w(label), unit) for label, unit in table.heads])
        rows = [_spoken(table, row, show) for row in table.rows]
        total = [_spoken(table, table.total, show, total=True)] if table.total else []
        yield table.key if english else w(table.title), _heads(spoken, currency), [*rows, *total]


def _spoken(table: Table, row: Sequence[Cell], show: Show, total: bool = False) -> list[Cell]:
    return [show.word(cell, head, total) if isinstance(cell, str) else cell
            for cell, (head, _) in zip(row, table.heads, strict=True)]  # fmt: skip


def _sheet_name(name: str, taken: set[str]) -> str:
    """``name`` as a spreadsheet takes it: short, without signs of its own, and no other's. Adds it to ``taken``."""
    plain = _NO_SHEET.sub(" ", name).strip("'")[:MAX_SHEET_NAME]
    found = next(
        one for k in count(1) if (one := plain if k == 1 else f"{plain[: MAX_SHEET_NAME - 4]} {k}").lower() not in taken
    )
    taken.add(found.lower())
    return found
