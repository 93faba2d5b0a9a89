"""What a meter read, shared among those who caused it, so that the parts sum to it again.

The rule: in each step a GPU's own energy goes to the run that holds it, for the seconds that it holds it; where several hold it
they share alike. All else that the centre took in then (processors, network, cooling, losses) follows the energy of the GPUs.
What GPUs draw that nobody holds is *idle*; steps in which the meter read something and no GPU did are *unseen*.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from energy.account.runs import Runs
from twin.frame import Floats, Ints
from twin.site import Bools

TOLERANCE = 1e-9
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Holds:
    """Columns over m stretches in which one run holds one GPU: ``gpu``, ``run`` int32[m]; ``begin_s``, ``end_s``, and ``share``
    (float64[m], 1 where it holds it alone). On one GPU the parts of any moment sum to 1 at most."""

    gpu: Ints
    run: Ints
    begin_s: Floats
    end_s: Floats
    share: Floats


def holds_of(runs: Runs, begin_s: float, end_s: float) -> Holds:
    """The runs' holds within ``[begin_s, end_s)``, with those that overlap on a GPU cut at each other's edges."""
    begin = np.maximum(runs.start_s[runs.run_of], begin_s)
    end = np.minimum(runs.end_s[runs.run_of], end_s)
    kept = end > begin
    gpu, run, begin, end = runs.gpu[kept], runs.run_of[kept], begin[kept], end[kept]
    order = np.lexsort((begin, gpu))
    gpu, run, begin, end = gpu[order], run[order], begin[order], end[order]
    clash = np.flatnonzero((gpu[1:] == gpu[:-1]) & (begin[1:] < end[:-1]))
    crowded = np.isin(gpu, np.unique(gpu[clash]))
    alone = Holds(gpu[~crowded], run[~crowded], begin[~crowded], end[~crowded], np.ones(int((~crowded).sum())))
    if not crowded.any():
        return alone
    cut = [alone]
    for one in np.unique(gpu[crowded]).tolist():
        mine = np.arange(np.searchsorted(gpu, one), np.searchsorted(gpu, one, side="right"))  # they are in order
        edges = np.unique(np.concatenate([begin[mine], end[mine]]))
        inside = (begin[mine] <= edges[:-1, None]) & (end[mine] >= edges[1:, None])
        piece, who = np.nonzero(inside)
        part = 1.0 / inside.sum(axis=1)[piece]
        cut.append(Holds(np.full(len(piece), one, dtype=np.int32), run[mine[who]], edges[piece], edges[piece + 1], part))
    names = ("gpu", "run", "begin_s", "end_s", "share")
    return Holds(*(np.concatenate([getattr(one, name) for one in cut]) for name in names))


@dataclass(eq=False)
class Shares:
    """Sums that grow step by step. ``runs``: float64[n, q] for n runs and q quantities; ``idle``, ``unseen``: float64[q];
    ``gone_s``: float64[n], GPU seconds on GPUs that the site has no more; ``gpu_s``: float64[n], these and all others;
    ``idle_gpu_s``: GPU seconds in which a GPU was read and nobody held it."""

    holds: Holds
    runs: Floats
    idle: Floats
    unseen: Floats
    gone_s: Floats
    gpu_s: Floats = field(init=False)
    idle_gpu_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        seconds = self.holds.share * (self.holds.end_s - self.holds.begin_s)
        self.gpu_s = np.bincount(self.holds.run, seconds, len(self.runs)) + self.gone_s

    def only(self, mine: Bools) -> "Shares":
        """Of the runs ``mine`` (bool[n]) alone: nothing idle, nothing unseen."""
        new, kept, old = np.cumsum(mine) - 1, mine[self.holds.run], self.holds
        run = new[old.run[kept]].astype(np.int32)
        holds = Holds(old.gpu[kept], run, old.begin_s[kept], old.end_s[kept], old.share[kept])
        return Shares(holds, self.runs[mine], np.zeros_like(self.idle), np.zeros_like(self.unseen), self.gone_s[mine])

    def add(self, begin_s: float, step_s: float, gpu_w: Floats, values: Floats) -> None:
        """``gpu_w``: float64[t, g] of all GPUs in steps from ``begin_s`` on, NaN where not read; ``values``: float64[t, q],
        what the meter's quantities are in each step (0 where nothing is known)."""
        power = np.nan_to_num(gpu_w)
        total = power.sum(axis=1)
        lit = total > 0
        self.unseen += values[~lit].sum(axis=0)
        share = power / np.where(lit, total, 1.0)[:, None]
        near = (self.holds.begin_s < begin_s + len(power) * step_s) & (self.holds.end_s > begin_s)
        mine = Holds(*(getattr(self.holds, name)[near] for name in ("gpu", "run", "begin_s", "end_s", "share")))
        for q in range(values.shape[1]):
            flow = share * np.where(lit, values[:, q], 0.0)[:, None]
            got = amounts(mine, begin_s, step_s, flow)
            self.runs[:, q] += np.bincount(mine.run, weights=got, minlength=len(self.runs))
            self.idle[q] += float(flow.sum() - got.sum())
        read_s = step_s * np.isfinite(gpu_w)
        self.idle_gpu_s += max(float(read_s.sum() - amounts(mine, begin_s, step_s, read_s).sum()), 0.0)


def amounts(holds: Holds, begin_s: float, step_s: float, values: Floats) -> Floats:
    """float64[m]: what each hold took of ``values`` (float64[t, g], of each GPU in steps from ``begin_s`` on); within a step
    evenly."""
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    begin, end = (np.clip((edge - begin_s) / step_s, 0.0, float(len(values))) for edge in (holds.begin_s, holds.end_s))
    return np.asarray((_until(sums, values, end, holds.gpu) - _until(sums, values, begin, holds.gpu)) * holds.share)


def begin_shares(runs: Runs, begin_s: float, end_s: float, quantities: int) -> Shares:
    """Nothing shared yet."""
    zero = np.zeros(quantities)
    gone_s = gone_seconds(runs, begin_s, end_s)
    return Shares(holds_of(runs, begin_s, end_s), np.zeros((len(runs), quantities)), zero, zero.copy(), gone_s)


def gone_seconds(runs: Runs, begin_s: float, end_s: float) -> Floats:
    """float64[n]: GPU seconds within ``[begin_s, end_s)`` that each run held GPUs which the site has no more."""
    if runs.gone is None:
        return np.zeros(len(runs))
    return np.asarray(runs.gone * np.clip(np.minimum(runs.end_s, end_s) - np.maximum(runs.start_s, begin_s), 0.0, None))


def _until(sums: Floats, flow: Floats, edge: Floats, gpu: Ints) -> Floats:
    """What flowed into ``gpu`` until ``edge`` (in steps); within a step evenly."""
    step = np.minimum(edge.astype(np.intp), len(flow) - 1)
    return np.asarray(sums[step, gpu] + (edge - step) * flow[step, gpu])
