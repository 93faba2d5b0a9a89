"""Commands that plan ahead offline: when jobs should run under a carbon or price series."""

import argparse
import json
import math
from pathlib import Path

from ui.commands import add_command, between, json_option, say

_JOBS = (
    "CSV: id, earliest, deadline (ISO 8601 with zone, or s since 1970), one of duration_s, duration_min, duration_h; and where"
    " wanted gpus, power_w, interruptible (0 or 1), nominal (when it would start without shifting), tenant"
)


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``plan``."""
    parser = add_command(
        commands,
        "plan",
        plan,
        "choose when jobs run under a carbon or price series",
        "icctwin plan --jobs jobs.csv --signal carbon.csv --out plan.csv --capacity 512",
    )
    parser.add_argument("--jobs", type=Path, required=True, metavar="F.csv", help=_JOBS)
    parser.add_argument("--signal", type=Path, required=True, metavar="F.csv", help="CSV: time,value at regular steps")
    parser.add_argument("--out", type=Path, required=True, metavar="F.csv", help="CSV: id,start,end,runs,late")
    parser.add_argument("--capacity", type=between(1, 10_000_000), help="GPUs that jobs may hold together (default: no limit)")
    parser.add_argument(
        "--causal",
        action="store_true",
        help="decide step by step from the signal's past alone (default: the signal is the forecast, all of it known)",
    )
    parser.add_argument(
        "--delay", type=between(0, 1000), default=0, help="with --causal: steps after which a value is known (default: 0)"
    )
    parser.add_argument(
        "--longest-wait", type=between(0, 10_000), metavar="H", help="hours that no job ends later than without shifting"
    )
    parser.add_argument("--fair", action="store_true", help="no tenant's GPU hours wait over 1.5 times the mean of all")
    parser.add_argument(
        "--fair-wait", type=between(0, 10_000), default=6, metavar="H", help="hours that are fair in any case (default: 6)"
    )
    json_option(parser)


def plan(options: argparse.Namespace) -> int:
    """Jobs and a signal in, runs out; what it saves against running at once."""
    from energy.shift.offline import Terms, plan_file

    wait_s = math.inf if options.longest_wait is None else 3600.0 * options.longest_wait
    terms = Terms(options.capacity, options.causal, options.delay, wait_s, options.fair, 3600.0 * options.fair_wait)
    said = plan_file(options.jobs, options.signal, options.out, terms)
    say(json.dumps(said) if options.json else "\n".join(f"{name:<20} {value}" for name, value in said.items()))
    return 0
