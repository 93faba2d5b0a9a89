"""A picture of a series for a page: the last hours of what the alert is about, with its limit, as a small PNG."""

import io
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from twin.frame import Floats
from ui.words import Words

WIDTH_PX, HEIGHT_PX = 560, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 14, 30, 26
_PAPER, _INK, _GRID, _LINE, _LIMIT, _FROM = "#ffffff", "#30363d", "#e3e6ea", "#1f6feb", "#cf222e", "#9a6700"
_TICKS = 4


def picture(
    title: str, time_s: Floats, value: Floats, limit: float, since_s: float, unit: str, words: Words, timezone: str
) -> bytes | None:
    """PNG of ``value`` (float64[t], NaN: a gap) over ``time_s`` (s since 1970); ``limit`` (NaN: none) as a line across and the
    alert's beginning as one down; None where there are not two values to draw. ``unit``: a suffix as in ``twin.metrics``."""
    known = np.isfinite(value)
    if np.count_nonzero(known) < 2 or time_s[-1] <= time_s[0]:
        return None
    shown = np.append(value[known], limit) if np.isfinite(limit) else value[known]
    low, high = float(shown.min()), float(shown.max())
    pad = 0.08 * (high - low) or abs(high) * 0.05 or 1.0
    low, high = low - pad, high + pad
    image = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), _PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    x = _LEFT + (time_s - time_s[0]) / (time_s[-1] - time_s[0]) * (WIDTH_PX - _LEFT - _RIGHT)
    down = HEIGHT_PX - _TOP - _BOTTOM

    def height(number: float | Floats) -> Floats:
        return _TOP + (high - np.asarray(number)) / (high - low) * down

    draw.text((_LEFT, 8), title.encode("latin-1", "replace").decode("latin-1"), fill=_INK, font=ImageFont.load_default(13))
    for level in np.linspace(low + pad, high - pad, _TICKS).tolist():
        y = float(height(level))
        draw.line([(_LEFT, y), (WIDTH_PX - _RIGHT, y)], fill=_GRID)
        label = str(words.quantity(level, unit)).replace("\u202f", " ")
        draw.text((_LEFT - 6, y), label, fill=_INK, font=font, anchor="rm")
    zone = ZoneInfo(timezone)
    for i in np.linspace(0, len(time_s) - 1, 5).astype(int).tolist():
        when = words.clock(datetime.fromtimestamp(float(time_s[i]), UTC), zone)
        draw.text((float(x[i]), HEIGHT_PX - 8), when, fill=_INK, font=font, anchor="ms" if 0 < i < len(time_s) - 1 else "ls")
    if time_s[0] <= since_s <= time_s[-1]:
        at = _LEFT + (since_s - time_s[0]) / (time_s[-1] - time_s[0]) * (WIDTH_PX - _LEFT - _RIGHT)
        draw.line([(at, _TOP), (at, HEIGHT_PX - _BOTTOM)], fill=_FROM)
    if np.isfinite(limit):
        y = float(height(limit))
        draw.line([(_LEFT, y), (WIDTH_PX - _RIGHT, y)], fill=_LIMIT, width=2)
    for start, end in _runs(known):
        points = list(zip(x[start:end].tolist(), height(value[start:end]).tolist(), strict=True))
        draw.line(points if len(points) > 1 else points * 2, fill=_LINE, width=2)
    made = io.BytesIO()
    image.quantize(32).save(made, "PNG", optimize=True)
    return made.getvalue()


def _runs(known: np.ndarray) -> list[tuple[int, int]]:
    """``[start, end)`` of each stretch of values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], known.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
