"""What moving in place saves: three centres with prices, loads and latencies of their own, made up from a seed."""

from collections.abc import Callable

import numpy as np

from energy.place import LATENCY_CLASSES_MS, Places, Travel
from energy.place.between import place
from energy.shift import Work
from energy.shift.bench_work import random_work

PIECES, SLOTS, CENTRES = 600, 96, 3
SLOT_S, RATE_BPS = 3600.0, 25e9
# east, middle, west: mean price (or carbon) over the nation's, as regional factors of China differ (0.55, 0.53 and 0.25 kg/kWh)
LEVELS = (1.04, 1.0, 0.47)
ROUND_TRIP_MS = ((0.0, 12.0, 32.0), (12.0, 0.0, 22.0), (32.0, 22.0, 0.0))


def place_figures(rng: np.random.Generator, clock: Callable[[], float]) -> dict[str, float]:
    """Saving of time alone and of place and time together against running at once at home, and how far from the bound."""
    work, price, _ = random_work(rng, PIECES, SLOTS, 0.6)
    prices = np.outer(LEVELS, price)
    need = float((work.gpus * work.length).sum()) / SLOTS
    places = Places(
        ["east", "middle", "west"],
        prices,
        np.repeat(np.ceil(need * np.array([[0.6], [0.5], [0.6]])), SLOTS, axis=1),
        np.array(ROUND_TRIP_MS) * 1e-3,
        np.full((CENTRES, CENTRES), RATE_BPS),
    )
    home = rng.choice(CENTRES, PIECES, p=[0.5, 0.3, 0.2]).astype(np.int32)
    bears_s = rng.choice([0.0, *(high * 1e-3 for _, high in LATENCY_CLASSES_MS)], PIECES)
    none = np.zeros((PIECES, CENTRES), dtype=np.bool_)
    travel = Travel(home, bears_s, rng.lognormal(np.log(2e11), 1.0, PIECES), np.zeros(PIECES, dtype=np.int32), none)
    stays = Travel(home, np.zeros(PIECES), travel.data_bytes, travel.owned, none)
    begun_s = clock()
    moved = place(work, places, travel, SLOT_S)
    spent_s = clock() - begun_s
    at_home = place(work, places, stays, SLOT_S)
    usual = _at_once(work, prices, home)
    return {
        "place_saved_frac": 1 - moved.cost / usual,
        "place_time_alone_saved_frac": 1 - at_home.cost / usual,
        "place_moved_frac": float(moved.moved(travel).mean()),
        "place_gap_frac": (moved.cost - moved.bound) / abs(moved.bound),
        "place_late": float(moved.late.sum()),
        "place_600_jobs_3_centres_s": spent_s,
    }


def _at_once(work: Work, prices: np.ndarray, home: np.ndarray) -> float:
    """Cost where each runs as soon as it may, at home, with room for all."""
    total = 0.0
    for j in range(len(work)):
        begin = int(work.earliest[j])
        total += float(work.power_w[j] * prices[home[j], begin : begin + int(work.length[j])].sum())
    return total
