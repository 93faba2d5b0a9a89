"""Signals of the grid as they were told, kept with their clocks; and what stands in for one whose service has fallen silent.

The stand-in is a modelled frame, so every face and the guard see it as what it is: the service's last forecast while that is
under a day old, then our own. A reading that comes back wins over it at once.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np

from analytics.forecast import Forecast
from analytics.told import FRESH_S, KEPT, SIGNALS, TOPIC, Key, Word, Words, read_words, words_in
from energy.ahead import Basis
from twin.errors import SourceError
from twin.frame import Floats, Frame, Origin, Quality
from twin.metrics import METRICS
from twin.ports import Records
from ui.view import Live

log = logging.getLogger(__name__)

MAX_WAITING = 10_000  # words while the records refuse; the oldest are dropped and counted
REMEMBERED = timedelta(days=2)  # of words that may still say something of now
READ_EVERY_S = 900.0  # a reading of each signal is kept no oftener: meters of our own speak each second
STEP_S = 3600.0
SOURCES = {Basis.TOLD: "told", Basis.LATE: "told-late", Basis.OWN: "own-forecast"}
_TRIM_EVERY = 500


class SignalLog:
    """Keeps the words in what is published. Any thread may ``note``; one at a time may ``flush``."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._waiting: deque[Word] = deque(maxlen=MAX_WAITING)
        self._kept_s: dict[Key, float] = {}
        self._written = 0
        self.dropped = 0

    def note(self, frames: Sequence[Frame], now: datetime) -> None:
        """Queue what ``frames``, which came ``now``, say of signals; kept after the next ``flush`` that succeeds."""
        words = [word for word in words_in(frames, now.timestamp()) if word.origin is Origin.FORECAST or self._due(word)]
        self.dropped += max(len(self._waiting) + len(words) - MAX_WAITING, 0)
        self._waiting.extend(words)

    def _due(self, word: Word) -> bool:
        """Whether so much time has passed since the last reading that was kept of this signal."""
        due = word.available_s - self._kept_s.get(word.key, -np.inf) >= READ_EVERY_S
        if due:
            self._kept_s[word.key] = word.available_s
        return bool(due)

    def flush(self, now: datetime) -> None:
        """Write what waits; what the records refuse stays for the next time."""
        while self._waiting:
            word = self._waiting[0]
            try:
                self._records.append(TOPIC, now, word.record())
                self._written += 1
                if self._written % _TRIM_EVERY == 0:
                    self._records.trim(TOPIC, KEPT)
            except SourceError as error:
                log.error("%d words on signals wait: %s", len(self._waiting), error)
                return
            if self._waiting and self._waiting[0] is word:  # not dropped meanwhile
                self._waiting.popleft()


class StandIn:
    """What is taken for the present value of each signal of the grid that nobody reads. ``run`` is called by one task."""

    def __init__(self, live: Live, publish: Callable[[Sequence[Frame]], None]) -> None:
        self._live, self._publish = live, publish
        self._silent: set[tuple[int, str]] = set()

    def run(self, now: datetime) -> None:
        """Say it of every signal that was read once, or told, and is not fresh."""
        live = self._live
        frames = []
        for metric in (name for name in SIGNALS if name in METRICS["grid"]):
            fresh = np.isfinite(live.state.column("grid", metric, now))
            for row in range(live.site.count("grid")):
                if fresh[row]:
                    self._silent.discard((row, metric))
                elif (frame := self._frame(row, metric, now)) is not None:
                    frames.append(frame)
        if frames:
            self._publish(frames)

    def _frame(self, row: int, metric: str, now: datetime) -> Frame | None:
        found = stand_in(words_of(self._live, row, metric, now), self._live.forecasts, row, metric, now)
        if found is None:
            return None
        value, basis = found
        if (row, metric) not in self._silent:
            self._silent.add((row, metric))
            log.warning("nobody reads %s of %s; %s stands in", metric, self._live.site.ids_of("grid")[row], SOURCES[basis])
        rows, grade = np.array([row], dtype=np.int32), np.array([Quality.SUSPECT], dtype=np.uint8)
        return Frame("grid", now, rows, {metric: np.array([value])}, Origin.MODELLED, SOURCES[basis], quality={metric: grade})


def words_of(live: Live, row: int, metric: str, now: datetime, span: timedelta = REMEMBERED) -> Words:
    """What was told of a signal of the grid lately."""
    return read_words(live.records, ("grid", row, metric), now - span)


def stand_in(words: Words, forecasts: Sequence[Forecast], row: int, metric: str, now: datetime) -> tuple[float, Basis] | None:
    """The value that stands in for a reading now, and whose it is: the service's, its last one, or our own newest forecast;
    None where nobody has said anything of now."""
    now_s = now.timestamp()
    said = words.at(now_s, _slot(now_s), STEP_S)
    if np.isfinite(said.values[0]):
        return float(said.values[0]), Basis.TOLD if now_s - said.available_s[0] <= FRESH_S else Basis.LATE
    mine = [one for one in forecasts if (one.kind, one.row, one.metric) == ("grid", row, metric)]
    newest = max(mine, key=lambda one: one.issued, default=None)
    if newest is None:
        return None
    at = np.flatnonzero((newest.time_s <= now_s) & (now_s < newest.time_s + STEP_S))
    return (float(newest.p50[at[0]]), Basis.OWN) if len(at) else None


def _slot(now_s: float) -> Floats:
    return np.array([now_s // STEP_S * STEP_S])
