"""Trials by lot: the draw stands before it begins, its interval is as sure as it says, and a lever keeps to it."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from energy_house import NOW
from test_acting import house  # noqa: F401
from test_requests import Kept

from energy.ledger import TOPIC as LEDGER
from energy.plan import Mode
from energy.trial import BOOKED, STEP_S, Trial, book, estimate, register, registered, rests
from twin.errors import SourceError
from ui.cli import main

MIDNIGHT = NOW.replace(hour=0) + timedelta(days=1)
DAY = 86_400.0


def trial(seed=7, days=14, block_s=7200.0, lever="supply_temperature", begin=MIDNIGHT):
    return Trial(lever, seed, begin.timestamp(), days, block_s, "li")


def measured(one, effect_w, seed, noise_w=2e3):
    """A centre whose power follows load and weather, and falls by ``-effect_w`` while the lever acts."""
    rng = np.random.default_rng(seed)
    time_s = one.begin_s + STEP_S * np.arange(round(one.days * DAY / STEP_S))
    hour = (time_s % DAY) / 3600
    it_w = 1e6 + 5e4 * np.sin(2 * np.pi * hour / 24) + np.repeat(rng.normal(0, 3e4, -(-len(time_s) // 16)), 16)[: len(time_s)]
    wet_c = 15 + 5 * np.sin(2 * np.pi * (hour - 9) / 24) + np.repeat(rng.normal(0, 1, -(-len(time_s) // 96)), 96)[: len(time_s)]
    acts = one.acts()[((time_s - one.begin_s) // one.block_s).astype(int)]
    power_w = 1.1 * it_w + 2e3 * wet_c + effect_w * acts + rng.normal(0, noise_w, len(time_s))
    return time_s, np.column_stack([power_w, it_w, wet_c])


@pytest.mark.parametrize("block_s", [3600.0, 7200.0, 4 * 3600.0, 8 * 3600.0])
def test_half_of_each_day_is_drawn_and_the_seed_says_which(block_s):
    one = trial(block_s=block_s)
    by_day = one.acts().reshape(one.days, -1)
    per_day = by_day.shape[1]
    assert set(by_day.sum(axis=1).tolist()) <= {per_day // 2, -(-per_day // 2)}
    assert abs(int(by_day.sum()) * 2 - by_day.size) <= 1
    assert np.array_equal(one.acts(), trial(block_s=block_s).acts())
    assert not np.array_equal(one.acts(), trial(seed=8, block_s=block_s).acts())


def test_a_draw_counts_only_when_it_was_written_down_before_and_is_not_changed_after():
    records = Kept()
    digest = register(records, trial(), NOW)
    assert len(digest) == 64
    assert registered(records) == [trial()]
    with pytest.raises(SourceError, match="would have begun"):
        register(records, trial(lever="coolant_flow", begin=NOW), NOW)
    with pytest.raises(SourceError, match="begin after it"):
        register(records, trial(begin=MIDNIGHT + timedelta(days=3)), NOW)
    register(records, trial(lever="coolant_flow"), NOW)
    number, topic, time, record = records.all[0]
    flipped = record["acts"][:-1] + ("0" if record["acts"][-1] == "1" else "1")
    records.all[0] = (number, topic, time, {**record, "acts": flipped})
    with pytest.raises(SourceError, match="no draw of its own seed"):
        registered(records)


@pytest.mark.parametrize("wrong", [{"days": 0}, {"days": 400}, {"block_s": 5000.0}, {"block_s": DAY}, {"block_s": 1800.0}])
def test_a_trial_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"days|blocks"):
        trial(**wrong)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """On 60 made-up centres: an 80 % interval that holds it in 70 to 90 %, and a mean without bias."""
    held, found = 0, []
    for seed in range(60):
        one = trial(seed=seed)
        got = estimate(one, *measured(one, -5e3, seed))
        held += got.low_w <= -5e3 <= got.high_w
        found.append(got.change_w)
    assert 42 <= held <= 54
    assert np.mean(found) == pytest.approx(-5e3, abs=100)


def test_too_little_is_no_estimate_and_missing_weather_is_done_without():
    one = trial(days=1)
    assert estimate(one, *measured(one, -5e3, 1)) is None
    one = trial()
    time_s, table = measured(one, -5e4, 1)
    table[:, 2] = np.nan
    assert estimate(one, time_s, table).high_w < 0
    table[:, 0] = np.nan
    assert estimate(one, time_s, table) is None


def test_what_a_trial_has_shown_is_booked_once():
    class Store:
        def series(self, kind, metrics, start, end, step_s=None, *more, **options):
            from twin.ports import Series

            if kind == "weather":
                columns = {"wet_bulb_c": table[:, 2:3]}
            else:
                columns = {"it_power_w": table[:, 1:2], "facility_power_w": table[:, :1]}
            return Series(time_s, np.zeros(1, np.int32), columns)

    records, one = Kept(), trial()
    register(records, one, NOW)
    time_s, table = measured(one, -8e3, 3)
    later = MIDNIGHT + timedelta(days=14, hours=1)
    assert book(records, Store(), MIDNIGHT + timedelta(days=13)) == []
    (entry,) = book(records, Store(), later)
    assert (entry["note"], entry["plan"]) == ("saved", one.key)
    assert entry["energy_kwh"] == pytest.approx(-8 * 14 * 12, rel=0.1)
    assert book(records, Store(), later) == []
    count = len(records.all)
    records.all += [(count + k, LEDGER, later, {"entry": "advised", "plan": f"p{k}"}) for k in range(1, 20_002)]
    assert book(records, Store(), later + timedelta(days=1)) == []
    records.all = [one for one in records.all if one[1] != BOOKED]  # as a release before this one left it
    assert book(records, Store(), later + timedelta(days=1)) == []
    assert [record["entry"] for _, topic, _, record in records.all if topic == LEDGER].count("trial") == 1
    assert [record["plan"] for _, topic, _, record in records.all if topic == BOOKED] == [one.key], "and is marked then"


async def test_a_lever_keeps_to_the_draw_and_lets_go_where_it_rests(house):  # noqa: F811
    one = replace(trial(lever="job_start", block_s=3600.0), begin_s=NOW.timestamp() + 3600)
    register(house.records, one, NOW)
    house.plan = replace(house.plan, key="job_start:1", expires=NOW + timedelta(days=2))
    house.new()
    acts = one.acts()
    hour = int(np.flatnonzero(acts[:-1] & ~acts[1:])[0])  # one in which it acts, before one in which it rests
    house.clock.skip(3600 * (hour + 1) + 60)
    await house.act(Mode.AUTO)
    assert set(house.slurm.begin) == {"0", "1"}
    house.clock.skip(3600)
    assert rests(house.records, "job_start", house.clock.now()) == one
    await house.act(Mode.AUTO)
    assert house.slurm.begin == {}
    told = [record for _, _, record in house.records.read("audit") if record["stage"] == "reverting"]
    assert "draw of a trial" in told[0]["why"]["text"]


def test_the_command_draws_and_lists(tmp_path, capsys):
    (tmp_path / "assets.csv").write_text("id,kind,parent\nnet,grid,\n")
    (tmp_path / "site.toml").write_text('[site]\nname = "s"\n[store]\npath = "store"\n')
    config = ("--config", str(tmp_path / "site.toml"), "--json")
    assert main(["trial", "coolant_flow", "--days", "3", "--who", "li", *config]) == 0
    assert json.loads(capsys.readouterr().out)["acts_blocks"] == 18
    assert main(["trial", *config]) == 0
    assert [row["lever"] for row in json.loads(capsys.readouterr().out)] == ["coolant_flow"]
    assert main(["trial", "coolant_flow", *config]) == 1  # one runs already
    assert main(["trial", "none", *config]) == 2
    assert main(["trial", "job_start", "--block-hours", "5", *config]) == 2
    assert main(["trial", "job_start", "--start", "2020-01-01", *config]) == 1
