"""What the process that reads a source says of it in words, which no column of numbers holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

MAX_ERROR, MAX_NAME = 400, 80  # characters of an error, of a name
MAX_NAMES = 10  # names of one source
MAX_TOLD = 150  # sources of which there are words at once; so many fit into one record, whatever they say


@dataclass(frozen=True, slots=True)
class Condition:
    """``up``: whether it answered last (None: not asked to the end yet). ``error``: one sentence, without secrets, why it is
    down, or which part of it is while the rest answers ("": nothing); ``since``: from when on. ``unmapped``: series of the last
    answer that belong to nothing known, of which ``names`` are some."""

    up: bool | None
    error: str = ""
    since: datetime | None = None
    unmapped: int = 0
    names: Sequence[str] = ()
