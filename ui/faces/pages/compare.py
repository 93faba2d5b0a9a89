"""``/compare?a=…&b=…``: assets of one kind beside each other, in charts and in figures."""

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from twin.metrics import METRICS
from ui.faces.pages import page_of
from ui.faces.pages.dig import HEAD, LABELS, facts, metric_names, spans
from ui.faces.pages.shell import language_of, shell
from ui.faces.push import Pulse
from ui.words import words


def add_compare(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page on ``server``."""

    @server.get("/compare", response_class=HTMLResponse, include_in_schema=False)
    def page(request: Request) -> HTMLResponse:
        said = words(language_of(request))
        body = (
            facts(pulse.live)
            + metric_names(said, METRICS)
            + (
                '<h1 data-t="Compare">Compare</h1><form id="add" class="fields"><label class="field">'
                '<span data-t="Asset">Asset</span><input name="asset" list="found" autocomplete="off" maxlength="300"></label>'
                '<datalist id="found"></datalist><button data-t="Add">Add</button></form><p id="chosen"></p>'
                f'<div class="tools">{spans()}<span id="said" role="status"></span></div><div id="charts"></div>'
                '<section class="panel"><h2 data-t="Readings">Readings</h2><table id="table"></table></section>'
            )
        )
        made = shell(
            page_of("compare"), said, body=body, scripts=("dig_compare.js",), styles=("dig.css",), labels=LABELS, head=HEAD
        )
        return HTMLResponse(made)
