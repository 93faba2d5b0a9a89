"""How often somebody may try a password.

Failures make those who guess wait, longer each time, and never anybody else for ever. A browser that has signed in before
carries a device cookie and counts by itself, so that strangers who guess cannot keep its owner out (OWASP, "Slow Down Online
Guessing Attacks with Device Cookies"). Without one, failures count for the name from that network, for the network, and for
the name from everywhere, the last with a short wait only. An attempt during a wait is refused unseen and makes no wait
longer.
"""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

FREE, FREE_NETWORK = 5, 20  # failures without a wait
FIRST_S, LONGEST_S, LONGEST_NAME_S = 2.0, 900.0, 30.0
FORGOTTEN_S = 3600.0
MAX_KEPT = 20_000  # counts; the oldest are forgotten


@dataclass(slots=True)
class _Count:
    failures: int
    last_s: float
    before_s: float  # the failure before the last


class Guesses:
    """Of one process; times are seconds since 1970."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, ...], _Count] = OrderedDict()

    def wait_s(self, name: str, device: str, address: str, now_s: float) -> float:
        """How long until this one may try again; 0: now."""
        waits = [self._wait_s(*bucket, now_s) for bucket in _buckets(name, device, address)]
        return max(waits)

    def failed(self, name: str, device: str, address: str, now_s: float) -> None:
        """A wrong password, or a name that nobody has."""
        for key, *_ in _buckets(name, device, address):
            count = self._counted(key, now_s)
            if count is None or now_s - count.last_s > FORGOTTEN_S:
                count = _Count(0, now_s, now_s)
            count.failures, count.before_s, count.last_s = count.failures + 1, count.last_s, now_s
            self._counts[key] = count
            self._counts.move_to_end(key)
        while len(self._counts) > MAX_KEPT:
            self._counts.popitem(last=False)

    def passed(self, name: str, device: str, address: str, now_s: float) -> None:
        """The right password, in the attempt that ``failed`` counted at ``now_s``: what this one failed before is forgotten.
        What its network did for other names is not; of that the attempt alone is taken back."""
        for key, *_ in _buckets(name, device, address):
            if key[0] != "network":
                self._counts.pop(key, None)
            elif (count := self._counted(key, now_s)) is not None:
                count.failures -= 1
                if count.last_s == now_s:  # nobody of the network failed since
                    count.last_s = count.before_s
                if count.failures <= 0:
                    del self._counts[key]

    def _counted(self, key: tuple[str, ...], now_s: float) -> _Count | None:
        """What was counted for ``key``. What the clock has not come to yet was counted while it was ahead: it counts as of now,
        or somebody would wait for as long as the clock had leapt."""
        count = self._counts.get(key)
        if count is not None:
            count.last_s, count.before_s = min(count.last_s, now_s), min(count.before_s, now_s)
        return count

    def _wait_s(self, key: tuple[str, ...], free: int, longest_s: float, now_s: float) -> float:
        count = self._counted(key, now_s)
        if count is None or count.failures < free or now_s - count.last_s > FORGOTTEN_S:
            return 0.0
        wait_s = min(FIRST_S * 2.0 ** min(count.failures - free, 20), longest_s)
        return max(count.last_s + wait_s - now_s, 0.0)


def _buckets(name: str, device: str, address: str) -> list[tuple[tuple[str, ...], int, float]]:
    """(what is counted, failures without a wait, longest wait in s)."""
    if device:
        return [(("device", name, device), FREE, LONGEST_S)]
    network = network_of(address)
    return [
        (("name", name, network), FREE, LONGEST_S),
        (("network", network), FREE_NETWORK, LONGEST_S),
        (("name", name), FREE, LONGEST_NAME_S),
    ]


def network_of(address: str) -> str:
    """Of IPv6 the /64 that one customer usually has. An IPv4 address that a socket of both kinds tells as ``::ffff:…``
    (RFC 4291, 2.5.5.2) is itself: all of those have one /64."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address[:100]
    if ip.version == 6:
        return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
