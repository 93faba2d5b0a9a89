"""``icctwin trial``: let a lever act in hours drawn by lot and rest in the others, so that what it saves can be told."""

import argparse
import json
from datetime import UTC, datetime, timedelta

from twin.errors import ConfigError, Problem
from ui.commands import SEED, account_name, add_command, config_option, json_option, say


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``trial``."""
    parser = add_command(
        commands,
        "trial",
        trial,
        "draw by lot in which hours a lever acts, write the draw down before it begins, or list the draws",
        "icctwin trial supply_temperature --days 14 --block-hours 2 --seed 7",
    )
    parser.add_argument("lever", nargs="?", default="", help="the lever, in mode auto; without one, trials are listed")
    parser.add_argument("--days", type=int, default=14, help="how long (default: 14)")
    parser.add_argument("--block-hours", type=float, default=2.0, help="length of a block; a day has whole ones (default: 2)")
    parser.add_argument("--seed", type=SEED, default=0, help="of the draw (default: 0)")
    parser.add_argument("--start", default="", metavar="DATE", help="first day, UTC (default: tomorrow)")
    parser.add_argument("--who", default="", help="your name, for the record (default: the one you are logged in with)")
    config_option(parser)
    json_option(parser)


def trial(options: argparse.Namespace) -> int:
    """Register one, or list them."""
    from energy.levers import LEVERS
    from energy.trial import Trial, register, registered
    from ui.config import load_config
    from ui.shared import records_of
    from ui.tasks import RealClock

    now = RealClock().now()
    config = load_config(options.config)
    if options.lever and options.lever not in LEVERS:
        raise ConfigError([Problem(options.lever, f"is no lever; levers are {', '.join(LEVERS)}")])
    records = records_of(config)
    try:
        if not options.lever:
            found = [{"lever": one.lever, "start": _day(one.begin_s), "days": one.days, "seed": one.seed, "who": one.who}
                     for one in registered(records)]  # fmt: skip
            say(json.dumps(found) if options.json else "\n".join("  ".join(map(str, one.values())) for one in found) or "none")
            return 0
        try:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            first = datetime.fromisoformat(options.start) if options.start else midnight
            first = first if first.tzinfo else first.replace(tzinfo=UTC)
            who = options.who or account_name()
            made = Trial(options.lever, options.seed, first.timestamp(), options.days, 3600 * options.block_hours, who)
        except ValueError as error:
            raise ConfigError([Problem(f"trial of {options.lever}", str(error))]) from None
        digest = register(records, made, now)
    finally:
        records.close()
    said = {"trial": made.key, "start": _day(made.begin_s), "acts_blocks": int(made.acts().sum()), "digest": digest}
    say(json.dumps(said) if options.json else f"{made.key} begins {said['start']}; its draw is {digest}")
    return 0


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()
