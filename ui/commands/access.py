"""``icctwin user`` and ``icctwin audit``: who may sign in, tokens for programs and kiosks, and whether the audit holds."""

import argparse
import getpass
import json
import sys
from typing import Any

from twin.errors import ConfigError, Problem
from ui.commands import add_command, config_option, json_option, noted, say, tell


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``user`` and ``audit``."""
    parser = add_command(
        commands, "user", user, "who may sign in, and tokens of programs and kiosks", "icctwin user add li.na --role operator"
    )
    parser.add_argument(
        "action",
        choices=["add", "list", "role", "password", "off", "on", "remove", "token", "tokens", "take-back"],
        help="add NAME, list, role NAME, password NAME, off and on NAME, remove NAME, token NAME, tokens, take-back TOKEN",
    )
    parser.add_argument("name", nargs="?", help="the user, or the id of a token to take back")
    parser.add_argument("--role", help="viewer, operator, engineer or admin (add: default viewer; token: default that of NAME)")
    parser.add_argument("--as", dest="label", default="", metavar="LABEL", help="what the token is called (default: cli)")
    parser.add_argument("--scope", action="append", default=[], help="what a token may do (may be repeated; default: look)")
    parser.add_argument("--days", type=float, default=90.0, help="until a token ends (default: 90)")
    parser.add_argument("--kiosk", action="store_true", help="a token for a screen that can only look")
    config_option(parser)
    json_option(parser)

    parser = add_command(
        commands, "audit", audit, "look through the chain of the audit, or give its newest links", "icctwin audit verify"
    )
    parser.add_argument(
        "action", choices=["verify", "heads"], help="verify: exit 1 where a chain does not hold; heads: newest links"
    )
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="TOPIC:NUMBER:HASH",
        help="a link noted down before, as heads prints them",
    )
    config_option(parser)
    json_option(parser)


def user(options: argparse.Namespace) -> int:
    """Do one thing to the users; it is in force at once, in a centre that runs too."""
    if options.name is None and options.action not in ("list", "tokens"):
        raise ConfigError([Problem(f"user {options.action}", "names nobody; icctwin user list says who there is")])
    access, close = _opened(options)
    try:
        access.refresh(_now())
        answer = _ACTIONS[options.action](access, options)
    except (ValueError, KeyError) as error:
        raise ConfigError([Problem(f"user {options.action}", str(error.args[0]))]) from None
    finally:
        close()
    if options.json:
        say(json.dumps(answer))
    else:
        for row in answer if isinstance(answer, list) else [answer]:
            say("  ".join(f"{value}" for value in row.values()))
    return 0


def _opened(options: argparse.Namespace) -> Any:
    from ui.access.desk import Access
    from ui.config import load_config
    from ui.shared import records_of

    config = load_config(options.config)
    records = records_of(config)
    return Access(records, config.access), records.close


def _now() -> Any:
    from ui.tasks import RealClock

    return RealClock().now()


def _note(access: Any, what: str, about: str, before: Any = None, after: Any = None) -> None:
    noted(access.records, "", what, _now(), about=about, before=before, after=after)


def _password() -> str:
    """Asked for twice at a terminal, else the first line of standard input; never an argument, which every user of the machine
    could read."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("password: ", stream=sys.stderr)
    if getpass.getpass("once more: ", stream=sys.stderr) != first:
        raise ValueError("the two passwords differ; try again")
    return first


def _row(key: str, row: dict[str, Any]) -> dict[str, Any]:
    return {"user": key, "name": row["name"], "role": row["role"], "active": "on" if row["active"] else "off"}


def _add(access: Any, options: argparse.Namespace) -> Any:
    from ui.access.role import role_of

    role = role_of(options.role or "viewer")
    made = _row(options.name, access.users.add(options.name, _password(), role, _now()))
    _note(access, "user added", options.name, after=made)
    if not access.accounts:
        tell("nobody signs in yet: write [access] into the configuration, then start icctwin anew")
    return made


def _list(access: Any, options: argparse.Namespace) -> Any:
    return [_row(key, row) for key, row in access.users.table.rows().items()]


def _change(access: Any, options: argparse.Namespace, **what: Any) -> Any:
    before, after = access.users.change(options.name, _now(), **what)
    if "password" in what or what.get("active") is False:
        ended = access.end_all(options.name, _now())
        tell(f"sessions of {options.name} are over; tokens taken back: {ended}")
    _note(access, "user changed", options.name, _row(options.name, before), _row(options.name, after))
    return _row(options.name, after)


def _role(access: Any, options: argparse.Namespace) -> Any:
    if not options.role:
        raise ValueError("names no role; add --role operator")
    return _change(access, options, role=options.role)


def _remove(access: Any, options: argparse.Namespace) -> Any:
    row = access.remove(options.name, _now())
    _note(access, "user removed", options.name, before=_row(options.name, row))
    return _row(options.name, row)


def _token(access: Any, options: argparse.Namespace) -> Any:
    from ui.access.role import Identity, Role, Scope, role_of

    own = access.users.role(options.name, _now())
    if own is Role.NOBODY:
        raise KeyError(f"there is no active user {options.name!r}")
    if unknown := [scope for scope in options.scope if scope not in list(Scope)]:
        raise ValueError(f"there is no scope {unknown[0]!r}; scopes are {', '.join(Scope)}")
    role = Role.VIEWER if options.kiosk else role_of(options.role) if options.role else own
    scopes = [Scope.LOOK] if options.kiosk else [Scope(scope) for scope in options.scope or ["look"]]
    label = options.label or ("kiosk" if options.kiosk else "cli")
    owner = Identity(options.name, options.name, own)
    key, token, row = access.tokens.make(owner, label, role, scopes, options.days, _now(), kiosk=options.kiosk)
    _note(access, "token made", key, after={name: row[name] for name in ("owner", "name", "role", "scopes", "kiosk", "end_s")})
    tell("this is shown once: keep it where only its program reads it")
    return {"id": key, "token": token}


def _tokens(access: Any, options: argparse.Namespace) -> Any:
    rows = access.tokens.table.rows().items()
    named = ("owner", "name", "role", "kiosk")
    return [{"id": key, **{name: row[name] for name in named}, "scopes": ",".join(row["scopes"])} for key, row in rows]


def _take_back(access: Any, options: argparse.Namespace) -> Any:
    row = access.tokens.table.get(options.name)
    if row is None:
        raise KeyError(f"there is no token {options.name!r}; icctwin user tokens lists them")
    access.tokens.table.drop(options.name, _now())
    _note(access, "token taken back", options.name, before={"owner": row["owner"], "name": row["name"]})
    return {"id": options.name, "owner": row["owner"], "name": row["name"]}


_ACTIONS = {
    "add": _add,
    "list": _list,
    "role": _role,
    "password": lambda access, options: _change(access, options, password=_password()),
    "off": lambda access, options: _change(access, options, active=False),
    "on": lambda access, options: _change(access, options, active=True),
    "remove": _remove,
    "token": _token,
    "tokens": _tokens,
    "take-back": _take_back,
}


def audit(options: argparse.Namespace) -> int:
    """Look through every chain from its first link on, or print the newest links."""
    from ui.access.audit import TOPICS, verify

    noted = dict(_noted(text) for text in options.head)
    access, close = _opened(options)
    try:
        if options.action == "heads":
            found = {topic: access.records.head(topic) for topic in TOPICS}
            rows = [f"{topic}:{head}" for topic, head in found.items() if head]
            say(json.dumps({"heads": rows}) if options.json else "\n".join(rows))
            return 0
        verdicts = [verify(access.records, topic, noted.get(topic)) for topic in TOPICS]
    finally:
        close()
    faults = [fault for verdict in verdicts for fault in verdict.faults]
    if options.json:
        say(json.dumps({"ok": not faults, "chains": [_chain(verdict) for verdict in verdicts]}))
        return 1 if faults else 0
    for verdict in verdicts:
        if verdict.faults:
            say(f"BAD  {verdict.topic:<14} {_wrong(verdict)}")
            continue
        before = f", {verdict.before} records from before the chain" if verdict.before else ""
        unseen = "" if verdict.topic in noted else "; no head was given: an end cut off is not seen"
        say(f"ok   {verdict.topic:<14} {verdict.links} links hold{before}{unseen}")
    for fault in faults:
        say(f"record {fault.number} of {fault.topic}: {fault.what}")
    return 1 if faults else 0


def _wrong(verdict: Any) -> str:
    """Which records are wrong, and how far the others can be believed."""
    numbers = list(dict.fromkeys(fault.number for fault in verdict.faults if fault.number))
    if not numbers:
        return "does not hold: its end, or all of it, is another"
    more = "100 records or more are" if len(verdict.faults) >= 100 else f"{len(numbers)} records are"
    which = f"record {numbers[0]} is wrong" if len(numbers) == 1 else f"{more} wrong, the first of them record {numbers[0]}"
    return f"does not hold: {which}; links that fit: {verdict.sound} before it, {verdict.after} after it"


def _chain(verdict: Any) -> dict[str, Any]:
    head = str(verdict.head) if verdict.head else ""
    faults = [f"record {fault.number}: {fault.what}" for fault in verdict.faults]
    found = {"topic": verdict.topic, "ok": not faults, "links": verdict.links, "sound": verdict.sound, "after": verdict.after}
    return {**found, "before": verdict.before, "head": head, "faults": faults}


def _noted(text: str) -> tuple[str, Any]:
    from ui.access.audit import TOPICS, Head

    topic, _, rest = text.partition(":")
    number, _, digest = rest.partition(":")
    if topic not in TOPICS or not number.isdigit() or not digest:
        what = f"{text[:60]!r} is no link; write TOPIC:NUMBER:HASH as icctwin audit heads prints it"
        raise ConfigError([Problem("--head", what)])
    return topic, Head(int(number), digest)
