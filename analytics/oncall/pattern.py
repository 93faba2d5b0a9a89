"""Regular expressions of matchers: those of RE2, which Alertmanager has too, whose time grows with the text and no faster.

Python's own go back and try again, and some of them (``((a+)+)+!``) take longer than anybody lives. RE2 comes with Arrow.
What is only a choice of words (``r01|r02``) needs none of it: a reservation names thousands of nodes."""

import re
from dataclasses import dataclass, field
from functools import cached_property

MAX_KNOWN = 20_000  # texts whose answer is remembered, then they are asked anew
_WORD = re.compile(r"(?:[^\\.^$*+?{}\[\]()|]|\\[^\w\s]|\\ )*")
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Pattern:
    """A regular expression that must fit the whole of a text; a dot fits the end of a line too."""

    value: str
    _known: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def _words(self) -> frozenset[str] | None:
        words = re.split(r"(?<!\\)\|", self.value)
        return frozenset(_ESCAPED.sub(r"\1", word) for word in words) if all(map(_WORD.fullmatch, words)) else None

    def fits(self, text: str) -> bool:
        """Whether it fits ``text``; ``ValueError`` where it is none that RE2 knows."""
        if self._words is not None:
            return text in self._words
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            found = self._known[text] = _searched(self.value, text)
        return found


def _searched(value: str, text: str) -> bool:
    """RE2's answer. Arrow takes a second to load: only a centre that writes such a pattern waits for it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return bool(pc.match_substring_regex(pa.scalar(text), f"^(?s:{value})$").as_py())
    except pa.ArrowInvalid as error:
        raise ValueError(str(error).removeprefix("Invalid regular expression: ")) from None
