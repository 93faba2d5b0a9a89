"""Stores on real servers as a person meets them: set up, moved, shown, and gone."""

import json
import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from servers import influxd, needs, victoria_metrics
from small import small_site
from store_model import gpus

from ingest.stores import StoreError
from ingest.stores.influxdb import InfluxStore
from ingest.stores.line_protocol import GRADE
from ingest.stores.registry import open_kept
from ingest.stores.server import Server
from ingest.stores.victoriametrics import VictoriaStore
from twin.frame import Frame, Origin, Quality, frame_of
from ui.app import TASK_NAMES
from ui.cli import main
from ui.config import load_config, site_of

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def influx_url() -> Iterator[str]:
    with influxd() as url:
        yield url


@pytest.fixture(scope="module")
def victoria_url() -> Iterator[str]:
    with victoria_metrics() as url:
        yield url


def config(tmp_path: Path, name: str, store: str) -> Path:
    (tmp_path / "assets.csv").write_text(
        "id,kind,parent\nh,hall,\nr,rack,h\nn,node,r\n" + "".join(f"g{i},gpu,n\n" for i in range(4))
    )
    path = tmp_path / f"{name}.toml"
    path.write_text(f'[site]\nname = "t"\n[store]\npath = "{name}"\n{store}\n')
    return path


@needs("influxd", "influxdb")
def test_init_makes_limits_and_rollups_and_twice_changes_nothing(influx_url: str, tmp_path: Path) -> None:
    path = config(tmp_path, "i", f'type = "influxdb"\nurl = "{influx_url}"\ndatabase = "made"\nraw_days = 2\nhour_days = 50')
    for _ in range(2):
        assert main(["store", "init", "--config", str(path)]) == 0
    server = Server(influx_url)
    told = json.loads(server.form("/query", {"q": 'SHOW RETENTION POLICIES ON "made"; SHOW CONTINUOUS QUERIES'}))
    policies = {row[0]: (row[1], row[4]) for row in told["results"][0]["series"][0]["values"]}
    assert policies == {"raw": ("48h0m0s", True), "minute": ("2160h0m0s", False), "hour": ("1200h0m0s", False)}
    mine = next(one for one in told["results"][1]["series"] if one["name"] == "made")
    assert {row[0] for row in mine["values"]} == {"minute", "hour"}
    server.close()


@needs("influxd", "influxdb")
@needs("victoria-metrics", "victoria-metrics")
def test_history_moves_between_stores_and_goes_on_where_it_was_stopped(
    influx_url: str, victoria_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embedded to InfluxDB to VictoriaMetrics, the first killed half way."""
    here = config(tmp_path, "here", "")
    influx = config(tmp_path, "influx", f'type = "influxdb"\nurl = "{influx_url}"\ndatabase = "moved"')
    victoria = config(tmp_path, "victoria", f'type = "victoriametrics"\nurl = "{victoria_url}"')
    site = site_of(load_config(here), TASK_NAMES)
    start = datetime(2026, 11, 20, tzinfo=UTC)
    store = open_kept(load_config(here).store, site)
    frames = []
    for k in range(240):
        values = {"power_w": np.arange(4.0) + k / 8, "temp_c": np.full(4, 40.0 + k % 7)}
        marks = {"temp_c": np.array([0, 1, 2, 0], dtype=np.uint8)} if k % 5 == 0 else {}
        frames.append(Frame("gpu", start + timedelta(seconds=30 * k), site.all_rows("gpu"), values, quality=marks))
    ahead = [frame_of("site", start + timedelta(hours=k), 0, Origin.FORECAST, it_power_w=1e6 + k) for k in range(2)]
    store.append([*frames, *ahead])
    store.close()
    assert main(["store", "init", "--config", str(influx)]) == 0
    times = ["--since", "2026-11-20T00:00Z", "--until", "2026-11-20T02:00Z"]
    write, count = InfluxStore.append, [0]

    def stops(self: InfluxStore, some: Sequence[Frame]) -> None:
        count[0] += 1
        if count[0] == 5:
            raise StoreError("the cable was pulled")
        write(self, some)

    with monkeypatch.context() as broken:
        broken.setattr(InfluxStore, "append", stops)
        assert main(["store", "copy", "--config", str(here), "--to", str(influx), *times]) == 1
    first = count[0]
    with monkeypatch.context() as counted:
        counted.setattr(InfluxStore, "append", stops)
        assert main(["store", "copy", "--config", str(here), "--to", str(influx), *times]) == 0
    assert count[0] - first < 13, "it began anew"
    assert main(["store", "copy", "--config", str(influx), "--to", str(victoria), *times]) == 0
    Server(victoria_url).get("/internal/force_flush")
    for path in (here, influx, victoria):
        kept = open_kept(load_config(path).store, site, readonly=True)
        found = kept.series("gpu", ["power_w", "temp_c"], start, start + timedelta(hours=2))
        np.testing.assert_array_equal(found.values["power_w"], np.stack([frame.values["power_w"] for frame in frames]))
        believed = np.stack([frame.values["temp_c"] for frame in frames])
        believed[::5, 2] = np.nan
        np.testing.assert_array_equal(found.values["temp_c"], believed)
        whole = kept.marked("gpu", ["temp_c"], start, start + timedelta(hours=2), site.all_rows("gpu"), Origin.MEASURED, "")
        np.testing.assert_array_equal(whole.values["temp_c"], np.stack([frame.values["temp_c"] for frame in frames]))
        grades = np.nan_to_num(whole.values["temp_c" + GRADE])
        assert grades[::5].tolist() == [[0, 1, 2, 0]] * 48, "what is bad and what is doubted is copied as such"
        assert grades.sum() == 48 * 3
        assert found.time_s.tolist() == [frame.time_s for frame in frames]
        later = kept.series("site", ["it_power_w"], start, start + timedelta(hours=2), origin=Origin.FORECAST)
        assert later.values["it_power_w"].ravel().tolist() == [1e6, 1e6 + 1]
        kept.close()


@needs("influxd", "influxdb")
@needs("victoria-metrics", "victoria-metrics")
def test_the_dashboards_ask_what_their_store_answers(influx_url: str, victoria_url: str, tmp_path: Path) -> None:
    """Each panel's question, as Grafana would fill it in, on the real server: the number is the one that was written."""
    start = datetime(2026, 11, 19, tzinfo=UTC)
    for kind, url, text in (
        ("influxdb", influx_url, f'type = "influxdb"\nurl = "{influx_url}"\ndatabase = "shown"'),
        ("victoriametrics", victoria_url, f'type = "victoriametrics"\nurl = "{victoria_url}"'),
    ):
        path = config(tmp_path, kind, text)
        site = site_of(load_config(path), TASK_NAMES)
        server = Server(url)
        if kind == "influxdb":
            assert main(["store", "init", "--config", str(path)]) == 0
        store = open_kept(load_config(path).store, site)
        store.append(
            [
                Frame("gpu", start + timedelta(seconds=k), site.all_rows("gpu"), {"power_w": np.full(4, 500.0)})
                for k in range(60)
            ]
        )
        bad = {"power_w": np.full(4, Quality.BAD, dtype=np.uint8)}  # which no panel and no rollup may count
        store.append(
            [Frame("gpu", start + timedelta(seconds=30.5), site.all_rows("gpu"), {"power_w": np.full(4, 6e4)}, quality=bad)]
        )
        assert main(["store", "grafana", "--config", str(path), "--out", str(tmp_path / kind)]) == 0
        board = json.loads((tmp_path / kind / "dashboards/icctwin/gpus.json").read_text())
        (target,) = board["panels"][0]["targets"]
        if kind == "influxdb":
            span = f"time >= {int(start.timestamp())}s AND time < {int(start.timestamp()) + 60}s"
            query = target["query"].replace("$timeFilter", span).replace("$__interval", "60s")
            answer = json.loads(server.form("/query", {"db": "shown", "q": query}))
            value = answer["results"][0]["series"][0]["values"][0][1]
        else:
            server.get("/internal/force_flush")
            query = target["expr"].replace("$__interval", "60s")
            fields = {"query": query, "time": str(int(start.timestamp()) + 59)}
            value = float(json.loads(server.form("/api/v1/query", fields))["data"]["result"][0]["value"][1])
        assert value == 4 * 500.0
        source = json.loads((tmp_path / kind / "datasources/icctwin.yaml").read_text())["datasources"][0]
        assert source["url"] == url
        store.close()
        server.close()


def test_a_server_that_says_no_says_why_in_one_sentence() -> None:
    """Nobody there, no such database, no right to write: each a sentence that says what to do, and never a lost frame."""
    site = small_site()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    frames = [gpus(site, 0, np.ones(16))]
    for store in (
        InfluxStore(Server(nobody), site, "x", "v1"),
        InfluxStore(Server(nobody), site, "x", "v2", "o"),
        VictoriaStore(Server(nobody), Server(nobody), site),
    ):
        with pytest.raises(StoreError, match="is it running"):
            store.append(frames)
        store.close()
