"""Work in a process of its own: its answer, its errors and its end come back."""

import os
from pathlib import Path

import numpy as np
import pytest

import ui.apart
from twin.errors import ConfigError, Problem, SourceError
from ui.apart import apart


@pytest.fixture(autouse=True)
def _found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def doubled(values: np.ndarray) -> tuple[int, np.ndarray]:
    print("a library's remark")
    return os.getpid(), 2 * values


def refuse(problems: tuple[Problem, ...]) -> None:
    raise ConfigError(problems)


def die(status: int) -> None:
    os.write(2, b"out of memory")
    os._exit(status)


def test_the_answer_comes_from_another_process_whatever_is_printed_there() -> None:
    pid, found = apart(doubled, np.arange(3.0))
    assert pid != os.getpid()
    assert found.tolist() == [0.0, 2.0, 4.0]


def test_what_is_wrong_is_told_as_if_it_had_happened_here(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = (Problem("site.toml:3", "no such hall"), Problem("site.toml:4", "no such rack"))
    with pytest.raises(ConfigError) as told:
        apart(refuse, problems)
    assert told.value.problems == problems
    with pytest.raises(SourceError, match=r"die ended with status 7 .*: out of memory"):
        apart(die, 7)
    monkeypatch.setattr(ui.apart, "MOST_S", 0.01)
    with pytest.raises(SourceError, match=r"took more than 0\.01 s"):
        apart(doubled, np.arange(3.0))
