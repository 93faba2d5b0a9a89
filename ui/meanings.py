"""What events mean, in any language: they are kept in English, in a few forms."""

import re

from twin.message import Message
from ui.words import Words

_XID = re.compile(r"XID (\d+): ([^;]+); (.+)")
_MORE = re.compile(r"(.+): (\d+) more since the last reading")


def meaning(text: str, words: Words) -> str:
    """What an event means, in the reader's language."""
    if xid := _XID.fullmatch(text):
        parts = {"n": xid[1], "meaning": words(xid[2]), "advice": words(xid[3])}
        return words.sentence(Message("XID {n}: {meaning}; {advice}", parts))
    if more := _MORE.fullmatch(text):
        return words.sentence(Message("{what}: {n} more since the last reading", {"what": words(more[1]), "n": more[2]}))
    return words(text)


def short(text: str) -> str:
    """What an event means, without numbers and advice, to be said by ``words``."""
    if xid := _XID.fullmatch(text):
        return xid[2]
    more = _MORE.fullmatch(text)
    return more[1] if more else text
