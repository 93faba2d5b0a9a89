"""Findings of the simulated centre to look at: a few faults planned in it, watched by the live detectors on a virtual clock,
and what the readings were; and one that they get wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from analytics.detect import checks
from analytics.detect.batteries import PEUKERT
from analytics.finding import Finding
from twin.site import Site
from twin.state import State

GPUS, STEP_S, LONG_S = 256, 30.0, 11_400.0
Read = Callable[[Site, State, datetime], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Case:
    """A planned fault (``fault``, ``asset``, ``after_s`` of the start for ``for_s``), the ``question`` that should find it, and
    what is drawn: ``read`` gives each line's value, in ``unit``. ``harm``, ``harm_frac``: what comes at which part of its
    course ("": nothing). ``why``: for a case that is not found, the reason."""

    name: str
    fault: str
    asset: str
    after_s: float
    for_s: float
    question: str
    unit: str
    read: Read
    harm: str = ""
    harm_frac: float = 1.0
    why: str = ""


@dataclass(slots=True, eq=False)
class Watched:
    """What came of a case. ``begun_s``, ``over_s``, ``found_s``: s since 1970, NaN where it was not found."""

    case: Case
    begun_s: float
    over_s: float
    found_s: float = float("nan")
    finding: Finding | None = None
    time_s: list[float] = field(default_factory=list)
    lines: dict[str, list[float]] = field(default_factory=dict)


def _value(site: Site, state: State, now: datetime, kind: str, metric: str, asset: str) -> float:
    return float(state.column(kind, metric, now)[site.row(asset)])


def _disk(site: Site, state: State, now: datetime) -> Mapping[str, float]:
    return {
        "sectors that wait to be reallocated": _value(site, state, now, "disk", "pending_count", "h1-store-d05"),
        "sectors reallocated": _value(site, state, now, "disk", "reallocated_count", "h1-store-d05"),
        "reads given up": _value(site, state, now, "disk", "reported_uncorrected_count", "h1-store-d05"),
    }


def _pump(site: Site, state: State, now: datetime) -> Mapping[str, float]:
    speed = _value(site, state, now, "pump", "pump_speed_frac", "h1-a-cdu1-p1")
    head = _value(site, state, now, "pump", "diff_pressure_pa", "h1-a-cdu1-p1")
    return {"head over speed squared": head / speed**2 if speed > checks.ON_DUTY else np.nan}


def _loop_pumps(site: Site, state: State, now: datetime) -> Mapping[str, float]:
    found = {}
    for asset in ("plant-loop-p1", "plant-loop-p2"):
        speed = _value(site, state, now, "pump", "pump_speed_frac", asset)
        flow = _value(site, state, now, "pump", "flow_kgps", asset)
        found[f"{asset}: flow over speed [kg/s]"] = flow / speed if speed > checks.ON_DUTY else np.nan
    return found


def _battery(site: Site, state: State, now: datetime) -> Mapping[str, float]:
    found = {}
    for asset in ("h1-ups-a1", "h1-ups-b1"):
        runtime_s = _value(site, state, now, "ups", "battery_runtime_s", asset)
        load_w = _value(site, state, now, "ups", "power_w", asset)
        found[f"{asset}: runtime x load^{PEUKERT:g}, over its first"] = runtime_s * load_w**PEUKERT
    return found


def _exchanger(site: Site, state: State, now: datetime) -> Mapping[str, float]:
    return {"heat transfer [W/K]": float(np.exp(checks.exchanger(state, now)[site.row("h1-a-cdu1")]))}


CASES = (
    Case("disk", "disk_wear", "h1-store-d05", 5400, 3000, "disk_hazard", "", _disk, "its own check fails", 0.8),
    Case("pump", "pump_wear", "h1-a-cdu1-p1", 5400, 2400, "pump_wear", "pa", _pump, "it stops", 0.6),
    Case(
        "battery",
        "battery_fade",
        "h1-ups-a1",
        3600,
        7200,
        "ups_battery",
        "frac",
        _battery,
    ),
    Case("teacher", "fouling", "h1-a-cdu1", 600, 2400, "", "", _exchanger),
    Case("again", "fouling", "h1-a-cdu1", 8400, 2400, "fouling", "", _exchanger),
    Case("beside", "pump_wear", "plant-loop-p1", 2700, 2400, "pump_flow", "", _loop_pumps, "it stops", 0.6),
    Case(
        "missed",
        "pump_wear",
        "plant-loop-p1",
        7800,
        6000,
        "pump_flow",
        "",
        _loop_pumps,
        why="Not found: both pumps of the loop wear alike, and each is held against the other",
    ),
    Case("partner", "pump_wear", "plant-loop-p2", 7800, 6000, "", "", _loop_pumps),
)
_OVER_FIRST = "over its first"  # lines whose label ends so are told in parts of their first hour's median


class Recorder:
    """Looks on at each step: what was found and what the readings were."""

    def __init__(self, site: Site, start: datetime) -> None:
        begun = [start + timedelta(seconds=case.after_s) for case in CASES]
        self.site = site
        self.watched = [
            Watched(case, at.timestamp(), at.timestamp() + case.for_s) for case, at in zip(CASES, begun, strict=True)
        ]

    def look(self, state: State, found: "tuple[Finding, ...]", now: datetime) -> None:
        """At ``now``."""
        mine = {(finding.question, finding.asset): finding for finding in found}
        for one in self.watched:
            finding = mine.get((one.case.question, one.case.asset))
            if finding is not None and one.finding is None and now.timestamp() >= one.begun_s:
                one.finding, one.found_s = finding, now.timestamp()
            one.time_s.append(now.timestamp())
            for label, value in one.case.read(self.site, state, now).items():
                one.lines.setdefault(label, []).append(value)


def lines_of(one: Watched) -> dict[str, "np.ndarray"]:
    """Label -> float64[n], as it is drawn."""
    drawn = {}
    for label, values in one.lines.items():
        column = np.array(values, dtype=np.float64)
        if label.endswith(_OVER_FIRST):
            column = column / np.nanmedian(column[: int(3600 / STEP_S)])
        drawn[label] = column
    return drawn
