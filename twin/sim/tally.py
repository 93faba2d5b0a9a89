"""Sums and extremes of a run, kept chunk by chunk, and the thinned series that faces draw."""

import math
from collections.abc import Mapping

import numpy as np

from twin.frame import Floats

POINTS = 1440  # of the thinned series


class Tally:
    """What is left of a run when its chunks have gone. ``series``: name -> means over equal parts of the run, at most
    ``POINTS``."""

    def __init__(self, steps: int, step_s: float) -> None:
        self.step_s, self.stride = step_s, max(1, math.ceil(steps / POINTS))
        self.sums: dict[str, float] = {}
        self.peaks: dict[str, float] = {}
        self.lows: dict[str, float] = {}
        self._parts: dict[str, list[Floats]] = {}
        self._rest: dict[str, Floats] = {}

    def add(self, columns: Mapping[str, Floats]) -> None:
        """One chunk of columns over time. NaN makes the sum NaN: what is unknown is not counted as nothing."""
        for name, values in columns.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(values.sum()) * self.step_s
            if len(values) and not np.isnan(values).all():
                self.peaks[name] = max(self.peaks.get(name, -math.inf), float(np.nanmax(values)))
                self.lows[name] = min(self.lows.get(name, math.inf), float(np.nanmin(values)))
            whole = np.concatenate([self._rest.get(name, np.empty(0)), values])
            full = len(whole) // self.stride * self.stride
            self._parts.setdefault(name, []).append(whole[:full].reshape(-1, self.stride).mean(axis=1))
            self._rest[name] = whole[full:]

    def kwh(self, name: str) -> float:
        """Energy of a power column."""
        return self.sums.get(name, math.nan) / 3.6e6

    def series(self) -> dict[str, Floats]:
        """The thinned columns; a last part that is shorter is its own mean."""
        made = {}
        for name, parts in self._parts.items():
            rest = self._rest[name]
            made[name] = np.concatenate([*parts, [rest.mean()]]) if len(rest) else np.concatenate(parts)
        return made
