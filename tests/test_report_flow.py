"""Reports come by themselves on Monday morning: once, made up for after a time away, kept bounded, told by mail and webhook."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import pytest
from receivers import Receiver, Seen, receiving
from test_notify import Mailbox, certificate  # noqa: F401 - a fixture

from twin.errors import ConfigError
from twin.frame import Frame
from ui.app import Centre
from ui.benches.demo import free_port
from ui.config import load_config
from ui.faces.server import build_server
from ui.report.library import Full, Stage
from ui.report.scope import CENTRE
from ui.report.span import span_of
from ui.reporting import OURSELVES, TOLD, Reporting
from ui.tasks import VirtualClock

MONDAY = datetime(2026, 11, 15, 23, 0, tzinfo=UTC)  # 07:00 in Shanghai, when the report of 2026-W46 is due
SITE = """
[site]
name = "c"
timezone = "Asia/Shanghai"
assets = "assets.csv"
[store]
path = "store"
[alerts]
oncall = "oncall.toml"
[report]
recipients = ["board", "books"]
formats = ["html", "pdf", "json", "csv"]
keep = 3
pue_limit = 1.25
picture = false
"""
QUICK = SITE.replace('["html", "pdf", "json", "csv"]', '["json"]')  # where what counts is when it comes
ONCALL = """
[delivery]
allow = ["127.0.0.1", "localhost"]
outside = "https://twin.example.org"
[[channel]]
name = "board"
type = "email"
host = "localhost"
port = {port}
ca = "{ca}"
sender = "twin@c.example"
to = ["board@c.example"]
language = "zh"
[[channel]]
name = "books"
type = "signed"
url = "{url}/books"
secret = "file:secret"
[[channel]]
name = "wakes"
type = "pagerduty"
routing_key = "file:secret"
"""


def centre_in(folder: Path, url: str = "http://127.0.0.1:9", port: int = 9, ca: Path = Path("/none"), site: str = SITE) -> Path:
    assets = ["id,kind,parent", "h1,hall,", "h2,hall,", "r1,rack,h1", "r2,rack,h2", "n1,node,r1", "n2,node,r2"]
    assets += [f"g{i},gpu,n{1 + i // 4}" for i in range(8)]
    (folder / "assets.csv").write_text("\n".join(assets))
    (folder / "site.toml").write_text(site)
    (folder / "secret").write_text("a-secret-of-the-test-of-32-bytes\n")
    (folder / "oncall.toml").write_text(ONCALL.replace("{url}", url).replace("{port}", str(port)).replace("{ca}", str(ca)))
    return folder / "site.toml"


class Run:
    """A centre whose task a test calls by hand; two weeks of meters are in its store."""

    def __init__(self, config: Path, now: datetime, weeks: int = 2) -> None:
        self.config, self.clock = config, VirtualClock(now)
        self.open()
        site, frames = self.centre.site, []
        for k in range(weeks * 7 * 24):
            at = MONDAY - timedelta(hours=7) - timedelta(weeks=weeks) + timedelta(hours=k)
            meters = {"facility_power_w": np.array([6e3]), "it_power_w": np.array([5e3]), "cooling_power_w": np.array([800.0])}
            frames += [Frame("site", at, site.all_rows("site"), meters)]
            frames += [Frame("gpu", at, site.all_rows("gpu"), {"power_w": np.full(8, 600.0), "util_frac": np.full(8, 0.5)})]
        self.centre.store.append(frames)

    def open(self) -> None:
        self.centre = Centre(load_config(self.config), self.clock, wait=True)
        self.reporting = Reporting(self.centre.live)

    def kill(self) -> None:
        """As after SIGKILL: nothing is kept in order."""
        asyncio.run(self.centre.delivery.close())
        self.centre.book.close()
        self.centre.records.close()
        self.centre.store.close()
        self.open()

    def steps(self, count: int = 4) -> None:
        for _ in range(count):
            self.clock.time += timedelta(seconds=20)
            self.reporting.step(None, self.clock.time)

    async def deliver(self) -> None:
        await self.centre.delivery.tick(self.clock.time)
        await self.centre.delivery.drain()

    @property
    def made(self) -> list[str]:
        reports = self.centre.live.reports
        assert reports is not None
        return [entry.id for entry in reports.entries().values() if entry.stage is Stage.MADE]

    def told(self) -> list[str]:
        return [page.group for page in self.centre.book.pages()]

    def close(self) -> None:
        asyncio.run(self.centre.delivery.close())
        self.centre.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(centre_in(tmp_path, site=QUICK), MONDAY - timedelta(hours=1))
    yield made
    made.close()


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Run]:
    """The same with every format."""
    made = Run(centre_in(tmp_path), MONDAY)
    yield made
    made.close()


def test_a_week_is_reported_once_on_monday_morning_whatever_happens_to_the_process(run: Run) -> None:
    run.steps()
    assert run.made == ["2026-W45"], "the week before, which nobody reported; this one is not due before seven"
    run.clock.time = MONDAY
    run.steps(1)
    assert run.made == ["2026-W46", "2026-W45"]
    first = run.told()
    assert first == ["report:2026-W46", "report:2026-W46", "report:2026-W45", "report:2026-W45"], "each channel once"
    run.kill()
    run.steps()
    assert run.made == ["2026-W46", "2026-W45"]
    assert run.told() == first
    run.centre.book.keep({TOLD: "[]"})  # as if killed between making it and telling of it
    run.kill()
    run.steps(1)
    assert run.told()[:2] == ["report:2026-W46", "report:2026-W46"]
    assert len(run.told()) == 8


def test_what_was_missed_is_made_up_for_and_a_failure_is_tried_again_later(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.steps(1)
    assert run.made == ["2026-W45"]
    reports = run.centre.live.reports
    assert reports is not None
    run.clock.time = MONDAY + timedelta(weeks=2)  # down for two weeks, of which nothing was read
    broken = monkeypatch.context()
    with broken as patch:
        patch.setattr(type(run.centre.store), "series", _away)
        run.steps(2)
    failed = reports.entries()["2026-W46"]
    assert (failed.stage, failed.tries) == (Stage.FAILED, 1)
    assert "away" in failed.why
    run.steps(2)
    assert reports.entries()["2026-W46"].stage is Stage.FAILED, "not at once"
    run.clock.time += timedelta(minutes=10)
    run.steps(4)
    stages = {name: entry.stage.value for name, entry in reports.entries().items()}
    assert stages == {"2026-W45": "made", "2026-W46": "made", "2026-W47": "empty", "2026-W48": "empty"}


@pytest.mark.parametrize("fault", [ValueError("it does not add up"), KeyError("a fault of ours")])
def test_a_report_that_cannot_be_made_keeps_no_other_from_being_made(
    run: Run, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    from ui.report.make import make

    def trips(about: Any, span: Any, scope: Any) -> Any:
        if span.label == "2026-W45":
            raise fault
        return make(about, span, scope)

    monkeypatch.setattr("ui.reporting.make", trips)
    reports = run.centre.live.reports
    assert reports is not None
    for span in ("2026-W45", "2026-11-10/2026-11-12"):
        reports.ask(span_of(span, ZoneInfo("Asia/Shanghai")), CENTRE, "li", run.clock.time)
    for _ in range(2):
        with contextlib.suppress(KeyError):  # that fails the task, which is told
            run.steps(1)
    run.steps(1)
    assert run.made == ["2026-11-10--2026-11-12"]
    failed = reports.entries()["2026-W45"]
    assert (failed.stage, failed.tries, bool(failed.why)) == (Stage.FAILED, 1, True)


def _away(*_: Any, **__: Any) -> Any:
    from twin.errors import SourceError

    raise SourceError("the store is away")


def test_only_the_newest_are_kept_and_a_part_of_a_week_is_made_anew_when_it_is_over(run: Run) -> None:
    reports, zone = run.centre.live.reports, run.centre.site.timezone
    assert reports is not None
    for day in range(9, 13):
        reports.ask(span_of(f"2026-11-0{day - 8}/2026-11-{day:02d}", ZoneInfo(zone)), CENTRE, "li", run.clock.time)
    reports.ask(span_of("2026-W46", ZoneInfo(zone)), CENTRE, "li", run.clock.time)
    run.steps(6)
    kept = run.made
    assert len(kept) == 3
    assert sorted(path.name for path in reports.folder.iterdir()) == sorted(kept)
    assert reports.entries()["2026-W46"].by == "li"
    run.clock.time = MONDAY
    run.steps(1)
    assert reports.entries()["2026-W46"].by == OURSELVES
    for day in range(20):
        reports.ask(span_of(f"2026-10-{day + 1:02d}/2026-10-{day + 2:02d}", ZoneInfo(zone)), CENTRE, "li", run.clock.time)
    with pytest.raises(Full, match="20 reports wait"):
        reports.ask(span_of("2026-09", ZoneInfo(zone)), CENTRE, "li", run.clock.time)


def test_it_is_told_by_mail_over_tls_and_by_a_signed_webhook(tmp_path: Path, certificate: tuple[Path, Path]) -> None:  # noqa: F811
    import ssl

    from aiosmtpd.controller import Controller

    from ui.faces.notify.signed import key_of, verified

    key, cert = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    box = Mailbox()
    server = Controller(box, hostname="127.0.0.1", port=free_port(), tls_context=context, require_starttls=True)
    server.start()

    def take(one: Seen) -> tuple[int, Any]:
        return 200, {}

    try:
        with receiving(take) as receiver:
            made = Run(centre_in(tmp_path, receiver.url, server.port, cert), MONDAY)
            made.steps(1)
            asyncio.run(_delivered(made))
            posted = _only(receiver)
            made.centre.close()
    finally:
        server.stop()
    mail = box.mails[0]
    assert mail["Subject"] == "c 2026-W46 报告"
    assert "https://twin.example.org/reports?report=2026-W46" in mail.get_body().get_content()  # type: ignore[union-attr]
    assert "PUE" in mail.get_body().get_content()  # type: ignore[union-attr]
    files = [(part.get_filename(), part.get_content_type()) for part in mail.iter_attachments()]
    assert files == [("2026-W46.zh.pdf", "application/pdf")]
    assert next(iter(mail.iter_attachments())).get_content()[:5] == b"%PDF-"
    body = json.loads(posted.headers["raw"])
    assert (body["type"], body["pages"][0]["labels"]["report"]) == ("page.report", "2026-W46")
    now_s = float(posted.headers["webhook-timestamp"])
    assert verified(key_of("a-secret-of-the-test-of-32-bytes"), posted.headers, posted.headers["raw"].encode(), now_s, {})


def test_a_plain_webhook_leads_to_the_page_of_the_report(tmp_path: Path) -> None:
    with receiving(lambda _: (200, {})) as receiver:
        config = centre_in(tmp_path, receiver.url, site=QUICK.replace('"board", "books"', '"books"'))
        oncall = ONCALL.replace('type = "signed"', 'type = "webhook"').replace('secret = "file:secret"\n', "", 1)
        (tmp_path / "oncall.toml").write_text(oncall.format(url=receiver.url, port=9, ca="/none"))
        made = Run(config, MONDAY)
        made.steps(1)
        asyncio.run(_delivered(made))
        body = _only(receiver).body
        made.centre.close()
    assert {alert["generatorURL"] for alert in body["alerts"]} == {"https://twin.example.org/reports?report=2026-W46"}
    assert body["alerts"][0]["annotations"]["report_url"] == "https://twin.example.org/reports?report=2026-W46"
    assert body["externalURL"] == "https://twin.example.org"


async def _delivered(run: Run) -> None:
    await run.deliver()
    await run.centre.delivery.close()


def _only(receiver: Receiver) -> Seen:
    assert len(receiver.seen) == 1
    return receiver.seen[0]


def test_the_api_lists_asks_and_gives_each_file(whole: Run) -> None:
    run = whole
    run.steps(1)

    async def look() -> None:
        transport = httpx.ASGITransport(build_server(run.centre.live), client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as ask:
            listed = (await ask.get("/api/v1/reports")).json()
            one = next(row for row in listed["reports"] if row["id"] == "2026-W46")
            assert one["head"]["facility_kwh"] == pytest.approx(6 * 168)
            assert {"label": "PUE", "en": "1.200", "zh": "1.200"} in one["shown"]
            assert one["stage"] == "made"
            for tongue, named in (("?lang=en", ""), ("?lang=zh", ".zh"), ("", "")):
                answer = await ask.get(f"/api/v1/reports/2026-W46/pdf{tongue}")
                assert answer.headers["content-disposition"].endswith(f'"2026-W46{named}.pdf"'), tongue
            for kind, start in (("html?lang=zh", b"<!DOCTYPE"), ("pdf", b"%PDF-"), ("json", b"{"), ("csv", b"PK"),
                                ("csv?table=days", b"day,")):  # fmt: skip
                answer = await ask.get(f"/api/v1/reports/2026-W46/{kind}")
                assert answer.status_code == 200, kind
                assert answer.content.startswith(start)
                assert "attachment" in answer.headers["content-disposition"]
            for path in ("2026-W46/xlsx", "2026-W46/csv?table=../../secret", "2026-W40/pdf", "..%2Frecords.db/json"):
                assert (await ask.get(f"/api/v1/reports/{path}")).status_code == 404, path
            asked = await ask.post("/api/v1/reports", json={"span": "2026-11-09/2026-11-12", "scope": "hall:h1"})
            assert (asked.status_code, asked.json()["stage"]) == (202, "asked")
            for wrong in ({"span": "2026-W60"}, {"span": "2027-W01"}, {"span": "2026-W46", "scope": "hall:h9"},
                          {"span": "2026-W46", "scope": "moon"}):  # fmt: skip
                assert (await ask.post("/api/v1/reports", json=wrong)).status_code == 422, wrong
            run.steps(1)
            part = (await ask.get("/api/v1/reports", params={"scope": "hall:h1"})).json()["reports"]
            assert [(row["stage"], row["head"]["facility_kwh"]) for row in part] == [("made", pytest.approx(3 * 72))]
            page = await ask.get("/reports?lang=zh")
            assert "报告" in page.text

    asyncio.run(look())


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ('"board", "books"', '"bored"', "no channel 'bored'"),
        ('"board", "books"', '"wakes"', "would wake somebody"),
        ("keep = 3", 'scopes = ["moon:1"]', "hall:NAME"),
        ("keep = 3", "every = ['day']", "every"),
    ],
)
def test_a_wrong_section_is_refused_with_one_sentence(tmp_path: Path, was: str, becomes: str, says: str) -> None:
    config = centre_in(tmp_path, site=SITE.replace(was, becomes))
    with pytest.raises(ConfigError, match=says):
        Centre(load_config(config), VirtualClock(MONDAY))
