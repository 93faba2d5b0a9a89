"""Every page of the wall, empty, normal, stale and alarming, in both languages and three themes.

One browser and one server for each mood; a page is loaded once and then turned through languages and themes.
"""

import io
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from browsing import WAIT_MS, axe_on, chromium, tab
from faces_harness import Hands, served
from fastapi.responses import HTMLResponse
from PIL import Image
from playwright.sync_api import Browser, Page, TimeoutError, expect
from starlette.routing import BaseRoute
from wall_harness import MOODS, plant_live, site_frame

from twin.errors import SourceError
from ui.benches.demo import free_port
from ui.faces.pages import PAGES, page_of
from ui.faces.pages.jobpath import paths
from ui.faces.server import build_server
from ui.view import Live

pytestmark = pytest.mark.browser
expect.set_options(timeout=WAIT_MS)

MINE = [page.name for page in PAGES if page.live and page.fixed and page.name != "scene"]  # which has tests of its own
PICTURES = Path(__file__).resolve().parent.parent / "fixtures" / "pictures"
SMALL = (480, 270)  # of the golden pictures: layout and colour, not letters
# Nothing on a wall may scroll or be cut but lists, which leave whole rows out, and their texts, which say the rest when asked.
CUT = """() => {
  const root = document.documentElement;
  const wide = root.scrollWidth > innerWidth || root.scrollHeight > innerHeight ? ["page scrolls"] : [];
  const high = (e) => e.matches(".fill") && e.scrollHeight > e.clientHeight + 1;
  const whole = ".big, .under, .tile .head, .panel > .head > h2, .fill, .list, .list .number, .heads .label";
  const cut = [...document.querySelectorAll(whole)]
    .filter((e) => e.offsetParent && (e.scrollWidth > e.clientWidth + 1 || high(e)))
    .map((e) => `${e.className}: ${e.textContent}`);
  return [...wide, ...cut];
}"""
# English left over in Chinese: marked texts that are their own key, but for names that are the same in both.
SAME = re.compile(r"^(PUE|CUE|WUE|GPU( °C)?|GPUs?|SM|XID|ECC|CPU|UPS|PDU|IT|CDU|MASE|%|[–\d ]*)$")
ENGLISH = """() => [...document.querySelectorAll("[data-t]")]
  .filter((e) => e.offsetParent && e.textContent === e.dataset.t)
  .map((e) => e.textContent)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """One for all that only look."""
    with tab(browser) as made:
        yield made


@pytest.fixture(scope="module")
def walls() -> Iterator[dict[str, str]]:
    """A server for each mood."""
    with ExitStack() as stack:
        yield {mood: stack.enter_context(served(plant_live(mood, running=False))) for mood in MOODS}


def opened(page: Page, url: str, path: str, language: str = "en") -> None:
    page.goto(f"{url}{path}?lang={language}")
    expect(page.locator("[data-clock]")).not_to_have_text("")
    page.wait_for_function("() => !document.body.classList.contains('waiting')")


def turned(page: Page, language: str, theme: str) -> None:
    """The page in a language and a theme, as a person turns it."""
    page.locator(f'[data-lang="{language}"]').click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN" if language == "zh" else "en")
    page.locator("#theme").select_option(theme)


SIZES = ((1366, 768), (1920, 1080))
# Every mood, and every language in every theme, but not each with each.
TURNS = (
    ("empty", "zh", "dark"),
    ("normal", "en", "light"),
    ("normal", "zh", "contrast"),
    ("stale", "en", "contrast"),
    ("alarming", "en", "dark"),
    ("alarming", "zh", "light"),
)


def uncut(page: Page) -> list[str]:
    """What is cut once the page has drawn itself at its size: a chart takes a moment."""
    try:
        page.wait_for_function(f"() => ({CUT})().length === 0", timeout=WAIT_MS)
    except TimeoutError:
        return [str(one) for one in page.evaluate(CUT)]
    return []


def english(page: Page) -> list[str]:
    return [text for text in page.evaluate(ENGLISH) if not SAME.match(text)]


@pytest.mark.parametrize("name", MINE)
def test_a_page_is_whole_and_accessible_in_every_mood_language_and_theme(name: str, page: Page, walls: dict[str, str]) -> None:
    for mood in MOODS:
        opened(page, walls[mood], page_of(name).path)
        for language, theme in [(said, theme) for one, said, theme in TURNS if one == mood]:
            turned(page, language, theme)
            assert axe_on(page) == [], f"{name} {mood} {language} {theme}"
        for language in ("en", "zh"):
            turned(page, language, theme)
            for width, height in SIZES:
                page.set_viewport_size({"width": width, "height": height})
                assert uncut(page) == [], f"{name} {mood} {language} {width}"
        assert english(page) == []
        honest(page, mood)


# Pages that the server makes whole: how the router names them -> an address of each.
PLAIN = {
    "/twin": "/twin",
    "/calibration": "/calibration",
    "/oncall": "/oncall",
    "/reports": "/reports",
    "/account": "/account",
    "/explore": "/explore?kind=rack&metric=power_w&back=86400",
    "/compare": "/compare?a=h1-a01&b=h1-a02",
    "/asset/{asset:path}": "/asset/h1-a01",
    "/approve": "/approve?plan=raise-1&who=li.na&until=1&sign=00",
}
ELSEWHERE = {"/scene", "/wall", "/sign-in"}  # test_scene_browser.py, below, test_dig_browser.py


def test_no_page_of_the_router_is_forgotten() -> None:
    pages = set(documents(build_server(plant_live("empty", 64)).routes))
    assert pages == {page_of(name).path for name in MINE} | set(PLAIN) | ELSEWHERE


def test_the_documentation_names_every_page() -> None:
    told = (PICTURES.parent.parent / "docs" / "wall.md").read_text()
    assert [page.path for page in PAGES if f"`{page.path}`" not in told] == []


def documents(routes: Sequence[BaseRoute]) -> Iterator[str]:
    """Paths of everything that is an HTML document."""
    for route in routes:
        kind = getattr(route, "response_class", None)
        kind = getattr(kind, "value", kind)
        if isinstance(kind, type) and issubclass(kind, HTMLResponse):
            yield route.path  # type: ignore[attr-defined]
        elif hasattr(route, "original_router"):
            yield from documents(route.original_router.routes)


@pytest.mark.parametrize("route", PLAIN)
def test_a_plain_page_is_accessible_in_every_mood_language_and_theme(route: str, page: Page, walls: dict[str, str]) -> None:
    address = PLAIN[route]
    for mood, language, theme in TURNS:
        page.goto(f"{walls[mood]}{address}{'&' if '?' in address else '?'}lang={language}&theme={theme}")
        if route != "/approve":  # which is outside the shell
            expect(page.locator("[data-x=site]")).to_have_text("Yangtze AI Centre")
            expect(page.locator("#zone option").first).to_contain_text("Asia/Shanghai")
            expect(page.locator("[data-clock]")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
        page.wait_for_load_state("networkidle")
        assert axe_on(page) == [], f"{route} {mood} {language} {theme}"
        if language == "zh":
            assert english(page) == [], route
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), f"{route} {mood}"


def honest(page: Page, mood: str) -> None:
    """No number of an empty or stale centre looks measured now; an alarming one asks to be seen."""
    flags = page.evaluate("() => [...document.querySelectorAll('.from')].map((e) => e.dataset.flags)")
    assert flags, "every panel says whose readings it shows"
    if mood == "normal":
        assert "ok" in flags
        if page.locator("html").get_attribute("data-page") in READ:
            expect(page.locator('.from[data-flags="none"]')).to_have_count(0)  # once the records are read, which takes a moment
    if mood == "alarming":
        assert page.locator(".notice").inner_text() != ""
    if mood in ("empty", "stale") and page.locator("html").get_attribute("data-page") in MEASURED:
        assert set(flags) - {"none", "stale"} == set(), f"a {mood} centre measures nothing"


READ = ("alerts", "findings", "sources")  # pages of which all is there in a normal centre
MEASURED = ("storage", "cooling", "power")  # pages on which all that is shown is measured or modelled


@pytest.mark.parametrize(("name", "mood"), [("gpus", "alarming"), ("cooling", "normal"), ("power", "normal")])
def test_a_page_looks_as_it_did(name: str, mood: str, browser: Browser, walls: dict[str, str]) -> None:
    with tab(browser) as page:
        opened(page, walls[mood], page_of(name).path)
        page.locator("#theme").select_option("dark")
        page.evaluate(
            "() => document.querySelectorAll('[data-clock], .from, .age').forEach((e) => (e.style.visibility = 'hidden'))"
        )
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB").resize(SMALL, Image.Resampling.BOX)
    golden = PICTURES / f"wall_{name}_{mood}.png"
    if not golden.exists():
        PICTURES.mkdir(exist_ok=True)
        shot.save(golden, optimize=True)
        pytest.fail(f"{golden} was not there; look at it, and keep it where it is right")
    seen, known = (np.asarray(one, dtype=np.float64) for one in (shot, Image.open(golden).convert("RGB")))
    off = np.abs(seen - known).max(axis=2) > 24
    assert off.mean() < 0.02, f"{off.mean():.1%} of {golden.name} differs"


def test_axe_finds_what_is_planted(browser: Browser, walls: dict[str, str]) -> None:
    with tab(browser) as page:
        opened(page, walls["normal"], "/storage")
        page.evaluate("() => document.getElementById('theme').removeAttribute('aria-label')")
        assert any(found.startswith("select-name") for found in axe_on(page))


def test_theme_zone_and_language_are_kept_by_the_browser(browser: Browser, walls: dict[str, str]) -> None:
    with tab(browser) as page:
        opened(page, walls["normal"], "/jobs")
        here = page.locator("[data-clock]").inner_text()
        page.locator("#zone").focus()
        page.locator("#zone").select_option("America/New_York")
        expect(page.locator("[data-clock]")).not_to_have_text(here)
        turned(page, "zh", "light")
        page.goto(f"{walls['normal']}/gpus")
        expect(page.locator("html")).to_have_attribute("data-theme", "light")
        expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        expect(page.locator("#zone")).to_have_value("America/New_York")
        expect(page.locator("[data-clock]")).to_have_text(re.compile(r"^02:3\d"))


def test_a_wall_turns_its_pages_and_stops_when_told(browser: Browser, walls: dict[str, str]) -> None:
    with tab(browser) as page:
        page.goto(f"{walls['normal']}/wall?pages=jobs,gpus,storage&every=5")
        inner = page.frame_locator("iframe:not([hidden])")
        expect(inner.locator("html")).to_have_attribute("data-page", "jobs")
        expect(inner.locator("nav")).to_be_hidden()
        page.keyboard.press("ArrowRight")
        expect(inner.locator("html")).to_have_attribute("data-page", "gpus")
        expect(inner.locator('[data-n="util"] .v')).to_have_text(re.compile(r"\d"))
        page.keyboard.press(" ")
        expect(page.locator("[data-pause]")).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        expect(inner.locator("html")).to_have_attribute("data-page", "jobs")
        assert axe_on(page) == []
        answer = page.request.get(f"{walls['normal']}/wall?pages=nowhere")
        assert (answer.status, "There is no page nowhere" in answer.json()["detail"]) == (422, True)


def test_a_killed_socket_is_shown_and_comes_back(browser: Browser) -> None:
    live, port = plant_live("normal"), free_port()
    with tab(browser) as page:
        with served(live, port) as url:
            opened(page, url, "/power")
            expect(page.locator('[data-n="facility"] .v')).to_have_text(re.compile(r"\d"))
        expect(page.locator("[data-lost]")).to_have_text(re.compile(r"Connection lost: numbers are \d+ s old"))
        expect(page.locator("body")).to_have_class(re.compile("lost"))
        site_frame(live, facility_power_w=9.87e6)
        with served(live, port):
            expect(page.locator('[data-n="facility"] .v')).to_have_text("9.87")
            expect(page.locator("[data-lost]")).to_have_text("")


@contextmanager
def slow(live: Live, seconds: float) -> Iterator[None]:
    """A store that takes its time, and then fails."""
    real = live.store.series

    def series(*args: object, **how: object) -> object:
        time.sleep(seconds)
        raise SourceError("the disk is busy")

    live.store.series = series  # type: ignore[method-assign,assignment]
    yield
    live.store.series = real  # type: ignore[method-assign]


@pytest.mark.parametrize("name", ["overview", "alerts", "cooling", "forecast"])
def test_a_page_that_has_heard_nothing_claims_nothing(name: str, browser: Browser, walls: dict[str, str]) -> None:
    """Until the first push nobody knows whether an alert fires or a CDU is there: no sentence says that none does or is."""
    with tab(browser) as page:
        page.route_web_socket("**/live**", lambda _: None)
        page.route("**/_dash-update-component*", lambda _: None)
        page.goto(f"{walls['alarming']}{page_of(name).path}?lang=en")
        expect(page.locator("#bar .lost")).to_have_text("Connecting …")
        assert page.locator(".empty:visible").all_inner_texts() == []
        if name == "forecast":
            expect(page.locator("#dash .graph .main-svg").first).to_be_attached()
            assert page.locator("#dash .graph .xtick:visible").count() == 0, "nor has nothing an axis"


@pytest.mark.parametrize("route", ["/", "/energy", "/alerts", "/reports", "/oncall", "/scene"])
def test_a_telephone_scrolls_down_and_not_aside(route: str, browser: Browser, walls: dict[str, str]) -> None:
    with tab(browser) as page:
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(f"{walls['normal']}{route}?lang=en")
        expect(page.locator("[data-clock]")).not_to_have_text("")
        page.wait_for_function("() => document.documentElement.scrollWidth <= innerWidth")


def test_a_slow_store_delays_no_number_and_what_it_owes_is_said(browser: Browser) -> None:
    live = plant_live("normal")
    assert isinstance(live.clock, Hands)
    with slow(live, 3.0), served(live) as url, tab(browser) as page:
        page.goto(f"{url}/energy?lang=en")
        price = page.locator('[data-n="price"] .v')
        expect(price).to_have_text(re.compile(r"\d"), timeout=WAIT_MS)
        expect(page.locator('[data-p="pricing"]')).to_have_text("no reading")
        site_frame(live, pue_ratio=1.777)
        began = time.monotonic()
        expect(page.locator('[data-n="pue"] .v')).to_have_text("1.777")
        assert page.locator("[data-lost]").inner_text() == ""
        assert time.monotonic() - began < 60


def test_the_path_of_a_chosen_job_is_told_and_marked_on_the_map(browser: Browser, walls: dict[str, str]) -> None:
    with tab(browser) as page:
        opened(page, walls["normal"], "/network")
        expect(page.locator('[data-l="path"] .row').first).to_be_visible()
        expect(page.locator("#fabric .passed")).to_have_count(0)
        last = page.locator("#job option").last
        page.locator("#job").select_option(label=last.inner_text())
        expect(page.locator("#fabric .switch-box.passed").first).to_be_attached()
        told = set(page.locator('[data-l="path"] .row').all_inner_texts()[1].split("\n")[-1].split(", "))
        marked = page.evaluate(
            "() => [...document.querySelectorAll('#fabric .switch-box.passed title')].map((e) => e.textContent.split(':')[0])"
        )
        assert told <= set(marked), "the leaves that are written are those that are marked"


def test_the_path_of_a_job_is_what_a_plain_search_finds() -> None:
    live = plant_live("normal")
    site, jobs = live.site, live.jobs
    up: dict[str, set[str]] = {}
    links = site.links["connects"]
    for a, b in zip(links.source.tolist(), links.target.tolist(), strict=True):
        for one, other in ((a, b), (b, a)):
            if site.ids[other] in set(site.ids_of("switch")):
                up.setdefault(site.ids[one], set()).add(site.ids[other])
    for path in paths(jobs, site):
        job = jobs.ids.index(path.job)
        gpus = [site.ids_of("gpu")[i] for i in jobs.rows[jobs.job_of == job]]
        front = {gpu.rpartition("-")[0] for gpu in gpus}
        assert path.nodes == len(front)
        seen: set[str] = set()
        for tier in path.tiers:
            front = set().union(*(up.get(one, set()) for one in front)) - seen
            seen |= front
            assert {site.ids[i] for i in tier.tolist()} == front
