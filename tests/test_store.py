"""The embedded store against the contract, with its own limits as they are and made so small that every one is met."""

from pathlib import Path

import pytest
from store_contract import StoreContract

from ingest.stores import compact, journal, merge, names, open_store, parts, query, segments
from twin.ports import Store
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
            (merge, "AT_LEAST", 3), (names, "MAX_ELEMENTS", 6), (names, "BLOCK", 3), (query, "WINDOW_CELLS", 10),
            (segments, "PORTION", 7),
        ):  # fmt: skip
            monkeypatch.setattr(module, name, value)

    def open_at(self, path: Path, site: Site, *, readonly: bool = False) -> Store:
        return open_store(path, site, readonly=readonly, hot_bytes=100)

    def flushed(self, store: Store, seconds: float) -> None:
        for _ in range(20):
            super().flushed(store, seconds)
