"""What breaks, when and for how long: a seeded stream of faults, and the true list of them for whoever scores detectors.

The pace is the demo's, not nature's: 16,384 H100 saw one unexpected interruption in 3 h (Llama 3, 2024), of which 59 % were
GPUs and 8 % the network; here every kind takes its turn, about one event in four minutes in a centre of any size, so that a
visitor sees each. ``fault_factor`` multiplies that; 0.02 is about nature's pace for 16,384 GPUs.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ingest.sources.simulated import wear
from ingest.sources.simulated.effects import Effects, SensorFault
from ingest.sources.simulated.fleet import Fleet, Index
from ingest.sources.simulated.workload import Workload

MAX_ACTIVE = 48  # faults at one time; what would be more does not happen
LOG_KEPT = 10_000  # of the list of past faults; the oldest goes
FLAP_S = 18.0  # a flapping link goes down once in this time
XIDS = (13, 31, 43, 45, 48, 63, 74, 92, 94, 119)
_KILLS = frozenset((13, 31, 43, 45, 48, 74, 94, 119))  # of these, what ends the job
_CREEP = {"supply_temp_c": 3.0, "return_temp_c": 4.0, "flow_kgps": -0.4, "power_w": 6_000.0}  # of rack sensors, in half an hour


@dataclass(frozen=True, slots=True)
class Fault:
    """The truth about one fault: ``kind`` (a key of ``FAULTS``), the asset, seconds since 1970, and what is special of it:
    ``number``, as its kind means it (an XID, a flag), and in words."""

    kind: str
    asset: str
    start_s: float
    until_s: float
    detail: str = ""
    number: float = 0.0


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault to happen ``after_s`` of the plant's start, for ``for_s`` (0: as chance has it), to ``asset`` ("": any)."""

    kind: str
    after_s: float
    asset: str = ""
    for_s: float = 0.0


@dataclass(slots=True)
class _Active:
    fault: Fault
    row: int
    number: float  # what the kind needs to remember


Begin = Callable[["Faults", int, float, float], tuple[float, str]]  # row, start, until -> number, detail
Hold = Callable[["Faults", "_Active", float, float], None]  # active, from, to


@dataclass(frozen=True, slots=True)
class FaultKind:
    """How a kind of fault happens: times an hour at factor 1, how long (from-to, in s), to which kind of asset, and how."""

    per_h: float
    for_s: tuple[float, float]
    of: str
    begin: Begin
    hold: Hold
    end: Callable[["Faults", "_Active"], None]
    busy: bool = False  # strikes only what works on a job
    full: int = 1  # assets from which the pace holds; a smaller centre sees it less often


class Faults:
    """Starts, carries on and ends faults. ``log``: the true list, newest last; ``parts``: sources that may fall silent."""

    def __init__(
        self,
        fleet: Fleet,
        effects: Effects,
        work: Workload,
        rng: np.random.Generator,
        factor: float,
        planned: Sequence[Planned],
    ) -> None:
        self.fleet, self.effects, self.work, self.rng = fleet, effects, work, rng
        self.factor = factor
        self.parts: tuple[str, ...] = ()
        self.log: deque[Fault] = deque(maxlen=LOG_KEPT)
        self.active: list[_Active] = []
        self._planned = sorted(planned, key=lambda plan: plan.after_s)
        self._start_s = self.now_s = math.nan
        self._units = float(rng.exponential())  # of waiting time until the next fault by chance
        there = {kind: 1 if of == "source" else fleet.count(of) for kind, of in ((k, f.of) for k, f in FAULTS.items())}
        pace = np.array([fault.per_h * min(1.0, there[kind] / fault.full) for kind, fault in FAULTS.items()])
        self._per_s, self._until = float(pace.sum()) / 3600.0, np.cumsum(pace / pace.sum())

    def begin(self, time_s: float) -> None:
        """The plant starts at ``time_s``."""
        self._start_s = self.now_s = time_s

    def advance(self, time_s: float) -> None:
        """All that breaks, carries on and heals up to ``time_s``."""
        was_s, self.now_s = self.now_s, time_s
        per_s = self.factor * self._per_s
        at_s = was_s
        while per_s > 0 and self._units <= (time_s - at_s) * per_s:
            at_s += self._units / per_s
            self._units = float(self.rng.exponential())
            which = min(int(np.searchsorted(self._until, self.rng.random(), side="right")), len(FAULTS) - 1)
            self._strike(Planned(list(FAULTS)[which], 0.0), at_s)
        self._units -= (time_s - at_s) * per_s
        while self._planned and self._start_s + self._planned[0].after_s <= time_s:
            plan = self._planned.pop(0)
            self._strike(plan, max(was_s, self._start_s + plan.after_s))
        for active in list(self.active):
            kind = FAULTS[active.fault.kind]
            kind.hold(self, active, max(was_s, active.fault.start_s), min(time_s, active.fault.until_s))
            if active.fault.until_s <= time_s:
                kind.end(self, active)
                self.active.remove(active)

    def _strike(self, plan: Planned, at_s: float) -> None:
        kind = FAULTS[plan.kind]
        for_s = plan.for_s or float(self.rng.uniform(*kind.for_s))
        row = self._victim(kind, plan.asset)
        if row < 0 or len(self.active) >= MAX_ACTIVE:
            return
        number, detail = kind.begin(self, row, at_s, at_s + for_s)
        asset = self.parts[row] if kind.of == "source" else self.fleet.id_of(kind.of, row)
        fault = Fault(plan.kind, asset, at_s, at_s + for_s, detail, number)
        self.active.append(_Active(fault, row, number))
        self.log.append(fault)

    def _victim(self, kind: FaultKind, asset: str) -> int:
        """Row of ``asset``, or of any asset of the kind that has no fault yet; -1 where there is none."""
        if asset:
            return self.parts.index(asset) if kind.of == "source" else self.fleet.site.row(asset)
        n = len(self.parts) if kind.of == "source" else self.fleet.count(kind.of)
        rows = np.flatnonzero(self.work.gpu_slot >= 0) if kind.busy else np.arange(n)
        taken = {active.row for active in self.active if FAULTS[active.fault.kind].of == kind.of}
        row = int(self.rng.choice(rows)) if len(rows) else -1
        if kind.of == "pump" and row >= 0:  # chance never takes both pumps of one unit; a plan may
            row_of = {"cdu": self.fleet.pump_cdu, "loop": self.fleet.pump_loop}
            return -1 if any(at[row] >= 0 and at[row] in at[list(taken)] for at in row_of.values()) else row
        return -1 if row in taken else row

    def gpus_of(self, node: int) -> Index:
        """GPU rows of a node."""
        return self.fleet.node_gpus[self.fleet.node_start[node] : self.fleet.node_start[node + 1]]


def _nothing(faults: Faults, active: _Active, from_s: float, to_s: float) -> None:
    """Goes on as it began."""


def _pump_begin(faults: Faults, row: int, start_s: float, until_s: float) -> tuple[float, str]:
    return start_s + 0.6 * (until_s - start_s), "head falls, then it stops"


def _pump_hold(faults: Faults, active: _Active, from_s: float, to_s: float) -> None:
    done = (to_s - active.fault.start_s) / (active.number - active.fault.start_s)
    faults.effects.pump_head[active.row] = 1.0 - 0.45 * min(done, 1.0)
    faults.effects.pump_dead[active.row] = done >= 1.0


def _pump_end(faults: Faults, active: _Active) -> None:
    faults.effects.pump_head[active.row], faults.effects.pump_dead[active.row] = 1.0, False


def _flap_begin(faults: Faults, row: int, start_s: float, until_s: float) -> tuple[float, str]:
    return 0.0, f"down once in {FLAP_S:g} s"


def _flap_hold(faults: Faults, active: _Active, from_s: float, to_s: float) -> None:
    since, until = from_s - active.fault.start_s, to_s - active.fault.start_s
    effects = faults.effects
    downs = math.floor(until / FLAP_S) - math.floor(since / FLAP_S) + (since == 0)
    effects.port_downs[active.row] += downs
    effects.port_errors[active.row] += float(faults.rng.poisson(40.0 * downs + 3.0 * (to_s - from_s)))
    effects.port_down[active.row] = until % FLAP_S < 0.4 * FLAP_S


def _flap_end(faults: Faults, active: _Active) -> None:
    faults.effects.port_down[active.row] = False


def _xid_begin(faults: Faults, row: int, start_s: float, until_s: float) -> tuple[float, str]:
    xid = int(faults.rng.choice(XIDS))
    counts = faults.effects.gpu_counts
    if xid in (48, 63, 94):
        counts["ecc_uncorrected_count"][row] += 1
        counts["remapped_rows_count"][row] += 1
    if xid == 92:
        counts["ecc_corrected_count"][row] += float(faults.rng.integers(50, 400))
    if xid == 74:
        counts["nvlink_error_count"][row] += float(faults.rng.integers(5, 200))
    faults.effects.gpu_xid[row] = xid
    faults.effects.changes += 1
    if xid in _KILLS:
        faults.work.fail_on(np.array([row]), faults.now_s)
    return float(xid), f"XID {xid}"


def _xid_end(faults: Faults, active: _Active) -> None:
    """The node's driver was restarted: the sticky code is gone."""
    faults.effects.gpu_xid[active.row] = 0.0
    faults.effects.changes += 1


def _lost_begin(faults: Faults, row: int, start_s: float, until_s: float) -> tuple[float, str]:
    faults.effects.gpu_lost[row], faults.effects.gpu_xid[row] = True, 79.0
    faults.effects.changes += 1
    faults.work.fail_on(np.array([row]), faults.now_s)
    faults.work.drain(int(faults.fleet.gpu_node[row]), True)
    return 79.0, "XID 79: fell off the bus"


def _lost_end(faults: Faults, active: _Active) -> None:
    faults.effects.gpu_lost[active.row], faults.effects.gpu_xid[active.row] = False, 0.0
    faults.effects.changes += 1
    faults.work.drain(int(faults.fleet.gpu_node[active.row]), False)


def _slow_begin(faults: Faults, row: int, start_s: float, until_s: float) -> tuple[float, str]:
    factor = float(faults.rng.uniform(0.5, 0.75))
    faults.effects.gpu_slow[row] = factor
    return factor, f"clock held at {factor:.0%}"


def _slow_end(faults: Faults, active: _Active) -> None:
    faults.effects.gpu_slow.pop(active.row, None)


def _sensor_begin(faults: Faults, row: int, start_s: float, until_s: float, creeping: bool) -> tuple[float, str]:
    name = str(faults.rng.choice(tuple(_CREEP)))
    rate = _CREEP[name] / 1800.0 if creeping else 0.0
    faults.effects.sensors.append(SensorFault("rack", name, row, start_s, rate))
    return rate, name


def _stuck_begin(faults: Faults, row: int, start_s: float, until_s: float) -> tuple[float, str]:
    return _sensor_begin(faults, row, start_s, until_s, creeping=False)


def _drift_begin(faults: Faults, row: int, start_s: float, until_s: float) -> tuple[float, str]:
    return _sensor_begin(faults, row, start_s, until_s, creeping=True)


def _sensor_end(faults: Faults, active: _Active) -> None:
    sensors, fault = faults.effects.sensors, active.fault
    sensors[:] = [s for s in sensors if not (s.row == active.row and s.since_s == fault.start_s)]


def _foul_begin(faults: Faults, row: int, start_s: float, until_s: float) -> tuple[float, str]:
    return float(faults.rng.uniform(0.3, 0.5)), "heat exchanger clogs"


def _foul_hold(faults: Faults, active: _Active, from_s: float, to_s: float) -> None:
    done = min(1.0, (to_s - active.fault.start_s) / 900.0)
    faults.effects.cdu_transfer[active.row] = 1.0 - (1.0 - active.number) * done


def _foul_end(faults: Faults, active: _Active) -> None:
    faults.effects.cdu_transfer[active.row] = 1.0


def _leak_begin(faults: Faults, row: int, start_s: float, until_s: float) -> tuple[float, str]:
    faults.effects.rack_leak[row] = True
    return 1.0, "leak at the manifold"


def _leak_end(faults: Faults, active: _Active) -> None:
    faults.effects.rack_leak[active.row] = False


def _silent_begin(faults: Faults, row: int, start_s: float, until_s: float) -> tuple[float, str]:
    faults.effects.silent.add(faults.parts[row])
    return 0.0, "does not answer"


def _silent_end(faults: Faults, active: _Active) -> None:
    faults.effects.silent.discard(faults.parts[active.row])


def _node_begin(faults: Faults, row: int, start_s: float, until_s: float) -> tuple[float, str]:
    faults.effects.node_down[row] = True
    faults.effects.changes += 1
    faults.work.fail_on(faults.gpus_of(row), faults.now_s)
    faults.work.drain(row, True)
    return 0.0, "node is off"


def _node_end(faults: Faults, active: _Active) -> None:
    faults.effects.node_down[active.row] = False
    faults.effects.node_boot_s[active.row] = active.fault.until_s
    faults.effects.changes += 1
    faults.work.drain(active.row, False)


_MIN = 60.0
FAULTS = MappingProxyType(
    {
        "pump_wear": FaultKind(0.8, (20 * _MIN, 45 * _MIN), "pump", _pump_begin, _pump_hold, _pump_end, full=4),
        "link_flap": FaultKind(2.0, (2 * _MIN, 6 * _MIN), "port", _flap_begin, _flap_hold, _flap_end, full=16),
        "gpu_xid": FaultKind(4.0, (5 * _MIN, 20 * _MIN), "gpu", _xid_begin, _nothing, _xid_end, full=64),
        "gpu_lost": FaultKind(0.8, (10 * _MIN, 25 * _MIN), "gpu", _lost_begin, _nothing, _lost_end, full=128),
        "straggler": FaultKind(1.5, (8 * _MIN, 25 * _MIN), "gpu", _slow_begin, _nothing, _slow_end, busy=True, full=64),
        "sensor_stuck": FaultKind(1.2, (10 * _MIN, 40 * _MIN), "rack", _stuck_begin, _nothing, _sensor_end, full=4),
        "sensor_drift": FaultKind(0.8, (20 * _MIN, 60 * _MIN), "rack", _drift_begin, _nothing, _sensor_end, full=4),
        "fouling": FaultKind(0.6, (25 * _MIN, 60 * _MIN), "cdu", _foul_begin, _foul_hold, _foul_end),
        "leak": FaultKind(0.5, (4 * _MIN, 12 * _MIN), "rack", _leak_begin, _nothing, _leak_end, full=4),
        "source_silent": FaultKind(1.0, (1.5 * _MIN, 4 * _MIN), "source", _silent_begin, _nothing, _silent_end),
        "node_down": FaultKind(0.8, (8 * _MIN, 20 * _MIN), "node", _node_begin, _nothing, _node_end, full=24),
        "disk_wear": FaultKind(0.6, (25 * _MIN, 60 * _MIN), "disk", wear.disk_begin, wear.disk_hold, wear.disk_end, full=8),
        "psu_failing": FaultKind(0.5, (15 * _MIN, 40 * _MIN), "node", wear.psu_begin, wear.psu_hold, wear.psu_end, full=24),
        "battery_fade": FaultKind(0.3, (90 * _MIN, 180 * _MIN), "ups", wear.battery_begin, wear.battery_hold, wear.battery_end),
        "sensor_swapped": FaultKind(0.4, (25 * _MIN, 60 * _MIN), "rack", wear.swap_begin, _nothing, wear.swap_end, full=4),
    }
)
