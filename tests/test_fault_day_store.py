"""A day of faults of store and disk on the virtual clock, by a seed, with the process restarted and killed in between: what the
spool took is in the store at the end, once and as it was.

The promise: what ``put`` took outlives the process where the disk takes it, and waits in memory where the disk refuses; only
what waits in memory when the process ends may be lost.
"""

import errno
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from small import small_site

from ingest.spool import Spool
from ingest.spool_log import Span, SpoolLog
from ingest.stores import StoreError, open_store
from twin.errors import SourceError
from twin.frame import Frame

START = datetime(2026, 11, 22, tzinfo=UTC)
STEP_S, STEPS = 120, 720  # a day
SITE = small_site()
MOODS = ("well", "refusing", "slow", "full disk", "read-only disk")
SICK_DISK = {"full disk": errno.ENOSPC, "read-only disk": errno.EROFS}


def at(k: int) -> datetime:
    return START + timedelta(seconds=STEP_S * k)


def frame(k: int) -> Frame:
    return Frame("gpu", at(k), SITE.all_rows("gpu"), {"power_w": np.arange(16.0) + k, "temp_c": np.full(16, k % 90.0)})


class Centre:
    """Spool and embedded store in a world that has ``mood``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mood, self.busy_until = folder, "well", 0
        self.refused: Counter[str] = Counter()
        self.now = 0
        self.begin()

    def begin(self) -> None:
        self.store = open_store(self.folder / "store", SITE, hot_bytes=50_000)
        centre = self

        class Disk(SpoolLog):
            def write(self, frames: Sequence[Frame]) -> Span:
                centre.check_disk()
                return super().write(frames)

        self.spool = Spool(self.append, disk=Disk(self.folder / "spool", SITE, file_bytes=30_000))

    def check_disk(self) -> None:
        if self.mood in SICK_DISK:
            self.refused[self.mood] += 1
            raise OSError(SICK_DISK[self.mood], "the disk says no")

    def append(self, frames: Sequence[Frame]) -> None:
        if self.mood == "refusing":
            self.refused[self.mood] += 1
            raise SourceError("the store refuses")
        if self.mood in SICK_DISK:
            raise StoreError(f"{self.mood}: free space or mend the disk")
        self.store.append(frames)
        if self.mood == "slow":
            self.refused[self.mood] += 1
            self.busy_until = self.now + 7  # steps, in which nobody can ask it anything

    def step(self, k: int) -> bool:
        """A step: what arrived, a flush where the store has time for one, upkeep. Whether nothing waits in memory alone."""
        self.now = k
        self.spool.put([frame(k)])
        if k < self.busy_until:
            return not self.spool.disk_failing
        kept = self.spool.flush()
        if self.mood not in SICK_DISK:
            self.store.maintain(at(k))
        return kept and self.spool.waiting == self.spool.behind

    def stop(self, killed: bool) -> None:
        if not killed:
            self.spool.close()
        else:
            self.spool._disk.close()  # what a killed process leaves behind is what is on disk
        self.store.close()
        self.busy_until = 0


@pytest.mark.parametrize("seed", [2])
def test_a_day_of_sick_stores_and_disks_loses_nothing_that_was_promised(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.Generator(np.random.PCG64(seed))
    centre = Centre(tmp_path)
    written = Path.write_text

    def write_text(path: Path, *args: object, **more: object) -> int:
        if tmp_path in path.parents:
            centre.check_disk()  # the spool's book
        return written(path, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", write_text)
    until, moods, ends = 0, Counter[str](), Counter[str]()
    in_memory: set[int] = set()
    may_be_lost: set[int] = set()
    for k in range(STEPS):
        if k >= until:
            centre.mood = str(rng.choice(MOODS, p=[0.4, 0.2, 0.15, 0.15, 0.1]))
            moods[centre.mood] += 1
            until = k + int(rng.integers(3, 30))
        safe = centre.step(k)
        in_memory = set() if safe else in_memory | ({k} if centre.spool.disk_failing else set())
        if rng.random() < 0.03:
            killed = bool(rng.random() < 0.5)
            ends["kill" if killed else "stop"] += 1
            may_be_lost |= in_memory
            in_memory = set()
            centre.stop(killed)
            centre.begin()
    centre.mood = "well"
    while centre.spool.waiting:
        assert centre.spool.flush()
    assert centre.spool.dropped == 0
    centre.stop(killed=False)
    store = open_store(tmp_path / "store", SITE)
    found = store.series("gpu", ["power_w", "temp_c"], START, at(STEPS))
    kept = [round((time_s - START.timestamp()) / STEP_S) for time_s in found.time_s]
    assert kept == sorted(set(kept)), "each once"
    missing = set(range(STEPS)) - set(kept)
    assert missing <= may_be_lost, f"lost: {sorted(missing - may_be_lost)[:10]}"
    np.testing.assert_array_equal(found.values["power_w"], np.arange(16.0) + np.array(kept)[:, None])
    np.testing.assert_array_equal(found.values["temp_c"][:, 3], np.array(kept) % 90.0)
    store.close()
    assert set(moods) == set(MOODS), "each fault came"
    assert set(centre.refused) == {"refusing", "slow", *SICK_DISK}, "and was felt"
    assert min(ends["kill"], ends["stop"]) > 3
    assert len(kept) > STEPS / 2
