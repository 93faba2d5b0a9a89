"""The watchdog: when the tuner must not be believed, the plant's own control has the word."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from twin.message import Message

if TYPE_CHECKING:
    from energy.tune.tuner import Reading


@dataclass(frozen=True, slots=True)
class Watch:
    """``late_s``: a reading that comes longer after the one before is stale, as the same one again is; ``off``: expected power
    may be off by so many standard deviations in ``patience`` readings in a row; ``lost``: a margin this far below 0 (its own
    unit) hands back at once; ``rest``: good readings after which a plant that was handed back is taken up again."""

    late_s: float = 5400.0
    off: float = 6.0
    patience: int = 4
    lost: float = 0.0
    rest: int = 12

    def begin(self) -> "Guarding":
        """A watchdog that has seen nothing."""
        return Guarding(self)


class Guarding:
    """What the watchdog remembers."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._last_s = float("nan")
        self._off = self._waits = 0

    def rest(self) -> None:
        """The plant was handed back."""
        self._waits = self._watch.rest

    def judge(self, reading: "Reading", score: float) -> Message | None:
        """Why the plant is to go by its own control now; None where the tuner may decide. ``score``: how far
        off expected power was at this reading [standard deviations, from 0]."""
        why = self._why(reading, score)
        self._last_s = reading.time_s
        if why is not None:
            self._waits = self._watch.rest
            return why
        if self._waits:
            self._waits -= 1
            return RESTING
        return None

    def _why(self, reading: "Reading", score: float) -> Message | None:
        w = self._watch
        silent = [name for name, value in [*reading.parts_w.items(), *reading.margins.items()] if not np.isfinite(value)]
        outside = (reading.dry_bulb_c, reading.wet_bulb_c, reading.load_frac)
        if silent or not np.isfinite(outside).all() or not np.isfinite(reading.settings).all():
            return Message(
                "{what} is silent: the plant's own control takes over", {"what": silent[0] if silent else "a sensor"}
            )
        gone_s = reading.time_s - self._last_s  # less than 0 where the clock was set back: then no time is known to have passed
        if gone_s == 0 or gone_s > w.late_s:
            return Message("Readings are stale: the plant's own control takes over")
        lost = [name for name, value in reading.margins.items() if value < -w.lost]
        if lost:
            return Message("{margin} is used up: the plant's own control takes over", {"margin": lost[0]})
        self._off = self._off + 1 if score > w.off else 0
        if self._off >= w.patience:
            return Message("Power is not what the model expects: the plant's own control takes over")
        return None


RESTING = Message("Watching until readings have been good for a while")
