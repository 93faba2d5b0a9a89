"""What shifting saves on recorded day-ahead prices: own forecasts from the past alone, beside yesterday's and published
ones."""

import csv
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from analytics.dayahead import LAGS_D, Calendar, Days, backcast, day_ahead, fit, rolling, weighed
from analytics.signal import hindcast
from twin.errors import ConfigError, Problem
from twin.frame import Floats

DAY = 24
FIRST_DAY = 46  # the first load: six weeks of past
MARKETS = {"DE": ("DE-2016-2017.csv", "DE"), "BE": ("BE-2015-2016.csv", "BE")}  # name -> file, country of its holidays
PUBLISHED = "LEAR Ensemble"  # with forecasts of load, wind and neighbours that the recordings do not hold
USUAL_HOUR = 9
FORTNIGHT_D = 14


def price_figures(folder: Path, against: dict[str, float]) -> dict[str, float]:
    """Share of the perfect saving that a day-ahead choice of 4 and of 8 hours reaches, against a start at 09:00: own forecasts,
    and own ones weighed with a published one as a provider would send it; beside what levers foresee today, yesterday's
    prices, the published one, and own ones that have learnt from the days after, too."""
    figures = {}
    for name, (file, country) in MARKETS.items():
        first_day, price, published = read_market(folder / file)
        year = calendar(first_day, len(price), country)
        own = backcast(price, year, np.empty((len(price), 0)), FIRST_DAY)
        both = weighed(own, published, price, FIRST_DAY)
        live, before = as_levers(price, year), any_signal(price)
        yesterday, hindsight = np.vstack([price[:1], price[:-1]]), with_future(price, year)
        half = (FIRST_DAY + len(price)) // 2  # settings were chosen on BE and on the first half of DE
        for hours in (4, 8):
            share, sampling = of_oracle(price, own, hours)
            figures[f"{name}_{hours}h_price_of_oracle_frac"] = share
            figures[f"{name}_{hours}h_price_of_oracle_se_frac"] = sampling
            figures[f"{name}_{hours}h_price_second_half_of_oracle_frac"] = of_oracle(price, own, hours, half)[0]
            figures[f"{name}_{hours}h_price_with_told_of_oracle_frac"] = of_oracle(price, both, hours)[0]
            figures[f"{name}_{hours}h_price_as_levers_foresee_of_oracle_frac"] = of_oracle(price, live[::DAY], hours)[0]
            against[f"{name}_{hours}h_price_any_signal_of_oracle_frac"] = of_oracle(price, before[::DAY], hours)[0]
            against[f"{name}_{hours}h_yesterday_of_oracle_frac"] = of_oracle(price, yesterday, hours)[0]
            against[f"{name}_{hours}h_published_lear_of_oracle_frac"] = of_oracle(price, published, hours)[0]
            against[f"{name}_{hours}h_price_with_future_of_oracle_frac"] = of_oracle(price, hindsight, hours)[0]
        figures[f"{name}_price_mae_per_mwh"] = float(np.abs(own - price)[FIRST_DAY:].mean())
        figures[f"{name}_price_any_hour_mae_per_mwh"] = error(price, live)
        against[f"{name}_price_any_hour_any_signal_mae_per_mwh"] = error(price, before)
        against[f"{name}_yesterday_mae_per_mwh"] = float(np.abs(yesterday - price)[FIRST_DAY:].mean())
    return figures


def of_oracle(price: Floats, seen: Floats, hours: int, first: int = FIRST_DAY) -> tuple[float, float]:
    """Saving of a load of ``hours`` placed each day from ``first`` on where ``seen`` is cheapest, over the saving with the true
    prices; and its sampling error if days were independent (of a ratio of means: Cochran 1977, Sampling Techniques, 6.4)."""
    saved, most = np.array([_saved(price[d], seen[d], hours) for d in range(first, len(price))]).T
    share = float(saved.sum() / most.sum())
    return share, float((saved - share * most).std() * np.sqrt(len(most)) / most.sum())


def _saved(price: Floats, seen: Floats, hours: int) -> list[float]:
    """Of one day: what the choice by ``seen`` saves, and what the best choice saves."""
    true, foreseen = (np.convolve(view, np.ones(hours), "valid") for view in (price, seen))
    return [float(true[USUAL_HOUR] - cost) for cost in (true[foreseen.argmin()], true.min())]


def with_future(price: Floats, year: Calendar) -> Floats:
    """float64[d, 24]: what the same model says of each fortnight when it has learnt from all days before and after it: what
    more days of these prices could bring it."""
    days = Days(price, year, np.empty((len(price), 0)))
    seen: Floats = np.full(price.shape, np.nan)
    every = np.arange(max(LAGS_D), len(price))
    for start in range(FIRST_DAY, len(price), FORTNIGHT_D):
        fitted = fit(days, every[(every < start) | (every >= start + FORTNIGHT_D)])
        for d in range(start, min(start + FORTNIGHT_D, len(price))):
            seen[d] = day_ahead(days.until(d), fitted)
    return seen


def as_levers(price: Floats, year: Calendar) -> Floats:
    """float64[d · 24, 24]: what levers foresee at each hour where no service tells the price (``energy.ahead``): of the next 24
    hours, from those before. NaN before ``FIRST_DAY``."""
    hours, first = price.ravel(), FIRST_DAY * DAY
    of = np.minimum((np.arange(len(hours) + 1) + DAY // 2) // DAY, len(price) - 1)
    made = rolling(hours, year.at(of), DAY, first)
    return np.concatenate([np.full((first, DAY), np.nan), made[:-1]])


def any_signal(price: Floats) -> Floats:
    """The same of the regression that serves any other signal."""
    hours = price.ravel()
    return hindcast(np.append(hours, hours[-1]), DAY, DAY, first=FIRST_DAY * DAY)[:-1].astype(np.float64)


def error(price: Floats, seen: Floats) -> float:
    """Mean absolute error over all hours and the 24 that follow each."""
    hours = price.ravel()
    came = np.lib.stride_tricks.sliding_window_view(hours, DAY)
    return float(np.nanmean(np.abs(seen[: len(came)] - came)))


def calendar(first_day: date, days: int, country: str) -> Calendar:
    """Weekday, public holiday and day of the year of each of ``days`` days."""
    import holidays

    dates = [first_day + timedelta(days=i) for i in range(days)]
    known = holidays.country_holidays(country, years=range(dates[0].year, dates[-1].year + 1))
    turns = np.array([(day.weekday(), day.timetuple().tm_yday) for day in dates], dtype=np.int32)
    return Calendar(turns[:, 0], np.array([day in known for day in dates]), turns[:, 1])


def read_market(path: Path) -> tuple[date, Floats, Floats]:
    """First day, true and published prices (float64[d, 24]) of a recording. ``ConfigError`` where it is none."""
    rows = read_recording(path)
    try:
        first_day = date.fromisoformat(rows[0][""][:10])
        columns = [np.array([float(row[name]) for row in rows]).reshape(-1, DAY) for name in ("Real price", PUBLISHED)]
    except (KeyError, ValueError) as error:
        raise ConfigError([Problem(str(path), f"is not the recording it should be ({error})")]) from None
    return first_day, columns[0], columns[1]


def read_recording(path: Path) -> list[dict[str, str]]:
    """Rows of a recorded table; ``ConfigError`` where it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error.strerror})")]) from None
