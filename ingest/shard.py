"""Which of several ingest processes reads a source: by the highest of the weights that a hash gives each pair of them, so that
one process more or less moves only its own share (rendezvous hashing; Thaler and Ravishankar, IEEE/ACM ToN 6(1), 1998)."""

from dataclasses import dataclass
from hashlib import blake2b

MAX_SHARDS = 64


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``index`` (from 0) of ``count``."""

    index: int = 0
    count: int = 1

    def has(self, name: str) -> bool:
        """Whether the source called ``name`` is this part's."""
        return shard_of(name, self.count) == self.index

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"


def shard_of(name: str, count: int) -> int:
    """Which of ``count`` parts (from 0) has the source called ``name``."""
    return max(range(count), key=lambda part: blake2b(f"{part}:{name}".encode(), digest_size=8).digest())


def read_shard(text: str) -> Shard:
    """``2/3`` as the second of three; ``ValueError`` where it is none."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count) <= MAX_SHARDS):
        raise ValueError(f"{text!r} is no shard; write 1/3 for the first of three, with at most {MAX_SHARDS}")
    return Shard(int(index) - 1, int(count))
