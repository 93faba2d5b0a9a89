"""Racks that a scenario adds: they stand where there is room and have values of their own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scene_site import SITE, bare_site, fed

from analytics.alerts import Severity
from twin.load import Row, build_site
from twin.sim.grow import grown
from twin.site import Site
from ui.faces.api_twin import Runner
from ui.faces.scene_studio import Ask, Studio
from ui.faces.twin_page import cases_of
from ui.scenario import AddedRack, ScenarioIn
from ui.scene.added import Added, added_racks
from ui.scene.geometry import Geometry, geometry
from ui.scene.paint import ALERTS, NO_METRIC, TOP, paint, paint_added
from ui.scene.sizes import Level
from ui.scene.wire import unpacked

DEMO, BARE = geometry(SITE), geometry(bare_site())


def _apart(made: Geometry, added: Added) -> bool:
    """Whether no added rack stands in another, or in anything that stands on a floor."""
    stand = np.flatnonzero((made.level == Level.RACK) & (made.size > 0).all(axis=1))
    centre, size = (
        np.concatenate([old[stand], new])[:, :2] for old, new in ((made.centre, added.centre), (made.size, added.size))
    )
    gap = np.abs(centre[:, None] - centre[None]) - (size[:, None] + size[None]) / 2
    inside = (gap < -1e-3).all(axis=2)
    np.fill_diagonal(inside, False)
    return not inside[len(stand) :].any()


@pytest.mark.parametrize("made", [DEMO, BARE], ids=["placed", "without places"])
@given(count=st.integers(1, 60), more=st.integers(0, 12))
@settings(max_examples=15, deadline=None)
def test_added_racks_stand_on_free_floor_like_their_original(made: Geometry, count: int, more: int) -> None:
    first, second = made.site.ids_of("rack")[:2]
    wanted = [(first, count), *([(second, more)] if more else [])]
    added = added_racks(made, grown(made.site, wanted))
    assert len(added.ids) == count + more
    assert _apart(made, added)
    original = int(made.box_of[made.site.position[first]])
    assert added.size[:count] == pytest.approx(np.tile(made.size[original], (count, 1)))
    assert added.centre[:count, 2] == pytest.approx(made.centre[original, 2]), "on the same floor"


def _line(turned: bool) -> Site:
    """Five racks side by side, 0.7 m apart; a UPS stands where the seventh would."""
    at = [("x_m", "y_m"), ("y_m", "x_m")][turned]
    rows = [{"id": f"r{i}", "kind": "rack", "parent": "h", at[0]: f"{0.7 * i}", at[1]: "3"} for i in range(5)]
    rows.append({"id": "u", "kind": "ups", "parent": "h", at[0]: "4.2", at[1]: "3"})
    return build_site("line", "UTC", [Row("t", {"id": "h", "kind": "hall"}), *(Row("t", row) for row in rows)])


@pytest.mark.parametrize("turned", [False, True], ids=["along x", "along y"])
def test_a_line_goes_on_at_its_pitch_around_what_stands_there(turned: bool) -> None:
    made = geometry(_line(turned))
    added = added_racks(made, grown(made.site, [("r1", 2)]))
    along, across = (1, 0) if turned else (0, 1)
    assert added.centre[:, across] == pytest.approx(3.0)
    assert added.centre[:, along] == pytest.approx([5.6, 6.3]), "3.5, 4.2 and 4.9 would touch the UPS"
    assert _apart(made, added)


async def test_a_frame_of_the_scenario_has_a_byte_for_each_and_a_difference_has_none() -> None:
    live = fed()
    studio = Studio(live, Runner(live))
    plan = ScenarioIn(name="more", add_rack=[AddedRack(like="h1-a01", count=3)])
    run = await studio.what_if(plan, "example", 2, 60)
    kept = studio.runs[run]
    assert kept.added.ids == ("h1-a01+1", "h1-a01+2", "h1-a01+3")
    at_s = kept.other.span_s[1]
    moment = kept.other.at(at_s)
    power_w = moment.added("power_w")
    assert (power_w > 1e3).all(), "they draw power"
    assert moment("hall", "power_w").sum() == pytest.approx(moment("rack", "power_w").sum() + power_w.sum()), (
        "of their hall too"
    )
    head, data = unpacked(await studio.frame(Ask(run=run, time_s=at_s)))
    low, high = head["scales"]["rack"]
    sent = np.frombuffer(data[-head["added"] :], np.uint8)
    assert low + sent / TOP * (high - low) == pytest.approx(power_w, abs=(high - low) / TOP)
    head, data = unpacked(await studio.frame(Ask(run=run, time_s=at_s, against=True)))
    assert list(data[-head["added"] :]) == [NO_METRIC] * 3
    head, _ = unpacked(await studio.frame(Ask()))
    assert head["added"] == 0, "the present has none"


def test_an_alert_of_an_added_rack_is_its_colour_and_other_metrics_are_not_its() -> None:
    firing = [("r+1", Severity.WARNING), ("r+1", Severity.CRITICAL), ("x", Severity.INFO)]
    painted = paint(DEMO, lambda kind, name: np.full(SITE.count(kind), np.nan), ALERTS, firing)
    assert paint_added(painted, ["r+1", "r+2"], ALERTS, lambda name: np.zeros(2), firing, signed=False).tolist() == [TOP, 0]
    hot = paint(DEMO, lambda kind, name: np.full(SITE.count(kind), 50.0), "util_frac")
    assert paint_added(hot, ["r+1"], "util_frac", lambda name: np.ones(1), (), signed=False).tolist() == [NO_METRIC]


def test_a_site_with_gpus_can_be_asked_for_more_racks_and_one_without_cannot() -> None:
    asked = cases_of(SITE)["more"].scenario.add_rack[0]
    assert SITE.kind(asked.like) == "rack"
    assert np.count_nonzero(SITE.within("gpu", "rack") == SITE.row(asked.like)) == 64
    hall, rack = Row("t", {"id": "h", "kind": "hall"}), Row("t", {"id": "r", "kind": "rack", "parent": "h"})
    assert "more" not in cases_of(build_site("bare", "UTC", [hall, rack]))
