"""Columns to bytes and back, exactly.

Readings are mostly short decimals that change slowly, so a matrix of values is held as integers (value times a power of
ten), each row as differences over time, folded to unsigned ("zigzag"), split into byte planes and compressed by zstd.
What is no short decimal is held as the XOR of neighbouring float64 patterns, split and compressed the same way. Which of
the two, is settled by decoding: a matrix is only kept as decimals where every value comes back bit for bit.
"""

import struct
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from twin.frame import Bytes, Floats, Ints

MAX_PLACES = 9
_HEAD = struct.Struct("<BBBBII")  # form, decimal places, planes, flags, rows, columns
_DECIMAL, _BITS = 0, 1
_HAS_NAN, _HAS_QUALITY = 1, 2
_LIMIT = 2.0**53  # beyond it float64 leaves out integers
_U64 = np.uint64


class Codec:
    """Encodes and decodes; one instance belongs to one thread at a time (zstd contexts cannot be shared)."""

    def __init__(self, level: int = 1) -> None:
        self._press = zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=True)
        self._loosen = zstandard.ZstdDecompressor()

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

    def decode(self, blob: bytes, rows: Ints | None = None) -> tuple[Floats, Bytes | None]:
        """What ``encode`` was given: float64[n, t] and uint8[n, t] or None; of ``rows`` only
        (increasing), where given."""
        form, places, planes, flags, n, t = _HEAD.unpack_from(blob)
        data = np.frombuffer(self._loosen.decompress(memoryview(blob)[_HEAD.size :]), dtype=np.uint8)
        cut = np.cumsum([8 * n, planes * n * (t - 1), -(-n * t // 8) if flags & _HAS_NAN else 0])
        first = _joined(data[: cut[0]].reshape(8, n), _U64)
        deltas = data[cut[0] : cut[1]].reshape(planes, n, t - 1)
        if rows is not None and len(rows) == n:
            rows = None
        take: slice | Ints = slice(None) if rows is None else rows
        whole = np.empty((n if rows is None else len(rows), t), dtype=np.int64 if form == _DECIMAL else _U64)
        if form == _DECIMAL:
            whole[:, 0] = np.cumsum(_unzigzag(first))[take]
            if planes == 0:
                whole[:, 1:] = 0
            else:
                whole[:, 1:] = _unzigzag(_joined(deltas[:, take], _container(planes)))
            if planes or t == 1:
                np.cumsum(whole, axis=1, out=whole)
            else:
                whole[:, 1:] = whole[:, :1]
            values = whole / 10.0**places
        else:
            whole[:, 0] = first[take]
            whole[:, 1:] = _joined(deltas[:, take], _U64)
            values = np.bitwise_xor.accumulate(whole, axis=1).view(np.float64)
        if flags & _HAS_NAN:
            missing = np.unpackbits(data[cut[1] : cut[2]], count=n * t).reshape(n, t)[take]
            values[missing.view(np.bool_)] = np.nan
        quality = data[cut[2] :].reshape(n, t)[take] if flags & _HAS_QUALITY else None
        return values, quality


def places_of(blob: bytes) -> int | None:
    """Decimals of what ``encode`` gave; None where the values are no short decimals."""
    form, places = _HEAD.unpack_from(blob)[:2]
    return int(places) if form == _DECIMAL else None


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


def _unzigzag(folded: NDArray[Any]) -> NDArray[np.int64]:
    signed = folded.astype(np.int64)
    half: NDArray[np.int64] = (folded >> folded.dtype.type(1)).astype(np.int64)
    whole: NDArray[np.int64] = half ^ -(signed & 1)
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


def _joined(planes: Bytes, dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    """Undo ``_planes``: uint8[planes, ...] to numbers of ``dtype``[...]."""
    shape, size = planes.shape[1:], np.dtype(dtype).itemsize
    whole = np.zeros((int(np.prod(shape)), size), dtype=np.uint8)
    for i in range(planes.shape[0]):
        whole[:, i] = planes[i].ravel()
    return whole.view(dtype).reshape(shape)
