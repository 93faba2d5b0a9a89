"""What shifting saves on recorded day-ahead prices: own forecasts from the past alone, beside yesterday's and published
ones."""

import csv
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from analytics.dayahead import backcast, weighed
from twin.errors import ConfigError, Problem
from twin.frame import Floats

DAY = 24
FIRST_DAY = 46  # the first load: six weeks of past
MARKETS = {"DE": ("DE-2016-2017.csv", "DE"), "BE": ("BE-2015-2016.csv", "BE")}  # name -> file, country of its holidays
PUBLISHED = "LEAR Ensemble"  # with forecasts of load, wind and neighbours that the recordings do not hold
USUAL_HOUR = 9


def price_figures(folder: Path, against: dict[str, float]) -> dict[str, float]:
    """Share of the perfect saving that a day-ahead choice of 4 and of 8 hours reaches, against a start at 09:00: own forecasts,
    and own ones weighed with a published one as a provider would send it; beside yesterday's prices and the published one."""
    figures = {}
    for name, (file, country) in MARKETS.items():
        first_day, price, published = read_market(folder / file)
        weekday, holiday = calendar(first_day, len(price), country)
        own = backcast(price, weekday, holiday, np.empty((len(price), 0)), FIRST_DAY)
        both = weighed(own, published, price, FIRST_DAY)
        yesterday = np.vstack([price[:1], price[:-1]])
        for hours in (4, 8):
            figures[f"{name}_{hours}h_price_of_oracle_frac"] = of_oracle(price, own, hours)
            figures[f"{name}_{hours}h_price_with_told_of_oracle_frac"] = of_oracle(price, both, hours)
            against[f"{name}_{hours}h_yesterday_of_oracle_frac"] = of_oracle(price, yesterday, hours)
            against[f"{name}_{hours}h_published_lear_of_oracle_frac"] = of_oracle(price, published, hours)
        figures[f"{name}_price_mae_per_mwh"] = float(np.abs(own - price)[FIRST_DAY:].mean())
        against[f"{name}_yesterday_mae_per_mwh"] = float(np.abs(yesterday - price)[FIRST_DAY:].mean())
    return figures


def of_oracle(price: Floats, seen: Floats, hours: int) -> float:
    """Saving of a load of ``hours`` placed each day where ``seen`` is cheapest, over the saving with the true prices."""
    saved = {"seen": 0.0, "oracle": 0.0}
    for day in range(FIRST_DAY, len(price)):
        usual = price[day, USUAL_HOUR : USUAL_HOUR + hours].sum()
        for which, view in (("seen", seen[day]), ("oracle", price[day])):
            sums = np.concatenate(([0.0], np.cumsum(view)))
            start = int((sums[hours:] - sums[:-hours]).argmin())
            saved[which] += usual - price[day, start : start + hours].sum()
    return saved["seen"] / saved["oracle"]


def calendar(first_day: date, days: int, country: str) -> tuple[np.ndarray, np.ndarray]:
    """int32[d], bool[d]: weekday and public holiday of each day."""
    import holidays

    dates = [first_day + timedelta(days=i) for i in range(days)]
    known = holidays.country_holidays(country, years=range(dates[0].year, dates[-1].year + 1))
    return np.array([day.weekday() for day in dates], dtype=np.int32), np.array([day in known for day in dates])


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
