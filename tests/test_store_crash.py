"""What a store does when the world is unkind: killed at any moment, read meanwhile, disk full, too old, too much.

``ICCTWIN_KILLS`` sets how often the writer is killed.
"""

import contextlib
import gc
import os
import resource
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from small import small_site
from store_model import MEMORY

from ingest.stores import Retention, StoreError, open_store
from ingest.stores.embedded import segments
from ingest.stores.embedded.retention import USUAL
from twin.errors import ConfigError
from twin.frame import Frame, Origin
from twin.ports import How
from twin.site import Site

START = datetime(2026, 11, 20, 9, 50, tzinfo=UTC)
EVERY_S = 20.0
KILLS = int(os.environ.get("ICCTWIN_KILLS", "25"))


def at(k: float) -> datetime:
    return START + timedelta(seconds=EVERY_S * k)


def frames(site: Site, k: int) -> list[Frame]:
    """What append number ``k`` holds: everyone now, two GPUs late by a varying time, a forecast."""
    late = k - 40 - k % 90
    rows = np.array([k % 5, 5 + k % 7], dtype=np.int32)
    return [
        Frame("gpu", at(k), site.all_rows("gpu"), {"power_w": np.arange(16) + k + 0.5, "temp_c": np.full(16, 40.0 + k % 9)}),
        Frame("gpu", at(late), rows, {"power_w": np.array([10_000.0 + k, 20_000.0 + k])}),
        Frame("grid", at(k + 1000), np.array([0], dtype=np.int32), {"price_per_mwh": np.array([float(k)])}, Origin.FORECAST),
    ]


def expected(count: int) -> np.ndarray:
    """Power after ``count`` appends at the times of appends 0 to count - 1, NaN where late frames fell before the first."""
    table = np.full((count, 16), np.nan)
    for k in range(count):
        table[k] = np.arange(16) + k + 0.5
        late = k - 40 - k % 90
        if late >= 0:
            table[late, [k % 5, 5 + k % 7]] = (10_000.0 + k, 20_000.0 + k)
    return table


def in_child(work: Callable[[int], None]) -> tuple[int, int]:
    """Run ``work`` in a forked process that writes to a pipe: (its pid, the reading end)."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        gc.freeze()  # what libraries hold in this process, as gRPC its channels, may hang where a fork lets go of it
        code = 1
        try:
            work(writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    return pid, reading


def everything(reading: int) -> bytes:
    """All that the other side writes, until it ends."""
    data = b""
    while chunk := os.read(reading, 65_536):
        data += chunk
    os.close(reading)
    return data


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a long life is quickly lived: in memory."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as path:
        yield Path(path) / "store"


@pytest.fixture
def site() -> Site:
    return small_site()


def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer is killed again and again, in appends and in the middle of compactions; what it said it had is there, whole
    appends only, raw and in rollups."""
    monkeypatch.setattr(segments, "PORTION", 50)
    rng = np.random.default_rng(11)
    path, done, interrupted = tmp_path / "store", 0, 0

    def write(writing: int) -> None:
        store = open_store(path, site, hot_bytes=20_000)
        for k in range(done, done + 400):
            store.append(frames(site, k))
            os.write(writing, b".")
            for _ in range(3):
                store.maintain(at(k))

    for _ in range(KILLS):
        pid, reading = in_child(write)
        acknowledged = os.read(reading, 1)
        time.sleep(rng.uniform(0, 0.25))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        acknowledged += everything(reading)
        interrupted += unfinished(path)
        store = open_store(path, site)
        found = store.series("gpu", ["power_w", "temp_c"], START, at(done + 500))
        count = len(found.time_s)
        assert count in (done + len(acknowledged), done + len(acknowledged) + 1)
        np.testing.assert_array_equal(found.values["power_w"], expected(count))
        np.testing.assert_array_equal(found.values["temp_c"][:, 3], 40.0 + np.arange(count) % 9)
        store.close()
        done = count
    store = open_store(path, site)
    for k in range(200):
        store.maintain(at(done + k))
    table = expected(done)
    mean = store.series("gpu", ["power_w"], START, at(done), 60.0)
    np.testing.assert_allclose(mean.values["power_w"][: done // 3], table[: done // 3 * 3].reshape(-1, 3, 16).mean(axis=1))
    forecast = store.series("grid", ["price_per_mwh"], START, at(10**6), origin=Origin.FORECAST)
    assert forecast.values["price_per_mwh"].ravel().tolist() == list(range(done))
    store.close()
    assert interrupted > 0, "no kill ever hit a compaction: the test does not test what it says"


def unfinished(path: Path) -> bool:
    """Whether a compaction has begun and not ended."""
    book = sqlite3.connect(path / "store.db")
    try:
        touched = [path / name for (name,) in book.execute("SELECT name FROM touched")]
    finally:
        book.close()
    logs = [file.with_name(file.name + "-wal") for file in touched]
    return any(log.exists() and log.stat().st_size > 0 for log in logs)  # a run that ended has copied and cut them


def test_a_reader_in_another_process_sees_what_is_acknowledged_while_it_is_written(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "PORTION", 50)
    path = tmp_path / "store"

    def write(writing: int) -> None:
        store = open_store(path, site)
        for k in range(150):
            store.append(frames(site, k))
            os.write(writing, b".")
            store.maintain(at(k))
            store.maintain(at(k))
        store.close()

    pid, reading = in_child(write)
    count = len(os.read(reading, 1))
    reader = open_store(path, site, readonly=True)
    os.set_blocking(reading, False)
    while count < 150:
        with contextlib.suppress(BlockingIOError):
            news = os.read(reading, 65_536)
            assert news, "the writer ended too early"
            count += len(news)
        found = reader.series("gpu", ["power_w"], START, at(500))
        assert len(found.time_s) >= count
        np.testing.assert_array_equal(found.values["power_w"], expected(len(found.time_s)))
    os.close(reading)
    assert os.waitpid(pid, 0)[1] == 0
    reader.close()


def test_threads_append_read_and_maintain_at_once(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "PORTION", 50)
    store = open_store(tmp_path / "store", site, hot_bytes=30_000)
    written, stop, wrong = [0], threading.Event(), list[Exception]()

    def repeat(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not stop.is_set():
                    work()
            except (Exception, AssertionError) as error:  # noqa: BLE001 - whatever it is, the test's own thread raises it
                wrong.append(error)

        return run

    def read() -> None:
        least = written[0]
        found = store.series("gpu", ["power_w"], START, at(500))
        assert len(found.time_s) >= least
        np.testing.assert_array_equal(found.values["power_w"], expected(len(found.time_s)))

    threads = [threading.Thread(target=repeat(work)) for work in (read, read, lambda: store.maintain(at(written[0])))]
    for thread in threads:
        thread.start()
    for k in range(120):
        store.append(frames(site, k))
        written[0] = k + 1
    stop.set()
    for thread in threads:
        thread.join()
    store.close()
    assert not wrong, wrong[0]


def test_a_full_disk_refuses_and_then_goes_on(tmp_path: Path, site: Site) -> None:
    """A limit on the size of files stands for the full disk: appends and compactions fail with one sentence, and go on by
    themselves when there is room; what was acknowledged is there."""
    path = tmp_path / "store"

    def works(step: Callable[[], None]) -> bool:
        try:
            step()
        except StoreError as error:
            sentence = str(error)
        else:
            return True
        assert "free space or mend the disk" in sentence
        return False

    def write(writing: int) -> None:
        store = open_store(path, site)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        refused = kept = k = 0
        for limit in (45_000, 100_000, hard):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            for _ in range(40):
                kept += works(partial(store.append, frames(site, kept)))
                refused += not works(partial(store.maintain, at(k)))
                k += 1
        found = store.series("gpu", ["power_w"], START, at(500))
        np.testing.assert_array_equal(found.values["power_w"], expected(kept))
        store.close()
        os.write(writing, f"{kept} {k - kept} {refused}".encode())

    pid, reading = in_child(write)
    told = everything(reading).decode()
    assert os.waitpid(pid, 0)[1] == 0
    kept, appends_refused, runs_refused = map(int, told.split())
    assert appends_refused > 20
    assert runs_refused > 0
    store = open_store(path, site)
    found = store.series("gpu", ["power_w"], START, at(500))
    np.testing.assert_array_equal(found.values["power_w"], expected(kept))
    store.close()


@pytest.mark.parametrize("where", ["compact.Compaction._settle_files", "compact.merge", "index.Index.commit"])
def test_a_run_that_fails_at_its_end_did_not_happen(
    folder: Path, site: Site, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fails(*_: object) -> None:
        raise StoreError("the disk said no")

    store = open_store(folder, site)
    for k in range(100):
        store.append(frames(site, k))
    with monkeypatch.context() as broken:
        broken.setattr(f"ingest.stores.embedded.{where}", fails)
        with pytest.raises(StoreError, match="the disk said no"):
            store.maintain(at(200))
    for again in range(3):
        found = store.series("gpu", ["power_w"], START, at(500))
        np.testing.assert_array_equal(found.values["power_w"], expected(100))
        store.close()
        store = open_store(folder, site)
        if again:
            store.maintain(at(300))
            assert not (folder / "journal-00000001.db").exists()
    store.close()


def filled(path: Path, site: Site, days: float, keep: Retention, every_s: float = 60.0, hours: int = 1) -> Iterator[datetime]:
    """A store that lives through ``days``, with all upkeep; an append every ``hours`` of values that cannot be compressed."""
    store = open_store(path, site, retention=keep)
    rng = np.random.default_rng(5)
    names = ("power_w", "temp_c", "mem_temp_c", "util_frac")
    for hour in range(0, int(days * 24), hours):
        now = START + timedelta(hours=hour + hours)
        times = [now - timedelta(seconds=k * every_s) for k in range(int(3600 * hours / every_s), 0, -1)]
        store.append([Frame("gpu", t, site.all_rows("gpu"), {name: rng.normal(50, 9, 16) for name in names}) for t in times])
        for _ in range(3):
            store.maintain(now)
        yield now
    store.close()


def test_each_tier_is_dropped_at_its_own_age(folder: Path, site: Site) -> None:
    keep = Retention(raw_s=86_400, minute_s=2 * 86_400, hour_s=10**9, max_bytes=10**10)
    *_, now = filled(folder, site, 3.5, keep, hours=4)
    store = open_store(folder, site, retention=keep)
    raw = store.series("gpu", ["power_w"], START, now)
    assert 86_400 <= now.timestamp() - raw.time_s[0] <= 2 * 86_400
    first = START + timedelta(minutes=10)  # on the hour
    hours = store.series("gpu", ["power_w"], first, now, 3600.0, How.MAX)
    assert not np.isnan(hours.values["power_w"]).any()
    minutes = store.series("gpu", ["power_w"], first, now, 600.0, How.MAX)
    known = ~np.isnan(minutes.values["power_w"]).all(axis=1)
    assert 2 * 86_400 <= now.timestamp() - minutes.time_s[known][0] <= 3 * 86_400
    assert {p.name for p in (folder).glob("raw-*.db")} == {"raw-20261122.db", "raw-20261123.db"}
    store.append([Frame("gpu", START, site.all_rows("gpu"), {"power_w": np.ones(16)})])  # older than what is kept
    for _ in range(9):
        store.maintain(now + timedelta(hours=1))
    assert not (folder / "raw-20261120.db").exists()
    store.close()


def test_a_store_stays_within_its_size_and_gives_the_space_back(folder: Path, site: Site) -> None:
    """The oldest raw values go first, by parts of a day where a day is too much; rollups outlive them."""
    keep = Retention(raw_s=10**9, minute_s=10**9, hour_s=10**9, max_bytes=14_000_000)
    path, sizes = folder, []
    for _ in filled(path, site, 2.5, keep, 6.0):
        sizes.append(sum(p.stat().st_size for p in path.iterdir()))
    assert max(sizes) < 1.4 * keep.max_bytes  # what waits, and the log of a compaction, come on top for a moment
    assert np.mean(sizes[-24:]) > 0.6 * keep.max_bytes  # and no more is dropped than must be
    now = START + timedelta(hours=len(sizes))
    store = open_store(path, site, retention=keep)
    raw = store.series("gpu", ["power_w"], START, now)
    hours = store.series("gpu", ["power_w"], START + timedelta(minutes=10), now, 3600.0)
    assert START.timestamp() + 86_400 < raw.time_s[0] < now.timestamp() - 6 * 3600
    assert raw.time_s[-1] == now.timestamp() - 6
    assert not np.isnan(hours.values["power_w"]).any()
    store.close()


def test_a_later_schema_is_refused_and_so_is_rubbish(tmp_path: Path, site: Site) -> None:
    open_store(tmp_path, site).close()
    book = sqlite3.connect(tmp_path / "store.db")
    book.execute("PRAGMA user_version = 99")
    book.close()
    for readonly in (False, True):
        with pytest.raises(ConfigError, match="written by a later icctwin"):
            open_store(tmp_path, site, readonly=readonly)
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "store.db").write_bytes(b"this is not a database" * 500)
    with pytest.raises(StoreError, match="restore it from a copy"):
        open_store(tmp_path, site)


def test_a_query_too_large_to_read_is_refused(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.stores.embedded.query.MAX_READ_CELLS", 1000)
    *_, now = filled(tmp_path / "s", site, 0.5, USUAL)
    store = open_store(tmp_path / "s", site)
    with pytest.raises(ValueError, match="steps of whole minutes or hours"):
        store.series("gpu", ["power_w"], START, now, 7.0)
    store.close()
