"""A log that a fault cannot fill and nobody can forge: where a disk is full, every task says so several times a second, into a
log on that disk."""

import logging
from collections import OrderedDict
from dataclasses import dataclass
from threading import RLock  # noqa: TID251 - every thread warns, and a handler filters before it locks; starts no thread

from twin.plain import one_line

EVERY_S = 60.0  # for so long the same is said once
MAX_KEPT = 1000  # things said; what was said longest ago is forgotten
ASKED = {"asked": True}  # the ``extra`` of what answers a person: that is said each time, or the log's last word would be false


class OneLine(logging.Formatter):
    """What a record says, on one line: words that somebody chose (a reason, a name) forge no line. A trace keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        return one_line(super().formatMessage(record))


@dataclass
class _Said:
    at_s: float
    left_out: int = 0


class Sparing(logging.Filter):
    """Lets the same warning, error or trace of one logger through once in ``every_s`` of the records' own time; the next one
    says how often it was left out. A clock that is set back lets it through at once, and what bears ``ASKED`` comes through
    each time."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._every_s = every_s
        self._said: OrderedDict[tuple[str, str, str], _Said] = OrderedDict()
        self._lock = RLock()  # not a plain one: garbage that is collected under it may warn, as an asyncio task does

    def filter(self, record: logging.LogRecord) -> bool:
        """See ``logging.Filter``."""
        if record.levelno < logging.WARNING or getattr(record, "asked", False):
            return True
        text, raised = record.getMessage(), record.exc_info[1] if record.exc_info else None
        key = (record.name, text, f"{type(raised).__name__}: {raised}" if raised else "")
        with self._lock:
            before = self._said.get(key)
            if before is not None and 0 <= record.created - before.at_s < self._every_s:
                before.left_out += 1
                return False
            self._said.pop(key, None)  # so that the order is that of what was said last
            self._said[key] = _Said(record.created)
            if len(self._said) > MAX_KEPT:
                self._said.popitem(last=False)
        if before is not None and before.left_out:
            record.msg, record.args = f"{text} (said {before.left_out} times more, which are left out)", ()
        return True
