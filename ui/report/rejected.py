"""Where the heat of IT went: with the liquid or the air out of the halls, and by which machines of the plant to the outside.

No meter says how much heat a machine carried. What is known: which machines stand above the CDUs and the air handlers along
``cools``, and when chillers ran. Heat of a step in which they ran counts as theirs, else as carried by towers or dry coolers
alone, which also give off what chillers carry. What nothing says stays a remainder of its own, as does heat of a step in which
no chiller is known to have run and one is not known to have stood still.
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from energy.account.meters import Meters
from energy.account.power import gpu_w
from twin.chillers import On
from twin.frame import Floats, Origin
from twin.ports import Store
from twin.site import Bools, Site
from ui.report.plant import on_steps, table_on_steps

Path = tuple[str, ...]  # kinds of machines from the halls to the outside, or UNKNOWN
Heat = Mapping[str, Mapping[Path, float]]
OUTSIDE, UNKNOWN = ("tower", "drycooler"), "unknown"
COOLERS = {"liquid": ("cdu",), "air": ("crah", "hall"), "unsaid": ("cdu", "crah", "hall")}  # what the heat meets first


def heat_of(site: Site, store: Store, meters: Meters, chillers: On) -> Heat:
    """kWh of IT's heat by how it left the halls (liquid, air, unsaid: in steps in which no CDU says), and by the machines that
    carried it on; sums to the energy of IT. Empty where no CDU says anything. ``chillers``: bool[t, n] which of them ran."""
    liquid_w = (
        on_steps(store, "cdu", "heat_w", meters, total=True) if site.count("cdu") else np.full(len(meters.time_s), np.nan)
    )
    told = np.isfinite(liquid_w)
    if not told.any():
        return {}
    it_kwh = meters.kwh(meters.it_w)
    liquid = meters.kwh(np.minimum(np.maximum(np.nan_to_num(liquid_w), 0.0), meters.it_w))
    parts = {"liquid": liquid, "air": np.where(told, it_kwh - liquid, 0.0), "unsaid": np.where(told, 0.0, it_kwh)}
    reused = np.minimum(meters.kwh(np.maximum(on_steps(store, "heatreuse", "heat_w", meters, total=True), 0.0)), liquid)
    parts["liquid"] = liquid - reused
    made = {way: _by_path(site, store, meters, chillers, way, kwh) for way, kwh in parts.items() if kwh.any()}
    if reused.any():
        made["liquid"] = {**made.get("liquid", {}), ("heatreuse",): float(reused.sum())}
    return made


def liquid_modelled_frac(store: Store, meters: Meters) -> float:
    """Of the time in which the heat in the liquid is known, in how much of it no CDU was read and it is the twin's word."""
    measured, twins = (
        np.isfinite(table_on_steps(store, "cdu", "heat_w", meters, origin)).any(axis=1)
        for origin in (Origin.MEASURED, Origin.MODELLED)
    )
    known_s = float(meters.length_s[measured | twins].sum())
    return float(meters.length_s[twins & ~measured].sum()) / known_s if known_s else 0.0


def _by_path(site: Site, store: Store, meters: Meters, chillers: On, way: str, kwh: Floats) -> Mapping[Path, float]:
    """``kwh`` (float64[t]) by the machines that carried it."""
    above = _above(site, COOLERS[way])
    last = _last(site, store, meters, above)
    mine = above[site.of_kind("chiller")]
    ran, free = chillers.runs[:, mine].any(axis=1), chillers.still[:, mine].all(axis=1)  # free where there are none
    made: dict[Path, float] = defaultdict(float)
    for kind, share in last.items():
        itself = ("chiller",) if kind == "chiller" else ("chiller", kind)
        still = (UNKNOWN,) if kind == "chiller" else (kind,)
        for path, when in ((itself, ran), (still, free), ((UNKNOWN,), ~(ran | free))):
            if (part := float((kwh * share)[when].sum())) > 0:
                made[path] += part
    return made


def _above(site: Site, kinds: Path) -> Bools:
    """bool[N]: what cools assets of ``kinds``, directly or through others; all, where nothing is said of what cools what."""
    cools = site.links["cools"]
    above: Bools = np.isin(np.arange(len(site.ids)), np.concatenate([site.of_kind(kind) for kind in kinds]))
    while (more := above[cools.target] & ~above[cools.source]).any():
        above[cools.source[more]] = True
    machines = np.concatenate([site.of_kind(kind) for kind in ("chiller", *OUTSIDE)])
    return above if above[machines].any() else np.ones(len(site.ids), dtype=np.bool_)


def _last(site: Site, store: Store, meters: Meters, above: Bools) -> Mapping[str, Floats]:
    """float64[t] by kind of machine, parts of the heat that it gives to the outside: chillers themselves where there is neither
    tower nor dry cooler; by the power of their fans where there are both, ``UNKNOWN`` where that is not read."""
    there = {kind: above[site.of_kind(kind)] for kind in (*OUTSIDE, "chiller")}
    kinds = [kind for kind in OUTSIDE if there[kind].any()] or [kind for kind in ("chiller",) if there[kind].any()]
    if len(kinds) < 2:
        return {kinds[0] if kinds else UNKNOWN: np.ones(len(meters.time_s))}
    fans_w = np.array([_power_w(store, meters, kind, there[kind]) for kind in kinds])
    total_w = fans_w.sum(axis=0)
    lit = total_w > 0  # no NaN: each kind is read
    shares = np.where(lit, fans_w / np.where(lit, total_w, 1.0), 0.0)
    return dict(zip(kinds, shares, strict=True)) | {UNKNOWN: np.where(lit, 0.0, 1.0)}


def _power_w(store: Store, meters: Meters, kind: str, mine: Bools) -> Floats:
    """float64[t]: of those of ``kind`` that are ``mine``; NaN where none is read."""
    power_w = gpu_w(store, meters.time_s, meters.step_s, len(mine), kind)[:, mine]
    return np.where(np.isfinite(power_w).any(axis=1), np.nansum(power_w, axis=1), np.nan)
