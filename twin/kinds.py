"""The kinds of asset, what may contain what, and which attributes of an asset are understood.

Names follow Brick and NetBox where those have one (hall = Brick *Room*, NetBox *location*; feeds = Brick *feeds*).
"""

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of asset: the kinds that may contain it (``parents``; empty: nothing does) and what it is."""

    name: str
    parents: tuple[str, ...]
    doc: str


_PLACES = ("site", "hall", "row", "rack")
_ROWS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("site", (), "the centre as a whole; exactly one"),
    ("hall", ("site",), "a room of racks"),
    ("row", ("hall",), "a row of racks"),
    ("rack", ("hall", "row"), "a cabinet"),
    ("node", ("rack",), "a server"),
    ("gpu", ("node",), "an accelerator: GPU or NPU"),
    ("switch", ("rack", "hall", "site"), "a network switch"),
    ("port", ("switch", "node"), "a network port or interface"),
    ("storage", (*_PLACES, "node"), "a file system or storage system"),
    ("disk", ("node", "storage"), "a disk: a hard disk or a solid-state drive"),
    ("pdu", _PLACES, "power distribution: row, floor or rack unit"),
    ("ups", ("site", "hall"), "uninterruptible power supply"),
    ("transformer", ("site", "hall"), "a transformer"),
    ("cdu", _PLACES, "coolant distribution unit"),
    ("loop", ("site", "hall", "row"), "a liquid loop"),
    ("pump", ("site", "hall", "cdu", "loop"), "a pump"),
    ("chiller", ("site", "hall"), "a chiller"),
    ("tower", ("site",), "a cooling tower"),
    ("drycooler", ("site",), "a dry cooler"),
    ("valve", ("site", "hall", "loop", "cdu", "rack"), "a valve"),
    ("battery", ("site", "hall"), "energy storage"),
    ("pv", ("site",), "photovoltaic generation"),
    ("meter", _PLACES, "an electricity meter"),
    ("weather", ("site",), "the air outside"),
    ("grid", ("site",), "the public grid at the connection point"),
    ("source", ("site",), "something that icctwin reads"),
    ("queue", ("site",), "a cluster's job scheduler"),
    ("task", ("site",), "something icctwin runs on a timer"),
    ("process", ("site",), "a running process of icctwin"),
    ("crah", ("site", "hall", "row"), "a computer-room air handler or air conditioner"),
    ("heatreuse", ("site",), "a consumer of waste heat, such as a district-heating exchanger"),
)
KINDS = MappingProxyType({name: Kind(name, parents, doc) for name, parents, doc in _ROWS})

# Attributes of assets: columns of the assets table beside id, kind, parent. Numbers carry their unit in the name.
NUMBER_ATTRIBUTES = MappingProxyType(
    {
        "rated_w": "design power of the asset [W]",
        "rated_kwh": "energy that a battery holds when it is full [kWh]",
        "rated_va": "rating of a power device [VA]",
        "rated_kgps": "design mass flow [kg/s]",
        "rated_heat_w": "heat that a cooling machine carries at design [W]",
        "pad_frac": "saturation effectiveness of a dry cooler's wetted pads; one that has none is dry",
        "liquid_frac": "share of a rack's heat that its liquid takes",
        "x_m": "position east of the site's origin [m]",
        "y_m": "position north of the site's origin [m]",
        "z_m": "height above the floor [m]",
        "u": "lowest rack unit that the device fills",
        "height_u": "rack units that the device fills, or that the rack has",
        "index": "the number by which its parent knows it (GPU 0-7)",
        "no_load_loss_frac": "loss of a power device at no load over its rating",
        "linear_loss_frac": "loss proportional to load over rating",
        "square_loss_frac": "loss proportional to the square of load over rating",
        "inverter_w": "most that a photovoltaic plant's inverter delivers, whose rated_w is of the panels [W]",
        "tilt_deg": "angle between photovoltaic panels and the level [°]",
        "azimuth_deg": "where photovoltaic panels look: 0 north, 90 east, 180 south [°]",
        "latitude_deg": "latitude, north positive [°]",
        "longitude_deg": "longitude, east positive [°]",
        "altitude_m": "height above the sea [m]",
    }
)
_RANGES = MappingProxyType(  # where an attribute may lie, by its name or the end of it
    {
        "latitude_deg": (-90.0, 90.0),
        "longitude_deg": (-180.0, 180.0),
        "altitude_m": (-500.0, 9000.0),
        "rated_kgps": (1e-6, 1e5),
        "_deg": (0.0, 360.0),
        "_frac": (0.0, 1.0),
        "_m": (-1e6, 1e6),
    }
)


def attribute_range(name: str) -> tuple[float, float]:
    """Lowest and highest value that a number attribute may have: shares lie within 0 and 1, places either side of nothing,
    what else is counted or rated is not below 0."""
    return next((limits for end, limits in _RANGES.items() if name.endswith(end)), (0.0, 1e12))


TEXT_ATTRIBUTES = MappingProxyType(
    {
        "name": "what people call it",
        "model": "manufacturer's model",
        "hostname": "the name that telemetry uses for a node",
        "uuid": "the vendor's unique id",
        "address": "network address of its own controller",
        "device": "the name its operating system uses (eth0, /dev/sda, a mount point)",
        "tags": "words of the operator, separated by blanks",
        "installed": "day on which it was put into service (2026-01-31)",
        "coolant": "what flows in a CDU's (or rack's) secondary side or in a loop: water, pg25, eg30 (per cent by mass)",
    }
)
# How two assets can be related, and what the relation carries.
RELATIONS = MappingProxyType({"feeds": "power", "cools": "heat", "connects": "network"})
# What cannot stand at the source of a relation: places and loads feed nothing, and what is cooled cools nothing.
NO_SOURCES = MappingProxyType(
    {
        "feeds": frozenset(("weather", "hall", "row", "loop", "gpu", "disk", "port", "heatreuse")),
        "cools": frozenset(("site", "hall", "row", "rack", "node", "gpu", "switch", "port", "storage", "disk", "pdu", "ups",
                            "transformer", "battery", "pv", "meter", "grid", "source", "queue", "task", "process")),
    }
)  # fmt: skip
