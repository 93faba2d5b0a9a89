"""InfluxDB line protocol: ``measurement,tag=… field=…,field=… time``. Each number among the fields is a series called
``measurement_field`` with the tags as labels; truth values are 1 and 0, texts are no values."""

import re
from collections.abc import Hashable, Iterable, Iterator
from datetime import datetime
from typing import Any

import numpy as np
from line_protocol_parser import LineFormatError, parse_line

from ingest.push import MAX_SAID, MAX_SAMPLES, Batch, Refused, Series

_SEPARATOR = "\0"  # which no line can hold: the parser reads C strings
# a line as most are: nothing taken as it stands, no quotes in measurement and tags, each text closed
_PLAIN = re.compile(r'[^"\\ ]++ [^"\\]*+(?:(?<==)"[^"\\]*+"(?=[,\s]|\Z)[^"\\]*+)*+')
_HEAD = re.compile(r"[ \t]*+[^\\ \n]*+(?:\\.[^\\ \n]*+)*+")  # measurement and tags, in which a quote is a letter as any other
_MEANT = re.compile(r'\\.|="', re.DOTALL)  # among fields: what is taken as it stands, and where a text begins
_TEXT = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+("(?=[,\s]|\Z))?', re.DOTALL)  # and its end, where it is that of a text
PRECISIONS = {"ns": 1e9, "n": 1e9, "us": 1e6, "u": 1e6, "µ": 1e6, "ms": 1e3, "s": 1.0, "m": 1 / 60, "h": 1 / 3600}


def read(body: bytes, precision: str, now: datetime) -> Batch:
    """The samples of ``body`` (UTF-8); lines without a time are of ``now``. Lines that are none are left out, each with a
    sentence, and the others are taken, as InfluxDB does. ``Refused`` for a precision or a text that is none."""
    per_s = PRECISIONS.get(precision or "ns")
    if per_s is None:
        raise Refused(400, f"precision {precision[:20]!r} is not known; it is ns, us, ms or s.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(400, f"Byte {error.start} of the body is not UTF-8.") from None
    keys: list[Hashable] = []
    times: list[float] = []
    values: list[float] = []
    batch = Batch(keys, np.empty(0), np.empty(0), _describe)
    now_s = now.timestamp()
    for number, line in _lines(text):
        if not line or line.isspace() or line.lstrip().startswith("#"):
            continue
        try:
            found = parse_line(line)
        except LineFormatError as error:
            _leave(batch, f"line {number}: {str(error).rstrip('.')}: {line[:80]}", 1 + line.count("\n"))
            continue
        head = _SEPARATOR.join([found["measurement"], *(part for pair in sorted(found["tags"].items()) for part in pair)])
        time_s = now_s if found["time"] is None else found["time"] / per_s
        for name, value in found["fields"].items():
            if not isinstance(value, str):
                keys.append(f"{head}{_SEPARATOR}{name}")
                times.append(time_s)
                values.append(float(value))
        if len(keys) > MAX_SAMPLES:
            raise Refused(413, f"Over {MAX_SAMPLES} values at once; send smaller batches.")
    batch.times_s, batch.values = np.array(times, dtype=np.float64), np.array(values, dtype=np.float64)
    return batch


def _lines(text: str) -> Iterable[tuple[int, str]]:
    """Each line with its number."""
    return _lines_with_texts(text) if '"' in text else enumerate(text.split("\n"), 1)


def _lines_with_texts(text: str) -> Iterator[tuple[int, str]]:
    """The same where a text may hold line breaks. One that is never closed as a text must be (a comma, a space or the end of
    the line behind it) ends with its own line, so that a bad line costs none but itself."""
    start, number, size = 0, 1, len(text)
    spare = size  # letters that may be looked at in vain: the work of any body is bounded by its length
    while start < size:
        end = text.find("\n", start)
        end = size if end < 0 else end
        line = text[start:end]
        if '"' in line and spare > 0 and not _PLAIN.fullmatch(line) and not line.lstrip().startswith("#"):
            reached, closed = _reach(text, start, end)
            if closed:
                end, line = reached, text[start:reached]
            else:
                spare -= max(0, reached - end)
        yield number, line
        number += 1 + line.count("\n")
        start = end + 1


def _reach(text: str, start: int, end: int) -> tuple[int, bool]:
    """Where the line from ``start`` ends whose first line break is at ``end``, and whether each text in it is closed; where
    one is not, how far was looked."""
    at = _HEAD.match(text, start).end()  # type: ignore[union-attr]  # it matches nothing too
    while at < end and (found := _MEANT.search(text, at, end)) is not None:
        at = found.end()
        if found[0] == '="':
            rest = _TEXT.match(text, at)
            at = rest.end()  # type: ignore[union-attr]
            if not rest[1]:  # type: ignore[index]
                return at, False
            if at > end:
                end = text.find("\n", at)
                end = len(text) if end < 0 else end
    return end, True


def _leave(batch: Batch, sentence: str, lines: int) -> None:
    batch.left_out += lines
    if len(batch.faults) < MAX_SAID:
        batch.faults.append(sentence)


def _describe(key: Any) -> Series:
    measurement, *tags, name = key.split(_SEPARATOR)
    return f"{measurement}_{name}", dict(zip(tags[::2], tags[1::2], strict=True))
