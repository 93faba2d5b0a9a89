"""Maintenance as a known future: what it takes, what is learnt of it, and where its windows come from."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from faces_harness import DayStore, Hands
from small import small_site

from analytics import replay as replaying
from analytics.forecast import Aids, Forecast, forecast_series
from analytics.oncall.silence import Quiet, Silence, make_silence
from analytics.upkeep import upkeep
from ingest.stores.records import open_records
from twin.frame import Floats
from twin.state import State
from ui.oncall.service import OnCall
from ui.upkeep import TOPIC, Upkeeps, shares_of
from ui.view import Live

HOUR_S, DAY = 3600.0, 24
NOW = datetime(2026, 3, 2, tzinfo=UTC)


def flat(days: int) -> Floats:
    hours = np.arange(days * 24.0)
    return 100 + 10 * np.sin(2 * np.pi * hours / 24) + np.random.default_rng(4).normal(0, 0.5, len(hours))


def test_a_share_is_taken_from_what_is_foreseen_and_given_back_to_the_past() -> None:
    values = flat(20)
    end_s = len(values) * HOUR_S
    windows = [(end_s + 6 * HOUR_S, end_s + 12 * HOUR_S, 0.25), (end_s + 90 * DAY * HOUR_S, end_s + 91 * DAY * HOUR_S, 0.5)]
    found = upkeep(windows, values, 0.0, HOUR_S, DAY)
    assert found is not None
    assert found.ahead.tolist() == [0.0] * 6 + [0.25] * 6 + [0.0] * 12
    assert np.array_equal(found.whole(values), values)
    assert upkeep(windows[1:], values, 0.0, HOUR_S, DAY) is None


def test_what_windows_really_take_is_learnt_from_those_that_were() -> None:
    """Hosts that are drained still idle: of the half that is out, four tenths go on drawing."""
    values = flat(30)
    windows = []
    for day in range(10, 28, 2):
        at = slice(day * DAY + 3, day * DAY + 15)
        values[at] *= 1 - 0.5 * 0.6
        windows.append((at.start * HOUR_S, at.stop * HOUR_S, 0.5))
    end_s = len(values) * HOUR_S
    found = upkeep([*windows, (end_s, end_s + HOUR_S, 0.5)], values, 0.0, HOUR_S, DAY)
    assert found is not None
    assert found.ahead[0] == pytest.approx(0.5 * 0.6, abs=0.02)
    whole = found.whole(values)
    assert np.abs(whole - flat(30)).max() < 4  # as if nothing had been out
    everything = upkeep([(0.0, 2 * HOUR_S, 1.0)], values, 0.0, HOUR_S, DAY)
    assert everything is not None
    assert np.isfinite(everything.whole(values)).tolist()[:3] == [True, False, True]  # a series begins with a value


@pytest.mark.parametrize("days", [2, 10, 13, 20])
def test_a_window_early_in_a_young_series_is_nothing_to_learn_from(days: int) -> None:
    values, ahead_s = flat(days), days * DAY * HOUR_S
    values[2:6] /= 2
    found = upkeep([(2 * HOUR_S, 6 * HOUR_S, 0.5), (ahead_s, ahead_s + HOUR_S, 0.5)], values, 0.0, HOUR_S, DAY)
    assert found is not None
    assert found.ahead[0] == 0.5


def test_a_forecast_knows_its_windows_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "ORIGINS", 8)
    values = flat(20)
    end_s = len(values) * HOUR_S
    issued = datetime.fromtimestamp(end_s, UTC)
    aids = Aids(windows=[(end_s + 6 * HOUR_S, end_s + 12 * HOUR_S, 0.25)])
    plain, known = (
        forecast_series(np.arange(len(values)) * HOUR_S, values, issued, DAY, HOUR_S, aids=one) for one in (Aids(), aids)
    )
    assert isinstance(plain, Forecast)
    assert isinstance(known, Forecast)
    out = np.repeat([1.0, 0.75, 1.0], [6, 6, 12])
    assert known.p50 == pytest.approx(plain.p50 * out)
    assert known.left is not None
    assert known.left.tolist() == out.tolist()
    assert "25%" in str(known.notes[-1])


def window(*matchers: str, start: datetime = NOW, hours: float = 4, kind: Quiet = Quiet.MAINTENANCE) -> Silence:
    end = start + timedelta(hours=hours)
    return make_silence("w" + "".join(matchers), matchers, "ops", "new pumps", start.timestamp(), end.timestamp(), kind)


def test_shares_are_of_nodes_by_place() -> None:
    site = small_site("id=q kind=queue")
    assert shares_of(site, window("rack=r1")) == {("site", 0): 0.5, ("queue", 0): 0.5, ("hall", 0): 0.5, ("rack", 0): 1.0}
    assert shares_of(site, window("node=r2n1"))["rack", 1] == 0.5
    assert shares_of(site, window("rack=elsewhere")) == {}


class Told:
    """What is asked of the on-call service: the windows that are known."""

    def __init__(self) -> None:
        self.windows: list[Silence] = []

    def quiet_windows(self) -> list[Silence]:
        return self.windows


def test_windows_that_began_are_remembered_and_silences_of_people_do_not_count(tmp_path: Path) -> None:
    site, told, clock = small_site(), Told(), Hands(NOW)
    live = Live(site, State(site), DayStore(), open_records(tmp_path / "r.db"), clock, NOW, oncall=cast(OnCall, told))
    began, later = window("rack=r1", start=NOW - timedelta(hours=1)), window("rack=r2", start=NOW + timedelta(days=1))
    told.windows = [began, later, window("node=r1n1", kind=Quiet.SILENCE)]
    found = Upkeeps(live).windows(NOW)
    assert found["rack", 0] == [(began.start_s, began.end_s, 1.0)]
    assert found["rack", 1] == [(later.start_s, later.end_s, 1.0)]
    assert found["site", 0] == [(began.start_s, began.end_s, 0.5), (later.start_s, later.end_s, 0.5)]
    assert [record["id"] for _, _, record in live.records.read(TOPIC)] == [began.id]
    told.windows = []  # the calendar has forgotten it
    after = Upkeeps(live).windows(NOW + timedelta(days=3))
    assert after["rack", 0] == [(began.start_s, began.end_s, 1.0)]
    assert ("rack", 1) not in after
