"""What every store must do: subclass ``StoreContract``, give ``open_at``, and all of this is asked of it."""

import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import small_site
from store_model import BAD, MEMORY, START, SUSPECT, Model, at, gpus, same_series, shuffled_site

from twin.errors import ConfigError
from twin.frame import Frame, Origin, frame_of
from twin.ports import How, Store
from twin.site import Site
from twin.state import State


class StoreContract:
    """The contract. ``open_at`` opens the store in a folder; the same folder is opened again and again."""

    def open_at(self, path: Path, site: Site, *, readonly: bool = False) -> Store:
        raise NotImplementedError

    def flushed(self, store: Store, seconds: float) -> None:
        """Let the store do all the upkeep that is due."""
        for _ in range(50):
            store.maintain(at(seconds))

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        """Where nothing is lost by not waiting for a disk: what a killed process leaves is another test."""
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            yield Path(folder)

    @pytest.fixture
    def site(self) -> Site:
        return small_site()

    @pytest.fixture
    def store(self, folder: Path, site: Site) -> Iterator[Store]:
        store = self.open_at(folder / "store", site)
        yield store
        store.close()

    def test_what_was_appended_comes_back(self, store: Store, site: Site) -> None:
        values = [np.arange(16) + 0.125 * k for k in range(3)]
        store.append([gpus(site, k, values[k]) for k in range(3)])
        store.append([frame_of("grid", at(1), 0, price_per_mwh=-12.5)])
        found = store.series("gpu", ["power_w"], at(0), at(2))
        assert found.time_s.tolist() == [at(0).timestamp(), at(1).timestamp()]
        np.testing.assert_array_equal(found.values["power_w"], values[:2])
        assert store.series("grid", ["price_per_mwh"], at(0), at(9)).values["price_per_mwh"].tolist() == [[-12.5]]
        assert store.series("gpu", ["temp_c"], at(0), at(9)).values["temp_c"].shape == (0, 16)

    def test_rows_come_in_the_order_asked_for(self, store: Store, site: Site) -> None:
        store.append([gpus(site, 0, np.arange(16.0)), gpus(site, 1, [5.0, 3.0], [5, 3])])
        asked = np.array([3, 15, 5], dtype=np.int32)
        for until in (0, 7200):
            self.flushed(store, until)
            found = store.series("gpu", ["power_w"], at(0), at(9), rows=asked)
            np.testing.assert_array_equal(found.values["power_w"], [[3, 15, 5], [3, math.nan, 5]])
            assert found.rows.tolist() == asked.tolist()

    def test_the_later_append_counts(self, store: Store, site: Site) -> None:
        """Before, between and after compactions; NaN says nothing; bad silences."""
        store.append([gpus(site, 0, [1.0, 1.0, 1.0], [0, 1, 2])])
        self.flushed(store, 7200)
        store.append([gpus(site, 0, [2.0, math.nan], [1, 2]), gpus(site, 0, [3.0], [3])])
        for until in (7200, 14400):
            self.flushed(store, until)
            found = store.series("gpu", ["power_w"], at(0), at(1), rows=np.arange(4, dtype=np.int32))
            assert found.values["power_w"].tolist() == [[1.0, 2.0, 1.0, 3.0]]
            mean = store.series("gpu", ["power_w"], at(-7), at(53), 60.0, rows=np.arange(4, dtype=np.int32))
            assert mean.values["power_w"].tolist() == [[1.0, 2.0, 1.0, 3.0]]
        store.append([gpus(site, 0, [9.0], [0], quality={"power_w": np.array([BAD], dtype=np.uint8)})])
        for until in (14400, 28800):
            self.flushed(store, until)
            for step in (None, 60.0, 3600.0):
                found = store.series("gpu", ["power_w"], at(-7), at(53), step, rows=np.array([0, 1], dtype=np.int32))
                np.testing.assert_array_equal(found.values["power_w"], [[math.nan, 2.0]])

    def test_late_values_join_what_was_compacted(self, store: Store, site: Site) -> None:
        """A minute and an hour that were rolled up already are rolled up anew."""
        model = Model()
        for until, seconds in ((0, (0.0, 30.0, 1800.0)), (7200, (10.0, 40.0, 53.5)), (14_400, (20.0, 0.0, 3000.0))):
            frames = [gpus(site, s, [until + s, until - s], [2, 5]) for s in seconds]
            store.append(frames)
            model.append(site, frames)
            for now in (until, until + 7200):
                self.flushed(store, now)
                for step in (None, 60.0, 600.0, 3600.0):
                    for how in How:
                        found = store.series(
                            "gpu", ["power_w"], at(-7), at(7200), step, how, np.array([5, 2, 3], dtype=np.int32)
                        )
                        truth = model.series(site, "gpu", ["power_w"], at(-7), at(7200), step, how, [5, 2, 3])
                        same_series(found, *truth, exact=how is not How.MEAN or step is None)

    def test_an_hour_counts_before_and_after_it_is_over(self, store: Store, site: Site) -> None:
        """Readings end in the middle of an hour; upkeep comes by in that hour, and then never for its own sake again."""
        on_the_hour = 593.0  # 10:00:00
        store.append([gpus(site, on_the_hour + s, [float(s)], [1]) for s in (0, 60, 120)])
        for until in (on_the_hour + 1300, on_the_hour + 4000, on_the_hour + 9000):
            self.flushed(store, until)
            found = store.series("gpu", ["power_w"], at(on_the_hour), at(on_the_hour + 3600), 3600.0, rows=np.array([1]))
            assert found.values["power_w"].tolist() == [[60.0]]
            store.append([gpus(site, until, [7.0], [2])])  # something for the next run to be about

    def test_what_waited_long_does_not_come_back_over_what_is_newer(self, folder: Path, site: Site) -> None:
        store = self.open_at(folder / "s", site)
        store.append([gpus(site, 0, [1.0], [0]), gpus(site, 4000, [1.0], [1])])  # the second waits for its time
        self.flushed(store, 1300)
        store.append([gpus(site, 0, [2.0], [0])])
        self.flushed(store, 2600)
        store.close()
        for readonly in (False, True):
            store = self.open_at(folder / "s", site, readonly=readonly)
            found = store.series("gpu", ["power_w"], at(0), at(5000), rows=np.array([0, 1]))
            np.testing.assert_array_equal(found.values["power_w"], [[2.0, math.nan], [math.nan, 1.0]])
            store.close()

    def test_late_values_after_a_quiet_restart(self, folder: Path, site: Site) -> None:
        """Everything is compacted, nothing waits; what then comes late is as good as anything."""
        for k in range(4):
            store = self.open_at(folder / "s", site)
            if k < 3:
                store.append([gpus(site, 10 * k, [float(k)], [k])])
            if k == 0:
                self.flushed(store, 7200)
            store.close()
        store = self.open_at(folder / "s", site)
        found = store.series("gpu", ["power_w"], at(0), at(100), rows=np.arange(3, dtype=np.int32))
        np.testing.assert_array_equal(np.diag(found.values["power_w"]), [0.0, 1.0, 2.0])
        store.close()

    def test_origins_and_bands_are_apart(self, store: Store, site: Site) -> None:
        for k, (origin, band) in enumerate((o, b) for o in Origin for b in ("", "p10")):
            store.append([gpus(site, 0, [float(k)], [0], origin=origin, band=band)])
        for until in (0, 7200):
            self.flushed(store, until)
            for k, (origin, band) in enumerate((o, b) for o in Origin for b in ("", "p10")):
                found = store.series("gpu", ["power_w"], at(0), at(1), rows=np.array([0]), origin=origin, band=band)
                assert found.values["power_w"].tolist() == [[float(k)]]

    def test_steps_are_aligned_and_partial_at_the_edges(self, store: Store, site: Site) -> None:
        store.append([gpus(site, s, [float(s)], [0]) for s in range(0, 7200, 10)])
        for until in (0, 7000, 90_000):
            self.flushed(store, until)
            found = store.series("gpu", ["power_w"], at(15), at(7100), 3600.0, rows=np.array([0]))
            first = START.timestamp() // 3600 * 3600
            assert found.time_s.tolist() == [first, first + 3600, first + 7200]
            full = range(20, 7100, 10)
            expected = [
                [np.mean([s for s in full if first + k * 3600 <= at(s).timestamp() < first + (k + 1) * 3600])] for k in range(3)
            ]
            np.testing.assert_allclose(found.values["power_w"], expected, rtol=1e-12)

    def test_nine_weeks_come_by_the_minute(self, store: Store, site: Site) -> None:
        """The baseline of a report: more steps than a server may give to one question."""
        hours = np.arange(-63 * 24, 0, 5)
        store.append([gpus(site, 3600 * int(h) + 61, [float(h)], [0]) for h in hours])
        found = store.series("gpu", ["power_w"], at(-63 * 86_400), at(0), 60.0, rows=np.array([0]))
        values = found.values["power_w"][:, 0]
        assert len(values) >= 63 * 1440
        assert found.time_s[np.isfinite(values)].tolist() == [at(3600 * h + 61).timestamp() // 60 * 60 for h in hours.tolist()]
        np.testing.assert_array_equal(values[np.isfinite(values)], hours)

    def test_many_sources_each_with_its_own_times(self, store: Store, site: Site) -> None:
        """Four nodes read each by itself: one with gaps, one in another rhythm, one also by a second source."""
        model, rng = Model(), np.random.default_rng(2)
        for s in range(0, 2700, 30):
            frames = []
            for node in range(4):
                rows = list(range(4 * node, 4 * node + 4))
                if not (node == 1 and rng.random() < 0.2) and not (node == 2 and s % 60):
                    frames.append(
                        gpus(site, s + 3.5 * node + round(rng.uniform(0, 0.1), 3), rng.normal(500, 50, 4).round(2), rows)
                    )
                if node == 3:
                    frames.append(gpus(site, s + 17.25, rng.normal(500, 50, 2).round(2), rows[1:3]))
            store.append(frames)
            model.append(site, frames)
        asked = [14, 0, 5, 9, 13]
        for until in (0, 2000, 90_000):
            self.flushed(store, until)
            for step in (None, 7.0, 60.0, 3600.0):
                for how in How:
                    found = store.series("gpu", ["power_w"], at(-50), at(4000), step, how, np.array(asked, dtype=np.int32))
                    truth = model.series(site, "gpu", ["power_w"], at(-50), at(4000), step, how, asked)
                    same_series(found, *truth, exact=how is not How.MEAN or step is None)

    def test_forecasts_reach_ahead_and_the_newest_counts(self, store: Store, site: Site) -> None:
        for issue in range(12):
            frames = [
                Frame("site", at(issue * 600 + 300 * k), site.all_rows("site"), {"it_power_w": np.array([100.0 * issue + k])},
                      Origin.FORECAST, band="p90", issued=at(issue * 600))
                for k in range(1, 100)
            ]  # fmt: skip
            store.append(frames)
            self.flushed(store, issue * 600)
        found = store.series("site", ["it_power_w"], at(11 * 600 + 1), at(10**6), origin=Origin.FORECAST, band="p90")
        assert found.values["it_power_w"].ravel().tolist() == [1100.0 + k for k in range(1, 100)]

    def test_assets_keep_their_past_when_the_tables_change(self, folder: Path, site: Site) -> None:
        model = Model()
        for seed, compacted in ((None, False), (1, True), (2, False)):
            now = site if seed is None else shuffled_site(seed)
            store = self.open_at(folder / "s", now)
            start = (seed or 0) * 1000
            frames = [gpus(now, start + s, np.arange(16.0) + s) for s in range(0, 900, 100)]
            store.append(frames)
            model.append(now, frames)
            if compacted:
                self.flushed(store, 7200)
            for step in (None, 60.0):
                found = store.series("gpu", ["power_w"], at(0), at(4000), step)
                same_series(
                    found, *model.series(now, "gpu", ["power_w"], at(0), at(4000), step, How.MEAN, range(16)), exact=False
                )
            store.close()

    def test_latest_rebuilds_the_state(self, folder: Path, site: Site) -> None:
        store, state = self.open_at(folder / "s", site), State(site)
        rng = np.random.default_rng(7)
        for k in range(90):
            some = np.sort(rng.choice(16, rng.integers(1, 16), replace=False))
            grade = {"power_w": rng.choice([0, 0, 0, SUSPECT, BAD], len(some)).astype(np.uint8)}
            frames = [gpus(site, 60 * k, rng.normal(500, 9, len(some)).round(1), some, quality=grade)]
            frames.append(frame_of("weather", at(60 * k), 0, dry_bulb_c=float(k)))
            store.append(frames)
            for frame in frames:
                state.absorb(frame, at(60 * k))
            if k % 25 == 0:
                self.flushed(store, 60 * k)
            if k % 40 == 0:
                store.close()
                store = self.open_at(folder / "s", site)
        rebuilt = State(site)
        for frame in store.latest(at(0)):
            rebuilt.absorb(frame, at(6000))
        for kind, name in (("gpu", "power_w"), ("weather", "dry_bulb_c")):
            for old, new in zip(state.newest(kind, name), rebuilt.newest(kind, name), strict=True):
                np.testing.assert_array_equal(old, new)
        assert all(frame.time >= at(80 * 60) for frame in store.latest(at(80 * 60)))
        store.close()

    def test_what_cannot_be_is_refused_and_nothing_of_it_kept(self, store: Store, site: Site) -> None:
        good = gpus(site, 0, np.ones(16))
        with pytest.raises(ValueError, match="rows 0 to 16 where the site has 16"):
            store.append([good, gpus(site, 0, [1.0, 1.0], [0, 16])])
        with pytest.raises(KeyError, match="no metric 'flow_kgps' of kind 'gpu'"):
            store.append([good, frame_of("gpu", at(0), 0, flow_kgps=1.0)])
        with pytest.raises(KeyError, match="no metric"):
            store.series("gpu", ["nonsense"], at(0), at(1))
        with pytest.raises(ValueError, match="positive number of seconds"):
            store.series("gpu", ["power_w"], at(0), at(1), 0.0)
        with pytest.raises(ValueError, match="ask for fewer assets"):
            store.series("gpu", ["power_w"], at(0), at(10**9), 1.0)
        assert not len(store.series("gpu", ["power_w"], at(-9), at(9)).time_s)
        store.append([good])
        assert len(store.series("gpu", ["power_w"], at(-9), at(9)).time_s) == 1

    def test_one_writer_many_readers(self, folder: Path, site: Site) -> None:
        with pytest.raises(ConfigError, match="no store here"):
            self.open_at(folder / "s", site, readonly=True)
        writer = self.open_at(folder / "s", site)
        with pytest.raises(ConfigError, match="already written by process"):
            self.open_at(folder / "s", site)
        readers = [self.open_at(folder / "s", site, readonly=True) for _ in range(2)]
        for k in range(40):
            writer.append([gpus(site, 60 * k, np.full(16, float(k)))])
            self.flushed(writer, 60 * k)
            for reader in readers:
                found = reader.series("gpu", ["power_w"], at(0), at(9999), rows=np.array([3]))
                assert found.values["power_w"].ravel().tolist() == [float(i) for i in range(k + 1)]
        with pytest.raises(ConfigError, match="reading only"):
            readers[0].append([gpus(site, 0, np.ones(16))])
        for store in (*readers, writer):
            store.close()
        self.open_at(folder / "s", site).close()

    def test_any_order_of_events_gives_what_a_dictionary_gives(
        self, tmp_path_factory: pytest.TempPathFactory, site: Site
    ) -> None:
        other = shuffled_site(3)
        value = st.one_of(
            st.sampled_from([math.nan, 0.0, -0.0, 1.5, 20.25, 1e-9, 123456789.123]),
            st.floats(-1e6, 1e6, allow_nan=False),
        )
        frame = st.tuples(
            st.sampled_from([("gpu", "power_w"), ("gpu", "temp_c"), ("gpu", "both"), ("grid", "price_per_mwh")]),
            st.one_of(
                st.integers(0, 40).map(lambda k: 97.0 * k), st.sampled_from([0.0, 0.25, 3593.0, 3600.0, 9000.0, 90_000.0])
            ),
            st.one_of(st.none(), st.lists(st.integers(0, 15), min_size=1, max_size=9, unique=True)),
            st.lists(value, min_size=16, max_size=16),
            st.one_of(st.none(), st.lists(st.sampled_from([0, 0, 1, 2]), min_size=16, max_size=16)),
            st.sampled_from([Origin.MEASURED, Origin.MEASURED, Origin.FORECAST]),
        )
        event = st.one_of(
            st.lists(frame, min_size=1, max_size=4),
            st.integers(0, 9).map(lambda k: 700.0 * k + 113),
            st.sampled_from(["reopen", "edit"]),
        )

        question = st.tuples(
            st.sampled_from([None, 60.0, 600.0, 3600.0, 7.0, 90.0]),
            st.sampled_from(How),
            st.sampled_from([Origin.MEASURED, Origin.MEASURED, Origin.FORECAST]),
            st.sampled_from([-100.0, 0.0, 5.0, 1000.0]),
            st.sampled_from([4000.0, 4000.0, 100_000.0]),
        )

        @settings(max_examples=self.examples, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(event, min_size=1, max_size=14), st.lists(question, min_size=6, max_size=6))
        def check(events: list[object], questions: list[tuple[float | None, How, Origin, float, float]]) -> None:
            with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
                play(Path(folder), events, questions)

        def play(path: Path, events: list[object], questions: list[tuple[float | None, How, Origin, float, float]]) -> None:
            now, model = site, Model()
            store = self.open_at(path, now)
            for what in events:
                if isinstance(what, float):
                    self.flushed(store, what)
                elif isinstance(what, str):
                    store.close()
                    now = other if what == "edit" and now is site else site
                    store = self.open_at(path, now)
                else:
                    frames = [made(now, *each) for each in what]
                    store.append(frames)
                    model.append(now, frames)
            for asked in questions:
                agree(store, model, now, *asked)
            store.close()

        def made(now: Site, what, seconds, some, values, grades, origin) -> Frame:  # type: ignore[no-untyped-def]
            kind, name = what
            where = [0] if kind == "grid" else list(range(16)) if some is None else some
            column = np.array(values[: len(where)])
            names = ("power_w", "temp_c") if name == "both" else (name,)
            quality = {} if grades is None else {names[-1]: np.array(grades[: len(where)], dtype=np.uint8)}
            return Frame(
                kind,
                at(seconds),
                np.array(where, dtype=np.int32),
                {n: column + i for i, n in enumerate(names)},
                origin,
                quality=quality,
            )

        def agree(
            store: Store, model: Model, now: Site, step: float | None, how: How, origin: Origin, low: float, span: float
        ) -> None:
            start, end = at(low), at(low + span)
            for kind, names, some in (("gpu", ["power_w", "temp_c"], [7, 2, 11, 0]), ("grid", ["price_per_mwh"], [0])):
                found = store.series(kind, names, start, end, step, how, np.array(some, dtype=np.int32), origin)
                truth = model.series(now, kind, names, start, end, step, how, some, origin)
                same_series(found, *truth, exact=how is not How.MEAN or step is None)

        check()

    examples = int(os.environ.get("ICCTWIN_EXAMPLES", "25"))  # of the last test
