"""Commands of the offline twin: simulate, replay a recording, ask what if."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twin.errors import ConfigError, Problem
from ui.commands import SEED, add_command, between, config_option, json_option, say

_LISTED = 12  # limits and notes that a person is shown


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``simulate``, ``replay`` and ``what-if``."""
    parser = add_command(
        commands,
        "simulate",
        simulate,
        "run the physics twin of a centre over time, offline",
        "icctwin simulate --config site.toml --hours 24 --step 15 --out day.parquet",
    )
    _common(parser, hours=24.0)
    _one(parser)

    parser = add_command(
        commands,
        "replay",
        replay,
        "run a recorded trace of jobs or power through the twin",
        "icctwin replay --trace jobs.swf --format swf --config site.toml --out replay.parquet",
    )
    _common(parser, hours=None)
    _one(parser)
    parser.add_argument("--as-recorded", action="store_true", help="start jobs when they were recorded to start")

    parser = add_command(
        commands,
        "what-if",
        what_if,
        "compare two scenarios side by side, with how sure the difference is",
        "icctwin what-if --config site.toml --scenario pump-trip.toml --hours 6 --step 15",
    )
    _common(parser, hours=24.0)
    parser.add_argument("--base", type=Path, metavar="FILE", help="the scenario to compare with (default: nothing changed)")
    parser.add_argument("--members", type=between(0, 200), default=8, help="pairs of runs for the uncertainty (default: 8)")


def _common(parser: argparse.ArgumentParser, hours: float | None) -> None:
    config_option(parser)
    json_option(parser)
    span = "default: as long as the trace" if hours is None else f"default: {hours:g}"
    parser.add_argument("--hours", type=float, default=hours, help=f"how long to run ({span})")
    parser.add_argument("--step", type=float, default=15.0, metavar="S", help="step in seconds (default: 15)")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="recorded jobs or power (default: made-up jobs, by --seed)")
    parser.add_argument("--format", default="jobs-csv", metavar="NAME", help="of the trace; --format help lists them")
    parser.add_argument("--policy", help="fcfs, easy, priority, conservative or recorded (default: the scenario's, else easy)")
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="TOML: faults, setpoints, caps, added racks")
    parser.add_argument(
        "--outlook", type=Path, action="append", default=[], metavar="FILE", help="CSV of weather or grid; may be repeated"
    )
    parser.add_argument("--start", metavar="TIME", help="ISO 8601 (default: the trace's beginning, else this hour)")
    parser.add_argument("--picture", type=Path, metavar="F.svg", help="draw what came of it")
    parser.add_argument("--seed", type=SEED, default=1, help="same seed, same made-up jobs and draws (default: 1)")


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="F.parquet", help="where results go, a row a step (jobs: F.jobs.parquet)")
    parser.add_argument(
        "--detail", default="", metavar="KINDS", help="cdu, rack or both: a row for each and step, in files of their own"
    )


def simulate(options: argparse.Namespace) -> int:
    """One run; its summary on stdout, its columns in Parquet."""
    from ui.runs import prepare, run

    prepared = prepare(options)
    trajectory = run(prepared, options.out, _tables(options))
    _draw(options, [trajectory])
    _show(options, trajectory)
    return 0


def replay(options: argparse.Namespace) -> int:
    """One run of a recording."""
    if options.trace is None:
        raise ConfigError([Problem("--trace", "is missing; name the recording, and its --format")])
    if options.as_recorded:
        options.policy = "recorded"
    return simulate(options)


def what_if(options: argparse.Namespace) -> int:
    """Two runs and what is between them."""
    from ui.runs import compared, prepare

    comparison = compared(prepare(options), options.base, options.members, options.seed)
    _draw(options, [comparison.other, comparison.base])
    rows = [{name: getattr(row, name) for name in row.__slots__} for row in comparison.rows]
    if options.json:
        both = {"base": comparison.base, "other": comparison.other}
        said = {key: {"scenario": t.scenario, "limits": t.limits, "notes": t.notes} for key, t in both.items()}
        say(json.dumps({"members": comparison.members, "rows": rows, **said}))
        return 0
    say(f"{'':<28}{comparison.base.scenario[:14]:>15}{comparison.other.scenario[:14]:>15}{'difference':>13}   80 % of draws")
    for row in comparison.rows:
        band = "" if row.difference_p10 is None else f"{_short(row.difference_p10)} to {_short(row.difference_p90)}"
        say(f"{row.name:<28}{_short(row.base):>15}{_short(row.other):>15}{_short(row.difference):>13}   {band}")
    _lists(comparison.other)
    return 0


def _draw(options: argparse.Namespace, runs: list[Any]) -> None:
    """The picture, where one is asked for."""
    if options.picture is None:
        return
    from ui.picture import picture
    from ui.words import words

    title = " / ".join(run.scenario for run in runs)
    try:
        options.picture.write_text(picture(words("en"), runs, title), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            [Problem(str(options.picture), f"cannot be written ({error.strerror}); name a writable place")]
        ) from error


def _tables(options: argparse.Namespace) -> list[str]:
    wanted = [part for part in options.detail.split(",") if part]
    if unknown := [part for part in wanted if part not in ("cdu", "rack")]:
        raise ConfigError([Problem("--detail", f"no detail {unknown[0]!r}; details are cdu and rack")])
    return ["site", "jobs", "device", "limit", *wanted]


def _show(options: argparse.Namespace, trajectory: Any) -> None:
    t = trajectory
    if options.json:
        head = {"scenario": t.scenario, "start": datetime.fromtimestamp(t.start_s, UTC).isoformat(), "steps": t.steps}
        say(json.dumps({**head, "step_s": t.step_s, "summary": t.summary, "limits": t.limits, "notes": t.notes}))
        return
    for name, value in t.summary.items():
        say(f"{name:<28}{_short(value):>15}")
    _lists(t)


def _lists(trajectory: Any) -> None:
    for limit in trajectory.limits[:_LISTED]:
        after = limit["after_fault_s"]
        since = "" if after is None else f", {after:.0f} s after a fault"
        say(f"limit: {limit['asset']}: {limit['what']} at {limit['time_s']:.0f} s{since}")
    if len(trajectory.limits) > _LISTED:
        say(f"limit: and {len(trajectory.limits) - _LISTED} more; --json lists them")
    for note in trajectory.notes:
        say(f"note: {note}")


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:,.6g}"
