"""Real servers for tests, with their data in a temporary folder."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from store_model import MEMORY

from ui.benches import peers
from ui.benches.demo import free_port
from ui.benches.slurm_server import SlurmServer, lacking, slurm_server

__all__ = ["data_folder", "free_port", "influxd", "needs", "running_slurm", "victoria_metrics"]


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


_slurms = iter(range(1000))


@contextmanager
def running_slurm(folders: pytest.TempPathFactory, nodes: int) -> Iterator[SlurmServer]:
    """A real Slurm of so many nodes; the test is skipped where this machine has none."""
    if lack := lacking():
        pytest.skip(f"a real Slurm needs {lack}")
    port = 18_000 + (os.getpid() % 400) * 30 + next(_slurms) % 2 * 15
    with slurm_server(folders.mktemp("slurm"), port, nodes) as server:
        yield server
