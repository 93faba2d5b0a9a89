"""When a GPU counts as unhealthy: the XID that its driver still shows is not the trouble itself."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from analytics.gpu_health import HEALED_S, unhealthy_gpus
from tests.small import small_site
from twin.event import Event
from twin.frame import Frame
from twin.state import State

SITE = small_site()
NOW = datetime(2026, 11, 20, tzinfo=UTC)
GPU = SITE.ids_of("gpu")[0]


def counts(xid: float, struck_s: float | None, **more: float) -> bool:
    """Whether the first GPU counts, ``struck_s`` after its event (None: there is none)."""
    state = State(SITE)
    row = np.zeros(1, dtype=np.int32)
    read = {"xid_code": xid, "power_w": 400.0, "util_frac": 0.9, **more}
    state.absorb(Frame("gpu", NOW, row, {name: np.array([value]) for name, value in read.items()}), NOW)
    told = [] if struck_s is None else [Event(NOW - timedelta(seconds=struck_s), GPU, f"xid/{xid:.0f}", "x")]
    found = unhealthy_gpus(state, told, NOW)
    assert not found[1:].any()
    return bool(found[0])


@pytest.mark.parametrize(
    ("xid", "struck_s", "unhealthy"),
    [(0, None, False), (13, 60, False), (79, 60, True), (79, HEALED_S - 1, True), (79, HEALED_S + 1, False), (79, None, True)],
)
def test_an_old_xid_of_a_gpu_that_works_again_is_over(xid: float, struck_s: float | None, unhealthy: bool) -> None:
    assert counts(xid, struck_s) is unhealthy


def test_one_that_idles_or_that_the_driver_calls_unhealthy_is_not_healed() -> None:
    assert counts(79, HEALED_S * 2, util_frac=0.0)
    assert counts(0, None, unhealthy_flag=1.0)
    assert counts(0, None, row_remap_failure_flag=1.0)
