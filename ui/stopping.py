"""The emergency stop where the records take no note, as on a full disk: the file that stops everything needs no block of it."""

from pathlib import Path

from twin.errors import SourceError
from ui.switch import STOP_FILE


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
        f"go of everything as soon as that can be written down; the records refused ({refused})"
    )
