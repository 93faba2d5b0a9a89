"""The embedded store against the contract, with its own limits as they are and made so small that every one is met."""

from pathlib import Path

import numpy as np
import pytest
from store_contract import StoreContract
from store_model import at, gpus

from ingest.stores import open_store
from ingest.stores.embedded import compact, journal, merge, names, parts, query, segments
from ingest.stores.embedded.query import Query
from twin.ports import Series, Store
from twin.site import Site


class TestSegmentStore(StoreContract):
    def open_at(self, path: Path, site: Site, *, readonly: bool = False) -> Store:
        return open_store(path, site, readonly=readonly)


class TestSegmentStoreWithTinyLimits(StoreContract):
    """Columns of one value are big, chunks hold 5 values, parts 20, three small parts are merged, nothing stays hot, subsets
    are cut along blocks of three rows."""

    @pytest.fixture(autouse=True)
    def tiny(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module, name, value in (
            (journal, "BIG", 2), (parts, "CELLS", 5), (compact, "MAX_CELLS", 20), (compact, "SPARSE_CELLS", 40),
            (merge, "AT_LEAST", 3), (names, "MAX_ELEMENTS", 6), (names, "BLOCK", 3), (query, "WINDOW_CELLS", 100),
            (segments, "PORTION", 7), (merge, "SMALL_CELLS", {"raw": 12, "minute": 200, "hour": 200}),
        ):  # fmt: skip
            monkeypatch.setattr(module, name, value)

    def open_at(self, path: Path, site: Site, *, readonly: bool = False) -> Store:
        return open_store(path, site, readonly=readonly, hot_bytes=100)

    def flushed(self, store: Store, seconds: float) -> None:
        for _ in range(20):
            super().flushed(store, seconds)

    def test_parts_that_are_replaced_while_a_query_reads(
        self, folder: Path, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between what a reader thinks is there and its reading, small parts are merged and removed: it notices."""
        writer = self.open_at(folder / "s", site)
        for k in range(2):
            writer.append([gpus(site, 60 * k, [float(k)], [1])])
            self.flushed(writer, 1200 * (k + 1))
        reader = self.open_at(folder / "s", site, readonly=True)
        answer, moved = Query.answer, []

        def slow(query: Query) -> Series:
            if not moved:
                for k in range(2, 6):
                    writer.append([gpus(site, 60 * k, [float(k)], [1])])
                    self.flushed(writer, 1200 * (k + 1))
                moved.append(True)
            return answer(query)

        monkeypatch.setattr(Query, "answer", slow)
        found = reader.series("gpu", ["power_w"], at(0), at(100), rows=np.array([1], dtype=np.int32))
        assert found.values["power_w"].ravel().tolist() == [0.0, 1.0]
        assert moved
        reader.close()
        writer.close()
