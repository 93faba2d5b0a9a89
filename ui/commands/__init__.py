"""The commands of ``icctwin``: one file for each group of commands, one row in ``GROUPS``.

A group's module has ``add(commands)``, which says what its commands are called and take, and beside it the functions that do
the work. It imports heavy libraries inside those functions only: ``icctwin --help`` must be quick.
"""

import argparse
import os
import pwd
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ui.access.audit import Audited

GROUPS = (
    "ui.commands.centre",
    "ui.commands.foresee",
    "ui.commands.detect",
    "ui.commands.calibrate",
    "ui.commands.shift",
    "ui.commands.discover",
    "ui.commands.store",
    "ui.commands.keep",
    "ui.commands.deploy",
    "ui.commands.report",
    "ui.commands.twin",
    "ui.commands.oncall",
    "ui.commands.act",
    "ui.commands.render",
    "ui.commands.access",
    "ui.commands.measure",
    "ui.commands.account",
    "ui.commands.respond",
    "ui.commands.request",
    "ui.commands.trial",
)


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    says: str,
    example: str,
) -> argparse.ArgumentParser:
    """A command with its help and an example; ``run`` does it and gives the exit status."""
    parser = commands.add_parser(name, help=says, description=says[0].upper() + says[1:] + ".", epilog=f"example: {example}")
    parser.set_defaults(run=run)
    return parser


def config_option(parser: argparse.ArgumentParser) -> None:
    """``--config``, as every command on a centre has it."""
    parser.add_argument(
        "--config", type=Path, default=Path("site.toml"), help="the centre's configuration (default: site.toml)"
    )


def json_option(parser: argparse.ArgumentParser) -> None:
    """``--json``, as every command has it whose answer a program may read."""
    parser.add_argument("--json", action="store_true", help="print one JSON object for a program to read")


def between(low: int, high: int) -> Callable[[str], int]:
    """A whole number within bounds, as an argument's ``type``."""

    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    return number


def seed(text: str) -> int:
    """A seed of a generator, as an argument's ``type``."""
    return between(0, 2**63 - 1)(text)


def say(line: str) -> None:
    """A line on stdout: what the command was asked for."""
    sys.stdout.write(line + "\n")


def tell(line: str) -> None:
    """A line on stderr: how it goes."""
    sys.stderr.write(line + "\n")


def account() -> str:
    """Who runs this: the account's name, or its number where this machine has no name for it (a container that runs under any
    user)."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid:{os.getuid()}"


def noted(
    records: "Audited", name: str, what: str, now: datetime, *, about: str = "", before: Any = None, after: Any = None
) -> None:
    """Write into the audit what was changed at the command line: by the account of this machine, in ``name`` of whom."""
    from ui.access.role import Identity, Role

    who = Identity(f"cli:{account()}", name or account(), Role.ADMIN)
    records.note(who, "command line", what, now, about=about, before=before, after=after)
