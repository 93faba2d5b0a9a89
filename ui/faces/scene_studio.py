"""What the 3D twin shows, made once for all who look at the same: the geometry, and frames of now, then, later and what if."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

import cramjam
import numpy as np
from starlette.concurrency import run_in_threadpool

from analytics.alerts import Phase, Severity
from twin.errors import ConfigError, Problem
from twin.frame import Floats, Origin
from twin.metrics import METRICS
from twin.site import Site
from ui.faces.api_twin import Runner
from ui.scenario import ScenarioIn
from ui.scene.added import Added, added_racks
from ui.scene.ahead import HOURS_AHEAD, Run, day_ahead, run_of
from ui.scene.geometry import Geometry, geometry
from ui.scene.moments import HOUR_S, PastValues, best_values, firing_then, foreseen, live_values, residual_values
from ui.scene.paint import ALERTS, Firing, Painted, Values, colours, paint, paint_added
from ui.scene.sizes import LOOKS, Level
from ui.scene.wire import Detail, frame_body, scene_body
from ui.view import Live

Whose = Literal["best", "measured", "modelled", "residual", "forecast"]
WHOSE: tuple[Whose, ...] = ("best", "measured", "modelled", "residual", "forecast")
MAX_KEPT_BYTES = 32_000_000  # of frames of the past, of forecasts and of runs
MAX_RUNS = 4
AT_ONCE = 2  # questions to the store
# What a run of the twin says of racks and water, and so what can be foreseen.
AHEAD = ("power_w", "it_power_w", "supply_temp_c", "return_temp_c", "flow_kgps", "heat_w", "primary_supply_temp_c",
         "primary_return_temp_c", "primary_flow_kgps")  # fmt: skip
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Ask:
    """One picture: ``time_s`` None is now; ``lead_h`` hours ahead where ``whose`` is forecast; ``run`` a scenario's number, and
    with ``against`` its difference from the plain run."""

    colour: str = "power_w"
    whose: Whose = "best"
    lead_h: int = 1
    time_s: float | None = None
    run: str = ""
    against: bool = False
    detail: Detail = field(default_factory=Detail)

    @property
    def live(self) -> bool:
        """It changes from second to second."""
        return self.time_s is None and not self.run and self.whose != "forecast"


@dataclass(frozen=True, slots=True)
class Kept:
    """A scenario's run, the plain one beside it, and where the racks stand that it adds."""

    name: str
    plain: Run
    other: Run
    added: Added


class Studio:
    """All pictures of one ``live``. Its methods run on the server's event loop; work runs on threads."""

    def __init__(self, live: Live, runner: Runner) -> None:
        self.live, self._runner = live, runner
        self.runs: OrderedDict[str, Kept] = OrderedDict()
        self._geometry: Geometry | None = None
        self._bodies: dict[tuple[str, str], bytes] = {}
        self._frames: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._kept_bytes = 0
        self._ahead: tuple[Any, float, Run, int] | None = None
        self._ahead_count = 0
        self._gate, self._once = asyncio.Semaphore(AT_ONCE), asyncio.Lock()

    # the scene

    async def geometry(self) -> Geometry:
        """Of the site as it is configured now; made when first asked for."""
        async with self._once:
            if self._geometry is None or self._geometry.site is not self.live.site:
                self._geometry = await run_in_threadpool(geometry, self.live.site)
                self._bodies.clear()
                self.runs.clear()
                self._ahead = None
            return self._geometry

    async def scene(self, accepts: str) -> tuple[bytes, str]:
        """The scene's body and how it is encoded, of what a browser accepts."""
        made = await self.geometry()
        coding = next((one for one in ("br", "gzip") if one in accepts), "")
        key = (made.hash, coding)
        if key not in self._bodies:
            self._bodies[key] = await run_in_threadpool(_encoded, made, coding)
        return self._bodies[key], coding

    # frames

    async def frame(self, ask: Ask) -> bytes:
        """The body of one picture. ``ConfigError`` where it cannot be (a colour that no metric is, nothing foreseen, a run
        that is no more)."""
        made = await self.geometry()
        if ask.colour != ALERTS and not any(ask.colour in rows for rows in METRICS.values()):
            raise _wrong("colour", f"{ask.colour[:80]!r} is no metric; /api/v1/scene/colours lists those of this site")
        if ask.live:
            return await run_in_threadpool(self._now, made, ask)
        if ask.run:
            if ask.run not in self.runs:
                raise _wrong("run", f"there is no run {ask.run[:20]!r} any more; start it again")
            kept = self.runs[ask.run]
            return await self._cached(made, ask, ask.time_s, lambda: self._of_run(made, ask, kept))
        if ask.whose == "forecast":
            return await self._foreseen(made, ask)
        if ask.time_s is not None and ask.time_s > self.live.clock.now().timestamp() + 1:
            raise _wrong("time", "lies ahead; ask for the origin forecast")
        return await self._cached(made, ask, ask.time_s, lambda: self._then(made, ask))

    async def _cached(self, made: Geometry, ask: Ask, key: Any, work: Callable[[], bytes]) -> bytes:
        """What ``work`` gives, kept for whoever asks again; at most ``AT_ONCE`` such questions are worked on."""
        whole = (made.hash, ask, key)
        if whole in self._frames:
            self._frames.move_to_end(whole)
            return self._frames[whole]
        async with self._gate:
            if whole not in self._frames:
                body = await run_in_threadpool(work)
                self._frames[whole] = body
                self._kept_bytes += len(body)
                while self._kept_bytes > MAX_KEPT_BYTES:
                    self._kept_bytes -= len(self._frames.popitem(last=False)[1])
                return body
        return self._frames[whole]

    def _now(self, made: Geometry, ask: Ask) -> bytes:
        live, now = self.live, self.live.clock.now()
        sides = [live_values(live.state, now, origin) for origin in (Origin.MEASURED, Origin.MODELLED)]
        firing = [(alert.asset, alert.severity) for alert in live.alerts if alert.phase is Phase.FIRING]
        return _body(made, ask, _whose(ask.whose, *sides), best_values(*sides), now.timestamp(), firing)

    def _then(self, made: Geometry, ask: Ask) -> bytes:
        time = datetime.fromtimestamp(ask.time_s or 0.0, UTC)
        store = self.live.store
        old = time < self.live.clock.now() - timedelta(days=1)  # no store drops single values sooner
        sides = []
        for origin in (Origin.MEASURED, Origin.MODELLED):
            known = {(kind, name) for kind, name, whose, band in self.live.state.known() if whose is origin and not band}
            sides.append(PastValues(made.site, store, time, origin, ask.colour, made.pipes, known=known, old=old))
        firing = firing_then(self.live.records, time)
        values, water = _whose(ask.whose, *sides), best_values(*sides)
        painted = paint(made, values, ask.colour, firing, water, signed=ask.whose == "residual")
        folded_s = max(side.folded_s for side in sides)
        return frame_body(made, painted, ask.detail, _about(ask, time.timestamp(), folded_s=folded_s))

    async def _foreseen(self, made: Geometry, ask: Ask) -> bytes:
        now = self.live.clock.now()
        run, number = await self._day_ahead(now)
        at_s = now.timestamp() + ask.lead_h * HOUR_S if ask.time_s is None else ask.time_s
        if not 0 <= at_s - run.span_s[0] <= HOURS_AHEAD * HOUR_S + HOUR_S:
            raise _wrong("time", f"is foreseen up to {HOURS_AHEAD} h ahead; ask for a time nearer")
        step = int((at_s - run.span_s[0]) // (run.time_s[1] - run.time_s[0])) if len(run.time_s) > 1 else 0
        values = _with_forecasts(self.live, made.site, run.at(at_s), at_s)
        return await self._cached(made, ask, (number, step), lambda: _body(made, ask, values, values, at_s, ()))

    async def _day_ahead(self, now: datetime) -> tuple[Run, int]:
        """The run and its number: worked out anew when forecasts are, or an hour later."""
        async with self._once:
            forecasts, kept = self.live.forecasts, self._ahead
            if kept is None or kept[0] is not forecasts or now.timestamp() - kept[1] > HOUR_S:
                live, outlook = self.live, self._runner.outlook()
                run = await run_in_threadpool(day_ahead, live.site, live.state, forecasts, outlook, now, live.fitted.params)
                self._ahead_count += 1
                kept = self._ahead = (forecasts, now.timestamp(), run, self._ahead_count)
            return kept[2], kept[3]

    # what if

    async def what_if(self, scenario: ScenarioIn, work: Literal["example", "queue"], hours: float, step_s: float) -> str:
        """Run the plain centre and the scenario from now on; gives the number by which their pictures are asked for. The oldest
        of ``MAX_RUNS`` gives way. ``Busy`` while another run goes on, ``ConfigError`` for what is wrong with the scenario."""
        made = await self.geometry()
        kept = await self._runner.alone(lambda: self._both(made, scenario, work, hours, step_s))
        number = hashlib.sha256(f"{scenario!r}{work}{hours}{step_s}{kept.other.span_s}".encode()).hexdigest()[:10]
        self.runs[number] = kept
        while len(self.runs) > MAX_RUNS:
            self.runs.popitem(last=False)
        return number

    def _both(
        self, made: Geometry, scenario: ScenarioIn, work: Literal["example", "queue"], hours: float, step_s: float
    ) -> Kept:
        runner, site = self._runner, made.site
        jobs, outlook, start_s = runner.work(work, hours, 1), runner.outlook(), runner.start_s()

        def one(plan: ScenarioIn) -> Run:
            params = plan.params(self.live.fitted.params)
            return run_of(site, jobs, params, outlook, hours * HOUR_S, step_s, start_s=start_s, scenario=plan.scenario())

        other = one(scenario)
        return Kept(scenario.name, one(ScenarioIn(name="base")), other, added_racks(made, other.grown))

    def _of_run(self, made: Geometry, ask: Ask, kept: Kept) -> bytes:
        at_s = kept.other.span_s[0] if ask.time_s is None else ask.time_s
        moment = kept.other.at(at_s)
        begin_s = kept.other.trajectory.start_s
        reached = [limit for limit in kept.other.trajectory.limits if begin_s + float(limit["time_s"]) <= at_s]
        firing = [(str(limit["asset"]), Severity.CRITICAL) for limit in reached]
        shown = residual_values(moment, kept.plain.at(at_s)) if ask.against else moment
        painted = paint(made, shown, ask.colour, firing, moment, signed=ask.against)
        added = paint_added(painted, kept.added.ids, ask.colour, moment.added, firing, signed=ask.against)
        return frame_body(made, painted, ask.detail, _about(ask, at_s), added.tobytes())

    def choices(self) -> list[dict[str, Any]]:
        """What of this site can be coloured by: metric, unit, kinds, and whose values there are."""
        state, site = self.live.state, self.live.site
        known: dict[str, set[str]] = {}
        for kind, name, origin, band in state.known():
            if (
                not band
                and origin in (Origin.MEASURED, Origin.MODELLED)
                and np.isfinite(state.newest(kind, name, origin).value).any()
            ):
                known.setdefault(name, set()).add(origin.value)
        found = []
        for name, kinds in colours(site).items():
            mine = known.get(name, set())
            whose = [one for one in WHOSE if one in mine or (one == "best" and mine) or (one == "residual" and len(mine) == 2)]
            if name in AHEAD and self.live.forecasts:
                whose.append("forecast")
            if whose:
                found.append({"name": name, "kinds": kinds, "origins": whose, "run": name in AHEAD})
        return [
            *found,
            {
                "name": ALERTS,
                "kinds": [kind for kind, look in LOOKS.items() if look.level is not Level.HIDDEN and site.count(kind)],
                "origins": ["best"],
                "run": True,
            },
        ]


def _encoded(made: Geometry, coding: str) -> bytes:
    body = scene_body(made)
    if coding == "br":
        return bytes(cramjam.brotli.compress(body, level=5))
    return bytes(cramjam.gzip.compress(body, level=6)) if coding == "gzip" else body


def _wrong(where: str, what: str) -> ConfigError:
    return ConfigError([Problem(where, what)])


def _whose(whose: Whose, measured: Values, modelled: Values) -> Values:
    if whose == "residual":
        return residual_values(measured, modelled)
    return {"measured": measured, "modelled": modelled}.get(whose, best_values(measured, modelled))


def _with_forecasts(live: Live, site: Site, moment: Values, at_s: float) -> Values:
    """What was foreseen for an asset itself, else what the twin makes of the forecast of its hall."""

    def values(kind: str, name: str) -> Floats:
        column = moment(kind, name)
        for forecast in live.forecasts:
            if (forecast.kind, forecast.metric) == (kind, name) and forecast.row < len(column):
                said = foreseen(live.forecasts, kind, forecast.row, name, np.array([at_s]))
                column[forecast.row] = column[forecast.row] if said is None or np.isnan(said[0]) else said[0]
        return column

    return values


def _about(ask: Ask, time_s: float, folded_s: float = 0.0) -> dict[str, Any]:
    return {
        "time": round(time_s, 3),
        "colour": ask.colour,
        "origin": ask.whose,
        "lead_h": ask.lead_h if ask.whose == "forecast" else 0,
        "run": ask.run,
        "against": ask.against,
        "folded_s": folded_s,
    }


def _body(made: Geometry, ask: Ask, values: Values, water: Values, time_s: float, firing: Firing) -> bytes:
    painted: Painted = paint(made, values, ask.colour, firing, water, signed=ask.whose == "residual")
    return frame_body(made, painted, ask.detail, _about(ask, time_s))
