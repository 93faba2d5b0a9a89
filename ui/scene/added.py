"""Racks that a scenario adds: where they would stand. No table gives them a place, and the copy of a rack has that of its
original; so they go where a hall's next racks would go: on from the ends of its lines, up to ``RACKS_PER_LINE`` or its
longest one, then in new lines beside them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.frame import Floats
from twin.site import Bools, Site
from ui.scene.geometry import Geometry
from ui.scene.sizes import RACKS_PER_LINE, ROW_PITCH_M, Level

_GAP_M = 0.02  # that stays free between a rack and its neighbour
_CLEAR_M = 0.9  # in front of and behind a rack, where people work: it may be another rack's too


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """``ids`` of k racks, with ``centre`` and ``size`` float32[k, 3] (m) as in a ``Geometry``."""

    ids: tuple[str, ...]
    centre: NDArray[np.float32]
    size: NDArray[np.float32]


def added_racks(geometry: Geometry, grown: Site) -> Added:
    """Places of the racks that ``grown`` has beside those of ``geometry``'s site; free of all that stands there."""
    ids = tuple(grown.ids_of("rack")[geometry.site.count("rack") :])
    originals = np.array([geometry.site.position[id_.rpartition("+")[0]] for id_ in ids], dtype=np.int64)
    boxes = geometry.box_of[originals]
    centre, size = np.zeros((len(ids), 3)), geometry.size[boxes].astype(np.float64)
    taken = np.flatnonzero((geometry.level == Level.RACK) & (geometry.size > 0).all(axis=1))
    walls = _Walls(geometry.centre[taken, :2].astype(np.float64), geometry.size[taken, :2].astype(np.float64))
    for box in dict.fromkeys(boxes.tolist()):
        mine = np.flatnonzero(boxes == box)
        centre[mine, :2] = _free(geometry, box, len(mine), walls)
        centre[mine, 2] = geometry.centre[box, 2]
        walls = walls.with_more(centre[mine, :2], size[mine, :2])
    return Added(ids, centre.astype(np.float32), size.astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class _Walls:
    """Footprints that nothing may stand in: middle and size, float64[m, 2]."""

    middle: Floats
    size: Floats

    def with_more(self, middle: Floats, size: Floats) -> "_Walls":
        return _Walls(np.concatenate([self.middle, middle]), np.concatenate([self.size, size]))

    def clear(self, middle: Floats, size: Floats) -> Bools:
        """bool[k]: footprints of ``size`` at ``middle`` float64[k, 2] that touch nothing."""
        apart = np.abs(middle[:, None, :] - self.middle[None]) - (size + self.size[None]) / 2
        touching = np.all(apart < _GAP_M / 2, axis=2)
        free: Bools = ~np.any(touching, axis=1)
        return free


def _free(geometry: Geometry, box: int, count: int, walls: _Walls) -> Floats:
    """float64[count, 2]: places for racks like that of ``box``, nearest line first."""
    turned = int(geometry.turned[box])
    along, across = (1, 0) if turned else (0, 1)
    racks = geometry.box_of[geometry.site.of_kind("rack")]
    racks = racks[racks >= 0]
    hall = racks[geometry.hall[racks] == geometry.hall[box]]
    at = geometry.centre[hall, :2].astype(np.float64)
    size = geometry.size[box, :2].astype(np.float64)
    step_m = _step_m(np.sort(at[np.abs(at[:, across] - geometry.centre[box, across]) < 0.1, along]), size[along])
    lines = np.unique(np.round(at[:, across], 2))
    lines = lines[np.argsort(np.abs(lines - geometry.centre[box, across]), kind="stable")]
    low_m, high_m = float(at[:, along].min()), float(at[:, along].max())
    length = max(round((high_m - low_m) / step_m) + 1, RACKS_PER_LINE)
    end_m = low_m + step_m * (length - 0.5)
    found: list[Floats] = []
    held = 0
    room = np.array(size)
    room[across] += 2 * _CLEAR_M

    def take(run_m: NDArray[np.floating[Any]], line_m: float, needed: Floats) -> None:
        nonlocal held
        spots = np.empty((len(run_m), 2))
        spots[:, along], spots[:, across] = run_m, line_m
        good = spots[walls.clear(spots, needed)][: count - held]
        found.append(good)
        held += len(good)

    for line_m in lines.tolist():
        last_m = float(at[np.abs(at[:, across] - line_m) < 0.1, along].max())
        take(last_m + step_m * np.arange(1, int((end_m - last_m) / step_m) + 1), line_m, size)
    pitch_m = max(ROW_PITCH_M, float(size[across]) + 2 * _CLEAR_M)
    line_m = float(at[:, across].max())
    while held < count:  # ends: beyond all that stands there each line is free
        line_m += pitch_m
        take(low_m + step_m * np.arange(length), line_m, room)
    return np.concatenate(found)


def _step_m(run_m: Floats, wide_m: float) -> float:
    """The pitch of a line of racks, at least their width."""
    gaps: Floats = np.diff(run_m)
    gaps = gaps[gaps > 0.05]
    return max(float(np.median(gaps)) if len(gaps) else 0.0, float(wide_m) + _GAP_M)
