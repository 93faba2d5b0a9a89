"""What senders push: bodies of three protocols become one form, a batch of samples, and that becomes frames.

A module a protocol has ``read(body, ...) -> Batch``; ``series`` says which cell of which frame a series is.
"""

import gzip
import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, TypeVar

import cramjam
import zstandard

from twin.frame import Floats

MAX_BODY_BYTES = 32 * 2**20  # as sent
MAX_PLAIN_BYTES = 128 * 2**20  # decompressed
MAX_MESSAGE_BYTES = 16 * 2**20  # decompressed, of protobuf and JSON: two bytes of it may become an object of a hundred
ZSTD_PORTION = 1024  # bytes of a zstd body that are unpacked at once: 32 MB of zeros at the most
MAX_SAMPLES = 1_000_000  # of one request
MAX_SAID = 10  # lines or series of one request whose faults are named

Series = tuple[str, Mapping[str, str]]
Many = TypeVar("Many", bound=Sized)


class Refused(Exception):
    """A body is not taken: ``status`` for HTTP and one sentence. 4xx: sending it again will not help; 429 and 503: later."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(slots=True)
class Batch:
    """Samples as they were sent: ``keys`` (one a sample; equal keys are one series, ``describe`` gives its name and labels),
    ``times_s`` and ``values``: float64[n]. ``faults``: what was left out, in sentences; ``left_out``: how many samples."""

    keys: Sequence[Hashable]
    times_s: Floats
    values: Floats
    describe: Callable[[Any], Series]
    faults: list[str] = field(default_factory=list)
    left_out: int = 0


def inflated(body: bytes, encoding: str) -> bytes:
    """``body`` without its Content-Encoding. ``Refused`` for one that is not known, is broken or grows too large."""
    name = encoding.strip().lower()
    try:
        if name in ("", "identity"):
            plain = body
        elif name == "gzip":
            plain = _ungzipped(body)
        elif name == "snappy":
            plain = _unsnapped(body)
        elif name == "zstd":
            plain = _unpressed(body)
        else:
            raise Refused(415, f"Content-Encoding {encoding[:40]!r} is not read; send gzip, snappy, zstd or none.")
    except (OSError, EOFError, zlib.error, cramjam.DecompressionError, zstandard.ZstdError) as error:
        raise Refused(400, f"The body is not {name} ({str(error)[:80]}).") from None
    if len(plain) > MAX_PLAIN_BYTES:
        raise Refused(413, f"The body is over {MAX_PLAIN_BYTES} bytes when unpacked; send less at once.")
    return plain


def check_message(plain: bytes) -> None:
    """``Refused`` for protobuf or JSON that is too large to be decoded."""
    if len(plain) > MAX_MESSAGE_BYTES:
        raise Refused(413, f"The body is over {MAX_MESSAGE_BYTES} bytes when unpacked; send smaller batches.")


def few(things: Many) -> Many:
    """The things, if they are no more than may come at once; ``Refused`` else."""
    if len(things) > MAX_SAMPLES:
        raise Refused(413, f"Over {MAX_SAMPLES} values at once; send smaller batches.")
    return things


def _ungzipped(body: bytes) -> bytes:
    packed = zlib.decompressobj(wbits=31)
    plain = packed.decompress(body, MAX_PLAIN_BYTES + 1)
    if len(plain) <= MAX_PLAIN_BYTES and (not packed.eof or packed.unused_data):
        raise gzip.BadGzipFile("it is cut, or something follows it")
    return plain


def _unpressed(body: bytes) -> bytes:
    """All frames of a zstd body, a portion at a time: a few of its bytes may say a megabyte each."""
    many, pieces, size = zstandard.ZstdDecompressor(), list[bytes](), 0
    packed = many.decompressobj()
    for at in range(0, len(body), ZSTD_PORTION):
        rest = body[at : at + ZSTD_PORTION]
        while rest:
            if packed.eof:
                packed = many.decompressobj()
            pieces.append(packed.decompress(rest))
            rest = packed.unused_data
            size += len(pieces[-1])
            if size > MAX_PLAIN_BYTES:
                return b"".join(pieces)
    if not packed.eof:
        raise EOFError("it is cut")
    return b"".join(pieces)


def _unsnapped(body: bytes) -> bytes:
    """Snappy's block format says at its front how large it will be, which is checked before anything is unpacked."""
    size = shift = 0
    for byte in body[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > MAX_PLAIN_BYTES:
        raise Refused(413, f"The body is over {MAX_PLAIN_BYTES} bytes when unpacked; send less at once.")
    return bytes(cramjam.snappy.decompress_raw(body))
