"""How an owner says that a job may wait, in the job's own comment, and what icctwin says there in return.

``icctwin:deadline=2026-12-01T06:00Z;interruptible`` agrees; ``icctwin:off`` takes that back, also where a partition, a QOS or
an account agrees for all its jobs. What icctwin says stands behind the owner's own words in brackets, and goes when it has
nothing more to say.
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime

MAX_NOTE = 160  # characters
_MARK = re.compile(r"(?:^|\s)icctwin:(\S+)")
_NOTE = re.compile(r"\s*\[icctwin: [^\]]*\]")
_AFTER = re.compile(r"\+(\d+(?:\.\d+)?)([mhd])")
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Mark:
    """What a comment agrees to. ``deadline_s``: s since 1970, NaN where none is said or it cannot be read; ``wrong``: what
    cannot be read: a job whose mark is not understood is left alone."""

    agreed: bool = False
    off: bool = False
    deadline_s: float = math.nan
    interruptible: bool = False
    wrong: str = ""


def mark_of(comment: str, submit_s: float) -> Mark:
    """The mark in ``comment``. A deadline is ISO 8601 (without a zone: UTC), or ``+8h`` (``m``, ``d``) from ``submit_s`` on.
    Only what has no such relative deadline is interruptible: Slurm counts the submission anew at each requeue."""
    found = _MARK.search(owners_words(comment))
    if not found:
        return Mark()
    deadline_s, interruptible, relative, wrong = math.nan, False, False, ""
    for word in filter(None, found[1].split(";")):
        name, _, value = word.partition("=")
        if name == "off":
            return Mark(off=True)
        if name == "deadline":
            deadline_s = _time(value, submit_s)
            relative = value.startswith("+")
            wrong = wrong or (f"deadline {value[:40]!r}" if math.isnan(deadline_s) else "")
        elif name == "interruptible":
            interruptible = True
        elif name != "on":
            wrong = wrong or word[:40]
    return Mark(not wrong, False, deadline_s, interruptible and not (wrong or relative), wrong)


def _time(text: str, submit_s: float) -> float:
    after = _AFTER.fullmatch(text)
    if after:
        return submit_s + float(after[1]) * _SECONDS[after[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def owners_words(comment: str) -> str:
    """The comment without what icctwin says in it."""
    return _NOTE.sub("", comment)


def noted(comment: str) -> bool:
    """Whether icctwin says something in it."""
    return _NOTE.search(comment) is not None


def with_note(comment: str, note: str) -> str:
    """The owner's words with ``note`` behind them, in the place of an older one; none where it is empty."""
    words = owners_words(comment)
    said = " ".join(note.replace("[", "(").replace("]", ")").split())[:MAX_NOTE]
    return f"{words} [icctwin: {said}]".lstrip() if said else words
