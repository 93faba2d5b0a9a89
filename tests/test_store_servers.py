"""Stores on servers against the same contract, on real servers: InfluxDB 1.6.7 by InfluxQL, VictoriaMetrics by PromQL."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from servers import influxd, needs, victoria_metrics
from store_contract import StoreContract

from ingest.stores.influxdb import InfluxStore
from ingest.stores.server import Server
from ingest.stores.victoriametrics import VictoriaStore
from twin.ports import Store
from twin.site import Site

pytestmark = pytest.mark.server


class ServerContract(StoreContract):
    """What a server keeps to itself is not asked of it: who else writes, and when it compacts."""

    examples = 4

    def flushed(self, store: Store, seconds: float) -> None:
        pass

    @pytest.mark.skip(reason="a server lets anyone write who may; that one process does is the embedded store's promise")
    def test_one_writer_many_readers(self, folder: Path, site: Site) -> None: ...


@pytest.fixture(scope="module")
def influx_url() -> Iterator[str]:
    with influxd() as url:
        yield url


@needs("influxd", "influxdb")
class TestInfluxDB1(ServerContract):
    @pytest.fixture(autouse=True)
    def _server(self, influx_url: str) -> None:
        self.url = influx_url

    def open_at(self, path: Path, site: Site, *, readonly: bool = False) -> Store:
        database = hashlib.md5(str(path).encode(), usedforsecurity=False).hexdigest()
        server = Server(self.url)
        server.form("/query", {"q": f'CREATE DATABASE "{database}"'})
        return InfluxStore(server, site, database, "v1", readonly=readonly)


@pytest.fixture(scope="module")
def victoria_url() -> Iterator[str]:
    with victoria_metrics() as url:
        yield url


_ONCE = "VictoriaMetrics keeps both of two values for one time: nothing is ever written over"


@needs("victoria-metrics", "victoria-metrics")
class TestVictoriaMetrics(ServerContract):
    """Each test has assets of its own names on the one server, as each store of the contract has its own folder."""

    @pytest.fixture(autouse=True)
    def _server(self, victoria_url: str) -> None:
        self.url = victoria_url

    def open_at(self, path: Path, site: Site, *, readonly: bool = False) -> Store:
        own = hashlib.md5(str(path).encode(), usedforsecurity=False).hexdigest()[:12]
        server = Visible(self.url)
        mine = replace(site, ids=tuple(f"{own}/{one}" for one in site.ids))
        store = VictoriaStore(server, server, mine, readonly)
        return store

    @pytest.mark.skip(reason=_ONCE)
    def test_the_later_append_counts(self, store: Store, site: Site) -> None: ...

    @pytest.mark.skip(reason=_ONCE)
    def test_late_values_join_what_was_compacted(self, store: Store, site: Site) -> None: ...

    @pytest.mark.skip(reason=_ONCE)
    def test_what_waited_long_does_not_come_back_over_what_is_newer(self, folder: Path, site: Site) -> None: ...

    @pytest.mark.skip(reason=_ONCE)
    def test_forecasts_reach_ahead_and_the_newest_counts(self, store: Store, site: Site) -> None: ...

    @pytest.mark.skip(reason=_ONCE)
    def test_any_order_of_events_gives_what_a_dictionary_gives(
        self, tmp_path_factory: pytest.TempPathFactory, site: Site
    ) -> None: ...


class Visible(Server):
    """Makes the server show at once what it was given; by itself it does so within a second or two."""

    def send(self, path: str, body: bytes, fields: Mapping[str, str]) -> bytes:
        answer = super().send(path, body, fields)
        self.get("/internal/force_flush")
        return answer
