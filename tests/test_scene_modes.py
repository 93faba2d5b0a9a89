"""The 3D twin's modes as their users find them, in one browser against one server: the first view, rays against pixels, time,
scenarios, the 2D modes, links, what is taken along."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import tab
from faces_harness import Hands, served
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as TooLate
from scene_page import AT, DEMO, NARROW, SMALL, box_of, drawing, like_golden, opened, picture, settled, tints, top_of
from scene_site import SITE, fed, feed_scene, forecast_of

from ingest.stores import open_store
from ui.scene.ramps import MAGNITUDE

pytestmark = pytest.mark.browser
RACKS = DEMO.box_of[SITE.of_kind("rack")].tolist()
# Where the corners of these boxes are in the picture, in pixels of the page, and the free part of it.
CORNERS = """(boxes) => {
  const { view3d, scene } = icctwinScene, canvas = view3d.canvas.getBoundingClientRect(), found = [];
  for (const i of boxes) for (let k = 0; k < 8; k++) {
    const at = [0, 1, 2].map((axis) => scene.centre[3 * i + axis] + (k >> axis & 1 ? 0.5 : -0.5) * scene.size[3 * i + axis]);
    const point = view3d.camera.controls.target.clone().set(...at).project(view3d.camera.three);
    found.push([canvas.left + (point.x + 1) / 2 * canvas.width, canvas.top + (1 - point.y) / 2 * canvas.height]);
  }
  const box = (id) => {
    const { left, top, right, bottom } = document.getElementById(id).getBoundingClientRect();
    return [left, top, right, bottom];
  };
  return { found, canvas: box("scene-canvas"), legend: box("scene-legend"), card: box("scene-card") };
}"""
# At each of these points of the canvas: the box that a ray finds, and the colour that was drawn; nothing but boxes is drawn.
RAYS = """(points) => {
  const { view3d } = icctwinScene, world = view3d.worlds[0], { canvas } = view3d, box = canvas.getBoundingClientRect();
  const aside = [world.pipes, world.cables, world.lit, world.frames, world.pulse, world.chosen, ...world.house];
  const shown = aside.map((one) => one.visible);
  aside.forEach((one) => (one.visible = false));
  view3d.draw();
  const gl = canvas.getContext("webgl2"), to = new Uint8Array(36), ground = view3d.shared.ground;
  const made = points.map(([u, v]) => {
    const [x, y] = [Math.floor(u * canvas.width), Math.floor((1 - v) * canvas.height)];
    gl.readPixels(x - 1, y - 1, 3, 3, gl.RGBA, gl.UNSIGNED_BYTE, to);
    if (to.some((part, k) => part !== to[k % 4])) return null; // on an edge, which is smoothed
    const at = [(x + 0.5) / canvas.width, 1 - (y + 0.5) / canvas.height];
    return [view3d.pick(box.left + at[0] * box.width, box.top + at[1] * box.height), to[0], to[1], to[2]];
  });
  aside.forEach((one, k) => (one.visible = shown[k]));
  return { made: made.filter(Boolean), ground: [ground.r, ground.g, ground.b].map((part) => 255 * part) };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with drawing() as made:
        yield made


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A centre with an hour of history in the store, and a day that is foreseen: power falls by half."""
    store = open_store(tmp_path_factory.mktemp("modes") / "store", SITE)
    live = fed(store=store, clock=Hands())
    for seed in range(2, 14):
        live.clock.skip(300)  # type: ignore[attr-defined]
        feed_scene(live, seed=seed)
    live.forecasts = (forecast_of(live, np.linspace(1.0, 0.5, 25)),)
    with served(live) as made:
        yield made
    store.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with tab(browser, viewport=SMALL, reduced_motion="reduce") as made:
        yield made


@pytest.mark.parametrize(("place", "size"), [("scene", (1920, 1080)), ("scene", (800, 600)), ("hall", (1600, 900))])
def test_it_opens_on_the_racks_of_the_hall_as_large_as_panels_allow(
    page: Page, url: str, place: str, size: tuple[int, int]
) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(f"{url}/{place}?lang=en&solid=1")
    where: Any = page
    if place == "hall":
        page.wait_for_function("() => document.getElementById('solid').contentWindow.icctwinScene?.stats.openMs")
        where = page.frames[1]
    where.wait_for_function("() => icctwinScene.stats.openMs > 0")
    for _ in range(50):  # panels take their places after the scene has opened, and the view follows them
        seen = where.evaluate(CORNERS, RACKS)
        points, (left, top, right, bottom) = np.array(seen["found"]), seen["canvas"]
        span = np.ptp(points, axis=0) / [right - left, bottom - top]
        if span.max() > 0.55:
            break
        page.wait_for_timeout(100)
    assert (points >= [left, top]).all()
    assert (points <= [right, bottom]).all(), "whole"
    assert span.max() > 0.55, "and large"
    x0, y0, x1, y1 = seen["legend"]
    under = (points[:, 0] < x1) & (points[:, 0] > x0) & (points[:, 1] > y0) & (points[:, 1] < y1)
    assert not under.any(), "the legend lies beside them"


def test_views_lead_from_the_site_to_a_chip_and_back(page: Page, url: str) -> None:
    opened(page, url, sel="h1-a03")
    page.wait_for_function("() => icctwinScene.stats.openMs > 0")
    reach = "() => icctwinScene.view3d.reach()"
    hall_m = page.evaluate(reach)
    seen = page.evaluate(CORNERS, RACKS)
    card = seen["card"]
    assert not any(x > card[0] and y < card[3] for x, y in seen["found"]), "nor does the card hide them"
    page.locator("#scene-home").click()
    site_m = page.evaluate(reach)
    page.wait_for_function("() => location.search.includes('cam=site')")
    page.keyboard.press("f")
    rack_m = page.evaluate(reach)
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    assert site_m > 3 * hall_m
    assert site_m > 3 * rack_m
    at_hall = "() => icctwinScene.view3d.camera.resting"
    assert page.evaluate(at_hall) == "hall", "with nothing picked F leads back to the halls"
    page.mouse.dblclick(*page.evaluate(AT, top_of("h1-a-cdu1")))
    expect(page.locator("#scene-card b")).to_have_text("h1-a-cdu1")
    assert page.evaluate(at_hall) is None
    page.locator("#scene-hall").click()
    assert page.evaluate(at_hall) == "hall"


def test_a_ray_finds_what_is_drawn_and_its_colour_is_the_byte_that_was_sent(page: Page, url: str) -> None:
    """At the level of the site, of nodes and of chips, at hundreds of points of the picture: the box that picking gives has,
    up to the light on its side, exactly the colour of its byte; where it gives none there is ground."""
    page.set_viewport_size({"width": 1600, "height": 900})
    opened(page, url, colour="power_w")
    x, y, _ = top_of("h1-a04")
    kinds = set()
    for camera, level in (
        ([x - 24, y - 50, 40, x, y, 0], 1),
        ([x - 3, y - 22, 4, x, y, 1], 2),
        ([x, y - 3.4, 1.4, x, y, 1.2], 3),
    ):
        page.evaluate(NARROW if level == 1 else "() => icctwinScene.view3d.resize()")
        page.evaluate("(cam) => { icctwinScene.view3d.camera.place(cam); icctwinScene.view3d.draw(); }", camera)
        near = box_of(("h1-a04", "h1-a04-n1", "h1-a04-n1-g1")[level - 1])
        ready = "([level, i]) => icctwinScene.level === level && icctwinScene.bytes.tint[i] < 251"
        page.wait_for_function(ready, arg=[level, near])
        spots = [[(i + 0.37) / 64, (k + 0.41) / 36] for i in range(64) for k in range(36)]
        sent, hits, wrong = tints(page), 0, 0
        while True:  # bytes that come while the picture is read belong to the next one
            told, before, sent = page.evaluate(RAYS, spots), sent, tints(page)
            if np.array_equal(before, sent):
                break
        for box, *rgb in told["made"]:
            if box < 0:
                wrong += int(np.abs(np.array(rgb) - told["ground"]).max() > 2)
                continue
            kind = SITE.kind(SITE.ids[DEMO.asset[box]])
            if kind == "rack" and level > 1:
                continue  # its frame
            hits += 1
            kinds.add(kind)
            wrong += int(sent[box] <= 250 and not _lit(np.array(rgb, dtype=float), MAGNITUDE[sent[box]].astype(float)))
        assert hits > 30, level
        assert wrong <= 1, f"level {level}: {wrong} of {hits}"
    assert {"rack", "node", "gpu", "cdu", "chiller"} <= kinds


def _lit(rgb: Any, colour: Any) -> bool:
    """Whether this is the colour in the light of any side of a box: top, below, the four between."""
    return any(np.abs(rgb - side * colour).max() <= 2.5 for side in (1.0, 0.5, 0.72, 0.86))


def test_the_slider_runs_into_the_forecast(page: Page, url: str) -> None:
    opened(page, url, view="plan")
    now = tints(page)[RACKS].astype(float)
    sums = {}
    for hours in (1, 24):
        page.evaluate("(minutes) => icctwinScene.time.set(minutes)", 60 * hours)
        page.wait_for_function(f"() => icctwinScene.head.origin === 'forecast' && icctwinScene.frameTime > {hours} * 3600")
        page.wait_for_function(f"() => Math.abs(icctwinScene.frameTime - icctwinScene.anchor - {hours} * 3600) < 2")
        sums[hours] = tints(page)[RACKS].astype(float).sum() / now.sum()
    assert sums[1] == pytest.approx(1 - 0.5 / 24, abs=0.03)
    assert sums[24] == pytest.approx(0.5, abs=0.03)
    expect(page.locator("#scene-when")).to_contain_text("forecast")
    expect(page.locator("#scene-legend .title")).to_contain_text("forecast")
    assert page.locator("#scene-slider").get_attribute("aria-valuetext") == page.locator("#scene-when").text_content()


def test_a_link_to_the_past_shows_that_moment_and_what_was_seen_is_not_asked_for_again(page: Page, url: str) -> None:
    opened(page, url, view="plan", colour="temp_c")
    page.evaluate("() => icctwinScene.time.set(-30)")
    page.wait_for_function("() => icctwinScene.frameTime && location.search.includes('at=')")
    past, link = tints(page), page.url
    page.wait_for_function("() => icctwinScene.frames.kept.size === 3")  # it and its neighbours
    page.evaluate("() => icctwinScene.time.set(-40)")
    page.wait_for_function("() => icctwinScene.frames.kept.size === 4 && icctwinScene.minutes === -40")
    assert page.evaluate("() => icctwinScene.frames.asked") == 4, "its neighbour was there, one more was asked for"
    page.goto(link)
    page.wait_for_function("() => icctwinScene.frameTime")
    assert tints(page).tolist() == past.tolist()
    page.locator("#scene-slider").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => icctwinScene.minutes === -29")
    page.locator("#scene-play").click()
    page.wait_for_function("() => icctwinScene.minutes >= -19")
    page.locator("#scene-play").click()
    expect(page.locator("#scene-play")).to_have_attribute("aria-pressed", "false")


def test_added_racks_are_drawn_where_the_scenario_is_shown_and_only_there(page: Page, url: str) -> None:
    opened(page, url, case="more", mode="beside")
    page.wait_for_function("() => icctwinScene.runHead?.added === 4")
    expect(page.locator(".sides")).to_be_visible()
    page.evaluate("() => icctwinScene.time.set(180)")
    expect(page.locator("#scene-when")).to_contain_text("the scenario")
    page.wait_for_function("() => icctwinScene.view3d.worlds[1].bytes.added.every((byte) => byte <= 250)")
    where = """() => {
      const { view3d } = icctwinScene, { centre, size } = view3d.added;
      const canvas = view3d.canvas.getBoundingClientRect();
      const at = view3d.camera.controls.target.clone().set(centre[0], centre[1], centre[2] + size[2] / 2);
      at.project(view3d.camera.three);
      return [(at.x + 1) / 4, (1 - at.y) / 2, canvas.left, canvas.top, canvas.width, canvas.height];
    }"""
    u, v, left, top, width, height = page.evaluate(where)
    both = np.asarray(picture(page), dtype=float)
    colours = [both[round(v * both.shape[0]), round((u + half) * both.shape[1])] for half in (0.0, 0.5)]
    assert np.abs(colours[0] - colours[1]).max() > 25, "the top of the first is on the right, the bare floor on the left"
    page.mouse.move(left + (u + 0.5) * width, top + v * height + 2)
    expect(page.locator("#scene-hint b")).to_have_text("h1-a01+1")
    expect(page.locator("#scene-hint span")).to_contain_text("rack that the scenario adds · ≈")
    page.mouse.click(left + (u + 0.5) * width, top + v * height + 2)
    expect(page.locator("#scene-card b")).to_have_text("h1-a01+1")
    assert page.evaluate("() => icctwinScene.view3d.stats.drawCalls") <= 30
    page.locator("#scene-mode").select_option("difference")
    page.wait_for_function("() => icctwinScene.head.against && icctwinScene.view3d.worlds[0].ghosts")
    page.locator('[data-view="plan"]').click()
    expect(page.locator("#scene-plan .ghost")).to_have_count(4)
    page.locator("#scene-case").select_option("")
    expect(page.locator("#scene-plan .ghost")).to_have_count(0)
    assert page.evaluate("() => icctwinScene.view3d.worlds.every((world) => !world.ghosts)")


def test_a_rack_is_seen_from_the_front_and_from_behind(page: Page, url: str) -> None:
    opened(page, url, view="rack", sel="h1-a05", colour="temp_c")
    names = page.locator("#scene-plan .room-name")
    expect(names).to_have_text(["h1-a05 · Front", "h1-a05 · Rear"])
    page.wait_for_function(f"() => icctwinScene.bytes.tint[{box_of('h1-a05-n3-g1')}] < 251")
    chips = page.evaluate(
        "() => [...document.querySelectorAll('#scene-plan .chip')].map((one) => [Number(one.dataset.box), one.style.fill])"
    )
    inside = {box_of(gpu) for gpu in SITE.ids_of("gpu") if gpu.startswith("h1-a05-")}
    assert {box for box, _ in chips} == inside
    sent = tints(page)
    assert all(fill == "rgb({}, {}, {})".format(*MAGNITUDE[sent[box]]) for box, fill in chips)
    page.locator(f'#scene-plan [data-box="{box_of("h1-a05-n3")}"]').first.hover(position={"x": 3, "y": 3})
    expect(page.locator("#scene-hint b")).to_contain_text("h1-a05-n3")
    page.locator("#scene-search").fill("h1-a02")
    page.locator("#scene-search").press("Enter")
    expect(names.first).to_have_text("h1-a02 · Front")


def test_a_pointer_shows_the_last_hour_and_a_click_leads_to_the_asset(page: Page, url: str) -> None:
    opened(page, url, colour="supply_temp_c")
    page.wait_for_function("() => icctwinScene.stats.openMs > 0")
    at = page.evaluate(AT, top_of("h1-a-cdu1"))
    page.mouse.move(*at)
    expect(page.locator("#scene-hint b")).to_have_text("h1-a-cdu1")
    page.wait_for_selector("#scene-hint .spark path", state="attached")
    expect(page.locator("#scene-hint small")).to_contain_text("last hour:")
    page.mouse.click(*at)
    page.locator("#scene-card a").click()
    page.wait_for_url("**/asset/h1-a-cdu1")
    expect(page.locator("main")).to_contain_text("h1-a-cdu1")


def test_what_is_taken_along_is_a_picture_with_its_legend_or_a_file_of_the_scene(page: Page, url: str, tmp_path: Path) -> None:
    opened(page, url)
    with page.expect_download() as waiting:
        page.locator("#scene-picture").click()
    assert waiting.value.suggested_filename == "scene-power_w.png"
    waiting.value.save_as(tmp_path / "scene.png")
    seen = np.asarray(Image.open(tmp_path / "scene.png").convert("RGB"), dtype=float)
    wide, high = page.evaluate("() => [icctwinScene.view3d.canvas.width, icctwinScene.view3d.canvas.height]")
    assert seen.shape[:2] == (high + 40, wide)
    assert seen[:high].std() > 15
    foot = seen[high:].mean(axis=2)
    assert foot.min() < 60 < 200 < foot.mean(), "words on white"
    pytest.importorskip("pyvista", reason="the extra 'scene' is not installed: make field")
    with page.expect_download(timeout=100_000) as waiting:  # VTK is loaded first
        page.locator("#scene-glb").click()
    waiting.value.save_as(tmp_path / "scene.glb")
    assert (tmp_path / "scene.glb").read_bytes()[:4] == b"glTF"


def test_two_taps_fly(browser: Browser, url: str) -> None:
    with tab(browser, viewport=SMALL, has_touch=True, reduced_motion="reduce") as page:
        opened(page, url)
        page.wait_for_function("() => icctwinScene.stats.openMs > 0")
        page.locator("#scene-home").tap()
        before_m = page.evaluate("() => icctwinScene.view3d.reach()")
        at = page.evaluate(AT, top_of("h1-a-cdu1"))
        for _ in range(6):  # a busy browser hears the two too far apart, and then they are two picks
            page.touchscreen.tap(*at)
            page.touchscreen.tap(*at)
            expect(page.locator("#scene-card b")).to_have_text("h1-a-cdu1")
            with suppress(TooLate):
                page.wait_for_function("(far) => icctwinScene.view3d.reach() < far / 3", arg=before_m, timeout=4_000)
                return
        pytest.fail("it does not fly")


GOLDEN: list[tuple[str, dict[str, Any]]] = [
    ("scene_light_hall", {"theme": "light"}),
    ("scene_contrast_site", {"theme": "contrast", "cam": "site", "colour": "temp_c"}),
    ("scene_chips", {"cam": "11,-2.6,1.6,11,0.6,1.2", "colour": "temp_c"}),
    ("scene_path", {"sel": "h1-a04", "cam": "1,-7,4,5,1.5,1.2"}),  # a card as it grows moves no camera
    ("scene_more_beside", {"case": "more", "mode": "beside"}),
]


@pytest.mark.parametrize(("name", "asked"), GOLDEN, ids=[name for name, _ in GOLDEN])
def test_modes_look_like_their_golden_pictures(page: Page, url: str, name: str, asked: dict[str, Any]) -> None:
    opened(page, url, embed=1, **asked)
    page.wait_for_function("() => icctwinScene.stats.openMs > 0")
    if "case" in asked:
        page.wait_for_function("() => icctwinScene.runHead?.added === 4")
    elif name != "scene_contrast_site":
        page.wait_for_function(f"() => icctwinScene.level === 3 && icctwinScene.bytes.tint[{box_of('h1-a04-n1-g1')}] < 251")
    like_golden(settled(page), name)
