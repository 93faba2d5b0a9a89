"""The wall in a real browser: a number changes, the language switches, a source dies, the server dies."""

import re
from collections.abc import Iterator

import httpx
import pytest
from browsing import WAIT_MS, chromium, tab
from faces_harness import Hands, add_work, alarm, feed, feed_services, feeding, live_of, served, small_site
from playwright.sync_api import Browser, Page, expect

from twin.frame import frame_of
from twin.message import Message
from ui.benches.demo import free_port
from ui.view import Live

pytestmark = pytest.mark.browser

GREY = "rgb(139, 153, 167)"  # --stale of the dark theme
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with tab(browser) as made:
        yield made


@pytest.fixture
def live() -> Live:
    made = live_of(small_site(32), Hands(running=True), demo=True)
    feed(made)
    add_work(made)
    return made


def number(page: Page, key: str) -> str:
    return page.locator(f'[data-n="{key}"] .v').first.inner_text()


def test_the_wall_shows_what_the_other_faces_say(live: Live, page: Page) -> None:
    with served(live) as url:
        page.goto(f"{url}/?lang=en")
        expect(page.locator('[data-n="it_power"] .v')).to_have_text("8.40")
        seen = httpx.get(f"{url}/api/v1/view").json()["centre"]
        exposed = httpx.get(f"{url}/metrics").text
        assert float(number(page, "pue")) == seen["pue"]["value"]
        assert f'icctwin_pue_ratio{{origin="measured"}} {seen["pue"]["value"]}' in exposed
        assert float(number(page, "it_power")) * 1e6 == seen["it_power"]["value"]
        assert page.locator('[data-n="it_power"] .u').inner_text() == "MW"
        expect(page.locator("#hall rect.rack")).to_have_count(32)
        expect(page.locator('[data-l="racks"] .row').first).to_be_visible()
        expect(page.locator("#chart path.curve")).to_have_count(2)


def test_a_reading_arrives_without_a_reload_and_the_language_switches(live: Live, page: Page) -> None:
    with served(live) as url, feeding(live):
        page.goto(f"{url}/?lang=en")
        expect(page.locator('[data-n="it_power"] .v')).to_have_text(re.compile("8.4|8.5"))
        before = number(page, "it_power")
        expect(page.locator('[data-n="it_power"] .v')).not_to_have_text(before)
        page.evaluate("() => { window.witness = 1 }")
        page.locator('[data-map="load"]').click()
        page.locator('[data-lang="zh"]').click()
        expect(page.locator(".tile-it .head")).to_have_text("IT 功率")
        expect(page.locator('[data-l="health"]')).to_contain_text("4 个数据源全部在线")
        assert page.evaluate("() => window.witness") == 1, "no reload"
        assert page.url.endswith("?lang=zh"), "a link to this page keeps the language"
        assert page.locator('[data-map="load"]').get_attribute("aria-pressed") == "true", "and the page its state"
        assert page.locator("html").get_attribute("lang") == "zh-CN"
        page.reload()
        expect(page.locator(".tile-it .head")).to_have_text("IT 功率")


def test_a_source_that_falls_silent_turns_its_numbers_grey(live: Live, page: Page) -> None:
    with served(live) as url:
        page.goto(f"{url}/?lang=en")
        big = page.locator('[data-n="it_power"] .v')
        expect(big).to_have_text("8.40")
        expect(big).not_to_have_css("color", GREY)
        live.clock.skip(100)  # type: ignore[attr-defined]
        feed(live, skip=True, skip_sources=["src-dcgm"])  # the others go on, but nobody reads power any more
        expect(big).to_have_css("color", GREY)
        expect(page.locator('[data-n="it_power"] .age')).to_have_text(re.compile("1\\smin old"))
        expect(page.locator('[data-l="health"]')).to_have_text("3 of 4 sources up")
        expect(page.locator('[data-l="sources"] .row').first).to_contain_text("src-dcgm")
        expect(page.locator('[data-l="sources"] .row').first).to_contain_text("silent")
        expect(page.locator("#hall rect.silent")).to_have_count(32)
        assert number(page, "carbon_intensity") == "412", "what is still good stays as it is"
        feed(live, 9.9e6)
        expect(big).to_have_text("9.90")
        expect(big).not_to_have_css("color", GREY)


def test_a_dead_server_leaves_no_number_that_looks_fresh_until_it_is_back(live: Live, page: Page) -> None:
    alarm(live)
    port = free_port()
    with served(live, port) as url:
        page.goto(f"{url}/?lang=en")
        expect(page.locator('[data-n="it_power"] .v')).to_have_text("8.40")
        expect(page.locator("[data-lost]")).to_have_text("")
    expect(page.locator("[data-lost]")).to_have_text(re.compile(r"Connection lost: numbers are \d+ s old"))
    for key in ("it_power", "pue", "gpus_allocated", "alerts_critical", "facility_power"):
        expect(page.locator(f'[data-n="{key}"] .v').first).to_have_css("color", GREY)
    for row in ("alerts", "racks", "jobs", "sources"):
        expect(page.locator(f'[data-l="{row}"] .row .cell').first).to_have_css("color", GREY)
    feed(live, 9.9e6)
    with served(live, port):
        expect(page.locator('[data-n="it_power"] .v')).to_have_text("9.90")
        expect(page.locator("[data-lost]")).to_have_text("")
        expect(page.locator('[data-n="it_power"] .v')).not_to_have_css("color", GREY)


CUT = """() => [...document.querySelectorAll(".big, .under, .tile .head, .panel > .head, .list, .fill")]
  .filter((e) => e.scrollWidth > e.clientWidth + 1 || (e.matches(".list, .fill") && e.scrollHeight > e.clientHeight + 1))
  .map((e) => e.className + ": " + e.textContent)"""


def test_nothing_scrolls_and_nothing_is_cut_in_either_language(live: Live, page: Page) -> None:
    alarm(live)
    with served(live) as url:
        page.goto(f"{url}/?lang=en")
        for language, title in (("en", "IT power"), ("zh", "IT 功率")):
            for width, height in ((1920, 1080), (1280, 720)):
                page.set_viewport_size({"width": width, "height": height})
                page.locator(f'[data-lang="{language}"]').click()
                expect(page.locator(".tile-it .head")).to_have_text(title)
                expect(page.locator('[data-n="it_power"] .v')).to_have_text("8.40")
                page.wait_for_timeout(1500)  # a push or two at this size
                root = page.evaluate("() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
                assert root == [width, height]
                assert page.evaluate(CUT) == []


# Numbers as wide as a large centre has them: of three digits and a point, GPUs in thousands.
WIDE = {"facility_power_w": 12.34e6, "it_power_w": 11.2e6, "loss_power_w": 41.2e3, "pue_ratio": 1.102}


@pytest.mark.parametrize("cooling_w", [999e3, 88.8e3])
def test_the_cards_hold_the_numbers_of_a_large_centre(cooling_w: float, page: Page) -> None:
    live = live_of(small_site(32, gpus=160), Hands(running=True))  # 10,240 GPUs
    feed(live, 11.2e6)
    add_work(live)
    live.clock.skip(1)  # type: ignore[attr-defined]
    live.state.absorb(frame_of("site", live.clock.now(), 0, **WIDE, cooling_power_w=cooling_w), live.clock.now())
    live.state.absorb(frame_of("queue", live.clock.now(), 0, gpus_allocated_count=2048), live.clock.now())
    with served(live) as url:
        for language in ("en", "zh"):
            for width, height in ((1920, 1080), (1280, 720)):
                page.set_viewport_size({"width": width, "height": height})
                page.goto(f"{url}/?lang={language}")
                expect(page.locator('[data-n="facility_power"] .v')).to_have_text("12.3")
                page.evaluate("""() => { document.querySelector('[data-n="facility_power"] .v').textContent = "12.34" }""")
                assert page.evaluate(CUT) == []


def test_machines_stand_under_the_hall_and_turn_grey_with_their_age(page: Page) -> None:
    live = live_of(small_site(32, services=4), Hands(running=True))
    feed(live)
    with served(live) as url:
        page.goto(f"{url}/?lang=en")
        rows = page.locator('[data-l="machines"] .row')
        expect(page.locator("#hall rect.rack")).to_have_count(32)
        expect(page.locator(".list-machines")).to_be_hidden()
        feed_services(live)
        expect(rows).to_have_count(4)
        expect(rows.last).to_be_visible()
        expect(rows.first).to_contain_text("svc-110%12.4GB/ 67.3GB1.2503.40Mbit/s810kbit/s")
        expect(page.locator("#hall rect.rack").last).to_be_in_viewport(ratio=1)
        inside = "([a, b]) => a.getBoundingClientRect().bottom <= b.getBoundingClientRect().top"
        drawing = page.locator("#hall svg").element_handle()
        assert page.evaluate(inside, [drawing, page.locator(".list-machines").element_handle()]), "the plan makes room"
        assert page.evaluate(CUT) == []
        live.clock.skip(100)  # type: ignore[attr-defined]
        feed(live)
        expect(rows.first.locator(".cell").nth(1)).to_have_css("color", GREY)
        expect(rows.first.locator(".age").first).to_have_text(re.compile("1\\smin old"))
        expect(rows.first.locator(".age").first).to_be_visible()


def test_sources_that_do_not_fit_are_counted_and_the_unwell_come_first(page: Page) -> None:
    live = live_of(small_site(8, sources=8), Hands(running=True))
    feed(live)
    add_work(live)
    alarm(live)
    plan, verdict = live.plans[0]
    why = [
        type(verdict.refusals[0])("alerts", Message("{asset} is locked by the operator", {"asset": f"R01-0{i}"}))
        for i in range(6)
    ]
    live.plans = ((plan, type(verdict)(plan.key, tuple(why))),)
    with served(live) as url:
        page.goto(f"{url}/?lang=en")
        rows = page.locator('[data-l="sources"] .row')
        more = page.locator('[data-m="sources"]')
        expect(more).to_have_text(re.compile(r"\+\d more"))
        seen = rows.filter(visible=True).count()
        assert seen >= 5, "six refusals leave the sources their room"
        expect(more).to_have_text(f"+{8 - seen} more")
        ill = live.site.row("src-grid-api")
        live.clock.skip(1)  # type: ignore[attr-defined]
        now = live.clock.now()
        live.state.absorb(frame_of("source", now, ill, up_flag=0.0), now)
        expect(rows.first).to_contain_text("src-grid-apino answer")
        page.locator('[data-lang="zh"]').click()
        expect(more).to_have_text(f"另有 {8 - seen} 个")


def test_a_page_of_another_release_loads_itself_again(live: Live, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with served(live, port) as url:
        page.goto(f"{url}/?lang=en")
        expect(page.locator('[data-n="it_power"] .v')).to_have_text("8.40")
        page.evaluate("() => document.body.classList.add('witness')")
        expect(page.locator("body.witness")).to_have_count(1)
    monkeypatch.setattr("ui.faces.server._version", lambda: "9.9")
    with served(live, port):
        expect(page.locator("[data-lost]")).to_have_text("")
        expect(page.locator('[data-n="it_power"] .v')).to_have_text("8.40")
        expect(page.locator("body.witness")).to_have_count(0)


# Boxes (left, top, right, bottom) of the legend's texts and lines, of the line of now and of the curves.
_BOXES = """() => {
  const all = [...document.querySelectorAll("#chart svg > *")];
  const box = (one) => { const r = one.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
  const names = ["measured", "forecast", "80% interval", "实测", "预测", "80% 区间"];
  const said = all.filter((one) => names.includes(one.textContent));
  const drawn = all.filter((one) => one.matches("line.now, line.rule, path"));
  return { said: said.map(box), drawn: drawn.map(box), frame: box(document.querySelector("#chart svg")) };
}"""


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(("wide", "high"), [(1280, 800), (1920, 1080), (3840, 2160)])
def test_nothing_runs_through_the_legend_of_the_day(live: Live, browser: Browser, wide: int, high: int, language: str) -> None:
    with served(live) as url, tab(browser, viewport={"width": wide, "height": high}) as page:
        page.goto(f"{url}/?lang={language}")
        expect(page.locator("#chart line.now")).to_have_count(1)
        boxes = page.evaluate(_BOXES)
        assert len(boxes["said"]) == 3
        assert len(boxes["drawn"]) > 5
        for one in boxes["said"]:
            through = [other for other in (*boxes["drawn"], *boxes["said"]) if other is not one and _meet(one, other)]
            assert through == []
            assert one[0] >= boxes["frame"][0]
            assert one[1] >= boxes["frame"][1]


def _meet(one: list[float], other: list[float]) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]
