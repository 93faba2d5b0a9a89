"""Who may let icctwin act, how everything is stopped, and who lets go when it dies: records, links, API, commands, watchdog."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from energy_house import NOW, Physics, a_plan, hall, read
from faces_harness import DayStore, Hands
from test_energy_orders import Scheduler, T, begin

from energy.account.book import Given
from energy.guard import Limits
from energy.notes import TOPIC, Stage
from energy.plan import Mode, Verdict
from energy.waiting import waits_of
from ingest.registry import Opened
from ingest.stores.records import open_records
from twin.errors import ConfigError, Problem, SourceError
from twin.frame import Origin, frame_of
from twin.load import Row, build_site
from twin.message import Message
from twin.state import State
from ui.acting import Acting
from ui.cli import main
from ui.faces.server import build_server
from ui.switch import KEPT_WISHES, STOP_FILE, WISHES, Wish, last_sign, redeem, signature, signing_key, stopped, wish
from ui.view import Live
from ui.watchdog import Watch, look

SITE = build_site("s", "UTC", [Row("t", {"id": "slurm", "kind": "queue"}), Row("t", {"id": "net", "kind": "grid"})])


class Waits(Scheduler):
    """With the port of a queue."""

    @property
    def name(self):
        return "slurm"

    async def jobs(self, now):
        return super().jobs()


class Proposes:
    """A lever with one plan."""

    name = "job_start"

    def __init__(self, plan):
        self.plan = plan

    def propose(self, site, state, jobs, outlook, now):
        return self.plan


@pytest.mark.parametrize(("locked", "seen"), [((), ["slurm"]), (("slurm",), [])])
async def test_no_lever_is_shown_the_jobs_of_a_locked_queue(tmp_path, locked, seen):
    class Looks:
        name, queues = "job_start", None

        def propose(self, site, state, jobs, outlook, now):
            self.queues = [queue.name for queue in outlook.queues]

    live = Live(SITE, State(SITE), DayStore(), open_records(tmp_path / "records.db"), Hands(NOW), NOW, folder=tmp_path)
    lever, slurm = Looks(), Waits()
    limits = Limits(locked=frozenset(locked))
    acting = Acting(live, lambda frames: None, [slurm], {}, tmp_path, limits=limits, levers={"job_start": lever})
    acting.seen("slurm", Scheduler.jobs(slurm), None)
    await acting.plans(NOW)
    assert lever.queues == seen


@pytest.fixture
def house(tmp_path):
    """A desk with a fake scheduler, records in a file, and a plan that the guard allows."""

    class House:
        def __init__(self):
            self.clock, self.slurm = Hands(NOW), Waits()
            self.records = open_records(tmp_path / "records.db")
            self.live = Live(SITE, State(SITE), DayStore(), self.records, self.clock, NOW, folder=tmp_path)
            self.plan = begin("0", "1")
            self.new()

        def new(self):
            levers = {"job_start": Proposes(self.plan)}
            self.acting = Acting(self.live, lambda frames: None, [self.slurm], {}, tmp_path, levers=levers)

        async def pass_by(self, seconds=1.0):
            self.clock.skip(seconds)
            self.acting.seen("slurm", Scheduler.jobs(self.slurm), None)
            await self.acting.acts(self.clock.now())

        async def act(self, mode=Mode.AUTO):
            self.live.modes["job_start"] = mode
            await self.pass_by()
            self.acting._judged = allowed(self.acting)
            await self.acting.plans(self.clock.now())

    made = House()
    yield made
    made.records.close()


def allowed(acting):
    """The guard's word but for what a fake centre cannot know: signal, readings, simulation."""
    real = acting._judged

    async def judged(plan, now):
        plan, said = await real(plan, now)
        return plan, replace(said, refusals=tuple(r for r in said.refusals if r.rule in ("stop", "agreed", "expired")))

    return judged


async def test_stop_lets_go_of_everything_and_nothing_is_begun_until_go(house, tmp_path):
    await house.act()
    assert set(house.slurm.begin) == {"0", "1"}
    wish(house.records, Wish("stop", "li", why="work"), house.clock.now())
    await house.pass_by()
    assert (house.slurm.begin, house.slurm.noted) == ({}, set())
    house.new()  # also for the next process
    await house.act()
    assert house.slurm.begin == {}
    assert [r.rule for _, verdict in house.live.plans for r in verdict.refusals] == ["stop"]
    wish(house.records, Wish("go", "li"), house.clock.now())
    (tmp_path / STOP_FILE).touch()
    await house.act()
    assert house.slurm.begin == {}  # the file still says so
    (tmp_path / STOP_FILE).unlink()
    await house.act()
    assert set(house.slurm.begin) == {"0", "1"}


async def test_no_number_of_other_wishes_makes_a_stop_or_a_used_link_forgotten(house, tmp_path):
    now = house.clock.now()
    until = (now + timedelta(hours=11)).replace(microsecond=0)
    link = (house.records, tmp_path, "p1", "li", until, signature(signing_key(tmp_path), "p1", "li", until), now)
    assert redeem(*link) == ""
    wish(house.records, Wish("stop", "li", why="leak"), now)
    many = [(now, {"what": "reject", "who": "op", "plan": f"p{i}", "why": ""}) for i in range(KEPT_WISHES + 1)]
    house.records.append_all(WISHES, many)
    wish(house.records, Wish("reject", "op", "p2"), now)
    assert stopped(house.records, tmp_path)["why"] == "leak"
    assert redeem(*link) == "This link was used already."
    wish(house.records, Wish("go", "li"), now)
    assert stopped(house.records, tmp_path) is None


def test_a_link_counts_once_however_many_take_it_at_once(tmp_path):
    now = datetime(2026, 3, 10, tzinfo=UTC)
    until = now + timedelta(hours=11)
    sign = signature(signing_key(tmp_path), "p1", "li", until)
    kept = [open_records(tmp_path / "records.db") for _ in range(4)]  # as of four processes
    with ThreadPoolExecutor(4) as pool:
        for round_ in range(5):
            late = until + timedelta(minutes=round_)
            link = ("p1", "li", late, signature(signing_key(tmp_path), "p1", "li", late), now)
            said = list(pool.map(lambda one, link=link: redeem(one, tmp_path, *link), kept))
            assert sorted(said) == [""] + ["This link was used already."] * 3
    assert (
        redeem(kept[0], tmp_path, "p1", "li", until, sign, until) == f"This link was good until {until:%Y-%m-%dT%H:%M}+00:00."
    )
    for one in kept:
        one.close()


async def test_a_stop_from_before_it_had_a_topic_of_its_own_stays(house, tmp_path):
    now = house.clock.now()
    house.records.append(WISHES, now, {"what": "stop", "who": "li", "plan": "", "why": "leak", "nonce": ""})
    assert stopped(house.records, tmp_path)["who"] == "li"
    house.new()  # the desk of the new release starts
    house.records.append_all(WISHES, [(now, {"what": "reject", "who": "op"})] * KEPT_WISHES)
    assert stopped(house.records, tmp_path)["who"] == "li"


async def test_a_clean_stop_leaves_what_releases_itself(house):
    await house.act()
    await house.acting.give_back(house.clock.now())
    assert set(house.slurm.begin) == {"0", "1"}
    house.slurm.releases_itself = False
    await house.acting.give_back(house.clock.now())
    assert house.slurm.begin == {}


async def test_the_watchdog_lets_go_only_of_a_dead_ones_orders(house):
    await house.act()
    watch = Watch(SITE, house.records, (Opened([], queues=[house.slurm]),))
    sign = last_sign(house.records)
    seen = await look(watch, sign + timedelta(seconds=170))
    assert (seen.dead, set(house.slurm.begin)) == (False, {"0", "1"})
    seen = await look(watch, sign + timedelta(seconds=190))
    assert (seen.dead, seen.left, house.slurm.begin, house.slurm.noted) == (True, 0, {}, set())
    house.slurm.begin, house.slurm.noted = {"2": T + 9000}, {"2"}  # of which no record is left
    await look(watch, sign + timedelta(seconds=300))
    assert house.slurm.begin == {}
    house.slurm.begin = {"3": T + 9000}  # somebody's own
    house.slurm.deaf = True
    assert (await look(watch, sign + timedelta(seconds=360))).left == 0
    assert house.slurm.begin == {"3": T + 9000}


async def test_a_plan_that_waits_is_carried_out_by_a_name_or_a_link_that_counts_once(house, tmp_path):
    await house.act(Mode.APPROVE)
    assert house.slurm.begin == {}
    until = (house.clock.now() + timedelta(hours=1)).replace(microsecond=0)
    link = {"plan": "p1", "who": "li", "until": int(until.timestamp())}
    sign = signature(signing_key(tmp_path), "p1", "li", until)
    transport = httpx.ASGITransport(build_server(house.live), client=("127.0.0.1", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as ask:
        assert (await ask.post("/api/v1/approvals", json={**link, "who": "wu", "sign": sign})).status_code == 409
        late = until + timedelta(hours=5)
        forged = {**link, "until": int(late.timestamp()), "sign": sign}
        assert (await ask.post("/api/v1/approvals", json=forged)).status_code == 409
        page = await ask.get("/approve", params={**link, "sign": sign})
        assert "test" in page.text  # the plan's reason
        over = signature(signing_key(tmp_path), "p1", "li", house.clock.now())
        for wrong in ({**link, "sign": "0" * 64}, {**link, "sign": sign, "who": "wu"}, {**forged}):
            unsigned = await ask.get("/approve", params=wrong)
            assert (unsigned.status_code, "not signed here" in unsigned.text, "p1" in unsigned.text) == (403, True, False)
            assert "<button>" not in unsigned.text
        past = {**link, "until": int(house.clock.now().timestamp()), "sign": over}
        assert "This link is over" in (await ask.get("/approve", params=past)).text
        await house.pass_by()
        assert house.slurm.begin == {}  # opened, not said
        assert (await ask.post("/api/v1/approvals", json={**link, "sign": sign})).status_code == 202
        assert (await ask.post("/api/v1/approvals", json={**link, "sign": sign})).json()[
            "detail"
        ] == "This link was used already."
        await house.pass_by()
        assert set(house.slurm.begin) == {"0", "1"}
        audit = (await ask.get("/api/v1/acting/audit", params={"plan": "p1"})).json()["records"]
        assert [(r["stage"], r.get("who")) for r in audit][:3] == [("done", None), ("begun", "li"), ("approved", "li")]
        said = (await ask.get("/api/v1/acting")).json()
        assert (said["modes"]["job_start"], said["stopped"], bool(said["alive"])) == ("approve", None, True)
        assert (await ask.post("/api/v1/plans/none/approve", json={"by": "li"})).status_code in (404, 503)


async def test_a_yes_counts_by_the_tenants_that_were_read_last_where_their_file_is_away(house, monkeypatch):
    used = []
    monkeypatch.setattr("ui.acting.waits_of", lambda *of: used.append(of[3]) or waits_of(*of))
    house.live.given = lambda: Given(tenants={"p": "acme"})
    house.new()
    await house.act(Mode.APPROVE)

    def away():
        raise ConfigError([Problem("tenants.csv", "cannot be read")])

    house.live.given = away
    wish(house.records, Wish("approve", "li", house.plan.key), house.clock.now())
    await house.pass_by()
    assert set(house.slurm.begin) == {"0", "1"}
    assert used[-1] == {"p": "acme"}


@pytest.mark.parametrize("error", [SourceError("away"), ValueError("ours")])
async def test_a_wish_that_cannot_be_done_now_takes_no_other_along_and_is_heard_again(house, error):
    first, second = replace(house.plan, key="first"), house.plan
    await house.pass_by()
    house.acting._judged = allowed(house.acting)
    for plan in (first, second):
        await house.acting.desk.decide(plan, Verdict(plan.key, ()), Mode.APPROVE, house.live.state, house.clock.now())
        wish(house.records, Wish("approve", "li", plan.key), house.clock.now())
    judged, asked = house.acting._judged, []

    async def hindered(plan, now):
        asked.append(plan.key)
        if asked == ["first"]:
            raise error
        return await judged(plan, now)

    house.acting._judged = hindered
    if isinstance(error, ValueError):
        with pytest.raises(ValueError, match="ours"):
            await house.pass_by()
    await house.pass_by()
    assert asked[:2] == ["first", "p1"]
    assert set(house.slurm.begin) == {"0", "1"}
    await house.pass_by()
    assert asked == ["first", "p1"] + ["first"] * isinstance(error, SourceError)


def test_commands_say_what_people_want(tmp_path, capsys):
    (tmp_path / "assets.csv").write_text("id,kind,parent\nhall,hall,\n")
    (tmp_path / "site.toml").write_text('[site]\nname = "s"\n[store]\npath = "store"\n')
    (tmp_path / "store").mkdir()
    config = ["--config", str(tmp_path / "site.toml")]

    def run(*words, status=0):
        assert main([*words, *config, "--json"]) == status
        return json.loads(capsys.readouterr().out)

    assert run("stop", "--who", "li", "--why", "work")["stopped"] is True
    assert run("acting")["stopped"]["who"] == "li"
    assert run("go", "--who", "li")["stopped"] is False
    assert run("acting")["stopped"] is None
    assert main(["approve", "p1", *config]) == 1
    assert "no plan of that name waits" in capsys.readouterr().err
    records = open_records(tmp_path / "store" / "records.db")
    records.append(TOPIC, datetime.now(UTC), {"stage": Stage.WAITING, "plan": "p1"})
    records.close()
    assert run("approve", "p1", "--who", "li")["said"] == "yes"
    assert "/approve?plan=p1&who=li&until=" in run("approve", "p1", "--who", "li", "--link", "https://twin")["link"]
    assert run("watchdog", "--once") == {"alive": None, "let_go": False, "left": 0}
    records = open_records(tmp_path / "store" / "records.db")
    said = [record["what"] for _, _, record in records.read("wishes")]
    records.close()
    assert said == ["stop", "go", "approve"]
    assert main(["approve", "p1", "--link", "https://twin", "--hours", "99", *config]) == 2


class Withdraws(Proposes):
    """One that may take back what it has in force."""

    why = None

    def withdraw(self, site, state, now):
        return self.why


async def test_a_lever_takes_back_what_it_has_in_force_within_a_minute(house, tmp_path):
    lever = Withdraws(replace(house.plan, key="job_start:p1"))
    house.acting = Acting(house.live, lambda frames: None, [house.slurm], {}, tmp_path, levers={"job_start": lever})
    await house.act()
    await house.acting.reverts(house.clock.now())
    assert set(house.slurm.begin) == {"0", "1"}
    lever.why = Message("no more")
    await house.acting.reverts(house.clock.now())
    assert house.slurm.begin == {}


async def test_setpoints_go_back_by_a_step_at_each_look_while_stopped(tmp_path):
    of, plant = hall(), {"c1": 30.0}

    class Cdu:
        async def apply(self, action, now):
            plant[action.asset] = action.value
            return frame_of("cdu", now, of.row(action.asset), Origin.COMMANDED, **{action.metric: action.value})

    clock, records = Hands(NOW), open_records(tmp_path / "records.db")
    live = Live(of, State(of), DayStore(), records, clock, NOW, folder=tmp_path)
    acting = Acting(live, lambda frames: None, [], {"c1": Cdu()}, tmp_path, levers={})
    for step in range(4):
        now = clock.now()
        seen = read(of, Physics(), 24.0, plant["c1"], now)
        plan = a_plan(("c1", plant["c1"] + 1), now=now, key=f"p{step}")
        await acting.desk.decide(plan, Verdict(plan.key, ()), Mode.AUTO, seen, now)
        clock.skip(600)
    wish(records, Wish("stop", "li"), clock.now())
    went = []
    while plant["c1"] > 30.0 and len(went) < 9:
        await acting.acts(clock.now())
        went.append(plant["c1"])
        clock.skip(5)
    assert went == [33.0, 32.0, 31.0, 30.0]
    records.close()
