"""Targets that come and go: Prometheus' file and HTTP service discovery, and one source that scrapes all they list.

A list of target groups is ``[{"targets": ["host:port", ...], "labels": {...}}, ...]`` in JSON, in files also in YAML. A
directory that cannot be read keeps what it listed last, and says so; a target that fails takes no other along.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from yarl import URL

from ingest.patience import MAX_AT_ONCE, Patience, Places
from ingest.sources.scrape import Door, Scraper, Target
from ingest.wire import shown
from twin.errors import SourceError
from twin.event import Event
from twin.frame import Frame

MAX_TARGETS = 20_000  # of one source; what a directory lists beyond is left out, and said
MAX_FILE_BYTES = 16 * 2**20
MAX_FILES = 1000  # of one pattern
MAX_NAMES = 50  # unmapped names shown
_SHARE = 0.9  # of the time that a poll has, for its targets
_POLL_MIN_S, _POLL_MAX_S = 1.0, 30.0  # what a poll may take, as the collector sees it


class Group(BaseModel):
    """A target group as Prometheus writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: list[str]
    labels: dict[str, str] | None = None


_GROUPS: TypeAdapter[list[Group]] = TypeAdapter(list[Group])
Directory = tuple[str, Callable[[], Awaitable[list[Group]]]]  # what it is called, and the reading of it


def read_groups(where: str, data: Any) -> list[Group]:
    """Target groups of parsed JSON or YAML; ``SourceError`` where it is something else."""
    try:
        return _GROUPS.validate_python(data or [])
    except ValidationError as error:
        one = error.errors()[0]
        place = ".".join(map(str, one["loc"])) or "it"
        raise SourceError(f"{where}: no list of target groups ({place}: {one['msg']})") from None


def file_directory(pattern: str) -> Directory:
    """Files of ``pattern`` (``*`` in its last part), JSON or YAML by their suffix."""

    def read() -> list[Group]:
        path = Path(pattern)
        files = sorted(path.parent.glob(path.name)) if any(sign in path.name for sign in "*?[") else [path]
        if len(files) > MAX_FILES:
            raise SourceError(f"{pattern}: {len(files)} files, at most {MAX_FILES} are read")
        return [group for file in files for group in _read_file(file)]

    async def later() -> list[Group]:
        return await asyncio.to_thread(read)

    return pattern, later


def _read_file(path: Path) -> list[Group]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > MAX_FILE_BYTES:
        raise SourceError(f"{path}: is over {MAX_FILE_BYTES} bytes")
    try:
        parsed = json.loads(data) if path.suffix == ".json" else yaml.safe_load(data)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())[:120]
        raise SourceError(f"{path}: is not {'JSON' if path.suffix == '.json' else 'YAML'} ({said})") from None
    return read_groups(str(path), parsed)


def http_directory(url: URL, door: Door) -> Directory:
    """The list that a server gives at ``url``."""

    async def read() -> list[Group]:
        answer = await door.get(url, "application/json")
        if answer.content_type != "application/json":
            what = f"sends {answer.content_type or 'no content type'}; a discovery sends application/json"
            raise SourceError(f"{shown(url)}: {what}")
        try:
            return read_groups(shown(url), json.loads(answer.text))
        except (ValueError, RecursionError):
            raise SourceError(f"{shown(url)}: the answer is not JSON") from None

    return shown(url), read


class Discovery:
    """All targets that some directories list, as one source. See ``twin.ports.Source``, ``Eventful`` and ``Manifold``."""

    def __init__(
        self,
        name: str,
        every_s: float,
        refresh_s: float,
        target_of: Callable[[str, dict[str, str] | None], Target],
        directories: Sequence[Directory],
        fixed: Sequence[Target],
        scraper: Callable[[str, Target], Scraper],
        door: Door,
    ) -> None:
        self._name, self._every_s, self._refresh = name, every_s, timedelta(seconds=refresh_s)
        self._target_of, self._directories, self._fixed = target_of, directories, fixed
        self._new, self._door = scraper, door
        self._listed: dict[str, list[Target]] = {}
        self._due: datetime | None = None
        self._scrapers: dict[str, Scraper] = {}
        self._sick: dict[str, str] = {}  # directory -> what is wrong with it
        self._down: dict[str, str] = {}  # target -> why it fails

    @property
    def name(self) -> str:
        """Id of the source's own asset."""
        return self._name

    @property
    def every_s(self) -> float:
        """Seconds between two scrapes of each target."""
        return self._every_s

    @property
    def unmapped(self) -> int:
        """Series of the last pages that belong to no known asset or metric."""
        return sum(scraper.unmapped for scraper in self._scrapers.values())

    @property
    def unmapped_names(self) -> Sequence[str]:
        """Names of such series, at most ``MAX_NAMES``."""
        names = dict.fromkeys(name for scraper in self._scrapers.values() for name in scraper.unmapped_names)
        return list(names)[:MAX_NAMES]

    @property
    def targets(self) -> int:
        """How many targets there are now."""
        return len(self._scrapers)

    @property
    def targets_down(self) -> int:
        """How many of them failed at the last poll."""
        return len(self._down)

    @property
    def troubles(self) -> Mapping[str, str]:
        """Target or directory -> what is wrong with it."""
        return self._sick | self._down

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """Scrape every target. ``SourceError`` where not one of them answers, or none is known."""
        if self._due is None or now >= self._due:
            await self._look_up()
            self._due = now + self._refresh if self._scrapers else None  # nothing known: look again at the next poll
        if not self._scrapers:
            why = "; ".join(self._sick.values()) or "its directories are empty"
            raise SourceError(f"{self._name}: no target is known; {why}")
        limit_s = min(max(self._every_s, _POLL_MIN_S), _POLL_MAX_S) * _SHARE
        # a place is kept for so long that every target has one for as long before half of the time is over
        hold_s = limit_s / 2 / (len(self._scrapers) / MAX_AT_ONCE + 1)
        answering, silent = Places(MAX_AT_ONCE, hold_s), Places(MAX_AT_ONCE, hold_s)

        async def scrape(key: str, scraper: Scraper) -> list[Frame]:
            async with (silent if key in self._down else answering).one():
                return await scraper.scrape(now)

        tasks = {key: asyncio.create_task(scrape(key, scraper)) for key, scraper in self._scrapers.items()}
        try:
            async with Patience(limit_s):
                await asyncio.wait(tasks.values())
        except TimeoutError:
            pass  # those that are late are told below
        finally:
            late = [task for task in tasks.values() if not task.done()]
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        frames: list[Frame] = []
        self._down = {}
        for key, task in tasks.items():
            error = SourceError(f"{key}: no whole answer within {limit_s:g} s") if task.cancelled() else task.exception()
            if error is None:
                frames += task.result()
            elif isinstance(error, SourceError):
                self._down[key] = str(error)
            else:
                raise error
        if len(self._down) == len(tasks):
            raise SourceError(f"{self._name}: none of its {len(tasks)} targets answers; {next(iter(self._down.values()))}")
        return frames

    def take_events(self) -> Sequence[Event]:
        """What was found of the assets themselves: moved, replaced, renamed."""
        return [event for scraper in self._scrapers.values() for event in scraper.take_events()]

    async def close(self) -> None:
        """Let go of all connections."""
        for scraper in self._scrapers.values():
            await scraper.close()
        await self._door.close()

    async def _look_up(self) -> None:
        """Read the directories; begin and end scrapers as their lists say."""
        answers = await asyncio.gather(*(read() for _, read in self._directories), return_exceptions=True)
        self._sick = {}
        for (where, _), answer in zip(self._directories, answers, strict=True):
            if isinstance(answer, SourceError):
                self._sick[where] = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                self._listed[where] = self._targets(where, answer)
        wanted = {str(target.url): target for target in (*self._fixed, *(t for some in self._listed.values() for t in some))}
        if len(wanted) > MAX_TARGETS:
            self._sick[self._name] = f"{self._name}: {len(wanted)} targets, the first {MAX_TARGETS} are read"
            wanted = dict(list(wanted.items())[:MAX_TARGETS])
        for key in self._scrapers.keys() - wanted.keys():
            await self._scrapers.pop(key).close()
        for key, target in wanted.items():
            if key not in self._scrapers or self._scrapers[key].target != target:
                self._scrapers[key] = self._new(self._name, target)

    def _targets(self, where: str, groups: Iterable[Group]) -> list[Target]:
        found = []
        for group in groups:
            for text in group.targets:
                try:
                    found.append(self._target_of(text, group.labels))
                except ValueError as error:
                    self._sick[f"{where}: {text[:100]}"] = f"{where}: {error}"
        return found
