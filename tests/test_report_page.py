"""The page of reports in a browser: what there is with its files, in both languages, and asking for one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
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
            row.get_by_label("2026-W46 HTML 中文: download").click()
        kept = Path(got.value.path()).read_bytes()
        assert kept.startswith(b"<!DOCTYPE html>")
        assert b'href="https://twin.example.org/api/v1/report?' in kept, "as it was made"
        page.locator('[data-lang="zh"]').click()
        expect(row).to_contain_text("全中心", timeout=WAIT_MS)
        assert _faults(page) == []
        page.locator("input[name=span]").fill("2026-11-09/2026-11-10")
        page.locator("#ask button").click()
        expect(page.locator("#reports tbody tr").first).to_contain_text("等待生成", timeout=WAIT_MS)
        page.locator("input[name=span]").fill("2026-W99")
        page.locator("#ask button").click()
        expect(page.locator("#said")).to_contain_text("2026-W99", timeout=WAIT_MS)


def test_a_report_is_read_on_the_wall_with_links_to_the_wall(run: Run) -> None:
    """Also where the address that others know leads elsewhere; whatever its names might hold runs nowhere."""
    with chromium() as browser, tab(browser) as page, served(run.centre.live) as url:
        page.goto(f"{url}/reports?lang=en")
        page.locator("#reports").get_by_label("2026-W46 HTML EN", exact=True).click()
        page.wait_for_url("**inline=true")
        assert page.locator("main a").count() > 20
        assert page.locator("main a:not([href^='/api/v1/report?'])").count() == 0
        with page.expect_navigation() as got:
            page.locator("main tbody a").first.click()
        assert got.value.json()["figures"]["facility_kwh"]["value"] == pytest.approx(6.0 * 168)
        answer = httpx.get(f"{url}/api/v1/reports/2026-W46/html", params={"lang": "en", "inline": True})
        ours, all_of = answer.headers.get_list("content-security-policy")
        assert {"sandbox", "default-src 'none'"} <= set(ours.split("; ")), "no script, no origin, nothing from elsewhere"
        assert "frame-ancestors 'self'" in all_of
        assert answer.headers["x-content-type-options"] == "nosniff"
        kept = httpx.get(f"{url}/api/v1/reports/2026-W46/html", params={"lang": "en"})
        assert kept.headers["content-disposition"].startswith("attachment")
        data = httpx.get(f"{url}/api/v1/reports/2026-W46/json", params={"inline": True})
        assert data.headers["content-disposition"].startswith("attachment")


def _faults(page: Page) -> list[str]:
    """What a screen reader or a low contrast would break on."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    return [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found.response["violations"]]
