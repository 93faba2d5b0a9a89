"""The simulated centre's endpoints: sources over one plant, of which one can fall silent while the others live, the actuator
that orders supply temperatures, and the history before the demo begins."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from ingest.sources.simulated.instruments import Instruments
from ingest.sources.simulated.loops import BOUNDS
from ingest.sources.simulated.plant import Plant
from twin.errors import SourceError
from twin.frame import Frame, Origin, frame_of
from twin.metrics import metric
from twin.ports import Action

EVERY_S = {"gpu": 1.0, "facility": 2.0, "network": 5.0, "queue": 10.0, "outside": 60.0}
SLOW_S = 10.0  # memory, counters and limits of GPUs and nodes; at once where something of theirs changed
HISTORY_FACTOR = 0.03  # faults of the history, over the demo's: about as often as in nature
DISKS_S = 60.0  # health of disks: read as smartctl_exporter reads it by default
PAST_OF_GPUS = ("util_frac", "sm_active_frac", "tensor_active_frac", "power_w", "temp_c")  # what reports ask for
HOURLY_S = 3600.0
# Faults of the past of which a device tells, and in what: they last for minutes, which no hourly reading would show.
SHOWN = {"gpu_xid": ("gpu", "xid_code"), "gpu_lost": ("gpu", "xid_code"), "leak": ("rack", "leak_flag")}
SETPOINT, LIMIT, FAN_LIMIT = "supply_temp_setpoint_c", "chillers_limit_count", "fan_limit_frac"


class Part:
    """One endpoint, ``part`` a key of ``EVERY_S``. It is silent while a fault says so: ``SourceError``, the plant goes on."""

    def __init__(self, name: str, part: str, plant: Plant, rng: np.random.Generator) -> None:
        self._name, self._part = name, part
        self.plant = plant
        self._read = Instruments(plant, rng, name)
        self._slow_due_s, self._changes = -np.inf, 0

    @property
    def name(self) -> str:
        """Id of its source asset."""
        return self._name

    @property
    def every_s(self) -> float:
        """How often it wants to be polled [s]."""
        return EVERY_S[self._part]

    @property
    def unmapped(self) -> int:
        """Everything simulated belongs to an asset."""
        return 0

    async def poll(self, now: datetime) -> Sequence[Frame]:
        """Bring the plant to ``now`` and read the sensors of this part. Raises ``SourceError`` while silent."""
        self.plant.advance(now)
        if self._name in self.plant.effects.silent:
            raise SourceError(f"{self._name}: no answer from the simulated endpoint (a fault of the demo; it ends by itself)")
        read = self._read
        if self._part == "gpu":
            slow = self._slow(SLOW_S)
            return [*read.gpus(slow), *read.nodes(slow)]
        if self._part == "facility":
            return [*facility(read), *read.feeders("pdu")]
        if self._part == "network":
            return [*read.network(), *read.storage(), *(read.disks() if self._slow(DISKS_S) else ())]
        return read.queue() if self._part == "queue" else read.outside()

    def _slow(self, every_s: float) -> bool:
        """Whether slow readings are due."""
        time_s, changes = self.plant.time.timestamp(), self.plant.effects.changes
        if time_s < self._slow_due_s and changes == self._changes:
            return False
        self._slow_due_s, self._changes = time_s + every_s - 0.5, changes
        return True

    async def close(self) -> None:
        """Nothing is open."""


class SetpointActuator:
    """Orders ``supply_temp_setpoint_c`` of CDUs and of the plant loop, how many chillers may run at once
    (``chillers_limit_count`` of the latter) and how fast the fans of towers may turn at most (``fan_limit_frac``), as a
    building controller would take it.

    Outside the device's own bounds: ``SourceError``. Within them it moves at most the metric's step from what is ordered now,
    ramps there, goes back to its own setpoint when the action's time is over, and counts the same key once.
    """

    def __init__(self, name: str, plant: Plant) -> None:
        self._name, self._plant = name, plant

    def takes(self, asset: str) -> frozenset[str]:
        """See ``twin.ports.Choosing``."""
        fleet = self._plant.fleet
        if fleet.site.kind(asset) == "tower":
            return frozenset({FAN_LIMIT})
        return frozenset({SETPOINT, LIMIT} if asset == fleet.id_of("loop", fleet.plant_loop) else {SETPOINT})

    async def apply(self, action: Action, now: datetime) -> Frame:
        """Order it and read back what the device then holds as ordered."""
        plant, site = self._plant, self._plant.fleet.site
        plant.advance(now)
        kind = site.kind(action.asset)
        row = site.row(action.asset)
        can, staging = self.takes(action.asset), action.metric == LIMIT
        if action.metric not in can:
            raise SourceError(f"{action.asset}: {action.metric} cannot be set here; it takes {', '.join(sorted(can))}")
        low, high = (0.0, float(plant.fleet.count("chiller"))) if staging else BOUNDS[kind]
        unit = "chillers" if staging else metric(kind, action.metric).unit or "of full speed"
        if not low <= action.value <= high or (staging and action.value != round(action.value)):
            raise SourceError(f"{action.asset}: refuses {action.value:g} {unit}; it takes {low:g} to {high:g} {unit}")
        if action.until <= now:
            raise SourceError(
                f"{action.asset}: the order for {action.value:g} {unit} had ended at {action.until}; send one that lies ahead"
            )
        step = metric(kind, action.metric).step or 0.0
        ordered = float(plant.loops.limit if staging else plant.loops.ordered(kind)[row])
        value = min(max(action.value, ordered - step), ordered + step)
        until_s = action.until.timestamp()
        if staging:
            held = float(plant.order_limit(round(value), until_s, action.key))
        else:
            held = plant.order(kind, row, value, until_s, action.key)
        return frame_of(kind, plant.time, row, origin=Origin.COMMANDED, source=self._name, **{action.metric: held})


def facility(read: Instruments) -> list[Frame]:
    """What building controls and power meters say, but for rack PDUs."""
    return [
        *read.racks(), *read.cdus(), *read.pumps(), *read.loops(), *read.chillers(), *read.towers(),
        *read.feeders("ups", "transformer"), *read.meters(),
    ]  # fmt: skip


def backfill(
    plant: Plant, start: datetime, end: datetime, step_s: float, name: str, last_day_step_s: float | None = None
) -> Iterator[Sequence[Frame]]:
    """History: the plant runs from ``start`` to ``end`` (aware UTC) in steps of ``step_s`` (over the last day of
    ``last_day_step_s``) and each step gives the frames of facility, queue, storage and outside; those of GPUs
    (``PAST_OF_GPUS``), nodes, PDUs and disks come every ``HOURLY_S``, those of ports not at all; what devices tell of faults
    (``SHOWN``) follows those of the step, at the times at which it began and ended. The living plant goes on from there.

    Frames carry ``name`` as their source. Raises ``ValueError`` where the plant has begun already or the span is no span.
    """
    if plant.begun:
        raise ValueError("the simulated centre has begun already; a history comes before its first poll")
    if not (step_s > 0 and end > start):
        raise ValueError(f"no history from {start} to {end} in steps of {step_s} s; give an end after the start")
    plant.goes_on = False
    read = Instruments(plant, plant.sensors.spawn(1)[0], name)
    factor, plant.faults.factor = plant.faults.factor, plant.faults.factor * HISTORY_FACTOR
    try:
        time = due = last = start
        while time < end:
            plant.advance(time)
            hourly = [*_gpus(read), *read.nodes(slow=False), *read.feeders("pdu"), *read.disks()] if time >= due else []
            due += timedelta(seconds=HOURLY_S if time >= due else 0)
            broken = _broken(plant, last, time, name)
            yield [*facility(read), *read.storage(), *read.queue(), *read.outside(), *hourly, *broken]
            last = time
            fine = last_day_step_s is not None and end - time <= timedelta(days=1)
            time += timedelta(seconds=last_day_step_s if fine and last_day_step_s else step_s)
    finally:
        plant.faults.factor = factor


def _gpus(read: Instruments) -> Iterator[Frame]:
    for frame in read.gpus(slow=False):
        yield replace(frame, values={metric: frame.values[metric] for metric in PAST_OF_GPUS})


def _broken(plant: Plant, last: datetime, now: datetime, name: str) -> list[Frame]:
    """What devices showed of faults that began or ended after ``last``, in order: an XID stays until the driver starts anew."""
    after_s, until_s = last.timestamp(), now.timestamp()
    shown = [
        (at_s, *SHOWN[fault.kind], fault.asset, value)
        for fault in plant.faults.log
        if fault.kind in SHOWN
        for at_s, value in ((fault.start_s, fault.number), (fault.until_s, 0.0))
        if after_s < at_s <= until_s
    ]
    row = plant.fleet.site.row
    return [
        frame_of(kind, datetime.fromtimestamp(at_s, UTC), row(asset), Origin.MEASURED, name, **{metric: value})
        for at_s, kind, metric, asset, value in sorted(shown)
    ]
