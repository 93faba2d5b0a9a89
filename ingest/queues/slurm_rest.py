"""slurmrestd: which version of its API is spoken, what that version can do, and its habit of answering 200 with errors.

Several versions are offered at once; the newest is taken. Shapes of what is written differ as those of what is read do: times
and numbers are plain up to v0.0.38 and wrapped (``set``, ``number``) since v0.0.39.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from yarl import URL

from ingest.queues.slurm_commands import said
from ingest.rest import Reply, Rest
from ingest.wire import Tls, read_secret
from twin.errors import SourceError

MAX_BODY_BYTES = 512 * 2**20  # 2.4 kB a job
PARTS = ("jobs", "nodes", "partitions", "reservations")
NO_SUCH_JOB = {2017}  # ESLURM_INVALID_JOB_ID
_VERSION = re.compile(r"^/slurm/v(\d+)\.(\d+)\.(\d+)/jobs/?$")
_TRIED = tuple((0, 0, n) for n in range(44, 35, -1))  # where slurmrestd does not show its description
_WRAPPED_SINCE = (0, 0, 39)


class JobsRest(Protocol):
    """What orders to jobs need of one slurmrestd, or of several. ``alone``: a job can be asked for by itself; ``settle_s``: how
    long after a write it may take until it is so; ``listed``: jobs of the last list."""

    alone: bool
    settle_s: float
    listed: int

    async def jobs(self) -> list[Any]:
        """All jobs as they stand."""
        ...

    async def job(self, number: str) -> Any | None:
        """One job as it stands; None where there is no such job."""
        ...

    async def update_job(self, number: str, body: Mapping[str, Any]) -> str:
        """Change a job; a clause of what is wrong, empty where nothing was said to be."""
        ...

    async def signal(self, number: str, name: str) -> str:
        """Send a signal to a job; a clause of what is wrong."""
        ...


class SlurmRest:
    """One slurmrestd, on the network or on a socket. See ``JobsRest``."""

    alone = True
    settle_s = 0.0

    def __init__(
        self, url: str, user: str, token_file: Path | None, ca_file: Path | None, every_s: float, timeout_s: float
    ) -> None:
        self.url, self._user, self._token_file = url, user, token_file
        unix = Path(url.removeprefix("unix:")) if url.startswith("unix:") else None
        base = URL("http://localhost") if unix else URL(url)
        limits = {"timeout_s": timeout_s, "max_body_bytes": MAX_BODY_BYTES}
        self._rest = Rest(base, every_s, tls=Tls(ca_file), unix=unix, **limits)  # type: ignore[arg-type]
        self.version: tuple[int, ...] = ()
        self._calls: frozenset[tuple[str, str]] = frozenset()
        self.lists = self.looks = self.calls = 0  # how often it was asked, for whoever counts our load
        self.listed = 0  # jobs of the last list

    async def close(self) -> None:
        """Let go of the connection."""
        await self._rest.close()

    async def tables(self) -> list[Any]:
        """Jobs, nodes, partitions and reservations."""
        await self._negotiate()
        self.lists += 1
        found = [await self._part(part) for part in PARTS]
        self.listed = len(found[0])
        return found

    async def jobs(self) -> list[Any]:
        """All jobs as they stand, for orders."""
        await self._negotiate()
        self.looks += 1
        found: list[Any] = await self._part("jobs")
        self.listed = len(found)
        return found

    async def job(self, number: str) -> Any | None:
        """One job as it stands; None where there is no such job (any more)."""
        await self._negotiate()
        reply = await self._send("GET", f"{self._base}/job/{number}")
        body = reply.body if isinstance(reply.body, dict) else {}
        jobs = body.get("jobs")
        if jobs:
            return jobs[0]
        errors = body.get("errors")
        if _numbers(errors) & NO_SUCH_JOB or reply.status == 404 or (reply.ok and not errors):
            return None
        raise SourceError(f"{self.url}: job {number}: {said(errors) or f'status {reply.status}'}{_hint(reply.status)}")

    async def update_job(self, number: str, body: Mapping[str, Any]) -> str:
        """Change a job; a clause of what is wrong, empty where nothing was said to be. Read it back: keys may be ignored."""
        await self._negotiate()
        wrapped = {name: self._shape(name, value) for name, value in body.items()}
        return _wrong(await self._send("POST", f"{self._base}/job/{number}", wrapped))

    async def signal(self, number: str, name: str) -> str:
        """Send a signal to a job's batch script and steps; a clause of what is wrong."""
        await self._negotiate()
        return _wrong(await self._send("DELETE", f"{self._base}/job/{number}?signal={name}"))

    async def can_update_nodes(self) -> bool:
        """Whether this version has a call for nodes."""
        await self._negotiate()
        return ("post", f"{self._base}/node/{{node_name}}") in self._calls

    async def node(self, name: str) -> Any | None:
        """One node as it stands; None where there is none of that name."""
        await self._negotiate()
        reply = await self._send("GET", f"{self._base}/node/{name}")
        nodes = reply.body.get("nodes") if isinstance(reply.body, dict) else None
        return nodes[0] if nodes else None

    async def update_node(self, name: str, body: Mapping[str, Any]) -> str:
        """Change a node; a clause of what is wrong."""
        return _wrong(await self._send("POST", f"{self._base}/node/{name}", dict(body)))

    @property
    def _base(self) -> str:
        return "/slurm/v" + ".".join(map(str, self.version))

    def _shape(self, name: str, value: Any) -> Any:
        """A value as this version wants it."""
        if name not in ("begin_time", "priority"):
            return value
        if self.version >= _WRAPPED_SINCE:
            return {"set": True, "infinite": False, "number": int(value)}
        # up to v0.0.38 a time is a word: its description says int64, but a plain number cannot be parsed
        return f"uts{int(value)}" if name == "begin_time" else int(value)

    async def _part(self, part: str) -> Any:
        path = f"{self._base}/{part}"
        reply = await self._send("GET", path + "/" if ("get", path + "/") in self._calls else path)
        if reply.status == 404 and part == "jobs":
            self.version = ()  # upgraded meanwhile: the next poll asks anew
        errors = reply.body.get("errors") if isinstance(reply.body, dict) else None
        if errors:
            raise SourceError(f"{self.url}: {part}: {said(errors)}{_hint(reply.status)}")
        if not reply.ok or not isinstance(reply.body, dict) or not isinstance(reply.body.get(part), list):
            raise SourceError(f"{self.url}: status {reply.status} for {part}{_hint(reply.status)}")
        return reply.body[part]

    async def _negotiate(self) -> None:
        """The newest version that slurmrestd offers: by its own description, else by trying."""
        if self.version:
            return
        for path in ("/openapi/v3", "/openapi"):
            reply = await self._send("GET", path)
            told = reply.body.get("paths") if reply.ok and isinstance(reply.body, dict) else None
            paths = told if isinstance(told, dict) else {}
            found = [match.groups() for match in map(_VERSION.match, paths) if match]
            if found:
                self._calls = frozenset(
                    (str(call).lower(), path) for path, calls in paths.items() for call in calls or ("get",)
                )
                self.version = max(tuple(map(int, parts)) for parts in found)
                return
            if reply.status in (401, 403, 500):
                raise SourceError(f"{self.url}: status {reply.status} for its description{_hint(reply.status)}")
        for parts in _TRIED:
            if (await self._send("GET", "/slurm/v" + ".".join(map(str, parts)) + "/ping")).ok:
                self.version = parts
                return
        raise SourceError(f"{self.url}: offers no version of Slurm's API that is known here; is it slurmrestd?")

    async def _send(self, method: str, path: str, body: Any = None) -> Reply:
        headers = {}
        if self._user and self._token_file:
            headers = {"X-SLURM-USER-NAME": self._user, "X-SLURM-USER-TOKEN": read_secret(self._token_file)}
        self.calls += 1
        return await self._rest.send(method, path, body, headers)


def _wrong(reply: Reply) -> str:
    errors = reply.body.get("errors") if isinstance(reply.body, dict) else None
    if errors:
        return said(errors)
    return "" if reply.ok else f"status {reply.status}{_hint(reply.status)}"


def _numbers(errors: Any) -> set[int]:
    found = errors if isinstance(errors, list) else ()
    return {int(one.get("error_number") or 0) for one in found if isinstance(one, dict)}


def _hint(status: int) -> str:
    return "; is the token in token_file that user's, and still valid?" if status in (401, 403, 500) else ""
