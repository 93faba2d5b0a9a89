"""``icctwin calibrate``: fit the twin to what the store has, and adopt or take back what was fitted."""

import argparse
import json
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

from twin.errors import ConfigError, Problem, SourceError
from twin.frame import Frame
from ui.commands import add_command, config_option, json_option, say, tell


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``calibrate``."""
    parser = add_command(
        commands,
        "calibrate",
        calibrate,
        "fit the twin's parameters to the stored past; nothing changes without --adopt",
        "icctwin calibrate --config site.toml --hours 72 --adopt",
    )
    config_option(parser)
    parser.add_argument("--hours", type=float, default=24.0, help="how much of the past to use (default: 24)")
    parser.add_argument("--end", help="until when, ISO 8601 with zone (default: the newest reading in the store)")
    parser.add_argument("--adopt", action="store_true", help="put sound fits in force, with where they come from")
    parser.add_argument("--undo", action="store_true", help="take the newest adoption back instead of fitting")
    json_option(parser)


def calibrate(options: argparse.Namespace) -> int:
    """Fit, report and perhaps adopt; exit 1 where the record allows no sound fit."""
    from ui.calibrating import adopt, adoption_file, fitted_of, note, take_back
    from ui.calibrating import calibrate as run
    from ui.config import load_config, site_of
    from ui.tasks import RealClock

    if not 0 < options.hours <= 24 * 400:
        raise ConfigError([Problem("--hours", f"{options.hours:g} is not above 0 and at most 9600")])
    config, now = load_config(options.config), RealClock().now()
    path = adoption_file(config.site.assets, config.store.path)
    if options.undo:
        undone = take_back(path, now)
        said = f"the adoption of {undone['time']} is taken back; {_soon()}" if undone else f"{path}: no adoption is in force"
        say(json.dumps({"undone": undone}) if options.json else said)
        return 0 if undone else 1
    from ingest.stores.registry import open_kept
    from ui.app import TASK_NAMES
    from ui.shared import records_of

    site = site_of(config, TASK_NAMES)
    with closing(open_kept(config.store, site, readonly=True)) as store, closing(records_of(config)) as records:
        end = _end(options.end, store.latest(now - timedelta(days=400)), now)
        span = timedelta(hours=options.hours)
        report = run(
            site, store, fitted_of(path, site).params, end, span, "icctwin calibrate", lambda name: tell(f"fitting {name} …")
        )
        sound = any(one.sound for one in report.fits)
        if options.adopt and sound:
            report = adopt(path, report, now)
        record = note(records, report, now)
    if options.json:
        say(json.dumps(record))
    else:
        _print(record)
        if report.adopted:
            say(f"adopted into {path}; {_soon()}. Take it back with: icctwin calibrate --config {options.config} --undo")
        elif sound:
            say("nothing was changed; put what is sound in force with --adopt")
        elif not report.fits:
            say("nothing could be fitted: of no equipment was all that it is judged by read in this span; see icctwin check")
    return 0 if sound else 1


def _soon() -> str:
    return "a running icctwin takes it over at its next start or at SIGHUP"


def _end(given: str | None, latest: Sequence[Frame], now: datetime) -> datetime:
    """Until when to look: as given, else just after the newest reading."""
    if given:
        try:
            end = datetime.fromisoformat(given)
        except ValueError as error:
            raise ConfigError([Problem("--end", f"{given!r} is no time; write 2026-11-25T12:00+00:00")]) from error
        if end.tzinfo is None:
            raise ConfigError([Problem("--end", f"{given!r} has no zone; add one, such as +00:00")])
        return end
    times = [frame.time for frame in latest]
    if not times:
        raise SourceError("the store has no reading to learn from; run icctwin up first")
    return min(now, max(times) + timedelta(seconds=1))


def _print(record: dict[str, Any]) -> None:
    say(f"{record['start']} to {record['end']}, steps of {record['step_s']:g} s; the later part judges")
    say(f"{'fit':<20} {'sound':>9}  {'CV(RMSE) now':>12} {'fitted':>8}  {'NMBE now':>9} {'fitted':>8}")
    for row in record["summary"]:
        shares = [_percent(row[name]) for name in ("cvrmse_before_frac", "cvrmse_frac", "nmbe_before_frac", "nmbe_frac")]
        sound = f"{row['sound']} of {row['fits']}"
        say(f"{row['name']:<20} {sound:>9}  {shares[0]:>12} {shares[1]:>8}  {shares[2]:>9} {shares[3]:>8}")
    for one in record["fits"]:
        if one["sound"] and not one["asset"]:
            values = ", ".join(f"{v['name']} {v['value']:.4g} ({v['low']:.4g} to {v['high']:.4g})" for v in one["values"])
            say(f"  {one['name']}: {values}")
        elif not one["sound"]:
            say(f"  {one['name']} {one['asset']}: refused, {one['why']['text'].format(**one['why']['params'])}")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"
