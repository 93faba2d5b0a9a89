"""Readers of recorded workloads: golden jobs from small files of ours, recorded ones, and files that are none."""

from pathlib import Path

import numpy as np
import pytest

from ingest.traces import TRACES, read_trace
from ingest.traces.power_csv import read_lines
from twin.errors import ConfigError
from twin.sim.telemetry import Telemetry
from twin.sim.trace import Trace, checked


def jobs(path: Path, name: str) -> Trace:
    work = read_trace(path, name).work
    assert isinstance(work, Trace)
    return work


def test_swf(fixtures: Path) -> None:
    """128 processors in 16 nodes are 8 a node; -1 is what is not known."""
    trace = jobs(fixtures / "traces" / "small.swf", "swf")
    assert list(trace.ids) == ["1", "2", "3", "4", "5"]
    assert trace.nodes.tolist() == [8, 1, 1, 3, 1]
    assert trace.submit_s.tolist() == [1793491200 + 60 * i for i in range(5)]
    np.testing.assert_array_equal(trace.start_s - trace.submit_s, [10, np.nan, 5, 5, 5])
    assert trace.limit_s.tolist() == [7200, 3600, 3600, 1800, 1800]
    assert trace.refused == {"a line that is not 18 numbers": (1, "line 11")}
    kept = checked(trace)
    assert list(kept.ids) == ["1", "2", "4"]
    assert kept.refused["it runs for no time at all, or less"] == (1, "row 3")
    assert kept.refused["its submission or run time is no number"] == (1, "row 5")


def test_sacct(fixtures: Path) -> None:
    trace = jobs(fixtures / "traces" / "sacct.txt", "sacct")
    assert list(trace.ids) == ["101", "102", "104"]
    assert trace.nodes.tolist() == [4, 0, 2]
    assert trace.gpus.tolist() == [0, 2, 0]
    assert trace.run_s.tolist() == [3600, 1800, 3600]
    np.testing.assert_array_equal(trace.limit_s, [7200, 86400, np.nan])
    assert trace.submit_s[1] - trace.submit_s[0] == 300
    assert trace.node_w[0] == 72e6 / 3600 / 4
    assert trace.priority.tolist() == [1000, 10, 7]
    assert trace.refused == {"a job without a start or an end": (1, "line 5")}


def test_sacct_counts_the_gpus_of_every_type(tmp_path: Path) -> None:
    """The total where Slurm accounts for it beside its types, else the sum of these; GPUs of one node only."""
    asked = ["gres/gpu:a100=2,gres/gpu:v100=4,gres/gpu=6", "gres/gpu=6,gres/gpu:a100=2,gres/gpu:v100=4",
             "gres/gpu:a100=2,gres/gpu:v100=4", "gres/gpu:a100_1g.5gb=3,gres/gpumem=40G", "gres/gpu:h100=8"]  # fmt: skip
    times = "2026-01-01T00:00:00|2026-01-01T00:00:00|2026-01-01T01:00:00"
    lines = [f"{i}|{times}|1|billing=8,cpu=8,{gpus},mem=8G,node=1" for i, gpus in enumerate(asked, 1)]
    (tmp_path / "sacct.txt").write_text("\n".join(["JobID|Submit|Start|End|NNodes|AllocTRES", *lines]) + "\n")
    assert jobs(tmp_path / "sacct.txt", "sacct").gpus.tolist() == [6, 6, 6, 3, 8]


def test_a_table_of_jobs(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text(
        "job,submit_s,run_s,nodes,node_w,limit_s\na,2026-11-01T00:00:00Z,60,2,900,\nb,soon,60,1,,\nc,1793491300,5,1,,9\n"
    )
    trace = jobs(path, "jobs-csv")
    assert list(trace.ids) == ["a", "c"]
    assert trace.submit_s.tolist() == [1793491200, 1793491300]
    np.testing.assert_array_equal(trace.node_w, [900, np.nan])
    assert trace.refused == {"a row whose submit_s, run_s, nodes or gpus is no number": (1, "line 3")}


def test_recorded_power_and_weather(tmp_path: Path) -> None:
    path = tmp_path / "power.csv"
    path.write_text("time,power[2],hall-1,OA Wetbulb Temp\n0,1000,5000,4.5\n15,1100,5100,4.6\n")
    reading = read_trace(path, "power-csv")
    assert isinstance(reading.work, Telemetry)
    assert reading.work.assets == ("cdu:2", "hall-1")
    np.testing.assert_array_equal(reading.work.power_w, [[1000, 5000], [1100, 5100]])
    np.testing.assert_array_equal(reading.lines["wet_bulb_c"].value, [4.5, 4.6])


def test_gaps_in_weather_are_no_values(tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    path.write_text("timestamp,wet_bulb_c,remark\n2026-11-01T00:00:00,4,\n2026-11-01T01:00:00,,x\n2026-11-01T02:00:00,6,\n")
    assert read_lines(path)["wet_bulb_c"].value.tolist() == [4, 6]


BROKEN = [
    ("swf", "nothing\nof jobs\n", "holds no line of 18 numbers"),
    ("sacct", "a|b\n1|2\n", "no column 'JobID'"),
    ("jobs-csv", "submit_s,run_s\n1,2\n", "neither a column nodes nor gpus"),
    ("jobs-parquet", "PAR1 but not really", "is no Parquet file"),
    ("arrivals-csv", "x,y\n", "no column 'arrival_time'"),
    ("power-csv", "time,power[1]\n0,many\n", "power[1] is 'many'; write a number"),
    ("power-csv", "time,power[1]\nnoon,3\n", "time is 'noon'"),
    ("power-csv", "time,wet_bulb_c\n0,3\n", "no column of power"),
    ("power-csv", "a,b\n1,2\n", "no column of time"),
]


@pytest.mark.parametrize(("name", "text", "says"), BROKEN, ids=[f"{b[0]}: {b[2]}" for b in BROKEN])
def test_a_file_that_is_none_of_its_kind_is_one_sentence(tmp_path: Path, name: str, text: str, says: str) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_trace(path, name)
    assert len(caught.value.problems) == 1
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_every_format_is_tried_and_a_missing_file_is_named(tmp_path: Path) -> None:
    assert {b[0] for b in BROKEN} == set(TRACES)
    for name in TRACES:
        with pytest.raises(ConfigError, match=r"none\.trace: cannot be read"):
            read_trace(tmp_path / "none.trace", name)
    with pytest.raises(ConfigError, match="no format 'docx'"):
        read_trace(tmp_path, "docx")


def test_recorded_jobs_of_kestrel(shared_data: Path) -> None:
    trace = jobs(shared_data / "twin" / "kestrel-jobs-2024-09.parquet", "jobs-parquet")
    kept = checked(trace)
    assert len(trace) == 161_266
    assert len(kept) > 0.98 * len(trace)
    assert sum(count for count, _ in kept.refused.values()) == len(trace) - len(kept)
    assert 400 < np.nanmean(kept.node_w) < 520


def test_recorded_arrivals(shared_data: Path) -> None:
    trace = checked(jobs(shared_data / "energy" / "traces" / "alibaba-pai-100k.csv", "arrivals-csv"))
    assert len(trace) > 99_000
    assert trace.submit_s[-1] == pytest.approx(8759.45 * 3600, rel=1e-3)
    assert trace.gpus.max() == 400


def test_recorded_grid(shared_data: Path) -> None:
    line = read_lines(shared_data / "energy" / "carbon" / "CISO-2022-hourly.csv")["carbon_gco2_per_kwh"]
    assert len(line.value) > 8700
    assert 50 < line.value.mean() < 500
    assert read_lines(shared_data / "energy" / "price" / "DE-2016-2017.csv")["price_per_mwh"].value[0] == 13.78
