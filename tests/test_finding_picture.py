"""Findings as pictures: well-formed, honest in gaps, by the command of any table; and the misses that they show."""

import json
from pathlib import Path
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ui.cli import main
from ui.finding_picture import MOST_POINTS, Drawn, finding_svg
from ui.words import words

SVG = "{http://www.w3.org/2000/svg}"


def paths(root: ElementTree.Element) -> list[str]:
    return [one.get("d", "") for one in root.iter(f"{SVG}path") if one.get("stroke-width") == "2"]


def test_a_finding_shows_its_lines_marks_and_gaps() -> None:
    time_s = 1.79e9 + 30.0 * np.arange(240)
    own, other = np.linspace(3e5, 1e5, 240), np.full(240, 3e5)
    own[50:60] = np.nan
    marks = {"fault begins": float(time_s[20]), "found": float(time_s[230])}
    one = Drawn("p1 <worn>", ["Start & stop"], "pa", time_s, {"p1": own, "p2": other}, marks, [(time_s[20], time_s[200])])
    root = ElementTree.fromstring(finding_svg(words("en"), one, ZoneInfo("UTC")))
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert texts[:2] == ["p1 <worn>", "Start & stop"]
    assert {"fault begins", "found", "▬ p1", "▬ p2"} <= set(texts)
    assert any("kPa" in text for text in texts)
    beside, mine = paths(root)  # its own line lies above
    assert (beside.count("M"), mine.count("M")) == (1, 2)
    assert "nan" not in "".join(paths(root))


def test_long_and_empty_lines_are_bounded() -> None:
    n = 3 * MOST_POINTS
    long = Drawn("t", [], "", np.arange(float(n)), {"a": np.arange(float(n))}, {})
    (drawn,) = paths(ElementTree.fromstring(finding_svg(words("zh"), long, ZoneInfo("Asia/Shanghai"))))
    assert drawn.count("L") < MOST_POINTS
    silent = Drawn("t", [], "", np.arange(10.0), {"a": np.full(10, np.nan)}, {})
    assert ElementTree.fromstring(finding_svg(words("en"), silent, ZoneInfo("UTC"))).tag == f"{SVG}svg"


def test_the_command_draws_a_table_with_its_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, (900, 2)) + np.where(np.arange(900) >= 700, 12.0, 0.0)[:, None]
    table, labels, out = tmp_path / "t.csv", tmp_path / "l.csv", tmp_path / "t.svg"
    table.write_text("time,a,b\n" + "\n".join(f"{i},{x:.3f},{y:.3f}" for i, (x, y) in enumerate(values.tolist())))
    labels.write_text("start,end\n700,899\n")
    assert main(["detect", "--input", str(table), "--score", str(labels), "--picture", str(out), "--json"]) == 0
    texts = [text.text or "" for text in ElementTree.parse(out).getroot().iter(f"{SVG}text")]
    assert any(text.startswith("alarm 1: ") for text in texts)
    assert "shaded: labelled as a fault" in texts
    assert main(["detect", "--input", str(table), "--picture", str(tmp_path / "no" / "t.svg")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_demo_draws_what_was_found_and_what_was_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An exchanger that clogged while it was learnt is found when it clogs again."""
    assert main(["detect", "--demo", str(tmp_path), "--json"]) == 0
    told = {one["case"]: one for one in json.loads(capsys.readouterr().out)}
    assert list(told) == ["disk", "pump", "battery", "again", "beside", "missed"]
    assert {name for name, one in told.items() if one["found_after_s"] is None} == {"missed"}
    assert told["again"]["found_after_s"] < 1800
    assert min(told[name]["before_harm_s"] for name in ("disk", "pump", "beside")) > 600
    for name in told:
        assert ElementTree.parse(tmp_path / f"finding-{name}.svg").getroot().tag == f"{SVG}svg"
