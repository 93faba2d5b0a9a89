"""Sentences for people, kept apart from their numbers so that each face can say them in its reader's language."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Message:
    """``text`` is an English ``str.format`` template and the key of its translation; ``params`` are what it names."""

    text: str
    params: Mapping[str, float | int | str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text.format(**self.params)


def verbatim(text: str) -> Message:
    """A sentence that came from elsewhere as it stands; whoever shows it looks for no number in it."""
    escaped = text.replace("{", "{{").replace("}", "}}")
    return Message(escaped)
