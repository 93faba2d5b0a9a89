"""What wears out, how it fails and what it reports: disks of the storage systems, power supplies of nodes, batteries of UPSes;
and sensors that are wired wrongly.

As everywhere in the demo the course is nature's and the pace is not: the last months of a disk or a battery pass in an hour.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ingest.sources.simulated.fleet import Fleet
from twin.frame import Floats

if TYPE_CHECKING:
    from ingest.sources.simulated.effects import Effects
    from ingest.sources.simulated.faults import Faults, _Active
    from ingest.sources.simulated.power import PowerChain

# SMART 5, 197, 187, 188
DISK_COUNTS = ("reallocated_count", "pending_count", "reported_uncorrected_count", "command_timeout_count")
BEFORE = 0.03  # share of disks in service that have reallocated a few sectors and live on: so many of Backblaze's show a count
# in a whole course: sectors that become unreadable, reads given up, commands that time out; chosen for the demo
PENDING, UNCORRECTED, TIMEOUTS = 120.0, 30.0, 8.0
DISK_ENDS, PSU_FAILS = 0.8, 0.6  # share of the course from which a disk's own check fails; a supply that warned has failed
FULL_RUNTIME_S = 600.0  # of a new battery at the UPS's rated load
PEUKERT = 1.18  # of this plant's batteries, not the detectors' (1.2); lead-acid: 1.1-1.3
BATTERY_END = 0.82  # capacity from the middle of the course on; a battery is at its end at 0.8 (IEEE Std 1188-2005)
ROOM_C = 24.0


def disks_in_service(fleet: Fleet, rng: np.random.Generator) -> dict[str, Floats]:
    """Counters of disks that have run for a while, by metric; ``powered_on_s`` at the plant's start among them."""
    n = fleet.count("disk")
    counts = {name: np.zeros(n) for name in DISK_COUNTS}
    counts["reallocated_count"] = np.where(rng.random(n) < BEFORE, rng.integers(1, 8, n), 0).astype(np.float64)
    counts["powered_on_s"] = np.rint(rng.uniform(90, 1500, n) * 86400.0)
    return counts


def disk_values(effects: "Effects", time_s: float, rng: np.random.Generator) -> dict[str, Floats]:
    """What the disks' controllers report."""
    values = {name: effects.disk_counts[name].copy() for name in DISK_COUNTS}
    values["failing_flag"] = effects.disk_failing.astype(np.float64)
    values["powered_on_s"] = np.maximum(time_s - effects.disk_on_s, 0.0)
    values["temp_c"] = np.rint(31.0 + 0.5 * rng.standard_normal(len(effects.disk_on_s)))
    return values


def battery_values(effects: "Effects", power: "PowerChain", rng: np.random.Generator) -> dict[str, Floats]:
    """What UPSes say of their batteries: how long each would carry the present load, by Peukert's law, and how warm it is."""
    left, share = effects.battery_left, np.maximum(power.loading("ups"), 1e-3)
    noise = 1.0 + 0.004 * rng.standard_normal(len(left))
    return {
        "charge_frac": np.ones(len(left)),
        "on_battery_flag": np.zeros(len(left)),
        "battery_runtime_s": np.rint(FULL_RUNTIME_S * left * share**-PEUKERT * noise),
        "battery_temp_c": np.round(ROOM_C + 12.0 * (1.0 - left) + 0.1 * rng.standard_normal(len(left)), 1),
        "battery_replace_flag": (left < 0.8).astype(np.float64),
    }


def _done(active: "_Active", to_s: float) -> float:
    return (to_s - active.fault.start_s) / (active.fault.until_s - active.fault.start_s)


def disk_begin(faults: "Faults", row: int, start_s: float, until_s: float) -> tuple[float, str]:
    """Sectors become unreadable, faster and faster."""
    return float(faults.rng.uniform(0.6, 1.6)), "pending sectors grow, then its own check fails"


def disk_hold(faults: "Faults", active: "_Active", from_s: float, to_s: float) -> None:
    """Growth with the square of the course; half of what was pending is reallocated."""
    counts, row = faults.effects.disk_counts, active.row
    grown = active.number * (_done(active, to_s) ** 2 - _done(active, from_s) ** 2)
    pending = float(faults.rng.poisson(PENDING * grown))
    moved = float(faults.rng.binomial(int(pending), 0.5))
    counts["pending_count"][row] += pending - moved
    counts["reallocated_count"][row] += moved
    counts["reported_uncorrected_count"][row] += float(faults.rng.poisson(UNCORRECTED * grown))
    counts["command_timeout_count"][row] += float(faults.rng.poisson(TIMEOUTS * grown))
    faults.effects.disk_failing[row] = _done(active, to_s) >= DISK_ENDS


def disk_end(faults: "Faults", active: "_Active") -> None:
    """It was replaced: the new one begins at 0."""
    effects, row = faults.effects, active.row
    for name in DISK_COUNTS:
        effects.disk_counts[name][row] = 0.0
    effects.disk_failing[row], effects.disk_on_s[row] = False, active.fault.until_s


def psu_begin(faults: "Faults", row: int, start_s: float, until_s: float) -> tuple[float, str]:
    """One of the node's supplies warns."""
    faults.effects.psu_code[row] = 1.0
    faults.effects.changes += 1
    return start_s + PSU_FAILS * (until_s - start_s), "a power supply warns, then fails"


def psu_hold(faults: "Faults", active: "_Active", from_s: float, to_s: float) -> None:
    """Its partner carries the node when it has failed."""
    if to_s >= active.number and faults.effects.psu_code[active.row] < 2.0:
        faults.effects.psu_code[active.row] = 2.0
        faults.effects.changes += 1


def psu_end(faults: "Faults", active: "_Active") -> None:
    """It was replaced."""
    faults.effects.psu_code[active.row] = 0.0
    faults.effects.changes += 1


def battery_begin(faults: "Faults", row: int, start_s: float, until_s: float) -> tuple[float, str]:
    """Its capacity fades."""
    return BATTERY_END, f"capacity falls to {BATTERY_END:.0%}"


def battery_hold(faults: "Faults", active: "_Active", from_s: float, to_s: float) -> None:
    """To what is left, which then holds for a while: there is time to order one."""
    faults.effects.battery_left[active.row] = 1.0 - (1.0 - active.number) * min(1.0, 2.0 * _done(active, to_s))


def battery_end(faults: "Faults", active: "_Active") -> None:
    """It was replaced."""
    faults.effects.battery_left[active.row] = 1.0


def swap_begin(faults: "Faults", row: int, start_s: float, until_s: float) -> tuple[float, str]:
    """After work on two racks a sensor of each is on the other's wires; -1 where there is no other rack."""
    racks = faults.fleet.count("rack")
    name = str(faults.rng.choice(("power_w", "return_temp_c")))
    other = int((row + faults.rng.integers(1, racks)) % racks) if racks > 1 else -1
    if other >= 0:
        faults.effects.swaps.append((name, row, other))
    return float(other), f"{name} with {faults.fleet.id_of('rack', other)}" if other >= 0 else "no other rack"


def swap(values: dict[str, Floats], swaps: Sequence[tuple[str, int, int]]) -> None:
    """Give the readings of racks to whom the wires lead, in place."""
    for name, one, other in swaps:
        values[name][[one, other]] = values[name][[other, one]]


def swap_end(faults: "Faults", active: "_Active") -> None:
    """The wires are where they belong."""
    swaps = faults.effects.swaps
    swaps[:] = [swap for swap in swaps if swap[1:] != (active.row, int(active.number))]
