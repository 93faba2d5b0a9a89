"""What nobody read in a report: a hall, a rack, a node. It is not known, which is neither nothing nor all."""

import io
import json
from datetime import timedelta
from pathlib import Path
from zipfile import ZipFile
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from energy.account.book import Given
from energy.account.runs import TOPIC
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame
from twin.load import Row, build_site
from twin.site import Site
from ui.oncall.service import ALERT_LOG
from ui.report.document import Report, Table
from ui.report.energy import Limits
from ui.report.make import From, Made, make
from ui.report.scope import scope_of
from ui.report.span import span_of
from ui.report.write import FORMATS

ZONE = ZoneInfo("Asia/Shanghai")
WEEK = span_of("2026-W46", ZONE)
GIVEN = Given(average_gco2_per_kwh=500.0)


class World:
    """Halls h1, h2 and local with a rack each, local's with no GPU; the meters read 6 kW, of that 4 kW of IT. Racks and GPUs
    read what ``rack_w`` and ``gpu_w`` say; ``later``: what h2's rack reads from the middle of the week on."""

    def __init__(self, folder: Path, rack_w: tuple[float, ...], gpu_w: tuple[float, ...], later: float | None = None) -> None:
        lines = [{"id": hall, "kind": "hall"} for hall in ("h1", "h2", "local")]
        racks = (("r1", "h1"), ("r2", "h2"), ("r3", "local"), ("empty", "h1"))
        lines += [{"id": rack, "kind": "rack", "parent": hall} for rack, hall in racks]
        lines += [{"id": f"n{k}", "kind": "node", "parent": f"r{k}"} for k in (1, 2, 3)]
        lines += [{"id": gpu, "kind": "gpu", "parent": gpu[:2]} for gpu in ("n1/0", "n1/1", "n2/0")]
        self.site: Site = build_site("unread", str(ZONE), [Row(f"t:{i}", line) for i, line in enumerate(lines)])
        self.store, self.records = open_store(folder / "store", self.site), open_records(folder / "records.db")
        meters = {"facility_power_w": np.array([6e3]), "it_power_w": np.array([4e3])}
        frames = []
        for k in range(7 * 96):
            at, rack = WEEK.start + timedelta(minutes=15 * k), np.array([*rack_w, np.nan])
            rack[1] = rack[1] if later is None or k < 7 * 48 else later
            for kind, power_w in (("rack", rack), ("gpu", np.array(gpu_w))):
                rows = np.flatnonzero(np.isfinite(power_w)).astype(np.int32)
                frames += [Frame(kind, at, rows, {"power_w": power_w[rows]})] if len(rows) else []
            frames.append(Frame("site", at, self.site.all_rows("site"), meters))
        self.store.append(frames)

    def made(self, scope: str = "centre") -> Made:
        about = From(self.site, self.store, self.records, lambda: GIVEN, Limits(), picture=False)
        return make(about, WEEK, scope_of(scope))


def figures(report: Report) -> dict[str, float]:
    return {figure.key: figure.value for section in report.sections for figure in section.figures}


def halls(report: Report) -> Table:
    return next(one for one in report.tables() if one.key == "halls")


def sentences(report: Report) -> list[str]:
    return [str(one) for one in (*report.said, *(one for section in report.sections for one in section.lead))]


NAN = float("nan")


@pytest.mark.parametrize(
    ("rack_w", "gpu_w", "it_w"),
    [((1e3, 2e3, NAN), (300.0, 300.0, 700.0), (1e3, 2e3)), ((NAN, NAN, NAN), (300.0, 300.0, 1400.0), (1.2e3, 2.8e3))],
)
def test_a_hall_that_nobody_read_has_no_figure(
    tmp_path: Path, rack_w: tuple[float, ...], gpu_w: tuple[float, ...], it_w: tuple[float, ...]
) -> None:
    """Where racks are read what the silent one took is nobody's; where only GPUs are, theirs is all that IT took."""
    world = World(tmp_path, rack_w, gpu_w)
    centre = world.made()
    rows = {str(row[0]): [float(cell) for cell in row[1:]] for row in halls(centre.report).rows}
    assert np.isnan(rows["local"][:-1]).all()
    assert [rows[hall][-1] for hall in ("h1", "h2", "local")] == [1, 1, 0]
    assert [rows[hall][0] for hall in ("h1", "h2")] == pytest.approx([168 * each_w / 1e3 for each_w in it_w])
    note = halls(centre.report).note
    assert note is not None
    assert note.params["halls"] == "local"
    left_kwh = float(note.params["left"])
    assert left_kwh + rows["h1"][4] + rows["h2"][4] == pytest.approx(figures(centre.report)["facility_kwh"], rel=1e-9)
    local = world.made("hall:local")
    assert local.coverage_frac == 0, "so it is kept as a span that nobody read"
    found = figures(local.report)
    assert np.isnan([found[key] for key in ("facility_kwh", "it_kwh", "pue_ratio")]).all()
    assert found["coverage_frac"] == 0
    assert not {"cost", "carbon_location_kg", "ref_frac", "fill_frac"} & set(found)
    told = sentences(local.report)
    assert told[0].startswith("local was not read in this span")
    assert not any("iPUE" in one or "took in" in one.split(":")[0] for one in told)
    files = dict(local.files(["en", "zh"], FORMATS).files)
    assert "local was not read" in files["2026-W46.hall-local.html"].decode()
    assert "local 在本期没有读数" in files["2026-W46.hall-local.zh.html"].decode()
    assert json.loads(files["2026-W46.hall-local.json"])["sections"]["energy"]["figures"]["it_kwh"]["value"] is None
    assert ",it_kwh,IT energy,,kwh" in files["2026-W46.hall-local.figures.csv"].decode()
    made = dict(centre.files(["en"], FORMATS).files)
    assert "local,,,,,,,0.0" in made["2026-W46.halls.csv"].decode()
    assert "Not read: local." in made["2026-W46.html"].decode()
    with ZipFile(io.BytesIO(made["2026-W46.xlsx"])) as book:
        assert any(b"local" in book.read(name) for name in book.namelist())


def test_a_hall_that_was_read_for_half_of_the_time_says_so_and_the_others_were_all_of_it(tmp_path: Path) -> None:
    world = World(tmp_path, (1e3, 2e3, 1e3), (NAN, NAN, NAN), later=NAN)
    rows = {str(row[0]): [float(cell) for cell in row[1:]] for row in halls(world.made().report).rows}
    for hall, it_kwh, read_frac in (("h1", 168.0, 1.0), ("h2", 168.0, 0.5), ("local", 168.0, 1.0)):
        own = world.made(f"hall:{hall}").report
        assert figures(own)["it_kwh"] == pytest.approx(it_kwh), hall
        assert figures(own)["coverage_frac"] == pytest.approx(read_frac)
        assert [rows[hall][0], rows[hall][-1]] == pytest.approx([it_kwh, read_frac])
    told = sentences(world.made("hall:h2").report)
    assert any(one.startswith("iPUE1 (84 h): 50% of the time was read") for one in told), told
    assert "Only 50% of the time was read; sums are of that time alone." in told


def test_a_rack_of_which_nothing_was_read_is_neither_in_use_nor_empty(tmp_path: Path) -> None:
    """Of r1, r2, r3 with nodes and one that is empty, r2 and r3 are silent."""
    world = World(tmp_path, (1e3, NAN, NAN), (300.0, 300.0, NAN))
    report = world.made().report
    assert figures(report)["fill_frac"] == pytest.approx(1 / 2)
    assert any(one.startswith("Of 2 of 3 racks that hold a node or GPU nothing was read") for one in sentences(report))
    assert "fill_frac" not in figures(world.made("hall:h2").report)


def test_gpus_of_a_node_that_nobody_read_are_not_idle(tmp_path: Path) -> None:
    """A run of two GPUs fits on n1; the single GPU of n2, of which nothing was read, would be a fragment."""
    world, start_s = World(tmp_path, (1e3, NAN, NAN), (300.0, 300.0, NAN)), WEEK.start.timestamp()
    run = {"key": f"q/1@{start_s:.0f}", "job": "1", "user": "u", "project": "p", "partition": "", "start_s": start_s}
    world.records.append(TOPIC, WEEK.start, {"entry": "begun", **run, "held": {"n1/": [[0, 1]]}})
    world.records.append(TOPIC, WEEK.start, {"entry": "ended", "key": run["key"], "end_s": start_s + 86400, "end_told": True})
    assert figures(world.made().report)["fragmentation_frac"] == 0


def test_failures_of_a_hall_rest_on_the_hours_in_which_it_was_read(tmp_path: Path) -> None:
    """None failed: at least how long a node lasts is twice as much where twice the hours were read, and nowhere else said."""
    world = World(tmp_path, (1e3, NAN, NAN), (NAN, NAN, NAN), later=2e3)
    told = {"key": "k", "asset": "r1", "rule": "hot", "phase": "resolved"}
    world.records.append(ALERT_LOG, WEEK.start - timedelta(hours=1), told)

    def at_least_s(hall: str) -> dict[object, float]:
        tables = [one for one in world.made(f"hall:{hall}").report.tables() if one.key == "components"]
        return {row[0]: float(row[4]) for one in tables for row in one.rows}

    assert at_least_s("h1")["node"] == pytest.approx(2 * at_least_s("h2")["node"])
    assert at_least_s("local") == {}
