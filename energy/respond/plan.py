"""From a request to a plan in steps: ramped down within the notice, held, and let up again without a rebound.

Order of what is asked first: the battery as far as its energy lasts, work that has not started (held), then power caps by
``divide``, and pauses only where caps at the jobs' floors are not enough and the request is no best effort.
"""

from dataclasses import dataclass

import numpy as np

from energy.respond import Division, Loads
from energy.respond.divide import divide
from twin.curtail import Request
from twin.frame import Floats
from twin.message import Message
from twin.site import Bools

MAX_STEPS = 2880  # two days in minutes
SMALL_W = 1e-6
SETTLE_S = 240.0  # from the first order to the whole cut: what the measured event took


@dataclass(frozen=True, slots=True)
class Battery:
    """``power_w``: most it gives; ``energy_j``: what may be taken out of it; ``loss_frac``: of that is lost on the way."""

    power_w: float
    energy_j: float
    loss_frac: float = 0.05

    def __post_init__(self) -> None:
        if self.power_w < 0 or self.energy_j < 0 or not 0 <= self.loss_frac < 1:
            raise ValueError("a battery has power and energy from 0 and loses less than all")


@dataclass(frozen=True, slots=True)
class Connection:
    """What the meter sees beside the jobs. ``baseline_w``: what the centre would draw; ``other_w``: the part of it that no cap
    moves; ``facility_ratio``: W at the meter for a W less into the jobs (1: no credit for cooling and losses);
    ``held_w``: power at the meter of work that would start meanwhile and can wait; ``margin_frac``: of the target that is kept
    free for what the meter does between two looks; ``load_w``: what would be drawn now if nobody answered, which a limit
    above the baseline is held against."""

    baseline_w: float
    other_w: float
    facility_ratio: float = 1.0
    held_w: float = 0.0
    margin_frac: float = 0.002
    ramp_down_s: float = 120.0
    ramp_up_s: float = 1200.0
    load_w: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """``time_s``: float64[t], begins of steps; ``target_w``: the most the meter may show (infinity: nothing is asked);
    ``cap_w``: float64[t, n], cap of each GPU of each job [W] (0: paused, NaN: no cap); ``battery_w``: float64[t] out of it;
    ``hold``: bool[t], nothing that can wait is started; ``expected_w``: float64[t] at the meter; ``throughput_frac``: weighted,
    over the time in which something is asked; ``short_w``: most that the plan knows it will miss by (0: it keeps all)."""

    time_s: Floats
    target_w: Floats
    cap_w: Floats
    battery_w: Floats
    hold: Bools
    expected_w: Floats
    throughput_frac: float
    bound_frac: float
    short_w: float
    why: Message | None


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """What we hold ourselves to, in steps that begin at ``time_s``: float64[t] each. ``target_w``: asked (infinity: nothing);
    ``ours_w``: at the meter (infinity: nothing), below the baseline what it takes to come from there and back, else the limit
    itself; ``battery_w``: out of it."""

    time_s: Floats
    target_w: Floats
    ours_w: Floats
    battery_w: Floats

    def at(self, time_s: float) -> int:
        """The step that holds at a time, -1 outside."""
        i = int(np.searchsorted(self.time_s, time_s, side="right")) - 1
        return i if i < len(self.time_s) - 1 or (i >= 0 and time_s < 2 * self.time_s[-1] - self.time_s[-2]) else -1


def course(request: Request, connection: Connection, battery: Battery | None = None, step_s: float = 60.0) -> Course:
    """The course of ``request``. ``ValueError`` where it would take over ``MAX_STEPS`` steps or has no end."""
    if request.end_s <= request.received_s:
        raise ValueError(f"request {request.key!r} was over before it came")
    if not np.isfinite(request.end_s):
        raise ValueError(f"request {request.key!r} has no end; give one, or plan again each day")
    first = max(request.received_s, request.begin_s - SETTLE_S - step_s)
    begin = np.floor(first / step_s) * step_s
    count = int(np.ceil((request.end_s + connection.ramp_up_s - begin) / step_s))
    if count > MAX_STEPS:
        raise ValueError(f"request {request.key!r} needs {count} steps, over {MAX_STEPS}; use a longer step")
    time_s = begin + step_s * np.arange(count)
    target_w = targets(request, time_s, step_s, connection.baseline_w)
    ours = _ramped(target_w, connection, step_s)
    return Course(time_s, target_w, ours, _battery(ours, connection, battery, step_s))


def respond(
    request: Request, loads: Loads, connection: Connection, battery: Battery | None = None, step_s: float = 60.0
) -> Response:
    """The plan for ``request``. ``ValueError`` as of ``course``."""
    held = course(request, connection, battery, step_s)
    time_s, target_w, ours, given_w, count = held.time_s, held.target_w, held.ours_w, held.battery_w, len(held.time_s)
    hold = np.asarray(ours < connection.baseline_w - SMALL_W)
    caps = np.full((count, len(loads)), np.nan)
    expected_w, got, bound = np.full(count, connection.baseline_w), np.ones(count), np.ones(count)
    known: dict[float, Division] = {}
    for i in np.flatnonzero(hold).tolist():
        budget_w = round(budget(connection, float(ours[i] + given_w[i])), 3)
        if budget_w not in known:
            known[budget_w] = _divided(loads, budget_w, not request.best_effort)
        part = known[budget_w]
        caps[i] = np.where(part.power_w >= loads.full_w - 1e-6, np.nan, part.cap_w)
        got[i], bound[i] = part.weighted_frac(loads), part.bound_frac
        expected_w[i] = metered(connection, float(part.power_w.sum())) - given_w[i]
    asked = np.isfinite(target_w)
    short = np.maximum(expected_w - target_w, 0.0)[asked]
    short_w = float(short.max(initial=0.0))
    through, most = (float(column[asked].mean()) if asked.any() else 1.0 for column in (got, bound))
    why = _why(request, short_w) if short_w > 1e-3 * connection.baseline_w else None
    return Response(time_s, target_w, caps, given_w, hold, expected_w, through, most, short_w, why)


def targets(request: Request, time_s: Floats, step_s: float, baseline_w: float) -> Floats:
    """float64[t]: the most that may be drawn in each step, infinity where nothing is asked; a step that an interval only
    touches counts as inside."""
    target = np.full(len(time_s), np.inf)
    for one in request.intervals:
        inside = (time_s < one.end_s) & (time_s + step_s > one.begin_s)
        target[inside] = np.minimum(target[inside], one.target_w(baseline_w))
    return target


def budget(connection: Connection, meter_w: float) -> float:
    """Power for the jobs [W] at which the meter shows ``meter_w``: the jobs' part of the baseline is all but ``other_w``."""
    own_w = connection.baseline_w - connection.other_w - connection.held_w
    return max(own_w - (connection.baseline_w - connection.held_w - meter_w) / connection.facility_ratio, 0.0)


def metered(connection: Connection, jobs_w: float) -> float:
    """What the meter shows while the jobs draw ``jobs_w`` [W] and what can wait is held."""
    own_w = connection.baseline_w - connection.other_w - connection.held_w
    return connection.baseline_w - connection.held_w - (own_w - jobs_w) * connection.facility_ratio


def _divided(loads: Loads, budget_w: float, may_pause: bool) -> Division:
    """Caps alone where they are enough; pauses only where they are not."""
    return divide(loads, budget_w, may_pause and bool(loads.least_w.sum() > budget_w))


def _ramped(target_w: Floats, connection: Connection, step_s: float) -> Floats:
    """What we hold ourselves to: the target less its margin, reached ``step_s`` before it begins, down and up in even steps.
    A limit above the baseline is one all the same: the load may come to it later."""
    limit = target_w * (1 - connection.margin_frac)
    limit = np.minimum(limit, np.append(limit[1:], np.inf))  # whole one step early: caps take a moment
    held = np.minimum(limit, connection.baseline_w)
    deepest = connection.baseline_w - held.min(initial=connection.baseline_w)
    down, up = (deepest / max(int(np.ceil(span_s / step_s)), 1) for span_s in (connection.ramp_down_s, connection.ramp_up_s))
    out = held.copy()
    for i in range(len(out) - 2, -1, -1):
        out[i] = min(out[i], out[i + 1] + down)
    for i in range(1, len(out)):
        out[i] = min(out[i], out[i - 1] + up)
    return np.asarray(np.where(out < connection.baseline_w - SMALL_W, out, limit))


def _battery(ours: Floats, connection: Connection, battery: Battery | None, step_s: float) -> Floats:
    """Even power over the steps with a cut, as far as energy and power last: the deepest cuts get no less than others."""
    cut = np.maximum(np.where(ours < connection.baseline_w, connection.baseline_w, connection.load_w) - ours, 0.0)
    if battery is None or not cut.any():
        return np.zeros(len(ours))
    low, high = 0.0, battery.power_w
    for _ in range(50):
        level = (low + high) / 2
        needed_j = float(np.minimum(cut, level).sum()) * step_s / (1 - battery.loss_frac)
        low, high = (level, high) if needed_j <= battery.energy_j else (low, level)
    return np.asarray(np.minimum(cut, low))


def _why(request: Request, short_w: float) -> Message:
    text = "Request {key} cannot be met whole: {short_kw:.1f} kW are missing with every job at its floor"
    if request.best_effort:
        text = "Request {key} is met as far as no job need pause: {short_kw:.1f} kW are missing"
    return Message(text, {"key": request.key, "short_kw": short_w / 1e3})
