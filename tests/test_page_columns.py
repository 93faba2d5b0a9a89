"""What pages work out of columns says where it comes from, and of which time it is."""

from datetime import UTC, datetime, timedelta

import numpy as np
from faces_harness import Hands, live_of
from numpy.testing import assert_array_equal

from twin.frame import Floats, Frame, Origin, Quality
from twin.load import Row, build_site
from twin.state import State
from ui.faces.pages.columns import GAP_S, Rates, column
from ui.faces.pages.sources import look, told
from ui.faces.shelf import Kept
from ui.own import source_counts, source_rows
from ui.view import view
from ui.words import words

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
ROWS = [{"id": "h", "kind": "hall"}, {"id": "s", "kind": "switch", "parent": "h"}]
ROWS += [{"id": f"r{i}", "kind": "rack", "parent": "h"} for i in range(3)]
ROWS += [{"id": f"p{i}", "kind": "port", "parent": "s"} for i in range(2)]
ROWS += [{"id": f"src-{i}", "kind": "source"} for i in range(1250)]


def state() -> State:
    return State(build_site("c", "UTC", [Row("test", row) for row in ROWS]))


def racks(state: State, age_s: float, power_w: Floats, origin: Origin = Origin.MEASURED, grade: Quality = Quality.GOOD) -> None:
    n = len(power_w)
    marks = {"power_w": np.full(n, grade, dtype=np.uint8)} if grade else {}
    at = NOW - timedelta(seconds=age_s)
    state.absorb(Frame("rack", at, np.arange(n, dtype=np.int32), {"power_w": power_w}, origin, quality=marks), NOW)


def test_what_stands_in_for_a_meter_is_told_by_row_and_in_every_sum() -> None:
    seen = state()
    racks(seen, 3.0, np.array([10e3, 11e3]), grade=Quality.SUSPECT)
    racks(seen, 8.0, np.array([9e3, 9e3, 42e3]), Origin.MODELLED)
    power = column(seen, "rack", "power_w", NOW)
    assert_array_equal(power.value, [10e3, 11e3, 42e3])
    said = [(one.origin, one.age_s, one.quality) for one in (power.at(0), power.at(2), power.figure(np.sum))]
    measured, modelled = (Origin.MEASURED, 3.0, Quality.SUSPECT), (Origin.MODELLED, 8.0, Quality.GOOD)
    assert said == [measured, modelled, (Origin.MODELLED, 8.0, Quality.SUSPECT)]


def test_a_counter_counts_only_what_it_grew_while_it_was_seen() -> None:
    seen, rates = state(), Rates()

    def look(after_s: float, *counts: float) -> float:
        at = NOW + timedelta(seconds=after_s)
        rows = np.arange(len(counts), dtype=np.int32)
        seen.absorb(Frame("port", at, rows, {"error_count": np.array(counts)}, source="x"), at)
        rates.see(seen, "port", "error_count", at)
        return sum(rates.strip("port", "error_count", at))

    assert look(0, 5.0) == 0
    assert look(1, 6.0, 8_000_000.0) == 1, "a port that is first seen late has not just had its whole life's errors"
    assert look(2, 6.0, 8_000_010.0) == 11
    assert look(3, 6.0, 2.0) == 13, "one that was reset counts from nothing"
    assert look(3 + GAP_S + 1, 6.0, 9_000.0) == 0, "nobody knows when in that time"
    assert look(4 + GAP_S + 1, 6.0, 9_001.0) == 1


def test_sources_are_counted_all_and_listed_as_many_as_are_asked_for() -> None:
    seen = state()
    up = np.ones(1200)
    up[700:750] = 0.0
    rows = np.arange(1200, dtype=np.int32)
    seen.absorb(Frame("source", NOW, rows, {"up_flag": up, "samples_count": np.full(1200, 10.0)}), NOW)
    count = source_counts(seen, NOW)
    assert (count.total, count.up, count.down, count.silent, count.waiting) == (1250, 1150, 50, 0, 50)
    assert (count.samples, np.isnan(count.suspect)) == (12_000.0, True)
    later = NOW + timedelta(hours=1)
    assert (source_counts(seen, later).silent, source_counts(seen, later).up) == (1200, 0)
    assert [one.status for one in source_rows(seen, NOW)] == ["down"] * 50 + ["waiting"] * 50 + ["up"] * 100
    assert len(source_rows(seen, NOW, None)) == 1250


def test_a_source_is_heard_when_it_answers_and_not_when_we_say_that_it_is_down() -> None:
    seen = State(build_site("c", "UTC", [Row("test", {"id": name, "kind": "source"}) for name in ("dead", "gone", "well")]))

    def say(age_s: float, up: list[float], lag_s: list[float]) -> None:
        at = NOW - timedelta(seconds=age_s)
        seen.absorb(Frame("source", at, np.arange(3, dtype=np.int32), {"up_flag": np.array(up), "lag_s": np.array(lag_s)}), at)

    say(3600.0, [0, 1, 1], [np.nan, 2.0, 2.0])
    say(3.0, [0, 0, 1], [np.nan, np.nan, 2.0])
    live = live_of(seen.site, Hands(NOW))
    live.state = seen
    whole = view(live, NOW)
    rows = told(look(whole, live, 1, Kept(lambda *_: {}, 5.0, 0.0)), whole, words("en"))["l.sources"]
    assert {row["c"][0]: (row["c"][2]["n"], row["c"][2]["f"]) for row in rows} == {
        "dead": ("never", "none"), "gone": ("60\u202fmin", "stale"), "well": ("3\u202fs", "ok"),
    }  # fmt: skip
