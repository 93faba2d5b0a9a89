"""What ``/alerts`` says: each sentence in the reader's language, each number in its unit."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import receivers
from receivers import receiving
from test_oncall_flow import RULES, Run, centre

from twin.frame import Frame
from ui.faces.pages.alerts import Seen, told
from ui.faces.pages.recent import read_topics
from ui.faces.server import build_server
from ui.faces.shelf import Kept
from ui.oncall.service import ALERT_LOG, INCIDENTS
from ui.oncall.spoken import about
from ui.view import view
from ui.words import words

XID = """
[[rule]]
name = "xid"
kind = "gpu"
metric = "xid_code"
codes = [43]
hold_s = 0
severity = "warning"
summary = "a program on {asset} failed (XID {value:.0f})"
runbook = "look at its log"
"""


def page(run: Run, language: str) -> dict[str, Any]:
    """The page's table."""
    live, now = run.centre.live, run.clock.time
    firing = tuple(one for one in live.alerts if one.phase.value == "firing")
    log = Kept(lambda _live, _now: None, 5.0, 5.0, read_topics(live, now, (ALERT_LOG, INCIDENTS), 1.0, 1000), now)
    seen = Seen(now, firing, 0, run.centre.duties.oncall, log, 0.0)
    return told(seen, view(live, now), words(language))


async def test_a_chinese_page_says_in_chinese_what_began_though_its_limit_is_not_known(tmp_path: Path) -> None:
    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        (tmp_path / "rules.toml").write_text(XID)
        await run.centre._reread(run.centre.duties, run.clock.time)
        site, now = run.centre.site, run.clock.time
        code = np.array([43.0, 43.0, *[0.0] * 6])
        for _ in range(2):
            run.centre.publish([Frame("gpu", now, site.all_rows("gpu"), {"xid_code": code})])
            await run.at(1)
        zh, en = page(run, "zh"), page(run, "en")
        said = ["g0 上的程序出错（XID 43）", "g1 上的程序出错（XID 43）"]
        assert [one["c"][1] for one in zh["l.incidents"]] == said[:1]
        assert sorted({one["c"][1] for one in zh["l.past"]}) == said
        assert en["l.past"][0]["c"][1] == "a program on g0 failed (XID 43)"
        (opened,) = [one["c"] for one in en["l.past"] if one["c"][3] == "opened"]
        assert opened[2] == "g0 +1", "an incident stands beside what it is about, not beside its rule"
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(build_server(run.centre.live)), base_url="http://localhost"
        ) as ask:
            rows = (await ask.get("/api/v1/oncall/timeline?lang=zh")).json()
        assert any("g0 上的程序出错" in str(row) for row in rows)
        assert "a program on" not in " ".join(str(row.get("text")) for row in rows)
        await run.close()


async def test_a_value_and_its_limit_are_said_in_the_unit_of_the_metric(tmp_path: Path) -> None:
    low = (
        XID.replace('"gpu"', '"cdu"')
        .replace("xid_code", "diff_pressure_pa")
        .replace("codes = [43]", "below = 1e5\nclear = 2e5")
    )
    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        (tmp_path / "rules.toml").write_text(RULES + low)
        await run.centre._reread(run.centre.duties, run.clock.time)
        site, now = run.centre.site, run.clock.time
        run.centre.publish([Frame("cdu", now, site.all_rows("cdu"), {"diff_pressure_pa": np.array([36_800.0])})])
        await run.at(1, hot=1, flow=3.25)
        numbers = {tuple(f"{cell['n']} {cell['u']}" for cell in one["c"][3:5]) for one in page(run, "en")["l.firing"]}
        assert numbers == {("90.0 °C", "85.0 °C"), ("3.25 kg/s", "5.00 kg/s"), ("36.8 kPa", "100 kPa")}
        await run.close()


def test_what_a_record_is_about() -> None:
    assert [about(one) for one in ({"asset": "g0"}, {"assets": ["g0"]}, {"assets": ["g0", "g1", "g2"]}, {})] == [
        "g0", "g0", "g0 +2", "–",
    ]  # fmt: skip
