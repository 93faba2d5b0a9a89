"""A forecast as one SVG picture: what was measured, the median ahead with its 80 % interval, local time and unit. No library,
no script, the same on a page, in a report and in a file."""

import html
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from analytics.forecast import Forecast
from twin.frame import Floats
from ui.words import Words

WIDE, HIGH, LEFT, RIGHT, TOP, LOW = 1000.0, 360.0, 90.0, 20.0, 64.0, 40.0
INK, DIM, GRID = "#e6edf3", "#8b949e", "#2a3a48"
_MEASURED, _FORECAST, _BAND = "#e6edf3", "#6cb4ee", "rgba(108,180,238,.25)"
_ROWS = 4  # lines across
MAX_POINTS = 4000  # of the past; older ones are not drawn


@dataclass(frozen=True, slots=True)
class Scale:
    """Where on a picture a time (s since 1970) and a value stand."""

    begin_s: float
    end_s: float
    low: float
    high: float

    def x(self, time_s: float) -> float:
        """To the right of the picture's edge."""
        return LEFT + (time_s - self.begin_s) / (self.end_s - self.begin_s) * (WIDE - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Down from its top."""
        return TOP + (self.high - value) / (self.high - self.low) * (HIGH - TOP - LOW)


def forecast_svg(w: Words, title: str, unit: str, one: Forecast, past: tuple[Floats, Floats], zone: ZoneInfo) -> str:
    """The picture; ``past``: (time_s, values), float64[n] each, NaN where nothing was measured; ``unit``: as in
    ``twin.metrics.UNITS``, "" for a bare number; times are of ``zone``."""
    time_s, values = past[0][-MAX_POINTS:], past[1][-MAX_POINTS:]
    scale = _scale(one, time_s, values)
    head = html.escape(title)
    score = f"{w('80% interval')}: {w.quantity(one.score.coverage_80_frac, 'frac')}  MASE {w.quantity(one.score.mase, 'ratio')}"
    notes = html.escape("; ".join(w.sentence(note) for note in one.notes))
    parts = [
        f'<text x="14" y="28" fill="{INK}" font-size="18">{head}</text>',
        f'<text x="{WIDE - RIGHT:g}" y="28" fill="{DIM}" font-size="14" text-anchor="end">{html.escape(score)}</text>',
        f'<text x="14" y="50" fill="{DIM}" font-size="13">{notes}</text>',
        *across(w, scale, unit),
        *_days(w, scale, zone),
        f'<path fill="{_BAND}" d="{_area(scale, one)}"/>',
        line(scale, time_s, values, _MEASURED),
        line(scale, one.time_s, one.p50, _FORECAST, ' stroke-dasharray="6 3"'),
        _rule(scale, one.issued.timestamp()),
    ]
    label = html.escape(f"{title}: {w('measured')}, {w('forecast')}, {w('80% interval')}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE:g} {HIGH:g}" role="img" aria-label="{label}" '
        f'font-family="system-ui,sans-serif"><rect width="100%" height="100%" fill="#0d1117"/>{"".join(parts)}</svg>\n'
    )


def _scale(one: Forecast, time_s: Floats, values: Floats) -> Scale:
    known = np.concatenate([one.p10, one.p90, values[np.isfinite(values)]])
    low, high = float(np.nanmin(known)), float(np.nanmax(known))
    room = (high - low) * 0.06 or max(abs(high), 1.0) * 0.1
    begin_s = float(time_s[0]) if len(time_s) else float(one.time_s[0]) - one.step_s
    return Scale(begin_s, float(one.time_s[-1]) + one.step_s, low - room, high + room)


def across(w: Words, scale: Scale, unit: str) -> list[str]:
    """Lines of equal value with their labels."""
    found = []
    for value in _round_numbers(scale.low, scale.high):
        y = scale.y(value)
        text = html.escape(str(w.quantity(value, unit)) if unit else f"{value:.4g}")
        found.append(f'<path stroke="{GRID}" d="M{LEFT:g} {y:.1f}H{WIDE - RIGHT:g}"/>')
        found.append(f'<text x="{LEFT - 8:g}" y="{y + 5:.1f}" fill="{DIM}" font-size="14" text-anchor="end">{text}</text>')
    return found


def _round_numbers(low: float, high: float) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten, some ``_ROWS`` of them."""
    raw = (high - low) / _ROWS
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(power * next(nice for nice in (1.0, 2.0, 2.5, 5.0, 10.0) if nice * power >= raw))
    return [k * step for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _days(w: Words, scale: Scale, zone: ZoneInfo) -> list[str]:
    """A line at each local midnight, every few days where there are many."""
    day = datetime.fromtimestamp(scale.begin_s, UTC).astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    every = max(1, round((scale.end_s - scale.begin_s) / 86400 / 8))
    found = []
    for _ in range(40):
        day += timedelta(days=every)
        if day.timestamp() >= scale.end_s:
            break
        x = scale.x(day.timestamp())
        found.append(f'<path stroke="{GRID}" d="M{x:.1f} {TOP:g}V{HIGH - LOW:g}"/>')
        text = html.escape(w.day(day, zone))
        found.append(f'<text x="{x:.1f}" y="{HIGH - 14:g}" fill="{DIM}" font-size="14" text-anchor="middle">{text}</text>')
    return found


def _area(scale: Scale, one: Forecast) -> str:
    up = [f"{scale.x(t):.1f} {scale.y(v):.1f}" for t, v in zip(one.time_s.tolist(), one.p90.tolist(), strict=True)]
    down = [f"{scale.x(t):.1f} {scale.y(v):.1f}" for t, v in zip(one.time_s.tolist(), one.p10.tolist(), strict=True)]
    return f"M{'L'.join(up)}L{'L'.join(reversed(down))}Z"


def line(scale: Scale, time_s: Floats, values: Floats, colour: str, more: str = "") -> str:
    """A line, broken where nothing is known."""
    words, pen = [], "M"
    for t, value in zip(time_s.tolist(), values.tolist(), strict=True):
        if not np.isfinite(value):
            pen = "M"
            continue
        words.append(f"{pen}{scale.x(t):.1f} {scale.y(value):.1f}")
        pen = "L"
    return f'<path fill="none" stroke="{colour}" stroke-width="2"{more} d="{"".join(words)}"/>'


def _rule(scale: Scale, now_s: float) -> str:
    """Where the forecast was issued."""
    x = scale.x(min(max(now_s, scale.begin_s), scale.end_s))
    return f'<path stroke="{DIM}" d="M{x:.1f} {TOP:g}V{HIGH - LOW:g}"/>'
