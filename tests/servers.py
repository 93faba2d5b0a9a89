"""Real servers for tests, with their data in a temporary folder."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from store_model import MEMORY

from ui.benches import peers
from ui.benches.demo import free_port
from ui.benches.slurm_server import SlurmServer, free_ports, lacking, slurm_server

__all__ = ["alertmanager", "data_folder", "influxd", "needs", "running_slurm", "victoria_metrics"]


def needs(program: str, package: str) -> pytest.MarkDecorator:
    """Skip where the program of a Debian package is not there."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not here (Debian package {package})")


@contextmanager
def data_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@contextmanager
def influxd() -> Iterator[str]:
    """URL of an InfluxDB 1."""
    with data_folder() as folder, peers.influxd(folder) as (url, _):
        yield url


@contextmanager
def victoria_metrics(*more: str) -> Iterator[str]:
    """URL of a single VictoriaMetrics."""
    with data_folder() as folder, peers.victoria_metrics(folder, *more) as (url, _):
        yield url


@contextmanager
def running_slurm(nodes: int, apart: int = 0) -> Iterator[SlurmServer]:
    """A real Slurm of so many nodes, the last ``apart`` in a partition of their own; the test is skipped where this machine has
    none. Its folder is not pytest's, which is closed to others each time a run begins: slurmrestd works as nobody."""
    if lack := lacking():
        pytest.skip(f"a real Slurm needs {lack}")
    with (
        tempfile.TemporaryDirectory(prefix="icctwin-slurm-") as folder,
        slurm_server(Path(folder), free_ports(), nodes, apart) as server,
    ):
        yield server


@contextmanager
def alertmanager(folder: Path, to: str, token: str = "") -> Iterator[str]:
    """A real Alertmanager whose pages go to the webhook ``to``, with ``token`` as its bearer."""
    program = shutil.which("prometheus-alertmanager")
    if not program:
        pytest.skip("prometheus-alertmanager is not installed")
    port = free_port()
    route = {"receiver": "us", "group_wait": "0s", "group_interval": "1s", "group_by": ["alertname"]}
    hook: dict[str, object] = {"url": to, "send_resolved": True}
    if token:
        hook["http_config"] = {"authorization": {"credentials": token}}
    config = {"route": route, "receivers": [{"name": "us", "webhook_configs": [hook]}]}
    (folder / "am.yml").write_text(json.dumps(config))  # JSON is YAML
    listen = [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    command = [program, f"--config.file={folder / 'am.yml'}", f"--storage.path={folder / 'am'}", *listen]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                with urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1):
                    break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
