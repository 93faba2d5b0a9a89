"""``icctwin forecast`` as a person meets it: any regular series, and every kind of bad one, each with its sentence."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from analytics import replay as replaying
from analytics import table
from twin.errors import ConfigError
from ui.cli import main

START = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer past moments: the same code in a third of the time."""
    monkeypatch.setattr(replaying, "ORIGINS", 14)


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("time,value\n" + "\n".join(lines) + "\n")
    return path


def load(steps: int, minutes: int = 60, seed: int = 1) -> list[tuple[datetime, float]]:
    rng = np.random.default_rng(seed)
    times = [START + timedelta(minutes=minutes * i) for i in range(steps)]
    return [(t, 100 + 20 * np.sin(2 * np.pi * (t.hour + t.minute / 60) / 24) + rng.normal(0, 2)) for t in times]


def lines_of(rows: list[tuple[datetime, float]]) -> list[str]:
    return [f"{time.isoformat()},{value:.6g}" for time, value in rows]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object], str]:
    code = main(["forecast", *arguments, "--json"])
    seen = capsys.readouterr()
    return code, json.loads(seen.out) if seen.out else {}, seen.err


def answer(path: Path) -> np.ndarray:
    with path.open() as file:
        return np.array([[float(row[name]) for name in ("p10", "p50", "p90")] for row in csv.DictReader(file)])


@pytest.mark.parametrize(("minutes", "steps", "horizon"), [(5, 2400, 24), (30, 1100, 48), (1440, 200, 14), (7 * 1440, 80, 4)])
def test_minutes_to_weeks(minutes: int, steps: int, horizon: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write(tmp_path / "f.csv", lines_of(load(steps, minutes))), tmp_path / "o.csv"
    code, said, _ = run(capsys, "--input", str(source), "--horizon", str(horizon), "--out", str(out))
    assert code == 0
    bands = answer(out)
    assert bands.shape == (horizon, 3)
    assert (np.diff(bands, axis=1) >= 0).all()
    ahead = [START + timedelta(minutes=minutes * (steps + i)) for i in range(horizon)]
    truth = [100 + 20 * np.sin(2 * np.pi * (t.hour + t.minute / 60) / 24) for t in ahead]
    assert np.abs(bands[:, 1] - truth).mean() < 4
    assert said["model"] in ("blend", "seasonal_naive_day")


def test_a_disordered_gappy_file_is_mended_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = load(24 * 30)
    plain = lines_of(rows)
    plain[100], plain[300] = plain[300], plain[100]
    plain[200] = plain[200].split(",")[0] + ",inf"
    plain[210] = plain[210].split(",")[0] + ",n/a"
    plain.insert(400, plain[399])
    del plain[500:506]
    plain[600] = (rows[600][0] + timedelta(minutes=25)).isoformat() + ",7"
    source = write(tmp_path / "f.csv", plain)
    code, said, err = run(capsys, "--input", str(source), "--out", str(tmp_path / "o.csv"))
    assert code == 0
    notes = " ".join(said["notes"])  # type: ignore[arg-type]
    for words in ("1 infinite values", "were sorted", "1 steps have more than one value", "1 times lie beside"):
        assert words in notes
        assert words in err
    assert answer(tmp_path / "o.csv").shape == (24, 3)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (lines_of(load(5)), "too few to foresee 24"),
        (lines_of(load(2)), "too few to foresee 24"),
        (
            [f"{line.split(',')[0]}," if i % 2 else line for i, line in enumerate(lines_of(load(600)))],
            "% of the series is missing",
        ),
        ([f"{line.split(',')[0]},5" for line in lines_of(load(600))], "constant for 600 values"),
    ],
)
def test_a_poor_series_gets_a_simple_forecast_that_says_so(
    lines: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, err = run(capsys, "--input", str(write(tmp_path / "f.csv", lines)), "--out", str(tmp_path / "o.csv"))
    assert code == 0
    assert says in err
    assert said["mase"] is None
    bands = answer(tmp_path / "o.csv")
    assert np.isfinite(bands).all()
    if "constant" not in says:
        assert (bands[:, 2] > bands[:, 0]).all()  # no number without an interval
        assert (bands[-1, 2] - bands[-1, 0]) >= (bands[0, 2] - bands[0, 0])


@pytest.mark.parametrize(
    ("lines", "code", "says"),
    [
        ([f"{line.split(',')[0]}," for line in lines_of(load(50))], 1, "the series has no value"),
        ([f"{line.split(',')[0]},high" for line in lines_of(load(50))], 2, "value is 'high'; write a number"),
        ([f"{time.isoformat()},1" for time, _ in load(50, 7)], 1, "a step of 420 s does not divide a day"),
        ([lines_of(load(1))[0]] * 3, 1, "all times of the series are the same"),
        (["2026-01-05T00:00:00,1"] * 2, 2, "say whose local time it is with --zone"),
    ],
)
def test_what_cannot_be_foreseen_is_told_in_a_sentence(
    lines: list[str], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _, err = run(capsys, "--input", str(write(tmp_path / "f.csv", lines)), "--out", str(tmp_path / "o.csv"))
    assert found == code
    assert says in err
    assert "Traceback" not in err
    assert not (tmp_path / "o.csv").exists()


def test_local_times_over_both_changes_of_the_clocks(tmp_path: Path) -> None:
    zone = ZoneInfo("Europe/Berlin")
    for day in (datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)):
        hours = [day + timedelta(hours=i) for i in range(8)]
        local = [f"{hour.astimezone(zone).replace(tzinfo=None).isoformat()},1" for hour in hours]
        times, _ = table.read_series(write(tmp_path / "f.csv", local), "Europe/Berlin")
        assert times.tolist() == [hour.timestamp() for hour in hours]
    with pytest.raises(ConfigError, match="the clocks went forward"):
        table.read_series(write(tmp_path / "f.csv", ["2026-03-29T01:30:00,1", "2026-03-29T02:30:00,1"]), "Europe/Berlin")
    with pytest.raises(ConfigError, match="no time zone 'Berlin'"):
        table.read_series(tmp_path / "f.csv", "Berlin")


def test_a_card_a_limit_and_a_backtest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write(tmp_path / "f.csv", lines_of(load(24 * 35))))
    aids = ("--zone", "Asia/Shanghai", "--country", "CN", "--limit", "124", "--card", str(tmp_path / "c.json"))
    code, said, _ = run(capsys, "--input", source, "--backtest", *aids)
    assert code == 0
    card = json.loads((tmp_path / "c.json").read_text())
    assert card == said["card"]
    assert [lead["to_s"] for lead in card["leads"]] == [3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400]
    assert card["score"]["mase"] < 0.85
    assert any("past moments only" in weak for weak in card["weak"])
    limit = said["limit"]
    assert isinstance(limit, dict)
    assert 0 < limit["probability"] < 1
    (day,) = said["days"]  # type: ignore[misc]
    assert 3 <= datetime.fromisoformat(day["peak_at"]).hour <= 9
    assert main(["forecast", "--input", source, "--backtest"]) == 0
    text = capsys.readouterr().out
    assert "daily naive" in text
    assert "peak from" in text


def test_wrong_usage_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", "--country", "CN", "--limit", "inf"]) == 2
    err = capsys.readouterr().err
    assert len([line for line in err.splitlines() if line]) == 3
    assert "needs --zone" in err
