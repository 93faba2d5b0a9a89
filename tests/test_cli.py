"""The command line as a person meets it: each command on real files, each mistake one sentence and the right exit status."""

import argparse
import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

import ui.benches
from ui.cli import build_parser, main
from ui.demo import write_demo


def test_a_new_user_writes_a_site_for_this_machine_and_checks_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "centre")]) == 0
    capsys.readouterr()
    assert main(["check", "--config", str(tmp_path / "centre" / "site.toml"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["what"]: row["ok"] for row in rows} == {
        "site": True,
        "rules": True,
        "on call": True,
        "source": True,
        "facility": True,
        "store": True,
    }
    assert main(["init", str(tmp_path / "centre")]) == 2
    assert "already there" in capsys.readouterr().err


def test_check_names_every_problem_and_says_no(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "site.toml").write_text('[site]\nname = 5\n[[source]]\nname = "x"\ntype = "telex"\n')
    assert main(["check", "--config", str(tmp_path / "site.toml")]) == 2
    out = capsys.readouterr().out
    assert out.count("BAD") == 2
    assert "site.toml:2" in out
    assert "telex" in out


def test_a_dead_endpoint_is_a_row_of_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "assets.csv").write_text("id,kind,parent\nh,hall,\nr,rack,h\nn,node,r\n")
    (tmp_path / "site.toml").write_text(
        '[site]\nname = "x"\n[[source]]\nname = "dead"\ntype = "prometheus"\nmapping = "dcgm"\nnode = "n"\n'
        'targets = "127.0.0.1:9"\n'
    )
    assert main(["check", "--config", str(tmp_path / "site.toml")]) == 1
    bad = [line for line in capsys.readouterr().out.splitlines() if line.startswith("BAD")]
    assert len(bad) == 1
    assert "dead" in bad[0]
    assert "127.0.0.1:9" in bad[0]


def test_netbox_exports_become_a_site(fixtures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(path) for path in sorted((fixtures / "netbox").glob("*.json"))]
    assert main(["import", *files, "--out", str(tmp_path), "--gpus-per-node", "8", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    own = "id,kind,parent\nmine,hall,\n"
    (tmp_path / "assets.csv").write_text(own)
    again = ["import", *files, "--out", str(tmp_path), "--gpus-per-node", "8"]
    assert main(again) == 2, "tables that are there are somebody's work"
    assert f"{tmp_path / 'assets.csv'}: is already there and stays as it is; replace it with --force" in capsys.readouterr().err
    assert (tmp_path / "assets.csv").read_text() == own
    assert main([*again, "--force"]) == 0
    with (tmp_path / "assets.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == said["assets"] > 10
    assert {"rack", "node", "gpu"} <= {row["kind"] for row in rows}
    assert said["left_out"]
    (tmp_path / "site.toml").write_text('[site]\nname = "netbox"\nlinks = "links.csv"\n')
    assert main(["check", "--config", str(tmp_path / "site.toml")]) == 0


def test_a_series_in_quantiles_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    hours = np.arange(24 * 28)
    values = 100 + 20 * np.sin(2 * np.pi * hours / 24) + rng.normal(0, 1, len(hours))
    lines = [f"{1_790_000_000 + 3600 * int(h)},{v:.3f}" for h, v in zip(hours, values, strict=True)]
    (tmp_path / "in.csv").write_text("\n".join(["time,value", *lines]))
    words = ["forecast", "--input", str(tmp_path / "in.csv"), "--horizon", "24", "--out", str(tmp_path / "out.csv"), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["mase"] < 1
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["time", "p10", "p50", "p90"]
    truth = 100 + 20 * np.sin(2 * np.pi * np.arange(24 * 28, 24 * 29) / 24)
    assert np.abs(np.array([float(row["p50"]) for row in rows]) - truth).max() < 5
    assert main(["forecast", "--input", str(tmp_path / "none.csv"), "--out", str(tmp_path / "o.csv")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_bench_without_peers_is_printed_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(ui.benches, "BENCHES", {"report": "tests.test_cli:_alone"})
    assert main(["bench", "report"]) == 0
    said = capsys.readouterr().out
    assert "took_s" in said
    assert said.index("against:") < said.index("conditions:") < said.index("python")


def _alone(_: argparse.Namespace) -> ui.benches.Result:
    return {"figures": {"took_s": 1.0}, "conditions": {}}


@pytest.mark.parametrize("words", [["demo", "--gpus", "7"], ["demo", "--port", "0"], ["nonsense"], ["bench", "nothing"], []])
def test_wrong_usage_is_exit_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_kept_demo_runs_no_faster_than_its_next_start_and_keeps_who_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--keep", str(tmp_path / "c"), "--speed", "60"]) == 2
    assert "the next start would write over what it told" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
    write_demo(tmp_path, gpus=16, seed=1, port=8050)
    assert 'outside = "http://127.0.0.1:8050"' in (tmp_path / "oncall.toml").read_text()
    (tmp_path / "oncall.toml").write_text("# ours\n")
    write_demo(tmp_path, gpus=16, seed=1, port=8050)
    assert (tmp_path / "oncall.toml").read_text() == "# ours\n"


def test_every_command_has_an_example_that_it_would_take() -> None:
    parser = build_parser()
    commands = next(action for action in parser._actions if hasattr(action, "choices") and isinstance(action.choices, dict))
    assert len(commands.choices) >= 7
    for name, command in commands.choices.items():
        program, *words = shlex.split(str(command.epilog).removeprefix("example: "))
        assert program == "icctwin"
        assert parser.parse_args(words).run, name
