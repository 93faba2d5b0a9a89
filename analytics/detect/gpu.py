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

from analytics.gpu_health import HEALED_S
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
OF_PROGRAMS = tuple(code for code, (_, _, todo) in XIDS.items() if todo == "watch")
COUNTERS = MappingProxyType(  # -> weight of the log of what it grew by within a day, in log odds
    {
        "remapped_rows_count": 2.0,
        "ecc_corrected_count": 0.4,
        "ecc_uncorrected_count": 2.5,
        "nvlink_error_count": 0.6,
        "pcie_replay_count": 0.3,
    }
)
_OF_LOG = {**COUNTERS, "past": 1.2}
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


class Xids:
    """The last XID of each of n GPUs while it is evidence. A driver shows it until it is loaded anew, so one that blames a
    program (``OF_PROGRAMS``) is over when the GPU works ``HEALED_S`` after it struck, and one that stood there when we came is
    none."""

    def __init__(self, n: int) -> None:
        self.code: Floats = np.full(n, np.nan)  # the last that was read, 0 where it is over
        self._shown, self._struck_s = np.full(n, np.nan), np.full(n, np.nan)

    def update(self, shown: Floats, works: Bools, now_s: float) -> None:
        """``shown``: float64[n], NaN where nothing is read; ``works``: it does work now."""
        known = np.isfinite(shown)
        changed = known & (shown != self._shown)
        ours = ~np.isin(shown, OF_PROGRAMS)
        self.code = np.where(changed, np.where(ours | np.isfinite(self._shown), shown, 0.0), self.code)
        self._struck_s = np.where(changed, now_s, np.minimum(self._struck_s, now_s))
        self._shown = np.where(known, shown, self._shown)
        self.code = np.where(~ours & works & (now_s - self._struck_s >= HEALED_S), 0.0, self.code)


def weigh(amounts: Mapping[str, Floats], shift: Mapping[int, float] = MappingProxyType({})) -> dict[str, Floats]:
    """Kind of evidence (``REASONS``) -> float64[n], what it adds in log odds; ``""``: what outcomes taught of all that is no
    XID. ``amounts``: kind of evidence -> float64[n], NaN for none: the last XID (0: none); what counters grew by within a day;
    0 or 1 for a failed remap; share of the time braked; ``past``: earlier exclusions of the GPU (a lemon stays one).
    ``shift``: XID -> what outcomes taught, added to its weight (0: to evidence that is no XID)."""
    xid = amounts["xid_code"]
    of_xid = np.where(np.isfinite(xid) & (xid > 0), 2.0, 0.0)
    for code, (gain, _, _) in XIDS.items():
        of_xid = np.where(xid == code, gain + shift.get(code, 0.0), of_xid)
    weights = {"xid_code": of_xid}
    weights |= {name: factor * np.log1p(np.nan_to_num(amounts[name])) for name, factor in _OF_LOG.items()}
    weights["row_remap_failure_flag"] = 7.0 * np.nan_to_num(amounts["row_remap_failure_flag"])
    weights["throttle_code"] = 2.0 * np.clip(np.nan_to_num(amounts["throttle_code"]), 0.0, 1.0)
    weights[""] = np.where((sum(weights.values()) > 0) & ~np.isin(xid, list(XIDS)), shift.get(0, 0.0), 0.0)
    return weights


def hazard(weights: Mapping[str, Floats], before: Floats) -> Floats:
    """float64[n]: probability of a failure within ``HORIZON_S``; ``before``: without any evidence."""
    odds = before / (1 - before) * np.exp(sum(weights.values()))
    return np.asarray(odds / (1 + odds))


OFTEN = "GPUs of its age and model fail that often"  # where nothing else speaks against it
# kind of evidence -> (what to say of its ``amount``, what to do)
REASONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "xid_code": ("XID {amount:.0f}", "drain"),
        **{name: (name + " grew by {amount:.0f} within a day", "drain") for name in COUNTERS},
        "row_remap_failure_flag": ("a memory row could not be remapped", "replace"),
        "throttle_code": ("hardware or heat held its clock down for {percent:.0f} % of the last day", "drain"),
        "past": ("it or its node was taken out {amount:.0f} times before", "drain"),
    }
)


def why(weights: Mapping[str, Floats], amounts: Mapping[str, Floats], row: int) -> tuple[str, str, int]:
    """The strongest reason for a GPU's hazard, what to do about it, and the XID that it is (0: none). ``amounts``: kind of
    evidence -> float64[n], how much of it there is."""
    name = max(REASONS, key=lambda name: float(weights[name][row]))
    if weights[name][row] <= 0:
        return OFTEN, "drain", 0
    text, todo = REASONS[name]
    amount = float(amounts[name][row])
    code = int(amount) if name == "xid_code" else 0
    if code in XIDS:
        _, what, todo = XIDS[code]
        return f"XID {code}, {what}", todo, code
    return text.format(amount=amount, percent=100 * amount), todo, code


def braked(throttle: Floats) -> Bools:
    """bool[n]: the hardware or heat holds the clock down."""
    return np.asarray((np.nan_to_num(throttle).astype(np.int64) & BRAKES) != 0)
