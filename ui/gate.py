"""The gate between faces and ingest: finds whose token it is, unpacks and reads a body, and has it taken on the ingest loop."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from ingest.push import Batch, Refused, inflated, line_protocol, otlp, remote_write
from ingest.registry import Inlet
from twin.errors import SourceError
from twin.ports import Clock
from twin.push import Push, PushAnswer

MAX_AT_ONCE = 8  # requests that are worked on
MAX_IN_LINE = 64  # and that wait for it; more are told to come again
LARGE_BYTES = 2**20  # unpacked; of such bodies one is decoded at a time, for it takes up to 50 times as much while that lasts
RETRY_S = "5"


class PushGate:
    """See ``twin.push.Gate``. ``take`` is called on the loop that ``open`` was given, one batch at a time, and so is
    ``refused`` for each request that is not taken, or not all of it."""

    def __init__(
        self,
        inlets: Sequence[Inlet],
        take: Callable[[Inlet, Batch], Awaitable[None]],
        refused: Callable[[Inlet], None],
        clock: Clock,
    ) -> None:
        self._inlets, self._take, self._refused, self._clock = inlets, take, refused, clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._working = asyncio.Semaphore(MAX_AT_ONCE)
        self._large = asyncio.Semaphore(1)
        self._in_line = 0

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on batches are taken on ``loop``."""
        self._loop = loop

    def shut(self) -> None:
        """Nothing is taken any more: senders are told to come again."""
        self._loop = None

    async def known(self, token: str) -> PushAnswer | None:
        """See ``twin.push.Gate``."""
        try:
            await asyncio.to_thread(self._whose, token)
            self._has_room()
        except Refused as refusal:
            return _refusal(refusal)
        return None

    async def push(self, push: Push) -> PushAnswer:
        """See ``twin.push.Gate``."""
        try:
            inlet = self._whose(push.token)
            self._has_room()
            self._in_line += 1
            try:
                async with self._working:
                    answer = await self._work(inlet, push)
                if answer.status >= 400:
                    self._count(inlet)
                return answer
            except Refused:
                self._count(inlet)
                raise
            finally:
                self._in_line -= 1
        except Refused as refusal:
            return _refusal(refusal)

    def _has_room(self) -> None:
        if self._loop is None or self._in_line >= MAX_IN_LINE:
            raise Refused(503, "icctwin is not ready or has too much in hand; send it again.")

    def _whose(self, token: str) -> Inlet:
        if not token:
            raise Refused(401, "Show the token of a push source: Authorization: Token … or Bearer ….")
        faults = []
        for inlet in self._inlets:
            try:
                if inlet.opens(token):
                    return inlet
            except SourceError as error:
                faults.append(str(error))
        if faults:
            raise Refused(503, f"{faults[0]}.")
        raise Refused(401, "No push source has this token.")

    def _count(self, inlet: Inlet) -> None:
        if (loop := self._loop) is not None:
            loop.call_soon_threadsafe(self._refused, inlet)

    async def _work(self, inlet: Inlet, push: Push) -> PushAnswer:
        now = self._clock.now()
        read = await asyncio.to_thread(_begin, push, now)
        if isinstance(read, bytes):
            async with self._large:
                read = await asyncio.to_thread(_read, push, read, now)
        batch, answer = read
        loop = self._loop
        if loop is None:
            raise Refused(503, "icctwin is not ready; send it again.")

        async def take() -> None:
            await self._take(inlet, batch)

        if batch.keys:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(take(), loop))
        return answer


def _refusal(refusal: Refused) -> PushAnswer:
    headers = {"Retry-After": RETRY_S} if refusal.status in (429, 503) else {}
    return PushAnswer(refusal.status, str(refusal), headers=headers)


def _begin(push: Push, now: datetime) -> bytes | tuple[Batch, PushAnswer]:
    """What a request has in it, as ``_read``; of a large one its body, unpacked."""
    usual = ""
    if push.protocol == "remote_write":
        usual = "snappy"
        remote_write.version_of(push.content_type)  # another is refused before it is unpacked
    plain = inflated(push.body, push.encoding or usual)
    return plain if len(plain) > LARGE_BYTES else _read(push, plain, now)


def _read(push: Push, plain: bytes, now: datetime) -> tuple[Batch, PushAnswer]:
    """The batch of a request, and the answer where it is taken."""
    if push.protocol == "line":
        batch = line_protocol.read(plain, push.precision, now)
        if batch.left_out:
            said = f"partial write: {batch.left_out} lines left out: {'; '.join(batch.faults)}"
            return batch, PushAnswer(400, said)
        return batch, PushAnswer(204)
    if push.protocol == "remote_write":
        version = remote_write.version_of(push.content_type)
        batch, histograms = remote_write.read(plain, version)
        written = {"Samples": len(batch.keys), "Histograms": 0, "Exemplars": 0}
        headers = {f"X-Prometheus-Remote-Write-{name}-Written": str(count) for name, count in written.items()}
        if histograms and not len(batch.keys):
            return batch, PushAnswer(400, f"{histograms} histograms are not read; send classic series.", headers=headers)
        return batch, PushAnswer(204, headers=headers)
    batch = otlp.read(plain, push.content_type, now)
    body, kind = otlp.answer(batch.left_out, "; ".join(batch.faults), push.content_type)
    return batch, PushAnswer(200, body=body, content_type=kind)
