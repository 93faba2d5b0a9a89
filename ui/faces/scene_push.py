"""The 3D twin's push: a frame a second over ``/live/scene``, made once for all who look at the same thing.

A slow page skips frames: each frame is whole, so that nothing is missed but time. A page says what it wants in the socket's
address and opens another when it wants something else; it never speaks.
"""

import asyncio
import logging

from starlette.websockets import WebSocket, WebSocketDisconnect

from twin.errors import ConfigError, SourceError
from ui.access.door import identity_of, source_of
from ui.access.rates import MAX_SOCKETS, Held
from ui.faces.scene_studio import Ask, Studio

MAX_CLIENTS = 200  # one more is told so (close code 1013) and tries again later
MAX_LOOKS = 32  # different pictures that are pushed at a time; one more is told so too
EVERY_S = 1.0
_log = logging.getLogger(__name__)


class SceneFeed:
    """Feeds open pages. Everything here runs on the server's event loop."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.clients = 0
        self._held = Held()
        self.made = 0  # frames worked out since start
        self._looks: dict[Ask, int] = {}
        self._frames: dict[Ask, asyncio.Task[bytes]] = {}
        self._beat = asyncio.Event()  # replaced at each beat
        self._task: asyncio.Task[None] | None = None

    async def serve(self, socket: WebSocket, ask: Ask) -> None:
        """Feed one page until it leaves."""
        await socket.accept()
        if self.clients >= MAX_CLIENTS or (ask not in self._looks and len(self._looks) >= MAX_LOOKS):
            await socket.close(1013, "too many pictures are shown already")
            return
        with self._held.one(identity_of(socket), source_of(socket)) as free:
            if free:
                await self._fed(socket, ask)
            else:
                await socket.close(1013, f"{MAX_SOCKETS} pictures are shown already for you")

    async def _fed(self, socket: WebSocket, ask: Ask) -> None:
        self.clients += 1
        self._looks[ask] = self._looks.get(ask, 0) + 1
        listener = asyncio.create_task(_until_it_leaves(socket))
        try:
            await self._feed(socket, ask, listener)
        except WebSocketDisconnect:
            pass  # pages come and go
        finally:
            self.clients -= 1
            self._looks[ask] -= 1
            if not self._looks[ask]:
                del self._looks[ask]
            listener.cancel()

    async def _feed(self, socket: WebSocket, ask: Ask, listener: asyncio.Task[None]) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        while not listener.done():
            beat = self._beat
            try:
                await socket.send_bytes(await self._frame(ask))
            except ConfigError as error:
                await socket.close(1008, str(error.problems[0])[:120])
                return
            except SourceError as error:
                _log.warning("a frame of the scene cannot be made: %s", error)
            await beat.wait()
        listener.result()

    async def _frame(self, ask: Ask) -> bytes:
        """This beat's frame; whoever asks first has it made."""
        task = self._frames.get(ask)
        if task is None:
            self.made += 1
            task = self._frames[ask] = asyncio.create_task(self.studio.frame(ask))
        return await asyncio.shield(task)

    async def _run(self) -> None:
        """Beat while somebody looks."""
        while self.clients:
            await asyncio.sleep(EVERY_S)
            self._frames.clear()
            self._beat.set()
            self._beat = asyncio.Event()


async def _until_it_leaves(socket: WebSocket) -> None:
    message = await socket.receive()
    if message["type"] != "websocket.disconnect":
        await socket.close(1008, "this socket only speaks")
