"""The report as a PDF, by Typst: tagged for screen readers, vector charts, the same bytes for the same report."""

import json
from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from twin.errors import SourceError
from ui.report.charts import chart_alt, chart_svg, flow_alt, flow_svg
from ui.report.document import Chart, Flow, Picture, Report, Table
from ui.report.page import FIGURE_HEADS, shown_rows
from ui.report.pictured import picture_svg
from ui.report.show import Show

TEMPLATE = Path(__file__).with_name("report.typ")
CHINESE = frozenset({"Noto Sans CJK SC", "Noto Serif CJK SC", "Droid Sans Fallback"})  # of those that the template asks for


def pdf(report: Report, show: Show, made: datetime) -> bytes:
    """``made``: the date that stands in its metadata. ``SourceError`` where no font has its letters."""
    import typst

    if why := no_font(show.words.language):
        raise SourceError(why)
    body = json.dumps(_body(report, show, made), ensure_ascii=False)
    try:
        made_pdf = typst.compile(str(TEMPLATE), sys_inputs={"report": body}, format="pdf", timestamp=int(made.timestamp()),
                                 pdf_standards=["ua-1"])  # fmt: skip
    except typst.TypstError as error:
        raise SourceError(f"the PDF cannot be set: {error}") from error
    return bytes(made_pdf)


@cache
def no_font(language: str) -> str:
    """Why no PDF can be set in ``language``; empty where one can."""
    import typst

    if language != "zh" or not CHINESE.isdisjoint(typst.Fonts().families()):
        return ""
    return "a PDF in Chinese needs a font with its characters; install one (Debian: apt-get install fonts-noto-cjk)"


def _body(report: Report, show: Show, made: datetime) -> dict[str, object]:
    """Texts only: the template sets them and knows nothing of numbers."""
    w = show.words
    zone = ZoneInfo(report.zone)
    sections = []
    for section in report.sections:
        blocks: list[dict[str, object]] = []
        if section.figures:
            links = [_url(f.answer) for f in section.figures]
            rows = [[w(f.label), show.figure(f), show.value(f.was, f.unit), show.change(f),
                     show.value(f.year, f.unit)] for f in section.figures]  # fmt: skip
            heads = [w(head) for head in FIGURE_HEADS]
            blocks.append({"is": "table", "title": "", "heads": heads, "rows": rows, "total": [], "note": "", "links": links})
        blocks += [_block(block, show, zone) for block in report.body(section)]
        lead = [w.sentence(message) for message in section.lead]
        sections.append({"title": w(section.title), "lead": lead, "blocks": blocks, "terms": show.terms(section)})
    return {
        "lang": w.language,
        "title": f"{report.site} · {show.heading(report)}",
        "cover": [_block(block, show, zone) for block in report.cover],
        "definitions": w("Definitions"),
        "kind": w("Energy and utilisation report"),
        "site": report.site,
        "span": show.heading(report),
        "date": [made.year, made.month, made.day],
        "head": [[w(f.label), show.figure(f), show.change(f), _url(f.answer)] for f in report.head],
        "said": [w.sentence(message) for message in report.said],
        "sections": sections,
    }


def _block(block: "Table | Chart | Flow | Picture", show: Show, zone: ZoneInfo) -> dict[str, object]:
    w = show.words
    said = {"title": w(block.title), "note": w.sentence(block.note) if block.note else ""}
    if isinstance(block, Chart):
        return {"is": "picture", "svg": chart_svg(block, show, zone), "alt": chart_alt(block, show), **said}
    if isinstance(block, Flow):
        return {"is": "picture", "svg": flow_svg(block, show), "alt": flow_alt(block, show), **said}
    if isinstance(block, Picture):
        return {"is": "picture", "svg": picture_svg(block, show), "alt": w.sentence(block.alt), **said}
    rows = [show.row(block, row) for row in shown_rows(block)]
    total = show.row(block, block.total, total=True) if block.total else []
    left = len(block.rows) - len(rows)
    note = " ".join(filter(None, [str(said["note"]), w("{n} more rows are in the data files").format(n=left) if left else ""]))
    said |= {"note": note, "link": _url(block.answer)}
    texts = [not unit for _, unit in block.heads]
    return {"is": "table", "heads": show.heads(block.heads), "texts": texts, "rows": rows, "total": total, **said}


def _url(answer: str) -> str:
    """A link that leads somewhere from a file: an absolute one."""
    return answer if "://" in answer else ""
