"""How often one may ask: a bucket of questions for each who asks, which fills again at a steady rate (a token bucket).

Not against a flood from many places, which is for a proxy or a firewall in front; against a script that loops, a page that
reloads itself, a token that was stolen. What is refused costs next to nothing and says when to come back.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ui.access.guesses import network_of
from ui.access.role import Identity, Role, Sort

MAX_KEPT = 20_000  # buckets; the ones that were not asked for longest are forgotten, and are full when they come back
MAX_SOCKETS = 20  # of one kind that one who asks may hold open
BURST_S = 12.0  # a full bucket holds what so many seconds allow: a page with all that it loads, several times


@dataclass(slots=True)
class _Bucket:
    left: float
    last_s: float


class Rates:
    """Of one process. ``per_s``: questions a second of each session, each token and each network of those who show nothing;
    times are seconds since 1970."""

    def __init__(self, per_s: float) -> None:
        self._per_s, self._most = per_s, max(per_s * BURST_S, 1.0)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_s(self, who: Identity, address: str, now_s: float) -> float:
        """Count one question; 0 where it may be asked, else after how long the next may be."""
        if who.sort is Sort.LOCAL and who.role is Role.ADMIN:
            return 0.0  # whoever sits at the machine has it anyhow
        known = who.sort not in (Sort.NOBODY, Sort.LOCAL)
        key = f"{who.sort} {who.ref or who.user}" if known else f"address {network_of(address)}"
        bucket = self._buckets.pop(key, None) or _Bucket(self._most, now_s)
        self._buckets[key] = bucket
        while len(self._buckets) > MAX_KEPT:
            self._buckets.popitem(last=False)
        bucket.left = min(bucket.left + max(now_s - bucket.last_s, 0.0) * self._per_s, self._most)
        bucket.last_s = now_s
        if bucket.left < 1.0:
            return (1.0 - bucket.left) / self._per_s
        bucket.left -= 1.0
        return 0.0


class Held:
    """How many sockets each who asks holds open: each user in all their sessions, each token, each address of those who show
    nothing. Whoever sits at the machine of a centre without accounts is not counted."""

    def __init__(self) -> None:
        self._open = Counter[str]()

    @contextmanager
    def one(self, who: Identity, address: str) -> Iterator[bool]:
        """One more while inside; False where they have ``MAX_SOCKETS`` already."""
        if who.sort is Sort.LOCAL and who.role is Role.ADMIN:
            yield True
            return
        key = _holder(who, address)
        if self._open[key] >= MAX_SOCKETS:
            yield False
            return
        self._open[key] += 1
        try:
            yield True
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]


def _holder(who: Identity, address: str) -> str:
    if who.sort in (Sort.NOBODY, Sort.LOCAL):
        return f"address {network_of(address)}"
    return f"user {who.user}" if who.sort is Sort.SESSION else f"{who.sort} {who.ref or who.user}"
