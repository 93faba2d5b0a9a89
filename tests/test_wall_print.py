"""Pages on paper: how many sheets, and nothing cut, on A4 and A3."""

import re
from collections.abc import Iterator

import pytest
from browsing import WAIT_MS, chromium, tab
from faces_harness import served
from playwright.sync_api import Page, expect
from wall_harness import plant_live

pytestmark = pytest.mark.browser
expect.set_options(timeout=WAIT_MS)

MM = 96 / 25.4  # CSS pixels
PAPER = {"A4": (210, 297), "A3": (420, 297)}  # A3 across
MARGIN_MM = 12
# What runs over the right edge of the sheet, or is hidden by its own box. Invisible texts for those who hear are none.
CUT = """() => [...document.querySelectorAll("main :is(.cell, .label, h1, h2, .v, td, th, svg, .text)")]
  .filter((e) => e.offsetParent || e.ownerSVGElement === null && e.getBoundingClientRect().width)
  .filter((e) => {
    const [box, style] = [e.getBoundingClientRect(), getComputedStyle(e)];
    const hidden = (style.overflowX !== "visible" && e.scrollWidth > e.clientWidth + 1)
      || (style.overflowY !== "visible" && e.scrollHeight > e.clientHeight + 1);
    return box.right > document.documentElement.clientWidth + 1 || (hidden && e.tagName !== "svg");
  }).map((e) => `${e.className.baseVal ?? e.className}: ${e.textContent.slice(0, 60)}`)"""
PAGES = ("/", "/gpus", "/cooling", "/power", "/energy", "/alerts", "/sources", "/audit", "/asset/h1-a01", "/explore?kind=rack")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser, tab(browser) as made:
        yield made


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(plant_live("alarming", running=False)) as here:
        yield here


def sheets(pdf: bytes) -> int:
    """Pages of a PDF as Chromium writes it."""
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))


@pytest.mark.parametrize("path", PAGES)
def test_a_page_on_paper_has_few_sheets_and_nothing_cut(path: str, page: Page, url: str) -> None:
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.goto(f"{url}{path}{'&' if '?' in path else '?'}lang=en")
    expect(page.locator("[data-clock]")).not_to_have_text("")
    page.wait_for_function("() => !document.body.classList.contains('waiting')")
    if path.startswith(("/asset", "/explore")):
        expect(page.locator(".chart .main-svg").first).to_be_visible()
    count = {}
    for paper, (wide, high) in PAPER.items():
        made = page.pdf(width=f"{wide}mm", height=f"{high}mm", print_background=True)
        count[paper] = sheets(made)
    assert 1 <= count["A3"] <= count["A4"] + 1 <= 6, f"{path}: {count}"
    page.emulate_media(media="print")
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")  # which page.pdf tells, and emulation does not
    for paper, (wide, high) in PAPER.items():
        width, height = (int((side - 2 * MARGIN_MM) * MM) for side in (wide, high))
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate(CUT) == [], f"{path} on {paper}"
        assert page.locator("main button:visible, nav:visible, dialog:visible").count() == 0


def test_what_is_cut_on_paper_is_found(page: Page, url: str) -> None:
    page.goto(f"{url}/storage?lang=en")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 1000})
    page.evaluate("() => document.querySelector('main h2').style.cssText = 'width: 90rem; white-space: nowrap; display: block'")
    page.evaluate("() => (document.querySelector('main h2').textContent = 'x'.repeat(900))")
    assert page.evaluate(CUT) != []
