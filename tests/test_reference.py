"""The reference pages say what the code says; what is published is what is built, whole."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ui.cli import main
from ui.config import SECTIONS
from ui.reference import pages

ROOT = Path(__file__).resolve().parent.parent


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


def test_wheel_and_sdist_hold_all_that_the_program_loads(tmp_path: Path) -> None:
    """Built from what is committed, installed beside nothing of the checkout, the program starts and has its data."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    uv = Path(sys.executable).with_name("uv")
    subprocess.run(
        [uv, "build", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable, "--out-dir", tmp_path, ROOT],
        check=True, timeout=120,
    )  # fmt: skip
    wheel, sdist = next(tmp_path.glob("*.whl")), next(tmp_path.glob("*.tar.gz"))
    inside = set(zipfile.ZipFile(wheel).namelist())
    needed = {name for name in tracked if name.split("/")[0] in ("twin", "ingest", "analytics", "energy", "ui")}
    needed = {name for name in needed if not name.startswith("ui/web/")}
    assert needed <= inside, sorted(needed - inside)
    assert not {name for name in inside if name.startswith(("tests/", "fixtures/", "docs/"))}
    with tarfile.open(sdist) as archive:
        names = {"/".join(name.split("/")[1:]) for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names
    place = tmp_path / "installed"
    install = [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--target", place, wheel]
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
