"""``/explore``: any series by kind, metric, asset and group; zoom, export, saved views, annotations."""

import json

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from twin.frame import Origin
from twin.metrics import METRICS
from ui.dig.explore import ACROSS, GROUPS
from ui.faces.pages import page_of
from ui.faces.pages.dig import HEAD, LABELS, annotate_form, chosen, facts, field, metric_names, spans
from ui.faces.pages.markup import say
from ui.faces.pages.shell import language_of, shell
from ui.faces.push import Pulse
from ui.view import Live
from ui.words import words

_NONE = "each by itself"


def add_explore(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page on ``server``."""

    @server.get("/explore", response_class=HTMLResponse, include_in_schema=False)
    def page(request: Request) -> HTMLResponse:
        said = words(language_of(request))
        made = shell(
            page_of("explore"),
            said,
            body=_body(pulse.live) + metric_names(said, METRICS),
            scripts=("dig_explore.js",),
            styles=("dig.css",),
            labels=LABELS,
            head=HEAD,
        )
        return HTMLResponse(made)


def _body(live: Live) -> str:
    site = live.site
    kinds = {kind: kind for kind in METRICS if METRICS[kind] and site.count(kind)}
    groups = {"": _NONE} | {kind: kind for kind in GROUPS if site.count(kind)}
    table = {kind: [[m.name, m.unit, m.doc] for m in METRICS[kind].values()] for kind in kinds}
    told = json.dumps(table, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    form = (
        f'<form id="ask" class="fields">{field("Kind", chosen("kind", kinds))}'
        f"{field('Metric', '<select name=metric multiple size=4></select>')}"
        f"{field('Assets (none: all)', '<input name=asset list=found autocomplete=off maxlength=4000>')}"
        f'{field("Inside", "<input name=within list=found autocomplete=off maxlength=300>")}<datalist id="found"></datalist>'
        f"{field('Put together by', chosen('by', groups))}{field('As', chosen('across', {name: name for name in ACROSS}))}"
        f"{field('Origin', chosen('origin', {origin.value: origin.value for origin in Origin}))}"
        f'<button data-t="Show">Show</button></form>'
    )
    files = "".join(f'<button type="button" data-file="{name}">{name.upper()}</button>' for name in ("csv", "parquet", "png"))
    keep = (
        f'<form id="keep" class="fields">{field("Name", "<input name=name maxlength=100>")}'
        f'<label class="check"><input type="checkbox" name="shared"> {say("others see it too")}</label>'
        '<button data-t="Save this view">Save this view</button></form>'
    )
    return (
        f"{facts(live)}"
        f'<script type="application/json" id="metrics">{told}</script><h1 data-t="Explore">Explore</h1>{form}'
        f'<div class="tools">{spans()}<button type="button" id="whole" hidden data-t="whole span">whole span</button>'
        f'<span id="said" role="status"></span>'
        f'<span class="files" role="group" aria-label="Export" data-a="Export">{files}</span></div>'
        f'<div id="charts"></div><div class="columns"><section class="panel"><h2 data-t="Saved views">Saved views</h2>'
        f'<div id="views"></div>{keep}</section><section class="panel">'
        f'<h2 data-t="Notes and maintenance">Notes and maintenance</h2><div id="annotations"></div>'
        f"{annotate_form()}</section></div>"
    )
