"""Slurm's own commands, for what its REST lacks: bounded, lists of arguments and never a shell, and without our environment."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from twin.errors import SourceError

COMMAND_PATH = "/usr/local/bin:/usr/bin:/bin:/opt/slurm/bin:/usr/local/slurm/bin"
MAX_OUTPUT_BYTES = 512 * 2**20
_CHUNK_BYTES = 2**20


class Commands:
    """The commands of one cluster; ``conf``: its slurm.conf (None: the system's)."""

    def __init__(self, conf: Path | None, timeout_s: float) -> None:
        self._conf, self._timeout_s = conf, timeout_s

    async def run(self, *words: str) -> bytes:
        """What a command prints. ``SourceError`` where it cannot be run, is slow, prints without end or ends badly."""
        # times are written and read in UTC, whatever this process' or the machine's zone is
        environment = {"PATH": COMMAND_PATH, "TZ": "UTC", **({"SLURM_CONF": str(self._conf)} if self._conf else {})}
        line = " ".join(words)[:200]
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                "/usr/bin/env", *words, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environment
            )
        except OSError as error:
            raise SourceError(f"{line}: cannot be run ({error})") from None
        try:
            async with asyncio.timeout(self._timeout_s):
                out, wrong = await _whole(process, line)
        except TimeoutError:
            raise SourceError(f"{line}: no whole answer within {self._timeout_s:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            said = " ".join(wrong.decode("utf-8", "replace").split())[:200]
            raise SourceError(f"{line}: ends with {process.returncode} ({said}); is Slurm's client installed, and conf right?")
        return out

    async def json(self, *words: str) -> Any:
        """What a command prints as JSON."""
        out, line = await self.run(*words), " ".join(words)
        try:
            body = await asyncio.to_thread(json.loads, out)
        except ValueError as error:
            raise SourceError(f"{line}: prints no JSON ({error})") from None
        if not isinstance(body, dict) or body.get("errors"):
            raise SourceError(f"{line}: {said(body.get('errors') if isinstance(body, dict) else body)}")
        return body

    async def tables(self) -> Sequence[Any]:
        """Jobs, nodes, partitions and reservations."""
        jobs = await self.jobs()
        # sinfo of 22.05 gives nodes; later ones give a summary, and scontrol the nodes
        told = await self.json("sinfo", "--json")
        nodes = told["nodes"] if "nodes" in told else (await self.json("scontrol", "show", "nodes", "--json"))["nodes"]
        if "nodes" in told:
            named = {name for node in nodes for name in node.get("partitions") or ()}
            kept = await self.run("scontrol", "--oneliner", "show", "reservations")
            partitions = [{"name": name, "state": "UP"} for name in sorted(named)]
            return [jobs, nodes, partitions, reservations_in(kept.decode("utf-8", "replace"))]
        partitions = (await self.json("scontrol", "show", "partitions", "--json"))["partitions"]
        return [jobs, nodes, partitions, (await self.json("scontrol", "show", "reservations", "--json"))["reservations"]]

    async def jobs(self) -> Any:
        """All jobs."""
        return (await self.json("squeue", "--json"))["jobs"]


def reservations_in(text: str) -> list[dict[str, Any]]:
    """Reservations as ``scontrol --oneliner`` prints them in UTC, in the shape of slurmrestd. ``SourceError`` for a time that
    cannot be read: what would be planned into a reservation must be known."""
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        told = dict(word.partition("=")[::2] for word in line.split())
        if "ReservationName" in told:
            try:
                start, end = (datetime.fromisoformat(told[name]).replace(tzinfo=UTC) for name in ("StartTime", "EndTime"))
            except (KeyError, ValueError):
                raise SourceError(f"scontrol show reservations: a line of a shape that is not known ({line[:100]})") from None
            nodes = told.get("Nodes", "").replace("(null)", "")
            one = {"name": told["ReservationName"], "start_time": start.timestamp(), "end_time": end.timestamp()}
            found.append({**one, "node_list": nodes})
    return found


async def _whole(process: asyncio.subprocess.Process, line: str) -> tuple[bytes, bytes]:
    stdout, stderr = cast(asyncio.StreamReader, process.stdout), cast(asyncio.StreamReader, process.stderr)
    wrong = asyncio.ensure_future(stderr.read(_CHUNK_BYTES))
    out = bytearray()
    try:
        while chunk := await stdout.read(_CHUNK_BYTES):
            out += chunk
            if len(out) > MAX_OUTPUT_BYTES:
                raise SourceError(f"{line}: prints over {MAX_OUTPUT_BYTES} bytes; it is not read")
        said = await wrong
        await process.wait()
    finally:
        wrong.cancel()
    return bytes(out), said


def said(errors: Any) -> str:
    """A list of Slurm's errors as a clause."""
    first = errors[0] if isinstance(errors, list) and errors else errors
    if isinstance(first, dict):
        first = first.get("error") or first.get("description") or first
    return " ".join(str(first).split())[:200]
