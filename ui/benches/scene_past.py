"""What a picture of the past costs the server: ``bench scene`` takes its figures from here.

Two hours of 10,000 GPUs as a centre writes them (readings every ``READ_S``, the twin's own every ``MODEL_S``) are put into the
embedded store and settled; then the slider is moved to moments that nobody has asked for yet, in the colours used most.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame, Origin
from twin.site import Site
from twin.state import State
from ui.benches.scene_site import scene_site
from ui.faces.api_twin import Runner
from ui.faces.scene_studio import Ask, Studio
from ui.view import Live

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
KEPT_S, READ_S, MODEL_S = 7200.0, 10.0, 15.0
COLOURS = ("power_w", "temp_c", "return_temp_c", "util_frac")
MOMENTS = 12  # of each colour
_SETTLED = 60  # calls of maintain, more than two hours need
_READ = {
    "gpu": {"power_w": (300.0, 950.0), "temp_c": (45.0, 80.0), "util_frac": (0.0, 1.0), "mem_used_frac": (0.0, 1.0)},
    "node": {"power_w": (4e3, 1e4), "cpu_util_frac": (0.0, 1.0)},
    "rack": {"power_w": (15e3, 45e3), "supply_temp_c": (28.0, 31.0), "return_temp_c": (38.0, 45.0), "flow_kgps": (0.5, 1.0)},
    "cdu": {"power_w": (1e3, 2e3), "supply_temp_c": (28.0, 31.0), "return_temp_c": (38.0, 45.0), "flow_kgps": (6.0, 8.0)},
}
_MODELLED = {kind: _READ[kind] for kind in ("rack", "cdu")} | {"hall": {"power_w": (1e6, 4e6)}}


@dataclass
class _Still:
    """A clock that stands."""

    at: datetime = NOW

    def now(self) -> datetime:
        """The moment at which it stands."""
        return self.at


def past_figures() -> dict[str, float]:
    """Processor time (s) of frames of the past that were not asked for before, by their median and 95th percentile; of the same
    again; and of moments of which nothing is kept."""
    site, rng = scene_site(1), np.random.Generator(np.random.PCG64(1))
    with tempfile.TemporaryDirectory(prefix="icctwin-bench-") as folder:
        store = open_store(Path(folder) / "store", site)
        state = State(site)
        for frame in _history(site, rng):
            store.append([frame])
            if frame.time > NOW - timedelta(seconds=MODEL_S):
                state.absorb(frame, NOW)
        for _ in range(_SETTLED):
            store.maintain(NOW)
        records = open_records(Path(folder) / "records.db")
        studio = Studio(live := Live(site, state, store, records, _Still(), NOW), Runner(live))
        made = asyncio.run(_asked(studio))
        records.close()
        store.close()
    fresh, again, bare = (np.array(column) for column in made)
    return {
        "past_frame_cpu_s": float(np.quantile(fresh, 0.5)),
        "past_frame_p95_cpu_s": float(np.quantile(fresh, 0.95)),
        "past_again_cpu_s": float(np.quantile(again, 0.95)),
        "past_nothing_p95_cpu_s": float(np.quantile(bare, 0.95)),
    }


def _history(site: Site, rng: np.random.Generator) -> Iterator[Frame]:
    """Frames in the order of their times."""
    for second in np.arange(0.0, KEPT_S, 5.0).tolist():
        time_ = NOW - timedelta(seconds=KEPT_S - 5.0 - second)
        for every_s, table, origin in ((READ_S, _READ, Origin.MEASURED), (MODEL_S, _MODELLED, Origin.MODELLED)):
            for kind, columns in table.items() if second % every_s == 0 else ():
                n = site.count(kind)
                values = {name: np.round(rng.uniform(low, high, n), 2) for name, (low, high) in columns.items()}
                yield Frame(kind, time_, site.all_rows(kind), values, origin)


async def _asked(studio: Studio) -> tuple[list[float], list[float], list[float]]:
    """Processor time of each frame: first asked for, asked for again, of moments without values."""
    end_s = NOW.timestamp()
    await studio.frame(Ask(time_s=end_s - 3600.0))  # what is made once for a site
    fresh, again, bare = [], [], []
    for colour in COLOURS:
        for back_s in np.linspace(120.0, KEPT_S - 120.0, MOMENTS).tolist():
            ask = Ask(colour, time_s=float(round(end_s - back_s)))
            fresh.append(await _cpu_s(studio, ask))
            again.append(await _cpu_s(studio, ask))
        for back_s in (KEPT_S + 1800.0, 2 * 86400.0):
            ask = Ask(colour, time_s=end_s - back_s)
            bare.append(await _cpu_s(studio, ask))
    return fresh, again, bare


async def _cpu_s(studio: Studio, ask: Ask) -> float:
    began_s = time.process_time()
    await studio.frame(ask)
    return time.process_time() - began_s
