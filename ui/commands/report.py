"""``icctwin report``: the weekly energy and utilisation report, or one of any span."""

import argparse
import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from twin.errors import ConfigError, Problem
from ui.commands import add_command, config_option, json_option, say, tell

if TYPE_CHECKING:
    from ui.report.span import Span

FORMATS, LANGUAGES = ("html", "pdf", "json", "csv", "xlsx"), ("en", "zh")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``report``."""
    parser = add_command(
        commands,
        "report",
        report,
        "energy, utilisation and reliability of a week, month, quarter or any span, as page, PDF and data",
        "icctwin report --week 2026-W46 --out reports",
    )
    config_option(parser)
    spans = parser.add_mutually_exclusive_group()
    spans.add_argument("--week", metavar="WEEK", help="an ISO week such as 2026-W46 (default: the last that is over)")
    spans.add_argument("--span", metavar="SPAN", help="2026-11, 2026-Q4, 2026 or 2026-11-01/2026-11-15")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument(
        "--format", default=",".join(FORMATS), metavar="LIST", help=f"some of {','.join(FORMATS)} (default: all)"
    )
    parser.add_argument("--lang", default="en,zh", metavar="LIST", help="some of en,zh (default: both)")
    parser.add_argument(
        "--scope", default="centre", metavar="PART", help="centre, hall:NAME, tenant:NAME or project:NAME (default: centre)"
    )
    parser.add_argument(
        "--pue-limit", type=float, metavar="RATIO", help="the PUE that policy allows, such as 1.25 (default: [report])"
    )
    json_option(parser)


def report(options: argparse.Namespace) -> int:
    """The files on disk; exit 1 where the span has no energy that anybody read."""
    from ingest.stores.registry import open_kept
    from ui.app import TASK_NAMES, environment
    from ui.config import load_config, site_of
    from ui.given import given_by
    from ui.oncall.wiring import read_oncall
    from ui.report.make import From, make
    from ui.report.scope import scope_of
    from ui.report.section import MOST_PUE
    from ui.report.span import last_over
    from ui.report.write import write
    from ui.shared import records_of
    from ui.tasks import RealClock

    limit = options.pue_limit
    if limit is not None and not 1 <= limit <= MOST_PUE:  # nor is NaN
        what = f"{limit:g} is no limit of a PUE, which is at least 1; give one from 1 to {MOST_PUE:g}, such as 1.25"
        raise ConfigError([Problem("--pue-limit", what)])
    formats, languages = _some("--format", options.format, FORMATS), _some("--lang", options.lang, LANGUAGES)
    config = load_config(options.config)
    site = site_of(config, TASK_NAMES)
    zone = ZoneInfo(site.timezone)
    asked, now = options.week or options.span, RealClock().now()
    span = _asked(options, zone) or last_over("week", now, zone)
    if span.start >= now:
        raise ConfigError([Problem("--week" if options.week else "--span", f"{asked!r} has not begun; name one that has")])
    scope, section = scope_of(options.scope), config.report
    outside = read_oncall(config.alerts.oncall, site.timezone, environment(), config.access.url).delivery.outside
    given, limits = given_by(config.energy, site), section.limits(limit)
    with closing(open_kept(config.store, site, readonly=True)) as store, closing(records_of(config)) as records:
        tell(f"reading {span.label}: {span.days[0]} to {span.days[-1]}")
        made = make(From(site, store, records, given, limits, outside, section.picture, now), span, scope)
    done = made.files(languages, formats)
    written = write(options.out, done.files)
    if options.json:
        said: dict[str, object] = {"span": span.label, "scope": str(scope), "files": [str(path) for path in written]}
        said |= {"coverage_frac": made.coverage_frac, "left_out": list(done.left_out)}
        say(json.dumps(said))
    else:
        for path in written:
            say(str(path))
    for why in done.left_out:
        tell(f"left out: {why}")
    if made.coverage_frac <= 0:
        tell(f"nothing was read in {span.label}, by days of {site.timezone}: the report says so and has no sums")
        return 1
    return 0


def _asked(options: argparse.Namespace, zone: ZoneInfo) -> "Span | None":
    """The span that was named; None where none was."""
    from ui.report.span import span_of

    try:
        span = span_of(options.week or options.span, zone) if options.week or options.span else None
    except ConfigError as error:
        if not options.week:
            raise ConfigError([Problem("--span", problem.what) for problem in error.problems]) from None
        span = None
    if options.week and (span is None or span.kind != "week"):
        what = f"{options.week!r} is no week that there is; write one as 2026-W46, or another span with --span"
        raise ConfigError([Problem("--week", what)])
    return span


def _some(flag: str, text: str, known: tuple[str, ...]) -> list[str]:
    named = [part for part in text.split(",") if part]
    wrong = [part for part in named if part not in known]
    if wrong or not named:
        raise ConfigError([Problem(flag, f"{', '.join(wrong) or 'nothing'} is none of {', '.join(known)}")])
    return named
