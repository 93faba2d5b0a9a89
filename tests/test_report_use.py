"""What a report says of GPU hours and of what broke, by hand: two nodes of two GPUs, read each quarter of an hour of a week."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from energy.account.book import Given
from energy.account.runs import TOPIC
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.event import TOPIC as EVENTS
from twin.frame import Frame, frame_of
from twin.load import Row, build_site
from twin.site import Site
from ui.oncall.service import ALERT_LOG, INCIDENTS
from ui.report.compose import compose
from ui.report.document import Report, Table
from ui.report.gather import gather
from ui.report.scope import scope_of
from ui.report.span import span_of

ZONE = ZoneInfo("Europe/Berlin")
WEEK = span_of("2026-W46", ZONE)
HOUR = timedelta(hours=1)
IDS = ("n1/0", "n1/1", "n2/0", "n2/1")
UTIL = (0.9, 0.9, 0.0, 0.5)


def site_of(ids: Sequence[str] = IDS) -> Site:
    nodes = sorted({one.partition("/")[0] for one in ids})
    lines = [{"id": "h", "kind": "hall"}, {"id": "r", "kind": "rack", "parent": "h"}, {"id": "t", "kind": "transformer"}]
    lines.append({"id": "task/alerts", "kind": "task"})
    lines += [{"id": node, "kind": "node", "parent": "r"} for node in nodes]
    lines += [{"id": one, "kind": "gpu", "parent": one.partition("/")[0]} for one in ids]
    return build_site("use", str(ZONE), [Row(f"t:{i}", line) for i, line in enumerate(lines)])


class World:
    """A centre to be filled; hours are counted from the beginning of the week."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, site_of()
        self.records = open_records(folder / "records.db")
        self._given: list[tuple[float, float, Sequence[str], bool, float]] = []
        self.looked = self.stood_by = (0, 0)  # from which hour to which alerts were looked for, or would have been

    def read(self, first: float, last: float, ids: Sequence[str] = IDS, meters: bool = True, step_h: float = 0.25) -> None:
        self._given.append((first, last, ids, meters, step_h))

    def run(self, job: str, first: float, last: float | None, held: dict[str, list[list[int]]], user: str = "u", how: str = "",
            named: bool = True) -> None:  # fmt: skip
        at, start_s = WEEK.start, WEEK.start.timestamp() + 3600 * first
        key, gpus = f"q/{job}@{start_s:.0f}", {"held": held} if named else {"gpus": held[""]}
        about = {"key": key, "job": job, "user": user, "project": "p", "partition": "x", "start_s": start_s, **gpus}
        self.records.append(TOPIC, at, {"entry": "begun", **about})
        if last is not None:
            end_s = WEEK.start.timestamp() + 3600 * last
            self.records.append(TOPIC, at, {"entry": "ended", "key": key, "end_s": end_s, "end_told": True, "how": how})

    def note(self, topic: str, hour: float, **record: Any) -> None:
        self.records.append(topic, WEEK.start + hour * HOUR, record)

    def report(self, ids: Sequence[str] = IDS, now: datetime | None = None, span: str = WEEK.label, scope: str = "centre",
               known: bool = True) -> Report:  # fmt: skip
        site, store = site_of(ids), open_store(self.folder / f"store-{len(ids)}-{ids[0][:2]}", site_of(ids))
        frames: list[Frame] = []
        for first, last, some, meters, step_h in self._given:
            for k in range(round((last - first) / step_h)):
                at = WEEK.start + (first + k * step_h) * HOUR
                mine = [one for one in some if one in ids]
                rows = np.array([site.row(one) for one in mine], dtype=np.int32)
                util = np.array([UTIL[IDS.index(one)] for one in mine])
                if len(rows):
                    frames.append(Frame("gpu", at, rows, {"power_w": np.full(len(rows), 500.0), "util_frac": util}))
                values = {"facility_power_w": 3000.0, "it_power_w": 2500.0} if known else {"it_power_w": 2500.0}
                if meters:
                    frames.append(Frame("site", at, site.all_rows("site"), {n: np.array([v]) for n, v in values.items()}))
        for hour in range(*self.looked):
            frames += [frame_of("task", WEEK.start + at * HOUR, 0, runs_count=at) for at in (hour + 0.25, hour + 0.75)]
        frames += [frame_of("task", WEEK.start + (hour + 0.9) * HOUR, 0, runs_count=0.0) for hour in range(*self.stood_by)]
        store.append(sorted(frames, key=lambda frame: frame.time))
        made = gather(site, store, self.records, span_of(span, ZONE), Given(), scope_of(scope), now)
        store.close()
        return compose(made)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def figures(report: Report) -> dict[str, float]:
    return {figure.key: figure.value for section in report.sections for figure in section.figures}


def table(report: Report, key: str) -> Table:
    return next(one for one in report.tables() if one.key == key)


def of_runs(report: Report, key: str) -> float:
    """GPU hours in a table that somebody held."""
    return sum(float(row[1]) for row in table(report, key).rows if not str(row[0]).startswith("("))


def sentences(report: Report) -> list[str]:
    return [one.text.format(**one.params) for one in report.said]


def test_hours_are_held_to_the_second_and_figures_are_the_sums_of_their_tables(world: World) -> None:
    """Each hour a job holds one GPU from :00 to :25, and one that does nothing from :20 to :50."""
    world.read(0, 168)
    for hour in range(168):
        world.run(f"a{hour}", hour, hour + 25 / 60, {"n1/": [[0, 0]]}, "ann")
        world.run(f"b{hour}", hour + 20 / 60, hour + 50 / 60, {"n2/": [[0, 0]]}, "bob")
    made = world.report()
    found, held_h = figures(made), 168 * (25 + 30) / 60
    assert found["held_h"] == pytest.approx(held_h)
    assert found["held_frac"] == pytest.approx((25 + 30) / 60 / 4)
    assert found["idle_held_frac"] == pytest.approx(30 / 55)
    assert float(table(made, "sizes").total[2]) == pytest.approx(held_h)
    for key in ("by_user", "by_project", "by_job"):
        assert of_runs(made, key) == pytest.approx(held_h), key
        assert float(table(made, key).total[1]) == pytest.approx(4 * 168), "with what was idle, all that there were"
    assert [tuple(row) for row in table(made, "idle").rows] == [("bob", pytest.approx(84.0))]
    whole = figures(world.report(scope="project:p"))
    assert (whole["held_h"], whole["busy_frac"]) == (pytest.approx(held_h), pytest.approx(0.9 * 25 / 55))


def test_two_runs_on_one_gpu_hold_its_hours_once(world: World) -> None:
    world.read(0, 168)
    world.run("a", 0, 10, {"n1/": [[0, 1]]})
    world.run("b", 5, 10, {"n1/": [[0, 0]]})
    made = world.report()
    assert figures(made)["held_h"] == float(table(made, "sizes").total[2]) == of_runs(made, "by_job") == 20


def test_jobs_below_a_gpu_hour_are_in_no_rank_and_ties_stand_by_name(world: World) -> None:
    world.read(0, 168)
    world.run("short", 3.4, 3.66, {"n1/": [[0, 0]]})  # over the half hour, 0.26 GPU hours
    for k in range(6):
        world.run(f"j{k}", 10 + k, 11 + k, {"n1/": [[0, 0]]})
        world.run(f"k{k}", 20 + 0.3 * k, 20.3 + 0.3 * k, {"n2/": [[0, 1]]} if k else {"n1/": [[0, 1]], "n2/": [[0, 1]]})
    made = world.report()
    assert [row[0] for row in table(made, "busiest").rows] == ["j0", "j1", "j2", "j3", "j4", "j5", "k0"]
    assert list(table(made, "busiest").rows[-1][2:4]) == [pytest.approx(1.2), pytest.approx((0.9 + 0.9 + 0.0 + 0.5) / 4)]


def test_a_span_that_is_not_over_counts_up_to_now(world: World) -> None:
    """Asked on Wednesday at noon: a run that goes on held its GPU until then, and the week had 60 hours."""
    world.read(0, 60)
    world.run("a", 12, None, {"n1/": [[0, 0]]})
    world.note(ALERT_LOG, -1, key="hot:n1", asset="n1", rule="hot", phase="resolved", cause="")
    made, now = world.report(now=WEEK.start + 60 * HOUR), figures(world.report(now=WEEK.start + 60 * HOUR))
    assert (now["held_h"], now["gpu_h"], now["available_frac"]) == (48, 240, 1)
    assert of_runs(made, "by_job") == float(table(made, "sizes").total[2]) == 48
    assert sentences(made)[0] == "The span is not over: all figures are of the time until 2026-11-11 12:00."
    assert now["coverage_frac"] == 1
    assert {row[0]: row[4] for row in table(made, "components").rows}["gpu"] == pytest.approx(240 * 3600 / 2.9957, rel=1e-4)
    half = figures(world.report(now=WEEK.start + 59.5 * HOUR, span="2026-11-09/2026-11-12"))
    assert half["held_h"] == pytest.approx(48), "what was read after that was read: a clock was set back"
    over = world.report(now=WEEK.end)
    assert figures(over)["held_h"] == 156
    assert not any("not over" in one for one in sentences(over))


def test_a_span_that_has_not_begun_holds_nothing(world: World) -> None:
    world.read(-24, -1)
    world.run("a", -20, None, {"n1/": [[0, 0]]})
    made = world.report(now=WEEK.start - HOUR)
    assert sentences(made)[0] == "The span has not begun."
    assert {"held_h", "gpu_h", "available_frac", "held_frac"} & set(figures(made)) <= {"held_h"}
    assert figures(made).get("held_h", 0.0) == 0


def test_an_unread_span_has_no_availability_and_no_time_between_failures(world: World) -> None:
    found = world.report()
    assert not {"available_frac", "gpu_h", "goodput_frac"} & set(figures(found))
    assert not [one for one in found.tables() if one.key == "components"]


def test_shares_are_of_the_time_that_was_read(world: World) -> None:
    """Half of the week is silent; a GPU that fell silent alone for ten hours was not available then."""
    world.read(0, 74, IDS)
    world.read(74, 84, IDS[:3])
    world.note(ALERT_LOG, -1, key="hot:n1", asset="n1", rule="hot", phase="resolved", cause="")
    world.run("a", 0, 84, {"n1/": [[0, 1]]}, how="completed")
    made = world.report()
    found = figures(made)
    assert found["held_frac"] == pytest.approx(0.5)
    assert found["available_frac"] == pytest.approx((4 * 84 - 10) / (4 * 84))
    assert found["goodput_frac"] == pytest.approx(0.5)
    lead = next(one.lead for one in made.sections if one.key == "use")
    assert any(one.params == {"read": 84.0, "hours": 168.0} for one in lead)
    rows = {row[0]: row for row in table(made, "components").rows}
    assert rows["transformer"][4] == pytest.approx(84 * 3600 / 2.9957, rel=1e-4)


def test_hours_before_a_gpu_was_heard_of_are_none_that_there_were(world: World) -> None:
    """One GPU comes on the fourth day; one that is silent all week was heard of the week before."""
    world.read(-24, -20, IDS[:3])
    world.read(0, 168, ("n1/0", "n1/1"))
    world.read(72, 168, ("n2/1",), meters=False)
    found = figures(world.report())
    assert found["gpu_h"] == 3 * 168 + 96
    assert found["available_frac"] == pytest.approx((2 * 168 + 96) / (3 * 168 + 96))


def test_a_changed_inventory_changes_no_hour_of_a_past_week(world: World) -> None:
    world.read(0, 168)
    world.run("a", 0, 100, {"n1/": [[0, 1]]}, "ann")
    world.run("b", 0, 50, {"n2/": [[0, 1]]}, "bob")
    before, front, less = (world.report(ids) for ids in (IDS, ("n0/0", *IDS), IDS[:2]))
    for made in (front, less):
        for key in ("held_h", "available_frac"):
            assert figures(made)[key] == pytest.approx(figures(before)[key]), key
        for key in ("sizes", "by_user"):
            was, is_now = (sorted(row[:2] for row in table(one, key).rows if row[0] != "(idle)") for one in (before, made))
            assert is_now == was, key
    assert figures(front)["gpu_h"] == figures(before)["gpu_h"] == 4 * 168
    energy_kwh = {row[0]: row[3] for row in table(before, "by_job").rows}
    assert {row[0]: row[3] for row in table(front, "by_job").rows} == pytest.approx(energy_kwh, nan_ok=True)
    assert figures(less)["gpu_h"] == 2 * 168 + 100
    lead = next(one.lead for one in less.sections if one.key == "use")
    assert any(one.params == {"hours": 100.0} for one in lead)


def test_a_year_ago_is_read_in_the_steps_that_are_left_of_it(world: World) -> None:
    """Of the year before an hour is the finest that is left."""
    year_h = (WEEK.year_ago().start - WEEK.start) / HOUR
    world.read(0, 168)
    world.read(year_h, year_h + 168, step_h=1.0)
    made = world.report()
    facility = next(one for section in made.sections for one in section.figures if one.key == "facility_kwh")
    assert (facility.value, facility.year) == (pytest.approx(504), pytest.approx(504))


def test_what_is_not_known_of_a_user_is_a_dash(world: World) -> None:
    world.read(0, 168)
    world.run("a", 0, 84, {"n1/": [[0, 1]]}, "ann")
    made = table(world.report(known=False), "by_user")
    assert [row[0] for row in made.rows] == ["ann", "(idle)", "(unseen)"]
    assert made.rows[0][1] == 168
    assert np.isnan([row[2:] for row in [*made.rows, made.total]]).all()
    assert made.note is None


def test_incidents_count_where_they_ended_with_their_true_times(world: World) -> None:
    """One began two days before the week and ended in it; one began in it and goes on."""

    def step(hour: float, what: str, name: str, opened: float) -> None:
        opened_s, at_s = (WEEK.start.timestamp() + 3600 * one for one in (opened, hour))
        world.note(INCIDENTS, hour, what=what, incident=name, at_s=at_s, opened_s=opened_s, rules=[], summary="")

    world.read(0, 168)
    for hour, what in ((-48, "opened"), (-47, "acknowledged"), (2, "closed")):
        step(hour, what, "i1", -48)
    for hour, what in ((160, "opened"), (164, "acknowledged"), (200, "closed")):
        step(hour, what, "i2", 160)
    found = figures(world.report())
    assert (found["incidents_count"], found["mtta_s"], found["mttr_s"]) == (1, 3600, 50 * 3600)
    after = figures(world.report(span="2026-W47"))
    assert (after["mtta_s"], after["mttr_s"]) == (4 * 3600, 40 * 3600)


def test_alerts_of_a_storm_are_all_counted(world: World) -> None:
    world.read(0, 168)
    world.note(ALERT_LOG, 1, key="hot:n1", asset="n1", rule="hot", phase="firing", cause="")
    for phase in ("firing", "resolved"):
        world.note(ALERT_LOG, 2, key="hot:*", asset="*", rule="hot", phase=phase, cause="", count=40, assets=["n2"])
    assert figures(world.report())["alerts_count"] == 41


def test_the_same_failure_told_twice_within_the_hour_is_one(world: World) -> None:
    world.read(0, 168)
    for hour in (5, 5.5, 6.4, 8):  # each of the first three within an hour of the one before
        world.note(EVENTS, hour, asset="n1/0", code="xid/79", severity="critical", meaning="fell off the bus", source="s")
    assert figures(world.report())["failures_count"] == 2


def test_only_an_event_within_minutes_of_its_end_ended_a_run(world: World) -> None:
    world.read(0, 168)
    world.run("a", 0, 20, {"n1/": [[0, 0]]}, how="failed")
    world.note(EVENTS, 20 - 11 / 60, asset="n1/0", code="xid/79", severity="critical", meaning="off the bus", source="s")
    assert [row[0] for row in table(world.report(), "interruptions").rows] == ["not known"]
    world.note(EVENTS, 20 - 9 / 60, asset="n1", code="psu", severity="critical", meaning="a supply is out", source="s")
    assert [row[0] for row in table(world.report(), "interruptions").rows] == ["psu"]
