"""The world of the chaos bench: real servers that are taken away and given back, the three processes of a centre, whoever sends
samples and whoever is paged. Each process is ended by its own pid."""

import json
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import threading  # noqa: TID251 - a bench drives from outside what tasks drive inside
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from twin.errors import SourceError
from ui.benches.demo import free_port

NODES, GPUS = 2, 8
HOT_C, SETTLE_S = 95.0, 30.0
TOKEN = "a token of senders"  # noqa: S105 - of a push source that lives for minutes
_RULES = """
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
_ONCALL = """
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
    more = "-retentionPeriod=100y", "-loggerLevel=ERROR", "-search.latencyOffset=1ms"
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


def centre(folder: Path, said: dict[str, str], hook: int) -> tuple[dict[str, Server], dict[str, int]]:
    """The three processes of a centre: one reads and takes what is pushed, one thinks, one shows. With the ports of the two
    that listen."""
    rows = ["id,kind,parent,hostname,index", "h,hall,,,", "r,rack,h,,"]
    for node in range(NODES):
        rows += [f"n{node},node,r,n{node},", *(f"n{node}g{g},gpu,n{node},,{g}" for g in range(GPUS))]
    (folder / "assets.csv").write_text("\n".join([*rows, ""]))
    (folder / "token").write_text(TOKEN)
    (folder / "rules.toml").write_text(_RULES)
    (folder / "oncall.toml").write_text(_ONCALL.replace("PORT", str(hook)))
    ports = {"ingest": free_port(), "wall": free_port(), "tasks": free_port()}
    made = {}
    for name, roles in (("ingest", "ingest,wall"), ("tasks", "tasks"), ("wall", "wall")):
        path = folder / f"{name}.toml"
        path.write_text(
            f'[site]\nname = "chaos"\nassets = "assets.csv"\n[wall]\nport = {ports[name]}\n'
            f'[store]\ntype = "victoriametrics"\nurl = "{said["store"]}"\npath = "kept"\n'
            f'[cluster]\nbroker = "{said["broker"]}"\npostgres = "{said["database"]}"\nshards = 1\n'
            '[alerts]\nrules = "rules.toml"\noncall = "oncall.toml"\n'
            '[[source]]\nname = "push"\ntype = "push"\nmapping = "dcgm"\ntoken_file = "token"\n'
        )
        words = [sys.executable, "-m", "ui", "--log-level", "error", "up", "--config", str(path), "--role", roles]
        made[name] = Server(name, words, stderr=(folder / f"{name}.log").open("ab"))
    return made, ports


class Sender:
    """Pushes a batch of all GPUs' temperatures twice a second, and keeps what was answered with 204: time [ms] -> values."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v2/write?precision=ms"
        self.acknowledged: dict[int, list[float]] = {}
        self.refused, self.hot = 0, -1
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        count = 0
        while not self._over.wait(0.5):
            count += 1
            self._send(count, int(time.time() * 1000))  # noqa: TID251 - a sender has a clock of its own

    def _send(self, count: int, time_ms: int) -> None:
        values = [30 + count % 37 + i / 32 for i in range(NODES * GPUS)]
        if self.hot >= 0:
            values[self.hot] = HOT_C
        lines = [
            f"DCGM_FI_DEV,gpu={i % GPUS},Hostname=n{i // GPUS} GPU_TEMP={value} {time_ms}" for i, value in enumerate(values)
        ]
        asked = urllib.request.Request(  # noqa: S310 - an address of ours
            self._url, "\n".join(lines).encode(), {"Authorization": f"Token {TOKEN}"}, method="POST"
        )
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:  # noqa: S310 - as above
                if answer.status == 204:
                    self.acknowledged[time_ms] = values
        except (OSError, urllib.error.HTTPError):
            self.refused += 1


class Hook:
    """Takes pages, or refuses them while it is ``away``."""

    def __init__(self) -> None:
        self.away, self.pages = False, []  # type: ignore[var-annotated]
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
                if not hook.away:
                    number = self.headers.get("Idempotency-Key") or self.headers.get("webhook-id") or ""
                    hook.pages.append((body["status"], [one["labels"]["asset"] for one in body["alerts"]], number))
                self.send_response(503 if hook.away else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def told(self, status: str, asset: str) -> int:
        """How many pages of this status about this asset came."""
        return sum(said == status and asset in assets for said, assets, _ in self.pages)

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def eventually(found: Callable[[], bool], seconds: float) -> bool:
    """Whether ``found`` came true in so long."""
    over_s = time.monotonic() + seconds
    while time.monotonic() < over_s:
        with suppress(OSError):
            if found():
                return True
        time.sleep(0.2)
    return False
