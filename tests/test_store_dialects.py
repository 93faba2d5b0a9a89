"""InfluxDB's later versions, as far as they can be had here: writes of the real influxdb-client against servers that take
``/api/v2/write``, and the set-up of version 2 against a stand-in that answers as its documentation says."""

import gzip
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import pytest
from servers import influxd, needs, victoria_metrics
from small import small_site
from store_model import at, gpus
from test_store_moves import config

from ingest.spool import Spool
from ingest.stores import StoreError
from ingest.stores.errors import LeftOut
from ingest.stores.influxdb import InfluxStore
from ingest.stores.line_protocol import LineWriter
from ingest.stores.server import Server
from ingest.stores.victoriametrics import VictoriaStore
from twin.frame import Frame
from ui.cli import main

SITE = small_site()


class Handler(BaseHTTPRequestHandler):
    """Answers by ``answer(method, path, query, body)``; remembers what it was asked in ``seen``."""

    answer: Any
    seen: list[tuple[str, str, dict[str, str], bytes]]

    def _any(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append((self.command, parts.path, {**query, "auth": self.headers.get("Authorization", "")}, body))
        status, data = type(self).answer(self, parts.path, query, body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _any

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving(answer: Any) -> Iterator[tuple[str, list[tuple[str, str, dict[str, str], bytes]]]]:
    handler = type("Own", (Handler,), {"answer": answer, "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("abc-secret\n")
    return path


@needs("influxd", "influxdb")
@pytest.mark.server
@pytest.mark.parametrize(("dialect", "scheme"), [("v2", "Token"), ("v3", "Bearer")])
def test_the_real_client_writes_to_influxd_behind_a_rewritten_path(tmp_path: Path, dialect: Any, scheme: str) -> None:
    with influxd() as url:

        def rewrite(self: Handler, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
            if path == "/api/v2/write":
                path, query = "/write", {"db": query["bucket"], "precision": {"us": "u"}[query["precision"]]}
            head = {key: self.headers[key] for key in ("Content-Encoding", "Content-Type") if key in self.headers}
            asked = urllib.request.Request(f"{url}{path}?{urlencode(query)}", body or None, head, method=self.command)
            try:
                with urllib.request.urlopen(asked) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()

        with serving(rewrite) as (front, seen):
            store = InfluxStore(Server(front, scheme=scheme, secret_file=token(tmp_path)), SITE, "b", dialect, "o")
            with pytest.raises(StoreError, match="icctwin store init"):
                store.append([gpus(SITE, 0, np.ones(16))])
            Server(url).form("/query", {"q": "CREATE DATABASE b"})
            store.append([gpus(SITE, k, np.arange(16.0) + k / 8) for k in range(3)])
            found = store.series("gpu", ["power_w"], at(0), at(9))
            np.testing.assert_array_equal(found.values["power_w"], np.arange(16.0) + np.arange(3)[:, None] / 8)
            writes = [query for _, path, query, _ in seen if path == "/api/v2/write"]
            assert {(one["org"], one["bucket"], one["auth"]) for one in writes} == {("o", "b", "Token abc-secret")}
            assert {query["auth"] for _, path, query, _ in seen if path == "/query"} == {f"{scheme} abc-secret"}
            store.close()


@needs("victoria-metrics", "victoria-metrics")
@pytest.mark.server
def test_the_real_client_writes_to_victoriametrics() -> None:
    with victoria_metrics() as url:
        writer = InfluxStore(Server(url), SITE, "any", "v2", "o")
        writer.append([gpus(SITE, k, np.arange(16.0) + k / 8) for k in range(3)])
        server = Server(url)
        server.get("/internal/force_flush")
        reader = VictoriaStore(server, server, SITE, readonly=True)
        found = reader.series("gpu", ["power_w"], at(0), at(9))
        np.testing.assert_array_equal(found.values["power_w"], np.arange(16.0) + np.arange(3)[:, None] / 8)
        for store in (writer, reader):
            store.close()


def test_version_2_is_set_up_with_buckets_mappings_and_tasks_once(tmp_path: Path) -> None:
    """Against a stand-in with the answers of InfluxDB's API documentation (v2.7: /orgs, /buckets, /dbrps, /tasks)."""
    buckets: dict[str, dict[str, Any]] = {}
    tasks: dict[str, dict[str, Any]] = {}

    def answer(self: Handler, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        told = json.loads(body) if body else {}
        found: dict[str, Any] = {}
        if path == "/api/v2/orgs":
            found = {"orgs": [{"id": "1", "name": "o"}]}
        elif path == "/api/v2/buckets" and self.command == "GET":
            found = {"buckets": [one for name, one in buckets.items() if name == query.get("name", name)]}
        elif path == "/api/v2/buckets":
            found = buckets[told["name"]] = {"id": f"b{len(buckets)}", "type": "user", **told}
        elif path == "/api/v2/dbrps":
            found = {"id": "d", **told}
        elif path == "/api/v2/tasks" and self.command == "GET":
            found = {"tasks": list(tasks.values())}
        elif path == "/api/v2/tasks":
            name = told["flux"].split('option task = {name: "')[1].split('"')[0]
            found = tasks[name] = {"id": f"t{len(tasks)}", "name": name, "orgID": "1", **told}
        return 201 if self.command == "POST" else 200, json.dumps(found).encode()

    with serving(answer) as (url, seen):
        secret = f'type = "influxdb"\nurl = "{url}"\ndialect = "v2"\norg = "o"\ntoken_file = "{token(tmp_path)}"\nraw_days = 3'
        path = config(tmp_path, "two", secret)
        for _ in range(2):
            assert main(["store", "init", "--config", str(path)]) == 0
        assert {name: one["retentionRules"][0]["everySeconds"] for name, one in buckets.items()} == {
            "icctwin": 3 * 86_400, "icctwin_minute": 90 * 86_400, "icctwin_hour": 3650 * 86_400
        }  # fmt: skip
        assert sorted(tasks) == ["icctwin icctwin hour", "icctwin icctwin minute"]
        assert all('to(bucket: "icctwin_' in one["flux"] and "every: 1" in one["flux"] for one in tasks.values())
        assert {query["auth"] for *_, query, _ in seen} == {"Token abc-secret"}
        assert sum(path == "/api/v2/tasks" and method == "POST" for method, path, *_ in seen) == 2


def test_what_a_server_will_never_take_is_counted_as_lost_and_all_other_refusals_wait() -> None:
    """Values that it will never take must not hold up all that comes after; what a proxy or a wrong address says is no word
    about values, and a server in trouble must be tried again."""
    says: list[tuple[int, bytes]] = [(400, b"")]

    def answer(self: Handler, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        return says[0]

    grades = {"power_w": np.array([0, 1] * 8, dtype=np.uint8)}
    some = [gpus(SITE, k, np.ones(16)) for k in range(2)]
    frames = [Frame("gpu", one.time, one.rows, one.values, quality=grades) for one in some]
    with serving(answer) as (url, _):
        for store in (InfluxStore(Server(url), SITE, "b", "v1"), VictoriaStore(Server(url), Server(url), SITE)):
            spool = Spool(store.append)
            for said, lost in (
                ('{"error":"partial write: points beyond retention policy dropped=5"}', 5),
                ('{"code":"invalid","message":"unable to parse: what"}', 32),
                ('{"error":"partial write of line protocol occurred"}', 32),
            ):
                says[0] = 400, said.encode()
                spool.put(frames)
                spool.dropped = spool.stored = 0
                assert spool.flush()
                assert (spool.dropped, spool.stored, spool.waiting, spool.failing) == (lost, 32 - lost, 0, False)
            spool.put(frames)
            html = b"<html>nginx"
            for status, said in (*((s, html) for s in (400, 401, 405, 413, 422, 429, 500, 503)), (400, b'{"error":"no org"}')):
                says[0] = status, said
                assert not spool.flush()
                assert (spool.waiting, spool.failing) == (32, True)
            says[0] = 204, b""
            assert spool.flush()
            assert (spool.waiting, spool.stored) == (0, 32)
            endless = np.where(np.arange(16) < 3, np.inf, 1.0)
            with pytest.raises(LeftOut, match="infinite") as left:
                store.append([gpus(SITE, 9, endless)])
            assert left.value.samples == 3
            store.close()


def test_what_is_too_large_at_once_is_written_in_halves() -> None:
    """As behind nginx, whose client_max_body_size is 1 MB where nobody says otherwise."""
    taken = list[bytes]()

    def answer(self: Handler, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        lines = gzip.decompress(body).split(b"\n")
        if len(lines) > 5:
            return 413, b"<html>413 Request Entity Too Large"
        taken.extend(lines)
        return 204, b""

    with serving(answer) as (url, _):
        store, wanted = InfluxStore(Server(url), SITE, "b", "v1"), LineWriter(SITE)
        frames = [gpus(SITE, k, np.arange(16.0)) for k in range(3)]
        store.append(frames)
        assert taken == b"\n".join(wanted.bodies(frames)).split(b"\n")
        store.close()
