"""A CSV file as people save it from a spreadsheet: its encoding by its mark, and what is wrong with its first line."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from twin.errors import meant

_MARKS = (b"\xff\xfe", b"\xfe\xff")  # of UTF-16, which Excel writes as "Unicode text"
_SEPARATORS = {";": "a semicolon", "\t": "a tab", "|": "a bar"}
_CHINESE = re.compile("[\u4e00-\u9fff]")
SAVE = "save it as UTF-8 (in Excel: CSV UTF-8, comma delimited)"


def encoding_of(path: Path) -> str:
    """UTF-16 where the file says so by its mark (BOM), else UTF-8 with a mark or without."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in _MARKS else "utf-8-sig"


def undecodable(path: Path) -> tuple[int, str]:
    """(line, what is wrong and what to do) of a file whose text is not of ``encoding_of`` it."""
    data = path.read_bytes()
    try:
        data.decode(encoding_of(path))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    else:
        line = 1  # it was mended meanwhile
    try:
        gbk = _CHINESE.search(data.decode("gb18030"))
    except UnicodeDecodeError:
        gbk = None
    return line, f"looks like GBK, not UTF-8; {SAVE}" if gbk else f"is not UTF-8 text; {SAVE}"


def read_header(cells: Sequence[str], needed: Sequence[str], known: Sequence[str], table: str) -> tuple[list[str], list[str]]:
    """The columns that a first line names, and what is wrong with it; no columns where nothing below can be read. A column that
    is near one of ``known`` goes by that name, so that a slip of the pen is a fault of one line and not of all below it.
    ``table``: what it is the first line of."""
    names = [cell.strip() for cell in cells]
    wrong = []
    if any("\0" in name for name in names):
        return [], [f"is UTF-16 without its mark; {SAVE}"]
    for place, column in enumerate(tuple(names)):
        if not column or column in (known or names):
            continue
        stem = column.rsplit("_", 1)[0]
        unit = next((name for name in known if "_" in name and name.rsplit("_", 1)[0] == stem), "")
        near = unit or meant(column, [name for name in known if name not in names])
        other = f"did you mean {near}?" if near else f"known: {', '.join(known)}"
        hint = f"its unit here is that of {unit!r}: convert it" if unit else other
        wrong.append(f"no column {column!r} in {table}; {hint}")
        if near and near not in names:
            names[place] = near
    useless = _useless(names, needed)
    return ([], [useless]) if useless else (names, wrong)


def _useless(header: Sequence[str], needed: Sequence[str]) -> str:
    """What makes a first line useless: nothing below it can be read; "" where it may do."""
    missing = [column for column in needed if column not in header]
    for sign, name in _SEPARATORS.items():
        if missing and len(header) == 1 and sign in header[0]:
            return f"{name} stands between the columns; save it with commas, as in {','.join(needed)},…"
    if missing:
        return f"no column {missing[0]!r} in the header; the first line names the columns, as in {','.join(needed)},…"
    twice = [column for column, count in Counter(header).items() if column and count > 1]
    return f"column {twice[0]!r} stands twice in the header; keep one" if twice else ""
