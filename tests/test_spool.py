"""The spool: what was taken is written once, whatever the store, the disk and the operator do meanwhile.

``ICCTWIN_KILLS`` sets how often the process is killed.
"""

import errno
import os
import resource
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from small import small_site
from store_model import shuffled_site
from test_store_crash import everything, in_child

from ingest.spool import Spool
from ingest.spool_log import Span, SpoolLog, open_log
from ingest.stores import open_store
from twin.errors import ConfigError, SourceError
from twin.frame import Frame, Origin, same
from twin.site import Site

START = datetime(2026, 11, 22, tzinfo=UTC)
SITE = small_site()
KILLS = int(os.environ.get("ICCTWIN_KILLS", "12"))


def at(k: float) -> datetime:
    return START + timedelta(seconds=k)


def frame(k: int, site: Site = SITE, **more: object) -> Frame:
    return Frame("gpu", at(k), site.all_rows("gpu"), {"power_w": np.arange(16.0) + k, "temp_c": np.full(16, k % 90.0)}, **more)  # type: ignore[arg-type]


class Away:
    """A store that is there or not, and remembers the seconds that it was given, in order."""

    def __init__(self) -> None:
        self.here, self.took = True, list[int]()

    def append(self, frames: Sequence[Frame]) -> None:
        if not self.here:
            raise SourceError("the store is away")
        self.took += [round((one.time - START).total_seconds()) for one in frames]


def spool_at(path: Path, store: Away, **more: int) -> Spool:
    return Spool(store.append, disk=SpoolLog(path, SITE, file_bytes=2000), **more)


def test_frames_come_back_as_they_were_and_by_name_when_the_tables_change(tmp_path: Path) -> None:
    grade = {"temp_c": np.array([0, 2] * 8, dtype=np.uint8)}
    some = [
        frame(1, source="s1", quality=grade),
        frame(2, origin=Origin.FORECAST, band="p10", issued=at(-60)),
        Frame("weather", at(3.000001), SITE.all_rows("weather"), {"wet_bulb_c": np.array([np.nan])}),
    ]
    log = SpoolLog(tmp_path, SITE)
    span = log.write(some)
    log.close()
    back, done = SpoolLog(tmp_path, SITE).read(span, 10**6)
    assert done == span
    assert all(same(one, other) for one, other in zip(some, back, strict=True))
    other = shuffled_site(1)
    back, _ = SpoolLog(tmp_path, other).read(span, 10**6)
    found = dict(zip((other.ids_of("gpu")[row] for row in back[0].rows), back[0].values["power_w"], strict=True))
    before = dict(zip(SITE.ids_of("gpu"), some[0].values["power_w"], strict=True))
    assert found == {asset: value for asset, value in before.items() if asset in other.position}


def test_hours_of_outage_lose_nothing_and_catching_up_does_not_keep_the_present_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.spool.CATCH_UP_SAMPLES", 20 * 32)
    store = Away()
    spool = spool_at(tmp_path, store)
    for k in range(400):
        store.here = not 50 <= k < 300
        spool.put([frame(k)])
        assert spool.flush() == store.here
        if store.here:
            assert k in store.took, "the newest waited for the oldest"
    assert sorted(store.took) == list(range(400))
    assert (spool.waiting, spool.dropped, spool.stored) == (0, 0, 400 * 32)
    assert len(list(tmp_path.glob("log-*"))) == 1, "what the store has still lies here"


def test_a_stop_in_the_middle_of_an_outage_is_gone_on_with(tmp_path: Path) -> None:
    store = Away()
    for life in range(4):
        spool = spool_at(tmp_path, store)
        for k in range(60 * life, 60 * life + 60):
            store.here = k % 60 < 20 and life != 2
            spool.put([frame(k)])
            spool.flush()
        spool.close()
    store.here = True
    spool = spool_at(tmp_path, store)
    assert spool.waiting > 0
    while spool.waiting:
        spool.flush()
    assert sorted(store.took) == list(range(240))


def test_past_its_bound_the_oldest_go_and_are_counted(tmp_path: Path) -> None:
    store = Away()
    spool = spool_at(tmp_path, store, max_bytes=20_000)
    store.here = False
    for k in range(400):
        spool.put([frame(k)])
        spool.flush()
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 25_000
    assert spool.dropped > 0
    store.here = True
    while spool.waiting:
        spool.flush()
    assert store.took == sorted(store.took)
    assert store.took[-1] == 399
    assert len(store.took) * 32 + spool.dropped == 400 * 32
    assert store.took == list(range(400 - len(store.took), 400))


def test_a_record_that_was_cut_or_changed_is_left_out_and_nothing_else(tmp_path: Path) -> None:
    log = SpoolLog(tmp_path, SITE)
    spans = [log.write([frame(k)]) for k in range(5)]
    log.close()
    (file,) = tmp_path.glob("log-*")
    whole = file.read_bytes()
    for cut in (1, 10, 200):
        file.write_bytes(whole[:-cut])
        again = SpoolLog(tmp_path, SITE)
        assert [span.samples for span in again.spans(0)] == [4 * 32]
        assert again.end == spans[3].end
        again.close()
        for path in tmp_path.glob("log-*"):
            path.unlink()
    file.write_bytes(whole[: spans[2].start + 40] + b"\xff" + whole[spans[2].start + 41 :])
    frames, _ = SpoolLog(tmp_path, SITE).read(spans[0]._replace(end=spans[4].end), 10**6)
    assert [one.time for one in frames] == [at(0), at(1), at(3), at(4)]


@pytest.mark.parametrize("spoilt", ["empty", "one bit", "the last"])
def test_a_file_that_cannot_be_read_costs_what_was_in_it_and_is_counted(tmp_path: Path, spoilt: str) -> None:
    store = Away()
    spool = spool_at(tmp_path, store)
    store.here = False
    for k in range(100):
        spool.put([frame(k)])
        spool.flush()
    spool.close()
    packed = sorted(tmp_path.glob("log-*.zst"))
    bad = packed[-1] if spoilt == "the last" else packed[3]
    whole = bytearray(bad.read_bytes())
    whole[len(whole) // 2] ^= 255
    bad.write_bytes(whole if spoilt == "one bit" else b"")
    if spoilt == "the last":
        for path in tmp_path.glob("log-*.log"):
            path.unlink()
    again = Spool(store.append, disk=open_log(tmp_path, SITE))
    store.here = True
    again.put([frame(100)])
    while again.waiting:
        assert again.flush()
    assert sorted(set(store.took)) == sorted(store.took), "nothing twice"
    assert 100 in store.took
    assert len(store.took) * 32 + again.dropped == 101 * 32
    assert 0 < again.dropped <= 30 * 32
    assert again.stored == len(store.took) * 32


def test_what_is_packed_is_on_the_disk_before_the_plain_file_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, done = SpoolLog(tmp_path, SITE, file_bytes=2000), list[str]()
    for k in range(10):
        log.write([frame(k)])
    with monkeypatch.context() as watched:
        watched.setattr("ingest.spool_log.os.fsync", lambda fd: done.append(Path(f"/proc/self/fd/{fd}").resolve().suffix))
        watched.setattr(Path, "rename", lambda path, to: (done.append("rename"), os.rename(path, to)))
        watched.setattr(Path, "unlink", lambda path: (done.append("unlink"), os.unlink(path)))
        log.pack()
    log.close()
    assert done[:4] == [".tmp", "rename", "", "unlink"]
    assert len(done) % 4 == 0


def test_what_waits_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "log-0000000000000000.log").touch(0o644)  # as an earlier icctwin left it
    store = Away()
    store.here = False
    disk = SpoolLog(tmp_path, SITE, file_bytes=2000)
    spool = Spool(store.append, disk=disk)
    for k in range(10):
        spool.put([frame(k)])
    disk.pack()
    spool.close()
    assert {path.suffix for path in tmp_path.iterdir()} == {".log", ".zst", ".json"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_half_a_record_that_cannot_be_cut_off_spoils_nothing_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, write = SpoolLog(tmp_path, SITE), os.write
    spans = [log.write([frame(0)])]

    def half(fd: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.EIO, "Input/output error")
        return write(fd, data[: len(data) - 50])

    def refuses(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as sick:
        sick.setattr("ingest.spool_log.os.write", half)
        sick.setattr("ingest.spool_log.os.ftruncate", refuses)
        with pytest.raises(OSError, match="Input/output"):
            log.write([frame(1)])
    spans += [log.write([frame(k)]) for k in (2, 3)]
    log.close()
    again = SpoolLog(tmp_path, SITE)
    frames, span = again.read(Span(0, spans[-1].end, 0), 10**6)
    assert ([one.time for one in frames], span.samples) == ([at(0), at(2), at(3)], 3 * 32)
    assert again.end == spans[-1].end
    again.close()


def test_a_full_disk_keeps_frames_in_memory_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def live(writing: int) -> None:
        store = Away()
        spool = Spool(store.append, disk=SpoolLog(tmp_path, SITE, file_bytes=10**6))
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for k in range(90):
            store.here = k >= 60
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000 if 10 <= k < 40 else hard, hard))
            spool.put([frame(k)])
            assert spool.disk_failing == (10 <= k < 40)
            spool.flush()
        while spool.waiting:
            spool.flush()
        assert sorted(store.took) == list(range(90))
        assert spool.dropped == 0
        os.write(writing, b"done")

    pid, reading = in_child(live)
    assert everything(reading) == b"done"
    assert os.waitpid(pid, 0)[1] == 0


def test_a_read_only_disk_is_said_once_and_loses_nothing_while_memory_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Away()
    spool = spool_at(tmp_path, store, max_samples=20 * 32)

    def refuses(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as readonly:
        readonly.setattr("ingest.spool_log.os.write", refuses)
        store.here = False
        for k in range(30):
            spool.put([frame(k)])
            assert not spool.flush()
    assert [record.message for record in caplog.records].count(
        "the store refuses; what is measured waits on disk: the store is away"
    ) == 1
    assert sum("Read-only file system" in record.message for record in caplog.records) == 1
    assert (spool.waiting, spool.dropped) == (20 * 32, 10 * 32)
    store.here = True
    spool.put([frame(30)])
    assert spool.flush()
    assert store.took == list(range(11, 31))


def test_a_slow_store_keeps_nobody_waiting(tmp_path: Path) -> None:
    """While the store takes its time over one batch, others arrive; what does not fit into memory waits on disk."""
    store = Away()
    spool = spool_at(tmp_path, store, max_samples=3 * 32)
    seconds = iter(range(100, 120))

    def slow(frames: Sequence[Frame]) -> None:
        store.append(frames)
        for k in [k for _, k in zip(range(10), seconds, strict=False)]:
            spool.put([frame(k)])

    spool._append = slow
    spool.put([frame(99)])
    while spool.waiting:
        assert spool.flush()
    assert sorted(store.took) == list(range(99, 120))
    assert spool.dropped == 0


def test_a_place_that_cannot_be_written_is_told_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="the spool cannot be opened"):
        open_log(tmp_path / "file" / "spool", SITE)


def test_killed_at_any_moment_nothing_acknowledged_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    """Spool and embedded store in one process that is killed again and again; the store refuses now and then. What ``put``
    acknowledged is in the store after the next start, once, with the value that it had."""
    rng = np.random.default_rng(4)
    done = 0

    def live(writing: int) -> None:
        store = open_store(tmp_path / "store", SITE)
        count = 0

        def append(frames: Sequence[Frame]) -> None:
            nonlocal count
            count += 1
            if count % 40 > 25:
                raise SourceError("away")
            store.append(frames)

        spool = Spool(append, disk=SpoolLog(tmp_path / "spool", SITE, file_bytes=20_000))
        for k in range(done, done + 3000):
            spool.put([frame(k)])
            os.write(writing, b".")
            if k % 3 == 0:
                spool.flush()
                store.maintain(at(k))

    for _ in range(KILLS):
        pid, reading = in_child(live)
        acknowledged = os.read(reading, 1)
        time.sleep(rng.uniform(0, 0.3))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        acknowledged += everything(reading)
        store = open_store(tmp_path / "store", SITE)
        spool = Spool(store.append, disk=SpoolLog(tmp_path / "spool", SITE, file_bytes=20_000))
        while spool.waiting:
            assert spool.flush()
        spool.close()
        found = store.series("gpu", ["power_w"], START, at(10**6))
        count = len(found.time_s)
        assert count in (done + len(acknowledged), done + len(acknowledged) + 1)
        np.testing.assert_array_equal(found.values["power_w"], np.arange(16.0) + np.arange(count)[:, None])
        store.close()
        done = count
