"""How the centre was used in the last day, from the runs on record: a queue has long forgotten most of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from faces_harness import DayStore, Hands
from small import small_site

from energy.account.runs import RunLog
from ingest.stores.records import open_records
from twin.job import Jobs, JobState
from twin.state import State
from ui.faces.server import build_server
from ui.view import Live

START = datetime(2026, 3, 2, tzinfo=UTC)


def one_job(name: str, start_s: float, rows: np.ndarray) -> Jobs:
    """A job of an hour, at most two, on ``rows`` that waited ten minutes."""
    nothing, count = np.full(1, np.nan), np.array([len(rows)], dtype=np.int32)
    return Jobs(
        ids=[name],
        names=[name],
        users=["u"],
        partitions=["p"],
        state=np.array([JobState.RUNNING], dtype=np.uint8),
        gpus=count,
        submit_s=np.array([start_s - 600]),
        start_s=np.array([start_s]),
        end_s=nothing,
        limit_s=np.array([7200.0]),
        deadline_s=nothing,
        deferrable=np.zeros(1, dtype=np.uint8),
        rows=rows.astype(np.int32),
        job_of=np.zeros(len(rows), dtype=np.int32),
    )


@pytest.mark.parametrize(("hours", "known"), [(48, 1.0), (12, 0.5)])
async def test_a_day_full_of_short_jobs_was_full_though_the_queue_shows_but_the_last(
    tmp_path: Path, hours: int, known: float
) -> None:
    site = small_site("id=q kind=queue")
    live = Live(site, State(site), DayStore(), open_records(tmp_path / "r.db"), Hands(START), START)
    log, rows = RunLog(), np.arange(8)  # of sixteen
    for hour in range(-hours, 0):
        at = START + timedelta(hours=hour)
        live.jobs = one_job(f"j{hour}", at.timestamp(), rows)
        log.note(live.records, {"q": live.jobs}, at)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build_server(live)), base_url="http://twin") as ask:
        used = (await ask.get("/api/v1/kpis")).json()
    found = {one["name"]: (one["value"], one["known_frac"]) for one in used["kpis"]}
    assert found["utilisation_frac"] == pytest.approx((0.5, known))
    last = used["waits"][-1]
    assert (last["jobs"], last["p50_s"], last["gpu_weighted_mean_s"]) == (min(hours, 24), 600, 600)
    live.records.close()
