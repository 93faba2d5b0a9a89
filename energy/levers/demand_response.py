"""What the grid asks: running jobs' power caps and the battery, each minute as the meter and the request want it.

Caps go to GPUs that can be capped, else to their nodes, of jobs whose owners agreed alone, down to half their throughput; by
the metric's step at a time. Each ends by itself when the request is over, one job after the other over the ramp, so that the
load comes back without a rebound. Pauses and held starts are the scheduler's: ``job_respond``.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from energy.levers import Call, Outlook, believed
from energy.plan import Effect, Plan
from energy.respond.live import STEP_S, Answer, answer, caps, charged, shared
from twin.job import Jobs
from twin.message import Message
from twin.metrics import metric
from twin.ports import Action
from twin.site import Site
from twin.state import State

NAME = "demand_response"
SMALL_W, SMALL_FRAC = 5.0, 0.02  # of a cap: who is nearer than this to what is wanted stays there
RENEW_S = 3600.0  # before an order ends that is still wanted, it is given again
EXPIRES = timedelta(seconds=240)
WANTS = "The grid asks for {limit_kw:.0f} kW at most until {end}: {count} setpoints take {cut_kw:.0f} kW off the jobs"
WANTS_LESS = (
    "The grid asks for {limit_kw:.0f} kW at most, down to {least_kw:.0f} kW until {end}: {count} setpoints take "
    "{cut_kw:.0f} kW off the jobs"
)


@dataclass(frozen=True, slots=True)
class DemandResponse:
    """Caps and battery power while a request of the grid lasts."""

    @property
    def name(self) -> str:
        """``demand_response``."""
        return NAME

    def propose(self, site: Site, state: State, jobs: Jobs, outlook: Outlook, now: datetime) -> Plan | None:
        """The setpoints that are to change now; None where nothing is asked, or all stands as it should."""
        found = answer(outlook.call, site, state, outlook.queues)
        if found is None:
            return None
        call = found.call
        changes = [*_caps(found, outlook, site, state), *_battery(found, call, site, state)]
        actions = [one for one in changes if found.binds or one.asset in call.until_s]
        if not actions:
            return None
        loads = found.able.loads
        cut_w = float(loads.full_w.sum() - found.division.power_w.sum()) + found.battery_w
        effect = Effect(-cut_w, -1.1 * cut_w, -0.9 * cut_w, call.request.end_s - now.timestamp(), -cut_w)
        limits_w = found.course.target_w[found.step :]
        asked_w = float(next(iter(limits_w[np.isfinite(limits_w)]), found.course.ours_w[found.step]))
        end = datetime.fromtimestamp(call.request.end_s, UTC).isoformat(timespec="minutes")
        said: dict[str, float | int | str] = {
            "limit_kw": asked_w / 1e3,
            "end": end,
            "count": len(actions),
            "cut_kw": cut_w / 1e3,
        }
        lower = asked_w - call.least_w >= 500.0  # a yes counts for what is still to come as well: who is asked must see it
        said |= {"least_kw": call.least_w / 1e3} if lower else {}
        key = f"{NAME}:{call.key}{call.turn}"
        reason = Message(WANTS_LESS if lower else WANTS, said)
        return Plan(key, NAME, tuple(actions), reason, effect, now, now + EXPIRES, request=call.key)


def _caps(found: Answer, outlook: Outlook, site: Site, state: State) -> list[Action]:
    made, call = [], found.call
    current = {kind: believed(state, kind, "power_cap_w", call.now) for kind in ("gpu", "node")}
    for asset, (wanted_w, end_s) in caps(found, call, site, state).items():
        kind = site.kind(asset)
        here_w = float(current[kind][site.row(asset)])
        if not np.isfinite(here_w):
            continue  # what is not known is not changed
        wanted_w = float(np.clip(wanted_w, *outlook.bound(kind, "power_cap_w")))
        step_w = metric(kind, "power_cap_w").step or 0.0
        if abs(wanted_w - here_w) > max(SMALL_W, SMALL_FRAC * here_w):
            value = round(float(np.clip(wanted_w, here_w - step_w, here_w + step_w)))
            made.append(_action(asset, "power_cap_w", float(value), end_s, call))
        elif _runs_out(call, asset, end_s):
            made.append(_action(asset, "power_cap_w", here_w, end_s, call))
    return made


def _runs_out(call: Call, asset: str, end_s: float) -> bool:
    """Whether an order in force ends soon, and what it is for does not."""
    until_s = call.until_s.get(asset, np.inf)
    return until_s - call.now_s < RENEW_S and end_s > until_s + STEP_S


def _battery(found: Answer, call: Call, site: Site, state: State) -> list[Action]:
    """The battery's part, shared out by what each has left."""
    mine = charged(call, site, state)
    here_w = believed(state, "battery", "power_setpoint_w", call.now)
    made = []
    for one, part_w in zip(mine, shared(mine, found.battery_w).values(), strict=True):
        value = 0.0 - round(part_w)
        if not np.isfinite(here_w[one.row]):
            continue
        changes = abs(value - here_w[one.row]) > SMALL_FRAC * max(abs(value), 1.0)
        if changes or (value and _runs_out(call, one.asset, call.request.end_s)):
            made.append(_action(one.asset, "power_setpoint_w", value, call.request.end_s, call))
    return made


def _action(asset: str, name: str, value: float, end_s: float, call: Call) -> Action:
    until = datetime.fromtimestamp(end_s, UTC)
    return Action(asset, name, value, until, f"{call.key}{call.turn}/{asset}/{value:.0f}")


def build() -> DemandResponse:
    """The lever with its documented parameters."""
    return DemandResponse()
