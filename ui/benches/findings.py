"""``icctwin bench findings``: hours of a simulated hall in which things break by chance, watched by the live detectors on a
virtual clock: which of the faults are found, after how long, and what is found besides.

Everything here is made up, so it says what the detectors can and cannot see, not how often things break. Nothing of them was
chosen on these seeds.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import numpy as np

from analytics.detect.live import Watch
from ingest.sources import simulated
from ingest.sources.simulated.faults import FAULTS, Fault
from ingest.sources.simulated.layout import demo_rows
from twin.errors import SourceError
from twin.frame import frame_of
from twin.load import Row, build_site
from twin.state import State
from ui.benches import Result
from ui.commands import tell

START = datetime(2026, 11, 1, tzinfo=UTC)
GPUS, STEP_S = 256, 30
SEEDS, HOURS = (11, 12, 13), 10.0  # runs, and of each
LEARN_S = 3600.0  # at the start of each that is not judged
AFTER_S = 600.0  # so long after its end a fault may still be found
PARTS = ("gpu", "facility", "network", "queue", "outside")
# which questions' findings tell of a fault of a kind, on its own asset
SEEN_AS: Mapping[str, frozenset[str]] = MappingProxyType({
    "pump_wear": frozenset({"pump_wear", "pump_flow", "pump_stopped"}),
    "link_flap": frozenset({"link_flap", "link_errors"}),
    "gpu_xid": frozenset({"gpu_hazard"}),
    "gpu_lost": frozenset({"gpu_lost", "gpu_hazard"}),
    "straggler": frozenset({"straggler"}),
    "sensor_stuck": frozenset({"sensor_stuck"}),
    "sensor_drift": frozenset({"rack_supply", "rack_flow", "rack_power", "rack_return"}),
    "fouling": frozenset({"fouling"}),
    "leak": frozenset({"leak"}),
    "source_silent": frozenset({"source_silent"}),
    "node_down": frozenset({"node_down"}),
    "disk_wear": frozenset({"disk_hazard"}),
    "psu_failing": frozenset({"psu"}),
    "battery_fade": frozenset({"ups_battery"}),
    "sensor_swapped": frozenset({"sensor_swapped"}),
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stood:
    """A finding as it stood: its question and asset, from when to when [s after the start]."""

    question: str
    asset: str
    from_s: float
    until_s: float


def bench_findings(options: argparse.Namespace) -> Result:
    """The faults of ``HOURS`` for each of ``SEEDS``."""
    found: Counter[str] = Counter()
    judged: Counter[str] = Counter()
    delay_s: list[float] = []
    beside = hidden = 0
    for seed in SEEDS:
        tell(f"{HOURS:g} hours of seed {seed}")
        faults, told = watched(seed, HOURS)
        for fault in (one for one in faults if one.start_s >= LEARN_S and one.until_s + AFTER_S <= 3600 * HOURS):
            delay = found_after_s(fault, told)
            if delay is None:
                hidden += 1
                continue
            judged[fault.kind] += 1
            if np.isfinite(delay):
                found[fault.kind] += 1
                delay_s.append(delay)
        beside += len(unexplained(faults, told))
    hours = len(SEEDS) * (HOURS - LEARN_S / 3600)
    figures = {
        "faults_count": float(judged.total()),
        "found_frac": found.total() / judged.total(),
        "delay_s": float(np.median(delay_s)),
        "unexplained_findings_per_h": beside / hours,
        **{f"found_frac_{kind}": found[kind] / judged[kind] for kind in FAULTS if judged[kind]},
    }
    conditions = {
        "gpus": GPUS, "step_s": STEP_S, "seeds": list(SEEDS), "hours": HOURS, "judged_from_s": LEARN_S,
        "faults_while_an_older_finding_stood": hidden, **{f"faults_{kind}": judged[kind] for kind in FAULTS},
    }  # fmt: skip
    return {"bench": "findings", "figures": figures, "against": {}, "conditions": conditions}


def watched(seed: int, hours: float, gpus: int = GPUS) -> tuple[list[Fault], list[Stood]]:
    """All faults of a run, with times after its start, and all that was told."""
    sources = [Row("bench", {"id": f"sim-{part}", "kind": "source"}) for part in PARTS]
    assets, links = demo_rows(gpus)
    site = build_site("findings", "UTC", [*assets, *sources], links)
    opened = simulated.build("sim", simulated.Options(seed=seed, fault_factor=1.0, start=START, history_days=0.0), site)
    state, watch = State(site), Watch(site)
    stands: dict[tuple[str, str], float] = {}
    told: list[Stood] = []

    async def step(t: float, now: datetime) -> None:
        for source in opened.sources:
            try:
                frames, up = list(await source.poll(now)), 1.0
            except SourceError:
                frames, up = [], 0.0
            for frame in [*frames, frame_of("source", now, site.row(source.name), up_flag=up)]:
                state.absorb(frame, now)
        names = {(one.question, one.asset) for one in watch.step(state, await opened.queues[0].jobs(now), now)}
        for gone in [name for name in stands if name not in names]:
            told.append(Stood(*gone, stands.pop(gone), t))
        stands.update({name: t for name in names if name not in stands})

    async def live() -> None:
        for t in range(0, int(hours * 3600), STEP_S):
            await step(float(t), START + timedelta(seconds=t))

    asyncio.run(live())
    told += [Stood(*name, from_s, hours * 3600) for name, from_s in stands.items()]
    begin_s = START.timestamp()
    return [
        replace(one, start_s=one.start_s - begin_s, until_s=one.until_s - begin_s)
        for one in simulated.plant_of(opened).faults.log
    ], told


def found_after_s(fault: Fault, told: Sequence[Stood]) -> float | None:
    """How long after its start a fault was found, NaN where it was not; None where a finding of the same stood already."""
    mine = [one for one in told if one.asset == fault.asset and one.question in SEEN_AS[fault.kind]]
    if any(one.from_s < fault.start_s <= one.until_s for one in mine):
        return None
    after = [one.from_s - fault.start_s for one in mine if fault.start_s <= one.from_s <= fault.until_s + AFTER_S]
    return min(after, default=float("nan"))


def unexplained(faults: Sequence[Fault], told: Sequence[Stood]) -> list[Stood]:
    """What was told after the first hour that no fault of its asset explains: what follows of a fault elsewhere (a rack that a
    failing pump cools) counts here too."""
    return [
        one
        for one in told
        if one.from_s >= LEARN_S
        and not any(one.asset == f.asset and f.start_s <= one.from_s <= f.until_s + AFTER_S for f in faults)
    ]
