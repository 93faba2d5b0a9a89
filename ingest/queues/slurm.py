"""Slurm as a queue: jobs, nodes, partitions, reservations over slurmrestd (JWT on the network, or its socket), or by its
commands.

slurmrestd speaks several versions of its API at once; the newest of them is taken, and both shapes that numbers and states have
(plain up to v0.0.38, wrapped with ``set`` and ``infinite`` since v0.0.39) are read. It answers with status 200 and a list
of errors where something is wrong. The scheduler is asked once in ``every_s`` at most, however often its queue is.
"""

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from yarl import URL

from ingest.queues.slurm_records import job_record, node_record, partition_of, reservation_of
from ingest.queues.tables import Places, check_queue, cluster_of, frames_of, jobs_of
from ingest.registry import Opened
from ingest.rest import Reply, Rest
from ingest.sources.device import beside
from ingest.wire import Tls, read_secret
from twin.errors import SourceError
from twin.frame import Frame
from twin.job import Cluster, Jobs
from twin.site import Site

MAX_BODY_BYTES = 512 * 2**20  # 2.4 kB a job
COMMAND_PATH = "/usr/local/bin:/usr/bin:/bin:/opt/slurm/bin:/usr/local/slurm/bin"
_VERSION = re.compile(r"^/slurm/v(\d+)\.(\d+)\.(\d+)/jobs/?$")
_TRIED = tuple((0, 0, n) for n in range(44, 35, -1))  # where slurmrestd does not show its description


class Options(BaseModel):
    """What a ``[[source]]`` of type ``slurm`` may say.

    ``queue``: id of the queue's asset; ``url``: of slurmrestd, or ``unix:/path`` of its socket; ``user`` and
    ``token_file``: whom the JWT is for. ``commands``: whether to ask ``squeue`` and ``sinfo`` where slurmrestd does not
    answer (without ``url``: always), with ``conf`` as their slurm.conf. A job is deferrable where its partition or QOS is
    named here, or its comment has the word.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    queue: str
    url: str = ""
    user: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None
    commands: bool = False
    conf: Path | None = None
    every_s: float = Field(default=15.0, ge=1, le=3600)
    timeout_s: float = Field(default=10.0, gt=0, le=300)
    deferrable_partitions: tuple[str, ...] = ()
    deferrable_qos: tuple[str, ...] = ()
    deferrable_comment: str = "deferrable"

    @field_validator("token_file", "ca_file", "conf")
    @classmethod
    def _files_beside(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return beside(value, info)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if not self.url and not self.commands:
            raise ValueError("give url (of slurmrestd), or commands = true")
        if self.url and not self.url.startswith("unix:/"):
            url = URL(self.url)
            if url.scheme not in ("http", "https") or not url.host or url.user or url.password:
                raise ValueError(f"url {self.url!r} is neither http(s)://host:port nor unix:/path, or holds a secret")
            if not (self.user and self.token_file):
                raise ValueError("slurmrestd on the network wants user and token_file")
        return self


def source_ids(name: str, options: Options) -> Sequence[str]:
    """The one source asset."""
    return [name]


def build(name: str, options: Options, site: Site) -> Opened:
    """The queue, and a source that tells of it in numbers. ``ConfigError`` where the site has no such queue."""
    check_queue(name, options.queue, site)
    slurm = Slurm(name, options, site)
    return Opened([slurm], queues=[SlurmQueue(options.queue, slurm)])


class Slurm:
    """One cluster. See ``twin.ports.Source``."""

    def __init__(self, name: str, options: Options, site: Site) -> None:
        self._name, self._options, self._site = name, options, site
        self._places = Places(site)
        self._rest: Rest | None = None
        self._version = ""
        self._paths: frozenset[str] = frozenset()
        self._lock = asyncio.Lock()
        self._read: tuple[datetime, Jobs, Cluster] | None = None

    @property
    def name(self) -> str:
        """Id of the source's own asset."""
        return self._name

    @property
    def every_s(self) -> float:
        """Seconds between two readings."""
        return self._options.every_s

    @property
    def unmapped(self) -> int:
        """Nodes of the cluster that the site does not know."""
        return int((self._read[2].rows < 0).sum()) if self._read else 0

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """Jobs and nodes, counted. ``SourceError`` where the scheduler does not answer whole."""
        jobs, cluster = await self.newest(now)
        return frames_of(jobs, cluster, self._site, self._options.queue, now, self._name)

    async def newest(self, now: datetime) -> tuple[Jobs, Cluster]:
        """What the scheduler says, at most ``every_s`` ago."""
        async with self._lock:
            if self._read is None or not 0 <= (now - self._read[0]).total_seconds() < 0.9 * self.every_s:
                self._read = None
                self._read = (now, *await self._fresh())
            return self._read[1:]

    async def close(self) -> None:
        """Let go of the connection."""
        if self._rest is not None:
            await self._rest.close()
            self._rest = None

    async def _fresh(self) -> tuple[Jobs, Cluster]:
        try:
            bodies = await (self._by_rest() if self._options.url else self._by_command())
        except SourceError as error:
            if not (self._options.url and self._options.commands):
                raise
            try:
                bodies = await self._by_command()
            except SourceError as second:
                raise SourceError(f"{error}; and by command: {second}") from None
        return await asyncio.to_thread(self._tables, *bodies)  # 10,000 jobs are half a second of work

    def _tables(self, jobs: Any, nodes: Any, partitions: Any, reservations: Any) -> tuple[Jobs, Cluster]:
        options = self._options
        try:
            records = [job_record(one, options) for one in jobs]
            cluster = cluster_of(
                [node_record(one) for one in nodes],
                [partition_of(one) for one in partitions],
                [reservation_of(one) for one in reservations],
                self._places,
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            what = f"an answer of a shape that is not known ({type(error).__name__}: {error})"
            raise SourceError(f"{self._name}: {what}; which version of Slurm is it?") from None
        return jobs_of(records, self._places), cluster

    async def _by_rest(self) -> list[Any]:
        if not self._version:
            self._version = await self._negotiated()
        parts = ("jobs", "nodes", "partitions", "reservations")
        return [await self._part(part) for part in parts]

    async def _part(self, part: str) -> Any:
        path = f"/slurm/{self._version}/{part}"
        reply = await self._get(path + "/" if path + "/" in self._paths else path)
        if reply.status == 404 and part == "jobs":
            self._version = ""  # upgraded meanwhile: the next poll asks anew
        errors = reply.body.get("errors") if isinstance(reply.body, dict) else None
        if errors:
            raise SourceError(f"{self._options.url}: {part}: {_said(errors)}{_hint(reply.status)}")
        if not reply.ok or not isinstance(reply.body, dict) or not isinstance(reply.body.get(part), list):
            raise SourceError(f"{self._options.url}: status {reply.status} for {part}{_hint(reply.status)}")
        return reply.body[part]

    async def _negotiated(self) -> str:
        """The newest version that slurmrestd offers: by its own description, else by trying."""
        for path in ("/openapi/v3", "/openapi"):
            reply = await self._get(path)
            said = reply.body.get("paths") if reply.ok and isinstance(reply.body, dict) else None
            paths = [str(path) for path in said or ()]
            found = [match.groups() for match in map(_VERSION.match, paths) if match]
            if found:
                self._paths = frozenset(paths)
                return "v" + ".".join(max(found, key=lambda parts: tuple(map(int, parts))))
            if reply.status in (401, 403, 500):
                raise SourceError(f"{self._options.url}: status {reply.status} for its description{_hint(reply.status)}")
        for parts in _TRIED:
            version = "v" + ".".join(map(str, parts))
            if (await self._get(f"/slurm/{version}/ping")).ok:
                return version
        raise SourceError(f"{self._options.url}: offers no version of Slurm's API that is known here; is it slurmrestd?")

    async def _get(self, path: str) -> Reply:
        options = self._options
        if self._rest is None:
            unix = Path(options.url.removeprefix("unix:")) if options.url.startswith("unix:") else None
            base = URL("http://localhost") if unix else URL(options.url)
            limits = {"timeout_s": options.timeout_s, "max_body_bytes": MAX_BODY_BYTES}
            self._rest = Rest(base, options.every_s, tls=Tls(options.ca_file), unix=unix, **limits)  # type: ignore[arg-type]
        headers = {}
        if options.user and options.token_file:
            headers = {"X-SLURM-USER-NAME": options.user, "X-SLURM-USER-TOKEN": read_secret(options.token_file)}
        return await self._rest.get(path, headers)

    async def _by_command(self) -> list[Any]:
        jobs = (await self._command("squeue", "--json"))["jobs"]
        # sinfo of 22.05 gives nodes; later ones give a summary, and scontrol the nodes
        told = await self._command("sinfo", "--json")
        nodes = told["nodes"] if "nodes" in told else (await self._command("scontrol", "show", "nodes", "--json"))["nodes"]
        if "nodes" in told:
            named = {name for node in nodes for name in node.get("partitions") or ()}
            return [jobs, nodes, [{"name": name, "state": "UP"} for name in sorted(named)], []]
        partitions = (await self._command("scontrol", "show", "partitions", "--json"))["partitions"]
        return [jobs, nodes, partitions, (await self._command("scontrol", "show", "reservations", "--json"))["reservations"]]

    async def _command(self, *words: str) -> Any:
        """What a command of Slurm prints; it sees nothing of our environment but its slurm.conf."""
        environment = {"PATH": COMMAND_PATH, **({"SLURM_CONF": str(self._options.conf)} if self._options.conf else {})}
        line = " ".join(words)
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                "/usr/bin/env", *words, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environment
            )
        except OSError as error:
            raise SourceError(f"{line}: cannot be run ({error})") from None
        try:
            async with asyncio.timeout(self._options.timeout_s):
                out, wrong = await process.communicate()
        except TimeoutError:
            raise SourceError(f"{line}: no whole answer within {self._options.timeout_s:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            said = " ".join(wrong.decode("utf-8", "replace").split())[:200]
            raise SourceError(f"{line}: ends with {process.returncode} ({said}); is Slurm's client installed, and conf right?")
        try:
            body = await asyncio.to_thread(json.loads, out)
        except ValueError as error:
            raise SourceError(f"{line}: prints no JSON ({error})") from None
        if not isinstance(body, dict) or body.get("errors"):
            raise SourceError(f"{line}: {_said(body.get('errors') if isinstance(body, dict) else body)}")
        return body


class SlurmQueue:
    """The jobs of one cluster. See ``twin.ports.Queue`` and ``twin.ports.Capacity``."""

    def __init__(self, queue: str, slurm: Slurm) -> None:
        self._queue, self._slurm = queue, slurm

    @property
    def name(self) -> str:
        """Id of the queue's asset."""
        return self._queue

    async def jobs(self, now: datetime) -> Jobs:
        """Pending, running and lately ended jobs."""
        return (await self._slurm.newest(now))[0]

    async def cluster(self, now: datetime) -> Cluster:
        """Nodes, partitions and reservations."""
        return (await self._slurm.newest(now))[1]


def _said(errors: Any) -> str:
    """A list of slurmrestd's errors as a clause."""
    first = errors[0] if isinstance(errors, list) and errors else errors
    if isinstance(first, dict):
        first = first.get("error") or first.get("description") or first
    return " ".join(str(first).split())[:200]


def _hint(status: int) -> str:
    return "; is the token in token_file that user's, and still valid?" if status in (401, 403, 500) else ""
