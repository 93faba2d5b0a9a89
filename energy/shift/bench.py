"""What shifting saves on recorded grids and prices, from their past alone, beside perfect foresight and naive forecasts.

Jobs after Wiesner et al., "Let's Wait Awhile" (Middleware 2021): one of an hour at 01:00 that may move 8 hours either way, and
training of 4 to 90 hours that arrives on workdays from 9 to 17 and is due the Monday or Thursday 09:00 after it would be done.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from analytics.signal import hindcast
from energy.place.bench import place_figures
from energy.shift import Work, solve
from energy.shift.bench_fair import fair_figures
from energy.shift.bench_price import price_figures, read_recording
from energy.shift.bench_work import random_work
from energy.shift.peak import Peak, solve_peak
from energy.shift.rolling import Past, Replayed, replay
from twin.errors import ConfigError, Problem
from twin.frame import Floats, Ints

DAY = 24
FIRST_DAY = 46  # the first job: so much past the regression wants
ARRIVALS = 2.0  # training jobs a workday
# standard time of each grid [h of UTC]
GRIDS: Mapping[str, int] = {"CISO": -8, "ERCO": -6, "NYIS": -5, "PJM": -5}
CAPPED_DAYS = (150, 180)  # June


def bench(folder: Path, rng: np.random.Generator, clock: Callable[[], float]) -> dict[str, Any]:
    """Figures of shifting as ``icctwin bench plan`` prints them; ``folder`` holds the recorded ``carbon`` and ``price``.
    ``clock`` counts the seconds of processor time. ``ConfigError`` where a recording cannot be read."""
    figures: dict[str, float] = {}
    against: dict[str, float] = {}
    saved, ceiling, naive, missed = [], [], [], 0
    truths: dict[str, tuple[Floats, int]] = {}
    for grid, zone_h in GRIDS.items():
        truth = _carbon(folder / "carbon" / f"{grid}-2022-hourly.csv")
        for name, work, nominal in _protocols(len(truth), zone_h, rng):
            horizon = int(min((work.due - work.earliest).max(), 7 * DAY))
            done = replay(work, Past(truth, hindcast(truth, DAY, horizon), DAY), nominal=nominal)
            mean = replay(work, _Untrained.past(truth, horizon), nominal=nominal)
            best = 1 - _ceiling(work, truth) / done.cost_at_once
            figures |= {f"{grid}_{name}_saved_frac": done.saved_frac, f"{grid}_{name}_oracle_saved_frac": best}
            against[f"{grid}_{name}_seven_day_mean_saved_frac"] = mean.saved_frac
            saved.append(done.saved_frac)
            ceiling.append(best)
            naive.append(mean.saved_frac)
            missed += _missed(work, done)
        figures |= _capped(grid, truth, zone_h, rng)
        truths[grid] = (truth, zone_h)
    figures |= {"carbon_saved_frac": float(np.mean(saved)), "least_saved_frac": min(saved), "deadlines_missed": missed}
    figures["oracle_saved_frac"] = float(np.mean(ceiling))
    against["seven_day_mean_saved_frac"] = float(np.mean(naive))
    figures |= price_figures(folder / "price", against)
    figures |= fair_figures(truths, rng.spawn(1)[0], against)
    figures |= _solves(rng, clock) | _peaks(rng) | place_figures(rng, clock)
    return {"bench": "plan", "figures": figures, "against": against, "conditions": {"grids": list(GRIDS), "year": 2022}}


class _Untrained:
    """The naive forecast: each hour as in the mean of the last seven days, decided once and believed always."""

    @staticmethod
    def past(truth: Floats, horizon: int) -> Past:
        n, lead = len(truth), np.arange(horizon)
        seen = np.full((n, horizon), np.nan)
        at = np.arange(8 * DAY + horizon, n)
        newest = at[:, None] + lead - DAY * (lead // DAY + 1)
        seen[at] = np.mean([truth[newest - DAY * day] for day in range(7)], axis=0)
        return _Believed(truth, seen, DAY)


class _Believed(Past):
    """A past that is always trusted."""

    def shadow(self, begin: int, offset: int, length: int, window: int, interruptible: bool) -> float:
        """As if it always paid."""
        return 1.0

    def course(self, begin: int, window: int) -> Floats:
        """As if it always came so."""
        return np.ones(3)


def _carbon(path: Path) -> Floats:
    rows = read_recording(path)
    try:
        hours = np.array([datetime.fromisoformat(row["timestamp"]).timestamp() / 3600 for row in rows])
        values = np.array([float(row["avg_CI"] or "nan") for row in rows])
    except (KeyError, ValueError) as error:
        raise ConfigError([Problem(str(path), f"is not the recording it should be ({error})")]) from None
    grid = np.arange(round(hours[-1] - hours[0]) + 1)
    known = ~np.isnan(values)
    return np.asarray(np.interp(grid, hours[known] - hours[0], values[known]))  # a few hours are missing


def _protocols(hours: int, zone_h: int, rng: np.random.Generator) -> list[tuple[str, Work, Ints | None]]:
    one = (1 - zone_h) % DAY + DAY * np.arange(FIRST_DAY, hours // DAY - 2)
    ones = np.ones(len(one))
    nightly = Work(ones, ones, _i4(ones), _i4(one - 8), _i4(one + 9), ones < 0)
    training = _training(hours, zone_h, rng, ARRIVALS)
    pausing = Work(*training[:5], interruptible=np.ones(len(training[0]), dtype=np.bool_))
    whole = Work(*training[:5], interruptible=np.zeros(len(training[0]), dtype=np.bool_))
    return [("nightly", nightly, _i4(one)), ("training", whole, None), ("pausing", pausing, None)]


def _training(
    hours: int, zone_h: int, rng: np.random.Generator, a_day: float, days: tuple[int, int] = (FIRST_DAY, 10_000)
) -> tuple[Floats, Floats, Ints, Ints, Ints]:
    """GPUs, power, length, arrival and due hour of training jobs. The recordings begin on a Saturday, in UTC."""
    arrivals, lengths, due = [], [], []
    for day in range(days[0], min(days[1], hours // DAY - 10)):
        if (day + 5) % 7 >= 5:
            continue
        for _ in range(rng.poisson(a_day)):
            arrival = day * DAY + int(rng.integers(9, 17))
            length = round(float(np.exp(rng.uniform(np.log(4), np.log(90)))))
            last = -(-(arrival + length - 9) // DAY)
            while (last + 5) % 7 not in (0, 3):
                last += 1
            arrivals.append(arrival - zone_h)
            lengths.append(length)
            due.append(last * DAY + 9 - zone_h)
    ones = np.ones(len(arrivals))
    return ones, ones, _i4(lengths), _i4(arrivals), _i4(due)


def _i4(values: Any) -> Ints:
    return np.asarray(values, dtype=np.int32)


def _ceiling(work: Work, truth: Floats) -> float:
    """Cost with the whole future known and no limit: each job by itself."""
    total, sums = 0.0, np.concatenate(([0.0], np.cumsum(truth)))
    for j in range(len(work)):
        begin, length, due = int(work.earliest[j]), int(work.length[j]), int(work.due[j])
        if work.interruptible[j]:
            total += float(np.sort(truth[begin:due])[:length].sum())
        else:
            starts = np.arange(begin, due - length + 1)
            total += float((sums[starts + length] - sums[starts]).min())
    return total


def _missed(work: Work, done: Replayed) -> int:
    after = np.arange(done.running.shape[1]) >= work.due[:, None]
    return int((done.running & after).any(axis=1).sum())


def _capped(grid: str, truth: Floats, zone_h: int, rng: np.random.Generator) -> dict[str, float]:
    """A month of denser training under the peak of what runs at once, and under 1.2 times its mean."""
    columns = _training(len(truth), zone_h, rng, 10.0, CAPPED_DAYS)
    past = Past(truth, hindcast(truth, DAY, 7 * DAY), DAY)
    figures: dict[str, float] = {}
    for name, pauses in (("training", False), ("pausing", True)):
        work = Work(*columns, interruptible=np.full(len(columns[0]), pauses))
        t = np.arange(len(truth))
        taken = ((t >= work.earliest[:, None]) & (t < (work.earliest + work.length)[:, None])).sum(axis=0)
        mean = taken[taken > 0].mean()
        for limit, gpus in (("peak", float(taken.max())), ("tight", float(np.ceil(1.2 * mean)))):
            done = replay(work, past, np.full(len(truth), gpus), every=3)
            late = _missed(work, done)
            usual = Replayed(done.at_once, done.at_once, done.trusted, done.cost_at_once, done.cost_at_once)
            figures[f"{grid}_{name}_{limit}_capacity_saved_frac"] = done.saved_frac
            figures[f"{grid}_{name}_{limit}_capacity_more_late"] = late - _missed(work, usual)
    return figures


def _solves(rng: np.random.Generator, clock: Callable[[], float]) -> dict[str, float]:
    figures = {}
    for jobs, slots in ((200, 96), (2000, 96), (20000, 192)):
        work, price, capacity = random_work(rng, jobs, slots, 0.6)
        began_s = clock()
        made = solve(work, price, capacity)
        figures[f"solve_{jobs}_jobs_s"] = clock() - began_s
        figures[f"solve_{jobs}_jobs_gap_frac"] = made.gap_frac
        figures[f"solve_{jobs}_jobs_late"] = float(made.late.sum())
    return figures


def _peaks(rng: np.random.Generator) -> dict[str, float]:
    """What a demand charge as large as a day's energy at the mean price does to the peak and to what is owed, beside a plan
    that does not know of it."""
    work, price, capacity = random_work(rng, 150, 96, 0.4)
    base, free, charge = np.full(96, 50e3), np.full(96, np.inf), DAY * float(np.abs(price).mean())
    plain = solve_peak(work, price, capacity, Peak(base, free))
    made = solve_peak(work, price, capacity, Peak(base, free, cost=charge))
    owed = plain.schedule.cost + charge * plain.peak_w
    return {
        "peak_lowered_frac": 1 - made.peak_w / plain.peak_w,
        "peak_owed_saved_frac": 1 - made.cost / owed,
        "peak_more_late": float(made.schedule.late.sum()) - float(plain.schedule.late.sum()),
    }
