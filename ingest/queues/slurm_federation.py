"""The clusters of a Slurm federation as one queue: each is asked by its own slurmrestd, a job is read once, and what is written
goes to the cluster that it was submitted to, which passes it on.

What was seen on 22.05 and shapes this: a job is sent by ``cluster_constraint``, one write with its begin time and comment,
which REST takes and shows again; ``clusters`` it does not take. The origin does it at once, but each copy elsewhere follows at
one change a second, whichever job it is of, and no copy starts while a change is under way (for up to a minute): so few jobs
are changed at a time, and read back in the cluster that they are to start in. A single job cannot be read with a JWT (its
threads have none): jobs are read by list. A cluster that does not answer takes its copies with it; the others go on.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from ingest.queues.slurm_commands import Commands
from ingest.queues.slurm_rest import PARTS, SlurmRest
from ingest.queues.slurm_siblings import AT, WAITS_IN, label, merged, names, split
from ingest.sources.device import beside
from twin.errors import SourceError
from twin.order import FEDERATED_ORDERS

MAX_CLUSTERS = 63  # of a federation (MAX_FED_CLUSTERS of slurmctld)
SETTLE_S = 2.0 * FEDERATED_ORDERS + 20  # a change a second of each copy, and a machine that is busy
_CLUSTER = re.compile(r"^(?:Self|Sibling):\s+([^:\s]+):\S*\s+ID:\d+\s+FedState:\S+\s+Features:(\S*)", re.MULTILINE)


class Member(BaseModel):
    """``[source.federation.<cluster>]``: ``url`` of its slurmrestd; ``user``, ``token_file``, ``ca_file`` and ``conf`` where
    they differ from the source's; ``feature``: what this cluster alone has (none: its name)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    user: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None
    conf: Path | None = None
    feature: str = Field(default="", pattern=r"^[^,\s!&|]*$")

    @field_validator("token_file", "ca_file", "conf")
    @classmethod
    def _files_beside(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return beside(value, info)


class Federation:
    """The clusters, by their names. See ``slurm_rest.JobsRest``."""

    alone = False
    settle_s = SETTLE_S

    def __init__(self, members: Mapping[str, SlurmRest], features: Mapping[str, str], commands: Mapping[str, Commands]) -> None:
        """``commands``: of those clusters whose commands may be used."""
        self.members, self._features, self._commands = members, features, commands
        self.troubles: dict[str, str] = {}  # cluster -> what was wrong with it when it was last asked
        self.listed = 0
        self._last: dict[str, Sequence[Any]] = {}  # nodes, partitions and reservations of each, as last told
        self._seen: dict[str, Any] | None = None
        self._checked = False

    async def close(self) -> None:
        """Let go of the connections."""
        for rest in self.members.values():
            await rest.close()

    async def tables(self) -> list[Any]:
        """Jobs, nodes, partitions and reservations of all. The nodes of a cluster that does not answer are down, as are its
        partitions; ``SourceError`` where none answers, or they are no federation, or two nodes have one name."""
        await self._check()
        told = await self._asked(lambda rest: rest.tables())
        for cluster, parts in told.items():
            self._last[cluster] = parts[1:]
        jobs = self._kept({cluster: parts[0] for cluster, parts in told.items()})
        found: list[list[Any]] = [[] for _ in PARTS[1:]]
        for cluster, last in self._last.items():
            for rows, more in zip(found, _labelled(cluster, last, down=cluster not in told), strict=True):
                rows += more
        _unlike(found[0])
        return [jobs, *found]

    async def jobs(self) -> list[Any]:
        """All jobs as they stand, for orders. ``SourceError`` where no cluster answers."""
        return self._kept(await self._asked(lambda rest: rest.jobs()))

    async def job(self, number: str) -> Any | None:
        """One job, by the last list."""
        if self._seen is None:
            await self.jobs()
        return (self._seen or {}).get(number)

    async def update_job(self, number: str, body: Mapping[str, Any]) -> str:
        """Change a job at its origin; a clause of what is wrong. ``partition`` says to which cluster it goes."""
        seen = await self.job(number)
        if seen is None:
            return "there is no such job any more"
        origin = str(seen["federation_origin"])
        if origin not in self.members:
            return f"it comes from cluster {origin!r}, which this source does not name"
        said = dict(body)
        if "partition" in said:
            cluster = split(said.pop("partition"))[0]
            said["cluster_constraint"] = "" if cluster == origin else self._features[cluster]
            if cluster != origin and cluster not in seen[WAITS_IN]:
                return self.troubles.get(cluster) or f"cluster {cluster} has no copy of it that waits, as if it had refused it"
        return await self.members[origin].update_job(number, said)

    async def signal(self, number: str, name: str) -> str:
        """Not of a federated job, which may be requeued anywhere."""
        return f"{name} is not sent to jobs of a federation"

    # asking

    def _kept(self, found: Mapping[str, Sequence[Any]]) -> list[Any]:
        jobs = merged(found, self._features)
        self._seen = {f"{one['job_id']}": one for one in jobs if one.get("federation_origin")}
        self.listed = sum(map(len, found.values()))
        return jobs

    async def _asked(self, ask: Callable[[SlurmRest], Awaitable[list[Any]]]) -> dict[str, list[Any]]:
        """What each says, all at once; those that do not are in ``troubles``."""
        self._seen = None

        async def one(rest: SlurmRest) -> list[Any] | SourceError:
            try:
                return await ask(rest)
            except SourceError as error:
                return error

        got = dict(zip(self.members, await asyncio.gather(*map(one, self.members.values())), strict=True))
        self.troubles = {name: f"{name}: {answer}" for name, answer in got.items() if isinstance(answer, SourceError)}
        told = {name: answer for name, answer in got.items() if not isinstance(answer, SourceError)}
        if not told:
            raise SourceError("; ".join(self.troubles.values()))
        return told

    async def _check(self) -> None:
        """By command, where that is allowed, once: are they a federation, and has each a feature of its own?"""
        if self._checked or not self._commands:
            return
        refused = ""
        for commands in self._commands.values():
            try:
                said = (await commands.run("scontrol", "show", "federation")).decode("utf-8", "replace")
            except SourceError as error:
                refused = str(error)
                continue
            check_federation(said, self._features)
            self._checked = True
            return
        raise SourceError(refused)


def check_federation(said: str, features: Mapping[str, str]) -> None:
    """``SourceError`` where what ``scontrol show federation`` prints are not these clusters, each with a feature that it alone
    has."""
    known = {name: set(names(words)) - {"N/A", "(null)"} for name, words in _CLUSTER.findall(said)}
    if not known:
        raise SourceError("its clusters are no federation (scontrol show federation names none), so no job can be moved")
    strange = sorted(set(features) - set(known))
    if strange:
        raise SourceError(f"the federation has no cluster {strange[0]!r}; it has {', '.join(sorted(known))}")
    missing = sorted(set(known) - set(features))
    if missing:
        raise SourceError(f"the federation has a cluster {missing[0]!r} too; name each under [source.federation]")
    for name, feature in features.items():
        who = sorted(cluster for cluster, has in known.items() if feature in has)
        if who != [name]:
            has = f"{', '.join(who)} have" if who else "no cluster has"
            raise SourceError(
                f"{has} the feature {feature!r}, which is to be cluster {name}'s alone: sacctmgr modify cluster {name} set "
                f"features={feature}"
            )


def _labelled(cluster: str, parts: Sequence[Any], *, down: bool) -> list[list[Any]]:
    """Nodes, partitions and reservations of one cluster, by the federation's names."""
    nodes, partitions, kept = parts
    state: dict[str, Any] = {"state": "DOWN", "state_flags": []} if down else {}
    return [
        [{**one, "partitions": [label(cluster, str(name)) for name in one.get("partitions") or ()], **state} for one in nodes],
        [{**one, "name": label(cluster, str(one["name"])), **state} for one in partitions],
        [{**one, "name": label(cluster, str(one["name"]))} for one in kept],
    ]


def _unlike(nodes: Sequence[Any]) -> None:
    seen: dict[str, str] = {}
    for one in nodes:
        cluster = split((one["partitions"] or [AT])[0])[0]
        other = seen.setdefault(str(one["name"]), cluster)
        if other != cluster:
            what = f"clusters {other} and {cluster} both have a node {one['name']!r}"
            raise SourceError(f"{what}; the nodes of a federation need names of their own, as they have in the site")
