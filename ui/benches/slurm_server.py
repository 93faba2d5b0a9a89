"""A real Slurm on this machine, for benches and tests: munged, slurmctld, a slurmd for each of its nodes, whose GPUs are none,
and slurmrestd on the network and on a socket. All it has lies in one folder; each process is ended by its own pid.

What it takes to run many nodes on one machine: count-only GPUs are dropped by slurmd, so ``File=`` names links to /dev/null;
slurmrestd must be neither root nor SlurmUser; ``config_overrides`` lets a node have more CPUs than there are; without cgroups
the process tracker is linuxproc.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from twin.errors import SourceError

PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmrestd", "squeue", "scontrol")
PACKAGES = "munge slurmctld slurmd slurmrestd slurm-client slurm-wlm-basic-plugins slurm-wlm-jwt-plugin"
GPUS = 8
PORTS = 20  # that a cluster takes at most, one behind the other
RESTART_S = 6.0  # after a requeue: credentials live for 5 s
_FOUND_IN = os.pathsep.join((os.defpath, "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"))
_CONF = """ClusterName=twin
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={d}/run/munge.socket,cred_expire=5
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={d}/jwt.key
CredType=cred/munge
StateSaveLocation={d}/state
SlurmdSpoolDir={d}/spool/%n
SlurmctldPidFile={d}/run/slurmctld.pid
SlurmdPidFile={d}/run/slurmd-%n.pid
SlurmctldLogFile={d}/slurmctld.log
SlurmdLogFile={d}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
PriorityType=priority/basic
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=1,bf_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
RequeueExit=84
RequeueExitHold=85
KillWait=1
MinJobAge=3600
MaxJobCount=20000
NodeName=gpu[01-{nodes:02d}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=16 Sockets=2 \\
CoresPerSocket=8 ThreadsPerCore=1 RealMemory=64000 Gres=gpu:h100:8 Feature=liquid,h100 State=UNKNOWN
PartitionName=batch Nodes={batch} Default=YES MaxTime=7-0 DefaultTime=60 DefMemPerCPU=100 State=UP
PartitionName=night Nodes=gpu02 MaxTime=7-0 DefMemPerCPU=100 State=DOWN
"""
_APART = """PartitionName=west Nodes={west} MaxTime=7-0 DefaultTime=60 DefMemPerCPU=100 State=UP
PartitionName=brief Nodes={west} MaxTime=1 DefMemPerCPU=100 State=UP
"""


def lacking() -> str:
    """What this machine lacks to run it, in one clause; empty where nothing."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=_FOUND_IN)]
    if missing:
        return f"{', '.join(missing)} (Debian: apt-get install {PACKAGES})"
    return "" if os.geteuid() == 0 else "root: its parts change who they run as"


def free_ports(count: int = PORTS) -> int:
    """The first of so many ports, one behind the other, of which none is in use, below those that the system hands out itself.
    ``SourceError`` where there are none."""
    tried = [20_000 + os.getpid() * 7 % 500 * PORTS + k * PORTS for k in range(0, 500)]
    for first in (20_000 + (port - 20_000) % 10_000 for port in tried):
        with ExitStack() as held, suppress(OSError):
            for port in range(first, first + count):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise SourceError(f"there are no {count} free ports one behind the other from 20000 to 30000")


class SlurmServer:
    """One cluster of ``nodes`` nodes, all of them in partition ``batch``, or the last ``apart`` of them in ``west`` (and in
    ``brief``, where jobs may run for a minute); ports ``port`` to ``port + nodes + 1`` are its own."""

    def __init__(self, folder: Path, port: int, nodes: int, apart: int = 0) -> None:
        self.folder, self.port, self.nodes, self._apart = folder, port, nodes, apart
        self.conf = folder / "slurm.conf"
        self.token = ""
        self._env = {"PATH": _FOUND_IN, "SLURM_CONF": str(self.conf)}
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._lines: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {}

    @property
    def url(self) -> str:
        """Of slurmrestd."""
        return f"http://127.0.0.1:{self.port + self.nodes + 1}"

    @property
    def options(self) -> Mapping[str, object]:
        """What a ``[[source]]`` of type ``slurm`` says of it; the token's file is written."""
        file = self.folder / "token"
        file.write_text(self.token)
        ways = {"url": self.url, "user": "root", "token_file": file, "conf": self.conf, "commands": True}
        return {**ways, "restart_s": RESTART_S}

    def run(self, *words: str) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(words, env=self._env, check=True, capture_output=True, text=True, timeout=30)  # noqa: S603
        return done.stdout.strip()

    def start(self) -> None:
        """Come up; ``SourceError`` where it does not."""
        d = self.folder
        for name in ("state", "spool", "run", "dev", "rest"):
            (d / name).mkdir(parents=True)
        (d / "rest").chmod(0o777)
        for folder in (d, *d.parents):  # slurmrestd, who is nobody, and munged's clients come through all of them
            if not folder.stat().st_mode & 0o001:
                folder.chmod(folder.stat().st_mode | 0o055)
        for name, size in (("munge.key", 1024), ("jwt.key", 32)):
            (d / name).write_bytes(os.urandom(size))
            (d / name).chmod(0o600)
        host = self.run("hostname", "-s")
        ends = {"first": self.port + 1, "last": self.port + self.nodes}
        here = self.nodes - self._apart
        batch, west = f"gpu[01-{here:02d}]", f"gpu[{here + 1:02d}-{self.nodes:02d}]"
        conf = _CONF.format(d=d, host=host, port=self.port, nodes=self.nodes, batch=batch, **ends)
        self.conf.write_text(conf + (_APART.format(west=west) if self._apart else ""))
        for i in range(GPUS):
            (d / "dev" / f"nvidia{i}").symlink_to("/dev/null")
        (d / "gres.conf").write_text(f"NodeName=gpu[01-{self.nodes:02d}] Name=gpu Type=h100 File={d}/dev/nvidia[0-7]\n")
        (d / "cgroup.conf").write_text("CgroupAutomount=no\n")
        munge = (f"--key-file={d}/munge.key", f"--socket={d}/run/munge.socket", f"--pid-file={d}/run/munged.pid")
        seed = (f"--log-file={d}/munged.log", f"--seed-file={d}/run/seed")
        self._spawn("munged", "munged", "--foreground", "--force", *munge, *seed)
        self.wait_for((d / "run" / "munge.socket").exists)
        self.start_controller()
        for i in range(1, self.nodes + 1):
            (d / "spool" / f"gpu{i:02d}").mkdir()
            self._spawn(f"slurmd{i}", "slurmd", "-D", "-f", str(self.conf), "-N", f"gpu{i:02d}")
        nobody = ("slurmrestd", "-u", "nobody", "-g", "nogroup", "-s", "openapi/v0.0.36,openapi/v0.0.37,openapi/v0.0.38")
        self._spawn("rest", *nobody, "-a", "rest_auth/jwt", self.url.removeprefix("http://"), SLURM_JWT="daemon")
        self._spawn("socket", *nobody, "-a", "rest_auth/local", f"unix:{d}/rest/socket")
        for name, count in (("batch", here), ("west", self._apart)):
            self.wait_for(lambda name=name, count=count: not count or self._shown(name) == f"idle {count}")  # type: ignore[misc]
        self.wait_for((d / "rest" / "socket").exists)
        self.token = self.run("scontrol", "token", "username=root", "lifespan=86400").partition("=")[2]

    def _shown(self, partition: str) -> str:
        return self.run("sinfo", "-h", "-p", partition, "-o", "%T %D")

    def start_controller(self) -> None:
        """Start slurmctld; what it had written down is there again."""
        self._spawn("slurmctld", "slurmctld", "-D", "-f", str(self.conf))

    def stop_controller(self) -> None:
        """End slurmctld; the nodes and what runs on them go on."""
        self._end("slurmctld")

    def end_part(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End one of its parts (``slurmctld``, ``rest``) in this way; the others go on."""
        self._started[name].send_signal(how)
        self._end(name)

    def start_part(self, name: str) -> None:
        """Start a part that was ended, as it was started before."""
        words, more = self._lines[name]
        self._spawn(name, *words, **more)

    def pid(self, name: str = "slurmctld") -> int:
        """Process id of one of its parts."""
        return self._started[name].pid

    def wait_for(self, ready: Callable[[], bool], seconds: float = 30.0) -> None:
        """Until ``ready``; ``SourceError`` where that does not come."""
        over_s = time.monotonic() + seconds
        while time.monotonic() < over_s:
            with suppress(subprocess.CalledProcessError):
                if ready():
                    return
            time.sleep(0.05)
        ends = [path.read_text(errors="replace").splitlines()[-1:] for path in sorted(self.folder.glob("slurm*.log"))]
        said = " | ".join(line for last in ends for line in last)
        raise SourceError(f"Slurm in {self.folder} does not come up; its logs end with {said[:2000]}")

    def stop(self) -> None:
        """End all of it."""
        if "slurmctld" in self._started:
            with suppress(subprocess.SubprocessError, SourceError):  # a step would outlive its slurmd
                self.run("scancel", "--user=root")
                self.wait_for(lambda: not self.run("squeue", "-h", "-t", "running,completing"), 15.0)
        for name in reversed(list(self._started)):
            self._end(name)

    def _spawn(self, name: str, *words: str, **more: str) -> None:
        self._lines[name] = words, more
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._started[name] = subprocess.Popen(words, env={**self._env, **more}, **quiet)  # type: ignore[call-overload]  # noqa: S603

    def _end(self, name: str) -> None:
        process = self._started.pop(name)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def slurm_server(folder: Path, port: int, nodes: int = 4, apart: int = 0) -> Iterator[SlurmServer]:
    """A cluster that is up, and gone afterwards."""
    server = SlurmServer(folder, port, nodes, apart)
    try:
        server.start()
        yield server
    finally:
        server.stop()
