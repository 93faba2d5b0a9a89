"""A forecast as a picture: well-formed, in its own zone and unit, honest in gaps; by the command and by the API."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import pytest
from faces_harness import DayStore, Hands
from small import small_site

from analytics import replay as replaying
from analytics.fallback import simple
from analytics.forecast import Forecast
from analytics.grid import Grid
from analytics.score import Score
from ingest.stores.records import open_records
from twin.errors import ConfigError
from twin.message import Message
from twin.state import State
from ui.commands.foresee import forecast
from ui.faces.server import build_server
from ui.forecast_picture import forecast_svg
from ui.view import Live
from ui.words import words

NOW = datetime(2026, 3, 2, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def made(kind: str = "site", metric: str = "it_power_w") -> Forecast:
    past = 1e6 * (1 + 0.1 * np.sin(np.arange(96.0) / 4))
    bands = simple(Grid(past, NOW.timestamp() - 96 * 3600, 3600.0, ()), 24)
    time_s = NOW.timestamp() + 3600 * np.arange(24.0)
    note = Message("maintenance takes up to {most:.0%} of it out", {"most": 0.25})
    return Forecast(kind, 0, metric, NOW, time_s, *bands, Score("blend", 0.7, 1.0, 0.6, 0.81, 20), (note,))


def test_the_picture_shows_past_median_band_units_and_what_is_weak() -> None:
    time_s = NOW.timestamp() - 3600 * np.arange(96.0, 0.0, -1)
    values = np.where(np.arange(96) == 50, np.nan, 1e6)
    root = ElementTree.fromstring(forecast_svg(words("zh"), "IT <1>", "w", made(), (time_s, values), ZoneInfo("Asia/Shanghai")))
    texts = [one.text or "" for one in root.iter(f"{SVG}text")]
    assert texts[0] == "IT <1>"
    assert any("MW" in text or "kW" in text for text in texts)
    assert any("25%" in text for text in texts)
    lines = [one.get("d", "") for one in root.iter(f"{SVG}path") if one.get("stroke-width") == "2"]
    assert lines[0].count("M") == 2  # broken at the gap
    assert "NaN" not in "".join(lines)
    empty = forecast_svg(words("en"), "t", "", made(), (np.empty(0), np.empty(0)), ZoneInfo("UTC"))
    assert ElementTree.fromstring(empty).tag == f"{SVG}svg"


def options(tmp_path: Path, **more: object) -> argparse.Namespace:
    path = tmp_path / "load.csv"
    hours = np.arange(20 * 24)
    rows = (f"{3600 * i},{5 + np.sin(i / 3.8):.4f}" for i in hours.tolist())
    path.write_text("time,value\n" + "\n".join(rows))
    given = {"input": path, "horizon": 12, "out": None, "zone": "", "country": "", "limit": None, "card": None}
    return argparse.Namespace(**{**given, "picture": tmp_path / "f.svg", "backtest": False, "json": True, **more})


def test_the_command_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(replaying, "ORIGINS", 8)
    assert forecast(options(tmp_path)) == 0
    assert ElementTree.parse(tmp_path / "f.svg").getroot().tag == f"{SVG}svg"
    assert "mase" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="cannot be written"):
        forecast(options(tmp_path, picture=tmp_path / "no" / "f.svg"))
    with pytest.raises(ConfigError, match="picture"):
        forecast(options(tmp_path, picture=None))


async def test_the_api_draws_what_the_page_lists(tmp_path: Path) -> None:
    site = small_site()
    live = Live(site, State(site), DayStore(), open_records(tmp_path / "r.db"), Hands(NOW), NOW, forecasts=(made(),))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build_server(live)), base_url="http://localhost") as ask:
        found = await ask.get("/api/v1/forecasts/picture?key=site/0/it_power_w&language=en")
        assert found.headers["content-type"] == "image/svg+xml"
        assert (ElementTree.fromstring(found.text)[1].text or "") == "IT power"
        assert (await ask.get("/api/v1/forecasts/picture")).text == found.text
        assert (await ask.get("/api/v1/forecasts/picture?key=rack:power_w:0")).status_code == 404
