"""What is worked on now: assets in a maintenance window, of which nothing is found and nothing learnt."""

from collections.abc import Mapping, Sequence

import numpy as np

from analytics.oncall.labels import all_fit, labels_of
from analytics.oncall.silence import Quiet, Silence
from twin.site import Bools, Site

KINDS = ("rack", "cdu", "pump", "gpu", "node", "port", "ups", "disk", "source")  # of which the live detectors ask


def worked_on(site: Site, windows: Sequence[Silence], now_s: float) -> Mapping[str, Bools]:
    """Kind -> bool[n], for the kinds of which something is in one of the maintenance windows or reservations that hold at
    ``now_s``; a silence of a person keeps alerts quiet and says nothing of the asset."""
    holding = [one for one in windows if one.kind is not Quiet.SILENCE and one.active(now_s)]
    found: dict[str, Bools] = {}
    for kind in KINDS if holding else ():
        ids = site.ids_of(kind)
        labels = [labels_of(site, "", kind, asset, "") for asset in ids]
        hit = np.array([any(all_fit(one.matchers, has) for one in holding) for has in labels], dtype=np.bool_)
        if hit.any():
            found[kind] = hit
    return found
