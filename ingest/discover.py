"""Finds out what speaks at the addresses that somebody names, and proposes sources for it. Probes those addresses and no other,
a few questions each, with nothing but what it was given to log in with.

A probe asks one question that every device of its protocol answers, and never sets anything.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ingest.probes import PROBES, Given, Probe
from ingest.sources.device import host_of, host_port
from twin.errors import ConfigError, Problem
from twin.site import Site

MAX_ADDRESSES = 65_536
AT_ONCE = 64
_HOMELESS = ("slurm", "kubernetes", "prometheus", "mqtt")  # what answers there is no asset itself

Endpoint = tuple[str, str, int]  # type of source, host, port
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
    """Sources to be written into a configuration; those that cannot run yet (``later``: their asset, mapping or token is not
    there); assets that the site lacks for them, what a source reads already, and what nobody answered at."""

    sources: list[dict[str, object]] = field(default_factory=list)
    later: list[dict[str, object]] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
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


def endpoint(kind: str, target: str) -> Endpoint:
    """Where a source of type ``kind`` finds ``target``, however that is written."""
    usual = next((probe.ports[0] for probe in PROBES if probe.type == kind), 0)
    return kind, host_of(target), host_port(target, usual)[1]


async def discover(
    words: Sequence[str], given: Given, site: Site | None, told: Progress, read: Collection[Endpoint] = ()
) -> Proposal:
    """Probe every address that ``words`` name, and nothing else. An address with a port is asked at that port only, by
    every protocol
    that could be there; one without at each protocol's usual ports. ``site``: assets are found there by their ``address``.
    What is ``read`` already is not proposed again."""
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
    _propose(proposal, site, read)
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


def _propose(proposal: Proposal, site: Site | None, read: Collection[Endpoint]) -> None:
    """One source for all that are of one type and read alike, those that can run apart from those that cannot."""
    alike: dict[tuple[str, str, bool], list[tuple[str, str, Mapping[str, object]]]] = {}
    for one in proposal.found:
        if endpoint(one.type, one.target) in read:
            proposal.read.append(one.target)
            continue
        asset = "" if one.type in _HOMELESS else _asset(one, site, proposal)
        lacks = site is not None and asset not in ("", *site.position)
        runs = not (lacks or str(one.options.get("mapping", "")).endswith(".toml") or "token_file" in one.options)
        key = one.type, repr(sorted(one.options.items())), runs
        alike.setdefault(key, []).append((one.target, asset, one.options))
    names: dict[str, int] = {}
    for (kind, _, runs), some in alike.items():
        options = some[0][2]
        base = "-".join(str(word) for word in (kind, options.get("mapping", "")) if word).replace(".toml", "")
        names[base] = names.get(base, 0) + 1
        source: dict[str, object] = {"name": base if names[base] == 1 else f"{base}-{names[base]}", "type": kind}
        if kind in ("slurm", "kubernetes"):
            source["url"] = some[0][0]
        elif kind in _HOMELESS:
            source["targets"] = [target for target, *_ in some]
        else:
            source["targets"] = {target: asset for target, asset, _ in some}
        (proposal.sources if runs else proposal.later).append(source | dict(options))


def _asset(one: Found, site: Site | None, proposal: Proposal) -> str:
    """The asset that a target is: the one of the site at its address (of several the one of its kind), else one to be
    added."""
    host = host_of(one.target)
    if site is not None:
        addresses = site.texts.get("address", ())  # none of the assets has one
        at = [asset for asset, address in zip(site.ids, addresses, strict=False) if address and host_of(address) == host]
        fits = at if len(at) == 1 else [asset for asset in at if site.kind(asset) == one.kind]
        if len(fits) == 1:
            return fits[0]
    asset = f"{one.kind or 'device'}-{host}".replace(":", "-")
    if all(row["id"] != asset for row in proposal.assets):
        proposal.assets.append({"id": asset, "kind": one.kind, "parent": "", "address": host})
    return asset
