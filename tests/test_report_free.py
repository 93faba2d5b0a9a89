"""Free cooling in a report: all chillers are known to stand still; the drawing of the heat goes by the same steps."""

from collections.abc import Callable, Sequence
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
from ui.report.document import Flow
from ui.report.gather import gather
from ui.report.span import span_of

ZONE = ZoneInfo("Asia/Shanghai")
WEEK = span_of("2026-W46", ZONE)
NONE, IT_KW = np.nan, 10.0
RATED = {"rated_w": "2000"}
Watts = Callable[[int], Sequence[float]]  # hour of the week -> power of each chiller [W], NaN: not read


def week(folder: Path, ratings: Sequence[dict[str, str]], watts: Watts) -> tuple[float | None, dict[str, float]]:
    """(hours of free cooling in a week's report, None where it says none; kWh of heat by where it goes from the liquid) of
    chillers rated as ``ratings`` have it, beside a tower."""
    count = len(ratings)
    lines = [{"id": "h", "kind": "hall"}, {"id": "c", "kind": "cdu", "parent": "h"}, {"id": "t", "kind": "tower"}]
    lines += [{"id": f"k{i}", "kind": "chiller", **rating} for i, rating in enumerate(ratings)]
    site = build_site("free", str(ZONE), [Row(f"t:{i}", line) for i, line in enumerate(lines)])
    store, frames = open_store(folder / "store", site), list[Frame]()
    for hour in range(168):
        at = WEEK.start + timedelta(hours=hour)
        power_w = np.array(watts(hour), dtype=np.float64)
        assert len(power_w) == count
        meters = {"facility_power_w": 12e3, "it_power_w": 1e3 * IT_KW, "cooling_power_w": 1e3}
        frames.append(Frame("site", at, site.all_rows("site"), {name: np.array([value]) for name, value in meters.items()}))
        frames.append(Frame("cdu", at, site.all_rows("cdu"), {"heat_w": np.array([1e3 * IT_KW])}))
        rows = np.flatnonzero(np.isfinite(power_w)).astype(np.int32)
        if len(rows):
            frames.append(Frame("chiller", at, rows, {"power_w": power_w[rows]}))
    store.append(frames)
    made = compose(gather(site, store, open_records(folder / "records.db"), WEEK, Given()))
    store.close()
    found = [one.value for section in made.sections for one in section.figures if one.key == "free_cooling_s"]
    (drawn,) = (one for section in made.sections for one in section.blocks if isinstance(one, Flow))
    ways = {target: kwh for source, target, kwh in drawn.links if source == "Heat in the liquid"}
    return (found[0] / 3600 if found else None), ways


@pytest.mark.parametrize(
    ("ratings", "watts", "free_h", "ran_h"),
    [
        ([RATED, RATED], lambda hour: (60, 60), 168, 0),  # stands by: of the cooling power together 12 %
        ([RATED, RATED], lambda hour: (60, 900 if 20 <= hour < 70 else 60), 118, 50),
        ([RATED, RATED], lambda hour: (60, 200), 0, 168),  # a tenth of its rating
        ([{"rated_heat_w": "120000"}], lambda hour: (900 if hour < 70 else 1100,), 70, 98),  # at a COP of 6
        ([{}], lambda hour: (60,), 168, 0),  # rated for what nobody knows: 83 W are a twentieth of what 10 kW ask for
        ([{}], lambda hour: (60 if hour < 70 else 600,), 70, 98),
        ([{}], lambda hour: (60 if hour < 70 else 2000 if hour < 80 else 90,), 158, 10),  # the largest that was seen counts
        ([RATED, RATED], lambda hour: (60, NONE if hour < 70 else 60), 98, 0),  # not read is not still
        ([RATED, RATED], lambda hour: (900, NONE), 0, 168),
        ([RATED], lambda hour: (NONE,), None, 0),
        ([], lambda hour: (), None, 0),
    ],
)
def test_free_cooling_and_the_drawing_go_by_one_rule(
    tmp_path: Path, ratings: Sequence[dict[str, str]], watts: Watts, free_h: float | None, ran_h: int
) -> None:
    """What is neither free nor of chillers that ran goes a way that is not known."""
    found_h, ways = week(tmp_path, ratings, watts)
    assert found_h == free_h
    towers_h = 168 if not ratings else free_h or 0
    hours = {"Chillers": ran_h, "Cooling towers": towers_h, "Way out not known": 168 - ran_h - towers_h}
    assert ways == pytest.approx({name: IT_KW * length_h for name, length_h in hours.items() if length_h})
