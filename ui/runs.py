"""Runs of the offline twin for commands, benches and the API: what they are given, read and joined."""

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ingest.traces import TRACES, read_trace
from ingest.traces.power_csv import read_lines
from ingest.traces.rows import seconds
from twin.adopt import Ranges
from twin.errors import ConfigError, Problem
from twin.params import Params
from twin.sim.examples import example_jobs
from twin.sim.fleet import fleet_of
from twin.sim.outlook import Line, Outlook, outlook_of
from twin.sim.schedule import Policy
from twin.sim.telemetry import Telemetry
from twin.sim.trace import Trace, checked
from twin.sim.whatif import Comparison, compare
from twin.simulate import Trajectory, simulate
from twin.site import Site
from ui.calibrating import adoption_file, fitted_of, told_beyond
from ui.config import load_config, site_of
from ui.progress import Bar
from ui.scenario import Written, read_scenario
from ui.tasks import RealClock
from ui.trajectory import ParquetSink

LATEST_S = 32_503_680_000.0  # the year 3000: times beyond cannot be told


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that a run needs; ``params``: those in force, before the scenario; ``ranges``: what they were fitted on."""

    site: Site
    work: Trace | Telemetry
    outlook: Outlook
    written: Written
    start_s: float
    horizon_s: float
    step_s: float
    params: Params
    ranges: Ranges


def prepare(options: argparse.Namespace) -> Prepared:
    """Read all that the options of a command name. ``ConfigError`` with what is wrong."""
    if options.format == "help" or (options.trace and options.format not in TRACES):
        known = "; ".join(f"{name}: {what}" for name, (_, what) in TRACES.items())
        raise ConfigError([Problem("--format", f"no format {options.format!r}; formats are {known}")])
    config = load_config(options.config)
    site, adopted = site_of(config, ()), adoption_file(config.site.assets, config.store.path)
    fitted = fitted_of(adopted, site)
    params = fitted.params
    written = _with_policy(read_scenario(options.scenario, params), options.policy)
    lines = {name: line for path in options.outlook for name, line in _lines(path).items()}
    work: Trace | Telemetry | None = None
    if options.trace:
        reading = read_trace(options.trace, options.format)
        lines = {**reading.lines, **lines}
        work = checked(reading.work) if isinstance(reading.work, Trace) else reading.work
    start_s = _start_s(options.start, work)
    hours = options.hours if options.hours is not None else (_end_s(work) - start_s) / 3600
    if not (math.isfinite(hours) and 0 < hours <= 10 * 8784):
        raise ConfigError([Problem("--hours", f"{hours:g} h; write a number above 0, of ten years at most")])
    if work is None:
        rng = np.random.Generator(np.random.PCG64(options.seed))
        work = example_jobs(fleet_of(site, written.params), hours * 3600, start_s, rng)
    return Prepared(site, work, outlook_of(lines), written, start_s, hours * 3600, options.step, params, fitted.ranges)


def _lines(path: Path) -> dict[str, Line]:
    try:
        return read_lines(path)
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error.strerror}); name a CSV file with --outlook")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), "is not UTF-8 text; name a CSV file with --outlook")]) from error


def _with_policy(written: Written, policy: str | None) -> Written:
    if policy is None:
        return written
    if policy not in list(Policy):
        raise ConfigError([Problem("--policy", f"no policy {policy!r}; policies are {', '.join(Policy)}")])
    return replace(written, scenario=replace(written.scenario, policy=Policy(policy)))


def _start_s(text: str | None, work: Trace | Telemetry | None) -> float:
    """The beginning: as asked, of the trace, or this hour."""
    if text is not None:
        start_s = seconds(text)
        if not 0 <= start_s <= LATEST_S:
            raise ConfigError([Problem("--start", f"{text!r} is no time; write ISO 8601, as in 2026-11-01T00:00:00Z")])
        return start_s
    if isinstance(work, Telemetry):
        return float(work.time_s[0])
    if work is not None and len(work):
        return float(work.submit_s[0])
    return RealClock().now().timestamp() // 3600 * 3600


def _end_s(work: Trace | Telemetry | None) -> float:
    """When a recording ends: its last value, or the last end of a job (as recorded, else after its submission)."""
    if isinstance(work, Telemetry):
        return float(work.time_s[-1])
    if work is None or not len(work):
        return math.nan
    begun = np.where(np.isnan(work.start_s), work.submit_s, work.start_s)
    return float((begun + work.run_s).max())


def run(prepared: Prepared, out: Path | None, tables: list[str]) -> Trajectory:
    """One run; with ``out`` its tables as Parquet beside it."""
    p, bar = prepared, Bar("simulating")
    about = (p.site, p.work, p.written.params, p.outlook, p.horizon_s, p.step_s)
    if out is None:
        return told_beyond(simulate(*about, start_s=p.start_s, scenario=p.written.scenario, progress=bar), p.ranges)
    with ParquetSink(out, tables) as sink:
        made = simulate(*about, start_s=p.start_s, scenario=p.written.scenario, sink=sink, progress=bar)
        return told_beyond(made, p.ranges)


def compared(prepared: Prepared, base: Path | None, members: int, seed: int) -> Comparison:
    """The scenario beside ``base`` (None: the plain run)."""
    p = prepared
    other = read_scenario(base, p.params)
    plain = other if base else replace(other, scenario=replace(other.scenario, policy=p.written.scenario.policy))
    made = compare(
        p.site,
        p.work,
        plain.params,
        p.outlook,
        p.horizon_s,
        p.step_s,
        scenarios=(plain.scenario, p.written.scenario),
        rng=np.random.Generator(np.random.PCG64(seed)),
        members=members,
        start_s=p.start_s,
        other_params=p.written.params,
        progress=Bar("comparing"),
    )
    return replace(made, base=told_beyond(made.base, p.ranges), other=told_beyond(made.other, p.ranges))
