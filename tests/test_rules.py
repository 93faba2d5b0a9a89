"""The rule file: every problem at once with its line, and each shipped rule seen to fire and to keep silent."""

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytics.alerts import Phase, begin, step
from analytics.rules import DEFAULT_RULES, load_rules, parse_rules
from tests.small import rows
from twin.errors import ConfigError
from twin.frame import Frame
from twin.load import build_site
from twin.metrics import metric
from twin.site import Site
from twin.state import State

CASES = Path(__file__).resolve().parent.parent / "fixtures" / "rules"
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


def one_of_each() -> Site:
    """A site with one asset of every kind that a rule may mean."""
    lines = ["id=c kind=site rated_w=1000000", "id=h kind=hall", "id=r kind=rack parent=h rated_w=100000"]
    lines += ["id=n kind=node parent=r", "id=g kind=gpu parent=n", "id=sw kind=switch parent=r", "id=p kind=port parent=sw"]
    lines += ["id=st kind=storage parent=r", "id=cdu kind=cdu parent=h rated_kgps=20", "id=pdu kind=pdu parent=h"]
    lines += ["id=u kind=ups", "id=s kind=source", "id=t kind=task", "id=own kind=process"]
    return build_site("c", "UTC", rows(*lines))


SITE, RULES = one_of_each(), load_rules()


def shipped_cases() -> list[Any]:
    tables = [(path, tomllib.loads(path.read_text())) for path in sorted(CASES.glob("*.toml"))]
    cases = [case for _, table in tables for case in table["case"]]
    return [
        pytest.param(case, id=f"{case['rule']}-{'fires' if case['fires'] else 'silent'}-{i}") for i, case in enumerate(cases)
    ]


@pytest.mark.parametrize("case", shipped_cases())
def test_shipped_rule(case: dict[str, Any]) -> None:
    """A reading every 10 s: the last of ``values`` for ``for_s`` seconds, the ones before it one step each."""
    site, rules = SITE, RULES
    rule = rules.named(case["rule"])
    assert rule is not None
    state, table, now = State(site), begin(rules, site, START), START
    values = [*case["values"], *case["values"][-1:] * int(case["for_s"] // 10)]
    fired = False
    for value in values:
        now += timedelta(seconds=10)
        if not np.isnan(value):
            state.absorb(Frame(rule.kind, now, site.all_rows(rule.kind), {rule.metric: np.array([value])}, rule.origin), now)
        table = step(rules, site, state, table, now)
        mine = [alert for alert in table.alerts() if alert.rule == rule.name and alert.phase is Phase.FIRING]
        if mine and not fired:
            assert case.get("says", "") in str(mine[0].summary)
        fired |= bool(mine)
    assert fired == case["fires"]


def test_each_shipped_rule_has_a_case_that_fires_and_one_that_does_not() -> None:
    seen = {(case.values[0]["rule"], case.values[0]["fires"]) for case in shipped_cases()}
    names = {rule.name for rule in load_rules().rules}
    assert len(names) >= 20
    assert seen == {(name, fires) for name in names for fires in (True, False)}


def test_limits_of_shipped_rules_lie_in_the_metric_s_range() -> None:
    for rule in load_rules(DEFAULT_RULES).rules:
        row = metric(rule.kind, rule.metric)
        if not (rule.relative_to or rule.window_s or np.isnan(rule.limit)):
            assert row.low <= rule.limit <= row.high
