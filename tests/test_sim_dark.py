"""Machines without power and what they leave to others: stand-by pumps and feeds, survivors' loads, rooms without air."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.small import rows
from twin.load import build_site
from twin.params import Params
from twin.sim.outlook import Line, Outlook, outlook_of
from twin.sim.scenario import Fault, Scenario
from twin.sim.telemetry import Telemetry
from twin.simulate import Trajectory, simulate
from twin.site import Site

P = Params()
FULL_W = 1e5
PLANT = ["id=h kind=hall", "id=g kind=grid", "id=w kind=loop", "id=wp kind=pump parent=w", "id=ct kind=tower"]


def site_of(assets: list[str], *links: str) -> Site:
    cells = [f"from={a} relation={r} to={b}" + (f" share={s[0]}" if s else "") for a, r, b, *s in map(str.split, links)]
    return build_site("x", "UTC", rows(*PLANT, *assets), rows(*cells))


def weather(wet_c: float, dry_c: float) -> Outlook:
    time_s = np.array([0.0, 1e6])
    return outlook_of({"wet_bulb_c": Line(time_s, np.full(2, wet_c)), "dry_bulb_c": Line(time_s, np.full(2, dry_c))})


class Kept:
    """Keeps what a run writes."""

    tables = ("site", "cdu", "device")

    def __init__(self) -> None:
        self.chunks: dict[str, list[Mapping[str, Any]]] = {}

    def write(self, table: str, columns: Mapping[str, Any]) -> None:
        self.chunks.setdefault(table, []).append(columns)

    def column(self, table: str, name: str) -> np.ndarray:
        return np.concatenate([np.asarray(chunk[name]) for chunk in self.chunks[table]])

    def device(self, name: str) -> dict[str, float]:
        (table,) = self.chunks["device"]
        return dict(zip(table["asset"], table[name].tolist(), strict=True))


def run(
    site: Site, *faults: Fault, hours: float = 1.0, step_s: float = 10.0, air: Outlook | None = None, **power_w: float
) -> tuple[Trajectory, Kept]:
    """``power_w``: of racks by id; a pair is before and after half of the run."""
    told = np.array([0.0, 600.0, 1e6])
    table = np.array([np.broadcast_to(power, 3) for power in power_w.values()]).T
    kept = Kept()
    work = Telemetry(told, tuple(power_w), table)
    plan = Scenario(faults=faults)
    return simulate(site, work, P, air or weather(15, 20), hours * 3600, step_s, scenario=plan, sink=kept), kept


# --- stand-by pumps -------------------------------------------------------------------------------------------------

PUMPS = ["id=c kind=cdu parent=h", "id=pa kind=pump parent=c", "id=pb kind=pump parent=c",
         "id=r kind=rack parent=h rated_w=100000"]  # fmt: skip
WATER = ("w cools c", "c cools r", "ct cools w")


@pytest.mark.parametrize("gone", ["pa", "ta"])
def test_a_standby_pump_takes_over_from_one_that_fails_and_from_one_that_loses_its_feed(gone: str) -> None:
    feeds = [f"id=t{side} kind=transformer rated_va=2e6" for side in "ab"]
    links = ("g feeds ta", "g feeds tb", "ta feeds pa", *(f"tb feeds {one}" for one in ("pb", "r", "wp", "ct", "c")))
    made, kept = run(site_of(PUMPS + feeds, *links, *WATER), Fault(gone, "trip", 600.0), r=FULL_W)
    flow = kept.column("cdu", "flow_kgps")
    still = np.flatnonzero(flow < 0.5 * flow[0])
    assert (still * 10.0).tolist() == [600.0], f"it stands for {P.loops.takeover_s:g} s"
    assert made.summary["racks_off_count"] == 0


def test_a_standby_pump_takes_over_after_a_breaker_has_opened_in_the_middle_of_a_chunk() -> None:
    """A UPS of 20 kW under 30 kW opens on its thermal element minutes after the load came; one of two pumps hangs on it."""
    feeds = ["id=t1 kind=transformer rated_va=5e6", "id=u kind=ups rated_w=20000", "id=r2 kind=rack parent=h rated_w=30000"]
    links = ("g feeds t1", "t1 feeds u", "u feeds pa", "u feeds r2", *(f"t1 feeds {one}" for one in ("pb", "r", "wp", "c")))
    made, kept = run(site_of(PUMPS + feeds, *links, *WATER), hours=2.0, r=FULL_W, r2=(100.0, 3e4, 3e4))  # type: ignore[arg-type]
    (trip,) = (one["time_s"] for one in made.limits if one["what"] == "breaker trips")
    flow = kept.column("cdu", "flow_kgps")
    assert (np.flatnonzero(flow < 0.5 * flow[0]) * 10.0).tolist() == [trip]


def test_leaks_of_one_coolant_unit_empty_it_together() -> None:
    """Half of a leak at the unit and half at its rack are the whole one; one that is mended before the other is none."""
    site = site_of(PUMPS, *WATER)
    dry = []
    for leaks in ([("c", 60.0, 0.1)], [("c", 60.0, 0.05), ("r", 60.0, 0.05)], [("c", 0.0, 0.05)]):
        made, kept = run(site, *(Fault(asset, "leak", start_s, value=kgps) for asset, start_s, kgps in leaks), r=FULL_W)
        dry.append(float(np.flatnonzero(kept.column("cdu", "flow_kgps") < 0.1)[0]) * 10.0)
        assert made.summary["racks_over_limit_count"] == 1
    assert dry[0] == dry[1] == pytest.approx(60 + (dry[2]) / 2, abs=10)


@pytest.mark.parametrize("second", [(4000.0, 6000.0), (1000.0, 6000.0), (2000.0, 6000.0)], ids=["later", "overlaps", "follows"])
def test_a_coolant_unit_runs_dry_at_each_leak_and_is_filled_only_when_none_is_open(second: tuple[float, float]) -> None:
    """It loses 0.5 kg/s from 500 s to 2000 s, then again or still."""
    site, ends = site_of(PUMPS, *WATER), [(500.0, 2000.0), second]
    flow = run(site, *(Fault("c", "leak", *when, 0.5) for when in ends), hours=2.0, r=FULL_W)[1].column("cdu", "flow_kgps")
    edges = np.flatnonzero(np.diff(flow < 0.1)) * 10.0 + 10.0  # stops and goes in turn
    lasts = edges[0] - 500.0
    assert 0 < lasts < 400
    due = [500 + lasts, 2000.0, 4000 + lasts, 6000.0] if second[0] > 2000 else [500 + lasts, 6000.0]
    assert edges.tolist() == due


# --- what the dead leave to others ----------------------------------------------------------------------------------

CHILLED = ["id=ta kind=transformer rated_va=2e6", "id=tb kind=transformer rated_va=2e6", "id=ti kind=transformer rated_va=2e6",
           "id=ca kind=chiller rated_w=200000", "id=cb kind=chiller rated_w=200000", "id=air kind=crah parent=h",
           "id=r kind=rack parent=h rated_w=900000 liquid_frac=0"]  # fmt: skip
COLD = ("g feeds ta", "g feeds tb", "g feeds ti", "ta feeds ca", "tb feeds cb", *(f"ti feeds {x}" for x in ("r", "wp", "ct")),
        "ti feeds air", "w cools air", "ca cools w", "cb cools w", "ct cools ca", "ct cools cb")  # fmt: skip


@pytest.mark.parametrize("gone", ["ca", "ta"])
def test_what_a_dead_chiller_drew_goes_over_to_the_other_and_its_feed(gone: str) -> None:
    site, hot = site_of(CHILLED, *COLD), weather(26, 34)
    (sound, whole), (lost, left) = (run(site, *faults, step_s=60.0, air=hot, r=9e5) for faults in ((), (Fault(gone, "trip"),)))
    for name in ("it_power_w", "chillers_w", "cooling_power_w"):
        assert lost.series[name][-1] == pytest.approx(sound.series[name][-1], rel=1e-3), name
    both_kwh = 2 * (whole.device("energy_in_kwh")["tb"] - whole.device("loss_kwh")["tb"])
    assert left.device("energy_in_kwh")["tb"] - left.device("loss_kwh")["tb"] == pytest.approx(both_kwh, rel=1e-3)
    assert left.device("energy_in_kwh")["ta"] == pytest.approx(left.device("loss_kwh")["ta"]), "nothing hangs on it any more"


def test_machines_that_are_all_out_draw_nothing_and_it_goes_on() -> None:
    """A site whose only chillers are dark: their power is gone from the centre, and not from IT."""
    both = (Fault("ta", "trip", 600.0), Fault("tb", "trip", 600.0))
    made, _ = run(site_of(CHILLED, *COLD), *both, step_s=60.0, air=weather(26, 34), r=9e5)
    assert made.series["chillers_w"][-1] == 0
    assert made.series["it_power_w"][-1] == pytest.approx(9e5, rel=0.01)


def test_a_feed_that_stands_by_carries_all_when_the_other_is_lost() -> None:
    sides = ["id=a kind=pdu rated_w=200000", "id=b kind=pdu rated_w=150000", "id=r kind=rack parent=h rated_w=100000"]
    site = site_of(sides, "g feeds a", "g feeds b", "a feeds r 1", "b feeds r 0")
    (_, sound), (made, lost) = (run(site, *faults, r=FULL_W) for faults in ((), (Fault("a", "trip"),)))
    assert sound.device("loading_max_frac")["b"] == 0
    assert made.series["it_power_w"][-1] == FULL_W
    assert lost.device("loading_max_frac")["b"] == pytest.approx(FULL_W / 150e3)


# --- rooms ----------------------------------------------------------------------------------------------------------

AIRY = ["id=ch kind=chiller", "id=air kind=crah parent=h", "id=r kind=rack parent=h rated_w=500000 liquid_frac=0"]


def test_a_room_without_air_handlers_is_told_with_the_time_at_which_its_inlets_pass_their_limit() -> None:
    """The air warms by the heat of the racks over what it holds: the limit comes (limit - before)·C/Q after the fault."""
    made, _ = run(site_of(AIRY, "w cools air", "ch cools w"), Fault("air", "trip", 600.0), r=4.5e5)
    limit_c = P.loops.inlet_limit_c + P.loops.air_rise_k
    held_jpk = 5e5 / P.loops.air_rise_k * P.loops.air_s
    (one,) = made.limits
    assert (one["asset"], one["what"]) == ("r", "room air")
    assert one["after_fault_s"] == pytest.approx((limit_c - made.series["room_c"][59]) * held_jpk / 4.5e5, abs=15)
    assert made.summary["time_to_limit_s"] == one["after_fault_s"]
    assert made.summary["racks_over_limit_count"] == 1
    assert made.summary["room_max_c"] > limit_c  # type: ignore[operator]
    assert any("is not modelled" in note for note in made.notes)
    sound, _ = run(site_of(AIRY, "w cools air", "ch cools w"), r=4.5e5)
    assert sound.limits == []
    assert sound.summary["room_max_c"] < limit_c  # type: ignore[operator]


def test_a_room_that_was_hot_takes_no_more_water_than_valves_let_through() -> None:
    """Air handlers come back after an hour and more, and no pump is described that could limit what they take."""
    pumped = [line.replace(" parent=w", "") for line in PLANT]
    site = build_site("x", "UTC", rows(*pumped, *AIRY), rows(*(f"from={a} relation=cools to={b}" for a, b in
                      (("w", "air"), ("ch", "w"), ("ct", "w")))))  # fmt: skip
    ends = []
    for step_s in (5.0, 60.0):
        made, _ = run(site, Fault("air", "trip", 600.0, 4800.0), hours=2.0, step_s=step_s, r=4.5e5)
        assert made.series["pumps_w"].max() < 0.05 * 4.5e5
        assert (made.series["rejected_w"] >= 0).all()
        ends.append(made.series["room_c"][-1])
    assert ends[0] == pytest.approx(ends[1], rel=0.01)
