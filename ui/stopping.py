"""The emergency stop where the records take no note, as on a full disk: the file that stops everything needs no block of it.

And whether anybody is there to let go once the switch is set.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from energy.memory import remembered
from twin.errors import SourceError
from twin.ports import Records
from ui.switch import BEAT, STOP_FILE, last_sign

HEARD = 2 * BEAT  # a desk that lives has said so by then


def stop_by_file(folder: Path, refused: SourceError) -> str:
    """Make the file that stops what acts beside the store in ``folder``, after the records ``refused`` the stop; a sentence
    that says so. ``SourceError`` where it cannot be made either: then nothing is stopped."""
    path = folder / STOP_FILE
    try:
        path.touch()
    except OSError as error:
        said = f"NOT stopped: {refused}; nor can the file {path} be made ({error.strerror}), which would stop everything"
        raise SourceError(said) from error
    return (
        f"it is done, by the file {path}: what acts beside this store begins nothing more until the file is removed, and lets "
        f"go of everything, which the audit tells once it can be written to; the records refused ({refused})"
    )


@dataclass(frozen=True, slots=True)
class Hand:
    """Who would let go now: the desk's last sign of life (None: never), its age's verdict, and what is in force."""

    sign: datetime | None
    alive: bool
    setpoints_count: int
    orders_count: int


def hand(records: Records, now: datetime) -> Hand:
    """As the records say. ``SourceError`` where they do not answer."""
    sign, memory = last_sign(records), remembered(records, now)
    alive = sign is not None and now - sign <= HEARD  # one from ahead: its clock is, or was
    return Hand(sign, alive, len(memory.open), len(memory.ordered))
