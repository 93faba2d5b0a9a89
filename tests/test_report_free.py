"""Free cooling in a report: chillers that draw nothing or next to nothing; not known where the cooling power is not."""

from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from energy.account.book import Given
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame
from twin.load import Row, build_site
from ui.report.compose import compose
from ui.report.gather import gather
from ui.report.span import span_of

SPAN = span_of("2026-11-03/2026-11-04", ZoneInfo("Asia/Shanghai"))
NONE, HALF = np.nan, 48  # quarters of an hour of the first half of the day


def free_h(folder: Path, chiller_w: tuple[float, float], cooling_w: tuple[float, float]) -> float | None:
    """Hours of free cooling in a day's report, of what both halves of the day read (NaN: nothing); None where it says none."""
    site = build_site("free", "Asia/Shanghai", [Row(f"t:{k}", {"id": k, "kind": k}) for k in ("hall", "chiller")])
    store, frames = open_store(folder / "store", site), list[Frame]()
    for k in range(96):
        at, half = SPAN.start + timedelta(minutes=15 * k), int(k >= HALF)
        values = {"facility_power_w": 12e3, "it_power_w": 10e3, "cooling_power_w": cooling_w[half]}
        columns = {name: np.array([value]) for name, value in values.items() if np.isfinite(value)}
        frames.append(Frame("site", at, site.all_rows("site"), columns))
        if np.isfinite(chiller_w[half]):
            frames.append(Frame("chiller", at, site.all_rows("chiller"), {"power_w": np.array([chiller_w[half]])}))
    store.append(frames)
    made = compose(gather(site, store, open_records(folder / "records.db"), SPAN, Given()))
    store.close()
    found = [one.value for section in made.sections for one in section.figures if one.key == "free_cooling_s"]
    return found[0] / 3600 if found else None


@pytest.mark.parametrize(
    ("chiller_w", "cooling_w", "hours"),
    [
        ((900.0, 900.0), (1500.0, 1500.0), 0),
        ((900.0, 20.0), (1500.0, 1500.0), 12),
        ((0.0, 0.0), (1500.0, 0.0), 24),
        ((900.0, 900.0), (NONE, NONE), None),
        ((900.0, 0.0), (NONE, NONE), 12),
        ((20.0, 20.0), (NONE, 1500.0), 12),
        ((900.0, NONE), (1500.0, 1500.0), 0),
        ((NONE, NONE), (1500.0, 1500.0), None),
    ],
)
def test_free_cooling_is_the_time_in_which_chillers_are_known_to_stand_still(
    tmp_path: Path, chiller_w: tuple[float, float], cooling_w: tuple[float, float], hours: float | None
) -> None:
    assert free_h(tmp_path, chiller_w, cooling_w) == hours
