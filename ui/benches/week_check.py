"""The checker of the simulated week: pages and orders against what the world saw; samples as the chaos bench has it. Functions
of what was written down, so that ``tests/test_week.py`` can plant what they must find."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twin.ports import Series
from ui.benches.chaos_world import GPUS
from ui.benches.week_queue import StandIn

PAGE_S = 300.0  # after a GPU is cool again, or after its fault is over, that somebody is told at the latest


def asset(gpu: int) -> str:
    """Id of the GPU of this number."""
    return f"n{gpu // GPUS}g{gpu % GPUS}"


@dataclass(frozen=True, slots=True)
class Page:
    """One that the receiver took: when, ``status`` (firing, resolved), the assets it is about, the number of the message."""

    at_s: float
    status: str
    assets: tuple[str, ...]
    number: str


@dataclass(frozen=True, slots=True)
class Spell:
    """A GPU was hot, in the world, while a fault called ``why`` was there and a while after it."""

    gpu: int
    from_s: float
    to_s: float
    why: str


def pages(taken: Sequence[Page], spells: Sequence[Spell]) -> dict[str, Any]:
    """Of each spell somebody must be told, once; a message that comes again under its number is known for what it is."""
    times = Counter(page.number for page in taken)
    lost, told_s, again = [], [], 0
    for spell in spells:
        who = asset(spell.gpu)
        fits = [p for p in taken if p.status == "firing" and who in p.assets and spell.from_s <= p.at_s <= spell.to_s + PAGE_S]
        first = {page.number: page for page in reversed(fits)}
        if not first:
            lost.append(f"{who} while {spell.why}")
            continue
        again += len(first) - 1
        told_s.append(min(page.at_s for page in first.values()) - spell.from_s)
    return {
        "pages_expected_count": len(spells),
        "pages_lost_count": len(lost),
        "pages_lost": "; ".join(lost),
        "incidents_told_twice_count": again,
        "messages_delivered_again_count": sum(count - 1 for count in times.values()),
        "hot_to_page_median_s": float(np.median(told_s)) if told_s else 0.0,
    }


def orders(queue: StandIn, audit: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What the scheduler was ordered, against the audit: each order that it saw was announced there before."""
    said: Counter[str] = Counter()
    for record in audit:
        if record.get("stage") in ("begun", "reverting") and "targets" in record:
            said.update(record["targets"])
    seen = Counter(one.job for one in queue.written)
    return {
        "jobs_submitted_count": queue.submitted,
        "jobs_moved_count": len(queue.moved),
        "jobs_late_count": queue.late,
        "orders_seen_count": len(queue.written),
        "orders_unexplained_count": sum(max(0, count - said[job]) for job, count in seen.items()),
        **{f"orders_{name}_count": queue.wrong[name] for name in ("touched_without_consent", "out_of_bounds", "doubled")},
    }


def exported(series: Series, ids: Sequence[str], metric: str) -> Iterator[str]:
    """Lines as VictoriaMetrics exports them, of raw values: time in s, GPUs in the order of ``ids``."""
    times = np.rint(np.asarray(series.time_s) * 1000).astype(np.int64)
    for column, row in enumerate(series.rows.tolist()):
        values = series.values[metric][:, column]
        there = ~np.isnan(values)
        one = {"metric": {"asset": ids[row], "origin": "measured"}, "timestamps": times[there].tolist()}
        yield json.dumps(one | {"values": values[there].tolist()})
