"""What a report says of incidents and failures: that there were none only where icctwin was there to tell of them."""

from pathlib import Path

import pytest
from test_report_use import WEEK, World, figures, sentences, table

from analytics.finding import Sort
from twin.event import TOPIC as EVENTS
from ui.findings import TOPIC as FINDINGS
from ui.oncall.service import ALERT_LOG, INCIDENTS
from ui.report.document import Cell, Report
from ui.report.reliable import PARTLY, UNJUDGED, UNWATCHED
from ui.words import words

COUNTS = ("alerts_count", "incidents_count", "failures_count")
NONE = "Nobody had to be told of anything: there was no incident."
UNTOLD = "Alerts fired: {count:.0f}; nobody was told of any, so no incident began."
WENT_ON = "No incident began; of those that had begun before, 1 went on."


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.read(0, 168)
    return made


def incident(world: World, name: str, opened: float, **steps: float) -> None:
    """An incident that began at the hour ``opened``, and at which hours what was done about it."""
    base_s = WEEK.start.timestamp()
    for what, hour in {"opened": opened, **steps}.items():
        times = {"at_s": base_s + 3600 * hour, "opened_s": base_s + 3600 * opened}
        world.note(INCIDENTS, hour, what=what, incident=name, rules=[], summary="", **times)


def of_incidents(report: Report) -> list[str]:
    return [one for one in sentences(report) if "incident" in one]


def unwatched(report: Report) -> bool:
    return any(m.text == UNWATCHED for section in report.sections for m in section.lead)


def test_of_what_icctwin_was_not_there_to_tell_nothing_is_counted(world: World) -> None:
    """All that it ever told is of after the week."""
    world.note(ALERT_LOG, 169, key="hot:n1", asset="n1", rule="hot", phase="firing", cause="")
    made = world.report()
    assert not set(COUNTS) & set(figures(made))
    assert not [one for one in made.tables() if one.key == "components"], "no failure in a week that nobody watched is no rate"
    assert of_incidents(made) == []
    assert unwatched(made)
    assert words("zh")(UNWATCHED) != UNWATCHED


TOLD = {"key": "k", "asset": "n1", "rule": "hot", "phase": "resolved", "code": "c", "severity": "info",
        "sort": Sort.DATA.value}  # fmt: skip


@pytest.mark.parametrize("topic", [EVENTS, FINDINGS])
def test_where_no_rule_was_judged_what_devices_told_of_is_counted_and_alerts_are_not(world: World, topic: str) -> None:
    world.note(topic, -1, **TOLD)
    world.note(EVENTS, 30, asset="n1", code="sel/grew", severity="warning")
    made = world.report()
    found = figures(made)
    assert (found["failures_count"], set(COUNTS) & set(found)) == (1, {"failures_count"})
    assert of_incidents(made) == []
    lead = next(section.lead for section in made.sections if section.key == "reliability")
    assert lead[0].text == UNJUDGED
    assert words("zh")(UNJUDGED) != UNJUDGED


def test_who_told_of_an_alert_before_would_have_told_of_more(world: World) -> None:
    world.note(ALERT_LOG, -1, **TOLD)
    made = world.report()
    assert [figures(made)[name] for name in COUNTS] == [0, 0, 0]
    assert {row[0]: row[2] for row in table(made, "components").rows}["gpu"] == 0
    assert of_incidents(made) == [NONE]
    assert not unwatched(made)


@pytest.mark.parametrize(("looked", "says"), [((0, 168), [NONE]), ((84, 168), [NONE, PARTLY.format(share=0.5)])])
def test_a_first_week_in_which_alerts_were_looked_for_and_none_came_is_calm(
    world: World, looked: tuple[int, int], says: list[str]
) -> None:
    world.looked, world.stood_by = looked, (0, looked[0])
    made = world.report()
    assert [figures(made)[name] for name in COUNTS] == [0, 0, 0]
    assert [one for one in sentences(made) if "incident" in one or "looked" in one] == says
    assert not unwatched(made)
    lead = next(section.lead for section in made.sections if section.key == "reliability")
    assert (PARTLY in [m.text for m in lead]) == (len(says) == 2)
    assert words("zh")(PARTLY) != PARTLY


def test_mean_time_between_failures_rests_on_the_hours_in_which_they_would_have_been_heard_of(tmp_path: Path) -> None:
    """Of no failure at least: twice the hours, twice the time."""

    def at_least_s(looked: tuple[int, int]) -> dict[Cell, Cell]:
        folder = tmp_path / f"{looked[0]}"
        folder.mkdir()
        world = World(folder)
        world.read(0, 168)
        world.looked = looked
        return {row[0]: row[4] for row in table(world.report(), "components").rows}

    whole, half = at_least_s((0, 168)), at_least_s((84, 168))
    assert whole.keys() == half.keys() >= {"gpu", "node", "transformer"}
    assert [float(half[kind]) for kind in whole] == pytest.approx([float(whole[kind]) / 2 for kind in whole])


def test_alerts_of_which_nobody_was_told_are_no_week_in_which_nothing_was(world: World) -> None:
    world.note(ALERT_LOG, 1, key="hot:n1", asset="n1", rule="hot", phase="firing", cause="")
    world.note(ALERT_LOG, 2, key="hot:*", asset="*", rule="hot", phase="firing", cause="", count=40, assets=["n2"])
    said = world.report().said
    assert [one for one in sentences(world.report()) if "incident" in one] == [UNTOLD.format(count=41)]
    assert "触发告警 41 次；均未通知任何人，因此没有产生事件。" in [words("zh").sentence(one) for one in said]


def test_an_incident_that_went_on_all_week_is_no_week_without_one(world: World) -> None:
    incident(world, "i1", opened=-1000, acknowledged=-999)
    incident(world, "i2", opened=-40, closed=-30)
    assert of_incidents(world.report()) == [WENT_ON]
    assert words("zh").sentence(world.report().said[-1]) == "没有新事件发生；此前开始的事件中有 1 起仍在持续。"


def test_one_that_ended_in_the_week_had_gone_on_and_one_that_began_in_it_is_neither(world: World) -> None:
    incident(world, "i1", opened=-2, acknowledged=-1, closed=3)
    assert of_incidents(world.report()) == [WENT_ON]
    incident(world, "i2", opened=10)
    found = world.report()
    assert (of_incidents(found), figures(found)["incidents_count"]) == ([], 1)
