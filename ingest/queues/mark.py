"""How an owner says that a job may wait, in the job's own comment, and what icctwin says there in return.

``icctwin:deadline=2026-12-01T06:00Z;runs=2h;interruptible`` agrees; ``latency=20ms`` lets it run elsewhere too, as far away as
that, with ``data=200GB``; ``icctwin:off`` takes it all back, also where a partition, a QOS or an account agrees for all its
jobs. Whatever else speaks of icctwin is no consent: its owner may have meant no. What icctwin says stands behind the owner's
own words in brackets, and goes when it has nothing more to say.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

MAX_NOTE = 160  # characters
Word = tuple[str, str | None]  # of a mark: its name, and the value behind "=" (None: there is none)
_FLAGS = ("on", "off", "interruptible")
_SPOKEN = re.compile("icctwin", re.IGNORECASE)
_MARK = re.compile(r"(?<!\S)icctwin:(\S+(?:(?:(?<=;)\s+|\s+(?=;))\S+)*)")  # it goes on where spaces stand beside a semicolon
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
    """The mark in ``comment``; all of them together, where there are several."""
    words = owners_words(comment)
    found = _MARK.findall(words)
    said = [_word(word.strip()) for one in found for word in one.split(";") if word.strip()]
    mark = mark_said(said, submit_s) if said else Mark()
    if not mark.off and (_SPOKEN.search(_MARK.sub("", words)) or (found and not said)):
        return Mark(wrong=" ".join(words.split())[:MAX_NOTE])
    return mark


def mark_said(said: Sequence[Word], submit_s: float) -> Mark:
    """What the words of a mark say together. A deadline is ISO 8601 (without a zone: UTC), or ``+8h`` (``s``, ``m``, ``d``)
    from ``submit_s`` on, which is NaN where the submission is not known: then it cannot be read. Only what has no such relative
    deadline is interruptible: Slurm counts the submission anew at each requeue."""
    said = list(dict.fromkeys(said))
    if ("off", None) in said:
        return Mark(off=True)
    read = {name: _value(name, value, submit_s) for name, value in said}
    times = Counter(name for name, _ in said)
    wrong = [(name, value) for name, value in said if math.isnan(read[name]) or times[name] > 1]
    if wrong:
        return Mark(wrong=", ".join(name[:40] if value is None else f"{name[:40]}={value[:40]}" for name, value in wrong))
    relative = (dict(said).get("deadline") or "").startswith("+")
    return Mark(
        agreed=True,
        deadline_s=read.get("deadline", math.nan),
        interruptible="interruptible" in read and not relative,
        runs_s=read.get("runs", math.nan),
        reach_s=read.get("latency", 0.0),
        data_bytes=read.get("data", math.nan),
    )


def _word(text: str) -> Word:
    name, given, value = text.partition("=")
    return name, value if given else None


def _value(name: str, value: str | None, submit_s: float) -> float:
    """The number that a word says; NaN where it says none, or is not known. A flag with a value, too, may be meant as a no."""
    if name in _FLAGS:
        return 1.0 if value is None else math.nan
    text = value or ""
    if name == "deadline":
        return _time(text, submit_s)
    if name == "runs":
        return span_s(text)
    if name == "latency":
        return latency_s(text)
    return data_bytes(text) if name == "data" else math.nan


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
