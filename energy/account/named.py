"""GPUs as notes of runs name them: by id, for ids stay while rows move with each change of the inventory; and short, for the
ids of a centre mostly differ in their last number alone.

An id is what stands before its last number, and that number as programs write it (no zero before it, at most nine digits):
``gpu01/7`` is ("gpu01/", 7), ``g007`` is ("g00", 7), ``left`` is ("left", -1). Of a set of them each text before is noted once,
with its numbers as ``[first, last]`` pairs: a node of eight GPUs takes some twenty bytes, whatever it holds.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from twin.frame import Ints

Named = Mapping[str, Sequence[Sequence[int]]]
NO_NUMBER = -1  # of an id that ends in none
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,8})\Z")


def parted(asset: str) -> tuple[str, int]:
    """What stands before the last number of an id, and the number: no two ids give the same."""
    found = _NUMBER.search(asset)
    return (asset[: found.start()], int(found[0])) if found else (asset, NO_NUMBER)


class Names:
    """The GPUs of a site, ``ids`` by row: from rows to what is noted, and back."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._count, self._parts = len(ids), [parted(one) for one in ids]
        found: dict[str, list[tuple[int, int]]] = {}
        for row, (text, number) in enumerate(self._parts):
            found.setdefault(text, []).append((number, row))
        self._known = {text: np.array(sorted(pairs), dtype=np.int64) for text, pairs in found.items()}

    def named(self, rows: Iterable[int]) -> dict[str, list[list[int]]]:
        """The GPUs in ``rows`` as they are noted."""
        made: dict[str, list[list[int]]] = {}
        for text, number in sorted(self._parts[row] for row in rows):
            ranges = made.setdefault(text, [])
            if ranges and number == ranges[-1][1] + 1:
                ranges[-1][1] = number
            else:
                ranges.append([number, number])
        return made

    def rows(self, named: Named) -> tuple[Ints, int]:
        """(rows of those that the site has, int32[m]; how many of the named it has no more)."""
        found, asked = [np.empty(0, dtype=np.int64)], 0
        for text, ranges in named.items():
            known = self._known.get(text)
            for first, last in ranges:
                asked += last - first + 1
                if known is not None:
                    low, high = np.searchsorted(known[:, 0], (first, last + 1))
                    found.append(known[low:high, 1])
        rows = np.concatenate(found).astype(np.int32)
        return rows, asked - len(rows)

    def rows_by_number(self, ranges: Sequence[Sequence[int]]) -> tuple[Ints, int]:
        """As ``rows``, of notes that releases before named by row: as the rows are now."""
        asked = np.concatenate([np.empty(0, np.int32), *(np.arange(a, b + 1, dtype=np.int32) for a, b in ranges)])
        rows = asked[asked < self._count]
        return rows, len(asked) - len(rows)
