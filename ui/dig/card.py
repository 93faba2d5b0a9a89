"""All there is to know of one asset now: what it is, what holds and feeds it, its readings, and what is wrong with it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from analytics.alerts import Alert, Phase, Severity
from twin.frame import Origin, Quality
from twin.job import Jobs, JobState
from twin.kinds import KINDS, NUMBER_ATTRIBUTES
from twin.metrics import METRICS, metric, suffix
from twin.site import Site
from twin.state import State

MAX_CHILDREN, MAX_LINKS, MAX_LEVELS, MAX_JOBS = 200, 100, 8, 100
_KINDS = tuple(KINDS)
_SIDES = (Origin.MEASURED, Origin.MODELLED, Origin.COMMANDED)
# What shows at once how the other end of a link does; the first that is known of its kind.
_TELLING: Mapping[str, tuple[str, ...]] = {
    "feeds": ("power_w", "facility_power_w", "it_power_w"),
    "cools": ("supply_temp_c", "flow_kgps", "heat_w", "power_w"),
    "connects": ("up_flag", "rx_bps"),
}
# (kind, "" for any) and measured metric -> residual and its score, as twin/reconcile.py publishes them.
_RESIDUALS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("site", "it_power_w"): ("residual_w", "residual_score_ratio"),
    ("hall", "it_power_w"): ("residual_w", "residual_score_ratio"),
    ("site", "facility_power_w"): ("facility_residual_w", "facility_score_ratio"),
    ("cdu", "power_w"): ("power_residual_w", "power_score_ratio"),
    ("cdu", "heat_w"): ("residual_w", "residual_score_ratio"),
    ("loop", "heat_w"): ("residual_w", "residual_score_ratio"),
    ("rack", "heat_w"): ("heat_residual_w", "heat_score_ratio"),
    ("", "power_w"): ("residual_w", "residual_score_ratio"),
    ("", "supply_temp_c"): ("supply_temp_residual_k", "supply_temp_score_ratio"),
    ("", "return_temp_c"): ("return_temp_residual_k", "return_temp_score_ratio"),
    ("", "flow_kgps"): ("flow_residual_kgps", "flow_score_ratio"),
}
WRONG_SCORE = 4.0  # beyond it a reading is wrong (twin/metrics.py: residual_score_ratio)


def residual_of(kind: str, name: str) -> tuple[str, str] | None:
    """Names of the residual of a measured metric and of its score; None where there is none."""
    found = _RESIDUALS.get((kind, name)) or _RESIDUALS.get(("", name))
    return found if found and name in METRICS[kind] and found[0] in METRICS[kind] else None


@dataclass(frozen=True, slots=True)
class Side:
    """A newest value; ``age_s`` in seconds, ``fresh``: not older than the metric's maximum age."""

    value: float
    age_s: float
    fresh: bool
    quality: str


@dataclass(frozen=True, slots=True)
class Line:
    """A metric of the asset: ``sides`` by origin, those that ever had a value; ``score``: how far off it is, in spreads."""

    name: str
    unit: str
    doc: str
    settable: bool
    counter: bool
    sides: Mapping[str, Side]
    score: float | None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An asset that one or more links lead to. ``level``: how many links away; ``via``: the asset whose link it is (the asset
    itself, or what holds it); ``metric`` and ``side``: how it does, where that is known."""

    asset: str
    kind: str
    relation: str
    share: float
    level: int
    via: str
    alert: str
    metric: str = ""
    unit: str = ""
    side: Side | None = None


@dataclass(frozen=True, slots=True)
class Child:
    """An asset inside; ``alert``: severity of the worst that fires on it or inside it, "" for none."""

    asset: str
    kind: str
    alert: str


@dataclass(frozen=True, slots=True)
class Card:
    """``holders``: what holds it, the nearest first; ``inside``: how many assets of each kind lie in it, at any depth."""

    asset: str
    kind: str
    says: str
    attributes: Mapping[str, float | str]
    holders: Sequence[Child]
    children: Sequence[Child]
    children_total: int
    inside: Mapping[str, int]
    upstream: Sequence[Neighbour]
    downstream: Sequence[Neighbour]
    links_left_out: int
    readings: Sequence[Line]
    jobs: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def card(site: Site, state: State, alerts: Sequence[Alert], jobs: Jobs, asset: str, now: datetime) -> Card:
    """The card of ``asset``; ``KeyError`` where there is none of that id."""
    here, kind = site.position[asset], site.kind(asset)
    worst = _worst(site, alerts)
    children = np.flatnonzero(site.parent == here).tolist()
    upstream = list(_upstream(site, state, here, worst, now))
    downstream = list(_downstream(site, state, here, worst, now))
    return Card(
        asset=asset,
        kind=kind,
        says=KINDS[kind].doc,
        attributes=attributes(site, here),
        holders=[_child(site, at, worst) for at in _up(site, here)[1:]],
        children=[_child(site, at, worst) for at in children[:MAX_CHILDREN]],
        children_total=len(children),
        inside=_inside(site, here),
        upstream=upstream[:MAX_LINKS],
        downstream=downstream[:MAX_LINKS],
        links_left_out=max(len(upstream) - MAX_LINKS, 0) + max(len(downstream) - MAX_LINKS, 0),
        readings=list(readings(site, state, kind, site.row(asset), now)),
        jobs=_jobs(site, jobs, here),
    )


def attributes(site: Site, at: int) -> dict[str, float | str]:
    """What the tables say of an asset."""
    numbers = {name: float(site.numbers[name][at]) for name in NUMBER_ATTRIBUTES if name in site.numbers}
    texts = {name: column[at] for name, column in site.texts.items() if column[at]}
    return {name: value for name, value in numbers.items() if np.isfinite(value)} | texts


def readings(site: Site, state: State, kind: str, row: int, now: datetime) -> Iterator[Line]:
    """Every metric that the asset ever had a value of, in the order of the metric table; residuals stand with what they
    judge."""
    known = {key[1:3] for key in state.known() if key[0] == kind and not key[3]}
    judged = {name: residual_of(kind, name) for name in METRICS[kind]}
    beside = {part for pair in judged.values() if pair for part in pair}
    for name, row_of_table in METRICS[kind].items():
        if name in beside:
            continue
        sides = {o.value: side for o in _SIDES if (name, o) in known and (side := _side(state, kind, name, row, o, now))}
        if sides:
            pair = judged[name]
            score = state.one(kind, pair[1], now, row, Origin.MODELLED) if pair else float("nan")
            told = None if np.isnan(score) else score
            yield Line(name, suffix(name), row_of_table.doc, row_of_table.step is not None, row_of_table.counter, sides, told)


def _side(state: State, kind: str, name: str, row: int, origin: Origin, now: datetime) -> Side | None:
    column = state.newest(kind, name, origin)
    value = float(column.value[row])
    if np.isnan(value):
        return None
    age_s = now.timestamp() - float(column.time_s[row])
    quality = Quality(int(column.quality[row])).name.lower()
    return Side(value, age_s, age_s <= metric(kind, name).max_age_s, quality)


def _up(site: Site, at: int) -> list[int]:
    """The asset and what holds it."""
    found = []
    while at >= 0:
        found.append(at)
        at = int(site.parent[at])
    return found


def _inside(site: Site, here: int) -> dict[str, int]:
    inside, layer = Counter[str](), np.array([here])
    while len(layer := np.flatnonzero(np.isin(site.parent, layer))):
        codes, counts = np.unique(site.kind_of[layer], return_counts=True)
        inside.update({_KINDS[code]: int(count) for code, count in zip(codes.tolist(), counts.tolist(), strict=True)})
    return dict(inside)


def _worst(site: Site, alerts: Sequence[Alert]) -> dict[int, Severity]:
    """Position -> severity of the worst that fires there or inside."""
    order, worst = list(Severity), dict[int, Severity]()
    for alert in alerts:
        if alert.phase is Phase.FIRING and alert.asset in site.position:
            for at in _up(site, site.position[alert.asset]):
                had = worst.get(at)
                if had is None or order.index(alert.severity) < order.index(had):
                    worst[at] = alert.severity
    return worst


def _child(site: Site, at: int, worst: Mapping[int, Severity]) -> Child:
    return Child(site.ids[at], _KINDS[int(site.kind_of[at])], worst[at].value if at in worst else "")


def _upstream(site: Site, state: State, here: int, worst: Mapping[int, Severity], now: datetime) -> Iterator[Neighbour]:
    """What feeds, cools and connects it, and what feeds that, up to ``MAX_LEVELS``; links of what holds it count as its own."""
    for relation, links in site.links.items():
        seen, layer = set[int](), [(at, 0) for at in _up(site, here)]
        if relation == "connects":
            layer = layer[:1]
        while layer:
            following: list[tuple[int, int]] = []
            for at, level in layer:
                for i in np.flatnonzero(links.target == at).tolist():
                    source = int(links.source[i])
                    if source not in seen and level < MAX_LEVELS:
                        seen.add(source)
                        following.append((source, level + 1))
                        share = float(links.share[i])
                        yield _neighbour(site, state, source, relation, share, level + 1, at, worst, now)
            layer = following if relation != "connects" else []


def _downstream(site: Site, state: State, here: int, worst: Mapping[int, Severity], now: datetime) -> Iterator[Neighbour]:
    for relation, links in site.links.items():
        for i in np.flatnonzero(links.source == here).tolist():
            yield _neighbour(site, state, int(links.target[i]), relation, float(links.share[i]), 1, here, worst, now)


def _neighbour(
    site: Site, state: State, at: int, relation: str, share: float, level: int, via: int, worst: Mapping[int, Severity],
    now: datetime,
) -> Neighbour:  # fmt: skip
    kind, row = _KINDS[int(site.kind_of[at])], int(site.row_of[at])
    told = (site.ids[at], kind, relation, share, level, site.ids[via], worst[at].value if at in worst else "")
    for name in _TELLING[relation]:
        if name in METRICS[kind]:
            side = _side(state, kind, name, row, Origin.MEASURED, now) or _side(state, kind, name, row, Origin.MODELLED, now)
            if side is not None:
                return Neighbour(*told, name, suffix(name), side)
    return Neighbour(*told)


def _jobs(site: Site, jobs: Jobs, here: int) -> list[dict[str, Any]]:
    """Jobs that hold GPUs of the asset, or inside it, now."""
    gpus = gpus_of(site, here)
    mine = np.isin(jobs.rows, gpus)
    held, counts = np.unique(jobs.job_of[mine], return_counts=True)
    return [_job(jobs, i, here) for i, here in zip(held[:MAX_JOBS].tolist(), counts.tolist(), strict=False)]


def _job(jobs: Jobs, i: int, gpus_here: int) -> dict[str, Any]:
    start_s, state = float(jobs.start_s[i]), JobState(int(jobs.state[i])).name.lower()
    who = {"id": jobs.ids[i], "name": jobs.names[i], "user": jobs.users[i], "state": state}
    when = {"start_s": None if np.isnan(start_s) else start_s, "end_s": None}
    return who | when | {"gpus": int(jobs.gpus[i]), "gpus_here": gpus_here}


def gpus_of(site: Site, here: int) -> Any:
    """int32[n]: rows of the GPUs that are the asset or lie inside it."""
    kind, row = _KINDS[int(site.kind_of[here])], int(site.row_of[here])
    if kind == "gpu":
        return np.array([row], dtype=np.int32)
    return np.flatnonzero(site.within("gpu", kind) == row).astype(np.int32)
