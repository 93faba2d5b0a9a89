"""A compressed day on a real Slurm: jobs of mixed consent, a recorded carbon series, icctwin in auto; both die in between.

The part that acts (``ui.acting`` with its adapter, levers, guard, desk and records) runs as a process of its own, so that it
can be killed at any moment; around it stand a store that serves the recorded series as if each hour took ``SLOT_S`` seconds,
and a clock that is the machine's. What is said of the day comes from Slurm's own log and job records, not from what icctwin
believes.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from energy.guard import Limits
from energy.levers import Lever
from energy.levers.job_shift import JobShift
from energy.levers.job_start import JobStart
from energy.notes import TOPIC
from energy.plan import Mode
from ingest.queues import slurm as slurm_queue
from ingest.registry import Opened
from ingest.stores.records import open_records
from twin.errors import SourceError
from twin.frame import Floats, Frame, Ints, Origin, frame_of
from twin.load import Row, build_site
from twin.ports import How, Series
from twin.site import Site
from twin.state import State
from ui.acting import Acting, Slots
from ui.benches.doomed import Doomed
from ui.benches.slurm_jobs import DAY_SLOTS, GRACE_S, SLOT_S, Wanted, ran_for_s
from ui.benches.slurm_server import GPUS, SlurmServer
from ui.tasks import RealClock
from ui.view import Live

PAST_SLOTS = 24 * 70
TICK_S = 0.4
START_SLOTS = 2  # until the day begins, once the acting process is ready
LEAST_RUN_SLOTS, RESTART_SLOTS = 1.5, 1.0  # of a job before it may be paused, and what it may lose by that
METRIC = "carbon_gco2_per_kwh"
QUEUE = "slurm"


@dataclass(frozen=True, slots=True)
class Setting:
    """What the acting process is told. ``carbon``: the series from ``PAST_SLOTS`` before ``begin_s`` on."""

    folder: str
    nodes: int
    begin_s: float
    carbon: Sequence[float]
    options: dict[str, Any]


def day_site(nodes: int) -> Site:
    """Halls, nodes and GPUs of the cluster."""
    rows = [{"id": "hall", "kind": "hall"}, {"id": "rack", "kind": "rack", "parent": "hall"}]
    rows += [{"id": QUEUE, "kind": "queue"}, {"id": "grid", "kind": "grid"}]
    for i in range(1, nodes + 1):
        rows.append({"id": f"gpu{i:02d}", "kind": "node", "parent": "rack"})
        rows += [{"id": f"gpu{i:02d}/{g}", "kind": "gpu", "parent": f"gpu{i:02d}", "index": str(g)} for g in range(GPUS)]
    return build_site("day", "UTC", [Row("day", row) for row in rows])


class _Recorded:
    """A store that knows the carbon series and nothing else. See ``twin.ports.Store``."""

    def __init__(self, setting: Setting) -> None:
        self._first_s = setting.begin_s - PAST_SLOTS * SLOT_S
        self._values = np.array(setting.carbon)

    def at(self, time_s: Floats) -> Floats:
        """The value of the slot that each time lies in; NaN outside."""
        slot = np.floor((time_s - self._first_s) / SLOT_S + 1e-6).astype(np.int64)
        inside = (slot >= 0) & (slot < len(self._values))
        return np.where(inside, self._values[np.clip(slot, 0, len(self._values) - 1)], np.nan)

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
        """The series in steps of a slot."""
        time_s = np.arange(start.timestamp(), end.timestamp() - 1e-6, SLOT_S)
        return Series(time_s, np.zeros(1, dtype=np.int32), {METRIC: self.at(time_s)[:, None]})

    def append(self, frames: Sequence[Frame]) -> None:
        """Nothing is kept."""

    def latest(self, since: datetime) -> Sequence[Frame]:
        """Nothing was."""
        return ()

    def maintain(self, now: datetime) -> None:
        """Nothing to do."""

    def size_bytes(self) -> int:
        """None."""
        return 0

    def close(self) -> None:
        """Nothing to close."""


async def act_on(setting: Setting) -> None:
    """Read, plan, act, follow, until told to stop: the life of the acting process."""
    site, clock = day_site(setting.nodes), RealClock()
    options = slurm_queue.Options.model_validate(setting.options, context={"folder": Path(setting.folder)})
    opened: Opened = slurm_queue.build("slurm", options, site)
    records: Any = Doomed(open_records(Path(setting.folder) / "records.db"), Path(setting.folder))
    state, store = State(site), _Recorded(setting)
    modes = {"job_start": Mode.AUTO, "job_shift": Mode.AUTO}
    live = Live(site, state, store, records, clock, clock.now(), modes=modes)
    limits = Limits(order_dwell_s=SLOT_S, orders_per_hour=100_000, longest_wait_s=DAY_SLOTS * SLOT_S)
    slots = Slots(SLOT_S, DAY_SLOTS, PAST_SLOTS, DAY_SLOTS * SLOT_S)
    wait_s = DAY_SLOTS * SLOT_S
    levers: dict[str, Lever] = {
        "job_start": JobStart(wait_s, 2 * GRACE_S),
        "job_shift": JobShift(wait_s, LEAST_RUN_SLOTS * SLOT_S, RESTART_SLOTS * SLOT_S),
    }
    acting = Acting(live, lambda frames: None, opened.queues, {}, Path(setting.folder), METRIC, limits, slots, levers)
    (queue,) = opened.queues
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    while not over.is_set():
        now = clock.now()
        try:
            jobs, cluster = await queue.jobs(now), await queue.cluster(now)  # type: ignore[attr-defined]
            acting.seen(queue.name, jobs, cluster)
            state.absorb(frame_of("queue", now, site.row(QUEUE), waiting_count=float(len(jobs))), now)
            state.absorb(frame_of("grid", now, 0, carbon_gco2_per_kwh=float(store.at(np.array([now.timestamp()]))[0])), now)
            await acting.acts(now)
            await acting.plans(clock.now())
        except SourceError as error:
            sys.stderr.write(f"{error}\n")  # slurmctld is away
        await asyncio.sleep(TICK_S)
    await opened.sources[0].close()
    records.close()


@dataclass
class Day:
    """What the day was: jobs as Slurm has them at its end, what was killed, the audit, Slurm's own log; ``ran_s``: what each
    job that saves itself says that it has run (NaN: of another kind); ``submitted_s``: when each was really submitted."""

    setting: Setting
    wanted: list[Wanted]
    ids: list[str]
    jobs: list[dict[str, Any]]
    audit: list[dict[str, Any]]
    log: str
    ran_s: list[float]
    killed: int
    killed_mid_write: int
    controller_restarts: int
    took_s: float
    submitted_s: list[float]

    def carbon_at(self, time_s: Floats) -> Floats:
        """The series as the day had it."""
        return _Recorded(self.setting).at(time_s)


class DayRun:
    """Runs one."""

    def __init__(self, server: SlurmServer, folder: Path, carbon: Sequence[float], wanted: list[Wanted]) -> None:
        self._server, self._folder, self._wanted, self._carbon = server, folder, wanted, list(carbon)
        self.setting = Setting(str(folder), server.nodes, 0.0, self._carbon, {})
        self._nursery: subprocess.Popen[bytes] | None = None
        self._pid, self._doomed = folder / "acting.pid", ""
        self._ids: list[str] = []
        self._submitted_s: list[float] = []
        self._taken_out: set[int] = set()

    def run(self, kills: int, restarts: int) -> Day:
        """The whole day and its evening; ``kills``: of the acting process, ``restarts``: of slurmctld, spread over it."""
        began_s = time.monotonic()
        span_s = DAY_SLOTS * SLOT_S
        kill_at = [(i + 1.0) * 0.85 * DAY_SLOTS / kills for i in range(kills)]
        restart_at = [(i + 0.8) * 0.7 * DAY_SLOTS / max(restarts, 1) for i in range(restarts)]
        killed = mid = 0
        away_until = 0.0
        try:
            self._start()
            while (slot := self._slot()) < 1.1 * DAY_SLOTS or ((kill_at or self._open()) and slot < 2 * DAY_SLOTS):
                if restart_at and slot >= restart_at[0] and not away_until:
                    restart_at.pop(0)
                    self._server.stop_controller()
                    away_until = time.monotonic() + 1.0
                if away_until and time.monotonic() >= away_until:
                    away_until = 0.0
                    self._server.start_controller()
                if not away_until:
                    self._submit(slot)
                if kill_at and slot >= kill_at[0] and self._gone(killed, slot >= kill_at[0] + 1.8):
                    kill_at.pop(0)
                    killed += 1
                time.sleep(0.1)
            mid = len(list(self._folder.glob("mid-*")))
            self._wait_closed(span_s)
        finally:
            self._stop()
        records = open_records(self._folder / "records.db")
        audit = [{"time_s": t.timestamp(), **r} for _, t, r in records.read(TOPIC, limit=20_000, newest=True)]
        records.close()
        log = (self._server.folder / "slurmctld.log").read_text(errors="replace")
        took_s = time.monotonic() - began_s
        jobs = [one for one in self._jobs() if f"{one['job_id']}" in set(self._ids)]
        ran_s = [ran_for_s(self._folder, i) for i in range(len(self._ids))]
        killed_ = (killed, mid, restarts)
        return Day(self.setting, self._wanted, self._ids, jobs, audit, log, ran_s, *killed_, took_s, self._submitted_s)

    def _slot(self) -> float:
        return (RealClock().now().timestamp() - self.setting.begin_s) / SLOT_S

    def _submit(self, slot: float) -> None:
        """Those whose time has come; and the owners who take themselves out."""
        while len(self._ids) < len(self._wanted) and self._wanted[len(self._ids)].at <= slot:
            one = self._wanted[len(self._ids)]
            words = one.words(self.setting.begin_s, self._folder, len(self._ids))
            try:
                self._ids.append(self._server.run("sbatch", "--parsable", *words))
                self._submitted_s.append(RealClock().now().timestamp())
            except subprocess.CalledProcessError:
                return  # slurmctld is away: again in a moment
        for i, job in enumerate(self._ids):
            if self._wanted[i].kind == "out" and i not in self._taken_out and self._wanted[i].at + 2.5 <= slot:
                try:
                    self._server.run("scontrol", "update", f"JobId={job}", "Comment=icctwin:off")
                except subprocess.CalledProcessError:
                    continue
                self._taken_out.add(i)

    def _jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self._server.run("squeue", "--json"))["jobs"]
        return found

    def _open(self) -> bool:
        try:
            return bool(self._server.run("squeue", "-h", "-t", "pending,running,completing"))
        except subprocess.CalledProcessError:
            return True

    def _wait_closed(self, seconds: float) -> None:
        """Until the acting process has nothing more in force: the last words at jobs are cleared away."""
        over_s = time.monotonic() + min(seconds, 12.0)
        while time.monotonic() < over_s and any("[icctwin:" in str(one.get("comment")) for one in self._jobs() if _alive(one)):
            time.sleep(0.2)

    def _start(self) -> None:
        """The nursery, with its first child."""
        here = Path(__file__).resolve().parents[2]
        command = [sys.executable, "-m", "ui.benches.slurm_day", str(self._folder / "setting.json")]
        with (self._folder / "acting.log").open("ab") as log:
            self._nursery = subprocess.Popen(command, cwd=here, stdout=log, stderr=log)  # noqa: S603 - ourselves
        self._await(self._folder / "ready")
        # the day begins when it is ready, however busy the machine is
        begin_s = (RealClock().now().timestamp() // SLOT_S + START_SLOTS) * SLOT_S
        said = {k: str(v) if isinstance(v, Path) else v for k, v in self._server.options.items()}
        options = {"queue": QUEUE, "every_s": 1.0, **said}
        self.setting = Setting(str(self._folder), self._server.nodes, begin_s, self._carbon, options)
        whole = self._folder / "new.json"
        whole.write_text(json.dumps(asdict(self.setting)))
        whole.replace(self._folder / "setting.json")
        self._await(self._pid)

    def _await(self, path: Path) -> None:
        over_s = time.monotonic() + 120
        while not path.exists():
            if time.monotonic() > over_s or self._nursery is None or self._nursery.poll() is not None:
                raise SourceError(f"the acting process does not start; see {self._folder / 'acting.log'}")
            time.sleep(0.05)

    def _gone(self, number: int, late: bool) -> bool:
        """Whether the acting process, told to die within its next write, has died; where no write comes it is killed as it
        stands. The nursery starts the next."""
        now, told = self._pid.read_text(), self._folder / "die"
        if not self._doomed:
            self._doomed = now
            told.write_text(str(0.002 + 0.004 * (number % 4)))
        elif late and now == self._doomed:
            told.unlink(missing_ok=True)
            with suppress(ProcessLookupError):
                os.kill(int(now), signal.SIGKILL)
        elif now != self._doomed:
            self._doomed = ""
            return True
        return False

    def _stop(self) -> None:
        if self._nursery is not None and self._nursery.poll() is None:
            self._nursery.terminate()
            try:
                self._nursery.wait(10)
            except subprocess.TimeoutExpired:
                self._nursery.kill()
                self._nursery.wait()


def _alive(job: dict[str, Any]) -> bool:
    return str(job["job_state"]) in ("PENDING", "RUNNING")


def nursery(path: Path) -> None:
    """Has all modules at hand and starts the acting process anew whenever it ends, as a service manager would; a fresh
    interpreter would take longer than an hour of this day."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    path.with_name("ready").touch()
    while not path.exists() and not ended:
        time.sleep(0.02)
    setting = Setting(**json.loads(path.read_text()))
    while not ended:
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            asyncio.run(act_on(setting))
            os._exit(0)
        whole = path.with_name("new.pid")
        whole.write_text(str(pid))
        whole.replace(path.with_name("acting.pid"))
        while True:
            found, _ = os.waitpid(pid, os.WNOHANG)
            if found:
                break
            if ended:
                os.kill(pid, signal.SIGTERM)
                os.waitpid(pid, 0)
                break
            time.sleep(0.02)


if __name__ == "__main__":
    nursery(Path(sys.argv[1]))
