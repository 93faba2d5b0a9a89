"""How soon a fault of the recorded pump loop can be seen at all: what stands beside the delay of ``shift``.

Two peers that are no detectors: a second, fast rule beside ``shift`` with the best of ``SETTINGS`` settings, and models that
were told the faults of the other runs. Their limits are those that did best on the very runs that judge them, so they say how
soon limits from a calibration could at most be crossed, not what can be had.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analytics.detect.judge import Events, Run, summed
from twin.frame import Floats
from twin.site import Bools

SHORT, LONG = (1, 2, 4, 8), (20, 40, 80, 120)  # rows of the mean now, and of that before it
MARGINS = tuple(np.geomspace(0.7, 3.0, 10).tolist())  # of the highest in the calibration: the limit
HOLDS = (1, 2, 3, 5, 8, 12)  # rows in a run above it
SETTINGS = len(SHORT) * len(LONG) * len(MARGINS) * len(HOLDS)
TAUGHT_SHARES = tuple(np.geomspace(0.6, 2e-3, 60).tolist())  # of rows above the limits that are tried
TAUGHT_HOLDS = (1, 3, 5, 8)
SPANS, BEFORE = (1, 5, 15, 30), 60  # rows of the means that a taught model sees, and of that before them
MOST_FALSE_AN_HOUR = 1.0
_SEED = 1

Judge = Callable[[Run, Bools], Events]  # of one run, given its alarms


def two_speeds(runs: Sequence[Run], own: Sequence[Bools], learn: int, judge: Judge) -> Events | None:
    """The soonest of ``own`` alarms (bool[n] a run) with a rule for quick changes beside them; see ``soonest``."""

    def tried() -> Iterator[list[Bools]]:
        for short, long in product(SHORT, LONG):
            scores = [_jump(values, short, long, learn) for _, values, _ in runs]
            for margin, hold in product(MARGINS, HOLDS):
                quick = [in_a_run(score > margin * score[short + long : learn].max(), hold) for score in scores]
                for alarm in quick:
                    alarm[:learn] = False
                yield [alarm | mine for alarm, mine in zip(quick, own, strict=True)]

    return soonest(runs, own, judge, tried())


def taught(runs: Sequence[Run], own: Sequence[Bools], learn: int, judge: Judge, trees: bool) -> Events | None:
    """The soonest of what a model says that learnt the faults of all other runs, boosted ``trees`` or a logistic regression."""
    seen = [_means(values, learn)[learn:] for _, values, _ in runs]
    truth = [run[2][learn:] for run in runs]
    said = []
    for i in range(len(runs)):
        others = [k for k in range(len(runs)) if k != i]
        model = (
            HistGradientBoostingClassifier(max_iter=100, random_state=_SEED)
            if trees
            else make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        )
        model.fit(np.vstack([seen[k] for k in others]), np.concatenate([truth[k] for k in others]))
        said.append(np.concatenate([np.zeros(learn), model.predict_proba(seen[i])[:, 1]]))
    every = np.concatenate([one[learn:] for one in said])

    def tried() -> Iterator[list[Bools]]:
        for limit, hold in product(np.quantile(every, 1 - np.array(TAUGHT_SHARES)).tolist(), TAUGHT_HOLDS):
            yield [in_a_run(one > limit, hold) for one in said]

    return soonest(runs, own, judge, tried())


def soonest(runs: Sequence[Run], own: Sequence[Bools], judge: Judge, tried: Iterator[Sequence[Bools]]) -> Events | None:
    """Of the alarms ``tried``, the events of those with the smallest median delay among all that find as many as ``own`` with
    at most ``MOST_FALSE_AN_HOUR``; None where none does."""
    least = summed([judge(run, alarm) for run, alarm in zip(runs, own, strict=True)]).found
    best: Events | None = None
    for alarms in tried:
        made = summed([judge(run, alarm) for run, alarm in zip(runs, alarms, strict=True)])
        if made.found < least or made.false_per(3600.0) > MOST_FALSE_AN_HOUR:
            continue
        if best is None or np.median(made.delay_s) < np.median(best.delay_s):
            best = made
    return best


def in_a_run(above: Bools, rows: int) -> Bools:
    """bool[n]: where so many rows in a run, this the last, are ``above``."""
    return np.asarray(np.convolve(above, np.ones(rows), "full")[: len(above)] >= rows - 0.5)


def _jump(values: Floats, short: int, long: int, learn: int) -> Floats:
    """float64[n]: how far the mean of the last ``short`` rows lies off that of the ``long`` before, in spreads of that in the
    calibration; the column that does most. 0 before there are so many rows."""
    apart = _apart(values, short, long)
    spread = np.maximum(apart[short + long : learn].std(axis=0), 1e-9)
    return np.asarray(np.abs(apart / spread).max(axis=1))


def _apart(values: Floats, short: int, long: int) -> Floats:
    """float64[n, m]: the mean of the last ``short`` rows less that of the ``long`` before them; 0 where there are too few."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    out = np.zeros(values.shape)
    end = np.arange(short + long, len(values) + 1)
    now = (sums[end] - sums[end - short]) / short
    out[end - 1] = now - (sums[end - short] - sums[end - short - long]) / long
    return out


def _means(values: Floats, learn: int) -> Floats:
    """float64[n, k]: what a taught model sees of each row: means of the last rows in spreads of the calibration, and the same
    held against the minute before."""
    z = (values - values[:learn].mean(axis=0)) / np.maximum(values[:learn].std(axis=0), 1e-9)
    sums = np.concatenate([np.zeros((1, z.shape[1])), np.cumsum(z, axis=0)])
    end = np.arange(1, len(z) + 1)
    columns = []
    for span in SPANS:
        start = np.maximum(end - span, 0)
        columns += [(sums[end] - sums[start]) / (end - start)[:, None], _apart(z, span, BEFORE)]
    return np.hstack(columns)
