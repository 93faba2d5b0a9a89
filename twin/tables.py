"""Writes the tables that ``twin.load`` reads: CSV with a header, and lines of comment above it."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from twin.load import Row


def table_text(rows: Sequence[Row], comments: Sequence[str] = (), columns: Sequence[str] = ()) -> str:
    """``rows`` as CSV under ``comments`` (a line each, written with ``#``).

    Columns are ``columns`` and then those that a row has a value for, in the order in which they first come.
    ``ValueError`` for what would not be read back as it is: a first cell that begins with ``#``, a cell with blanks around
    it, a comment with a line break.
    """
    header = list(dict.fromkeys([*columns, *(name for row in rows for name, cell in row.cells.items() if cell)]))
    text = io.StringIO()
    for comment in comments:
        if "\n" in comment or "\r" in comment:
            raise ValueError(f"comment {comment!r} has a line break; pass a comment for each line")
        # a comment is read by the CSV reader too, before it is left out: quotes must not open a cell
        text.write(f"# {comment}".rstrip().replace('"', "'") + "\n")
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(header)
    for row in rows:
        cells = [row.cells.get(name, "") for name in header]
        if cells[0].startswith("#") or any(cell != cell.strip() for cell in cells):
            raise ValueError(f"{row.where}: {cells} would not be read back as written; no '#' in front, no blanks around")
        writer.writerow(cells)
    return text.getvalue()


def write_table(path: Path, rows: Sequence[Row], comments: Sequence[str] = (), columns: Sequence[str] = ()) -> None:
    """Write ``table_text`` to ``path`` (UTF-8), whatever was there before."""
    path.write_text(table_text(rows, comments, columns), encoding="utf-8")
