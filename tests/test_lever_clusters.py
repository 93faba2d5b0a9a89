"""Jobs between the clusters of a federation: they go to the partition of the same name, few at a time and the most worth first,
and only for what they save beside what Slurm itself would have done."""

from dataclasses import replace

import numpy as np
import pytest
from test_lever_jobs import NOW
from test_lever_move import GRIDS, SITE, T, cluster, proposed, refused, signal, table, went

from energy.place.atlas import Atlas, Place, Route
from twin.errors import ConfigError
from twin.job import JobState
from twin.order import FEDERATED_ORDERS
from ui.check import _found
from ui.config import EnergySection
from ui.places import atlas_of

BOTH = Atlas(
    (Place("east", "slurm", (), "ge", cluster="e"), Place("west", "slurm", (), "gw", cluster="w")),
    (Route(("east", "west"), 0.032),),
)


def nodes(names=("e/batch", "w/batch"), **more):
    return replace(cluster(**more), partitions=list(names))


def waiting(*columns, partition="e/batch", **more):
    """Jobs that wait for a home that is full: another holds it for six hours."""
    of = table((64, 6, None, 0), *columns, **more)
    state = of.state.copy()
    state[0] = JobState.RUNNING
    start_s = np.where(state == JobState.RUNNING, T, np.nan)
    return replace(of, partitions=[partition] * len(of), state=state, start_s=start_s)


def test_it_goes_to_the_partition_of_the_same_name():
    of = waiting((8, 4, 30, 1))
    assert BOTH.at("slurm", "w/anything") == 1
    assert BOTH.at("slurm", "x/batch") == -1
    far = {"ge": signal(500.0), "gw": signal(300.0, amplitude=120.0, seed=2)}
    plan = proposed(of, where=BOTH, nodes=nodes(), grids=far)
    assert went(plan) == {"1": ("e/batch", "w/batch")}
    assert refused(plan, of, BOTH, nodes()) == set()
    assert proposed(of, where=BOTH, nodes=nodes(("e/batch", "w/other")), grids=far) is None
    assert proposed(of, where=BOTH, nodes=nodes(up=(1, 0)), grids=far) is None
    assert proposed(waiting((8, 4, 30, 1), partition="batch"), where=BOTH, nodes=nodes(), grids=far) is None


def test_what_slurm_does_by_itself_is_no_saving():
    """The west has room now and its grid is the same all day: Slurm starts there what finds the east full."""
    of = waiting((8, 4, 30, 1))
    assert proposed(of, where=BOTH, nodes=nodes(), grids=GRIDS) is None
    apart = Atlas((Place("east", "slurm", ("e/batch",), "ge"), Place("west", "slurm", ("w/batch",), "gw")), BOTH.routes)
    assert went(proposed(of, where=apart, nodes=nodes(), grids=GRIDS)) == {
        "1": ("e/batch", "w/batch")
    }  # of one scheduler it is


def test_few_go_at_a_time_and_the_most_worth_first():
    n = FEDERATED_ORDERS + 5
    of = waiting(*[(1 + k % 2, 4, 40, 1) for k in range(n)])
    far = {"ge": signal(500.0), "gw": signal(300.0, amplitude=120.0, seed=2)}
    plan = proposed(of, where=BOTH, nodes=nodes(), grids=far)
    gone = went(plan)
    assert len(gone) == FEDERATED_ORDERS
    assert {int(of.gpus[int(job)]) for job in of.ids[1:] if job not in gone} == {1}


def section(*places):
    rows = [{"name": f"p{i}", "queue": "slurm", "grid": "ge", **place} for i, place in enumerate(places)]
    return EnergySection.model_validate({"place": rows})


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (({"cluster": "e"}, {"partitions": ["batch"]}), "say in which this one stands"),
        (({"cluster": "e"}, {"cluster": "e", "partitions": ["batch"]}), "'e/batch' of slurm is in p0 already"),
        (({"cluster": "e", "partitions": ["batch"]}, {"cluster": "e"}), "'e/batch' of slurm is in p1 already"),
        (({"cluster": "e"}, {"cluster": "e"}), "'e/\\*' of slurm is in p0 already"),
    ],
)
def test_a_partition_stands_in_one_place(places, said):
    with pytest.raises(ConfigError, match=said):
        atlas_of(section(*places), SITE)


def test_a_place_names_a_cluster_or_some_of_its_partitions():
    made = atlas_of(section({"cluster": "e", "partitions": ["batch", "big"]}, {"cluster": "w"}), SITE)
    assert [one.says for one in made.places] == [("e/batch", "e/big"), ("w/*",)]
    assert [made.at("slurm", name) for name in ("e/big", "e/night", "w/night")] == [0, -1, 1]
    with pytest.raises(ValueError, match="name its partitions, or its cluster"):
        section({})


class Queue:
    """Tells of its partitions alone."""

    name = "slurm"

    def __init__(self, names):
        self.told = nodes(names)

    async def jobs(self, now):
        raise AssertionError

    async def cluster(self, now):
        return self.told


async def test_check_says_where_a_cluster_is_none():
    assert await _found(BOTH.places[1], Queue(("e/batch", "w/batch")), NOW) == "w/* of slurm: 8 nodes, on gw"
    with pytest.raises(Exception, match=r"no cluster 'w', or is no federation; its partitions are batch, west"):
        await _found(BOTH.places[1], Queue(("batch", "west")), NOW)
