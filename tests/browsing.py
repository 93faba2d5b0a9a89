"""One Chromium for a module of tests, and pages of it that fail their test for whatever they complain of or ask of others."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
WAIT_MS = 20_000  # an upper bound on a busy machine, not a figure
_FLAGS = ("--no-sandbox", "--disable-background-networking", "--no-first-run")
_OURS = re.compile(r"(http://127\.0\.0\.1|data:|blob:)")


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """A browser; the test is skipped where there is none."""
    if not CHROMIUM.exists():
        pytest.skip(f"no Chromium at {CHROMIUM}: apt-get install chromium")
    with sync_playwright() as play:
        made = play.chromium.launch(executable_path=str(CHROMIUM), args=[*_FLAGS, *flags])
        yield made
        made.close()


@contextmanager
def tab(browser: Browser, **how: object) -> Iterator[Page]:
    """A page of 1920x1080 with a clean record at its end."""
    made = browser.new_page(**({"viewport": {"width": 1920, "height": 1080}, "locale": "en-GB"} | how))  # type: ignore[arg-type]
    made.set_default_timeout(WAIT_MS)
    errors: list[str] = []
    made.on("pageerror", lambda error: errors.append(str(error)))
    made.on("console", lambda message: errors.append(message.text) if "Content Security Policy" in message.text else None)
    made.on("request", lambda request: errors.append(request.url) if not _OURS.match(request.url) else None)
    yield made
    made.close()
    assert not errors, errors


_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}
_DRAWN = {"exclude": [[".main-svg"]]}  # what plotly draws: thousands of elements under one named picture


def axe_on(page: Page) -> list[str]:
    """What axe finds against WCAG 2.2 A and AA."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(Axe().axe_script)
    found = page.evaluate("([context, options]) => axe.run(context, options)", [_DRAWN, _RULES])
    return [f"{one['id']}: {node['html'][:160]}" for one in found["violations"] for node in one["nodes"][:3]]
