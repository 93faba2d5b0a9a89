"""Where something stands in a TOML file: its library does not say, so the text is looked through."""

from collections.abc import Sequence


def line_of(lines: Sequence[str], place: tuple[str | int, ...]) -> int:
    """Line (from 1) on which ``place`` (section, number of the entry, key) stands, as near as the text tells."""
    section, rest = place[0], place[1:]
    number = rest[0] if rest and isinstance(rest[0], int) else 0
    key = next((part for part in rest if isinstance(part, str)), None)
    found, count = 1, -1
    inside = False
    for i, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith("["):
            head = text.strip("[] ").split("]")[0].strip()
            inside = head == section or head.startswith(f"{section}.")
            count += inside
            if inside and count == number:
                found = i
        elif inside and count == number and key and text.split("=")[0].strip() == key:
            return i
    return found
