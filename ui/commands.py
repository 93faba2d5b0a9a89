"""What each command does. Heavy libraries are imported where they are used: ``icctwin --help`` must be quick."""

import argparse
import asyncio
import json
import math
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from twin.errors import ConfigError, Problem, SourceError


def say(line: str) -> None:
    """A line on stdout: what the command was asked for."""
    sys.stdout.write(line + "\n")


def tell(line: str) -> None:
    """A line on stderr: how it goes."""
    sys.stderr.write(line + "\n")


def demo(options: argparse.Namespace) -> int:
    """A seeded centre, everything embedded, wall on 127.0.0.1."""
    from ui.app import serve
    from ui.config import load_config
    from ui.demo import write_demo

    if not 0 < options.speed <= 3600:
        raise ConfigError([Problem("--speed", f"{options.speed:g} is not above 0 and at most 3600")])
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="icctwin-demo-")))
        config = load_config(write_demo(folder, gpus=options.gpus, seed=options.seed, port=options.port))
        return serve(config, speed=options.speed, demo=True, seconds=options.seconds)


def up(options: argparse.Namespace) -> int:
    """A real centre, until it is told to stop (SIGTERM, Ctrl-C); SIGHUP reads the configuration again."""
    from ui.app import serve
    from ui.config import load_config

    return serve(load_config(options.config), path=options.config)


def check(options: argparse.Namespace) -> int:
    """Validate, then reach every source and the store: a row each; exit 1 where something is wrong."""
    from ui.check import reach
    from ui.config import load_config
    from ui.tasks import RealClock

    try:
        rows = asyncio.run(reach(load_config(options.config), RealClock().now()))
    except ConfigError as error:
        rows = [{"what": "configuration", "name": p.where, "ok": False, "says": p.what} for p in error.problems]
    if options.json:
        say(json.dumps({"ok": all(row["ok"] for row in rows), "rows": rows}))
    else:
        for row in rows:
            say(f"{'ok ' if row['ok'] else 'BAD'}  {row['what']:<13} {row['name']:<24} {row['says']}")
    return 0 if all(row["ok"] for row in rows) else 1


def init(options: argparse.Namespace) -> int:
    """A commented starting configuration for this machine."""
    from twin.starter import starter_files
    from ui.machine import machine_facts

    folder: Path = options.folder
    files = starter_files(machine_facts())
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
    from twin.load import build_site
    from twin.netbox import read_netbox
    from twin.tables import write_table

    found = read_netbox(options.files, gpus_per_node=options.gpus_per_node)
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


def forecast(options: argparse.Namespace) -> int:
    """A regular series in, quantiles out; or with ``--backtest`` the score of the models."""
    from analytics import table
    from twin.message import Message

    if options.backtest:
        return bench(argparse.Namespace(name="forecast", json=options.json, input=options.input, gpus=0, seconds=0))
    if not (options.input and options.out):
        raise ConfigError([Problem("forecast", "needs --input and --out (or --backtest)")])
    made = table.forecast_file(options.input, options.out, options.horizon)
    if isinstance(made, Message):
        raise SourceError(f"{options.input}: {made}")
    score = {name: _plain(getattr(made, name)) for name in made.__slots__}
    say(json.dumps(score) if options.json else "  ".join(f"{name} {value}" for name, value in score.items()))
    return 0


def bench(options: argparse.Namespace) -> int:
    """Measure, and print one object: figures, the same figures of peers, and under what conditions."""
    from ui.bench import BENCHES

    result = BENCHES[options.name](options)
    if options.json:
        say(json.dumps(result))
        return 0
    for title in ("figures", "against", "conditions"):
        say(f"{title}:")
        for name, value in sorted(result[title].items()):
            say(f"  {name:<36} {_short(value)}")
    return 0


def _plain(value: Any) -> Any:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
