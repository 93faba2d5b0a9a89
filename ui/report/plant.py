"""What the plant did over the span, on the meters' own steps: series of one kind, losses of the power chain."""

from datetime import UTC, datetime

import numpy as np

from energy.account.meters import Meters
from energy.account.power import gpu_w
from twin.chillers import On, chillers_on, rated_or_seen_w
from twin.frame import Floats, Origin
from twin.ports import Store
from twin.site import Site

CHAIN = ("transformer", "ups", "pdu")  # from the connection to the racks


def on_steps(store: Store, kind: str, metric: str, meters: Meters, total: bool = False) -> Floats:
    """float64[t]: the mean over the assets of ``kind``, or their total; measured, else modelled, NaN where neither."""
    out = np.full(len(meters.time_s), np.nan)
    for origin in (Origin.MODELLED, Origin.MEASURED):
        found = table_on_steps(store, kind, metric, meters, origin)
        seen = np.isfinite(found).any(axis=1)
        folded = np.nansum(found[seen], axis=1)
        out[seen] = folded if total else folded / np.isfinite(found[seen]).sum(axis=1)
    return out


def table_on_steps(store: Store, kind: str, metric: str, meters: Meters, origin: Origin) -> Floats:
    """float64[t, n]: each asset's; NaN where not read."""
    start = datetime.fromtimestamp(float(meters.time_s[0]), UTC)
    end = datetime.fromtimestamp(float(meters.time_s[-1] + meters.step_s), UTC)
    series = store.series(kind, (metric,), start, end, meters.step_s, origin=origin)
    found = series.values.get(metric)
    if found is None or not found.size:
        return np.full((len(meters.time_s), 1), np.nan)
    out = np.full((len(meters.time_s), found.shape[1]), np.nan)
    place = np.rint((series.time_s - meters.time_s[0]) / meters.step_s).astype(np.int64)
    fits = (place >= 0) & (place < len(out))
    out[place[fits]] = found[fits]
    return out


def chillers_in(site: Site, store: Store, meters: Meters) -> On:
    """bool[t, n] of each chiller and step: whether it ran, and whether it is known to have stood still; as measured, else as
    the twin has it."""
    power_w = gpu_w(store, meters.time_s, meters.step_s, site.count("chiller"), "chiller")
    return chillers_on(power_w, rated_or_seen_w(site, power_w, meters.it_w))


def chain_losses(store: Store, meters: Meters) -> dict[str, float]:
    """kWh that the transformers, UPS and PDUs lost, as they or the twin say; a kind that nobody knows of is not there."""
    found = {kind: on_steps(store, kind, "loss_w", meters, total=True) for kind in CHAIN}
    return {kind: float(meters.kwh(loss_w).sum()) for kind, loss_w in found.items() if np.isfinite(loss_w).any()}
