"""The report as one HTML file that needs nothing else: to be read, printed and mailed."""

import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from ui.report.charts import chart_svg, flow_svg
from ui.report.document import Block, Chart, Figure, Picture, Report, Section, Table
from ui.report.pictured import picture_svg
from ui.report.show import Show

FIGURE_HEADS = ("figure", "this span", "span before", "change", "a year ago")
STYLE = Path(__file__).with_name("report.css")
# What `_linked` writes: no text of others can look like it, for theirs is escaped.
_TOLD = re.compile(r'<span title="(/api/v1/report\?[^"]*)">([^<]*)</span>')
_ABROAD = re.compile(r'<a href="https?://[^"]*?(/api/v1/report\?[^"]*)">')


def page(report: Report, show: Show) -> str:
    """The whole document; the same report gives the same text."""
    w = show.words
    title = html.escape(f"{report.site} · {show.heading(report)}")
    links = "".join(f'<a href="#{section.key}">{html.escape(w(section.title))}</a>' for section in report.sections)
    lines = "".join(f"<li>{html.escape(w.sentence(message))}</li>" for message in report.said)
    head = "".join(_tile(figure, show) for figure in report.head)
    zone = ZoneInfo(report.zone)
    body = "".join(_section(section, report.body(section), show, zone) for section in report.sections)
    kind = html.escape(w("Energy and utilisation report"))
    span, cover = html.escape(show.heading(report)), "".join(_block(block, show, zone, 2) for block in report.cover)
    return (
        f'<!DOCTYPE html>\n<html lang="{w.language}"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE.read_text("utf-8")}</style></head>'
        f"<body><header><p>{kind}</p><h1>{html.escape(report.site)}</h1><p>{span}</p><nav>{links}</nav></header>"
        f'<main><section class="first"><div class="tiles">{head}</div><ul>{lines}</ul>{cover}</section>{body}</main>'
        "</body></html>\n"
    )


def at_home(text: str) -> str:
    """A page as the wall itself serves it: what could only be told of a file, or led to the address under which others reach
    icctwin, is a link to whoever serves it."""
    return _ABROAD.sub(r'<a href="\1">', _TOLD.sub(r'<a href="\1">\2</a>', text))


def _tile(figure: Figure, show: Show) -> str:
    change = show.change(figure)
    same = not change or change.startswith("±")  # what shows as no change is neither better nor worse
    better = "" if same or not figure.good else " good" if figure.apart * figure.good > 0 else " bad"
    said = f'<span class="change{better}">{change}</span>' if change else ""
    return (
        f'<div class="tile"><span class="label">{_linked(html.escape(show.words(figure.label)), figure.answer)}</span>'
        f'<span class="value">{html.escape(show.figure(figure))}</span>{said}</div>'
    )


def _linked(text: str, url: str) -> str:
    """A link, where it leads somewhere: a page that was mailed or kept has no address that another could be relative to, and
    says what can be asked."""
    address = html.escape(url)
    return f'<a href="{address}">{text}</a>' if "://" in url else f'<span title="{address}">{text}</span>' if url else text


def _section(section: Section, blocks: Sequence[Block], show: Show, zone: ZoneInfo) -> str:
    lead = "".join(f"<p>{html.escape(show.words.sentence(message))}</p>" for message in section.lead)
    figures = _figures(section, show)
    rest = "".join(_block(block, show, zone) for block in blocks)
    title, terms = html.escape(show.words(section.title)), _terms(section, show)
    return f'<section id="{section.key}"><h2>{title}</h2>{lead}{figures}{rest}{terms}</section>'


def _figures(section: Section, show: Show) -> str:
    w, figures = show.words, section.figures
    heads = "".join(f'<th scope="col">{html.escape(w(head))}</th>' for head in FIGURE_HEADS)
    rows = []
    for figure in figures:
        label = html.escape(w(figure.label))
        name = _linked(label, figure.answer)
        values = (show.figure(figure), show.value(figure.was, figure.unit), show.change(figure),
                  show.value(figure.year, figure.unit))  # fmt: skip
        cells = "".join(f"<td>{html.escape(value)}</td>" for value in values)
        rows.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    table = f"<table class=figures><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return _wide(table, f"{w(section.title)}: {w('figures')}") if figures else ""


def _wide(inner: str, name: str) -> str:
    """A table or drawing that a narrow screen moves sideways in its own frame, by keys too. ``name``: no other has it."""
    return f'<div class="wide" role="region" tabindex="0" aria-label="{html.escape(name)}">{inner}</div>'


def _terms(section: Section, show: Show) -> str:
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(said)}</dd>" for name, said in show.terms(section))
    return f"<h3>{html.escape(show.words('Definitions'))}</h3><dl>{rows}</dl>" if rows else ""


def _block(block: Block, show: Show, zone: ZoneInfo, level: int = 3) -> str:
    """``level``: of its heading."""
    if isinstance(block, Figure):
        return ""
    w = show.words
    note = f"<figcaption>{html.escape(w.sentence(block.note))}</figcaption>" if block.note else ""
    title = html.escape(w(block.title))
    if isinstance(block, Picture):
        inner = picture_svg(block, show)
    elif isinstance(block, Table):
        title, inner = _linked(title, block.answer), _wide("".join(_table(block, show)), w(block.title))
    else:
        inner = _wide(chart_svg(block, show, zone) if isinstance(block, Chart) else flow_svg(block, show), w(block.title))
    return f"<figure><h{level}>{title}</h{level}>{inner}{note}</figure>"


def _table(table: Table, show: Show) -> Iterator[str]:
    texts = ["" if unit else " class=text" for _, unit in table.heads]
    named = zip(show.heads(table.heads), texts, strict=True)
    heads = "".join(f'<th scope="col"{text}>{html.escape(head)}</th>' for head, text in named)
    yield f"<table><thead><tr>{heads}</tr></thead><tbody>"
    for row in shown_rows(table):
        yield _row(show.row(table, row), texts)
    if left := len(table.rows) - len(shown_rows(table)):
        said = html.escape(show.words("{n} more rows are in the data files").format(n=left))
        yield f'<tr class="more"><td colspan="{len(table.heads)}">{said}</td></tr>'
    yield "</tbody>"
    if table.total:
        yield f"<tfoot>{_row(show.row(table, table.total, total=True), texts)}</tfoot>"
    yield "</table>"


def shown_rows(table: Table) -> list[tuple[str | float, ...]]:
    """The rows that page and PDF show: the first, and rows in brackets (idle, unseen) wherever they stand."""
    ends = [tuple(row) for row in table.rows[table.shown :] if str(row[0]).startswith("(")]
    return [tuple(row) for row in table.rows[: table.shown]] + ends


def _row(cells: Sequence[str], texts: Sequence[str]) -> str:
    first, *rest = cells
    cells = "".join(f"<td{text}>{html.escape(cell)}</td>" for cell, text in zip(rest, texts[1:], strict=True))
    return f'<tr><th scope="row">{html.escape(first)}</th>{cells}</tr>'
