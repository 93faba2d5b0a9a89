"""Accounts for the faces: made from the store, and as a plain object and as rows."""

import math
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from energy.account.book import IDLE, QUANTITIES, RULE, UNSEEN, Account, By, Given, account
from energy.account.runs import read_runs
from twin.ports import Records, Store
from twin.site import Site

MAX_SPAN, MAX_ROWS = timedelta(days=400), 1_000_000
MAX_ROWS_ASKED, MAX_STEPS_GPUS = 5_000, 250_000_000  # of one answer: rows of a split, values that it is made from
COLUMNS = ("name", "gpu_s", *QUANTITIES, "carbon_market_kg", "unread_gpu_s")


def make_account(
    site: Site, store: Store, records: Records, start: datetime, end: datetime, given: Given, by: By | None, step_s: float
) -> Account:
    """The account of ``[start, end)`` from the store; split ``by`` who used it where that is asked."""
    runs = read_runs(records, start, end, site.ids_of("gpu")) if by else None
    return account(store, start, end, given, runs, by or "project", site.count("gpu") if by else 0, step_s)


def plain(made: Account, limit: int = MAX_ROWS) -> dict[str, Any]:
    """An account as JSON knows it: what is not known is null. At most ``limit`` rows; the rest is one row of its own."""
    head = {name: getattr(made, name) for name in (
        "step_s", "facility_kwh", "it_kwh", "cooling_kwh", "own_kwh", "own_guessed_kwh", "own_read_frac", "grid_kwh",
        "coverage_frac", "modelled_frac", "facility_modelled_frac", "it_read_kwh", "it_read_frac", "it_modelled_frac",
        "meters_apart_frac", "peak_w", "peak_s")}  # fmt: skip
    head["pue_name"] = made.pue_name or None
    bill = None
    if made.bill is not None:
        one = made.bill
        bill = {
            "currency": one.currency,
            "cost": one.cost,
            "demand_cost": one.demand_cost,
            "coverage_frac": one.coverage_frac,
            "ended": one.ended and one.ended.isoformat(),
            "periods": [
                {"period": name, "energy_kwh": one.energy_kwh[name], "cost": one.energy_cost[name]} for name in one.energy_kwh
            ],
            "months": [asdict(month) for month in one.months],
        }
    body = {
        "start": made.start.isoformat(),
        "end": made.end.isoformat(),
        **head,
        "indicators": asdict(made.indicators),
        "carbon": asdict(made.carbon),
        "bill": bill,
        "split": None if made.split is None else _split(made, limit),
    }
    cleaned: dict[str, Any] = _clean(body)
    return cleaned


def rows_of(made: Account) -> list[dict[str, float | str]]:
    """A row for each part, ``IDLE`` and ``UNSEEN`` last; empty where nothing was split. Market-based carbon is that of
    ``Carbon.market_of``. Of what the account does not know the sum no part is known either: NaN."""
    split = made.split
    if split is None:
        return []
    facility = split.column("facility_kwh")
    total = float(facility.sum())
    of_all = facility / total if total else np.full(len(facility), np.nan)
    market = np.asarray(made.carbon.market_of(split.column("carbon_location_kg"), of_all))
    rows: list[dict[str, float | str]] = []
    unknown = _unknown(made)
    for i, name in enumerate(split.names):
        row: dict[str, float | str] = {"name": name, "gpu_s": float(split.gpu_s[i])}
        row |= {q: float(split.values[i, k]) for k, q in enumerate(QUANTITIES)}
        row |= {"carbon_market_kg": float(market[i]), "unread_gpu_s": float(split.unread_gpu_s[i])}
        rows.append(row | dict.fromkeys(unknown, math.nan))
    return rows


def _unknown(made: Account) -> list[str]:
    """Of what is split, that of which the account does not know the sum."""
    sums = {
        "it_kwh": made.it_kwh,
        "facility_kwh": made.facility_kwh,
        "carbon_location_kg": made.carbon.location_kg,
        "carbon_marginal_kg": made.carbon.marginal_kg,
        "carbon_market_kg": made.carbon.market_kg,
        "cost": made.bill.cost if made.bill is not None else math.nan,
    }
    return [name for name, value in sums.items() if not math.isfinite(value)]


def _split(made: Account, limit: int) -> dict[str, Any]:
    split, rows = made.split, rows_of(made)
    if split is None:
        raise AssertionError("nothing was split")
    shown, rest = rows[:-2][:limit], rows[:-2][limit:]
    remainder = {"idle": rows[-2], "unseen": rows[-1]}
    others = {name: sum(float(row[name]) for row in rest) for name in COLUMNS[1:]} if rest else None
    return {
        "by": split.by,
        "rule": RULE,
        "sum_error_frac": split.sum_error_frac,
        "rows": shown,
        "others": None if others is None else {"name": f"({len(rest)} more)", **others},
        "remainder": remainder,
    }


def _clean(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _clean(one) for key, one in value.items()}
    return [_clean(one) for one in value] if isinstance(value, list | tuple) else value


__all__ = ["COLUMNS", "IDLE", "MAX_SPAN", "UNSEEN", "make_account", "plain", "rows_of"]
