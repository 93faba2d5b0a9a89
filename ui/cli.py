"""The command line: what each command is called and takes. ``ui.commands`` does the work, imported only when asked for."""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from twin.errors import ConfigError, SourceError

EXIT_DONE, EXIT_NO, EXIT_USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status: 0 done, 1 the world or the data said no, 2 wrong usage or configuration."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=options.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    module, function = options.run.split(":")
    try:
        return int(getattr(importlib.import_module(module), function)(options))
    except ConfigError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return EXIT_USAGE
    except SourceError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_NO
    except KeyboardInterrupt:
        return EXIT_NO


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, for ``main`` and for the test that holds the README against it."""
    parser = argparse.ArgumentParser(prog="icctwin", description="See, foresee and steer an AI computing centre.")
    parser.add_argument("--version", action="version", version=f"icctwin {version('icctwin')}")
    parser.add_argument(
        "--log-level",
        default="warning",
        choices=["debug", "info", "warning", "error"],
        help="what is said on stderr (default: warning)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = _add(
        commands, "demo", "ui.commands:demo", "a seeded centre, everything embedded, live on a wall", "icctwin demo --gpus 1024"
    )
    demo.add_argument("--gpus", type=_between(8, 100_000), default=1024, help="size of the simulated hall (default: 1024)")
    demo.add_argument(
        "--speed", type=float, default=1.0, help="how many times faster than real the centre's clock runs (default: 1)"
    )
    demo.add_argument("--port", type=_between(1, 65_535), default=8050, help="port of the wall on 127.0.0.1 (default: 8050)")
    demo.add_argument("--seed", type=int, default=1, help="same seed, same centre and faults (default: 1)")
    demo.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep configuration and store in DIR (default: a temporary folder)"
    )
    demo.add_argument("--seconds", type=float, help="stop by itself after this long (default: run until stopped)")

    up = _add(commands, "up", "ui.commands:up", "run a real centre", "icctwin up --config site.toml")
    _config(up)

    check = _add(
        commands,
        "check",
        "ui.commands:check",
        "validate a configuration and reach all it names",
        "icctwin check --config site.toml",
    )
    _config(check)
    _json(check)

    init = _add(
        commands, "init", "ui.commands:init", "write a starting configuration for this machine", "icctwin init my-centre"
    )
    init.add_argument("folder", type=Path, nargs="?", default=Path("."), help="where to write it (default: here)")

    bring = _add(
        commands,
        "import",
        "ui.commands:bring",
        "turn an export of NetBox into assets and links",
        "icctwin import racks.csv devices.csv power-feeds.csv --out my-centre",
    )
    bring.add_argument("files", type=Path, nargs="+", help="NetBox exports: CSV, or JSON of its REST API")
    bring.add_argument("--out", type=Path, required=True, metavar="DIR", help="where assets.csv and links.csv go")
    bring.add_argument(
        "--gpus-per-node", type=_between(0, 64), default=0, help="GPUs of a server whose record does not say (default: 0)"
    )
    _json(bring)

    forecast = _add(
        commands,
        "forecast",
        "ui.commands:forecast",
        "forecast any regular series",
        "icctwin forecast --input f.csv --horizon 24 --out o.csv",
    )
    forecast.add_argument("--input", type=Path, help="CSV with columns time,value at regular steps")
    forecast.add_argument("--horizon", type=_between(1, 2000), default=24, help="steps ahead (default: 24)")
    forecast.add_argument("--out", type=Path, help="CSV with columns time,p10,p50,p90")
    forecast.add_argument("--backtest", action="store_true", help="score the models on recorded series instead, or on --input")
    _json(forecast)

    bench = _add(commands, "bench", "ui.commands:bench", "measure a figure that the README claims", "icctwin bench demo --json")
    bench.add_argument("name", choices=["demo", "store", "ingest", "forecast"], help="what to measure")
    bench.add_argument("--gpus", type=_between(8, 100_000), default=8192, help="size of the simulated hall (default: 8192)")
    bench.add_argument("--seconds", type=float, default=300.0, help="how long a live run lasts (default: 300)")
    _json(bench)
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, run: str, says: str, example: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=says, description=says[0].upper() + says[1:] + ".", epilog=f"example: {example}")
    parser.set_defaults(run=run)
    return parser


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, default=Path("site.toml"), help="the centre's configuration (default: site.toml)"
    )


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object for a program to read")


def _between(low: int, high: int) -> "type[int]":
    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    return number  # type: ignore[return-value]
