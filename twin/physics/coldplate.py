"""Cold plates and the coolant in a rack: how hot the silicon is, and how long the coolant lasts when it stands still."""

import numpy as np

from twin.frame import Floats
from twin.physics import Numbers


def junction_c(coolant_c: Numbers, chip_w: Numbers, plate_wpk: Numbers, flow_frac: Numbers, exponent: Numbers) -> Floats:
    """Junction temperature [°C]: T_coolant + P / (G · f^m), G the plate's conductance at design flow, f the flow over design.

    Half of the resistance is taken to lie in the liquid's film, which falls with flow^m (m = 1/3 in the laminar channels of a
    cold plate: Sieder & Tate, Incropera eq. 8.57); the other half, spreading and interface, does not. Water that stands is held
    at a twentieth of design, where conduction takes over.
    """
    film = 0.5 * np.maximum(np.asarray(flow_frac, dtype=np.float64), 0.05) ** (-np.asarray(exponent, dtype=np.float64))
    return np.asarray(np.asarray(coolant_c) + np.asarray(chip_w) / plate_wpk * (0.5 + film))


def seconds_to_limit_s(temp_c: Numbers, limit_c: Numbers, heat_w: Numbers, stored_jpk: Numbers) -> Floats:
    """How long a body that nothing cools any more takes to ``limit_c`` [s]: C · (T_limit - T) / Q; 0 where it is past it.

    Source: energy balance of a closed body with heat capacity C (Incropera, chapter 5, lumped capacitance). inf without heat.
    """
    head_j = np.maximum(np.asarray(limit_c) - temp_c, 0.0) * stored_jpk
    heat = np.asarray(heat_w, dtype=np.float64)
    return np.asarray(np.where(heat > 0, head_j / np.maximum(heat, 1e-9), np.inf) + 0.0 * heat)
