"""Which GPUs count as unhealthy now. The last XID that a driver shows stays until it is loaded anew, long after the trouble."""

from collections.abc import Iterable
from datetime import datetime

import numpy as np

from twin.event import Event
from twin.site import Bools
from twin.state import State

# XIDs that blame the program, not the GPU: NVIDIA's XID catalogue, resolution "restart the application" or none.
PROGRAM_XIDS = (0, 13, 31, 32, 39, 40, 41, 43, 45, 63, 68, 69, 94)
HEALED_S = 86400.0  # for so long after the last event of a GPU that works again its XID counts; assumed


def unhealthy_gpus(state: State, events: Iterable[Event], now: datetime) -> Bools:
    """bool[gpus]: a failed row remap, a driver that says so, or a hardware XID that is not healed.

    ``events``: in any order, at least those of the last day. A shown XID is healed when ``events`` tell when it struck (an
    ``xid/...`` of that GPU), the last such event is over ``HEALED_S`` old and the GPU has given fresh readings and done work
    since; one of which no event tells counts as long as it is shown.
    """
    site = state.site
    xid, remap, said, power = (
        state.column("gpu", name, now) for name in ("xid_code", "row_remap_failure_flag", "unhealthy_flag", "power_w")
    )
    struck_s = np.full(len(xid), np.nan)
    for event in events:
        if event.family == "xid" and event.asset in site.position and site.kind(event.asset) == "gpu":
            row = site.row(event.asset)
            struck_s[row] = np.fmax(struck_s[row], event.time.timestamp())
    works = ~np.isnan(power) & (state.column("gpu", "util_frac", now) > 0)
    healed = works & (now.timestamp() - struck_s > HEALED_S)
    found: Bools = (~np.isnan(xid) & ~np.isin(xid, PROGRAM_XIDS) & ~healed) | (remap > 0) | (said > 0)
    return found
