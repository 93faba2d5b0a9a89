"""Real parts end to end: a real node_exporter and a real dcgm-exporter's page through ``icctwin up`` into the store, onto the
faces and before an alert rule; then a reload, a wrong reload, and a clean stop."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from processes import get_json, until

from ingest.stores import open_store
from ui.app import TASK_NAMES
from ui.benches.demo import free_port
from ui.config import load_config, site_of

EXPORTER = shutil.which("prometheus-node-exporter")
pytestmark = [pytest.mark.server, pytest.mark.skipif(EXPORTER is None, reason="prometheus-node-exporter is not installed")]

RULES = """
[[rule]]
name = "gpu_warm"
kind = "gpu"
metric = "temp_c"
above = 20
clear = 15
hold_s = 2
severity = "warning"
summary = "{asset} is at {value:.0f} {unit}"
runbook = "None: this is a test."
"""


@pytest.fixture
def node_exporter() -> Iterator[int]:
    port = free_port()
    child = subprocess.Popen([str(EXPORTER), f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    yield port
    child.terminate()
    child.wait(10)


@pytest.fixture
def dcgm(shared_data: Path) -> Iterator[int]:
    page = (shared_data / "prometheus" / "dcgm-exporter-t4.txt").read_bytes()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def config(tmp_path: Path, node_exporter: int, dcgm: int) -> Path:
    (tmp_path / "assets.csv").write_text(
        "id,kind,parent,index,uuid,hostname\n"
        "hall,hall,,,,\nrack,rack,hall,,,\nnode,node,rack,,,\n"
        "gpu,gpu,node,0,GPU-20c56d28-0da5-6d26-a36a-e7af1ce2586e,\n"
    )
    (tmp_path / "rules.toml").write_text(RULES)
    path = tmp_path / "site.toml"
    path.write_text(
        f"""
[site]
name = "field"
[store]
path = "store"
[alerts]
rules = "rules.toml"
[wall]
port = {free_port()}
[[source]]
name = "os"
type = "prometheus"
targets = "127.0.0.1:{node_exporter}"
mapping = "node_exporter"
node = "node"
every_s = 1
[[source]]
name = "gpus"
type = "prometheus"
targets = "127.0.0.1:{dcgm}"
mapping = "dcgm"
node = "node"
every_s = 1
"""
    )
    return path


def test_from_real_exporters_to_store_wall_and_alert(config: Path) -> None:
    icctwin = [sys.executable, "-m", "ui", "--log-level", "warning"]
    checked = subprocess.run([*icctwin, "check", "--config", str(config), "--json"], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    asked = ["site", "rules", "on call", "source", "source", "facility", "store"]
    assert [row["what"] for row in json.loads(checked.stdout)["rows"]] == asked

    base = f"http://127.0.0.1:{load_config(config).wall.port}"
    with (config.parent / "log").open("w") as log:
        child = subprocess.Popen([*icctwin, "up", "--config", str(config)], stderr=log)
    try:
        until("ready", lambda: get_json(f"{base}/readyz")["ready"])
        fires = until("the alert", lambda: [a for a in get_json(f"{base}/api/v1/view")["alerts"] if a["asset"] == "gpu"])
        assert fires[0]["summary"]["sentence"].startswith("gpu is at 25")
        sources = {row["id"]: row["status"] for row in get_json(f"{base}/api/v1/sources")}
        assert sources == {"os": "up", "gpus": "up"}

        config.with_name("rules.toml").write_text(RULES.replace("above = 20", "above = 20\nclaer = 3"))
        child.send_signal(signal.SIGHUP)
        until(
            "the refusal", lambda: any("claer" in notice["sentence"] for notice in get_json(f"{base}/api/v1/view")["notices"])
        )
        assert get_json(f"{base}/api/v1/view")["alerts"], "the old rules stay"

        config.with_name("rules.toml").write_text(RULES.replace("above = 20", "above = 90").replace("clear = 15", "clear = 80"))
        child.send_signal(signal.SIGHUP)
        until("the new rules", lambda: not get_json(f"{base}/api/v1/view")["alerts"])
    finally:
        child.send_signal(signal.SIGTERM)
        status = child.wait(30)
    assert status == 0, (config.parent / "log").read_text()

    loaded = load_config(config)
    store = open_store(loaded.store.path, site_of(loaded, TASK_NAMES), readonly=True)
    now = datetime.now(UTC)
    node = store.series("node", ["mem_total_bytes", "cpu_util_frac"], now - timedelta(minutes=5), now)
    gpu = store.series("gpu", ["temp_c", "power_w", "energy_j"], now - timedelta(minutes=5), now)
    store.close()
    memory = node.values["mem_total_bytes"]
    assert memory[~np.isnan(memory)].tolist() == pytest.approx(
        [psutil.virtual_memory().total] * np.count_nonzero(~np.isnan(memory))
    )
    share = node.values["cpu_util_frac"]
    assert 0 <= np.nanmin(share) <= np.nanmax(share) <= 1
    assert np.nanmax(gpu.values["temp_c"]) == 25
    assert np.nanmax(gpu.values["power_w"]) == 8.969
    assert np.nanmax(gpu.values["energy_j"]) == 128996.013


def test_a_taken_port_is_one_sentence_and_exit_status_2(config: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", load_config(config).wall.port))
        taken.listen()
        ran = subprocess.run(
            [sys.executable, "-m", "ui", "up", "--config", str(config)],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ,
        )
    assert ran.returncode == 2
    assert "cannot listen on" in ran.stderr
    assert ran.stderr.count("\n") == 1
