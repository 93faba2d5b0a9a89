"""Who lives in the world of the chaos bench: whoever sends samples, whoever is paged, and the owners of jobs."""

import json
import math
import subprocess
import threading  # noqa: TID251 - a bench drives from outside what tasks drive inside
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from ui.benches.beside import Beside
from ui.benches.chaos_world import GPUS, HOT_C, NODES, TOKEN
from ui.benches.slurm_server import SlurmServer

JOB_EVERY_S, JOB_RUNS_S, JOB_LIMIT_S = 8.0, 15.0, 60.0
SEND_EVERY_S = 0.5
GRACE_S, DUE_S = 600.0, 8 * 3600.0  # what marked jobs give to be looked at, and by when they must have ended
TAKEN_OUT = "icctwin:off"
OUT_AFTER_S = 90.0  # so long after its submission an owner takes a job out
# What is listed is as much after twenty minutes as after an hour, so that memory that grows is no longer list: whoever waits
# for longer gives up, and what has ended is listed for as long as Slurm itself does so.
GIVEN_UP_S, JOB_LISTED_S = 1200.0, 300


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A batch that was answered with 204: values of all GPUs; ``skews_s``: how far the centre's clock may have been off."""

    values: tuple[float, ...]
    skews_s: frozenset[float]


class Sender(Beside):
    """Pushes a batch of all GPUs' temperatures twice a second, and keeps what was taken: time [ms] -> batch. Its clock is
    right; ``skews_s`` is for whoever sets the centre's wrong."""

    def __init__(self, port: int) -> None:
        super().__init__(SEND_EVERY_S)
        self._url = f"http://127.0.0.1:{port}/api/v2/write?precision=ms"
        self.acknowledged: dict[int, Acknowledged] = {}
        self.refused, self.hot, self._count = 0, -1, 0
        self.skews_s = frozenset({0.0})

    def step(self) -> None:
        """Send the next batch."""
        self._count += 1
        self._send(self._count, int(time.time() * 1000))  # noqa: TID251 - a sender has a clock of its own

    def _send(self, count: int, time_ms: int) -> None:
        # no two batches alike for over a quarter of an hour, so that none is taken for another
        values = [30 + (count * NODES * GPUS + i) % 32_768 / 1024 for i in range(NODES * GPUS)]
        if self.hot >= 0:
            values[self.hot] = HOT_C + count % 2048 / 1024
        lines = [
            f"DCGM_FI_DEV,gpu={i % GPUS},Hostname=gpu{i // GPUS + 1:02d} GPU_TEMP={value} {time_ms}"
            for i, value in enumerate(values)
        ]
        asked = urllib.request.Request(  # noqa: S310 - an address of ours
            self._url, "\n".join(lines).encode(), {"Authorization": f"Token {TOKEN}"}, method="POST"
        )
        skews_s = self.skews_s
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:  # noqa: S310 - as above
                if answer.status == 204:
                    self.acknowledged[time_ms] = Acknowledged(tuple(values), skews_s | self.skews_s)
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


@dataclass(slots=True)
class Submitted:
    """A job as its owner knows it: ``kind`` plain (nobody may touch it), marked (it may wait until ``due_s``) or out (marked,
    and taken out later); times in s since 1970. ``id`` is empty while nobody has confirmed its submission."""

    id: str
    kind: str
    submit_s: float
    due_s: float
    taken_out: bool = False
    given_up: bool = False


class Owners(Beside):
    """Submit jobs of mixed consent to a real Slurm, by a seed, and cancel what waits too long; where it does not answer they
    come again."""

    def __init__(self, server: SlurmServer, rng: np.random.Generator) -> None:
        super().__init__(JOB_EVERY_S)
        self._server, self._rng = server, rng
        self.jobs: list[Submitted] = []
        self.refused = 0

    def step(self) -> None:
        """Submit one job, take out those whose owner changed their mind, and cancel those whose owner gave up."""
        try:
            self._look_for_unconfirmed()
            self._submit()
            self._take_out()
            self._give_up()
        except subprocess.SubprocessError:  # slurmctld is away or frozen
            self.refused += 1

    def _submit(self) -> None:
        kind = str(self._rng.choice(["plain", "marked", "out"], p=[0.3, 0.5, 0.2]))
        now_s = time.time()  # noqa: TID251 - an owner has a clock of its own
        due_s = now_s + DUE_S
        due = f"{datetime.fromtimestamp(due_s, UTC):%Y-%m-%dT%H:%M:%S}Z"
        words = ["--comment", f"icctwin:deadline={due};runs={JOB_RUNS_S:g}s", f"--begin=now+{GRACE_S:.0f}"]
        words = words if kind != "plain" else []
        run = ("--wrap", f"sleep {JOB_RUNS_S:g}", "-o", "/dev/null", "--gpus=1", "-N1", "-t", f"{JOB_LIMIT_S / 60:.0f}")
        job = Submitted("", kind, now_s, due_s if words else math.inf)
        self.jobs.append(job)  # before it is sent: a controller that dies then may have it, and nobody be told so
        job.id = self._server.run("sbatch", "--parsable", "-J", _name(len(self.jobs) - 1), *words, *run)

    def _look_for_unconfirmed(self) -> None:
        """As people do: whether a job whose submission was not answered is in the queue after all."""
        open_ = {_name(i): job for i, job in enumerate(self.jobs) if not job.id}
        if open_:
            for line in self._server.run("squeue", "-h", "-t", "all", "-o", "%j %i").splitlines():
                name, number = line.split()
                if name in open_:
                    open_[name].id = number

    def _take_out(self) -> None:
        now_s = time.time()  # noqa: TID251 - as above
        for job in self.jobs:
            if job.kind == "out" and job.id and not job.taken_out and now_s > job.submit_s + OUT_AFTER_S:
                self._server.run("scontrol", "update", f"JobId={job.id}", f"Comment={TAKEN_OUT}")
                job.taken_out = True

    def _give_up(self) -> None:
        now_s = time.time()  # noqa: TID251 - as above
        for i, job in enumerate(self.jobs):
            if not job.given_up and now_s > job.submit_s + GIVEN_UP_S:  # by its name: a number may be another's since a kill
                self._server.run("scancel", "--state=PENDING", f"--jobname={_name(i)}")
                job.given_up = True


def _name(i: int) -> str:
    return f"chaos-{i}"
