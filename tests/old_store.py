"""Write and read a small store with whichever icctwin is in the working folder: ``python -P old_store.py write FOLDER FIRST
LAST`` and ``… read FOLDER``, with that folder on PYTHONPATH. So a version of the history and the present one say of one store
what is in it. ``fixtures/stores/first.tar.zst`` is what commit 419337d, the first that kept anything, wrote with ``0 700``."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame
from twin.load import Row, build_site

START = datetime(2026, 11, 20, tzinfo=UTC)
STEP_S, NOTED_EVERY = 30.0, 250
METRICS = ("power_w", "temp_c", "util_frac")


def site():
    rows = [{"id": "h", "kind": "hall"}, {"id": "r", "kind": "rack", "parent": "h"}]
    for node in range(2):
        rows.append({"id": f"n{node}", "kind": "node", "parent": "r"})
        rows += [{"id": f"n{node}g{g}", "kind": "gpu", "parent": f"n{node}", "index": str(g)} for g in range(4)]
    return build_site("old", "UTC", [Row("x", row) for row in rows])


def frames(where, first, last):
    """Every ``STEP_S``: short decimals, whole numbers and bits, with gaps and doubts."""
    for k in range(first, last):
        rng = np.random.Generator(np.random.PCG64(k))
        values = {
            "power_w": np.round(500 + 100 * np.sin(k / 200) + rng.normal(0, 5, 8), 1),
            "temp_c": np.round(60 + rng.normal(0, 1, 8)),
            "util_frac": rng.random(8),
        }
        values["power_w"][k % 8] = np.nan
        doubt = {"temp_c": np.array([0] * 7 + [1], dtype=np.uint8)}
        yield Frame("gpu", START + timedelta(seconds=STEP_S * k), where.all_rows("gpu"), values, source="x", quality=doubt)


def write(folder, first, last):
    """Frames and records of this stretch; the last windows stay in the journal, as after any stop."""
    store = open_store(folder, site())
    for k, frame in enumerate(frames(site(), first, last)):
        store.append([frame])
        if k % 20 == 0:
            store.maintain(frame.time)
    store.close()
    records = open_records(folder / "records.db")
    for k in range(first, last, NOTED_EVERY):
        records.append("audit", START + timedelta(seconds=STEP_S * k), {"stage": "done", "k": k})
    records.close()


def read(folder):
    """What the store says: raw values as bits, minutes, hours, and the records."""
    store = open_store(folder, site(), readonly=True)
    said = {}
    for step_s in (None, 60.0, 3600.0):
        found = store.series("gpu", METRICS, START, START + timedelta(days=2), step_s)
        said[str(step_s)] = {
            name: [
                (~np.isnan(found.values[name])).sum(axis=0).tolist(),
                np.nansum(found.values[name], axis=0).round(6).tolist(),
            ]
            for name in METRICS
        }
    store.close()
    records = open_records(folder / "records.db", readonly=True)
    said["records"] = [record["k"] for _, _, record in records.read("audit")]
    records.close()
    return said


if __name__ == "__main__":
    what, where, *span = sys.argv[1:]
    if what == "write":
        write(Path(where), *map(int, span))
    else:
        sys.stdout.write(json.dumps(read(Path(where))))
