"""``/api/v1/kpis`` while notes are read, and after a reload: it holds up nobody, and asks the records that there are."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from energy_house import MemoryRecords
from faces_harness import NOW, Hands, live_of, small_site

from energy.account.runs import TOPIC
from ingest.stores.records import open_records
from twin.ports import Records
from ui.faces.server import build_server
from ui.view import Live

ASK = 60  # more than the server's pool has threads


@pytest.fixture
def live() -> Live:
    return live_of(small_site(2), Hands())


def client_of(live: Live) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(build_server(live)), base_url="http://localhost")


class Held(MemoryRecords):
    """Records whose notes of runs are given when a test says so; counts who asks for them at once."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()
        self.inside = self.most = 0

    def read(self, topic: str, *asked: Any, **more: Any) -> Sequence[tuple[int, datetime, dict[str, Any]]]:
        if topic == TOPIC:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.begun.set()
            self.go.wait()
            self.inside -= 1
        return super().read(topic, *asked, **more)


async def test_who_asks_while_notes_are_read_waits_in_no_thread(live: Live) -> None:
    live.records = held = Held()  # type: ignore[assignment]
    async with client_of(live) as client:
        asked = [asyncio.create_task(client.get("/api/v1/kpis")) for _ in range(ASK)]
        try:
            await asyncio.to_thread(held.begun.wait)
            ready = await asyncio.wait_for(client.get("/readyz"), 10)
        finally:
            held.go.set()
        answers = await asyncio.gather(*asked)
    assert "ready" in ready.json()
    assert [one.status_code for one in answers] == [200] * ASK
    assert held.most == 1


def used(records: Records, gpus: int) -> None:
    """A run of the last two hours."""
    begun_s = NOW.timestamp() - 7200
    note = {"entry": "begun", "key": f"q/a@{begun_s:.0f}", "job": "a", "user": "", "project": "", "partition": ""}
    records.append(TOPIC, NOW - timedelta(days=2), {"entry": "ended", "key": "q/z@1", "end_s": 2.0})
    records.append(TOPIC, NOW, {**note, "start_s": begun_s, "submit_s": None, "limit_s": None, "gpus": [[0, gpus - 1]]})


async def test_after_a_reload_the_new_records_are_asked(live: Live, tmp_path: Path) -> None:
    shares = []
    async with client_of(live) as client:
        for gpus in (8, 16):
            with closing(open_records(tmp_path / f"{gpus}.db")) as live.records:
                used(live.records, gpus)
                answer = await client.get("/api/v1/kpis")
            assert answer.status_code == 200, answer.text
            shares += [one["value"] for one in answer.json()["kpis"] if one["name"] == "utilisation_frac"]
    assert shares == pytest.approx([8 * 2 / (32 * 24), 16 * 2 / (32 * 24)])
