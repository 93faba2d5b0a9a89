"""What is told back to who asks for less power: power states of the flexibility bus, and reports of OpenADR 3.

Flexibility bus: ``grid.powerstate.status.v1`` with its ``PowerStateStatusData`` (NVIDIA dsx-exchange, AsyncAPI 1.7), a snapshot
at each change and as a heartbeat. OpenADR 3.0.1: ``POST /reports`` with ``DEMAND`` [KW] by the minute and the ``BASELINE`` to
hold it against.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from twin.curtail import Interval, PowerState, Request

MET_FRAC = 0.01  # above its target by no more: what a proof counts as met
BACK_FRAC = 0.95  # of the baseline: the load is back
STEP_S = 60.0
MAX_READINGS = 720  # minutes of one event that wait to be reported; the oldest are dropped
MAX_EVENTS = 100  # events of which something waits; beyond, the one that waits longest goes unreported


@dataclass(frozen=True, slots=True)
class Feed:
    """The feed as the bus knows it: its tag, and the least and the most that it draws [W]."""

    tag: str
    least_w: float
    most_w: float


class Snapshots:
    """What of the states that come in is worth a snapshot: each change, and a heartbeat every ``every_s``."""

    def __init__(self, asker: str, feed: Feed, every_s: float) -> None:
        self._asker, self._feed, self._every_s = asker, feed, every_s
        self._was: tuple[Request, ...] = ()
        self._phase, self._said_s, self._since = "rest", -math.inf, ""

    def take(self, state: PowerState) -> Mapping[str, Any] | None:
        """The data of a snapshot; None where there is nothing to say now."""
        event = self._event(state)
        now_s = state.time.timestamp()
        if event == "periodic" and now_s - self._said_s < self._every_s:
            return None
        self._said_s = now_s
        return {"snapshot_time": _iso(now_s), "feeds": {self._feed.tag: self._state(state, event)}}

    def _event(self, state: PowerState) -> str:
        """What has changed since the last state; one thing at a time, what was asked first."""
        asked, self._was = self._was, state.of(self._asker)
        if asked != self._was:
            return "target_set"
        event, phase = self._next(state)
        if event == "start_ramp_down":
            self._since = _iso(state.time.timestamp())
        self._phase = phase
        return event

    def _next(self, state: PowerState) -> tuple[str, str]:
        """(event, phase): rest, down (on the way), held, up (on the way back)."""
        asked = math.isfinite(state.aimed_w)
        met = not state.power_w > state.aimed_w * (1 + MET_FRAC)
        back = not state.power_w < BACK_FRAC * state.baseline_w
        return {
            "rest": ("start_ramp_down", "down") if asked else ("periodic", "rest"),
            "down": ("start_ramp_up", "up") if not asked else ("end_ramp_down", "held") if met else ("periodic", "down"),
            "held": ("start_ramp_up", "up") if not asked else ("periodic", "held"),
            "up": ("start_ramp_down", "down") if asked else ("end_ramp_up", "rest") if back else ("periodic", "up"),
        }[self._phase]

    def _state(self, state: PowerState, event: str) -> Mapping[str, Any]:
        now_s = state.time.timestamp()
        limits = {
            "power_minimum": self._feed.least_w,
            "power_maximum": self._feed.most_w,
            "default_constraint": self._feed.most_w,
        }
        targets = [_target(one, part, now_s) for one in state.of(self._asker) for part in one.intervals if part.end_s > now_s]
        load_w = state.power_w if math.isfinite(state.power_w) else state.baseline_w
        made: dict[str, Any] = {
            "metadata": {name: _power(value) for name, value in limits.items()},
            "targets": targets,
            "calculated_load": _power(load_w if math.isfinite(load_w) else 0.0),
            "in_flight": self._phase in ("down", "up"),
            "event": event,
            "compliant": not load_w > state.aimed_w * (1 + MET_FRAC),
        }
        return made if self._phase == "rest" else {**made, "power_event_start_time": self._since}


def _target(one: Request, part: Interval, now_s: float) -> Mapping[str, Any]:
    span = {"start_time": _iso(part.begin_s)}
    if math.isfinite(part.end_s):
        span["end_time"] = _iso(part.end_s)
    limit_w = part.limit_w if part.limit_w == part.limit_w else 0.0
    return {
        "active": part.begin_s <= now_s,
        "load_constraint": _power(limit_w),
        "interval": span,
        "strategy": {"best_effort": one.best_effort},
        "correlation_id": one.key,
    }


def _power(watts: float) -> Mapping[str, Any]:
    return {"value": round(max(watts, 0.0) / 1e3, 3), "unit": "kilowatt"}


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class Readings:
    """What the meter showed while a VTN's events lasted, by the minute, until it is reported."""

    def __init__(self, asker: str) -> None:
        self._asker = asker
        self._waiting: dict[str, deque[tuple[float, float]]] = {}
        self._baseline_w: dict[str, float] = {}

    def take(self, state: PowerState) -> None:
        """Note a state for each event that is in force; one a minute."""
        now_s = state.time.timestamp()
        for one in state.of(self._asker):
            if not one.begin_s <= now_s < one.end_s or not math.isfinite(state.power_w):
                continue
            if one.key not in self._waiting and len(self._waiting) >= MAX_EVENTS:
                self.sent(next(iter(self._waiting)))
            mine = self._waiting.setdefault(one.key, deque(maxlen=MAX_READINGS))
            at_s = now_s // STEP_S * STEP_S
            if not mine or at_s > mine[-1][0]:
                mine.append((at_s, state.power_w))
                self._baseline_w[one.key] = state.baseline_w

    def due(self, event: str, least: int) -> bool:
        """Whether so many minutes of an event wait."""
        return len(self._waiting.get(event, ())) >= max(least, 1)

    @property
    def events(self) -> Sequence[str]:
        """Events of which something waits."""
        return tuple(event for event, waiting in self._waiting.items() if waiting)

    def report(self, event: str, program: str, client: str) -> Mapping[str, Any]:
        """The report of what waits of an event."""
        waiting = self._waiting[event]
        named = {"objectType": "REPORT", "programID": program, "eventID": event, "clientName": client}
        return {
            **named,
            "reportName": f"{client} {_iso(waiting[0][0])}",
            "payloadDescriptors": [
                {"objectType": "REPORT_PAYLOAD_DESCRIPTOR", "payloadType": kind, "readingType": reading, "units": "KW"}
                for kind, reading in (("DEMAND", "DIRECT_READ"), ("BASELINE", "MEAN"))
            ],
            "resources": [{
                "resourceName": client,
                "intervalPeriod": {"start": _iso(waiting[0][0]), "duration": "PT1M"},
                "intervals": [self._interval(event, i, *reading) for i, reading in enumerate(waiting)],
            }],
        }  # fmt: skip

    def _interval(self, event: str, i: int, at_s: float, power_w: float) -> Mapping[str, Any]:
        baseline_w = self._baseline_w[event]
        payloads = [{"type": "DEMAND", "values": [round(power_w / 1e3, 3)]}]
        if math.isfinite(baseline_w):
            payloads.append({"type": "BASELINE", "values": [round(baseline_w / 1e3, 3)]})
        return {"id": i, "intervalPeriod": {"start": _iso(at_s), "duration": "PT1M"}, "payloads": payloads}

    def sent(self, event: str) -> None:
        """What waited of an event has arrived, or waits no more."""
        self._waiting.pop(event, None)
        self._baseline_w.pop(event, None)
