"""Pressures and flows of a hydraulic network: any graph of pipes, valves and pumps, solved at once.

The global gradient algorithm (Todini & Pilati, "A gradient algorithm for the analysis of pipe networks", 1988; the method of
EPANET 2): Newton on all heads and flows together. It converges for any such network, as flow resists itself everywhere.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import spsolve

from twin.errors import ConfigError, Problem
from twin.frame import Floats, Ints
from twin.site import Bools

TOLERANCE = 1e-10  # change of flow over flow
MAX_SWEEPS = 200
_STILL_KGPS = 1e-6  # water that stands
_SHUT = 1e12  # resistance over the median of a way that is shut


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Ways between places. ``tail``, ``head``: int32[e], places that a way joins, in its direction; ``resistance``: float64[e]
    Pa/(kg/s)², inf where shut; ``gain_pa``: float64[e], what a pump on it adds at no flow; ``one_way``: bool[e], a check valve.
    Place 0 is the reference of each connected part that has no other: ``datum``, places held at 0 Pa."""

    places: int
    tail: Ints
    head: Ints
    resistance: Floats
    gain_pa: Floats
    one_way: Bools
    datum: Ints


def solve_network(network: Network, name: str = "the network") -> tuple[Floats, Floats]:
    """Flow of each way [kg/s] (against its direction: negative) and pressure of each place over its datum [Pa].

    Raises ``ConfigError`` naming ``name`` where it does not converge or a resistance is negative or no number.
    """
    k = network.resistance
    if (k < 0).any() or np.isnan(k).any() or not np.isfinite(network.gain_pa).all():
        raise ConfigError(
            [Problem(name, "a pipe, valve or pump has a negative or unknown resistance; give a design flow above 0")]
        )
    usual = float(np.median(k[np.isfinite(k)])) if np.isfinite(k).any() else 1.0
    k = np.where(np.isfinite(k), k, usual * _SHUT)
    edges = np.arange(len(k))
    free = np.setdiff1d(np.arange(network.places), network.datum)
    column = np.full(network.places, -1)
    column[free] = np.arange(len(free))
    flow = np.maximum(np.sqrt(np.maximum(network.gain_pa, 1.0) / np.maximum(k, 1e-12)), 1e-9)
    shut = np.zeros(len(k), dtype=np.bool_)
    signs = np.concatenate([np.ones(len(k)), -np.ones(len(k))])
    ends = np.concatenate([column[network.tail], column[network.head]])
    keep = ends >= 0
    incidence = csr_array((signs[keep], (np.concatenate([edges, edges])[keep], ends[keep])), shape=(len(k), len(free)))
    for _ in range(MAX_SWEEPS):
        slope = np.where(shut, usual * _SHUT, np.maximum(2 * k * np.abs(flow), usual * 1e-9))
        lost = np.where(shut, slope * flow, k * flow * np.abs(flow))  # a shut valve leaks a millionth of a millionth
        matrix = (incidence.T @ (incidence / slope[:, None])).tocsc()
        pressure = np.atleast_1d(spsolve(matrix, incidence.T @ ((lost - network.gain_pa) / slope - flow)))
        new = flow + (incidence @ pressure + network.gain_pa - lost) / slope
        was = shut
        most = float(np.abs(new).max())
        back = network.one_way & (new < -1e-9 * most)
        shut = (shut & (incidence @ pressure + network.gain_pa <= 0)) | back
        moved = float(np.abs(new - flow).max())
        flow = np.where(back, 0.0, new)
        if most < _STILL_KGPS or (moved <= TOLERANCE * most and np.array_equal(was, shut)):
            heads = np.zeros(network.places)
            heads[free] = pressure
            return np.where(np.abs(flow) <= 1e-7 * max(most, _STILL_KGPS), 0.0, flow), heads
    raise ConfigError(
        [Problem(name, f"its pressures do not settle in {MAX_SWEEPS} sweeps; look for a pump without a way back")]
    )
