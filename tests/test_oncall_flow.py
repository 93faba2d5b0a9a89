"""The whole way from a reading to a receiver and back: a centre on a virtual clock, its files, its API, and restarts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
import receivers
from receivers import Receiver, receiving

from twin.errors import ConfigError
from twin.frame import Frame
from ui.app import Centre
from ui.config import load_config
from ui.faces.pages.overview import overview_text
from ui.faces.server import build_server
from ui.oncall.file import load_oncall
from ui.tasks import VirtualClock
from ui.view import view
from ui.words import words

START = datetime(2026, 11, 2, tzinfo=UTC)
RULES = """
[[rule]]
name = "hot"
kind = "gpu"
metric = "temp_c"
above = 85
clear = 80
hold_s = 0
severity = "critical"
suffers = ["cooling"]
summary = "{asset} is at {value:.0f} {unit}"
runbook = "look at its cold plate"

[[rule]]
name = "slow"
kind = "cdu"
metric = "flow_kgps"
below = 5
clear = 6
hold_s = 0
severity = "critical"
breaks = "cooling"
summary = "{asset} moves {value:.1f} {unit}"
runbook = "start the standby pump"
"""
ONCALL = """
[delivery]
allow = ["127.0.0.1"]
outside = "https://noc.example.org"
token = "file:token"
fallback = "second"

[[channel]]
name = "hook"
type = "webhook"
url = "{url}/hook"

[[channel]]
name = "second"
type = "webhook"
url = "{url}/second"

[[route]]
name = "all"
channels = ["hook"]
group_by = ["alertname"]
"""
SITE = """
[site]
name = "c"
assets = "assets.csv"
links = "links.csv"
[store]
path = "store"
[alerts]
rules = "rules.toml"
oncall = "oncall.toml"
"""
ASSETS = ["id,kind,parent", "h,hall,", "c1,cdu,h", "r,rack,h", "n,node,r", *(f"g{i},gpu,n" for i in range(8))]


class Run:
    """A centre whose tasks a test calls by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, VirtualClock(START)
        self.open()

    def open(self) -> None:
        self.centre = Centre(load_config(self.folder / "site.toml"), self.clock, wait=True)

    async def kill(self) -> None:
        """As after SIGKILL: nothing is kept in order, what was not written is gone (only sockets and files are let go of)."""
        await self.centre.delivery.close()
        self.centre.book.close()
        self.centre.records.close()
        self.centre.store.close()
        self.open()

    async def at(self, after_s: float, hot: int = 0, flow: float = 18.0) -> None:
        self.clock.time += timedelta(seconds=after_s)
        now = self.clock.time
        temp = np.full(8, 60.0)
        temp[:hot] = 90.0
        site = self.centre.site
        self.centre.publish([Frame("gpu", now, site.all_rows("gpu"), {"temp_c": temp}, source="s")])
        self.centre.publish([Frame("cdu", now, site.all_rows("cdu"), {"flow_kgps": np.array([flow])})])
        self.centre.duties.alerts(now)
        await self.centre._notify(self.centre.duties, now)

    async def close(self) -> None:
        await self.centre.delivery.close()
        self.centre.close()


@pytest.mark.parametrize(("written", "leads"), [('outside = "https://noc.example.org"', "noc"), ("", "wall")])
def test_links_lead_outside_or_to_where_people_sign_in(tmp_path: Path, written: str, leads: str) -> None:
    (tmp_path / "oncall.toml").write_text(f"[delivery]\n{written}\n")
    (tmp_path / "assets.csv").write_text("\n".join(ASSETS))
    (tmp_path / "links.csv").write_text("from,to,relation\nc1,r,cools\n")
    site = SITE.replace('rules = "rules.toml"\n', "") + '[access]\nurl = "https://wall.example.org"\n'
    (tmp_path / "site.toml").write_text(site)
    made = Centre(load_config(tmp_path / "site.toml"), VirtualClock(START), wait=True)
    assert made.duties.oncall.file.delivery.outside == f"https://{leads}.example.org"
    made.close()


@contextmanager
def centre(tmp_path: Path, receiver: Receiver) -> Iterator[Run]:
    (tmp_path / "assets.csv").write_text("\n".join(ASSETS))
    (tmp_path / "links.csv").write_text("from,to,relation\nc1,r,cools\n")
    (tmp_path / "rules.toml").write_text(RULES)
    (tmp_path / "site.toml").write_text(SITE)
    (tmp_path / "token").write_text("a-token-of-the-test-and-of-it-alone\n")
    (tmp_path / "oncall.toml").write_text(ONCALL.replace("{url}", receiver.url))
    run = Run(tmp_path)
    yield run


def told(receiver: Receiver) -> list[tuple[str, str, int, str]]:
    """(path, status, how many alerts, summary of the first)."""
    return [
        (one.path, one.body["status"], len(one.body["alerts"]), one.body["alerts"][0]["annotations"]["summary"])
        for one in receiver.taken
    ]


async def test_a_storm_is_one_page_and_a_kill_at_any_moment_tells_nothing_twice(tmp_path: Path) -> None:
    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        await run.at(1)
        for after_s, hot, flow in ((1, 8, 18.0), (0.3, 8, 1.0), (0.5, 8, 1.0), (5, 8, 1.0), (1, 8, 1.0)):
            await run.at(after_s, hot, flow)
            await run.kill()
        assert told(receiver) == [("/hook", "firing", 1, "c1 moves 1.0 kg/s")]
        assert receiver.taken[0].body["alerts"][0]["annotations"]["explains"] == "8"
        assert receiver.taken[0].body["alerts"][0]["generatorURL"] == "https://noc.example.org/oncall?alert=slow%3Ac1"
        await run.at(0.5, 8, 1.0)
        shown = view(run.centre.live, run.clock.time)
        assert [(row.key, row.folded) for row in shown.alerts] == [("slow:c1", 8)]
        assert shown.centre.alerts_critical.value == 1
        assert "(+8)" in str(overview_text(shown, words("zh"))["l.alerts"])
        for after_s in (60, 60, 600):
            await run.at(after_s)
            await run.kill()
        assert [status for _, status, *_ in told(receiver)] == ["firing", "resolved"]
        await run.close()


async def test_a_refused_page_goes_to_the_fallback_and_a_dead_one_can_be_sent_again(tmp_path: Path) -> None:
    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        receiver.answers = [(403, {}, {}), (500, {}, {})]
        await run.at(1, hot=1)
        await run.at(1, hot=1)  # told: the hook refuses it for good, its fallback fails once
        await run.at(5, hot=1)
        await run.at(5, hot=1)
        assert [path for path, *_ in told(receiver)] == ["/second"]
        waiting, dead, _ = run.centre.book.counts()
        assert (waiting, dead) == (0, 1)
        (page,) = run.centre.book.pages("dead")
        assert "403" in page.why
        assert run.centre.book.again([page.number], run.clock.time.timestamp()) == 1
        await run.at(5, hot=1)
        assert [path for path, *_ in told(receiver)] == ["/second", "/hook"]
        health = run.centre.duties.oncall.health(run.clock.time.timestamp())
        assert set(health.values()) == {0.0}
        await run.close()


async def test_the_api_acknowledges_silences_takes_the_alerts_of_others_and_writes_all_down(tmp_path: Path) -> None:
    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        await run.at(1, hot=1)
        await run.at(1, hot=1)
        app = build_server(run.centre.live)
        auth = {"authorization": "Bearer a-token-of-the-test-and-of-it-alone"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as ask:
            desk = (await ask.get("/api/v1/oncall")).json()
            (group,) = desk["groups"]
            assert (group["summary"], group["acknowledged"]) == ("g0 is at 90 °C", None)
            path = f"/api/v1/oncall/incidents/{group['incident']}/acknowledge"
            assert (await ask.post(path, json={"by": "li"})).status_code == 401
            wrong = {"authorization": "Bearer x"}
            assert (await ask.post(path, json={"by": "li"}, headers=wrong)).status_code == 401
            run.centre.duties.oncall.file = replace(file := run.centre.duties.oncall.file, token="")
            proxied = await ask.post(path, json={"by": "li"}, headers={"x-forwarded-for": "203.0.113.9"})
            assert proxied.status_code == 403
            run.centre.duties.oncall.file = file
            foreign = auth | {"origin": "https://evil.example"}
            assert (await ask.post(path, json={"by": "li"}, headers=foreign)).status_code == 403
            assert (await ask.post(path, json={"by": "li", "note": "on it"}, headers=auth)).status_code == 200
            gone = await ask.post("/api/v1/oncall/incidents/none/acknowledge", json={"by": "li"}, headers=auth)
            assert gone.status_code == 404

            quiet = {"matchers": ["alertname=hot"], "author": "li", "reason": "known", "end": "2026-11-02T03:00:00Z"}
            made = await ask.post("/api/v1/oncall/silences", json=quiet, headers=auth)
            assert made.status_code == 201
            for wrong_one in ({"end": "2027-11-02T03:00:00Z"}, {"reason": " "}, {"matchers": ["hot"]}, {"matchers": []}):
                assert (await ask.post("/api/v1/oncall/silences", json=quiet | wrong_one, headers=auth)).status_code == 422
            await run.at(1, hot=3)
            (silence,) = (await ask.get("/api/v1/oncall/silences")).json()
            assert silence["active"]
            ended = await ask.delete(f"/api/v1/oncall/silences/{silence['id']}?by=wu", headers=auth)
            assert ended.status_code == 200

            alert = {"labels": {"alertname": "PumpFailed", "instance": "c1:9100", "severity": "page", "breaks": "cooling"}}
            page = {
                "version": "4",
                "receiver": "am",
                "alerts": [alert | {"status": "firing", "endsAt": "0001-01-01T00:00:00Z"}],
            }
            heard = await ask.post("/api/v1/oncall/webhook", json=page, headers=auth)
            assert heard.json() == {"taken": 1, "unknown": 0}
            heard = await ask.post("/api/v2/alerts", json=[alert, {"labels": {"alertname": "x"}}], headers=auth)
            ours = [{"labels": {"alertname": "hot", "asset": "g0", "origin": "icctwin"}}]
            assert (await ask.post("/api/v2/alerts", json=ours, headers=auth)).json()["taken"] == 0  # it came from us
            assert heard.json() == {"taken": 2, "unknown": 1}
            replica = httpx.ASGITransport(app, client=("10.0.0.9", 1))  # the other of two Prometheus tells the same
            async with httpx.AsyncClient(transport=replica, base_url="http://localhost", headers=auth) as other:
                assert (await other.post("/api/v2/alerts", json=[alert])).json()["taken"] == 1
            await run.at(1, hot=4)
            await run.at(1, hot=4)
            shown = [one for one in (await ask.get("/api/v1/alerts")).json() if one["origin"] == "icctwin"]
            assert len(shown) == 4
            assert all(one["cause"].endswith(shown[0]["cause"][-16:]) and one["cause"] for one in shown)
            audit = [(row["what"], row["by"]) for row in (await ask.get("/api/v1/oncall/audit")).json()]
            assert audit == [("end-silence", "wu"), ("silence", "li"), ("acknowledge", "li")]
            report = (await ask.get("/api/v1/oncall/report?days=1&lang=zh")).json()
            assert report["times"]["acknowledged"] == 1
            await asked_over_a_span(ask, run.clock.time)
            assert report["noise"][0]["rule"] == "hot"
            assert [row["what"] for row in (await ask.get("/api/v1/oncall/timeline")).json() if "what" in row]
            assert (await ask.get("/api/v1/oncall/rules")).json()[0]["name"] == "hot"
            assert "start the standby pump" in json.dumps((await ask.get("/api/v1/oncall/rules")).json())
            assert (await ask.get("/runbooks/cooling")).text.startswith("# Liquid cooling")
            assert (await ask.get("/oncall")).status_code == 200
            assert '"acknowledge":"认领"' in (await ask.get("/oncall?lang=zh")).text
            assert (await ask.get("/api/v1/alerts/none/picture.png")).status_code == 404
        before = set(run.centre.duties.oncall.others.known)
        await run.kill()
        assert set(run.centre.duties.oncall.others.known) == before
        assert len(before) == 3
        await run.close()


async def asked_over_a_span(ask: httpx.AsyncClient, now: datetime) -> None:
    """The report and the timeline know what a report's span is: in it is what happened then, and nothing else."""
    today = now.date()
    year, week, _ = today.isocalendar()
    begun = now - timedelta(hours=6)
    for query, there in (
        (f"span={year}-W{week:02d}", True),
        (f"span={today}/{today + timedelta(days=1)}", True),
        (f"start={begun:%Y-%m-%dT%H:%MZ}", True),
        (f"start={begun:%Y-%m-%dT%H:%MZ}&days=1", True),
        (f"end={begun:%Y-%m-%dT%H:%MZ}", False),
        (f"start={begun - timedelta(days=9):%Y-%m-%dT%H:%MZ}&end={begun:%Y-%m-%dT%H:%MZ}", False),
        ("span=2025", False),
    ):
        report = (await ask.get(f"/api/v1/oncall/report?{query}")).json()
        assert (report["times"]["acknowledged"], bool(report["noise"])) == (int(there), there), query
        assert bool((await ask.get(f"/api/v1/oncall/timeline?{query}")).json()) is there, query
        assert datetime.fromisoformat(report["start"]) < datetime.fromisoformat(report["end"]), query
    for query, why in (
        ("span=2026-W60", "'2026-W60' is in no calendar"),
        ("span=soon", "'soon' is no span of time; write 2026-W46"),
        ("span=2026-11&days=2", "span=2026-11 says from when until when; leave out start, end and days."),
        ("start=2026-11-02T00:00Z&end=2026-11-02T00:00Z", "is not between nothing and 400 days"),
        ("start=2024-11-02T00:00Z&end=2026-11-02T00:00Z", "is not between nothing and 400 days"),
        ("start=2026-11-02T00:00Z&end=2026-11-03T00:00Z&days=2", "leave out days"),
    ):
        for route in ("report", "timeline"):
            refused = await ask.get(f"/api/v1/oncall/{route}?{query}")
            assert refused.status_code == 422
            assert why in refused.json()["detail"], query
    described = (await ask.get("/openapi.json")).json()["paths"]
    for route in ("report", "timeline"):
        named = {one["name"] for one in described[f"/api/v1/oncall/{route}"]["get"]["parameters"]}
        assert {"span", "start", "end", "days"} <= named


async def test_rules_are_read_again_when_they_change_and_kept_when_they_are_wrong(tmp_path: Path) -> None:
    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        await run.at(1, hot=1)
        (tmp_path / "rules.toml").write_text(RULES.replace("temp_c", "temperature"))
        await run.centre._reread(run.centre.duties, run.clock.time)
        assert "no metric 'temperature'" in str(run.centre.live.notices[0])
        assert "rules.toml:5" in str(run.centre.live.notices[0])
        await run.at(1, hot=1)
        assert len(receiver.taken) == 1  # the old rules went on
        (tmp_path / "rules.toml").write_text(RULES.replace("above = 85", "above = 95").replace("clear = 80", "clear = 91"))
        await run.centre._reread(run.centre.duties, run.clock.time)
        assert run.centre.live.notices == ()
        await run.at(1, hot=1)
        assert told(receiver)[-1][1] == "resolved"
        await run.close()


async def test_what_devices_tell_becomes_an_alert_that_ends_by_itself(tmp_path: Path) -> None:
    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        now = run.clock.time
        leak = {"asset": "r", "code": "redfish/LeakDetected", "meaning": "leak in r", "source": "bmc", "severity": "critical"}
        run.centre.records.append("event", now, leak)
        run.centre.records.append("event", now, leak | {"severity": "info", "code": "note"})
        await run.at(1)
        await run.at(1)
        await run.at(1)
        assert told(receiver) == [("/hook", "firing", 1, "leak in r")]
        await run.at(301)
        await run.at(1)
        assert told(receiver)[-1][1] == "resolved"
        await run.close()


# --- the on-call file
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ('type = "webhook"', 'type = "pigeon"', "oncall.toml:10: channel 'hook': no type 'pigeon'"),
        ('url = "http://127.0.0.1/hook"', "", "url is missing; write url = …"),
        ('url = "http://127.0.0.1/hook"', 'url = "http://10.0.0.1/x"', "write https, or name it in allow"),
        ('channels = ["hook"]', 'channels = ["gone"]', "oncall.toml:20: there is no channel 'gone'"),
        ('fallback = "second"', 'fallback = "third"', "there is no channel 'third'"),
        ('token = "file:token"', 'token = "file:none"', "cannot be read"),
        ('token = "file:token"', 'token = "env:NOBODY"', "the environment has no NOBODY"),
        ('token = "file:token"', 'token = "s3cret"', "token: String should match"),
        ('group_by = ["alertname"]', 'group_by = ["alertname"]\nmatch = ["severity"]', "is no matcher"),
        (
            'group_by = ["alertname"]',
            'group_by = ["alertname"]\nmatch = ["severity==critical"]',
            "'severity==critical' has a sign too many; write severity=critical",
        ),
        ('group_by = ["alertname"]', 'group_by = ["alertname"]\nduring = "noon"', "no time of the week"),
        ('group_by = ["alertname"]', 'group_by = ["alertname"]\nescalation = "x"', "there is no escalation 'x'"),
        ('[[route]]', '[[rota]]\nname = "x"\n[[route]]', "no section 'rota'"),
        ('[[route]]', '[[schedule]]\nname = "d"\ncalendar = "none.ics"\n[[route]]', "none.ics: "),
    ],
)  # fmt: skip
def test_a_wrong_on_call_file_is_refused_with_its_line(tmp_path: Path, was: str, becomes: str, says: str) -> None:
    (tmp_path / "token").write_text("a-token-of-the-test-and-of-it-alone")
    text = ONCALL.replace("{url}", "http://127.0.0.1")
    assert was in text
    path = tmp_path / "oncall.toml"
    path.write_text(text)
    load_oncall(path, "UTC", {}).calendars(START)
    path.write_text(text.replace(was, becomes))
    with pytest.raises(ConfigError) as caught:
        load_oncall(path, "UTC", {}).calendars(START)
    said = "\n".join(str(problem) for problem in caught.value.problems)
    assert says in said
    assert "a-token" not in said
    assert "s3cret" not in said


def test_a_channel_without_its_secret_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "oncall.toml"
    robot = '[[channel]]\nname = "noc"\ntype = "dingtalk"\nurl = "env:URL"\nsecret = "env:SECRET"\n'
    path.write_text(robot)
    with pytest.raises(ConfigError, match="the environment has no SECRET"):
        load_oncall(path, "UTC", {"URL": "https://oapi.dingtalk.com/robot/send?access_token=t0ken"})
    file = load_oncall(path, "UTC", {"URL": "https://oapi.dingtalk.com/robot/send?access_token=t0ken", "SECRET": "SECx"})
    assert "t0ken" not in repr(file)
    with pytest.raises(ConfigError, match="private network"):
        load_oncall(path, "UTC", {"URL": "https://192.168.0.9/x", "SECRET": "SECx"})
