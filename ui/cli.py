"""The command line: joins the groups of ``ui.commands`` and turns errors into one sentence and an exit status."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from twin.errors import ConfigError, SourceError
from ui.commands import GROUPS, Parser
from ui.sparing import OneLine, Sparing

EXIT_DONE, EXIT_NO, EXIT_USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status: 0 done, 1 the world or the data said no, 2 wrong usage or configuration."""
    # before numpy is loaded: our matrices are small, and threads for them take the other cores' time and give none back
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # noqa: TID251 - read by a library, not by us
    parser = build_parser()
    options = parser.parse_args(arguments)
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Sparing())
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=options.log_level.upper(), handlers=[handler])
    try:
        status = int(options.run(options))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has seen enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except ConfigError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return EXIT_USAGE
    except SourceError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_NO
    except OSError as error:  # of a place that was named and cannot be used
        if error.filename is None:
            raise
        logging.getLogger(__name__).debug("from here", exc_info=True)
        sys.stderr.write(f"{error.filename}: {error.strerror or error}; name another place, or let icctwin use it\n")
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_NO


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, for ``main`` and for the test that holds the README against it."""
    parser: argparse.ArgumentParser = Parser(prog="icctwin", description="See, foresee and steer an AI computing centre.")
    parser.add_argument("--version", action="version", version=f"icctwin {version('icctwin')}")
    parser.add_argument(
        "--log-level",
        default="warning",
        choices=["debug", "info", "warning", "error"],
        help="what is said on stderr (default: warning)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in GROUPS:
        importlib.import_module(group).add(commands)
    return parser
