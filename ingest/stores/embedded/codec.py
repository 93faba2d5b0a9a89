"""Columns to bytes and back, exactly.

Readings are mostly short decimals that change slowly, so a matrix of values is held as integers (value times a power of
ten), each row as differences over time, folded to unsigned ("zigzag"), split into byte planes and compressed by zstd.
What is no short decimal is held as the XOR of neighbouring float64 patterns, split and compressed the same way. Which of
the two, is settled by decoding: a matrix is only kept as decimals where every value comes back bit for bit.
"""

import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import zstandard
from numpy.typing import DTypeLike, NDArray

from twin.frame import Bytes, Floats, Ints

MAX_PLACES = 9
_HEAD = struct.Struct("<BBBBII")  # form, decimal places, planes, flags, rows, columns
_DECIMAL, _BITS = 0, 1
_HAS_NAN, _HAS_QUALITY = 1, 2
_LIMIT = 2.0**53  # beyond it float64 leaves out integers
_U64 = np.uint64
_LINE_CELLS = 32_768  # values that are worked out together, so that all of it stays in the processor's cache
_ROOM_BYTES = 2 << 20  # once so much was given back, the C library's allocator keeps as much at hand for small things too
_NOTHING = np.empty(0, dtype=np.int64)
_POWERS = np.array([10.0**places for places in range(MAX_PLACES + 1)])  # the very numbers that encoding used


class Codec:
    """Encodes and decodes; one instance belongs to one thread at a time (zstd contexts cannot be shared)."""

    def __init__(self, level: int = 1) -> None:
        self._press = zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=True)
        self._loosen = zstandard.ZstdDecompressor()
        self._rooms: dict[str, Bytes] = {}

    def room(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array to work in that is the same memory each time it is asked for by this name: memory that the system must
        give and take away costs more than what is done in it."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size > len(self._rooms.get(name, b"")):
            self._rooms[name] = np.empty(max(size, _ROOM_BYTES), dtype=np.uint8)
        return self._rooms[name][:size].view(dtype).reshape(shape)

    def press(self, data: bytes | NDArray[Any]) -> bytes:
        """Plain zstd of bytes, or of the bytes of a contiguous array."""
        return self._press.compress(data if isinstance(data, bytes) else data.data)

    def loosen(self, data: bytes) -> bytes:
        """Undo ``press``."""
        return self._loosen.decompress(data)

    def encode(self, values: Floats, quality: Bytes | None = None, places: int | None = None) -> bytes:
        """``values`` float64[n, t] and, where given, ``quality`` uint8[n, t] as bytes; ``places``: a guess at the decimals.

        Every value comes back with the same bits, but for a NaN, which comes back as NaN.
        """
        values = np.ascontiguousarray(values)
        n, t = values.shape
        missing = np.isnan(values)
        gaps = bool(missing.any())
        whole, places = to_integers(_filled(values, missing) if gaps else values, places)
        if whole is None:
            form, gaps, places = _BITS, False, 0
            bits = values.view(_U64)
            first, rest = bits[:, 0], bits[:, 1:] ^ bits[:, :-1]
        else:
            form = _DECIMAL
            first, rest = _zigzag(np.diff(whole[:, 0], prepend=0)), _zigzag(np.diff(whole, axis=1))
        planes = (int(rest.max(initial=0)).bit_length() + 7) // 8
        pieces = [_planes(np.ascontiguousarray(first), 8), _planes(rest, planes)]
        flags = 0
        if gaps:
            flags |= _HAS_NAN
            pieces.append(np.packbits(missing))
        if quality is not None:
            flags |= _HAS_QUALITY
            pieces.append(np.ascontiguousarray(quality).ravel())
        return _HEAD.pack(form, places, planes, flags, n, t) + self.press(np.concatenate(pieces))

    def decode(self, blob: bytes, rows: Ints | None = None, into: Floats | None = None) -> tuple[Floats, Bytes | None]:
        """What ``encode`` was given: float64[n, t] and uint8[n, t] or None; of ``rows`` only (increasing), where given.
        ``into``: where the values are to lie, in the order of rows."""
        form, places, planes, flags, n, t = _HEAD.unpack_from(blob)
        data = np.frombuffer(self._loosen.decompress(memoryview(blob)[_HEAD.size :]), dtype=np.uint8)
        cut = _cuts(planes, flags, n, t)
        first = _words(data[: cut[0]], n)
        deltas = data[cut[0] : cut[1]].reshape(planes, n, t - 1)
        if rows is not None and len(rows) == n:
            rows = None
        take: slice | Ints = slice(None) if rows is None else rows
        values = into if into is not None else np.empty((n if rows is None else len(rows), t))
        if form == _DECIMAL:
            start = np.cumsum(_unzigzag(first))[take]
            if planes == 0:
                values[:] = (start / 10.0**places)[:, None]
            else:
                whole = self.room("whole", values.shape, np.int64)
                whole[:, 0] = start
                whole[:, 1:] = self._signed(deltas[:, take], planes)
                np.divide(np.cumsum(whole, axis=1, out=whole), 10.0**places, out=values)
        else:
            bits = np.empty(values.shape, dtype=_U64)
            bits[:, 0] = first[take]
            bits[:, 1:] = _joined(deltas[:, take], _U64)
            values[:] = np.bitwise_xor.accumulate(bits, axis=1).view(np.float64)
        if flags & _HAS_NAN:
            missing = np.unpackbits(data[cut[1] : cut[2]], count=n * t).reshape(n, t)[take]
            values[missing.view(np.bool_)] = np.nan
        quality = data[cut[2] :].reshape(n, t)[take] if flags & _HAS_QUALITY else None
        return values, quality

    def decode_lines(self, blobs: Sequence[bytes], rows: Sequence[Ints], into: Sequence[Floats]) -> list[Bytes | None]:
        """``decode`` of many blobs, a few ``rows`` of each: the values go where ``into`` (float64[k, t] each) lies, the
        qualities are given back. Lines that are held alike are worked out together, which takes a tenth of the time that one
        call each would."""
        grades: list[Bytes | None] = [None] * len(blobs)
        alike: dict[tuple[int, int], list[_Line]] = {}
        gaps: list[tuple[Floats, NDArray[np.bool_]]] = []
        heads = [_HEAD.unpack_from(blob) for blob in blobs]
        loose = [
            np.frombuffer(self._loosen.decompress(memoryview(blob)[_HEAD.size :]) if head[0] == _DECIMAL else b"", np.uint8)
            for head, blob in zip(heads, blobs, strict=True)
        ]
        firsts = _firsts(heads, loose)
        for i, ((form, places, planes, flags, n, t), data) in enumerate(zip(heads, loose, strict=True)):
            if form != _DECIMAL:
                into[i][:], grades[i] = self.decode(blobs[i], rows[i])
                continue
            cut = _cuts(planes, flags, n, t)
            deltas = data[cut[0] : cut[1]].reshape(planes, n, t - 1)
            together = alike.setdefault((planes, t), [])
            for k, row in enumerate(rows[i].tolist()):
                together.append(_Line(firsts[i][row], deltas[:, row], _POWERS[places], into[i][k]))
            if flags & _HAS_NAN:
                bits = np.unpackbits(data[cut[1] : cut[2]], count=n * t).reshape(n, t)
                gaps.append((into[i], bits[rows[i]].view(np.bool_)))
            if flags & _HAS_QUALITY:
                grades[i] = data[cut[2] :].reshape(n, t)[rows[i]]
        for (planes, t), some in alike.items():
            step = max(1, _LINE_CELLS // t)
            for at in range(0, len(some), step):
                self._work_out(some[at : at + step], planes, t)
        for values, missing in gaps:
            values[missing] = np.nan
        return grades

    def _work_out(self, some: Sequence["_Line"], planes: int, t: int) -> None:
        """Lines of as many planes and values, so few that all of it stays in the processor's cache."""
        if planes == 0:
            for line in some:
                line.into[:] = line.first / line.scale
            return
        whole = self.room("whole", (len(some), t), np.int64)
        folded = self.room("folded", (len(some), t - 1), _container(planes))
        other = self.room("other", folded.shape, folded.dtype)
        for k, line in enumerate(some):
            whole[k, 0] = line.first
            _join(line.deltas, folded[k], other[k])
        whole[:, 1:] = _unzigzag(folded, other)
        np.cumsum(whole, axis=1, out=whole)
        for k, line in enumerate(some):
            if line.scale == 1:
                line.into[:] = whole[k]
            else:
                np.divide(whole[k], line.scale, out=line.into)

    def _signed(self, deltas: Bytes, planes: int) -> NDArray[np.signedinteger[Any]]:
        """Differences from their bytes uint8[planes, ...], in a room."""
        folded = self.room("folded", deltas.shape[1:], _container(planes))
        other = self.room("other", folded.shape, folded.dtype)
        _join(deltas, folded, other)
        return _unzigzag(folded, other)


class _Line(NamedTuple):
    """One row: its first value, the bytes of its differences uint8[planes, t - 1], what divides it, and where it goes."""

    first: np.int64
    deltas: Bytes
    scale: np.float64
    into: Floats


def _cuts(planes: int, flags: int, n: int, t: int) -> tuple[int, int, int]:
    """Where first values, differences and gaps end in what was compressed."""
    firsts = 8 * n
    deltas = firsts + planes * n * (t - 1)
    return firsts, deltas, deltas + (-(-n * t // 8) if flags & _HAS_NAN else 0)


def places_of(blob: bytes) -> int | None:
    """Decimals of what ``encode`` gave; None where the values are no short decimals."""
    form, places = _HEAD.unpack_from(blob)[:2]
    return int(places) if form == _DECIMAL else None


def cells_of(blob: bytes) -> int:
    """Values in what ``encode`` gave."""
    *_, n, t = _HEAD.unpack_from(blob)
    return int(n * t)


def to_integers(values: Floats, places: int | None = None) -> tuple[NDArray[np.int64] | None, int]:
    """``values`` times the smallest power of ten that makes all of them integers, and its exponent; None where there is
    none up to ``MAX_PLACES`` that gives every value back bit for bit. ``places`` is tried first."""
    some = values.ravel()[:: max(1, values.size // 64)][:64]
    least = next((p for p in range(MAX_PLACES + 1) if _scaled(some, p) is not None), None)
    if least is None:
        return None, 0
    for candidate in range(max(least, places or 0), MAX_PLACES + 1):
        whole = _scaled(values, candidate)
        if whole is not None:
            return whole, candidate
    return None, 0


def _scaled(values: Floats, places: int) -> NDArray[np.int64] | None:
    scale = 10.0**places
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint(values * scale)
        if not (np.abs(scaled).max(initial=0.0) < _LIMIT):
            return None
    whole = scaled.astype(np.int64)
    return whole if np.array_equal((whole / scale).view(np.int64), values.view(np.int64)) else None


def _filled(values: Floats, missing: NDArray[np.bool_]) -> Floats:
    """``values`` with the gaps of each row filled by what came before (0 where nothing did)."""
    t = values.shape[1]
    at = np.where(missing, 0, np.arange(t))
    filled: Floats = np.take_along_axis(values, np.maximum.accumulate(at, axis=1), axis=1)
    return np.where(np.isnan(filled), 0.0, filled)


def _zigzag(whole: NDArray[np.int64]) -> NDArray[np.uint64]:
    return ((whole << 1) ^ (whole >> 63)).view(_U64)


def _unzigzag(folded: NDArray[Any], room: NDArray[Any] | None = None) -> NDArray[np.signedinteger[Any]]:
    """In its place, and as narrow as it came: the half of a number fits where the number did, with its sign."""
    one = folded.dtype.type(1)
    signed = np.dtype(f"i{folded.dtype.itemsize}")
    odd: NDArray[np.signedinteger[Any]] = np.bitwise_and(folded, one, out=room).view(signed)
    whole: NDArray[np.signedinteger[Any]] = np.right_shift(folded, one, out=folded).view(signed)
    whole ^= np.negative(odd, out=odd)
    return whole


def _container(planes: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if planes <= 1 else np.uint16 if planes == 2 else np.uint32 if planes <= 4 else np.uint64


def _planes(folded: NDArray[np.uint64], planes: int) -> Bytes:
    """The lowest ``planes`` bytes of every number: all first bytes, then all second ones, and so on."""
    if planes == 0:
        return np.empty(0, dtype=np.uint8)
    narrow = np.ascontiguousarray(folded.astype(_container(planes), copy=False))
    size = narrow.itemsize
    return np.ascontiguousarray(narrow.view(np.uint8).reshape(-1, size)[:, :planes].T).ravel()


def _words(planes: Bytes, n: int) -> NDArray[np.uint64]:
    """Undo ``_planes`` for ``n`` numbers of eight bytes."""
    return np.array(planes.reshape(8, n).T, order="C").view("<u8").ravel()


def _join(planes: Bytes, folded: NDArray[Any], other: NDArray[Any]) -> None:
    """Undo ``_planes`` into ``folded``: uint8[planes, ...], at least one, to numbers; ``other``: room as large."""
    folded[...] = planes[0]
    for i in range(1, len(planes)):
        np.left_shift(planes[i], folded.dtype.type(8 * i), out=other, dtype=folded.dtype)
        folded |= other


def _firsts(heads: Sequence[tuple[int, ...]], loose: Sequence[Bytes]) -> list[NDArray[np.int64]]:
    """The first value of each row of each that is held as decimals, int64[n], those of as many rows worked out together."""
    by_size: dict[int, list[int]] = {}
    for i, head in enumerate(heads):
        if head[0] == _DECIMAL:
            by_size.setdefault(head[-2], []).append(i)
    found = [_NOTHING] * len(heads)
    for n, some in by_size.items():
        planes = np.concatenate([loose[i][: 8 * n] for i in some]).reshape(len(some), 8, n)
        words = np.ascontiguousarray(planes.transpose(0, 2, 1)).view("<u8")[:, :, 0]
        for i, first in zip(some, np.cumsum(_unzigzag(words), axis=1), strict=True):
            found[i] = first
    return found


def _joined(planes: Bytes, dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    """Undo ``_planes``: uint8[planes, ...] to numbers of ``dtype``[...]."""
    if not len(planes):
        return np.zeros(planes.shape[1:], dtype=dtype)
    whole: NDArray[Any] = planes[0].astype(dtype)
    for i in range(1, len(planes)):
        whole |= planes[i].astype(dtype) << dtype(8 * i)
    return whole
