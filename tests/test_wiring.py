"""What joins the parts: sites cut in two, queues put together, records that are a state, a centre that ends as it should."""

import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from centre import CENTRE, centre, find, tell
from small import rows

from ingest.sources.simulated import Options, build
from ingest.sources.simulated.layout import demo_rows
from ingest.spool import Spool
from ingest.stores import open_records, open_store
from twin.errors import ConfigError
from twin.estimate import measured_totals
from twin.frame import Frame, Origin, frame_of
from twin.job import Jobs, JobState, joined, no_jobs
from twin.load import build_site
from twin.site import without
from twin.state import State
from ui import app, running
from ui.cli import main
from ui.config import load_config
from ui.demo import write_demo

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_a_site_without_a_part_keeps_all_relations_of_the_rest() -> None:
    part = without(CENTRE, ["h2", "ub"])
    gone = {"h2", "r3", "r3pa", "r3pb", "r3n1", "r3n2", "ub", *(f"r3n{n}g{g}" for n in (1, 2) for g in range(4))}
    assert set(part.ids) == set(CENTRE.ids) - gone
    for site in (part, CENTRE):
        for i, asset in enumerate(site.ids):
            assert site.ids_of(site.kind(asset))[site.row_of[i]] == asset
    parents = {asset: CENTRE.ids[CENTRE.parent[i]] if CENTRE.parent[i] >= 0 else "" for i, asset in enumerate(CENTRE.ids)}
    assert {a: part.ids[part.parent[i]] if part.parent[i] >= 0 else "" for i, a in enumerate(part.ids)} == {
        asset: parents[asset] for asset in part.ids
    }
    for relation, links in part.links.items():
        whole = CENTRE.links[relation]
        pairs = {(CENTRE.ids[s], CENTRE.ids[t]) for s, t in zip(whole.source, whole.target, strict=True)}
        left = {(part.ids[s], part.ids[t]) for s, t in zip(links.source, links.target, strict=True)}
        assert left == {pair for pair in pairs if not gone & set(pair)}


def test_what_is_real_stands_behind_what_is_simulated() -> None:
    assets, links = demo_rows(8)
    mine = rows("id=local kind=hall", "id=rack kind=rack parent=local", "id=me kind=node parent=rack")
    opened = build("sim", Options(leave_out=("local",)), build_site("s", "UTC", [*assets, *mine], links))
    assert len(opened.sources) == 5
    with pytest.raises(ConfigError, match="must stand behind the simulated ones"):
        build("sim", Options(leave_out=("local",)), build_site("s", "UTC", [*mine, *assets], links))
    with pytest.raises(ConfigError, match="'nowhere', which is no asset"):
        build("sim", Options(leave_out=("nowhere",)), build_site("s", "UTC", assets, links))


def test_a_machine_of_unknown_draw_does_not_hide_what_meters_say() -> None:
    site = centre("id=h9 kind=hall", "id=r9 kind=rack parent=h9", "id=me kind=node parent=r9")
    for rated, known in (
        (site, True),
        (centre(*(f"id={i}" for i in ("h9 kind=hall", "r9 kind=rack parent=h9", "me kind=node parent=r9 rated_w=300"))), False),
    ):
        state = State(rated)
        tell(state, "rack", power_w=[1e4, 2e4, 3e4, np.nan])
        tell(state, "switch", power_w=500.0)
        it_w = find(measured_totals(rated, state, NOW), "site", "it_power_w", Origin.MEASURED)
        assert it_w.tolist() == ([60_500.0] if known else [])


def _jobs(ids: Sequence[str], gpu_rows: Sequence[int], job_of: Sequence[int]) -> Jobs:
    n = len(ids)
    f, b = np.zeros(n), np.full(n, JobState.RUNNING, dtype=np.uint8)
    gpus = np.ones(n, dtype=np.int32)
    held, of = np.array(gpu_rows, dtype=np.int32), np.array(job_of, dtype=np.int32)
    return Jobs(ids, ids, ids, ids, b, gpus, f, f, f, f, f, b, held, of)


def test_jobs_of_two_queues_keep_their_gpus() -> None:
    one, two = _jobs(["a", "b"], [4, 5, 6], [0, 1, 1]), _jobs(["c"], [9], [0])
    both = joined((one, no_jobs(), two))
    assert list(both.ids) == ["a", "b", "c"]
    assert [both.ids[i] for i in both.job_of] == ["a", "b", "b", "c"]
    assert both.rows.tolist() == [4, 5, 6, 9]
    assert len(joined(())) == 0


def test_trimming_a_topic_leaves_its_newest_and_other_topics(tmp_path: Path) -> None:
    records = open_records(tmp_path / "records.db")
    for i in range(5):
        records.append("state", NOW, {"i": i})
        records.append("log", NOW, {"i": i})
    records.trim("state", 2)
    records.trim("none", 2)
    assert [record["i"] for _, _, record in records.read("state")] == [3, 4]
    assert len(records.read("log")) == 5
    records.close()


def test_what_is_put_while_the_store_works_waits_its_turn_and_our_own_fault_loses_nothing() -> None:
    taken: list[float] = []
    fault: list[Exception] = [ZeroDivisionError("planted")]

    def append(frames: Sequence[Frame]) -> None:
        spool.put([frame_of("weather", NOW, 0, wet_bulb_c=9.0)] if not taken else [])
        if fault:
            raise fault.pop()
        taken.extend(float(frame.values["wet_bulb_c"][0]) for frame in frames)

    spool = Spool(append, threading.Lock())
    spool.put([frame_of("weather", NOW, 0, wet_bulb_c=1.0)])
    with pytest.raises(ZeroDivisionError):
        spool.flush()
    assert spool.waiting == 2
    while spool.waiting:
        spool.flush()
    assert taken == [1.0, 9.0, 9.0]
    assert (spool.stored, spool.dropped) == (3, 0)


def test_every_source_that_does_not_fit_the_site_is_named(tmp_path: Path) -> None:
    (tmp_path / "assets.csv").write_text("id,kind,parent\nh,hall,\n")
    blocks = "".join(f'[[source]]\nname = "{name}"\ntype = "host"\nnode = "{name}"\n' for name in ("a", "b"))
    (tmp_path / "site.toml").write_text(f'[site]\nname = "x"\n{blocks}')
    config = load_config(tmp_path / "site.toml")
    with pytest.raises(ConfigError) as caught:
        app.open_sources(config, app.site_of(config, ()))
    assert len(caught.value.problems) == 2


def test_paths_of_a_source_are_meant_from_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "assets.csv").write_text("id,kind,parent\nh,hall,\n")
    block = (
        '[[source]]\nname = "x"\ntype = "prometheus"\ntargets = "127.0.0.1:1"\nmapping = "{}"\nbearer_token_file = "token"\n'
    )
    for said, meant in (("dcgm", "dcgm"), ("own.toml", str(tmp_path / "own.toml"))):
        (tmp_path / "site.toml").write_text('[site]\nname = "x"\n' + block.format(said))
        options = load_config(tmp_path / "site.toml").sources[0].options.model_dump()
        assert options["mapping"] == meant
        assert options["bearer_token_file"] == tmp_path / "token"


def test_a_check_beside_a_running_icctwin_is_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_demo(tmp_path, gpus=8, seed=1, port=8050)
    config = load_config(path)
    held = open_store(config.store.path, app.site_of(config, app.TASK_NAMES))
    ran = subprocess.run(
        [sys.executable, "-m", "ui", "check", "--config", str(path)], capture_output=True, text=True, timeout=60
    )
    held.close()
    assert ran.returncode == 0, ran.stdout
    assert "another icctwin writes it" in ran.stdout
    assert main(["check", "--config", str(path)]) == 0
    assert "can be written" in capsys.readouterr().out


def test_a_demo_told_to_stop_while_it_makes_its_past_stops_at_once(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["demo", "--gpus", "64", "--port", str(port), "--keep", str(tmp_path)]
    child = subprocess.Popen([sys.executable, "-m", "ui", "--log-level", "error", *words])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
            break
        except OSError:
            time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0
    config = load_config(tmp_path / "site.toml")
    open_store(config.store.path, app.site_of(config, app.TASK_NAMES)).close()  # its lock is free


def test_a_centre_that_breaks_ends_with_status_1_and_frees_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(self: app.Centre, *_: object) -> None:
        raise ZeroDivisionError("planted")

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        config = load_config(write_demo(tmp_path, gpus=8, seed=1, port=probe.getsockname()[1]))
    monkeypatch.setattr(app.Centre, "make_history", breaks)
    assert running.serve(config, demo=True) == 1
    open_store(config.store.path, app.site_of(config, app.TASK_NAMES)).close()
