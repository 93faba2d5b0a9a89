"""Recorded power in place of jobs: measured series of racks, CDUs, halls or the site, as the power of racks over time."""

from dataclasses import dataclass

import numpy as np

from twin.errors import ConfigError, Problem
from twin.frame import Floats
from twin.sim.fleet import Fleet
from twin.site import Site

_PLACES = ("rack", "row", "hall", "site", "cdu", "node")


@dataclass(frozen=True, slots=True, eq=False)
class Telemetry:
    """``time_s``: float64[t], increasing; ``assets``: n ids; ``power_w``: float64[t, n]. A value holds until the next."""

    time_s: Floats
    assets: tuple[str, ...]
    power_w: Floats

    def __len__(self) -> int:
        return len(self.time_s)


class PowerReplay:
    """Gives the power of racks as ``Workload`` does. The power of a CDU, hall, row or site goes to its racks by full power,
    that of a node to its rack; racks that nothing tells of stay idle.

    ``ConfigError`` names every asset that is unknown or no place of IT, and values that cannot be.
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
        wrong = ~((telemetry.power_w >= 0) & (telemetry.power_w < 1e10))
        for row, column in np.argwhere(wrong)[:10].tolist():
            value = telemetry.power_w[row, column]
            problems.append(Problem(f"row {row + 1}, column {telemetry.assets[column]}", f"a power of {value:g} W cannot be"))
        if not len(telemetry.time_s) or not (np.diff(telemetry.time_s) > 0).all():
            problems.append(Problem("column time", "times must be there and grow from row to row"))
        if problems:
            raise ConfigError(problems)
        self.share = np.zeros((len(telemetry.assets), len(fleet.steady_w)))
        for i, asset in enumerate(telemetry.assets):
            self.share[i] = _share(site, fleet, asset)
        self.told = self.share.sum(0) > 0
        self.base_w = np.where(self.told, 0.0, fleet.base_w)
        step = np.diff(telemetry.time_s, append=telemetry.time_s[-1])
        self.total_j = np.concatenate(
            [np.zeros((1, len(telemetry.assets))), np.cumsum(telemetry.power_w * step[:, None], axis=0)]
        )
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
        mean += -np.diff(before)[:, None] * self.telemetry.power_w[0] + np.diff(after)[:, None] * self.telemetry.power_w[-1]
        return mean / step_s @ self.share + self.base_w, np.full(steps, np.nan)


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
