"""Commands on a centre: show a simulated one, run, check and set up a real one."""

import argparse
import asyncio
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

from twin.errors import ConfigError, Problem
from ui.commands import SEED, add_command, between, config_option, json_option, say, tell


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``demo``, ``up``, ``ingest``, ``check``, ``init`` and ``import``."""
    parser = add_command(
        commands, "demo", demo, "a seeded centre, everything embedded, live on a wall", "icctwin demo --gpus 1024"
    )
    parser.add_argument("--gpus", type=between(8, 100_000), default=1024, help="size of the simulated hall (default: 1024)")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="how many times faster than real the centre's clock runs (default: 1)"
    )
    parser.add_argument("--port", type=between(1, 65_535), default=8050, help="port of the wall on 127.0.0.1 (default: 8050)")
    parser.add_argument("--seed", type=SEED, default=1, help="same seed, same centre and faults (default: 1)")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="keep configuration and store in DIR, and go on there at the next start (default: a temporary folder)",
    )
    parser.add_argument("--seconds", type=float, help="stop by itself after this long (default: run until stopped)")

    parser = add_command(commands, "up", up, "run a real centre", "icctwin up --config site.toml")
    config_option(parser)
    parser.add_argument(
        "--role", default="all", help="all, or some of ingest,tasks,wall: what this process of several does (default: all)"
    )
    parser.add_argument("--shard", default="1/1", help="which part of the sources an ingest process reads (default: 1/1)")

    parser = add_command(
        commands,
        "ingest",
        ingest,
        "read a part of the sources: one process of several, the same as up --role ingest",
        "icctwin ingest --shard 2/3 --config site.toml",
    )
    config_option(parser)
    parser.add_argument("--shard", default="1/1", help="which part of the sources it reads (default: 1/1)")

    parser = add_command(
        commands,
        "check",
        check,
        "validate a configuration and reach all it names",
        "icctwin check --config site.toml",
    )
    config_option(parser)
    json_option(parser)

    parser = add_command(commands, "init", init, "write a starting configuration for this machine", "icctwin init my-centre")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("."), help="where to write it (default: here)")

    parser = add_command(
        commands,
        "import",
        bring,
        "turn an export of NetBox into assets and links, or a prometheus.yml into sources",
        "icctwin import racks.csv devices.csv power-feeds.csv --out my-centre",
    )
    parser.add_argument(
        "files", type=Path, nargs="+", help="NetBox exports (CSV, or JSON of its REST API), or one prometheus.yml"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where assets.csv and links.csv go; sources go to its site.toml (none: they are printed)",
    )
    parser.add_argument(
        "--gpus-per-node", type=between(0, 64), default=0, help="GPUs of a server whose record does not say (default: 0)"
    )
    parser.add_argument("--site", default="", metavar="NAME", help="which site of NetBox, where the files hold several")
    parser.add_argument(
        "--role",
        action="append",
        default=[],
        metavar="ROLE=KIND",
        help="what a role of NetBox is here, such as 'GPU node=node'; 'Console=' leaves it out (may be repeated)",
    )
    parser.add_argument("--force", action="store_true", help="replace the assets.csv and links.csv that are there")
    json_option(parser)


def demo(options: argparse.Namespace) -> int:
    """A seeded centre, everything embedded, wall on 127.0.0.1."""
    from ui.config import load_config
    from ui.demo import write_demo
    from ui.memory import look_seldom
    from ui.running import serve

    if not 0 < options.speed <= 3600:
        raise ConfigError([Problem("--speed", f"{options.speed:g} is not above 0 and at most 3600")])
    if options.keep and options.speed > 1:
        what = "is not for a demo that is kept: it runs ahead, and the next start would write over what it told of those hours"
        raise ConfigError([Problem("--speed", f"{options.speed:g} {what}; leave out one of --keep and --speed")])
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="icctwin-demo-")))
        config = load_config(write_demo(folder, gpus=options.gpus, seed=options.seed, port=options.port))
        look_seldom()
        return serve(config, speed=options.speed, demo=True, seconds=options.seconds)


def up(options: argparse.Namespace) -> int:
    """A real centre, until it is told to stop (SIGTERM, Ctrl-C); SIGHUP reads the configuration again."""
    from ingest.shard import read_shard
    from ui.config import load_config
    from ui.memory import look_seldom
    from ui.roles import Part, read_roles
    from ui.running import serve

    try:
        part = Part(read_roles(options.role), read_shard(options.shard))
    except ValueError as error:
        raise ConfigError([Problem("--role and --shard", str(error))]) from error
    look_seldom()
    return serve(load_config(options.config), path=options.config, part=part)


def ingest(options: argparse.Namespace) -> int:
    """One of several processes that read the sources."""
    options.role = "ingest"
    return up(options)


def check(options: argparse.Namespace) -> int:
    """Validate, then reach every source and the store: a row each; exit 1 where something is not reached, 2 where the
    configuration itself is wrong."""
    from ui.check import reach
    from ui.config import load_config
    from ui.tasks import RealClock

    bad = 1
    try:
        rows = asyncio.run(reach(load_config(options.config), RealClock().now()))
    except ConfigError as error:
        bad = 2
        rows = [{"what": "configuration", "name": p.where, "ok": False, "says": p.what} for p in error.problems]
    if options.json:
        say(json.dumps({"ok": all(row["ok"] for row in rows), "rows": rows}))
    else:
        for row in rows:
            say(f"{'ok ' if row['ok'] else 'BAD'}  {row['what']:<13} {row['name']:<24} {row['says']}")
    return 0 if all(row["ok"] for row in rows) else bad


def init(options: argparse.Namespace) -> int:
    """A commented starting configuration for this machine."""
    from twin.starter import starter_files
    from ui.machine import machine_facts, zone_name

    folder: Path = options.folder
    files = starter_files(machine_facts(), folder.resolve().name or "my-centre", zone_name())
    taken = [str(folder / name) for name in files if (folder / name).exists()]
    if taken:
        raise ConfigError([Problem(name, "is already there and stays as it is; name another folder") for name in taken])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        say(str(folder / name))
    tell(f"look it over, then: icctwin check --config {folder / 'site.toml'} && icctwin up --config {folder / 'site.toml'}")
    return 0


def bring(options: argparse.Namespace) -> int:
    """NetBox's exports become assets.csv and links.csv; what could not be mapped is listed with its reason."""
    if any(path.suffix in (".yml", ".yaml") for path in options.files):
        from ui.commands.scrape import bring_scrape_configs

        return bring_scrape_configs(options.files, options.out, as_json=options.json)
    if options.out is None:
        raise ConfigError([Problem("--out", "name the folder where assets.csv and links.csv go")])
    taken = [options.out / name for name in ("assets.csv", "links.csv") if (options.out / name).exists()]
    if taken and not options.force:
        raise ConfigError([Problem(str(one), "is already there and stays as it is; replace it with --force") for one in taken])
    from twin.load import build_site
    from twin.netbox import read_netbox
    from twin.tables import write_table

    roles = [role.partition("=") for role in options.role]
    if wrong := [name for name, sign, _ in roles if not (name.strip() and sign)]:
        raise ConfigError([Problem("--role", f"{wrong[0]!r} says no kind; write ROLE=KIND, as in 'GPU node=node'")])
    kinds = {name.strip(): kind.strip() for name, _, kind in roles}
    found = read_netbox(options.files, gpus_per_node=options.gpus_per_node, site=options.site, roles=kinds)
    build_site("check", "UTC", found.assets, found.links)
    options.out.mkdir(parents=True, exist_ok=True)
    write_table(options.out / "assets.csv", found.assets, columns=("id", "kind", "parent"))
    write_table(options.out / "links.csv", found.links, columns=("from", "to", "relation", "share"))
    said = {"left_out": [str(p) for p in found.left_out], "assumed": [str(p) for p in found.assumed]}
    if options.json:
        say(json.dumps({"assets": len(found.assets), "links": len(found.links), **said}))
        return 0
    say(f"{len(found.assets)} assets and {len(found.links)} links written to {options.out}")
    for what, problems in said.items():
        for problem in problems:
            say(f"{what.replace('_', ' ')}: {problem}")
    return 0
