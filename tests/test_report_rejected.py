"""Where the heat of IT goes: by which machines, when chillers ran and when not, and what nothing says of."""

from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from energy.account.book import Given
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame, Origin
from twin.load import Row, build_site
from ui.report.document import Flow
from ui.report.flows import flow
from ui.report.gather import gather
from ui.report.span import span_of

ZONE = ZoneInfo("Asia/Shanghai")
SPAN = span_of("2026-11-03/2026-11-04", ZONE)
PLACES = [
    {"id": "h1", "kind": "hall"},
    {"id": "c1", "kind": "cdu", "parent": "h1"},
    {"id": "a1", "kind": "crah", "parent": "h1"},
]
Columns = dict[str, dict[str, float]]


def drawing(folder: Path, machines: str, cools: str, at_quarter: Callable[[int], Columns], cdus_from: int = 0) -> Flow:
    """The drawing of a day; ``machines``: "id:kind …", ``cools``: "from>to …". What is said of CDUs is the twin's word before
    the quarter of an hour ``cdus_from``."""
    lines = PLACES + [{"id": one.split(":")[0], "kind": one.split(":")[1]} for one in machines.split()]
    links = [dict(zip(("from", "to"), one.split(">"), strict=True)) | {"relation": "cools"} for one in cools.split()]
    rows = [[Row(f"t:{i}", line) for i, line in enumerate(table)] for table in (lines, links)]
    site = build_site("heat", str(ZONE), *rows)
    store, frames = open_store(folder / "store", site), list[Frame]()
    for k in range(96):
        for kind, values in at_quarter(k).items():
            columns: dict[str, Any] = {name: np.full(site.count(kind), value) for name, value in values.items()}
            origin = Origin.MODELLED if kind == "cdu" and k < cdus_from else Origin.MEASURED
            frames.append(Frame(kind, SPAN.start + timedelta(minutes=15 * k), site.all_rows(kind), columns, origin))
    store.append(frames)
    (made,) = flow(gather(site, store, open_records(folder / "records.db"), SPAN, Given()))
    store.close()
    return made


def flows(folder: Path, machines: str, cools: str, at_quarter: Callable[[int], Columns]) -> dict[tuple[str, str], float]:
    """The links of ``drawing``; what comes into a station leaves it."""
    made = drawing(folder, machines, cools, at_quarter)
    into, out = defaultdict(float), defaultdict(float)
    for source, target, kwh in made.links:
        out[source] += kwh
        into[target] += kwh
    for station in set(into) & set(out):
        assert into[station] == pytest.approx(out[station], rel=1e-9), station
    ends = sum(kwh for station, kwh in into.items() if station not in out)
    assert ends == pytest.approx(sum(kwh for station, kwh in out.items() if station not in into), rel=1e-9)
    return {(source, target): kwh for source, target, kwh in made.links}


def meters(facility_w: float = 13e3) -> Columns:
    return {"site": {"facility_power_w": facility_w, "it_power_w": 10e3, "cooling_power_w": 2e3}}


def test_each_loop_gives_its_heat_to_its_own_machines(tmp_path: Path) -> None:
    """Of 10 kW 7 go with the liquid to a dry cooler, 3 with the air, for 8 hours through the chiller, to the tower. For
    the last six hours no CDU says anything; then nothing tells whether the dry cooler or the tower has it."""

    def quarter(k: int) -> Columns:
        cdu: Columns = {"cdu": {"heat_w": 7e3}} if k < 72 else {}
        return meters() | cdu | {"chiller": {"power_w": 900.0 if k < 32 else 0.0}}

    found = flows(tmp_path, "ch:chiller ct:tower dc:drycooler", "dc>c1 ct>ch ch>a1", quarter)
    assert found["Heat in the liquid", "Dry coolers"] == pytest.approx(18 * 7)
    assert found["Heat in the air", "Chillers"] == found["Chillers", "Cooling towers"] == pytest.approx(8 * 3)
    assert found["Heat in the air", "Cooling towers"] == pytest.approx(10 * 3)
    assert found["Heat of which no CDU says", "Way out not known"] == pytest.approx(6 * 10)
    assert found["Centre", "Not told apart: losses, other"] == pytest.approx(24.0), "no device of the power chain says a loss"


def test_two_kinds_on_one_loop_share_it_by_their_fans(tmp_path: Path) -> None:
    def quarter(k: int) -> Columns:
        fans: Columns = {"tower": {"power_w": 300.0}} if k < 48 else {}
        return meters() | fans | {"cdu": {"heat_w": 10e3}, "drycooler": {"power_w": 100.0}}

    found = flows(tmp_path, "ct:tower dc:drycooler", "dc>c1 ct>c1", quarter)
    liquid = {target: kwh for (source, target), kwh in found.items() if source == "Heat in the liquid"}
    assert liquid == pytest.approx({"Cooling towers": 12 * 7.5, "Dry coolers": 12 * 2.5, "Way out not known": 120.0})


def test_what_meters_read_beyond_what_came_in_is_a_station_of_its_own(tmp_path: Path) -> None:
    found = flows(tmp_path, "ct:tower", "ct>c1", lambda k: meters(11e3) | {"cdu": {"heat_w": 10e3}})
    assert found["Read beyond what came in", "Centre"] == pytest.approx(24.0)
    assert found["Heat in the liquid", "Cooling towers"] == pytest.approx(240.0)


@pytest.mark.parametrize("losses", [{}, {"ups": {"loss_w": 100.0}}])
def test_what_nothing_tells_apart_is_not_the_power_chains(tmp_path: Path, losses: Columns) -> None:
    """Of 3 kW beyond IT no meter says what cools, and the loss of a UPS alone makes the rest no loss."""
    watts: Columns = {"site": {"facility_power_w": 13e3, "it_power_w": 10e3}}
    made = drawing(tmp_path, "u1:ups", "", lambda k: watts | losses)
    found = {target: kwh for source, target, kwh in made.links if source == "Centre" and target != "IT"}
    ups = 24 * 0.1 if losses else 0.0
    expected = {"Not told apart: cooling, losses, other": 72.0 - ups} | ({"UPS losses": ups} if losses else {})
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("cdus_from", [0, 24, 96])
def test_the_caption_says_whose_word_the_heat_is(tmp_path: Path, cdus_from: int) -> None:
    made = drawing(tmp_path, "ct:tower", "ct>c1", lambda k: meters() | {"cdu": {"heat_w": 7e3}}, cdus_from)
    assert made.note is not None
    assert made.note.params == ({"modelled": cdus_from / 96} if cdus_from else {})
    assert ("the CDUs meter" in made.note.text) is (cdus_from == 0)
