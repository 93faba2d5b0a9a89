"""Which disk is about to fail, live: what its SMART counts and their growth add to how often such a disk fails anyway.

A logistic regression of "fails within 30 days", all weights at least 0, fitted on the record of drives of 2013 to 2015-09 that
``analytics.detect.disks`` reads (``bench detect`` judges it on the year after, beside the boosted trees). The weights are few
enough to stand here, and a disk's hazard is a sum that a person can follow. Solid-state drives are not in that record: of them
what they say of themselves counts (NVMe Base Specification 2.0, SMART / health log: percentage used, media errors, warnings);
those three weights are graded by hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from twin.frame import Floats

MONTH_S = 30 * 86400.0
BEFORE = 0.0009  # a disk with no count above 0, in the record
# metric -> (weight of any, of its log, of the log of what it grew by in a month): in log odds
COUNTS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "reallocated_count": (0.52, 0.15, 0.25),
        "spin_retry_count": (0.34, 0.14, 0.62),
        "reported_uncorrected_count": (0.71, 0.0, 0.26),
        "command_timeout_count": (0.37, 0.02, 0.23),
        "high_fly_write_count": (0.71, 0.0, 0.0),
        "reallocation_event_count": (0.07, 0.0, 0.0),
        "pending_count": (1.35, 0.08, 0.12),
        "offline_uncorrected_count": (0.0, 0.22, 0.0),
    }
)
LIMIT = 0.02  # hazard from which it is a finding: one healthy disk in a thousand got there in the year judged on
# hazard -> median days that failing disks had left when they got there, in that year
_LEADS: tuple[tuple[float, float], ...] = ((0.02, 13.5), (0.0, 25.0))
_MEDIA, _WORN, _FAILING = 0.8, 3.0, 6.0  # of the log of media errors, of wear past 100 %, of its own verdict


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """``hazard``: float64[n], probability of a failure within 30 days, NaN where the disk says nothing; ``parts``: evidence ->
    float64[n], what it adds in log odds; ``counts``: the counts themselves."""

    hazard: Floats
    parts: Mapping[str, Floats]
    counts: Mapping[str, Floats]

    def held(self, was: "Judged") -> "Judged":
        """This, and ``was`` of disks that say nothing now: what was found of one that went silent stays as it was found."""
        silent = np.isnan(self.hazard)
        parts, counts = (
            {name: np.where(silent, old[name], new[name]) for name in new}
            for new, old in ((self.parts, was.parts), (self.counts, was.counts))
        )
        return Judged(np.where(silent, was.hazard, self.hazard), parts, counts)

    def reason(self, row: int) -> str:
        """The strongest evidence of one disk, in words."""
        name = max(self.parts, key=lambda name: float(self.parts[name][row]))
        if name == "failing_flag":
            return "its own health check says so"
        if name == "wear_ratio":
            return f"{100 * float(self.counts[name][row]):.0f} % of its rated writes are used"
        return f"{name.removesuffix('_count').replace('_', ' ')} {float(self.counts[name][row]):.0f}"


def nothing(disks: int) -> Judged:
    """Before anything was read."""
    unknown = np.full(disks, np.nan)
    counts = dict.fromkeys(COUNTS, unknown)
    return judge(counts, counts, unknown, unknown, unknown)


def judge(
    counts: Mapping[str, Floats],
    grown: Mapping[str, Floats],
    media_error_count: Floats,
    wear_ratio: Floats,
    failing_flag: Floats,
    before: Floats | float = BEFORE,
) -> Judged:
    """``counts``, ``grown``: metric -> float64[n], SMART counts and what they grew by in about a month, NaN where the disk has
    none; ``before``: probability of a failure within 30 days without any evidence."""
    parts: dict[str, Floats] = {}
    known = np.isfinite(media_error_count) | np.isfinite(wear_ratio) | np.isfinite(failing_flag)
    for name, (some, much, more) in COUNTS.items():
        known |= np.isfinite(counts[name])
        count = np.nan_to_num(counts[name])
        parts[name] = np.asarray(some * (count > 0) + much * _log1p(count) + more * _log1p(grown[name]), dtype=np.float64)
    parts["media_error_count"] = _MEDIA * _log1p(media_error_count)
    parts["wear_ratio"] = np.where(wear_ratio > 1.0, _WORN, 0.0)
    parts["failing_flag"] = np.where(failing_flag > 0, _FAILING, 0.0)
    odds = np.asarray(before) / (1 - np.asarray(before)) * np.exp(sum(parts.values()))
    said = {**counts, "media_error_count": media_error_count, "wear_ratio": wear_ratio}
    return Judged(np.where(known, odds / (1 + odds), np.nan), parts, said)


def _log1p(count: Floats) -> Floats:
    return np.asarray(np.log1p(np.maximum(np.nan_to_num(count), 0.0)), dtype=np.float64)


def lead_s(hazard: float) -> float:
    """How long before its end a disk with this hazard was, in the median of those of the record that failed."""
    return next(days for least, days in _LEADS if hazard >= least) * 86400.0
