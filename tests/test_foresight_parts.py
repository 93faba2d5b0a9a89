"""Racks, tenants and links of the running centre: they add up, know maintenance, and are shown and answered."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from faces_harness import DayStore, Hands
from small import small_site

from analytics import replay as replaying
from analytics.forecast import Forecast, forecast_series
from energy.account.runs import TOPIC as RUNS
from ingest.stores.records import open_records
from twin.errors import SourceError
from twin.frame import Floats, Ints, Origin
from twin.ports import How, Series
from twin.state import State
from ui.faces.pages.foreseen import chosen_of, lots, part_of
from ui.faces.server import build_server
from ui.foresight_parts import MAX_TENANTS, OTHERS, parts_foreseen, tenants_held
from ui.view import Live
from ui.words import words

HOUR_S = 3600.0
NOW = datetime(2026, 3, 2, 0, 20, tzinfo=UTC)
END = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 14


def power(row: int) -> Floats:
    """Of a rack by the hour, up to ``END``."""
    hours = np.arange(DAYS * 24.0)
    noise = np.random.default_rng(row).normal(0, 200, len(hours))
    return 20e3 * (1 + row) * (1 + 0.15 * np.sin(2 * np.pi * (hours + row) / 24)) + noise


class World(DayStore):
    """A store with the power of two racks and the rate of three ports, by the hour."""

    def series(
        self,
        kind: str,
        metrics: Sequence[str],
        start: datetime,
        end: datetime,
        step_s: float | None = None,
        how: How = How.MEAN,
        rows: Ints | None = None,
        origin: Origin = Origin.MEASURED,
        band: str = "",
    ) -> Series:
        if self.broken:
            raise SourceError("the store is away")
        count = {"rack": 2, "port": 3}.get(kind, 0)
        rows = np.arange(count, dtype=np.int32) if rows is None else rows
        time_s = END.timestamp() - HOUR_S * np.arange(DAYS * 24.0, 0.0, -1.0)
        every = np.column_stack([power(row) * (1 if kind == "rack" else 1e5 * (row != 1)) for row in range(max(count, 1))])
        inside = (time_s >= start.timestamp()) & (time_s < end.timestamp())
        values = every[inside][:, rows]
        if step_s == 86400.0:
            values = values[-24:].mean(axis=0, keepdims=True)
            time_s, inside = time_s[-24:-23], np.ones(1, dtype=bool)
        return Series(time_s[inside], rows, dict.fromkeys(metrics, values))


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.setattr(replaying, "ORIGINS", 8)
    ports = [f"id=p{i} kind=port parent=sw" for i in range(3)]
    site = small_site("id=q kind=queue", "id=sw kind=switch parent=r1", *ports)
    return Live(site, State(site), World(), open_records(tmp_path / "r.db"), Hands(NOW), END)


def whole(values: Floats, kind: str, metric: str) -> Forecast:
    made = forecast_series(
        END.timestamp() - HOUR_S * np.arange(float(len(values)), 0.0, -1.0), values, NOW, 24, HOUR_S, kind=kind, metric=metric
    )
    assert isinstance(made, Forecast)
    return made


def note_runs(live: Live, hours: int) -> Floats:
    """Two tenants that hold 4 and 2 to 6 GPUs by turns; what both held by the hour."""
    first_s = END.timestamp() - hours * HOUR_S
    begun = {"key": "q/1@0", "job": "1", "user": "u", "project": "alpha", "partition": "p", "gpus": [[0, 3]]}
    live.records.append(RUNS, END - timedelta(hours=hours), {"entry": "begun", "start_s": first_s, "submit_s": None, **begun})
    held = np.full(hours, 4.0)
    for i in range(0, hours, 6):
        size = 2 + 4 * (i % 24 >= 12)
        start, key = END - timedelta(hours=hours - i), f"q/b{i}@0"
        run = begun | {"key": key, "job": f"b{i}", "project": "beta", "gpus": [[4, 3 + size]]}
        live.records.append(RUNS, start, {"entry": "begun", "start_s": start.timestamp(), "submit_s": None, **run})
        held[i : i + 6] += size
        if i + 6 < hours:
            end_s = start.timestamp() + 6 * HOUR_S
            live.records.append(
                RUNS, start, {"entry": "ended", "key": key, "end_s": end_s, "end_told": True, "how": "completed"}
            )
    return held


def test_racks_sum_to_the_hall_links_are_the_busiest_and_maintenance_is_known(live: Live) -> None:
    hall = whole(power(0) + power(1), "hall", "it_power_w")
    away = {("rack", 1): [(END.timestamp(), END.timestamp() + 3 * HOUR_S, 1.0)]}
    racks, received, sent = parts_foreseen(live, [hall], {}, NOW)
    assert (racks.kind, racks.names, racks.p50.shape) == ("rack", ["r1", "r2"], (24, 2))
    assert racks.p50.sum(axis=1) == pytest.approx(hall.p50)
    assert racks.time_s[0] == END.timestamp()
    assert (racks.mase < racks.naive_mase).all()
    assert (received.metric, sent.metric, received.names) == ("rx_bps", "tx_bps", ["p0", "p1", "p2"])
    without = parts_foreseen(live, [], away, NOW)[0]
    assert without.p50[:3, 1].tolist() == [0.0] * 3
    assert without.p50[3:, 1].min() > 1000
    assert without.notes
    assert isinstance(live.store, World)
    live.store.broken = True
    assert parts_foreseen(live, [hall], {}, NOW) == ()  # said in the log; the next hour asks again


def test_tenants_sum_to_the_queue_and_begin_with_their_shares(live: Live) -> None:
    held = note_runs(live, 10 * 24)
    queue = whole(held, "queue", "gpus_allocated_count")
    (tenants,) = (one for one in parts_foreseen(live, [queue], {}, NOW) if one.kind == "tenant")
    assert tenants.names == ["alpha", "beta"]
    assert tenants.p50.sum(axis=1) == pytest.approx(queue.p50)
    assert tenants.p50.min() >= 0
    assert list(tenants.frames()) == []  # tenants are no assets: nothing of them goes into the store


def test_a_young_centre_shares_out_what_is_foreseen(live: Live) -> None:
    held = note_runs(live, 12)
    queue = whole(np.tile(held, 20), "queue", "gpus_allocated_count")
    (tenants,) = (one for one in parts_foreseen(live, [queue], {}, NOW) if one.kind == "tenant")
    assert tenants.p50.sum(axis=1) == pytest.approx(queue.p50)
    assert (tenants.p90 - tenants.p10 > queue.p50[:, None] * 0.2).all()
    assert "share" in str(tenants.notes[0])
    assert np.isnan(tenants.one(0).score.mase)


def test_what_tenants_held_adds_up_and_small_ones_stand_together(live: Live) -> None:
    from energy.account.runs import read_runs

    held = note_runs(live, 48)
    runs = read_runs(live.records, END - timedelta(days=5), END, live.site.ids_of("gpu"))
    names, values = tenants_held(runs, runs.projects, END)
    assert names == ["alpha", "beta"]
    assert values.sum(axis=1) == pytest.approx(held)
    many = [f"t{i % (MAX_TENANTS + 9)}" for i in range(len(runs) * 20)]
    wide = replace(
        runs,
        ids=many,
        projects=many,
        start_s=np.resize(runs.start_s, len(many)),
        end_s=np.resize(runs.end_s, len(many)),
        gpu=np.arange(len(many), dtype=np.int32),
        run_of=np.arange(len(many), dtype=np.int32),
        gone=None,
    )
    names, values = tenants_held(wide, many, END)
    assert len(names) == MAX_TENANTS
    assert names[-1] == OTHERS
    assert values.shape[1] == MAX_TENANTS


def test_the_page_lets_each_be_chosen_and_sums_each_lot(live: Live) -> None:
    live.parts = parts_foreseen(live, [], {}, NOW)
    said = words("zh")
    options = chosen_of(live, said)
    assert options[0] == ["rack:power_w:1", "r2 · 机柜：功率"]
    found = part_of(live, "rack:power_w:1")
    assert found is not None
    one, (time_s, past) = found
    assert one.p50.tolist() == live.parts[0].p50[:, 1].tolist()
    assert past[-1] == pytest.approx(power(1)[-1])
    assert time_s[-1] == END.timestamp() - HOUR_S
    assert part_of(live, "site/0/it_power_w") is None
    assert part_of(live, "rack:power_w:7") is None
    rows = lots(live.parts, NOW.timestamp(), words("en"))
    assert len(rows) == 3
    assert "Racks: power (2)" in str(rows[0])


async def test_the_api_pages_through_the_parts(live: Live) -> None:
    live.parts = parts_foreseen(live, [], {}, NOW)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build_server(live)), base_url="http://localhost") as ask:
        found = (await ask.get("/api/v1/forecasts/parts?kind=rack&limit=1&offset=1")).json()
        assert (found["total"], [part["name"] for part in found["parts"]], len(found["time"])) == (2, ["r2"], 24)
        assert found["sum_p50"] == pytest.approx(live.parts[0].p50.sum(axis=1).tolist())
        sent = (await ask.get("/api/v1/forecasts/parts?kind=port&metric=tx_bps&name=p2")).json()
        assert [part["name"] for part in sent["parts"]] == ["p2"]
        none = await ask.get("/api/v1/forecasts/parts?kind=tenant")
        assert none.status_code == 404
        assert "rack power_w" in none.json()["detail"]
