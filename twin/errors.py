"""The three ways in which something can be wrong, told apart by who can mend it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with what the operator wrote: where (``file:line``) and what, with what to do about it."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class SourceError(Exception):
    """The world said no (endpoint dead, slow, garbage): counted, shown and tried again; never fatal."""


class Damaged(SourceError):
    """One record of many cannot be read: somebody changed it, or the disk did. ``number``: which."""

    def __init__(self, topic: str, number: int) -> None:
        super().__init__(f"record {number} of {topic!r} cannot be read: it was changed or is damaged")
        self.number = number


class ConfigError(Exception):
    """The operator's configuration is wrong: every problem at once, before anything starts."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[tuple[Problem, ...]]]:
        """Of its problems, not of its text: it may come from another process."""
        return type(self), (self.problems,)


class SiteError(ConfigError):
    """The site's assets or links are wrong."""


def meant(word: str, known: Iterable[str]) -> str:
    """Which of ``known`` somebody who wrote ``word`` may have meant, whatever its case; "" where none is near."""
    by_lower = {one.lower(): one for one in known}
    near = get_close_matches(word.lower(), by_lower, 1)
    return by_lower[near[0]] if near else ""
