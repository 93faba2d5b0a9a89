"""Power of GPUs, racks and what else is many, on the meters' own steps and in portions; and what groups of them took of it."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Protocol

import numpy as np

from twin.frame import Floats, Ints, Origin
from twin.ports import Store
from twin.site import Bools

CHUNK_VALUES = 2_000_000  # in memory at once


class Steps(Protocol):
    """Steps of ``step_s`` that begin at ``time_s`` (float64[t], s since 1970), such as those of meters."""

    @property
    def time_s(self) -> Floats: ...  # noqa: D102 - see above
    @property
    def step_s(self) -> float: ...  # noqa: D102 - see above


def gpu_w(store: Store, at_s: Floats, step_s: float, gpus: int, kind: str = "gpu") -> Floats:
    """float64[t, g]: mean power of each GPU (or asset of ``kind``) in each step, as ``known_w`` has it."""
    return known_w(store, at_s, step_s, gpus, kind)[0]


def known_w(store: Store, at_s: Floats, step_s: float, gpus: int, kind: str = "gpu") -> tuple[Floats, Bools]:
    """(float64[t, g], mean power of each asset in each step: measured, the twin's word of one that was not, NaN where neither
    is known; bool[t, g], which were measured)."""
    power_w = _table(store, at_s, step_s, gpus, kind, Origin.MEASURED)
    measured: Bools = np.isfinite(power_w)
    if not measured.all():
        power_w = np.where(measured, power_w, _table(store, at_s, step_s, gpus, kind, Origin.MODELLED))
    return power_w, measured


def _table(store: Store, at_s: Floats, step_s: float, gpus: int, kind: str, origin: Origin) -> Floats:
    power_w: Floats = np.full((len(at_s), gpus), np.nan)
    start, end = (datetime.fromtimestamp(float(edge), UTC) for edge in (at_s[0], at_s[-1] + step_s))
    series = store.series(kind, ("power_w",), start, end, step_s, origin=origin)
    found = series.values.get("power_w")
    if found is not None and found.size:
        place = np.rint((series.time_s - at_s[0]) / step_s).astype(np.int64)
        fits = (place >= 0) & (place < len(at_s))  # the store rounds steps to microseconds, and may cut one more at the end
        power_w[np.ix_(place[fits], series.rows)] = found[fits]
    return power_w


def parts_of_groups(store: Store, steps: Steps, group_of: Mapping[str, Ints], count: int) -> Floats:
    """float64[count, t]: part of each step's power that each group took, by the first kind of ``group_of`` that says so;
    ``group_of``: kind -> int32[n], whose each asset is (-1: nobody's, which stays out of every part). NaN where no kind does,
    as ``parts`` has it. Measured, else modelled."""
    made: Floats = np.full((count, len(steps.time_s)), np.nan)
    for kind, group in group_of.items():
        size = max(1, CHUNK_VALUES // max(len(group), 1))
        for first in range(0, len(steps.time_s) if len(group) else 0, size):
            at = slice(first, first + size)
            if np.isnan(made[:, at]).any():
                found = parts(gpu_w(store, steps.time_s[at], steps.step_s, len(group), kind), group, count)
                made[:, at] = np.where(np.isnan(made[:, at]), found, made[:, at])
    return made


def took_of_groups(store: Store, kind: str, steps: Steps, group: Ints, count: int) -> tuple[Floats, Bools]:
    """(float64[count, t], power [W] of each group's assets of ``kind``; bool[count, t], whether any of them is known);
    ``group``: int32[n], whose each asset is, -1: nobody's. Measured, else modelled."""
    took, heard = np.zeros((count, len(steps.time_s))), np.zeros((count, len(steps.time_s)), dtype=np.bool_)
    for at, power_w, _ in portions(store, kind, steps, len(group)):
        for k in np.unique(group[group >= 0]).tolist():
            mine = power_w[:, group == k]
            took[k, at], heard[k, at] = np.maximum(np.nan_to_num(mine), 0.0).sum(axis=1), np.isfinite(mine).any(axis=1)
    return took, heard


def parts(power_w: Floats, group: Ints, count: int) -> Floats:
    """float64[count, t]: part of ``power_w`` (float64[t, n], NaN where not read) that each group took. NaN where nothing is
    drawn, or nothing is read of a group that has assets: its part would go to the others."""
    drawn = np.maximum(np.nan_to_num(power_w), 0.0)
    took, silent = np.zeros((count, len(power_w))), np.zeros(len(power_w), dtype=np.bool_)
    for k in np.unique(group[group >= 0]).tolist():
        took[k] = drawn[:, group == k].sum(axis=1)
        silent |= np.isnan(power_w[:, group == k]).all(axis=1)
    total = drawn.sum(axis=1)
    known = ~silent & (total > 0)
    return np.where(known, took / np.where(known, total, 1.0), np.nan)


def power_of(store: Store, kind: str, steps: Steps, count: int) -> Iterator[tuple[slice, Floats]]:
    """(steps, float64[steps, n] of power [W], 0 where not known) in portions."""
    for at, power_w, _ in portions(store, kind, steps, count):
        yield at, np.maximum(np.nan_to_num(power_w), 0.0)


def portions(store: Store, kind: str, steps: Steps, count: int) -> Iterator[tuple[slice, Floats, Bools]]:
    """(steps, power [W], which were measured) as ``known_w`` has them, of at most ``CHUNK_VALUES`` at once."""
    size = max(1, CHUNK_VALUES // max(count, 1))
    for first in range(0, len(steps.time_s), size):
        at_s = steps.time_s[first : first + size]
        yield slice(first, first + len(at_s)), *known_w(store, at_s, steps.step_s, count, kind)
