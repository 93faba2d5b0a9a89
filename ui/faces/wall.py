"""The NOC wall's first page: a Dash app on the FastAPI server, filled once a second by ``ui.faces.push``.

Dash gives the page, its parts and the chart with its callback; the numbers come over a websocket of our own (why:
``ui.faces.push``).
Everything the page loads lies in this package or in Dash's: it asks no third party for anything.
"""

from pathlib import Path
from typing import Any

from dash import Dash, Input, Output
from fastapi import FastAPI

from ui.faces.chart import power_chart
from ui.faces.push import Pulse
from ui.faces.wall_parts import BEAT, CHART, LANGUAGE, layout
from ui.words import words

ASSETS = Path(__file__).parent / "assets"

_INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="dark">
<title>{%title%}</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
{%css%}
</head>
<body>
{%app_entry%}
<noscript>The wall needs JavaScript; the same numbers are at /api/v1/view and /metrics.</noscript>
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


def add_wall(server: FastAPI, pulse: Pulse) -> Dash:
    """Serve the wall at ``/`` of ``server``."""
    wall = Dash(
        __name__,
        server=server,  # type: ignore[arg-type]  # the backend takes a FastAPI, the annotation has not heard of it
        backend="fastapi",
        assets_folder=str(ASSETS),
        title=f"{pulse.live.site.name} · icctwin",
        update_title="",
        index_string=_INDEX,
        serve_locally=True,
        add_log_handler=False,
    )
    wall.backend.websocket_capability = False  # the page has its socket; one more to Dash would say nothing
    wall.layout = layout

    @wall.callback(Output(CHART, "figure"), Input(BEAT, "n_intervals"), Input(LANGUAGE, "data"))
    async def chart(_beats: int | None, language: str | None) -> dict[str, Any]:
        return power_chart(await pulse.view(), pulse.past, pulse.live.forecasts, words(language or "en"))

    return wall
