"""What people tell the desk from outside its process: yes and no to plans, stop and go; and the sign that the desk is alive.

All of it is a record, so that a face in another process, a command and a chat's link say it the same way, and a restart knows
it. Beside it a plain file in the store's folder stops everything, for whoever has nothing but a shell.
"""

import hmac
import json
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from twin.errors import SourceError
from twin.ports import Records

log = logging.getLogger(__name__)
WISHES, ALIVE, HEARD = "wishes", "alive", "heard-wishes"
STOPS, USED = "stop-switch", "used-links"  # of their own: no number of other wishes makes them forgotten
STOP_FILE, KEY_FILE = "STOP", "approve.key"
KEPT_WISHES = KEPT_STOPS = 1000
KEPT_USED = 2000  # links that were used: each was signed here, and one is good for 12 h at most
BEAT = timedelta(seconds=30)
UNTOLD = timedelta(seconds=60)  # for so long what is in force stays where nobody can tell whether everything is stopped
LINK_FOR = timedelta(hours=12)  # the longest that a signed link is good for


@dataclass(frozen=True, slots=True)
class Wish:
    """``what``: approve, reject, stop or go; ``plan``: whose key it is about, where it is about one."""

    what: str
    who: str
    plan: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """A yes or no as it stands in the records: its number there, and when it was said."""

    number: int
    time: datetime
    wish: Wish


def wish(records: Records, said: Wish, now: datetime) -> None:
    """Say it to the desk, which acts on it within seconds. ``SourceError`` where it cannot be kept."""
    record = {"what": said.what, "who": said.who, "plan": said.plan, "why": said.why}
    if said.what in ("stop", "go"):
        records.append(STOPS, now, record)
        records.trim(STOPS, KEPT_STOPS)
    records.append(WISHES, now, record)
    records.trim(WISHES, KEPT_WISHES)


def stopped(records: Records, folder: Path) -> Mapping[str, Any] | None:
    """Who stopped everything and why; None where nobody has."""
    if (folder / STOP_FILE).exists():
        return {"who": "the file", "why": str(folder / STOP_FILE)}
    told = [record for _, _, record in records.read(STOPS, limit=1, newest=True)] or _of_before(records)
    return told[-1] if told and told[-1]["what"] == "stop" else None


def _of_before(records: Records) -> list[dict[str, Any]]:
    """Stop and go as they were kept before, among all other wishes."""
    told = (record for _, _, record in records.read(WISHES, limit=KEPT_WISHES, newest=True))
    return [record for record in told if record["what"] in ("stop", "go")]


class Switch:
    """The desk's side of it. Used from one task at a time."""

    def __init__(self, records: Records, folder: Path, now: datetime) -> None:
        """Reads what was heard before: what was said since is news. Where no account of it was kept, all of it is over."""
        self._records, self._folder = records, folder
        self._beat: datetime | None = None
        self._untold: datetime | None = None  # since when it cannot be told whether everything is stopped
        self._stop = 0  # number of the last stop among the wishes
        known = records.read(WISHES, limit=1, newest=True)
        kept = records.read(HEARD, limit=1, newest=True)
        account: dict[str, Any] = kept[-1][2] if kept else {"seen": known[-1][0] if known else 0, "open": []}
        self._seen: int = account["seen"]
        self._open = frozenset[int](account["open"])  # heard, and not done
        self._again = self._open  # of those, what this process has not heard yet
        if not kept:
            records.append(HEARD, now, account)
        if not records.read(STOPS, limit=1) and (before := _of_before(records)):
            records.append(STOPS, known[-1][1], before[-1])

    def news(self) -> Sequence[Heard]:
        """Each yes and no that was said since this was last asked, or that a process before this one left undone, the oldest
        first."""
        found = self._records.read(WISHES, limit=KEPT_WISHES, newest=True)
        self._stop = max((number for number, _, record in found if record["what"] == "stop"), default=self._stop)
        fresh = [
            Heard(number, time, Wish(record["what"], record["who"], record.get("plan", ""), record.get("why", "")))
            for number, time, record in found
            if (number > self._seen or number in self._again) and record["what"] in ("approve", "reject")
        ]
        self._seen = max([self._seen, *(number for number, _, _ in found)])
        self._open, self._again = self._open | {heard.number for heard in fresh}, frozenset()
        return fresh

    def done(self, now: datetime, *heard: Heard) -> None:
        """Write down that these are done: no process hears them again."""
        left = self._open - {one.number for one in heard}
        self._records.append(HEARD, now, {"seen": self._seen, "open": sorted(left)})
        self._records.trim(HEARD, 1)
        self._open = left

    def is_open(self, heard: Heard) -> bool:
        """Whether it is not done yet."""
        return heard.number in self._open

    def stopped_since(self, heard: Heard) -> bool:
        """Whether somebody stopped everything after it was said."""
        return heard.number < self._stop

    def stopped(self) -> Mapping[str, Any] | None:
        """Who stopped everything and why; also where that cannot be told: then nothing may be begun."""
        try:
            return stopped(self._records, self._folder)
        except SourceError as error:
            log.error("whether somebody has stopped everything cannot be told: %s", error)
            return {"who": "icctwin", "why": str(error)}

    def lets_go(self, now: datetime) -> Mapping[str, Any] | None:
        """Who wants all that is in force given back, and why. A busy disk is no reason to undo hours of work: where it cannot
        be told whether somebody stopped, that is one once it lasts for ``UNTOLD``."""
        try:
            halted = stopped(self._records, self._folder)
        except SourceError as error:
            log.error("whether somebody has stopped everything cannot be told: %s", error)
            if self._untold is None or now < self._untold:
                self._untold = now
            return {"who": "icctwin", "why": str(error)} if now - self._untold >= UNTOLD else None
        self._untold = None
        return halted

    def beat(self, now: datetime) -> None:
        """Say that we live, every ``BEAT``: the watchdog hears it."""
        if self._beat is None or not timedelta() <= now - self._beat < BEAT:
            self._records.append(ALIVE, now, {"pid": os.getpid()})
            self._records.trim(ALIVE, 1)
            self._beat = now


def last_sign(records: Records) -> datetime | None:
    """When the desk last said that it lives; None: never."""
    found = records.read(ALIVE, limit=1, newest=True)
    return found[-1][1] if found else None


# --- links that say yes once


def signing_key(folder: Path) -> bytes:
    """The secret by which links are signed, made at first use; whoever reads the file can sign. ``SourceError`` where it can be
    neither read nor written."""
    path = folder / KEY_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise SourceError(f"{path} cannot be written ({error.strerror}); links cannot be signed") from None
    else:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror}); links cannot be signed") from None


def signature(key: bytes, plan: str, who: str, until: datetime) -> str:
    """Of a link with which ``who`` may say yes to ``plan`` until then, once."""
    said = json.dumps([plan, who, int(until.timestamp())], ensure_ascii=False)
    return hmac.new(key, said.encode(), sha256).hexdigest()


class _RefusedError(Exception):
    """A link is not taken, in one sentence."""


def redeem(records: Records, folder: Path, plan: str, who: str, until: datetime, sign: str, now: datetime) -> str:
    """Take a signed link as its holder's yes; a sentence why not, empty where it was taken."""
    if not hmac.compare_digest(signature(signing_key(folder), plan, who, until).encode(), sign.encode()):
        return "This link was not signed here, or was changed."
    if not now < until:
        return f"This link was good until {until.isoformat(timespec='minutes')}."

    def used(last: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """The signatures of links that were used, with this one; it is one step of the records'. What is over is forgotten
        only to make room, the oldest first: a clock that is ahead would say so of links that are good for hours to come."""
        known: dict[str, float] = dict((last or {}).get("signs", {}))
        if sign in known:
            raise _RefusedError("This link was used already.")
        if len(known) >= KEPT_USED:
            oldest = min(known, key=lambda one: known[one])
            if known.pop(oldest) > now.timestamp():
                what = f"{KEPT_USED} links were used within their time, and no more are taken; say yes on the wall."
                raise _RefusedError(what)
        return {"signs": known | {sign: until.timestamp()}}

    try:
        records.append_next(USED, now, used)
    except _RefusedError as refusal:
        return str(refusal)
    records.trim(USED, 1)
    wish(records, Wish("approve", who, plan, "by link"), now)
    return ""
