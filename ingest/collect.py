"""Polls every source when it is due, each within its own time, and reports the health of each as a reading."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

import numpy as np

from ingest.events import Detector
from ingest.gather import MAX_WAITING, Gathered, Gatherer
from ingest.judge import Judge, doubts
from ingest.mappings.pool import Pooled, Reading
from ingest.patience import MAX_AT_ONCE, Patience, Places
from ingest.precedence import FIRST, Precedence
from ingest.push import Batch
from ingest.registry import Inlet
from ingest.sums import Sums
from ingest.wire import without_secrets
from twin.condition import MAX_ERROR, MAX_NAME, MAX_NAMES, MAX_TOLD, Condition
from twin.errors import SourceError
from twin.event import Event
from twin.frame import Frame
from twin.plain import one_line
from twin.ports import Clock, Eventful, Manifold, Naming, Source, Troubled
from twin.site import Site

log = logging.getLogger(__name__)

MIN_TIMEOUT_S = 1.0
MAX_TIMEOUT_S = 30.0
FEW = 32  # sources; the frames of more are passed on together
NEAR_S = 0.5  # half of the time between two ticks
GATHER_S = 0.1  # for which a frame waits for those of other sources

Publish = Callable[[Sequence[Frame]], None]
Note = Callable[[Sequence[Event]], None]


def _nobody(events: Sequence[Event]) -> None:
    """Takes events that nobody wants."""


class Collector:
    """Runs the polls of ``sources`` on one event loop; ``publish`` gets judged frames, ``note`` the events that the sources
    tell of or ``detector`` finds in their frames. ``precedence``: number of a source whose word counts before (1) or behind
    that of others (see ``ingest.precedence``).

    A source that is still at work when it is due again is left alone, and read again as soon as it has answered, once
    however often it was due. A source that raises ``SourceError`` or takes longer than its time (its interval, 1-30 s) is
    down until it answers again; it is read when it is next due. Any number of sources that hang hold up no other: those that
    did not answer last wait for each other alone, and a poll that takes long does not keep its place among the others.
    Anything else that a source raises is a fault of ours: the others go on, and the next ``tick`` raises it.
    """

    def __init__(
        self,
        site: Site,
        sources: Sequence[Source],
        clock: Clock,
        publish: Publish,
        note: Note = _nobody,
        detector: Detector | None = None,
        precedence: Mapping[str, int] | None = None,
    ) -> None:
        self._site, self._clock, self._publish, self._note = site, clock, publish, note
        self._detector = detector or Detector(site)
        self._sources = tuple(sources)
        self._eventful = [source if isinstance(source, Eventful) else None for source in self._sources]
        self._manifold = [source if isinstance(source, Manifold) else None for source in self._sources]
        self._troubled = [source if isinstance(source, Troubled) else None for source in self._sources]
        self._pooled = [source if isinstance(source, Pooled) else None for source in self._sources]
        self._position = {source.name: i for i, source in enumerate(self._sources)}
        n = len(self._sources)
        self._rows = np.array([site.row(source.name) for source in self._sources], dtype=np.int32)
        self._due_s = np.full(n, -np.inf)
        self._every_s = np.array([source.every_s for source in self._sources])
        self._up = np.full(n, np.nan)
        self._poll_s = np.full(n, np.nan)
        self._samples, self._errors, self._suspect, self._repeats = (np.zeros(n) for _ in range(4))
        self._lag_s = np.full(n, np.nan)
        self._judge = Judge(site)
        self._gatherer = Gatherer(site)
        self._sums = Sums(site, alone=n == 1)
        self._precedence = Precedence(site, [(precedence or {}).get(one.name, FIRST) for one in self._sources], self._every_s)
        self._passing: asyncio.TimerHandle | None = None
        self._polls: dict[int, asyncio.Task[bool]] = {}
        self._owed: dict[int, datetime] = {}  # due while still at work: since when
        self._faults: list[Exception] = []
        self._answering, self._silent = Places(MAX_AT_ONCE), Places(MAX_AT_ONCE)
        self.reasons: dict[str, str] = {}  # source -> why it is down, or which part of it
        self._since: dict[str, datetime] = {}  # from when on there is a reason
        self._unmapped = np.zeros(n)

    async def tick(self, now: datetime) -> None:
        """Start what is due and report the sources' health; returns without waiting for the polls."""
        time_s = now.timestamp()
        # no poll is due later than in an interval: where one is, the clock was set back
        self._due_s = np.where(self._due_s > time_s + self._every_s + 1, time_s, self._due_s)
        # a tick comes a little sooner or later than the last: what is due next to it must not wait for another
        soon_s = time_s + np.minimum(self._every_s / 2, NEAR_S)
        for i in np.flatnonzero(self._due_s <= soon_s):
            first = np.isinf(self._due_s[i])
            # everything is read at once at the start and evenly spread over its interval from then on, in whole seconds
            phase_s = np.floor(self._every_s[i] * i / len(self._sources)) if first else 0.0
            missed = 0 if first else np.floor((soon_s[i] - self._due_s[i]) / self._every_s[i])
            self._due_s[i] = (time_s if first else self._due_s[i]) + (missed + 1) * self._every_s[i] - phase_s
            if int(i) in self._polls:
                self._owed[int(i)] = now
            else:
                self._start(int(i), now)
        await asyncio.sleep(0)
        self._publish([self.health(now)] if self._sources else [])
        if self._faults:
            faults, self._faults = self._faults, []
            raise ExceptionGroup("sources broke", faults)

    async def push(self, inlet: Inlet, batch: Batch) -> None:
        """Take a batch that was pushed into ``inlet``, one of the sources. On return it is published. ``Refused`` where the
        inlet does not take it."""
        now = self._clock.now()
        self._deliver(self._position[inlet.name], inlet.take(batch, now), at_once=True)

    def refused(self, inlet: Inlet) -> None:
        """Count something that was pushed into ``inlet`` and not taken, or not all of it."""
        self._errors[self._position[inlet.name]] += 1

    async def drain(self) -> None:
        """Wait for the polls under way; each ends within its own time."""
        while self._polls:
            await asyncio.gather(*self._polls.values(), return_exceptions=True)
        self._pass_on()

    async def close(self) -> None:
        """Stop polling and let go of all connections."""
        for poll in list(self._polls.values()):
            poll.cancel()
        await self.drain()
        for source in self._sources:
            await source.close()

    def health(self, now: datetime) -> Frame:
        """How the sources do, as a measured frame of kind ``source``."""
        self._unmapped = np.array([float(source.unmapped) for source in self._sources])
        values = {
            "up_flag": self._up.copy(),
            "poll_s": self._poll_s.copy(),
            "samples_count": self._samples.copy(),
            "errors_count": self._errors.copy(),
            "suspect_count": self._suspect.copy(),
            "duplicates_count": self._repeats.copy(),
            "lag_s": self._lag_s.copy(),
            "unmapped_count": self._unmapped.copy(),
        }
        values |= self._precedence.counts(now)
        if any(self._manifold):
            values["targets_count"] = np.array([one.targets if one else np.nan for one in self._manifold])
            values["targets_down_count"] = np.array([one.targets_down if one else np.nan for one in self._manifold])
        return Frame("source", now, self._rows, values, source="icctwin")

    def conditions(self) -> dict[str, Condition]:
        """The same in words as of the last ``health``, of each source that was not asked to the end yet, and of those that fail
        or tell of what is not known: at most ``MAX_TOLD``, those that are down first, then those that fail in part."""
        fails = np.array([source.name in self.reasons for source in self._sources], dtype=bool)
        unasked = np.isnan(self._up)
        told = np.flatnonzero(~unasked & (fails | (self._unmapped > 0)))
        worst = told[np.lexsort((~fails[told], self._up[told]))][:MAX_TOLD]
        asked = {self._sources[i].name: self._condition(i) for i in worst.tolist()}
        return asked | {self._sources[i].name: Condition(None) for i in np.flatnonzero(unasked).tolist()}

    def _condition(self, i: int) -> Condition:
        source, unmapped = self._sources[i], int(self._unmapped[i])
        names = source.unmapped_names[:MAX_NAMES] if unmapped and isinstance(source, Naming) else ()
        said, since = self.reasons.get(source.name, ""), self._since.get(source.name)
        return Condition(bool(self._up[i]), said, since, unmapped, tuple(_cut(name, MAX_NAME) for name in names))

    def _start(self, i: int, now: datetime) -> None:
        self._owed.pop(i, None)
        self._polls[i] = asyncio.create_task(self._poll(i, now))
        self._polls[i].add_done_callback(partial(self._polled, i))

    def _polled(self, i: int, poll: asyncio.Task[bool]) -> None:
        """A poll is over, also one that was cancelled before it began."""
        self._polls.pop(i, None)
        owed = self._owed.pop(i, None)
        if owed is not None and not poll.cancelled() and poll.result():
            self._start(i, owed)

    async def _poll(self, i: int, now: datetime) -> bool:
        """Whether the source has answered."""
        source = self._sources[i]
        loop = asyncio.get_running_loop()
        try:
            async with (self._answering if self._up[i] == 1 else self._silent).one():
                started_s = loop.time()
                limit_s = min(max(source.every_s, MIN_TIMEOUT_S), MAX_TIMEOUT_S)
                async with Patience(limit_s):
                    answer = await (source.poll(now) if (pooled := self._pooled[i]) is None else pooled.read_page(now))
            self._poll_s[i] = loop.time() - started_s
            self._deliver(i, answer)
            self._recovered(i)
            return True
        except SourceError as error:
            self._failed(i, str(error))
        except TimeoutError:
            self._failed(i, f"{source.name}: no answer within {limit_s:g} s; the endpoint or the network is slow")
        except Exception as error:  # noqa: BLE001 - kept and raised by the next tick: a fault of one source must not stop the others
            self._failed(i, f"{source.name}: {type(error).__name__}: {error}")
            self._faults.append(error)
        finally:
            if (telling := self._eventful[i]) is not None:
                self._note(telling.take_events())
        return False

    def _deliver(self, i: int, answer: Sequence[Frame] | Reading, at_once: bool = False) -> None:
        """Let what source ``i`` read go on: at once, or with that of many others a moment later."""
        if isinstance(answer, Reading):
            self._gatherer.add_reading(i, answer)
            self._lag_s[i] = (self._clock.now() - answer.now).total_seconds()
        elif answer:
            for frame in answer:
                self._gatherer.add(i, frame)
            self._lag_s[i] = (self._clock.now() - max(frame.time for frame in answer)).total_seconds()
        if at_once or len(self._sources) <= FEW or self._gatherer.waiting > MAX_WAITING:
            self._pass_on()
        elif self._passing is None:
            self._passing = asyncio.get_running_loop().call_later(GATHER_S, self._pass_on_later)

    def _pass_on(self) -> None:
        """Judge and publish what waits. A frame that breaks us takes no other along: it is raised when these are published."""
        if self._passing is not None:
            self._passing.cancel()
            self._passing = None
        arrived = self._clock.now()
        judged: list[Frame] = []
        events: list[Event] = []
        faults: list[Exception] = []
        for said in self._sums.add(self._gatherer.take(), arrived):
            try:
                if (one := self._precedence.admit(said, arrived)) is None:
                    continue
                judged.append(self._judged(one, arrived))
                self._precedence.note(one, judged[-1], arrived)
                events += [self._said(event, one) for event in self._detector.see(judged[-1], arrived)]
            except Exception as error:  # noqa: BLE001 - kept, and raised below
                faults.append(error)
        if judged:
            self._publish(judged)
        if events:
            self._note(events)
        if faults:
            raise ExceptionGroup("frames broke", faults)

    def _judged(self, one: Gathered, arrived: datetime) -> Frame:
        """``one`` judged, and counted for those who said it."""
        frame = self._judge.judge(one.frame, arrived)
        marked = (one.carried, self._samples), (self._judge.repeated, self._repeats), (doubts(frame), self._suspect)
        for marks, counts in marked:
            if marks is not None:
                counts += np.bincount(one.by, weights=marks, minlength=len(counts))
        return frame

    def _pass_on_later(self) -> None:
        self._passing = None
        try:
            self._pass_on()
        except Exception as error:  # noqa: BLE001 - nobody waits for it here: kept, and raised by the next tick
            self._faults.append(error)

    def _said(self, event: Event, one: Gathered) -> Event:
        """``event`` with the source that told of it."""
        row = self._site.row(event.asset)
        by = one.by[np.flatnonzero(one.frame.rows == row)[0]]
        return replace(event, source=self._sources[by].name)

    def _failed(self, i: int, reason: str) -> None:
        name = self._sources[i].name
        self.reasons[name] = reason = _cut(reason, MAX_ERROR)
        if self._up[i] != 0:
            log.warning("source %s is down: %s", name, reason)
            self._since[name] = self._clock.now()
        self._up[i] = 0
        self._errors[i] += 1
        self._lag_s[i] = np.nan  # of an answer: its age from now on says since when there was none

    def _recovered(self, i: int) -> None:
        name = self._sources[i].name
        if self._up[i] == 0:
            log.info("source %s answers again", name)
            self._since.pop(name, None)
        self._up[i] = 1
        parts = self._troubled[i]
        if parts is not None and (troubles := parts.troubles):  # up, but not all of it
            self.reasons[name] = _cut(f"{len(troubles)} of its parts fail: {next(iter(troubles.values()))}", MAX_ERROR)
            self._since.setdefault(name, self._clock.now())
        else:
            self.reasons.pop(name, None)
            self._since.pop(name, None)


def _cut(text: str, most: int) -> str:
    """What others said, as one line of at most ``most`` characters that can be written down, without secrets."""
    plain = one_line(without_secrets(text[: 4 * most])).encode("utf-8", "replace").decode()
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
