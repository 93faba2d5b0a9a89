"""The lives of this centre's assets, from its inventory and its outcome log: what baselines of survival are learnt from."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from analytics.detect import survival
from analytics.detect.checks import age_s
from twin.site import Site
from twin.state import State

KINDS = ("gpu", "disk")  # whose hazards start from a baseline


def learn(
    site: Site, state: State, replaced: Sequence[tuple[str, float]], since: datetime, now: datetime
) -> dict[str, survival.Baseline]:
    """Kind -> baseline, for kinds of which enough were replaced. ``replaced``: (asset, s since 1970) by the outcome log;
    ``since``: when this centre began to be watched. What was replaced lived until then and is followed by another of its kind,
    new on that day; all others live still."""
    found: dict[str, survival.Baseline] = {}
    for kind in KINDS:
        mine = [(site.row(asset), at_s) for asset, at_s in replaced if asset in site.position and site.kind(asset) == kind]
        if len(mine) < survival.LEAST_FAILURES:
            continue
        baseline = _fitted(site, kind, _ages(site, state, kind, now), sorted(mine, key=lambda one: one[1]), since, now)
        if baseline is not None:
            found[kind] = baseline
    return found


def _ages(site: Site, state: State, kind: str, now: datetime) -> "np.ndarray":
    """Age [s] by the inventory, else by what the asset itself says; NaN where neither knows."""
    known = age_s(site, kind, now)
    return np.where(np.isfinite(known), known, state.column("disk", "powered_on_s", now)) if kind == "disk" else known


def _fitted(
    site: Site, kind: str, ages: "np.ndarray", replaced: Sequence[tuple[int, float]], since: datetime, now: datetime
) -> survival.Baseline | None:
    models = site.text(kind, "model")
    now_s, watched_s = now.timestamp(), now.timestamp() - since.timestamp()
    born_s = np.where(np.isfinite(ages), now_s - ages, np.nan)
    entry, end, failed, of = [], [], [], []
    begins = np.full(len(born_s), now_s - watched_s)
    for row, at_s in replaced:
        if at_s > born_s[row]:  # the inventory still names the one that went; its follower was born that day
            entry.append(max(0.0, begins[row] - born_s[row]))
            end.append(at_s - born_s[row])
            failed.append(True)
            of.append(models[row])
            born_s[row], begins[row] = at_s, at_s
    for row in np.flatnonzero(np.isfinite(born_s)).tolist():
        entry.append(max(0.0, begins[row] - born_s[row]))
        end.append(now_s - born_s[row])
        failed.append(False)
        of.append(models[row])
    return survival.fit(np.array(entry), np.array(end), np.array(failed, dtype=np.bool_), of)
