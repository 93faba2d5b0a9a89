"""``icctwin respond``: what a request of the grid to draw less would mean, before anybody says yes."""

import argparse
import json
from pathlib import Path

from twin.errors import ConfigError, Problem
from ui.commands import add_command, json_option, say

_LOADS = "CSV: job, gpus, workload; and where wanted floor (least throughput 0-1), weight, pausable (0 or 1), idle_w"
_REQUEST = "JSON: an OpenADR 3 event, or a load target of the flexibility bus"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``respond``."""
    parser = add_command(
        commands,
        "respond",
        respond,
        "plan a request of the grid to draw less: caps, pauses, battery",
        "icctwin respond --request event.json --loads jobs.csv --curves sweep.csv --baseline-kw 900 --out plan.csv",
    )
    parser.add_argument("--request", type=Path, required=True, metavar="F.json", help=_REQUEST)
    parser.add_argument("--loads", type=Path, required=True, metavar="F.csv", help=_LOADS)
    parser.add_argument("--curves", type=Path, required=True, metavar="F.csv", help="CSV: workload, cap_w, power_w, throughput")
    parser.add_argument("--baseline-kw", type=float, required=True, metavar="KW", help="what the meter would show without it")
    parser.add_argument(
        "--facility-ratio", type=float, default=1.0, help="W less at the meter for a W less of the jobs (default: 1)"
    )
    parser.add_argument(
        "--held-kw", type=float, default=0.0, metavar="KW", help="of work that would start meanwhile and can wait"
    )
    parser.add_argument("--battery-kw", type=float, default=0.0, metavar="KW", help="most that a battery gives (default: none)")
    parser.add_argument("--battery-kwh", type=float, default=0.0, metavar="KWH", help="what may be taken out of it")
    parser.add_argument("--out", type=Path, metavar="F.csv", help="CSV: the caps of each minute")
    json_option(parser)


def respond(options: argparse.Namespace) -> int:
    """The plan; exit 1 where it cannot meet the request whole."""
    from dataclasses import asdict

    from energy.respond.plan import Battery, Connection
    from energy.respond.plan import respond as planned
    from energy.respond.tables import read_curves, read_loads, write_response
    from ingest.curtail import read_request
    from ui.tasks import RealClock

    try:
        message = json.loads(options.request.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError([Problem(str(options.request), f"cannot be read ({error}); name a JSON file")]) from None
    request = read_request(message, RealClock().now())
    if request is None:
        say(json.dumps({"request": None}) if options.json else "the request takes back what was asked: nothing to do")
        return 0
    loads = read_loads(options.loads, read_curves(options.curves))
    own_w = float(loads.full_w.sum()) * options.facility_ratio
    baseline_w, held_w = 1e3 * options.baseline_kw, 1e3 * options.held_kw
    if own_w + held_w > 1.05 * baseline_w:
        what = f"the jobs alone draw {own_w / 1e3:.1f} kW at the meter, over the baseline of {options.baseline_kw:g} kW"
        raise ConfigError([Problem("--baseline-kw", what)])
    try:
        connection = Connection(
            baseline_w, max(baseline_w - held_w - float(loads.full_w.sum()), 0.0), options.facility_ratio, held_w
        )
        battery = Battery(1e3 * options.battery_kw, 3.6e6 * options.battery_kwh) if options.battery_kw else None
        made = planned(request, loads, connection, battery)
    except ValueError as error:
        raise ConfigError([Problem(str(options.request), str(error))]) from None
    if options.out:
        write_response(options.out, loads, made)
    said = {
        "request": request.key,
        "begin_s": request.begin_s,
        "end_s": request.end_s,
        "notice_s": request.notice_s,
        "throughput_frac": made.throughput_frac,
        "ceiling_frac": made.bound_frac,
        "short_w": made.short_w,
        "why": None if made.why is None else str(made.why),
        "connection": asdict(connection),
    }
    if options.json:
        say(json.dumps(said))
    else:
        say("\n".join(f"{name:<18} {value}" for name, value in said.items() if name != "connection"))
    return 0 if made.why is None else 1
