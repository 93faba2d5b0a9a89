"""What the repository checks about itself; each check is seen to catch a fault planted for it."""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import house
import house_names
import house_tree
import pytest

from ui.cli import build_parser

ROOT = Path(__file__).resolve().parent.parent


# --- README commands ------------------------------------------------------------------------------------------------


def readme_commands(tree: Path) -> house_tree.Found:
    """Each ``make`` and ``icctwin`` line of a code block in README, CONTRIBUTING and docs is one that the program knows."""
    targets = set(re.findall(r"^([a-z]+):", (tree / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    seen, faults = 0, []
    pages = [path.relative_to(tree).as_posix() for path in sorted(tree.glob("docs/*.md"))]
    for name in ("README.md", "CONTRIBUTING.md", *pages):
        for block in re.findall(r"^```\w*\n(.*?)^```", (tree / name).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["make"]:
                    seen += 1
                    faults += [f"{name}: {line}: {why}" for why in _wrong_make(words[1:], targets)]
                elif words[:1] == ["icctwin"]:
                    seen += 1
                    faults += [f"{name}: {line}: {why}" for why in _wrong_icctwin(words[1:])]
    return house_tree.Found(seen, faults)


def _wrong_make(words: list[str], targets: set[str]) -> list[str]:
    given = dict(word.split("=", 1) for word in words if "=" in word)
    named = [word for word in words if "=" not in word]
    faults = [f"there is no target {target}" for target in named if target not in targets]
    if named == ["up"]:
        faults += _wrong_icctwin(["demo", *shlex.split(given.get("ARGS", ""))])
    return faults


def _wrong_icctwin(words: list[str]) -> list[str]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            build_parser().parse_args(words)
        except SystemExit as end:
            if end.code != 0:
                return [said.getvalue().strip().splitlines()[-1]]
    return []


# --- the table: check, least that it must see, what is planted where, what it must say --------------------------------

Plant = tuple[str, str]  # file, text that is appended to it (or that makes it)
CHECKS: list[tuple[Callable[[Path], house_tree.Found], int, list[tuple[Plant, str]]]] = [
    (
        house_names.metric_names,
        50,
        [
            (("energy/planted.py", 'frame_of("site", now, 0, it_power_kw=1.0)\n'), "'it_power_kw' is no metric of kind 'site'"),
            (("ui/planted.py", 'state.column("gpu", "temperature_c", now)\n'), "'temperature_c' is no metric of kind 'gpu'"),
            (("ui/planted.py", 'ROWS = (("rack", "dry_bulb_c"),)\n'), "'dry_bulb_c' is no metric of kind 'rack'"),
            (("ingest/planted.py", 'values = {"watts_w": column}\n'), "'watts_w' is no metric"),
            (("ingest/planted.py", 'Frame("node", now, rows, {"heat_w": column})\n'), "'heat_w' is no metric of kind 'node'"),
            (
                ("ingest/mappings/planted.toml", '[[metric]]\nkind = "gpu"\nmetric = "power_kw"\n'),
                "'power_kw' is no metric of kind",
            ),
            (
                ("analytics/planted.toml", '[[rule]]\nkind = "cdu"\nmetric = "leak_frac"\n'),
                "'leak_frac' is no metric of kind 'cdu'",
            ),
        ],
    ),
    (
        house_names.units_in_names,
        150,
        [
            (("twin/physics/planted.py", "def heat_w(flow: Numbers) -> Floats: ...\n"), "flow is a number without a unit"),
            (("twin/physics/planted.py", "def heat(flow_kgps: float) -> Floats: ...\n"), "heat is a number without a unit"),
            (("energy/planted.py", "class Limits:\n    power: float | None = None\n"), "power is a number without a unit"),
        ],
    ),
    (house.physics_has_sources, 5, [(("twin/physics/planted.py", '"""A law of nature."""\n'), "names no source")]),
    (house.file_lengths, 30, [(("ui/planted.py", "x = 1\n" * 401), "ui/planted.py: 401 lines")]),
    (house.package_docstrings, 5, []),
    (
        house.fixture_sources,
        1,
        [
            (("fixtures/planted.txt", "1\n"), "fixtures/planted.txt: no row"),
            (("fixtures/SOURCES.md", "| `gone.txt` | a page | somebody, 2026 | MIT |\n"), "gone.txt is not there"),
            (("fixtures/SOURCES.md", "| `gone.txt` | a page | somebody, 2026 |  |\n"), "a cell is empty"),
        ],
    ),
    (
        house.no_index_no_machine,
        60,
        [
            (("requirements.txt", "--extra-index" + "-url https://mirror.example/pip\n"), "requirements.txt: holds"),
            (("ui/planted.py", 'HOST = "https://mirror.example' + '/simple/"\n'), "ui/planted.py: holds"),
            (("docs/planted.md", "See /ho" + "me/ada/icctwin.\n"), "docs/planted.md: holds"),
        ],
    ),
    (
        house.locks,
        80,
        [
            (("requirements.txt", "--find-links https://mirror.example/wheels\n"), "is neither pin nor hash"),
            (("requirements-dev.txt", "ruff @ https://mirror.example/ruff.whl \\\n"), "is neither pin nor hash"),
            (("requirements-setup.txt", "uv==0.0.1 \\\n"), "requirements-setup.txt: uv"),
        ],
    ),
    (house.shared_records, 20, [(("ui/commands/planted.py", "from x import open_records\n"), "use records_of")]),
    (
        house.rules_have_runbooks,
        10,
        [(("analytics/planted.toml", '[[rule]]\nname = "hot"\nrunbook = ""\n'), "rule hot has no runbook")],
    ),
    (
        house.translations,
        20,
        [
            (("ui/locale/zh_CN/LC_MESSAGES/icctwin.po", '\nmsgid "planted"\nmsgstr ""\n'), "'planted' is not translated"),
            (("ui/locale/zh_CN/LC_MESSAGES/icctwin.po", '\nmsgid "hot {a}"\nmsgstr "热 {b}"\n'), "names a field"),
            (
                ("ui/locale/zh_CN/LC_MESSAGES/icctwin.po", '\n#, fuzzy\nmsgid "guess"\nmsgstr "猜"\n'),
                "'guess' is not translated",
            ),
            (
                ("ui/locale/zh_CN/LC_MESSAGES/icctwin.po", '\nmsgid "again?"\nmsgstr "二"\n\nmsgid "again?"\nmsgstr "两"\n'),
                "stands 2 times",
            ),
        ],
    ),
    (
        house.decision_records,
        5,
        [
            (("docs/decisions/0099-planted.md", "# 99\n"), "the number should be"),
            (("docs/decisions/0099-planted.md", "# 99\n\n## Context\n"), "its sections are ['Context']"),
        ],
    ),
    (
        house.paths_in_docs,
        20,
        [
            (("CONTRIBUTING.md", "Put it into `twin/chemistry/`.\n"), "there is no twin/chemistry/"),
            (("README.md", "See `PLAN.md`.\n"), "there is no PLAN.md"),
            (("README.md", "![planted](docs/planted.png)\n"), "there is no docs/planted.png"),
        ],
    ),
    (
        readme_commands,
        8,
        [
            (("README.md", "```sh\nicctwin frobnicate\n```\n"), "frobnicate"),
            (("README.md", "```sh\nicctwin demo --gpu-count 8\n```\n"), "--gpu-count"),
            (("README.md", "```sh\nmake supper\n```\n"), "there is no target supper"),
            (("CONTRIBUTING.md", '```sh\nmake up ARGS="--gpus none"\n```\n'), "--gpus"),
        ],
    ),
]


def _name(value: object) -> str:
    return getattr(value, "__name__", "")


@pytest.mark.parametrize(("check", "least"), [row[:2] for row in CHECKS], ids=_name)
def test_the_repository_keeps_its_own_rules(check: Callable[[Path], house_tree.Found], least: int) -> None:
    found = check(ROOT)
    assert found.faults == []
    assert found.seen >= least, "the check sees too little to prove anything"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what is committed, to plant faults in."""
    for path in house_tree.committed(ROOT):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return tmp_path


@pytest.mark.parametrize(("check", "plants"), [(check, plants) for check, _, plants in CHECKS if plants], ids=_name)
def test_each_check_catches_its_planted_faults(
    check: Callable[[Path], house_tree.Found], plants: list[tuple[Plant, str]], copy: Path
) -> None:
    before = set(check(copy).faults)
    for (file, text), _ in plants:
        with (copy / file).open("a", encoding="utf-8") as open_file:
            open_file.write(text)
    caught = [fault for fault in check(copy).faults if fault not in before]
    for _, says in plants:
        assert any(says in fault for fault in caught), f"{says!r} is not in {caught}"


def test_a_package_that_does_not_say_what_it_may_import_is_caught(copy: Path) -> None:
    (copy / "energy" / "__init__.py").write_text('"""What to do."""\n')
    assert house.package_docstrings(copy).faults == ["energy/__init__.py: does not say what it may import"]


# --- the tools are switched on ----------------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The five packages without content, under the project's own settings."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in (*house_tree.PACKAGES, "ui/faces", "tests"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f'"""{package}."""\n')
    for module in ("view", "words", "tasks", "app"):
        (tmp_path / "ui" / f"{module}.py").write_text(f'"""{module}."""\n')
    return tmp_path


RUFF = {
    "DTZ005": "from datetime import datetime\n\nNOW = datetime.now()\n",
    "DTZ003": "from datetime import datetime\n\nNOW = datetime.utcnow()\n",
    "T201": 'print("hello")\n',
    "BLE001": "try:\n    X = 1\nexcept Exception:\n    X = 2\n",
    "D103": "def public() -> None:\n    return None\n",
    "D101": "class Public:\n    pass\n",
    "C901": '"""M."""\n\n\ndef f(x: int) -> int:\n    """F."""\n'
    + "".join(f"    if x == {i}:\n        x += {i}\n" for i in range(11)),
}
BANNED = {
    "clock": "import time\n\nNOW = time.time()\n",
    "aware": "from datetime import UTC, datetime\n\nNOW = datetime.now(UTC)\n",
    "random": "import random\n\nX = random.Random()\n",
    "generator": "import numpy as np\n\nRNG = np.random.default_rng(1)\n",
    "threads": "import threading\n\nLOCK = threading.Lock()\n",
    "environment": "import os\n\nHOME = os.environ\n",
}


def _ruff(tree: Path) -> set[tuple[str, str]]:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "json", "."]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    return {(str(Path(row["filename"]).relative_to(tree.resolve())), row["code"]) for row in json.loads(done.stdout)}


def test_ruff_bans_what_the_house_bans(bare: Path) -> None:
    assert _ruff(bare) == set()
    for code, text in RUFF.items():
        (bare / "energy" / f"{code.lower()}.py").write_text(text)
    for name, text in BANNED.items():
        for place in ("twin", "ingest", "analytics", "energy", "ui", "ui/faces"):
            (bare / place / f"{name}.py").write_text(text)
    seen = _ruff(bare)
    assert {(f"energy/{code.lower()}.py", code) for code in RUFF} <= seen
    assert {
        (f"{p}/{name}.py", "TID251") for p in ("twin", "ingest", "analytics", "energy", "ui", "ui/faces") for name in BANNED
    } <= seen


def test_the_shell_alone_may_own_a_clock(bare: Path) -> None:
    for module in ("app", "tasks", "view"):
        (bare / "ui" / f"{module}.py").write_text(f'"""{module}."""\n\n' + BANNED["aware"])
    assert _ruff(bare) == {("ui/view.py", "TID251")}


def test_ruff_sees_every_file_of_ours() -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--show-files", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {str(path) for path in house_tree.committed(ROOT) if path.suffix == ".py"}
    assert len(ours) > 50
    assert ours <= set(done.stdout.splitlines())


MYPY = {
    "no-untyped-def": "def f(x):\n    return x\n",
    "ignore-without-code": 'X: int = "a"  # type: ignore\n',
    "type-arg": "X: dict = {}\n",
}


def test_mypy_is_strict_in_every_package(bare: Path) -> None:
    for package in house_tree.PACKAGES:
        for code, text in MYPY.items():
            (bare / package / f"planted_{code.replace('-', '_')}.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(bare / "cache")]
    done = subprocess.run(command, cwd=bare, capture_output=True, text=True)
    for package in house_tree.PACKAGES:
        for code in MYPY:
            assert re.search(rf"^{package}/planted_{code.replace('-', '_')}\.py:.*\[{code}\]$", done.stdout, re.MULTILINE), (
                done.stdout
            )


IMPORTS = [
    ("energy/planted.py", "import ingest", "energy and analytics never see ingest"),
    ("analytics/planted.py", "import ingest", "energy and analytics never see ingest"),
    ("ingest/planted.py", "import analytics", "ui > energy > (analytics | ingest) > twin"),
    ("analytics/planted.py", "import energy", "ui > energy > (analytics | ingest) > twin"),
    ("twin/planted.py", "import ui", "ui > energy > (analytics | ingest) > twin"),
    ("ui/faces/planted.py", "import ingest", "only ui.app joins a port to a protocol"),
]


def _lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, env={"PATH": "", "NO_COLOR": "1"})


def test_the_order_of_imports_is_kept_in_a_clean_house(bare: Path) -> None:
    done = _lint_imports(bare)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("file", "text", "contract"), IMPORTS)
def test_an_import_against_the_order_is_caught(bare: Path, file: str, text: str, contract: str) -> None:
    (bare / file).write_text(f'"""Planted."""\n\n{text}\n')
    done = _lint_imports(bare)
    assert done.returncode == 1
    assert re.search(rf"^{re.escape(contract)} BROKEN", done.stdout, re.MULTILINE), done.stdout


def test_tools_look_at_the_same_five_packages() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = ", ".join(f'"{package}"' for package in house_tree.PACKAGES)
    for setting in (f"\npackages = [{listed}]\n", f"\nroot_packages = [{listed}]\n"):
        assert setting in text
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(house_tree.PACKAGES)


# --- set-up -----------------------------------------------------------------------------------------------------------


def _make(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # a clean environment: an outer make hands its own flags and variables down
    env = {"PATH": os.environ["PATH"]}
    return subprocess.run(["make", "--no-print-directory", *words], cwd=tree, capture_output=True, text=True, env=env)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A checkout as far as ``make`` looks at it."""
    for path in (ROOT / "Makefile", ROOT / "pyproject.toml", *ROOT.glob("requirements*.txt")):
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("python", "says"),
    [
        (None, "there is no "),
        ('case "$*" in *version_info*) exit 1;; -V) echo Python 3.9.2;; esac', "needs Python 3.11 or newer"),
        ('case "$*" in *ensurepip*) exit 1;; esac', "apt-get install python3-venv"),
    ],
)
def test_set_up_says_in_one_sentence_what_is_missing(empty: Path, python: str | None, says: str) -> None:
    fake = empty / "fake python"
    if python is not None:
        fake.write_text(f"#!/bin/sh\n{python}\n")
        fake.chmod(0o755)
    done = _make(empty, "setup", f"PYTHON={fake}")
    assert done.returncode == 2
    sentence = done.stderr.splitlines()[0]
    assert sentence.startswith("icctwin: ")
    assert says in sentence
    assert not (empty / ".venv").exists()


def test_a_second_set_up_does_nothing_and_a_moved_one_starts_anew(empty: Path) -> None:
    (empty / ".venv" / "bin").mkdir(parents=True)
    (empty / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (empty / ".venv" / "place").write_text(str(empty))
    (empty / ".venv" / "run").touch()
    assert "pip" not in _make(empty, "-n", "setup").stdout
    (empty / ".venv" / "place").write_text(str(empty.parent))
    assert "-m venv --clear" in _make(empty, "-n", "setup").stdout
    (empty / ".venv" / "place").write_text(str(empty))
    (empty / ".venv" / "bin" / "python").unlink()
    assert "-m venv --clear" in _make(empty, "-n", "setup").stdout
