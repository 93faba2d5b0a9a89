"""What faces say: numbers that a person reads at once, and a Chinese sentence for every English one."""

import ast
import math
import re
import string
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from faces_harness import NOW, Hands, add_work, feed, live_of, small_site
from hypothesis import given
from hypothesis import strategies as st

from analytics.detect.gpu import COUNTERS, OFTEN, REASONS, XIDS
from analytics.detect.live import HAZARD_ACTIONS
from analytics.detect.told import QUESTIONS
from analytics.rules import load_rules
from energy.guard import RULES
from twin.kinds import KINDS
from twin.message import Message
from twin.metrics import METRICS, every_metric
from ui.faces.pages.findings import in_words
from ui.faces.pages.overview import overview_text
from ui.faces.pages.shell import shell_labels
from ui.faces.server import build_server
from ui.view import View, view
from ui.words import LOCALES, metric_label, words

ROOT = Path(__file__).resolve().parent.parent


@given(st.floats(min_value=1, max_value=9e14), st.sampled_from(["en", "zh"]))
def test_a_printed_power_is_within_half_a_percent_of_it(value: float, language: str) -> None:
    text = words(language).quantity(value, "w")
    factor = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[text.unit.removesuffix("W")]
    printed = float(text.number.replace(",", ""))
    assert printed * factor == pytest.approx(value, rel=0.005, abs=0.5 if factor == 1 else 0)
    assert len(text.number) <= 5


def test_how_numbers_are_printed() -> None:
    en, zh = words("en"), words("zh")
    assert [str(en.quantity(*q)) for q in ((4.213e6, "w"), (0.634, "frac"), (0.034, "frac"), (1.1432, "ratio"))] == [
        "4.21\u202fMW",
        "63%",
        "3.4%",
        "1.143",
    ]
    assert str(en.quantity(999_700, "w")) == "1.00\u202fMW", "no 1000 kW"
    assert str(en.quantity(-0.0001, "c")) == "0.0\u202f°C", "no minus nothing"
    assert str(en.quantity(0.012, "s")) == "12\u202fms"
    assert [str(en.quantity(seconds, "s")) for seconds in (0.0, 1.5)] == ["0\u202fs", "1.5\u202fs"]
    assert en.quantity(math.nan, "w").number == "–"
    assert (en.age(130), zh.age(130), zh.age(math.inf)) == ("2\u202fmin", "2\u202f分钟", "从未")
    assert (en.joined(["a", "b"]), zh.joined(["甲", "乙"])) == ("a; b", "甲；乙")
    assert words("tlh").language == "en"


def template_names(text: str) -> set[tuple[str, str]]:
    return {(name, spec or "") for _, name, spec, _ in string.Formatter().parse(text) if name}


def page_labels() -> set[str]:
    """What the pages say by themselves: what their markup marks and what their scripts name."""
    feeds = build_server(live_of(small_site(), Hands())).state.pulse.feeds.values()
    return {label for feed in feeds for label in (*shell_labels(feed.body), *feed.labels)}


def _named(tree: ast.Module) -> dict[str, set[str]]:
    """Every text that a name is ever given: each of two branches is a sentence too."""
    named: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.IfExp):
            texts = {one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant) and isinstance(one.value, str)}
            for target in node.targets:
                if isinstance(target, ast.Name):
                    named.setdefault(target.id, set()).update(texts)
    return named


def spoken() -> set[str]:
    """Every English sentence or word that a face may show: labels, messages in the code, rules, and words asked for."""
    found = page_labels() | {text for _, text in RULES.values()}
    found |= {rule.summary for rule in load_rules().rules}
    for question in QUESTIONS.values():
        found |= {question.summary, question.evidence, question.action, question.cost_wrong}
    found |= {OFTEN, *(text for name, (text, _) in REASONS.items() if name not in (*COUNTERS, "xid_code"))}
    found |= {*HAZARD_ACTIONS.values(), *(what for _, what, _ in XIDS.values())}
    files = [file for package in ("twin", "ingest", "analytics", "energy", "ui") for file in (ROOT / package).rglob("*.py")]
    assert len(files) > 30, "the packages have moved"
    for file in files:
        tree = ast.parse(file.read_text())
        calls = ("Message", "words") if file.is_relative_to(ROOT / "ui") else ("Message",)
        named = _named(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in calls and node.args:
                for part in ast.walk(node.args[0]):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        found.add(part.value)
                    elif isinstance(part, ast.Name):
                        found |= named.get(part.id, set())
    return found - {"en", "zh", "", "–"}


def test_every_sentence_has_its_chinese_with_the_same_places() -> None:
    with (LOCALES / "zh_CN" / "LC_MESSAGES" / "icctwin.po").open("rb") as file:
        catalogue = read_po(file, locale="zh_CN")
    known = {str(entry.id): str(entry.string) for entry in catalogue if entry.id}
    missing = {text for text in spoken() if not known.get(text)}
    assert not missing, f"add to {LOCALES}/zh_CN: {sorted(missing)}"
    uneven = {text for text, said in known.items() if template_names(text) != template_names(said)}
    assert not uneven, f"placeholders differ: {sorted(uneven)}"


@pytest.mark.parametrize("reason", [OFTEN, *(text.format(amount=3, percent=40) for text, _ in REASONS.values())])
def test_whatever_speaks_against_a_gpu_is_told_in_chinese(reason: str) -> None:
    said = in_words(Message("{asset}: {reason}", {"asset": "g1", "reason": reason}), words("zh"))
    assert re.sub(r"g1|GPU|XID|ECC|NVLink|PCIe|\d", "", said).isascii() is (reason == "XID 3")
    assert re.findall(r"\d+", said.removeprefix("g1")) == re.findall(r"\d+", reason)


def test_every_metric_and_every_kind_has_its_chinese_name() -> None:
    zh, same = words("zh"), {"PUE", "XID"}
    bare = {one.name for one in every_metric() if zh.metric(one.name) == metric_label(one.name)}
    assert {metric_label(name) for name in bare} == same, "add to the catalogue with msgctxt metric"
    named = {(kind, zh.metric(name)) for kind, rows in METRICS.items() for name in rows if metric_label(name) not in same}
    assert all(re.search("[\u4e00-\u9fff]", said) for _, said in named)
    assert (words("en").metric("supply_temp_c"), zh.metric("supply_temp_c")) == ("supply temperature", "供液温度")
    mute = {one.doc for one in every_metric() if not re.search("[\u4e00-\u9fff]", zh.metric_says(one.kind, one.name))}
    assert mute == set(), "what these are has no Chinese (msgctxt metric)"
    assert {kind for kind in KINDS if not re.search("[\u4e00-\u9fff]", zh(kind))} == {"gpu", "pdu", "ups", "cdu"}


def test_the_wall_asks_for_no_word_that_has_no_chinese() -> None:
    live = live_of(small_site(), Hands())
    zh = words("zh")
    asked: set[str] = set()

    class Listening(type(zh)):  # type: ignore[misc]
        def __call__(self, text: str) -> str:
            asked.add(text)
            return super().__call__(text)

    listening = Listening("zh")
    seen: list[View] = [view(live, NOW)]
    feed(live, hot=True, skip_sources=["src-dcgm"])
    add_work(live)
    seen.append(view(live, NOW))
    live.clock.skip(4000)  # type: ignore[attr-defined]
    seen.append(view(live, live.clock.now()))
    for one in seen:
        overview_text(one, listening)
    same = {"PUE", "GPU", "CPU", "GPU °C", "UPS", "IT", "gCO₂/kWh", "tCO₂/h"}
    given_by_tests = {"Raise supply to {value:.0f} °C: chips stay {margin:.0f} K below their limit"}
    units = {unit for unit in asked if unit in {"°C", "/MWh", "/h", "W", "K", ""}}
    assert {text for text in asked if zh(text) == text} <= same | given_by_tests | units
    assert zh.sentence(Message("{n} tasks fail", {"n": 2})) == "2 个任务失败"
