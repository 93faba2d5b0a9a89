"""Plans on the page ``/energy`` in a real browser: an operator says yes to a real plan and sees it done; who may only look is
told so; and what the price is by the tariff."""

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from access_house import PASSWORD
from browsing import WAIT_MS, chromium, tab
from energy_house import NOW
from faces_harness import DayStore, Hands, served
from playwright.sync_api import Browser, Page, expect
from test_acting import SITE, Proposes, Waits, allowed
from test_energy_orders import begin
from wall_harness import plant_live

from energy.account.book import Given
from energy.plan import Mode
from ingest.stores.records import open_records
from twin.state import State
from ui.access.desk import Access
from ui.access.role import Role
from ui.access.section import AccessSection
from ui.acting import Acting
from ui.view import Live

pytestmark = pytest.mark.browser
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@dataclass
class Desk:
    """A desk in mode approve whose plan two jobs of a scheduler wait for; people sign in."""

    live: Live
    slurm: Waits
    acting: Acting

    def step(self) -> None:
        """The desk's turn a second later, as its task takes it: in a loop of its own, for the browser's runs in this thread."""
        self.live.clock.skip(1)  # type: ignore[attr-defined]
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, self.acting.acts(self.live.clock.now())).result()

    def plan(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, self.acting.plans(self.live.clock.now())).result()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    records = open_records(tmp_path / "records.db")
    live = Live(SITE, State(SITE), DayStore(), records, Hands(NOW), NOW, folder=tmp_path)
    live.access = Access(records, AccessSection.model_validate({}))
    live.records = live.access.records
    live.modes["job_start"] = Mode.APPROVE
    for name, role in (("li.na", Role.OPERATOR), ("greta", Role.VIEWER)):
        live.access.users.add(name, PASSWORD, role, NOW)
    slurm = Waits()
    acting = Acting(live, lambda frames: None, [slurm], {}, tmp_path, levers={"job_start": Proposes(begin("0", "1"))})
    acting._judged = allowed(acting)  # type: ignore[method-assign]
    acting.seen("slurm", super(Waits, slurm).jobs(), None)
    made = Desk(live, slurm, acting)
    made.plan()
    live.clock.skip(1)  # type: ignore[attr-defined]
    yield made
    records.close()


def signed_in(page: Page, url: str, name: str) -> None:
    page.goto(f"{url}/energy?lang=en")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator('[data-l="plans"] .row')).to_have_count(1)


def test_an_operator_says_yes_to_a_plan_and_sees_it_done(desk: Desk, browser: Browser) -> None:
    with served(desk.live) as url, tab(browser) as page:
        signed_in(page, url, "li.na")
        row = page.locator('[data-l="plans"] .row')
        expect(row).to_contain_text("waits for a person")
        expect(page.locator("#hands input[name=by]")).to_have_value("li.na")
        row.get_by_role("button", name=re.compile("^yes")).click()
        expect(page.locator("#sure")).to_be_visible()
        page.locator("#sure").get_by_role("button", name="Not now").click()
        desk.step()
        assert desk.slurm.begin == {}, "nothing is done before the second yes"
        row.get_by_role("button", name=re.compile("^yes")).click()
        page.locator("#sure").get_by_role("button", name="Say yes").click()
        expect(page.locator("#said")).to_have_text("said yes: the desk acts within seconds")
        expect(row.locator("button")).to_have_count(0)
        desk.step()
        expect(row).to_contain_text("done")
        assert set(desk.slurm.begin) == {"0", "1"}
    audit = [record for _, _, record in desk.live.records.read("access-audit", limit=100)]
    assert [one["who"] for one in audit if "approve" in one["what"]] == ["li.na"]
    said = [record for _, _, record in desk.live.records.read("audit", limit=100) if record["stage"] == "approved"]
    assert [one["who"] for one in said] == ["li.na"]


def test_no_takes_a_plan_off_the_desk_and_who_may_only_look_is_told(desk: Desk, browser: Browser) -> None:
    with served(desk.live) as url, tab(browser) as page:
        signed_in(page, url, "greta")
        row = page.locator('[data-l="plans"] .row')
        row.get_by_role("button", name=re.compile("^no")).click()
        expect(page.locator("#said")).to_contain_text("operator")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/sign-in")
        signed_in(page, url, "li.na")
        row.get_by_role("button", name=re.compile("^no")).click()
        expect(page.locator("#said")).to_have_text("said no: the plan leaves the desk")
        desk.step()
        expect(row).to_contain_text("said no · li.na")
        assert desk.slurm.begin == {}


def test_the_curve_of_prices_says_which_money(browser: Browser) -> None:
    live = plant_live("normal", running=False)
    live.given = lambda: Given(currency="EUR")
    with served(live) as url, tab(browser) as page:
        page.goto(f"{url}/energy?lang=en")
        expect(page.locator("#pricing")).to_contain_text("EUR/MWh")
        expect(page.locator("#cleanness")).to_contain_text("gCO₂/kWh")
