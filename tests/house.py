"""What the repository checks about itself, as functions over a tree, so that a planted copy can be checked like the real one.

Each gives how many things it looked at (a check that saw nothing proves nothing) and one sentence for each fault.
What ruff, mypy and import-linter check is theirs; ``test_house`` only plants faults to see that they are switched on.
"""

import ast
import fnmatch
import re
import tomllib
from collections import Counter
from pathlib import Path
from string import Formatter

from babel.messages.pofile import read_po
from house_tree import PACKAGES, Found, committed, python
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

LONGEST_FILE = 400


_SOURCE = re.compile(r'\b(19|20)\d\d\b|(?<=[ (])"[A-Z][^"]{9,}"|ASHRAE|IEC|ISO|[Aa]ssumed|[Ss]ource: ')

_JOINS = re.compile(r"^from twin\.physics(\.\w+ import| import .*\b[a-z])", re.MULTILINE)


def physics_has_sources(tree: Path) -> Found:
    """Each file of equations and each table of numbers says where they come from; one that joins others' equations need not."""
    files = [path for path in python(tree, "twin/physics", "twin/params.py") if path.name != "__init__.py"]
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
    files = python(tree, "ui/commands")
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
