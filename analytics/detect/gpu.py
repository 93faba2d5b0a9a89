"""Which GPU is about to fail: what its XIDs, memory errors, links and brakes say, added up as evidence to a hazard.

Before any evidence a GPU fails about 0.09 times a year (220 of 16,384 in 54 days: Llama 3, 2024, GPUs and HBM); older ones more
often (``age_factor``). Evidence adds to the log odds of a failure within ``HORIZON_S``. The weights are graded after NVIDIA's
XID catalogue (docs.nvidia.com/deploy/xid-errors: what asks for a restart of the application, a reset of the GPU, or a look by
the vendor) and after field studies (Delta, arXiv 2503.11901: uncorrectable memory and GSP errors; Calchas, ATC'24: corrected
errors alone say little). They are not fitted: no public record joins these signals with outcomes; the outcome log corrects
them.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from twin.frame import Floats
from twin.site import Bools

PER_YEAR = 0.09
HORIZON_S = 7 * 86400.0
_YEAR_S = 365.25 * 86400.0
LIMIT = 0.05  # hazard from which it is a finding
# XID -> (weight in log odds, what it is, what to do)
XIDS: Mapping[int, tuple[float, str, str]] = MappingProxyType(
    {
        13: (3.5, "graphics engine exception, mostly of the application", "watch"),
        31: (3.5, "memory page fault, mostly of the application", "watch"),
        43: (3.5, "stopped processing, mostly of the application", "watch"),
        45: (3.5, "preemptive clean-up after another error", "watch"),
        48: (6.0, "double-bit memory error", "reset"),
        62: (6.0, "internal micro-controller halt", "reset"),
        63: (4.5, "memory row remapped", "drain"),
        64: (7.0, "memory row could not be remapped", "replace"),
        74: (5.5, "NVLink error", "inspect"),
        79: (9.0, "fallen off the bus", "replace"),
        92: (4.0, "high rate of corrected memory errors", "drain"),
        94: (5.0, "contained memory error", "reset"),
        95: (7.0, "uncontained memory error", "reset"),
        119: (6.0, "GSP does not answer", "reset"),
        120: (6.0, "GSP error", "reset"),
        154: (5.5, "the driver asks for a recovery", "reset"),
    }
)
BRAKES = 0x8 | 0x20 | 0x40 | 0x80  # NVML: HW slowdown, SW thermal, HW thermal, HW power brake


def age_factor(age_years: Floats) -> Floats:
    """How much more often than in the middle of its life: infancy and wear, after the epidemics on Titan (Ostrouchov et al.,
    SC20: off-the-bus failures rose from the third year on)."""
    return np.where(age_years < 0.25, 1.8, 1.0) * np.exp(0.25 * np.maximum(age_years - 3.0, 0.0))


def before(age_s: Floats) -> Floats:
    """float64[n]: probability of a failure within ``HORIZON_S`` without any evidence, by age alone; an unknown age (NaN) is
    taken for the middle of life."""
    age_years = np.nan_to_num(age_s / _YEAR_S, nan=1.0)
    return PER_YEAR * age_factor(age_years) * HORIZON_S / _YEAR_S


def hazard(
    xid: Floats,
    remapped: Floats,
    remap_failed: Floats,
    corrected: Floats,
    uncorrected: Floats,
    nvlink: Floats,
    replays: Floats,
    brake_frac: Floats,
    past: Floats,
    before: Floats,
    shift: Mapping[int, float] = MappingProxyType({}),
) -> Floats:
    """float64[n]: probability of a failure within ``HORIZON_S``. ``xid``: the last code, 0 or NaN for none; ``remap_failed``:
    0 or 1; counters as what they grew by within a day; ``brake_frac``: share of the time braked; ``past``: earlier exclusions
    of the GPU or its node (a lemon stays one); ``before``: probability without any evidence; ``shift``: XID -> what outcomes
    taught, added to its weight (0: to evidence that is no XID)."""
    weight = np.zeros(len(xid))
    for code, (gain, _, _) in XIDS.items():
        weight += np.where(xid == code, gain + shift.get(code, 0.0), 0.0)
    weight += np.where(np.isfinite(xid) & (xid > 0) & ~np.isin(xid, list(XIDS)), 2.0, 0.0)
    weight += 2.0 * np.log1p(np.nan_to_num(remapped)) + 7.0 * np.nan_to_num(remap_failed)
    weight += 0.4 * np.log1p(np.nan_to_num(corrected)) + 2.5 * np.log1p(np.nan_to_num(uncorrected))
    weight += 0.6 * np.log1p(np.nan_to_num(nvlink)) + 0.3 * np.log1p(np.nan_to_num(replays))
    weight += 2.0 * np.clip(np.nan_to_num(brake_frac), 0.0, 1.0) + 1.2 * np.log1p(np.nan_to_num(past))
    weight += np.where((weight > 0) & ~np.isin(xid, list(XIDS)), shift.get(0, 0.0), 0.0)
    odds = before / (1 - before) * np.exp(weight)
    return odds / (1 + odds)


def braked(throttle: Floats) -> Bools:
    """bool[n]: the hardware or heat holds the clock down."""
    return np.asarray((np.nan_to_num(throttle).astype(np.int64) & BRAKES) != 0)
