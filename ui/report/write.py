"""Writes a report where it is wanted: a folder with the page, the PDF and the data; the same report gives the same bytes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from twin.errors import ConfigError, Problem, SourceError
from ui.report.data import as_csv, as_json, as_xlsx, figures_csv
from ui.report.document import Report
from ui.report.names import file_name
from ui.report.page import page
from ui.report.show import Show
from ui.report.typeset import pdf
from ui.words import words

FORMATS = ("html", "pdf", "json", "csv", "xlsx")


@dataclass(frozen=True, slots=True)
class Written:
    """``files``: (name, bytes) of each; ``left_out``: why others that were asked for are not among them."""

    files: Sequence[tuple[str, bytes]]
    left_out: Sequence[str] = ()


def files(report: Report, languages: Sequence[str], formats: Sequence[str], made: datetime, money: str) -> Written:
    """Every file that can be made. ``made``: the moment that stands in their metadata, the end of the span: never now.
    ``SourceError`` where none of them can."""
    left_out: list[str] = []
    written = list(_each(report, languages, formats, made, money, left_out))
    if not written:
        raise SourceError("; ".join(left_out))
    return Written(written, left_out)


def _each(
    report: Report, languages: Sequence[str], formats: Sequence[str], made: datetime, money: str, left_out: list[str]
) -> Iterator[tuple[str, bytes]]:
    name = report.name
    for language in languages:
        show = Show(words(language), money)
        if "html" in formats:
            yield file_name(name, language, "html"), page(report, show).encode()
        if "pdf" in formats:
            try:
                yield file_name(name, language, "pdf"), pdf(report, show, made)
            except SourceError as error:
                left_out.append(f"{file_name(name, language, 'pdf')}: {error}")
        if "xlsx" in formats:
            yield file_name(name, language, "xlsx"), as_xlsx(report, made, money, show)
    if "json" in formats:
        yield f"{name}.json", as_json(report, money).encode()
    if "csv" in formats:
        yield f"{name}.figures.csv", figures_csv(report, money).encode()
        for table in report.tables():
            yield f"{name}.{table.key}.csv", as_csv(table, money).encode()


def write(folder: Path, made: Iterable[tuple[str, bytes]]) -> list[Path]:
    """Put ``made`` into ``folder``; a file appears when it is whole. ``ConfigError`` where that cannot be."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in made:
            half = folder / f".{name}.part"
            half.write_bytes(data)
            written.append(half.replace(folder / name))
    except OSError as error:
        raise ConfigError([Problem(str(folder), f"cannot be written ({error.strerror}); name another folder")]) from error
    return written
