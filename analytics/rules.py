"""Rules: conditions on metrics, read from TOML files and checked before anything starts.

A ``[[rule]]`` names one metric of one kind of asset and one of these conditions:

- ``above = 85.0`` or ``below = 0.2``: the value has reached the limit; ``clear`` is the level at which it is well again;
- ``codes = [48, 79]``: the value is one of these codes; ``bits = 0xE8``: the value has one of these bits set;
- ``absent_s = 120``: an asset that used to report this metric has not for so long.

``hold_s`` says how long the condition must last; a limit cannot be written without ``clear`` and ``hold_s``. Limits stand in
the metric's own unit; with ``relative_to = "rated_w"`` they are fractions of that attribute of each asset. ``of`` says what is
judged instead of the value:

- ``of = "size"``: the value without its sign (of a residual's score, say);
- ``of = "increase"``: by how much a counter grew over ``window_s``; ``of = "rate"``: that for each second;
- ``of = "change"``: the value less what it was ``window_s`` ago;
- ``of = "ratio"`` with ``over = "total_bytes"``: the value over that other metric of the same asset;
- ``of = "difference"`` with ``over``: the value less that other metric (the rise over a rack, say);
- ``of = "residual"``: measured less modelled; with ``relative_to = "modelled"`` that over what is modelled;
- ``of = "forecast"`` with ``horizon_s`` and ``probability_frac``: what the metric will reach within that time with at least
  that probability, by the newest forecast of the asset.

A composite rule has ``all_of``, ``any_of`` (names of rules; it holds for an asset where they fire for it, for what contains it
or for something in it) or ``share_of`` (the name of one; judged is the share of what its assets contain for which that fires)
in place of a metric. ``quiet = true`` makes a rule a part of others only, never an alert of its own.

Which assets are meant: ``assets`` (a glob of ids), ``tag`` (a word of their tags), ``inside`` (the id of what holds them);
when: ``during`` (see ``analytics.week``), outside of which nothing holds. ``armed = true`` leaves an asset out until it has
once been seen well, or is linked by ``connects``: a standby pump stands and an unused interface is down because they should.
``breaks`` is what an asset no longer passes on to those after it when this fires (``power``, ``cooling``, ``network``,
``telemetry``), ``suffers`` what an alert of this rule is explained by when it is missing (see ``analytics.fold``). ``owner``,
``page``, ``source`` and ``reason`` are for the reader.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from analytics.rule import Rule, Rules, Severity
from analytics.rule_block import Block, Lines
from twin.errors import ConfigError, Problem

__all__ = ["DEFAULT_RULES", "Rule", "Rules", "Severity", "load_rules", "parse_rules"]

DEFAULT_RULES = Path(__file__).with_name("rule_sets")
MAX_RULES = 5000
MAX_FILES = 100
MAX_PROBLEMS = 200  # of one set; the rest is counted


def load_rules(path: Path = DEFAULT_RULES) -> Rules:
    """The rules of a TOML file, or of all ``*.toml`` in a folder by name. Raises ``ConfigError`` with every problem found,
    each with file and line."""
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    if not files or len(files) > MAX_FILES:
        raise ConfigError([Problem(str(path), f"{len(files)} rule files (*.toml) in there; write 1 to {MAX_FILES}")])
    return _joined([(file, _text(file)) for file in files], path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error.strerror}); name an existing rule file")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), f"is not UTF-8 ({error}); save it as UTF-8")]) from None


def parse_rules(text: str, path: Path) -> Rules:
    """As ``load_rules``, from text; ``path`` only says where problems are."""
    return _joined([(path, text)], path)


def _joined(texts: list[tuple[Path, str]], path: Path) -> Rules:
    problems: list[Problem] = []
    rules: list[Rule] = []
    places: dict[str, str] = {}
    count = 0
    for file, text in texts:
        lines = Lines(file, text)
        for i, block in enumerate(_blocks(file, text, lines, problems)):
            count += 1
            if count > MAX_RULES:
                continue
            reader = Block(block, lines, i)
            rule = reader.rule()
            problems += reader.problems
            here, name = lines.of(i, "name"), block.get("name")
            if isinstance(name, str) and (first := places.setdefault(name, here)) != here:
                problems.append(Problem(here, f"rule {name!r} stands twice (first at {first}); rename one"))
            if rule:
                rules.append(rule)
    if count > MAX_RULES:
        problems.append(Problem(str(path), f"{count} rules; the most that one set may have is {MAX_RULES}"))
    problems += _part_problems(rules, places)
    if len(problems) > MAX_PROBLEMS:
        problems = [*problems[:MAX_PROBLEMS], Problem("…", f"{len(problems) - MAX_PROBLEMS} more problems are not listed")]
    if problems:
        raise ConfigError(problems)
    return Rules(tuple(rules), path)


def _blocks(path: Path, text: str, lines: Lines, problems: list[Problem]) -> list[Mapping[str, object]]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        where = f"{path}:{line[1]}" if line else str(path)
        problems.append(Problem(where, f"is not TOML ({error}); mend the line"))
        return []
    blocks = table.get("rule", [])
    problems += [Problem(lines.top(key), f"no table {key!r} in a rule file; write [[rule]]") for key in table if key != "rule"]
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        problems.append(Problem(lines.top("rule"), "rules are a list: write [[rule]] with two brackets"))
        return []
    return blocks


def _part_problems(rules: list[Rule], places: Mapping[str, str]) -> list[Problem]:
    """What is wrong with the parts of composite rules: they must be there and be no composites themselves."""
    found = {rule.name: rule for rule in rules}
    problems = []
    for rule in rules:
        for part in rule.parts:
            if part not in places:
                problems.append(Problem(places[rule.name], f"{rule.name} is made of {part!r}, and there is no such rule"))
            elif part in found and found[part].join is not None:
                problems.append(Problem(places[rule.name], f"{rule.name} is made of {part!r}, which is made of others itself"))
    return problems
