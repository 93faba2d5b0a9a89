"""What a report says of a time that was read in part: sums, ratios, comparisons and savings of that time and no other."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from small import small_site

from energy.account.book import Given
from energy.account.carbon import Contract, carbon
from energy.account.runs import TOPIC
from energy.baseline import Saving, Verdict, saving
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame
from twin.message import Message
from ui.report.compose import compose
from ui.report.document import Chart, Figure, Report, Section, Table
from ui.report.energy import AS_LOCATION, Limits, section
from ui.report.gather import Inputs, gather
from ui.report.span import span_of
from ui.report.use import section as used
from ui.words import words

SPAN = span_of("2026-11-10/2026-11-12", ZoneInfo("Asia/Shanghai"))
BEFORE = SPAN.before()
CO2, PRICE = "carbon_gco2_per_kwh", "price_per_mwh"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Two days of 12 kW (IT 10 kW) by five minutes, at 500 g and 100 a MWh; of the second, the meters lack the last 12 h and
    the grid's signals the 6 before. In its first quarter of an hour 30 kW are drawn, of which 20 are made on the spot. A run
    holds eight GPUs until the meters end. The two days before were read whole."""
    return of(tmp_path_factory.mktemp("sums"))


def of(folder: Path) -> Inputs:
    site = small_site("id=sun kind=pv")
    store, records = open_store(folder / "store", site), open_records(folder / "records.db")
    frames: list[Frame] = []
    for k in range(4 * 288):
        at = BEFORE.start + timedelta(minutes=5 * k)
        begun_h = (at - SPAN.start).total_seconds() / 3600
        bright = 24 <= begun_h < 24.25
        if begun_h < 36:
            power = {"facility_power_w": 30e3 if bright else 12e3, "it_power_w": 10e3, "cooling_power_w": 1e3}
            frames.append(Frame("site", at, site.all_rows("site"), {name: np.array([one]) for name, one in power.items()}))
            frames.append(
                Frame("gpu", at, site.all_rows("gpu"), {"power_w": np.full(16, 500.0), "util_frac": np.full(16, 0.5)})
            )
            frames.append(Frame("pv", at, site.all_rows("pv"), {"power_w": np.array([-20e3 if bright else 0.0])}))
        if begun_h < 30:
            told = {CO2: np.array([500.0]), PRICE: np.array([100.0])}
            frames.append(Frame("grid", at, np.zeros(1, dtype=np.int32), told))
    store.append(frames)
    begun_s = SPAN.start.timestamp()
    run = {"key": f"q/1@{begun_s:.0f}", "job": "1", "user": "u", "project": "p", "partition": "", "start_s": begun_s}
    records.append(TOPIC, SPAN.start, {"entry": "begun", **run, "gpus": [[0, 7]]})
    over = {"entry": "ended", "key": run["key"], "end_s": begun_s + 36 * 3600.0, "end_told": True}
    records.append(TOPIC, SPAN.start + timedelta(hours=36), over)
    made = gather(site, store, records, SPAN, Given())
    store.close()
    return made


@pytest.fixture(scope="module")
def report(inputs: Inputs) -> Report:
    return compose(inputs)


def energy(report: Report) -> Section:
    return next(one for one in report.sections if one.key == "energy")


def figure(report: Report, key: str) -> Figure:
    return next(one for one in energy(report).figures if one.key == key)


def said(inputs: Inputs) -> list[str]:
    return [words("en").sentence(one) for one in section(inputs, Limits()).lead]


def test_a_gpu_hour_is_of_the_time_that_the_meters_were_read(report: Report) -> None:
    """36 h of eight GPUs; 436.5 kWh came in, of which 5 from the sun; of 383.5 kWh of the grid's 431.5 the carbon is known: a
    value holds for two hours."""
    assert figure(report, "facility_kwh").value == pytest.approx(436.5)
    assert figure(report, "kwh_per_gpu_h").value == pytest.approx(436.5 / (8 * 36))
    assert figure(report, "carbon_location_kg").value == pytest.approx(383.5 * 0.5)
    per_kwh = 383.5 * 0.5 / (436.5 * 383.5 / 431.5)
    assert figure(report, "kg_per_gpu_h").value == pytest.approx(436.5 / (8 * 36) * per_kwh)
    assert figure(report, "cue_kg_per_kwh").value == pytest.approx(383.5 * 0.5 / 320), "over IT's energy of the same 32 hours"


def test_carbon_and_cost_that_lack_a_part_say_so_and_are_not_set_beside_whole_ones(inputs: Inputs) -> None:
    lead = said(inputs)
    assert "11.1% of the energy has no price and is not in the cost." in lead
    assert "11.1% of the grid's energy has no carbon intensity and is not in the carbon." in lead
    now, was = inputs.account, inputs.before
    assert was is not None
    like = replace(was, coverage_frac=now.coverage_frac, it_read_frac=now.it_read_frac)
    found = {one.key: one.was for one in section(replace(inputs, before=like), Limits()).figures}
    assert found["facility_kwh"] == pytest.approx(48 * 12)
    assert np.isnan([found[key] for key in ("carbon_location_kg", "carbon_market_kg", "cue_kg_per_kwh", "cost")]).all()
    assert was.bill is not None
    carbon, bill = (replace(one, coverage_frac=383.5 / 431.5) for one in (was.carbon, was.bill))
    like = replace(like, carbon=carbon, bill=bill)  # type: ignore[arg-type]
    found = {one.key: one.was for one in section(replace(inputs, before=like), Limits()).figures}
    assert (found["carbon_location_kg"], found["cost"]) == pytest.approx((48 * 12 * 0.5, 48 * 12 * 0.1))


@pytest.mark.parametrize(
    ("given", "count"),
    [({}, 1), ({"contracts": [Contract("wind", share_frac=0.1)]}, 0), ({"residual_gco2_per_kwh": 700.0}, 0)],
)
def test_market_based_carbon_without_contract_and_residual_mix_says_that_it_is_location_based(
    inputs: Inputs, given: dict[str, Any], count: int
) -> None:
    kwh, average = np.array([100.0, 200.0]), np.array([500.0, 600.0])
    made = carbon(kwh, average, average, **given)
    assert (made.market_kg == made.location_kg) is bool(count)
    lead = section(replace(inputs, account=replace(inputs.account, carbon=made)), Limits()).lead
    assert lead.count(Message(AS_LOCATION)) == count
    assert words("zh")(AS_LOCATION) != AS_LOCATION


def test_parts_that_sum_to_the_meters_do_so_exactly_and_others_by_how_much(inputs: Inputs) -> None:
    """What is left of rounding, below the digits that a report shows, is no error."""
    exact = "exactly;", "与电表完全相等；"
    for error, in_english, in_chinese in ((0.0, *exact), (3e-16, *exact), (2e-9, "to 2e-09;", "2e-09；")):
        split = inputs.splits["user"].split
        assert split is not None
        account = replace(inputs.splits["user"], split=replace(split, sum_error_frac=error))
        told = next(
            one
            for one in used(replace(inputs, splits={**inputs.splits, "user": account}), Limits()).blocks
            if one.key == "by_user"
        )
        assert isinstance(told, Table)
        assert told.note is not None
        assert in_english in words("en").sentence(told.note)
        assert in_chinese in words("zh").sentence(told.note)


def test_a_peak_is_what_the_grid_gave_on_the_first_page_by_day_and_drawn(report: Report) -> None:
    """30 kW for a quarter of an hour, of which 20 are made on the spot, are no peak beside 12 kW."""
    assert figure(report, "peak_w").value == pytest.approx(12e3)
    blocks = energy(report).blocks
    days = next(one for one in blocks if isinstance(one, Table) and one.key == "days")
    place = [name for name, _ in days.heads].index("Peak demand")
    assert [row[place] for row in days.rows] == pytest.approx([12e3, 12e3])
    (drawn,) = (line for one in blocks if isinstance(one, Chart) and one.key == "power"
                for line in one.lines if line.label == "Power from the grid")  # fmt: skip
    assert np.nanmax(drawn.y) == pytest.approx(12e3)


def test_what_the_twin_says_of_it_is_not_called_read(inputs: Inputs) -> None:
    account = replace(inputs.account, coverage_frac=0.0, modelled_frac=0.0, it_read_frac=0.5, it_modelled_frac=1.0)
    told = replace(inputs, account=account)
    assert said(told)[0] == "IT: 50% of the time was read, 100% of that by the twin and not by a meter."
    assert "100% of the time as the twin works it out" in words("en").sentence(compose(told).said[0])


@pytest.mark.parametrize(
    ("saved", "sentence"),
    [
        (
            (2.0, -4.0, 8.0),
            "no saving can be shown: what was taken less is, at 80%, between −4 and +8 kWh, which may be nothing.",
        ),
        (
            (-0.2, -0.4, 0.1),
            "no saving can be shown: what was taken less is, at 80%, between 0 and 0 kWh, which may be nothing.",
        ),
        ((90.0, 50.0, 130.0), "90 kWh less were taken, 80% between 50 and 130 kWh."),
        ((-90.0, -130.0, -50.0), "90 kWh more were taken, 80% between 50 and 130 kWh."),
    ],
)
def test_a_saving_that_may_be_nothing_is_none(inputs: Inputs, saved: tuple[float, float, float], sentence: str) -> None:
    made = Saving(Verdict.SHOWN, *saved, 900.0, 900.0, 7, 0.02, 33)
    (found,) = (one for one in said(replace(inputs, saving=made)) if one.startswith("Against a regression"))
    assert "on the 33 days before" in found
    assert found.endswith(sentence)


def test_a_saving_says_how_many_days_it_rests_on() -> None:
    """Of 40 days before, ten lack a tenth of their readings."""
    rng = np.random.default_rng(2)
    it = rng.uniform(20e3, 30e3, 47)
    table = np.column_stack([1.2 * it, it, np.full(47, 15.0)])
    table[:10, 0] = np.nan
    assert saving(table[:40], table[40:]).fitted_days == 30
