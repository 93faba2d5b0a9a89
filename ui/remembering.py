"""What a lever that learns is told of the past at a start: the store's history, so that a restart forgets nothing."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import numpy as np

from energy.levers import Lever
from energy.levers.tune import EVERY_S, NEEDS, Tune
from twin.errors import SourceError
from twin.frame import Floats, Origin
from twin.ports import Store
from twin.site import Site

log = logging.getLogger(__name__)
DAYS = 14  # of history


def remind(levers: Iterable[Lever], site: Site, store: Store, now: datetime) -> int:
    """Give levers that learn the last ``DAYS`` of what they need; how many readings they took. A store that cannot say is
    the loss of a head start only."""
    learners = [lever for lever in levers if isinstance(lever, Tune)]
    if not learners:
        return 0
    end = datetime.fromtimestamp(now.timestamp() // EVERY_S * EVERY_S, UTC)
    start = end - timedelta(days=DAYS)
    history: dict[tuple[str, str], Floats] = {}
    time_s = np.empty(0)
    try:
        for kind, names in NEEDS.items():
            if not site.count(kind):
                history |= {(kind, name): np.empty((0, 0)) for name in names}
                continue
            series = store.series(kind, names, start, end, EVERY_S)
            history |= {(kind, name): series.values[name] for name in names}
            time_s = series.time_s
            if kind == "site" and np.isnan(series.values["it_power_w"]).all():
                worked_out = store.series(kind, names, start, end, EVERY_S, origin=Origin.MODELLED)
                history[kind, "it_power_w"] = worked_out.values["it_power_w"]
    except SourceError as error:
        log.warning("no history for the cooling tuner: %s", error)
        return 0
    taken = sum(lever.remember(site, time_s, history) for lever in learners)
    log.info("the cooling tuner starts from %d readings of the past", taken)
    return taken
