"""A real Alertmanager on both ends: its webhook is heard, our pages go into it, and those that come back are known as ours."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from faces_harness import served
from receivers import anything, receiving
from servers import alertmanager

from tests.test_oncall_flow import ONCALL, Run, centre
from ui.benches.demo import free_port

TOKEN = "a-token-of-the-test-and-of-it-alone"
CHANNEL = """
[[channel]]
name = "am"
type = "alertmanager"
url = "{am}"

[[route]]
name = "to-am"
channels = ["am"]
group_by = ["alertname"]
further = true
"""
FOREIGN = {"labels": {"alertname": "PumpFailed", "instance": "c1:9100", "severity": "critical", "breaks": "cooling"}}


def ask(url: str, body: object = None) -> object:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=5) as answer:
        text = answer.read()
    return json.loads(text) if text else None


async def until(run: Run, what: str, known: object, hot: int) -> None:
    """Look at the alerts once more until ``known()`` holds."""
    for _ in range(100):
        await run.at(1, hot=hot)
        if known():  # type: ignore[operator]
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"never: {what}")


@pytest.mark.server
async def test_alertmanager_in_front_and_behind(tmp_path: Path) -> None:
    """Somebody's alert on a pump comes by Alertmanager's webhook and explains our hot GPUs, so that they page nobody; ours on
    the CDU goes into it by its API, and comes back by the webhook without becoming a second one."""
    port, folder = free_port(), tmp_path / "am"
    folder.mkdir()
    hook = f"http://127.0.0.1:{port}/api/v1/oncall/webhook"
    with receiving(anything) as receiver, alertmanager(folder, hook, TOKEN) as am, centre(tmp_path, receiver) as run:
        text = ONCALL.replace("{url}", receiver.url).replace("\n[[route]]", CHANNEL.replace("{am}", am) + "\n[[route]]", 1)
        (tmp_path / "oncall.toml").write_text(text)
        await run.kill()
        with served(run.centre.live, port):
            oncall = run.centre.duties.oncall
            await asyncio.to_thread(ask, f"{am}/api/v2/alerts", [FOREIGN])
            await until(run, "theirs is heard", lambda: any("PumpFailed" in key for key in oncall.others.known), 8)

            def caused() -> list[bool]:
                return ["PumpFailed" in alert.cause for alert in run.centre.live.alerts if alert.rule == "hot"]

            await until(run, "it explains ours", lambda: len(caused()) == 8 and all(caused()), 8)

            run.clock.time = datetime.now(UTC)  # Alertmanager has its own clock
            for _ in range(3):
                await run.at(1, hot=0, flow=1.0)
            await until_in(am, "slow")
            await asyncio.sleep(1.5)  # its group interval: time to send ours back to us
            assert not any(key.startswith("slow") or "slow" in key for key in oncall.others.known)
        await run.close()


async def until_in(am: str, name: str) -> None:
    """Until Alertmanager knows an alert of that name."""
    for _ in range(100):
        found = await asyncio.to_thread(ask, f"{am}/api/v2/alerts")
        if any(one["labels"]["alertname"] == name for one in found):  # type: ignore[attr-defined]
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{name} never came")
