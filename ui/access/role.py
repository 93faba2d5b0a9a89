"""Roles, scopes, and who it is that asks."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Role(IntEnum):
    """Each may do what the one before may. ``NOBODY`` has not signed in."""

    NOBODY = 0
    VIEWER = 1
    OPERATOR = 2
    ENGINEER = 3
    ADMIN = 4

    @property
    def word(self) -> str:
        """As configuration, command line and API say it."""
        return self.name.lower()


class Scope(StrEnum):
    """What a token may be limited to, beside the role of its owner."""

    LOOK = "look"  # read everything that its role may read
    TWIN = "twin"  # have the offline twin compute
    NOTES = "notes"  # saved views, annotations, reports
    ONCALL = "oncall"  # acknowledge, silence, alerts of others in
    ACT = "act"  # plans and what changes the plant
    ACCESS = "access"  # users, tokens, sessions, audit


ALL_SCOPES = frozenset(Scope)
ROLES = {role.word: role for role in Role if role is not Role.NOBODY}


def role_of(word: str) -> Role:
    """The role of that name; ``ValueError`` where there is none."""
    if word not in ROLES:
        raise ValueError(f"there is no role {word!r}; roles are {', '.join(ROLES)}")
    return ROLES[word]


class Sort(StrEnum):
    """How somebody showed who they are."""

    NOBODY = "nobody"
    LOCAL = "local"  # no accounts are configured
    SESSION = "session"
    TOKEN = "token"  # noqa: S105 - a word, not a secret
    KIOSK = "kiosk"
    ONCALL = "oncall-file"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. ``user``: key of their row, which views and tokens belong to; ``name``: as people read it; ``ref``: key of the
    session or token."""

    user: str
    name: str
    role: Role
    scopes: frozenset[Scope] = ALL_SCOPES
    sort: Sort = Sort.LOCAL
    ref: str = ""

    @property
    def ambient(self) -> bool:
        """Whether a browser shows it by itself, so that another page could make it do so."""
        return self.sort in (Sort.SESSION, Sort.LOCAL, Sort.KIOSK)


NOBODY = Identity("", "", Role.NOBODY, frozenset(), Sort.NOBODY)
