"""A scenario: what is different from the plain run, and when; checked against the site before anything starts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from twin.errors import ConfigError, Problem
from twin.sim.grow import grown
from twin.sim.schedule import Policy
from twin.site import Site

MAX_ENTRIES = 1000  # faults, changes and added racks of one scenario


@dataclass(frozen=True, slots=True)
class Fault:
    """Something of ``asset`` breaks ``start_s`` after the run's beginning, until ``end_s``.

    ``what``: ``trip`` (it stops), ``stuck`` (a valve at ``value`` of travel; of a rack: its own valve, of a CDU: the one of its
    facility water), ``leak`` (``value`` kg/s are lost), ``foul`` (``value`` of a heat exchanger's conductance is lost, 0-1).
    """

    asset: str
    what: str
    start_s: float = 0.0
    end_s: float = math.inf
    value: float = math.nan


@dataclass(frozen=True, slots=True)
class Change:
    """From ``start_s`` on ``metric`` of ``asset`` (an id, or a kind for all of it) is ordered to be ``value``."""

    asset: str
    metric: str
    value: float
    start_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run. ``gpu_cap_frac``: every GPU's power limit over its rating; ``clock_frac``: its clock; ``it_cap_w``: jobs wait
    that would bring IT above; ``grid_cap_w``: the battery keeps what the grid gives below; ``added``: (rack to copy, how
    many). ``economiser``: ``integrated`` (towers pre-cool, chillers trim), ``switched`` (either or), ``none`` (chillers
    always, where a plant has some)."""

    name: str = "base"
    policy: Policy = Policy.EASY
    faults: Sequence[Fault] = ()
    changes: Sequence[Change] = ()
    gpu_cap_frac: float = 1.0
    clock_frac: float = 1.0
    it_cap_w: float = math.inf
    added: Sequence[tuple[str, int]] = ()
    economiser: str = "integrated"
    grid_cap_w: float = math.inf


_CAN = MappingProxyType(
    {
        "trip": (
            "pump",
            "cdu",
            "loop",
            "crah",
            "tower",
            "drycooler",
            "chiller",
            "heatreuse",
            "transformer",
            "ups",
            "pdu",
            "meter",
        ),
        "stuck": ("valve", "rack", "cdu"),
        "leak": ("cdu", "rack"),
        "foul": ("cdu",),
    }
)
CHANGES = MappingProxyType(
    {
        "supply_temp_setpoint_c": (("cdu", "loop"), 5.0, 60.0),
        "pump_speed_frac": (("cdu",), 0.0, 1.0),
        "position_frac": (("valve",), 0.0, 1.0),
        "fan_limit_frac": (("tower", "drycooler"), 0.125, 1.0),
    }
)
ECONOMISERS = ("integrated", "switched", "none")


def check_scenario(scenario: Scenario, site: Site) -> Site:
    """``site`` with the racks that ``scenario`` adds, of which it may speak as well. ``ConfigError`` with everything in it that
    the site then does not have or that cannot be."""
    found: list[Problem] = []

    def no(where: str, what: str) -> None:
        found.append(Problem(f"{scenario.name}: {where}", what))

    entries = len(scenario.faults) + len(scenario.changes) + len(scenario.added)
    if entries > MAX_ENTRIES:
        no("scenario", f"{entries} entries; the most is {MAX_ENTRIES}")
    for like, count in scenario.added:
        _check_added(like, count, site, no)
    whole = site if found else grown(site, scenario.added)
    for fault in scenario.faults:
        _check_fault(fault, whole, no)
    for change in scenario.changes:
        _check_change(change, whole, no)
    _check_caps(scenario, no)
    if found:
        raise ConfigError(found)
    return whole


def _check_caps(scenario: Scenario, no: Callable[[str, str], None]) -> None:
    if not 0.1 <= scenario.gpu_cap_frac <= 1.0 or not 0.1 <= scenario.clock_frac <= 1.0:
        no("GPU cap or clock", "lies outside 0.1 to 1 of the rating")
    for what, cap_w in (("IT cap", scenario.it_cap_w), ("grid cap", scenario.grid_cap_w)):
        if not cap_w > 0:
            no(what, f"{cap_w:g} W; write a power above 0")
    if scenario.economiser not in ECONOMISERS:
        no("economiser", f"no mode {scenario.economiser!r}; modes are {', '.join(ECONOMISERS)}")


def _check_added(like: str, count: int, site: Site, no: Callable[[str, str], None]) -> None:
    if like not in site.position or site.kind(like) != "rack":
        no(f"added rack like {like}", "is no rack of the site; name the id of one to copy")
    if not 1 <= count <= 10_000:
        no(f"added rack like {like}", f"{count} copies; from 1 to 10000 can be added")


def _check_fault(fault: Fault, site: Site, no: Callable[[str, str], None]) -> None:
    where = f"fault {fault.what} of {fault.asset}"
    if fault.what not in _CAN:
        no(where, f"no fault {fault.what!r}; faults are {', '.join(_CAN)}")
    elif fault.asset not in site.position:
        no(where, "is no asset of the site; mend the id")
    elif site.kind(fault.asset) not in _CAN[fault.what]:
        no(where, f"a {site.kind(fault.asset)} cannot; {fault.what} is of {', '.join(_CAN[fault.what])}")
    elif fault.what in ("stuck", "foul") and not 0 <= fault.value <= 1:
        no(where, f"its value is {fault.value:g}; write a share from 0 to 1")
    elif fault.what == "leak" and not 0 < fault.value <= 1e4:
        no(where, f"its value is {fault.value:g}; write the flow that is lost, in kg/s above 0")
    if not 0 <= fault.start_s < fault.end_s:
        no(where, f"lasts from {fault.start_s:g} to {fault.end_s:g} s; it starts at 0 or later and before it ends")


def _check_change(change: Change, site: Site, no: Callable[[str, str], None]) -> None:
    where = f"change of {change.metric} of {change.asset}"
    if change.metric not in CHANGES:
        no(where, f"cannot be set here; what can: {', '.join(CHANGES)}")
        return
    kinds, low, high = CHANGES[change.metric]
    kind = change.asset if change.asset in kinds else site.kind(change.asset) if change.asset in site.position else ""
    if kind not in kinds:
        no(where, f"is neither an asset of kind {' or '.join(kinds)} nor one of these kinds")
    elif not low <= change.value <= high:
        no(where, f"its value is {change.value:g}; it lies between {low:g} and {high:g}")
    if not change.start_s >= 0:
        no(where, f"starts at {change.start_s:g} s; write 0 or later")
