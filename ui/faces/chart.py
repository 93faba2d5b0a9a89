"""The chart of IT power: the last day as it was, the next as it is expected with its 80 % interval. A plain plotly figure."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from analytics.forecast import Forecast
from twin.frame import Floats
from ui.past import STEP_S, Past
from ui.view import View
from ui.words import Words

MEASURED, EXPECTED, BAND, INK, LINE = "#d9e2ec", "#6cb4ee", "rgba(108,180,238,0.20)", "#8fa1b3", "#233040"
FONTS = 'Inter, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif'
AHEAD_S = 24 * 3600.0
MIN_BACK_S = 3600.0
MAX_GAP_S = 1800.0  # what lies farther apart is not joined by a line


def power_chart(view: View, past: Past | None, forecasts: tuple[Forecast, ...], words: Words) -> dict[str, Any]:
    """Figure of ``site.it_power_w`` in MW or kW; times in the site's zone."""
    zone, now_s = ZoneInfo(view.timezone), view.time.timestamp()
    time_s, power_w = _until_now(view, past, now_s)
    mine = [f for f in forecasts if (f.kind, f.metric) == ("site", "it_power_w")]
    ahead = max(mine, key=lambda forecast: forecast.issued, default=None)
    top = max([float(np.nanmax(power_w, initial=0.0)), *([float(ahead.p90.max())] if ahead is not None else [])])
    scale, unit = (1e6, "MW") if top >= 1e6 else (1e3, "kW") if top >= 1e3 else (1.0, "W")
    start_s = min(float(time_s[0]) if len(time_s) else now_s, now_s - MIN_BACK_S)
    end_s = now_s + (AHEAD_S if ahead is not None else 600.0)
    data = [_line(_times(time_s, zone), power_w / scale, words("measured"), MEASURED)]
    if ahead is not None:
        data = [*_expected(ahead, now_s, scale, zone, words), *data]
    return {"data": data, "layout": _layout(unit, _times(np.array([start_s, now_s, end_s]), zone), top > 0)}


def _until_now(view: View, past: Past | None, now_s: float) -> tuple[Floats, Floats]:
    """The day's steps and, at its end, the reading of now where there is a fresh one."""
    time_s, power_w = (past.time_s, past.it_power_w) if past else (np.empty(0), np.empty(0))
    known = np.isfinite(power_w)
    time_s, power_w = time_s[known], power_w[known]
    now = view.centre.it_power
    if now.fresh:
        time_s, power_w = np.append(time_s, now_s), np.append(power_w, now.value)
    breaks = np.flatnonzero(np.diff(time_s) > MAX_GAP_S) + 1
    return np.insert(time_s, breaks, time_s[breaks - 1] + STEP_S), np.insert(power_w, breaks, np.nan)


def _expected(ahead: Forecast, now_s: float, scale: float, zone: ZoneInfo, words: Words) -> list[dict[str, Any]]:
    take = (ahead.time_s >= now_s - 3600.0) & (ahead.time_s < now_s + AHEAD_S)
    times = _times(ahead.time_s[take], zone)
    low = _line(times, ahead.p10[take] / scale, "p10", BAND) | {"line": {"width": 0}, "hoverinfo": "skip"}
    high = low | {"y": _values(ahead.p90[take] / scale), "fill": "tonexty", "fillcolor": BAND, "name": words("80% interval")}
    middle = _line(times, ahead.p50[take] / scale, words("forecast"), EXPECTED)
    middle["line"] |= {"dash": "4px,3px"}
    return [low, high, middle]


def _line(times: list[str], values: Floats, name: str, colour: str) -> dict[str, Any]:
    line = {"color": colour, "width": 2.5}
    return {"type": "scatter", "mode": "lines", "x": times, "y": _values(values), "name": name, "line": line}


def _values(values: Floats) -> list[float | None]:
    return [None if value != value else round(value, 4) for value in values.tolist()]


def _times(time_s: Floats, zone: ZoneInfo) -> list[str]:
    """Local times without a zone: plotly draws what it is given."""
    return [datetime.fromtimestamp(t, UTC).astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S") for t in time_s.tolist()]


def _layout(unit: str, times: list[str], known: bool) -> dict[str, Any]:
    start, now, end = times
    axis = {"gridcolor": LINE, "zeroline": False, "fixedrange": True, "tickfont": {"size": 14, "color": INK}}
    return {
        "margin": {"l": 56, "r": 12, "t": 8, "b": 30},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONTS, "color": INK},
        "showlegend": False,
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "#101922", "bordercolor": LINE, "font": {"size": 14}},
        "xaxis": axis
        | {
            "type": "date",
            "range": [start, end],
            "showgrid": False,
            "tickformat": "%H:%M",
            "nticks": 9,
            "tickangle": 0,
            "tickfont": {"size": 12, "color": INK},
        },
        "yaxis": axis | {"ticksuffix": f" {unit}", "nticks": 6, "visible": known},
        "shapes": [
            {"type": "line", "x0": now, "x1": now, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": INK, "width": 1}}
        ],
        "uirevision": "same",
    }
