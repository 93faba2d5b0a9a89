"""A whole small centre for the wall's pages: the simulated plant's readings, what the twin makes of them, some history."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import numpy as np
from faces_harness import NOW, DayStore, Hands, alarm

from analytics.accuracy import Accuracy, LeadAccuracy
from analytics.cause import Explanation
from analytics.finding import Finding, Sort, record_of
from analytics.forecast import Forecast
from analytics.score import Score
from energy.plan import Effect, Mode, Plan, Verdict
from ingest.events import Detector
from ingest.registry import Opened
from ingest.sources.simulated import Options, build, demo_rows
from twin.estimate import estimate
from twin.event import TOPIC as EVENTS
from twin.event import Event
from twin.frame import Frame, frame_of
from twin.load import Row, build_site
from twin.message import Message
from twin.params import Params
from twin.ports import Action
from twin.site import Site
from twin.state import State
from ui.app import TASK_NAMES
from ui.view import Live

T = TypeVar("T")
MOODS = ("empty", "normal", "stale", "alarming")
_BEGAN = NOW - timedelta(seconds=62)


class Notes:
    """Records in memory."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, datetime, dict[str, Any]]] = []

    def append(self, topic: str, time: datetime, record: Mapping[str, Any]) -> int:
        self.rows.append((topic, time, dict(record)))
        return len(self.rows)

    def append_all(self, topic: str, records: Sequence[tuple[datetime, Mapping[str, Any]]]) -> None:
        for time, record in records:
            self.append(topic, time, record)

    def append_next(self, topic: str, time: datetime, make: Callable[[Any], Mapping[str, Any]]) -> int:
        found = self.read(topic, limit=1, newest=True)
        return self.append(topic, time, make(found[-1][2] if found else None))

    def read(
        self,
        topic: str,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 1000,
        newest: bool = False,
        after: int = 0,
    ) -> Sequence[tuple[int, datetime, dict[str, Any]]]:
        found = [(i, time, record) for i, (of, time, record) in enumerate(self.rows, 1) if of == topic]
        found = [
            one for one in found if (start is None or one[1] >= start) and (end is None or one[1] < end) and one[0] > after
        ]
        return found[-limit:] if newest else found[:limit]

    def trim(self, topic: str, keep: int) -> None:
        """Nothing is dropped."""


def plant_site(gpus: int = 512) -> Site:
    """The demo centre with its sources, tasks and this process."""
    assets, links = demo_rows(gpus)
    more = [("sim-" + name, "source") for name in ("gpu", "facility", "network", "queue", "outside")]
    more += [(f"task/{name}", "task") for name in TASK_NAMES] + [("icctwin", "process")]
    assets = [*assets, *(Row("t", {"id": id_, "kind": kind}) for id_, kind in more)]
    return build_site("Yangtze AI Centre", "Asia/Shanghai", assets, links)


def plant_live(mood: str, gpus: int = 256, running: bool = True) -> Live:
    """The centre in one of ``MOODS``."""
    site, clock = plant_site(gpus), Hands(NOW, running=running)
    live = Live(site, State(site), DayStore(), Notes(), clock, NOW - timedelta(hours=30), demo=True)
    if mood == "empty":
        return live
    faults = ()
    if mood == "alarming":
        node = site.ids_of("node")[3]
        faults = (
            {"kind": "gpu_xid", "after_s": 5, "for_s": 3600},
            {"kind": "node_down", "after_s": 5, "for_s": 3600, "asset": node},
            {"kind": "link_flap", "after_s": 5, "for_s": 3600},
            {"kind": "leak", "after_s": 5, "for_s": 3600},
        )
    opened = build("sim", Options.model_validate({"faults": list(faults)}), site)
    _breathe(live, opened)
    _think(live)
    if mood == "alarming":
        alarm(live)
        live.alerts = tuple(replace(one, asset=_near(site, one.asset)) for one in live.alerts)
        _find(live)
    if mood == "stale":
        clock.skip(4000)
    return live


def _near(site: Site, asset: str) -> str:
    """An asset of this site in the place of one of another."""
    if asset in site.position:
        return asset
    kind = "source" if asset.startswith("src") else "ups" if asset.startswith("UPS") else "gpu" if "-g" in asset else "rack"
    return site.ids_of(kind)[0]


def done(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives that waits for nothing: the simulated centre's never do, and a browser's loop may be running."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        made: T = end.value
        return made
    raise AssertionError("it waits for something")


def _breathe(live: Live, opened: Opened) -> None:
    """A minute of the plant, its jobs, and the health of what read it."""
    detector = Detector(live.site)

    def take(frame: Frame) -> None:
        live.state.absorb(frame, NOW)
        for event in detector.see(frame, NOW):
            live.records.append(EVENTS, event.time, event.record())

    for second in (0, 10, 61):
        for one in opened.sources:
            for frame in done(one.poll(_BEGAN + timedelta(seconds=second))):
                take(frame)
    live.jobs = done(opened.queues[0].jobs(NOW))
    site = live.site
    health = {"up_flag": 1.0, "poll_s": 0.012, "samples_count": 5e6, "errors_count": 0.0, "unmapped_count": 0.0, "lag_s": 0.4}
    task = {"duration_s": 0.02, "runs_count": 900, "errors_count": 0, "missed_count": 0, "overlaps_count": 0, "failing_flag": 0}
    own = {"cpu_frac": 0.31, "rss_bytes": 4.1e8, "store_bytes": 9e8, "spool_waiting_count": 0, "spool_dropped_count": 0}
    for kind, values in (("source", health), ("task", task), ("process", own)):
        take(Frame(kind, NOW, site.all_rows(kind), {name: np.full(site.count(kind), float(v)) for name, v in values.items()}))
    estimated = estimate(site, live.state, Params(), NOW)
    for frame in estimated:
        live.state.absorb(frame, NOW)
    for code, hours in (("xid/31", 3), ("xid/79", 7), ("ecc/uncorrected", 9), ("link/down", 12)):
        asset = site.ids_of("port" if code.startswith("link") else "gpu")[5]
        said = "XID 31: GPU memory page fault; restart the application; it points at the program first"
        event = Event(NOW - timedelta(hours=hours), asset, code, said if "xid" in code else "The link went down", "sim-gpu")
        live.records.append(EVENTS, event.time, event.record())


def _think(live: Live) -> None:
    """Forecasts, how they came, plans, and what was done."""
    now = live.clock.now()
    time_s = now.timestamp() // 3600 * 3600 + 3600 * np.arange(1, 73)
    it_w = float(live.state.newest("site", "it_power_w").value[0])
    it_w = it_w if np.isfinite(it_w) else 5e5
    wave = 1 + 0.12 * np.sin(2 * np.pi * time_s / 86400)
    width = 0.01 + 0.06 * np.sqrt(np.arange(72) / 72)
    issued, score = now - timedelta(minutes=12), Score("daily-harmonics", 0.71, 1.0, 0.62, 0.81, 20)
    made = []
    for kind, name, level in (
        ("site", "it_power_w", it_w),
        ("grid", "carbon_gco2_per_kwh", 420.0),
        ("grid", "price_per_mwh", 480.0),
    ):
        p50 = level * wave
        made.append(Forecast(kind, 0, name, issued, time_s, p50 * (1 - width), p50, p50 * (1 + width), score))
    live.forecasts = tuple(made)
    leads = tuple(
        LeadAccuracy(i * 21600.0, (i + 1) * 21600.0, 200, 0.6 + 0.1 * i, 0.5 + 0.1 * i, 0.82 - 0.01 * i) for i in range(4)
    )
    live.accuracy = {("site", 0, "it_power_w"): Accuracy(leads, 800, 300, 0.7, 0.62, 0.8, 0.1)}
    cdu = live.site.ids_of("cdu")[0]
    action = Action(cdu, "supply_temp_setpoint_c", 34.0, now + timedelta(hours=2), "k")
    reason = Message("Raise supply to {value:.0f} °C: chips stay {margin:.0f} K below their limit", {"value": 34, "margin": 11})
    effect = Effect(-14e3, -19e3, -9.5e3, 7200)
    begun, over = now - timedelta(minutes=3), now + timedelta(minutes=27)
    plan = Plan("raise-1", "supply_temperature", (action,), reason, effect, begun, over)
    live.plans, live.modes = ((plan, Verdict("raise-1", ())),), {"supply_temperature": Mode.ADVISE}


def _find(live: Live) -> None:
    """A finding and a cause."""
    now, rack = live.clock.now(), live.site.ids_of("rack")[0]
    finding = Finding(
        Sort.ANOMALY, "residual", "rack", rack, "power_w", 5.2, 0.83, now - timedelta(minutes=14), now,
        Message("{asset} returns too warm for its power", {"asset": rack}), (), Message("Look at its valve"), Message("A walk"),
    )  # fmt: skip
    live.findings = (finding,)
    live.records.append("finding", now, {"phase": "began", **record_of(finding)})
    live.causes = (
        Explanation(
            asset=rack, kind="rack", score=3.0, since=now, explains=(finding.key,), paths={finding.key: (rack,)}, at_risk=(),
            at_risk_count=0, sensor=False, rival_of="", summary=Message("{asset} itself", {"asset": rack}),
        ),
    )  # fmt: skip


def site_frame(live: Live, **values: float) -> None:
    """One reading of the site."""
    live.state.absorb(frame_of("site", live.clock.now(), 0, **values), live.clock.now())
