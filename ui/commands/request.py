"""``icctwin request``: what the grid asks, for a running centre to answer: for grids that telephone, and for exercises."""

import argparse
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from twin.errors import ConfigError, Problem
from ui.commands import add_command, between, config_option, json_option, noted, say

if TYPE_CHECKING:
    from twin.curtail import Request


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``request``."""
    parser = add_command(
        commands,
        "request",
        request,
        "tell a running centre that the grid asks for less power, list what is asked, or take it back",
        "icctwin request evening --cut-kw 250 --start 2026-12-01T18:00Z --hours 3",
    )
    parser.add_argument("key", nargs="?", default="", help="name of the request; without one, what is asked is listed")
    parser.add_argument("--cut-kw", type=between(0.0, 1e7), metavar="KW", help="so much less than without it")
    parser.add_argument("--limit-kw", type=between(0.0, 1e7), metavar="KW", help="so much at most")
    parser.add_argument("--start", default="", metavar="TIME", help="ISO 8601 with zone (default: in five minutes)")
    parser.add_argument("--hours", type=between(0.01, 8784.0), default=1.0, help="how long it lasts (default: 1)")
    parser.add_argument("--best-effort", action="store_true", help="less is welcome too: no job pauses for it")
    parser.add_argument("--withdraw", action="store_true", help="take it back: what was done for it is undone")
    config_option(parser)
    json_option(parser)


def request(options: argparse.Namespace) -> int:
    """Say it, list it, or take it back."""
    from energy.respond.inbox import note, standing
    from twin.curtail import Asked
    from ui.config import load_config
    from ui.shared import records_of
    from ui.tasks import RealClock

    now = RealClock().now()
    wanted = None if options.withdraw or not options.key else _wanted(options, now)
    records = records_of(load_config(options.config))
    try:
        if options.key:
            who = f"command/{options.key}"
            news = note(records, Asked(who, () if wanted is None else (wanted,)), now)
            what = "request of the grid" if wanted else "request of the grid taken back"
            noted(records, "", what, now, about=who, after=wanted and _plain(wanted))
            said = "taken back" if wanted is None else "asked"
            say(json.dumps({"request": options.key, "said": said, "news": news}) if options.json else f"{options.key}: {said}")
            return 0 if news or wanted is not None else 1
        found = [
            {"who": who, "key": one.key, "start": _stamp(one.begin_s), "end": _stamp(one.end_s)}
            for who, one in standing(records, now)
        ]
    finally:
        records.close()
    say(
        json.dumps(found)
        if options.json
        else "\n".join("  ".join(map(str, one.values())) for one in found) or "nothing is asked"
    )
    return 0


def _wanted(options: argparse.Namespace, now: datetime) -> "Request":
    from twin.curtail import Interval, Request

    try:
        start = datetime.fromisoformat(options.start) if options.start else now + timedelta(minutes=5)
        if start.tzinfo is None:
            raise ValueError(f"{options.start!r} has no time zone; write 2026-12-01T18:00Z")
        if (options.cut_kw is None) == (options.limit_kw is None):
            raise ValueError("give either --cut-kw or --limit-kw")
        asked_w = {"cut_w": options.cut_kw} if options.limit_kw is None else {"limit_w": options.limit_kw}
        end_s = start.timestamp() + 3600 * options.hours
        if not end_s > now.timestamp():
            raise ValueError("it is over already")
        part = Interval(start.timestamp(), end_s, **{name: 1e3 * kw for name, kw in asked_w.items()})
        return Request(options.key, now.timestamp(), (part,), options.best_effort)
    except ValueError as error:
        raise ConfigError([Problem(f"request {options.key}", str(error))]) from None


def _plain(wanted: "Request") -> list[dict[str, str]]:
    """What is asked, for the audit; what is not asked (NaN) as words, too."""
    return [{name: str(getattr(part, name)) for name in ("begin_s", "end_s", "limit_w", "cut_w")} for part in wanted.intervals]


def _stamp(at_s: float) -> str | None:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="minutes") if at_s < 1e11 else None
