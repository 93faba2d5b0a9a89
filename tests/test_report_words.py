"""How a report reads: each peak is on its chart, axes name what they show, names that people gave stay theirs, both languages
say the same, on paper, on a telephone and to who hears it."""

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from browsing import chromium
from test_report_plant import plant_site

from analytics.kpis import DEFINITIONS
from energy.account.book import Given
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame
from twin.message import Message
from ui.faces.api_reports import _attached
from ui.report.charts import HIGH, TOP, chart_alt, chart_svg, flow_alt, flow_svg
from ui.report.compose import compose
from ui.report.document import Block, Chart, Figure, Flow, Line, Report, Section, Table
from ui.report.energy import DEFINED, SCI
from ui.report.flows import REST
from ui.report.gather import gather
from ui.report.page import page
from ui.report.scope import Scope
from ui.report.show import Show
from ui.report.span import span_of
from ui.report.typeset import pdf
from ui.words import words

ZONE = ZoneInfo("Asia/Shanghai")
EN, ZH = Show(words("en"), "CNY"), Show(words("zh"), "CNY")
BEGIN_S = datetime(2026, 10, 1, tzinfo=ZONE).timestamp()


def chart(y: list[float] | np.ndarray, unit: str = "w", **more: object) -> Chart:
    x = BEGIN_S + 900.0 * np.arange(len(y))
    return replace(Chart("power", "Power over the span", unit, x, [Line("IT power", np.asarray(y, dtype=float))]), **more)  # type: ignore[arg-type]


def labels(svg: str) -> list[str]:
    """What stands at the y axis."""
    return re.findall(r'text-anchor="end" fill="#444">([^<]*)</text>', svg)


def report(*blocks: Block, scope: str = "") -> Report:
    return Report("c", scope, "2026-W46", "2026-11-09", "2026-11-15", "UTC", (), (), [Section("s", "Energy", blocks=blocks)])


def test_the_peak_of_a_long_span_is_on_its_chart_and_so_is_its_trough() -> None:
    """92 days by quarters, 30 kW but for one quarter at 44.5 kW and one at 10 kW; of each stretch two points at most."""
    y = np.full(92 * 96, 30e3)
    y[4321], y[6543] = 44.5e3, 10e3
    svg = chart_svg(chart(y), EN, ZONE)
    path = re.search(r'<path d="([^"]*)"', svg)
    assert path is not None
    heights = [float(b) for _, b in re.findall(r"[ML]([\d.]+) ([\d.]+)", path[1])]
    assert len(heights) <= 1400
    room = 0.06 * 44.5 / (44.5 * 1.06)  # the axis goes from 0 to 6 % above
    inner = HIGH - TOP - 24.0
    assert min(heights) == pytest.approx(TOP + room * inner, abs=0.1)
    assert max(heights) == pytest.approx(TOP + inner * (1 - 10 / (44.5 * 1.06)), abs=0.1)
    gap = y.copy()
    gap[2000:4000] = np.nan
    found = re.search(r'<path d="([^"]*)"', chart_svg(chart(gap), EN, ZONE))
    assert found is not None
    assert found[1].count("M") == 2, "a gap stays a gap"


def test_a_lone_reading_is_drawn_and_its_axis_names_different_values() -> None:
    svg = chart_svg(chart([np.nan, 3130.0, np.nan]), EN, ZONE)
    assert re.search(r'<path d="M[\d.]+ [\d.]+h1.6"', svg)
    said = labels(svg)
    assert len(said) == len(set(said)) >= 3, said
    counts = labels(chart_svg(chart([0.0, 1.0, 2.0], "count"), EN, ZONE))
    assert counts == ["0", "1", "2"]


def test_no_label_is_cut_at_the_edge() -> None:
    bars = chart([0.1, 0.2, 0.3], "frac", kind="bar", time=False, x_unit="c", x=np.array([13.0, 15.0, 17.0]))
    last = re.findall(
        r'<text x="([\d.]+)" y="192" text-anchor="(\w+)"[^>]*>([^<]*)', chart_svg(bars, EN, ZONE).replace("192.0", "192")
    )[-1]
    assert last[2].startswith("18.0")
    assert last[1] == "end"
    assert float(last[0]) <= 720.0


def test_names_that_people_gave_are_not_translated_and_our_words_are() -> None:
    kinds = Table("a", "A", (("kind", ""), ("asset", ""), ("n", "count")), (("node", "node", 1.0),), ("total", "", 1.0))
    assert ZH.row(kinds, kinds.rows[0])[:2] == ["节点", "node"]
    assert ZH.row(kinds, kinds.total, total=True)[0] == words("zh")("total") != "total"
    who = Table("b", "B", (("who", ""), ("n", "count")), ())
    assert [ZH.row(who, [name, 1.0])[0] for name in ("peak", "gpu", "total", "(idle)")] == ["peak", "gpu", "total", "（空闲）"]


def test_changes_of_shares_are_points_and_nothing_has_a_sign() -> None:
    read = Figure("coverage_frac", "Read of the time", 0.56, "frac", was=0.27)
    assert (EN.change(read), ZH.change(read)) == ("+29.0 points", "+29.0 个百分点")
    assert EN.change(Figure("x", "X", 99.0, "kwh", was=100.0)) == "−1.0%"
    assert EN.change(Figure("x", "X", 100.00001, "kwh", was=100.0)) == "±0.0%"
    for text, value, said in (("{x:,.0f} kWh less", -0.2, "0 kWh less"), ("{x:+.1%}", -0.0001, "0.0%"),
                              ("{x:,.0f} kWh", -4.2, "−4 kWh"), ("{x:,.1f}", -0.4, "−0.4"),
                              ("h1-a-3, 2026-11: {x:.1f} (-1 to --2)", -1.3, "h1-a-3, 2026-11: −1.3 (−1 to --2)"),
                              ):  # fmt: skip
        assert words("en").sentence(Message(text, {"x": value})) == said
    assert words("en").sentence(Message("2026-01 to 2026-02-0")) == "2026-01 to 2026-02-0"
    hours = Table("h", "H", (("who", ""), ("GPU hours", "gpu_h")), ())
    assert [ZH.row(hours, ["j", h])[1] for h in (0.26, 1234.0, float("nan"))] == ["0.26", "1,234", "–"]
    assert ZH.value(1234.0, "gpu_h") == "1,234\u202fGPU\u202f小时"


@pytest.mark.parametrize(
    ("was", "said"),
    [(1.2, '"change">±0.0%'), (1.20001, '"change">±0.0%'), (1.1, '"change bad">+9.1%'), (1.3, '"change good">−7.7%')],
)
def test_what_has_not_changed_is_neither_better_nor_worse(was: float, said: str) -> None:
    made = replace(report(), head=[Figure("pue_ratio", "PUE", 1.2, "ratio", was=was, good=-1)])
    assert f"<span class={said}</span>" in page(made, EN)


def test_drawings_say_what_they_show() -> None:
    assert chart_alt(chart([1000.0, np.nan, 2500.0]), EN) == "Power over the span: IT power from 1.00\u202fkW to 2.50\u202fkW"
    flow = Flow("flow", "Where the energy went", "kwh", (("Grid", "Centre", 12.0),))
    assert flow_alt(flow, EN) == "Where the energy went: Grid → Centre 12.0\u202fkWh"
    made = pdf(report(chart([1000.0, 2500.0]), flow), EN, datetime(2026, 11, 16, tzinfo=ZONE))
    assert made.startswith(b"%PDF-")


@pytest.mark.parametrize("show", [EN, ZH], ids=["en", "zh"])
def test_no_name_of_a_flow_lies_on_another(show: Show) -> None:
    """Thin stations below one another, whose names take three lines; no line begins with what parts or closes."""
    thin = [("Centre", name, 0.001) for name in ("Transformer losses", "UPS losses", "Power chain losses")]
    drawn = flow_svg(Flow("flow", "Where the energy went", "kwh", (("Centre", "IT", 100.0), *thin, ("IT", REST, 1.0))), show)
    lines = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)<', drawn)
    for x in {x for x, _, _ in lines}:
        y = np.array([float(y) for at, y, _ in lines if at == x])
        apart = np.diff(y)
        assert (np.isclose(apart, 12.0) | (apart >= 18.0)).all(), "lines of one name, or of another further down"
    assert not [text for _, _, text in lines if text[0] in "、，）"]
    assert "".join(text for _, _, text in lines).replace(" ", "").count(show.words(REST).replace(" ", "")) == 1, (
        "nothing is cut"
    )


def test_definitions_stand_on_the_page_in_its_language() -> None:
    note = "linear"
    figure = Figure("held_frac", "Allocated", 0.5, "frac", note=DEFINITIONS["utilisation_frac"])
    en, zh = page(report(figure), EN), page(report(figure), ZH)
    assert "<dd>GPU-hours allocated to jobs over GPU-hours in service" in en
    assert "<dd>算力利用率：分配给作业的 GPU 小时" in zh
    assert note not in zh


@pytest.mark.parametrize("show", [EN, ZH], ids=["en", "zh"])
def test_no_definition_names_an_internal_key(show: Show) -> None:
    """Counters of NVML and DCGM have names of their own, in capitals."""
    told = [*DEFINITIONS.values(), *DEFINED.values(), SCI]
    assert [text for text in map(show.words, told) if re.search(r"\b[a-z]+(_[a-z0-9]+)+\b", text)] == []


def test_a_chinese_part_has_a_name_that_is_read() -> None:
    assert Scope("tenant", "智算中心").slug == "tenant-智算中心"
    assert len(f".{Scope('tenant', '智' * 200).slug}.by_project.csv.part".encode()) < 230
    one = report(scope="tenant:智算中心")
    assert one.name == "2026-W46.tenant-智算中心"
    assert "<title>c · 租户 智算中心 · 2026-W46" in page(one, ZH)
    assert _attached("2026-W46.pdf") == 'attachment; filename="2026-W46.pdf"'
    assert _attached("租.pdf") == "attachment; filename=\"-.pdf\"; filename*=UTF-8''%E7%A7%9F.pdf"


@pytest.mark.parametrize(
    ("minutes", "says"), [(15, "The highest quarter of an hour drew 12.3 kW."), (60, "The highest hour drew 12.3 kW.")]
)
def test_the_highest_quarter_is_named_only_where_quarters_were_read(tmp_path: Path, minutes: int, says: str) -> None:
    site, day = plant_site(), span_of("2026-11-09/2026-11-10", ZONE)
    store, records = open_store(tmp_path / "store", site), open_records(tmp_path / "records.db")
    for at_s in np.arange(day.start.timestamp(), day.end.timestamp(), 60.0 * minutes).tolist():
        values = {"facility_power_w": np.array([12_340.0]), "it_power_w": np.array([10_000.0])}
        store.append([Frame("site", datetime.fromtimestamp(at_s, ZONE), site.all_rows("site"), values)])
    said = compose(gather(site, store, records, day, Given())).said
    store.close()
    records.close()
    assert says in [words("en").sentence(one) for one in said]
    assert not {words("zh").sentence(one) for one in said} & {words("en").sentence(one) for one in said}


@pytest.mark.browser
def test_a_telephone_moves_no_page_sideways() -> None:
    heads = (("who", ""), *((f"a column with a long name {k}", "kwh") for k in range(7)))
    wide = Table("t", "Energy", heads, (("somebody-with-a-long-name", *(1e6 + k for k in range(7))),))
    text = page(report(Figure("cost", "Cost", 1e6, "money", was=9e5), wide, chart([1.0, 2.0])), ZH)
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 390, "height": 800})
        tab.set_content(text)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        assert tab.evaluate("document.querySelector('.wide:has(tfoot, td + td + td + td + td + td)').scrollWidth") > 390
