"""Runs on record and a change of the inventory: a past run belongs to the GPUs that it had, whatever rows they have now."""

import json
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_account import S0, START, MemoryRecords, queue

from energy.account.book import IDLE, QUANTITIES, UNSEEN, Given, grouped, keys_of
from energy.account.named import Names, parted
from energy.account.runs import TOPIC, Recent, RunLog, read_runs
from energy.account.share import begin_shares
from twin.job import JobState

GO, DONE, NAN = JobState.RUNNING, JobState.COMPLETED, float("nan")
THEN = ["n1/0", "n1/1", "n2/0", "n2/1"]
HOUR = timedelta(hours=1)


@pytest.fixture
def records() -> MemoryRecords:
    """Job a on both GPUs of n2 from hour 0 to 2, job b on one of n1 from hour 0 to 3."""
    made, log = MemoryRecords(), RunLog(THEN)
    log.note(made, {"q": queue(START, ("a", GO, 0, NAN, [2, 3]), ("b", GO, 0, NAN, [1]))}, START)
    log.note(made, {"q": queue(START + 4 * HOUR, ("a", DONE, 0, 2, []), ("b", DONE, 0, 3, []))}, START + 4 * HOUR)
    return made


@pytest.mark.parametrize(
    ("now", "a", "b", "gone"),
    [
        (THEN, [2, 3], [1], [0, 0]),
        (["n0/0", "n0/1", *THEN], [4, 5], [3], [0, 0]),  # a node put in front
        (["n2/1", "n1/1", "n2/0", "n1/0"], [2, 0], [1], [0, 0]),  # sorted anew
        (THEN[:3], [2], [1], [1, 0]),  # a GPU taken out
        (["n1/0"], [], [], [2, 1]),
        ([], [], [], [2, 1]),
    ],
)
def test_a_past_run_has_the_gpus_that_it_had(
    records: MemoryRecords, now: list[str], a: list[int], b: list[int], gone: list[int]
) -> None:
    for runs in (read_runs(records, START, START + 4 * HOUR, now), Recent(records, now).read(START, START + 4 * HOUR)):
        assert [runs.gpu[runs.run_of == k].tolist() for k in (0, 1)] == [a, b]
        assert runs.gone is not None
        assert (runs.gone.tolist(), runs.gpus.tolist()) == (gone, [2, 1])
        shares = begin_shares(runs, S0 + 3600, S0 + 4 * 3600, 1)
        assert shares.gpu_s.tolist() == [2 * 3600, 2 * 3600], "hours held are held, on whatever"
        assert shares.only(runs.gpus == 2).gpu_s.tolist() == [2 * 3600]


def test_notes_by_row_are_read_as_rows_are_now_and_named_at_the_first_look() -> None:
    made, log = MemoryRecords(), RunLog(THEN)
    old = {"entry": "begun", "user": "u", "project": "p", "partition": "x", "start_s": S0}  # as releases before wrote it
    going, over = ({**old, "key": f"q/{job}@{S0:.0f}", "job": job, "gpus": [[2, 3]]} for job in ("a", "b"))
    made.append_all(TOPIC, [(START, going), (START, over), (START, {"entry": "ended", "key": over["key"], "end_s": S0 + 60})])
    for _ in range(2):
        log.note(made, {"q": queue(START + HOUR, ("a", GO, 0, NAN, [2, 3]))}, START + HOUR)
    assert [note["held"] for _, _, note in made.read(TOPIC) if "held" in note] == [{"n2/": [[0, 1]]}], "once"
    runs = read_runs(made, START, START + HOUR, ["n0/0", *THEN])
    assert (runs.ids, runs.gpu.tolist(), runs.run_of.tolist()) == (["a", "b"], [3, 4, 2, 3], [0, 0, 1, 1])
    runs = read_runs(made, START, START + HOUR, THEN[:3])
    assert runs.gone is not None
    assert (runs.gpu.tolist(), runs.gone.tolist()) == ([2, 2], [1, 1])


def test_a_whole_centre_of_nodes_is_noted_in_a_few_bytes_a_node() -> None:
    ids = [f"n{n:04d}/{i}" for n in range(1250) for i in range(8)]
    names = Names(ids)
    assert names.named(range(8, 24)) == {"n0001/": [[0, 7]], "n0002/": [[0, 7]]}
    assert len(json.dumps(names.named(range(10_000)))) == 1250 * len('"n0001/": [[0, 7]], ')
    assert Names([f"g{i}" for i in range(10_000)]).named(range(10_000)) == {"g": [[0, 9999]]}


IDS = st.text("gG/-01٣9", min_size=1, max_size=14) | st.sampled_from(["g", "g0", "g00", "g007", "g1234567890123", "0", "g-1"])


@settings(max_examples=200, deadline=None)
@given(st.lists(IDS, min_size=1, max_size=12, unique=True), st.data())
def test_names_say_what_they_were_given_and_nothing_else(ids: list[str], data: st.DataObject) -> None:
    assert len({parted(one) for one in ids}) == len(ids)
    held = data.draw(st.lists(st.integers(0, len(ids) - 1), unique=True))
    later = data.draw(st.permutations(ids).flatmap(lambda some: st.integers(0, len(some)).map(lambda n: some[:n])))
    rows, gone = Names(later).rows(json.loads(json.dumps(Names(ids).named(held))))
    mine = {ids[row] for row in held}
    assert sorted(later[row] for row in rows) == sorted(mine & set(later))
    assert gone == len(mine - set(later))


def test_jobs_of_two_queues_with_one_id_are_two() -> None:
    """A/101 is alice's and holds two GPUs for two hours, B/101 is bob's and holds one for three."""
    made, log = MemoryRecords(), RunLog(THEN)
    both = {"A": queue(START, ("101", GO, 0, NAN, [2, 3])), "B": queue(START, ("101", GO, 0, NAN, [1]))}
    log.note(made, both, START)
    over = {"A": queue(START, ("101", DONE, 0, 2, [])), "B": queue(START, ("101", DONE, 0, 3, []))}
    log.note(made, over, START + 4 * HOUR)
    runs = read_runs(made, START, START + 4 * HOUR, THEN)
    shares = begin_shares(runs, S0, S0 + 4 * 3600, len(QUANTITIES))
    split = grouped(shares, runs, "job", np.zeros(len(QUANTITIES)), Given())
    assert dict(zip(split.names, split.gpu_s.tolist(), strict=True)) == {
        "A/101": 4 * 3600, "B/101": 3 * 3600, IDLE: 0, UNSEEN: 0}  # fmt: skip
    assert keys_of(runs.only(runs.gpus == 1), "job", Given()) == ["B/101"], "in a part's report it has the same name"
    last = read_runs(made, START + 2 * HOUR, START + 4 * HOUR, THEN)
    assert keys_of(last, "job", Given()) == ["101"], "of one queue the id tells enough"
