"""The embedded store against the contract, with its own limits as they are and made so small that every one is met."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from small import rows, small_site
from store_contract import StoreContract
from store_model import BAD, SUSPECT, Model, at, gpus, same_series

from ingest.stores import open_store
from ingest.stores.embedded import compact, journal, merge, names, parts, query, segments, stretch
from ingest.stores.embedded.codec import places_of
from ingest.stores.embedded.files import STATS
from ingest.stores.embedded.query import Query
from ingest.stores.embedded.straight import Table
from twin.frame import Frame
from twin.load import build_site
from twin.ports import How, Series, Store
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
            (segments, "PORTION", 7), (merge, "SMALL_CELLS", {"raw": 12, "minute": 200, "hour": 200}), (query, "FEW", 3),
            (stretch, "AT_LEAST", 2), (stretch, "CHUNK_CELLS", 5), (stretch, "HELD_CELLS", 12), (segments, "LEAST_ROWS", 1),
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


def test_hours_that_are_over_become_one_part_and_say_the_same(tmp_path: Path) -> None:
    """Nodes that are read each by itself, one with gaps, one with doubts, and one value that comes late; a reader of one GPU
    then opens one chunk a metric where it opened one for every ten minutes."""
    site, model, rng = small_site(), Model(), np.random.default_rng(8)
    store = open_store(tmp_path, site)
    for s in range(600, 600 + 4 * 3600, 60):
        frames = []
        for node in range(4):
            rows = list(range(4 * node, 4 * node + 4))
            grade = {"power_w": np.array([0, 0, BAD, SUSPECT], dtype=np.uint8)} if node == 2 else {}
            if not (node == 1 and rng.random() < 0.2):
                frames.append(gpus(site, s + 3.5 * (node == 3), rng.normal(500, 50, 4).round(2), rows, quality=grade))
        store.append(frames)
        model.append(site, frames)
        store.maintain(at(s))
    late = [gpus(site, 4000, [1.25], [9])]
    store.append(late)
    model.append(site, late)
    for k in range(20):
        store.maintain(at(5 * 3600 + 600 * k))
    store.close()
    book = sqlite3.connect(tmp_path / "raw-20261120.db")
    parts_of_day = book.execute("SELECT t1 - t0 FROM part WHERE dead IS NULL AND kind = 'gpu' ORDER BY t0").fetchall()
    book.close()
    assert sum(span > 6000e6 for (span,) in parts_of_day) == 2, "no block of hours was stretched"
    book = sqlite3.connect(tmp_path / "hour-20261119.db")
    chunks = book.execute("SELECT id, data FROM chunk").fetchall()
    book.close()
    sums = [data for key, data in chunks if (key >> 20) % 8 == STATS.index("sum")]
    assert [places_of(data) for data in sums] == [2] * len(sums) != [], "sums of short decimals are short decimals"
    for reader in (open_store(tmp_path, site), open_store(tmp_path, site, readonly=True)):
        for asked in ([9], [3, 10, 15], list(range(16))):
            for step in (None, 7.0, 60.0, 3600.0):
                found = reader.series("gpu", ["power_w"], at(0), at(20_000), step, rows=np.array(asked, dtype=np.int32))
                same_series(
                    found, *model.series(site, "gpu", ["power_w"], at(0), at(20_000), step, How.MEAN, asked), exact=False
                )
        reader.close()


def test_a_store_goes_on_when_the_last_asset_of_a_kind_has_left_the_centre_and_has_its_past_when_it_comes_back(
    tmp_path: Path,
) -> None:
    whole, model = small_site(), Model()
    without = build_site("test", "UTC", rows("id=h1 kind=hall", "id=r1 kind=rack parent=h1", "id=sky kind=weather"))
    with closing(open_store(tmp_path, whole)) as store:
        for s in range(0, 3600, 300):
            frames = [gpus(whole, s, [100.0 + s / 300 + i for i in range(16)])]
            store.append(frames)
            model.append(whole, frames)
    with closing(open_store(tmp_path, without)) as store:
        for k in range(20):
            store.maintain(at(3600 + 600 * k))
    assert list(tmp_path.glob("hour-*.db")), "what came before became hours"
    with closing(open_store(tmp_path, whole)) as store:
        found = store.series("gpu", ["power_w"], at(-600), at(7200), 3600.0)
        expected = model.series(whole, "gpu", ["power_w"], at(-600), at(7200), 3600.0, How.MEAN, list(range(16)))
        same_series(found, *expected, exact=False)


@pytest.mark.parametrize("include_bad", [False, True])
def test_what_lies_alike_is_read_straight_and_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, include_bad: bool
) -> None:
    """Over midnight, through stretched and plain parts and what waits, with doubts and gaps, cut inside a part at both ends."""
    monkeypatch.setattr(journal, "BIG", 4)
    site, rng = small_site(), np.random.default_rng(4)
    store = open_store(tmp_path, site)
    frames: list[Frame] = []
    for s in range(9 * 3600, 17 * 3600, 30):  # the site's day begins at ten
        power = rng.normal(500, 50, 16).round(2)
        power[5] = np.nan if s % 700 < 60 else power[5]
        quality = {"power_w": np.array([0, 0, BAD, SUSPECT] * 4, dtype=np.uint8)} if s % 1100 < 40 else {}
        columns = {"power_w": power, "temp_c": np.full(16, 40.0 + s % 7), "util_frac": rng.random(16)}
        frames.append(Frame("gpu", at(s), site.all_rows("gpu"), columns, quality=quality))
        if s % 600 == 0:
            store.append(frames)
            frames.clear()
            for k in range(3):
                store.maintain(at(s + k))
    store.append(frames)
    spans = ((9, 17), (10.3, 16.9), (13.9, 14.1), (16.95, 17))
    asked = [(rows, low, high) for rows in ([5], [2], [3, 9, 14]) for low, high in spans]

    def ask() -> list[Series]:
        names = ["power_w", "temp_c", "util_frac"]
        return [
            store.series("gpu", names, at(3600 * low), at(3600 * high), rows=np.array(rows, np.int32), include_bad=include_bad)
            for rows, low, high in asked
        ]

    read, straight = Table.read, list[bool]()
    with monkeypatch.context() as noting:
        noting.setattr(Table, "read", lambda table, bad: (found := read(table, bad), straight.append(found is not None))[0])
        quick = ask()
    assert straight == [True] * len(asked)
    monkeypatch.setattr(Table, "open", lambda *_: False)
    for one, other in zip(quick, ask(), strict=True):
        np.testing.assert_array_equal(one.time_s, other.time_s)
        assert len(one.time_s) > 0
        for name, column in one.values.items():
            np.testing.assert_array_equal(column, other.values[name], err_msg=name)
    assert np.isnan(quick[4].values["power_w"]).any() != include_bad
    store.close()


def test_an_answer_that_is_kept_holds_until_something_is_appended_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time nothing is read but the minute that changed; a late value and a reader's view of it count at once."""
    monkeypatch.setattr(segments, "LEAST_ROWS", 1)
    site = small_site()
    store = open_store(tmp_path, site)
    reader = open_store(tmp_path, site, readonly=True)
    asked: list[tuple[int, int]] = []
    answer = Query.answer

    def noting(query: Query) -> Series:
        asked.append((query._ask.start, query._ask.end))
        return answer(query)

    monkeypatch.setattr(Query, "answer", noting)
    store.append([gpus(site, s, np.arange(16.0) + s) for s in range(0, 600, 20)])
    start, end = at(-7), at(593)  # whole minutes

    def ask(of: Store) -> float:
        asked.clear()
        return float(of.series("gpu", ["power_w"], start, end, 60.0).values["power_w"][5, 1])

    for of in (store, reader):
        before = ask(of)
        assert len(asked) == 1
        assert (ask(of), asked) == (before, [])
    store.append([gpus(site, 315, [1000.0], [1])])
    for of in (store, reader):
        assert ask(of) != before
        assert [round((b - a) / 60e6) for a, b in asked] == [1]
    for until in (1300, 8000):
        for _ in range(9):
            store.maintain(at(until))
        assert ask(reader) == ask(store) != before
    for of in (reader, store):
        of.close()
