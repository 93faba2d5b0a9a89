"""From values to bytes: one a box, by the metric that the picture is coloured by, with the scale that each byte stands on.

A byte of 0-250 lies between the scale's ends (what lies beyond an end has the end's colour: the legend says "and more");
``NO_METRIC``: things of this kind have no such metric; ``SILENT``: nothing fresh is known.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from analytics.alerts import Severity
from twin.frame import Bytes, Floats, Ints
from twin.kinds import KINDS
from twin.metrics import METRICS, suffix
from twin.site import Site
from ui.scene.geometry import Geometry
from ui.scene.routes import Pipes
from ui.scene.sizes import LOOKS, Level

TOP, NO_METRIC, SILENT = 250, 254, 255
ALERTS = "alerts"  # a colour that is no metric
# What a colour asks for its values: kind and metric -> float64[n], NaN where nothing fresh is known.
Values = Callable[[str, str], Floats]
Scale = tuple[float, float]
Firing = Sequence[tuple[str, Severity]]  # assets of firing alerts

# A container that has no such metric shows what it holds: of the first of these kinds that tells anything.
_INNER = ("gpu", "node", "switch", "rack", "cdu")
_CONTAINERS = ("node", "rack", "row", "hall")
_SUMMED = ("w", "j", "kwh", "kgps", "bps", "bytes", "count")
_LARGEST = ("c", "k", "code", "flag", "s")
# Windows of temperatures, one for all kinds so that colours can be compared: below slowdown of dies (85-90 °C, nvidia-smi -q),
# around ASHRAE's W-classes for water and A-classes for air.
_WINDOWS_C: Mapping[str, Scale] = MappingProxyType(
    {
        "temp_c": (30.0, 90.0),
        "mem_temp_c": (30.0, 100.0),
        "inlet_temp_c": (15.0, 45.0),
        "supply_temp_c": (15.0, 45.0),
        "return_temp_c": (20.0, 60.0),
        "primary_supply_temp_c": (10.0, 45.0),
        "primary_return_temp_c": (15.0, 55.0),
    }
)
_WATER_C: Scale = (15.0, 60.0)
_SEVERITY_BYTE = {Severity.INFO: 84, Severity.WARNING: 167, Severity.CRITICAL: TOP}
_SEVERITY_CODE = {Severity.INFO: 1, Severity.WARNING: 2, Severity.CRITICAL: 3}
MAX_PULSES = 1000  # boxes that are said to alert in one frame, gravest first; the wall has the list


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """``boxes`` uint8[n]; ``scales``: kind -> (low, high) in ``unit`` (a suffix, "" for alerts); ``pipe_temp``, ``pipe_flow``
    uint8[p], on ``water_c`` and on 0-1 of each pipe's design flow; ``pulse_box`` int32[k], ``pulse`` uint8[k]: boxes whose
    asset has a firing alert, 1 info, 2 warning, 3 critical."""

    boxes: Bytes
    scales: Mapping[str, Scale]
    unit: str
    pipe_temp: Bytes
    pipe_flow: Bytes
    pulse_box: Ints
    pulse: Bytes
    water_c: Scale = _WATER_C


def colours(site: Site) -> dict[str, list[str]]:
    """Metric -> kinds of this site that have it and are drawn."""
    found: dict[str, list[str]] = {}
    for kind, look in LOOKS.items():
        if look.level is not Level.HIDDEN and site.count(kind):
            for name in METRICS[kind]:
                found.setdefault(name, []).append(kind)
    return found


def paint(
    geometry: Geometry, values: Values, colour: str, firing: Firing = (), water: Values | None = None, signed: bool = False
) -> Painted:
    """One picture's bytes. ``colour``: a metric's name or ``ALERTS``; ``water``: where pipes ask, if elsewhere than boxes;
    ``signed``: values are differences, whose scale has 0 in its middle. ``KeyError`` where no kind has the metric."""
    pulse_box, pulse = _pulses(geometry, firing)
    if colour == ALERTS:
        boxes, unit = _alerting(geometry, firing), ""
        scales: dict[str, Scale] = {}
    else:
        unit = suffix(colour)
        boxes, scales = _coloured(geometry, values, colour, unit, signed)
    temp, flow = _water(geometry.site, geometry.pipes, water or values)
    return Painted(boxes, scales, unit, temp, flow, pulse_box, pulse)


def paint_added(
    painted: Painted, ids: Sequence[str], colour: str, added: Callable[[str], Floats], firing: Firing, signed: bool
) -> Bytes:
    """uint8[k]: bytes of racks that a scenario adds, on the scale of the others. ``added``: metric -> float64[k]. In a
    difference they have ``NO_METRIC``: there is nothing that they differ from."""
    if colour == ALERTS:
        gravest: dict[str, int] = {}
        for asset, severity in firing:
            gravest[asset] = max(gravest.get(asset, 0), _SEVERITY_BYTE[severity])
        return np.array([gravest.get(id_, 0) for id_ in ids], dtype=np.uint8)
    if signed or colour not in METRICS["rack"] or "rack" not in painted.scales:
        return np.full(len(ids), NO_METRIC, dtype=np.uint8)
    return quantised(added(colour), painted.scales["rack"])


def of_kind(site: Site, values: Values, kind: str, colour: str) -> Floats | None:
    """float64[n]: what a ``kind`` is coloured by: its own metric, else what it holds; None where there is no such thing. A
    temperature that nobody reads of any of them is that of the hottest thing in each."""
    own = values(kind, colour) if colour in METRICS[kind] else None
    if own is not None and (suffix(colour) != "c" or np.isfinite(own).any()):
        return own
    if kind not in _CONTAINERS:
        return own
    inner = [k for k in _INNER if k != kind and site.count(k) and colour in METRICS[k] and (site.within(k, kind) >= 0).any()]
    held = own
    for name in inner:
        held = _held(site, name, kind, values(name, colour), suffix(colour))
        if np.isfinite(held).any():
            break
    return held


def _held(site: Site, inner: str, kind: str, column: Floats, unit: str) -> Floats:
    """float64[n]: a column of ``inner`` as the sum (of all, or it is none), the largest or the mean in each ``kind``."""
    where, n = site.within(inner, kind), site.count(kind)
    inside, known = where >= 0, np.isfinite(column)
    take = inside & known
    if unit in _SUMMED:
        total = np.bincount(where[take], column[take], minlength=n)
        whole = np.bincount(where[inside], known[inside], minlength=n) == np.bincount(where[inside], minlength=n)
        return np.where(whole & (np.bincount(where[inside], minlength=n) > 0), total, np.nan)
    if unit in _LARGEST:
        largest = np.full(n, -np.inf)
        np.maximum.at(largest, where[take], column[take])
        return np.where(np.isfinite(largest), largest, np.nan)
    count = np.bincount(where[take], minlength=n)
    total = np.bincount(where[take], column[take], minlength=n)
    mean: Floats = np.divide(total, count, out=np.full(n, np.nan), where=count > 0)
    return mean


def scale_of(site: Site, kind: str, colour: str, column: Floats, signed: bool = False) -> Scale:
    """Ends of the scale of ``colour`` for a ``kind``: fixed where a fixed one makes sense, else from what is known now."""
    known = np.abs(column[np.isfinite(column)])
    most = float(known.max(initial=0.0))
    if signed:
        return -_nice(most), _nice(most)
    unit = suffix(colour)
    if unit in ("frac", "flag"):
        return 0.0, 1.0
    if unit == "c":
        return _WINDOWS_C.get(colour, (10.0, 90.0))
    if colour == "power_w":
        rated = np.fmax(site.number(kind, "rated_w"), site.number(kind, "rated_va"))
        if np.isfinite(rated).any():
            return 0.0, float(np.nanmax(rated))
    return 0.0, _nice(most)


def _nice(most: float) -> float:
    """The next of 1, 2, 5 x 10^k."""
    if most <= 0:
        return 1.0
    step = 10.0 ** math.floor(math.log10(most))
    return next(step * k for k in (1, 2, 5, 10) if step * k >= most * (1 - 1e-9))


def quantised(column: Floats, scale: Scale) -> Bytes:
    """uint8[n]: values on a scale, ``SILENT`` for NaN."""
    low, high = scale
    part = (column - low) / max(high - low, 1e-12)
    whole = np.rint(np.clip(np.nan_to_num(part, nan=0.0), 0.0, 1.0) * TOP)
    return np.where(np.isfinite(column), whole, SILENT).astype(np.uint8)


def _coloured(geometry: Geometry, values: Values, colour: str, unit: str, signed: bool) -> tuple[Bytes, dict[str, Scale]]:
    site = geometry.site
    boxes = np.full(len(geometry.asset), NO_METRIC, dtype=np.uint8)
    scales: dict[str, Scale] = {}
    if not any(colour in rows for rows in METRICS.values()):
        raise KeyError(colour)
    for code, kind in enumerate(KINDS):
        if kind not in LOOKS or not site.count(kind) or LOOKS[kind].level is Level.HIDDEN:
            continue
        column = of_kind(site, values, kind, colour)
        if column is not None:
            held = suffix(colour) in _SUMMED and colour not in METRICS[kind]
            scales[kind] = (
                (0.0, _nice(float(np.nanmax(column, initial=0.0))))
                if held and not signed
                else scale_of(site, kind, colour, column, signed)
            )
            mine = geometry.kind == code
            boxes[mine] = quantised(column, scales[kind])[geometry.row[mine]]
    return boxes, scales


def _alerting(geometry: Geometry, firing: Firing) -> Bytes:
    """The gravest alert of each box and of what it holds; 0 for none."""
    boxes = np.where(geometry.asset >= 0, 0, NO_METRIC).astype(np.uint8)
    site = geometry.site
    for asset, severity in firing:
        here = site.position.get(asset, -1)
        while here >= 0:
            box = int(geometry.box_of[here])
            if box >= 0:
                boxes[box] = max(int(boxes[box]), _SEVERITY_BYTE[severity])
            here = int(site.parent[here])
    return boxes


def _pulses(geometry: Geometry, firing: Firing) -> tuple[Ints, Bytes]:
    worst: dict[int, int] = {}
    for asset, severity in firing:
        at = geometry.site.position.get(asset, -1)
        box = int(geometry.box_of[at]) if at >= 0 else -1
        if box >= 0:
            worst[box] = max(worst.get(box, 0), _SEVERITY_CODE[severity])
    first = sorted(worst.items(), key=lambda item: (-item[1], item[0]))[:MAX_PULSES]
    return np.array([box for box, _ in first], dtype=np.int32), np.array([code for _, code in first], dtype=np.uint8)


def _water(site: Site, pipes: Pipes, values: Values) -> tuple[Bytes, Bytes]:
    """Temperature and flow of each pipe: of whoever tells it, first choice before second."""
    temp, flow = (np.full(pipes.temp_key.shape, np.nan) for _ in range(2))
    for code, (kind, name) in enumerate(pipes.keys):
        in_temp, in_flow = pipes.temp_key == code, pipes.flow_key == code
        column = values(kind, name)
        if in_temp.any():
            temp[in_temp] = column[pipes.temp_row[in_temp]]
        if in_flow.any():
            rated = site.number(kind, "rated_kgps")
            design = np.where(np.isfinite(rated), rated, np.nanmax(column, initial=1e-9))
            flow[in_flow] = (column / design)[pipes.flow_row[in_flow]]
    first = [np.where(np.isfinite(both[:, 0]), both[:, 0], both[:, 1]) for both in (temp, flow)]
    return quantised(first[0], _WATER_C), quantised(first[1], (0.0, 1.0))
