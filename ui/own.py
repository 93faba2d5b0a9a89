"""How icctwin itself is: its sources and its tasks, a row each. Silence of a source is told from its failing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from twin.frame import Ints, Origin
from twin.metrics import metric
from twin.state import State
from ui.reading import Number, Reading, at

MAX_SOURCES, MAX_TASKS = 200, 100  # rows shown; those that are not well come first
TASK = "task/"  # begins the id of the asset that each of our tasks is; its name follows
Status = Literal["down", "silent", "waiting", "up"]
_ORDER: tuple[Status, ...] = ("down", "silent", "waiting", "up")


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source's health. ``status``: up (last poll succeeded), down (last poll failed), silent (it reported, and no
    longer does), waiting (never reported). ``silent_since``: its last word, where it is silent."""

    id: str
    status: Status
    up: Reading
    poll: Reading
    samples: Reading
    errors: Reading
    unmapped: Reading
    suspect: Reading
    silent_since: datetime | None


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """Over all sources, however few rows are shown: how many are how, and what they took since their start."""

    total: int
    up: int
    down: int
    silent: int
    waiting: int
    samples: Number
    unmapped: Number
    suspect: Number


@dataclass(frozen=True, slots=True)
class TaskRow:
    """What icctwin runs on a timer."""

    id: str
    failing: Reading
    duration: Reading
    runs: Reading
    errors: Reading
    missed: Reading
    overlaps: Reading


def _table(state: State, kind: str, names: dict[str, str], now: datetime, rows: Sequence[int]) -> list[dict[str, Reading]]:
    columns = {key: (name, state.newest(kind, name)) for key, name in names.items()}
    return [{key: at(column, kind, name, now, row) for key, (name, column) in columns.items()} for row in rows]


_SOURCE = {
    "up": "up_flag",
    "poll": "poll_s",
    "samples": "samples_count",
    "errors": "errors_count",
    "unmapped": "unmapped_count",
    "suspect": "suspect_count",
}
_TASK = {
    "failing": "failing_flag",
    "duration": "duration_s",
    "runs": "runs_count",
    "errors": "errors_count",
    "missed": "missed_count",
    "overlaps": "overlaps_count",
}


def source_counts(state: State, now: datetime) -> SourceCounts:
    """What ``SourceCounts`` says, without a row for each."""
    how = np.bincount(_how(state, now), minlength=len(_ORDER)).tolist()
    took = [state.newest("source", _SOURCE[key]).value for key in ("samples", "unmapped", "suspect")]
    sums = [float(np.nansum(value)) if np.isfinite(value).any() else np.nan for value in took]
    down, silent, waiting, up = how
    return SourceCounts(sum(how), up, down, silent, waiting, *sums)


def source_rows(state: State, now: datetime, most: int | None = MAX_SOURCES) -> tuple[SourceRow, ...]:
    """At most ``most`` (None: all), those that are not well first."""
    how = _how(state, now)
    return _source_rows(state, now, how, np.argsort(how, kind="stable")[:most].tolist())


def source_row(state: State, asset: str, now: datetime) -> SourceRow:
    """Of one source; ``KeyError`` where there is none of this id."""
    return _source_rows(state, now, _how(state, now), [state.site.row(asset)])[0]


def _source_rows(state: State, now: datetime, how: Ints, shown: Sequence[int]) -> tuple[SourceRow, ...]:
    ids, up = state.site.ids_of("source"), state.newest("source", "up_flag")
    made = []
    for row, cells in zip(shown, _table(state, "source", _SOURCE, now, shown), strict=True):
        status = _ORDER[how[row]]
        since = datetime.fromtimestamp(float(up.time_s[row]), UTC) if status == "silent" else None
        made.append(SourceRow(id=ids[row], status=status, silent_since=since, **cells))
    return tuple(made)


def _how(state: State, now: datetime) -> Ints:
    """int[n]: of each source the position of its status in ``_ORDER``."""
    up = state.newest("source", "up_flag")
    silent = now.timestamp() - up.time_s > metric("source", "up_flag").max_age_s
    waits, works = np.isnan(up.value), up.value > 0
    return np.asarray(np.select([waits, silent, works], [_ORDER.index(one) for one in ("waiting", "silent", "up")], 0))


def task_rows(state: State, now: datetime) -> tuple[TaskRow, ...]:
    """At most ``MAX_TASKS``, failing ones first."""
    ids = state.site.ids_of("task")
    table = _table(state, "task", _TASK, now, range(len(ids)))
    rows = [TaskRow(id=asset, **cells) for asset, cells in zip(ids, table, strict=True)]
    return tuple(sorted(rows, key=lambda row: not row.failing.value > 0)[:MAX_TASKS])


def task_age_s(state: State, name: str, now: datetime) -> float:
    """Age [s] of the newest word of the task called ``name``, infinite where there was none."""
    asset = f"{TASK}{name}"
    if asset not in state.site.position:
        return np.inf
    return float(state.age_s("task", "runs_count", now, Origin.MEASURED)[state.site.row(asset)])


def newest_word_age_s(state: State, now: datetime) -> Number:
    """Age [s] of the newest report of any source, infinite where none ever reported."""
    if not state.site.count("source"):
        return float("inf")
    return float(np.min(state.age_s("source", "up_flag", now, Origin.MEASURED)))
