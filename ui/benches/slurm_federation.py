"""A real federation of two Slurm clusters on this machine, for tests: one munged and its keys, MariaDB and slurmdbd, and a
cluster in the east and one in the west, each with slurmrestd. All it has lies in one folder, and ends by its own pid.

``slurmdbd.conf`` is looked for beside slurm.conf. Commands that speak to slurmdbd find munge by ``AccountingStoragePass``.
"""

import re
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ui.benches.slurm_server import (
    FOUND_IN,
    PACKAGES,
    PROGRAMS,
    RESTART_S,
    Member,
    Parts,
    SlurmServer,
    lacking,
    make_keys,
    munged,
)

MORE_PROGRAMS = (*PROGRAMS, "mariadbd", "mariadb-install-db", "slurmdbd", "sacctmgr")
MORE_PACKAGES = f"{PACKAGES} mariadb-server slurmdbd"
NAMES = ("east", "west")
NODES = 2  # of each cluster, with eight GPUs each
PORTS = 2 + len(NAMES) * (NODES + 2)
_DBD = """AuthType=auth/munge
AuthInfo=socket={d}/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
LogFile={d}/slurmdbd.log
PidFile={d}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={storage}
StorageUser=root
StorageLoc=slurm
"""
_ACCOUNTS = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={d}/run/munge.socket
AccountingStorageTRES=gres/gpu
FederationParameters=fed_display
DebugFlags=Federation
SlurmctldDebug=verbose"""
_HEARD = re.compile(r"JobId=(\d+) type:(FED_JOB_UPDATE(?:_RESPONSE)?)$", re.M)


def federation_lacking() -> str:
    """What this machine lacks to run it, in one clause; empty where nothing."""
    return lacking(MORE_PROGRAMS, MORE_PACKAGES)


class SlurmFederation:
    """Two clusters of ``NODES`` nodes; ``PORTS`` ports from ``port`` on are its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self._parts = Parts({"PATH": FOUND_IN, "SLURM_CONF": str(folder / "slurm.conf")})
        accounts = _ACCOUNTS.format(d=folder, port=port + 1)
        at = {name: port + 2 + k * (NODES + 2) for k, name in enumerate(NAMES)}
        self.clusters = {
            name: SlurmServer(folder / name, at[name], NODES, member=Member(name, name[0], folder, accounts)) for name in NAMES
        }

    @property
    def options(self) -> Mapping[str, object]:
        """What a ``[[source]]`` of type ``slurm`` says of it."""
        told = {name: cluster.options for name, cluster in self.clusters.items()}
        members = {name: {part: one[part] for part in ("url", "user", "token_file", "conf")} for name, one in told.items()}
        return {"federation": members, "commands": True, "restart_s": RESTART_S}

    def start(self) -> None:
        """Come up; ``SourceError`` where it does not."""
        d, east = self.folder, self.clusters["east"]
        make_keys(d)
        self._parts.spawn("munged", *munged(d))
        quick = ("--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0")
        data = ("--no-defaults", "--user=root", f"--datadir={d}/db", *quick)
        made = ("mariadb-install-db", *data, "--skip-test-db", "--auth-root-authentication-method=normal")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(made, env=self._parts.env, check=True, timeout=120, **quiet)  # type: ignore[call-overload]  # noqa: S603
        there = (f"--socket={d}/run/db.sock", "--bind-address=127.0.0.1", f"--port={self.port}", f"--pid-file={d}/run/db.pid")
        self._parts.spawn("mariadbd", "mariadbd", *data, *there, "--skip-log-bin")
        east.wait_for(lambda: answers(self.port))
        (d / "slurm.conf").write_text("")
        dbd = d / "slurmdbd.conf"
        dbd.write_text(_DBD.format(d=d, port=self.port + 1, storage=self.port))
        dbd.chmod(0o600)
        self._parts.spawn("slurmdbd", "slurmdbd", "-D")
        east.wait_for(lambda: answers(self.port + 1))
        for cluster in self.clusters.values():
            cluster.prepare()
        accounts = ("sacctmgr", "--immediate")
        east.run(*accounts, "add", "cluster", *NAMES)
        for cluster in self.clusters.values():
            cluster.begin()
        for cluster in self.clusters.values():
            cluster.wait_up()
        # joined when both have said which version they speak: who hears of a sibling before it has, never syncs with it (22.05)
        east.run(*accounts, "add", "federation", "both", f"clusters={','.join(NAMES)}")
        for name in NAMES:
            east.run(*accounts, "modify", "cluster", name, "set", f"features={name}")
        self.wait_synced()

    def wait_synced(self) -> None:
        """Until each cluster hears the other."""
        for cluster in self.clusters.values():
            cluster.wait_for(lambda cluster=cluster: "Synced:Yes" in cluster.run("scontrol", "show", "federation"))  # type: ignore[misc]

    def wait_answered(self, jobs: Sequence[str]) -> None:
        """Until each change of ``jobs`` that one cluster heard of was answered, a second later. A controller that ends before
        answers no more, and then its origin gives nobody the job for a minute (``UPDATE_DELAY`` of 22.05's fed_mgr.c)."""
        logs = [cluster.folder / "slurmctld.log" for cluster in self.clusters.values()]

        def answered() -> bool:
            heard = Counter(found for log in logs for found in _HEARD.findall(log.read_text(errors="replace")))
            return all(heard[job, "FED_JOB_UPDATE"] == heard[job, "FED_JOB_UPDATE_RESPONSE"] > 0 for job in jobs)

        self.clusters["east"].wait_for(answered)

    def end_controller(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End slurmctld of one cluster, until the other knows: what it is sent meanwhile is lost, and waited for a minute."""
        self.clusters[name].end_part("slurmctld", how)
        other = next(cluster for one, cluster in self.clusters.items() if one != name)
        other.wait_for(lambda: "Synced:No" in other.run("scontrol", "show", "federation"))

    def start_controller(self, name: str) -> None:
        """Start slurmctld of one cluster again."""
        self.clusters[name].start_part("slurmctld")
        self.wait_synced()

    def stop(self) -> None:
        """End all of it."""
        for cluster in self.clusters.values():
            cluster.stop()
        self._parts.end_all(signal.SIGKILL)  # what they keep is thrown away: they need not put it in order


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def slurm_federation(folder: Path, port: int) -> Iterator[SlurmFederation]:
    """A federation that is up, and gone afterwards."""
    with ExitStack() as ends:
        federation = SlurmFederation(folder, port)
        ends.callback(federation.stop)
        federation.start()
        yield federation
