"""What people read of acting before and after: what nothing can set is refused at once, and each step says why."""

import math
from datetime import UTC, datetime
from itertools import product

from energy_house import NOW, Physics, a_plan, hall, read
from faces_harness import DayStore, Hands

from energy.notes import TOPIC, Stage, message, plain
from energy.plan import Mode
from ingest.stores.records import open_records
from twin.message import Message
from ui.acting import Acting
from ui.cli import main
from ui.faces.pages.audit import _row
from ui.view import Live
from ui.words import words


async def test_what_no_device_takes_is_refused_before_anybody_is_asked_and_still_advised(tmp_path):
    class Takes:
        def takes(self, asset):
            return frozenset({"supply_temp_setpoint_c"})

        async def apply(self, action, now):
            raise AssertionError("nothing is sent")

    site, records = hall(), open_records(tmp_path / "records.db")
    live = Live(site, read(site, Physics(), 24.0, 30.0), DayStore(), records, Hands(NOW), NOW, folder=tmp_path)
    acting = Acting(live, lambda frames: None, [], {"c1": Takes()}, tmp_path, levers={})
    said = {}
    for mode, (asset, metric, value) in product(
        Mode, [("c1", "supply_temp_setpoint_c", 31.0), ("c2", "supply_temp_setpoint_c", 31.0), ("c1", "pump_speed_frac", 0.8)]
    ):
        live.modes["supply_temperature"] = mode
        _, verdict = await acting._judged(a_plan((asset, value), metric=metric), NOW)
        said[mode, asset, metric] = "not_settable" in [refusal.rule for refusal in verdict.refusals]
    assert {key for key, refused in said.items() if refused} == {
        (mode, *what)
        for mode in (Mode.APPROVE, Mode.AUTO)
        for what in (("c2", "supply_temp_setpoint_c"), ("c1", "pump_speed_frac"))
    }
    records.close()


def test_the_command_says_why_with_its_numbers(tmp_path, capsys):
    (tmp_path / "assets.csv").write_text("id,kind,parent\nhall,hall,\n")
    (tmp_path / "site.toml").write_text('[site]\nname = "s"\n[store]\npath = "store"\n')
    (tmp_path / "store").mkdir()
    told = "{asset} was told {ordered:g} and says {read:g}"
    whys = [
        message(Message("{asset} did not take it: {error}", {"asset": "c1", "error": "no {answer}"})),
        plain(message(Message(told, {"asset": "c1", "ordered": 31.0, "read": math.nan}))),
        {"text": told, "params": {"asset": "c1"}},  # of a release that kept other numbers
        None,
    ]
    records = open_records(tmp_path / "store" / "records.db")
    step = {"stage": Stage.EXPIRED, "plan": "p1"}
    records.append_all(TOPIC, [(datetime.now(UTC), {**step, "why": why}) for why in whys])
    records.close()
    assert main(["acting", "--config", str(tmp_path / "site.toml")]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()[-4:]]
    assert lines[0].endswith("c1 did not take it: no {answer}")
    assert lines[1].endswith("c1 was told 31 and says nan")
    assert lines[2].endswith(told)
    assert "p1" in lines[3]
    shown = _row(NOW, {"topic": TOPIC, **step, "why": whys[1]}, words("en"))  # and the page beside it
    assert "c1 was told 31 and says nan" in str(shown)
