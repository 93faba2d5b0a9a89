"""What the files of a report are called, and which of them are in a language: what is the same in every language names none,
and English, which every centre can read, names none either."""

from collections.abc import Iterable, Sequence

from ui.words import LANGUAGES

ENGLISH = "en"
SPOKEN = ("html", "pdf", "xlsx")  # formats whose words are in a language


def file_name(report: str, language: str, format: str) -> str:
    """``2026-W46.pdf``, ``2026-W46.zh.pdf``: in every folder two languages are two files."""
    return f"{report}.{format}" if language == ENGLISH else f"{report}.{language}.{format}"


def in_language(names: Iterable[str], language: str) -> list[str]:
    """``names`` less those that are there in ``language`` too and are in another."""
    kept = list(names)
    theirs = {_parts(name)[::2] for name in kept if _parts(name)[1] == language}
    return [name for name in kept if _parts(name)[1] in ("", language) or _parts(name)[::2] not in theirs]


def _parts(name: str) -> Sequence[str]:
    """(name without language and format, language, format) of a file. Earlier releases named English ones ``.en.`` beside
    others; of what is in no language: ""."""
    stem, _, format = name.rpartition(".")
    if format not in SPOKEN:
        return stem, "", format
    report, _, tongue = stem.rpartition(".")
    return (report, tongue, format) if tongue in LANGUAGES else (stem, ENGLISH, format)
