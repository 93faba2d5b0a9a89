"""A store as a dictionary, slow and plainly right, and the small centre that stores are tried on."""

import itertools
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from small import rows

from twin.frame import Frame, Origin, Quality
from twin.load import build_site
from twin.ports import How, Series
from twin.site import Site

START = datetime(2026, 11, 20, 9, 50, 7, tzinfo=UTC)
MICRO = 1_000_000
MEMORY = Path("/dev/shm")  # a disk that need not be waited for
BAD, SUSPECT = int(Quality.BAD), int(Quality.SUSPECT)


def at(seconds: float) -> datetime:
    """``seconds`` after the start of all tests."""
    return START + timedelta(seconds=seconds)


def gpus(site: Site, seconds: float, values: Sequence[float], rows: Sequence[int] | None = None, **more: object) -> Frame:
    """A frame of GPU power."""
    where = site.all_rows("gpu") if rows is None else np.array(rows, dtype=np.int32)
    return Frame("gpu", at(seconds), where, {"power_w": np.array(values, dtype=np.float64)}, **more)  # type: ignore[arg-type]


def shuffled_site(seed: int) -> Site:
    """The small site with its tables in another order, one GPU fewer and another more."""
    lines = ["id=h1 kind=hall", "id=r1 kind=rack parent=h1", "id=r2 kind=rack parent=h1"]
    lines += [f"id={r}{n} kind=node parent={r}" for r in ("r1", "r2") for n in ("n1", "n2")]
    assets = [f"id={r}{n}g{g} kind=gpu parent={r}{n}" for r in ("r1", "r2") for n in ("n1", "n2") for g in range(4)]
    assets.remove("id=r1n1g1 kind=gpu parent=r1n1")
    assets.append("id=new kind=gpu parent=r2n2")
    order = np.random.default_rng(seed).permutation(len(assets))
    return build_site("test", "UTC", rows(*lines, *[assets[i] for i in order], "id=net kind=grid", "id=sky kind=weather"))


class Model:
    """A store as a dictionary: slow and plainly right."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str, str, str, str], dict[int, tuple[float, int]]] = {}

    def append(self, site: Site, frames: Sequence[Frame]) -> None:
        for frame in frames:
            ids = site.ids_of(frame.kind)
            time = round(frame.time.timestamp() * MICRO)
            for name, column in frame.values.items():
                grades = frame.quality.get(name, np.zeros(len(column), dtype=np.uint8))
                for row, value, grade in zip(frame.rows, column, grades, strict=True):
                    if not math.isnan(value):
                        key = (frame.kind, name, frame.origin.value, frame.band, ids[row])
                        self.cells.setdefault(key, {})[time] = (float(value), int(grade))

    def series(
        self, site: Site, kind: str, metrics: Sequence[str], start: datetime, end: datetime, step_s: float | None, how: How,
        rows: Sequence[int], origin: Origin = Origin.MEASURED, band: str = "", include_bad: bool = False,
    ) -> tuple[list[float], dict[str, list[list[float]]]]:  # fmt: skip
        low, high = (round(t.timestamp() * MICRO) for t in (start, end))
        ids = site.ids_of(kind)

        def believed(name: str, row: int) -> dict[int, float]:
            cells = self.cells.get((kind, name, origin.value, band, ids[row]), {})
            return {t: v for t, (v, q) in sorted(cells.items()) if low <= t < high and (q < BAD or include_bad)}

        columns = {name: [believed(name, row) for row in rows] for name in metrics}
        if step_s is None:
            times = sorted({t for cells in columns.values() for column in cells for t in column})
            return [t / MICRO for t in times], {
                n: [[c.get(t, math.nan) for c in cells] for t in times] for n, cells in columns.items()
            }
        step = round(step_s * MICRO)
        times = list(range(low // step * step, high, step))
        fold = {How.MEAN: lambda v: sum(v) / len(v), How.MIN: min, How.MAX: max, How.LAST: lambda v: v[-1]}[how]
        tables = {}
        for name, cells in columns.items():
            table = [[math.nan] * len(rows) for _ in times]
            for i, column in enumerate(cells):
                for k, some in itertools.groupby(column.items(), lambda cell: (cell[0] - times[0]) // step):
                    table[k][i] = fold([value for _, value in some])
            tables[name] = table
        return [t / MICRO for t in times], tables


def same_series(found: Series, times: Sequence[float], tables: dict[str, list[list[float]]], exact: bool) -> None:
    """``found`` says what the model says."""
    assert found.time_s.tolist() == list(times)
    for name, table in tables.items():
        expected = np.array(table).reshape(len(times), len(found.rows))
        assert found.values[name].shape == expected.shape
        if exact:
            np.testing.assert_array_equal(found.values[name], expected)
        else:
            np.testing.assert_allclose(found.values[name], expected, rtol=1e-12, atol=1e-12)
