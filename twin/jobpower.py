"""Power of a job's nodes from what the scheduler knows when it starts: how many nodes, how long it waited, what it came with.

Fitted on a past in which some jobs have ended (their mean power is in the accounts) and the cluster's meter ran throughout.
Of a job whose power is asked for, only ``submit_s``, ``start_s`` and ``nodes`` are looked at: neither its end nor its length.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twin.fit import Index
from twin.frame import Floats
from twin.site import Bools

# Edges of the classes; assumed, round numbers chosen before looking at how power varies over them
NODES = np.array([1, 2, 3, 4, 5, 8, 16, 32, 64, 128])
WAIT_S = np.array([0.0, 30, 1800, 7200, 6 * 3600, 12 * 3600, 24 * 3600])
LENGTH_S = np.array([0.0, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 47 * 3600])
BURST_S = 1800.0  # jobs of one size handed in within this time are taken for one campaign
CAMPAIGN_NODE_H = 20.0  # node-hours of a campaign's ended jobs that count as much as its class; assumed


@dataclass(frozen=True, slots=True, eq=False)
class JobLog:
    """A scheduler's accounts as columns over n jobs: float64[n] s since 1970, nodes, and mean power of each node [W] over the
    job's run, which is only known once it has ended."""

    submit_s: Floats
    start_s: Floats
    end_s: Floats
    nodes: Floats
    power_w: Floats

    @property
    def campaign(self) -> Index:
        """int[n]: which jobs came together: of one size, handed in within the same half hour."""
        keys = np.stack([np.floor(self.submit_s / BURST_S), self.nodes], axis=1)
        return np.unique(keys, axis=0, return_inverse=True)[1].ravel()


@dataclass(frozen=True, slots=True, eq=False)
class JobPower:
    """``mean_w``: of a node in use, by the cluster's meter; ``by_nodes_w``, ``by_wait_w``: what classes add; ``campaigns``:
    (half hour, nodes) -> ends of its ended jobs [s, increasing], and over the jobs up to each the sums of node-hours and of
    node-hours times power beyond jobs of like length [W]."""

    mean_w: float
    by_nodes_w: Floats
    by_wait_w: Floats
    campaigns: Mapping[tuple[float, float], tuple[Floats, Floats, Floats]]

    def node_w(self, submit_s: Floats, start_s: Floats, nodes: Floats) -> Floats:
        """float64[n]: expected mean power of a node of each job [W]. Of its campaign only jobs count that had ended when it
        started, as those that go on are others than those that end."""
        made = self.mean_w + self.by_nodes_w[_class(nodes, NODES)] + self.by_wait_w[_class(start_s - submit_s, WAIT_S)]
        bursts = np.floor(submit_s / BURST_S)
        for i, key in enumerate(zip(bursts.tolist(), nodes.tolist(), strict=True)):
            if key in self.campaigns:
                ends, node_h, pull = self.campaigns[key]
                seen = int(np.searchsorted(ends, start_s[i], side="right"))
                made[i] += pull[seen - 1] / (node_h[seen - 1] + CAMPAIGN_NODE_H) if seen else 0.0
        return made


def fit_job_power(log: JobLog, until_s: float, hours_s: Floats, cluster_w: Floats) -> JobPower:
    """Fit on jobs of ``log`` that ended by ``until_s`` and on the meter: ``cluster_w``, float64[h], mean power of all nodes in
    use [W] in the hours between ``hours_s`` (float64[h + 1], all up to ``until_s``).

    Effects of classes are shrunk towards none by empirical Bayes (Efron & Morris, 1973): by the spread between classes over
    that and the error of each, errors counted over whole campaigns, as jobs of one campaign are alike. Jobs that have ended
    are shorter than those that go on, and short jobs draw less: a campaign is held against ended jobs of like length.
    ``ValueError`` where no job has ended.
    """
    ended = (log.end_s <= until_s) & (log.end_s > log.start_s) & np.isfinite(log.power_w)
    if not ended.any():
        raise ValueError(f"no job ended by {until_s:.0f}; give a longer past")
    weight = np.where(ended, log.nodes * (log.end_s - log.start_s), 0.0)
    mean = float(cluster_w.sum() / hourly(log, log.nodes, hours_s).sum())
    left, campaign, effects = log.power_w - mean, log.campaign, []
    for which, size in ((_class(log.nodes, NODES), len(NODES)), (_class(log.start_s - log.submit_s, WAIT_S), len(WAIT_S))):
        effect = _shrunk(which, size, left, weight, campaign, ended)
        effects.append(effect)
        left = left - effect[which]
    bare = JobPower(mean, effects[0], effects[1], {})
    expected = hourly(log, log.nodes * bare.node_w(log.submit_s, log.start_s, log.nodes), hours_s)
    scale = float(cluster_w.sum() / expected.sum())
    return JobPower(scale * mean, scale * effects[0], scale * effects[1], _campaigns(log, ended, weight))


def hourly(log: JobLog, per_job: Floats, hours_s: Floats) -> Floats:
    """float64[h]: mean over each hour of the sum of ``per_job`` (float64[n]) over the jobs that run."""
    first, last = np.argsort(log.start_s, kind="stable"), np.argsort(log.end_s, kind="stable")
    parts = []
    for times, order in ((log.start_s, first), (log.end_s, last)):
        at = np.concatenate([[0], np.cumsum(per_job[order])])
        moment = np.concatenate([[0.0], np.cumsum((per_job * (times - hours_s[0]))[order])])
        seen = np.searchsorted(times[order], hours_s, side="right")
        parts.append(at[seen] * (hours_s - hours_s[0]) - moment[seen])
    gone: Floats = np.diff(parts[0] - parts[1]) / np.diff(hours_s)
    return gone


def _class(values: Floats, edges: np.ndarray) -> Index:
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 1)


def _shrunk(which: Index, size: int, left: Floats, weight: Floats, campaign: Index, ended: Bools) -> Floats:
    """float64[size]: mean of ``left`` of each class, shrunk by how much of it is chance; classes that no ended job has: 0."""
    mean, error, total = np.zeros(size), np.full(size, np.inf), np.zeros(size)
    for k in np.unique(which[ended]).tolist():
        mine = ended & (which == k)
        _, at = np.unique(campaign[mine], return_inverse=True)
        part = np.bincount(at, weights=weight[mine])
        pull = np.bincount(at, weights=(weight * left)[mine])
        total[k] = part.sum()
        mean[k] = pull.sum() / total[k]
        error[k] = ((pull - mean[k] * part) ** 2).sum() / total[k] ** 2
    known = total > 0
    middle = float(np.average(mean[known], weights=total[known]))
    between = max(float(np.average((mean[known] - middle) ** 2 - error[known], weights=total[known])), 0.0)
    trust = np.divide(between, between + error, out=np.zeros(size), where=known & (between + error > 0))
    return np.where(known, (mean - middle) * trust, 0.0)


def _campaigns(log: JobLog, ended: Bools, weight: Floats) -> dict[tuple[float, float], tuple[Floats, Floats, Floats]]:
    """See ``JobPower.campaigns``."""
    length = _class(log.end_s - log.start_s, LENGTH_S)
    beyond = np.zeros(len(length))
    for k in np.unique(length[ended]).tolist():
        mine = ended & (length == k)
        beyond[mine] = log.power_w[mine] - np.average(log.power_w[mine], weights=weight[mine])
    rows = np.flatnonzero(ended)
    bursts = np.floor(log.submit_s[rows] / BURST_S)
    rows = rows[np.lexsort((log.end_s[rows], log.nodes[rows], bursts))]
    keys = np.stack([np.floor(log.submit_s[rows] / BURST_S), log.nodes[rows]], axis=1)
    edges = np.flatnonzero((np.diff(keys, axis=0, prepend=np.nan) != 0).any(axis=1))
    made = {}
    for first, last in zip(edges.tolist(), [*edges[1:].tolist(), len(rows)], strict=True):
        mine, node_h = rows[first:last], weight[rows[first:last]] / 3600
        made[float(keys[first, 0]), float(keys[first, 1])] = (
            log.end_s[mine], np.cumsum(node_h), np.cumsum(node_h * beyond[mine]),
        )  # fmt: skip
    return made
