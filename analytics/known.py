"""What is known of the future: the calendar, jobs with their time limits, maintenance, a weather forecast with its own error.

A known future counts as it was known at the time. A driver therefore holds what was measured and, apart from it, what had been
said of it at each moment; a backtest that saw the measured future instead would promise what no day keeps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from twin.errors import ConfigError, Problem
from twin.frame import Floats, Ints
from twin.job import Jobs, JobState

REST, WORK = 1, -1  # a day off in the week, a day of work at the weekend (China moves some for each long holiday)
SATURDAY_SUNDAY = frozenset({5, 6})
OWN_DAYS = 2.0  # special days seen that count as much as what Sundays and working days suggest
LEAST_WEEKS = 2  # of history, before special days are told from others
MAX_COUNTRY_YEARS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Calendar:
    """Of each step: ``kind`` (int8: 0 as its weekday says, ``REST`` or ``WORK``) and ``place`` (int32: step of the local week,
    0 at Monday 0:00), over a history and what follows. ``weekend``: the weekdays that are free there, 0 is Monday."""

    kind: "np.ndarray"
    place: Ints
    weekend: frozenset[int] = SATURDAY_SUNDAY

    def between(self, start: int, end: int) -> "Calendar":
        """The steps ``[start, end)``."""
        return Calendar(self.kind[start:end], self.place[start:end], self.weekend)


def calendar(first_s: float, steps: int, step_s: float, zone: str, country: str) -> Calendar:
    """The calendar of ``steps`` from ``first_s`` (s since 1970 UTC). ``zone``: of the tz database; ``country``: ISO 3166 code,
    a part of it after a hyphen (``CN``, ``AU-VIC``); "" knows no holidays. ``ConfigError`` where there is no such place."""
    local = _zone(zone)
    every = [datetime.fromtimestamp(first_s + i * step_s, UTC).astimezone(local) for i in range(steps)]
    seconds = np.array([((t.weekday() * 24 + t.hour) * 60 + t.minute) * 60 + t.second for t in every])
    special: dict[date, int] = {}
    weekend = SATURDAY_SUNDAY
    if country and steps:
        kind_of, free_of = _special(country, every[0].year, every[-1].year)
        special = {day: kind_of(day) for day in {t.date() for t in every}}
        week = [every[-1].date() - timedelta(days=i) for i in range(7)]  # the newest: some countries have moved their weekend
        weekend = frozenset(day.weekday() for day in week if free_of(day)) or SATURDAY_SUNDAY
    kinds = np.array([special.get(t.date(), 0) for t in every], dtype=np.int8)
    return Calendar(kinds, (seconds // step_s).astype(np.int32), weekend)


def _zone(zone: str) -> ZoneInfo:
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError([Problem("zone", f"there is no time zone {zone!r}; write Asia/Shanghai, say")]) from None


@cache
def has_holidays(country: str) -> bool:
    """Whether holidays are known of a country (ISO 3166 code): not of "", nor of what a zone at sea or ``Etc/UTC`` lies in."""
    import holidays

    return country in holidays.list_supported_countries(include_aliases=False)


@cache
def _special(country: str, first: int, last: int) -> tuple[Callable[[date], int], Callable[[date], bool]]:
    """(date -> REST, WORK or 0; date -> whether its weekday is free)."""
    import holidays  # only who asks for a country's holidays pays

    name, _, part = country.partition("-")
    if last - first > MAX_COUNTRY_YEARS:
        raise ConfigError([Problem("country", f"{last - first} years of holidays; at most {MAX_COUNTRY_YEARS} are known")])
    try:
        days = holidays.country_holidays(name, subdiv=part or None, years=range(first, last + 1))
    except (NotImplementedError, AttributeError):
        raise ConfigError([Problem("country", f"no holidays known of {country!r}; write CN, or AU-VIC")]) from None

    def kind(day: date) -> int:
        free = not days.is_working_day(day)
        return 0 if free == days._is_weekend(day) else REST if free else WORK

    return kind, days._is_weekend


def special_effect(history: Floats, when: Calendar, day: int) -> Floats:
    """float64[n + h]: how much special days differ from what their weekday would be; 0 on others, and all 0 where there is too
    little to tell. ``when`` covers ``history`` (float64[n]) and what follows.

    Before any was seen, a day off is the last day of the country's weekend and a day of work the mean of the other days; what
    was seen of special days then counts as ``OWN_DAYS`` says."""
    n, effect = len(history), np.zeros(len(when.kind))
    if n < LEAST_WEEKS * 7 * day or not when.kind.any() or day < 2:
        return effect
    usual = _usual_week(history, when, day)
    shape = usual.reshape(7, day)
    last = max(day for day in when.weekend if (day + 1) % 7 not in when.weekend)
    like = {REST: shape[last], WORK: shape[[day for day in range(7) if day not in when.weekend]].mean(axis=0)}
    for kind, prior in like.items():
        hour = when.place % day
        mine = when.kind == kind
        expected = prior[hour] - usual[when.place]
        past = np.flatnonzero(mine[:n])
        surplus = history[past] - usual[when.place[past]] - expected[past]
        count = np.bincount(hour[past], minlength=day)
        mean = np.bincount(hour[past], weights=surplus, minlength=day) / (count + OWN_DAYS)
        effect[mine] = (expected + mean[hour])[mine]
    return effect


def _usual_week(history: Floats, when: Calendar, day: int) -> Floats:
    """float64[7 day]: mean of the newest eight ordinary values at each step of the week, of all where there is none."""
    recent = slice(max(0, len(history) - 8 * 7 * day), len(history))
    ordinary = when.kind[recent] == 0
    place, values = when.place[recent][ordinary], history[recent][ordinary]
    count = np.bincount(place, minlength=7 * day)
    total = np.bincount(place, weights=values, minlength=7 * day)
    return np.where(count > 0, total / np.maximum(count, 1), history.mean())


@dataclass(frozen=True, slots=True, eq=False)
class Driver:
    """A quantity that another hangs on, with what had been said of it. ``time_s``, ``values``: float64[n], measured;
    ``issued_s``: float64[k], increasing; ``said``: float64[k, m], from the step that begins at or holds ``issued_s`` on, steps
    of ``step_s``."""

    name: str
    step_s: float
    time_s: Floats
    values: Floats
    issued_s: Floats
    said: Floats

    def past(self, first_s: float, steps: int) -> Floats:
        """float64[steps] on another series' steps (of the same length), NaN where nothing was measured."""
        out = np.full(steps, np.nan)
        at = ((self.time_s - first_s) / self.step_s).round().astype(np.int64)
        inside = (at >= 0) & (at < steps)
        out[at[inside]] = self.values[inside]
        return out

    def ahead(self, now_s: float, horizon: int) -> Floats | None:
        """float64[horizon] as it was known at ``now_s``: of the newest word that is not older than a day; None without one."""
        newest = int(np.searchsorted(self.issued_s, now_s + 1e-6, side="right")) - 1
        if newest < 0 or now_s - self.issued_s[newest] > 86400:
            return None
        skip = round((now_s - self.issued_s[newest]) / self.step_s)
        path = self.said[newest, skip : skip + horizon]
        return path if len(path) == horizon and np.isfinite(path).all() else None


def words_driver(name: str, step_s: float, issued_s: Floats, said: Floats, lead: int) -> Driver:
    """A driver whose past is not measured but what had been said ``lead`` steps before, so that past and future are words of
    the same kind: a word that mostly says too much does so in both. ``issued_s``: float64[k], increasing; ``said``: float64[k,
    m]."""
    return Driver(name, step_s, issued_s + lead * step_s, said[:, lead], issued_s, said)


def committed_gpus(jobs: Jobs, now: datetime, horizon: int, step_s: float, gpus: int) -> Floats:
    """float64[horizon]: GPUs that jobs will hold if each uses its time limit: those running until it, then those queued in
    order of submission as GPUs come free (first come, first served, without backfill). A job without a limit stays.

    ``gpus``: how many there are. What is known, not a forecast: jobs mostly end early; what that means is learnt from how it
    came."""
    now_s = now.timestamp()
    holds = np.isin(jobs.state, (JobState.RUNNING, JobState.SUSPENDED))
    end_s = np.where(np.isfinite(jobs.limit_s) & (jobs.limit_s > 0), jobs.start_s + jobs.limit_s, np.inf)
    starts, ends, size = [now_s] * int(holds.sum()), list(np.maximum(end_s[holds], now_s)), list(jobs.gpus[holds])
    free, frees = gpus - int(sum(size)), sorted(zip(ends, size, strict=True))
    last_s = now_s + horizon * step_s
    clock_s = now_s
    for i in _waiting(jobs):
        need = int(jobs.gpus[i])
        while free < need and frees and frees[0][0] < last_s:
            clock_s = max(clock_s, frees[0][0])
            free += int(frees.pop(0)[1])
        if free < need:
            break  # nobody overtakes
        free -= need
        limit_s = float(jobs.limit_s[i])
        end = clock_s + limit_s if np.isfinite(limit_s) and limit_s > 0 else np.inf
        starts.append(clock_s)
        ends.append(end)
        size.append(need)
        frees.append((end, need))
        frees.sort()
    edges = now_s + step_s * np.arange(horizon + 1.0)
    return held(np.array(starts), np.array(ends), np.array(size, dtype=np.float64), edges)


def _waiting(jobs: Jobs) -> Ints:
    waits = np.flatnonzero((jobs.state == JobState.PENDING) & (jobs.gpus > 0))
    return waits[np.argsort(jobs.submit_s[waits], kind="stable")].astype(np.int32)


def held(start_s: Floats, end_s: Floats, size: Floats, edges_s: Floats) -> Floats:
    """float64[len(edges) - 1]: mean of what is held between each two of ``edges_s``, by what holds ``size`` from ``start_s`` to
    ``end_s`` (float64[n] each)."""
    last_s = float(edges_s[-1])
    start_s, end_s = np.clip(start_s, edges_s[0], last_s), np.clip(end_s, edges_s[0], last_s)
    at = np.concatenate([start_s, end_s])
    change = np.concatenate([size, -size])
    order = np.argsort(at, kind="stable")
    knots, level = np.concatenate([edges_s[:1], at[order]]), np.concatenate([[0.0], np.cumsum(change[order])])
    area = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(knots))])
    upto = np.interp(edges_s, np.append(knots, last_s), np.append(area, area[-1] + level[-1] * (last_s - knots[-1])))
    return np.asarray(np.diff(upto) / np.diff(edges_s))


def maintenance(windows_s: list[tuple[float, float, float]], first_s: float, steps: int, step_s: float) -> Floats:
    """float64[steps]: share of the capacity that is out, from (start, end, share) of each window, s since 1970; at most 1."""
    edges = first_s + step_s * np.arange(steps + 1.0)
    if not windows_s:
        return np.zeros(steps)
    start, end, share = (np.array(column, dtype=np.float64) for column in zip(*windows_s, strict=True))
    if (end < start).any() or ((share < 0) | (share > 1)).any():
        raise ValueError("a maintenance window ends before it starts, or its share is not within 0-1")
    return np.minimum(held(start, end, share, edges), 1.0)
