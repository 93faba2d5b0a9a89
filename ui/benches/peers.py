"""Real servers beside which a bench measures (and which tests drive): started on a free port of 127.0.0.1 with their data in a
folder, ended by their own pid."""

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from twin.errors import SourceError
from ui.benches.demo import free_port


@contextmanager
def running(command: Sequence[str], ready: str, seconds: float = 60) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that answers at ``ready``."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - named by us
    try:
        deadline_s = time.monotonic() + seconds
        while not _answers(ready):
            if child.poll() is not None or time.monotonic() > deadline_s:
                raise SourceError(f"{command[0]} does not answer at {ready}")
            time.sleep(0.05)
        yield child
    finally:
        child.terminate()
        child.wait(20)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 - an address of ours
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True


@contextmanager
def influxd(folder: Path) -> Iterator[tuple[str, int]]:
    """URL and pid of an InfluxDB 1."""
    port, inner = free_port(), free_port()
    (folder / "influxd.toml").write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{inner}"\n'
        f'[meta]\ndir = "{folder}/meta"\n[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\n'
        "query-log-enabled = false\n"
        f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n'
        '[continuous_queries]\nrun-interval = "1s"\nlog-enabled = false\n'
    )
    url = f"http://127.0.0.1:{port}"
    with running(["influxd", "-config", str(folder / "influxd.toml")], f"{url}/ping") as child:
        yield url, child.pid


@contextmanager
def victoria_metrics(folder: Path, *more: str) -> Iterator[tuple[str, int]]:
    """URL and pid of a single VictoriaMetrics that keeps whatever it is given and shows it at once."""
    port = free_port()
    place = [f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}"]
    words = [*place, "-retentionPeriod=100y", "-loggerLevel=ERROR", "-search.latencyOffset=1ms"]
    url = f"http://127.0.0.1:{port}"
    with running(["victoria-metrics", *words, *more], f"{url}/health") as child:
        yield url, child.pid
