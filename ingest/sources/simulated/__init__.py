"""A simulated centre: what ``icctwin demo`` shows, and the plant against which detectors, forecasts and levers are scored.

One seeded plant (``plant.py``) is read through several sources, as a real centre is: ``<name>-gpu`` (GPUs, nodes),
``<name>-facility`` (racks, power chain, cooling), ``<name>-network`` (switches, ports, storage and its disks), ``<name>-queue``
(the job queue's counts) and ``<name>-outside`` (weather, grid). Jobs come through the queue port; setpoints are ordered
through actuators.

What the twin is deliberately not told: the spread of GPUs, plates, supplies, meters and flow shares; exchangers that foul and
whose heat transfer falls with flow; heat that escapes into the rooms; losses off their nameplates; the house's own load, which
only the grid's meter sees; towers that are not the twin's towers; and the faults, whose true list is ``Plant.faults.log``.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Literal

from numpy.random import PCG64, Generator
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ingest.queues.simulated import SimulatedQueue
from ingest.registry import Opened
from ingest.sources.simulated import parts
from ingest.sources.simulated.faults import FAULTS, Planned
from ingest.sources.simulated.fleet import fleet_of
from ingest.sources.simulated.layout import demo_rows
from ingest.sources.simulated.loops import STAGE_FRAC
from ingest.sources.simulated.plant import Plant
from twin.errors import ConfigError, Problem
from twin.frame import Frame
from twin.kinds import KINDS
from twin.site import Site, without

__all__ = ["Options", "PlannedFault", "backfill", "build", "demo_rows", "plant_of", "source_ids"]

HISTORY_STEP_S, LAST_DAY_STEP_S = 3600.0, 900.0

FaultName = Literal[
    "pump_wear", "link_flap", "gpu_xid", "gpu_lost", "straggler", "sensor_stuck", "sensor_drift", "fouling", "leak",
    "source_silent", "node_down", "disk_wear", "psu_failing", "battery_fade", "sensor_swapped",
]  # fmt: skip


class PlannedFault(BaseModel):
    """A fault ``after_s`` of the start, to ``asset`` (none: any), for ``for_s`` seconds (0: as chance has it)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: FaultName
    after_s: float = Field(ge=0)
    asset: str = ""
    for_s: float = Field(0.0, ge=0)


class Options(BaseModel):
    """Options of a simulated source.

    ``seed`` decides everything by chance; ``gpus`` is checked against the site; ``faults``: false for none, true for faults by
    chance, or a list of planned ones and no others; ``fault_factor`` multiplies the pace of chance; ``start``: when the plant
    begins (none: at its first poll); ``history_days``: how much past is made up before the first poll, once, into a store that
    is empty; ``stage_frac``: load of the chillers that run at which the plant's own sequence starts a further one (a careful
    one does so at half); ``leave_out``: assets that are real, with all they contain (they stand behind the simulated ones of
    their kinds).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(1, ge=0)
    gpus: int | None = None
    faults: bool | tuple[PlannedFault, ...] = True
    fault_factor: float = Field(1.0, ge=0, le=1000)
    start: AwareDatetime | None = None
    history_days: float = Field(0.0, ge=0, le=400)
    stage_frac: float = Field(default=STAGE_FRAC, ge=0.2, le=1.0)
    leave_out: tuple[str, ...] = ()


def source_ids(name: str, options: BaseModel) -> Sequence[str]:
    """Ids of the sources that ``build`` gives."""
    return [f"{name}-{part}" for part in parts.EVERY_S]


def build(name: str, options: BaseModel, site: Site) -> Opened:
    """The plant of ``site`` and everything that reads or sets it. Raises ``ConfigError`` where the site lacks what it needs."""
    if not isinstance(options, Options):
        raise TypeError(f"a simulated source takes simulated.Options, not {type(options).__name__}")
    site = _simulated(name, options, site)
    problems = _problems(name, options, site)
    if problems:
        raise ConfigError(problems)
    fleet = fleet_of(site)
    planned = () if isinstance(options.faults, bool) else options.faults
    plant = Plant(
        fleet,
        Generator(PCG64(options.seed)),
        options.fault_factor if options.faults is True else 0.0,
        [Planned(fault.kind, fault.after_s, fault.asset, fault.for_s) for fault in planned],
        options.start,
        options.stage_frac,
    )
    plant.goes_on = options.history_days > 0  # until ``backfill`` tells its past
    ids = source_ids(name, options)
    plant.faults.parts = tuple(ids)
    generators = plant.sensors.spawn(len(ids))
    sources = [parts.Part(id_, part, plant, rng) for id_, part, rng in zip(ids, parts.EVERY_S, generators, strict=True)]
    actuator = parts.SetpointActuator(name, plant)
    settable = [*site.ids_of("cdu"), *site.ids_of("tower"), fleet.id_of("loop", fleet.plant_loop)]
    queue = SimulatedQueue(site.ids_of("queue")[0], plant)

    def history(end: datetime) -> Iterator[Sequence[Frame]]:
        return parts.backfill(plant, end - timedelta(days=options.history_days), end, HISTORY_STEP_S, ids[1], LAST_DAY_STEP_S)

    return Opened(sources, [queue], dict.fromkeys(settable, actuator), history if options.history_days else None)


def _simulated(name: str, options: Options, site: Site) -> Site:
    """The part of ``site`` that is simulated; its rows are those of ``site``."""
    if not options.leave_out:
        return site
    where = f"[[source]] {name}"
    unknown = [asset for asset in options.leave_out if asset not in site.position]
    if unknown:
        raise ConfigError([Problem(where, f"leave_out names {asset!r}, which is no asset; mend the id") for asset in unknown])
    part = without(site, options.leave_out)
    moved = [kind for kind in KINDS if part.ids_of(kind) != site.ids_of(kind)[: part.count(kind)]]
    if moved:
        what = (
            f"{moved[0]}: what leave_out names must stand behind the simulated ones in the assets table; move those lines down"
        )
        raise ConfigError([Problem(where, what)])
    return part


def _problems(name: str, options: Options, site: Site) -> list[Problem]:
    where = f"[[source]] {name}"
    problems = []
    if options.gpus is not None and options.gpus != site.count("gpu"):
        what = f"gpus = {options.gpus}, but the site has {site.count('gpu')}; leave it out or load tables of that size"
        problems.append(Problem(where, what))
    for fault in () if isinstance(options.faults, bool) else options.faults:
        of = FAULTS[fault.kind].of
        known = source_ids(name, options) if of == "source" else site.ids_of(of)
        if fault.asset and fault.asset not in known:
            problems.append(
                Problem(where, f"fault {fault.kind}: {fault.asset!r} is no {of} of the site; name one or leave it out")
            )
    return problems


def plant_of(opened: Opened) -> Plant:
    """The plant behind what ``build`` gave, for its true list of faults and for ``backfill``."""
    source = opened.sources[0]
    if not isinstance(source, parts.Part):
        raise TypeError("these sources are not simulated")
    return source.plant


def backfill(plant: Plant, site: Site, start: datetime, end: datetime, step_s: float) -> Iterator[Sequence[Frame]]:
    """History of ``site`` before the demo begins, see ``parts.backfill``: frames of every step from ``start`` up to ``end``."""
    if site is not plant.fleet.site:
        raise ValueError("this plant stands on another site; build it with the site whose history is wanted")
    return parts.backfill(plant, start, end, step_s, plant.faults.parts[1])
