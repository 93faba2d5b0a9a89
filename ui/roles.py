"""Which part of a centre this process is: what it reads, whether it thinks, whether it shows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ingest.registry import Opened
from ingest.shard import Shard
from twin.ports import Source

ROLES = ("ingest", "tasks", "wall")
ALL = frozenset(ROLES)


@dataclass(frozen=True, slots=True)
class Part:
    """``roles``: ``ingest`` reads the sources of ``shard``, ``tasks`` estimates, warns, foresees and plans where it leads,
    ``wall`` shows. All of them is a centre in one process."""

    roles: frozenset[str] = ALL
    shard: Shard = field(default_factory=Shard)

    @property
    def name(self) -> str:
        """Of its own asset, its spool and its voice on the broker; "" where it is all there is."""
        if self.roles == ALL and self.shard.count == 1:
            return ""
        if "ingest" in self.roles:
            return f"ingest-{self.shard.index + 1}of{self.shard.count}"
        return "tasks" if "tasks" in self.roles else "wall"

    @property
    def process(self) -> str:
        """Id of its own asset."""
        return f"icctwin/{self.name}" if self.name else "icctwin"

    @property
    def writes(self) -> bool:
        """Whether it has anything to keep; a wall alone only reads."""
        return self.roles != {"wall"}

    def sources(self, section: str, opened: Opened) -> Sequence[Source]:
        """Those of one ``[[source]]`` that this process reads: each by its own name, but all of them together where they
        belong to one plant that is also set or asked."""
        if "ingest" not in self.roles:
            return ()
        if opened.queues or opened.actuators or opened.history:
            return opened.sources if self.shard.has(section) else ()
        return [source for source in opened.sources if self.shard.has(source.name)]


def part_names(shards: int) -> Sequence[str]:
    """Names of the processes that a centre of ``shards`` ingest processes may have."""
    return [*(f"ingest-{i + 1}of{shards}" for i in range(shards)), "tasks", "wall"] if shards else []


def read_roles(text: str) -> frozenset[str]:
    """``tasks,wall`` as a set; ``ValueError`` for what is no role."""
    roles = frozenset(ROLES if text == "all" else text.split(","))
    if not roles or roles - ALL:
        raise ValueError(f"{text!r} names no roles; write all, or some of {','.join(ROLES)} with commas between them")
    return roles
