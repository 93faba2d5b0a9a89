"""Columns that wait in memory, exactly and in less than half the room: most readings are short decimals, so narrow integers."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.stores.embedded.codec import to_integers
from twin.frame import Floats

_SIZES = (np.int8, np.int16, np.int32, np.uint32)


class Narrow(NamedTuple):
    """A column: ``whole`` over ``scale``, which gives every value back bit for bit."""

    whole: NDArray[Any]
    scale: float

    def floats(self, take: NDArray[np.intp] | None = None) -> Floats:
        """float64[n] values; ``take``: of these places only."""
        some = self.whole if take is None else self.whole[take]
        return np.asarray(some, dtype=np.float64) if self.scale == 1.0 else some / self.scale


def narrowed(column: Floats) -> Narrow:
    """``column`` as narrow as it fits; as it is where it is no short decimals, or has gaps. It holds nothing but itself: a
    column is mostly cut from the table of a whole frame, which would stay in memory with it."""
    column = np.asarray(column, dtype=np.float64)
    whole, places = to_integers(column)
    if whole is not None and len(whole):
        low, high = int(whole.min()), int(whole.max())
        for size in _SIZES:
            limits = np.iinfo(size)
            if limits.min <= low and high <= limits.max:
                return Narrow(whole.astype(size), 10.0**places)
    return Narrow(column if column.base is None else column.copy(), 1.0)
