"""The newest values that a server told of, put together to frames that rebuild the live state."""

from collections import defaultdict

import numpy as np

from twin.frame import Frame, Origin
from twin.site import Site
from twin.times import moment


class Newest:
    """Takes one value after the other, gives one frame for each kind, origin, band and time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._found: dict[tuple[int, str, str, str], dict[str, list[tuple[int, float, int]]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def add(self, kind: str, metric: str, asset: str, origin: str, band: str, time_us: int, value: float, grade: int) -> None:
        """One value of an asset; those of assets that the site no longer has are left out."""
        if asset in self._site.position and self._site.kind(asset) == kind:
            self._found[time_us, kind, origin, band][metric].append((self._site.row(asset), value, grade))

    def frames(self) -> list[Frame]:
        """All of it, oldest first."""
        made = []
        for (time_us, kind, origin, band), columns in sorted(self._found.items(), key=lambda item: item[0]):
            rows = np.unique([row for some in columns.values() for row, _, _ in some]).astype(np.int32)
            values = {name: np.full(len(rows), np.nan) for name in columns}
            quality = {}
            for name, some in columns.items():
                at = np.searchsorted(rows, [row for row, _, _ in some])
                values[name][at] = [value for _, value, _ in some]
                if any(grade for _, _, grade in some):
                    quality[name] = np.zeros(len(rows), dtype=np.uint8)
                    quality[name][at] = [grade for _, _, grade in some]
            made.append(Frame(kind, moment(time_us), rows, values, Origin(origin), band=band, quality=quality))
        return made
