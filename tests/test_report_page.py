"""The page of reports in a browser: what there is with its files, in both languages, and asking for one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import WAIT_MS, chromium, tab
from faces_harness import served
from playwright.sync_api import Page, expect
from test_report_flow import MONDAY, QUICK, Run, centre_in

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    site = QUICK.replace('["json"]', '["html", "json"]').replace('recipients = ["board", "books"]', "recipients = []")
    folder: Path = tmp_path_factory.mktemp("page")
    made = Run(centre_in(folder, site=site), MONDAY)
    made.steps(1)
    yield made
    asyncio.run(made.centre.delivery.close())
    made.centre.close()


def test_the_page_lists_gives_and_asks(run: Run) -> None:
    with chromium() as browser, tab(browser) as page, served(run.centre.live) as url:
        page.goto(f"{url}/reports?lang=en")
        row = page.locator("#reports tbody tr").first
        expect(row).to_contain_text("2026-W46", timeout=WAIT_MS)
        expect(row).to_contain_text("the whole centre")
        expect(page.locator("#newest .tile").first).to_contain_text("1.01 MWh")
        with page.expect_download() as got:
            row.get_by_text("HTML 中文").click()
        assert Path(got.value.path()).read_bytes().startswith(b"<!DOCTYPE html>")
        page.locator('[data-lang="zh"]').click()
        expect(row).to_contain_text("全中心", timeout=WAIT_MS)
        assert _faults(page) == []
        page.locator("input[name=span]").fill("2026-11-09/2026-11-10")
        page.locator("#ask button").click()
        expect(page.locator("#reports tbody tr").first).to_contain_text("等待生成", timeout=WAIT_MS)
        page.locator("input[name=span]").fill("2026-W99")
        page.locator("#ask button").click()
        expect(page.locator("#said")).to_contain_text("2026-W99", timeout=WAIT_MS)


def _faults(page: Page) -> list[str]:
    """What a screen reader or a low contrast would break on."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    return [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found.response["violations"]]
