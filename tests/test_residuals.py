"""Residuals on a simulated hall with faults whose truth is known: what is wrong shows first where it is wrong."""

import asyncio
from datetime import timedelta

import numpy as np
import pytest

from ingest.sources import simulated
from tests.hall import START, Kept, hall_site, plant, polled, watch
from twin.adopt import entry_of, in_force
from twin.calibrate import propose
from twin.history import History
from twin.params import Params
from twin.reconcile import LIMIT_RATIO

GPUS = 256
BEGIN_S = 600


@pytest.fixture(scope="module")
def calibrated() -> Params:
    """Parameters fitted to two hours of the hall, as the live twin would have them."""
    opened, kept = plant(GPUS), Kept(hall_site(GPUS))

    async def live() -> None:
        for t in range(0, 2 * 3600, 15):
            kept.append(await polled(opened, START + timedelta(seconds=t)))

    asyncio.run(live())
    history = History(kept.site, kept, START, START + timedelta(hours=2), 60.0)  # type: ignore[arg-type]
    return in_force(kept.site, Params(), [entry_of(propose(history, Params()), (history.start, history.end), START, "test")])


@pytest.mark.parametrize(
    ("kind", "hit", "shows_at", "within_s"),
    [
        ("fouling", "h1-a-cdu1", ("cdu", "h1-a-cdu1", "supply_temp_score_ratio", 1), 900),
        ("leak", "h1-a03", ("cdu", "h1-a-cdu1", "flow_score_ratio", -1), 300),
        ("sensor_drift", "h1-a03", ("rack", "h1-a03", "", 0), 900),
    ],
)
async def test_a_fault_shows_first_in_the_residual_of_what_it_hits(
    calibrated: Params, kind: str, hit: str, shows_at: tuple[str, str, str, int], within_s: float
) -> None:
    """No rack or CDU passes the limit before the fault; the first that does is the right sensor of the right asset."""
    opened, site = plant(GPUS, [{"kind": kind, "after_s": BEGIN_S, "asset": hit, "for_s": 3000}]), hall_site(GPUS)
    async for t, found in watch(opened, site, calibrated, 3000, 20):
        worst = {key: column[np.nanargmax(np.abs(column))] for key, column in found.items() if np.isfinite(column).any()}
        over = {key: value for key, value in worst.items() if key[0] in ("rack", "cdu") and abs(value) > LIMIT_RATIO}
        if t < BEGIN_S:
            assert not over or t < 200, f"a false alarm after {t} s: {over}"
        elif over:
            break
    where = max(over, key=lambda key: abs(over[key]))
    who = site.ids_of(where[0])[int(np.nanargmax(np.abs(found[where])))]
    asset_kind, asset, name, sign = shows_at
    (fault,) = simulated.plant_of(opened).faults.log
    drifting = {"power_w": "residual_score_ratio"}.get(fault.detail, f"{fault.detail.rsplit('_', 1)[0]}_score_ratio")
    assert (where[0], who) == (asset_kind, asset)
    assert where[1] in ({name} if name else {drifting, "heat_score_ratio"})
    assert not sign or np.sign(over[where]) == sign
    assert t - BEGIN_S <= within_s


async def test_a_node_in_the_wrong_rack_shows_as_two_racks_that_are_off_by_the_same(calibrated: Params) -> None:
    """The tables say that a node stands in rack 2; its power goes through rack 1."""
    for moved, wrong in ((None, False), (("h1-a01-n1", "h1-a02"), True)):
        async for _, found in watch(plant(GPUS), hall_site(GPUS, moved), calibrated, 100, 20):
            score = found["rack", "residual_score_ratio"]
        assert np.abs(score[2:]).max() < 3
        assert (score[0] > 6, score[1] < -6) == (wrong, wrong)
