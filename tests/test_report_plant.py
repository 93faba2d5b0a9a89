"""What a report says of the plant: what comes into a station leaves it, cooling by wet bulb, free cooling, liars, heat."""

from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from small import rows

from energy.account.book import Given
from energy.account.tariff import Demand, load_tariff
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame
from twin.load import Row, build_site
from twin.site import Site
from ui.report.compose import compose
from ui.report.document import Chart, Figure, Flow, Report, Table
from ui.report.energy import Limits
from ui.report.gather import gather
from ui.report.scene import drawer, hottest
from ui.report.show import NOBODY, SPOKEN
from ui.report.span import span_of
from ui.report.write import FORMATS, files
from ui.words import words

ZONE = ZoneInfo("Asia/Shanghai")
WEEK = span_of("2026-W46", ZONE)
HOT = 50  # the hour of the week in which the racks' water came back hottest
SERVED_H = 100  # in which the node served an inference model
FREE_H = 60  # hours in which the chiller stood still


def plant_site() -> Site:
    lines = [
        {"id": "h1", "kind": "hall"},
        {"id": "r1", "kind": "rack", "parent": "h1"},
        {"id": "c1", "kind": "cdu", "parent": "h1"},
    ]
    lines += [{"id": "n1", "kind": "node", "parent": "r1"}, *({"id": f"g{k}", "kind": "gpu", "parent": "n1"} for k in range(8))]
    lines += [{"id": "t1", "kind": "transformer"}, {"id": "u1", "kind": "ups"}, {"id": "ch1", "kind": "chiller"}]
    lines += [{"id": "sky", "kind": "weather"}, {"id": "pv1", "kind": "pv"}]
    return build_site("plant", str(ZONE), [Row(f"t:{i}", line) for i, line in enumerate(lines)])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plant")


@pytest.fixture(scope="module")
def report(place: Path) -> Report:
    site = plant_site()
    store, records = open_store(place / "store", site), open_records(place / "records.db")
    frames: list[Frame] = []

    def take(at: datetime, kind: str, **values: float) -> None:
        columns = {name: np.full(site.count(kind), value) for name, value in values.items()}
        frames.append(Frame(kind, at, site.all_rows(kind), columns))

    for k in range(168):
        at = WEEK.start + timedelta(hours=k)
        bulb = 10.0 if k < FREE_H else 20.0
        cooling = 500.0 if k < FREE_H else 1500.0
        take(at, "site", facility_power_w=10_000.0 + cooling + 900.0, it_power_w=10_000.0, cooling_power_w=cooling)
        take(at, "gpu", power_w=1000.0, util_frac=0.6, tensor_active_frac=0.3)
        take(at, "node", power_w=9000.0, **({"tokens_per_s": 500.0} if k < SERVED_H else {}))
        take(at, "rack", power_w=10_000.0, return_temp_c=40.0 + (5.0 if k == HOT else 0.0), supply_temp_c=32.0)
        take(at, "cdu", heat_w=7_000.0, power_w=50.0)
        take(at, "transformer", loss_w=200.0)
        take(at, "ups", loss_w=600.0)
        take(at, "chiller", power_w=0.0 if k < FREE_H else 1000.0)
        take(at, "weather", wet_bulb_c=bulb)
        take(at, "pv", power_w=-1000.0)
    store.append(frames)
    liar = {"phase": "began", "sort": "data", "asset": "r1", "metric": "supply_temp_c", "question": "stuck"}
    for _ in range(2):
        records.append("finding", WEEK.start + timedelta(hours=5), liar)
    demand = load_tariff("guangdong-2021").model_copy(update={"demand": Demand(per_kw_month=32.0, contracted_kw=15.0)})
    inputs = gather(site, store, records, WEEK, Given(tariff=demand))
    pictures = list(drawer(site, store)(WEEK))
    when = hottest(site, store, WEEK)
    assert when is not None
    assert (when.time, when.hall) == (WEEK.start + timedelta(hours=HOT), "h1")
    return compose(inputs, Limits(1.2, 989e12), pictures=pictures)


def block(report: Report, key: str) -> Figure | Table | Chart | Flow:
    found = next(one for section in report.sections for one in section.blocks if one.key == key)
    assert isinstance(found, Figure | Table | Chart | Flow)
    return found


def test_what_comes_into_a_station_leaves_it(report: Report) -> None:
    flow = block(report, "flow")
    assert isinstance(flow, Flow)
    into: dict[str, float] = defaultdict(float)
    out: dict[str, float] = defaultdict(float)
    for source, target, kwh in flow.links:
        out[source] += kwh
        into[target] += kwh
    for station in set(into) & set(out):
        assert into[station] == pytest.approx(out[station], rel=1e-9), station
    hours = 168
    assert out["Own generation"] == pytest.approx(hours)
    assert into["GPUs"] == pytest.approx(8 * hours)
    assert (into["Transformer losses"], into["UPS losses"]) == (pytest.approx(0.2 * hours), pytest.approx(0.6 * hours))
    assert into["Power chain losses"] == pytest.approx(0.1 * hours), "what nobody accounts for has a name"
    assert (into["Heat in the liquid"], into["Heat in the air"]) == (pytest.approx(7 * hours), pytest.approx(3 * hours))
    assert into["Chillers"] == pytest.approx(10 * (hours - FREE_H)), "there is nothing but a chiller, while it ran"
    assert into["Way out not known"] == pytest.approx(10 * FREE_H)


def test_cooling_by_wet_bulb_free_cooling_and_limits(report: Report) -> None:
    chart = block(report, "bulb")
    assert isinstance(chart, Chart)
    known = np.isfinite(chart.lines[0].y)
    assert chart.x[known].tolist() == [11.0, 21.0]
    assert chart.lines[0].y[known].tolist() == pytest.approx([0.05, 0.15])
    figures = {one.key: one for section in report.sections for one in section.figures}
    assert figures["free_cooling_s"].value == pytest.approx(FREE_H * 3600)
    assert figures["contract_w"].value == 15_000.0
    assert figures["pue_limit_ratio"].value == 1.2
    assert figures["effective_flops"].value == pytest.approx(989e12 * 8 * 0.3)
    power = block(report, "power")
    assert isinstance(power, Chart)
    assert power.limit == 15_000.0
    assert any(one.text == "PUE was {pue:.3f}, above the limit of {limit:.2f}." for one in report.said)


def test_a_token_costs_what_its_nodes_took_with_their_share_of_cooling(report: Report) -> None:
    figures = {one.key: one for section in report.sections for one in section.figures}
    tokens, pue = 500.0 * 3600 * SERVED_H, (FREE_H * 11.4 + (168 - FREE_H) * 12.4) / 1680
    assert figures["tokens_count"].value == tokens
    assert figures["kwh_per_mtoken"].value == pytest.approx(9.0 * SERVED_H * pue / tokens * 1e6)


def test_sensors_that_lied_and_what_was_heard(report: Report) -> None:
    liars = block(report, "liars")
    assert isinstance(liars, Table)
    assert [list(row) for row in liars.rows] == [["r1", "supply_temp_c", "stuck", 2.0]]
    heard = block(report, "heard")
    assert isinstance(heard, Table)
    assert {row[0]: row[2] for row in heard.rows}["gpu"] == 1.0


def test_an_asset_is_heard_by_whatever_it_says_of_itself(tmp_path: Path) -> None:
    """Of two nodes one tells how busy its processor is, every other hour; of the other only the scheduler tells."""
    nodes = [f"id={name} kind=node parent=r" for name in "ab"]
    site = build_site("n", "UTC", rows("id=h kind=hall", "id=r kind=rack parent=h", *nodes))
    store, day = open_store(tmp_path / "store", site), span_of("2026-11-10/2026-11-11", ZoneInfo("UTC"))
    for k in range(24):
        at = day.start + timedelta(hours=k)
        store.append([
            Frame("node", at, np.array([0], dtype=np.int32), {"cpu_util_frac": np.array([0.5])}),
            Frame("node", at, site.all_rows("node"), {"usable_flag": np.ones(2)}),
        ][k % 2 :])  # fmt: skip
    made = gather(site, store, open_records(tmp_path / "records.db"), day, Given())
    store.close()
    assert made.heard_frac == {"node": 0.25, "rack": 0.0}


def test_every_word_of_it_is_also_chinese(report: Report) -> None:
    zh = words("zh")
    said: list[str] = [message.text for message in report.said]
    for section in report.sections:
        said += [message.text for message in section.lead] + [figure.label for figure in section.figures]
        for one in section.blocks:
            if not isinstance(one, Figure):
                said += [one.title, *([one.note.text] if one.note else [])]
            if isinstance(one, Flow):
                said += [name for link in one.links for name in link[:2]]
            if isinstance(one, Chart):
                said += [line.label for line in one.lines]
    said += [label for table in report.tables() for label, _ in table.heads] + ["total", *NOBODY.union(*SPOKEN.values())]
    said += [one.note for section in report.sections for one in section.figures if one.note]
    same = {"PUE", "CUE", "WUE", "REF", "ERF", "GPU", "IT", "GPUs"}
    assert [text for text in dict.fromkeys(said) if text and text not in same and zh(text) == text] == []


def test_the_hottest_hall_is_drawn_in_its_own_hour(tmp_path: Path) -> None:
    """h1 stands at 40 °C all day, the centre's mean is highest at 06:00 (38 °C), the hottest hall is h2 at 09:00 (44 °C)."""
    halls = [{"id": f"h{k}", "kind": "hall"} for k in (1, 2)]
    lines = [*halls, *({"id": f"r{k}", "kind": "rack", "parent": f"h{k}"} for k in (1, 2))]
    site = build_site("two", str(ZONE), [Row(f"t:{i}", line) for i, line in enumerate(lines)])
    store = open_store(tmp_path / "store", site)
    for hour, celsius in ((6, (40.0, 36.0)), (9, (30.0, 44.0))):
        columns = {"return_temp_c": np.array(celsius)}
        store.append([Frame("rack", WEEK.start + timedelta(hours=hour), site.all_rows("rack"), columns)])
    (picture,) = drawer(site, store)(WEEK)
    store.close()
    assert (picture.alt.params["hall"], picture.alt.params["time"]) == ("h2", "2026-11-09 09:00")
    assert (picture.pin.name, picture.pin.value) == ("r2", 44.0)
    assert "h2" in words("zh").sentence(picture.alt)


def test_the_hottest_hour_is_drawn_the_same_each_time(report: Report, place: Path) -> None:
    site = plant_site()
    store = open_store(place / "store", site, readonly=True)
    try:
        again = next(drawer(site, store)(WEEK))
    finally:
        store.close()
    picture = next(one for one in report.sections[0].blocks if one.key == "hottest")
    assert picture == again
    made = dict(files(report, ("en",), FORMATS, WEEK.end, "CNY").files)
    said = (
        "The twin of h1 in the hour from 2026-11-11 02:00: return temperature of each rack, "
        "from 44.4\u202f°C (dark) to 45.6\u202f°C (bright). Hottest: r1, 45.0\u202f°C"
    )
    assert f'aria-label="{said}"' in made["2026-W46.html"].decode()
    assert made["2026-W46.pdf"].startswith(b"%PDF-")
