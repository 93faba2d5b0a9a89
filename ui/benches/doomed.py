"""A process that dies in the middle of a write, for the days in which the acting process is killed."""

import os
import signal
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from energy.notes import TOPIC, Stage

WORD = "die"  # the file that says so, with the seconds until it


class Doomed:
    """Records that kill their process: where the file ``WORD`` is in ``folder``, so many seconds (above 0) after the audit was
    told that something is about to be ordered, and at the latest when it is to be told what came of it. A file ``mid-PID``
    tells that it died so."""

    def __init__(self, records: Any, folder: Path) -> None:
        self._records, self._folder, self._dies = records, folder, False

    def append(self, topic: str, time: datetime, record: dict[str, Any]) -> int:
        """See ``twin.ports.Records``."""
        ordering = record.get("stage") in (Stage.BEGUN, Stage.REVERTING)
        if topic == TOPIC and self._dies and not ordering:
            self._die()
        number: int = self._records.append(topic, time, record)
        if topic == TOPIC and ordering and (word := self._folder / WORD).exists():
            self._dies = True
            signal.signal(signal.SIGALRM, lambda *_: self._die())
            signal.setitimer(signal.ITIMER_REAL, float(word.read_text()))
            word.unlink()
        return number

    def append_all(self, topic: str, records: Sequence[tuple[datetime, dict[str, Any]]]) -> None:
        """See ``twin.ports.Records``; one after the other, as the audit keeps them."""
        for time, record in records:
            self.append(topic, time, record)

    def _die(self) -> None:
        (self._folder / f"mid-{os.getpid()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)
