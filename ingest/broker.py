"""Live frames between the processes of one centre, over an MQTT broker: each hears what the others measured or worked out.

What goes over the broker is only the present: it is sent once, at most once, and what a slow broker, or we, leave waiting too
long is dropped, oldest first, and counted. History goes to the store.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from ingest.wire import read_secret
from twin.errors import ConfigError, Problem, SourceError
from twin.frame import Bytes, Floats, Frame, Origin
from twin.site import Site
from twin.times import micros, moment

log = logging.getLogger(__name__)

MAX_WAITING = 64  # batches, to be sent or to be looked at
MAX_BATCH_BYTES = 64 * 2**20  # after unpacking
AGAIN_S, CLOSE_S = 1.0, 0.5


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker is, and who asks."""

    host: str
    port: int = 1883
    user: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None


class Codec:
    """Frames to bytes and back, between processes that hold the same site: rows are sent as they are, with a mark of the site
    that they are rows of."""

    def __init__(self, site: Site) -> None:
        self._mark = blake2b("\0".join(site.ids).encode(), digest_size=8).hexdigest()
        self._press = zstandard.ZstdCompressor(level=-3)
        self._loosen = zstandard.ZstdDecompressor()

    def pack(self, frames: Sequence[Frame]) -> bytes:
        """``frames`` as one message."""
        heads, columns = [], []
        for one in frames:
            issued = None if one.issued is None else micros(one.issued)
            grades = [name for name in one.quality if name in one.values]
            head = [
                one.kind,
                micros(one.time),
                len(one.rows),
                list(one.values),
                grades,
                one.origin.value,
                one.source,
                one.band,
            ]
            heads.append([*head, issued])
            columns.append(np.ascontiguousarray(one.rows, dtype=np.int32).tobytes())
            columns.extend(np.ascontiguousarray(column, dtype=np.float64).tobytes() for column in one.values.values())
            columns.extend(np.ascontiguousarray(one.quality[name], dtype=np.uint8).tobytes() for name in grades)
        said = json.dumps([self._mark, heads], separators=(",", ":")).encode()
        return self._press.compress(b"".join([len(said).to_bytes(4, "little"), said, *columns]))

    def unpack(self, message: bytes) -> list[Frame]:
        """Undo ``pack``. ``SourceError`` for what is no such message, or of another site."""
        try:
            data = self._loosen.decompress(message, max_output_size=MAX_BATCH_BYTES)
            at = 4 + int.from_bytes(data[:4], "little")
            mark, heads = json.loads(data[4:at])
            if mark != self._mark:
                raise SourceError("a process sends frames of another site; give all processes the same tables")
            frames = []
            for kind, time, n, metrics, grades, origin, source, band, issued in heads:
                rows = np.frombuffer(data, dtype=np.int32, count=n, offset=at)
                at += 4 * n
                values: dict[str, Floats] = {}
                for name in metrics:
                    values[name] = np.frombuffer(data, dtype=np.float64, count=n, offset=at)
                    at += 8 * n
                quality: dict[str, Bytes] = {}
                for name in grades:
                    quality[name] = np.frombuffer(data, dtype=np.uint8, count=n, offset=at)
                    at += n
                made = None if issued is None else moment(issued)
                frames.append(Frame(kind, moment(time), rows, values, Origin(origin), source, band, quality, made))
        except (zstandard.ZstdError, ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
            raise SourceError(f"a message on the broker is no batch of frames ({error})") from None
        return frames


class _Heard(asyncio.Queue[Any]):
    """Messages that came and were not looked at yet; at its bound the oldest goes, and ``dropped`` is told."""

    def __init__(self, maxsize: int, dropped: Callable[[], None]) -> None:
        super().__init__(maxsize)
        self._dropped = dropped

    def put_nowait(self, item: Any) -> None:
        """Take in ``item``."""
        if self.full():
            self.get_nowait()
            self._dropped()
        super().put_nowait(item)


class Broker:
    """Says what this process has to say and hears the others, from ``start`` to ``close``. ``put`` is for any thread.

    ``sent``, ``heard`` and ``dropped`` are batches. A broker that is away is tried again every second, and so after a fault of
    ours, which ``look`` raises: a process must not go deaf."""

    def __init__(self, address: Address, site: Site, me: str, take: Callable[[Sequence[Frame]], None]) -> None:
        try:
            import aiomqtt
        except ImportError as error:
            what = "aiomqtt is not installed; make field, or pip install 'icctwin[field]'"
            raise ConfigError([Problem("[cluster] broker", what)]) from error
        self._mqtt = aiomqtt
        self._address, self._me, self._take, self._codec = address, me, take, Codec(site)
        self._base = f"icctwin/{site.name}/frames"
        self._waiting: deque[list[Frame]] = deque(maxlen=MAX_WAITING)
        self.sent = self.heard = self.dropped = 0
        self.connected = False
        self._life: asyncio.Task[None] | None = None
        self._fault: Exception | None = None  # of ours, until it is looked at
        self._over = False

    def put(self, frames: Sequence[Frame]) -> None:
        """Tell the others of ``frames``, soon."""
        if frames:
            if len(self._waiting) == MAX_WAITING:
                self.dropped += 1
            self._waiting.append(list(frames))

    async def start(self) -> None:
        """Begin to listen and to talk, on this loop."""
        self._over = False
        self._life = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Let go. The client's own end may be lost in whatever the broker does at that moment (an error that takes the place of
        a cancellation): so it is asked for again until it has come."""
        self._over = True
        while self._life is not None and not self._life.done():
            self._life.cancel()
            await asyncio.wait({self._life}, timeout=CLOSE_S)
        self._life = None

    async def _run(self, every_s: float = 0.2) -> None:
        while not self._over:
            try:
                await self._connected(every_s)
            except (self._mqtt.MqttError, SourceError, OSError) as error:
                if self.connected:
                    log.warning("the broker at %s:%d is away: %s", self._address.host, self._address.port, error)
                self.connected = False
            except Exception as error:  # noqa: BLE001 - kept and raised by ``look``
                self.connected, self._fault = False, error
            await asyncio.sleep(AGAIN_S)

    def look(self) -> None:
        """Raise what broke us since this was last asked."""
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    async def _connected(self, every_s: float) -> None:
        """Until the connection breaks, or one of talking and listening does: each alone would leave the centre half deaf."""
        at = self._address
        secret = read_secret(at.password_file) if at.password_file else None
        tls = self._mqtt.TLSParameters(ca_certs=str(at.ca_file)) if at.ca_file else None
        bounded: Any = partial(_Heard, dropped=self._drop)
        async with self._mqtt.Client(
            at.host,
            at.port,
            username=at.user or None,
            password=secret,
            identifier=f"icctwin-{self._me}",
            tls_params=tls,
            queue_type=bounded,
            max_queued_incoming_messages=MAX_WAITING,
        ) as client:
            self.connected = True
            await client.subscribe(f"{self._base}/#", qos=0)
            both = [asyncio.create_task(self._listen(client)), asyncio.create_task(self._talk(client, every_s))]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in both:
                    one.cancel()
                ended = await asyncio.gather(*both, return_exceptions=True)
            for error in ended:
                if isinstance(error, Exception):
                    raise error

    async def _listen(self, client: Any) -> None:
        mine = f"{self._base}/{self._me}"
        async for message in client.messages:
            if message.topic.value != mine:  # its own way to compare leaves nine objects that only a collection finds
                self._hear(bytes(message.payload))

    async def _talk(self, client: Any, every_s: float) -> None:
        while True:
            frames: list[Frame] = []
            while self._waiting:
                frames += self._waiting.popleft()
            if frames:
                await client.publish(f"{self._base}/{self._me}", self._codec.pack(frames), qos=0)
                self.sent += 1
            await asyncio.sleep(every_s)

    def _drop(self) -> None:
        self.dropped += 1

    def _hear(self, payload: bytes) -> None:
        try:
            frames = self._codec.unpack(payload)
        except SourceError as error:
            self.dropped += 1
            log.error("%s", error)
            return
        self.heard += 1
        self._take(frames)
