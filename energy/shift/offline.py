"""``icctwin plan``: a whole file of jobs under a signal, with all of it known or, as in life, only its past."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analytics.signal import MAX_HORIZON_DAYS, hindcast
from analytics.table import read_series
from energy.shift import Schedule, Work, finished, priced, solve
from energy.shift.fair import LEAST_S, solve_fair, waits
from energy.shift.peak import waiting_at_most
from energy.shift.rolling import Past, in_turn, replay
from energy.shift.tables import MAX_PROBLEMS, MAX_SLOTS, JobFile, read_jobs, write_plan
from twin.errors import ConfigError, Problem
from twin.frame import Floats, Ints

MOST_CELLS = 40_000_000  # jobs times slots
LONGEST_GAP = 3  # missing steps in a row that are bridged, and said
DAY_S = 86400.0
MAX_TENANTS = 100  # whose waiting is said
J_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms jobs are planned. ``capacity``: GPUs (None: no limit); ``causal``: each decision sees only the signal
    before it, ``delay`` steps late; ``longest_wait_s``: most that a job ends later than without shifting; ``fair``: no tenant
    waits much longer than the others, ``fair_wait_s`` being open to all (``shift.fair``)."""

    capacity: float | None = None
    causal: bool = False
    delay: int = 0
    longest_wait_s: float = np.inf
    fair: bool = False
    fair_wait_s: float = LEAST_S


def plan_file(jobs_path: Path, signal_path: Path, out: Path, terms: Terms) -> dict[str, Any]:
    """Choose when each job runs, write it to ``out``, and give what it saves against running at once.

    Sums are the signal times kWh. ``ConfigError`` with every problem of the two files."""
    if terms.fair and terms.causal:
        raise ConfigError([Problem("--fair", "looks at a whole plan; leave --causal out")])
    jobs = read_jobs(jobs_path)
    time_s, values, filled = _signal(signal_path)
    start_s, step_s = float(time_s[0]), float(np.median(np.diff(time_s)))
    _check(jobs, jobs_path, start_s, start_s + len(values) * step_s, step_s, len(values))
    work, nominal = jobs.work(start_s, step_s), jobs.nominal(start_s, step_s)
    if np.isfinite(terms.longest_wait_s):
        work = waiting_at_most(work, nominal, int(terms.longest_wait_s // step_s))
    names, place = np.unique(np.array(jobs.tenants, dtype=np.str_), return_inverse=True)
    owner = place.astype(np.int32)
    day = max(round(DAY_S / step_s), 1)
    schedule, at_once, trusted = _planned(work, nominal, values, terms, day, owner)
    write_plan(out, jobs, schedule, start_s, step_s)
    scale = step_s / J_PER_KWH
    return {
        "jobs": len(jobs.ids),
        "signal_sum": schedule.cost * scale,
        "signal_sum_at_once": at_once * scale,
        "saved_frac": 1 - schedule.cost / at_once if at_once else 0.0,
        "bound_gap_frac": None if terms.causal or not np.isfinite(schedule.gap_frac) else schedule.gap_frac,
        "late": int(schedule.late.sum()),
        "without_room": int(schedule.unplaced.sum()),
        "left_alone": trusted,
        "filled_steps": filled,
        **_waiting(names.tolist(), waits(work, schedule, nominal, owner) * step_s / 3600),
    }


def _waiting(names: Sequence[str], wait_h: Floats) -> dict[str, Any]:
    """Mean wait of each tenant's GPU hours, where the file names tenants; the longest first, ``MAX_TENANTS`` of them."""
    if not any(names):
        return {}
    longest = np.argsort(-wait_h, kind="stable")[:MAX_TENANTS]
    return {"wait_h": {str(names[k]) or "-": round(float(wait_h[k]), 3) for k in longest.tolist()}}


def _planned(work: Work, nominal: Ints, values: Floats, terms: Terms, day: int, owner: Ints) -> tuple[Schedule, float, int]:
    """The schedule, what running at once costs, and how many jobs were left alone because forecasts did not earn trust."""
    limit, delay = None if terms.capacity is None else np.full(len(values), float(terms.capacity)), terms.delay
    if terms.causal:
        longest = int(np.clip((work.due - work.earliest).max(initial=1), 1, MAX_HORIZON_DAYS * day - delay))
        past = Past(values, hindcast(values, day, longest, delay=delay), day, delay)
        done = replay(work, past, limit, nominal=nominal)
        schedule = finished(work, values, done.running, float("nan"), exact=False)
        return schedule, done.cost_at_once, int(np.count_nonzero(~done.trusted))
    roomy = np.full(len(values), work.gpus.sum() + 1.0) if limit is None else limit
    if terms.fair:
        schedule = solve_fair(work, values, roomy, nominal, owner, max(terms.fair_wait_s / DAY_S * day, 1.0))
    else:
        schedule = solve(work, values, roomy)
    at_once = in_turn(replace(work, earliest=nominal), roomy)
    return schedule, priced(work, values, at_once), 0


def _signal(path: Path) -> tuple[Floats, Floats, int]:
    """Times, values and how many steps were bridged; ``ConfigError`` where the signal is not regular or has longer gaps."""
    time_s, values = read_series(path)
    steps = np.diff(time_s)
    step_s = float(np.median(steps))
    count = round((time_s[-1] - time_s[0]) / step_s) + 1
    at = np.rint((time_s - time_s[0]) / step_s).astype(np.int64)
    if np.abs(time_s - time_s[0] - at * step_s).max() > 0.01 * step_s:
        raise ConfigError([Problem(str(path), f"its times are not all on steps of {step_s:g} s; write a regular series")])
    if count > MAX_SLOTS:
        raise ConfigError([Problem(str(path), f"has {count} steps, over {MAX_SLOTS}; use a longer step or a part")])
    whole = np.full(count, np.nan)
    whole[at] = values
    missing = np.isnan(whole)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], missing.astype(np.int8), [0])))).reshape(-1, 2)
    if len(edges) and (np.diff(edges).max() > LONGEST_GAP or missing[0] or missing[-1]):
        worst = edges[np.diff(edges)[:, 0].argmax()]
        what = (
            f"misses {worst[1] - worst[0]} steps from step {worst[0] + 1} on; up to {LONGEST_GAP} inside are bridged, fill more"
        )
        raise ConfigError([Problem(str(path), what)])
    known = np.flatnonzero(~missing)
    return time_s[0] + step_s * np.arange(count), np.interp(np.arange(count), known, whole[known]), int(missing.sum())


def _check(jobs: JobFile, path: Path, start_s: float, end_s: float, step_s: float, slots: int) -> None:
    problems = []
    if len(jobs.ids) * slots > MOST_CELLS:
        what = f"{len(jobs.ids)} jobs in {slots} steps are over {MOST_CELLS} choices; plan in parts or use a longer step"
        problems.append(Problem(str(path), what))
    outside = (jobs.earliest_s < start_s - step_s) | (jobs.earliest_s >= end_s)
    problems += [
        Problem(str(path), f"job {jobs.ids[j]!r} may start outside the signal; give a signal that covers it")
        for j in np.flatnonzero(outside)[:MAX_PROBLEMS].tolist()
    ]
    if problems:
        raise ConfigError(problems)
