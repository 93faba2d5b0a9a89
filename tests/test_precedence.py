"""Two sources of one metric: the one that the operator puts first counts, the other where it is silent, and back."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from faces_harness import NOW, Hands, feed, live_of
from faces_harness import small_site as wall_site
from hypothesis import given
from hypothesis import strategies as st
from small import small_site

from ingest.collect import Collector
from ingest.gather import Gathered
from ingest.precedence import GRACE_S, Precedence
from twin.errors import ConfigError, SourceError
from twin.frame import Frame, Origin, frame_of
from twin.metrics import metric
from twin.state import State
from ui.config import load_config
from ui.faces.pages import sources
from ui.faces.shelf import Kept
from ui.tasks import VirtualClock
from ui.view import view
from ui.words import words

START = datetime(2026, 11, 22, tzinfo=UTC)
SITE = small_site()
MAX_AGE_S = int(metric("gpu", "temp_c").max_age_s)
FIRST_C, SECOND_C, WRONG_C = 50.0, 60.0, 9999.0


class Told:
    """Tells a temperature of every GPU each second while it is ``well``; ``more``: a metric that it alone tells."""

    every_s, unmapped = 1.0, 0

    def __init__(self, name: str, celsius: float, more: str = "") -> None:
        self.name, self.celsius, self.more, self.well = name, celsius, more, True

    async def poll(self, now: datetime) -> Sequence[Frame]:
        if not self.well:
            raise SourceError(f"{self.name}: nobody there")
        rows = SITE.all_rows("gpu")
        values = {"temp_c": np.full(len(rows), self.celsius)}
        return [Frame("gpu", now, rows, values | ({self.more: np.full(len(rows), 0.5)} if self.more else {}))]

    async def close(self) -> None:
        return None


class Centre:
    """A collector of two sources on a virtual clock, and what it published."""

    def __init__(self, precedence: dict[str, int]) -> None:
        self.first, self.second = Told("s1", FIRST_C), Told("s2", SECOND_C, "util_frac")
        self.clock, self.state, self.kept = VirtualClock(START), State(SITE), list[tuple[float, str, float]]()
        self.collector = Collector(SITE, [self.first, self.second], self.clock, self.publish, precedence=precedence)

    def publish(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            self.state.absorb(frame, self.clock.now())
            if frame.kind == "gpu":
                at_s = (frame.time - START).total_seconds()
                told = [(at_s, name, float(column[0])) for name, column in frame.values.items()]
                self.kept += [one for one in told if not np.isnan(one[2])]

    async def run(self, seconds: int) -> list[float]:
        """Temperatures that were kept meanwhile."""
        had = len(self.kept)
        for _ in range(seconds):
            await self.collector.tick(self.clock.now())
            await self.collector.drain()
            self.clock.time += timedelta(seconds=1)
        return [value for _, name, value in self.kept[had:] if name == "temp_c"]

    def count(self, name: str) -> list[float]:
        """Of both sources, as the page of sources has it."""
        values = self.collector.health(self.clock.now()).values
        return values[name].tolist() if name in values else []


async def test_the_first_counts_the_second_where_it_is_silent_and_back() -> None:
    centre = Centre({"s2": 2})
    gpus = SITE.count("gpu")
    both = await centre.run(120)
    assert set(both) == {FIRST_C}
    assert len(both) == 120, "one asset has one series"
    assert sum(name == "util_frac" for _, name, _ in centre.kept) >= 120 - GRACE_S - 3, "what it alone tells is kept"
    assert centre.count("standby_count") == [0, gpus]
    assert centre.count("in_force_count") == [gpus, 0]
    centre.first.well = False
    silent = await centre.run(MAX_AGE_S + 20)
    assert set(silent) == {SECOND_C}
    assert 18 <= len(silent) <= 20, "it waits until the first is stale"
    assert centre.state.column("gpu", "temp_c", centre.clock.now()).tolist() == [SECOND_C] * gpus
    assert centre.count("in_force_count") == [0, gpus]
    centre.first.well = True
    again = await centre.run(30)
    assert set(again) <= {FIRST_C, SECOND_C}
    assert again.count(SECOND_C) <= 1, "it may have spoken before in that second"
    assert again[-28:] == [FIRST_C] * 28
    assert centre.count("in_force_count") == [gpus, 0]


async def test_what_cannot_be_does_not_count_and_at_the_start_the_first_is_waited_for_a_while_only() -> None:
    centre = Centre({"s2": 2})
    centre.first.celsius = WRONG_C
    seen = await centre.run(int(GRACE_S) + 20)
    shown = centre.state.column("gpu", "temp_c", centre.clock.now())
    assert set(shown.tolist()) == {SECOND_C}, "a sensor that is broken is a source that is silent"
    assert 16 <= seen.count(SECOND_C) <= 19


async def test_a_clock_that_is_set_back_leaves_the_second_not_waiting_for_an_hour() -> None:
    centre = Centre({"s2": 2})
    await centre.run(60)
    centre.first.well = False
    centre.clock.time -= timedelta(hours=1)
    assert set(await centre.run(20)) == {SECOND_C}
    centre.first.well = True
    assert (await centre.run(20))[-18:] == [FIRST_C] * 18


async def test_where_nobody_says_who_counts_both_are_kept_as_before() -> None:
    centre = Centre({})
    both = await centre.run(10)
    assert sorted(set(both)) == [FIRST_C, SECOND_C]
    assert len(both) == 20
    assert centre.count("in_force_count") == []


Step = tuple[int, int, int, list[float]]
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),  # who
        st.integers(1, MAX_AGE_S),  # so many seconds later
        st.integers(0, 5),  # age of what it tells
        st.lists(st.sampled_from([40.0, 9999.0, float("nan")]), min_size=3, max_size=3),
    ),
    max_size=40,
)


@given(STEPS)
def test_no_cell_is_kept_while_one_that_counts_more_is_fresh(steps: list[Step]) -> None:
    """Against a model that looks at one cell at a time. The frames of the second and third are of three GPUs."""
    ranks = [1, 2, 3]
    taken = Precedence(SITE, ranks, np.ones(3))
    rows = np.arange(3, dtype=np.int32)
    now, grace = START, None
    model: dict[int, tuple[int, float]] = {}  # row -> (who counts, when it told)
    for who, later_s, age_s, values in steps:
        now += timedelta(seconds=later_s)
        frame = Frame("gpu", now - timedelta(seconds=age_s), rows, {"temp_c": np.array(values)})
        one = Gathered(frame, np.full(3, who, dtype=np.int32), np.ones(3))
        grace = grace or now.timestamp() + 2 + GRACE_S
        left = taken.admit(one, now)
        kept = np.full(3, np.nan) if left is None else left.frame.values["temp_c"]
        if left is not None:
            bad = (left.frame.values["temp_c"] > 200).astype(np.uint8) * 2
            judged = Frame("gpu", frame.time, rows, left.frame.values, quality={"temp_c": bad})
            taken.note(left, judged, now)
        for row, value in enumerate(values):
            before, told_s = model.get(row, (0, -np.inf))
            fresh = frame.time_s - told_s <= MAX_AGE_S if row in model else now.timestamp() <= grace
            held = ranks[who] > ranks[before] and fresh
            assert np.isnan(kept[row]) == (np.isnan(value) or held)
            newer = frame.time_s >= told_s or (row in model and ranks[who] < ranks[before])
            if value == 40.0 and not held and newer:
                model[row] = who, frame.time_s


def test_what_it_foresees_counts_where_its_readings_do() -> None:
    """Two services of one grid: the second's forecast is none of ours while the first speaks."""
    taken = Precedence(SITE, [1, 2], np.full(2, 900.0))
    max_age_s = metric("grid", "price_per_mwh").max_age_s

    def said(by: int, now: datetime, origin: Origin) -> Gathered:
        time = now + timedelta(hours=6) if origin is Origin.FORECAST else now
        frame = Frame("grid", time, np.zeros(1, dtype=np.int32), {"price_per_mwh": np.array([50.0])}, origin)
        return Gathered(frame, np.full(1, by, dtype=np.int32), np.ones(1))

    assert taken.admit(said(1, START, Origin.FORECAST), START) is None, "what is foreseen comes before the first reading"
    assert taken.admit(said(1, START, Origin.MEASURED), START) is None
    for origin in (Origin.MEASURED, Origin.FORECAST):
        first = said(0, START, origin)
        assert taken.admit(first, START) is first
    taken.note(said(0, START, Origin.MEASURED), said(0, START, Origin.MEASURED).frame, START)
    assert taken.admit(said(1, START, Origin.FORECAST), START + timedelta(seconds=max_age_s)) is None
    later = START + timedelta(seconds=max_age_s + 1)
    assert taken.admit(said(1, later, Origin.FORECAST), later) is not None


@pytest.mark.parametrize("well", [True, False])
def test_what_one_tells_alone_waits_until_all_were_heard_and_a_minute_and_a_half_at_most(well: bool) -> None:
    """A scraper that may be down, a service read each hour that tells the price, and the second one: price and carbon."""
    taken = Precedence(SITE, [1, 1, 2], np.array([15.0, 3600.0, 300.0]))

    def kept(by: int, at_s: float, kind: str = "grid", age_s: float = 0.0, **values: float) -> set[str]:
        now = START + timedelta(seconds=at_s)
        frame = frame_of(kind, now - timedelta(seconds=age_s), 0, **values)
        one = taken.admit(Gathered(frame, np.full(1, by, dtype=np.int32), np.ones(1)), now)
        if one is not None:
            taken.note(one, one.frame, now)
        return set() if one is None else {name for name, column in one.frame.values.items() if not np.isnan(column[0])}

    price, carbon = {"price_per_mwh": 50.0}, {"carbon_gco2_per_kwh": 400.0}
    if well:
        kept(0, 0.0, "gpu", temp_c=50.0)
    assert kept(2, 1.0, **price, **carbon) == set(), "the hourly one has not spoken"
    assert kept(1, 2.0, **price) == set(price)
    assert kept(2, 3.0, **price, **carbon) == (set(carbon) if well else set())
    assert kept(2, 93.0, age_s=3000.0, **price, **carbon) == set(carbon), "whatever time it is of; the price was told"
    assert kept(2, 3500.0, **price, **carbon) == set(carbon)
    assert kept(1, 3600.0, **price) == set(price)


def test_other_origins_and_sums_are_not_touched() -> None:
    taken = Precedence(SITE, [1, 2], np.ones(2))
    rows = np.zeros(1, dtype=np.int32)
    for frame in (
        Frame("gpu", START, rows, {"temp_c": np.array([1.0])}, Origin.COMMANDED),
        Frame("node", START, rows, {"tokens_per_s": np.array([1.0])}),
    ):
        one = Gathered(frame, np.ones(1, dtype=np.int32), np.ones(1))
        assert taken.admit(one, START) is one


def test_the_page_of_sources_says_which_is_in_force_and_which_stands_by() -> None:
    live = live_of(wall_site(), Hands())
    feed(live)
    counts = {"in_force_count": np.array([5.0, 0.0, 0.0]), "standby_count": np.array([2.0, 5.0, 0.0])}
    live.state.absorb(Frame("source", NOW, np.arange(3, dtype=np.int32), counts), NOW)
    shown = view(live, NOW)
    rows = sources.told(sources.look(shown, live, 1, Kept(lambda *_: {}, 5.0, 0.0)), shown, words("en"))["l.sources"]
    assert {row["c"][0]: row["c"][1] for row in rows} == {
        "src-bmc": "in force", "src-dcgm": "stands by", "src-fabric": "up", "src-plant": "up",
    }  # fmt: skip


def test_the_configuration_says_it_and_what_is_no_number_or_cannot_hold_is_refused(tmp_path: Path) -> None:
    source = '[[source]]\nname = "h"\ntype = "host"\nnode = "n"\nprecedence = {}\n'
    site = f'[site]\nname = "x"\n[store]\npath = "store"\n{{}}\n{source}'
    path = tmp_path / "site.toml"
    path.write_text(site.format("", 2))
    assert [source.precedence for source in load_config(path).sources] == [2]
    for line, value, says in (
        ("", '"first"', "precedence is a number from 1"),
        ("", "0", "precedence is a number from 1"),
        ("", "true", "precedence is a number from 1"),
        ("[cluster]\nshards = 2", "2", "write shards = 1, or leave precedence out"),
    ):
        path.write_text(site.format(line, value))
        with pytest.raises(ConfigError, match=says):
            load_config(path)
