"""The picture of the hottest hour: when and in which hall it was, and how its racks stood then, each in the colour of its mean.
Drawn as lines and areas, so it needs no screen and no extra; words on it are set when it is shown, in the reader's language."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from twin.frame import Bytes, Floats, Ints
from twin.message import Message
from twin.metrics import UNITS, suffix
from twin.ports import How, Store
from twin.site import Site
from ui.report.document import Picture, Pin, Scale
from ui.report.pictured import MARK, QUIET
from ui.report.span import Span
from ui.scene.layout import NOT_DRAWN, Places, places
from ui.scene.paint import TOP as TOP_BYTE
from ui.scene.paint import quantised
from ui.scene.paper import SHADE, Face, aimed, faces
from ui.scene.ramps import MAGNITUDE
from ui.scene.sizes import Level
from ui.words import metric_label

HOUR_S = 3600.0
# What tells the hottest hour, the first that was read: of whom, what, how it is folded over the assets.
HEAT = (("rack", "return_temp_c"), ("gpu", "temp_c"), ("rack", "power_w"))
WIDE, TALLEST, HEAD, EDGE = 720.0, 330.0, 34.0, 6.0  # of the drawing; room for a name above it, and beside it
BESIDE_M = 1.6  # so near to racks a hall's other equipment is drawn too
MARGIN_M = 0.8  # of floor around what stands on it
MAX_SIDES, MAX_RACKS = 2500, 20_000  # racks of a hall that are boxes (more: their roofs), and that are drawn at all
LEAST_FRAC, LEAST_C = 0.02, 1.0  # the scale's ends lie so far apart at least: a share of the largest value, kelvins
STEPS = 5  # round ones in a scale, about
FLOOR, LINE = "#e9edf1", "#1c2733"
IN_NONE = (
    "The twin in the hour from {time}: {metric} of each rack, from {low} (dark) to {high} (bright). Hottest: {rack}, {most}"
)
IN_HALL = (
    "The twin of {hall} in the hour from {time}: {metric} of each rack, from {low} (dark) to {high} (bright). "
    "Hottest: {rack}, {most}"
)
Draw = Callable[[Span], Iterator[Picture]]


@dataclass(frozen=True, slots=True, eq=False)
class Hottest:
    """The beginning of an hour, the hall that was hottest then ("": what stands in none), what told it; ``rack`` float64[r]:
    its mean over the hour in each rack of the site, of the warmest thing in it, NaN where none was read."""

    time: datetime
    hall: str
    kind: str
    metric: str
    rack: Floats


def hottest(site: Site, store: Store, span: Span) -> Hottest | None:
    """The hour and the hall in which the mean over a hall's assets was highest; None where none was read."""
    for kind, metric in HEAT:
        if not site.count(kind):
            continue
        found = store.series(kind, (metric,), span.start, span.end, HOUR_S, How.MEAN)
        values = found.values.get(metric)
        if values is None or not np.isfinite(values).any():
            continue
        halls = ("", *site.ids_of("hall"))
        place = site.within(kind, "hall") + 1  # nought: in no hall
        mean = np.column_stack([_mean(values[:, place == k]) for k in range(len(halls))])
        hour, hall = np.unravel_index(int(mean.argmax()), mean.shape)
        time = datetime.fromtimestamp(float(found.time_s[hour]), UTC)
        return Hottest(time, halls[hall], kind, metric, _of_racks(site, kind, values[hour]))
    return None


def _mean(values: Floats) -> Floats:
    """float64[h]: over what was read in each hour; -inf where nothing was."""
    seen = np.isfinite(values)
    return np.where(seen.any(axis=1), np.nansum(values, axis=1) / np.maximum(seen.sum(axis=1), 1), -np.inf)


def _of_racks(site: Site, kind: str, values: Floats) -> Floats:
    """float64[r]: the largest of ``values`` in each rack."""
    inside = site.within(kind, "rack")
    most = np.full(site.count("rack"), -np.inf)
    take = (inside >= 0) & np.isfinite(values)
    np.maximum.at(most, inside[take], values[take])
    return np.where(np.isfinite(most), most, np.nan)


def drawer(site: Site, store: Store) -> Draw:
    """Draws the picture for a span; nothing where nothing was read of a rack that has a place."""

    def draw(span: Span) -> Iterator[Picture]:
        when = hottest(site, store, span)
        if when is None:
            return
        stand = standing(site, places(site), when.hall)
        values = when.rack[stand.rack]
        if not np.isfinite(values).any() or len(values) > MAX_RACKS:
            return
        yield _picture(site, stand, values, when, f"{when.time.astimezone(span.zone):%Y-%m-%d %H:%M}")

    return draw


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Boxes of a hall (m), racks first: ``centre``, ``size`` float64[n, 3]; ``rack`` int32[k]: rows of the first k."""

    centre: Floats
    size: Floats
    rack: Ints


def standing(site: Site, placed: Places, hall: str) -> Standing:
    """The racks of a hall ("": of none) that have a place, and what else stands among them. Plant that stands elsewhere is left
    out: the racks would be small beside it."""
    row = site.row(hall) if hall else site.count("hall")
    racks = site.of_kind("rack")
    rows = np.flatnonzero((placed.hall[racks] == row) & (placed.level[racks] != NOT_DRAWN)).astype(np.int32)
    first = racks[rows]
    rest = np.flatnonzero((placed.level == Level.RACK) & (placed.hall == row))
    rest = rest[~np.isin(rest, racks)]
    if len(first):
        low, high = placed.foot[first, :2].min(axis=0) - BESIDE_M, placed.foot[first, :2].max(axis=0) + BESIDE_M
        at = placed.foot[rest, :2]
        rest = rest[((at >= low) & (at <= high)).all(axis=1)]
    both = np.concatenate([first, rest])
    size = np.where(placed.turned[both][:, None], placed.size[both][:, [1, 0, 2]], placed.size[both])
    lift = np.column_stack([np.zeros((len(both), 2)), size[:, 2] / 2])
    return Standing(placed.foot[both] + lift, size, rows)


def scale_of(values: Floats, unit: str) -> tuple[float, float, int]:
    """Round ends of a scale on which these values differ, and how many round steps lie between: no farther apart than they
    need, and a little where they are equal."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    least = max(LEAST_FRAC * max(abs(low), abs(high)), LEAST_C if unit in ("c", "k") else 1e-9)
    if high - low < least:
        middle = (low + high) / 2
        low, high = middle - least / 2, middle + least / 2
    raw = (high - low) / STEPS
    size = 10.0 ** np.floor(np.log10(raw))
    step = next(s for s in (1, 2, 5, 10) if s * size >= raw * (1 - 1e-9)) * size
    first, last = round(np.floor(low / step + 1e-9)), round(np.ceil(high / step - 1e-9))
    return float(first * step), float(last * step), last - first


def _picture(site: Site, stand: Standing, values: Floats, when: Hottest, time: str) -> Picture:
    unit = suffix(when.metric)
    low, high, steps = scale_of(values, unit)
    most = int(np.nanargmax(values))
    centre, size = _with_floor(stand)
    camera, tall = aimed(centre, size, WIDE - 2 * EDGE, TALLEST)
    camera = camera._replace(shift=camera.shift + np.array([EDGE, HEAD]))
    ground = _area(faces(camera, centre[-1:], size[-1:], sides=False)[0], FLOOR)
    fills = _fills(quantised(values, (low, high)), len(stand.centre))
    seen = faces(camera, stand.centre, stand.size, sides=len(stand.centre) <= MAX_SIDES)
    areas = "".join(_area(face, fills[face.box][face.side], face.box == most) for face in seen)
    name = site.ids_of("rack")[int(stand.rack[most])]
    about = {"time": time, "metric": metric_label(when.metric), "rack": name}
    about |= {key: _said(one, unit) for key, one in (("low", low), ("high", high), ("most", float(values[most])))}
    if when.hall:
        about["hall"] = when.hall
    alt = Message(IN_HALL if when.hall else IN_NONE, about)
    roof = camera.seen(stand.centre[most] + np.array([0.0, 0.0, stand.size[most, 2] / 2]))
    pin = Pin(float(roof[0]), float(roof[1]), name, float(values[most]))
    silent = bool(np.isnan(values).any()) or len(stand.centre) > len(values)
    thin = min(0.3, 90 / len(stand.centre))  # lines around thousands would hide their colours
    drawing = f'<g stroke="{LINE}" stroke-width="{thin:.2g}" stroke-linejoin="round">{ground}{areas}</g>'
    scale = Scale(low, high, steps, unit, when.metric, silent)
    return Picture("hottest", "The hottest hour", drawing, HEAD + tall + EDGE, pin, scale, alt, alt)


def _with_floor(stand: Standing) -> tuple[Floats, Floats]:
    """Centres and sizes of what stands there and, last, of the floor under it."""
    half = stand.size[:, :2] / 2
    low, high = (stand.centre[:, :2] - half).min(axis=0) - MARGIN_M, (stand.centre[:, :2] + half).max(axis=0) + MARGIN_M
    under = float((stand.centre[:, 2] - stand.size[:, 2] / 2).min())
    return np.vstack([stand.centre, [*(low + high) / 2, under]]), np.vstack([stand.size, [*(high - low), 0.0]])


def _fills(tints: Bytes, count: int) -> list[list[str]]:
    """Colours of each box's faces: roofs have the scale's own, sides a shade of it; what tells nothing is grey."""
    rgb = np.tile(np.array(list(bytes.fromhex(QUIET[1:])), dtype=np.float64), (count, 1))
    told = np.flatnonzero(tints <= TOP_BYTE)
    rgb[told] = MAGNITUDE[tints[told]]
    shaded = np.rint(rgb[:, None, :] * SHADE[:, None]).astype(np.uint8)
    return [["#" + bytes(face).hex() for face in box] for box in shaded.tolist()]


def _area(face: Face, fill: str, marked: bool = False) -> str:
    way = "L".join(f"{x:.1f} {y:.1f}" for x, y in face.corners_px.tolist())
    marks = f' stroke="{MARK}" stroke-width="1.2"' if marked else ""
    return f'<path d="M{way}Z" fill="{fill}"{marks}/>'


def _said(value: float, unit: str) -> str:
    return f"{value:,.{1 if unit == 'c' else 0}f}\u202f{UNITS[unit]}".strip()
