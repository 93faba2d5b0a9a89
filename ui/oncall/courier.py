"""The courier: takes pages out of the book and hands them to channels, each channel in its own turn.

A channel that is slow, busy or dead holds up nobody but itself. ``tick`` starts what is due and returns; ``drain`` waits for
what was started, as a virtual clock needs it."""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from analytics.oncall.desk import Event, Page
from analytics.oncall.keep import page_of
from analytics.oncall.outbox import GIVE_UP_S, Pace, Send, Waiting, next_send, retry_s
from twin.errors import SourceError
from twin.ports import Clock
from ui.faces.notify import MAX_FILES_BYTES, Attached, Channel, ChannelOptions, Parcel
from ui.faces.notify.post import Post, Undelivered
from ui.faces.notify.said import Said, say
from ui.oncall.book import Book
from ui.report.names import in_language
from ui.words import words

log = logging.getLogger(__name__)

MAX_IN_A_TURN = 20  # messages of one channel before it looks at the clock again


class Painter(Protocol):
    """Makes the picture of a page's first series, None where there is none."""

    def __call__(self, page: Page, language: str) -> bytes | None:
        """PNG, texts in ``language``."""
        ...


class Fetch(Protocol):
    """Reads the file of a report; ``SourceError`` where it is gone."""

    def __call__(self, file: str) -> bytes:
        """The file's bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """A channel as it is configured."""

    channel: Channel
    options: ChannelOptions
    pace: Pace


class Courier:
    """Delivers. ``lines``: channel name -> how; ``outside``: URL under which people reach icctwin; ``fallback``: the channel
    for what another gave up, "" for none; ``paint``: makes pictures; ``fetch``: reads what goes along."""

    def __init__(
        self,
        book: Book,
        lines: Mapping[str, Line],
        post: Post,
        clock: Clock,
        rng: np.random.Generator,
        *,
        timezone: str = "UTC",
        outside: str = "",
        fallback: str = "",
        paint: Painter | None = None,
        fetch: Fetch | None = None,
    ) -> None:
        self._book, self.lines, self._post, self._clock, self._rng = book, lines, post, clock, rng
        self._timezone, self._outside, self._fallback = timezone, outside, fallback
        self._paint, self._fetch = paint, fetch
        self._sent: dict[str, deque[float]] = {name: deque(maxlen=1000) for name in lines}
        self._rest_s: dict[str, float] = {}  # channel -> when it may be tried again after a failure
        self._fails: dict[str, int] = {}
        self._turns: dict[str, asyncio.Task[None]] = {}
        self._looked_s = -np.inf
        self._unmarked: set[int] = set()  # pages that were taken, which the book, on a full disk, could not be told

    async def tick(self) -> None:
        """Start a turn for each channel that has something due and none under way."""
        now_s = self._now_s()
        for name in self._book.channels():
            turn = self._turns.get(name)
            if (turn is None or turn.done()) and self._rest_s.get(name, 0.0) <= now_s:
                if turn is not None and not turn.cancelled() and (error := turn.exception()):
                    log.error("channel %s failed in a way that it should not", name, exc_info=error)
                self._turns[name] = asyncio.create_task(self._turn(name), name=f"notify {name}")

    def _now_s(self) -> float:
        """What the clock shows. Whoever asks notices that it was set back: a turn may have seen it ahead when no tick did."""
        now_s = self._clock.now().timestamp()
        if now_s < self._looked_s:
            self._set_back(self._looked_s - now_s)
        self._looked_s = now_s
        return now_s

    def _set_back(self, by_s: float) -> None:
        """The clock was set back: a channel rests as long as it would have."""
        self._rest_s = {name: at_s - by_s for name, at_s in self._rest_s.items()}
        self._sent = {name: deque((at_s - by_s for at_s in sent), sent.maxlen) for name, sent in self._sent.items()}

    async def drain(self) -> None:
        """Wait for the turns under way."""
        if turns := [turn for turn in self._turns.values() if not turn.done()]:
            await asyncio.gather(*turns)

    async def close(self) -> None:
        """End the turns under way (what they did not finish stays in the book) and let go of connections."""
        for turn in self._turns.values():
            turn.cancel()
        await asyncio.gather(*self._turns.values(), return_exceptions=True)
        await self._post.close()

    async def _turn(self, name: str) -> None:
        line = self.lines.get(name)
        for _ in range(MAX_IN_A_TURN):
            if self._unmarked and not self._marked():
                return
            now_s = self._now_s()
            # nothing is written down for later: what seems so was written by a clock that has been set back
            rows = [replace(row, due_s=min(row.due_s, now_s)) for row in self._book.waiting(name)]
            if line is None:  # a reload took the channel away
                self._book.dead([row.number for row in rows], now_s, f"there is no channel {name!r} any more", self._fallback)
                return
            what = next_send(rows, self._sent[name], line.pace, now_s)
            if not isinstance(what, Send):
                self._rest_s[name] = min(what, now_s + 1.0)  # something more urgent may come meanwhile
                return
            if not await self._deliver(name, line, [row for row in rows if row.number in what.numbers], now_s):
                return

    def _marked(self) -> bool:
        """Tell the book of what was taken; False where it cannot be told, and then nothing more is sent: a page that is not
        known to be taken would go out again after a kill."""
        try:
            self._book.sent(sorted(self._unmarked), self._now_s())
        except SourceError as error:
            log.error("%d pages were taken, which cannot be kept: %s", len(self._unmarked), error)
            return False
        self._unmarked.clear()
        return True

    async def _deliver(self, name: str, line: Line, rows: list[Waiting], now_s: float) -> bool:
        """One message of these rows; whether the channel may go on at once."""
        numbers = [row.number for row in rows]
        try:
            pages = [page_of(text) for text in self._book.texts(numbers)]
        except SourceError as error:
            self._book.dead(numbers, now_s, str(error))
            return True
        if not line.options.resolves and all(page.event is Event.RESOLVE for page in pages):
            self._book.sent(numbers, now_s)
            return True
        said = await self._say(line, pages)
        files: list[Attached] = []
        if any(page.files for page in pages):
            files = await asyncio.to_thread(self._files, pages, line.options.language)
        parcel = Parcel(f"icctwin-{pages[-1].incident}-{numbers[-1]}", pages, said, now_s, files)
        try:
            self._sent[name].append(self._now_s())
            await line.channel.deliver(parcel, self._post)
        except Undelivered as error:
            self._failed(name, rows, error)
            return False
        self._fails[name] = 0
        self._unmarked.update(numbers)
        return self._marked()

    async def _say(self, line: Line, pages: list[Page]) -> Said:
        options, drawn = line.options, None
        if self._paint and options.pictures and len(pages) == 1:
            drawn = await asyncio.to_thread(self._paint, pages[0], options.language)  # reads the store
        return say(pages, words(options.language), self._timezone, self._outside, drawn)

    def _files(self, pages: Sequence[Page], language: str) -> list[Attached]:
        """What goes along, in the receiver's language; what is gone or too large stays behind, and its link leads to it."""
        wanted = in_language((file for page in pages for file in page.files), language)
        found: list[Attached] = []
        for file in wanted if self._fetch else ():
            try:
                data = self._fetch(file) if self._fetch else b""
            except SourceError as error:
                log.warning("%s does not go along: %s", file, error)
                continue
            if sum(len(one.data) for one in found) + len(data) <= MAX_FILES_BYTES:
                found.append(Attached(file.rpartition("/")[2], data))
        return found

    def _failed(self, name: str, rows: list[Waiting], error: Undelivered) -> None:
        now_s = self._now_s()
        # since when a row waits for this channel, not since when its page was made: a fallback gets its own day
        over = [row.number for row in rows if error.hopeless or now_s - row.made_s > GIVE_UP_S]
        kept = [row.number for row in rows if row.number not in over]
        if over:
            log.error("channel %s: %d pages are given up: %s", name, len(over), error)
            self._book.dead(over, now_s, str(error), "" if name == self._fallback else self._fallback)
        if kept:
            fails = self._fails.get(name, 0)
            self._fails[name] = fails + 1
            rest_s = retry_s(fails, error.retry_after_s, self._rng)
            self._rest_s[name] = now_s + rest_s
            level = logging.DEBUG if fails else logging.WARNING  # once; how it goes on is a metric and an alert
            log.log(level, "channel %s: %s; tried again in %.0f s", name, error, rest_s)
            self._book.failed(kept, now_s, str(error))  # due at once: the channel's own rest keeps it back
