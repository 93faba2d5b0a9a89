"""Recorded power in place of jobs: measured series of racks, CDUs, halls or the site, as the power of racks over time."""

from dataclasses import dataclass

import numpy as np

from twin.errors import ConfigError, Problem
from twin.frame import Floats
from twin.sim.fleet import Fleet
from twin.site import Site

_PLACES = ("rack", "row", "hall", "site", "cdu", "node")
_PARTS = ("cdu", "node")  # several of a kind may tell of one rack, each of its own part
_USUAL = 3.0  # usual steps that a reading speaks for; after that there is a gap


@dataclass(frozen=True, slots=True, eq=False)
class Telemetry:
    """``time_s``: float64[t], increasing; ``assets``: n ids; ``power_w``: float64[t, n], NaN where nothing was read. A value
    holds until the next."""

    time_s: Floats
    assets: tuple[str, ...]
    power_w: Floats

    def __len__(self) -> int:
        return len(self.time_s)


class PowerReplay:
    """Gives the power of racks as ``Workload`` does. The power of a CDU, hall, row or site goes to its racks by full power,
    that of a node to its rack; racks that nothing tells of stay idle.

    ``ConfigError`` names every asset that is unknown or no place of IT, values that cannot be, columns without a reading and
    those of which one holds the other.
    """

    def __init__(self, site: Site, fleet: Fleet, telemetry: Telemetry) -> None:
        telemetry = _with_ids(site, telemetry)
        self.telemetry = telemetry
        problems = [
            Problem(
                f"column {asset}", f"is no {', '.join(_PLACES[:-1])} or {_PLACES[-1]} of the site; name the column after one"
            )
            for asset in telemetry.assets
            if asset not in site.position or site.kind(asset) not in _PLACES
        ]
        known = ~np.isnan(telemetry.power_w)
        wrong = known & ~((telemetry.power_w >= 0) & (telemetry.power_w < 1e10))
        for row, column in np.argwhere(wrong)[:10].tolist():
            value = telemetry.power_w[row, column]
            problems.append(Problem(f"row {row + 1}, column {telemetry.assets[column]}", f"a power of {value:g} W cannot be"))
        silent = np.flatnonzero(~known.any(axis=0)) if len(known) else ()
        problems += [Problem(f"column {telemetry.assets[column]}", "has no reading; leave it out") for column in silent]
        if not len(telemetry.time_s) or not (np.diff(telemetry.time_s) > 0).all():
            problems.append(Problem("column time", "times must be there and grow from row to row"))
        if problems:
            raise ConfigError(problems)
        self.share = np.zeros((len(telemetry.assets), len(fleet.steady_w)))
        for i, asset in enumerate(telemetry.assets):
            self.share[i] = _share(site, fleet, asset)
        self._check_apart(site)
        self.power_w = _held(telemetry.power_w)
        self.told = self.share.sum(0) > 0
        self.base_w = np.where(self.told, 0.0, fleet.base_w)
        step = np.diff(telemetry.time_s, append=telemetry.time_s[-1])
        self.total_j = np.concatenate([np.zeros((1, len(telemetry.assets))), np.cumsum(self.power_w * step[:, None], axis=0)])
        self.total_j = self.total_j[:-1]

    def advance(self, start_s: float, step_s: float, steps: int) -> tuple[Floats, Floats]:
        """Mean power of each rack [W] float64[steps, racks], exact for values that hold; its ends are held. Busy shares are
        NaN."""
        edges = start_s + step_s * np.arange(steps + 1)
        time = self.telemetry.time_s
        inner = np.clip(edges, time[0], time[-1])
        joules = np.stack([np.interp(inner, time, column) for column in self.total_j.T], axis=1)
        mean = np.diff(joules, axis=0)
        before = np.clip(time[0] - edges, 0.0, None)
        after = np.clip(edges - time[-1], 0.0, None)
        mean += -np.diff(before)[:, None] * self.power_w[0] + np.diff(after)[:, None] * self.power_w[-1]
        return mean / step_s @ self.share + self.base_w, np.full(steps, np.nan)

    def gaps(self, start_s: float, end_s: float) -> list[str]:
        """A sentence on how much of a run has no reading: more than ``_USUAL`` usual steps after one, and before the first."""
        longest, silent_s, count = "", 0.0, 0
        for i, asset in enumerate(self.telemetry.assets):
            time_s = self.telemetry.time_s[~np.isnan(self.telemetry.power_w[:, i])]
            usual_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else np.inf
            ends = np.concatenate([[-np.inf], time_s + _USUAL * usual_s])
            missing_s = np.minimum(np.append(time_s, np.inf), end_s) - np.maximum(ends, start_s)
            this_s = float(np.maximum(missing_s, 0.0).sum())
            count += this_s > 0
            longest, silent_s = (asset, this_s) if this_s > silent_s else (longest, silent_s)
        if not count:
            return []
        others = f" ({count} columns have gaps)" if count > 1 else ""
        return [f"{longest} has no reading for {silent_s / 3600:.1f} h of the run{others}; the reading before was held"]

    def _check_apart(self, site: Site) -> None:
        """Power that two columns tell of would count twice: a hall and a rack in it, a CDU and a node that it cools."""
        kinds = [site.kind(asset) for asset in self.telemetry.assets]
        for row in range(self.share.shape[1]):
            tell = np.flatnonzero(self.share[:, row] > 0).tolist()
            if len(tell) > 1 and not (kinds[tell[0]] in _PARTS and len({kinds[i] for i in tell}) == 1):
                first, second = (self.telemetry.assets[i] for i in tell[:2])
                what = f"tells of the same rack as column {second}: leave one of the two out, or its power counts twice"
                raise ConfigError([Problem(f"column {first}", what)])


def _held(power_w: Floats) -> Floats:
    """Each column with the reading before where there is none; before the first, that."""
    rows = np.where(np.isnan(power_w), 0, np.arange(len(power_w))[:, None])
    first = np.argmax(~np.isnan(power_w), axis=0)
    held: Floats = np.take_along_axis(power_w, np.maximum(np.maximum.accumulate(rows, axis=0), first), axis=0)
    return held


def _share(site: Site, fleet: Fleet, asset: str) -> Floats:
    """float64[racks]: how the power of ``asset`` is divided over racks."""
    racks = site.of_kind("rack")
    if site.kind(asset) == "cdu":
        links = site.links["cools"]
        at = site.position[asset]
        weight = np.zeros(len(site.ids))
        np.add.at(weight, links.target[links.source == at], links.share[links.source == at])
        part = weight[racks] * fleet.full_w
    elif site.kind(asset) == "node":
        part = np.zeros(len(racks))
        home = site.within("node", "rack")[site.row(asset)]
        part[home] = 1.0 * (home >= 0)
    else:
        inside = np.zeros(len(racks), dtype=np.bool_)
        for i, here in enumerate(racks.tolist()):
            while here >= 0 and site.ids[here] != asset:
                here = int(site.parent[here])
            inside[i] = here >= 0
        part = fleet.full_w * inside
    total = float(part.sum())
    if total <= 0:
        raise ConfigError([Problem(f"column {asset}", "has no racks that draw power; check links and ratings")])
    return part / total


def _with_ids(site: Site, telemetry: Telemetry) -> Telemetry:
    """``cdu:3``, a number in the order of the tables, becomes the id of the third CDU where there is one."""
    cdus = site.ids_of("cdu")
    names = []
    for asset in telemetry.assets:
        kind, _, count = asset.partition(":")
        known = kind == "cdu" and count.isdigit() and 1 <= int(count) <= len(cdus)
        names.append(cdus[int(count) - 1] if known else asset)
    return Telemetry(telemetry.time_s, tuple(names), telemetry.power_w)
