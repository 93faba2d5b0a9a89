"""The rule file: every problem at once with its line, and each shipped rule seen to fire and to keep silent."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from analytics import rule_cases
from analytics import rules as ruling
from analytics.alerts import begin, step
from analytics.rule import Of
from analytics.rule_cases import Case, Expected, parse_cases, read_cases, run_case, shorthand, span_s, uncovered
from analytics.rule_replay import replay
from analytics.rules import DEFAULT_RULES, load_rules, parse_rules
from ingest.stores import open_store
from tests.small import small_site
from twin.errors import ConfigError, Problem
from twin.frame import Frame
from twin.metrics import metric
from twin.state import State
from ui.cli import main
from ui.commands.oncall import sample_site
from ui.words import words

ROOT = Path(__file__).resolve().parent.parent
RUNBOOKS = Path(ruling.__file__).with_name("runbooks")
START = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = """
[[rule]]
name = "hot"
kind = "gpu"
metric = "temp_c"
above = 85
clear = 82
hold_s = 60
severity = "warning"
summary = "{asset} {value:.0f} {unit}, limit {limit:.0f}"
runbook = "look"
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_rules(text, Path("r.toml"))
    return [str(problem) for problem in caught.value.problems]


def test_reads_a_rule_in_the_metric_s_unit() -> None:
    (rule,) = parse_rules(GOOD, Path("r.toml")).rules
    assert (rule.limit, rule.clear, rule.hold_s, rule.rising, rule.unit) == (85.0, 82.0, 60.0, True, "°C")


@pytest.mark.parametrize(
    ("was", "becomes", "line", "says"),
    [
        ('metric = "temp_c"', 'metric = "temperature"', 5, "no metric 'temperature' of kind 'gpu'"),
        ('kind = "gpu"', 'kind = "card"', 4, "no kind 'card'"),
        ("clear = 82", "clear = 86", 7, "must lie under 85"),
        ("clear = 82", "clear = 85", 7, "must lie under 85"),
        ("clear = 82", "", 2, "needs 'clear'"),
        ("hold_s = 60", "", 2, "needs 'hold_s'"),
        ("hold_s = 60", "hold_s = -1", 8, "hold_s is -1"),
        ("hold_s = 60", "hold_s = true", 8, "hold_s is True"),
        ("hold_s = 60", "hold_s = 60\nhold = 3", 9, "no key 'hold'"),
        ("above = 85", "above = 85\nbelow = 20", 7, "exactly one of"),
        ("above = 85", "above = 850", 6, "outside -20 to 130 °C"),
        ("above = 85", 'above = 85\nrelative_to = "rated_w"', 7, "different units"),
        ("above = 85", 'above = 85\nof = "increase"\nwindow_s = 60', 7, "is no counter"),
        ("above = 85", "above = 85\nwindow_s = 60", 7, 'goes with of = "increase"'),
        ("above = 85\nclear = 82", "codes = [79]", 6, "is no code"),
        ("{value:.0f}", "{volume}", 10, "cannot be filled in"),
        ("{value:.0f}", "{value.__class__.__mro__}{value[0]}", 10, "cannot be filled in"),
        ('severity = "warning"', 'severity = "bad"', 9, "critical, warning, info"),
        ('name = "hot"', 'name = "Hot GPUs"', 3, "small letters"),
    ],
)
def test_says_what_is_wrong_and_on_which_line(was: str, becomes: str, line: int, says: str) -> None:
    assert was in GOOD
    found = problems(GOOD.replace(was, becomes))
    assert any(text.startswith(f"r.toml:{line}: ") and says in text for text in found), found


def test_a_percentage_is_recognised() -> None:
    text = GOOD.replace("temp_c", "util_frac").replace("85", "90").replace("82", "80")
    assert any("write 0.9 for 90 %" in problem for problem in problems(text))


def test_all_problems_of_a_file_come_at_once() -> None:
    text = GOOD + GOOD.replace("82", "99") + GOOD.replace('"hot"', '"other"').replace("hold_s = 60", "hold_s = -5")
    found = problems(text + "[extra]\nx = 1\n")
    assert len(found) == 4, found
    assert any("stands twice (first at r.toml:3)" in text for text in found)
    assert any("no table 'extra'" in text for text in found)


def test_what_is_no_toml_names_its_line(tmp_path: Path) -> None:
    assert problems("[[rule]]\nname = hot\n")[0].startswith("r.toml:2: is not TOML")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_rules(tmp_path / "nothing.toml")


# --- the shipped rules ---------------------------------------------------------------------------------------------------


# --- shipped rules -----------------------------------------------------------------------------------------------------------

CASES = read_cases(ROOT / "fixtures" / "rules")
RULES, SITE = load_rules(), sample_site()


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name.replace(" ", "-")) for case in CASES])
def test_shipped_rule(case: Case) -> None:
    assert [str(fault) for fault in run_case(case, RULES, SITE).faults] == []


DOCUMENTED = re.findall(r"^```text\n(case .*?)^```", (ROOT / "docs" / "oncall.md").read_text(encoding="utf-8"), re.M | re.S)
DOCUMENTED += [
    re.sub(r"(?m)^ {4}", "", text) for text in re.findall(r"^ {4}case .*?(?=^\S)", rule_cases.__doc__ or "", re.M | re.S)
]


@pytest.mark.parametrize("text", DOCUMENTED)
def test_a_case_that_the_documentation_shows_holds_as_it_is_printed(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my.cases").write_text(text, encoding="utf-8")
    assert main(["rules", "test", str(tmp_path / "my.cases"), "--rules", str(DEFAULT_RULES)]) == 0
    assert capsys.readouterr().out.startswith("1 of 1 cases hold;")


def test_the_site_of_a_case_has_as_many_as_the_case_numbers() -> None:
    assert len(DOCUMENTED) == 2
    text = "case a\ngpu@2 temp_c: 50\ngpu temp_c: 60\nrack@4 power_w: 1\npdu@9999999 power_w: 1\nnever gpu_hot"
    (case,) = parse_cases(text, "f", problems := [])
    site = sample_site(case.counts)
    assert (problems, [site.count(kind) for kind in ("gpu", "rack", "pdu", "cdu")]) == ([], [3, 5, 1000, 1])
    assert site.numbers["index"][site.of_kind("gpu")].tolist() == [0, 1, 2]
    (fault,) = run_case(case, RULES, site).faults
    assert str(fault) == "f:5: there is no pdu number 9999999; the site has 1000, numbered from 0"


def test_each_shipped_rule_has_a_case_that_fires_and_one_that_does_not() -> None:
    assert len(RULES.rules) >= 100
    assert uncovered(RULES, CASES) == []


def test_each_shipped_rule_says_where_it_is_from_why_it_is_there_and_what_its_page_says() -> None:
    pages = {path.stem: path.read_text() for path in RUNBOOKS.glob("*.md")}
    for rule in RULES.rules:
        area, _, part = rule.page.partition("#")
        assert f"\n## {part}\n" in pages[area], rule.name
        assert len(rule.source.split()) >= 3, rule.name
        assert len(rule.reason.split()) >= 3, rule.name
        assert rule.owner, rule.name


def test_each_shipped_rule_speaks_chinese_too() -> None:
    chinese = words("zh")
    assert [text for rule in RULES.rules for text in (rule.summary, rule.runbook) if chinese(text) == text] == []


def test_limits_of_shipped_rules_lie_in_the_metric_s_range() -> None:
    for rule in RULES.rules:
        if rule.metric and rule.of is Of.VALUE and not (rule.relative_to or np.isnan(rule.limit)):
            row = metric(rule.kind, rule.metric)
            assert row.low <= rule.limit <= row.high


# --- cases and replay --------------------------------------------------------------------------------------------------------


def test_shorthand() -> None:
    assert shorthand("60x3 86").tolist() == [60, 60, 60, 86]
    assert shorthand("60+0.5x2 -1-1x1").tolist() == [60, 60.5, 61, -1, -2]
    assert np.isnan(shorthand("_x2")).all()
    assert (span_s("1d2h3m4s"), span_s("90s"), span_s("0.5h")) == (93784.0, 90.0, 1800.0)
    for wrong in ("", "x3", "hot", "1e9x9999999"):
        with pytest.raises(ValueError, match=r"value|steps"):
            shorthand(wrong)


def test_a_case_says_what_was_not_met_and_where() -> None:
    problems: list[Problem] = []
    lines = ["gpu temp_c: 1", "case a", "gpu temp_c: 90", "at 0s hot fires", 'at 2m hot fires "99 °C"', "never hot"]
    (case,) = parse_cases("\n".join([*lines, "at noon hot fires", "gpu tmp: 1"]), "f", problems)
    assert [(p.where, p.what.split(";")[0]) for p in problems] == [
        ("f:1", 'begin with "case" and what it shows'),
        ("f:7", "'noon' is no time"),
        ("f:8", problems[2].what.split(";")[0]),
    ]
    rules = parse_rules(GOOD, Path("r.toml"))
    faults = [str(fault) for fault in run_case(case, rules, SITE).faults]
    assert faults == [
        "f:4: hot does not fire",
        "f:5: hot says 'gpu 90 °C, limit 85', not '99 °C'",
        "f:6: hot fires at 60 s: gpu 90 °C, limit 85",
    ]
    assert "no rule 'cold'" in str(
        run_case(Case("f:1", "x", expected=[Expected("f:2", "cold", True, 0.0)]), rules, SITE).faults[0]
    )


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["gpu@nosuch temp_c: 60", "never hot"], "f:2: the site has no gpu 'nosuch'"),
        (["gpu@r1 temp_c: 60", "never hot"], "f:2: the site has no gpu 'r1'"),
        (["gpu@16 temp_c: 60", "never hot"], "f:2: there is no gpu number 16; the site has 1, numbered from 0"),
        (["every 0s", "gpu temp_c: 60", "never hot"], "f:2: every 0s makes no step"),
        (["start noon", "never hot"], "f:2: "),
    ],
)
def test_a_case_that_cannot_run_is_a_problem_with_its_line(lines: list[str], says: str) -> None:
    problems: list[Problem] = []
    (case,) = parse_cases("\n".join(["case a", *lines]), "f", problems)
    found = problems or run_case(case, parse_rules(GOOD, Path("r.toml")), SITE).faults
    assert [str(one).startswith(says) for one in found] == [True], found


def test_a_case_starts_when_it_says_in_its_zone() -> None:
    for text, hour in (("2026-01-05T00:00+08:00", 16), ("2026-01-05T16:00", 16), ("2026-01-05T16:00Z", 16)):
        (case,) = parse_cases(f"case a\nstart {text}\n", "f", [])
        assert (case.start.hour, case.start.utcoffset()) == (hour, timedelta(0))


def test_replay_counts_what_would_have_fired(tmp_path: Path) -> None:
    """Three hot hours in a day of history, read back from a real store."""
    site = small_site()
    store = open_store(tmp_path / "store", site)
    n = site.count("gpu")
    frames = []
    for minute in range(24 * 60):
        value = np.full(n, 60.0)
        value[5] = 90.0 if minute // 60 in (3, 9, 15) else 60.0
        frames.append(Frame("gpu", START + timedelta(minutes=minute), site.all_rows("gpu"), {"temp_c": value}))
    store.append(frames)
    (hot,) = replay(parse_rules(GOOD, Path("r.toml")), site, store, START, START + timedelta(days=1), 60.0)
    longer = GOOD.replace("hold_s = 60", "hold_s = 120")  # than a temperature is believed (90 s), shorter than a coarse step
    (coarse,) = replay(parse_rules(longer, Path("r.toml")), site, store, START, START + timedelta(days=1), 1800.0)
    store.close()
    assert (coarse.times, coarse.firing_s) == (3, 3 * 1800)
    assert (hot.rule, hot.times, hot.assets, hot.worst) == ("hot", 3, 1, site.ids_of("gpu")[5])
    assert hot.firing_s == pytest.approx(3 * 3600, abs=300)


# --- new kinds of rules ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ("above = 85", 'above = 85\nof = "ratio"', "needs 'over'"),
        ("above = 85", 'above = 85\nof = "ratio"\nover = "gone_c"', "no metric 'gone_c'"),
        ("above = 85", 'above = 85\nof = "difference"\nover = "power_w"', "different units"),
        ("above = 85", 'above = 85\nof = "rate"\nwindow_s = 60', "is no counter"),
        ("above = 85", 'above = 85\nof = "forecast"\nhorizon_s = 60', "needs 'probability_frac'"),
        ("above = 85", "above = 85\nprobability_frac = 0.5", 'goes with of = "forecast"'),
        ("above = 85", 'above = 85\nduring = "always"', "no time of the week"),
        ("above = 85", 'above = 85\nbreaks = "everything"', "power, cooling, network, telemetry"),
        ("above = 85", 'above = 85\nsuffers = ["heat"]', "suffers is ['heat']"),
        ("above = 85", 'above = 85\nquiet = "yes"', "true or false"),
        ('metric = "temp_c"\nabove = 85\nclear = 82', 'all_of = ["gone"]', "there is no such rule"),
        ('metric = "temp_c"\nabove = 85\nclear = 82', "all_of = []", "name of a rule"),
        ('metric = "temp_c"\nabove = 85\nclear = 82', 'share_of = "hot"', "needs above"),
        ('metric = "temp_c"\nabove = 85\nclear = 82', 'share_of = "hot"\nabove = 2\nclear = 0.1', "outside 0 to 1"),
        ('metric = "temp_c"\nabove = 85\nclear = 82', 'any_of = ["hot"]', "made of others itself"),
    ],
)
def test_says_what_is_wrong_with_the_new_kinds(was: str, becomes: str, says: str) -> None:
    assert was in GOOD
    assert any(says in text for text in problems(GOOD.replace(was, becomes)))


def test_scope_by_tag_holder_and_time_of_week() -> None:
    site = small_site("id=r3 kind=rack parent=h1 tags=prod,old".replace(",", "_"), "id=r4 kind=rack parent=h1 tags=old")
    base = GOOD.replace('kind = "gpu"', 'kind = "rack"').replace("temp_c", "supply_temp_c").replace("hold_s = 60", "hold_s = 0")

    def fires(more: str, now: datetime) -> list[str]:
        rules = parse_rules(base.replace("hold_s = 0", f"hold_s = 0\n{more}"), Path("r.toml"))
        state = State(site)
        column = np.full(site.count("rack"), 89.0)
        state.absorb(Frame("rack", now, site.all_rows("rack"), {"supply_temp_c": column}), now)
        return [alert.asset for alert in step(rules, site, state, begin(rules, site, now), now).alerts()]

    assert fires('tag = "old"', START) == ["r4"]
    assert fires('inside = "h1"', START) == ["r1", "r2", "r3", "r4"]
    assert fires('inside = "nowhere"', START) == []
    assert fires('during = "thu 00:00-12:00"', START) == ["r1", "r2", "r3", "r4"]  # 2026-01-01 is a Thursday
    assert fires('during = "thu 12:00-24:00"', START) == []


def test_a_folder_of_rules_is_one_set(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(GOOD)
    (tmp_path / "b.toml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"b\.toml:3: rule 'hot' stands twice \(first at .*a\.toml:3\)"):
        load_rules(tmp_path)
    (tmp_path / "b.toml").write_text(GOOD.replace('"hot"', '"other"'))
    assert [rule.name for rule in load_rules(tmp_path).rules] == ["hot", "other"]
