"""Work in a process of its own, whose memory is given back when it is done: VTK alone keeps 300 MB once it has drawn.

What goes there and what comes back is pickled between this program and its own child, over pipes that nobody else has.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from twin.errors import ConfigError, SourceError

MOST_S = 300.0  # a child that takes longer is ended
_TOLD = 300  # characters of a child's last words
P = ParamSpec("P")
T = TypeVar("T")


def apart(what: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """``what(*given, **named)``, worked out in a child; ``what`` is a function of a module. ``ConfigError`` and ``SourceError``
    are raised here as there; ``SourceError`` too where the child ends early, or takes longer than ``MOST_S``."""
    name = what.__name__
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ui.apart"], input=pickle.dumps((what, given, named)), capture_output=True, timeout=MOST_S
        )
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{name} took more than {MOST_S:g} s in a process of its own and was ended") from error
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip()[-_TOLD:]
        raise SourceError(f"{name} ended with status {done.returncode} in a process of its own: {words}")
    found, wrong = pickle.loads(done.stdout)  # noqa: S301  # nosec B301 - of our own child
    if wrong is not None:
        raise wrong
    result: T = found
    return result


def _child() -> None:
    """Read what to do, do it, and write what came of it; whatever else is printed on the way goes to stderr."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    what, given, named = pickle.load(sys.stdin.buffer)  # noqa: S301  # nosec B301 - of our own parent
    found, wrong = None, None
    try:
        found = what(*given, **named)
    except (ConfigError, SourceError) as error:
        wrong = error
    with out:
        pickle.dump((found, wrong), out)


if __name__ == "__main__":
    _child()
