"""What a configuration's model has against it, in the words of whoever wrote it: pydantic speaks to programmers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from twin.errors import meant

Place = tuple[str | int, ...]

MAX_OPTIONS = 12  # named in a sentence
_AT = re.compile(r"(.*) \(at line (\d+), column \d+\)")
_HINTS = {
    "Cannot overwrite a value": "the same key stands twice, or a list is [x] here and [[x]] there",
    "Cannot declare": "the same section stands twice",
    "Expected '=' after a key": 'write key = "value"',
    "Invalid value": 'a text stands in quotes: "…"',
    "Illegal character '\\n'": "a quote is not closed on this line",
}


def refusals(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Place, str, Mapping[str, Any]]]:
    """(place within ``model``, what is wrong there and what to do, pydantic's own word) of each thing refused."""
    for one in error.errors():
        loc: Place = one["loc"]
        key = ".".join(str(part) for part in loc)
        if one["type"] == "extra_forbidden":
            said = f"{key}: there is no such option{_meant(str(loc[-1]), _options(model, loc[:-1]))}"
        elif one["type"] == "missing":
            said = f"{key} is missing; write {loc[-1]} = …"
        else:
            said = f"{key}: {one['msg']}".removeprefix(": ").replace("Value error, ", "", 1)
        yield loc, said, one


def toml_refusal(error: Exception) -> tuple[int | None, str]:
    """(line, what) of a file that is no TOML."""
    if isinstance(error, UnicodeDecodeError):
        return error.object[: error.start].count(b"\n") + 1, "is not UTF-8; save it as UTF-8"
    said = str(error)
    at = _AT.fullmatch(said)
    what = at[1] if at else said
    hint = next((hint for start, hint in _HINTS.items() if what.startswith(start)), "")
    return int(at[2]) if at else None, f"is not a TOML file: {what}{'; ' + hint if hint else ''}"


def _meant(key: str, options: Sequence[str]) -> str:
    if near := meant(key, options):
        return f"; did you mean {near}?"
    more = ", …" if len(options) > MAX_OPTIONS else ""
    return f"; there are {', '.join(options[:MAX_OPTIONS])}{more}" if options else ""


def _options(model: type[BaseModel], loc: Place) -> list[str]:
    """Names of what may stand at ``loc`` within ``model``, what is its own first; none where that is not plain."""
    here: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, str):
            field = here.model_fields.get(part) if here is not None else None
            here = next(_models(field.annotation), None) if field is not None else None
    if here is None:
        return []
    own = here.__annotations__  # what all sources share (secrets, times) stands in a class above
    return [here.model_fields[name].alias or name for name in sorted(here.model_fields, key=lambda name: name not in own)]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
