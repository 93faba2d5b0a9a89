"""Two halls, two grids, one real Slurm with a partition in each: jobs whose owners agreed run where power is cleaner, nobody
else's is touched, each move is explained, and a stop brings home what has not begun."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest
from devices import opened
from moving_centre import FAR, METRIC, SLOT_S, Clock, Grids, centre_of
from servers import running_slurm

from energy.ledger_book import LOOKS
from energy.ledger_book import TOPIC as LEDGER
from energy.notes import TOPIC
from energy.place.atlas import Atlas, Place, Route
from ingest.queues.mark import owners_words
from twin.frame import frame_of
from twin.load import Row, build_site
from twin.order import Result, Verb, orders
from ui.app import Centre as App
from ui.check import reach
from ui.config import load_config
from ui.faces.pages.between import table
from ui.faces.server import build_server
from ui.placing import placed
from ui.switch import Wish, wish
from ui.words import words

pytestmark = pytest.mark.server
NODES, APART, GPUS = 4, 2, 8
ATLAS = Atlas(
    (Place("east", "slurm", ("batch",), "grid-east"), Place("west", "slurm", ("west",), "grid-west")),
    (Route(("east", "west"), 12e-3),),
)
HOME, AWAY = ("batch", "west"), ("west", "batch")


def site():
    rows = [{"id": name, "kind": "hall"} for name in ("east", "west")]
    rows += [{"id": "slurm", "kind": "queue"}, {"id": "grid-east", "kind": "grid"}, {"id": "grid-west", "kind": "grid"}]
    rows += [{"id": f"rack-{name}", "kind": "rack", "parent": name} for name in ("east", "west")]
    for i in range(1, NODES + 1):
        rows.append({"id": f"gpu{i:02d}", "kind": "node", "parent": f"rack-{'east' if i <= NODES - APART else 'west'}"})
        rows += [{"id": f"gpu{i:02d}/{g}", "kind": "gpu", "parent": f"gpu{i:02d}", "index": str(g)} for g in range(GPUS)]
    return build_site("two-halls", "UTC", [Row("test", row) for row in rows])


@pytest.fixture(scope="module")
def slurm():
    with running_slurm(NODES, APART) as cluster:
        yield cluster


def submit(slurm, comment, *words, run="sleep 300"):
    return slurm.run("sbatch", "--parsable", "-o", "/dev/null", "-t", "5", "--comment", comment, *words, "--wrap", run)


def shown(slurm, job, what):
    return slurm.run("squeue", "-h", "-j", job, "-t", "all", "-o", what)


async def until(slurm, job, what, wanted):
    for _ in range(600):
        if shown(slurm, job, what) == wanted:
            return
        await asyncio.sleep(0.05)
    assert shown(slurm, job, what) == wanted


@pytest.fixture(params=["rest", "commands"])
async def queue(slurm, request):
    said = slurm.options if request.param == "rest" else {"commands": True, "conf": slurm.conf, "restart_s": 6.0}
    centre = opened("slurm", site(), queue="slurm", timeout_s=20, **said)
    yield centre.queues[0]
    await centre.sources[0].close()
    slurm.run("scancel", "--user=root")


async def test_a_move_is_written_once_said_to_the_owner_and_taken_back(slurm, queue):
    now = datetime.now(UTC)
    own_s, note = now.timestamp() // 1 + 3600, "runs in west"
    job, other = (submit(slurm, comment, "--gpus=1", "--begin=now+3600") for comment in (FAR, "icctwin:runs=60s"))
    table = orders(Verb.MOVE, [job, other], own_s, note, where=[HOME] * 2)
    first = await queue.order(table, now)
    assert list(first.results) == [Result.DONE, Result.REFUSED], first.why
    assert "elsewhere" in first.why[1]
    assert shown(slurm, job, "%P %k") == f"west {FAR} [icctwin: {note}]"
    assert shown(slurm, other, "%P %k") == "batch icctwin:runs=60s"
    assert (await queue.order(table, now)).results[0] is Result.SAME
    back = orders(Verb.MOVE, [job], own_s, undo=True, expected=np.array([own_s]), where=[AWAY])
    assert list((await queue.order(back, now)).results) == [Result.DONE]
    assert shown(slurm, job, "%P %T %k") == f"batch PENDING {FAR}"
    slurm.run("scontrol", "update", f"JobId={job}", "Partition=brief", "TimeLimit=1")
    for undo in (False, True):
        got = await queue.order(orders(Verb.MOVE, [job], own_s, note, undo=undo, where=[HOME]), now)
        assert list(got.results) == [Result.REFUSED]
        assert "a person has moved it to brief" in got.why[0]


@pytest.mark.parametrize(("there", "words_"), [("brief", ()), ("west", ("-C", "liquid"))])
async def test_where_it_can_never_run_is_seen_and_home_it_runs(slurm, queue, there, words_):
    """Slurm takes a move to where a job may not run so long, or where no node has what it asks for, and says so later."""
    now = datetime.now(UTC)
    features(slurm, "h100")
    try:
        job = submit(slurm, FAR, "--gpus=1", "--begin=now+3600", *words_)
        got = await queue.order(orders(Verb.MOVE, [job], 0.0, "runs there", where=[("batch", there)]), now)
        assert list(got.results) == [Result.DONE]
        await until(slurm, job, "%r", "PartitionTimeLimit" if there == "brief" else "BadConstraints")
        jobs = await queue.jobs(datetime.now(UTC) + timedelta(seconds=20))
        assert jobs.terms.unfit[list(jobs.ids).index(job)]
        back = await queue.order(orders(Verb.MOVE, [job], 0.0, undo=True, where=[(there, "batch")]), now)
        assert list(back.results) == [Result.DONE]
        await until(slurm, job, "%P %T", "batch RUNNING")
        assert shown(slurm, job, "%k") == FAR
    finally:
        features(slurm, "liquid,h100")


def features(slurm, has):
    """What nodes of the west have."""
    for node in range(NODES - APART + 1, NODES + 1):
        slurm.run("scontrol", "update", f"NodeName=gpu{node:02d}", f"AvailableFeatures={has}", f"ActiveFeatures={has}")


PLACES = """
[energy]
modes = {{ job_move = "auto" }}
[[energy.place]]
name = "east"
queue = "slurm"
partitions = ["batch"]
grid = "grid-east"
[[energy.place]]
name = "west"
queue = "slurm"
partitions = ["{west}"]
grid = "grid-west"
facility_ratio = 1.1
[[energy.route]]
between = ["east", "west"]
latency_ms = 12
rate_gbps = 25
"""


def configured(slurm, folder, west):
    folder.mkdir()
    (folder / "assets.csv").write_text("id,kind\nhall,hall\nslurm,queue\ngrid-east,grid\ngrid-west,grid\n")
    said = {name: f'"{value}"' for name, value in slurm.options.items() if name in ("url", "user", "token_file", "conf")}
    source = "".join(f"{name} = {value}\n" for name, value in said.items())
    whole = f'[site]\nname = "two"\n[store]\npath = "store"\n[[source]]\nname = "s"\ntype = "slurm"\nqueue = "slurm"\n{source}'
    (folder / "site.toml").write_text(whole + PLACES.format(west=west))
    return load_config(folder / "site.toml")


async def test_places_are_configured_checked_and_shown_and_whose_word_cannot_be_read(slurm, tmp_path):
    config = configured(slurm, tmp_path / "good", "west")
    job = submit(slurm, "icctwin:dedline=2026-12-01T06:00Z", "--gpus=1", "--begin=now+3600")
    rows = await reach(config, datetime.now(UTC))
    (asked,) = [row for row in rows if row["what"] == "queue"]
    assert asked["says"].endswith(f"what the owners of 1 say of icctwin cannot be read, and they are left alone: {job}")
    slurm.run("scancel", job)
    found = {row["name"]: row for row in rows if row["what"] == "place"}
    assert [row["ok"] for row in found.values()] == [True, True]
    assert found["west"]["says"] == f"west of slurm: {APART} nodes, on grid-west"
    wrong = {row["name"]: row for row in await reach(configured(slurm, tmp_path / "bad", "wset"), datetime.now(UTC))}
    assert (wrong["west"]["ok"], "no partition 'wset'; it has batch" in wrong["west"]["says"]) == (False, True)

    centre = App(config, Clock())
    try:
        centre.publish([frame_of("grid", centre.clock.now(), 1, carbon_gco2_per_kwh=150.0)])
        transport = httpx.ASGITransport(build_server(centre.live), client=("127.0.0.1", 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            said, page = (await client.get("/api/v1/places")).json(), (await client.get("/energy")).text
        placed_ = placed(centre.live)
    finally:
        await centre.collector.close()
        centre.close()
    assert "panel-places" in page
    assert [(one["name"], one["signal"], one["facility_ratio"]) for one in said["places"]] == [
        ("east", None, 1.0), ("west", 150.0, 1.1)
    ]  # fmt: skip
    assert [(one["latency_class"], one["rate_gbps"]) for one in said["routes"]] == [("5-20 ms", 25.0)]
    shown_ = table(placed_, METRIC, words("en"))["l.places"]
    assert [row["c"][0] for row in shown_] == ["west", "east"]  # the cleanest first; what nobody reads, last
    assert (shown_[0]["c"][2]["n"], shown_[0]["c"][6], shown_[1]["c"][2]["f"]) == ("150", "east 5-20 ms", "none")


@pytest.fixture
async def day(slurm, tmp_path):
    """A home that is full, and jobs of all kinds that wait in it."""
    fill = [submit(slurm, "", "--gpus=8", "-N1") for _ in range(NODES - APART)]
    for job in fill:
        await until(slurm, job, "%T", "RUNNING")
    jobs = {
        "goes": submit(slurm, FAR, "--gpus=2", run="sleep 1"),
        "later": submit(slurm, FAR, "--gpus=2", "--begin=now+600"),
        "plain": submit(slurm, "", "--gpus=2"),
        "waits": submit(slurm, "icctwin:runs=60s", "--gpus=2"),
        "near": submit(slurm, "icctwin:runs=60s;latency=5ms", "--gpus=2"),
        "bound": submit(slurm, FAR, "--gpus=2", "-w", "gpu01"),
        "out": submit(slurm, "icctwin:off", "--gpus=2"),
    }
    yield jobs
    slurm.run("scancel", "--user=root")


async def test_jobs_go_where_power_is_cleaner_and_a_stop_brings_home_what_waits(slurm, day, tmp_path):
    now_s = datetime.now(UTC).timestamp()
    store = Grids(now_s // SLOT_S * SLOT_S)
    async with centre_of(site(), ATLAS, slurm.options, tmp_path, store) as centre:
        await moves(slurm, day, centre)
    async with centre_of(site(), ATLAS, slurm.options, tmp_path, store) as again:
        # the next process knows by the audit where they are at home
        await stops(slurm, day, again)


async def moves(slurm, day, centre):
    await centre.look()
    assert shown(slurm, day["later"], "%P %T") == "west PENDING"
    said = shown(slurm, day["later"], "%k")
    assert owners_words(said) == FAR
    assert "runs in west (5-20 ms away)" in said
    assert f"scontrol update job={day['later']} comment=icctwin:off" in said
    await centre.look()
    outlook = await centre.acting._outlook(centre.clock.now())
    views = {view.signal: view.jobs for view in centre.acting._seen_by("job_start", outlook).queues}
    assert set(views) == {None, outlook.grids["grid-west"]}
    may = {grid: {job for job, wants in zip(jobs.ids, jobs.deferrable, strict=True) if wants} for grid, jobs in views.items()}
    assert {day["waits"], day["near"]} <= may[None]
    assert may[outlook.grids["grid-west"]] <= {day["goes"]}  # which runs there by now; what waits there is its mover's
    assert not {day["goes"], day["later"], day["out"]} & may[None]
    await until(slurm, day["goes"], "%P %T", "west COMPLETED")
    for kind in ("plain", "waits", "near", "bound", "out"):
        assert shown(slurm, day[kind], "%P %T") == "batch PENDING", kind
        assert "[icctwin" not in shown(slurm, day[kind], "%k"), kind
    log = (slurm.folder / "slurmctld.log").read_text(errors="replace")
    mine = set(day.values())
    moved = {job for job in re.findall(r"setting partition to west for JobId=(\d+)", log) if job in mine}
    assert moved == {day["goes"], day["later"]}


async def stops(slurm, day, again):
    jobs = await again.queue.jobs(again.clock.now())
    own_s = submitted_s(jobs, day["later"]) + 600
    await again.look()
    assert again.acting._homes("slurm") == {day["later"]: "batch"}
    wish(again.records, Wish("stop", "li", why="enough"), again.clock.now())
    await again.look()
    assert shown(slurm, day["later"], "%P %T %k") == f"batch PENDING {FAR}"
    jobs = await again.queue.jobs(again.clock.now() + timedelta(seconds=2))
    assert jobs.terms.begin_s[list(jobs.ids).index(day["later"])] == pytest.approx(own_s, abs=2)
    await again.look()
    assert shown(slurm, day["later"], "%P") == "batch"
    assert not again.acting.desk.ordered

    audit = [record for _, _, record in again.records.read(TOPIC, limit=1000)]
    begun = [record for record in audit if record["stage"] == "begun"]
    assert {job for record in begun for job in record["targets"]} == {day["goes"], day["later"]}
    for record in begun:
        assert record["who"] == "icctwin"
        assert record["reason"]["params"]["places"] == "west"
        assert record["where"] == [["batch", "west"]] * len(record["targets"])
        assert record["gain"]["high_frac"] < 0
    assert any(record["stage"] == "reverted" and day["later"] in record.get("targets", ()) for record in audit)

    later = again.clock.now() + timedelta(minutes=15)
    again.acting.book(later)
    (entry,) = [record for _, _, record in again.records.read(LEDGER, limit=10)]
    assert (entry["job"], entry["home"], entry["partition"]) == (day["goes"], "batch", "west")
    kwh = 2 * (entry_s(again, entry)) / 3.6e3
    # at home it would have begun at once, or when those end who fill it: by the books, a quarter of an hour later at most
    assert -215 * kwh <= entry["change"] <= -145 * kwh
    assert entry["note"] == "saved"

    looks = again.records.read(LOOKS, limit=10)
    again.acting.book(later + timedelta(hours=30))
    assert again.records.read(LOOKS, limit=10) == looks, "of a scheduler that is silent since, nothing is said"


def submitted_s(jobs, job):
    return float(jobs.submit_s[list(jobs.ids).index(job)])


def entry_s(centre, entry):
    (ran,) = [r for _, _, r in centre.records.read("ran", limit=10) if r["job"] == entry["job"]]
    return ran["end_s"] - ran["start_s"]
