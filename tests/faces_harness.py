"""A small centre for the faces: a site, a clock that a test moves, made-up values, a store with a day in it, a real server."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import uvicorn

from analytics.alerts import Alert, Phase, Severity
from analytics.forecast import Forecast, Score
from energy.plan import Effect, Mode, Plan, Refusal, Verdict
from twin.frame import Floats, Frame, Ints, Origin, frame_of
from twin.job import Jobs, JobState
from twin.load import Row, build_site
from twin.message import Message
from twin.ports import Action, How, Series
from twin.site import Site
from twin.state import State
from ui.benches.demo import free_port
from ui.benches.wall_process import NoRecords
from ui.faces.server import build_server
from ui.view import Live

NOW = datetime(2026, 3, 10, 6, 30, tzinfo=UTC)  # 14:30 in Shanghai


class Hands:
    """A clock that stands where a test puts it, or runs on from there."""

    def __init__(self, time_: datetime = NOW, running: bool = False) -> None:
        self._at, self._since, self._running = time_, time.monotonic(), running

    def now(self) -> datetime:
        return self._at + timedelta(seconds=time.monotonic() - self._since if self._running else 0.0)

    def skip(self, seconds: float) -> None:
        self._at += timedelta(seconds=seconds)


class DayStore:
    """Implements the store's port over a made-up day: IT power swings around ``mean_w``."""

    def __init__(self, mean_w: float = 8.4e6) -> None:
        self.mean_w = mean_w
        self.asked: list[tuple[Any, ...]] = []
        self.broken = False

    def append(self, frames: Sequence[Frame]) -> None:
        raise AssertionError("faces write nothing")

    def series(
        self,
        kind: str,
        metrics: Sequence[str],
        start: datetime,
        end: datetime,
        step_s: float | None = None,
        how: How = How.MEAN,
        rows: Ints | None = None,
        origin: Origin = Origin.MEASURED,
        band: str = "",
    ) -> Series:
        assert step_s
        self.asked.append((kind, tuple(metrics), start, end, step_s))
        first = np.ceil(start.timestamp() / step_s) * step_s
        time_s = np.arange(first, end.timestamp(), step_s)
        wave = self.mean_w * (1 + 0.12 * np.sin(2 * np.pi * time_s / 86400) + 0.02 * np.sin(time_s / 700))
        if len(wave):
            wave *= self.mean_w / wave[-1]  # so that it ends at what is read now
        n = 1 if rows is None else len(rows)
        shape: Mapping[str, Floats] = {
            "it_power_w": wave,
            "facility_power_w": wave * 1.15,  # a PUE of 1.15
            "carbon_gco2_per_kwh": np.full(len(wave), 412.0),
            "price_per_mwh": np.full(len(wave), 438.5),
        }
        values = {name: np.repeat(shape.get(name, wave)[:, None], n, axis=1) for name in metrics}
        return Series(time_s, np.arange(n, dtype=np.int32) if rows is None else rows, values)

    def latest(self, since: datetime) -> Sequence[Frame]:
        return ()

    def maintain(self, now: datetime) -> None:
        return None

    def size_bytes(self) -> int:
        if self.broken:
            raise OSError("disk gone")
        return 1

    def close(self) -> None:
        return None


def small_site(racks: int = 16, nodes: int = 2, gpus: int = 8, sources: int = 4, services: int = 0) -> Site:
    """Racks in rows of 16 with everything that the wall shows around them; ``services``: nodes without GPUs in the first."""
    rows: list[dict[str, Any]] = [{"id": "hall-1", "kind": "hall"}]
    per_row = 16
    for r in range(racks):
        line, place = divmod(r, per_row)
        rack = {"id": f"R{line + 1:02d}-{place + 1:02d}", "kind": "rack", "parent": "hall-1", "rated_w": 72000}
        rows.append(rack | {"x_m": place * 0.75 + (place // 8) * 1.5, "y_m": line * 2.4 + (line % 2) * -0.5})
        for n in range(nodes):
            node = f"{rack['id']}-n{n}"
            rows.append({"id": node, "kind": "node", "parent": rack["id"]})
            rows += [{"id": f"{node}-g{g}", "kind": "gpu", "parent": node, "index": g} for g in range(gpus)]
    rows += [{"id": f"svc-{i}", "kind": "node", "parent": "R01-01"} for i in range(services, 0, -1)]
    rows += [{"id": f"UPS-{i}", "kind": "ups", "parent": "hall-1"} for i in (1, 2)]
    rows += [{"id": name, "kind": kind} for name, kind in (("T1", "transformer"), ("grid", "grid"), ("weather", "weather"))]
    names = ["bmc", "dcgm", "fabric", "plant", "pdu", "slurm", "weather-api", "grid-api"]
    rows += [{"id": f"src-{name}", "kind": "source"} for name in names[:sources]]
    rows += [{"id": "slurm", "kind": "queue"}, {"id": "estimate", "kind": "task"}, {"id": "forecast", "kind": "task"}]
    return build_site(
        "Yangtze AI Centre", "Asia/Shanghai", [Row(f"t:{i}", {k: str(v) for k, v in r.items()}) for i, r in enumerate(rows)]
    )


def live_of(site: Site, clock: Hands, **more: Any) -> Live:
    """Nothing read yet."""
    return Live(site, State(site), DayStore(), NoRecords(), clock, clock.now() - timedelta(hours=30), **more)


def feed(
    live: Live, it_w: float = 8.4e6, seed: int = 1, hot: bool = False, skip_sources: Sequence[str] = (), skip: bool = False
) -> None:
    """A second's readings, all of them; with ``skip`` nothing but sources; ``it_w`` is IT power in W."""
    site, now, rng = live.site, live.clock.now(), np.random.default_rng(seed)

    def take(kind: str, origin: Origin = Origin.MEASURED, **columns: Any) -> None:
        n = site.count(kind)
        values = {k: np.broadcast_to(np.asarray(v, dtype=float), (n,)).copy() for k, v in columns.items()}
        live.state.absorb(Frame(kind, now, site.all_rows(kind), values, origin), now)

    ids = site.ids_of("source")
    rows = np.array([i for i, name in enumerate(ids) if name not in skip_sources], dtype=np.int32)
    health = {"up_flag": 1.0, "poll_s": 0.012, "samples_count": 5e6, "errors_count": 0.0, "unmapped_count": 0.0}
    live.state.absorb(Frame("source", now, rows, {k: np.full(len(rows), v) for k, v in health.items()}), now)
    take("task", duration_s=0.02, runs_count=900, errors_count=0, missed_count=0, overlaps_count=0, failing_flag=0)
    if skip:
        return
    racks, gpus = site.count("rack"), site.count("gpu")
    base = np.clip(62 + 7 * np.sin(np.arange(racks) / 5) + rng.normal(0, 1.5, racks), 30, 95)
    inside = site.within("gpu", "rack")
    temp = base[inside] + rng.normal(0, 1.0, gpus)
    xid = np.zeros(gpus)
    if hot:
        temp[inside == 3] += 24
        xid[:5] = 79
    take("gpu", temp_c=temp, power_w=rng.normal(620, 30, gpus), util_frac=rng.uniform(0.6, 1, gpus), xid_code=xid)
    power = it_w / max(racks, 1) * rng.uniform(0.92, 1.04, racks)
    take("rack", power_w=power, supply_temp_c=rng.normal(32, 0.3, racks), return_temp_c=rng.normal(41, 0.8, racks))
    take("site", it_power_w=it_w, facility_power_w=it_w * 1.143, cooling_power_w=it_w * 0.092, pue_ratio=1.143)
    take("site", loss_power_w=it_w * 0.051)
    expected = {"it_power_w": it_w * 0.995, "facility_power_w": it_w * 1.139, "cooling_power_w": it_w * 0.094}
    take("site", Origin.MODELLED, **expected, loss_power_w=it_w * 0.05, pue_ratio=1.1447)
    take("ups", power_w=it_w * 1.04 / 2, loss_w=it_w * 0.03 / 2)
    take("transformer", Origin.MODELLED, power_w=it_w * 1.14, loss_w=it_w * 0.011)
    take("grid", carbon_gco2_per_kwh=412, price_per_mwh=438.5)
    take("weather", dry_bulb_c=24.6, wet_bulb_c=19.3, humidity_frac=0.61)
    take("queue", running_count=131, waiting_count=27, gpus_allocated_count=gpus * 0.92 // 1, gpus_waiting_count=640)


def feed_services(live: Live, **more: float) -> None:
    """Readings of the nodes without GPUs, alike but for the CPU; ``more`` replaces some."""
    site, now = live.site, live.clock.now()
    rows = np.array([site.row(name) for name in site.ids_of("node") if name.startswith("svc-")], dtype=np.int32)
    usual = {"mem_used_bytes": 12.4e9, "mem_total_bytes": 67.3e9, "load1_ratio": 1.25, "net_rx_bps": 3.4e6, "net_tx_bps": 8.1e5}
    columns = {name: np.full(len(rows), value) for name, value in (usual | more).items()}
    cpu = {"cpu_util_frac": np.arange(len(rows), 0, -1) / 10}  # svc-1 stands last and has 10 %
    live.state.absorb(Frame("node", now, rows, cpu | columns), now)


def add_work(live: Live) -> None:
    """Jobs, a forecast and a plan."""
    now = live.clock.now()
    names = [
        "llama-405b-sft",
        "moe-pretrain-a12",
        "vision-tower",
        "qwen-rlhf",
        "eval-sweep",
        "protein-fold",
        "dit-video",
        "tts",
    ]
    sizes = np.array([2048, 1536, 1024, 768, 512, 256, 128, 64] * 2, dtype=np.int32)
    sizes[8:] //= 8
    n = len(sizes)
    start = now.timestamp() - np.linspace(4e5, 900, n)
    state = np.full(n, JobState.RUNNING, dtype=np.uint8)
    nan, none = np.full(n, np.nan), np.empty(0, dtype=np.int32)
    users = ["wang.lei", "chen.y", "li.na", "zhao.m"] * 4
    ids = [str(48210 + i) for i in range(n)]
    live.jobs = Jobs(
        ids, names * 2, users, ["main"] * n, state, sizes, start - 600, start, nan, nan, nan, np.zeros(n, np.uint8), none, none
    )
    time_s = now.timestamp() // 900 * 900 + 900 * np.arange(1, 97)
    p50 = 8.2e6 * (1 + 0.12 * np.sin(2 * np.pi * time_s / 86400))
    width = 1e5 + 5e5 * np.sqrt(np.arange(96) / 96)
    score = Score("daily-harmonics", 0.71, 1.0, 0.62, 0.81, 20)
    issued = now - timedelta(minutes=12)
    live.forecasts = (Forecast("site", 0, "it_power_w", issued, time_s, p50 - width, p50, p50 + width, score),)
    action = Action("cdu", "supply_temp_setpoint_c", 34.0, now + timedelta(hours=2), "k")
    plan = Plan(
        "raise-1",
        "supply_temperature",
        (action,),
        Message("Raise supply to {value:.0f} °C: chips stay {margin:.0f} K below their limit", {"value": 34, "margin": 11}),
        Effect(-142e3, -190e3, -95e3, 7200),
        now - timedelta(minutes=3),
        now + timedelta(minutes=27),
    )
    live.plans, live.modes = ((plan, Verdict("raise-1", ())),), {"supply_temperature": Mode.ADVISE}


def alarm(live: Live) -> None:
    """Alerts of every severity, a refused plan, a notice."""
    now = live.clock.now()

    def one(rule: str, asset: str, severity: Severity, text: str, minutes: float, **params: float) -> Alert:
        since = now - timedelta(minutes=minutes)
        said = Message(text, params)
        return Alert(rule, "rack", asset, "m", severity, Phase.FIRING, 1, 1, said, "", since, since, None)

    live.alerts = (
        one("gpu-hot", "R01-04", Severity.CRITICAL, "GPU at {temp:.0f} °C, limit {limit:.0f} °C", 4, temp=88, limit=85),
        one("xid", "R01-01-n0-g3", Severity.CRITICAL, "XID 79: the GPU fell off the bus", 11),
        one("source", "src-fabric", Severity.WARNING, "No reading for 5 min", 6),
        one("flow", "R01-09", Severity.WARNING, "Flow {flow:.2f} kg/s is below {limit:.2f} kg/s", 48, flow=0.61, limit=0.8),
        one("residual", "UPS-2", Severity.WARNING, "Measured power is 7 % above the model", 190),
        one("peak", "site", Severity.INFO, "Forecast peak above contract at 18:30", 75),
    )
    plan, _ = live.plans[0]
    why = Refusal("alerts", Message("a critical alert is firing on {asset}", {"asset": "R01-04"}))
    live.plans = ((plan, Verdict(plan.key, (why,))),)
    live.notices = (Message("the configuration was changed and refused; the old one is still in use"),)


@contextmanager
def served(live: Live, port: int = 0) -> Iterator[str]:
    """The faces on a loopback port, in a thread, until left: as dead then as after a kill."""
    port = port or free_port()
    app = build_server(live)
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the server did not start")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


@contextmanager
def feeding(live: Live, **how: Any) -> Iterator[None]:
    """New readings every 0.2 s until left; IT power grows by 10 kW a time."""
    stop = threading.Event()

    def run() -> None:
        it_w, times = 8.4e6, 0
        while not stop.wait(0.2):
            times += 1
            feed(live, it_w + 1e4 * times, seed=times, **how)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def modelled_pue(live: Live, pue: float) -> None:
    """Only physics knows the PUE."""
    now = live.clock.now()
    live.state.absorb(frame_of("site", now, 0, Origin.MODELLED, pue_ratio=pue), now)
