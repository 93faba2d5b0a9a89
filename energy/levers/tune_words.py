"""A decision of the lever ``tune`` as a plan: its key, its actions, and what it says of itself."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from energy.levers.tune_chain import FAN_LIMIT, LIMIT, SAME_K, Aim, Chain
from energy.plan import Effect, Plan
from energy.tune.tuner import Decision
from twin.frame import Floats
from twin.message import Message
from twin.ports import Action

NAME = "tune"


def written(
    chain: Chain, aims: Sequence[Aim], made: Decision, effect: Effect, begin: Floats, readings: int, now: datetime
) -> Plan:
    """The plan by which ``aims`` are ordered now, from ``begin`` [k] to what was ``made`` up; ``readings``: learned from."""
    settings = begin if made.settings is None else made.settings
    coolant = len(chain.waters) - 1
    until = datetime.fromtimestamp(made.until_s, UTC)
    text = ";".join([f"{made.until_s:.0f}", *(f"{asset}.{name}={aim:.2f}" for asset, name, aim in aims)])
    key = f"{NAME}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    hours = effect.horizon_s / 3600
    said: dict[str, float | int | str] = {
        "count": len(aims),
        "water_c": float(settings[0]),
        "water_k": float((settings - begin)[0]),
        "coolant_c": float(settings[coolant]),
        "coolant_k": float((settings - begin)[coolant]),
        "running": round(float(settings[coolant + 1])) if chain.chillers else 0,
        "chillers": len(chain.chillers),
        "fans_percent": 100.0 * float(settings[-1]) if chain.fans else 100.0,
        "saving_kwh": -effect.facility_power_w * hours / 1e3,
        "low_kwh": -effect.high_w * hours / 1e3,
        "high_kwh": -effect.low_w * hours / 1e3,
        "hours": hours,
        "readings": readings,
    }
    actions = tuple(Action(asset, name, aim, until, f"{key}/{asset}/{name}") for asset, name, aim in aims)
    expires = min(now + timedelta(seconds=600), until)
    moved = float(np.abs(settings - begin).max()) > SAME_K
    chillers, fans = (any(name == one for _, name, _ in aims) for one in (LIMIT, FAN_LIMIT))
    said_of = TEXTS[bool(chain.loop), chillers, fans]
    text = said_of.tune if moved else said_of.keep
    return Plan(key, NAME, actions, Message(text, said), effect, now, expires)


@dataclass(frozen=True, slots=True)
class Said:
    """What a plan says of itself: where something moves, and where all stays as it was ordered."""

    tune: str
    keep: str


_GAIN = (
    ": the centre takes {saving_kwh:.1f} kWh less in {hours:.0f} h ({low_kwh:.1f} to {high_kwh:.1f}) than by its own settings, "
    "by {readings} readings of this plant"
)
_WATER, _COOLANT = "plant water to {water_c:.1f} °C ({water_k:+.1f} K)", "coolant to {coolant_c:.1f} °C ({coolant_k:+.1f} K)"
_AT_WATER, _AT_COOLANT = "plant water at {water_c:.1f} °C", "coolant at {coolant_c:.1f} °C"
_FEW, _AT_FEW = "let at most {running} of {chillers} chillers run", "at most {running} of {chillers} chillers running"
_SLOW, _AT_SLOW = "let fans turn at {fans_percent:.0f} % at most", "fans at {fans_percent:.0f} % at most"
# (a plant loop has a setpoint, chillers are ordered, fans are ordered) -> what is said
TEXTS = {
    (False, False, False): Said(f"Tune {_COOLANT}{_GAIN}", f"Keep {_AT_COOLANT}{_GAIN}"),
    (True, False, False): Said(f"Tune {_WATER} and {_COOLANT}{_GAIN}", f"Keep {_AT_WATER} and {_AT_COOLANT}{_GAIN}"),
    (True, True, False): Said(
        f"Tune {_WATER}, {_COOLANT} and {_FEW}{_GAIN}", f"Keep {_AT_WATER}, {_AT_COOLANT} and {_AT_FEW}{_GAIN}"
    ),
    (True, False, True): Said(
        f"Tune {_WATER}, {_COOLANT} and {_SLOW}{_GAIN}", f"Keep {_AT_WATER}, {_AT_COOLANT} and {_AT_SLOW}{_GAIN}"
    ),
    (True, True, True): Said(
        f"Tune {_WATER}, {_COOLANT}, {_FEW} and {_SLOW}{_GAIN}",
        f"Keep {_AT_WATER}, {_AT_COOLANT}, {_AT_FEW} and {_AT_SLOW}{_GAIN}",
    ),
}
