"""The 3D twin in a real browser: picking, colours, detail, past, silence, languages, and life without WebGL."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import tab
from faces_harness import Hands, live_of, served
from playwright.sync_api import Browser, Page, expect
from scene_page import (
    ABOVE,
    AT,
    DEMO,
    NARROW,
    PIXEL,
    READY,
    SMALL,
    box_of,
    drawing,
    like_golden,
    opened,
    picture,
    tints,
    top_of,
)
from scene_site import SITE, bare_site, fed, feed_scene

from analytics.alerts import Alert, Phase, Severity
from ingest.stores import open_store
from twin.load import build_site
from twin.message import Message
from ui.scene.ramps import MAGNITUDE
from ui.view import Live

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with drawing() as made:
        yield made


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with tab(browser, viewport=SMALL, reduced_motion="reduce") as made:
        yield made


def test_a_click_picks_the_box_under_it_and_lights_up_its_paths(page: Page) -> None:
    with served(fed()) as url:
        opened(page, url)
        for asset, high in (("h1-a03", 90.0), ("ch1", 90.0), ("h1-a05-n3", 12.0)):
            x, y, z = top_of(asset) if asset != "h1-a05-n3" else DEMO.centre[box_of(asset)].tolist()
            if asset == "h1-a05-n3":  # from the front, near enough for nodes
                page.evaluate("([x, y, z]) => icctwinScene.view3d.camera.place([x, y - 18, z, x, y, z])", [x, y, z])
                page.evaluate("() => icctwinScene.view3d.draw()")
                y -= float(DEMO.size[box_of(asset), 1]) / 2
            else:
                page.evaluate(ABOVE, [x, y, high])
            at = page.evaluate(AT, [x + 0.1, y, z])
            page.mouse.click(*at)
            expect(page.locator("#scene-card b")).to_have_text(asset)
        expect(page.locator("#scene-card .power")).to_contain_text("h1-a05-pa")
        expect(page.locator("#scene-card .power")).to_contain_text("grid")
        expect(page.locator("#scene-card .water")).to_contain_text("h1-a-cdu1")
        expect(page.locator("#scene-card .water")).to_contain_text("ct1")
        expect(page.locator("#scene-card a")).to_have_attribute("href", "/asset/h1-a05-n3")
        assert page.evaluate("() => icctwinScene.view3d.stats.drawCalls") <= 30
        page.wait_for_function("() => location.search.includes('sel=h1-a05-n3') && location.search.includes('cam=')")
        kept = page.evaluate("() => icctwinScene.view3d.camera.placed")
        page.reload()
        page.wait_for_function(READY)
        expect(page.locator("#scene-card b")).to_have_text("h1-a05-n3")
        assert page.evaluate("() => icctwinScene.view3d.camera.placed") == pytest.approx(kept, abs=0.02), (
            "a link shows the same"
        )
        page.keyboard.press("Escape")
        expect(page.locator("#scene-card")).to_be_hidden()


def test_the_picture_has_the_colours_that_were_sent_and_goes_grey_with_silence(page: Page) -> None:
    live = fed()
    with served(live) as url:
        opened(page, url)
        page.evaluate(NARROW)
        racks = SITE.ids_of("rack")[:4]
        sent = tints(page)
        assert len({int(sent[box_of(rack)]) for rack in racks}) > 2, "racks differ"
        for rack in racks:
            x, y, z = top_of(rack)
            page.evaluate(ABOVE, [x, y, 70.0])
            seen = page.evaluate(PIXEL, page.evaluate(AT, [x, y - 0.35, z]))
            assert np.abs(np.array(seen) - MAGNITUDE[sent[box_of(rack)]]).max() <= 2, rack
        live.clock.skip(200)  # type: ignore[attr-defined]
        page.wait_for_function(f"() => icctwinScene.bytes.tint[{box_of(racks[0])}] === 255")
        x, y, z = top_of(racks[0])
        page.evaluate(ABOVE, [x, y, 70.0])
        red, green, blue = page.evaluate(PIXEL, page.evaluate(AT, [x, y - 0.35, z]))
        assert max(red, green, blue) - min(red, green, blue) < 30, "grey"
        expect(page.locator("#scene-legend")).to_contain_text("silent or never read")


def test_more_detail_comes_with_nearness_and_only_then(page: Page) -> None:
    with served(fed()) as url:
        opened(page, url)
        x, y, _ = top_of("h1-a04")
        page.evaluate(ABOVE, [x, y, 90.0])
        gpus = DEMO.box_of[SITE.of_kind("gpu")].tolist()
        none = "(gpus) => icctwinScene.level === 1 && gpus.every((i) => icctwinScene.bytes.tint[i] === 255)"
        page.wait_for_function(none, arg=gpus)  # no byte for what is not drawn
        assert page.evaluate("() => icctwinScene.stats.bytes") < 2000
        page.locator("#scene-search").fill("h1-a04-n2-g3")
        page.locator("#scene-search").press("Enter")
        page.wait_for_function("() => icctwinScene.level === 3")
        page.wait_for_function(f"() => icctwinScene.bytes.tint[{box_of('h1-a04-n2-g3')}] < 251")
        expect(page.locator("#scene-card b")).to_have_text("h1-a04-n2-g3")
        expect(page.locator("#scene-legend")).to_contain_text("GPU")


def test_the_slider_shows_the_stored_past_and_now_leads_back(page: Page, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", SITE)
    live = fed(store=store, clock=Hands(running=True))
    with served(live) as url:
        opened(page, url, view="plan")
        before = tints(page)
        live.clock.skip(1800)  # type: ignore[attr-defined]
        feed_scene(live, seed=7)
        page.wait_for_function(
            f"(old) => icctwinScene.bytes.tint[{box_of('h1-a02')}] !== old", arg=int(before[box_of("h1-a02")])
        )
        after = tints(page)
        page.evaluate("() => icctwinScene.time.set(-30)")
        expect(page.locator("#scene-when")).to_contain_text("past")
        same = "(old) => old.every((byte, i) => icctwinScene.bytes.tint[i] === byte)"
        page.wait_for_function(same, arg=before.tolist())
        page.evaluate("() => icctwinScene.time.set(-1200)")
        page.wait_for_function("() => icctwinScene.bytes.tint.every((byte) => byte >= 254)")
        feed_scene(live, seed=7)  # the same once more: on a slow machine what was fed is stale by now
        page.locator("#scene-now").click()
        expect(page.locator("#scene-when")).to_contain_text("live")
        page.wait_for_function(same, arg=after.tolist())
    store.close()


def _alert(live: Live, asset: str) -> Alert:
    now = live.clock.now()
    return Alert("hot", "rack", asset, "m", Severity.CRITICAL, Phase.FIRING, 1, 1, Message("hot"), "", now, now, None)


def test_without_webgl_or_without_its_parts_the_plan_takes_its_place(page: Page) -> None:
    live = fed()
    live.alerts = (_alert(live, "h1-a02"),)
    with served(live) as url:
        page.add_init_script(
            "const usual = HTMLCanvasElement.prototype.getContext;"
            "HTMLCanvasElement.prototype.getContext = function (kind, ...more) {"
            " return /webgl/.test(kind) ? null : usual.call(this, kind, ...more); }"
        )
        opened(page, url)
        expect(page.locator("#scene-notice")).to_have_text("This browser has no WebGL; this is the plan.")
        rack = page.locator(f'#scene-plan [data-box="{box_of("h1-a02")}"]')
        byte = int(tints(page)[box_of("h1-a02")])
        red, green, blue = MAGNITUDE[byte].tolist()
        expect(rack).to_have_css("fill", f"rgb({red}, {green}, {blue})")
        expect(rack).to_have_class("thing firing")
        rack.click()
        expect(page.locator("#scene-card b")).to_have_text("h1-a02")
        page.locator('[data-view="rack"]').click()
        expect(page.locator("#scene-plan .room-name").first).to_have_text("h1-a02 · Front")
        expect(page.locator("#scene-plan .chip")).to_have_count(64)
    with served(live) as url:
        page.route("**/vendor/three.js", lambda route: route.abort())
        opened(page, url)
        expect(page.locator("#scene-notice")).to_contain_text("make web")


def test_places_that_are_missing_and_sites_that_are_empty(page: Page) -> None:
    live = live_of(bare_site(), Hands())
    feed_scene(live)
    with served(live) as url:
        opened(page, url)
        assert page.evaluate("() => icctwinScene.view3d.parts.sets.rack.length") == 12
        page.locator("#scene-search").fill("h2-r5")
        page.locator("#scene-search").press("Enter")
        expect(page.locator("#scene-card .water")).to_contain_text("h2-cdu")
    with served(live_of(build_site("empty", "UTC", []), Hands())) as url:
        opened(page, url)
        expect(page.locator("#scene-notice")).to_have_text("The site has nothing that can be drawn; name racks in its tables.")


def test_a_dead_server_turns_the_picture_grey(page: Page) -> None:
    with served(fed()) as url:
        opened(page, url, view="plan")
    page.wait_for_function("() => document.getElementById('scene').classList.contains('lost')")
    assert (tints(page) == 255).all(), "what is not heard is not known"


def test_it_speaks_chinese_and_is_accessible_in_every_theme(page: Page) -> None:
    with served(fed()) as url:
        page.goto(f"{url}/scene?lang=zh&sel=h1-a03")
        page.wait_for_function(READY)
        expect(page.locator('[data-view="plan"]')).to_have_text("平面图")
        expect(page.locator("#scene-legend .title")).to_contain_text("电功率 · 实测或模型")
        for theme in ("light", "contrast", "dark"):
            page.locator("#theme").select_option(theme)
            ground = page.evaluate("() => icctwinScene.view3d.shared.ground.getHex('srgb-linear')")
            assert ground == {"light": 0xEEF2F6, "contrast": 0x000000, "dark": 0x0B1117}[theme]
            found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
            assert [(one["id"], one["nodes"][0]["html"]) for one in found.response["violations"]] == [], theme


def test_a_finger_picks_and_keys_walk(browser: Browser) -> None:
    with served(fed()) as url, tab(browser, viewport=SMALL, has_touch=True, reduced_motion="reduce") as page:
        opened(page, url)
        x, y, z = top_of("h1-a06")
        page.evaluate(ABOVE, [x, y, 70.0])
        page.touchscreen.tap(*page.evaluate(AT, [x, y - 0.35, z]))
        expect(page.locator("#scene-card b")).to_have_text("h1-a06")
        page.locator("#scene-walk").click()
        start = page.evaluate("() => icctwinScene.view3d.camera.placed")
        assert start[2] == pytest.approx(1.7)
        page.keyboard.down("w")
        page.wait_for_function(
            "([x, y]) => Math.hypot(icctwinScene.view3d.camera.three.position.x - x,"
            " icctwinScene.view3d.camera.three.position.y - y) > 1",
            arg=start,
        )
        page.keyboard.up("w")
        assert page.evaluate("() => icctwinScene.view3d.camera.placed")[2] == pytest.approx(1.7), "on one's feet"


def test_a_scenario_stands_beside_the_present(page: Page) -> None:
    with served(fed()) as url:
        opened(page, url, colour="return_temp_c")
        page.locator("#scene-case").select_option("cdu-lost")
        page.wait_for_function("() => icctwinScene.view3d.beside && icctwinScene.run")
        page.evaluate("() => icctwinScene.time.set(300)")
        racks = DEMO.box_of[SITE.of_kind("rack")].tolist()
        page.wait_for_function(
            "(racks) => racks.every((i) => icctwinScene.view3d.worlds[1].bytes.tint[i] > icctwinScene.bytes.tint[i])", arg=racks
        )
        assert page.evaluate("() => icctwinScene.view3d.stats.drawCalls") <= 30
        expect(page.locator(".sides")).to_be_visible()
        page.locator("#scene-mode").select_option("difference")
        page.wait_for_function(
            "(racks) => icctwinScene.head.against && racks.every((i) => icctwinScene.bytes.tint[i] > 125)", arg=racks
        )


def test_the_picture_is_the_golden_one(page: Page) -> None:
    with served(fed()) as url:
        opened(page, url, embed=1, cam="1,-9,8,10,2,0")
        page.wait_for_function("() => icctwinScene.view3d.stats.frames > 2")
        like_golden(picture(page), "scene")
