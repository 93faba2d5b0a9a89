"""The data files of a report: nothing overwrites anything, money has a currency, sums stand below their rows, the same week
gives the same bytes whatever the store has rolled up since."""

import csv
import html
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from zipfile import ZipFile

import numpy as np

from twin.message import Message
from ui.report.data import as_csv
from ui.report.document import Block, Chart, Figure, Flow, Line, Report, Section, Table
from ui.report.settle import settled
from ui.report.write import FORMATS, files

END = datetime(2026, 11, 15, 16, tzinfo=UTC)
COST = Figure("cost", "Cost", 42.5, "money", was=40.0)
TABLE = Table(
    "cost",
    "Cost by tariff period",
    (("period", ""), ("Energy", "kwh"), ("Cost", "money"), ("Price", "per_mwh")),
    (("peak", 100.0, 30.0, 300.0), ("valley", 125.0, 12.5, 100.0)),
    ("total", 225.0, 42.5, float("nan")),
)


def report(*blocks: Block, scope: str = "tenant:acme", said: Sequence[Message] = ()) -> Report:
    section = Section("energy", "Energy", blocks=blocks or (COST, TABLE))
    return Report("c", scope, "2026-W46", "2026-11-09", "2026-11-15", "UTC", (COST,), said, [section])


def written(one: Report) -> dict[str, bytes]:
    return {name.rpartition("2026-W46.")[2]: data for name, data in files(one, ("en",), FORMATS, END, "CNY").files}


def test_a_figure_and_a_table_of_one_name_are_both_there_with_scope_and_currency() -> None:
    data = json.loads(written(report())["tenant-acme.json"])
    assert (data["scope"], data["currency"], data["significant_digits"]) == ("tenant:acme", "CNY", 12)
    energy = data["sections"]["energy"]
    assert (energy["figures"]["cost"]["value"], energy["figures"]["cost"]["before"]) == (42.5, 40.0)
    assert energy["tables"]["cost"]["rows"][1] == ["valley", 125.0, 12.5, 100.0]
    assert energy["tables"]["cost"]["total"] == ["total", 225.0, 42.5, None]
    assert json.loads(written(report(scope=""))["json"])["scope"] == "centre"


def test_figures_are_a_table_of_their_own_and_sums_stand_below_their_rows() -> None:
    made = written(report())
    figures = list(csv.DictReader(io.StringIO(made["tenant-acme.figures.csv"].decode())))
    assert figures == [
        {
            "section": "energy",
            "key": "cost",
            "figure": "Cost",
            "value": "42.5",
            "unit": "CNY",
            "before": "40.0",
            "year ago": "",
            "query": "",
        }
    ]
    rows = list(csv.reader(io.StringIO(made["tenant-acme.cost.csv"].decode())))
    assert rows[0] == ["period", "Energy [kwh]", "Cost [CNY]", "Price [CNY_per_mwh]"]
    assert rows[-1] == ["total", "225.0", "42.5", ""]
    with ZipFile(io.BytesIO(made["tenant-acme.xlsx"])) as book:
        text, cells = book.read("xl/sharedStrings.xml").decode(), book.read("xl/worksheets/sheet2.xml").decode()
    assert "<t>CNY</t>" in text
    assert "<t>Cost [CNY]</t>" in text
    assert "<t>total</t>" in text
    assert "<v>225</v>" in cells


def test_a_workbook_is_read_by_people_in_their_language_with_links() -> None:
    """Names that people gave, keys and numbers stay; a sheet has a name of its own; other data files stay."""
    asked = "https://twin.example.org/api/v1/report?span=2026-W46&scope=centre&figure=cost#/figures/cost/value"
    who = Table(
        "by_user", "Energy, carbon and cost by user", (("who", ""), ("Cost", "money")), (("peak", 2.5), ("(idle)", 1.0))
    )
    again = replace(who, key="by_user_2")
    one = report(replace(COST, answer=asked), TABLE, who, again)
    made = {name.rpartition("2026-W46.")[2]: data for name, data in files(one, ("zh",), FORMATS, END, "CNY").files}
    with ZipFile(io.BytesIO(made["tenant-acme.zh.xlsx"])) as book:
        parts = {name: book.read(name).decode() for name in book.namelist() if name.endswith((".xml", ".rels"))}
    sheets = re.findall(r'<sheet name="([^"]*)"', parts["xl/workbook.xml"])
    assert sheets == ["指标", "分时电费", "能耗、碳与费用（按用户）", "能耗、碳与费用（按用户） 2"]
    texts = re.findall(r"<t[^>]*>([^<]*)</t>", parts["xl/sharedStrings.xml"])
    assert {"章节", "能耗", "查询", "费用", "费用 [CNY]", "高峰", "（空闲）", "合计", "cost"} <= set(texts)
    assert "peak" in texts, "a user of that name"
    rels = html.unescape(parts["xl/worksheets/_rels/sheet1.xml.rels"])
    link = re.search(r'Target="([^"]*)"', rels)
    anchor = re.search(r'<hyperlink ref="H2"[^>]* location="([^"]*)"', parts["xl/worksheets/sheet1.xml"])
    assert link is not None
    assert anchor is not None
    assert f"{link[1]}#{anchor[1]}" == asked
    other = written(one)
    assert made["tenant-acme.json"] == other["tenant-acme.json"]
    assert made["tenant-acme.figures.csv"] == other["tenant-acme.figures.csv"]


def test_no_name_begins_a_row_of_a_csv_file() -> None:
    """Whatever ends a line in a name that a user chose stays in its cell."""
    names = ["x\r=1+1", "x\n=1+1", "x\r\n=1+1", 'x",=1+1', "plain"]
    made = as_csv(Table("by_user", "By user", (("user", ""), ("Energy", "kwh")), [(name, 1.5) for name in names]))
    assert made.startswith('user,Energy [kwh]\n"x\r=1+1",1.5\n')
    assert made.endswith("plain,1.5\n")
    assert [row[0] for row in csv.reader(io.StringIO(made, newline=""))] == ["user", *names]
    outside = re.sub(r'"(?:[^"]|"")*"', "", made)
    assert len(re.split(r"[\r\n]+", outside.rstrip("\n"))) == 1 + len(names), "a row for each, however a line may end"


def test_the_last_bits_of_a_mean_change_no_byte() -> None:
    """A mean of quarters and that of its rollup differ by one unit in the last place; a subtraction leaves noise."""

    def made(bit: float) -> Report:
        x = np.array([0.0, 900.0])
        who = Table("by", "By", (("who", ""), ("Energy", "kwh")), (("a", 1234.5 * bit), ("(idle)", 3e-13 * (bit - 1) / 1e-16)))
        blocks = (Figure("kwh", "Energy", 1234.1 * bit, "kwh", was=0.3 * bit), who,
                  Chart("power", "Power", "w", x, [Line("IT power", np.array([0.1, 0.3]) * bit)]),
                  Flow("flow", "Flow", "kwh", (("Grid", "IT", 7.7 * bit),)))  # fmt: skip
        return settled(report(*blocks, said=(Message("{error:.0e}", {"error": 2e-16 * bit}), Message("{x}", {"x": 0.1 * bit}))))

    one, other = written(made(1.0)), written(made(1 + 2.3e-16))
    assert 1234.1 != 1234.1 * (1 + 2.3e-16)
    assert one == other
    assert json.loads(one["tenant-acme.json"])["sections"]["energy"]["figures"]["kwh"]["value"] == 1234.1
    assert settled(report(Figure("x", "X", 1.23456789012345, "kwh"))).sections[0].figures[0].value == 1.23456789012
