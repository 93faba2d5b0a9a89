"""``icctwin account``: energy, carbon and cost of a centre over an interval, and whose they were."""

import argparse
import json
import sys
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin.errors import ConfigError, Problem, SourceError
from ui.commands import add_command, config_option, instant, json_option, say, tell

if TYPE_CHECKING:
    from energy.account.book import Account

BY = ("job", "user", "project", "tenant", "partition")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``account``."""
    parser = add_command(
        commands,
        "account",
        account,
        "energy, carbon and cost of an interval, and whose they were",
        "icctwin account --from 2026-11-16 --to 2026-11-23 --by project --csv week.csv",
    )
    config_option(parser)
    json_option(parser)
    parser.add_argument(
        "--from", dest="start", type=instant, metavar="TIME", help="begin, ISO 8601 (default: a day before the end)"
    )
    parser.add_argument("--to", dest="end", type=instant, metavar="TIME", help="end (default: now)")
    parser.add_argument("--by", choices=BY, help="whose: a row each, and what is left over (default: the centre alone)")
    parser.add_argument("--csv", type=Path, metavar="F.csv", help="write the rows there (needs --by)")
    parser.add_argument("--step", type=float, default=300.0, metavar="S", help="step in seconds, 60 to 3600 (default: 300)")
    parser.add_argument(
        "--tariff", default="", metavar="NAME", help="one that ships or a TOML file, in place of [energy] tariff"
    )
    parser.add_argument("--region", default="", help="whose emission factor, in place of [energy] region: CN-east")
    parser.add_argument("--water-m3", type=float, metavar="M3", help="water taken in meanwhile, for the WUE")
    parser.add_argument("--reused-kwh", type=float, metavar="KWH", help="heat handed to users outside meanwhile, for the ERF")


def account(options: argparse.Namespace) -> int:
    """The account on stdout; exit 1 where the interval has no facility energy that anybody read."""
    made = _made(options)
    from ui.accounting import COLUMNS, plain, rows_of
    from ui.report.data import as_csv
    from ui.report.document import Table

    if options.csv:
        rows = [[row[name] for name in COLUMNS] for row in rows_of(made)]
        table = Table("account", "", [(name, "") for name in COLUMNS], rows)
        try:
            options.csv.write_text(as_csv(table), encoding="utf-8", newline="")
        except OSError as error:
            raise ConfigError([Problem(str(options.csv), f"cannot be written ({error.strerror}); name another file")]) from None
    if options.json:
        say(json.dumps(plain(made)))
    else:
        _print(plain(made, 20))
    return 0 if made.coverage_frac > 0 else 1


def _made(options: argparse.Namespace) -> "Account":
    from ingest.stores.registry import open_kept
    from ui.accounting import MAX_SPAN, make_account
    from ui.app import TASK_NAMES
    from ui.config import load_config, site_of
    from ui.given import given_of
    from ui.shared import records_of
    from ui.tasks import RealClock

    config = load_config(options.config)
    end = options.end or RealClock().now()
    start = options.start or end - timedelta(days=1)
    problems = []
    if not timedelta(0) < end - start <= MAX_SPAN:
        problems.append(Problem("--from and --to", f"{start} to {end} is not between nothing and {MAX_SPAN.days} days"))
    if not 60 <= options.step <= 3600:
        problems.append(Problem("--step", f"{options.step:g} is not between 60 and 3600"))
    if options.csv and not options.by:
        problems.append(Problem("--csv", "needs --by: rows are of somebody"))
    if problems:
        raise ConfigError(problems)
    changed: dict[str, Any] = {"region": options.region or config.energy.region}
    if options.tariff:
        named = "/" not in options.tariff and not options.tariff.endswith(".toml")
        changed |= {"tariff": options.tariff if named else "", "tariff_file": None if named else Path(options.tariff)}
    site = site_of(config, TASK_NAMES)
    given = given_of(config.energy.model_copy(update=changed), site)
    more = {"water_kg": options.water_m3 and 1e3 * options.water_m3, "reused_kwh": options.reused_kwh}
    given = replace(given, **{name: value for name, value in more.items() if value is not None})
    with closing(open_kept(config.store, site, readonly=True)) as store, closing(records_of(config)) as records:
        if sys.stderr.isatty():
            tell("adding up …")
        try:
            return make_account(site, store, records, start, end, given, options.by, options.step)
        except ValueError as error:
            raise SourceError(f"the account of {start} to {end} does not add up: {error}") from error


def _print(said: dict[str, Any]) -> None:
    by_twin = f", {_short(said['modelled_frac'])} of that by the twin" if said["coverage_frac"] > 0 else ""
    say(f"{said['start']} to {said['end']}: {_short(said['coverage_frac'])} of it known{by_twin}")
    say(f"  {'facility':<22}{_short(said['facility_kwh']):>14} kWh   IT {_short(said['it_kwh'])} kWh")
    if said["it_read_frac"] > said["coverage_frac"]:
        of_it = f"in {_short(said['it_read_frac'])} of it, {_short(said['it_modelled_frac'])} of that by the twin"
        say(f"  {'IT alone':<22}{_short(said['it_read_kwh']):>14} kWh   {of_it}")
    say(f"  {said['pue_name'] or 'PUE':<22}{_short(said['indicators']['pue_ratio']):>14}")
    if said["meters_apart_frac"] > 0:
        say(f"  meters disagree: those of IT read {said['meters_apart_frac']:.2%} more than the facility's; check both")
    say(f"  {'from the grid':<22}{_short(said['grid_kwh']):>14} kWh   own {_short(said['own_kwh'])} kWh")
    say(f"  {'highest quarter-hour':<22}{_short(said['peak_w'] and said['peak_w'] / 1e3):>14} kW")
    for name, unit in (
        ("location_kg", "location-based"),
        ("market_kg", "market-based"),
        ("marginal_kg", "marginal, not to be added"),
    ):
        say(f"  {'CO2':<22}{_short(said['carbon'][name]):>14} kg    {unit}")
    if said["coverage_frac"] > 0 and said["carbon"]["coverage_frac"] < 1 - 1e-9:
        say(f"  of {1 - said['carbon']['coverage_frac']:.1%} of the grid's energy no intensity is known: it is not in the CO2")
    for name, value in said["indicators"].items():
        if value is not None and name != "pue_ratio":
            say(f"  {name:<22}{_short(value):>14}")
    if said["bill"]:
        _bill(said["bill"])
    if said["split"]:
        _rows(said["split"])


def _bill(bill: dict[str, Any]) -> None:
    say(f"  {'cost':<22}{_short(bill['cost']):>14} {bill['currency']}   of it demand {_short(bill['demand_cost'])}")
    for row in bill["periods"]:
        say(f"    {row['period']:<20}{_short(row['energy_kwh']):>14} kWh   {_short(row['cost'])}")
    if bill["ended"]:
        say(f"  the tariff ended on {bill['ended']}: nothing after it is in the cost; name its successor with --tariff")
    if bill["coverage_frac"] < 1 - 1e-9:
        say(f"  {1 - bill['coverage_frac']:.1%} of the energy has no price and is not in the cost")


def _rows(split: dict[str, Any]) -> None:
    say(f"{split['by']:<28}{'GPU h':>12}{'IT kWh':>14}{'facility kWh':>14}{'CO2 kg':>12}{'cost':>12}")
    more = [split["others"]] if split["others"] else []
    for row in [*split["rows"], *more, *split["remainder"].values()]:
        values = (row["gpu_s"] / 3600, row["it_kwh"], row["facility_kwh"], row["carbon_location_kg"], row["cost"])
        say(
            f"{str(row['name'])[:27]:<28}{_short(values[0]):>12}"
            + "".join(f"{_short(v):>{w}}" for v, w in zip(values[1:], (14, 14, 12, 12), strict=True))
        )
    unread_s = sum(row["unread_gpu_s"] for row in [*split["rows"], *more])
    if unread_s > 0:
        say(f"{_short(unread_s / 3600)} of the GPU h held were not read: their part is estimated, by what the twin says of")
        say("these GPUs, else by the mean of those that were read while they were held")
    say(f"sums to the meter within {split['sum_error_frac']:.1e}. {split['rule']}")


def _short(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
