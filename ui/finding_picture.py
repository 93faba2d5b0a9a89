"""What a detector found, or did not find, as one SVG picture: the readings, when the fault began, when it was found. No
library, no script; as forecasts are drawn."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from twin.frame import Floats
from ui.forecast_picture import DIM, GRID, HIGH, INK, LEFT, LOW, RIGHT, TOP, WIDE, Scale, across, line
from ui.words import Words

COLOURS = (INK, "#6cb4ee", "#8b949e")  # of the lines, in their order
_MARK, _ALARM = "#f0b429", "rgba(240,100,80,.28)"
_STEPS_S = (60.0, 300.0, 900.0, 1800.0, 3600.0, 10800.0, 21600.0, 86400.0)
MOST_POINTS = 20_000  # of a line; of a longer one every second, third, … is drawn


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """``said``: sentences under the title; ``unit``: as in ``twin.metrics.UNITS``, "" for a bare number; ``time_s``:
    float64[n], s since 1970; ``lines``: label -> float64[n], NaN where nothing was read, the asset's own first; ``marks``:
    label -> s since 1970; ``alarms``: (from, to) in s since 1970, shaded."""

    title: str
    said: Sequence[str]
    unit: str
    time_s: Floats
    lines: Mapping[str, Floats]
    marks: Mapping[str, float]
    alarms: Sequence[tuple[float, float]] = ()


def finding_svg(w: Words, one: Drawn, zone: ZoneInfo) -> str:
    """The picture; at most three lines are told apart by colour. Times are of ``zone``."""
    every = max(1, -(-len(one.time_s) // MOST_POINTS))
    time_s, lines = one.time_s[::every], {label: values[::every] for label, values in one.lines.items()}
    scale = _scale(time_s, list(lines.values()))
    head = [
        f'<text x="14" y="{16 + 17 * i}" fill="{DIM if i else INK}" font-size="{13 if i else 16}">{html.escape(text)}</text>'
        for i, text in enumerate([one.title, *one.said])
    ]
    shades = [
        f'<path fill="{_ALARM}" d="M{scale.x(a):.1f} {TOP:g}H{scale.x(b):.1f}V{HIGH - LOW:g}H{scale.x(a):.1f}Z"/>'
        for a, b in one.alarms
    ]
    drawn = [
        line(scale, time_s, values, colour)
        for values, colour in reversed([*zip(lines.values(), COLOURS, strict=False)])  # its own above the others
    ]
    label = html.escape(f"{one.title}: {', '.join(lines)}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE:g} {HIGH:g}" role="img" aria-label="{label}" '
        f'font-family="system-ui,sans-serif"><rect width="100%" height="100%" fill="#0d1117"/>{"".join(head)}'
        f"{''.join([*across(w, scale, one.unit), *_clock(w, scale, zone), *shades, *drawn, *_marks(scale, one.marks)])}"
        f"{''.join(_legend(list(lines)))}</svg>\n"
    )


def _scale(time_s: Floats, lines: Sequence[Floats]) -> Scale:
    known = np.concatenate([values[np.isfinite(values)] for values in lines]) if lines else np.empty(0)
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    room = (high - low) * 0.06 or max(abs(high), 1.0) * 0.1
    return Scale(float(time_s[0]), float(time_s[-1]) + 1.0, low - room, high + room)


def _clock(w: Words, scale: Scale, zone: ZoneInfo) -> list[str]:
    """A line at round times, some six of them."""
    span_s = scale.end_s - scale.begin_s
    step_s = next((step for step in _STEPS_S if span_s / step <= 8), span_s / 6)
    at = datetime.fromtimestamp(np.ceil(scale.begin_s / step_s) * step_s, UTC)
    found = []
    while at.timestamp() < scale.end_s:
        x = scale.x(at.timestamp())
        text = html.escape(w.day(at, zone) if step_s >= 86400 else w.clock(at, zone))
        found.append(f'<path stroke="{GRID}" d="M{x:.1f} {TOP:g}V{HIGH - LOW:g}"/>')
        found.append(f'<text x="{x:.1f}" y="{HIGH - 22:g}" fill="{DIM}" font-size="13" text-anchor="middle">{text}</text>')
        at += timedelta(seconds=step_s)
    return found


def _marks(scale: Scale, marks: Mapping[str, float]) -> list[str]:
    """A line at each, its label beside it, one below the other."""
    found = []
    for i, (label, at_s) in enumerate(sorted(marks.items(), key=lambda mark: mark[1])):
        x = scale.x(min(max(at_s, scale.begin_s), scale.end_s))
        left = x > 0.8 * WIDE
        found.append(f'<path stroke="{_MARK}" stroke-dasharray="4 3" d="M{x:.1f} {TOP:g}V{HIGH - LOW:g}"/>')
        found.append(
            f'<text x="{x - 6 if left else x + 6:.1f}" y="{TOP + 18 + 18 * i:g}" fill="{_MARK}" font-size="13" '
            f'text-anchor="{"end" if left else "start"}">{html.escape(label)}</text>'
        )
    return found


def _legend(labels: Sequence[str]) -> list[str]:
    each = (WIDE - LEFT - RIGHT) / max(len(labels), 1)
    return [
        f'<text x="{LEFT + each * i:.1f}" y="{HIGH - 5:g}" fill="{colour}" font-size="13">▬ {html.escape(label)}</text>'
        for i, (label, colour) in enumerate(zip(labels, COLOURS, strict=False))
    ]
