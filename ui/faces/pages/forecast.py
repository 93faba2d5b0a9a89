"""``/forecast``: any forecast with its interval, what had been said before, and how such forecasts came: a chart to play with.

Here Dash earns its weight: zoom, hover and choice of series are its own. Numbers beside the chart come over the push.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from dash import Input, Output, dcc, html
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from analytics.accuracy import Accuracy
from analytics.forecast import Forecast
from twin.errors import SourceError
from twin.frame import Floats
from twin.metrics import suffix
from ui.faces.chart import coarse, with_gaps
from ui.faces.pages.dashed import dash_page
from ui.faces.pages.foreseen import chosen_of, lots, part_of
from ui.faces.pages.markup import fine, listed, number, page_of_panels, panel, text, tile
from ui.faces.pages.texts import Cell, Table, cell, once, plain, row, source
from ui.faces.push import Feed, Pulse
from ui.view import Live, View
from ui.words import Words, words

BACK = timedelta(days=3)
MAX_SERIES = 200
MAX_ROWS = 14
GRAIN_S = 900.0
GAP_S = 3900.0  # what lies by the hour is one line
SERIES, CHART, BEAT = "series-now", "chart", "beat"
LABELS = ()
# plotly draws on a canvas of its own, which no theme reaches: two sets of colours, light for light pages
_DARK = {"ink": "#a5b4c3", "line": "#2a3a48", "measured": "#e6edf3", "forecast": "#6cb4ee", "band": "rgba(108,180,238,.22)"}
_LIGHT = {"ink": "#435363", "line": "#c3ced8", "measured": "#14202b", "forecast": "#0a5c99", "band": "rgba(10,92,153,.18)"}


def add_forecast_page(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page: a Dash app in the shell."""
    feed = Feed(once(lambda view, live: live, told), LABELS, body())
    app = dash_page(server, pulse, "forecast", feed, _inside(), ("pages.js", "dashed.js", "forecast.js"))

    @app.callback(
        Output(CHART, "figure"),
        Input(BEAT, "n_intervals"),
        Input(SERIES, "data"),
        Input("language", "data"),
        Input("theme-now", "data"),
    )
    async def draw(_beats: int | None, chosen: str | None, language: str | None, theme: str | None) -> dict[str, Any]:
        live, now = pulse.live, pulse.live.clock.now()
        said = words(language or "en")
        shown = part_of(live, chosen) or await run_in_threadpool(whole_of, live, chosen, now)
        shown = shown or await run_in_threadpool(whole_of, live, None, now)  # what was chosen is foreseen no more
        one, past = shown or (None, (np.empty(0), np.empty(0)))
        return figure(one, past, now, live.site.timezone, said, theme)


# until the first answer: the page's own ground, and no axes of nothing
_CLEAR = "rgba(0,0,0,0)"
_NOTHING_YET = {"paper_bgcolor": _CLEAR, "plot_bgcolor": _CLEAR, "xaxis": {"visible": False}, "yaxis": {"visible": False}}


def _inside() -> html.Div:
    return html.Div(
        [
            dcc.Store(id=SERIES, data=""),
            dcc.Graph(
                id=CHART,
                figure={"data": [], "layout": _NOTHING_YET},
                responsive=True,
                className="graph",
                config={"displaylogo": False, "scrollZoom": True},
            ),
            dcc.Interval(id=BEAT, interval=20_000),
            dcc.Store(id="language", data="en"),
            dcc.Store(id="theme-now", data="dark"),
        ],
        className="dash-inside",
    )


def body() -> str:
    """The page's places; ``dash`` is where the Dash app lives."""
    span = f'<span class="fine">{number("peak_p10")}<span>–</span>{number("peak_p90")}</span>'
    tiles = [
        tile("peak", "Next peak of IT power", [text("peak_when", "at")], [number("peak_p50")], span),
        tile("mase", "Error over the daily naive's", [], [number("ratio")], fine("MASE", "mase")),
        tile("cover", "Truth inside the 80% interval", [], [number("coverage")], fine("steps judged", "steps")),
        tile("drift", "Drift", [], [number("drift")], fine("series", "count")),
    ]
    leads = ("ahead", ">steps", ">MASE", ">over naive", ">in 80%")
    series = ("series", ">now", ">in 1 h", ">in 24 h", ">MASE", ">in 80%")
    return page_of_panels(
        tiles,
        panel(
            "chart",
            "Forecast with its 80% interval",
            ['<select id="series" aria-label="Choose a series" data-a="Choose a series"></select>'],
            '<div class="fill"><div id="dash">{%app_entry%}</div></div>',
            size="w14 h2",
        ),
        panel(
            "leads",
            "IT power: how forecasts came, by lead",
            [],
            listed("leads", "No forecast was judged yet", leads, "minmax(0,1.3fr) repeat(4, minmax(0,1fr))"),
            size="w10",
        ),
        panel(
            "series",
            "Forecasts",
            [],
            listed("series", "Nothing is foreseen yet", series, "minmax(0,1fr) 7.4rem 4.8rem 4.8rem 3.4rem 4.8rem"),
            size="w10",
        ),
    )


_HIDDEN = {"line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}


def key_of(one: Forecast) -> str:
    """Names a forecast's series."""
    return f"{one.kind}/{one.row}/{one.metric}"


def _name(live: Live, one: Forecast, said: Words) -> str:
    known = {"it_power_w": "IT power", "facility_power_w": "Facility power", "carbon_gco2_per_kwh": "Carbon of the grid"}
    known |= {"price_per_mwh": "Energy price", "wet_bulb_c": "wet bulb", "dry_bulb_c": "Outside air", "power_w": "power"}
    known |= {"gpus_allocated_count": "GPUs allocated", "cooling_power_w": "Cooling power"}
    ids = live.site.ids_of(one.kind)
    asset = ids[one.row] if one.row < len(ids) and one.kind not in ("site", "grid", "weather") else ""
    name = said(known[one.metric]) if one.metric in known else said.metric(one.metric)
    return " ".join(part for part in (asset, name) if part)


def _newest(forecasts: tuple[Forecast, ...]) -> list[Forecast]:
    """The newest of each series, IT power first."""
    newest: dict[str, Forecast] = {}
    for one in forecasts:
        known = newest.get(key_of(one))
        if known is None or one.issued >= known.issued:
            newest[key_of(one)] = one
    return sorted(newest.values(), key=lambda one: (one.metric != "it_power_w", one.kind != "site", key_of(one)))[:MAX_SERIES]


def options_of(live: Live, said: Words) -> list[list[str]]:
    """(key, name) of the forecasts that can be chosen, IT power first."""
    return [[key_of(one), _name(live, one, said)] for one in _newest(live.forecasts)]


def whole_of(live: Live, key: str | None, now: datetime) -> tuple[Forecast, tuple[Floats, Floats]] | None:
    """The forecast that ``key`` names ("" or None: the first) with (time_s, values) of the days before it; None without one."""
    found = next((one for one in _newest(live.forecasts) if not key or key_of(one) == key), None)
    return None if found is None else (found, _past(live, found, now))


def _past(live: Live, one: Forecast, now: datetime) -> tuple[Floats, Floats]:
    """What was measured in the days before, in steps of ``GRAIN_S``; nothing where the store does not answer."""
    rows = np.array([one.row], dtype=np.int32)
    try:
        found = live.store.series(one.kind, (one.metric,), now - BACK, now, GRAIN_S, rows=rows)
    except SourceError:
        return np.empty(0), np.empty(0)
    return with_gaps(*coarse(found.time_s, found.values[one.metric][:, 0], GRAIN_S), GAP_S)


def figure(
    one: Forecast | None, past: tuple[Floats, Floats], now: datetime, timezone: str, said: Words, theme: str | None
) -> dict[str, Any]:
    """A plain plotly figure: measured until now, the median and the 80 % interval ahead; times in the site's zone."""
    ink = _LIGHT if theme == "light" else _DARK
    zone = ZoneInfo(timezone)
    data: list[dict[str, Any]] = []
    unit = ""
    if one is not None:
        top = float(np.nanmax([np.nanmax(one.p90, initial=0.0), np.nanmax(past[1], initial=0.0)]))
        scale, unit = _scale(top, suffix(one.metric), said)
        ahead = _times(one.time_s, zone)
        low = _line(ahead, one.p10 / scale, "p10", ink["band"]) | {
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
        }
        high = low | {
            "y": _plain(one.p90 / scale),
            "fill": "tonexty",
            "fillcolor": ink["band"],
            "name": said("80% interval"),
            "showlegend": True,
        }
        middle = _line(ahead, one.p50 / scale, said("forecast"), ink["forecast"])
        middle["line"] |= {"dash": "dash"}
        data = [low, high, middle, _line(_times(past[0], zone), past[1] / scale, said("measured"), ink["measured"])]
    axis = {"gridcolor": ink["line"], "zeroline": False, "tickfont": {"size": 15, "color": ink["ink"]}}
    axis["visible"] = bool(data)  # an axis of nothing has numbers all the same
    mark = _times(np.array([now.timestamp()]), zone)[0]
    return {
        "data": data,
        "layout": {
            "margin": {"l": 76, "r": 16, "t": 10, "b": 40},
            "paper_bgcolor": _CLEAR, "plot_bgcolor": _CLEAR,
            "font": {"color": ink["ink"], "size": 15}, "hovermode": "x unified",
            "legend": {"orientation": "h", "y": 1.08, "x": 1, "xanchor": "right"},
            "xaxis": axis | {"type": "date", "tickformatstops": _ticks(said)},
            "yaxis": axis | {"ticksuffix": f" {unit}" if unit else ""},
            "shapes": [_rule(mark, ink["ink"])] if data else [],
            "annotations": [] if data else [_nothing(said("Nothing is foreseen yet"), ink["ink"])],
            "uirevision": "same",
        },
    }  # fmt: skip


def _nothing(text: str, colour: str) -> dict[str, Any]:
    middle = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "showarrow": False}
    return middle | {"text": text, "font": {"size": 18, "color": colour}}


def _ticks(said: Words) -> list[dict[str, Any]]:
    """The time and, where it changes, the date in the reader's language: plotly has months in English alone."""
    day = "%-m月%-d日" if said.language == "zh" else "%-d %b"
    return [
        {"dtickrange": [None, 86_400_000], "value": f"%H:%M\n{day}"},
        {"dtickrange": [86_400_000, None], "value": day},
    ]


def _rule(at: str, colour: str) -> dict[str, Any]:
    return {"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": colour}}


def _scale(top: float, unit: str, said: Words) -> tuple[float, str]:
    shown = said.quantity(top, unit)
    factor = {"k": 1e3, "M": 1e6, "G": 1e9}.get(shown.unit[:1], 1.0) if unit in ("w", "bps", "j", "hz", "pa") else 1.0
    return (0.01, "%") if unit == "frac" else (factor, shown.unit)


def _line(times: list[str], values: Floats, name: str, colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": times,
        "y": _plain(values),
        "name": name,
        "line": {"color": colour, "width": 2.5},
    }


def _plain(values: Floats) -> list[float | None]:
    return [None if value != value else round(value, 4) for value in values.tolist()]


def _times(time_s: Floats, zone: ZoneInfo) -> list[str]:
    """Local times without a zone: plotly draws what it is given."""
    return [datetime.fromtimestamp(t, UTC).astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S") for t in time_s.tolist()]


def told(live: Live, view: View, words: Words) -> Table:
    """The numbers beside the chart."""
    peak, zone = view.peak, ZoneInfo(view.timezone)
    judged = live.accuracy.get(("site", 0, "it_power_w"))
    found = _newest(live.forecasts)
    drift = judged.drift if judged else np.nan
    said = source(words, [peak.p50])
    return {
        "n.peak_p50": cell(words, peak.p50),
        "n.peak_p10": cell(words, peak.p10),
        "n.peak_p90": cell(words, peak.p90),
        "t.peak_when": words.clock(peak.time, zone) if peak.time else "",
        "n.ratio": plain(words, judged.vs_naive_ratio if judged else np.nan, "ratio"),
        "n.mase": plain(words, judged.mase if judged else np.nan, "ratio"),
        "n.coverage": plain(words, judged.coverage_80_frac if judged else np.nan, "frac"),
        "n.steps": plain(words, judged.steps if judged else np.nan, "count"),
        "n.drift": plain(words, drift, "ratio", "warning" if drift >= 1 else ""),
        "n.count": plain(words, len(found) + sum(len(one.names) for one in live.parts), "count"),
        "options": options_of(live, words) + chosen_of(live, words),
        "l.leads": _leads(judged, words),
        "l.series": [
            *(_series(live, one, view.time, words) for one in found[: MAX_ROWS - len(live.parts)]),
            *lots(live.parts, view.time.timestamp(), words),
        ],
        **{f"p.{name}": said for name in ("peak", "mase", "cover", "drift", "chart", "leads", "series")},
    }


def _leads(judged: Accuracy | None, words: Words) -> list[Cell]:
    if judged is None:
        return []
    made = []
    for one in judged.by_lead:
        name = f"{words.quantity(one.from_s, 's')} – {words.quantity(one.to_s, 's')}"
        cells = [plain(words, one.steps, "count"), plain(words, one.mase, "ratio"), plain(words, one.vs_naive_ratio, "ratio")]
        made.append(row("", [name, *cells, plain(words, one.coverage_80_frac, "frac")]))
    return made


def _series(live: Live, one: Forecast, now: datetime, words: Words) -> Cell:
    unit, now_s = suffix(one.metric), now.timestamp()

    def ahead(hours: float) -> float:
        i = int(np.searchsorted(one.time_s, now_s + hours * 3600.0, side="right")) - 1
        return float(one.p50[i]) if 0 <= i < len(one.p50) else np.nan

    judged = live.accuracy.get((one.kind, one.row, one.metric))
    present = live.state.one(one.kind, one.metric, now, one.row)
    cells = [plain(words, value, unit) for value in (present, ahead(1), ahead(24))]
    if cells[0]["f"] == "ok" and "/" in cells[0]["u"]:  # a long unit is said once: it takes no prefix
        cells = [cells[0], *({**one, "u": ""} for one in cells[1:])]
    cells += [plain(words, judged.mase if judged else np.nan, "ratio")]
    cells += [plain(words, judged.coverage_80_frac if judged else np.nan, "frac")]
    return row("", [_name(live, one, words), *cells])
