"""Boxes as they are drawn on paper: a camera that sees all of them whole, and their faces from back to front as polygons.

A pinhole camera whose direction is given: the nearest place from which every corner falls into the picture is worked out, not
searched for. Boxes stand on one floor and lie along the axes, so what is farther from the camera hides nothing that is nearer.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twin.frame import Floats
from twin.site import Bools

ANGLE_DEG = 24.0  # that the width of the picture is seen under: little of it, so that near and far racks are as large
LIFT, ASIDE = 0.78, 0.38  # the camera over the floor and to the left, for each metre that it is in front
# Faces of a box by its corners (bits: x, y, z), and which way they look. Nobody sees a floor from below.
_CORNERS = np.array([[k & 1, k >> 1 & 1, k >> 2] for k in range(8)]) - 0.5
_FACES = np.array([[0, 4, 6, 2], [1, 3, 7, 5], [0, 1, 5, 4], [2, 6, 7, 3], [4, 5, 7, 6]])
_NORMALS = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float64)
TOP = 4  # of the faces, the one whose colour is the scale's own
SHADE = np.array([0.72, 0.72, 0.86, 0.86, 1.0])  # of each face: what makes a box of three of them


class Camera(NamedTuple):
    """``at`` float64[3] (m); ``axes`` float64[3, 3]: right, up and towards the camera; a point's place in the picture is
    ``shift`` + ``scale_px`` times right and up over the distance ahead."""

    at: Floats
    axes: Floats
    scale_px: float
    shift: Floats

    def seen(self, points: Floats) -> Floats:
        """float64[…, 2]: where points (float64[…, 3], m) are in the picture (px, y down)."""
        right, up, back = np.moveaxis((points - self.at) @ self.axes.T, -1, 0)
        where: Floats = self.shift + self.scale_px * np.stack([right, -up], axis=-1) / -back[..., None]
        return where


class Face(NamedTuple):
    """``box``: of which of the boxes; ``side``: which of its faces (``TOP``: the upper one); ``corners_px`` float64[4, 2]."""

    box: int
    side: int
    corners_px: Floats


def corners(centre: Floats, size: Floats) -> Floats:
    """float64[n, 8, 3]: corners of boxes (m)."""
    return centre[:, None, :] + _CORNERS * size[:, None, :]


def aimed(centre: Floats, size: Floats, width_px: float, tallest_px: float) -> tuple[Camera, float]:
    """A camera that sees these boxes (float64[n, 3] each, m) as large as ``width_px`` and ``tallest_px`` allow, and how tall
    their picture is (px). The longer side of what they cover lies across."""
    points = corners(centre, size).reshape(-1, 3)
    middle, span = (points.min(axis=0) + points.max(axis=0)) / 2, np.ptp(points, axis=0)
    flat = np.array([-ASIDE, -1.0, LIFT]) if span[0] >= span[1] else np.array([-1.0, ASIDE, LIFT])
    towards = flat / np.linalg.norm(flat)
    right = np.cross((0.0, 0.0, 1.0), towards)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(towards, right), towards])
    place = (points - middle) @ axes.T
    tangent = np.tan(np.radians(ANGLE_DEG / 2))
    tall = tangent * np.array([1.0, tallest_px / width_px])
    # From a distance d on the middle's line, a corner is inside where |across - c| <= tangent (d - ahead).
    high = (place[:, :2] + tall * place[:, 2:]).max(axis=0)
    low = (place[:, :2] - tall * place[:, 2:]).min(axis=0)
    distance_m = float(((high - low) / (2 * tall)).max())
    offset = np.append((high + low) / 2, distance_m)
    made = Camera(middle + offset @ axes, axes, width_px / 2 / float(tangent), np.zeros(2))
    where = made.seen(points)
    least, most = where.min(axis=0), where.max(axis=0)
    room_px = max(width_px - float(most[0] - least[0]), 0.0) / 2
    return made._replace(shift=np.array([room_px - least[0], -least[1]])), float(most[1] - least[1])


def faces(camera: Camera, centre: Floats, size: Floats, sides: bool = True) -> list[Face]:
    """The faces of boxes that ``camera`` sees, those at the back first; without ``sides`` the upper ones alone."""
    order = _from_the_back(camera, centre)
    where = camera.seen(corners(centre, size))
    shown = _towards(camera, centre, size)
    if not sides:
        shown[:, :TOP] = False
    return [Face(box, side, where[box, _FACES[side]]) for box in order.tolist() for side in np.flatnonzero(shown[box]).tolist()]


def _from_the_back(camera: Camera, centre: Floats) -> NDArray[np.int64]:
    return np.argsort(-np.linalg.norm(centre[:, :2] - camera.at[:2], axis=1), kind="stable")


def _towards(camera: Camera, centre: Floats, size: Floats) -> Bools:
    """bool[n, 5]: which faces look at the camera."""
    ahead = camera.at - (centre[:, None, :] + _NORMALS * size[:, None, :] / 2)
    found: Bools = (ahead * _NORMALS).sum(axis=2) > 0
    return found
