"""Which switches the traffic of a job may pass: those its nodes hang on, and those above, tier by tier."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin.frame import Ints
from twin.job import Jobs, JobState
from twin.site import Site
from ui.faces.pages.texts import Cell, Table, row
from ui.words import Words

MAX_PATHS = 40  # of the running jobs with most GPUs; the rest can be asked for by nobody here
MAX_NAMES = 12  # of switches in a tier that are written out
TIERS = ("leaf", "spine", "core")


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Of the job ``job``: how many nodes it has, and int32 positions in the site of its switches in each tier."""

    job: str
    name: str
    nodes: int
    tiers: tuple[Ints, ...]


def paths(jobs: Jobs, site: Site, most: int = MAX_PATHS) -> list[Path]:
    """Of the running jobs whose GPUs are known, those with most GPUs first."""
    running = np.flatnonzero(jobs.state == JobState.RUNNING)
    known = running[np.isin(running, jobs.job_of)]
    chosen = known[np.argsort(-jobs.gpus[known], kind="stable")][:most]
    holder, nodes, net = site.within("gpu", "node"), site.of_kind("node"), site.links["connects"]
    ends = np.concatenate([np.stack([net.source, net.target]), np.stack([net.target, net.source])], axis=1)  # either way round
    to_switch = np.isin(ends[1], site.of_kind("switch"))
    made = []
    for job in chosen.tolist():
        held = np.unique(holder[jobs.rows[jobs.job_of == job]])
        here = nodes[held[held >= 0]]
        tiers: list[Ints] = []
        seen = np.empty(0, dtype=np.int64)
        front = here
        while len(front) and len(tiers) < len(TIERS):
            front = np.setdiff1d(ends[1][to_switch & np.isin(ends[0], front)], seen)
            seen = np.union1d(seen, front)
            if len(front):
                tiers.append(front.astype(np.int32))
        made.append(Path(jobs.ids[job], jobs.names[job], len(here), tuple(tiers)))
    return made


def table(found: Sequence[Path], site: Site, shown: int, words: Words) -> list[Table]:
    """What the page's script shows of each: rows, and which of the first ``shown`` switches of the map it passes."""
    made = []
    place = np.full(len(site.ids), -1, dtype=np.int64)
    place[site.of_kind("switch")[:shown]] = np.arange(min(shown, site.count("switch")))
    for one in found:
        rows = [row("", [words("nodes"), f"{one.nodes}"])]
        rows += [_tier(name, [site.ids[i] for i in tier.tolist()], words) for name, tier in zip(TIERS, one.tiers, strict=False)]
        at = np.concatenate([place[tier] for tier in one.tiers]) if one.tiers else np.empty(0, dtype=np.int64)
        made.append({"id": one.job, "name": f"{one.job} {one.name}", "rows": rows, "at": at[at >= 0].tolist()})
    return made


def _tier(name: str, switches: Sequence[str], words: Words) -> Cell:
    said = ", ".join(sorted(switches)[:MAX_NAMES]) + (f" … ({len(switches)})" if len(switches) > MAX_NAMES else "")
    return row("", [words(name), said])
