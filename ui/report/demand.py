"""Peak demand against the demand under contract: how much of it was drawn, when, and in each month that is charged for."""

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np

from energy.account.book import Account
from energy.account.tariff import PERIODS, Month, Tariff
from twin.message import Message
from ui.report.document import NOTHING, Cell, Figure, Table
from ui.report.gather import Inputs

NO_CONTRACT = (
    "No demand under contract is stated, so peak demand is held against none: write contracted_kw under [demand] of a tariff, "
    "and name it with tariff_file under [energy]."
)
BELOW = "That is {share:.1%} of the {contract:,.0f} kW under contract, {margin:,.1f} kW below it, at {when}."
ABOVE = "That is {share:.1%} of the {contract:,.0f} kW under contract, {margin:,.1f} kW above it, at {when}."


def figures(inputs: Inputs, query: str) -> Iterator[Figure]:
    """What is under contract, which part of it the peak was, and what was left [W] (below 0: it was passed); none of a part of
    the centre, nor where no contract is stated. Other spans are held against the contract of today."""
    contract_w = inputs.contract_w
    if not (contract_w > 0 and inputs.scope.whole):
        return
    peaks = [_peak_w(made) for made in (inputs.account, inputs.before, inputs.year_ago)]
    now, was, year = (peak_w / contract_w for peak_w in peaks)
    left, left_was, left_year = (contract_w - peak_w for peak_w in peaks)
    yield Figure("contract_w", "Contracted demand", contract_w, "w", query=query)
    yield Figure("contract_frac", "Peak over contracted demand", now, "frac", was, year, -1, query=query)
    yield Figure("contract_margin_w", "Left of the contracted demand", left, "w", left_was, left_year, 1, query=query)


def _peak_w(made: Account | None) -> float:
    return made.peak_w if made is not None else NOTHING


def said(inputs: Inputs) -> Iterator[Message]:
    """A sentence on the peak just named against the contract; nothing where there is none."""
    contract_w, made = inputs.contract_w, inputs.account
    if not (contract_w > 0 and inputs.scope.whole and np.isfinite(made.peak_w)):
        return
    left_w = contract_w - made.peak_w
    numbers = {"share": made.peak_w / contract_w, "contract": contract_w / 1e3, "margin": abs(left_w) / 1e3}
    yield Message(BELOW if left_w >= 0 else ABOVE, {**numbers, "when": _local(made.peak_s, inputs.span.zone)})


def lead(inputs: Inputs) -> Iterator[Message]:
    """How a contract is stated, where none is."""
    if inputs.scope.whole and not inputs.contract_w > 0:
        yield Message(NO_CONTRACT)


def months(inputs: Inputs) -> Iterator[Table]:
    """Each month that demand is charged for, with its peak; none where the tariff has no such charge."""
    bill, tariff = inputs.account.bill, inputs.tariff
    if bill is None or tariff is None or not bill.months or not inputs.scope.whole:
        return
    heads = (("month", ""), ("Peak demand", "w"), ("when", ""), ("period", ""), ("of the contract", "frac"),
             ("Left of the contracted demand", "w"), ("Billed demand", "w"), ("Cost", "money"))  # fmt: skip
    rows = [_month(one, tariff, inputs.contract_w or NOTHING) for one in bill.months]
    note = Message(
        "A month is charged for its highest quarter of an hour, here by the part of the month that the report holds."
    )
    total = ("total", NOTHING, "", "", NOTHING, NOTHING, NOTHING, bill.demand_cost)
    yield Table("demand", "Demand by month", heads, rows, total, note)


def _month(one: Month, tariff: Tariff, contract_w: float) -> list[Cell]:
    period = PERIODS[int(tariff.periods(np.array([one.peak_s]))[0])]
    when = _local(one.peak_s, ZoneInfo(tariff.timezone))
    left_w = contract_w - one.peak_w
    return [one.month, one.peak_w, when, period, one.peak_w / contract_w, left_w, one.billed_w, one.cost]


def _local(at_s: float, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC).astimezone(zone):%Y-%m-%d %H:%M}"
