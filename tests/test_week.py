"""A day of the simulated week of faults, and its checker, which must find what is planted."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from twin.order import Result, Verb, orders
from twin.ports import Series
from ui.benches.week import ENDS, NAMES, week
from ui.benches.week_check import Page, Spell, exported, pages
from ui.benches.week_check import orders as judged
from ui.benches.week_queue import DUE_S, GRACE_S, RUNS_S, StandIn

LONG = frozenset({"reports", "calibrate", "store", "forecasts"})  # have tests of their own, and cost most of a day
SPELL = Spell(3, 1000.0, 2000.0, "disk full")
NOW = datetime(2026, 11, 16, tzinfo=UTC)


def page(at_s: float = 1100.0, status: str = "firing", asset: str = "n0g3", number: str = "1") -> Page:
    return Page(at_s, status, (asset,), number)


def test_a_day_of_faults_loses_no_sample_and_no_page(tmp_path: Path) -> None:
    found = week(tmp_path, 20, 1, 300, history_days=2, without=LONG)
    assert found["acknowledged_samples_count"] > 2500
    for nothing in ("lost_samples", "wrong_samples", "doubled_samples", "pages_lost", "incidents_told_twice"):
        assert found[f"{nothing}_count"] == 0, (nothing, found)
    for nothing in ("unexplained", "touched_without_consent", "out_of_bounds", "doubled"):
        assert found[f"orders_{nothing}_count"] == 0, (nothing, found)
    assert found["pages_expected_count"] == sum(found[f"faults_{name.replace(' ', '_')}_count"] for name in NAMES)
    assert all(found[f"faults_{name}_count"] == found[f"ended_{name}_count"] > 0 for name in ENDS), "each came, and was felt"
    assert found["lives_count"] > 2


@pytest.mark.parametrize(
    ("taken", "says"),
    [
        ([page()], {}),
        ([page(), page(at_s=1200.0)], {"messages_delivered_again": 1}),
        ([page(), page(number="2")], {"incidents_told_twice": 1}),
        ([page(at_s=900.0)], {"pages_lost": 1}),
        ([page(at_s=2400.0)], {"pages_lost": 1}),
        ([page(asset="n0g4")], {"pages_lost": 1}),
        ([page(status="resolved")], {"pages_lost": 1}),
    ],
)
def test_pages_that_are_lost_or_come_twice_are_counted(taken: list[Page], says: dict[str, int]) -> None:
    found = pages(taken, [SPELL])
    names = ("pages_lost", "incidents_told_twice", "messages_delivered_again")
    assert {name: found[f"{name}_count"] for name in names if found[f"{name}_count"]} == says


async def test_the_scheduler_counts_what_it_should_not_have_been_ordered() -> None:
    queue, now_s = StandIn("slurm", (0, 1)), NOW.timestamp()
    queue.clock_s = now_s
    queue.submit(now_s, marked=True)
    queue.submit(now_s, marked=False)
    within, beyond = now_s + 3600, now_s + DUE_S - RUNS_S + 1

    async def order(job: str, value: float, undo: bool = False, was_s: float = np.nan) -> Result:
        said = orders(Verb.BEGIN, [job], value, "waits", undo=undo, expected=np.array([was_s]))
        return (await queue.order(said, NOW)).results[0]

    assert await order("1", within, was_s=now_s + GRACE_S) is Result.DONE
    assert await order("1", within) is Result.SAME
    assert await order("1", within + 60, was_s=now_s + 7200) is Result.REFUSED, "it is not what was expected"
    assert [await order("1", 0.0, undo=True) for _ in range(2)] == [Result.DONE, Result.SAME], "let go once"
    assert await order("2", within) is Result.REFUSED, "its owner has not agreed"
    assert queue.wrong.total() == 0
    audit = [{"stage": stage, "targets": ["1"], "values": [value]} for stage, value in (("begun", within), ("reverting", 0.0))]
    assert judged(queue, audit)["orders_unexplained_count"] == 0
    assert await order("1", beyond) is Result.DONE
    assert await order("2", within, undo=True) is Result.DONE
    assert {name: count for name, count in queue.wrong.items() if count} == {"out_of_bounds": 1, "touched_without_consent": 1}
    assert judged(queue, audit)["orders_unexplained_count"] == 2
    queue.advance(beyond)
    queue.clock_s = beyond
    assert await order("1", beyond + 60) is Result.GONE, "it runs"
    assert queue.late == 1


def test_samples_are_told_as_the_chaos_bench_reads_them() -> None:
    series = Series(np.array([10.001, 10.5]), np.array([1], dtype=np.int32), {"temp_c": np.array([[4.0], [np.nan]])})
    assert list(exported(series, ["a", "b"], "temp_c")) == [
        '{"metric": {"asset": "b", "origin": "measured"}, "timestamps": [10001], "values": [4.0]}'
    ]
