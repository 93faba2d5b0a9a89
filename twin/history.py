"""A stored past as matrices on one grid of times, for whoever fits or replays: rows are steps, columns are assets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from twin.frame import Floats, Ints, Origin
from twin.ports import Store
from twin.site import Site

MOST_VALUES = 20_000_000  # in one matrix: 160 MB; ask for fewer assets or longer steps


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """What ``store`` kept of ``site`` in ``[start, end)``, as means over steps of ``step_s``."""

    site: Site
    store: Store
    start: datetime
    end: datetime
    step_s: float

    @property
    def time_s(self) -> Floats:
        """float64[t]: starts of the steps, s since 1970, multiples of the step."""
        first = np.floor(self.start.timestamp() / self.step_s)
        last = np.ceil(self.end.timestamp() / self.step_s)
        return np.asarray(np.arange(first, last) * self.step_s, dtype=np.float64)

    def columns(self, kind: str, names: Sequence[str], rows: Ints | None = None) -> list[Floats]:
        """float64[t, n] for each of ``names``: of the assets of ``kind`` in ``rows`` (None: all), NaN where nothing was read.
        ``ValueError`` where that were more than ``MOST_VALUES``."""
        times = self.time_s
        n = self.site.count(kind) if rows is None else len(rows)
        if len(times) * n > MOST_VALUES:
            raise ValueError(f"{len(times)} steps of {n} assets are more than {MOST_VALUES} values; take longer steps or fewer")
        made = [np.full((len(times), n), np.nan) for _ in names]
        if n:
            found = self.store.series(kind, names, self.start, self.end, self.step_s, rows=rows, origin=Origin.MEASURED)
            at = np.searchsorted(times, found.time_s - 1e-3)
            inside = at < len(times)
            for column, name in zip(made, names, strict=True):
                if name in found.values:
                    column[at[inside]] = found.values[name][inside]
        return made

    def column(self, kind: str, name: str, rows: Ints | None = None) -> Floats:
        """The only one of ``columns``."""
        return self.columns(kind, [name], rows)[0]
