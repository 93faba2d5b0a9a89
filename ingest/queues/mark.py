"""How an owner says that a job may wait, in the job's own comment, and what icctwin says there in return.

``icctwin:deadline=2026-12-01T06:00Z;runs=2h;interruptible`` agrees; ``latency=20ms`` lets it run elsewhere too, as far away as
that, with ``data=200GB``; ``icctwin:off`` takes it all back, also where a partition, a QOS or an account agrees for all its
jobs. What icctwin says stands behind the owner's own words in brackets, and goes when it has nothing more to say.
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime

MAX_NOTE = 160  # characters
_WORDS = ("on", "off", "deadline", "runs", "interruptible", "latency", "data")
_MARK = re.compile(r"(?:^|\s)icctwin:(\S+)")
_NOTE = re.compile(r"\s*\[icctwin: [^\]]*\]")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LATENCY = re.compile(r"(\d+(?:\.\d+)?)ms")
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([MGT])B")
_BYTES = {"M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True, slots=True)
class Mark:
    """What a comment agrees to. ``deadline_s``: s since 1970, NaN where none is said or it cannot be read; ``wrong``: what
    cannot be read: a job whose mark is not understood is left alone; ``runs_s``: how long it is expected to run; ``reach_s``:
    how far from where it was submitted it may run, as a round trip (0: nowhere else), and ``data_bytes`` that go with it (NaN:
    not said)."""

    agreed: bool = False
    off: bool = False
    deadline_s: float = math.nan
    interruptible: bool = False
    runs_s: float = math.nan
    wrong: str = ""
    reach_s: float = 0.0
    data_bytes: float = math.nan


def mark_of(comment: str, submit_s: float) -> Mark:
    """The mark in ``comment``. A deadline is ISO 8601 (without a zone: UTC), or ``+8h`` (``s``, ``m``, ``d``) from ``submit_s``
    on. Only what has no such relative deadline is interruptible: Slurm counts the submission anew at each requeue."""
    found = _MARK.search(owners_words(comment))
    if not found:
        return Mark()
    said = dict(word.partition("=")[::2] for word in found[1].split(";") if word)
    if "off" in said:
        return Mark(off=True)
    deadline = said.get("deadline", "")
    read = {
        "deadline": _time(deadline, submit_s),
        "runs": span_s(said.get("runs", "")),
        "latency": latency_s(said.get("latency", "")),
        "data": data_bytes(said.get("data", "")),
    }
    wrong = [word[:40] for word in said if word not in _WORDS]
    wrong += [f"{name}={said[name][:40]}" for name, value in read.items() if name in said and math.isnan(value)]
    if wrong:
        return Mark(wrong=", ".join(wrong))
    interruptible = "interruptible" in said and not deadline.startswith("+")
    reach_s = read["latency"] if "latency" in said else 0.0
    return Mark(True, False, read["deadline"], interruptible, read["runs"], "", reach_s, read["data"])


def span_s(text: str) -> float:
    """``90m``, ``2h`` in seconds; NaN for what is none."""
    found = _SPAN.fullmatch(text)
    return float(found[1]) * _SECONDS[found[2]] if found else math.nan


def latency_s(text: str) -> float:
    """``20ms`` in seconds; NaN for what is none."""
    found = _LATENCY.fullmatch(text)
    return 1e-3 * float(found[1]) if found else math.nan


def data_bytes(text: str) -> float:
    """``200GB`` (``MB``, ``TB``) in bytes; NaN for what is none."""
    found = _AMOUNT.fullmatch(text)
    return float(found[1]) * _BYTES[found[2]] if found else math.nan


def _time(text: str, submit_s: float) -> float:
    if text.startswith("+"):
        return submit_s + span_s(text[1:])
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
