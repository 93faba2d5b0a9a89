"""Peak demand in a report, against what the tariff says is under contract."""

from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from energy.account.book import Given
from energy.account.tariff import Demand, load_tariff
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame
from twin.load import Row, build_site
from ui.report.compose import compose
from ui.report.demand import ABOVE, BELOW, NO_CONTRACT
from ui.report.document import Report
from ui.report.gather import gather
from ui.report.span import span_of
from ui.words import words

ZONE = ZoneInfo("Asia/Shanghai")
SPAN = span_of("2026-10-31/2026-11-02", ZONE)  # the last of one month and the first of the next
PEAKS = {(10, 29): (12, 150e3), (10, 31): (18, 180e3), (11, 1): (9, 220e3)}  # day: (hour, W) of its highest quarter


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four days by quarters of an hour at 100 kW, but for one quarter of most days."""
    folder = tmp_path_factory.mktemp("demand")
    site = build_site("demand", str(ZONE), [Row("t:1", {"id": "h1", "kind": "hall"})])
    store, frames = open_store(folder / "store", site), list[Frame]()
    for k in range(4 * 96):
        at = datetime(2026, 10, 29, tzinfo=ZONE) + timedelta(minutes=15 * k)
        hour, peak_w = PEAKS.get((at.month, at.day), (0, 0.0))
        facility_w = peak_w if (at.hour, at.minute) == (hour, 30) and peak_w else 100e3
        columns = {"facility_power_w": np.array([facility_w]), "it_power_w": np.array([80e3])}
        frames.append(Frame("site", at, site.all_rows("site"), columns))
    store.append(frames)
    store.close()
    return folder


def reported(place: Path, demand: Demand | None, until: date | None = None) -> Report:
    site = build_site("demand", str(ZONE), [Row("t:1", {"id": "h1", "kind": "hall"})])
    store = open_store(place / "store", site, readonly=True)
    tariff = load_tariff("guangdong-2021").model_copy(update={"demand": demand, "until": until})
    try:
        return compose(gather(site, store, open_records(place / "records.db"), SPAN, Given(tariff=tariff)))
    finally:
        store.close()


def test_peak_demand_stands_against_the_contract_with_when_it_was(place: Path) -> None:
    report = reported(place, Demand(per_kw_month=30.0, basis="contracted", contracted_kw=200.0))
    figures = {one.key: one for one in report.sections[0].figures}
    share, left = figures["contract_frac"], figures["contract_margin_w"]
    assert (share.value, share.was) == (pytest.approx(1.1), pytest.approx(0.75))
    assert (left.value, left.was) == (pytest.approx(-20e3), pytest.approx(50e3))
    head = {one.key for one in report.head}
    assert "contract_frac" in head
    assert "peak_w" not in head, "eight tiles at most: two rows of them leave room for the drawings"
    (said,) = (one for one in report.said if one.text == ABOVE)
    assert words("en").sentence(said) == "That is 110.0% of the 200 kW under contract, 20.0 kW above it, at 2026-11-01 09:30."
    assert "110.0%" in words("zh").sentence(said) != words("en").sentence(said)
    (table,) = (one for one in report.tables() if one.key == "demand")
    october, november = ([*row] for row in table.rows)
    assert october[:4] == ["2026-10", pytest.approx(180e3), "2026-10-31 18:30", "peak"]
    assert november[:4] == ["2026-11", pytest.approx(220e3), "2026-11-01 09:30", "flat"]
    assert october[4:] == pytest.approx([0.9, 20e3, 200e3, 200 * 30 / 31])
    assert november[4:] == pytest.approx([1.1, -20e3, 220e3, 220 * 30 / 30]), "what is beyond 105 % counts twice"
    assert table.total[-1] == pytest.approx(200 * 30 / 31 + 220)


def test_what_is_left_of_a_contract_is_said(place: Path) -> None:
    report = reported(place, Demand(per_kw_month=30.0, contracted_kw=275.0))
    (said,) = (one for one in report.said if one.text == BELOW)
    assert (said.params["share"], said.params["margin"]) == (pytest.approx(0.8), pytest.approx(55.0))


def test_who_states_no_contract_is_told_how(place: Path) -> None:
    report = reported(place, None)
    assert not {"contract_frac", "contract_margin_w"} & {one.key for one in report.sections[0].figures}
    assert not [one for one in report.said if one.text in (ABOVE, BELOW)]
    assert [one.text for one in report.sections[0].lead].count(NO_CONTRACT) == 1
    assert words("zh")(NO_CONTRACT) != NO_CONTRACT


def test_a_price_is_that_of_the_energy_that_has_one(place: Path) -> None:
    """The tariff ends with the first of two days at the same power, but for the peaks."""
    report = reported(place, Demand(per_kw_month=31.0), until=date(2026, 10, 31))
    (cost,) = (one for one in report.tables() if one.key == "cost")
    prices = {row[0]: row[3] for row in cost.rows if row[0] != "demand"}
    tariff = load_tariff("guangdong-2021")
    assert prices == pytest.approx({name: 1e3 * tariff.per_kwh[name] for name in ("peak", "flat", "valley")})
    (month,) = next(one for one in report.tables() if one.key == "demand").rows
    assert (month[0], month[-1]) == ("2026-10", pytest.approx(180.0)), "of November nothing is charged"
