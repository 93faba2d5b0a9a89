"""What the water did over a chunk, and the constants of one of its steps."""

from dataclasses import dataclass

import numpy as np

from twin.frame import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One chunk, float64[t, …]: means over each step for flows and heats, ends of steps for temperatures.

    Branches [t, b]: ``factor`` (power of a rack over what its jobs ask: leakage, less where chips slow down; 0 once it has
    switched off), ``branch_c``, ``slowed`` (of what chips draw above idle, the share lost to their limit).
    Stations [t, s]: ``supply_c``, ``return_c``, ``station_w``, ``primary_wpk``. Rooms [t, h]: ``room_c``, ``room_air_frac``.
    Loops [t, l]: ``loop_wpk``, ``loop_c`` (supply), ``loop_back_c`` (return). Plants [t, p]: ``plant_wpk``, ``plant_return_c``,
    ``reused_w``, ``free_c`` (behind towers), ``out_c``, ``chilled_w``, ``buffer_c``. Of all [t]: ``moved_w``, energy that
    crossed the boundary inwards; ``gap_w``, what of it is missing in what the bodies gained.
    """

    factor: Floats
    branch_c: Floats
    slowed: Floats
    supply_c: Floats
    return_c: Floats
    station_w: Floats
    primary_wpk: Floats
    room_c: Floats
    room_air_frac: Floats
    loop_wpk: Floats
    loop_c: Floats
    loop_back_c: Floats
    plant_wpk: Floats
    plant_return_c: Floats
    reused_w: Floats
    free_c: Floats
    out_c: Floats
    chilled_w: Floats
    buffer_c: Floats
    moved_w: Floats
    gap_w: Floats


def empty_record(steps: int, branches: int, stations: int, rooms: int, loops: int, plants: int) -> Record:
    """A record of so many steps with nothing in it yet."""
    sizes = [(branches, 3), (stations, 4), (rooms, 2), (loops, 3), (plants, 7)]
    columns = [np.zeros((steps, width)) for width, count in sizes for _ in range(count)]
    return Record(*[*columns, np.zeros(steps), np.zeros(steps)])


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """Constants of a step of ``h`` seconds: of branches (heating K/W, kept, follow, weight of each in its station's mix), of
    returns and supplies, of the valves' lag, and where branches stand."""

    h: float
    heating: Floats
    kept: Floats
    follow: Floats
    weight: Floats
    return_mix: Floats
    return_kept: Floats
    return_follow: Floats
    supply_mix: Floats
    supply_heat_k: Floats
    warmed_k: Floats
    valve: float
    spun_w: float
    room: Ints
