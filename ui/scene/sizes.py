"""How large things are drawn, and at which level of detail. Outlines for orientation, not for construction.

Sources: racks 600 mm x 1200 mm, a unit of 44.45 mm (EIA-310); CDUs, UPS, transformers, chillers and cooling towers: outlines
typical of makers' data sheets in the megawatt class, assumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

U_M = 0.04445  # a rack unit, EIA-310
RACK_U = 48.0  # of a rack whose height is not given
PLINTH_M = 0.10  # a rack's height beside its units: feet and roof
RACK_PITCH_M, ROW_PITCH_M, HALL_GAP_M = 0.8, 3.2, 6.0  # where tables give no position
RACKS_PER_LINE = 20


class Level(IntEnum):
    """From afar to close by. ``HIDDEN``: has a place, for pipes and paths, and no box."""

    HALL = 0
    RACK = 1
    NODE = 2
    GPU = 3
    HIDDEN = 4


@dataclass(frozen=True, slots=True)
class Look:
    """Level and outline (m) of a kind of asset."""

    level: Level
    wide_m: float = 0.0
    deep_m: float = 0.0
    high_m: float = 0.0


# What has no place (weather, sources, queues, tasks, processes, ports) is not here and is not drawn.
LOOKS: Mapping[str, Look] = MappingProxyType(
    {
        "hall": Look(Level.HALL, high_m=0.04),
        "row": Look(Level.HALL, high_m=0.06),
        "rack": Look(Level.RACK, 0.6, 1.2, RACK_U * U_M + PLINTH_M),
        "cdu": Look(Level.RACK, 0.75, 1.2, 2.1),
        "ups": Look(Level.RACK, 1.0, 1.0, 2.0),
        "transformer": Look(Level.RACK, 1.8, 1.4, 2.0),
        "pdu": Look(Level.RACK, 0.8, 0.8, 2.0),
        "storage": Look(Level.RACK, 0.75, 1.2, 2.1),
        "switch": Look(Level.RACK, 0.6, 1.0, 1.0),
        "crah": Look(Level.RACK, 2.4, 0.9, 2.0),
        "battery": Look(Level.RACK, 2.4, 6.0, 2.6),
        "meter": Look(Level.RACK, 0.8, 0.5, 1.6),
        "pv": Look(Level.RACK, 6.0, 3.0, 0.1),
        "chiller": Look(Level.RACK, 2.2, 5.0, 2.4),
        "tower": Look(Level.RACK, 3.6, 3.6, 4.2),
        "drycooler": Look(Level.RACK, 2.4, 6.0, 2.2),
        "heatreuse": Look(Level.RACK, 1.6, 1.6, 1.8),
        "pump": Look(Level.RACK, 0.7, 1.1, 0.9),
        "node": Look(Level.NODE, 0.48, 0.9, 4 * U_M),
        "valve": Look(Level.NODE, 0.25, 0.25, 0.3),
        "gpu": Look(Level.GPU, 0.1, 0.27, 0.07),
        "loop": Look(Level.HIDDEN),
        "grid": Look(Level.HIDDEN),
    }
)
# Inside a cabinet things are smaller: kind -> outline there.
IN_RACK: Mapping[str, Look] = MappingProxyType(
    {
        "switch": Look(Level.NODE, 0.46, 0.5, U_M),
        "pdu": Look(Level.NODE, 0.06, 0.06, 1.7),
        "cdu": Look(Level.NODE, 0.48, 0.9, 4 * U_M),
        "storage": Look(Level.NODE, 0.46, 0.8, 2 * U_M),
        "meter": Look(Level.NODE, 0.2, 0.1, U_M),
        "valve": Look(Level.NODE, 0.08, 0.08, 0.1),
        "pump": Look(Level.NODE, 0.3, 0.4, 0.4),
    }
)
TRAY_M = (0.3, 0.06)  # a cable tray's width and height
TRAY_OVER_M = 0.75  # above the racks
