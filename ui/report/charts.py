"""Charts as SVG text: lines, bars and flows, the same on the page and in the PDF. Vector, no script, no font of their own."""

import html
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np

from twin.frame import Floats
from twin.message import Message
from ui.report.document import Chart, Flow
from ui.report.show import Show

WIDE, HIGH = 720.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 92.0, 8.0, 24.0, 24.0
TONES = {"measured": "#1f6f8b", "accent": "#c2571a", "forecast": "#6a4c93", "warn": "#b8860b", "stale": "#8a8f98"}
FLOW_HIGH, FLOW_GAP, FLOW_RIGHT, BAR, LINE_HIGH = 190.0, 14.0, 130.0, 10.0, 12.0  # of a flow: stations, lines of names beside
MAX_POINTS = 1400  # of a line; more cannot be seen
FLAT_FRAC = 0.03  # of a line's height, above and below it: what hardly moves gets an axis of values that read differently
CHARACTER = 7.0  # at most so wide
DOT = 1.6
WARM = ("Cooling", "loss", "Heat", "Chillers")  # in the name of a station: it has to do with heat
_STYLE = 'font-family="Noto Sans, DejaVu Sans, Noto Sans CJK SC, sans-serif" font-size="11"'


def chart_svg(chart: Chart, show: Show, zone: ZoneInfo) -> str:
    """One chart with axes, its lines named above it."""
    low, high = _span(chart)
    edge = float(np.median(np.diff(chart.x))) / 2 if chart.kind == "bar" and len(chart.x) > 1 else 0.0
    first, last = float(chart.x[0]) - edge, float(chart.x[-1]) + edge
    last = last if last > first else first + 1.0

    def x_at(x: Floats) -> Floats:
        return LEFT + (x - first) / (last - first) * (WIDE - LEFT - RIGHT)

    def y_at(y: Floats) -> Floats:
        return TOP + (high - y) / (high - low) * (HIGH - TOP - BOTTOM)

    parts = [*_y_axis(chart, show, low, high, y_at), *_x_axis(chart, show, zone, first, last, x_at)]
    for i, line in enumerate(chart.lines):
        tone = TONES.get(line.tone, TONES["measured"])
        parts += _bars(x_at(chart.x), y_at(line.y), y_at(np.array([max(low, 0.0)]))[0], tone) if chart.kind == "bar" else [
            _path(x_at(chart.x), y_at(line.y), tone)]  # fmt: skip
        parts.append(_legend(show.words(line.label), i, tone))
    if chart.limit == chart.limit:
        y, said = (
            float(y_at(np.array([chart.limit]))[0]),
            html.escape(f"{show.words('limit')} {show.value(chart.limit, chart.unit)}"),
        )
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#b3261e" stroke-dasharray="6 4"/>'
        )
        parts.append(f'<text x="{WIDE - RIGHT}" y="{y - 4:.1f}" text-anchor="end" fill="#b3261e">{said}</text>')
    return svg(chart_alt(chart, show), HIGH, parts)


def chart_alt(chart: Chart, show: Show) -> str:
    """What a chart shows, for those who hear it: from where to where each of its lines goes."""
    w, said = show.words, []
    for line in chart.lines:
        seen = line.y[np.isfinite(line.y)]
        if len(seen):
            low, high = (show.value(float(one), chart.unit) for one in (seen.min(), seen.max()))
            said.append(w.sentence(Message("{line} from {low} to {high}", {"line": w(line.label), "low": low, "high": high})))
    return f"{w(chart.title)}: {'; '.join(said)}" if said else w(chart.title)


def flow_alt(flow: Flow, show: Show) -> str:
    """What a flow shows, for those who hear it: how much goes from each station to the next."""
    w = show.words
    links = (f"{w(source)} → {w(target)} {show.value(value, flow.unit)}" for source, target, value in flow.links)
    return f"{w(flow.title)}: {'; '.join(links)}"


def svg(label: str, high: float, parts: Sequence[str]) -> str:
    """A drawing ``WIDE`` and ``high``; ``label``: what it shows."""
    box = f'viewBox="0 0 {WIDE:g} {high:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{html.escape(label)}" {_STYLE}>'
    return f"{head}{''.join(parts)}</svg>"


def _span(chart: Chart) -> tuple[float, float]:
    values = np.concatenate([line.y[np.isfinite(line.y)] for line in chart.lines])
    if chart.limit == chart.limit:
        values = np.append(values, chart.limit)
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if chart.kind == "bar" or (low > 0 and low < 0.5 * high):
        low = min(low, 0.0)
    room = max(0.06 * (high - low), FLAT_FRAC * max(abs(low), abs(high))) or 0.5
    return (low if low == 0 else low - room), high + room


def _ticks(low: float, high: float, most: int = 5, whole: bool = False) -> list[float]:
    """Round values from ``low`` to ``high``; ``whole``: of things that are counted."""
    raw = max((high - low) / most, 1.0 if whole else 0.0)
    size = 10.0 ** np.floor(np.log10(raw))
    step = next(s for s in (1, 2, 2.5, 5, 10) if s * size >= raw and not (whole and s * size % 1)) * size
    return [float(v) for v in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]


def _y_axis(chart: Chart, show: Show, low: float, high: float, y_at: Callable[[Floats], Floats]) -> Iterator[str]:
    for value in _ticks(low, high, whole=chart.unit == "count"):
        y = float(y_at(np.array([value]))[0])
        yield f'<line x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d5d8dc" stroke-width="0.6"/>'
        said = html.escape(show.value(value, chart.unit))
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#444">{said}</text>'


def _x_axis(
    chart: Chart, show: Show, zone: ZoneInfo, first: float, last: float, x_at: Callable[[Floats], Floats]
) -> Iterator[str]:
    marks = _days(first, last, zone) if chart.time else [(v, show.value(v, chart.x_unit)) for v in _ticks(first, last, 8)]
    for value, said in marks:
        x = float(x_at(np.array([value]))[0])
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{HIGH - BOTTOM}" y2="{HIGH - BOTTOM + 4}" stroke="#888"/>'
        x, anchor = (WIDE - 1, "end") if x + CHARACTER * len(said) / 2 > WIDE else (x, "middle")  # none is cut at the edge
        yield f'<text x="{x:.1f}" y="{HIGH - 8}" text-anchor="{anchor}" fill="#444">{html.escape(said)}</text>'


def _days(first: float, last: float, zone: ZoneInfo) -> list[tuple[float, str]]:
    """Local midnights, at most a dozen of them."""
    day = datetime.fromtimestamp(first, UTC).astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    count = max(1, round((last - first) / 86400))
    every = -(-count // 12)
    ordinals = range(day.date().toordinal(), day.date().toordinal() + count + 2, every)
    found = [datetime.fromordinal(n).replace(tzinfo=zone) for n in ordinals]
    return [(at.timestamp(), f"{at:%m-%d}") for at in found if first <= at.timestamp() <= last]


def _path(x: Floats, y: Floats, tone: str) -> str:
    x, y = _envelope(x, y)
    seen = np.isfinite(y)
    begins = seen & ~np.r_[False, seen[:-1]]  # a gap stays a gap
    alone = begins & ~np.r_[seen[1:], False]
    steps = [
        f"M{a - DOT / 2:.1f} {b:.1f}h{DOT}" if lone else f"{'M' if first else 'L'}{a:.1f} {b:.1f}"
        for a, b, first, lone in zip(x[seen].tolist(), y[seen].tolist(), begins[seen], alone[seen], strict=True)
    ]
    return f'<path d="{"".join(steps)}" fill="none" stroke="{tone}" stroke-width="1.4" stroke-linejoin="round"/>'


def _envelope(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """The lowest and the highest of each stretch where there are more than ``MAX_POINTS``, in their order: the peak of the span
    is on the chart. A stretch of which nothing is known stays a gap."""
    if len(x) <= MAX_POINTS:
        return x, y
    every = -(-2 * len(x) // MAX_POINTS)
    table = np.full((-(-len(x) // every), every), np.nan)
    table.flat[: len(y)] = y
    known, first = np.isfinite(table), every * np.arange(len(table))
    low = first + np.where(known, table, np.inf).argmin(axis=1)
    high = first + np.where(known, table, -np.inf).argmax(axis=1)
    pick = np.unique(np.concatenate([low, high]))
    return x[pick], y[pick]


def _bars(x: Floats, y: Floats, ground: float, tone: str) -> list[str]:
    wide = 0.8 * float(np.median(np.diff(x))) if len(x) > 1 else 40.0
    return [
        f'<rect x="{a - wide / 2:.1f}" y="{min(b, ground):.1f}" width="{wide:.1f}" height="{abs(ground - b):.1f}"'
        f' fill="{tone}"/>'
        for a, b in zip(x.tolist(), y.tolist(), strict=True)
        if b == b
    ]


def _legend(label: str, i: int, tone: str) -> str:
    x = LEFT + 170 * i
    return (
        f'<rect x="{x}" y="6" width="12" height="4" fill="{tone}"/>'
        f'<text x="{x + 17}" y="12" fill="#222">{html.escape(label)}</text>'
    )


def flow_svg(flow: Flow, show: Show) -> str:
    """Stations from left to right, as wide as what goes through them; the name and the amount of each beside it."""
    depth = _depths(flow.links)
    size = {name: max(_sum(flow.links, 0, name), _sum(flow.links, 1, name)) for name in depth}
    most = max(sum(size[n] for n in depth if depth[n] == d) for d in set(depth.values()))
    scale, columns = FLOW_HIGH / most, max(depth.values()) or 1
    said = {name: [*_wrapped(show.words(name)), show.value(size[name], flow.unit)] for name in depth}
    room = {name: max(size[name] * scale, LINE_HIGH * len(said[name])) for name in depth}
    at: dict[str, float] = {}
    for d in range(columns + 1):
        y = 14.0
        for name in (n for n in depth if depth[n] == d):
            at[name] = y
            y += room[name] + FLOW_GAP
    x_of = {name: 12 + depth[name] * (WIDE - 12 - FLOW_RIGHT) / columns for name in depth}
    parts = [*_bands(flow, at, x_of, scale)]
    for name in depth:
        high = max(size[name] * scale, 0.8)
        parts.append(f'<rect x="{x_of[name]:.1f}" y="{at[name]:.1f}" width="{BAR}" height="{high:.1f}" fill="#333"/>')
        top = max(at[name] + high / 2 - LINE_HIGH / 2 * len(said[name]), at[name] - 4) + 9
        x = x_of[name] + BAR + 4
        parts += [
            f'<text x="{x:.1f}" y="{top + LINE_HIGH * i:.1f}" fill="#222" font-size="10">{html.escape(line)}</text>'
            for i, line in enumerate(said[name])
        ]
    bottom = max(at[name] + room[name] for name in depth) + 14
    return svg(flow_alt(flow, show), bottom, parts)


def _bands(flow: Flow, at: Mapping[str, float], x_of: Mapping[str, float], scale: float) -> Iterator[str]:
    """What goes from one station to the next, drawn from above down on both sides."""
    out, into = dict(at), dict(at)
    for source, target, value in flow.links:
        thick = value * scale
        a, b = x_of[source] + BAR, x_of[target]
        y1, y2, mid = out[source] + thick / 2, into[target] + thick / 2, (a + b) / 2
        out[source] += thick
        into[target] += thick
        tone = "#c2571a" if any(word in f"{source} {target}" for word in WARM) else "#1f6f8b"
        yield (
            f'<path d="M{a:.1f} {y1:.1f}C{mid:.1f} {y1:.1f} {mid:.1f} {y2:.1f} {b:.1f} {y2:.1f}" fill="none" '
            f'stroke="{tone}" stroke-opacity="0.3" stroke-width="{max(thick, 0.8):.1f}"/>'
        )


def _wrapped(text: str) -> list[str]:
    """A station's name in lines that fit between two stations."""
    if text.isascii():
        return textwrap.wrap(text, 15)
    return re.findall(r".{1,6}[、，；：）]*", text)  # no line begins with what closes or parts


def _depths(links: Sequence[tuple[str, str, float]]) -> dict[str, int]:
    depth: dict[str, int] = {}
    for source, target, _ in links:
        depth.setdefault(source, 0)
        depth[target] = max(depth.get(target, 0), depth[source] + 1)
    return depth


def _sum(links: Sequence[tuple[str, str, float]], end: int, name: str) -> float:
    return sum(link[2] for link in links if link[end] == name)
