"""The commands of ``icctwin``: one file for each group of commands, one row in ``GROUPS``.

A group's module has ``add(commands)``, which says what its commands are called and take, and beside it the functions that do
the work. It imports heavy libraries inside those functions only: ``icctwin --help`` must be quick.
"""

import argparse
import os
import pwd
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from twin.errors import meant

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


class Parser(argparse.ArgumentParser):
    """Says of a misspelt command or option which was meant, with the usage of the command that was asked for."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse; what nobody knows is told here, by the command that it was said to."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].partition("=")[0]
            options = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
            near = meant(word, options) if word.startswith("-") else ""
            self.error(f"there is no {word!r} here; {f'did you mean {near}?' if near else f'see {self.prog} --help'}")
        return found, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices and (near := meant(str(value), map(str, action.choices))):
            raise argparse.ArgumentError(action, f"there is no {value!r}; did you mean {near}?")
        super()._check_value(action, value)


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


_N = TypeVar("_N", int, float)


def between(low: _N, high: _N) -> Callable[[str], _N]:
    """A number within bounds, as an argument's ``type``: a whole one where ``low`` is."""

    def number(text: str) -> _N:
        value = type(low)(text)
        if not low <= value <= high:  # nor is NaN
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    return number


def instant(text: str) -> datetime:
    """A time with zone (UTC where none is said), as an argument's ``type``."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO 8601 time such as 2026-11-01 or 2026-11-01T08:00Z") from None
    if not 1970 <= time.year < 3000:  # beyond, the calendar ends and the sums of seconds with it
        raise argparse.ArgumentTypeError(f"{text!r} lies outside 1970 to 2999")
    return time if time.tzinfo else time.replace(tzinfo=UTC)


SEED = between(0, 2**32 - 1)  # the type of every --seed


def say(line: str) -> None:
    """A line on stdout: what the command was asked for."""
    sys.stdout.write(line + "\n")


def tell(line: str) -> None:
    """A line on stderr: how it goes."""
    sys.stderr.write(line + "\n")


def account_name() -> str:
    """Whose account of this machine this is; in a container it may have a number and no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid:{os.getuid()}"


def noted(
    records: "Audited", name: str, what: str, now: datetime, *, about: str = "", before: Any = None, after: Any = None
) -> None:
    """Write into the audit what was changed at the command line: by the account of this machine, in ``name`` of whom."""
    from ui.access.role import Identity, Role

    who = Identity(f"cli:{account_name()}", name or account_name(), Role.ADMIN)
    records.note(who, "command line", what, now, about=about, before=before, after=after)
