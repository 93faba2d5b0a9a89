"""Proof of delivery: what the meter showed beside a stated baseline, minute by minute.

The baseline is the mean of the hour before the first order ("meter before / meter after", NAESB WEQ-015).
"""

from dataclasses import dataclass

import numpy as np

from twin.frame import Floats

SHORT_FRAC = 0.01
QUARTER_S = 900.0
AFTER_S = 3600.0  # of what is looked at for a rebound
RESTORED_FRAC = 0.95


@dataclass(frozen=True, slots=True)
class Proof:
    """``cut_kwh`` below the baseline and ``asked_kwh``; ``mean_cut_frac``, ``worst_cut_frac``: of the baseline, over the steps
    of the event; ``worst_short_frac``: most that a step stood above its target, over the target (over the baseline, where that
    is 0 W); ``short_steps``: steps over it by more than ``SHORT_FRAC`` of the target; ``in_place_s``: from the first order to
    the first step that meets the target (NaN: none); ``rebound_frac``: highest quarter of an hour (what demand is billed by) in
    the hour after, over that in the hour before, less 1; ``restore_s``: until 95 % of the baseline was back;
    ``coverage_frac``: share of the event's steps that the meter was read in: the others count neither way."""

    baseline: str
    cut_kwh: float
    asked_kwh: float
    mean_cut_frac: float
    worst_cut_frac: float
    worst_short_frac: float
    short_steps: int
    in_place_s: float
    rebound_frac: float
    restore_s: float
    coverage_frac: float


def before(time_s: Floats, power_w: Floats, ordered_s: float, over_s: float = 3600.0) -> float:
    """Mean power [W] over ``over_s`` before ``ordered_s``, NaN where nothing was read."""
    mine = (time_s >= ordered_s - over_s) & (time_s < ordered_s) & np.isfinite(power_w)
    return float(power_w[mine].mean()) if mine.any() else float("nan")


def prove(
    time_s: Floats,
    power_w: Floats,
    target_w: Floats,
    baseline_w: Floats | float,
    ordered_s: float,
    says: str,
    usual_s: float | None = None,
) -> Proof:
    """Judge ``power_w`` (float64[t], NaN where not read) against ``target_w`` (infinity where nothing is asked). Where other
    requests had been answered before ``ordered_s``, the hour before ``usual_s`` is what is usual."""
    step_s = float(np.median(np.diff(time_s)))
    base = np.broadcast_to(np.asarray(baseline_w, dtype=np.float64), time_s.shape)
    event = np.isfinite(target_w)
    seen = event & np.isfinite(power_w) & np.isfinite(base)
    if not seen.any():
        raise ValueError("the meter was never read while the request lasted; nothing can be proven")
    cut_w, allowed_w = base - power_w, target_w * (1 + SHORT_FRAC)
    over = (power_w - target_w)[seen] / np.where(target_w > 0, target_w, base)[seen]
    last_s = float(time_s[event][-1]) + step_s
    held = np.flatnonzero((time_s >= ordered_s) & (time_s < last_s) & np.isfinite(power_w))
    goal = float(target_w[event][0])
    good = power_w[held] <= np.where(event[held], target_w[held], goal) * (1 + SHORT_FRAC)
    first = np.flatnonzero(good)
    in_place = float(time_s[held[first[0]]]) - ordered_s if len(first) else float("nan")
    after = (time_s >= last_s) & (time_s < last_s + AFTER_S) & np.isfinite(power_w)
    since_s = ordered_s if usual_s is None else usual_s
    usual = (time_s >= since_s - AFTER_S) & (time_s < since_s) & np.isfinite(power_w)
    highest_w = _highest(power_w[usual], step_s) if usual.any() else float(base[seen].max())
    back = np.flatnonzero(after & (power_w >= RESTORED_FRAC * base))
    return Proof(
        baseline=says,
        cut_kwh=float(cut_w[seen].sum()) * step_s / 3.6e6,
        asked_kwh=float((base - target_w)[seen].sum()) * step_s / 3.6e6,
        mean_cut_frac=float(cut_w[seen].sum() / base[seen].sum()),
        worst_cut_frac=float((cut_w / base)[seen].min()),
        worst_short_frac=max(float(over.max()), 0.0),
        short_steps=int((power_w > allowed_w)[seen].sum()),
        in_place_s=in_place,
        rebound_frac=max(_highest(power_w[after], step_s) / highest_w - 1, 0.0) if after.any() else float("nan"),
        restore_s=float(time_s[back[0]]) - last_s if len(back) else float("nan"),
        coverage_frac=float(seen.sum() / event.sum()),
    )


def _highest(power_w: Floats, step_s: float) -> float:
    """Highest mean of a quarter of an hour [W], of all where there is less."""
    width = min(max(round(QUARTER_S / step_s), 1), len(power_w))
    sums = np.concatenate(([0.0], np.cumsum(power_w)))
    return float((sums[width:] - sums[:-width]).max()) / width
