"""Commands of those who answer for what icctwin does: stop everything, go on, say yes or no to a plan, watch over it."""

import argparse
import asyncio
import json
import signal
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from twin.errors import ConfigError, Problem, SourceError
from ui.commands import account_name, add_command, between, config_option, json_option, noted, say, tell


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``stop``, ``go``, ``approve``, ``acting`` and ``watchdog``."""
    for name, run, says in (
        ("stop", stop, "let go of everything that icctwin changed, setpoints step by step, and let it change nothing more"),
        ("go", go, "let icctwin act again, as far as its modes allow"),
    ):
        parser = add_command(commands, name, run, says, f'icctwin {name} --config site.toml --why "work on the chillers"')
        _who(parser)
        parser.add_argument("--why", default="", help="why, for the record")

    parser = add_command(commands, "approve", approve, "say yes or no to a plan that waits", "icctwin approve job_start:3f2a9c")
    parser.add_argument("plan", help="key of the plan, as icctwin acting and the wall show it")
    parser.add_argument("--no", action="store_true", help="say no: the plan is taken off the desk and not put there again")
    parser.add_argument(
        "--link", metavar="URL", help="print a link below URL that says yes once, in the name of --who, instead"
    )
    parser.add_argument("--hours", type=float, default=1.0, help="how long the link is good for, up to 12 (default: 1)")
    _who(parser)

    parser = add_command(
        commands, "acting", acting, "what icctwin may do, what is in force, what was done and why", "icctwin acting"
    )
    parser.add_argument("--last", type=between(1, 10_000), default=20, help="so many records of the audit (default: 20)")
    config_option(parser)
    json_option(parser)

    parser = add_command(
        commands,
        "watchdog",
        watchdog,
        "let go of everything when icctwin has stopped saying that it lives; run it beside it, by its own service or scrontab",
        "icctwin watchdog --config site.toml --once",
    )
    parser.add_argument(
        "--after", type=between(1.0, 86_400.0), default=180.0, metavar="S", help="age of the last sign of life (default: 180)"
    )
    parser.add_argument(
        "--every", type=between(1.0, 86_400.0), default=60.0, metavar="S", help="between two looks (default: 60)"
    )
    parser.add_argument("--once", action="store_true", help="look once and end: 1 where something could not be let go")
    config_option(parser)
    json_option(parser)


def _who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--who", default="", help="your name, for the record (default: the one you are logged in with)")
    config_option(parser)
    json_option(parser)


def _records(options: argparse.Namespace) -> tuple[Any, Any]:
    from ui.config import load_config
    from ui.shared import records_of

    config = load_config(options.config)
    return config, records_of(config)


def _name(options: argparse.Namespace) -> str:
    return str(options.who or account_name())


def stop(options: argparse.Namespace) -> int:
    """Set the stop switch, by a file where the records refuse it; a running icctwin lets go within seconds. 1 where none runs
    and something is in force, or where what acts may be beside another store."""
    from ui.config import load_config
    from ui.shared import records_of
    from ui.stopping import stop_by_file
    from ui.switch import STOP_FILE

    config = load_config(options.config)
    try:
        with closing(records_of(config)) as records:
            _wish(config, records, options, "stop")
            return _stopped(options, records)
    except SourceError as error:
        said = stop_by_file(config.store.path, error)
    told = {"stopped": True, "who": _name(options), "file": str(config.store.path / STOP_FILE)}
    say(json.dumps(told) if options.json else said)
    return 1 if config.cluster.postgres else 0  # whoever acts may do so on another machine, where that file is not


def _stopped(options: argparse.Namespace, records: Any) -> int:
    """Say who lets go, now that the switch is set."""
    from ui.stopping import HEARD, hand
    from ui.tasks import RealClock

    found = hand(records, RealClock().now())
    count, sign = found.setpoints_count + found.orders_count, found.sign.isoformat() if found.sign else None
    silent = f"no icctwin has said that it lives since {sign}" if sign else "no icctwin has ever said that it lives"
    if options.json:
        say(json.dumps({"stopped": True, "who": _name(options), "alive": sign, "in_force_count": count}))
    elif found.alive:
        say("icctwin lets go of everything, setpoints a step every 5 s; icctwin go lets it act again")
    elif count:
        force = f"what is in force stays so (setpoints: {found.setpoints_count}, orders: {found.orders_count})"
        tell(f"{silent}: {force}; to let go, run icctwin watchdog --once --after {HEARD.seconds}")
    else:
        say(f"{silent}, and nothing is in force; icctwin go lets it act again")
    return 1 if count and not found.alive else 0


def go(options: argparse.Namespace) -> int:
    """Release the stop switch."""
    from ui.switch import STOP_FILE, stopped

    config, records = _records(options)
    with closing(records):
        _wish(config, records, options, "go")
        halted = stopped(records, config.store.path)
    if halted is not None:
        raise ConfigError([Problem(str(config.store.path / STOP_FILE), "still stops everything; remove this file as well")])
    say(json.dumps({"stopped": False, "who": _name(options)}) if options.json else "icctwin may act again")
    return 0


def _wish(config: Any, records: Any, options: argparse.Namespace, what: str) -> None:
    from ui.switch import Wish, stopped, wish
    from ui.tasks import RealClock

    was, now = stopped(records, config.store.path), RealClock().now()
    wish(records, Wish(what, _name(options), why=options.why), now)
    said = {"by": _name(options), "why": options.why}
    noted(records, _name(options), what, now, before={"stopped": was and dict(was)}, after=said)


def approve(options: argparse.Namespace) -> int:
    """Say yes or no, or make a link that says yes."""
    from energy.memory import remembered
    from energy.notes import Stage
    from ui.switch import LINK_FOR, Wish, signature, signing_key, wish
    from ui.tasks import RealClock

    config, records = _records(options)
    now, who = RealClock().now(), _name(options)
    try:
        if options.link:
            if not 0 < options.hours <= LINK_FOR.total_seconds() / 3600:
                raise ConfigError([Problem("--hours", f"{options.hours:g} is not above 0 and at most 12")])
            until = (now + timedelta(hours=options.hours)).replace(microsecond=0)
            sign = signature(signing_key(config.store.path), options.plan, who, until)
            query = urlencode({"plan": options.plan, "who": who, "until": int(until.timestamp()), "sign": sign})
            link = f"{options.link.rstrip('/')}/approve?{query}"
            say(json.dumps({"link": link, "until": until.isoformat()}) if options.json else link)
            return 0
        if remembered(records, now).stage.get(options.plan) is not Stage.WAITING:
            tell(f"{options.plan}: no plan of that name waits for a word; icctwin acting lists the newest")
            return 1
        what = "reject" if options.no else "approve"
        wish(records, Wish(what, who, options.plan), now)
        noted(records, who, f"plan: {what}", now, about=options.plan, after={"by": who})
    finally:
        records.close()
    said = "no" if options.no else "yes"
    say(json.dumps({"plan": options.plan, "said": said, "who": who}) if options.json else f"said {said} to {options.plan}")
    return 0


def acting(options: argparse.Namespace) -> int:
    """Modes, the stop switch, what is in force, the newest of the audit."""
    from energy.levers import LEVERS
    from energy.memory import remembered
    from energy.notes import TOPIC
    from energy.plan import Mode
    from ui.switch import last_sign, stopped
    from ui.tasks import RealClock

    config, records = _records(options)
    try:
        memory = remembered(records, RealClock().now())
        audit = records.read(TOPIC, limit=options.last, newest=True)
        halted, sign = stopped(records, config.store.path), last_sign(records)
    finally:
        records.close()
    modes = {name: str(config.energy.modes.get(name, Mode.ADVISE)) for name in LEVERS}
    force = [{"asset": e.action.asset, "metric": e.action.metric, "value": e.value} for e in memory.open.values()]
    ordered = [
        {"queue": e.queue, "target": e.target, "verb": e.verb, "value": e.value, "until": e.until.isoformat()}
        | ({"home": e.where[0], "partition": e.where[1]} if e.moved else {})
        for e in memory.ordered.values()
    ]
    if options.json:
        told = [{"time": time.isoformat(), **record} for _, time, record in audit]
        alive = sign.isoformat() if sign else None
        say(
            json.dumps(
                {"modes": modes, "stopped": halted, "alive": alive, "setpoints": force, "orders": ordered, "audit": told}
            )
        )
        return 0
    say(f"stopped by {halted['who']}: {halted['why']}" if halted else "may act; icctwin stop lets go of everything")
    for name, mode in modes.items():
        say(f"  {name:<20} {mode}")
    say(f"in force: {len(force)} setpoints, {len(ordered)} orders; last sign of life {sign or 'never'}")
    for _, time, record in audit:
        what = record.get("asset") or f"{record.get('queue', '')} {record.get('verb', '')} {len(record.get('targets', ()))}"
        say(f"{time:%m-%d %H:%M:%S}  {record['stage']:<13} {record['plan']:<34} {what:<28} {_why(record)}")
    return 0


def _why(record: Mapping[str, Any]) -> str:
    """Why a step was done, with its numbers; as it was kept, where these are of another release."""
    from energy.notes import message_of

    said = record.get("why")
    if not said:
        return ""
    try:
        return str(message_of(said))
    except (KeyError, IndexError, ValueError):
        return str(said["text"])


def watchdog(options: argparse.Namespace) -> int:
    """Look, once or until SIGTERM."""
    from ui.app import TASK_NAMES, open_sources
    from ui.config import site_of
    from ui.tasks import RealClock
    from ui.watchdog import Look, Watch, watch_on

    config, records = _records(options)
    site = site_of(config, TASK_NAMES)
    watch = Watch(site, records, tuple(open_sources(config, site)))

    def told(seen: Look) -> None:
        if options.json:
            sign = seen.sign.isoformat() if seen.sign else None
            say(json.dumps({"alive": sign, "let_go": seen.dead, "left": seen.left}))
        elif seen.dead:
            tell(f"no sign of life since {seen.sign}: everything is let go, {seen.left} things could not be")
        elif options.once:
            say(f"icctwin lives: its last sign was {seen.sign or 'never given'}")

    async def watched() -> Look:
        ended = asyncio.Event()
        # the first process of a container is ended by no signal that it does not handle
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        return await watch_on(watch, RealClock().now, options.after, options.every, options.once, told, ended)

    try:
        last = asyncio.run(watched())
    except KeyboardInterrupt:
        return 0
    finally:
        records.close()
    return 1 if options.once and last.left else 0
