"""What two clusters of a Slurm federation say of their jobs, as it was recorded, is one record a job."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.queues.slurm import Options
from ingest.queues.slurm_federation import check_federation
from ingest.queues.slurm_records import LAGS, NO_SIBLING, STAYS, job_record
from ingest.queues.slurm_siblings import OLD, merged
from twin.errors import SourceError
from twin.job import JobState

FEATURES = {"east": "east", "west": "west"}
WAITS, DONE, OVER = JobState.PENDING, JobState.COMPLETED, JobState.CANCELLED
ONE = {"url": "unix:/run/slurmrestd"}
OPTIONS = Options(queue="q", federation={"east": ONE, "west": ONE})


@pytest.fixture(scope="module")
def told(fixtures):
    return json.loads((fixtures / "slurm" / "federation.json").read_text())


def read(told, *clusters):
    found = {name: told[name] for name in clusters}
    return {one["job_id"]: (one, job_record(one, OPTIONS)) for one in merged(found, FEATURES)}


def test_each_job_is_one_record_where_it_waits_or_ran(told):
    jobs = read(told, "east", "west")
    where = {number: (record.partition, record.state) for number, (_, record) in jobs.items()}
    assert where == {
        67108865: ("east/batch", WAITS),  # sbatch -M east
        67108866: ("east/batch", WAITS),  # anywhere: at home
        67108867: ("east/batch", WAITS),  # --cluster-constraint=east
        67108870: ("west/batch", DONE),
        67108871: ("east/batch", WAITS),  # held: it has no copies yet
        67108874: ("west/only", WAITS),  # the west has no such partition
        67108876: ("west/batch", WAITS),
    }
    assert [number for number, (raw, _) in jobs.items() if raw[STAYS]] == [67108865, 67108867, 67108874]
    assert {number for number, (_, record) in jobs.items() if record.reach_s > 0} == {67108866, 67108870, 67108871, 67108876}
    assert (jobs[67108874][0]["state_reason"], jobs[67108874][1].unfit) == (NO_SIBLING, True)
    assert jobs[67108871][1].stopped


def test_what_its_owner_said_last_counts_and_the_copy_is_seen_to_lag(told):
    raw, record = read(told, "east", "west")[67108876]
    assert raw["comment"].endswith("[icctwin: west is dead]")  # at the origin
    assert (raw[LAGS], record.begin_s) == (True, told["west"][2]["eligible_time"])
    assert not read(told, "east", "west")[67108866][0][LAGS]


def test_the_soonest_copy_says_when_a_job_may_start(told):
    sooner = {**told["west"][0], "eligible_time": 1_000_000}
    jobs = merged({"east": told["east"], "west": [sooner]}, FEATURES)
    assert next(one for one in jobs if one["job_id"] == 67108866)["eligible_time"] == 1_000_000


def test_one_cluster_alone_still_says_what_waits_in_the_other(told):
    where = {number: (record.partition, record.state) for number, (_, record) in read(told, "east").items()}
    assert where[67108876] == ("west/batch", WAITS)
    assert where[67108866] == ("east/batch", WAITS)
    where = {number: (record.partition, record.state) for number, (_, record) in read(told, "west").items()}
    assert where == {67108866: ("east/batch", WAITS), 67108870: ("west/batch", DONE), 67108876: ("west/batch", WAITS)}


def test_a_job_whose_copy_is_gone_is_over(told):
    jobs = {one["job_id"]: one for one in merged({"east": told["east"], "west": []}, FEATURES)}
    assert job_record(jobs[67108870], OPTIONS).state == OVER


def test_a_job_that_is_none_of_the_federation_keeps_to_its_cluster(told):
    own = {**told["east"][0], "job_id": 5, "federation_origin": ""}
    jobs = merged({"east": [own], "west": [own]}, FEATURES)
    assert [(one[OLD], one["partition"], one[STAYS]) for one in jobs] == [
        ("east", "east/batch", True),
        ("west", "west/batch", True),
    ]


@given(order=st.permutations(range(7)), first=st.booleans())
def test_the_order_in_which_jobs_are_told_does_not_matter(told, order, first):
    east = [told["east"][i] for i in order]
    found = {"east": east, "west": told["west"]} if first else {"west": told["west"], "east": east}
    assert {one["job_id"]: one for one in merged(found, FEATURES)} == {
        number: raw for number, (raw, _) in read(told, "east", "west").items()
    }


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"east": "east", "north": "north"}, "no cluster 'north'; it has east, west"),
        ({"east": "east", "west": "green"}, "no cluster has the feature 'green', which is to be cluster west's alone"),
        ({"east": "east", "west": "east"}, "east have the feature 'east', which is to be cluster west's alone"),
        ({"east": "east"}, "a cluster 'west' too"),
    ],
)
def test_what_is_named_must_be_the_federation(told, features, said):
    check_federation(told["federation"], FEATURES)
    with pytest.raises(SourceError, match=said):
        check_federation(told["federation"], features)
    with pytest.raises(SourceError, match="no federation"):
        check_federation("No federation\n", features)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"federation": {"east": ONE}}, "two clusters or more"),
        ({"federation": {"east": ONE, "west": ONE}, "url": "unix:/run/slurmrestd"}, "no url of its own"),
        ({"federation": {"east": ONE, "west": {"url": "http://west:6820"}}}, "wants user and token_file"),
        ({"federation": {"east": ONE, "w/st": ONE}}, "no name of a cluster"),
    ],
)
def test_a_federation_is_configured_whole(given_, said):
    with pytest.raises(ValueError, match=said):
        Options(queue="q", **given_)
