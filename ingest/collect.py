"""Polls every source when it is due, each within its own time, and reports the health of each as a reading."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np

from ingest.events import Detector
from ingest.judge import doubted, judge
from ingest.push import Batch
from ingest.registry import Inlet
from twin.errors import SourceError
from twin.event import Event
from twin.frame import Frame
from twin.ports import Clock, Eventful, Manifold, Source
from twin.site import Site

log = logging.getLogger(__name__)

MAX_AT_ONCE = 256  # polls under way together; the rest waits its turn
MIN_TIMEOUT_S = 1.0
MAX_TIMEOUT_S = 30.0

Publish = Callable[[Sequence[Frame]], None]
Note = Callable[[Sequence[Event]], None]


def _nobody(events: Sequence[Event]) -> None:
    """Takes events that nobody wants."""


class Collector:
    """Runs the polls of ``sources`` on one event loop; ``publish`` gets judged frames,
    ``note`` the events that the sources tell of or ``detector`` finds in their frames.

    A source that is still at work when it is due again is left alone: its age tells. A source that raises
    ``SourceError`` or takes longer than its time (its interval, 1-30 s) is down until it answers again. Anything else
    that a source raises is a fault of ours: the others go on, and the next ``tick`` raises it.
    """

    def __init__(
        self,
        site: Site,
        sources: Sequence[Source],
        clock: Clock,
        publish: Publish,
        note: Note = _nobody,
        detector: Detector | None = None,
    ) -> None:
        self._site, self._clock, self._publish, self._note = site, clock, publish, note
        self._detector = detector or Detector(site)
        self._sources = tuple(sources)
        self._eventful = [source if isinstance(source, Eventful) else None for source in self._sources]
        self._manifold = [source if isinstance(source, Manifold) else None for source in self._sources]
        self._position = {source.name: i for i, source in enumerate(self._sources)}
        n = len(self._sources)
        self._rows = np.array([site.row(source.name) for source in self._sources], dtype=np.int32)
        self._due_s = np.full(n, -np.inf)
        self._every_s = np.array([source.every_s for source in self._sources])
        self._up = np.full(n, np.nan)
        self._poll_s = np.full(n, np.nan)
        self._samples, self._errors, self._suspect = np.zeros(n), np.zeros(n), np.zeros(n)
        self._polls: dict[int, asyncio.Task[None]] = {}
        self._faults: list[Exception] = []
        self._at_once = asyncio.Semaphore(MAX_AT_ONCE)
        self.reasons: dict[str, str] = {}  # source -> why it is down

    async def tick(self, now: datetime) -> None:
        """Start what is due and report the sources' health; returns without waiting for the polls."""
        time_s = now.timestamp()
        for i in np.flatnonzero(self._due_s <= time_s):
            first = np.isinf(self._due_s[i])
            # everything is read at once at the start and evenly spread over its interval from then on
            phase_s = self._every_s[i] * (i / len(self._sources) if first else 0)
            missed = 0 if first else np.floor((time_s - self._due_s[i]) / self._every_s[i])
            self._due_s[i] = (time_s if first else self._due_s[i]) + (missed + 1) * self._every_s[i] - phase_s
            if int(i) not in self._polls:
                self._polls[int(i)] = asyncio.create_task(self._poll(int(i), now))
        await asyncio.sleep(0)
        self._publish([self.health(now)] if self._sources else [])
        if self._faults:
            faults, self._faults = self._faults, []
            raise ExceptionGroup("sources broke", faults)

    async def push(self, inlet: Inlet, batch: Batch) -> None:
        """Take a batch that was pushed into ``inlet``, one of the sources. On return it is published. ``Refused`` where the
        inlet does not take it."""
        now = self._clock.now()
        self._deliver(self._position[inlet.name], inlet.take(batch, now))

    async def drain(self) -> None:
        """Wait for the polls under way; each ends within its own time."""
        while self._polls:
            await asyncio.gather(*self._polls.values(), return_exceptions=True)

    async def close(self) -> None:
        """Stop polling and let go of all connections."""
        for poll in list(self._polls.values()):
            poll.cancel()
        await self.drain()
        for source in self._sources:
            await source.close()

    def health(self, now: datetime) -> Frame:
        """How the sources do, as a measured frame of kind ``source``."""
        values = {
            "up_flag": self._up.copy(),
            "poll_s": self._poll_s.copy(),
            "samples_count": self._samples.copy(),
            "errors_count": self._errors.copy(),
            "suspect_count": self._suspect.copy(),
            "unmapped_count": np.array([float(source.unmapped) for source in self._sources]),
        }
        if any(self._manifold):
            values["targets_count"] = np.array([one.targets if one else np.nan for one in self._manifold])
            values["targets_down_count"] = np.array([one.targets_down if one else np.nan for one in self._manifold])
        return Frame("source", now, self._rows, values, source="icctwin")

    async def _poll(self, i: int, now: datetime) -> None:
        source = self._sources[i]
        loop = asyncio.get_running_loop()
        try:
            async with self._at_once:
                started_s = loop.time()
                limit_s = min(max(source.every_s, MIN_TIMEOUT_S), MAX_TIMEOUT_S)
                async with asyncio.timeout(limit_s):
                    frames = await source.poll(now)
            self._poll_s[i] = loop.time() - started_s
            self._deliver(i, frames)
            self._recovered(i)
        except SourceError as error:
            self._failed(i, str(error))
        except TimeoutError:
            self._failed(i, f"{source.name}: no answer within {limit_s:g} s; the endpoint or the network is slow")
        except Exception as error:  # noqa: BLE001 - kept and raised by the next tick: a fault of one source must not stop the others
            self._failed(i, f"{source.name}: {type(error).__name__}: {error}")
            self._faults.append(error)
        finally:
            self._polls.pop(i, None)
            if (telling := self._eventful[i]) is not None:
                self._note(telling.take_events())

    def _deliver(self, i: int, frames: Sequence[Frame]) -> None:
        arrived = self._clock.now()
        judged = [judge(frame, arrived) for frame in frames]
        self._samples[i] += sum(frame.samples for frame in judged)
        self._suspect[i] += sum(doubted(frame) for frame in judged)
        self._publish(judged)
        self._note([event for frame in judged for event in self._detector.see(frame)])

    def _failed(self, i: int, reason: str) -> None:
        name = self._sources[i].name
        if self._up[i] != 0:
            log.warning("source %s is down: %s", name, reason)
        self._up[i] = 0
        self._errors[i] += 1
        self.reasons[name] = reason

    def _recovered(self, i: int) -> None:
        name = self._sources[i].name
        if self._up[i] == 0:
            log.info("source %s answers again", name)
        self._up[i] = 1
        many = self._manifold[i]
        if many is not None and (troubles := many.troubles):  # up, but not all of it
            self.reasons[name] = f"{len(troubles)} of its parts fail: {next(iter(troubles.values()))}"
        else:
            self.reasons.pop(name, None)
