"""What busy links count: waits, ECN marks, pauses. Made up from load alone, without chance, so that seeds stay as they are.

Nothing below ``CALM`` of a link's rate, then growing with the square of what lies above it, as queues do; far below what
the rules call congestion. Nothing is modelled of switches' buffers.
"""

import numpy as np

from twin.frame import Floats

CALM = 0.25  # share of the rate from which queues begin to form
WAITS, MARKS, PAUSES = 4.0e6, 1200.0, 60.0  # a second at full rate: ticks, packets, frames
COUNTS = ("wait_count", "ecn_marked_count", "pause_rx_count", "pause_tx_count", "discard_count", "queue_drop_count")


class Congestion:
    """Counters of every port; they only grow."""

    def __init__(self, ports: int) -> None:
        self.counts: dict[str, Floats] = {name: np.zeros(ports) for name in COUNTS}
        self._last_s = float("nan")

    def step(self, share: Floats, time_s: float) -> None:
        """Count what ``share`` (0-1 of each port's rate) made since the last step; the first one counts nothing."""
        dt_s = max(time_s - self._last_s, 0.0) if np.isfinite(self._last_s) else 0.0
        self._last_s = time_s
        crowd = np.square(np.clip((share - CALM) / (1.0 - CALM), 0.0, 1.0)) * dt_s
        for name, a_second in (
            ("wait_count", WAITS),
            ("ecn_marked_count", MARKS),
            ("pause_rx_count", PAUSES),
            ("pause_tx_count", 0.8 * PAUSES),
        ):
            self.counts[name] = self.counts[name] + crowd * a_second

    def values(self) -> dict[str, Floats]:
        """Whole counts, as ports show them."""
        return {name: np.floor(count) for name, count in self.counts.items()}
