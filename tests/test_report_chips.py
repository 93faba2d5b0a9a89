"""Which part of IT's energy GPUs took, as a report has it: of the time in which both were read, the rest by its own name."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from small import small_site

from energy.account.book import Given
from energy.account.runs import TOPIC
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.frame import Frame
from ui.report import flows
from ui.report.flows import REST, UNSAID, flow
from ui.report.gather import gather
from ui.report.scope import scope_of
from ui.report.span import span_of

SPAN = span_of("2026-11-03/2026-11-04", ZoneInfo("Asia/Shanghai"))
GPUS = 16
Reads = Callable[[int], np.ndarray | bool]  # of a quarter of an hour: bool, or bool[GPUS]


def always(_: int) -> bool:
    return True


def taken(folder: Path, meters: Reads = always, gpus: Reads = always, scope: str = "centre") -> dict[str, float]:
    """What IT's energy went to [kWh], in a day in which GPUs take 5 kW of 10 and what takes the other half is not read; of GPUs
    and meters what reads. A project holds half of the GPUs for the first half of the day."""
    site = small_site()
    store, records, frames = open_store(folder / "store", site), open_records(folder / "records.db"), list[Frame]()
    for k in range(96):
        at = SPAN.start + timedelta(minutes=15 * k)
        if meters(k):
            columns = {"facility_power_w": np.array([12e3]), "it_power_w": np.array([10e3])}
            frames.append(Frame("site", at, site.all_rows("site"), columns))
        rows = site.all_rows("gpu")[np.broadcast_to(gpus(k), GPUS)]
        if len(rows):
            frames.append(Frame("gpu", at, rows, {"power_w": np.full(len(rows), 5e3 / GPUS)}))
    store.append(frames)
    start_s = SPAN.start.timestamp()
    run = {"key": f"q/1@{start_s:.0f}", "job": "1", "user": "u", "project": "p", "partition": "", "start_s": start_s}
    records.append(TOPIC, SPAN.start, {"entry": "begun", **run, "gpus": [[0, 7]]})
    ended = {"entry": "ended", "key": run["key"], "end_s": start_s + 43200, "end_told": True}
    records.append(TOPIC, SPAN.start + timedelta(hours=12), ended)
    (made,) = flow(gather(site, store, records, SPAN, Given(), scope_of(scope)))
    store.close()
    found = {target: kwh for source, target, kwh in made.links if source == "IT"}
    if not found:
        return found
    (it_kwh,) = (kwh for source, target, kwh in made.links if target == "IT")
    assert sum(found.values()) == pytest.approx(it_kwh, rel=1e-9)
    return found


@pytest.mark.parametrize(
    ("meters", "gpus", "expected"),
    [
        (always, always, {"GPUs": 120, REST: 120}),
        (lambda k: k < 48, always, {"GPUs": 60, REST: 60}),
        (lambda k: k < 50, always, {"GPUs": 62.5, REST: 62.5}),
        (always, lambda k: k < 48, {"GPUs": 60, REST: 60, UNSAID: 120}),
        (lambda k: k < 48, lambda k: k >= 24, {"GPUs": 30, REST: 30, UNSAID: 60}),
        (always, lambda k: (k < 48) | (np.arange(GPUS) < 4), {"GPUs": 75, REST: 75, UNSAID: 90}),
        (always, lambda _: False, {}),
    ],
    ids=["all", "meters half the day", "meters to half past", "GPUs half the day", "apart", "most GPUs half the day", "no GPU"],
)
def test_gpus_and_the_rest_are_of_the_time_in_which_both_were_read(
    tmp_path: Path, meters: Reads, gpus: Reads, expected: dict[str, float]
) -> None:
    assert taken(tmp_path, meters, gpus) == pytest.approx(expected)


def test_what_nobody_would_see_has_no_line_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One GPU is silent for an hour: 0.6 of 240 kWh; what comes into IT leaves it all the same (asserted in ``taken``)."""

    def silent(k: int) -> np.ndarray:
        return (np.arange(GPUS) > 0) | (k < 92)

    assert taken(tmp_path / "told", gpus=silent)[UNSAID] == pytest.approx(10 / GPUS)
    monkeypatch.setattr(flows, "LITTLE_FRAC", 0.003)
    assert taken(tmp_path / "little", gpus=silent).keys() == {"GPUs", REST}


def test_of_a_project_its_own_gpus_count_while_it_held_them(tmp_path: Path) -> None:
    assert taken(tmp_path, scope="project:p") == pytest.approx({"GPUs": 30, REST: 30})


def test_gpus_that_came_later_were_not_silent_before(tmp_path: Path) -> None:
    """Half of the GPUs come at noon: what was read before was all that there was."""
    assert taken(tmp_path, gpus=lambda k: (k >= 48) | (np.arange(GPUS) < 8)) == pytest.approx({"GPUs": 90, REST: 150})
