"""The spool's log: what arrived, on disk before anyone says so, until the store has it.

Append-only files of records, each with a checksum. Bytes are numbered through all files (a file is called by the number of its
first), so that what still waits is a few ranges of numbers. A file is self-contained: assets stand in it by id, for the site's
tables may be edited before it is read. What a killed process had handed to the system is there; ``sync`` makes it outlive the
machine too.
"""

import errno
import json
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import zstandard

from twin.errors import ConfigError, Problem
from twin.frame import Bytes, Floats, Frame, Ints, Origin
from twin.site import Site
from twin.times import micros, moment

log = logging.getLogger(__name__)

FILE_BYTES = 16 * 2**20  # of one file, before it is packed
MAX_RECORD_BYTES = 256 * 2**20
_HEAD = struct.Struct("<IIII")  # length, checksum, type, values
_SHAPE, _ROWS, _BATCH = 1, 2, 3
_NEVER = -(2**62)
MODE = 0o600  # as the store's own files: for its owner alone


class Span(NamedTuple):
    """Bytes ``[start, end)`` of the log and how many values they hold."""

    start: int
    end: int
    samples: int


class _Shape(NamedTuple):
    """What a frame speaks of, without assets and time; ``graded``: the metrics that have a quality."""

    kind: str
    origin: str
    band: str
    source: str
    metrics: tuple[str, ...]
    graded: tuple[str, ...]


class SpoolLog:
    """One thread writes, one reads. Raises ``OSError`` where the disk says no: what was written before still counts."""

    def __init__(self, folder: Path, site: Site, file_bytes: int = FILE_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():  # an earlier icctwin let others read them
            path.chmod(MODE)
        self.folder, self._site, self._file_bytes = folder, site, file_bytes
        self._fd = -1
        self._base = 0
        self._open_file: tuple[int, _Reader] | None = None
        self._begun = True  # a file that the folder may not have for good yet
        bases = self.bases()
        self.end = 0
        if bases:
            self.end = bases[-1] + self._whole_bytes(bases[-1])
        self._begin_file()

    def bases(self) -> list[int]:
        """Number of the first byte of each file, oldest first."""
        return sorted({int(path.name.split("-")[1].split(".")[0]) for path in self.folder.glob("log-*")})

    def size_bytes(self) -> int:
        """On disk."""
        return sum(entry.stat().st_size for entry in os.scandir(self.folder))

    def write(self, frames: Sequence[Frame]) -> Span:
        """Append ``frames`` as one record; on return they outlive this process. ``OSError`` where the disk says no."""
        if self._fd < 0 or self.end - self._base >= self._file_bytes:
            self._begin_file()
        start = self.end
        pieces: list[bytes] = []
        batch, samples = self._packed(frames, pieces)
        pieces.append(_record(_BATCH, batch, samples))
        data = b"".join(pieces)
        try:
            done = 0
            while done < len(data):
                done += os.write(self._fd, data[done:] if done else data)
        except OSError:
            self._cut(start)
            raise
        self.end = start + len(data)
        return Span(start, self.end, samples)

    def sync(self) -> None:
        """Let what was written outlive the machine."""
        if self._fd >= 0:
            os.fdatasync(self._fd)
        if self._begun:
            _sync(self.folder)
            self._begun = False

    def read(self, span: Span, max_samples: int) -> tuple[list[Frame], Span]:
        """Whole records from the start of ``span`` on, until ``max_samples`` are reached; and the span that they were. What a
        failing disk made unreadable is left out: the span is then longer than its frames."""
        frames: list[Frame] = []
        samples, at = 0, span.start
        while at < span.end and samples < max_samples:
            reader = self._reader(at)
            if reader is None:
                later = [base for base in self.bases() if base > at]
                at = min(later[0] if later else span.end, span.end)
                continue
            found = reader.batch(at)
            if found is None:
                at = min(reader.end, span.end)
                continue
            at, some, count = found
            frames += some
            samples += count
        return frames, Span(span.start, min(at, span.end), samples)

    def spans(self, start: int) -> list[Span]:
        """What lies from ``start`` on, a span for each file."""
        found = []
        for base in self.bases():
            reader = self._reader(base, start)
            if reader is not None and reader.end > start:
                found.append(Span(max(base, start), reader.end, reader.samples))
        return found

    def drop_before(self, number: int) -> None:
        """Delete files all of whose bytes come before ``number``."""
        bases = self.bases()
        for base, after in pairwise(bases):
            if after <= number:
                self._forget(base)
        if bases and bases[-1] == self._base and number >= self.end > self._base + self._file_bytes // 4:
            self._begin_file()
            self._forget(bases[-1])

    def rest(self) -> None:
        """Let go of the file that was read last, which stays in memory while there is more to read of it."""
        self._open_file = None

    def pack(self) -> None:
        """Compress files that are full; worth it where a store stays away."""
        for base in self.bases():
            plain = self._path(base)
            if base != self._base and plain.exists():
                packed = plain.with_suffix(".zst")
                half = plain.with_suffix(".tmp")
                half.touch(MODE)
                half.write_bytes(zstandard.ZstdCompressor(level=1, write_checksum=True).compress(plain.read_bytes()))
                _sync(half)  # a power cut leaves the one or the other, never a name without what it names
                half.rename(packed)
                _sync(self.folder)
                plain.unlink()

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _path(self, base: int) -> Path:
        return self.folder / f"log-{base:016d}.log"

    def _begin_file(self) -> None:
        self.close()
        fd = os.open(self._path(self.end), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, MODE)
        self._fd, self._base, self._begun = fd, self.end, True
        self._forget_names()

    def _cut(self, start: int) -> None:
        """Half a record is none; where the disk does not let go of it either, the next one begins a file of its own."""
        self._forget_names()
        try:
            os.ftruncate(self._fd, start - self._base)
        except OSError:
            self.close()

    def _forget_names(self) -> None:
        self._shapes: dict[_Shape, int] = {}
        self._rows: dict[tuple[str, bytes], int] = {}

    def _forget(self, base: int) -> None:
        if self._open_file and self._open_file[0] == base:
            self._open_file = None
        for suffix in (".log", ".zst"):
            self._path(base).with_suffix(suffix).unlink(missing_ok=True)

    def _whole_bytes(self, base: int) -> int:
        """Bytes of a file up to the first record that is not whole: what a killed process left half is cut off. Of one that
        cannot be read: more than it can have had, for a number must never be given twice."""
        data, plain = self._data(base), self._path(base)
        if data is None:
            return 2 * MAX_RECORD_BYTES
        reader = _Reader(data, base, self._site, base + len(data))
        if plain.exists():
            os.truncate(plain, reader.end - base)
        return reader.end - base

    def _data(self, base: int) -> bytes | None:
        """What a file says; None where a failing disk made it unreadable."""
        plain = self._path(base)
        try:
            if plain.exists():
                return plain.read_bytes()
            return zstandard.ZstdDecompressor().decompress(plain.with_suffix(".zst").read_bytes())
        except zstandard.ZstdError as error:
            log.error("%s cannot be read (%s); what waits in it is lost", plain.with_suffix(".zst"), error)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            log.error("%s cannot be read (%s); what waits in it is lost", plain, error.strerror)
        return None

    def _reader(self, at: int, start: int = 0) -> "_Reader | None":
        """Of the file that ``at`` is in; it knows the batches from there or from ``start`` on, whichever is later."""
        bases = [base for base in self.bases() if base <= at]
        if not bases:
            return None
        base, start = bases[-1], max(at, start)
        known = self._open_file
        if known is None or known[0] != base or known[1].end <= at or known[1].start > start:
            known = self._open_file = (base, _Reader(self._data(base) or b"", base, self._site, start))
        return known[1] if at < known[1].end else None

    def _packed(self, frames: Sequence[Frame], names: list[bytes]) -> tuple[bytes, int]:
        """A batch; what it names for the first time goes to ``names``."""
        heads = np.empty((len(frames), 4), dtype=np.int64)
        columns: list[bytes] = []
        samples = 0
        for i, frame in enumerate(frames):
            metrics = tuple(frame.values)
            graded = tuple(name for name in metrics if name in frame.quality) if frame.quality else ()
            shape = _Shape(frame.kind, frame.origin.value, frame.band, frame.source, metrics, graded)
            if shape not in self._shapes:
                self._shapes[shape] = len(self._shapes)
                names.append(_record(_SHAPE, json.dumps([self._shapes[shape], *shape]).encode()))
            key = (frame.kind, frame.rows.tobytes())
            if key not in self._rows:
                self._rows[key] = len(self._rows)
                here = self._site.of_kind(frame.kind)
                ids = [self._site.ids[int(here[row])] for row in frame.rows]
                names.append(_record(_ROWS, json.dumps([self._rows[key], ids]).encode()))
            issued = _NEVER if frame.issued is None else micros(frame.issued)
            heads[i] = (self._shapes[shape], self._rows[key], micros(frame.time), issued)
            if metrics:
                columns.append(np.concatenate(list(frame.values.values()), dtype=np.float64).tobytes())
            columns.extend(np.ascontiguousarray(frame.quality[name], dtype=np.uint8).tobytes() for name in graded)
            samples += len(frame.rows) * len(metrics)
        return b"".join([len(frames).to_bytes(4, "little"), heads.tobytes(), *columns]), samples


class _Reader:
    """One file in memory: where its records from number ``start`` on stand, and what their names mean. ``end``: number of the
    byte after its last whole record; ``samples``: values of the batches from ``start`` on. What was written before is passed
    over and not remembered: an outage is to take no more for a file that is long already."""

    def __init__(self, data: bytes, base: int, site: Site, start: int) -> None:
        self._data, self._base, self._site, self.start = data, base, site, start
        self._shapes: dict[int, _Shape] = {}
        self._rows: dict[int, tuple[int, int]] = {}  # place, length of what tells their ids
        self._placed: dict[tuple[str, int], tuple[int, Ints, Ints | None]] = {}
        self._batches: list[tuple[int, int, int, int]] = []  # number, place, length, values
        self.samples = 0
        at, first = 0, 0
        for place, length, kind, samples in _records(data):
            if kind == _SHAPE:
                number, frame_kind, origin, band, source, metrics, graded = json.loads(data[place : place + length])
                self._shapes[number] = _Shape(frame_kind, origin, band, source, tuple(metrics), tuple(graded))
            elif kind == _ROWS:  # [number, ids], of which the ids may be many
                self._rows[int(data[place + 1 : data.index(b",", place)])] = (place, length)
            else:
                if base + first >= start:
                    self._batches.append((base + first, place, length, samples))
                    self.samples += samples
                first = place + length
            at = place + length
        self.end = base + at
        self._next = 0

    def batch(self, at: int) -> tuple[int, list[Frame], int] | None:
        """The first batch that begins at ``at`` or later, which is not before ``start``: the number after it, its frames, its
        values."""
        if self._next >= len(self._batches) or self._batches[self._next][0] != at:
            self._next = next((i for i, one in enumerate(self._batches) if one[0] >= at), len(self._batches))
        if self._next == len(self._batches):
            return None
        _, place, length, samples = self._batches[self._next]
        self._next += 1
        return self._base + place + length, list(self._frames(place)), samples

    def _frames(self, place: int) -> Iterator[Frame]:
        data = self._data
        count = int.from_bytes(data[place : place + 4], "little")
        heads = np.frombuffer(data, dtype=np.int64, count=4 * count, offset=place + 4).reshape(count, 4)
        at = place + 4 + 32 * count
        for shape_id, rows_id, time, issued in heads.tolist():
            if shape_id not in self._shapes or rows_id not in self._rows:
                return  # the record that names it was spoilt
            shape = self._shapes[shape_id]
            n, rows, take = self._place(shape.kind, rows_id)
            values: dict[str, Floats] = {}
            quality: dict[str, Bytes] = {}
            for name in shape.metrics:
                values[name] = np.frombuffer(data, dtype=np.float64, count=n, offset=at)
                at += 8 * n
            for name in shape.graded:
                quality[name] = np.frombuffer(data, dtype=np.uint8, count=n, offset=at)
                at += n
            if take is not None:
                values = {name: column[take] for name, column in values.items()}
                quality = {name: column[take] for name, column in quality.items()}
            if len(rows):
                when, made = moment(time), None if issued == _NEVER else moment(issued)
                origin = Origin(shape.origin)
                yield Frame(shape.kind, when, rows, values, origin, shape.source, shape.band, quality, made)

    def _place(self, kind: str, rows_id: int) -> tuple[int, Ints, Ints | None]:
        """How many ids a set of assets has, the rows of those that the site has now, and which these are (None: all)."""
        key = (kind, rows_id)
        if key not in self._placed:
            place, length = self._rows[rows_id]
            ids, site = json.loads(self._data[place : place + length])[1], self._site
            known = [i for i, one in enumerate(ids) if one in site.position and site.kind(one) == kind]
            rows = np.array([site.row(ids[i]) for i in known], dtype=np.int32)
            self._placed[key] = (len(ids), rows, None if len(known) == len(ids) else np.array(known, dtype=np.int32))
        return self._placed[key]


def _records(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(place, length, type, values) of each whole record; one that was spoilt is left out, one that was cut is the end."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, checksum, kind, samples = _HEAD.unpack_from(data, at)
        place = at + _HEAD.size
        if length > MAX_RECORD_BYTES or place + length > len(data) or kind not in (_SHAPE, _ROWS, _BATCH):
            return
        at = place + length
        if zlib.crc32(memoryview(data)[place:at]) == checksum:
            yield place, length, kind, samples


def _sync(path: Path) -> None:
    """Let a file, or which files a folder has, outlive the machine."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _record(kind: int, payload: bytes, samples: int = 0) -> bytes:
    return _HEAD.pack(len(payload), zlib.crc32(payload), kind, samples) + payload


def open_log(folder: Path, site: Site) -> SpoolLog:
    """The log in ``folder``, made where there is none; ``ConfigError`` where that cannot be."""
    try:
        return SpoolLog(folder, site)
    except OSError as error:
        what = f"the spool cannot be opened ({error.strerror or error}); free space, mend the disk or name another [store] path"
        raise ConfigError([Problem(str(folder), what)]) from error
