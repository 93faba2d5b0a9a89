"""Judges values before anyone believes them: outside the plausible range is bad, a clock that runs ahead is suspect.

Nothing is thrown away: a bad value is stored as bad, and the state keeps showing the last believable one with its age.
"""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from twin.frame import Bytes, Frame, Origin, Quality
from twin.metrics import metric

SKEW_LIMIT = timedelta(seconds=5)  # what NTP keeps even on a bad day


def judge(frame: Frame, now: datetime) -> Frame:
    """``frame`` with the quality of its values; ``KeyError`` for a metric that the table does not know.

    A measured frame from the future (by more than ``SKEW_LIMIT``) is taken as of ``now`` and all of it is suspect.
    """
    quality: dict[str, Bytes] = dict(frame.quality)
    for name, values in frame.values.items():
        row = metric(frame.kind, name)
        with np.errstate(invalid="ignore"):
            wrong = (values < row.low) | (values > row.high)  # NaN is neither: it is not there
        if wrong.any():
            graded = quality.get(name, np.zeros(len(values), dtype=np.uint8)).copy()
            graded[wrong] = Quality.BAD
            quality[name] = graded
    time = frame.time
    if frame.origin is Origin.MEASURED and time > now + SKEW_LIMIT:
        time = now
        for name, values in frame.values.items():
            quality[name] = np.maximum(quality.get(name, np.zeros(len(values), dtype=np.uint8)), np.uint8(Quality.SUSPECT))
    if time is frame.time and quality == frame.quality:
        return frame
    return replace(frame, time=time, quality=quality)


def doubted(frame: Frame) -> int:
    """How many values of ``frame`` are not good."""
    return int(sum(np.count_nonzero(column) for column in frame.quality.values()))
