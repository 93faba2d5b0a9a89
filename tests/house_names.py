"""What the repository checks about its names: every metric is in the table, every number says its unit."""

import ast
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from house_tree import PACKAGES, Found, parsed, python

from twin.kinds import KINDS, NUMBER_ATTRIBUTES
from twin.metrics import METRICS, UNITS

# --- names of metrics -----------------------------------------------------------------------------------------------


READERS = {"column", "newest", "one", "age_s"}  # of ``State``: kind and metric are their first arguments


def _has_unit(name: str, units: Iterable[str] = tuple(UNITS)) -> bool:
    return any(name == unit or name.endswith("_" + unit) for unit in units)


def metric_names(tree: Path) -> Found:
    """Whatever the code or a table (TOML) calls a metric stands in ``twin.metrics``, of that kind where a kind is named."""
    every = {name for rows in METRICS.values() for name in rows}
    seen, faults = 0, []
    for where, kind, name in [*_code_metrics(tree), *_table_metrics(tree)]:
        seen += 1
        if name not in METRICS.get(kind, every):
            faults.append(f"{where}: {name!r} is no metric{f' of kind {kind!r}' if kind else ''}; see twin.metrics")
    return Found(seen, faults)


def _code_metrics(tree: Path) -> Iterator[tuple[str, str, str]]:
    for path in python(tree, *PACKAGES):
        file = str(path.relative_to(tree))
        if file != "twin/metrics.py":
            yield from (
                (f"{file}:{line}", kind, name) for line, kind, name in _metrics_in(path.read_text(encoding="utf-8"), file)
            )


@cache
def _metrics_in(text: str, file: str) -> list[tuple[int, str, str]]:
    """(line, kind or "", name) of whatever a file of code calls a metric."""
    found: list[tuple[int, str, str]] = []
    for node in ast.walk(ast.parse(text, file)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Call | ast.Tuple | ast.List):
            found += [(line, kind, name) for kind, name in _pairs(node)]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found += [(line, kind, name) for kind, name in _frame_keys(node)]
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and _is_values(node.targets[0]):
            found += [(line, "", name) for name in _keys(node.value)]
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and _is_values(node.value):
            found += [(line, "", name) for name in _texts([node.slice]) if "_" in name and _has_unit(name)]
    return found


def _pairs(node: ast.Call | ast.Tuple | ast.List) -> Iterator[tuple[str, str]]:
    """A kind's name and after it, as the next argument or element, a name with a unit.

    Among the arguments of a function that we do not know, the first may be another kind than the one that has the metric.
    """
    known = not isinstance(node, ast.Call) or (isinstance(node.func, ast.Attribute) and node.func.attr in READERS)
    row = node.args if isinstance(node, ast.Call) else node.elts
    texts = [e.value if isinstance(e, ast.Constant) and isinstance(e.value, str) else "" for e in row]
    for kind, name in pairwise(texts):
        if kind in KINDS and name not in NUMBER_ATTRIBUTES and "_" in name and _has_unit(name):
            yield kind if known else "", name


def _frame_keys(call: ast.Call) -> Iterator[tuple[str, str]]:
    """Names of values in ``frame_of(kind, time, row, name=…)`` and ``Frame(kind, time, rows, {name: …})``."""
    assert isinstance(call.func, ast.Name)
    kind = next(iter(_texts(call.args[:1])), "")
    if call.func.id == "frame_of":
        yield from ((kind, k.arg) for k in call.keywords if k.arg and k.arg not in ("origin", "source"))
    elif call.func.id == "Frame":
        tables = [*call.args[3:4], *(k.value for k in call.keywords if k.arg == "values")]
        yield from ((kind, name) for table in tables if isinstance(table, ast.Dict) for name in _keys(table))


def _is_values(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "values"


def _keys(table: ast.Dict) -> list[str]:
    return [name for name in _texts([k for k in table.keys if k]) if "_" in name and _has_unit(name)]


def _texts(nodes: Iterable[ast.expr]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _table_metrics(tree: Path) -> Iterator[tuple[str, str, str]]:
    for package in PACKAGES:
        for path in sorted((tree / package).rglob("*.toml")):
            for table in _tables(tomllib.loads(path.read_text(encoding="utf-8"))):
                if isinstance(table.get("metric"), str):
                    yield str(path.relative_to(tree)), str(table.get("kind", "")), str(table["metric"])


def _tables(value: object) -> Iterator[dict[str, object]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _tables(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _tables(inner)


# --- units and sources ----------------------------------------------------------------------------------------------

PLACES_OF_QUANTITIES = (
    "twin/physics",
    "twin/params.py",
    "twin/balance.py",
    "twin/estimate.py",
    "twin/simulate.py",
    "twin/calibrate.py",
    "energy",
)
# Units of physics that no metric has, and names that every book gives to a number without a unit.
MORE_UNITS = (
    "kg",
    "m",
    "m2",
    "m3",
    "va",
    "m3ps",
    "kgpm3",
    "jpkgk",
    "wpk",
    "jpk",
    "per_k",
    "per_h",
    "per_gb",
    "per_byte",
    "ntu",
    "cop",
    "exponent",
)
# Numbers that carry no unit in the name, and why.
BARE = {
    "units": "how many machines",
    "share": "a part of one",
    "value": "in the unit of its metric, which stands beside it",
    "values": "in the unit of their metric, which stands beside them",
    "column": "in the unit of its metric, which stands beside it",
    "past_days": "columns of several quantities, as the docstring says",
    "span_days": "columns of several quantities, as the docstring says",
    "before": "in the unit of its metric, which stands beside it",
    "current": "in the unit of its metric, which stands beside it",
    "p10": "a quantile, in the unit that its owner's name carries",
    "p50": "a quantile, in the unit that its owner's name carries",
    "p90": "a quantile, in the unit that its owner's name carries",
    "cost": "in the site's currency, or in the unit of the signal that is to be saved",
    "cost_at_once": "as cost",
    "bound": "as cost",
    "price": "cost of a watt over a slot",
    "weight": "as price",
    "truth": "in the unit of the signal",
    "seen": "in the unit of the signal",
    "past": "in the unit of the signal",
    "foreseen": "in the unit of the signal",
    "usual": "in the unit of the signal",
    "saves": "in the unit of the signal",
    **dict.fromkeys(("size", "held", "others", "waited"), "of work: GPU-slots, or those times slots, as the docstring says"),
    **dict.fromkeys(("zero", "waits"), "slots of a plan, or parts of them"),
    "worth": "as saves",
    "gpus": "how many",
    "capacity": "how many GPUs",
    "rest": "how many GPUs",
    "coefficients": "of a regression: each in its own unit",
    "covariance": "of a regression: each in its own unit",
    "correlation": "between -1 and 1",
    **dict.fromkeys(("knobs", "settings", "states", "begin", "base", "at"), "of knobs: in the unit of each knob's own name"),
    **dict.fromkeys(("predicted", "measured", "reserve"), "margins: each in the unit of its own name"),
    **dict.fromkeys(("terms", "reading", "noise"), "of a regression, or what it is read against: over the plant's scale"),
    **dict.fromkeys(("doubt", "least", "unsure", "spreads", "margin_spread", "score", "drifts"), "multiples of a spread"),
    "memory": "how many readings",
}
BARE_CLASSES = {
    "Costs": "its sums are the signal times kWh",
    "Sum": "as Costs, and their squares",
    "Doubt": "all of them are shares of a value",
    "Knob": "in the unit of the knob's own name",
    "Shares": "columns of quantities, each in its own unit",
    "Watch": "multiples of a spread, and a margin in its own unit",
}
NUMBERS = {"float", "Floats", "Numbers"}


def units_in_names(tree: Path) -> Found:
    """Public parameters and fields that are numbers end in a unit, and so do functions of ``twin.physics``."""
    seen, faults = 0, []
    for file, module in parsed(tree, *PLACES_OF_QUANTITIES):
        for line, name in _quantities(module, named=file.startswith("twin/physics")):
            seen += 1
            if name not in BARE and not _has_unit(name, (*UNITS, *MORE_UNITS)):
                faults.append(
                    f"{file}:{line}: {name} is a number without a unit in its name; see tests/house.py for what may be bare"
                )
    return Found(seen, faults)


def _quantities(module: ast.Module, named: bool) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef) and node.name not in BARE_CLASSES and not node.name.startswith("_"):
            fields = (f for f in node.body if isinstance(f, ast.AnnAssign) and isinstance(f.target, ast.Name))
            yield from ((f.lineno, f.target.id) for f in fields if _is_number(f.annotation))
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            yield from ((a.lineno, a.arg) for a in arguments if a.annotation and _is_number(a.annotation))
            if named and node.returns and _is_number(node.returns):
                yield node.lineno, node.name


def _is_number(annotation: ast.expr) -> bool:
    if isinstance(annotation, ast.BinOp):
        return _is_number(annotation.left) or _is_number(annotation.right)
    return isinstance(annotation, ast.Name) and annotation.id in NUMBERS
