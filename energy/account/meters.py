"""The centre's own meters over an interval: as measured, as the twin works them out where they were not, told apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from energy.account.tariff import highest_quarter
from energy.kpi import held
from twin.frame import Floats, Origin
from twin.ports import Series, Store
from twin.site import Bools

MAX_STEPS = 1_100_000  # two years in minutes
CELLS_S = (60.0, 300.0, 900.0, 1800.0)  # in which it is told how much of a longer step was read
Whose = Literal["measured", "modelled", "best"]
_SIDES = (Origin.MEASURED, Origin.MODELLED)
SIGNALS = ("carbon_gco2_per_kwh", "marginal_carbon_gco2_per_kwh", "price_per_mwh")
_NAMES = ("facility_power_w", "it_power_w", "cooling_power_w")


@dataclass(frozen=True, slots=True, eq=False)
class Meters:
    """Of ``[start_s, end_s)``; float64[t] each, for steps that begin at ``time_s``, of which the first and the last may reach
    out of it. ``length_s``: the time of each step in which facility and IT power were both read; powers [W] are means over that
    time, of a step without any over the time in which each was read; NaN where not known. ``modelled_s``: of ``length_s``, the
    time in which one of the two is the twin's, ``facility_modelled_s`` that in which the facility's is. ``it_alone_w``: IT's
    mean over all the time in which it was read, which is ``it_alone_s``, of that the twin's ``it_modelled_s``. ``own_w``:
    on-site generation (0: none read), of that ``own_guessed_w`` of plants that were silent beside others; ``own_read``: every
    plant of the site was read (so it is where there is none). Intensities [gCO2/kWh] and price [/MWh]: NaN where not known."""

    time_s: Floats
    length_s: Floats
    step_s: float
    start_s: float
    end_s: float
    facility_w: Floats
    it_w: Floats
    cooling_w: Floats
    own_w: Floats
    own_guessed_w: Floats
    own_read: Bools
    modelled_s: Floats
    facility_modelled_s: Floats
    it_alone_w: Floats
    it_alone_s: Floats
    it_modelled_s: Floats
    average_gco2_per_kwh: Floats
    marginal_gco2_per_kwh: Floats
    price_per_mwh: Floats

    @property
    def inside_s(self) -> Floats:
        """float64[t]: time of each step that lies in the interval."""
        return np.minimum(self.time_s + self.step_s, self.end_s) - np.maximum(self.time_s, self.start_s)

    @property
    def read_s(self) -> Floats:
        """float64[t]: time of each step in which IT's power is known, as it is where its GPUs are read; of a step in which it
        never is, all that lies in the interval: nothing tells how much of it what was read there covers."""
        return np.where(self.it_alone_s > 0, self.it_alone_s, self.inside_s)

    @property
    def known(self) -> Bools:
        """bool[t]: facility and IT power are both known."""
        return np.isfinite(self.facility_w) & np.isfinite(self.it_w) & (self.length_s > 0)

    @property
    def drawn_w(self) -> Floats:
        """float64[t]: drawn from the grid; NaN where facility power is not known."""
        return np.maximum(self.facility_w - self.own_w, 0.0)

    def kwh(self, power_w: Floats) -> Floats:
        """float64[t]: energy of each step over the time in which facility and IT power were read; 0 where there is none."""
        return np.where(self.known & np.isfinite(power_w), power_w, 0.0) * self.length_s / 3.6e6


def read_meters(store: Store, start: datetime, end: datetime, step_s: float = 300.0, whose: Whose = "best") -> Meters:
    """The meters over ``[start, end)``. ``ValueError`` for an interval that is empty or has over ``MAX_STEPS`` steps."""
    span_s = (end - start).total_seconds()
    if not 0 < span_s <= MAX_STEPS * step_s:
        raise ValueError(f"{start} to {end} in steps of {step_s:g} s is empty or over {MAX_STEPS} steps; use a longer step")
    first = np.floor(start.timestamp() / step_s)
    count = int(np.ceil(end.timestamp() / step_s) - first)
    time_s = step_s * (first + np.arange(count))
    sides = _read(store, start, end, step_s, time_s)
    metered, twins = (sides[origin] for origin in _SIDES)
    best = dict(twins if whose == "modelled" else metered)
    if whose == "best":
        best = {name: np.where(np.isfinite(best[name]), best[name], twins[name]) for name in _NAMES}
    facility, it, cooling = (best[name] for name in _NAMES)
    cell_s = step_s / facility.shape[1]
    begin_s = time_s[:, None] + cell_s * np.arange(facility.shape[1])
    inside = (np.minimum(begin_s + cell_s, end.timestamp()) - np.maximum(begin_s, start.timestamp())) / cell_s
    alone = np.where(np.isfinite(it), np.maximum(inside, 0.0), 0.0)  # parts of each cell, here and below
    both = np.where(np.isfinite(facility), alone, 0.0)
    none = ~both.any(axis=1, keepdims=True)
    facility_w, it_w, cooling_w = (_mean(power, np.where(none, inside, both)) for power in (facility, it, cooling))
    metered_it = np.isfinite(metered["it_power_w"]) | (whose == "measured")
    metered_in = np.isfinite(metered["facility_power_w"]) | (whose == "measured")
    length_s, alone_s, twins_s, twins_in_s, twins_it_s = (
        cell_s * part.sum(axis=1)
        for part in (both, alone, both * ~(metered_it & metered_in), both * ~metered_in, alone * ~metered_it)
    )
    generated = _generated(store.series("pv", ("power_w",), start, end, step_s), first, count, step_s)
    average, marginal, price = (held(store, "grid", name, time_s, step_s, start, end) for name in SIGNALS)
    return Meters(
        time_s, length_s, step_s, start.timestamp(), end.timestamp(), facility_w, it_w, cooling_w, *generated, twins_s,
        twins_in_s, _mean(it, alone), alone_s, twins_it_s, average, marginal, price,
    )  # fmt: skip


def _read(store: Store, start: datetime, end: datetime, step_s: float, time_s: Floats) -> Mapping[Origin, dict[str, Floats]]:
    """By origin and name float64[t, c]: power in the ``c`` cells of each step, which are the finest of ``CELLS_S`` in which
    every meter usually speaks: a step that was read in part is known by its cells. A step of which only the whole is kept
    (hours outlive minutes), or that has no such cells, counts as read from end to end."""
    count, finest_s = len(time_s), CELLS_S[0]
    cells = round(step_s / finest_s) if step_s % finest_s == 0 and count * step_s <= MAX_STEPS * finest_s else 1

    def read(cells: int) -> dict[tuple[Origin, str], Floats]:
        found = {o: store.series("site", _NAMES, start, end, step_s / cells, origin=o) for o in _SIDES}
        return {
            (o, name): _column(found[o], name, time_s[0], count * cells, step_s / cells).reshape(count, cells)
            for o in _SIDES for name in _NAMES
        }  # fmt: skip

    tables = read(cells)
    silent = {key: np.isnan(table).all(axis=1, keepdims=True) for key, table in tables.items()}
    if cells > 1 and any(one.any() for one in silent.values()):
        whole = read(1)
        tables = {key: np.where(silent[key], whole[key], table) for key, table in tables.items()}
    gap_s = max(_usual_gap(np.isfinite(table).ravel()) for table in tables.values()) * step_s / cells
    fits = (one for one in CELLS_S if gap_s <= one < step_s and step_s % one == 0)
    kept = round(step_s / next(fits, step_s)) if cells > 1 else 1
    folded = {key: _mean(table.reshape(count * kept, -1)).reshape(count, kept) for key, table in tables.items()}
    return {o: {name: folded[o, name] for name in _NAMES} for o in _SIDES}


def _usual_gap(spoken: Bools) -> int:
    """From one value to the next, in cells: the longest gap that is not over twice the middle one; 1 where there are none."""
    gaps = np.diff(np.flatnonzero(spoken))
    return int(gaps[gaps <= 2 * np.median(gaps)].max()) if len(gaps) else 1


def _mean(values: Floats, weight: Floats | float = 1.0) -> Floats:
    """float64[t] of float64[t, c]: the mean of what is known by ``weight`` (float64[t, c]); NaN where nothing has any."""
    counts = np.where(np.isfinite(values), weight, 0.0)
    total = counts.sum(axis=1)
    known = total > 0
    return np.where(known, (np.nan_to_num(values) * counts).sum(axis=1) / np.where(known, total, 1.0), np.nan)


def _column(series: Series, name: str, begin_s: float, count: int, step_s: float) -> Floats:
    """float64[t]: the site's own on steps from ``begin_s`` on."""
    column: Floats = np.full(count, np.nan)
    if name in series.values and series.values[name].shape[1]:
        column[np.rint((series.time_s - begin_s) / step_s).astype(np.int64)] = series.values[name][:, 0]
    return column


def _generated(series: Series, first: float, count: int, step_s: float) -> tuple[Floats, Floats, Bools]:
    """(float64[t], what the site's own plants delivered; float64[t], how much of it is estimated; bool[t], whether every one
    was read). A delivering asset has negative power. One that is silent beside others counts in proportion to them, by what
    each delivered while all did that ever spoke, at most its highest: the sun is theirs too. It is 0 while none is read, for
    inverters sleep at night."""
    found = series.values.get("power_w", np.empty((0, 0)))
    table = np.full((count, found.shape[1]), np.nan)
    if found.size:
        table[np.rint(series.time_s / step_s - first).astype(np.int64)] = -found
    read = np.isfinite(table)
    spoke = read.any(axis=0)
    all_read = read[:, spoke].all(axis=1)
    power, seen = np.where(read, table, 0.0)[:, spoke], read[:, spoke]
    usual_w = power[all_read].sum(axis=0)
    beside, silent = seen @ usual_w, ~seen @ usual_w
    known_w = power.sum(axis=1)
    guess_w = np.divide(known_w * silent, beside, out=np.zeros(count), where=beside > 0)
    guess_w = np.clip(guess_w, 0.0, ~seen @ power.max(axis=0, initial=0.0))
    own_w = np.maximum(known_w + guess_w, 0.0)
    return own_w, np.minimum(guess_w, own_w), read.all(axis=1)


def peak_of(meters: Meters) -> tuple[float, float]:
    """Highest quarter of an hour drawn from the grid [W] and when it began (s since 1970 UTC); NaN where nothing is known."""
    return highest_quarter(meters.time_s, meters.drawn_w)
