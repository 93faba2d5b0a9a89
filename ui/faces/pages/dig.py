"""What the pages that dig have in common: plotly from this server, the words of their scripts, the centre's time zone."""

import gzip
import json
from collections.abc import Iterable
from functools import cache
from html import escape
from importlib.metadata import version
from importlib.resources import files

from fastapi import FastAPI, Response

from twin.kinds import KINDS
from twin.metrics import METRICS
from ui.faces.pages.markup import say
from ui.faces.push import Pulse
from ui.view import Live
from ui.words import Words

PLOTLY = f"/dig/plotly.js?v={version('plotly')}"
HEAD = f'<script defer src="{PLOTLY}"></script>'
# What the scripts of these pages say beside what their markup marks.
LABELS = (
    "measured", "modelled", "commanded", "forecast", "expected", "least and most", "nothing was read in this span",
    "off by {n} spreads", "{age} old", "{n} more", "loading …", "feeds", "cools", "connects", "critical", "warning", "info",
    "running", "ended", "maintenance", "incident", "note", "remove", "shared by {who}", "nothing yet", "step {step}",
    "steps are longer than asked: it would be too much", "{n} assets", "stale", "settable", "{here} of {all} GPUs",
    "name assets to compare", "these are of different kinds: {kinds}", "a view needs a name", "left out: {n}",
    "sign out", "sign in", "h", "min", "s", "d", "hide", "show", "choose a metric", *KINDS,
)  # fmt: skip
SPANS = (("1h", 3600), ("6h", 21600), ("24h", 86400), ("7d", 604800), ("30d", 2592000), ("365d", 31536000))


def add_plotly(server: FastAPI, pulse: Pulse) -> None:
    """Serve plotly's own bundle, as the package of that name brings it, on ``server``."""

    @server.get("/dig/plotly.js", include_in_schema=False)
    def plotly() -> Response:
        """The script; compressed once, kept for ever under its version."""
        headers = {
            "content-encoding": "gzip",
            "cache-control": "private, max-age=31536000, immutable",
            "vary": "accept-encoding",
        }
        return Response(_bundle(), media_type="text/javascript", headers=headers)


@cache
def _bundle() -> bytes:
    return gzip.compress((files("plotly") / "package_data" / "plotly.min.js").read_bytes(), 6, mtime=0)


def spans() -> str:
    """Buttons for how far back."""
    buttons = "".join(
        f'<button type="button" data-span="{seconds}" aria-pressed="false">{name}</button>' for name, seconds in SPANS
    )
    return f'<div class="switch" role="group" aria-label="Span" data-a="Span" id="span">{buttons}</div>'


def facts(live: Live, **more: str) -> str:
    """What the scripts must know of the page and the centre."""
    told = {"zone": live.site.timezone, **more}
    named = " ".join(f'data-{key}="{escape(value)}"' for key, value in told.items())
    return f'<div id="facts" hidden {named}></div>'


def metric_names(words: Words, kinds: Iterable[str]) -> str:
    """What the scripts call the metrics of ``kinds``, in the page's language."""
    named = {one.name: words.metric(one.name) for kind in kinds for one in METRICS[kind].values()}
    told = json.dumps(named, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="metric-names">{told}</script>'


def field(label: str, inside: str) -> str:
    """A form's field under its label."""
    return f'<label class="field">{say(label)}{inside}</label>'


def chosen(name: str, values: dict[str, str]) -> str:
    """A select: value -> text (translated)."""
    options = "".join(
        f'<option value="{escape(value)}" data-t="{escape(text)}">{escape(text)}</option>' for value, text in values.items()
    )
    return f'<select name="{name}">{options}</select>'


def annotate_form() -> str:
    """Note something on the span that is shown."""
    sorts = chosen("sort", {"note": "note", "maintenance": "maintenance", "incident": "incident"})
    return (
        f'<form id="annotate" class="fields">{field("What", sorts)}'
        f"{field('From', '<input name=start type=datetime-local step=1 required>')}"
        f"{field('To', '<input name=end type=datetime-local step=1>')}"
        f"{field('Text', '<input name=text maxlength=2000 required>')}"
        f'<button data-t="Note it">Note it</button></form>'
    )
