"""People and what they sign in with: users, sessions, and the tokens of programs and kiosks. Secrets are kept as hashes
alone."""

import hmac
import re
import secrets
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from twin.ports import Records
from ui.access.keep import Full, Row, Table
from ui.access.passwords import fits, hashed, outdated
from ui.access.role import ALL_SCOPES, Identity, Role, Scope, Sort, role_of

MAX_USERS, MAX_SESSIONS, MAX_TOKENS = 2000, 10_000, 5000
SESSIONS_EACH, TOKENS_EACH = 20, 50
SEEN_EVERY_S = 60.0  # how often it is written down that a session is used
LONGEST_TOKEN_S = 400 * 86400.0
VOUCHED_FOR_S = 30 * 86400.0
TOKEN = re.compile(r"icctwin_(?P<id>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})")
LONGEST_NAME = 100
# What the audit calls those who are no user: who did not sign in, icctwin itself, accounts of the machine, keys.
OURS = frozenset({"local", "guest", "nobody", "on-call file", "oncall-file", "the file", "icctwin"})
OURS_BEGIN = ("cli:", "uid:", "oidc:")
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


class Users:
    """Local accounts, and those whom an identity provider vouches for (their key begins with ``oidc:``)."""

    def __init__(self, records: Records, vouched_for_s: float = VOUCHED_FOR_S) -> None:
        """``vouched_for_s``: how long the word of an identity provider counts; each sign-in renews it."""
        self.table = Table(records, "access-user", MAX_USERS)
        self._vouched_for_s = vouched_for_s

    def add(self, name: str, password: str, role: Role, now: datetime) -> Row:
        """A local account; ``ValueError`` with one sentence where it cannot be."""
        if not _NAME.fullmatch(name):
            raise ValueError("a user's name has 1 to 64 of a-z 0-9 . _ @ - and begins with a letter or digit")
        if _ours(name):
            raise ValueError(f"icctwin's records call others than users {name!r}; choose another name")
        kept = hashed(password, name)

        def begin(old: Row | None) -> Row:
            if old is not None or self._taken(name, name):
                raise ValueError(f"there is a user {name!r} already")
            return {"name": name, "role": role.word, "hash": kept, "active": True, **_born(now)}

        return self.table.edit(name, begin, now) or {}

    def vouched(self, issuer: str, subject: str, name: str, role: Role, now: datetime) -> str:
        """Somebody whom an identity provider vouches for, with the role that it gives now; gives their key. Who was made
        inactive here stays so. ``ValueError`` where that is another's name: what is done in it must be theirs alone."""
        key = "oidc:" + sha256(f"{issuer}\n{subject}".encode()).hexdigest()[:24]
        shown = "".join(char for char in name if char.isprintable()).strip()[:LONGEST_NAME] or key
        row: Row = {"name": shown, "role": role.word, "hash": "", "issuer": issuer, "subject": subject[:300]}
        row["vouched_s"] = now.timestamp()

        if shown != key and _ours(shown):
            what = f"icctwin's records call others than users {shown!r}; the identity provider must give another name"
            raise ValueError(what)

        def vouched(old: Row | None) -> Row:
            if self._taken(shown, key):
                raise ValueError(
                    f"{shown!r} is another user's name here; an admin removes one of the two (icctwin user remove)"
                )
            return (old or {"active": True, **_born(now)}) | row

        self.table.edit(key, vouched, now)
        return key

    def _taken(self, name: str, key: str) -> bool:
        """Whether another user than that of ``key`` is called ``name``, or something that reads the same."""
        return any(_alike(row["name"]) == _alike(name) for other, row in self.table.rows().items() if other != key)

    def change(self, key: str, now: datetime, **what: Any) -> tuple[Row, Row]:
        """Set ``role``, ``active`` or ``password`` of a user; gives the row before and after. ``KeyError`` where there is
        none."""
        known = self._known(key)
        if "password" in what and key.startswith("oidc:"):
            raise ValueError("the identity provider keeps this user's password")
        more: Row = {"hash": hashed(what["password"], known["name"])} if "password" in what else {}
        more |= {"role": role_of(what["role"]).word} if "role" in what else {}
        more |= {"active": bool(what["active"])} if "active" in what else {}
        before: list[Row] = []

        def changed(old: Row | None) -> Row:
            before[:] = [self._known(key)]
            self._not_the_last(key, before[0] | more)
            return before[0] | more

        after = self.table.edit(key, changed, now) or {}
        return before[0], after

    def remove(self, key: str, now: datetime) -> Row:
        """Take a user out; ``KeyError`` where there is none, ``ValueError`` for the last who administers."""
        before: list[Row] = []

        def gone(old: Row | None) -> None:
            before[:] = [self._known(key)]
            self._not_the_last(key, {"active": False, "role": ""})

        self.table.edit(key, gone, now)
        return before[0]

    def _known(self, key: str) -> Row:
        row = self.table.get(key)
        if row is None:
            raise KeyError(f"there is no user {key!r}")
        return row

    def _not_the_last(self, key: str, new: Mapping[str, Any]) -> None:
        def administers(row: Mapping[str, Any]) -> bool:
            return bool(row["active"]) and row["role"] == Role.ADMIN.word

        old = self.table.get(key)
        others = any(administers(row) for other, row in self.table.rows().items() if other != key)
        if old is not None and administers(old) and not administers(new) and not others:
            raise ValueError(f"{key!r} is the last who administers; make another admin first")

    def check(self, name: str, password: str, now: datetime) -> bool:
        """Whether this is the password of an active local account; slow on purpose, and as slow where there is no such name."""
        row = self.table.get(name)
        kept = row["hash"] if row else ""
        if not fits(kept, password) or row is None or not row["active"]:
            return False
        if outdated(kept):
            anew = hashed(password, name)
            self.table.edit(name, lambda now_: now_ and (now_ | {"hash": anew} if now_["hash"] == kept else now_), now)
        return True

    def born(self, key: str) -> str:
        """A word that is this user's and no other's, not even of the next of that name; "" for one of a release before."""
        return str((self.table.get(key) or {}).get("born", ""))

    def role(self, key: str, now: datetime, since: datetime | None = None, born: str = "") -> Role:
        """What a user may do now; ``NOBODY`` for one who is gone or inactive, or whom the identity provider has not vouched
        for of late. ``since``: when what speaks for them was made, ``born``: for whom, as ``born`` says it; it may have been
        for somebody who had their name before."""
        row = self.table.get(key)
        if row is None or not row["active"] or (since is not None and not _same(row, since, born)):
            return Role.NOBODY
        if key.startswith("oidc:") and now.timestamp() - row.get("vouched_s", 0.0) > self._vouched_for_s:
            return Role.NOBODY
        return role_of(row["role"])


class Sessions:
    """Of browsers. The key of a row is the hash of what the browser's cookie says."""

    def __init__(self, records: Records, users: Users, idle_s: float, longest_s: float) -> None:
        self.table = Table(records, "access-session", MAX_SESSIONS)
        self._users, self._idle_s, self._longest_s = users, idle_s, longest_s
        self._seen_s: dict[str, float] = {}

    def begin(self, user: str, source: str, agent: str, now: datetime) -> str:
        """A new session, always under a new secret; gives what the cookie says. Of more than ``SESSIONS_EACH`` of one user the
        oldest end."""
        self._tidy(now)
        mine = [key for key, row in self.table.rows().items() if row["user"] == user]
        for key in mine[: max(len(mine) - SESSIONS_EACH + 1, 0)]:
            self.table.drop(key, now)
        secret = secrets.token_urlsafe(32)
        row: Row = {"user": user, "born": self._users.born(user), "from": source[:100], "agent": agent[:200]}
        row |= {"made_s": now.timestamp(), "seen_s": now.timestamp()}
        self.table.put(_hash(secret), row, now)
        return secret

    def whose(self, secret: str, now: datetime, *, used: bool = True) -> Identity | None:
        """Who has this session; None where it is none, or over: unused for too long, too old, its user gone. ``used``: this
        counts as a use of it."""
        key = _hash(secret)
        row, now_s = self.table.get(key), now.timestamp()
        if row is None:
            return None
        role = self._users.role(row["user"], now, datetime.fromtimestamp(row["made_s"], UTC), row.get("born", ""))
        if role is Role.NOBODY or not self._alive(key, row, now_s):
            return None
        if used:
            self._seen_s[key] = now_s
            seen: Row | None = row
            if now_s - row["seen_s"] > SEEN_EVERY_S:
                seen = self.table.edit(key, lambda now_: now_ and now_ | {"seen_s": now_s}, now)
            if seen is None:
                return None  # it was ended elsewhere a moment ago
        user = self._users.table.get(row["user"]) or {}
        return Identity(row["user"], str(user.get("name", "")), role, ALL_SCOPES, Sort.SESSION, key)

    def _alive(self, key: str, row: Row, now_s: float) -> bool:
        seen_s = max(self._seen_s.get(key, 0.0), row["seen_s"])
        return bool(now_s - seen_s <= self._idle_s and now_s - row["made_s"] <= self._longest_s)

    def end(self, key: str, now: datetime) -> None:
        """Sign out."""
        self._seen_s.pop(key, None)
        self.table.drop(key, now)

    def end_all(self, user: str, now: datetime, but: str = "") -> None:
        """Sign a user out everywhere, but for the session ``but``."""
        for key in [key for key, row in self.table.rows().items() if row["user"] == user and key != but]:
            self.end(key, now)

    def _tidy(self, now: datetime) -> None:
        for key, row in self.table.rows().items():
            if not self._alive(key, row, now.timestamp()):
                self.end(key, now)


class Tokens:
    """Of programs (``icctwin_…`` as bearer) and of kiosks."""

    def __init__(self, records: Records, users: Users) -> None:
        self.table = Table(records, "access-token", MAX_TOKENS)
        self._users = users
        self.used_s: dict[str, float] = {}  # as far as this process saw

    def make(
        self,
        owner: Identity,
        name: str,
        role: Role,
        scopes: Iterable[Scope],
        days: float,
        now: datetime,
        *,
        kiosk: bool = False,
    ) -> tuple[str, str, Row]:
        """A token that may at most what its owner may: its id, what it says (shown now and never again) and its row.
        ``ValueError`` with one sentence where it cannot be."""
        wanted = sorted(set(scopes))
        if owner.sort is Sort.TOKEN:  # else it would outlive its own end, and being taken back
            raise ValueError("a token makes no tokens; sign in to make one")
        if role > owner.role or not set(wanted) <= owner.scopes:
            raise ValueError("a token may not do more than whoever makes it")
        if not wanted or not 0 < days * 86400 <= LONGEST_TOKEN_S or not 0 < len(name) <= 100:
            raise ValueError("a token has a name, at least one scope and an end within 400 days")
        mine = [row for row in self.table.rows().values() if row["owner"] == owner.user and row["end_s"] > now.timestamp()]
        if len(mine) >= TOKENS_EACH:
            raise Full(f"{owner.name} has {TOKENS_EACH} tokens already; remove some")
        for key, old in self.table.rows().items():
            if old["end_s"] <= now.timestamp():
                self.table.drop(key, now)
        key, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        row: Row = {
            "owner": owner.user, "name": name, "role": role.word, "scopes": list(wanted), "kiosk": kiosk, "hash": _hash(secret),
            "born": self._users.born(owner.user), "made": now.isoformat(), "end_s": now.timestamp() + days * 86400,
        }  # fmt: skip
        self.table.put(key, row, now)
        return key, f"icctwin_{key}_{secret}", row

    def whose(self, said: str, now: datetime) -> Identity | None:
        """Who shows this token; None where it is none of ours, or over, or its owner gone. Its role is never above what its
        owner's is now."""
        parts = TOKEN.fullmatch(said)
        row = self.table.get(parts["id"]) if parts else None
        if parts is None or row is None or not hmac.compare_digest(row["hash"], _hash(parts["secret"])):
            return None
        made, born = datetime.fromisoformat(row["made"]), row.get("born", "")
        role = min(role_of(row["role"]), self._users.role(row["owner"], now, made, born))
        if role is Role.NOBODY or now.timestamp() >= row["end_s"]:
            return None
        self.used_s[parts["id"]] = now.timestamp()
        scopes = frozenset(Scope(scope) for scope in row["scopes"])
        sort = Sort.KIOSK if row["kiosk"] else Sort.TOKEN
        return Identity(row["owner"], row["name"], role, scopes, sort, parts["id"])


def _alike(name: str) -> str:
    """The same for names that people take for one another: of other case or width (Unicode's NFKC, UAX #15)."""
    return unicodedata.normalize("NFKC", name).casefold()


def _born(now: datetime) -> Row:
    """What tells a user from others of that name, before and after: a clock may go wrong between the two."""
    return {"made": now.isoformat(), "born": secrets.token_hex(8)}


def _same(user: Row, since: datetime, born: str) -> bool:
    """Whether what was made at ``since`` for ``born`` is this user's. Where a release before made both, the times tell."""
    if born or "born" in user:
        return bool(user.get("born") == born)
    return since >= datetime.fromisoformat(user["made"])


def _ours(name: str) -> bool:
    return _alike(name) in OURS or _alike(name).startswith(OURS_BEGIN)


def _hash(secret: str) -> str:
    """Secrets of 256 random bits need no slow hash."""
    return sha256(secret.encode()).hexdigest()
