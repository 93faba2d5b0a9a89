"""``/reports``: the reports that were made, each of their files, and a form to have one made."""

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from ui.faces.pages import page_of
from ui.faces.pages.dig import field
from ui.faces.pages.markup import say
from ui.faces.pages.shell import language_of, shell
from ui.faces.push import Pulse
from ui.words import words

# What the script says by itself.
LABELS = (
    "made", "asked", "failed", "nothing was read in that span", "span", "part of the centre", "state", "by", "files",
    "download", "No report was made yet: weekly ones come on Monday morning", "Asked: it is here within a minute or two",
    "the whole centre", "hall", "tenant", "project",
    # the figures of a first page (ui.report.compose.HEAD)
    "Facility energy", "PUE", "Carbon, location-based", "Cost", "Peak demand", "Allocated", "Busy", "Allocated but idle",
)  # fmt: skip
_HOW = (
    "A week as 2026-W46, a month as 2026-11, a quarter as 2026-Q4, or two dates as 2026-11-01/2026-11-15; "
    "of the centre, hall:NAME, tenant:NAME or project:NAME"
)


def add_reports_page(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page on ``server``."""

    @server.get("/reports", response_class=HTMLResponse, include_in_schema=False)
    def page(request: Request) -> HTMLResponse:
        made = shell(
            page_of("reports"),
            words(language_of(request)),
            body=_body(),
            scripts=("reports.js",),
            styles=("dig.css", "reports.css"),
            labels=LABELS,
        )
        return HTMLResponse(made)


def _body() -> str:
    form = (
        f'<form id="ask" class="fields">'
        f"{field('Span', '<input name=span required maxlength=40 placeholder=2026-W46 autocomplete=off>')}"
        f"{field('Of what', '<input name=scope maxlength=210 value=centre list=scopes autocomplete=off>')}"
        f'<datalist id="scopes"></datalist><button data-t="Make a report">Make a report</button></form>'
        f"<p>{say(_HOW, '', 'small')}</p>"
    )
    return (
        f'<h1 data-t="Reports">Reports</h1>{form}<p id="said" role="status"></p>'
        f'<section class="panel" id="newest"></section>'
        f'<section class="panel"><h2 data-t="What was reported">What was reported</h2><div id="reports"></div></section>'
    )
