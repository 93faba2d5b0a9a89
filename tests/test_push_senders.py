"""Real senders push into a real ``icctwin up``: Prometheus and vmagent, the Influx client, the OpenTelemetry SDK."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from processes import get_json, until

from ui.benches.demo import free_port

pytestmark = pytest.mark.server
TOKEN = "s3cret-of-senders-0123456789"


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("w") as file:
        child = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        yield
    finally:
        child.terminate()
        child.wait(30)


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an ``icctwin up`` that is pushed into."""
    folder = tmp_path_factory.mktemp("centre")
    rows = ["id,kind,parent,index,hostname", "hall,hall,,,", "rack,rack,hall,,"]
    for node in ("influx", "otlp", "prometheus", "vmagent"):
        rows += [f"{node},node,rack,,{node}", f"{node}-gpu,gpu,{node},0,"]
    (folder / "assets.csv").write_text("\n".join([*rows, ""]))
    (folder / "token").write_text(TOKEN)
    port = free_port()
    config = folder / "site.toml"
    config.write_text(
        f"""
[site]
name = "pushed"
[store]
path = "store"
[wall]
port = {port}
[[source]]
name = "push"
type = "push"
token_file = "token"
"""
    )
    command = [sys.executable, "-m", "ui", "--log-level", "warning", "up", "--config", str(config)]
    with _running(command, folder / "log"):
        url = f"http://127.0.0.1:{port}"
        until("the API", lambda: get_json(f"{url}/healthz"))
        yield url


def _seen(centre: str, kind: str, metric: str, asset: str) -> float | None:
    page = get_json(f"{centre}/api/v1/state?kind={kind}&metric={metric}")
    if metric not in page["metrics"]:
        return None
    value = page["metrics"][metric]["value"][page["assets"].index(asset)]
    return None if value is None else float(value)


def test_the_influx_client_writes(centre: str) -> None:
    with InfluxDBClient(url=centre, token=TOKEN, org="-", enable_gzip=True) as client:
        assert client.ping()
        point = Point("DCGM_FI_DEV").tag("Hostname", "influx").tag("gpu", "0").field("GPU_TEMP", 61.5).field("XID_ERRORS", 79)
        now = time.time_ns()
        client.write_api(write_options=SYNCHRONOUS).write("any", record=point.time(now, WritePrecision.NS))
    until("the reading", lambda: _seen(centre, "gpu", "temp_c", "influx-gpu") == 61.5)
    (event,) = until("the event", lambda: get_json(f"{centre}/api/v1/events?code=xid/79"))
    assert (event["asset"], event["severity"], event["source"]) == ("influx-gpu", "critical", "push")


def test_the_influx_client_is_refused_without_the_token(centre: str) -> None:
    with InfluxDBClient(url=centre, token="wrong", org="-") as client, pytest.raises(Exception, match="token") as caught:
        client.write_api(write_options=SYNCHRONOUS).write("any", record="a b=1")
    assert caught.value.status == 401  # type: ignore[attr-defined]


def test_the_opentelemetry_sdk_exports(centre: str) -> None:
    exporter = OTLPMetricExporter(endpoint=f"{centre}/v1/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=60_000)
    provider = MeterProvider([reader], resource=Resource({"Hostname": "otlp"}))
    meter = provider.get_meter("test")
    meter.create_observable_gauge("DCGM_FI_DEV_POWER_USAGE", [lambda _: [Observation(412.5, {"gpu": 0})]])
    assert provider.force_flush()
    provider.shutdown()
    until("the reading", lambda: _seen(centre, "gpu", "power_w", "otlp-gpu") == 412.5)


class _Page(BaseHTTPRequestHandler):
    began = time.monotonic()

    def do_GET(self) -> None:
        grown = 1e9 + 1000 * (time.monotonic() - self.began)
        body = (
            f'DCGM_FI_DEV_GPU_TEMP{{gpu="0"}} 55\nnode_memory_MemTotal_bytes 8e9\n'
            f"# TYPE node_network_receive_bytes_total counter\n"
            f'node_network_receive_bytes_total{{device="eth0"}} {grown}\n'
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def exporter() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _scrape(exporter: str, node: str) -> str:
    return f"""
global: {{scrape_interval: 1s}}
scrape_configs:
- job_name: page
  static_configs: [{{targets: ['{exporter}'], labels: {{Hostname: {node}, instance: {node}}}}}]
"""


def _sends(centre: str, node: str) -> None:
    """What a sender of the page gives: readings as they stand, and the rate of a counter."""
    until("the GPU's reading", lambda: _seen(centre, "gpu", "temp_c", f"{node}-gpu") == 55)
    until("the node's memory", lambda: _seen(centre, "node", "mem_total_bytes", node) == 8e9)
    rate = until("the rate", lambda: _seen(centre, "node", "net_rx_bps", node))
    assert rate == pytest.approx(8000, rel=0.2)


def test_a_real_prometheus_writes_to_us(centre: str, exporter: str, tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    (tmp_path / "token").write_text(TOKEN)
    config = tmp_path / "prometheus.yml"
    write = f"remote_write: [{{url: '{centre}/api/v1/write', authorization: {{credentials_file: '{tmp_path / 'token'}'}}}}]\n"
    config.write_text(_scrape(exporter, "prometheus") + write)
    listen = f"--web.listen-address=127.0.0.1:{free_port()}"
    command = [program, f"--config.file={config}", listen, f"--storage.tsdb.path={tmp_path / 'data'}"]
    with _running(command, tmp_path / "log"):
        _sends(centre, "prometheus")
    assert "non-recoverable" not in (tmp_path / "log").read_text()


def test_a_real_vmagent_writes_to_us(centre: str, exporter: str, tmp_path: Path) -> None:
    program = shutil.which("vmagent")
    if program is None:
        pytest.skip("vmagent is not installed (Debian: apt-get install victoria-metrics)")
    config = tmp_path / "scrape.yml"
    config.write_text(_scrape(exporter, "vmagent"))
    command = [
        program,
        f"-promscrape.config={config}",
        f"-httpListenAddr=127.0.0.1:{free_port()}",
        f"-remoteWrite.tmpDataPath={tmp_path / 'data'}",
        f"-remoteWrite.url={centre}/api/v1/write",
        f"-remoteWrite.bearerToken={TOKEN}",
    ]
    with _running(command, tmp_path / "log"):
        _sends(centre, "vmagent")


def test_what_is_pushed_shows_in_the_health_of_its_source(centre: str) -> None:
    (source,) = get_json(f"{centre}/api/v1/sources")
    assert (source["id"], os.path.basename(source["status"])) == ("push", "up")
    assert source["samples"]["value"] > 0
