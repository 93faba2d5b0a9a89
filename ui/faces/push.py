"""The once-a-second heart of the faces: one view, one table for each page and language that somebody reads, one push to all.

Dash has a push of its own (callbacks that call ``set_props``), and pages with charts to play with use Dash's callbacks. For
numbers it was left, with dash 4.4.1: each open page runs a loop that serialises the same numbers for itself, an unread push
grows a queue without bound, and after a restart of the server the page's socket came back but its numbers stood still (tried,
with and without ``persistent=True``). Here every client gets the same bytes, a slow one skips pushes and then gets the whole
table, and a push that does not come is itself the sign by which the page turns grey.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from twin.frame import Origin
from twin.site import Site
from ui.access.door import identity_of, source_of
from ui.access.rates import MAX_SOCKETS, Held
from ui.faces.pages import may_see
from ui.faces.pages.shell import shell_labels
from ui.faces.pages.texts import shell_table
from ui.faces.shelf import Shelf
from ui.past import Past, read_past
from ui.view import Live, View, view
from ui.words import LANGUAGES, SYMBOLS, Words, words

MAX_CLIENTS = 200  # one more is told so (close code 1013) and tries again later
EVERY_S = 1.0  # a push at least this often, changed or not
SOONEST_S = 0.5  # and, where the centre's power has a new reading, at once but no more often than this
LOOK_S = 0.1
PAST_EVERY_S = 60.0
FIRST_S = 1.0  # that the first look waits for the last day, and a page for what it needs of the shelf
PAST = "past"
BAR = "bar"  # what plain pages listen to: site, clock, health and notices, as every page has them
PAST_SOON_S = 10.0  # while the store has nothing: a demo is still making up its past
_log = logging.getLogger(__name__)


Table = dict[str, Any]


def read_day(live: Live, now: datetime) -> Past:
    """The last day of ``live``."""
    return read_past(live.store, now, live.records, live.supply)


def _nothing(_: View) -> Table:
    return {}


@dataclass(frozen=True, slots=True)
class Feed:
    """What a page is pushed: its ``table`` each second, ``labels`` that its scripts say beside those of its ``body``,
    what it ``needs`` of the shelf, and what it is told once, of things that stay (``hello``)."""

    table: Callable[[View, Live, Words], Table]
    labels: Sequence[str] = ()
    body: str = ""
    needs: Sequence[str] = ()
    hello: Callable[[View], Table] = _nothing


Key = tuple[str, str]  # page, language


class Pulse:
    """One shared view of ``live``. Everything here runs on the server's event loop."""

    def __init__(self, live: Live, release: str) -> None:
        self.live = live
        self.release = release  # a page that hears another than at first loads itself again
        self.shelf = Shelf(live)
        self.shelf.add(PAST, PAST_EVERY_S, read_day, PAST_SOON_S)
        self.clients = 0
        self._held = Held()
        self._view: View | None = None
        self._made_s = -1.0
        self._number = 0
        self.feeds: dict[str, Feed] = {BAR: Feed(lambda view, live, words: {})}  # page -> what it is pushed
        self._told: dict[Key, Table] = {}  # the table as last pushed
        self._change: dict[Key, str] = {}  # the push that leads from the table before to it
        self._readers: Counter[Key] = Counter()
        self._beat = asyncio.Event()  # replaced at each beat
        self._task: asyncio.Task[None] | None = None

    def add(self, page: str, feed: Feed) -> None:
        """Push ``feed`` to whoever opens ``page``."""
        self.feeds[page] = feed

    async def view(self) -> View:
        """The view that all faces share: never older than a second."""
        now_s = asyncio.get_running_loop().time()
        if self._view is None or now_s - self._made_s >= EVERY_S:
            return await self._look(now_s)
        return self._view

    @property
    def past(self) -> Past | None:
        """The last day, as it was read last."""
        past: Past | None = self.shelf[PAST].value
        return past

    async def _look(self, now_s: float) -> View:
        kept = self.shelf[PAST]
        needs = {name for page, _ in self._readers for name in self.feeds[page].needs}
        self.shelf.look({PAST, *needs}, now_s)
        if kept.read is None:
            await self.shelf.first(PAST, FIRST_S)
        made = view(self.live, self.live.clock.now(), self.past)
        self._view, self._made_s = made, now_s
        return made

    async def serve(self, socket: WebSocket, language: str, page: str) -> None:
        """Feed one page until it leaves. The page never speaks: one that does is shown the door (1008)."""
        await socket.accept()
        who = identity_of(socket)
        if page not in self.feeds or not may_see(page, who.role, who.scopes):
            await socket.close(1008, "no page of that name is pushed to you")
            return
        if self.clients >= MAX_CLIENTS:
            await socket.close(1013, f"{MAX_CLIENTS} walls are open already")
            return
        with self._held.one(who, source_of(socket)) as free:
            if free:
                await self._fed(socket, (page, language if language in LANGUAGES else "en"))
            else:
                await socket.close(1013, f"{MAX_SOCKETS} walls are open already for you")

    async def _fed(self, socket: WebSocket, key: Key) -> None:
        self.clients += 1
        self._readers[key] += 1
        listener = asyncio.create_task(_until_it_leaves(socket))
        try:
            await self._feed(socket, key, listener)
        except WebSocketDisconnect:
            pass  # pages come and go
        finally:
            self.clients -= 1
            self._left(key)
            listener.cancel()

    def _left(self, key: Key) -> None:
        """What nobody reads any more is not made any more."""
        self._readers[key] -= 1
        if not self._readers[key]:
            for kept in (self._readers, self._told, self._change):
                kept.pop(key, None)

    async def _feed(self, socket: WebSocket, key: Key, listener: asyncio.Task[None]) -> None:
        self._start()
        await self._first(self.feeds[key[0]].needs)
        seen: int | None = None
        greeted: Site | None = None
        while not listener.done():
            if greeted is not self.live.site:  # a reload of the configuration may replace it
                greeted, seen = self.live.site, None
                await socket.send_text(self._hello(key, await self.view()))
            shown = await self.view()
            missed = seen != self._number - 1 or key not in self._change
            seen = self._number
            await socket.send_text(self._whole(key, shown) if missed else self._change[key])
            if self._number == seen:
                await self._beat.wait()
            if self._stopped():
                await socket.close(1011, "the view failed; see the log")
                return
        listener.result()

    async def _first(self, needs: Sequence[str]) -> None:
        """Read what a page needs before it is opened: what comes soon is there at once, what does not is said to be unread."""
        loop = asyncio.get_running_loop()
        self.shelf.look(needs, loop.time())
        over_s = loop.time() + FIRST_S
        for name in needs:
            if self.shelf[name].read is None:
                await self.shelf.first(name, max(over_s - loop.time(), 0.0))

    def _start(self) -> None:
        if self._stopped():
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._ended)

    def _stopped(self) -> bool:
        return self._task is None or self._task.done()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            _log.error("the wall's view failed; pages turn grey until it can be made again", exc_info=error)
        self._strike()

    def _strike(self) -> None:
        self._beat.set()
        self._beat = asyncio.Event()

    async def _run(self) -> None:
        """Beat while somebody looks."""
        loop = asyncio.get_running_loop()
        while self.clients:
            last_s, pulse = loop.time(), self._newest_s()
            while (waited_s := loop.time() - last_s) < EVERY_S:
                if waited_s >= SOONEST_S and self._newest_s() != pulse:
                    break
                await asyncio.sleep(LOOK_S)
            seen = await self._look(loop.time())
            self._number += 1
            for key in self._told:
                self._retell(key, seen)
            self._strike()
        self._told.clear()
        self._change.clear()

    def _newest_s(self) -> list[float]:
        columns = (self.live.state.newest("site", "it_power_w", origin) for origin in (Origin.MEASURED, Origin.MODELLED))
        return [float(column.time_s[0]) for column in columns]

    def _retell(self, key: Key, seen: View) -> None:
        page, language = key
        old, said = self._told.get(key, {}), words(language)
        new = shell_table(seen, said) | self.feeds[page].table(seen, self.live, said)
        self._told[key] = new
        self._change[key] = _message("change", self._number, {k: v for k, v in new.items() if k not in old or old[k] != v})

    def _whole(self, key: Key, seen: View) -> str:
        if key not in self._told:
            self._retell(key, seen)
        return _message("whole", self._number, self._told[key])

    def _hello(self, key: Key, seen: View) -> str:
        page, language = key
        feed, said = self.feeds[page], words(language)
        told = {
            "release": self.release,
            "zone": seen.timezone,
            "words": {label: said(label) for label in sorted({*shell_labels(feed.body), *feed.labels})},
            "symbols": {unit: said(symbol) for unit, symbol in SYMBOLS.items()},
        }
        return _message("hello", self._number, told | feed.hello(seen))


def _message(kind: str, number: int, body: dict[str, Any]) -> str:
    return json.dumps({"is": kind, "no": number, "body": body}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


async def _until_it_leaves(socket: WebSocket) -> None:
    message = await socket.receive()
    if message["type"] != "websocket.disconnect":
        await socket.close(1008, "this socket only speaks")
