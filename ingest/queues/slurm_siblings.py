"""The records that the clusters of a Slurm federation keep of one job, as the one record that is read, and that orders are
read back by.

A federated job has a copy with the same number ("sibling") in each cluster that may start it; the cluster that it was
submitted to ("origin") keeps it whatever becomes of the others, and shows it as revoked while it waits or runs elsewhere
alone (slurm.schedmd.com/federation.html). Partitions are named with their cluster here: ``west/batch``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ingest.queues.mark import noted
from ingest.queues.slurm_records import LAGS, NO_SIBLING, STAYS, comment_of, number, state_of, words
from twin.job import JobState

AT = "/"  # between a cluster and its partition
OLD, WAITS_IN = "old", "waits_in"  # what a record says besides
_HOLDS = (JobState.RUNNING, JobState.SUSPENDED)
_UNKNOWN = "Unknown"


def label(cluster: str, partition: str) -> str:
    """A partition of a federation."""
    return f"{cluster}{AT}{partition}"


def split(name: str) -> tuple[str, str]:
    """Cluster and partition of a label."""
    cluster, _, partition = name.partition(AT)
    return cluster, partition


def names(said: Any) -> list[str]:
    """Clusters in one of Slurm's lists of them."""
    return [name for name in str(said or "").split(",") if name]


def merged(found: Mapping[str, Iterable[Any]], features: Mapping[str, str]) -> list[dict[str, Any]]:
    """One record a job, from the jobs of each cluster that answered. ``features``: of each cluster of the federation, the
    feature that it alone has.

    ``STAYS``: its owner, or a person, has said which clusters; ``LAGS``: the copy where it waits does not show the origin's
    last change; ``OLD``: it is no job of the federation, and its number may be another's too; ``WAITS_IN``: clusters in which
    it waits to be started.
    """
    groups: dict[tuple[str, float], dict[str, Any]] = {}
    for cluster, jobs in found.items():
        for job in jobs:
            of = "" if job.get("federation_origin") else cluster
            groups.setdefault((of, number(job["job_id"])), {})[cluster] = job
    return [_old(*records.popitem()) if of else _one(records, found, features) for (of, _), records in groups.items()]


def _old(cluster: str, job: Any) -> dict[str, Any]:
    partition = label(cluster, str(job.get("partition") or ""))
    return {**job, "partition": partition, STAYS: True, OLD: cluster, WAITS_IN: []}


def _one(records: Mapping[str, Any], answered: Mapping[str, Any], features: Mapping[str, str]) -> dict[str, Any]:
    any_ = next(iter(records.values()))
    origin = str(any_["federation_origin"])
    own = records.get(origin, any_)
    kept = {cluster: job for cluster, job in records.items() if "REVOKED" not in words(job["job_state"])}
    waits = sorted(cluster for cluster, job in kept.items() if state_of(job) == JobState.PENDING)
    runs = [cluster for cluster, job in kept.items() if state_of(job) in _HOLDS]
    ended = sorted(set(kept) - set(waits) - set(runs), key=lambda cluster: _time_s(kept[cluster], "end_time"))
    if runs:
        at, job = runs[0], kept[runs[0]]
    elif waits:
        at, job = _waiting(origin, own, kept, waits, records)
    elif ended:
        at, job = ended[-1], kept[ended[-1]]
    else:
        at, job = _elsewhere(origin, own, answered)
    partition = job if runs or (ended and not waits) else own  # until it starts: as it was asked for
    said = {"partition": label(at, str(partition.get("partition") or "")), STAYS: _stays(at, origin, own, features)}
    if not ended or waits or runs:
        said |= {"comment": own.get("comment"), LAGS: comment_of(job) != comment_of(own)}  # copies hear of it later
    return {**job, **said, OLD: "", WAITS_IN: waits}


def _waiting(
    origin: str, own: Any, kept: Mapping[str, Any], waits: Sequence[str], records: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Where a job waits: at home where it may start there, though elsewhere too; the time is the soonest of all its copies."""
    home = origin in waits or (origin not in records and origin in names(own.get("federation_siblings_viable")))
    at = origin if home else waits[0]
    job = dict(kept[origin if origin in waits else waits[0]])
    if home:
        soonest = min((kept[cluster] for cluster in waits), key=lambda one: _time_s(one, "eligible_time"))
        job["eligible_time"] = soonest["eligible_time"]
    return at, job


def _elsewhere(origin: str, own: Any, answered: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A job whose origin alone is heard, and says that it is revoked: it waits where nobody answers, or nowhere, or is over."""
    active = [name for name in names(own.get("federation_siblings_active")) if name != origin]
    viable = [name for name in names(own.get("federation_siblings_viable")) if name != origin]
    there = next(iter(active or viable), origin)
    if not active:
        return there, {**own, "job_state": "PENDING", "state_reason": NO_SIBLING}
    if there not in answered:
        return there, {**own, "job_state": "PENDING", "state_reason": _UNKNOWN}
    return there, dict(own)


def _time_s(job: Any, name: str) -> float:
    return float(np.nan_to_num(number(job.get(name))))


def _stays(at: str, origin: str, own: Any, features: Mapping[str, str]) -> bool:
    """Whether it must not be moved: what Slurm may start anywhere, or what bears words of ours where we sent it, may be."""
    asked, viable = str(own.get("cluster_features") or ""), names(own.get("federation_siblings_viable"))
    if not asked:
        return not set(features) <= set(viable)
    return not (at != origin and asked == features.get(viable[0] if len(viable) == 1 else "") and noted(comment_of(own)))
