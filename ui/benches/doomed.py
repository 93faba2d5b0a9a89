"""A process that dies in the middle of a write, for the days in which the acting process is killed."""

import os
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

from energy.notes import TOPIC, Stage

WORD = "die"  # the file that says so, with the seconds until it


class Doomed:
    """Records that kill their process: where the file ``WORD`` is in ``folder``, so many seconds (above 0) after the audit was
    told that something is about to be ordered. A file ``mid-PID`` tells that what came of it was not written down yet, else
    ``late-PID``."""

    def __init__(self, records: Any, folder: Path) -> None:
        self._records, self._folder, self._writing = records, folder, False

    def append(self, topic: str, time: datetime, record: dict[str, Any]) -> int:
        """See ``twin.ports.Records``."""
        number: int = self._records.append(topic, time, record)
        if topic == TOPIC:
            self._writing = record.get("stage") in (Stage.BEGUN, Stage.REVERTING)
            if self._writing and (word := self._folder / WORD).exists():
                signal.signal(signal.SIGALRM, lambda *_: self._die())
                signal.setitimer(signal.ITIMER_REAL, float(word.read_text()))
                word.unlink()
        return number

    def _die(self) -> None:
        (self._folder / f"{'mid' if self._writing else 'late'}-{os.getpid()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)
