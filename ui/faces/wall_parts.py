"""The pieces of the wall's page. They hold places for numbers, never numbers: ``assets/wall.js`` fills them from the push.

``data-t`` marks a text to translate (its English is the key), ``data-n``, ``data-x`` and ``data-l`` a number, a text and a
list of the push (see ``ui.faces.wall_text``), ``data-m`` how many of a list's rows did not fit.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

LANGUAGE, BEAT, CHART = "language", "beat", "chart"  # ids that callbacks name


def data(**names: str) -> dict[str, Any]:
    """Attributes by which the page's script finds an element."""
    return {f"data-{name}": value for name, value in names.items()}


def say(text: str, name: str = "label") -> Component:
    """A text that the page translates."""
    return html.Span(text, className=name, **data(t=text))


def number(key: str, name: str = "") -> Component:
    """A place for a number of the push, with its unit and, where it is stale, its age."""
    return html.Span("–", className=f"number {name}".strip(), **data(n=key))


def text(key: str, name: str = "") -> Component:
    """A place for a text of the push."""
    return html.Span(className=name, **data(x=key))


def rows(key: str, empty: str, heads: tuple[str, ...] = ()) -> Component:
    """A place for a list of the push under its column heads, and what stands there while it is empty ("": no list at all)."""
    parts: list[Component] = []
    if heads:
        parts.append(html.Div([say(head) if head else html.Span() for head in heads], className="heads"))
    parts.append(html.Div(className="rows", **data(l=key)))
    if empty:
        parts.append(html.Div(say(empty), className="empty"))
    return html.Div(parts, className=f"list list-{key}")


def more(key: str) -> Component:
    """A place for how many rows of a list did not fit."""
    return html.Span(className="more", **data(m=key))


def fine(label: str, key: str, name: str = "") -> Component:
    """A small number under a large one, with its label."""
    return html.Span([say(label), number(key)], className=f"fine {name}".strip())


def tile(name: str, label: str, aside: Sequence[Component], big: Sequence[Component], *under: Component) -> Component:
    """One of the large numbers, with a small one beside its title and some under it."""
    head = html.Div([say(label), html.Div(list(aside), className="aside")], className="head")
    return html.Div(
        [head, html.Div(list(big), className="big"), html.Div(list(under), className="under")], className=f"tile tile-{name}"
    )


def panel(name: str, title: str, aside: Sequence[Component], *inside: Component) -> Component:
    """A framed part of the page."""
    head = html.Div([html.H2(title, **data(t=title)), html.Div(list(aside), className="aside")], className="head")
    return html.Section([head, *inside], className=f"panel panel-{name}")


def header() -> Component:
    """Title bar: whose centre, how icctwin does, what time it is there, which language."""
    languages = [html.Button(name, className="language", lang=code, **data(lang=code)) for code, name in _LANGUAGES]
    return html.Header(
        [
            html.H1(text("site")),
            html.Span("icctwin", className="product"),
            text("badge", "badge"),
            html.Span(className="lost", role="alert", **data(lost="")),
            text("notice", "notice"),
            html.Div(className="health", **data(l="health")),
            html.Div(languages, className="languages"),
            html.Div([text("day", "day"), text("clock", "clock")], className="time"),
        ]
    )


_LANGUAGES = (("en", "EN"), ("zh", "中文"))


def hero() -> Component:
    """The large numbers."""
    of = html.Span(["/", number("gpus_total")], className="of")
    marks = [
        html.Span([html.I("▲"), number("alerts_critical")], className="mark critical"),
        html.Span([html.I("◆"), number("alerts_warning")], className="mark warning"),
        html.Span([html.I("●"), number("alerts_info")], className="mark info"),
    ]
    span = html.Span([say("80% between"), number("peak_p10"), html.Span("–"), number("peak_p90")], className="fine")
    gpus = [fine("idle", "gpus_idle"), fine("unhealthy", "gpus_unhealthy"), fine("silent", "gpus_silent")]
    return html.Div(
        [
            tile(
                "it", "IT power", [], [number("it_power")], fine("facility", "facility_power"), fine("cooling", "cooling_power")
            ),
            tile("pue", "PUE", [fine("24 h", "pue_day")], [number("pue")], fine("wet bulb", "wet_bulb")),
            tile("gpus", "GPUs allocated", [fine("busy", "gpus_util")], [number("gpus_allocated"), of], *gpus),
            tile("carbon", "Carbon", [fine("price", "price")], [number("carbon_rate")], fine("grid", "carbon_intensity")),
            tile("peak", "Next peak", [text("peak_time", "at")], [number("peak_p50")], span),
            tile("alerts", "Alerts", [], marks, fine("hottest GPU", "gpus_hottest")),
        ],
        className="hero",
    )


def body() -> Component:
    """The panels."""
    switch = html.Div(
        [html.Button("GPU °C", **data(map="temp")), html.Button("load %", **data(map="load", t="load %"))],
        className="switch",
    )
    chart = dcc.Graph(
        id=CHART,
        figure={"data": [], "layout": {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}},
        config={"displayModeBar": False, "responsive": True, "scrollZoom": False, "doubleClick": False},
        responsive=True,
        className="chart",
    )
    jobs = [fine("running", "jobs_running"), fine("waiting", "jobs_waiting")]
    machine_heads = ("machine", "CPU", "memory", "", "load", "network in", "network out")
    rack_heads = ("rack", "GPU", "supply", "return", "power", "load")
    return html.Main(
        [
            panel(
                "hall",
                "Hall",
                [html.Div(className="scale", id="scale"), switch],
                html.Div(id="hall", className="fill"),
                rows("machines", "", machine_heads),
            ),
            panel("flow", "Power", [], html.Div(id="flow", className="fill")),
            panel("alerts", "Alerts", [], rows("alerts", "No alert is firing")),
            panel("chart", "IT power: last and next 24 h", [], chart),
            panel("racks", "Hottest racks", [], rows("racks", "No rack in this site", rack_heads)),
            panel("jobs", "Jobs", jobs, rows("jobs", "No job is running", ("job", "name", "user", "GPUs", "for"))),
            html.Div(
                [
                    panel(
                        "sources",
                        "Sources",
                        [more("sources")],
                        rows("sources", "No source", ("source", "state", "poll", "errors")),
                    ),
                    panel("plans", "Plans", [], rows("plans", "Nothing to propose")),
                ],
                className="stack",
            ),
        ]
    )


def layout() -> Component:
    """The whole page."""
    return html.Div(
        [
            header(),
            hero(),
            body(),
            dcc.Store(id=LANGUAGE, data="en"),
            dcc.Interval(id=BEAT, interval=20_000),
        ],
        id="wall",
        className="waiting",
    )


# What the page says by itself: names of what it draws, and what is wrong when nobody tells it anything more.
SCRIPT_LABELS = (
    "Connecting …",
    "Connection lost: numbers are {n} s old",
    "Grid",
    "Transformer",
    "UPS",
    "IT",
    "Cooling",
    "Losses",
    "model",
    "measured",
    "modelled",
    "loss",
    "silent",
    "No rack in this site",
    "+{n} more",
)


def labels() -> tuple[str, ...]:
    """Every text that the page translates by itself."""
    return tuple(dict.fromkeys([*_marked(layout()), *SCRIPT_LABELS]))


def _marked(component: Any) -> Iterator[str]:
    if isinstance(component, Component):
        if hasattr(component, "data-t"):
            yield getattr(component, "data-t")
        children = getattr(component, "children", None)
        for child in children if isinstance(children, list) else [children]:
            yield from _marked(child)
