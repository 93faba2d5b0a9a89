"""The scene as a file for other programs, and as a picture without a screen: pyvista and usd-core, an extra that is imported
here only.

Colours are the bytes of a frame by the same tables as in the browser, so that a report shows what a page shows.
"""

import base64
import importlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.errors import ConfigError, Problem
from twin.frame import Bytes, Floats
from twin.kinds import KINDS
from twin.site import Bools
from ui.scene.geometry import Geometry
from ui.scene.ramps import WATER, table_of
from ui.scene.sizes import Level
from ui.scene.wire import unpacked

MEDIA: Mapping[str, str] = MappingProxyType({"glb": "model/gltf-binary", "usdc": "application/octet-stream"})
_CORNERS = np.array([[x, y, z] for z in (-0.5, 0.5) for x, y in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))])
_FACES = np.array([[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]])
_TUBE_SIDES = 8
_NODE = list(KINDS).index("node")


GROUND, INK, FLOOR = "#0b1117", "#e6edf3", (38, 50, 62)  # of the dark theme: behind all, of writing, of floors


def drawing() -> Any:
    """pyvista, told to keep its remarks on missing screens to itself; ``ConfigError`` without the extra."""
    logger = needed("vtkmodules.vtkCommonCore", "pyvista").vtkLogger
    logger.SetStderrVerbosity(logger.VERBOSITY_ERROR)
    return needed("pyvista", "pyvista")


def needed(module: str, package: str) -> Any:
    """A module of the extra ``scene``; ``ConfigError`` with one sentence where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        what = f"this needs {package}, which is not installed; install the extra: pip install 'icctwin[scene]'"
        raise ConfigError([Problem("scene", what)]) from error


def exported(geometry: Geometry, frame: bytes, form: str) -> bytes:
    """The scene in ``form`` (a key of ``MEDIA``) with the colours of a frame's body. ``ConfigError`` without the extra."""
    head, tints, water = bytes_of(geometry, frame)
    colours = table_of(head)[tints]
    with tempfile.TemporaryDirectory(prefix="icctwin-scene-") as folder:
        path = Path(folder) / f"scene.{form}"
        if form == "usdc":
            _write_usd(geometry, colours, path)
        else:
            pyvista = drawing()
            plotter = pyvista.Plotter(off_screen=True)
            add_meshes(pyvista, plotter, geometry, colours, WATER[water], shown_boxes(geometry, Level.GPU))
            _write_glb(plotter, path)
            plotter.close()
        return path.read_bytes()


def bytes_of(geometry: Geometry, frame: bytes) -> tuple[dict[str, Any], Bytes, Bytes]:
    """Head, byte of each box (255 where the frame says none), byte of each pipe's temperature."""
    head, data = unpacked(frame)
    if head["hash"] != geometry.hash:
        raise ValueError("the frame belongs to another site than the geometry")
    raw = np.frombuffer(data, dtype=np.uint8)
    tints, at = np.full(len(geometry.asset), 255, dtype=np.uint8), 0
    for begin, end in head["pieces"]:
        tints[begin:end] = raw[at : at + end - begin]
        at += end - begin
    return head, tints, raw[at : at + head["pipes"]]


def shown_boxes(geometry: Geometry, level: Level) -> NDArray[np.int64]:
    """Boxes that a picture at ``level`` of detail has: plates and units always, racks or what is in them."""
    racks = np.isin(geometry.asset, geometry.site.of_kind("rack")) & (geometry.asset >= 0)
    take = (geometry.size > 0).all(axis=1) & ((geometry.level <= level) | (geometry.asset < 0))
    if level >= Level.NODE:
        take &= ~racks
    return np.flatnonzero(take)


def box_mesh(pyvista: Any, geometry: Geometry, which: NDArray[np.int64], colours: Bytes) -> Any:
    """Boxes as one mesh, each with its colour; nodes whose GPUs are shown are trays under them."""
    centre, size = geometry.centre[which].astype(np.float64), geometry.size[which].astype(np.float64)
    if (geometry.level[which] == Level.GPU).any():
        node = geometry.kind[which] == _NODE
        centre[node, 2] -= 0.42 * size[node, 2]
        size[node, 2] *= 0.16
    points = (centre[:, None, :] + _CORNERS[None] * size[:, None, :]).reshape(-1, 3)
    faces = _FACES[None] + 8 * np.arange(len(which))[:, None, None]
    cells = np.column_stack([np.full(6 * len(which), 4), faces.reshape(-1, 4)]).ravel()
    mesh = pyvista.PolyData(points, faces=cells)
    # colours of points: glTF knows no others, and all corners of a box have one
    mesh.point_data["rgb"] = np.repeat(colours[which], 8, axis=0)
    return mesh


def pipe_mesh(pyvista: Any, geometry: Geometry, colours: Bytes) -> Any:
    """All runs of pipe as tubes, or None where there is none."""
    pipes = geometry.pipes
    parts = []
    for i in range(len(pipes.side)):
        first, last = int(pipes.first[i]), int(pipes.first[i + 1])
        points = pipes.points[first:last].astype(np.float64)
        keep = np.append(True, np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-6)
        if np.count_nonzero(keep) < 2:
            continue
        points = points[keep]
        line = pyvista.lines_from_points(points)
        tube = line.tube(radius=float(pipes.radius[i]), n_sides=_TUBE_SIDES)
        tube.clear_data()
        tube.point_data["rgb"] = np.tile(colours[i], (tube.n_points, 1))
        parts.append(tube)
    return pyvista.merge(parts) if parts else None


def add_meshes(
    pyvista: Any,
    plotter: Any,
    geometry: Geometry,
    colours: Bytes,
    water: Bytes,
    which: NDArray[np.int64],
) -> None:
    """These boxes, and all pipes (of a whole scene), into a plotter."""
    if len(which):
        mesh = box_mesh(pyvista, geometry, which, _with_plates(geometry, colours))
        plotter.add_mesh(mesh, scalars="rgb", rgb=True, lighting=True, ambient=0.55, diffuse=0.45, specular=0.0)
    tubes = pipe_mesh(pyvista, geometry, water) if (geometry.level[which] == Level.HALL).any() else None
    if tubes is not None:
        plotter.add_mesh(tubes, scalars="rgb", rgb=True, smooth_shading=True, ambient=0.5, diffuse=0.5)


def _with_plates(geometry: Geometry, colours: Bytes) -> Bytes:
    """Floors are ground, whatever their hall is coloured by."""
    made = colours.copy()
    made[geometry.level == Level.HALL] = FLOOR
    return made


def _write_glb(plotter: Any, path: Path) -> None:
    """VTK writes glTF as text with its numbers inside; the binary form (glTF 2.0, chapter 4.4) is the same as two chunks."""
    text = path.with_suffix(".gltf")
    plotter.export_gltf(str(text), inline_data=True)
    told = json.loads(text.read_text(encoding="utf-8"))
    data, starts = b"", []
    for buffer in told["buffers"]:
        starts.append(len(data))
        raw = base64.b64decode(buffer["uri"].partition(",")[2])
        data += raw + b"\0" * (-len(raw) % 4)
    for view in told["bufferViews"]:
        view["byteOffset"] = starts[view["buffer"]] + view.get("byteOffset", 0)
        view["buffer"] = 0
    told["buffers"] = [{"byteLength": len(data)}]
    head = json.dumps(told, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 4)
    chunks = [(head, b"JSON"), (data, b"BIN\0")]
    body = b"".join(len(chunk).to_bytes(4, "little") + kind + chunk for chunk, kind in chunks)
    path.write_bytes(b"glTF" + (2).to_bytes(4, "little") + (12 + len(body)).to_bytes(4, "little") + body)


def _write_usd(geometry: Geometry, colours: Bytes, path: Path) -> None:
    """A cube a box, named after its asset, in metres with z up; runs of pipe as curves."""
    usd, geom, gf = (needed(f"pxr.{name}", "usd-core") for name in ("Usd", "UsdGeom", "Gf"))
    stage = usd.Stage.CreateNew(str(path))
    geom.SetStageUpAxis(stage, geom.Tokens.z)
    geom.SetStageMetersPerUnit(stage, 1.0)
    top = geom.Xform.Define(stage, "/scene")
    stage.SetDefaultPrim(top.GetPrim())
    names = geometry.ids()
    rgb = (colours / 255.0).tolist()
    for i in shown_boxes(geometry, Level.GPU).tolist():
        cube = geom.Cube.Define(stage, f"/scene/box_{i}")
        cube.CreateSizeAttr(1.0)
        mover = geom.XformCommonAPI(cube)
        mover.SetTranslate(tuple(float(v) for v in geometry.centre[i]))
        mover.SetScale(tuple(float(v) for v in geometry.size[i]))
        cube.CreateDisplayColorAttr([gf.Vec3f(*rgb[i])])
        if names[i]:
            cube.GetPrim().SetDisplayName(names[i])
    pipes = geometry.pipes
    if len(pipes.side):
        curves = geom.BasisCurves.Define(stage, "/scene/pipes")
        curves.CreateTypeAttr("linear")
        curves.CreatePointsAttr([gf.Vec3f(*(float(v) for v in point)) for point in pipes.points])
        curves.CreateCurveVertexCountsAttr(np.diff(pipes.first).tolist())
        curves.CreateWidthsAttr((2.0 * pipes.radius).tolist())
        curves.SetWidthsInterpolation(geom.Tokens.uniform)
    stage.GetRootLayer().Save()


def picture(
    geometry: Geometry,
    frame: bytes,
    view: str,
    asset: str,
    path: Path,
    size_px: tuple[int, int] = (1600, 900),
) -> None:
    """Draw ``view`` (``site``, ``plan`` or ``rack``, as the page calls them) into a PNG; ``asset``: what to look at, "" the
    whole. ``ConfigError`` for an asset or view that there is not, and without the extra."""
    pyvista = drawing()
    head, tints, water = bytes_of(geometry, frame)
    box = _looked_at(geometry, view, asset)
    near = box is not None and geometry.level[box] >= Level.RACK and view != "plan"
    which = shown_boxes(geometry, Level.GPU if near else Level.RACK)
    if view == "rack" and box is not None:
        which = which[_inside(geometry, which, box)]
    plotter = pyvista.Plotter(off_screen=True, window_size=size_px)
    plotter.set_background(GROUND)
    add_meshes(pyvista, plotter, geometry, table_of(head)[tints], WATER[water], which)
    _aim(plotter, geometry, view, box, size_px)
    for i, line in enumerate(_caption(geometry, head)):
        plotter.add_text(line, position=(14, 14 + 26 * i), font_size=10, color=INK)
    plotter.screenshot(str(path))
    plotter.close()


def _inside(geometry: Geometry, which: NDArray[np.int64], box: int) -> Bools:
    """bool[n]: which boxes stand in ``box``."""
    here = geometry.parent[which]
    found: Bools = here == box
    while (here >= 0).any():
        here = np.where(here >= 0, geometry.parent[np.maximum(here, 0)], -1)
        found |= here == box
    return found


def _looked_at(geometry: Geometry, view: str, asset: str) -> int | None:
    if not asset:
        if view != "rack":
            return None
        racks = geometry.box_of[geometry.site.of_kind("rack")]
        racks = racks[racks >= 0]
        if not len(racks):
            raise ConfigError([Problem("--view rack", "the site has no rack; choose site or plan")])
        return int(racks[0])
    at = geometry.site.position.get(asset, -1)
    box = int(geometry.box_of[at]) if at >= 0 else -1
    if box < 0:
        raise ConfigError([Problem(f"--asset {asset}", "is no asset of the site that can be drawn; name one of its tables")])
    return box


def _aim(plotter: Any, geometry: Geometry, view: str, box: int | None, size_px: tuple[int, int]) -> None:
    if box is None:
        which = shown_boxes(geometry, Level.RACK)
        half = geometry.size[which] / 2
        low = (geometry.centre[which] - half).min(axis=0) if len(which) else np.zeros(3)
        high = (geometry.centre[which] + half).max(axis=0) if len(which) else np.ones(3)
    else:
        low, high = geometry.centre[box] - geometry.size[box] / 2, geometry.centre[box] + geometry.size[box] / 2
    middle: Floats = (low + high).astype(np.float64) / 2
    span = high - low
    wide = size_px[0] / size_px[1]
    if view == "plan":
        _straight(plotter, middle, (0, 0, 1), (0, 1, 0), float(max(span[1], span[0] / wide)) * 0.54 + 1)
    elif view == "rack":
        _straight(plotter, middle, (0, -1, 0), (0, 0, 1), float(max(span[2], span[0] / wide)) * 0.54)
    else:
        towards = np.array([-0.45, -0.75, 0.5]) / np.linalg.norm([-0.45, -0.75, 0.5])
        from_ = middle + _reach_m(span, towards, plotter.camera.view_angle, wide) * towards
        plotter.camera_position = [tuple(from_), tuple(middle), (0, 0, 1)]


def _reach_m(span: Floats, towards: Floats, angle_deg: float, wide: float) -> float:
    """How far from its middle a box of ``span`` is seen whole, and a little around it. ``angle_deg``: of the camera, upright;
    ``wide``: width of the picture over its height."""
    right = np.cross((0, 0, 1), towards)
    right /= np.linalg.norm(right)
    corners = _CORNERS * span
    tangent = float(np.tan(np.radians(angle_deg / 2)))
    up_m, right_m = np.abs(corners @ np.cross(towards, right)), np.abs(corners @ right)
    return max(1.06 * float((corners @ towards + np.maximum(up_m, right_m / wide) / tangent).max()), 2.0)


def _straight(plotter: Any, middle: Floats, towards: tuple[float, ...], up: tuple[float, ...], half_m: float) -> None:
    plotter.camera_position = [tuple(middle + 50 * np.array(towards)), tuple(middle), up]
    plotter.camera.parallel_projection = True
    plotter.camera.parallel_scale = half_m
    plotter.reset_camera_clipping_range()


def _caption(geometry: Geometry, head: Mapping[str, Any]) -> list[str]:
    from datetime import UTC, datetime

    when = datetime.fromtimestamp(head["time"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    scales = [f"{kind} {low:g} to {high:g}" for kind, (low, high) in head["scales"].items() if kind in ("rack", "node", "gpu")]
    unit = f" [{head['unit']}]" if head["unit"] else ""
    return [f"{head['colour']}{unit}, {head['origin']}   {'   '.join(scales)}", f"{geometry.site.name}   {when}"]
