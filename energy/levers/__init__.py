"""Levers: what we may change. One file each with ``build()``; ``LEVERS`` names them, and the contract test walks them.

A lever is a pure decision: from the site, the live state, the jobs and what is foreseen to a plan or to nothing. It
abstains (None) whenever its inputs are stale, its bounds leave no room, or the 80 % interval of the gain includes zero.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np

from energy.ahead import SignalAhead
from energy.place.atlas import NOWHERE, Atlas
from energy.plan import Plan
from energy.response import Params
from energy.shift.fair import LEAST_S
from twin.curtail import Request
from twin.frame import Floats, Ints, Origin, Quality
from twin.job import Cluster, Jobs
from twin.message import Message
from twin.site import Bools, Site
from twin.state import State


@dataclass(frozen=True, slots=True, eq=False)
class Waits:
    """How long the n jobs of a queue were told to wait, and the k tenants of the site in all. ``owner``: int32[n], whose each
    is; ``counted``: bool[n], it is in the sums; ``before_s``: float64[n], what it was told in all that is over; ``would_s``:
    float64[n], when it would have started that waits by our order (s since 1970; NaN: none does); ``asked_s``: float64[n], all
    that it was told. ``held_gpu_s``: float64[k], work that may wait; ``wait_s``: float64[k], mean that it was told;
    ``tenants``: their names; ``least_s``: waiting that is open to all."""

    owner: Ints
    counted: Bools
    before_s: Floats
    would_s: Floats
    asked_s: Floats
    held_gpu_s: Floats
    wait_s: Floats
    tenants: Sequence[str]
    least_s: float = LEAST_S


@dataclass(frozen=True, slots=True, eq=False)
class QueueNow:
    """One scheduler as last read: its jobs, and what it can give out (None: it does not say). ``homes``: partition that each
    job was submitted to that we have moved; ``signal``: by which its jobs are shifted in time, where they stand on a grid of
    their own (None: the site's); ``longest_wait_s``: after its submission, that the operator lets a job be held back;
    ``waits``: what tenants wait already (None: all is one tenant's); ``rests``: jobs that were ordered something so lately that
    they are only let go."""

    name: str
    jobs: Jobs
    cluster: Cluster | None = None
    homes: Mapping[str, str] = field(default_factory=dict)
    signal: SignalAhead | None = None
    longest_wait_s: float = np.inf
    waits: Waits | None = None
    rests: frozenset[str] = frozenset()

    @property
    def resting(self) -> Bools:
        """bool[n]: which jobs rest."""
        return np.array([job in self.rests for job in self.jobs.ids], dtype=np.bool_)

    def without(self, taken: frozenset[str]) -> "QueueNow":
        """The queue without consent for what people have taken over."""
        if not taken:
            return self
        mine = np.array([job in taken for job in self.jobs.ids], dtype=np.bool_)
        return replace(self, jobs=replace(self.jobs, deferrable=np.where(mine, 0, self.jobs.deferrable).astype(np.uint8)))


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """What the grid asks of the centre. ``key`` names it as long as something is asked, ``turn`` the look at it (empty: the
    first); ``baseline_w``: what the meter would show without it; ``trim_w``: by what its budget is moved; ``settable``: assets
    that can be set at all; ``reference_w``: float64[g], what each GPU draws without a cap of ours; ``charge_frac``: of each
    battery when it began; ``until_s``: when orders in force end, by their asset [s since 1970]; ``held``: (queue, job) of
    those that wait by our answer; ``least_w``: the lowest limit that is still to come (infinity: not known)."""

    key: str
    request: Request
    now: datetime
    baseline_w: float
    settable: frozenset[str]
    reference_w: Floats
    trim_w: float = 0.0
    turn: str = ""
    charge_frac: Mapping[str, float] = field(default_factory=dict)
    until_s: Mapping[str, float] = field(default_factory=dict)
    held: frozenset[tuple[str, str]] = frozenset()
    least_w: float = np.inf

    @property
    def now_s(self) -> float:
        """The present [s since 1970]."""
        return self.now.timestamp()


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """What is foreseen: float64[h] each, for steps that start at ``time_s`` (s since 1970 UTC, increasing); NaN or an
    empty outlook where nothing is. ``signal``: the grid's signal that work is shifted by, as far as it is foreseen;
    ``queues``: the schedulers that work is shifted in; ``call``: what the grid asks, where it asks for something;
    ``limit_w``: the power that is contracted; ``own_w``: what own generation surely gives (empty: none); ``atlas``: places that
    work may move between; ``grids``: the signal of each grid that one of them is on, by its asset; ``locked``: assets that the
    operator keeps for himself; ``bounds``: (kind, metric) -> lowest and highest value that he allows; ``orders_left_count``: to
    schedulers, within the hour's limit."""

    time_s: Floats
    facility_power_w: Floats
    it_power_w: Floats
    wet_bulb_c: Floats
    signal: SignalAhead | None = None
    queues: Sequence[QueueNow] = ()
    call: Call | None = None
    limit_w: float = np.inf
    own_w: Floats = field(default_factory=lambda: np.empty(0))
    atlas: Atlas = NOWHERE
    grids: Mapping[str, SignalAhead] = field(default_factory=dict)
    locked: frozenset[str] = frozenset()
    bounds: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    orders_left_count: float = np.inf

    def bound(self, kind: str, metric: str) -> tuple[float, float]:
        """Lowest and highest value that the operator allows; infinite where he says nothing."""
        return self.bounds.get((kind, metric), (-np.inf, np.inf))

    @property
    def drawn_w(self) -> Floats:
        """float64[h]: what the grid's meter will show at most: facility power less what own generation surely gives."""
        return self.facility_power_w - self.own_w if len(self.own_w) == len(self.time_s) else self.facility_power_w

    def within(self, column: Floats, start_s: float, end_s: float) -> Floats:
        """float64[m]: what is known of ``column`` in the steps that start in ``[start_s, end_s)``; may be empty."""
        inside = column[(self.time_s >= start_s) & (self.time_s < end_s)]
        return inside[~np.isnan(inside)]


def no_outlook() -> Outlook:
    """Nothing is foreseen."""
    none = np.empty(0)
    return Outlook(none, none, none, none)


class Lever(Protocol):
    """Something we may change."""

    @property
    def name(self) -> str:
        """Its name in ``LEVERS``, in configurations and in records."""
        ...

    def propose(self, site: Site, state: State, jobs: Jobs, outlook: Outlook, now: datetime) -> Plan | None:
        """What it would change now and what that is expected to do to facility power, or None. Changes nothing."""
        ...


@runtime_checkable
class Wary(Protocol):
    """A lever that may take back what it has in force before its end; asked every minute."""

    def withdraw(self, site: Site, state: State, now: datetime) -> Message | None:
        """Why all that it has in force is to end now; None where it may stay."""
        ...


LEVERS: Mapping[str, str] = MappingProxyType(
    {
        "coolant_flow": "energy.levers.coolant_flow",
        "demand_response": "energy.levers.demand_response",
        "job_move": "energy.levers.job_move",
        "job_peak": "energy.levers.job_peak",
        "job_place": "energy.levers.job_place",
        "job_respond": "energy.levers.job_respond",
        "job_shift": "energy.levers.job_shift",
        "job_start": "energy.levers.job_start",
        "supply_temperature": "energy.levers.supply_temperature",
        "tune": "energy.levers.tune",
    }
)


ON_PLANT = ("coolant_flow", "supply_temperature", "tune")  # levers that rest on ``energy.response.Params``


def open_lever(name: str, plant: Params | None = None) -> Lever:
    """The lever called ``name`` in ``LEVERS`` with its documented parameters; ``plant``: what the operator says of his."""
    module = importlib.import_module(LEVERS[name])
    lever: Lever = module.build(plant) if name in ON_PLANT else module.build()
    return lever


def believed(state: State, kind: str, metric: str, now: datetime, origin: Origin = Origin.MEASURED) -> Floats:
    """float64[n]: values good enough to act on: NaN where stale, never read, or judged suspect."""
    quality = state.newest(kind, metric, origin).quality
    return np.where(quality == Quality.GOOD, state.column(kind, metric, now, origin), np.nan)


class Readings:
    """What is good enough to act on at one moment: each column is worked out once, for whoever asks for a thousand assets."""

    def __init__(self, site: Site, state: State, now: datetime) -> None:
        self._site, self._state, self._now = site, state, now
        self._columns: dict[tuple[str, str], Floats] = {}

    def column(self, kind: str, metric: str) -> Floats:
        """float64[n]: as ``believed``."""
        if (kind, metric) not in self._columns:
            self._columns[kind, metric] = believed(self._state, kind, metric, self._now)
        return self._columns[kind, metric]

    def of(self, asset: str, metric: str) -> float:
        """The value of one asset of the site; NaN where it is not believed."""
        return float(self.column(self._site.kind(asset), metric)[self._site.row(asset)])

    def time_s(self, asset: str, metric: str) -> float:
        """When the newest value of one asset was read [s since 1970]; -inf where there never was one."""
        return float(self._state.newest(self._site.kind(asset), metric).time_s[self._site.row(asset)])


def site_power_w(state: State, metric: str, now: datetime) -> float:
    """A power of the whole site [W]: as metered, else as the twin works it out from meters below; NaN where neither is
    fresh."""
    measured = float(believed(state, "site", metric, now)[0])
    return measured if measured == measured else float(believed(state, "site", metric, now, Origin.MODELLED)[0])
