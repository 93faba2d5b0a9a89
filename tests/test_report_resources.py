"""Water and reused heat in a report: as meters read them, else as the twin has it, else which meter lacks."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from energy.account.book import Given
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame
from twin.load import Row, build_site
from ui.report.compose import compose
from ui.report.data import figures_csv
from ui.report.document import Report
from ui.report.gather import gather
from ui.report.resources import ERF_READ, NO_ERF, NO_WUE, OWN_READ, TOO_MUCH, WUE_MODELLED, WUE_READ
from ui.report.span import span_of
from ui.words import words

ZONE = ZoneInfo("Asia/Shanghai")
SPAN = span_of("2026-11-03/2026-11-04", ZONE)
MACHINES = ("c1:cdu", "lp:loop", "ct1:tower", "ct2:tower", "dh:heatreuse")


def reported(folder: Path, columns: dict[str, dict[str, Any]], *more: str) -> Report:
    """Of a day at 10 kW of IT and 13 kW in all; ``columns``: by kind and metric, of each quarter of an hour or of all, of each
    asset (float64[96, n]) or alike; ``more``: machines."""
    lines = [dict(zip(("id", "kind"), one.split(":"), strict=True)) for one in (*MACHINES, *more)]
    site = build_site("water", str(ZONE), [Row(f"t:{i}", line) for i, line in enumerate(lines)])
    store, frames = open_store(folder / "store", site), list[Frame]()
    all_of: dict[str, dict[str, Any]] = {"site": {"facility_power_w": 13e3, "it_power_w": 10e3}, "cdu": {"heat_w": 7e3}}
    for kind, values in columns.items():
        all_of[kind] = all_of.get(kind, {}) | values
    for kind, values in all_of.items():
        shape = (96, site.count(kind))
        table = {
            name: np.broadcast_to(column if column.ndim == 2 else column.reshape(-1, 1), shape)
            for name, column in ((name, np.asarray(value, dtype=float)) for name, value in values.items())
        }
        for k in range(96):
            row = {name: column[k] for name, column in table.items()}
            frames.append(Frame(kind, SPAN.start + timedelta(minutes=15 * k), site.all_rows(kind), row))
    store.append(sorted(frames, key=lambda frame: frame.time))
    made = compose(gather(site, store, open_records(folder / "records.db"), SPAN, Given()))
    store.close()
    return made


def figures(report: Report) -> dict[str, float]:
    return {one.key: one.value for one in report.sections[0].figures}


def said(report: Report, *texts: str) -> list[tuple[str, float]]:
    """Of the sentences that there are of ``texts`` the text and the share of the time."""
    return [(one.text, float(one.params.get("coverage", -1))) for one in report.sections[0].lead if one.text in texts]  # type: ignore[arg-type]


ALL = (ERF_READ, NO_ERF, NO_WUE, TOO_MUCH, WUE_MODELLED, WUE_READ)
HALF = np.where(np.arange(96) < 48, 1.0, np.nan)


def test_what_meters_read_is_told_with_its_coverage(tmp_path: Path) -> None:
    """Two towers take in 2.5 g/s each for the half of the day that is read; 1.3 kW of heat go out for three quarters of it."""
    columns = {"tower": {"makeup_kgps": 0.0025 * HALF, "power_w": 300.0}, "loop": {"heat_w": 10e3},
               "heatreuse": {"heat_w": np.where(np.arange(96) < 72, 1.3e3, np.nan)}}  # fmt: skip
    report = reported(tmp_path, columns)
    found = figures(report)
    assert found["wue_kg_per_kwh"] == pytest.approx(0.005 * 3600 / 10)
    assert found["erf_frac"] == pytest.approx(0.1)
    assert "wue_modelled_kg_per_kwh" not in found, "what is measured needs no model"
    assert said(report, *ALL) == [(WUE_READ, pytest.approx(0.5)), (ERF_READ, pytest.approx(0.75))]
    links = {
        (a, b): kwh for section in report.sections for one in section.blocks if one.key == "flow" for a, b, kwh in one.links
    }  # type: ignore[union-attr]
    assert links["Heat in the liquid", "Heat reuse"] == pytest.approx(18 * 1.3)
    assert links["Heat in the liquid", "Cooling towers"] == pytest.approx(24 * 7 - 18 * 1.3)
    assert "wue_kg_per_kwh,WUE,1.8,kg_per_kwh" in figures_csv(report)


def test_a_meter_of_the_site_counts_before_those_of_machines(tmp_path: Path) -> None:
    columns = {"site": {"makeup_kgps": 0.004}, "tower": {"makeup_kgps": 0.0025}}
    assert figures(reported(tmp_path, columns))["wue_kg_per_kwh"] == pytest.approx(0.004 * 3600 / 10)


def test_without_a_meter_wue_is_the_twins_and_says_so_and_erf_names_the_meter(tmp_path: Path) -> None:
    """10 kW evaporate in the half of the day in which towers run: 1.481 L for a kWh, a quarter more let off."""
    columns = {"tower": {"power_w": np.nan_to_num(300.0 * HALF)}, "loop": {"heat_w": 10e3}}
    report = reported(tmp_path, columns)
    found = figures(report)
    assert found["wue_modelled_kg_per_kwh"] == pytest.approx(1.481 * 1.25 / 2, rel=1e-3)
    assert not {"wue_kg_per_kwh", "erf_frac"} & set(found)
    assert said(report, *ALL) == [(WUE_MODELLED, pytest.approx(1.0)), (NO_ERF, -1.0)]
    label = next(one.label for one in report.sections[0].figures if one.key == "wue_modelled_kg_per_kwh")
    assert (label, words("zh")(label)) == ("WUE, modelled", "WUE（模型值）")


def test_what_is_not_known_is_said_and_so_is_a_meter_that_reads_too_much(tmp_path: Path) -> None:
    report = reported(tmp_path, {"heatreuse": {"heat_w": 14e3}})
    assert not {"wue_kg_per_kwh", "wue_modelled_kg_per_kwh", "erf_frac"} & set(figures(report))
    assert said(report, *ALL) == [(NO_WUE, -1.0), (TOO_MUCH, -1.0)]


def test_a_silent_meter_of_two_is_not_nothing(tmp_path: Path) -> None:
    """Two towers take in 1 g/s each, two users 2 kW each; for half of the day one of each is silent."""
    two = np.column_stack([np.ones(96), HALF])
    report = reported(tmp_path, {"tower": {"makeup_kgps": 0.001 * two}, "heatreuse": {"heat_w": 2e3 * two}}, "dh2:heatreuse")
    found = figures(report)
    assert (found["wue_kg_per_kwh"], found["erf_frac"]) == pytest.approx((0.002 * 3600 / 10, 4 / 13))
    assert said(report, *ALL) == [(WUE_READ, pytest.approx(0.5)), (ERF_READ, pytest.approx(0.5))]


def test_meters_that_were_never_read_together_say_nothing_and_no_more(tmp_path: Path) -> None:
    turns = np.column_stack([HALF, HALF[::-1]])
    report = reported(
        tmp_path, {"tower": {"makeup_kgps": 0.001 * turns}, "heatreuse": {"heat_w": 2e3 * turns}}, "dh2:heatreuse"
    )
    assert not {"wue_kg_per_kwh", "erf_frac"} & set(figures(report))
    assert said(report, *ALL) == [(NO_WUE, -1.0), (NO_ERF, -1.0)]


DAWN = np.where(np.arange(96) < 24, np.nan, 1.0)
NIGHT = (np.arange(96) >= 24).astype(float)


@pytest.mark.parametrize(
    ("first", "second", "own", "guessed", "coverage"),
    [
        (1.0, 3.0, 96.0, 0.0, None),
        (1.0, 3.0 * HALF, 96.0, 36.0, 0.5),  # the second delivers three times the first
        (1.0 * HALF, 3.0, 96.0, 12.0, 0.5),
        (NIGHT, 3.0 * NIGHT * HALF, 72.0, 36.0, 0.5),  # it stands still from midnight to six
        (DAWN, 3.0 * DAWN, 72.0, 0.0, 0.75),  # both sleep till six
        (HALF, 3.0 * HALF[::-1], 48.0, 0.0, 0.0),  # never read together: nothing says what the other did
        (1.0, np.nan, 24.0, 0.0, 0.0),  # the second never spoke
    ],
)
def test_a_plant_silent_beside_another_goes_on_as_it_does_beside_it(
    tmp_path: Path, first: Any, second: Any, own: float, guessed: float, coverage: float | None
) -> None:
    """Kilowatts of two photovoltaic plants, of 13 that come in all day."""
    power = -1e3 * np.column_stack([np.broadcast_to(one, 96) for one in (first, second)])
    report = reported(tmp_path, {"pv": {"power_w": power}}, "p1:pv", "p2:pv")
    assert figures(report)["ref_frac"] == pytest.approx(own / (24 * 13))
    told = [(one.params["coverage"], one.params["guessed"]) for one in report.sections[0].lead if one.text == OWN_READ]
    assert told == ([] if coverage is None else [(pytest.approx(coverage), guessed)])


def test_a_plant_is_never_guessed_above_what_it_delivered_at_its_best(tmp_path: Path) -> None:
    """They were read together while the first made a hundredth of the second's 5 kW; then it makes 2.5 kW alone."""
    power = -1e3 * np.column_stack([np.where(HALF == 1, 0.05, 2.5), 5.0 * HALF])
    report = reported(tmp_path, {"pv": {"power_w": power}}, "p1:pv", "p2:pv")
    assert figures(report)["ref_frac"] == pytest.approx(12 * (5.05 + 7.5) / (24 * 13))


def test_a_centre_without_plants_says_nothing_of_own_generation(tmp_path: Path) -> None:
    assert OWN_READ not in [one.text for one in reported(tmp_path, {}).sections[0].lead]
