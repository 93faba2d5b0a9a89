"""What a meter read, shared among those who caused it, so that the parts sum to it again.

The rule: in each step a GPU's own energy goes to the run that holds it, for the seconds that it holds it; where several hold it
they share alike. Of a step in which an interval begins or ends, what lies in the interval is the whole. All else that the
centre took in then (processors, network, cooling, losses) follows the energy of the GPUs. What GPUs draw that nobody holds is
*idle*. A GPU that a run holds and that is not read draws something none the less: it counts as the mean of those that are known
while they are held, so that no one else pays for it. Steps of which nothing says who took what, for no GPU is known, or none of
those that are held, are *unseen*.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from energy.account.runs import Runs
from twin.frame import Floats, Ints
from twin.site import Bools

TOLERANCE = 1e-9
LEAST_HELD = 1e-9  # of a step: what lies below is how sums were rounded
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

    def only(self, kept: Bools) -> "Holds":
        """Those that ``kept`` (bool[m]) names."""
        return Holds(self.gpu[kept], self.run[kept], self.begin_s[kept], self.end_s[kept], self.share[kept])

    def of(self, mine: Bools) -> "Holds":
        """Those of the runs ``mine`` (bool[n]), counted anew among these. Who else holds a GPU with them has a part of it."""
        own = self.only(mine[self.run])
        return replace(own, run=(np.cumsum(mine) - 1)[own.run].astype(np.int32))


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
    """Sums that grow step by step. ``holds``: ``stretched`` over the steps; ``runs``: float64[n, q] for n runs and q
    quantities; ``idle``, ``unseen``: float64[q]; ``gpu_s``: float64[n], GPU seconds held, with those on GPUs that the site has
    no more; ``unread_s``: float64[n], of these those that got their part though no meter read the GPU; ``idle_gpu_s``: GPU
    seconds in which a GPU's power is known and nobody held it."""

    holds: Holds
    runs: Floats
    idle: Floats
    unseen: Floats
    gpu_s: Floats
    unread_s: Floats = field(init=False)
    idle_gpu_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.unread_s = np.zeros(len(self.runs))

    def only(self, mine: Bools) -> "Shares":
        """Of the runs ``mine`` (bool[n]) alone: nothing idle, nothing unseen."""
        nothing = np.zeros_like(self.idle)
        made = Shares(self.holds.of(mine), self.runs[mine], nothing, nothing.copy(), self.gpu_s[mine])
        made.unread_s = self.unread_s[mine]
        return made

    def add(
        self, begin_s: float, step_s: float, gpu_w: Floats, measured: Bools, values: Floats, inside_s: Floats, read_s: Floats
    ) -> None:
        """``gpu_w``: float64[t, g] of all GPUs in steps from ``begin_s`` on, NaN where not known; ``measured``: bool[t, g],
        where a meter says so; ``values``: float64[t, q], what the meter's quantities are in each step (0 where nothing is
        known); ``inside_s``, ``read_s``: float64[t], time of each step that lies in the interval, and that was read of it."""
        near = (self.holds.begin_s < begin_s + len(gpu_w) * step_s) & (self.holds.end_s > begin_s)
        mine = self.holds.only(near)
        known = np.isfinite(gpu_w)
        power, total = drawn(gpu_w, mine, begin_s, step_s)
        lit = total > 0
        self.unseen += values[~lit].sum(axis=0)
        share = power / np.where(lit, total, 1.0)[:, None]
        for q in range(values.shape[1]):
            shared = np.where(lit, values[:, q], 0.0)
            got = amounts(mine, begin_s, step_s, share * shared[:, None])
            self.runs[:, q] += np.bincount(mine.run, weights=got, minlength=len(self.runs))
            self.idle[q] += float(shared.sum() - got.sum())
        if not measured.all():
            unread_s = np.where(measured, 0.0, np.where(lit & values.any(axis=1), inside_s, 0.0)[:, None])
            self.unread_s += np.bincount(mine.run, amounts(mine, begin_s, step_s, unread_s), len(self.runs))
        known_s = np.where(known, read_s[:, None], 0.0)
        self.idle_gpu_s += max(float(known_s.sum() - amounts(mine, begin_s, step_s, known_s).sum()), 0.0)


def drawn(gpu_w: Floats, holds: Holds, begin_s: float, step_s: float) -> tuple[Floats, Floats]:
    """(float64[t, g], what each GPU drew; float64[t], what all drew together, which each step is shared by), from ``gpu_w``
    (float64[t, g] in steps from ``begin_s`` on, NaN where not known) and all ``holds``.

    One that is held and not known counts, for as long as it is held, as the mean of those that are known while they are held.
    Where none of those is known either, nothing says who took what, and both are 0."""
    known = np.isfinite(gpu_w)
    power = np.where(known, np.maximum(gpu_w, 0.0), 0.0)
    total = power.sum(axis=1)
    if known.all() or not len(holds.gpu):
        return power, total
    held = covered(holds, begin_s, step_s, *gpu_w.shape)
    held[held < LEAST_HELD] = 0.0
    seen, missing = (np.where(which, held, 0.0).sum(axis=1) for which in (known, ~known))
    mean = np.divide((power * held).sum(axis=1), seen, out=np.zeros(len(power)), where=seen > 0)
    dark = (missing > 0) & (seen == 0)
    power = np.where(~known & (held > 0), mean[:, None], power)
    power[dark] = 0.0
    return power, np.where(dark, 0.0, total + mean * missing)


def covered(holds: Holds, begin_s: float, step_s: float, steps: int, gpus: int) -> Floats:
    """float64[steps, gpus]: for how much of each step each GPU was held by ``holds``."""
    cover: Floats = np.zeros((steps + 1, gpus))
    rise: Floats = np.zeros((steps + 2, gpus))
    a, z = (np.clip((edge - begin_s) / step_s, 0.0, float(steps)) for edge in (holds.begin_s, holds.end_s))
    first, last = a.astype(np.intp), z.astype(np.intp)
    np.add.at(cover, (first, holds.gpu), -(a - first) * holds.share)  # from the first step's beginning, less what came before
    np.add.at(cover, (last, holds.gpu), (z - last) * holds.share)
    np.add.at(rise, (first, holds.gpu), holds.share)
    np.add.at(rise, (last, holds.gpu), -holds.share)
    return np.asarray((cover + np.cumsum(rise, axis=0)[:-1])[:steps])


def amounts(holds: Holds, begin_s: float, step_s: float, values: Floats) -> Floats:
    """float64[m]: what each hold took of ``values`` (float64[t, g], of each GPU in steps from ``begin_s`` on); within a step
    evenly."""
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    begin, end = (np.clip((edge - begin_s) / step_s, 0.0, float(len(values))) for edge in (holds.begin_s, holds.end_s))
    return np.asarray((_until(sums, values, end, holds.gpu) - _until(sums, values, begin, holds.gpu)) * holds.share)


def begin_shares(
    runs: Runs, start_s: float, end_s: float, quantities: int, time_s: Floats | None = None, step_s: float = 0.0
) -> Shares:
    """Nothing shared yet of ``[start_s, end_s)`` in steps of ``step_s`` that begin at ``time_s`` (None: none reaches out of
    it)."""
    holds = holds_of(runs, start_s, end_s)
    held_s = np.bincount(holds.run, holds.share * (holds.end_s - holds.begin_s), len(runs))
    spread = holds if time_s is None else stretched(holds, start_s, end_s, time_s, step_s)
    zero = np.zeros(quantities)
    gpu_s = held_s + gone_seconds(runs, start_s, end_s)
    return Shares(spread, np.zeros((len(runs), quantities)), zero, zero.copy(), gpu_s)


def stretched(holds: Holds, start_s: float, end_s: float, time_s: Floats, step_s: float) -> Holds:
    """``holds`` within ``[start_s, end_s)``, as if the interval began and ended where the first and the last of the steps do
    that begin at ``time_s``: the energy of a step that lies in it in part is that of the part alone."""
    whole = np.append(time_s, time_s[-1] + step_s)
    inside = np.clip(whole, start_s, end_s)
    if np.array_equal(whole, inside):
        return holds
    begin_s, over_s = (np.interp(edge, inside, whole) for edge in (holds.begin_s, holds.end_s))
    return replace(holds, begin_s=begin_s, end_s=over_s)


def gone_seconds(runs: Runs, begin_s: float, end_s: float) -> Floats:
    """float64[n]: GPU seconds within ``[begin_s, end_s)`` that each run held GPUs which the site has no more."""
    if runs.gone is None:
        return np.zeros(len(runs))
    return np.asarray(runs.gone * np.clip(np.minimum(runs.end_s, end_s) - np.maximum(runs.start_s, begin_s), 0.0, None))


def _until(sums: Floats, flow: Floats, edge: Floats, gpu: Ints) -> Floats:
    """What flowed into ``gpu`` until ``edge`` (in steps); within a step evenly."""
    step = np.minimum(edge.astype(np.intp), len(flow) - 1)
    return np.asarray(sums[step, gpu] + (edge - step) * flow[step, gpu])
