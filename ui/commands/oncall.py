"""``icctwin rules`` and ``icctwin notify``: try rules before they wake anybody, and channels before they are needed."""

import argparse
import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twin.errors import ConfigError, Problem, SourceError
from ui.commands import add_command, between, config_option, json_option, say, tell


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``rules`` and ``notify``."""
    parser = add_command(
        commands, "rules", rules, "test and list alert rules", "icctwin rules test my.cases --rules my-rules.toml"
    )
    parser.add_argument(
        "action", choices=["test", "list"], help="test: run cases, or with --days replay the store; list: all rules"
    )
    parser.add_argument("cases", type=Path, nargs="*", help="files of cases (*.cases) or folders of them")
    parser.add_argument("--rules", type=Path, help="rule file or folder (default: those of --config, else those that ship)")
    parser.add_argument("--config", type=Path, help="the centre whose store is replayed, and whose assets cases may name")
    parser.add_argument(
        "--days", type=between(0.01, 3660.0), help="replay so many days of the store's past: how often would each have fired?"
    )
    parser.add_argument(
        "--step", type=between(1.0, 86_400.0), default=60.0, metavar="S", help="step of the replay in s (default: 60)"
    )
    parser.add_argument("--only", action="append", default=[], metavar="RULE", help="replay only this rule (may be repeated)")
    parser.add_argument("--verbose", action="store_true", help="of a replay, list the rules that never fired too")
    json_option(parser)

    parser = add_command(
        commands, "notify", notify, "try a channel, list pages, send dead letters again", "icctwin notify test noc-chat"
    )
    parser.add_argument(
        "action", choices=["test", "pages", "again"], help="test CHANNEL; pages: the newest; again: dead letters"
    )
    parser.add_argument("channel", nargs="?", help="name of a channel or heartbeat of the on-call file")
    config_option(parser)
    json_option(parser)


def rules(options: argparse.Namespace) -> int:
    """Run cases, replay the store, or list the rules."""
    from analytics.rules import DEFAULT_RULES, load_rules
    from ui.app import TASK_NAMES
    from ui.config import load_config, site_of

    config = load_config(options.config) if options.config else None
    path = options.rules or (config.alerts.rules if config else None) or DEFAULT_RULES
    found = load_rules(path)
    site = site_of(config, TASK_NAMES) if config else None
    if options.action == "list":
        return _list(options, found)
    if options.days is not None:
        return _replay(options, found, config, site)
    return _cases(options, found, site)


def _list(options: argparse.Namespace, found: Any) -> int:
    from analytics.oncall.keep import plain

    if options.json:
        say(json.dumps({"rules": [plain(rule) for rule in found.rules]}))
        return 0
    for rule in found.rules:
        say(f"{rule.severity:<9} {rule.kind:<9} {rule.name:<32} {rule.summary}")
    return 0


def _cases(options: argparse.Namespace, found: Any, site: Any) -> int:
    from analytics.rule_cases import read_cases, run_case, uncovered

    if not options.cases:
        raise ConfigError([Problem("rules test", "names no case; give files of cases, or --days to replay the store")])
    cases = [case for path in options.cases for case in read_cases(path)]
    outcomes = [run_case(case, found, site or sample_site(case.counts)) for case in cases]
    bad = [outcome for outcome in outcomes if outcome.faults]
    bare = uncovered(found, cases)
    if options.json:
        faults = [{"case": o.case.name, "faults": [str(fault) for fault in o.faults]} for o in bad]
        say(json.dumps({"cases": len(cases), "failed": faults, "uncovered": bare}))
    else:
        for outcome in bad:
            say(f"FAILED {outcome.case.name}")
            for fault in outcome.faults:
                say(f"  {fault}")
        hold, lack = f"{len(cases) - len(bad)} of {len(cases)} cases hold", f"{len(bare)} of {len(found.rules)} rules"
        say(f"{hold}; {lack} lack a case of either kind")
        if bare and len(bare) < len(found.rules):
            tell(f"not shown to fire and to keep silent: {', '.join(bare[:20])}{' …' if len(bare) > 20 else ''}")
    return 1 if bad else 0


def sample_site(counts: Mapping[str, int] | None = None) -> Any:
    """One asset of each kind, or as many as ``counts`` says, and one thing of each inside another, for cases that name no
    centre."""
    from twin.kinds import KINDS
    from twin.load import Row, build_site

    known = {
        "hall": "", "row": "hall", "rack": "row", "node": "rack", "gpu": "node", "switch": "rack", "port": "switch",
        "cdu": "row", "pump": "cdu", "pdu": "rack", "storage": "hall", "disk": "node",
    }  # fmt: skip
    numbers = {
        "gpu": {"rated_w": "1000", "index": "{}"}, "node": {"rated_w": "10000"}, "rack": {"rated_w": "100000", "rated_kgps":
        "2"}, "cdu": {"rated_w": "10000", "rated_kgps": "20"}, "site": {"rated_w": "1000000"}, "pdu": {"rated_w": "50000"},
        "ups": {"rated_w": "500000"}, "loop": {"rated_kgps": "50"}, "pump": {"rated_kgps": "20"},
    }  # fmt: skip
    rows = [Row("sample", {"id": "site", "kind": "site", **numbers["site"]})]
    order = sorted(KINDS, key=lambda kind: list(known).index(kind) if kind in known else len(known))
    rows += [
        Row("sample", {"id": f"{kind}-{i}" if i else kind, "kind": kind, "parent": known.get(kind, ""), **told})
        for kind in order
        if kind != "site"
        for i in range((counts or {}).get(kind, 1))
        for told in [{name: text.format(i) for name, text in numbers.get(kind, {}).items()}]
    ]
    return build_site("site", "UTC", rows)


def _replay(options: argparse.Namespace, found: Any, config: Any, site: Any) -> int:
    from datetime import timedelta

    from analytics.oncall.keep import plain
    from analytics.rule import Rules
    from analytics.rule_replay import replay
    from ingest.stores.registry import open_kept
    from ui.tasks import RealClock

    if config is None:
        raise ConfigError([Problem("--days", "needs the centre whose store is replayed; add --config site.toml")])
    if unknown := [name for name in options.only if found.named(name) is None]:
        raise ConfigError([Problem("--only", f"there is no rule {unknown[0]!r}; icctwin rules list names them")])
    if options.only:
        names = {part for name in options.only for part in (name, *found.named(name).parts)}
        found = Rules(tuple(rule for rule in found.rules if rule.name in names))
    store = open_kept(config.store, site, readonly=True)
    end = RealClock().now()
    try:
        rows = replay(
            found, site, store, end - timedelta(days=options.days), end, options.step, lambda done: tell(f"{done:.0%} replayed")
        )
    except ValueError as error:
        raise ConfigError([Problem("--days", str(error))]) from None
    finally:
        store.close()
    if options.json:
        say(
            json.dumps(
                {
                    "days": options.days,
                    "step_s": options.step,
                    "rules": [plain(r) | {"first": str(r.first or "")} for r in rows],
                }
            )
        )
        return 0
    fired = [row for row in rows if row.times]
    for row in sorted(rows if options.verbose else fired, key=lambda row: -row.times):
        where = f"on {row.assets} assets, most on {row.worst}, {row.firing_s / 3600:.1f} h in all" if row.times else "never"
        say(f"{row.times:6d} times  {row.rule:<32} {where}")
    others = "" if options.verbose else "; --verbose lists the others"
    say(f"{len(fired)} of {len(rows)} rules fired in {options.days:g} days{others if len(fired) < len(rows) else ''}")
    return 0


def notify(options: argparse.Namespace) -> int:
    """Send one test page by a channel, list pages, or put dead letters back."""
    from ui.app import environment
    from ui.config import load_config
    from ui.oncall.wiring import read_oncall

    config = load_config(options.config)
    if config.alerts.oncall is None:
        raise ConfigError([Problem(str(options.config), 'names no on-call file; write [alerts] oncall = "oncall.toml"')])
    file = read_oncall(config.alerts.oncall, config.site.timezone, environment(), config.access.url)
    if options.action != "test":
        return _pages(options, config)
    beat = next((one for one in file.beats if one.name == options.channel), None)
    if options.channel not in file.lines and beat is None:
        known = ", ".join([*file.lines, *(one.name for one in file.beats)]) or "none"
        raise ConfigError([Problem("notify test", f"there is no channel or heartbeat {options.channel!r}; there are {known}")])
    if options.channel in file.lines:
        asyncio.run(_tested(file, options.channel, config.site.name))
        took = f"{options.channel} took the test page"
    else:
        asyncio.run(_beaten(file, beat, config.site.name))
        took = f"{options.channel} took a sign of life, and waits for the next from now on"
    say(json.dumps({"channel": options.channel, "ok": True}) if options.json else took)
    return 0


async def _beaten(file: Any, beat: Any, site: str) -> None:
    """``SourceError`` where the receiver did not take it."""
    from ui.faces.notify.post import Post, Undelivered
    from ui.oncall.heart import send
    from ui.tasks import RealClock

    post = Post(file.delivery.allow)
    try:
        await send(beat, post, site, RealClock().now())
    except Undelivered as error:
        raise SourceError(f"heartbeat {beat.name}: {error}") from None
    finally:
        await post.close()


async def _tested(file: Any, name: str, site: str) -> None:
    """``SourceError`` where the receiver did not take it."""
    from analytics.oncall.desk import Event, Page
    from analytics.oncall.labels import Signal
    from analytics.rule import Severity
    from twin.message import Message
    from ui.faces.notify import Parcel
    from ui.faces.notify.post import Post, Undelivered
    from ui.faces.notify.said import say as in_words
    from ui.tasks import RealClock
    from ui.words import words

    line, now_s = file.lines[name], RealClock().now().timestamp()
    labels = {"alertname": "icctwin_test", "severity": "info", "site": site}
    said = Message("nothing is wrong at {site}: somebody tries whether pages arrive", {"site": site})
    signal = Signal("icctwin_test:", labels, Severity.INFO, said, now_s)
    page = Page(
        name, f"test:{name}", f"test:{name}@{now_s:.0f}", Event.TEST, Severity.INFO, labels, (signal,), 0, now_s, now_s, 1
    )
    text = in_words([page], words(line.options.language), file.policy.timezone, file.delivery.outside)
    post = Post(file.delivery.allow)
    try:
        await line.channel.deliver(Parcel(f"icctwin-test-{now_s:.0f}", [page], text, now_s), post)
    except Undelivered as error:
        raise SourceError(f"channel {name}: {error}") from None
    finally:
        await post.close()


def _pages(options: argparse.Namespace, config: Any) -> int:
    from ui.oncall.book import Book
    from ui.tasks import RealClock

    path = config.store.path / "oncall.db"
    if not path.exists():
        raise SourceError(f"{path}: no pages yet; start the centre first")
    book = Book(path)
    try:
        if options.action == "again":
            dead = [page.number for page in book.pages("dead", 1000)]
            count = book.again(dead, RealClock().now().timestamp())
            say(json.dumps({"again": count}) if options.json else f"{count} dead letters wait once more")
            return 0
        rows = book.pages()
    finally:
        book.close()
    if options.json:
        fields = ("number", "channel", "group", "status", "attempts", "made_s", "done_s", "why")
        say(json.dumps({"pages": [{name: getattr(row, name) for name in fields} for row in rows]}))
        return 0
    for row in rows:
        say(f"{row.number:6d} {row.status:<8} {row.channel:<16} {row.attempts:3d} tries  {row.group[:60]}  {row.why[:80]}")
    return 0
