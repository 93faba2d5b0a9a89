"""``icctwin discover``: propose sources from addresses that the user names, and sites from what a BMS event bus says of
itself."""

import argparse
import asyncio
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin.errors import ConfigError, Problem
from twin.site import Site
from ui.commands import add_command, json_option, say, tell

if TYPE_CHECKING:
    from ingest.discover import Endpoint, Proposal
    from ui.config import Config

PROTOCOLS = ("prometheus", "redfish", "snmp", "modbus", "mqtt", "gnmi", "bacnet", "slurm", "kubernetes")
MAX_LIST_BYTES = 2**20
LATER = "found-sources.toml"
SHOWN = 5  # addresses that do not answer


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``discover``."""
    parser = add_command(
        commands,
        "discover",
        discover,
        "find out what speaks at addresses that you name, and propose sources for it; nothing else is probed",
        "icctwin discover 10.0.3.0/24 cdu7:502 --config site.toml --add",
    )
    parser.add_argument("addresses", nargs="*", help="hosts, host:port, or networks as 10.0.3.0/24")
    parser.add_argument("--list", type=Path, metavar="FILE", help="more addresses, one a line; # begins a comment")
    parser.add_argument("--only", nargs="+", choices=PROTOCOLS, default=[], help="ask for these protocols alone")
    parser.add_argument("--timeout", type=float, default=3.0, metavar="S", help="seconds to wait for each answer (default: 3)")
    parser.add_argument("--community-file", type=Path, help="SNMP v2c community (default: public)")
    parser.add_argument("--user", default="", help="user that the proposed Redfish sources log in as")
    parser.add_argument("--password-file", type=Path, help="that user's password; not sent while probing")
    parser.add_argument("--ca-file", type=Path, help="authorities that HTTPS servers are known by")
    parser.add_argument(
        "--bacnet-bind", default="", metavar="ADDRESS", help="our address on the BACnet network; none: not asked"
    )
    parser.add_argument(
        "--bms", metavar="BROKER", help="read assets and links from the metadata of this broker's BMS event bus"
    )
    parser.add_argument("--config", type=Path, help="the centre's configuration: assets are found by their address there")
    parser.add_argument("--add", action="store_true", help="add the sources to --config instead of printing them")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where tables of found assets and links go, and sources that lack something"
    )
    json_option(parser)


def discover(options: argparse.Namespace) -> int:
    """Probe, and print or write what was found; exit 1 where nothing was."""
    from ui.config import load_config, site_of

    words = [*options.addresses, *(_listed(options.list) if options.list else [])]
    if not words and not options.bms:
        raise ConfigError([Problem("discover", "needs addresses, --list or --bms; it probes only what it is told")])
    if options.add and not options.config:
        raise ConfigError([Problem("--add", "needs --config: the file to add to")])
    if bool(options.user) != bool(options.password_file):
        raise ConfigError([Problem("--user", "and --password-file belong together")])
    if not 0 < options.timeout <= 60:
        raise ConfigError([Problem("--timeout", f"{options.timeout:g} is not above 0 and at most 60")])
    config = load_config(options.config) if options.config else None
    site = site_of(config, ()) if config else None
    return _bus(options, site) if options.bms else _probe(words, options, site, _read(config) if config else set())


def _read(config: "Config") -> "set[Endpoint]":
    """What the sources of a configuration read already."""
    from ingest.discover import endpoint

    found = set()
    for source in config.sources:
        targets = getattr(source.options, "targets", None) or getattr(source.options, "url", None) or ()
        for target in [targets] if isinstance(targets, str) else targets:
            found.add(endpoint(source.type, str(target)))
    return found


def _listed(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_LIST_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error}); give a text file of addresses")]) from None
    if len(text) > MAX_LIST_BYTES:
        raise ConfigError([Problem(str(path), f"is over {MAX_LIST_BYTES} bytes")])
    return [word for line in text.splitlines() for word in line.partition("#")[0].split()]


def _probe(words: Sequence[str], options: argparse.Namespace, site: Site | None, read: "set[Endpoint]") -> int:
    from ingest.discover import discover as look
    from ingest.probes import Given
    from ui.commands.scrape import add_sources

    given = Given(
        tuple(options.only), options.timeout, options.community_file, options.user, options.password_file, options.ca_file,
        options.bacnet_bind,
    )  # fmt: skip

    def told(done: int, total: int) -> None:
        if done % 32 == 0 or done == total:
            tell(f"{done} of {total} addresses asked")

    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # what it would say of a silent address is told below
    proposal = asyncio.run(look(words, given, site, told, read))
    if options.out and proposal.assets:
        _write(options.out / "found-assets.csv", proposal.assets, ("id", "kind", "parent", "address"))
    if options.add and proposal.sources:
        add_sources(options.config, proposal.sources, site)
    if options.out and proposal.later:
        _new(options.out / LATER).write_text(_commented(proposal.later), encoding="utf-8")
    if options.json:
        found = [{"type": f.type, "target": f.target, "kind": f.kind, "says": f.says} for f in proposal.found]
        lists = {name: getattr(proposal, name) for name in ("sources", "later", "read", "assets", "silent")}
        say(json.dumps({"found": found, **lists}))
    else:
        _show(proposal, options)
    return 0 if proposal.found else 1


def _show(proposal: "Proposal", options: argparse.Namespace) -> None:
    """What was found, for a person."""
    from ui.commands.scrape import sources_toml

    for one in proposal.found:
        tell(f"{one.type:<11} {one.target:<32} {one.says}")
    tell(_silent(proposal.silent) if proposal.silent else "every address answered")
    if options.add:
        say(f"sources added: {len(proposal.sources)}, to {options.config}")
    elif proposal.sources:
        say(sources_toml(proposal.sources).strip())
    if proposal.later:
        where = str(options.out / LATER) if options.out else "below"
        tell(
            f"{len(proposal.later)} sources lack an asset, a mapping or a token: they are comments, {where}, until it is there"
        )
        if not options.out:
            say(_commented(proposal.later).strip())
    if proposal.read:
        tell(f"read already, and not proposed again: {', '.join(proposal.read[:SHOWN])}")
    if proposal.assets and not options.out:
        tell(f"{len(proposal.assets)} of the devices are no assets yet; --out DIR writes rows for them")


def _commented(sources: Sequence[dict[str, object]]) -> str:
    """``[[source]]`` tables that nobody reads yet."""
    from ui.commands.scrape import sources_toml

    return "".join(f"# {line}".rstrip() + "\n" for line in sources_toml(sources).strip().splitlines())


def _silent(addresses: Sequence[str]) -> str:
    more = len(addresses) - SHOWN
    return f"no answer from {', '.join(addresses[:SHOWN])}" + (f" and {more} more" if more > 0 else "")


def _bus(options: argparse.Namespace, site: Site | None) -> int:
    """Assets and links as the bus has them; with a site, what the two disagree on (exit 1 where they do)."""
    from ingest.bus_site import compare, site_of_bus
    from ingest.sources.mqtt import bus_of

    told = asyncio.run(bus_of(options.bms, options.timeout, options.user, options.password_file, options.ca_file))
    found = site_of_bus(told)
    said: dict[str, Any] = {"assets": len(found.assets), "links": len(found.links), "left_out": found.left_out}
    if site is not None:
        said["differs"] = compare(found, site)
    if options.out:
        _write(options.out / "bus-assets.csv", found.assets, ("id", "kind", "parent", "name"))
        _write(options.out / "bus-links.csv", found.links, ("from", "to", "relation"))
    if options.json:
        say(json.dumps(said))
    else:
        say(f"{said['assets']} assets and {said['links']} links on the bus of {options.bms}")
        for line in found.left_out:
            tell(f"left out: {line}")
        for line in said.get("differs", ()):
            say(line)
        if site is not None and not said["differs"]:
            say("the site's assets and links are those of the bus")
    return 1 if said.get("differs") or not found.assets else 0


def _write(path: Path, rows: Sequence[dict[str, str]], columns: Sequence[str]) -> None:
    from twin.load import Row
    from twin.tables import write_table

    write_table(_new(path), [Row(str(path), row) for row in rows], columns=columns)
    tell(str(path))


def _new(path: Path) -> Path:
    """``path`` in its folder, which is made; refused where it is there."""
    if path.exists():
        raise ConfigError([Problem(str(path), "is already there and stays as it is; name another folder")])
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
