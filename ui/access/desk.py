"""Everything about access of one centre in one place: what faces and the command line ask."""

import secrets
from datetime import datetime
from hashlib import sha256
from hmac import digest

from twin.ports import Records
from ui.access.audit import Audited, audited
from ui.access.guesses import Guesses
from ui.access.keep import Row, Table
from ui.access.people import VOUCHED_FOR_S, Sessions, Tokens, Users
from ui.access.rates import Rates
from ui.access.section import SINGLE, AccessSection, Mode

SEALS = "access-secret"
MAX_VIEWS, MAX_ANNOTATIONS, MAX_CHOICES = 50_000, 20_000, 10_000


class Access:
    """Built over the records of a running centre; a new configuration makes a new one."""

    def __init__(self, records: Records, section: AccessSection = SINGLE) -> None:
        self.section = section
        self.records: Audited = audited(records)
        oidc = section.oidc
        self.users = Users(self.records, oidc.vouched_days * 86400 if oidc else VOUCHED_FOR_S)
        self.sessions = Sessions(self.records, self.users, section.idle_minutes * 60, section.longest_hours * 3600)
        self.tokens = Tokens(self.records, self.users)
        self.guesses = Guesses()
        self.rates = Rates(section.requests_per_s)
        self.views = Table(self.records, "saved-view", MAX_VIEWS)
        self.annotations = Table(self.records, "annotation", MAX_ANNOTATIONS)
        self.choices = Table(self.records, "choices", MAX_CHOICES)  # language, theme and time zone of each user
        self._secrets = Table(self.records, SEALS, 10)

    @property
    def accounts(self) -> bool:
        """Whether people sign in."""
        return self.section.mode is Mode.ACCOUNTS

    @property
    def tables(self) -> tuple[Table, ...]:
        """All that must be read again to see what other processes wrote."""
        return self.users.table, self.sessions.table, self.tokens.table, self.views, self.annotations, self.choices

    def due(self, now: datetime) -> bool:
        """Whether ``refresh`` would look."""
        return any(table.due(now) for table in self.tables)

    def refresh(self, now: datetime) -> None:
        """Take in what other processes wrote."""
        for table in self.tables:
            table.refresh(now)

    def end_all(self, user: str, now: datetime) -> int:
        """End all that speaks for a user, sessions and tokens; gives how many tokens that were."""
        self.sessions.end_all(user, now)
        self.tokens.table.refresh(now)
        mine = [key for key, one in self.tokens.table.rows().items() if one["owner"] == user]
        for key in mine:
            self.tokens.table.drop(key, now)
        return len(mine)

    def remove(self, user: str, now: datetime) -> Row:
        """Take a user out, with their sessions, tokens and views; their name may be somebody else's next. ``KeyError`` and
        ``ValueError`` as ``Users.remove`` has them."""
        row = self.users.remove(user, now)
        self.end_all(user, now)
        self.views.refresh(now)
        for key in [key for key, one in self.views.rows().items() if one["user"] == user]:
            self.views.drop(key, now)
        self.choices.drop(user, now)
        self.annotations.refresh(now)
        for key in [key for key, one in self.annotations.rows().items() if one["user"] == user]:
            self.annotations.edit(key, lambda one: one and one | {"user": ""}, now)  # what they noted stays, by their name
        return row

    def seal(self, text: str, now: datetime) -> str:
        """A word by which ``text`` is known again as ours, in every process of the centre (HMAC-SHA-256, RFC 2104)."""
        self._secrets.refresh(now)
        if self._secrets.get("seal") is None:
            self._secrets.edit("seal", lambda there: there or {"value": secrets.token_hex(32)}, now)
        key = (self._secrets.get("seal") or {})["value"]
        return digest(bytes.fromhex(key), text.encode(), sha256).hex()
