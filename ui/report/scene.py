"""The 3D picture of the hottest hour: when and in which hall it was, and how its twin looked then. Needs the extra ``scene``;
a report without it is whole but for this picture."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twin.errors import ConfigError
from twin.frame import Floats
from twin.message import Message
from twin.metrics import UNITS, suffix
from twin.ports import How, Store
from twin.site import Site
from ui.apart import apart
from ui.report.document import Picture
from ui.report.span import Span
from ui.words import metric_label

if TYPE_CHECKING:
    from ui.scene.geometry import Geometry

HOUR_S = 3600.0
# What tells the hottest hour, the first that was read: of whom, what, how it is folded over the assets.
HEAT = (("rack", "return_temp_c"), ("gpu", "temp_c"), ("rack", "power_w"))
SIZE_PX = (1400, 640)
Draw = Callable[[Span], Iterator[Picture]]


@dataclass(frozen=True, slots=True)
class Hottest:
    """The beginning of an hour, the hall that was hottest then ("": what stands in none), and what told it."""

    time: datetime
    hall: str
    kind: str
    metric: str


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
        return Hottest(datetime.fromtimestamp(float(found.time_s[hour]), UTC), halls[hall], kind, metric)
    return None


def _mean(values: Floats) -> Floats:
    """float64[h]: over what was read in each hour; -inf where nothing was."""
    seen = np.isfinite(values)
    return np.where(seen.any(axis=1), np.nansum(values, axis=1) / np.maximum(seen.sum(axis=1), 1), -np.inf)


def drawer(site: Site, store: Store) -> Draw:
    """Draws the picture for a span; nothing where there is no extra, or nothing was read."""

    def draw(span: Span) -> Iterator[Picture]:
        when = hottest(site, store, span)
        if when is None or find_spec("pyvista") is None:
            return
        try:
            png, (low, high) = _png(site, store, when)
        except ConfigError:
            return
        about = {"time": f"{when.time.astimezone(span.zone):%Y-%m-%d %H:%M}", "metric": metric_label(when.metric)}
        about |= {"low": f"{low:,.0f}", "high": f"{high:,.0f}\u202f{UNITS[suffix(when.metric)]}".strip()}
        text = "The twin at {time}: {metric} of each rack, from {low} (dark) to {high} (bright)"
        if when.hall:
            text = "The twin of {hall} at {time}: {metric} of each rack, from {low} (dark) to {high} (bright)"
            about["hall"] = when.hall
        alt = Message(text, about)
        yield Picture("hottest", "The hottest hour", png, alt, alt)

    return draw


def _png(site: Site, store: Store, when: Hottest) -> tuple[bytes, tuple[float, float]]:
    """The picture, and what the ends of its colours stand for."""
    from ui.scene.export import bytes_of
    from ui.scene.geometry import geometry
    from ui.scene.still import still

    made = geometry(site)
    frame, _ = still(made, store, when.time, when.metric)
    scales = bytes_of(made, frame)[0]["scales"]
    low, high = scales.get("rack") or next(iter(scales.values()), (np.nan, np.nan))
    return apart(_drawn, made, frame, when.hall), (low, high)


def _drawn(made: "Geometry", frame: bytes, hall: str) -> bytes:
    from ui.scene.export import PAPER, picture

    with tempfile.TemporaryDirectory(prefix="icctwin-report-") as folder:
        path = Path(folder) / "scene.png"
        picture(made, frame, "site", hall, path, SIZE_PX, PAPER)
        return path.read_bytes()
