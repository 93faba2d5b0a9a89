"""InfluxDB line protocol: ``measurement,tag=… field=…,field=… time``. Each number among the fields is a series called
``measurement_field`` with the tags as labels; truth values are 1 and 0, texts are no values."""

from collections.abc import Hashable
from datetime import datetime
from typing import Any

import numpy as np
from line_protocol_parser import LineFormatError, parse_line

from ingest.push import MAX_SAID, MAX_SAMPLES, Batch, Refused, Series

_SEPARATOR = "\0"  # which no line can hold: the parser reads C strings
PRECISIONS = {"ns": 1e9, "n": 1e9, "us": 1e6, "u": 1e6, "µ": 1e6, "ms": 1e3, "s": 1.0, "m": 1 / 60, "h": 1 / 3600}


def read(body: bytes, precision: str, now: datetime) -> Batch:
    """The samples of ``body`` (UTF-8); lines without a time are of ``now``. Lines that are none are left out, each with a
    sentence, and the others are taken, as InfluxDB does. ``Refused`` for a precision or a text that is none."""
    per_s = PRECISIONS.get(precision or "ns")
    if per_s is None:
        raise Refused(400, f"precision {precision[:20]!r} is not known; it is ns, us, ms or s.")
    try:
        lines = body.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise Refused(400, f"Byte {error.start} of the body is not UTF-8.") from None
    keys: list[Hashable] = []
    times: list[float] = []
    values: list[float] = []
    batch = Batch(keys, np.empty(0), np.empty(0), _describe)
    now_s = now.timestamp()
    number = 0
    while number < len(lines):
        number, line = _whole(lines, number)
        if not line or line.isspace() or line.lstrip().startswith("#"):
            continue
        try:
            found = parse_line(line)
        except LineFormatError as error:
            _leave(batch, f"line {number}: {str(error).rstrip('.')}: {line[:80]}")
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


def _whole(lines: list[str], number: int) -> tuple[int, str]:
    """The line that begins at ``number``, with those that a quoted text with line breaks goes on over; and the next one's."""
    line = lines[number]
    number += 1
    while line.replace('\\"', "").count('"') % 2 and number < len(lines):
        line += "\n" + lines[number]
        number += 1
    return number, line


def _leave(batch: Batch, sentence: str) -> None:
    batch.left_out += 1
    if len(batch.faults) < MAX_SAID:
        batch.faults.append(sentence)


def _describe(key: Any) -> Series:
    measurement, *tags, name = key.split(_SEPARATOR)
    return f"{measurement}_{name}", dict(zip(tags[::2], tags[1::2], strict=True))
