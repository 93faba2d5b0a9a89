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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from twin.errors import SourceError

PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmrestd", "squeue", "scontrol")
PACKAGES = "munge slurmctld slurmd slurmrestd slurm-client slurm-wlm-basic-plugins slurm-wlm-jwt-plugin"
GPUS = 8
PORTS = 20  # that a cluster takes at most, one behind the other
RESTART_S = 6.0  # after a requeue: credentials live for 5 s
FOUND_IN = os.pathsep.join((os.defpath, "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"))
_CONF = """ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={shared}/run/munge.socket,cred_expire=5
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={shared}/jwt.key
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
{accounts}
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
MinJobAge={ended_s}
MaxJobCount=20000
NodeName={node}[01-{nodes:02d}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=16 Sockets=2 \\
CoresPerSocket=8 ThreadsPerCore=1 RealMemory=64000 Gres=gpu:h100:8 Feature=liquid,h100 State=UNKNOWN
PartitionName=batch Nodes={batch} Default=YES MaxTime=7-0 DefaultTime=60 DefMemPerCPU=100 State=UP
PartitionName=night Nodes={node}02 MaxTime=7-0 DefMemPerCPU=100 State=DOWN
"""
_APART = """PartitionName=west Nodes={west} MaxTime=7-0 DefaultTime=60 DefMemPerCPU=100 State=UP
PartitionName=brief Nodes={west} MaxTime=1 DefMemPerCPU=100 State=UP
"""


def lacking(programs: Sequence[str] = PROGRAMS, packages: str = PACKAGES) -> str:
    """What this machine lacks to run it, in one clause; empty where nothing."""
    missing = [name for name in programs if not shutil.which(name, path=FOUND_IN)]
    if missing:
        return f"{', '.join(missing)} (Debian: apt-get install {packages})"
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


@dataclass(frozen=True, slots=True)
class Member:
    """A cluster of several: its name, what its nodes' names begin with, the folder with munge's socket and the keys, and
    slurm.conf's lines of accounting."""

    name: str
    node: str
    shared: Path
    accounts: str = "AccountingStorageType=accounting_storage/none"


class Parts:
    """Processes that belong together, by name; each is ended by its own pid."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = dict(env)
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._lines: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._started

    def spawn(self, name: str, *words: str, **more: str) -> None:
        """Start one; ``more``: of its environment."""
        self._lines[name] = words, more
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._started[name] = subprocess.Popen(words, env={**self.env, **more}, **quiet)  # type: ignore[call-overload]  # noqa: S603

    def again(self, name: str) -> None:
        """Start one that was ended, as it was started before."""
        words, more = self._lines[name]
        self.spawn(name, *words, **more)

    def pid(self, name: str) -> int:
        """Process id of one."""
        return self._started[name].pid

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End one in this way; the others go on."""
        process = self._started.pop(name)
        process.send_signal(how)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def end_all(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End all of them in this way, the last first."""
        for name in reversed(list(self._started)):
            self.end(name, how)


class SlurmServer:
    """One cluster of ``nodes`` nodes, all of them in partition ``batch``, or the last ``apart`` of them in ``west`` (and in
    ``brief``, where jobs may run for a minute); ports ``port`` to ``port + nodes + 1`` are its own. It lists jobs for
    ``ended_s`` after their end (MinJobAge)."""

    def __init__(
        self, folder: Path, port: int, nodes: int, apart: int = 0, member: Member | None = None, ended_s: int = 3600
    ) -> None:
        self.folder, self.port, self.nodes, self._apart, self._ended_s = folder, port, nodes, apart, ended_s
        self._alone = member is None
        self._member = member or Member("twin", "gpu", folder)
        self.conf = folder / "slurm.conf"
        self.token = ""
        self._parts = Parts({"PATH": FOUND_IN, "SLURM_CONF": str(self.conf)})

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
        done = subprocess.run(words, env=self._parts.env, check=True, capture_output=True, text=True, timeout=30)  # noqa: S603
        return done.stdout.strip()

    def prepare(self) -> None:
        """Its folder, keys and configuration."""
        d, node = self.folder, self._member.node
        for name in ("state", "spool", "run", "dev", "rest"):
            (d / name).mkdir(parents=True)
        (d / "rest").chmod(0o777)
        if self._alone:
            make_keys(d)
        host = self.run("hostname", "-s")
        ends = {"first": self.port + 1, "last": self.port + self.nodes, "ended_s": self._ended_s}
        here = self.nodes - self._apart
        batch, west = f"{node}[01-{here:02d}]", f"{node}[{here + 1:02d}-{self.nodes:02d}]"
        of = {"name": self._member.name, "node": node, "shared": self._member.shared, "accounts": self._member.accounts}
        conf = _CONF.format(d=d, host=host, port=self.port, nodes=self.nodes, batch=batch, **of, **ends)
        self.conf.write_text(conf + (_APART.format(west=west) if self._apart else ""))
        for i in range(GPUS):
            (d / "dev" / f"nvidia{i}").symlink_to("/dev/null")
        (d / "gres.conf").write_text(f"NodeName={node}[01-{self.nodes:02d}] Name=gpu Type=h100 File={d}/dev/nvidia[0-7]\n")
        (d / "cgroup.conf").write_text("CgroupAutomount=no\n")

    def start(self) -> None:
        """Come up; ``SourceError`` where it does not."""
        self.prepare()
        self.begin()
        self.wait_up()

    def begin(self) -> None:
        """Start all of it."""
        d, node = self.folder, self._member.node
        if self._alone:
            self._parts.spawn("munged", *munged(d))
            self.wait_for((d / "run" / "munge.socket").exists)
        self.start_controller()
        for i in range(1, self.nodes + 1):
            (d / "spool" / f"{node}{i:02d}").mkdir()
            self._parts.spawn(f"slurmd{i}", "slurmd", "-D", "-f", str(self.conf), "-N", f"{node}{i:02d}")
        nobody = ("slurmrestd", "-u", "nobody", "-g", "nogroup", "-s", "openapi/v0.0.36,openapi/v0.0.37,openapi/v0.0.38")
        self._parts.spawn("rest", *nobody, "-a", "rest_auth/jwt", self.url.removeprefix("http://"), SLURM_JWT="daemon")
        self._parts.spawn("socket", *nobody, "-a", "rest_auth/local", f"unix:{d}/rest/socket")

    def wait_up(self) -> None:
        """Until it takes jobs; ``SourceError`` where that does not come."""
        for name, count in (("batch", self.nodes - self._apart), ("west", self._apart)):
            self.wait_for(lambda name=name, count=count: not count or self._shown(name) == f"idle {count}")  # type: ignore[misc]
        self.wait_for((self.folder / "rest" / "socket").exists)
        self.token = self.run("scontrol", "token", "username=root", "lifespan=86400").partition("=")[2]

    def _shown(self, partition: str) -> str:
        return self.run("sinfo", "--local", "-h", "-p", partition, "-o", "%T %D")

    def start_controller(self) -> None:
        """Start slurmctld; what it had written down is there again."""
        self._parts.spawn("slurmctld", "slurmctld", "-D", "-f", str(self.conf))

    def stop_controller(self) -> None:
        """End slurmctld; the nodes and what runs on them go on."""
        self._parts.end("slurmctld")

    def end_part(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End one of its parts (``slurmctld``, ``rest``) in this way; the others go on."""
        self._parts.end(name, how)

    def start_part(self, name: str) -> None:
        """Start a part that was ended, as it was started before."""
        self._parts.again(name)

    def pid(self, name: str = "slurmctld") -> int:
        """Process id of one of its parts."""
        return self._parts.pid(name)

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
        if "slurmctld" in self._parts:
            with suppress(subprocess.SubprocessError, SourceError):  # a step would outlive its slurmd
                self.run("scancel", "--user=root")
                self.wait_for(lambda: not self.run("squeue", "--local", "-h", "-t", "running,completing"), 15.0)
        self._parts.end_all()


def make_keys(folder: Path) -> None:
    """Keys of munge and of JSON web tokens, in a folder that their readers may enter."""
    (folder / "run").mkdir(parents=True, exist_ok=True)
    for parent in (folder, *folder.parents):  # slurmrestd, who is nobody, and munged's clients come through all of them
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o055)
    for name, size in (("munge.key", 1024), ("jwt.key", 32)):
        (folder / name).write_bytes(os.urandom(size))
        (folder / name).chmod(0o600)


def munged(folder: Path) -> Sequence[str]:
    """The line that starts munged with the keys of ``make_keys``."""
    d = folder
    munge = (f"--key-file={d}/munge.key", f"--socket={d}/run/munge.socket", f"--pid-file={d}/run/munged.pid")
    return ("munged", "--foreground", "--force", *munge, f"--log-file={d}/munged.log", f"--seed-file={d}/run/seed")


@contextmanager
def slurm_server(folder: Path, port: int, nodes: int = 4, apart: int = 0) -> Iterator[SlurmServer]:
    """A cluster that is up, and gone afterwards."""
    server = SlurmServer(folder, port, nodes, apart)
    try:
        server.start()
        yield server
    finally:
        server.stop()
