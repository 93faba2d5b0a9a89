"""The colours that bytes stand for: the same as ``static/scales.js`` and ``static/scene-colours.js`` give a browser (a test
compares them)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from twin.frame import Bytes
from ui.scene.paint import ALERTS, NO_METRIC, SILENT, TOP

# Smith and van der Walt's viridis; Moreland's kind of diverging map; 9 stops each, mixed in between.
VIRIDIS = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")
DIVERGING = ("#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b")
# calm, info, warning, critical; what has no such metric; silent: of the dark theme
_STATES = ("#346a8c", "#6cb4ee", "#f2b83b", "#ff8563")
_PLAIN, _SILENT = (44, 54, 64), (111, 122, 134)


def _rgb(text: str) -> list[int]:
    return [int(text[i : i + 2], 16) for i in (1, 3, 5)]


def _ramp(stops: tuple[str, ...]) -> Bytes:
    """uint8[256, 3]."""
    place = np.arange(TOP + 1) / TOP * (len(stops) - 1)
    known = np.array([_rgb(stop) for stop in stops], dtype=np.float64)
    table = np.zeros((256, 3), dtype=np.uint8)
    for k in range(3):
        table[: TOP + 1, k] = np.floor(np.interp(place, np.arange(len(stops)), known[:, k]) + 0.5)
    return _rest(table)


def _rest(table: Bytes) -> Bytes:
    table[TOP + 1 : NO_METRIC + 1], table[SILENT] = _PLAIN, _SILENT
    return table


def _alerts() -> Bytes:
    table = np.zeros((256, 3), dtype=np.uint8)
    states = np.array([_rgb(state) for state in _STATES], dtype=np.uint8)
    table[: TOP + 1] = states[np.minimum(np.floor(np.arange(TOP + 1) / 83.4 + 0.5).astype(int), 3)]
    return _rest(table)


MAGNITUDE, SIGNED, ALERTING = _ramp(VIRIDIS), _ramp(DIVERGING), _alerts()
WATER = MAGNITUDE


def table_of(head: Mapping[str, Any]) -> Bytes:
    """uint8[256, 3]: the colours of a frame."""
    if head["colour"] == ALERTS:
        return ALERTING
    return SIGNED if head["origin"] == "residual" or head["against"] else MAGNITUDE
