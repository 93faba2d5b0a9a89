"""People in a real browser: sign in, look at an asset, note something, keep a view, take a file home, sign out."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from access_house import PASSWORD
from browsing import WAIT_MS, axe_on, chromium, tab
from faces_harness import NOW, Hands, live_of, served
from hall import hall_site
from playwright.sync_api import Browser, Page, expect

from analytics.alerts import Alert, Phase, Severity
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame, Origin
from twin.message import Message
from twin.ports import How
from ui.access.desk import Access
from ui.access.role import Role
from ui.access.section import AccessSection
from ui.view import Live

pytestmark = pytest.mark.browser
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """An hour of 128 GPUs and their racks, a value a minute; everybody signs in."""
    folder, site = tmp_path_factory.mktemp("browser"), hall_site(128)
    made = live_of(site, Hands())
    made.store, made.records = open_store(folder / "store", site), open_records(folder / "records.db")
    made.access = Access(made.records, AccessSection.model_validate({}))
    made.records = made.access.records
    made.access.users.add("li.na", PASSWORD, Role.OPERATOR, NOW)
    made.access.users.add("zhao.yi", PASSWORD, Role.ADMIN, NOW)
    rng, racks = np.random.default_rng(3), site.count("rack")
    frames = []
    for m in range(60):
        now = NOW - timedelta(minutes=60 - m)
        wave = 4e4 + 5e3 * np.sin(m / 9) + rng.normal(0, 300, racks)
        frames.append(Frame("rack", now, site.all_rows("rack"), {"power_w": wave, "return_temp_c": 40 + wave / 1e4}))
        still = np.full(128, np.nextafter(30.2, 31) if m % 7 else 30.2)  # as means of the same value are rounded
        frames.append(Frame("gpu", now, site.all_rows("gpu"), {"temp_c": rng.normal(60, 4, 128).round(1), "mem_temp_c": still}))
        judged = {"power_w": wave - 400, "residual_w": np.full(racks, 400.0), "residual_score_ratio": np.full(racks, 2.0)}
        frames.append(Frame("rack", now, site.all_rows("rack"), judged, Origin.MODELLED))
    made.store.append(frames)
    for frame in frames[-3:]:
        made.state.absorb(frame, NOW)
    yield made
    made.store.close()
    made.records.close()


@pytest.fixture(scope="module")
def url(live: Live) -> Iterator[str]:
    with served(live) as here:
        yield here


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """A page of somebody who has signed in."""
    with tab(browser, viewport={"width": 1600, "height": 1200}, accept_downloads=True) as made:
        made.goto(f"{url}/explore?kind=gpu&metric=temp_c&by=rack&across=p95&back=3600")
        sign_in(made)
        made.wait_for_url("**/explore?*")
        yield made


def sign_in(page: Page, password: str = PASSWORD, name: str = "li.na") -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_whoever_signs_in_comes_to_the_page_they_wanted_and_whoever_signs_out_is_out(page: Page, url: str) -> None:
    expect(page.locator(".chart .scatterlayer .trace")).to_have_count(2)
    assert "/explore?" in page.url
    expect(page.locator("#who")).to_contain_text("li.na (operator)")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    sign_in(page, "a wrong password of some length")
    expect(page.locator("#said")).to_have_text("Name or password is wrong.")
    page.goto(f"{url}/asset/anything")
    assert "/sign-in?next=" in page.url


def test_a_view_is_kept_and_a_file_taken_home_holds_what_the_store_holds(page: Page, live: Live, tmp_path: Path) -> None:
    expect(page.locator(".chart .scatterlayer .trace")).to_have_count(2)
    page.locator("#keep input[name=name]").fill("hot racks")
    page.get_by_role("button", name="Save this view").click()
    expect(page.locator("#views a")).to_have_text("hot racks")
    page.goto(page.url.split("?")[0])
    page.locator("#views a").click()
    expect(page.locator("select[name=by]")).to_have_value("rack")
    expect(page.locator("select[name=across]")).to_have_value("p95")
    site = live.site
    span = "from=2026-03-10T05:30:00Z&to=2026-03-10T06:30:00Z"  # the test's clock stands, the browser's does not
    page.goto(f"{page.url.split('?')[0]}?kind=gpu&metric=temp_c&{span}")
    page.locator("input[name=asset]").fill(site.ids_of("gpu")[7])
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".chart .scatterlayer .trace")).to_have_count(1)
    kept = live.store.series("gpu", ["temp_c"], NOW - timedelta(hours=1), NOW, 10.0, How.MEAN, np.array([7], dtype=np.int32))
    for form, read in (("csv", pa_csv.read_csv), ("parquet", pq.read_table)):
        with page.expect_download() as told:
            page.locator(f"[data-file={form}]").click()
        told.value.save_as(tmp_path / f"f.{form}")
        table = read(tmp_path / f"f.{form}")
        known = np.isfinite(kept.values["temp_c"][:, 0])
        found = table[f"{site.ids_of('gpu')[7]}.temp_c"].to_numpy()
        assert known.sum() == 60
        np.testing.assert_array_equal(found[np.isfinite(found)], kept.values["temp_c"][known, 0])
    with page.expect_download() as told:
        page.locator("[data-file=png]").click()
    told.value.save_as(tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_an_asset_shows_its_charts_and_what_people_noted_on_them(page: Page, live: Live, url: str) -> None:
    rack = live.site.ids_of("rack")[0]
    page.goto(f"{url}/asset/{rack}?back=3600")
    expect(page.locator(".chart")).to_have_count(1)
    expect(page.locator(".chart .scatterlayer .trace")).to_have_count(6)  # band of two, least and most of two, both sides
    expect(page.locator("#readings tr")).to_have_count(2)
    expect(page.locator("#readings tr").first).to_contain_text("off by 2.0 spreads")
    expect(page.locator("#upstream .entry").first).to_be_visible()
    page.locator("#annotate input[name=start]").fill("2026-03-10T14:00:00")  # as Shanghai reads the clock
    page.locator("#annotate input[name=end]").fill("2026-03-10T14:10:00")
    page.locator("#annotate input[name=text]").fill("pump <b>swapped</b>")
    page.get_by_role("button", name="Note it").click()
    expect(page.locator("#annotations .text")).to_have_text("pump <b>swapped</b>")
    expect(page.locator(".chart .shapelayer path")).to_have_count(1)
    (kept,) = live.access.annotations.rows().values()  # type: ignore[union-attr]
    assert (kept["start"], kept["asset"], kept["by"]) == ("2026-03-10T06:00:00Z", rack, "li.na")
    page.locator("#readings button", has_text="return temperature").click()
    expect(page.locator(".chart")).to_have_count(2)
    box = page.locator(".chart .nsewdrag").first.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 55, steps=5)
    page.mouse.up()
    page.wait_for_url("**from=2026-03-10T0*")
    page.locator("#annotations button").click()
    expect(page.locator("#annotations .text")).to_have_count(0)


def test_an_asset_shows_the_alerts_that_fire_and_none_that_has_ended(page: Page, live: Live, url: str) -> None:
    rack = live.site.ids_of("rack")[1]
    rows = [
        Alert("hot", "rack", rack, "return_temp_c", Severity.WARNING, phase, 50, 45, Message(text), "look", NOW, NOW, ended)
        for phase, text, ended in (
            (Phase.FIRING, "is hot", None),
            (Phase.RESOLVED, "was hot", NOW),
            (Phase.PENDING, "warms", None),
        )
    ]
    live.alerts = tuple(rows)
    page.goto(f"{url}/asset/{rack}?back=3600")
    expect(page.locator("#alerts .entry")).to_have_count(1)
    expect(page.locator("#alerts .entry")).to_contain_text("is hot")
    live.alerts = tuple(rows[1:])
    page.reload()
    expect(page.locator("#readings tr")).to_have_count(2)
    expect(page.locator("#alerts")).to_be_hidden()


def test_a_value_that_stands_still_is_a_line_and_not_the_rounding_of_its_last_digit(page: Page, live: Live, url: str) -> None:
    gpu = live.site.ids_of("gpu")[0]
    page.goto(f"{url}/asset/{gpu}?back=3600&metric=mem_temp_c&metric=temp_c")
    expect(page.locator(".chart").nth(1).locator(".ytick text").first).to_be_visible()
    spans = "() => [...document.querySelectorAll('.chart')].map((one) => one._fullLayout.yaxis.range)"
    still, moving = page.evaluate(spans)
    assert still == pytest.approx([30.2 * 0.9995, 30.2 * 1.0005], rel=1e-9)
    assert moving[1] - moving[0] > 4, "what moves fills its chart"
    assert all(len(one) <= 6 for one in page.locator(".chart").first.locator(".ytick text").all_text_contents())


def test_assets_are_compared_also_in_chinese(page: Page, live: Live, url: str) -> None:
    racks = live.site.ids_of("rack")
    page.goto(f"{url}/compare?a={racks[0]}&b={racks[1]}&back=3600&lang=zh")
    expect(page.locator(".chart .scatterlayer .trace")).to_have_count(4)
    expect(page.locator("#table tbody tr")).to_have_count(2)
    expect(page.locator("h1")).to_have_text("对比")
    page.locator("input[name=asset]").fill(live.site.ids_of("gpu")[0])
    page.get_by_role("button", name="添加").click()
    expect(page.locator("#said")).to_contain_text("这些资产种类不同")


def test_ones_own_password_tokens_and_sessions(page: Page, url: str) -> None:
    page.goto(f"{url}/account")
    expect(page.locator("#me")).to_have_text("li.na (operator)")
    expect(page.locator("#people")).to_be_hidden()
    page.locator("#token input[name=name]").fill("grafana")
    page.locator("#token select[name=role]").select_option("viewer")
    page.get_by_role("button", name="Make a token").click()
    expect(page.locator("#made code")).to_have_text(re.compile("^icctwin_[0-9a-f]{16}_"))
    expect(page.locator("#tokens .text")).to_have_text("grafana")
    page.locator("#tokens button").click()
    expect(page.locator("#tokens .text")).to_have_count(0)
    page.locator("#password input[name=old]").fill("not the password of anybody")
    page.locator("#password input[name=new]").fill("another one, long enough")
    page.get_by_role("button", name="Change password").click()
    expect(page.locator("#said")).to_have_text("The old password is wrong.")


def test_signing_in_and_an_account_are_accessible_in_both_languages_and_all_themes(browser: Browser, url: str) -> None:
    turns = [(language, theme) for theme in ("dark", "light", "contrast") for language in ("zh", "en")]
    with tab(browser) as page:
        for language, theme in turns:
            page.goto(f"{url}/sign-in?lang={language}&theme={theme}")
            assert axe_on(page) == [], f"sign-in {language} {theme}"
        sign_in(page, name="zhao.yi")
        page.wait_for_url(lambda at: "sign-in" not in at)
        for language, theme in turns:
            page.goto(f"{url}/account?lang={language}&theme={theme}")
            expect(page.locator("#users .entry")).to_have_count(2)
            expect(page.locator("[data-x=site]")).not_to_have_text("")
            assert axe_on(page) == [], f"account {language} {theme}"


def test_what_a_person_chose_is_the_same_in_every_browser_of_theirs(browser: Browser, url: str, live: Live) -> None:
    def begin(page: Page, name: str) -> None:
        page.goto(f"{url}/audit")
        sign_in(page, name=name)
        page.wait_for_url("**/audit")
        expect(page.locator("#who")).to_contain_text(name)
        expect(page.locator("[data-clock]")).not_to_have_text("")

    with tab(browser) as one, tab(browser) as other:
        begin(one, "li.na")
        with one.expect_response(lambda answer: "/choices" in answer.url and answer.request.method == "PUT"):
            one.locator("#theme").select_option("contrast")
        one.locator("#zone").focus()
        with one.expect_response(lambda answer: "/choices" in answer.url and answer.request.method == "PUT"):
            one.locator("#zone").select_option("America/New_York")
        with one.expect_response(lambda answer: "/choices" in answer.url and answer.request.method == "PUT"):
            one.locator('[data-lang="zh"]').click()
        begin(other, "li.na")
        expect(other.locator("html")).to_have_attribute("data-theme", "contrast")
        expect(other.locator("html")).to_have_attribute("lang", "zh-CN")
        expect(other.locator("#zone")).to_have_value("America/New_York")
        expect(other.locator("[data-clock]")).to_have_text(re.compile("^02:"))
        nonsense = one.request.put(
            f"{url}/api/v1/access/choices",
            data={"zone": "Mars/Olympus"},
            headers={"origin": url, "content-type": "application/json"},
        )
        assert (nonsense.status, "Mars/Olympus" in nonsense.text()) == (422, True)
    with tab(browser) as third:
        begin(third, "zhao.yi")
        expect(third.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_language_that_is_known_before_a_page_listens_is_the_one_it_listens_in(browser: Browser, url: str) -> None:
    with tab(browser) as page:
        page.goto(f"{url}/audit")
        sign_in(page, name="li.na")
        page.wait_for_url("**/audit")
        page.context.clear_cookies(name="icctwin-language")
        page.evaluate("localStorage.setItem('icctwin-language', 'zh')")  # read as the page starts, before it listens
        page.goto(f"{url}/audit")
        expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        expect(page.locator("[data-clock]")).not_to_have_text("")
