"""A clock that is set wrong, for the processes that are started under it."""

from pathlib import Path


class Clock:
    """Can be set wrong for all processes that have its ``environment`` (libfaketime; as on a machine whose clock is set, their
    monotonic clock goes on). ``there``: whether this machine has libfaketime."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        self.there = bool(found)
        self._file = folder / "clock"
        self.set(0)
        fake = {"FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_CACHE_DURATION": "1"}
        same = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1", "DONT_FAKE_MONOTONIC": "1"}
        self.environment = {"LD_PRELOAD": str(found[0]), **fake, **same} if found else {}

    def set(self, off_s: int) -> None:
        """So far from the truth, within a second."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{off_s:+d}\n")
        new.replace(self._file)
