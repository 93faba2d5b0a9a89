"""Maintenance windows as forecasts see them: which share of the site, a hall, a rack or the queue each takes out, and when.

Windows come from the on-call file's calendars and from the queues' reservations. A window that began is written down with its
shares, for a calendar forgets it: what such windows did to power is learnt from them.
"""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from analytics.oncall.labels import all_fit, labels_of
from analytics.oncall.silence import Quiet, Silence
from analytics.upkeep import MAX_WINDOWS, Window
from twin.frame import Floats
from twin.site import Bools, Site
from ui.view import Live

TOPIC = "upkeep"
NODE_W = 1.0  # of a node whose rated power nobody gave: then nodes count alike
MAX_TARGETS = 5000  # racks of one window that are written down

Target = tuple[str, int]


class Upkeeps:
    """Knows the windows of the past from the records. ``windows`` is called by one task at a time."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._seen: dict[str, tuple[float, float, Mapping[Target, float]]] = {}
        self._shares: dict[str, Mapping[Target, float]] = {}
        for _, _, record in live.records.read(TOPIC, limit=MAX_WINDOWS, newest=True):
            shares = {(str(kind), int(row)): float(share) for kind, row, share in record["shares"]}
            self._seen[str(record["id"])] = (float(record["start_s"]), float(record["end_s"]), shares)

    def windows(self, now: datetime) -> dict[Target, list[Window]]:
        """(kind, row) -> the windows that take a share of it out, past and to come, in the order of their beginning."""
        known = self._live.oncall.quiet_windows() if self._live.oncall else []
        ahead: dict[str, tuple[float, float, Mapping[Target, float]]] = {}
        for one in known:
            if one.kind is Quiet.SILENCE:
                continue  # a person's silence keeps alerts quiet and says nothing of the asset
            if one.id not in self._shares:
                self._shares[one.id] = shares_of(self._live.site, one)
            ahead[one.id] = (one.start_s, one.end_s, self._shares[one.id])
        self._shares = {key: self._shares[key] for key in ahead}
        self._note(ahead, now)
        found: dict[Target, list[Window]] = {}
        for start_s, end_s, shares in sorted((self._seen | ahead).values(), key=lambda window: window[0]):
            for target, share in shares.items():
                found.setdefault(target, []).append((start_s, end_s, share))
        return found

    def _note(self, ahead: Mapping[str, tuple[float, float, Mapping[Target, float]]], now: datetime) -> None:
        """Write down those that have begun; a window whose end moved is written again."""
        for key, window in ahead.items():
            start_s, end_s, shares = window
            if start_s > now.timestamp() or not shares or (key in self._seen and self._seen[key][:2] == window[:2]):
                continue
            self._seen[key] = window
            plain = [[kind, row, round(share, 6)] for (kind, row), share in list(shares.items())[:MAX_TARGETS]]
            self._live.records.append(TOPIC, now, {"id": key, "start_s": start_s, "end_s": end_s, "shares": plain})
            self._live.records.trim(TOPIC, MAX_WINDOWS)
        for key in list(self._seen)[: max(0, len(self._seen) - MAX_WINDOWS)]:
            del self._seen[key]


def shares_of(site: Site, window: Silence) -> dict[Target, float]:
    """(kind, row) -> share of its nodes, by rated power, that a window picks; of the site, each hall, each rack and the queue
    (where there is one), those alone of which it picks something."""
    ids = site.ids_of("node")
    hit = np.array([all_fit(window.matchers, labels_of(site, "", "node", asset, "")) for asset in ids], dtype=np.bool_)
    if not hit.any():
        return {}
    weight = site.number("node", "rated_w", NODE_W)
    share = float(weight[hit].sum() / weight.sum())
    found: dict[Target, float] = {("site", 0): share}
    if site.count("queue") == 1:
        found["queue", 0] = share
    for kind in ("hall", "rack"):
        part = _share(site, kind, weight, hit)
        found |= {(kind, row): float(part[row]) for row in np.flatnonzero(part > 0).tolist()}
    return found


def _share(site: Site, kind: str, weight: Floats, hit: Bools) -> Floats:
    where = site.within("node", kind)
    inside = where >= 0
    count = site.count(kind)
    whole = np.bincount(where[inside], weights=weight[inside], minlength=count)
    out = np.bincount(where[inside & hit], weights=weight[inside & hit], minlength=count)
    return np.asarray(out / np.where(whole > 0, whole, 1.0))
