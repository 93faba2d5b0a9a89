"""``icctwin bench``: measure what the README claims."""

import argparse
import json
from pathlib import Path
from typing import Any

from ui.benches import BENCHES, run_bench
from ui.commands import SEED, add_command, between, json_option, say


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``bench``."""
    parser = add_command(commands, "bench", bench, "measure a figure that the README claims", "icctwin bench demo --json")
    parser.add_argument("name", choices=list(BENCHES), help="what to measure")
    parser.add_argument("--gpus", type=between(8, 100_000), default=8192, help="size of the simulated hall (default: 8192)")
    parser.add_argument("--exporters", type=between(1, 10_000), help="of the ingest bench (default: one for eight GPUs)")
    parser.add_argument(
        "--seconds", type=between(1.0, 864_000.0), default=300.0, help="how long a live run lasts (default: 300)"
    )
    parser.add_argument("--hours", type=between(2, 8760), help="week: how much virtual time (default: 168)")
    parser.add_argument("--days", type=between(1, 100), default=10, help="slurm_days: how many (default: 10)")
    parser.add_argument("--seed", type=SEED, help="week: which faults, when; slurm_days: the first day's (default: 1)")
    parser.add_argument("--out", type=Path, metavar="F.svg", help="slurm: where the picture of its day goes")
    parser.add_argument("--climate", action="append", metavar="NAME", help="cooling: judge this climate alone (again for more)")
    json_option(parser)


def bench(options: argparse.Namespace) -> int:
    """Measure, and print one object: figures, the same figures of peers, and under what conditions."""
    result = run_bench(options)
    if options.json:
        say(json.dumps(result))
        return 0
    for title in ("figures", "against", "conditions"):
        say(f"{title}:")
        for name, value in sorted(result[title].items()):
            say(f"  {name:<36} {_short(value)}")
    return 0


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
