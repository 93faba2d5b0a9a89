"""Pictures of runs as SVG text: no library, no script, the same on a page and in a file."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin.frame import Floats
from twin.metrics import suffix
from twin.simulate import Trajectory
from ui.words import Words

COLOURS = ("#58a6ff", "#8b949e")  # what is asked about, and what it is compared with
_WIDE, _HIGH = 1000.0, 170.0
PANELS = (
    ("it_power_w", "IT power"),
    ("facility_power_w", "Facility power"),
    ("pue_ratio", "PUE"),
    ("plant_supply_c", "Facility water"),
    ("return_c", "Warmest return"),
    ("junction_c", "Hottest chip"),
)


@dataclass(frozen=True, slots=True)
class _Panel:
    label: str
    unit: str
    lines: Sequence[Floats]

    @property
    def span(self) -> tuple[float, float]:
        known = np.concatenate([line[np.isfinite(line)] for line in self.lines])
        low, high = float(known.min()), float(known.max())
        return (low, high) if high > low else (low - 0.5, high + 0.5)


def panels(runs: Sequence[Trajectory], names: Sequence[tuple[str, str]] = PANELS) -> list[_Panel]:
    """What of ``names`` the runs have values of, the first run first."""
    found = []
    for name, label in names:
        lines = [run.series[name] for run in runs if name in run.series]
        if lines and any(np.isfinite(line).any() for line in lines):
            found.append(_Panel(label, suffix(name), lines))
    return found


def panel_svg(w: Words, panel: _Panel) -> str:
    """One panel as an ``svg`` element of its own, with its lowest and highest value."""
    return f'<svg viewBox="0 0 {_WIDE:g} {_HIGH:g}" role="img" aria-label="{_title(w, panel)}">{_drawn(w, panel)}</svg>'


def picture(w: Words, runs: Sequence[Trajectory], title: str) -> str:
    """All panels of the runs below each other, as one SVG file; the first run in blue, the second in grey."""
    made = panels(runs)
    high = 40 + _HIGH * len(made)
    parts = [f'<g transform="translate(0,{40 + i * _HIGH:g})">{_drawn(w, panel)}</g>' for i, panel in enumerate(made)]
    hours = runs[0].steps * runs[0].step_s / 3600
    head = html.escape(f"{title} · {w.quantity(hours * 3600, 's')}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE:g} {high:g}" font-family="system-ui,sans-serif">'
        f'<rect width="100%" height="100%" fill="#0d1117"/><text x="10" y="26" fill="#e6edf3" font-size="18">{head}</text>'
        f"{''.join(parts)}</svg>\n"
    )


def _title(w: Words, panel: _Panel) -> str:
    low, high = panel.span
    return html.escape(f"{w(panel.label)}: {w.quantity(low, panel.unit)} – {w.quantity(high, panel.unit)}")


def _drawn(w: Words, panel: _Panel) -> str:
    low, high = panel.span
    title = f'<text x="10" y="18" fill="#8b949e" font-size="14">{_title(w, panel)}</text>'
    lines = [_line(line, low, high, COLOURS[i % len(COLOURS)]) for i, line in enumerate(panel.lines)]
    return title + "".join(reversed(lines))  # the first lies on top


def _line(column: Floats, low: float, high: float, colour: str) -> str:
    """A line over the panel's width; broken where nothing is known."""
    step, top, tall = _WIDE / max(len(column) - 1, 1), 28.0, _HIGH - 40.0
    words, pen = [], "M"
    for i, value in enumerate(column.tolist()):
        if not np.isfinite(value):
            pen = "M"
            continue
        words.append(f"{pen}{i * step:.1f} {top + (high - value) / (high - low) * tall:.1f}")
        pen = "L"
    return f'<path fill="none" stroke="{colour}" stroke-width="1.5" d="{"".join(words)}"/>'
