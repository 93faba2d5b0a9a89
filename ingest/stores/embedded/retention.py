"""What a store lets go of: whole data files past their age, and the oldest that there is where all of it is too much.

Age is told by the machine's clock, which may be wrong: nothing goes by age until the clock has gone on for a day without a
leap. Size needs no clock.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingest.stores.embedded.files import (
    DAY,
    HOUR,
    HOURS,
    MICRO,
    MINUTES,
    RAW,
    TIERS,
    Tier,
    data_files,
    remove,
    shrink,
    size_bytes,
    told,
    transaction,
)
from ingest.stores.embedded.index import Index
from ingest.stores.embedded.parts import drop_parts, open_data

_DAY_S = 86_400.0
PARTS_A_CALL = 256  # parts dropped from one file in one call
LEAP = DAY  # a clock that moves by so much between two looks was set, or nobody looked
SURE = DAY  # and is believed once it has gone on for so long


@dataclass(frozen=True, slots=True)
class Retention:
    """How long each tier is kept [s], and how large all of the store may become on disk [bytes]. Age goes by whole files
    (a day of raw values or minutes, 28 days of hours), size by the oldest raw values first, then minutes, then hours."""

    raw_s: float
    minute_s: float
    hour_s: float
    max_bytes: int

    def age_s(self, tier: Tier) -> float:
        """Of ``tier``."""
        return {RAW.name: self.raw_s, MINUTES.name: self.minute_s, HOURS.name: self.hour_s}[tier.name]


USUAL = Retention(14 * _DAY_S, 90 * _DAY_S, 3650 * _DAY_S, 50 * 10**9)  # where nobody says otherwise


def enforce(folder: Path, index: Index, keep: Retention, now: int) -> None:
    """Drop what is past its age at ``now`` (microseconds) where the clock may be believed, then what is too much; a bounded
    amount a call."""
    if _steady(index, now):
        for tier in TIERS.values():
            oldest = now - int(keep.age_s(tier) * MICRO)
            for start, path in data_files(folder, tier):
                if start + tier.span <= oldest:
                    _drop_file(index, tier, start, path, now)
    for tier, start, path in _oldest_first(folder, now):
        over = size_bytes(folder) - keep.max_bytes
        if over <= 0:
            return
        with told(path):
            if over >= path.stat().st_size:
                _drop_file(index, tier, start, path, now)
            else:
                _drop_oldest(index, tier, path, over, now)
                return


def _steady(index: Index, now: int) -> bool:
    """Whether the clock has gone on without a leap for long enough; noted once an hour, so that it outlives a restart."""
    seen, since = index.clock() or (now - LEAP, now)
    leapt = abs(now - seen) >= LEAP
    if leapt or abs(now - seen) >= HOUR:
        since = now if leapt else min(since, now)
        index.note_clock(now, since)
    return now - since >= SURE


def _oldest_first(folder: Path, now: int) -> Iterator[tuple[Tier, int, Path]]:
    """Files whose time has come, in the order in which they are given up; forecasts of days to come are the last."""
    tiers = list(TIERS.values())
    files = [(start > now, i, start, path) for i, tier in enumerate(tiers) for start, path in data_files(folder, tier)]
    for _, i, start, path in sorted(files):
        yield tiers[i], start, path


def _drop_file(index: Index, tier: Tier, start: int, path: Path, now: int) -> None:
    with told(path):
        index.raise_floor(tier.name, min(start + tier.span, now - HOUR))
        remove(path)


def _drop_oldest(index: Index, tier: Tier, path: Path, over: int, now: int) -> None:
    """Drop parts of one file, the oldest first, until ``over`` bytes are free, and give the space back."""
    con = open_data(path)
    try:
        gone: list[int] = []
        freed = reached = 0
        for part, end, size in con.execute("SELECT id, t1, bytes FROM part ORDER BY t1 LIMIT ?", (PARTS_A_CALL,)).fetchall():
            if freed >= over:
                break
            gone.append(part)
            freed += size
            reached = end
        index.raise_floor(tier.name, min(reached, now - HOUR))
        with transaction(con):
            drop_parts(con, gone)
        shrink(con)
    finally:
        con.close()
