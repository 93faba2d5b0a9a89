"""The documentation against the program: examples that load, commands that run, names that exist, in both languages."""

import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from analytics.rules import load_rules
from ingest.registry import SOURCES, source_module
from ui.config import SECTIONS, load_config
from ui.faces.notify import CHANNELS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md"])
RULE_SETS = ROOT / "analytics" / "rule_sets"
ENGLISH, CHINESE = ROOT / "README.md", DOCS / "README.zh-CN.md"
# Commands of the tutorial that need what a test has not: a network, a NetBox, a Prometheus, somebody to page, an end, a past.
NEEDS_MORE = ("import", "discover", "notify", "up", "rules", "report")


def blocks(page: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def tables(page: Path) -> Iterator[Mapping[str, Any]]:
    for text in blocks(page, "toml"):
        yield tomllib.loads(text)


def wrong(told: Mapping[str, Any]) -> list[str]:
    """What the program has against an example of its own configuration. Files that it names need not be there."""
    faults = []
    for entry in told.get("source", []):
        options = {key: value for key, value in entry.items() if key not in ("name", "type", "precedence")}
        try:
            source_module(entry["type"]).Options.model_validate(options, context={"folder": ROOT})
        except ValidationError as error:
            faults += [f"source {entry['type']}: {one['loc']}: {one['msg']}" for one in error.errors()]
    for name, model in SECTIONS.items():
        try:
            model.model_validate(told.get(name, {}))
        except ValidationError as error:
            faults += [f"[{name}] {one['loc']}: {one['msg']}" for one in error.errors() if told.get(name)]
    return faults


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_of_a_configuration_is_one(page: Path) -> None:
    assert [fault for told in tables(page) for fault in wrong(told)] == []


def test_every_rule_that_the_documentation_shows_is_one(tmp_path: Path) -> None:
    shown = [text for page in PAGES for text in blocks(page, "toml") if text.startswith("[[rule]]")]
    assert shown
    for i, text in enumerate(shown):
        (tmp_path / f"{i}.toml").write_text(text, encoding="utf-8")
    assert len(load_rules(tmp_path).rules) == sum(text.count("[[rule]]") for text in shown)


def test_a_wrong_example_is_seen() -> None:
    assert wrong({"source": [{"name": "x", "type": "prometheus", "tragets": "a"}]})
    assert wrong({"store": {"type": "influxdb"}})
    assert sum(len(list(tables(page))) for page in PAGES) >= 8


def test_there_is_a_way_in_for_every_source_and_channel() -> None:
    text = (DOCS / "howto.md").read_text(encoding="utf-8")
    assert [name for name in (*SOURCES, *CHANNELS) if f"`{name}`" not in text] == []


def test_every_test_that_the_documentation_names_is_there() -> None:
    named = {(page.name, name) for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))}
    assert len(named) > 20
    files = list((ROOT / "tests").glob("test_*.py"))
    there = {file.stem for file in files}.union(*(re.findall(r"def (test_\w+)", file.read_text("utf-8")) for file in files))
    assert [one for one in sorted(named) if one[1] not in there] == []


def test_every_page_is_in_the_table_of_contents() -> None:
    told = (ROOT / ".ci" / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page.name for page in DOCS.glob("*.md") if f" {page.name}" not in told and f"/{page.name}" not in told] == []


def parts(text: str) -> list[tuple[str, list[str]]]:
    """(heading, paragraphs: each row of a table one, the prose between two tables one) of each section, without its code."""
    found = []
    for section in re.split(r"^##? ", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), flags=re.MULTILINE)[1:]:
        heading, _, rest = section.partition("\n")
        lines = rest.splitlines()
        rows = [line for line in lines if line.startswith("|")]
        found.append((heading, [*rows, "\n".join(line for line in lines if not line.startswith("|"))]))
    return found


def said_by(text: str) -> tuple[Counter[str], Counter[str]]:
    """Figures and names that a text of either language holds."""
    words = re.sub(r"\]\([^)]*\)", "", text)
    return Counter(re.findall(r"\d+(?:[.,]\d+)*(?:e-?\d+)?", words)), Counter(re.findall(r"`([^`]+)`", words))


def differences(english: str, chinese: str) -> list[str]:
    """What one README says and the other does not: sections, rows of tables, in each the figures and the names in code."""
    ours, theirs = parts(english), parts(chinese)
    if len(ours) != len(theirs):
        return [f"{len(ours)} sections beside {len(theirs)}"]
    found = []
    for (heading, mine), (_, other) in zip(ours, theirs, strict=True):
        if len(mine) != len(other):
            found.append(f"{heading}: {len(mine) - 1} rows beside {len(other) - 1}")
            continue
        for one, two in zip(mine, other, strict=True):
            for a, b in zip(said_by(one), said_by(two), strict=True):
                found += [f"{heading}: English alone {sorted(a - b)}, Chinese alone {sorted(b - a)}: {two[:80]}"] * (a != b)
    return found


def test_both_readmes_say_the_same_commands_figures_and_pictures() -> None:
    english, chinese = (page.read_text(encoding="utf-8") for page in (ENGLISH, CHINESE))
    plain = [[line.split("#")[0].strip() for line in "".join(blocks(page, "sh")).splitlines()] for page in (ENGLISH, CHINESE)]
    assert plain[0] == plain[1]
    assert differences(english, chinese) == [], "docs/README.zh-CN.md says all that README.md says: mend it in the same commit"
    pictures = [re.findall(r"\]\((?:docs/)?([\w.-]+\.(?:png|svg))\)", text) for text in (english, chinese)]
    assert [name.replace("-zh", "") for name in pictures[1]] == pictures[0]
    for name in re.findall(r"\]\(([\w.-]+\.(?:png|svg|md))\)", chinese):
        assert (DOCS / name).is_file(), name
    assert sum("\u4e00" <= letter <= "\u9fff" for letter in chinese) > 4000


def test_a_readme_that_says_otherwise_is_seen() -> None:
    text = "# A\n\nall `x` of 5\n\n## B\n\n| a | 1,000 |\n| b | 0.5 |\n"
    assert differences(text, text.replace("all", "全部")) == []
    for was, becomes in (("0.5", "0.6"), ("`x`", "`y`"), ("| b | 0.5 |\n", ""), ("## B", "B"), ("of 5", "of five")):
        assert len(differences(text, text.replace(was, becomes))) == 1, was


def test_every_rule_that_the_documentation_names_is_there() -> None:
    named = {(page.name, name) for page in PAGES for name in re.findall(r"rules? `(\w+)`", page.read_text(encoding="utf-8"))}
    assert len(named) >= 3
    ships = "".join(path.read_text(encoding="utf-8") for path in RULE_SETS.glob("*.toml"))
    there = {path.stem for path in RULE_SETS.glob("*.toml")} | set(re.findall(r'^name = "(\w+)"', ships, re.MULTILINE))
    assert [one for one in sorted(named) if one[1] not in there] == []


def said(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "ui", *words], cwd=folder, capture_output=True, text=True, env=env, timeout=240
    )


def test_the_tutorial_runs_in_an_empty_folder(tmp_path: Path) -> None:
    """Line by line as it stands there; what needs more than a machine is left out, and seen to be an `icctwin` command by the
    house's own check."""
    lines = [line.split("#")[0].strip() for line in "".join(blocks(DOCS / "tutorial.md", "sh")).splitlines()]
    ran = []
    for line in lines:
        words = line.split()
        if words[:1] == ["icctwin"] and words[1] not in NEEDS_MORE:
            done = said(words[1:], tmp_path)
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
            ran.append(words[1])
    assert ran == ["init", "check", "check", "backup"]
    assets, links = blocks(DOCS / "tutorial.md", "csv")
    (tmp_path / "my-centre" / "assets.csv").write_text(assets)
    (tmp_path / "my-centre" / "links.csv").write_text(links)
    from ui.app import TASK_NAMES
    from ui.config import site_of

    text = (tmp_path / "my-centre" / "site.toml").read_text()
    (tmp_path / "my-centre" / "site.toml").write_text(text.split("[[source]]")[0])
    site = site_of(load_config(tmp_path / "my-centre" / "site.toml"), TASK_NAMES)
    assert site.count("gpu") == 2, "the tables of the tutorial make a centre"
