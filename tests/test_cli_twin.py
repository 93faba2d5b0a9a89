"""``simulate``, ``replay`` and ``what-if`` as a person meets them: on the demo site, on this machine's, and with mistakes."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest

from ui.cli import main
from ui.demo import write_demo


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_demo(tmp_path_factory.mktemp("demo"), gpus=256, seed=1, port=8050))


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    said: dict[str, object] = json.loads(capsys.readouterr().out)
    return said


def test_a_site_with_no_data_at_all_is_simulated(site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "day.parquet"
    words = ["simulate", "--config", site, "--hours", "2", "--step", "60", "--out", str(out), "--detail", "cdu,rack", "--json"]
    assert main(words) == 0
    said = answer(capsys)
    table = pq.read_table(out)
    assert table.num_rows == said["steps"] == 120
    summary = said["summary"]
    assert isinstance(summary, dict)
    assert np.mean(table["it_power_w"].to_numpy()) == pytest.approx(summary["it_power_mean_w"])
    assert 1.0 < summary["pue_ratio"] < 1.5
    assert pq.read_table(out.with_suffix(".jobs.parquet")).num_rows == summary["jobs_count"]
    racks = pq.read_table(out.with_suffix(".rack.parquet")).to_pandas()
    assert len(racks) == 120 * racks["asset"].nunique()
    assert {"supply_temp_c", "heat_w", "primary_flow_kgps"} <= set(pq.read_table(out.with_suffix(".cdu.parquet")).column_names)
    assert main(words) == 0
    assert answer(capsys)["summary"] == summary, "the same seed is the same run"


def test_a_recording_is_replayed_with_its_starts(
    site: str, fixtures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = str(fixtures / "traces" / "sacct.txt")
    words = ["replay", "--trace", trace, "--format", "sacct", "--config", site, "--out", str(tmp_path / "r.parquet")]
    assert main([*words, "--as-recorded", "--step", "60", "--json"]) == 0
    said = answer(capsys)
    jobs = pq.read_table(tmp_path / "r.jobs.parquet").to_pydict()
    assert dict(zip(jobs["job"], jobs["wait_s"], strict=True)) == {"101": 60, "102": 30, "104": 100}
    assert any("a job without a start or an end" in note for note in said["notes"])  # type: ignore[attr-defined]


def test_what_if_a_pump_trips(site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "trip.toml"
    plan.write_text('gpu_cap_frac = 0.9\n[[fault]]\nasset = "h1-a-cdu1"\nwhat = "trip"\nstart_s = 1800\n')
    words = ["what-if", "--config", site, "--scenario", str(plan), "--hours", "1", "--step", "5", "--members", "2"]
    words += ["--picture", str(tmp_path / "trip.svg")]
    assert main([*words, "--json"]) == 0
    said = answer(capsys)
    drawn = ElementTree.parse(tmp_path / "trip.svg").getroot()
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}path")) == 12
    rows = {row["name"]: row for row in said["rows"]}  # type: ignore[attr-defined]
    assert rows["time_to_limit_s"]["base"] is None
    assert 20 < rows["time_to_limit_s"]["other"] < 120
    assert rows["facility_energy_kwh"]["difference"] < 0
    assert main(words) == 0
    assert "s after a fault" in capsys.readouterr().out


def test_parameters_come_with_their_source(site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "p.toml"
    words = ["simulate", "--config", site, "--hours", "0.5", "--step", "60", "--scenario", str(plan), "--json"]
    plan.write_text('[[parameter]]\nname = "plant.supply_c"\nvalue = 36\nsource = "commissioning, March 2026"\n')
    assert main(words) == 0
    assert answer(capsys)["summary"]["supply_max_c"] > 35  # type: ignore[index]
    plan.write_text(
        '[[parameter]]\nname = "plant.supply_c"\nvalue = 36\n[[parameter]]\nname = "plant.moon"\nvalue = 3\nsource = "me too"\n'
    )
    assert main(words) == 2
    assert "parameter 1 source" in capsys.readouterr().err
    plan.write_text('[[parameter]]\nname = "plant.moon"\nvalue = 3\nsource = "me too"\n')
    assert main(words) == 2
    assert "plant.moon: is no number" in capsys.readouterr().err


MISTAKES = [
    (["--trace", "none.swf", "--format", "swf"], "none.swf: cannot be read"),
    (["--format", "help"], "swf: Standard Workload Format"),
    (["--policy", "lottery"], "no policy 'lottery'"),
    (["--hours", "-3"], "--hours"),
    (["--step", "0"], "horizon and step"),
    (["--start", "yesterday"], "no time"),
    (["--detail", "gpus"], "details are cdu and rack"),
    (["--outlook", "none.csv"], "name a CSV file with --outlook"),
    (["--scenario", "none.toml"], "name a scenario with --scenario"),
    (["--out", "/nowhere/at/all.parquet"], "cannot be written"),
]


@pytest.mark.parametrize(("more", "says"), MISTAKES, ids=[m[1] for m in MISTAKES])
def test_a_mistake_is_one_sentence_and_exit_2(
    site: str, more: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--config", site, "--hours", "1", "--step", "600", *more]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_half_a_file_is_not_left_behind(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ArithmeticError("energy is not conserved")

    monkeypatch.setattr("twin.sim.margins.Margins.limits", broken)
    with pytest.raises(ArithmeticError):
        main(["simulate", "--config", site, "--hours", "1", "--step", "600", "--out", str(tmp_path / "x.parquet")])
    assert list(tmp_path.iterdir()) == []


def test_a_replay_needs_a_trace(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--config", site]) == 2
    assert "--trace: is missing" in capsys.readouterr().err
