"""Finds out what speaks at the addresses that somebody names, and proposes sources for it. Probes those addresses and no other,
a few questions each, with nothing but what it was given to log in with.

A probe asks one question that every device of its protocol answers, and never sets anything.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ingest.probes import PROBES, Given, Probe
from ingest.sources.device import host_of, host_port
from twin.errors import ConfigError, Problem
from twin.site import Site

MAX_ADDRESSES = 65_536
AT_ONCE = 64

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Found:
    """What speaks somewhere: ``target`` as a source names it, ``options`` of that source, ``kind`` of asset that it is (""
    where it
    is none, or several), ``says`` how it introduces itself."""

    type: str
    target: str
    options: Mapping[str, object]
    kind: str
    says: str


@dataclass(slots=True)
class Proposal:
    """Sources to be written into a configuration, assets that the site lacks for them, and what nobody answered at."""

    sources: list[dict[str, object]] = field(default_factory=list)
    assets: list[dict[str, str]] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)


def addresses_in(words: Sequence[str]) -> list[str]:
    """Hosts, ``host:port`` and networks (``10.0.0.0/24``: their hosts) as single addresses, each once. ``ConfigError`` for
    what is no
    address and for over ``MAX_ADDRESSES``."""
    found: dict[str, None] = {}
    problems: list[Problem] = []
    for word in words:
        try:
            if "/" in word:
                network = ipaddress.ip_network(word, strict=False)
                if network.num_addresses + len(found) > MAX_ADDRESSES:
                    raise ConfigError([Problem(word, f"more than {MAX_ADDRESSES} addresses; name fewer")])
                found |= dict.fromkeys(str(host) for host in network.hosts())
            elif host_of(word):
                host_port(word, 1)
                found[word] = None
            else:
                raise ValueError("names no host")
        except ValueError as error:
            problems.append(Problem(word, f"is no address ({error}); write host, host:port or 10.0.0.0/24"))
    if problems:
        raise ConfigError(problems)
    return list(found)


async def discover(words: Sequence[str], given: Given, site: Site | None, told: Progress) -> Proposal:
    """Probe every address that ``words`` name, and nothing else. An address with a port is asked at that port only, by
    every protocol
    that could be there; one without at each protocol's usual ports. ``site``: assets are found there by their ``address``."""
    addresses = addresses_in(words)
    gate = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def one(address: str) -> list[Found]:
        nonlocal done
        async with gate:
            found = await _ask(address, given)
        done += 1
        told(done, len(addresses))
        return found

    answers = await asyncio.gather(*(one(address) for address in addresses))
    proposal = Proposal(found=[found for answer in answers for found in answer])
    proposal.silent = [address for address, answer in zip(addresses, answers, strict=True) if not answer]
    _propose(proposal, site)
    return proposal


async def _ask(address: str, given: Given) -> list[Found]:
    host, port = host_of(address), host_port(address, 0)[1]
    asked: dict[int, list[Probe]] = {}
    for probe in PROBES:
        if not given.only or probe.type in given.only:
            for at in (port,) if port else probe.ports:
                asked.setdefault(at, []).append(probe)
    answers = await asyncio.gather(*(_ask_port(host, at, probes, given) for at, probes in asked.items()))
    return [found for found in answers if found is not None]


async def _ask_port(host: str, port: int, probes: Sequence[Probe], given: Given) -> Found | None:
    """One protocol after the other, until one is spoken there: a small device bears no more."""
    for probe in probes:
        answer = await probe.ask(host, port, given)
        if answer is not None:
            options, kind, says = answer
            target = str(options.pop("target", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"))
            return Found(probe.type, target, options, kind, says)
    return None


def _propose(proposal: Proposal, site: Site | None) -> None:
    """One source for all that are of one type and read alike."""
    alike: dict[tuple[str, str], list[Found]] = {}
    for one in proposal.found:
        alike.setdefault((one.type, repr(sorted(one.options.items()))), []).append(one)
    names: dict[str, int] = {}
    known = _by_address(site)
    for (kind, _), some in alike.items():
        base = "-".join(str(word) for word in (kind, some[0].options.get("mapping", "")) if word).replace(".toml", "")
        names[base] = names.get(base, 0) + 1
        source: dict[str, object] = {"name": base if names[base] == 1 else f"{base}-{names[base]}", "type": kind}
        if kind in ("slurm", "kubernetes"):
            source["url"] = some[0].target
        elif kind in ("prometheus", "mqtt"):
            source["targets"] = [one.target for one in some]
        else:
            source["targets"] = {one.target: _asset(one, known, proposal) for one in some}
        proposal.sources.append(source | dict(some[0].options))


def _by_address(site: Site | None) -> dict[str, str]:
    """Host -> id of the asset that has it as its address."""
    if site is None:
        return {}
    column = site.texts.get("address") or [""] * len(site.ids)
    return {host_of(address): asset for asset, address in zip(site.ids, column, strict=True) if address}


def _asset(one: Found, known: Mapping[str, str], proposal: Proposal) -> str:
    """The asset that a target is: one of the site's, else one to be added."""
    host = host_of(one.target)
    if host in known:
        return known[host]
    asset = f"{one.kind or 'device'}-{host}".replace(":", "-")
    if all(row["id"] != asset for row in proposal.assets):
        proposal.assets.append({"id": asset, "kind": one.kind, "parent": "", "address": host})
    return asset
