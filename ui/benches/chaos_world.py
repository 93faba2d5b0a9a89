"""The world of the chaos bench: real servers that are taken away and given back, and the three processes of a centre. Each
process is ended by its own pid."""

import json
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ingest.stores.registry import open_kept
from twin.errors import SourceError
from twin.frame import Floats, frame_of
from ui.app import TASK_NAMES, environment
from ui.benches.demo import free_port
from ui.benches.skew import Clock
from ui.benches.slurm_server import SlurmServer
from ui.config import load_config, site_of
from ui.memory import SHIPPED_WITH
from ui.tasks import RealClock

NODES, GPUS = 2, 8
QUEUE, METRIC = "slurm", "carbon_gco2_per_kwh"
HOT_C, SETTLE_S = 95.0, 30.0
TOKEN = "a token of many senders"  # noqa: S105 - of a push source that lives for minutes
RULES = """
[[rule]]
name = "hot"
kind = "gpu"
metric = "temp_c"
above = 85
clear = 80
hold_s = 0
severity = "critical"
summary = "{asset} is at {value:.0f} {unit}"
runbook = "look at its cold plate"
"""
ONCALL = """
[delivery]
allow = ["127.0.0.1"]
[[channel]]
name = "hook"
type = "webhook"
url = "http://127.0.0.1:PORT/hook"
[[route]]
name = "all"
channels = ["hook"]
group_by = ["alertname", "asset"]
"""
PAST_DAYS, AHEAD_DAYS = 70, 3  # of the grid's carbon intensity, by the hour


class Server:
    """A program that is started, killed, stopped in its tracks and started again on the same data."""

    def __init__(self, name: str, command: Sequence[str], **more: Any) -> None:
        self.name, self._command, self._more = name, command, more
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Come up; whether it already answers is for whoever needs it."""
        self._child = subprocess.Popen(self._command, **self._more)  # noqa: S603 - a program that we name

    @property
    def process(self) -> psutil.Process | None:
        """As the system sees it; None where it does not run."""
        return psutil.Process(self._child.pid) if self._child is not None and self._child.poll() is None else None

    def end(self, how: signal.Signals = signal.SIGKILL) -> int:
        """Its exit status."""
        if self._child is None:
            return 0
        self._child.send_signal(how)
        status = self._child.wait(90)
        self._child = None
        return status

    def freeze(self) -> None:
        """It neither answers nor dies."""
        if self._child is not None:
            self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        if self._child is not None:
            self._child.send_signal(signal.SIGCONT)

    def full_disk(self, full: bool) -> None:
        """No file of it may grow: what it writes is refused as on a full disk (RLIMIT_FSIZE)."""
        if self.process is not None:
            hard = resource.RLIM_INFINITY
            self.process.rlimit(psutil.RLIMIT_FSIZE, (0 if full else hard, hard))


def servers(folder: Path) -> tuple[dict[str, Server], dict[str, str]]:
    """Store, broker and database with the addresses that a configuration gives them; ``SourceError`` for what is missing."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    mosquitto = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    store = shutil.which("victoria-metrics")
    if not (found and mosquitto and store):
        raise SourceError(
            "needs PostgreSQL, mosquitto and VictoriaMetrics: apt-get install postgresql mosquitto victoria-metrics"
        )
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    ports = {name: free_port() for name in ("store", "broker", "database")}
    (folder / "m.conf").write_text(f"listener {ports['broker']} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    base = folder / "postgres"
    base.mkdir()
    who: dict[str, Any] = {"cwd": base}
    if os.getuid() == 0:
        user = pwd.getpwnam("postgres")
        who |= {"user": user.pw_uid, "group": user.pw_gid}
        os.chown(base, user.pw_uid, user.pw_gid)
        for above in (folder, *folder.parents[:2]):
            above.chmod(above.stat().st_mode | 0o055)
    words = ["-D", str(base / "data"), "-U", "icctwin", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run([found[0] / "initdb", *words], check=True, **quiet, **who)  # noqa: S603 - a program that we name
    at = f"-storageDataPath={folder / 'vm'}", f"-httpListenAddr=127.0.0.1:{ports['store']}"
    more = "-retentionPeriod=100y", "-loggerLevel=ERROR", "-search.latencyOffset=1ms", "-dedup.minScrapeInterval=1ms"
    sockets = "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={base}"
    made = {
        "store": Server("store", [store, *at, *more], **quiet),
        "broker": Server("broker", [mosquitto, "-c", str(folder / "m.conf")], **quiet),
        "database": Server(
            "database",
            [str(found[0] / "postgres"), "-D", str(base / "data"), "-p", str(ports["database"]), *sockets],
            **quiet,
            **who,
        ),
    }
    said = {
        "store": f"http://127.0.0.1:{ports['store']}",
        "broker": f"mqtt://127.0.0.1:{ports['broker']}",
        "database": f"host=127.0.0.1 port={ports['database']} user=icctwin dbname=postgres",
    }
    return made, said


def centre(
    folder: Path, said: Mapping[str, str], hook: int, slurm: SlurmServer | None, clock: Clock
) -> tuple[dict[str, Server], dict[str, int]]:
    """The three processes of a centre: one reads and takes what is pushed, one thinks, one shows. With the ports of the two
    that listen. Jobs of ``slurm`` are moved by a carbon intensity that is at its highest now."""
    rows = ["id,kind,parent,hostname,index", "h,hall,,,", "r,rack,h,,", f"{QUEUE},queue,,,", "grid,grid,,,"]
    for node in range(NODES):
        rows += [f"n{node},node,r,gpu{node + 1:02d},", *(f"n{node}g{g},gpu,n{node},,{g}" for g in range(GPUS))]
    time_s, carbon = _carbon()
    stamps = (f"{datetime.fromtimestamp(at, UTC).isoformat()},{value:.3f}" for at, value in zip(time_s, carbon, strict=True))
    (folder / "carbon.csv").write_text("\n".join([f"time,{METRIC}", *stamps, ""]))
    (folder / "assets.csv").write_text("\n".join([*rows, ""]))
    (folder / "token").write_text(TOKEN)
    (folder / "rules.toml").write_text(RULES)
    (folder / "oncall.toml").write_text(ONCALL.replace("PORT", str(hook)))
    ports = {"ingest": free_port(), "wall": free_port(), "tasks": free_port()}
    made = {}
    for name, roles in (("ingest", "ingest,wall"), ("tasks", "tasks"), ("wall", "wall")):
        path = folder / f"{name}.toml"
        path.write_text(
            f'[site]\nname = "chaos"\nassets = "assets.csv"\n[wall]\nport = {ports[name]}\n'
            f'[store]\ntype = "victoriametrics"\nurl = "{said["store"]}"\npath = "kept"\n'
            f'[cluster]\nbroker = "{said["broker"]}"\npostgres = "{said["database"]}"\nshards = 1\n'
            '[alerts]\nrules = "rules.toml"\noncall = "oncall.toml"\n'
            '[energy]\nmodes = { job_start = "auto" }\n'
            '[[source]]\nname = "push"\ntype = "push"\nmapping = "dcgm"\ntoken_file = "token"\n'
            '[[source]]\nname = "carbon"\ntype = "grid"\nprovider = "csv"\npath = "carbon.csv"\nevery_s = 60\n'
            + (_slurm_source(slurm) if slurm is not None else "")
        )
        words = [sys.executable, "-m", "ui", "--log-level", "error", "up", "--config", str(path), "--role", roles]
        env = {**environment(), **SHIPPED_WITH, **clock.environment}
        made[name] = Server(name, words, stderr=(folder / f"{name}.log").open("ab"), env=env)
    return made, ports


def _slurm_source(slurm: SlurmServer) -> str:
    said = {"name": "scheduler", "type": "slurm", "queue": QUEUE, "every_s": 5, **slurm.options}
    lines = (f"{key} = {json.dumps(str(value) if isinstance(value, Path) else value)}" for key, value in said.items())
    return "\n".join(["[[source]]", *lines, ""])


def _carbon() -> tuple[Floats, Floats]:
    """Hours and a smooth day of carbon intensity that is at its highest in this one."""
    now_s = RealClock().now().timestamp() // 3600 * 3600
    hour = np.arange(-PAST_DAYS * 24, AHEAD_DAYS * 24, dtype=np.float64)
    return now_s + 3600 * hour, 300 + 200 * np.cos(2 * np.pi * hour / 24)


def write_past(config: Path) -> None:
    """Put the past of the carbon intensity into the store, which must be up."""
    read = load_config(config)
    site = site_of(read, TASK_NAMES)
    store, row, (time_s, carbon) = open_kept(read.store, site), site.row("grid"), _carbon()
    past = [(at, value) for at, value in zip(time_s, carbon, strict=True) if at < RealClock().now().timestamp()]
    frames = [frame_of("grid", datetime.fromtimestamp(at, UTC), row, source="carbon", **{METRIC: value}) for at, value in past]
    store.append(frames)
    store.close()


def eventually(found: Callable[[], bool], seconds: float) -> bool:
    """Whether ``found`` came true in so long."""
    over_s = time.monotonic() + seconds
    while time.monotonic() < over_s:
        with suppress(OSError):
            if found():
                return True
        time.sleep(0.2)
    return False
