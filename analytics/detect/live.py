"""The live detectors: every few seconds from the state of the centre to findings, streaming, in memory that does not grow.

Each asset is held against its own past (``baseline``), its siblings and peers, and physics (``checks``); a question is answered
yes when its strength has been over its limit for its hold time, and stays so until it has been under its clear level as long. A
value that is stale moves nothing. Work and memory are a few arrays over all assets a question.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from scipy.special import log_ndtr

from analytics.detect import checks, gpu
from analytics.detect.baseline import Baseline, Growth, Repeats
from analytics.detect.outcomes import Outcomes
from analytics.detect.parts import Parts
from analytics.detect.recall import recall
from analytics.detect.survival import Baseline as Lives
from analytics.detect.told import HAZARD_ACTIONS, QUESTIONS, Question
from analytics.finding import Finding
from twin.frame import Floats
from twin.job import Jobs
from twin.message import Message
from twin.ports import Store
from twin.site import Bools, Site
from twin.state import State

MAX_FINDINGS = 500  # told at once, the strongest; ``Watch.hidden`` counts the rest
MAX_SCORE = 30.0
_SWAPPED_AS = {"power_w": "rack_power", "return_temp_c": "rack_return", "supply_temp_c": "rack_supply"}  # what a swap explains
RECENT_S, DAY_S = 300.0, 86400.0
STUCK = ("supply_temp_c", "return_temp_c", "flow_kgps", "power_w")  # of racks
_LOST = 79  # XID: fallen off the bus, a question of its own
_HAZARDS = ("gpu_hazard", "disk_hazard")
_FLOORS = {
    "rack_supply": 0.12,
    "rack_flow": 0.012,
    "rack_power": 0.012,
    "rack_return": 0.35,
    "pump_wear": 0.02,
    "pump_flow": 0.02,
    "fouling": 0.04,
}


class _Life:
    """Where one question stands with each of n assets."""

    def __init__(self, question: Question, n: int) -> None:
        self.question = question
        self.on = np.zeros(n, dtype=np.bool_)
        self.since_s, self.calm_s = np.full(n, np.nan), np.full(n, np.nan)
        self.strength = np.zeros(n)

    def update(self, strength: Floats, now_s: float, stricter: float = 1.0, resting: Bools | None = None) -> None:
        """``strength``: float64[n], NaN where nothing can be said; ``stricter``: factor on the question's limit; ``resting``:
        bool[n], worked on, so that whatever shows there is expected and what was found is over."""
        question, known = self.question, np.isfinite(strength)
        self.since_s, self.calm_s = np.minimum(self.since_s, now_s), np.minimum(self.calm_s, now_s)  # the clock was set back
        if resting is not None:
            known &= ~resting
            self.on &= ~resting
            self.since_s = np.where(resting, np.nan, self.since_s)
        above, below = known & (strength >= stricter * question.limit), known & (strength < question.clear)
        self.strength = np.where(known, strength, self.strength)
        self.since_s = np.where(above & np.isnan(self.since_s), now_s, self.since_s)
        self.since_s = np.where(known & ~above & ~self.on, np.nan, self.since_s)
        self.on |= above & (now_s - self.since_s >= question.hold_s)
        self.calm_s = np.where(below & np.isnan(self.calm_s), now_s, np.where(known & ~below, np.nan, self.calm_s))
        over = self.on & below & (now_s - self.calm_s >= question.hold_s)
        self.on &= ~over
        self.since_s = np.where(over, np.nan, self.since_s)


class Watch:
    """The detectors of one site. ``step`` is called by one task; ``hidden``: findings beyond ``MAX_FINDINGS``."""

    def __init__(self, site: Site) -> None:
        self.site, self.hidden = site, 0
        self.outcomes = Outcomes()
        self.lives: dict[str, Lives] = {}  # kind -> how often such an asset fails by age and model, where that was learnt
        self.parts = Parts(site)
        self._resting: dict[str, Bools] = {}
        self._cdu = checks.cooler_of_rack(site)
        racks, pumps, gpus, ports = (site.count(kind) for kind in ("rack", "pump", "gpu", "port"))
        sizes = {"rack": racks, "pump": pumps, "cdu": site.count("cdu"), "gpu": gpus}
        self._baselines = {name: Baseline(sizes[QUESTIONS[name].kind], floor) for name, floor in _FLOORS.items()}
        self._baselines["gpu_hot"] = Baseline(gpus, 3.0)
        self._repeats = {name: Repeats(racks) for name in STUCK}
        self._read_s = {name: np.full(racks, -np.inf) for name in STUCK}
        self._growth = {name: Growth(gpus, DAY_S) for name in gpu.COUNTERS}
        self._links = {name: Growth(ports, RECENT_S) for name in ("link_down_count", "error_count")}
        self._brake = np.zeros(gpus)
        self._duty = np.zeros(pumps, dtype=np.bool_)
        self._lives: dict[tuple[str, str, str], _Life] = {}
        self._xids, self._was_s, self._began_s = gpu.Xids(gpus), np.nan, np.nan
        self._weights: dict[str, Floats] = {}
        self._amounts: dict[str, Floats] = {}

    def recall(self, store: Store, now: datetime) -> None:
        """Take over what built up before the first step (of now, where there was none yet), once. ``SourceError`` where the
        store does not answer: then nothing is changed, and it may be asked again."""
        began = now if np.isnan(self._began_s) else datetime.fromtimestamp(self._began_s, UTC)
        past, after_s = recall(store, self.site, began), (now - began).total_seconds()
        for name, growth in self._growth.items():
            growth.precede(past.gpus[name], after_s)
        self._brake += past.braked * np.exp(-after_s / DAY_S)
        self.parts.recall(past, after_s)

    def step(self, state: State, jobs: Jobs, now: datetime, resting: Mapping[str, Bools] | None = None) -> tuple[Finding, ...]:
        """What is found at ``now``, the strongest first; where the clock was set back, no time has passed. ``resting``: kind ->
        bool[n], assets that are worked on: nothing is found of them, and their residuals teach nothing."""
        self._resting = dict(resting or {})
        now_s = now.timestamp()
        after_s = 0.0 if np.isnan(self._was_s) else max(0.0, now_s - self._was_s)
        self._was_s = now_s
        self._began_s = now_s if np.isnan(self._began_s) else self._began_s
        self._racks(state, now)
        self._plant(state, now)
        self._gpus(state, jobs, now, after_s)
        self._links_and_sources(state, now, after_s)
        self.parts.baseline = self.lives.get("disk")
        self.parts.step(state, self._cdu, now, after_s, self._ask)
        return self._told(now)

    def _ask(self, name: str, strength: Floats, now: datetime, kind: str = "", metric: str = "") -> Bools:
        """Move the life of a question on; which assets it holds for."""
        question = QUESTIONS[name]
        key = (name, kind or question.kind, metric or question.metric)
        if key not in self._lives:
            self._lives[key] = _Life(question, len(strength))
        stricter = self.outcomes.stricter(name) if question.limit > 1.5 else 1.0
        self._lives[key].update(strength, now.timestamp(), stricter, self._resting.get(key[1]))
        return self._lives[key].on

    def _away(self, name: str, residual: Floats, kind: str) -> Floats:
        """How far off its usual the residual is; what is worked on teaches nothing."""
        resting = self._resting.get(kind)
        return self._baselines[name].update(residual if resting is None else np.where(resting, np.nan, residual))

    def _racks(self, state: State, now: datetime) -> None:
        site, cdu = self.site, self._cdu
        residuals = {
            "rack_supply": checks.rack_supply_k(site, state, cdu, now),
            "rack_flow": checks.rack_flow(site, state, cdu, now),
            "rack_power": checks.rack_power(site, state, now),
        }
        blamed = np.zeros(site.count("rack"), dtype=np.bool_)
        for name, residual in residuals.items():
            z = np.abs(self._away(name, residual, "rack"))
            self._ask(name, z, now)
            blamed |= np.nan_to_num(z) > QUESTIONS[name].clear
        rise = self._away("rack_return", np.where(blamed, np.nan, checks.rack_rise_k(state, now)), "rack")
        self._ask("rack_return", np.abs(rise), now)
        at_work = checks.rack_at_work(site, state, now)  # one that is off reads 0 again and again
        for name in STUCK:
            column = state.newest("rack", name)
            fresh = (column.time_s > self._read_s[name]) & ((column.value != 0) | at_work)
            self._read_s[name] = column.time_s
            self._ask("sensor_stuck", self._repeats[name].update(column.value, fresh), now, metric=name)

    def _plant(self, state: State, now: datetime) -> None:
        z = self._away("pump_wear", checks.pump_head(self.site, state, now), "pump")
        self._ask("pump_wear", np.maximum(-z, 0.0), now)
        z = self._away("pump_flow", checks.pump_flow(self.site, state, now), "pump")
        self._ask("pump_flow", np.maximum(-z, 0.0), now)
        speed, power = state.column("pump", "pump_speed_frac", now), state.column("pump", "power_w", now)
        on_duty = (speed > checks.ON_DUTY) & (power > 0)
        worn = self._lives["pump_wear", "pump", "diff_pressure_pa"].on | self._lives["pump_flow", "pump", "flow_kgps"].on
        self._duty = (self._duty | (on_duty & worn)) & ~(on_duty & ~worn)
        self._ask("pump_stopped", np.where(np.isfinite(power), (self._duty & (power <= 0)).astype(np.float64), np.nan), now)
        z = self._away("fouling", checks.exchanger(state, now), "cdu")
        self._ask("fouling", np.maximum(-z, 0.0), now)
        for kind in ("rack", "cdu"):
            self._ask("leak", state.column(kind, "leak_flag", now), now, kind=kind)

    def _gpus(self, state: State, jobs: Jobs, now: datetime, after_s: float) -> None:
        site = self.site
        lag = checks.lag_behind_gang(site, state, jobs, now)
        percent = -100 * np.expm1(lag)
        self._ask("straggler", np.where(np.isfinite(lag), percent, 0.0), now)
        z = self._away("gpu_hot", checks.gpu_resistance(site, state, now), "gpu")
        self._ask("gpu_hot", z, now)
        xid, power = state.column("gpu", "xid_code", now), state.column("gpu", "power_w", now)
        self._ask("gpu_lost", np.where(np.isfinite(xid), ((xid == _LOST) & np.isnan(power)).astype(np.float64), np.nan), now)
        grown = {name: g.update(state.column("gpu", name, now), after_s) for name, g in self._growth.items()}
        braked = gpu.braked(state.column("gpu", "throttle_code", now))
        self._brake += (1 - np.exp(-after_s / DAY_S)) * (braked - self._brake)
        self._xids.update(xid, (power > 0) & (state.column("gpu", "util_frac", now) > 0), now.timestamp())
        amounts = {
            **grown,
            "xid_code": np.where(self._xids.code == _LOST, np.nan, self._xids.code),
            "row_remap_failure_flag": state.column("gpu", "row_remap_failure_flag", now),
            "throttle_code": self._brake,
            "past": self._past(),
        }
        weights = gpu.weigh(amounts, self.outcomes.shift)
        silent = np.isnan(xid)  # what was found of such a one stays as it was found
        self._weights, self._amounts = (
            {name: np.where(silent, was.get(name, column), column) for name, column in new.items()}
            for new, was in ((weights, self._weights), (amounts, self._amounts))
        )
        self._ask("gpu_hazard", np.where(silent, np.nan, gpu.hazard(weights, self._before(now))), now)

    def _past(self) -> Floats:
        """How often each GPU was excluded before."""
        excluded = self.outcomes.excluded
        ids = self.site.ids_of("gpu") if excluded else ()
        return np.array([excluded.get(asset, 0) for asset in ids], dtype=np.float64) if ids else np.zeros(len(self._brake))

    def _before(self, now: datetime) -> Floats:
        """Probability of a GPU's failure before any evidence: by age and model as learnt, else by age alone."""
        age_s = checks.age_s(self.site, "gpu", now)
        lives = self.lives.get("gpu")
        if lives is not None:
            return lives.chance(age_s, self.site.text("gpu", "model"), gpu.HORIZON_S)
        return gpu.before(age_s)

    def _links_and_sources(self, state: State, now: datetime, after_s: float) -> None:
        for name, question in (("link_down_count", "link_flap"), ("error_count", "link_errors")):
            grown = self._links[name].update(state.column("port", name, now), after_s)
            self._ask(question, grown, now)
        self._ask("node_down", 1 - state.column("node", "up_flag", now), now)
        newest = state.newest("source", "up_flag")
        heard = np.isfinite(newest.value)
        self._ask("source_silent", np.where(heard, 1 - newest.value, np.nan), now)

    def _told(self, now: datetime) -> tuple[Finding, ...]:
        found: list[tuple[float, str, str, str, int]] = []
        for (name, kind, metric), life in self._lives.items():
            swapped = self._lives.get(("sensor_swapped", kind, metric)) if name == _SWAPPED_AS.get(metric) else None
            on = life.on if swapped is None else life.on & ~swapped.on
            found += [(_score(life, row), name, kind, metric, row) for row in np.flatnonzero(on).tolist()]
        found.sort(key=lambda one: (-one[0], one[1:]))
        self.hidden = max(0, len(found) - MAX_FINDINGS)
        return tuple(self._finding(*one, now) for one in found[:MAX_FINDINGS])

    def _finding(self, score: float, name: str, kind: str, metric: str, row: int, now: datetime) -> Finding:
        life = self._lives[name, kind, metric]
        question = life.question
        asset, strength = self.site.ids[int(self.site.of_kind(kind)[row])], float(life.strength[row])
        words: dict[str, float | int | str] = {
            "asset": asset,
            "metric": metric,
            "strength": strength,
            "percent": 100 * strength,
        }
        action, confidence = question.action, self.outcomes.confidence(name)
        more, lead_s = self.parts.words(name, metric, row)
        words |= {**more, **self.parts.life(kind, row, now)}
        if name == "gpu_hazard":
            words["reason"], todo, words["code"] = gpu.why(self._weights, self._amounts, row)
            action = HAZARD_ACTIONS[todo]
        if name in _HAZARDS:
            confidence *= strength / (strength + question.limit)
        return Finding(
            sort=question.sort,
            question=name,
            kind=kind,
            asset=asset,
            metric=metric,
            score=score,
            confidence=confidence,
            since=datetime.fromtimestamp(float(life.since_s[row]), UTC),
            seen=now,
            summary=Message(question.summary, words),
            evidence=(Message(question.evidence, words),),
            action=Message(action),
            cost_wrong=Message(question.cost_wrong),
            lead_s=self.outcomes.lead_s.get(name, question.lead_s if lead_s != lead_s else lead_s),
        )


def _score(life: _Life, row: int) -> float:
    """-log10 of how often an hour a healthy asset would be as far off, by the normal tail where strength is in spreads."""
    question, strength = life.question, float(life.strength[row])
    if question.name in ("sensor_stuck", "sensor_swapped"):
        return min(strength, MAX_SCORE)
    if question.name in _HAZARDS:
        return min(2.0 + 4.0 * strength, MAX_SCORE)
    if question.limit <= 1.5 or question.name == "link_errors":
        return 6.0
    tail = float(-(log_ndtr(-strength) + np.log(2)) / np.log(10))
    return float(np.clip(tail - np.log10(360.0), 0.0, MAX_SCORE))


def strongest(findings: Sequence[Finding], most: int) -> tuple[Finding, ...]:
    """The first ``most`` by confidence and score, for a small panel."""
    return tuple(sorted(findings, key=lambda f: (-f.confidence * min(f.score, 6.0), f.key))[:most])
