"""``icctwin bench alerts``: how fast alerts are judged, how soon a page arrives, what becomes of a storm, of a month, of a
receiver that is away, and of us when we are killed."""

import argparse
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median

import numpy as np

from analytics.alerts import begin, step
from analytics.rule import Domain, Of, Rule, Rules, Severity
from ingest.sources.simulated.layout import demo_rows
from twin.frame import Frame, Origin
from twin.load import build_site
from twin.metrics import METRICS
from twin.site import Site
from twin.state import State
from ui.benches import Result
from ui.benches.month import SEEDS, month, months, spread
from ui.benches.pages import killed, latency, storm
from ui.commands import tell

START = datetime(2026, 11, 1, tzinfo=UTC)
GPUS, RULES, SERIES = 10_000, 2_000, 300_000


def bench_alerts(options: argparse.Namespace) -> Result:
    """All of it; see each part for what it measures."""
    seconds = min(float(options.seconds), 60.0)
    tell("evaluate")
    figures = evaluate()
    tell("a storm")
    figures |= storm()
    tell(f"from reading to webhook, {seconds:.0f} s")
    figures |= latency(seconds)
    tell("a receiver that is away, slow and refuses; 100 kills")
    figures |= killed(kills=100)
    tell("a month")
    ours, plain = month()
    tell(f"{len(SEEDS)} months that nobody looked at")
    made = months()
    ours |= spread(made, "icctwin")
    plain |= spread(made, "plain")
    conditions = {"gpus": GPUS, "rules": RULES, "series": SERIES, "faults": ours.pop("faults"), "latency_run_s": seconds}
    return {"bench": "alerts", "figures": figures | ours, "against": plain, "conditions": conditions}


def evaluate() -> dict[str, float]:
    """One step over 2,000 conditions on 300,000 series of 10,000 GPUs: s of one core, the median of 20, with readings that
    change each time; quiet, and with a hundredth of the GPUs over some limit."""
    site = _gpus(GPUS)
    rules = Rules(tuple(_conditions(site)))
    rng = np.random.Generator(np.random.PCG64(1))
    state, table, now = State(site), begin(rules, site, START), START
    columns = _columns()
    modelled = columns[: SERIES // GPUS - len(columns)]  # what the twin expects of some of them makes up the rest
    quiet: list[float] = []
    busy: list[float] = []
    for i in range(40):
        now += timedelta(seconds=1)
        hot = i >= 20
        values = {name: _readings(name, rng, hot) for name in columns}
        state.absorb(Frame("gpu", now, site.all_rows("gpu"), values), now)
        expected = {name: _readings(name, rng, False) for name in modelled}
        state.absorb(Frame("gpu", now, site.all_rows("gpu"), expected, Origin.MODELLED), now)
        began_s = time.process_time()
        table = step(rules, site, state, table, now)
        (busy if hot else quiet).append(time.process_time() - began_s)
    series = (len(columns) + len(modelled)) * site.count("gpu")
    return {
        "evaluate_10k_gpu_s": median(quiet),
        "evaluate_10k_gpu_busy_s": median(busy),
        "evaluate_series_count": float(series),
        "evaluate_rules_count": float(len(rules.rules)),
    }


def _gpus(count: int) -> Site:
    assets, links = demo_rows(count)
    return build_site("bench", "UTC", assets, links)


def _columns() -> list[str]:
    """The columns of a GPU, at most so many as make up the series."""
    return list(METRICS["gpu"])[: SERIES // GPUS]


def _readings(name: str, rng: np.random.Generator, hot: bool) -> np.ndarray:
    """A reading a GPU, below every limit; ``hot``: one in a hundred above."""
    value = rng.uniform(0.0, 0.4, GPUS)
    if hot:
        value[rng.integers(0, GPUS, GPUS // 100)] = 0.99
    return value


def _conditions(site: Site) -> list[Rule]:
    """Two thousand rules as large centres have them: by hall, by rack and by glob, with rates and changes among them."""
    made: list[Rule] = []
    columns = _columns()
    halls, racks = site.ids_of("hall"), site.ids_of("rack")
    for i in range(RULES):
        name = columns[i % len(columns)]
        rule = Rule(f"r{i}", "gpu", name, Severity.WARNING, "{asset} {value:.2f}", "look", 60.0, 0.9 + i * 1e-5, 0.5)
        if i % 10 == 1:
            rule = replace(rule, inside=halls[i % len(halls)])
        elif i % 10 == 2:
            rule = replace(rule, inside=racks[i % len(racks)])
        elif i % 10 == 3 and METRICS["gpu"][name].counter:
            rule = replace(rule, of=Of.INCREASE, window_s=600.0 * (1 + i % 3), limit=1e9, clear=1.0)
        elif i % 10 == 4:
            rule = replace(rule, absent_s=120.0 + i % 60)
        elif i % 10 == 5:
            rule = replace(rule, of=Of.RESIDUAL, suffers=(Domain.COOLING,))
        made.append(rule)
    return made
