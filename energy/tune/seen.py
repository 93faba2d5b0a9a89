"""What weather and load will probably do, from what was read so far and nothing else.

A value is foreseen as what it is now, plus how the same hours of the last days went on from this hour, the more faded the
further ahead. No provider's forecast is needed; where there is one it may be handed to the tuner instead.
"""

import numpy as np

from twin.frame import Floats

DAY_S = 86_400.0


class Seen:
    """The last ``days`` of some columns at a fixed step; older readings are dropped."""

    def __init__(self, columns: int, step_s: float, days: int = 7) -> None:
        self._step_s, self._slots = step_s, round(DAY_S / step_s)
        self._room = days * self._slots + 1
        self._rows = np.empty((2 * self._room, columns))  # filled twice over before what is old is thrown away
        self._count, self._last_s = 0, np.nan
        self._rises: dict[tuple[int, int], float] = {}

    @property
    def past(self) -> Floats:
        """float64[t, c]: what is kept, the newest last."""
        return self._rows[max(self._count - self._room, 0) : self._count]

    def take(self, values: Floats, time_s: float) -> None:
        """Keep ``values`` [c] of the step at ``time_s``; a NaN is kept as the value before it, as is a step that was left out.
        After as long as it remembers without any it begins anew."""
        left_out = round((time_s - self._last_s) / self._step_s) - 1 if self._count else 0
        if left_out >= self._room:
            self._count = left_out = 0
        self._last_s = time_s
        for _ in range(left_out):  # none, too, where the clock was set back
            self._keep(self._rows[self._count - 1])
        self._keep(np.where(np.isnan(values), self._rows[self._count - 1], values) if self._count else values)

    def _keep(self, row: Floats) -> None:
        if self._count == len(self._rows):
            self._rows[: self._room] = self._rows[-self._room :]
            self._count = self._room
        self._rows[self._count] = row
        self._count += 1

    def ahead(self, steps: int) -> Floats:
        """float64[steps, c]: what is foreseen of the steps after the last one taken; the last value where a day is not full."""
        past = self.past
        if not len(past):
            return np.full((steps, self._rows.shape[1]), np.nan)
        days = (len(past) - 1) // self._slots
        if not days:
            return np.tile(past[-1], (steps, 1))
        starts = len(past) - 1 - self._slots * np.arange(1, days + 1)
        lead = np.minimum(np.arange(1, steps + 1), self._slots)
        return np.asarray(past[-1] + (past[starts[:, None] + lead] - past[starts][:, None]).mean(axis=0))

    def jump(self, column: int, steps: int) -> float:
        """The largest rise within ``steps`` that was ever seen: it may come again before the next decision has worked."""
        past, key = self.past[:, column], (column, steps)
        newest = float(past[-1] - past[-1 - steps :].min()) if len(past) else 0.0
        self._rises[key] = max(self._rises.get(key, 0.0), newest)
        return self._rises[key]
