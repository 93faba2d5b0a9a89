"""Real servers for tests: started on a free port of 127.0.0.1 with their data in a temporary folder, ended by their own pid."""

import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from store_model import MEMORY


def needs(program: str, package: str) -> pytest.MarkDecorator:
    """Skip where the program of a Debian package is not there."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not here (Debian package {package})")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: Sequence[str], ready: str, seconds: float = 60) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that answers at ``ready``."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                urllib.request.urlopen(ready, timeout=2).close()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert child.poll() is None, f"{command[0]} ended with status {child.returncode}"
                assert time.monotonic() < deadline, f"{command[0]} does not answer at {ready}"
                time.sleep(0.05)
        yield child
    finally:
        child.terminate()
        child.wait(20)


@contextmanager
def data_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@contextmanager
def influxd() -> Iterator[str]:
    """URL of an InfluxDB 1."""
    with data_folder() as folder:
        port, inner = free_port(), free_port()
        (folder / "influxd.toml").write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{inner}"\n'
            f'[meta]\ndir = "{folder}/meta"\n[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\n'
            "query-log-enabled = false\n"
            f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n'
            '[continuous_queries]\nrun-interval = "1s"\nlog-enabled = false\n'
        )
        with running(["influxd", "-config", str(folder / "influxd.toml")], f"http://127.0.0.1:{port}/ping"):
            yield f"http://127.0.0.1:{port}"


@contextmanager
def victoria_metrics(*more: str) -> Iterator[str]:
    """URL of a single VictoriaMetrics."""
    with data_folder() as folder:
        port = free_port()
        words = [
            f"-storageDataPath={folder}",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-retentionPeriod=100y",
            "-loggerLevel=ERROR",
        ]
        with running(["victoria-metrics", *words, "-search.latencyOffset=1ms", *more], f"http://127.0.0.1:{port}/health"):
            yield f"http://127.0.0.1:{port}"
