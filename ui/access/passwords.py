"""Passwords: argon2id with the parameters that argon2-cffi's maintainers recommend (RFC 9106, low-memory profile)."""

import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# NIST SP 800-63B-4, 3.1.1.2: at least 15 characters where a password is all there is, at least 64 accepted, no rules of
# composition, Unicode normalised
SHORTEST, LONGEST = 15, 256
_HASHER = PasswordHasher()


@cache
def _nobodys() -> str:
    """Of a password that nobody has: whoever names no user is kept waiting as long as whoever names one. Made at the first
    sign-in and not at the start of every command."""
    return _HASHER.hash("\N{BLACK CHESS KNIGHT} nobody signs in with this one \N{BLACK CHESS KNIGHT}")


def hashed(password: str, name: str) -> str:
    """The hash to keep; ``ValueError`` with one sentence where the password is none to use."""
    text = _normal(password)
    if not SHORTEST <= len(text) <= LONGEST:
        raise ValueError(f"a password has {SHORTEST} to {LONGEST} characters; take a few words that you remember")
    if len(set(text)) < 5 or (name and text.lower().replace(name.lower(), "") == ""):
        raise ValueError("this password is easily guessed; take a few words that you remember")
    return _HASHER.hash(text)


def fits(kept: str, password: str) -> bool:
    """Whether ``password`` is the one whose hash is ``kept`` ("": there is none, which takes as long). Takes some 50 ms and
    64 MiB: not for the event loop."""
    nobodys = _nobodys()  # also where it is not needed: the first time must not tell the two apart
    try:
        _HASHER.verify(kept or nobodys, _normal(password))
    except (VerificationError, InvalidHashError):
        return False
    return bool(kept)


def outdated(kept: str) -> bool:
    """Whether a hash was made with other parameters than those of now."""
    return _HASHER.check_needs_rehash(kept)


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)
