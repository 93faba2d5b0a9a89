"""Signing in and out: what is checked in which order, what the browser gets, and what is written down."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ParamSpec, TypeVar

from starlette.responses import Response

from ui.access.cookies import DEVICE, KIOSK, SESSION, Cookies
from ui.access.desk import Access
from ui.access.people import LONGEST_NAME
from ui.access.role import Identity, Role, Sort

DEVICE_S = 400 * 86400.0  # browsers keep no cookie longer (RFC 6265bis)
AT_ONCE = 2  # passwords that are looked at together: each takes 64 MiB and some 50 ms of a core
IN_LINE = 20  # and that wait for it; more are told to come again
P = ParamSpec("P")
T = TypeVar("T")


class NotIn(Exception):
    """Not signed in: the status, one sentence, and how long to wait."""

    def __init__(self, status: int, sentence: str, wait_s: float = 0.0) -> None:
        super().__init__(sentence)
        self.status, self.wait_s = status, wait_s


@dataclass(frozen=True, slots=True)
class Caller:
    """The browser that signs in: its address, what it calls itself, and the cookies it sent."""

    address: str
    agent: str
    cookies: Cookies


class SignIn:
    """Of one process."""

    def __init__(self) -> None:
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._in_line = 0

    async def local(
        self, access: Access, caller: Caller, name: str, password: str, answer: Response, now: datetime
    ) -> Identity:
        """With name and password; ``NotIn`` where that fails. The session is put into ``answer``."""
        name = name.strip()[:LONGEST_NAME]
        device = await asyncio.to_thread(known_device, access, caller, name, now)
        if not await self.right(access, name, device, caller.address, password, now):
            who = Identity("", name, Role.NOBODY, frozenset(), Sort.NOBODY)
            await asyncio.to_thread(lambda: access.records.note(who, caller.address, "sign-in refused", now, about=name))
            raise NotIn(401, "Name or password is wrong.")
        return await asyncio.to_thread(lambda: enter(access, caller, name, answer, now, "password"))

    async def right(self, access: Access, name: str, device: str, address: str, password: str, now: datetime) -> bool:
        """Whether that is the password of ``name``, for whoever tries it; ``NotIn`` where they must wait."""
        wait_s = access.guesses.wait_s(name, device, address, now.timestamp())
        if wait_s > 0:
            raise NotIn(429, f"Too many wrong passwords; try again in {max(round(wait_s), 1)} s.", wait_s)
        self._room()
        # counted as a failure until it is none: those who ask in parallel must not each get a free try
        access.guesses.failed(name, device, address, now.timestamp())
        right = await self.hashing(access.users.check, name, password, now)
        if right:
            access.guesses.passed(name, device, address, now.timestamp())
        return right

    async def hashing(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """What ``work`` gives, which hashes a password: ``AT_ONCE`` at a time. ``NotIn`` where too many wait."""
        self._room()
        self._in_line += 1
        try:
            async with self._at_once:
                return await asyncio.to_thread(work, *args, **options)
        finally:
            self._in_line -= 1

    def _room(self) -> None:
        if self._in_line >= IN_LINE:
            raise NotIn(503, "Too many people sign in at once; try again in a few seconds.", 5.0)


def enter(access: Access, caller: Caller, user: str, answer: Response, now: datetime, by: str) -> Identity:
    """A new session for ``user``; whatever session the browser had ends, so that none that was planted lives on."""
    if (old := caller.cookies.get(SESSION)) and (before := access.sessions.whose(old, now, used=False)):
        access.sessions.end(before.ref, now)
    secret = access.sessions.begin(user, caller.address, caller.agent, now)
    who = access.sessions.whose(secret, now)
    if who is None:
        raise NotIn(403, "This user is not active; an admin changes that.")
    cookies = Cookies(access.section)
    cookies.set(answer, SESSION, secret)
    cookies.forget(answer, KIOSK)
    mark = secrets.token_hex(8)
    cookies.set(answer, DEVICE, f"{mark}.{access.seal(f'device {user} {mark}', now)}", DEVICE_S)
    access.records.note(who, caller.address, "signed in", now, about=by)
    return who


def leave(access: Access, caller: Caller, answer: Response, now: datetime) -> None:
    """Sign out."""
    if (secret := caller.cookies.get(SESSION)) and (who := access.sessions.whose(secret, now, used=False)):
        access.sessions.end(who.ref, now)
        access.records.note(who, caller.address, "signed out", now)
    for name in (SESSION, KIOSK):
        Cookies(access.section).forget(answer, name)


def known_device(access: Access, caller: Caller, user: str, now: datetime) -> str:
    """The mark of a browser from which ``user`` signed in before; "" for any other."""
    mark, _, seal = caller.cookies.get(DEVICE).partition(".")
    return mark if mark and secrets.compare_digest(seal.encode(), access.seal(f"device {user} {mark}", now).encode()) else ""
