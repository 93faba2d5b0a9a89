"""What energy costs: time-of-use periods, a demand charge, or a spot series; all of it data, none of it law of nature.

Periods are called as Chinese tariffs call them: sharp (尖峰), peak (峰), flat (平), valley (谷), deep (深谷). Since 2026-03-01
who trades in the market directly has no periods set by government (发改能源规〔2025〕1656号): give a spot series then.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from twin.errors import ConfigError, Problem
from twin.frame import Floats, Ints
from twin.site import Bools

PERIODS = ("sharp", "peak", "flat", "valley", "deep")
Period = Literal["sharp", "peak", "flat", "valley", "deep"]
SHIPPED = Path(__file__).parent / "tariffs"
MAX_BYTES = 1_000_000
QUARTER_S = 900.0  # over which demand is metered


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(_Part):
    """Hours of the day ``[from, to)`` (local, 0-24) in ``months`` (none: all) on ``days`` that are of ``period``."""

    period: Period
    hours: Sequence[tuple[float, float]]
    months: Sequence[Annotated[int, Field(ge=1, le=12)]] = ()
    days: Literal["all", "workday", "weekend"] = "all"

    @model_validator(mode="after")
    def _in_a_day(self) -> Self:
        for begin, end in self.hours:
            if not 0 <= begin < end <= 24:
                raise ValueError(f"hours {begin:g} to {end:g} are not within a day; cut a night in two at 24 and 0")
        return self


class Demand(_Part):
    """A charge on power. ``basis`` *max*: the month's highest quarter of an hour; *contracted*: what is contracted, and what
    goes beyond ``over_frac`` of it ``over_factor`` times; *capacity*: kVA of the transformers, whatever is drawn."""

    per_kw_month: Annotated[float, Field(ge=0)]
    basis: Literal["max", "contracted", "capacity"] = "max"
    contracted_kw: Annotated[float, Field(ge=0)] = 0.0
    over_frac: Annotated[float, Field(ge=1)] = 1.05
    over_factor: Annotated[float, Field(ge=1)] = 2.0


class Tariff(_Part):
    """A tariff as its file says it. ``per_kwh``: price of each period in the site's currency; the first rule that fits a moment
    counts, else it is ``otherwise``. ``dated`` and ``source`` say whose it is and since when; ``until``: its last day, after
    which it prices nothing."""

    name: str
    source: str
    dated: date
    until: date | None = None
    timezone: str = "Asia/Shanghai"
    currency: str = "CNY"
    per_kwh: Mapping[Period, float]
    otherwise: Period = "flat"
    rule: Sequence[Rule] = ()
    demand: Demand | None = None

    @model_validator(mode="after")
    def _priced(self) -> Self:
        missing = {rule.period for rule in self.rule} | {self.otherwise}
        missing -= set(self.per_kwh)
        if missing:
            raise ValueError(f"per_kwh has no price for {', '.join(sorted(missing))}")
        return self

    def periods(self, time_s: Floats) -> Ints:
        """int32[t]: position in ``PERIODS`` at each time (s since 1970 UTC); holidays count as the day of the week they are."""
        local = _local(time_s, self.timezone)
        found = np.full(len(time_s), PERIODS.index(self.otherwise), dtype=np.int32)
        for rule in reversed(self.rule):
            hit = np.zeros(len(time_s), dtype=np.bool_)
            for begin, end in rule.hours:
                hit |= (local.hour >= begin) & (local.hour < end)
            if rule.months:
                hit &= np.isin(local.month, rule.months)
            if rule.days != "all":
                hit &= (local.weekday < 5) == (rule.days == "workday")
            found[hit] = PERIODS.index(rule.period)
        return found

    def holds(self, time_s: Floats) -> Bools:
        """bool[t]: whether it has not ended at each time."""
        if self.until is None:
            return np.ones(len(time_s), dtype=np.bool_)
        over = datetime.combine(self.until + timedelta(days=1), time(), ZoneInfo(self.timezone))
        return np.asarray(time_s) < over.timestamp()

    def price_per_mwh(self, time_s: Floats) -> Floats:
        """float64[t]: price at each time, NaN after its last day."""
        known: Mapping[str, float] = {str(name): price for name, price in self.per_kwh.items()}
        prices = np.array([1e3 * known.get(period, float("nan")) for period in PERIODS])
        return np.where(self.holds(time_s), prices[self.periods(time_s)], np.nan)


@dataclass(frozen=True, slots=True)
class _Local:
    hour: Floats
    month: Ints
    weekday: Ints
    month_key: Ints


def _local(time_s: Floats, zone: str) -> _Local:
    """Local hour, month and weekday of each time; the offset is asked once a quarter of an hour of the series: some zones
    change it at half past (Lord Howe Island, by half an hour)."""
    where = ZoneInfo(zone)
    quarters, back = np.unique(np.floor(np.asarray(time_s) / QUARTER_S).astype(np.int64), return_inverse=True)
    moments = [datetime.fromtimestamp(int(quarter) * QUARTER_S, where) for quarter in quarters]
    offset_s = np.array([moment.utcoffset().total_seconds() for moment in moments])  # type: ignore[union-attr]
    shifted = np.asarray(time_s) + offset_s[back]
    day = np.floor(shifted / 86400.0).astype(np.int64)
    days, where_day = np.unique(day, return_inverse=True)
    dates = days.astype("datetime64[D]")
    key = dates.astype("datetime64[M]").astype(np.int64)
    month, weekday = key % 12 + 1, (days + 3) % 7
    parts = (month[where_day], weekday[where_day], key[where_day])
    return _Local((shifted - day * 86400.0) / 3600.0, *(part.astype(np.int32) for part in parts))


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month's demand. ``peak_w``: highest quarter of an hour that was seen, which began at ``peak_s``; ``billed_w``:
    what is charged (above ``over_frac`` of a contract already counted ``over_factor`` times); ``days_frac``: part of the month
    that the account holds and the tariff charges."""

    month: str
    peak_w: float
    peak_s: float
    billed_w: float
    days_frac: float
    cost: float


@dataclass(frozen=True, slots=True)
class Bill:
    """``energy_kwh``, the ``priced_kwh`` of it and ``energy_cost`` by period, and ``months`` of demand. ``coverage_frac``: part
    of the energy that was priced; the rest is not in it. ``ended``: the tariff's last day where energy was taken after it."""

    currency: str
    energy_kwh: Mapping[str, float]
    priced_kwh: Mapping[str, float]
    energy_cost: Mapping[str, float]
    months: Sequence[Month] = field(default=())
    coverage_frac: float = 1.0
    ended: date | None = None

    @property
    def demand_cost(self) -> float:
        """Of all months."""
        return sum(month.cost for month in self.months)

    @property
    def cost(self) -> float:
        """Energy and demand; NaN where nothing was priced."""
        if self.coverage_frac == 0:
            return float("nan")
        return sum(self.energy_cost.values()) + self.demand_cost


def bill(
    tariff: Tariff,
    time_s: Floats,
    power_w: Floats,
    step_s: float,
    spot_per_mwh: Floats | None = None,
    read_s: Floats | None = None,
) -> Bill:
    """The bill for ``power_w`` (float64[t], W drawn from the grid in steps of ``step_s`` from ``time_s`` on; NaN counts for
    nothing). ``spot_per_mwh``: float64[t] takes the place of the periods' prices where given; ``read_s``: float64[t], the time
    of each step that energy is counted of (None: all)."""
    kwh = np.nan_to_num(power_w) * (step_s if read_s is None else read_s) / 3.6e6
    period = tariff.periods(time_s)
    price = tariff.price_per_mwh(time_s) if spot_per_mwh is None else spot_per_mwh
    priced = np.isfinite(price)
    names = [name for i, name in enumerate(PERIODS) if (period == i).any()]
    charged, paid = np.where(priced, kwh, 0.0), kwh * np.where(priced, price, 0.0)
    energy, known, cost = (
        {name: float(column[period == PERIODS.index(name)].sum()) for name in names} for column in (kwh, charged, paid * 1e-3)
    )
    total = float(kwh.sum())
    coverage = float(kwh[priced].sum()) / total if total else 1.0
    holds = tariff.holds(time_s)
    months = () if tariff.demand is None else _months(tariff, tariff.demand, time_s[holds], power_w[holds], step_s)
    return Bill(tariff.currency, energy, known, cost, months, coverage, None if kwh[~holds].sum() == 0 else tariff.until)


def _months(tariff: Tariff, demand: Demand, time_s: Floats, power_w: Floats, step_s: float) -> tuple[Month, ...]:
    key = _local(time_s, tariff.timezone).month_key
    found = []
    for month in np.unique(key).tolist():
        mine = key == month
        peak_w, peak_s = highest_quarter(time_s[mine], power_w[mine])
        if not np.isfinite(peak_w):  # nothing was read in that month: as its energy, its demand is in no sum
            continue
        share = min(float(mine.sum()) * step_s / _month_s(month, tariff.timezone), 1.0)
        billed_w = billed_demand_w(demand, peak_w)
        cost = 1e-3 * billed_w * demand.per_kw_month * share
        found.append(Month(str(np.datetime64(month, "M")), peak_w, peak_s, billed_w, share, cost))
    return tuple(found)


def _month_s(month_key: int, zone: str) -> float:
    """Length of a month (counted from January 1970) in a zone [s]: where clocks change in it, an hour more or less."""
    first = [date(1970 + key // 12, key % 12 + 1, 1) for key in (month_key, month_key + 1)]
    begin, end = (datetime.combine(day, time(), ZoneInfo(zone)).timestamp() for day in first)
    return end - begin


def billed_demand_w(demand: Demand, peak_w: float) -> float:
    """What a month with this peak is charged for [W]."""
    contracted_w = 1e3 * demand.contracted_kw
    if demand.basis == "max":
        return max(peak_w, contracted_w)
    if demand.basis == "capacity":
        return contracted_w
    over_w = max(peak_w - demand.over_frac * contracted_w, 0.0)
    return contracted_w + demand.over_factor * over_w


def highest_quarter(time_s: Floats, power_w: Floats) -> tuple[float, float]:
    """Highest mean over a quarter of an hour by the clock [W], of the steps in which ``power_w`` (float64[t]) is known, and
    when that quarter began (s since 1970 UTC); NaN where nothing was seen."""
    seen = np.isfinite(power_w)
    if not seen.any():
        return float("nan"), float("nan")
    quarter = np.floor(time_s[seen] / QUARTER_S).astype(np.int64)
    base = int(quarter[0])
    count = np.bincount(quarter - base)
    mean = np.bincount(quarter - base, weights=power_w[seen]) / np.maximum(count, 1)
    top = int(np.where(count > 0, mean, -np.inf).argmax())
    return float(mean[top]), float((base + top) * QUARTER_S)


def load_tariff(name: str | Path) -> Tariff:
    """A tariff that ships, by its name, or the file at a path. ``ConfigError`` with every problem."""
    path = SHIPPED / f"{name}.toml" if isinstance(name, str) and "/" not in name and not name.endswith(".toml") else Path(name)
    known = ", ".join(sorted(one.stem for one in SHIPPED.glob("*.toml")))
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError([Problem(str(path), f"is over {MAX_BYTES} bytes; a tariff is a page")])
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return Tariff.model_validate(raw)
    except OSError as error:
        what = f"cannot be read ({error.strerror}); name a TOML file, or one that ships: {known}"
        raise ConfigError([Problem(str(path), what)]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), f"is not a TOML file: {error}")]) from error
    except ValidationError as error:
        found = [
            f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()
        ]
        raise ConfigError([Problem(str(path), what) for what in found]) from error
