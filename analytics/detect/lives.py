"""The lives of this centre's assets, from its inventory and its outcome log: what baselines of survival are learnt from."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from analytics.detect import survival
from analytics.detect.checks import age_s
from analytics.detect.outcomes import Replaced
from twin.frame import Floats
from twin.site import Site
from twin.state import State

KINDS = ("gpu", "disk")  # whose hazards start from a baseline


def learn(site: Site, state: State, replaced: Sequence[Replaced], now: datetime) -> dict[str, survival.Baseline]:
    """Kind -> baseline, for kinds of which enough were replaced. ``replaced``: by the outcome log, oldest first; with
    the first, lives begin to be watched. What was replaced lived until then, what follows it began that day; all others live
    still."""
    found: dict[str, survival.Baseline] = {}
    for kind in KINDS:
        mine = [one for one in replaced if one.asset in site.position and site.kind(one.asset) == kind]
        if len(mine) < survival.LEAST_FAILURES:
            continue
        baseline = _fitted(site, kind, _ages(site, state, kind, now), mine, now.timestamp())
        if baseline is not None:
            found[kind] = baseline
    return found


def _ages(site: Site, state: State, kind: str, now: datetime) -> Floats:
    """Age [s] by the inventory, else by what the asset itself says; NaN where neither knows."""
    known = age_s(site, kind, now)
    return np.where(np.isfinite(known), known, state.column("disk", "powered_on_s", now)) if kind == "disk" else known


def _fitted(site: Site, kind: str, ages: Floats, replaced: Sequence[Replaced], now_s: float) -> survival.Baseline | None:
    models, watched_s = site.text(kind, "model"), replaced[0].at_s
    born_s, begins_s = now_s - ages, np.full(len(ages), watched_s)
    lived: list[tuple[float, float, bool, str]] = []  # seen from this age, to this age, failed then, model
    for one in replaced:
        row = site.row(one.asset)
        age_s = one.at_s - born_s[row] if one.age_s != one.age_s else one.age_s  # an inventory that still names what went
        if age_s > 0:
            lived.append((max(0.0, age_s - (one.at_s - begins_s[row])), age_s, True, one.model or models[row]))
        begins_s[row] = one.at_s
        born_s[row] = max(born_s[row], one.at_s) if born_s[row] == born_s[row] else one.at_s
    living = np.flatnonzero(np.isfinite(born_s)).tolist()
    lived += [(max(0.0, begins_s[row] - born_s[row]), now_s - born_s[row], False, models[row]) for row in living]
    entry, end, failed, of = zip(*lived, strict=True)
    return survival.fit(np.array(entry), np.array(end), np.array(failed, dtype=np.bool_), of)
