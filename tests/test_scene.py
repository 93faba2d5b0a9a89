"""The scene as columns: where things stand, what their bytes say, and what the past gives back."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from faces_harness import Hands, live_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scene_site import SITE, bare_site, fed, feed_scene, forecast_of, frames_of, values_of

from analytics.alerts import Severity
from ingest.stores import open_store
from twin.frame import Frame, Origin
from twin.load import Row, build_site
from twin.params import Params
from twin.sim.examples import frontier_site
from twin.sim.outlook import outlook_of
from twin.site import Site
from ui.scene.ahead import day_ahead
from ui.scene.geometry import Geometry, geometry
from ui.scene.moments import PastValues, best_values, foreseen, live_values, residual_values
from ui.scene.paint import ALERTS, NO_METRIC, SILENT, TOP, paint, quantised
from ui.scene.sizes import Level
from ui.scene.wire import Detail, frame_body, pieces, scene_body, unpacked

DEMO = geometry(SITE)
ABOUT = {"time": 0.0, "colour": "power_w", "origin": "best", "against": False}


def _bounds(made: Geometry, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return made.centre[of] - made.size[of] / 2, made.centre[of] + made.size[of] / 2


def _kind(made: Geometry, kind: str) -> np.ndarray:
    return made.box_of[made.site.of_kind(kind)]


@pytest.mark.parametrize("site", [SITE, bare_site(), frontier_site()], ids=["placed", "without places", "Frontier-shaped"])
def test_everything_stands_in_what_holds_it_and_nothing_in_its_neighbour(site: Site) -> None:
    made = geometry(site)
    assert np.isfinite(made.centre).all()
    for inner, outer in (("node", "rack"), ("gpu", "node"), ("rack", "hall")):
        boxes = _kind(made, inner)
        assert (boxes >= 0).all(), f"each {inner} is drawn"
        holder = made.parent[boxes] if outer != "hall" else made.box_of[site.of_kind("hall")[site.within(inner, "hall")]]
        low, high = _bounds(made, boxes)
        outer_low, outer_high = _bounds(made, holder)
        axes = slice(0, 2) if outer == "hall" else slice(0, 3)
        assert (low[:, axes] >= outer_low[:, axes] - 1e-3).all(), f"{inner} within {outer}"
        assert (high[:, axes] <= outer_high[:, axes] + 1e-3).all(), f"{inner} within {outer}"
    low, high = _bounds(made, _kind(made, "rack"))
    apart = (low[:, None, :2] >= high[None, :, :2] - 1e-3) | (high[:, None, :2] <= low[None, :, :2] + 1e-3)
    assert (apart.any(axis=2) | np.eye(len(low), dtype=bool)).all(), "no two racks in one place"


def test_given_positions_are_kept_and_pitch_and_axis_follow_from_them() -> None:
    rows = [Row("t", {"id": "h", "kind": "hall"})]
    rows += [
        Row("t", {"id": f"r{i}", "kind": "rack", "parent": "h", "x_m": "5", "y_m": f"{0.6 * i}", "height_u": "42"})
        for i in range(4)
    ]
    made = geometry(build_site("turned", "UTC", rows))
    racks = _kind(made, "rack")
    assert made.centre[racks, 0] == pytest.approx(5)
    assert made.centre[racks, 1] == pytest.approx([0, 0.6, 1.2, 1.8])
    assert made.size[racks, 0] == pytest.approx(1.2), "they stand side by side along y: deep along x"
    assert (made.size[racks, 1] < 0.6).all()
    assert made.size[racks, 2] == pytest.approx(42 * 0.04445 + 0.1)


def test_an_empty_site_and_one_without_racks_are_empty_scenes() -> None:
    nothing = geometry(build_site("empty", "UTC", []))
    assert nothing.drawn == 0
    head, _ = unpacked(frame_body(nothing, paint(nothing, lambda k, n: np.zeros(0), "power_w"), Detail(), ABOUT))
    assert head["pieces"] == []
    hall = geometry(build_site("hall", "UTC", [Row("t", {"id": "h", "kind": "hall"}), Row("t", {"id": "ct", "kind": "tower"})]))
    assert np.isfinite(hall.centre).all()
    assert hall.drawn == 2


def test_water_runs_from_the_tower_to_every_rack_and_back() -> None:
    pipes, site = DEMO.pipes, DEMO.site
    racks = set(site.of_kind("rack").tolist())
    for side in (0, 1):
        assert racks <= set(pipes.owner[pipes.side == side].tolist()), "each rack has a supply and a return"
    for i, owner in enumerate(pipes.owner.tolist()):
        points = pipes.points[pipes.first[i] : pipes.first[i + 1]]
        if owner in racks:
            rack = DEMO.centre[DEMO.box_of[owner]]
            end = points[-1] if pipes.side[i] == 0 else points[0]
            assert np.hypot(*(end - rack)[:2]) < 0.8, "a rack's manifold stands at the rack; supply flows in, return out"
    keys = {pipes.keys[k] for k in pipes.temp_key[:, 0] if k >= 0}
    assert {("rack", "supply_temp_c"), ("cdu", "primary_return_temp_c"), ("tower", "supply_temp_c")} <= keys


def test_a_pipe_takes_its_temperature_from_the_other_end_where_its_own_says_nothing() -> None:
    values = values_of(SITE)
    values[("rack", "return_temp_c")][:] = np.nan
    values[("cdu", "return_temp_c")][:] = 42.0

    def told(kind: str, name: str) -> np.ndarray:
        return values.get((kind, name), np.full(SITE.count(kind), np.nan))

    painted = paint(DEMO, told, "power_w")
    mine = np.isin(DEMO.pipes.owner, SITE.of_kind("rack")) & (DEMO.pipes.side == 1)
    assert set(painted.pipe_temp[mine].tolist()) == {round((42 - 15) / 45 * TOP)}
    none = np.isin(DEMO.pipes.owner, SITE.of_kind("tower"))
    assert (painted.pipe_temp[none] == SILENT).all()


@given(
    st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), min_size=1, max_size=20),
    st.floats(-100, 100),
    st.floats(0.1, 1e3),
)
@settings(max_examples=60, deadline=None)
def test_a_byte_stands_within_half_a_step_of_its_value_and_nan_is_silence(column: list[float], low: float, span: float) -> None:
    values = np.array(column)
    made = quantised(values, (low, low + span))
    for value, byte in zip(column, made.tolist(), strict=True):
        if value != value:
            assert byte == SILENT
        elif low <= value <= low + span:
            assert abs(low + byte / TOP * span - value) <= span / TOP / 2 + 1e-9
        else:
            assert byte == (0 if value < low else TOP)


def test_a_container_shows_what_it_holds_and_says_nothing_where_a_part_of_a_sum_is_missing() -> None:
    live = fed()
    values = live_values(live.state, live.clock.now(), Origin.MEASURED)
    hot = paint(DEMO, values, "temp_c")
    gpu = values("gpu", "temp_c")
    rack = DEMO.box_of[SITE.of_kind("rack")]
    largest = [gpu[SITE.within("gpu", "rack") == row].max() for row in range(SITE.count("rack"))]
    low, high = hot.scales["rack"]
    assert np.abs(low + hot.boxes[rack] / TOP * (high - low) - largest).max() <= (high - low) / TOP / 2 + 1e-9
    assert (hot.boxes[_kind(DEMO, "ups")] == NO_METRIC).all()
    node = [gpu[SITE.within("gpu", "node") == row].max() for row in range(SITE.count("node"))]
    seen = low + hot.boxes[_kind(DEMO, "node")] / TOP * (high - low)
    assert np.abs(seen - node).max() <= (high - low) / TOP / 2 + 1e-9, "nobody reads the nodes' own: their hottest chip's"
    power = paint(DEMO, lambda kind, name: np.full(SITE.count(kind), np.nan if kind == "node" else 500.0), "power_w")
    assert (power.boxes[_kind(DEMO, "node")] == SILENT).all(), "the sum of GPUs is not a node's power"
    used = np.full(SITE.count("gpu"), 1e9)
    used[0] = np.nan
    live.state.absorb(Frame("gpu", live.clock.now(), SITE.all_rows("gpu"), {"mem_free_bytes": used}), live.clock.now())
    summed = paint(DEMO, values, "mem_free_bytes")
    assert summed.boxes[rack].tolist().count(SILENT) == 1
    with pytest.raises(KeyError):
        paint(DEMO, values, "beauty_frac")


def test_what_is_stale_turns_silent_and_the_rest_stays() -> None:
    live = fed()
    live.clock.skip(100)  # type: ignore[attr-defined]
    fresh = {("rack", "power_w"): np.full(SITE.count("rack"), 5e4)}
    for frame in frames_of(live, fresh):
        live.state.absorb(frame, live.clock.now())
    painted = paint(DEMO, live_values(live.state, live.clock.now(), Origin.MEASURED), "power_w")
    assert (painted.boxes[_kind(DEMO, "gpu")] == SILENT).all()
    assert (painted.boxes[_kind(DEMO, "rack")] <= TOP).all()
    assert (painted.pipe_temp == SILENT).all()


def test_a_residual_has_zero_in_the_middle_of_its_scale() -> None:
    live = fed()
    modelled = {("rack", "power_w"): values_of(SITE)[("rack", "power_w")] - np.arange(8) * 500.0}
    for frame in frames_of(live, modelled, Origin.MODELLED):
        live.state.absorb(frame, live.clock.now())
    sides = [live_values(live.state, live.clock.now(), origin) for origin in (Origin.MEASURED, Origin.MODELLED)]
    painted = paint(DEMO, residual_values(*sides), "power_w", signed=True)
    low, high = painted.scales["rack"]
    assert (low, high) == (-5000.0, 5000.0)
    assert painted.boxes[_kind(DEMO, "rack")].tolist() == [round((500 * k + 5000) / 10000 * TOP) for k in range(8)]
    assert (painted.boxes[_kind(DEMO, "gpu")] == SILENT).all(), "nothing is modelled of single GPUs"


def test_alerts_show_on_the_asset_and_on_what_holds_it() -> None:
    gpu = SITE.ids_of("gpu")[5]
    painted = paint(
        DEMO, lambda k, n: np.full(SITE.count(k), np.nan), ALERTS, [(gpu, Severity.WARNING), ("no such", Severity.INFO)]
    )
    box = int(DEMO.box_of[SITE.position[gpu]])
    assert painted.pulse_box.tolist() == [box]
    assert painted.pulse.tolist() == [2]
    lit = np.flatnonzero((painted.boxes > 0) & (painted.boxes <= TOP))
    kinds = [SITE.kind(SITE.ids[DEMO.asset[i]]) for i in lit]
    assert sorted(kinds) == ["gpu", "hall", "node", "rack", "row"]


def test_the_body_gives_back_the_geometry_and_a_frame_its_bytes_at_each_detail() -> None:
    head, data = unpacked(scene_body(DEMO))
    told = head["arrays"]["centre"]
    centre = np.frombuffer(data, "<f4", int(np.prod(told["shape"])), told["at"]).reshape(told["shape"])
    assert np.array_equal(centre, DEMO.centre)
    ids = data[head["ids"]["at"] : head["ids"]["at"] + head["ids"]["bytes"]].decode().split("\n")
    assert ids == list(DEMO.ids())
    values = values_of(SITE)
    painted = paint(DEMO, lambda k, n: values.get((k, n), np.full(SITE.count(k), np.nan)), "power_w")
    for detail in (Detail(), Detail(1), Detail(3, ()), Detail(3, (0,))):
        head, data = unpacked(frame_body(DEMO, painted, detail, ABOUT))
        want = pieces(DEMO, detail)
        sent = np.frombuffer(data, np.uint8, sum(end - begin for begin, end in want))
        assert np.array_equal(sent, np.concatenate([painted.boxes[begin:end] for begin, end in want]))
        gpus = sum(np.count_nonzero(DEMO.level[begin:end] == Level.GPU) for begin, end in want)
        assert gpus == (512 if detail.levels == 3 and detail.halls != () else 0)
    with pytest.raises(ValueError, match="no scene and no frame"):
        unpacked(b"GIF89a..")


def test_the_same_site_gives_the_same_hash_and_another_gives_another() -> None:
    assert geometry(SITE).hash == DEMO.hash
    assert geometry(bare_site()).hash != DEMO.hash


def test_the_stored_past_is_what_was_shown_then(tmp_path: Path) -> None:
    """Byte for byte: frames pushed live at three moments, one of them with a silent sensor, against the same asked later."""
    store = open_store(tmp_path / "store", SITE)
    clock = Hands()
    live = live_of(SITE, clock)
    live.store = store
    shown = {}
    for moment in range(3):
        silent = {("gpu", "temp_c"): np.where(np.arange(512) < 40 * moment, np.nan, 60.0 + moment)}
        feed_scene(live, seed=moment, values=silent)
        now = clock.now()
        sides = [live_values(live.state, now, origin) for origin in (Origin.MEASURED, Origin.MODELLED)]
        shown[now] = frame_body(DEMO, paint(DEMO, best_values(*sides), "temp_c"), Detail(), ABOUT)
        clock.skip(47)
    clock.skip(3600)
    for time, body in shown.items():
        past = [PastValues(SITE, store, time, origin, "temp_c", DEMO.pipes) for origin in (Origin.MEASURED, Origin.MODELLED)]
        assert frame_body(DEMO, paint(DEMO, best_values(*past), "temp_c"), Detail(), ABOUT) == body
    gone = PastValues(SITE, store, min(shown) - timedelta(hours=5), Origin.MEASURED, "temp_c", DEMO.pipes)
    assert (paint(DEMO, gone, "temp_c").boxes[_kind(DEMO, "gpu")] == SILENT).all()
    store.close()


def test_a_history_that_is_kept_seldom_is_held_and_says_so_but_silence_is_not(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", SITE)
    clock = Hands()
    start, rows = clock.now(), SITE.all_rows("rack")
    for k in range(8):  # a value every quarter of an hour of power; of temperature every ten seconds, and then no more
        hour = start + timedelta(minutes=15 * k)
        store.append([Frame("rack", hour, rows, {"power_w": np.full(len(rows), 1e4 * (k + 1))})])
    for k in range(30):
        tick = start + timedelta(seconds=10 * k)
        store.append([Frame("gpu", tick, SITE.all_rows("gpu"), {"temp_c": np.full(512, 60.0)})])
    at = start + timedelta(minutes=67)
    past = PastValues(SITE, store, at, Origin.MEASURED, "power_w", DEMO.pipes)
    assert past("rack", "power_w") == pytest.approx(5e4)
    assert past.folded_s == 900
    silent = PastValues(SITE, store, at, Origin.MEASURED, "temp_c", DEMO.pipes)
    assert np.isnan(silent("gpu", "temp_c")).all()
    assert silent.folded_s == 0
    store.close()


def test_the_day_ahead_adds_up_to_the_forecast_and_its_water_follows() -> None:
    live = fed()
    now = live.clock.now()
    rack_w = live.state.column("rack", "power_w", now)
    ratio = np.where(np.arange(24) < 12, 1.0, 1.3)
    said = forecast_of(live, ratio)
    run = day_ahead(SITE, live.state, [said], outlook_of({}), now, Params())
    early, late = (run.at(now.timestamp() + 3600 * h + 1800) for h in (6, 18))
    assert early("rack", "power_w").sum() == pytest.approx(rack_w.sum(), rel=0.01)
    assert late("rack", "power_w").sum() == pytest.approx(1.3 * rack_w.sum(), rel=0.01)
    share = late("rack", "power_w") / early("rack", "power_w")
    assert share == pytest.approx(1.3, rel=0.01), "each rack keeps its share"
    assert (late("rack", "return_temp_c") > early("rack", "return_temp_c")).all(), "more power, warmer return"
    assert late("hall", "power_w").sum() == pytest.approx(late("rack", "power_w").sum())
    assert np.isnan(late("gpu", "temp_c")).all(), "single chips are not foreseen"
    found = foreseen([said], "site", 0, "it_power_w", said.time_s[:2])
    assert found is not None
    assert found == pytest.approx(rack_w.sum())
