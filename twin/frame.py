"""Frames: the one form in which values travel, whoever made them.

A frame holds the values of some metrics for some assets of one kind at one time, as columns. What the field measures,
physics expects, a model foresees and we ordered are frames that differ in ``origin``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]


TOLD = "told"  # band of a forecast that a service outside made


class Origin(StrEnum):
    """Who says so."""

    MEASURED = "measured"
    MODELLED = "modelled"
    FORECAST = "forecast"
    COMMANDED = "commanded"


class Quality(IntEnum):
    """How far a value may be believed. Bad values are kept in the store and never shown as a reading."""

    GOOD = 0
    SUSPECT = 1
    BAD = 2


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Values of ``kind`` at ``time``.

    ``rows``: int32[n], positions in the site's table of that kind, each at most once; ``values``: metric -> float64[n],
    NaN where nothing was read; ``quality``: metric -> uint8[n], only for metrics that have a value that is not good;
    ``band``: "" for the value itself (of a forecast: its median), "p10" or "p90" for an edge of its interval,
    ``TOLD`` for a forecast that came from outside;
    ``issued``: when a forecast was made (None: at ``time``). Arrays are handed over: nobody writes to them afterwards.
    """

    kind: str
    time: datetime
    rows: Ints
    values: Mapping[str, Floats]
    origin: Origin = Origin.MEASURED
    source: str = ""
    band: str = ""
    quality: Mapping[str, Bytes] = field(default_factory=dict)
    issued: datetime | None = None

    def __post_init__(self) -> None:
        if self.time.tzinfo is None:
            raise ValueError(f"frame of {self.kind}: time {self.time} has no zone; pass aware UTC")
        n = len(self.rows)
        for table in (self.values, self.quality):
            for name, column in table.items():
                if len(column) != n:
                    raise ValueError(f"frame of {self.kind}: {name} has {len(column)} values for {n} assets")

    @property
    def time_s(self) -> float:
        """``time`` as seconds since 1970 UTC."""
        return self.time.timestamp()

    @property
    def samples(self) -> int:
        """How many values it carries (NaN not counted)."""
        return int(sum(np.count_nonzero(~np.isnan(column)) for column in self.values.values()))


def frame_of(
    kind: str, time: datetime, row: int, /, origin: Origin = Origin.MEASURED, source: str = "", **values: float
) -> Frame:
    """A frame of one asset, for the many places where there is only one (site, grid, weather, a source's health)."""
    columns = {name: np.array([value], dtype=np.float64) for name, value in values.items()}
    return Frame(kind, time, np.array([row], dtype=np.int32), columns, origin, source)


def same(left: Any, right: Any) -> bool:
    """Whether two frames carry the same values (NaN equals NaN); for tests and for finding repeats."""
    if not (isinstance(left, Frame) and isinstance(right, Frame)):
        return False
    heads = [(f.kind, f.time, f.origin, f.source, f.band, f.issued, sorted(f.values), sorted(f.quality)) for f in (left, right)]
    if heads[0] != heads[1] or not np.array_equal(left.rows, right.rows):
        return False
    return all(np.array_equal(left.values[name], right.values[name], equal_nan=True) for name in left.values) and all(
        np.array_equal(left.quality[name], right.quality[name]) for name in left.quality
    )
