"""The reference pages, made from the code itself so that they cannot lie: configuration, metrics, commands, alert rules.

``icctwin reference --out docs/reference`` writes them; a test holds the pages in the repository against this.
"""

import argparse
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from analytics.rules import DEFAULT_RULES, load_rules
from ingest.registry import SOURCES, source_module
from twin.kinds import KINDS
from twin.metrics import every_metric
from ui.config import SECTIONS


def pages() -> Mapping[str, str]:
    """File name -> Markdown of every reference page."""
    makers: dict[str, Callable[[], Iterator[str]]] = {
        "configuration.md": configuration,
        "metrics.md": metrics,
        "commands.md": commands,
        "alerts.md": alerts,
    }
    return {name: "\n".join(maker()).rstrip() + "\n" for name, maker in makers.items()}


def configuration() -> Iterator[str]:
    """Every section, option, type, default and bound of ``site.toml``."""
    yield "# Configuration\n\nWhat `site.toml` may say; `icctwin check --config site.toml` names every mistake with its line."
    yield "Paths are relative to the file. Secrets stand in files of their own, named by options that end in `_file`."
    for name, model in SECTIONS.items():
        yield f"\n## `[{name}]`\n"
        yield from _model(model)
    yield "\n## `[[source]]`\n\nOne for each thing that is read: a `name` (unique), a `type` and the options of that type."
    yield "`precedence` (1 to 9; 1 where nothing is said): where several tell the same metric of an asset, the lowest number"
    yield "counts, the next where that is stale: [Several sources of one metric](../sources.md#several-sources-of-one-metric)."
    for name in SOURCES:
        yield f'\n### `type = "{name}"`\n'
        yield from _model(source_module(name).Options)


def _model(model: type[BaseModel]) -> Iterator[str]:
    told = re.sub(r"^``\[\w+\]``: ", "", inspect.getdoc(model) or "")
    yield _plain(told[:1].upper() + told[1:]) + "\n"
    inner: dict[str, type[BaseModel]] = {}
    if model.model_fields:
        yield "| option | type | default | bounds |\n|---|---|---|---|"
    for name, field in model.model_fields.items():
        inner |= {kind.__name__: kind for kind in _models(field.annotation)}
        cells = (f"`{name}`", _cell(_type(field.annotation)), _cell(_default(field)), _cell(_bounds(field)))
        yield "| " + " | ".join(cells) + " |"
    for title, kind in inner.items():
        yield f"\n**{title}**: "
        yield from _model(kind)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f'`"{value}"`' if isinstance(value, str) else f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type(one) for one in arguments if one is not NoneType)
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _type(arguments[0])
    if origin in (list, tuple, set, frozenset) or getattr(origin, "__name__", "") in ("Sequence", "Set"):
        inside = [one for one in arguments if one is not Ellipsis]
        return "list of " + " and ".join(dict.fromkeys(_type(one) for one in inside))
    if origin is dict or getattr(origin, "__name__", "") == "Mapping":
        return f"table of {_type(arguments[1])}"
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return " or ".join(f'`"{one.value}"`' for one in annotation)
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*must be said*"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined or value in ("", (), [], {}):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (str, Path)):
        return f'`"{value}"`'
    if isinstance(value, Enum):
        return f'`"{value.value}"`'
    if isinstance(value, BaseModel):
        return "its own defaults"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"`{value:_}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`".replace("'", '"')


def _bounds(field: FieldInfo) -> str:
    said = []
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "max_length": "at most", "min_length": "at least"}
    for rule in field.metadata:
        for key, word in words.items():
            value = getattr(rule, key, None)
            if value is not None:
                long = " long" if key.endswith("length") else ""
                said.append(f"{word} {value:_}{long}" if isinstance(value, int) else f"{word} {value:g}{long}")
        if pattern := getattr(rule, "pattern", None):
            said.append(f"like `{pattern}`")
    return ", ".join(said)


def metrics() -> Iterator[str]:
    """The table of metrics, a kind of asset a section."""
    yield "# Metrics\n\nWhat can be measured or set, by kind of asset. The unit is the end of the name and never changes. A"
    yield "value outside its range is marked bad, never cut; one older than its age is stale and shown as such."
    for kind in KINDS:
        rows = [row for row in every_metric() if row.kind == kind]
        if not rows:
            continue
        yield f"\n## `{kind}`\n\n| metric | unit | plausible | stale after | what it is |\n|---|---|---|---|---|"
        for row in rows:
            marks = " *counter*" if row.counter else ""
            marks += f" *settable in steps of {row.step:g}*" if row.step is not None else ""
            span = f"{row.low:g} … {row.high:g}"
            yield f"| `{row.name}` | {row.unit or '–'} | {span} | {row.max_age_s:g} s | {_cell(row.doc)}{marks} |"


def commands() -> Iterator[str]:
    """Every command with its options, as ``--help`` has them."""
    from ui.cli import build_parser

    yield "# Commands\n\nExit status: 0 done, 1 the world or the data said no, 2 wrong usage or configuration. Progress goes to"
    yield "stderr, answers to stdout; `--json` where a program may read it."
    yield from _parser(build_parser(), "icctwin")


def _parser(parser: argparse.ArgumentParser, path: str) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, one in action.choices.items():
                yield from _command(one, f"{path} {name}")


def _command(parser: argparse.ArgumentParser, path: str) -> Iterator[str]:
    yield f"\n## `{path}`\n\n{parser.description or ''}\n"
    if parser.epilog:
        yield f"```\n{parser.epilog.removeprefix('example: ')}\n```\n"
    shown = [a for a in parser._actions if not isinstance(a, (argparse._HelpAction, argparse._SubParsersAction))]
    if shown:
        yield "| argument | what it says |\n|---|---|"
    for action in shown:
        takes = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
        takes = "|".join(str(c) for c in action.choices) if action.choices else takes
        name = f"{', '.join(action.option_strings)} {takes}".strip() if action.option_strings else str(takes or action.dest)
        yield f"| `{_cell(name)}` | {_cell(action.help)} |"
    yield from _parser(parser, path)


def alerts() -> Iterator[str]:
    """The rules that ship, with reason and source."""
    yield "# Alerts that ship\n\nEvery rule with its reason and its source; the runbook of each is served at `/runbooks/…`."
    yield "Rules are text that you edit: `[alerts] rules` names your own file or folder, `icctwin rules test` tries it."
    found = sorted(load_rules(DEFAULT_RULES).rules, key=lambda rule: (rule.page, rule.name))
    area = ""
    for rule in found:
        here = rule.page.split("#")[0]
        if here != area:
            area = here
            yield f"\n## {area}\n\n| rule | severity | of | why | source |\n|---|---|---|---|---|"
        cells = (f"`{rule.name}`", rule.severity.value, f"`{rule.kind}`", _cell(rule.reason), _cell(rule.source))
        yield "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
    """A docstring as Markdown."""
    return text.replace("``", "`")


def _cell(text: str | None) -> str:
    """Inside a table."""
    return re.sub(r"\s+", " ", _plain(text or "")).replace("|", "\\|").strip()
