"""``/asset/<id>``: everything about one asset. The script fills it from ``/api/v1/assets/…`` and draws from
``/api/v1/explore``."""

from html import escape

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from ui.faces.pages import Page
from ui.faces.pages.dig import HEAD, LABELS, annotate_form, facts, metric_names, spans
from ui.faces.pages.markup import say
from ui.faces.pages.shell import language_of, shell
from ui.faces.push import Pulse
from ui.words import Words, words

PAGE = Page("asset", "/asset", "Asset", "Dig", live=False, fixed=False)
_HEADS = ("Metric", "Measured", "Modelled", "Off by", "Age")


def add_asset(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page on ``server``."""
    live = pulse.live

    @server.get("/asset/{asset:path}", response_class=HTMLResponse, include_in_schema=False)
    def page(request: Request, asset: str) -> HTMLResponse:
        said = words(language_of(request))
        if asset not in live.site.position:
            return HTMLResponse(_document(said, _unknown(asset)), 404)
        kind = live.site.kind(asset)
        return HTMLResponse(
            _document(said, facts(live, asset=asset, kind=kind) + metric_names(said, [kind]) + _body(asset, kind), draws=True)
        )


def _document(said: Words, body: str, *, draws: bool = False) -> str:
    more = {"scripts": ("dig_asset.js",), "head": HEAD, "labels": LABELS} if draws else {}
    return shell(PAGE, said, body=body, styles=("dig.css",), **more)  # type: ignore[arg-type]


def _unknown(asset: str) -> str:
    return (
        f"<h1>{escape(asset[:200])}</h1><p>{say('There is no asset of this id in the site; it may have been renamed.')}</p>"
        f'<p><a href="/explore">{say("Explore")}</a></p>'
    )


def _part(key: str, title: str, inside: str = "") -> str:
    return f'<section class="panel part-{key}" hidden><h2 data-t="{title}">{title}</h2>{inside}<div id="{key}"></div></section>'


def _body(asset: str, kind: str) -> str:
    heads = "".join(f'<th scope="col" data-t="{head}">{head}</th>' for head in _HEADS)
    table = f'<table><thead><tr>{heads}</tr></thead><tbody id="readings"></tbody></table>'
    links = (
        f'<a href="/explore?kind={kind}&amp;asset={escape(asset)}" data-t="Explore">Explore</a> '
        f'<a href="/compare?a={escape(asset)}" data-t="Compare">Compare</a>'
    )
    return (
        f'<div class="top"><p id="holders" class="quiet"></p><h1>{escape(asset)}</h1><p>'
        f'{say(kind, "kind")} <span id="says" class="quiet"></span> <span id="worst"></span></p></div>'
        f'<div class="tools">{spans()}<span id="said" role="status"></span><span class="links">{links}</span></div>'
        f'<div id="charts"></div><div class="columns"><div>'
        f'<section class="panel"><h2 data-t="Readings">Readings</h2>{table}</section>'
        f"{_part('attributes', 'Attributes')}{_part('jobs', 'Jobs that ran here')}</div><div>"
        f"{_part('troubles', 'What is wrong with it')}{_part('alerts', 'Alerts')}{_part('findings', 'Findings')}"
        f"{_part('upstream', 'Upstream')}{_part('downstream', 'Downstream')}"
        f"{_part('children', 'Inside it')}{_part('events', 'Events')}"
        f'<section class="panel"><h2 data-t="Notes and maintenance">Notes and maintenance</h2><div id="annotations"></div>'
        f"{annotate_form()}</section></div></div>"
    )
