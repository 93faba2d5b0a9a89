"""Alerts that others raise stand in the list that everything reads: page, wall, API, metrics, guard."""

import re
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import receivers
from energy_house import NOW, Physics, a_plan, hall, read
from receivers import receiving
from test_alerts_page import page
from test_oncall_flow import Run, centre, told

from analytics.alerts import Alert, Phase, Severity
from analytics.oncall.others import Others, names_of, other_alerts, other_of
from energy.guard import Limits, guard
from ui.faces.pages.overview import overview_text
from ui.faces.server import build_server
from ui.view import view
from ui.words import words

TOKEN = {"authorization": "Bearer a-token-of-the-test-and-of-it-alone"}
UPS = {
    "labels": {"alertname": "UPSOnBattery", "severity": "critical", "hostname": "c1", "breaks": "power"},
    "annotations": {"summary": "UPS on battery"},
}
NOWHERE = {"labels": {"alertname": "Backup", "severity": "warning"}}


async def asked(run: Run, path: str, body: Any = None) -> httpx.Response:
    shows = TOKEN if run.centre.config.alerts.oncall else {}
    transport = httpx.ASGITransport(build_server(run.centre.live))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=shows) as ask:
        return await (ask.get(path) if body is None else ask.post(path, json=body))


def shown(run: Run) -> dict[str, Any]:
    return overview_text(view(run.centre.live, run.clock.time), words("en"))


@pytest.mark.parametrize("told_to", ["somebody", "nobody"])
async def test_an_alert_from_outside_is_seen_wherever_ours_are(tmp_path: Path, told_to: str) -> None:
    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        if told_to == "nobody":
            (tmp_path / "site.toml").write_text((tmp_path / "site.toml").read_text().replace('oncall = "oncall.toml"\n', ""))
            await run.kill()
        ends = (run.clock.time + timedelta(seconds=60)).isoformat()
        said = await asked(run, "/api/v2/alerts", [UPS | {"endsAt": ends}, NOWHERE])
        assert said.json() == {"taken": 2, "unknown": 1}
        await run.at(1)
        await run.at(1)

        rows = (await asked(run, "/api/v1/alerts?phase=firing")).json()
        assert [(one["rule"], one["kind"], one["asset"], one["severity"], one["origin"]) for one in rows] == [
            ("UPSOnBattery", "cdu", "c1", "critical", "alertmanager"),
            ("Backup", "", "", "warning", "alertmanager"),
        ]
        assert (rows[0]["summary"]["sentence"], rows[0]["value"], rows[0]["limit"]) == (
            "UPS on battery (from alertmanager)",
            None,
            None,
        )
        metrics = (await asked(run, "/metrics")).text
        counts = {severity: re.findall(rf"^icctwin_alerts_{severity}_count\S* (\S+)$", metrics, re.M) for severity in Severity}
        assert counts == {Severity.CRITICAL: ["1.0"], Severity.WARNING: ["1.0"], Severity.INFO: ["0.0"]}
        wall = shown(run)
        assert [wall[f"n.alerts_{one}"]["n"] for one in ("critical", "warning", "info")] == ["1", "1", "0"]
        assert [one["c"][1] for one in wall["l.alerts"]] == [
            "c1: UPS on battery (from alertmanager)",
            "Backup (from alertmanager)",
        ]
        table = page(run, "en")
        assert (table["n.critical"]["n"], table["n.warning"]["n"]) == ("1", "1")
        assert [one["c"][6]["id"] for one in table["l.firing"]] == ["asset=c1", "alertname=Backup"]
        assert told(receiver) == [("/hook", "firing", 1, one) for one in ("UPS on battery", "Backup")] * (told_to == "somebody")

        await run.kill()
        assert [one.rule for one in run.centre.live.alerts] == ["UPSOnBattery", "Backup"], "at once after a start"
        await run.at(60)
        (over, still) = sorted((await asked(run, "/api/v1/alerts")).json(), key=lambda one: one["severity"])
        assert (over["phase"], over["resolved"]) == (
            "resolved",
            run.clock.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        )
        assert still["phase"] == "firing"
        assert shown(run)["n.alerts_critical"]["n"] == "0"
        await run.at(1)
        line = [one for one in (await asked(run, "/api/v1/oncall/timeline?lang=zh")).json() if one["topic"] == "alert"]
        assert [(one["phase"], one["rule"], one["asset"], one["origin"]) for one in reversed(line)] == [
            ("firing", "UPSOnBattery", "c1", "alertmanager"),
            ("firing", "Backup", "", "alertmanager"),
            ("resolved", "UPSOnBattery", "c1", "alertmanager"),
        ], "each once, whoever was killed in between"
        assert line[0]["text"] == "已恢复 UPS on battery（来自 alertmanager）"
        await run.close()


async def test_what_an_alert_from_outside_explains_is_folded_under_it(tmp_path: Path) -> None:
    pump = {"labels": {"alertname": "PumpFailed", "asset": "c1", "severity": "warning", "breaks": "cooling"}}
    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        await asked(run, "/api/v2/alerts", [pump])
        await run.at(1, hot=3)
        await run.at(1, hot=3)
        assert [(one.rule, one.folded, one.urgency) for one in run.centre.live.alerts if not one.cause] == [
            ("PumpFailed", 3, Severity.CRITICAL)
        ]
        (row,) = view(run.centre.live, run.clock.time).alerts
        assert (row.folded, row.origin, row.key) == (3, "alertmanager", run.centre.live.alerts[-1].cause)
        await run.close()


def told_of(**labels: str) -> tuple[Alert, ...]:
    """What somebody says of the hall that the guard's tests have."""
    now_s = NOW.timestamp()
    one = other_of(SITE, names_of(SITE), "alertmanager", {"alertname": "x"} | labels, {}, now_s, float("nan"), now_s)
    return other_alerts(SITE, Others().heard([one], now_s))


SITE = hall()


@pytest.mark.parametrize(
    ("labels", "refused"),
    [
        ({"asset": "c1", "severity": "warning"}, ["alert"]),
        ({"asset": "c1", "severity": "info"}, []),
        ({"severity": "critical"}, []),  # nobody knows where
    ],
)
def test_the_guard_leaves_alone_what_an_alert_from_outside_speaks_of(labels: dict[str, str], refused: list[str]) -> None:
    alerts = told_of(**labels)
    assert [one.phase for one in alerts] == [Phase.FIRING]
    verdict = guard(a_plan(("c1", 31.0), ("c2", 30.5)), SITE, read(SITE, Physics(), 24.0, 30.0), alerts, NOW, Limits(), ())
    assert [one.rule for one in verdict.refusals] == refused


def test_an_alert_of_an_asset_that_was_taken_out_of_the_site_is_still_shown() -> None:
    (alert,) = told_of(asset="c1")
    one = other_of(SITE, {"gone": "gone"}, "webhook:am", {"alertname": "x"}, {}, 0.0, float("nan"), 1.0)
    kept = Others({"k": type(one)(**{name: getattr(one, name) for name in one.__slots__} | {"asset": "gone"})})
    assert [(row.kind, row.asset) for row in other_alerts(SITE, kept)] == [("", "gone")]
    assert alert.kind == "cdu"
