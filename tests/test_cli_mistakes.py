"""What a person mistypes at the command line: one sentence and exit status 2, never a traceback."""

import os
import pwd
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest

from analytics import rule_replay
from analytics.rule_replay import Fired
from ingest.stores import registry
from ingest.wire import read_secret
from twin.errors import SourceError
from ui.cli import main
from ui.commands import account_name

ASSETS = 'assets = "$"\n[store]'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("centre")
    (folder / "assets.csv").write_text("id,kind,parent\nh,hall,\nr,rack,h\nn,node,r\n")
    (folder / "site.toml").write_text('[site]\nname = "s"\n[store]\npath = "store"\n')
    (folder / "bin.csv").write_bytes(bytes(range(256)))
    return folder


@pytest.mark.parametrize(("words", "says"), [
    ("simulate --hours 1 --seed -1", "between 0 and"),
    ("simulate --hours 1 --start 1e30", "is no time"),
    ("simulate --hours 1 --start inf", "is no time"),
    ("simulate --hours 1 --outlook {bin}", "not UTF-8"),
    ("what-if --hours 1 --seed -3", "between 0 and"),
    ("trial supply_temperature --seed -1", "between 0 and"),
    ("rules test --days inf", "between 0.01 and"),
    ("rules test --days 1 --step 0", "between 1.0 and"),
    ("watchdog --once --after nan", "between 1.0 and"),
    ("acting --last -5", "between 1 and"),
    ("request x --limit-kw inf", "between 0.0 and"),
    ("request x --cut-kw 5 --hours inf", "between 0.01 and"),
    ("account --to 0001-01-01", "outside 1970 to 2999"),
    ("store grafana --out /dev/null/x", "/dev/null/x"),
    ("backup --out /no/such/x.tar", "/no/such/x.tar: there is no folder /no/such; make it, or name another place with --out\n"),
    ("report --out x --week 46", "--week: '46' is no week that there is; write one as 2026-W46, or another span with --span\n"),
    ("report --out x --week 2026-W60", "--week: '2026-W60' is no week that there is; write one as 2026-W46"),
    ("report --out x --week 2026-11", "--week: '2026-11' is no week that there is; write one as 2026-W46"),
    ("report --out x --span 2026-99", "--span: '2026-99' is in no calendar"),
    ("report --out x --span 0001-W01", "--span: '0001-W01' does not begin between 1970 and 2999"),
    ("report --out x --pue-limit 0.5", "--pue-limit: 0.5 is no limit of a PUE, which is at least 1; give one from 1 to 10"),
    ("report --out x --pue-limit nan", "--pue-limit: nan is no limit of a PUE"),
    ("chekc", "icctwin: error: argument COMMAND: there is no 'chekc'; did you mean check?\n"),
    ("user ad", "icctwin user: error: argument action: there is no 'ad'; did you mean add?\n"),
    ("check --jsno", "icctwin check: error: there is no '--jsno' here; did you mean --json?\n"),
    ("check site.toml", "icctwin check: error: there is no 'site.toml' here; see icctwin check --help\n"),
    ("check --quietly=x", "icctwin check: error: there is no '--quietly' here; see icctwin check --help\n"),
])  # fmt: skip
def test_a_value_that_cannot_be(site: Path, words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = [word.format(bin=site / "bin.csv") for word in words.split()]
    try:
        status = main([*told, "--config", str(site / "site.toml")])
    except SystemExit as end:  # of argparse
        status = int(end.code or 0)
    assert status == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("words", ["init /dev/null/x", "deploy --out /dev/null/x", "reference --out /dev/null/x"])
def test_a_place_that_cannot_be_written(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert capsys.readouterr().err.startswith("/dev/null/x")


@pytest.mark.parametrize("below", ["assets.csv/store", "/proc/store"])
def test_a_place_where_no_store_can_be(site: Path, tmp_path: Path, below: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (site / "site.toml").read_text().replace('"store"', f'"{site / below}"').replace("[store]", ASSETS)
    (tmp_path / "site.toml").write_text(text.replace("$", str(site / "assets.csv")))
    assert main(["check", "--config", str(tmp_path / "site.toml")]) == 1
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("BAD  store")
    assert said.endswith("; let icctwin write there, or name another folder as path of [store]")


@pytest.mark.parametrize(("kept", "says"), [
    (None, "cannot be read (No such file or directory); write it there, or let icctwin's account read it"),
    (b"\xff\xfe", "is no text; write it there as one line"),
    (b"two\nlines", "is no line of at most 16384 printable characters; write it so"),
])  # fmt: skip
def test_a_file_of_a_password_is_called_what_it_is(tmp_path: Path, kept: bytes | None, says: str) -> None:
    path = tmp_path / "word"
    if kept is not None:
        path.write_bytes(kept)
    with pytest.raises(SourceError) as refused:
        read_secret(path)
    assert str(refused.value) == f"the secret in {path} {says}"


@pytest.mark.parametrize(("name", "value"), [
    ("plant.range_k", 0), ("plant.range_k", -10), ("loops.cycles_ratio", 1), ("loops.valve_lag_s", 0), ("loops.branch_frac", 2),
    ("plant.cdu_speed_frac", 0), ("loops.shutoff_ratio", 1), ("plant.liquid_frac", 7), ("plant.supply_c", 1e3),
])  # fmt: skip
def test_a_number_that_no_plant_has(
    site: Path, tmp_path: Path, name: str, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(f'[[parameter]]\nname = "{name}"\nvalue = {value}\nsource = "a guess"\n')
    assert main(["simulate", "--hours", "1", "--config", str(site / "site.toml"), "--scenario", str(plan)]) == 2
    assert f"{name}: is {value:g}; it may be" in capsys.readouterr().err


def test_an_account_with_a_number_and_no_name_may_stop_everything(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a container that runs as any user."""

    def nobody(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert account_name() == f"uid:{os.getuid()}"
    assert main(["stop", "--why", "fire", "--config", str(site / "site.toml")]) == 0
    assert main(["acting", "--config", str(site / "site.toml")]) == 0
    assert f"stopped by uid:{os.getuid()}: fire" in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    with subprocess.Popen([sys.executable, "-m", "ui", "reference"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as told:
        assert told.stdout is not None
        assert told.stderr is not None
        assert told.stdout.readline()
        told.stdout.close()
        assert (told.stderr.read(), told.wait(60)) == (b"", 0)


def test_roles_and_the_site_of_netbox_can_be_said(fixtures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(path) for path in sorted((fixtures / "netbox").glob("*.json"))]
    for words, says in (
        (["--role", "Console"], "says no kind"),
        (["--role", "Console=teapot"], "teapot"),
        (["--site", "x"], "'x'"),
    ):
        assert main(["import", *files, "--out", str(tmp_path), *words]) == 2
        assert says in capsys.readouterr().err


def test_a_replay_of_the_rules_tells_what_fired_and_counts_the_rest(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Fired("quiet", 0, 0, "", 0.0, None), Fired("hot", 3, 2, "r1", 5400.0, None)]
    monkeypatch.setattr(rule_replay, "replay", lambda *_: rows)
    monkeypatch.setattr(registry, "open_kept", lambda *_, **__: BytesIO())
    words = ["rules", "test", "--days", "2", "--config", str(site / "site.toml")]
    hot = f"{3:6d} times  {'hot':<32} on 2 assets, most on r1, 1.5 h in all"
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == [hot, "1 of 2 rules fired in 2 days; --verbose lists the others"]
    assert main([*words, "--verbose"]) == 0
    quiet = f"{0:6d} times  {'quiet':<32} never"
    assert capsys.readouterr().out.splitlines() == [hot, quiet, "1 of 2 rules fired in 2 days"]
