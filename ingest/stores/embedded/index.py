"""The store's own book: which compactions were done, the newest value of everything at the last one, what was dropped."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.stores.embedded.codec import Codec
from ingest.stores.embedded.files import SCHEMA, connect, connect_reading, told, transaction
from ingest.stores.embedded.journal import Taken
from ingest.stores.embedded.names import SCHEMA_SQL as NAMES_SQL
from ingest.stores.embedded.names import Group
from twin.errors import ConfigError, Problem
from twin.frame import Bytes, Floats, Ints

RUNS_KEPT = 64  # a frame waits an hour at most, which is a handful of runs
SCHEMA_SQL = """
CREATE TABLE IF NOT EXISTS run(run INTEGER PRIMARY KEY, seq INTEGER NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS touched(name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS floor(tier TEXT PRIMARY KEY, time INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS clock(id INTEGER PRIMARY KEY CHECK(id = 0), seen INTEGER NOT NULL, since INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS newest(kind TEXT, origin TEXT, band TEXT, metric TEXT, data BLOB NOT NULL,
  PRIMARY KEY(kind, origin, band, metric));
"""


@dataclass(slots=True)
class Newest:
    """Newest believable value of one metric by asset: columns over ``codes`` (increasing), times in microseconds."""

    codes: Ints
    times: NDArray[np.int64]
    values: Floats
    quality: Bytes

    def packed(self, codec: Codec) -> bytes:
        """As bytes."""
        columns = (self.codes, self.times, self.values, self.quality)
        return codec.press(np.int32(len(self.codes)).tobytes() + b"".join(column.tobytes() for column in columns))

    @staticmethod
    def unpacked(codec: Codec, blob: bytes) -> "Newest":
        """Undo ``packed``."""
        data = np.frombuffer(codec.loosen(blob), dtype=np.uint8)
        n = int(data[:4].view(np.int32)[0])
        cut = np.cumsum([4, 4 * n, 8 * n, 8 * n, n])
        a, b, c, d = (data[cut[i] : cut[i + 1]].copy() for i in range(4))
        return Newest(a.view(np.int32), b.view(np.int64), c.view(np.float64), d)

    def with_newer(self, codes: Ints, times: NDArray[np.int64], values: Floats, quality: Bytes) -> "Newest":
        """The union; of one asset the later time, and of one time the new value."""
        every = np.union1d(self.codes, codes).astype(np.int32)
        out = Newest(every, np.full(len(every), -(2**62)), np.full(len(every), np.nan), np.zeros(len(every), dtype=np.uint8))
        for part in (self, Newest(codes, times, values, quality)):
            at = np.searchsorted(every, part.codes)
            wins = part.times >= out.times[at]
            at = at[wins]
            out.times[at], out.values[at], out.quality[at] = part.times[wins], part.values[wins], part.quality[wins]
        return out


def nothing() -> Newest:
    """Of no asset."""
    return Newest(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0), np.empty(0, np.uint8))


class Index:
    """Reads and writes the book; the connection is its own."""

    def __init__(self, folder: Path, readonly: bool) -> None:
        self.path = folder / "store.db"
        with told(self.path):
            self.con = connect_reading(self.path) if readonly else connect(self.path)
            try:
                self._check(readonly)
            except BaseException:
                self.con.close()
                raise

    def _check(self, readonly: bool) -> None:
        (version,) = self.con.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            what = f"written by a later icctwin (schema {version}, this one knows {SCHEMA}); use that one, or another folder"
            raise ConfigError([Problem(str(self.path), what)])
        if not readonly:
            with transaction(self.con):
                for statement in (NAMES_SQL + SCHEMA_SQL).split(";"):
                    self.con.execute(statement)
                self.con.execute(f"PRAGMA user_version = {SCHEMA}")
            self.con.execute("PRAGMA wal_autocheckpoint = 256")  # 1 MB: the log counts as disk too

    def runs(self) -> tuple[int, list[Taken]]:
        """Number of the last compaction and what the last ones took, oldest first."""
        rows = self.con.execute("SELECT run, seq, low, high FROM run ORDER BY run").fetchall()
        return (rows[-1][0] if rows else 0), [Taken(*row[1:]) for row in rows]

    def last_run(self) -> int:
        """Number of the last compaction, 0 before the first."""
        (run,) = self.con.execute("SELECT max(run) FROM run").fetchone()
        return int(run or 0)

    def touched(self) -> list[str]:
        """Data files that the compaction under way, or the last one, wrote to."""
        return [name for (name,) in self.con.execute("SELECT name FROM touched")]

    def touch(self, name: str) -> None:
        """Remember, before it is done, that a data file will be written to."""
        self.con.execute("INSERT OR IGNORE INTO touched(name) VALUES (?)", (name,))

    def commit(self, run: int, taken: Taken, newest: Mapping[tuple[Group, str], bytes], touched: Iterable[str]) -> None:
        """A compaction is done: from here on what it took is in segments and nowhere else."""
        with transaction(self.con):
            self.con.execute("INSERT INTO run(run, seq, low, high) VALUES (?, ?, ?, ?)", (run, *taken))
            self.con.execute("DELETE FROM run WHERE run <= ?", (run - RUNS_KEPT,))
            self.con.execute("DELETE FROM touched")
            self.con.executemany("INSERT INTO touched(name) VALUES (?)", ((name,) for name in touched))
            self.con.executemany(
                "INSERT OR REPLACE INTO newest(kind, origin, band, metric, data) VALUES (?, ?, ?, ?, ?)",
                ((*group, metric, data) for (group, metric), data in newest.items()),
            )

    def newest(self) -> Iterable[tuple[Group, str, bytes]]:
        """What the last compactions knew as the newest value of everything."""
        for *group, metric, data in self.con.execute("SELECT kind, origin, band, metric, data FROM newest").fetchall():
            yield Group(*group), metric, data

    def newest_of(self, group: Group, metric: str) -> bytes | None:
        """The same of one metric."""
        sql = "SELECT data FROM newest WHERE kind = ? AND origin = ? AND band = ? AND metric = ?"
        row = self.con.execute(sql, (*group, metric)).fetchone()
        return None if row is None else bytes(row[0])

    def floor(self, tier: str) -> int:
        """Everything of ``tier`` before this time was dropped."""
        row = self.con.execute("SELECT time FROM floor WHERE tier = ?", (tier,)).fetchone()
        return -(2**62) if row is None else int(row[0])

    def raise_floor(self, tier: str, time: int) -> None:
        """Say so before it is dropped."""
        if time > self.floor(tier):
            self.con.execute("INSERT OR REPLACE INTO floor(tier, time) VALUES (?, ?)", (tier, time))

    def clock(self) -> tuple[int, int] | None:
        """What the clock showed when it was last noted, and since when it had not leapt."""
        row = self.con.execute("SELECT seen, since FROM clock").fetchone()
        return None if row is None else (int(row[0]), int(row[1]))

    def note_clock(self, seen: int, since: int) -> None:
        """Remember it."""
        self.con.execute("INSERT OR REPLACE INTO clock(id, seen, since) VALUES (0, ?, ?)", (seen, since))

    def close(self) -> None:
        """Let go of the file."""
        self.con.close()
