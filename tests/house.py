"""What the repository checks about itself, as functions over a tree, so that a planted copy can be checked like the real one.

Each gives how many things it looked at (a check that saw nothing proves nothing) and one sentence for each fault.
What ruff, mypy and import-linter check is theirs; ``test_house`` only plants faults to see that they are switched on.
"""

import ast
import fnmatch
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from string import Formatter
from typing import NamedTuple

from babel.messages.pofile import read_po
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from twin.kinds import KINDS, NUMBER_ATTRIBUTES
from twin.metrics import METRICS, UNITS

PACKAGES = ("twin", "ingest", "analytics", "energy", "ui")
LONGEST_FILE = 400
LEFT_BEHIND = {".git", ".venv", "__pycache__", "var", "build", "dist"}  # and whatever ends in _cache


class Found(NamedTuple):
    """How many things were looked at, and what is wrong with them."""

    seen: int
    faults: list[str]


def _python(tree: Path, *places: str) -> list[Path]:
    found = [p for place in places for p in ((tree / place).rglob("*.py") if (tree / place).is_dir() else [tree / place])]
    return sorted(path for path in found if path.exists() and "__pycache__" not in path.parts)


def _parsed(tree: Path, *places: str) -> Iterator[tuple[str, ast.Module]]:
    for path in _python(tree, *places):
        yield str(path.relative_to(tree)), ast.parse(path.read_text(encoding="utf-8"), str(path))


def committed(tree: Path) -> list[Path]:
    """What is, or would be, committed: git's word where it is there, else all but what tools leave behind."""
    if (tree / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, cwd=tree, capture_output=True, check=True, text=True).stdout.split("\0")
        return [tree / name for name in names if name and (tree / name).is_file()]
    inside = (p for p in tree.rglob("*") if p.is_file())
    return [p for p in inside if not any(s in LEFT_BEHIND or s.endswith("_cache") for s in p.relative_to(tree).parts)]


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
    for path in _python(tree, *PACKAGES):
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
    **dict.fromkeys(("size", "held", "others", "waited"), "of work: GPU-slots, or those times slots, as the docstring says"),
    **dict.fromkeys(("zero", "waits"), "slots of a plan, or parts of them"),
    "worth": "as saves",
}
BARE_CLASSES = {
    "Accounts": "its sums are the signal times kWh",
    "Doubt": "all of them are shares of a value",
    "Knob": "in the unit of the knob's own name",
    "Shares": "columns of quantities, each in its own unit",
    "Watch": "multiples of a spread, and a margin in its own unit",
}
NUMBERS = {"float", "Floats", "Numbers"}


def units_in_names(tree: Path) -> Found:
    """Public parameters and fields that are numbers end in a unit, and so do functions of ``twin.physics``."""
    seen, faults = 0, []
    for file, module in _parsed(tree, *PLACES_OF_QUANTITIES):
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


_SOURCE = re.compile(r'\b(19|20)\d\d\b|(?<=[ (])"[A-Z][^"]{9,}"|ASHRAE|IEC|ISO|[Aa]ssumed|[Ss]ource: ')

_JOINS = re.compile(r"^from twin\.physics(\.\w+ import| import .*\b[a-z])", re.MULTILINE)


def physics_has_sources(tree: Path) -> Found:
    """Each file of equations and each table of numbers says where they come from; one that joins others' equations need not."""
    files = [path for path in _python(tree, "twin/physics", "twin/params.py") if path.name != "__init__.py"]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    bare = [path for path, text in texts.items() if not _SOURCE.search(text) and not _JOINS.search(text)]
    return Found(len(files), [f"{path.relative_to(tree)}: names no source for its equations" for path in bare])


# --- files ----------------------------------------------------------------------------------------------------------


def file_lengths(tree: Path) -> Found:
    """No source file of ours is longer than a reader's patience; tests may be."""
    files = [path for p in PACKAGES for end in ("py", "js", "ts", "css") for path in (tree / p).rglob(f"*.{end}")]
    files = [path for path in files if not {"vendor", "node_modules"} & set(path.parts)]  # built from others' code by make web
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    long = [f"{path.relative_to(tree)}: {n} lines, over {LONGEST_FILE}" for path, n in lengths.items() if n > LONGEST_FILE]
    return Found(len(files), long)


def package_docstrings(tree: Path) -> Found:
    """Each package says what it is and what it may import."""
    docs = {
        package: ast.get_docstring(ast.parse((tree / package / "__init__.py").read_text(encoding="utf-8"))) or ""
        for package in PACKAGES
    }
    return Found(
        len(docs), [f"{p}/__init__.py: does not say what it may import" for p, doc in docs.items() if "May import:" not in doc]
    )


def fixture_sources(tree: Path) -> Found:
    """Each recorded file has a row (origin, date, licence) in ``fixtures/SOURCES.md``, and each row (a name, or a pattern for
    files of one origin) has its file."""
    folder = tree / "fixtures"
    rows = re.findall(
        r"^\|([^|]+)\|([^|]+)\|([^|]+)\|([^|]+)\|$", (folder / "SOURCES.md").read_text(encoding="utf-8"), re.MULTILINE
    )[2:]
    told = {name.strip().strip("`") for name, *_ in rows}
    files = {str(p.relative_to(folder)) for p in committed(tree) if folder in p.parents and p.name != "SOURCES.md"}
    found = {pattern: set(fnmatch.filter(files, pattern)) for pattern in told}
    faults = [f"fixtures/{name}: no row in fixtures/SOURCES.md" for name in sorted(files.difference(*found.values()))]
    faults += [f"fixtures/SOURCES.md: {pattern} is not there" for pattern in sorted(told) if not found[pattern]]
    faults += [
        f"fixtures/SOURCES.md: {row[0].strip()}: a cell is empty" for row in rows if not all(cell.strip() for cell in row)
    ]
    return Found(len(files), faults)


_INDEX = "|".join(
    (r"index-url\b\s*[= ]\s*\S*:/", r"https?://[^\s\"']+/simple\b", r"pythonhosted\.", r"registry\.npm", r"//(test\.)?pypi\.")
)
_MACHINE = "|".join((r"/(?:home|Users)/\w+/", "/" + r"root/", "/" + r"work/", r"/tmp/(?:bash|w)\b"))


def no_index_no_machine(tree: Path) -> Found:
    """No committed file holds the address of a package index, nor (recordings aside) a path of one machine."""
    index, machine = re.compile(_INDEX), re.compile(_MACHINE)
    files = [path for path in committed(tree) if path != tree / "tests" / "house.py"]
    faults = []
    for path in files:
        text = path.read_bytes().decode("utf-8", errors="replace")
        recorded = (tree / "fixtures") in path.parents
        hit = index.search(text) or (None if recorded else machine.search(text))
        if hit:
            faults.append(f"{path.relative_to(tree)}: holds {hit.group()!r}")
    return Found(len(files), faults)


# --- locks ----------------------------------------------------------------------------------------------------------

_LOCK_LINE = re.compile(
    r"(?P<pin>[a-z0-9][a-z0-9._-]*==[^\s;]+( ; [^\\]+)?) \\|    --hash=sha256:[0-9a-f]{64}( \\)?|\s*#(?!.*(://| /)).*"
)


def locks(tree: Path) -> Found:
    """Each lock is pins and hashes and nothing else (so no host can be in it), and agrees with ``pyproject.toml``."""
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
    groups, extras = project["dependency-groups"], project["project"]["optional-dependencies"]
    wanted = {
        "requirements.txt": project["project"]["dependencies"],
        "requirements-field.txt": [r for extra in extras.values() for r in extra],
        "requirements-image.txt": [r for name, extra in extras.items() if name != "scene" for r in extra],
        "requirements-dev.txt": groups["dev"],
        "requirements-setup.txt": [*groups["setup"], *project["build-system"]["requires"]],
    }
    seen, faults = 0, []
    for name, asked in wanted.items():
        lines = (tree / name).read_text(encoding="utf-8").splitlines()
        odd = [
            f"{name}:{i}: {line!r} is neither pin nor hash" for i, line in enumerate(lines, 1) if not _LOCK_LINE.fullmatch(line)
        ]
        pins = [Requirement(hit["pin"]) for line in lines if (hit := _LOCK_LINE.fullmatch(line)) and hit["pin"]]
        seen += len(pins)
        faults += odd + [f"{name}: {text}: run make lock" for text in asked if not _pinned(Requirement(text), pins)]
    return Found(seen, faults)


def _pinned(asked: Requirement, pins: list[Requirement]) -> bool:
    mine = [pin for pin in pins if canonicalize_name(pin.name) == canonicalize_name(asked.name)]
    return bool(mine) and all(Version(next(iter(pin.specifier)).version) in asked.specifier for pin in mine)


# --- words ----------------------------------------------------------------------------------------------------------


def shared_records(tree: Path) -> Found:
    """A command opens the records that all processes of a centre share: ``ui.shared.records_of`` knows where they are."""
    files = _python(tree, "ui/commands")
    wrong = [path for path in files if "open_records" in path.read_text(encoding="utf-8")]
    why = "open_records passes by [cluster] postgres; use records_of"
    return Found(len(files), [f"{path.relative_to(tree).as_posix()}: {why}" for path in wrong])


def rules_have_runbooks(tree: Path) -> Found:
    """Each alert rule that ships says what a person does about it."""
    files = sorted((tree / "analytics").rglob("*.toml"))
    rules = [(path, rule) for path in files for rule in tomllib.loads(path.read_text(encoding="utf-8")).get("rule", [])]
    bare = [(path, rule) for path, rule in rules if len(str(rule.get("runbook", "")).split()) < 3]
    return Found(len(rules), [f"{path.relative_to(tree)}: rule {rule.get('name')} has no runbook" for path, rule in bare])


def translations(tree: Path) -> Found:
    """Each sentence is translated once, surely, and its translation names no field that the sentence does not have."""
    seen, faults = 0, []
    for path in sorted((tree / "ui" / "locale").rglob("*.po")):
        heads = Counter(re.findall(r'^(?:msgctxt ".*"\n)?msgid ".+"$', path.read_text(encoding="utf-8"), re.M))
        faults += [f"{path.relative_to(tree)}: {head!r} stands {n} times" for head, n in heads.items() if n > 1]
        with path.open("rb") as file:
            catalogue = read_po(file, abort_invalid=True)
        for message in catalogue:
            if not message.id:
                continue
            seen += 1
            where = f"{path.relative_to(tree)}:{message.lineno}"
            if not message.string or message.fuzzy:
                faults.append(f"{where}: {message.id!r} is not translated")
            elif _fields(str(message.string)) - _fields(str(message.id)):
                faults.append(f"{where}: the translation of {message.id!r} names a field that it does not have")
    return Found(seen, faults)


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


SECTIONS = ["Context", "Decision", "Consequences", "What would make us change it"]


def decision_records(tree: Path) -> Found:
    """Numbered from 0001 without a gap, each with the same four sections."""
    files = sorted((tree / "docs" / "decisions").glob("*.md"))
    faults = []
    for number, path in enumerate(files, 1):
        if not path.name.startswith(f"{number:04d}-"):
            faults.append(f"docs/decisions/{path.name}: the number should be {number:04d}")
        sections = re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        if sections != SECTIONS:
            faults.append(f"docs/decisions/{path.name}: its sections are {sections}, not {SECTIONS}")
    return Found(len(files), faults)


_PATH = re.compile(r"`([\w.-]+(?:/[\w.*-]+)+/?|[\w.-]+/|[\w-]+\.(?:py|toml|md|txt)|Makefile|LICENSE)`")

_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def paths_in_docs(tree: Path) -> Found:
    """Each path of the tree that a document names, and each file that it links to or shows, is there."""
    seen, faults = 0, []
    for path in [*tree.glob("*.md"), *(tree / "docs").rglob("*.md")]:
        text = path.read_text(encoding="utf-8")
        named = [(tree, name) for name in _PATH.findall(text) if not name.startswith(LEFT_OUT)]
        for base, name in [*named, *((path.parent, name) for name in _LINK.findall(text))]:
            seen += 1
            if not any(base.glob(name.rstrip("/"))):
                faults.append(f"{path.relative_to(tree)}: there is no {name}")
    return Found(seen, faults)


# The operator's, built, or not a path.
LEFT_OUT = (".venv", "var/", "site.toml", "assets.", "links.", "application/", "text/", "icctwin/", "ui/faces/static/vendor")
