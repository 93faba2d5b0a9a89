"""Words that somebody else chose (a name, a reason), so that they stand in one line and steer nobody's terminal."""

import re

# What would begin a line of its own, steer a terminal or turn the order of letters: controls, their Latin-1 kin, separators of
# lines and paragraphs, and what turns the direction (Unicode TR 36, 3.4).
_STEERS = [*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
_SHOWN = {code: chr(code).encode("unicode_escape").decode() for code in _STEERS}
_SHOWN_IN_LINE = _SHOWN | {ord("\n"): " | "}
_ANY = re.compile(f"[{re.escape(''.join(map(chr, _STEERS)))}]")


def steers(text: str) -> bool:
    """Whether ``text`` holds what would begin a line or steer a terminal."""
    return not (text.isascii() and text.isprintable()) and _ANY.search(text) is not None


def escaped(text: str) -> str:
    """``text`` with each of those as it is written in a program: a line feed is ``\\n``."""
    return text.translate(_SHOWN)


def one_line(text: str) -> str:
    """The same for sentences: lines are parted by bars."""
    return text.translate(_SHOWN_IN_LINE)
