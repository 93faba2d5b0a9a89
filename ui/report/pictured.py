"""The words on a picture and the bar of its colours, as SVG: the same on the page and in the PDF."""

import html
from collections.abc import Iterator

from ui.report.charts import CHARACTER, WIDE, svg
from ui.report.document import Picture
from ui.report.show import Show
from ui.scene.ramps import VIRIDIS

BAR_WIDE, BAR_HIGH, FOOT = 300.0, 9.0, 34.0  # the bar of colours, and what stands under a picture
NAME_TOP, NAME_HIGH = 6.0, 17.0  # of a name: over all that is drawn, so that it hides nothing
MOST_PARTS = 5  # of the bar, between the values that are told
QUIET, MARK = "#c9d0d7", "#b3261e"  # of what tells nothing; of what is pointed at


def picture_svg(picture: Picture, show: Show) -> str:
    """The drawing, the name of what it points at, and under it the bar of its colours with its ends."""
    parts = [picture.drawing, *_pin(picture, show), *_bar(picture, show)]
    return svg(show.words.sentence(picture.alt), picture.height_px + FOOT, parts)


def _pin(picture: Picture, show: Show) -> Iterator[str]:
    pin = picture.pin
    said = f"{pin.name} · {show.value(pin.value, picture.scale.unit)}"
    wide = 12 + CHARACTER * sum(1 if letter.isascii() else 1.6 for letter in said)
    left, low = min(max(pin.x - wide / 2, 1.0), WIDE - wide - 1), NAME_TOP + NAME_HIGH
    box = f'x="{left:.1f}" y="{NAME_TOP}" width="{wide:.1f}" height="{NAME_HIGH}" rx="2"'
    yield f'<line x1="{pin.x:.1f}" y1="{low}" x2="{pin.x:.1f}" y2="{pin.y:.1f}" stroke="{MARK}" stroke-width="1.2"/>'
    yield f'<circle cx="{pin.x:.1f}" cy="{pin.y:.1f}" r="2" fill="{MARK}"/>'
    yield f'<rect {box} fill="#fff" stroke="{MARK}" stroke-width="0.8"/>'
    yield f'<text x="{left + wide / 2:.1f}" y="{low - 4.5}" text-anchor="middle" fill="#222">{html.escape(said)}</text>'


def _bar(picture: Picture, show: Show) -> Iterator[str]:
    """The scale's colours from ``low`` to ``high``, its ends and round values told; before it the metric's name."""
    scale, y = picture.scale, picture.height_px + 6
    name = f"hot-{picture.key}"
    stops = "".join(f'<stop offset="{k / (len(VIRIDIS) - 1):g}" stop-color="{tone}"/>' for k, tone in enumerate(VIRIDIS))
    left = (WIDE - BAR_WIDE) / 2
    yield f'<defs><linearGradient id="{name}">{stops}</linearGradient></defs>'
    yield f'<rect x="{left}" y="{y:.1f}" width="{BAR_WIDE}" height="{BAR_HIGH}" fill="url(#{name})"/>'
    metric = html.escape(show.words.metric(scale.metric))
    yield f'<text x="{left - 10}" y="{y + 8:.1f}" text-anchor="end" fill="#222">{metric}</text>'
    parts = max(n for n in range(1, MOST_PARTS + 1) if scale.steps % n == 0)
    for part in (k / parts for k in range(parts + 1)):
        x = left + part * BAR_WIDE
        said = html.escape(show.value(scale.low + part * (scale.high - scale.low), scale.unit))
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y + BAR_HIGH:.1f}" y2="{y + BAR_HIGH + 3:.1f}" stroke="#888"/>'
        yield f'<text x="{x:.1f}" y="{y + 23:.1f}" text-anchor="middle" fill="#444">{said}</text>'
    if scale.silent:
        x = left + BAR_WIDE + 24
        yield f'<rect x="{x}" y="{y:.1f}" width="12" height="{BAR_HIGH}" fill="{QUIET}"/>'
        yield f'<text x="{x + 17}" y="{y + 8:.1f}" fill="#222">{html.escape(show.words("not read, or no rack"))}</text>'
