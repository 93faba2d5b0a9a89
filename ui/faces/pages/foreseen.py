"""What is foreseen of the many (racks, tenants, links) on ``/forecast``: a choice of series, and one row for each lot."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from analytics.forecast import Forecast
from analytics.many import Foreseen
from twin.frame import Floats
from twin.metrics import suffix
from ui.faces.pages.texts import Cell, plain, row
from ui.view import Live
from ui.words import Words

MOST_OF_A_LOT = 40  # the largest of each lot can be chosen; the API has all of them
LOTS = {
    ("rack", "power_w"): "Racks: power",
    ("tenant", "gpus_allocated_count"): "Tenants: GPUs allocated",
    ("port", "rx_bps"): "Busiest links: received",
    ("port", "tx_bps"): "Busiest links: sent",
}


def chosen_of(live: Live, words: Words) -> list[list[str]]:
    """(key, name) of the series of the many that can be chosen."""
    return [[key, f"{name} · {words(LOTS.get(lot, lot[1]))}"] for key, name, lot in _listed(live.parts)]


@lru_cache(maxsize=4)
def _listed(parts: tuple[Foreseen, ...]) -> list[tuple[str, str, tuple[str, str]]]:
    """(key, name, lot): worked out once a forecast, not at every push."""
    found = []
    for one in parts:
        largest = np.argsort(-np.nan_to_num(one.p50.mean(axis=0)), kind="stable")[:MOST_OF_A_LOT]
        found += [(_key(one, i), one.names[i], (one.kind, one.metric)) for i in largest.tolist()]
    return found


def _key(one: Foreseen, i: int) -> str:
    return f"{one.kind}:{one.metric}:{i}"


def part_of(live: Live, key: str | None) -> tuple[Forecast, tuple[Floats, Floats]] | None:
    """The forecast that ``key`` names, with (time_s, values) of the days before it; None where it is none of the many."""
    kind, _, rest = (key or "").partition(":")
    name, _, place = rest.rpartition(":")
    for one in live.parts:
        if (one.kind, one.metric) == (kind, name) and place in {str(i) for i in range(len(one.names))}:
            past = one.past[:, int(place)]
            time_s = float(one.time_s[0]) - one.step_s * np.arange(len(past), 0.0, -1.0)
            return one.one(int(place)), (time_s, past)
    return None


def lots(parts: Sequence[Foreseen], now_s: float, words: Words) -> list[Cell]:
    """One row for each lot: their sum now, in an hour and in a day, mean error and coverage of their backtests."""
    made = []
    for one in parts:
        unit = suffix(one.metric)
        at = [int(np.searchsorted(one.time_s, now_s + h * 3600.0, side="right")) - 1 for h in (1.0, 24.0)]
        ahead = [float(np.nansum(one.p50[i])) if 0 <= i < len(one.p50) else np.nan for i in at]
        latest = one.past[-1] if len(one.past) else np.empty(0)
        present = float(np.nansum(latest)) if np.isfinite(latest).any() else np.nan
        cells = [plain(words, value, unit) for value in (present, *ahead)]
        cells += [plain(words, _mean(one.mase), "ratio"), plain(words, _mean(one.coverage_80_frac), "frac")]
        name = f"{words(LOTS.get((one.kind, one.metric), one.metric))} ({len(one.names)})"
        made.append(row("", [name, *cells]))
    return made


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan
