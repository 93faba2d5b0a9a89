"""The reference pages say what the code says; what is published is what is built, whole."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ui.cli import main
from ui.config import SECTIONS
from ui.faces.statics import FOLDER, THREE
from ui.reference import pages

ROOT = Path(__file__).resolve().parent.parent
UV = str(Path(sys.executable).with_name("uv"))


@pytest.mark.parametrize("name", ["configuration.md", "metrics.md", "commands.md", "alerts.md"])
def test_the_pages_in_the_repository_are_those_of_the_code(name: str) -> None:
    kept = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert kept == pages()[name], f"docs/reference/{name} is behind the code: icctwin reference --out docs/reference"


def test_every_section_and_its_options_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference"]) == 0
    text = capsys.readouterr().out
    for name, model in SECTIONS.items():
        part = text.split(f"## `[{name}]`\n")[1].split("\n## ")[0]
        assert set(model.model_fields) <= set(re.findall(r"^\| `(\w+)`", part, re.MULTILINE))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What is committed or will be, without what is built."""
    words = ["git", "ls-files", "-coz", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    place = tmp_path / "checkout"
    for name in filter(None, listed):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, place / name)
    return place


def build(checkout: Path, hook: str = "") -> "subprocess.CompletedProcess[str]":
    """Wheel and sdist into ``dist``; ``hook``: another of the build backend's functions, whose wheel goes there."""
    words = [UV, "build", "--offline", "--no-build-isolation", "--python", sys.executable, "--out-dir", "dist", "."]
    if hook:
        words = [sys.executable, "-c", f"import hatchling.build as b; b.{hook}('dist')"]
    return subprocess.run(words, cwd=checkout, capture_output=True, text=True, timeout=120)


def test_without_the_3d_pages_parts_nothing_is_built_but_what_is_worked_on(checkout: Path) -> None:
    for hook in ("", "build_wheel", "build_sdist"):
        done = build(checkout, hook)
        assert done.returncode != 0
        assert "ui/faces/static/vendor/three.js is missing" in done.stdout + done.stderr
        assert "run make web first, or make dist" in done.stdout + done.stderr
        assert not [*checkout.glob("dist/*.whl"), *checkout.glob("dist/*.tar.gz")]
    done = build(checkout, "build_editable")
    assert done.returncode == 0, done.stderr
    recipe = re.search(r"^dist: (.*?) ##.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    assert recipe[1] == ".venv/web", "the one way to build has them built first"
    assert "build" in recipe[2]


def test_wheel_and_sdist_hold_all_that_the_program_loads(checkout: Path, tmp_path: Path) -> None:
    """Built from what is committed, installed beside nothing of the checkout, the program starts and has its data."""
    made = FOLDER.relative_to(ROOT) / THREE
    (checkout / made).parent.mkdir()
    (checkout / made).write_text("export {};\n")
    tracked = [str(path.relative_to(checkout)) for path in checkout.rglob("*") if path.is_file()]
    done = build(checkout)
    assert done.returncode == 0, done.stderr
    wheel, sdist = next(checkout.glob("dist/*.whl")), next(checkout.glob("dist/*.tar.gz"))
    inside = set(zipfile.ZipFile(wheel).namelist())
    needed = {name for name in tracked if name.split("/")[0] in ("twin", "ingest", "analytics", "energy", "ui")}
    needed = {name for name in needed if not name.startswith("ui/web/")}
    assert str(made) in needed
    assert needed <= inside, sorted(needed - inside)
    assert not {name for name in inside if name.startswith(("tests/", "fixtures/", "docs/", "ui/web/"))}
    with tarfile.open(sdist) as archive:
        names = {"/".join(name.split("/")[1:]) for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", str(made)} <= names
    place = tmp_path / "installed"
    install = [UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--target", str(place), str(wheel)]
    subprocess.run(install, check=True, timeout=120)
    script = (
        "import sys; sys.path = [p for p in sys.path if p != sys.argv[1]]; sys.path.insert(0, sys.argv[2]);"
        "import ui, ui.cli; assert ui.__file__.startswith(sys.argv[2]), ui.__file__;"
        "sys.exit(ui.cli.main(['init', sys.argv[3]]) or ui.cli.main(['check', '--config', sys.argv[3] + '/site.toml']))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(ROOT), str(place), str(tmp_path / "mine")],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok" in done.stdout
