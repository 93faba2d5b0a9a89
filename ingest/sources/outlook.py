"""What services say of the world outside: how it is now and how it will be. Shared by ``weather`` and ``grid``.

What is true now is measured, at the time that the service gives it; what comes is a forecast of band ``TOLD``, which keeps it
apart from what our own models foresee, issued when the service made it. An answer that says nothing new gives no frames.
"""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import numpy as np
from yarl import URL

from ingest.wire import Answer, fetch, fetch_json, new_session, number
from twin.errors import SourceError
from twin.frame import TOLD, Frame, Origin, Quality
from twin.site import Site

MAX_STEPS = 2000  # of one forecast; what lies beyond is left out
MAX_BODY_BYTES = 8 * 2**20
_ACCEPT = {"User-Agent": "icctwin"}

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Outlook:
    """``now``: (time, metric -> value) of what is; ``future``: the same of what will be, by time; ``issued``: when that was
    said. ``estimated``: the service itself calls what it says of now an estimate. ``trouble``: why it says nothing of what will
    be, where it should."""

    now: Sequence[tuple[datetime, Values]]
    future: Sequence[tuple[datetime, Values]] = ()
    issued: datetime | None = None
    estimated: bool = False
    trouble: str = ""


class Asking:
    """One service's answers over HTTP, each as ``ingest.wire`` gives them."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._session: aiohttp.ClientSession | None = None

    async def json(self, url: URL, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON at ``url``."""
        return await fetch_json(self._open(), url, {**_ACCEPT, **(headers or {})}, max_body_bytes=MAX_BODY_BYTES)

    async def text(self, url: URL, headers: Mapping[str, str] | None = None) -> Answer:
        """The text at ``url``."""
        return await fetch(self._open(), url, {**_ACCEPT, **(headers or {})}, max_body_bytes=MAX_BODY_BYTES)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = new_session(self._every_s)
        return self._session

    async def close(self) -> None:
        """Let go of the connection."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()


@dataclass(slots=True)
class OutlookSource:
    """Asks one service for one asset. See ``twin.ports.Source`` and ``Troubled``."""

    name: str
    every_s: float
    kind: str
    row: int
    asking: Asking
    ask: Callable[[datetime], Awaitable[Outlook]]
    unmapped: int = 0
    _said: set[tuple[object, ...]] = field(default_factory=set)
    _trouble: str = ""

    @property
    def troubles(self) -> Mapping[str, str]:
        """What is wrong with its forecast, while it says how it is now."""
        return {"forecast": self._trouble} if self._trouble else {}

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """Ask once. ``SourceError`` where the service does not answer as it should."""
        told = await self.ask(now)
        self._trouble = told.trouble
        if not told.now and not told.future:
            raise SourceError(f"{self.name}: the answer says nothing of now nor of what comes; is the place or zone right?")
        made = [self._frame(time, values, now, Origin.MEASURED, None, told.estimated) for time, values in told.now]
        ahead = [(time, values) for time, values in told.future if time > now][:MAX_STEPS]
        made += [self._frame(time, values, now, Origin.FORECAST, told.issued or now, False) for time, values in ahead]
        # a forecast is known by its steps, not by when it was asked for
        keys = {
            frame: (frame.time, frame.origin, told.issued, tuple((m, v[0]) for m, v in frame.values.items())) for frame in made
        }
        new = [frame for frame in made if keys[frame] not in self._said]
        self._said = set(keys.values())
        return new

    async def close(self) -> None:
        """Let go of the connection."""
        await self.asking.close()

    def _frame(
        self, time: datetime, values: Values, now: datetime, origin: Origin, issued: datetime | None, estimated: bool
    ) -> Frame:
        columns = {metric: np.array([value], dtype=np.float64) for metric, value in values.items()}
        doubt = {metric: np.array([Quality.SUSPECT], dtype=np.uint8) for metric in values} if estimated else {}
        rows = np.array([self.row], dtype=np.int32)
        band = TOLD if origin is Origin.FORECAST else ""
        return Frame(self.kind, time, rows, columns, origin, self.name, band, doubt, issued)


def the_asset(site: Site, kind: str, asset: str) -> int | str:
    """Row of ``asset``, or of the only one of ``kind`` where none is named; else a sentence that says what is wrong."""
    known = site.ids_of(kind)
    if asset:
        return site.row(asset) if asset in known else f"the site has no {kind} {asset!r}; known: {', '.join(known) or 'none'}"
    return 0 if len(known) == 1 else f"the site has {len(known)} assets of kind {kind}; name one as asset"


def moment(where: str, text: object) -> datetime:
    """An ISO 8601 time with its zone, or seconds since 1970. ``SourceError`` where it is neither."""
    try:
        if isinstance(text, int | float) and not isinstance(text, bool):
            return datetime.fromtimestamp(text, UTC)
        found = datetime.fromisoformat(str(text))
    except (ValueError, OverflowError, OSError):
        raise SourceError(f"{where}: {str(text)[:40]!r} is no time") from None
    if found.tzinfo is None:
        raise SourceError(f"{where}: {str(text)[:40]!r} has no time zone")
    return found.astimezone(UTC)


def part(where: str, data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object ``name`` of an answer, empty where it is not there. ``SourceError`` where it is another thing."""
    found = data.get(name) or {}
    if not isinstance(found, dict):
        raise SourceError(f"{where}: {name} is {str(found)[:40]!r}, no object")
    return found


def finite(where: str, said: object) -> float:
    """A finite number, no truth value. ``SourceError`` where it is none."""
    found = math.nan if isinstance(said, bool) else number(where, said)
    if not math.isfinite(found):
        raise SourceError(f"{where} is {str(said)[:40]!r}, no finite number")
    return found


def at_hand(steps: Sequence[tuple[datetime, Values]], now: datetime, step: timedelta) -> list[tuple[datetime, Values]]:
    """The newest of ``steps`` that has begun, if it is not over."""
    begun = [one for one in steps if one[0] <= now]
    newest = max(begun, key=lambda one: one[0], default=None)
    return [newest] if newest and now < newest[0] + step else []
