"""Pages of the documentation that are made from the code at each build: runbooks, physics, parameters and model cards."""

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add them to what is built."""
    for path in sorted((ROOT / "analytics" / "runbooks").glob("*.md")):
        files.append(File.generated(config, f"runbooks/{path.name}", content=path.read_text(encoding="utf-8")))
    for name, lines in (("physics.md", physics()), ("models.md", models())):
        files.append(File.generated(config, name, content="\n".join(lines) + "\n"))
    return files


def physics() -> Iterator[str]:
    """Every function of ``twin/physics/`` with what it says of itself, and every parameter with its source."""
    yield "# Physics\n\nWhat the twin computes with, made from the code: each equation and number names where it comes from."
    yield "Each function is held against a published worked example in `tests/test_physics.py`."
    for path in sorted((ROOT / "twin" / "physics").glob("[a-z]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        head, _, rest = (ast.get_docstring(tree) or "").partition("\n")
        yield f"\n## {path.stem}\n\n{plain(head)}{chr(10) * 2 + plain(rest) if rest.strip() else ''}"
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield f"\n- `{node.name}`: {plain(' '.join((ast.get_docstring(node) or '').split()))}"
    yield "\n## Parameters\n\nAssumed until your own centre's are known: `icctwin calibrate` fits them."
    for node in ast.parse((ROOT / "twin" / "params.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and ast.get_docstring(node):
            yield f"\n### {node.name}\n\n{plain(ast.get_docstring(node) or '')}\n\n| parameter | default |\n|---|---|"
            for one in node.body:
                if isinstance(one, ast.AnnAssign) and one.value is not None:
                    yield f"| `{ast.unparse(one.target)}` | `{cell(ast.unparse(one.value))}` |"


def models() -> Iterator[str]:
    """A card for each model: what it is, after whom, and how it is judged."""
    yield "# Model cards\n\nWhat foresees, made from the code. All models see a history and give a median; how far each may be"
    yield "believed is measured from outside, the same way for all, on data that it has not seen (`analytics/replay.py`). No"
    yield "model is shipped that does not beat the seasonal naive there. Your own figures: `icctwin forecast --backtest`,"
    yield "`/api/v1/forecasts/accuracy`; of recorded ones: `icctwin bench forecast`."
    package = import_module("analytics.models")
    for name in package.MODULES:
        module = import_module(name if "." in name else f"analytics.models.{name}")
        yield f"\n## {module.__name__.rpartition('.')[2].replace('_', ' ')}\n\n{plain(inspect.getdoc(module) or '')}\n"
        yield "Meant for series with a day's rhythm (power, demand, carbon, price), up to a week, not for single events."
        for model in module.MODELS:
            yield f"\n- `{model.name}`"


def plain(text: str) -> str:
    """A docstring as Markdown."""
    return text.replace("``", "`").strip()


def cell(text: str) -> str:
    """Inside a table."""
    return text.replace("|", "\\|").strip()
