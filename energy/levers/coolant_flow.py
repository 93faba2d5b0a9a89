"""Coolant flow: pumps of CDUs that turn faster than their racks need take power with the cube of their speed.

A large machine was found to run at 2.9 times the flow that is thermally safe (Frontier, arXiv 2603.01198). Slower pumps let
coolant and chips get warmer: what then leaks is paid for, and return, chip and rotation have bounds, judged at full load since
load comes back faster than pumps are ordered: where that cannot be told, as in a hall that idles, it abstains. Only ever
slower: a CDU that needs more flow is an alert's affair.
"""

import hashlib
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from energy.levers import Outlook, believed, site_power_w
from energy.plan import Effect, Plan
from energy.reach import cooled_share, rise_at_load_k
from energy.response import Params, Spread
from energy.tune.knobs import Knob
from twin.job import Jobs
from twin.message import Message
from twin.metrics import metric
from twin.ports import Action
from twin.site import Site
from twin.state import State

NAME = "coolant_flow"
SPEED = "pump_speed_frac"
MOST = 8  # CDUs in one plan: a few at a time
FRESH_FRAC = 0.95  # GPUs behind a CDU that must be heard
SMALLEST_GAIN_FRAC = 0.0005  # of facility power: smaller gains are not worth touching a pump for
HOLD_S = 7200.0
EXPIRES_S = 600.0


@dataclass(frozen=True, slots=True)
class Flow:
    """What is assumed of CDUs, beside ``energy.response.Params``.

    ``exponent``: of pump power over speed; the affinity law says 3, drives and static head take of it (ASHRAE 90.1-2016 6.5.4.2
    asks for at most 30 % of power at 50 % of flow: 1.74). ``warmer_frac``: how much of the rise of coolant and film the chips
    feel on average; half of the rise is the mean along it. ``return_c``: highest return (GB300 NVL72: 45-50 °C);
    ``least_frac``: lowest speed; ``step_frac``: of what is proposed. ``error_frac``: 80 % half-width of what is left out.
    """

    exponent: Spread = field(default_factory=lambda: Spread(2.0, 2.6, 3.0))
    warmer_frac: Spread = field(default_factory=lambda: Spread(0.4, 0.6, 0.9))
    return_c: float = 45.0
    least_frac: float = 0.4
    step_frac: float = 0.02
    error_frac: float = 0.2


class _Pumped(NamedTuple):
    """One CDU: its asset, speed (0-1), pump power [W], coolant's rise over its racks [K], GPU power behind [W], and what it
    would come to at full load at this speed: return and hottest chip over supply [K], both with the supply [°C]."""

    asset: str
    speed: float
    pump_w: float
    rise_k: float
    gpu_w: float
    return_k: float
    chip_k: float
    supply_c: float


@dataclass(frozen=True, slots=True)
class CoolantFlow:
    """Lowers the pump speed of CDUs by at most the metric's step."""

    params: Params = field(default_factory=Params)
    flow: Flow = field(default_factory=Flow)

    @property
    def name(self) -> str:
        """``coolant_flow``."""
        return NAME

    def propose(self, site: Site, state: State, jobs: Jobs, outlook: Outlook, now: datetime) -> Plan | None:
        """Slower pumps where that surely saves, or None. ``jobs`` and ``outlook`` do not matter: full load may come."""
        facility_w, it_w = (site_power_w(state, name, now) for name in ("facility_power_w", "it_power_w"))
        if not (math.isfinite(facility_w) and math.isfinite(it_w) and 0 < it_w <= facility_w):
            return None
        found = []
        for one in _pumped(site, state, now):
            aim = None if one.asset in outlook.locked else self._aim(one, outlook.bound("cdu", SPEED)[0])
            if aim is not None:
                made = self._effect([(one, aim)], facility_w / it_w)
                if made.high_w < 0:
                    found.append((made.facility_power_w, one, aim))
        best = [(one, aim) for _, one, aim in sorted(found, key=lambda entry: entry[0])[:MOST]]
        if not best:
            return None
        effect = self._effect(best, facility_w / it_w)
        if effect.high_w >= 0 or -effect.facility_power_w < SMALLEST_GAIN_FRAC * facility_w:
            return None
        return _plan(best, effect, now)

    def _aim(self, one: _Pumped, least_frac: float) -> float | None:
        """The lowest speed within a step, and not below ``least_frac``, at which nothing comes too near its bound at full load;
        None where there is none."""
        f, p = self.flow, self.params
        step, least_frac = metric("cdu", SPEED).step or 0.0, max(f.least_frac, least_frac)
        if not least_frac < one.speed <= 1.0:
            return None
        knob = Knob(SPEED, max(least_frac, one.speed - step), one.speed, min(f.step_frac, step), step, one.speed)
        slower = np.ceil(knob.values * 100 - 1e-6) / 100  # in hundredths, towards the present speed
        ratio = one.speed / slower
        # the whole way from supply to chip is taken to grow with the coolant's rise: on the safe side
        room = (one.supply_c + one.return_k * ratio <= f.return_c) & (
            one.supply_c + one.chip_k * ratio <= p.throttle_c - p.throttle_margin_k
        )
        good = slower[room & (slower < one.speed - 0.5 * f.step_frac)]
        return float(good.min()) if len(good) else None

    def _effect(self, moves: list[tuple[_Pumped, float]], over_it: float) -> Effect:
        """Change of facility power: median of every parameter, each to its 10 and 90 % quantile by itself, in quadrature."""
        f, p = self.flow, self.params
        spreads = (f.exponent, f.warmer_frac, p.leak_frac_per_k)
        middle = [spread.p50 for spread in spreads]
        pump_w, leak_w = _terms_w(moves, *middle)
        whole_w = pump_w + leak_w * over_it
        below = above = (f.error_frac * (abs(pump_w) + abs(leak_w) * over_it)) ** 2
        for i, spread in enumerate(spreads):
            for edge in (spread.p10, spread.p90):
                pump, leak = _terms_w(moves, *(edge if k == i else value for k, value in enumerate(middle)))
                off = pump + leak * over_it - whole_w
                below, above = below + min(off, 0.0) ** 2, above + max(off, 0.0) ** 2
        return Effect(whole_w, whole_w - math.sqrt(below), whole_w + math.sqrt(above), HOLD_S, leak_w)


def _terms_w(
    moves: list[tuple[_Pumped, float]], exponent: float, warmer_frac: float, leak_frac_per_k: float
) -> tuple[float, float]:
    """Change of pump power and of GPU leakage [W]."""
    pump = sum(one.pump_w * ((aim / one.speed) ** exponent - 1) for one, aim in moves)
    leak = sum(one.gpu_w * math.expm1(leak_frac_per_k * warmer_frac * one.rise_k * (one.speed / aim - 1)) for one, aim in moves)
    return pump, leak


def _pumped(site: Site, state: State, now: datetime) -> list[_Pumped]:
    """CDUs of which everything is known, with GPUs that are heard behind them."""
    names = (SPEED, "power_w", "supply_temp_c", "return_temp_c")
    columns = [believed(state, "cdu", name, now) for name in names]
    power_w, temp_c = (believed(state, "gpu", name, now) for name in ("power_w", "temp_c"))
    rated_w = site.number("gpu", "rated_w")
    made = []
    for row, position in enumerate(site.of_kind("cdu")):
        speed, pump_w, supply_c, return_c = (float(column[row]) for column in columns)
        share = cooled_share(site, int(position))
        mine = share > 0
        heard = mine & np.isfinite(power_w) & np.isfinite(temp_c)
        if not mine.any() or heard.sum() < FRESH_FRAC * mine.sum() or not math.isfinite(speed + pump_w + supply_c + return_c):
            continue
        chip_k = rise_at_load_k(temp_c[heard] - supply_c, power_w[heard], rated_w[heard])
        gpu_w = float((power_w * share)[heard].sum() * mine.sum() / heard.sum())
        most = float((np.maximum(rated_w, power_w) * share)[heard].sum() * mine.sum() / heard.sum())
        rise_k = return_c - supply_c
        if rise_k > 0 and gpu_w > 0 and pump_w > 0 and math.isfinite(chip_k):
            back_k = rise_k * most / gpu_w
            made.append(_Pumped(site.ids[int(position)], speed, pump_w, rise_k, gpu_w, back_k, chip_k, supply_c))
    return made


def _plan(moves: list[tuple[_Pumped, float]], effect: Effect, now: datetime) -> Plan:
    # the same proposal gets the same key, and the same end, for as long as it would be held
    period = int(now.timestamp() // HOLD_S)
    until = datetime.fromtimestamp((period + 2) * HOLD_S, UTC)
    aims = sorted((one.asset, aim) for one, aim in moves)
    text = ";".join([str(period), *(f"{asset}={aim:.2f}" for asset, aim in aims)])
    key = f"{NAME}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    said: dict[str, float | int | str] = {
        "count": len(aims),
        "step_pct": max(one.speed - aim for one, aim in moves) * 100,
        "saving_kw": -effect.facility_power_w / 1e3,
        "low_kw": -effect.high_w / 1e3,
        "high_kw": -effect.low_w / 1e3,
        "leak_kw": effect.it_power_w / 1e3,
    }
    actions = tuple(Action(asset, SPEED, aim, until, f"{key}/{asset}") for asset, aim in aims)
    return Plan(key, NAME, actions, Message(SLOWER, said), effect, now, now + timedelta(seconds=EXPIRES_S))


SLOWER = (
    "Slow the pumps of {count} CDUs by up to {step_pct:.0f} % of full speed: saves {saving_kw:.1f} kW ({low_kw:.1f} to "
    "{high_kw:.1f}); GPU leakage {leak_kw:+.1f} kW"
)


def build(params: Params | None = None) -> CoolantFlow:
    """The lever with its documented parameters, or the plant's own."""
    return CoolantFlow(params or Params())
