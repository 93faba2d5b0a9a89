"""The parts that wear out or are wired wrongly: power supplies, batteries of UPSes, disks, and sensors that are swapped."""

from collections.abc import Callable, Mapping
from datetime import datetime

import numpy as np

from analytics.detect import checks, disk_health, lives
from analytics.detect.baseline import Growth
from analytics.detect.batteries import END_FRAC, Batteries
from analytics.detect.recall import Past
from analytics.detect.survival import Baseline
from analytics.detect.swapped import Swaps
from twin.frame import Floats, Ints
from twin.site import Site
from twin.state import State

Ask = Callable[..., object]  # (question, strength, now, kind=, metric=): moves the life of a question on
Words = Mapping[str, float | int | str]
_FLOORS = {"power_w": 0.03, "return_temp_c": 1.5, "supply_temp_c": 0.5}  # of racks: off by so much (log, K) before it is a swap
_PSU = ("", "warns or predicts its failure", "has failed or has lost its input")


class Parts:
    """Of one site; ``step`` as ``Watch.step`` calls it. ``baseline``: of disks by age and model, None before it was learnt."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._swaps = {name: Swaps(site.count("rack"), floor) for name, floor in _FLOORS.items()}
        self._partner: dict[str, Ints] = {}
        self._batteries = Batteries(site.count("ups"))
        self._left = np.full(site.count("ups"), np.nan)
        self._psu = np.full(site.count("node"), np.nan)
        disks = site.count("disk")
        self._grown = {name: Growth(disks, disk_health.MONTH_S) for name in disk_health.COUNTS}
        self._disks = disk_health.nothing(disks)
        self._models = site.text("disk", "model")
        self.baseline: Baseline | None = None
        self._powered_on_s = np.full(disks, np.nan)

    def recall(self, past: Past, after_s: float) -> None:
        """See ``Watch.recall``."""
        self._batteries.precede(past.batteries)
        replaced = self._powered_on_s < past.powered_on_s
        self._powered_on_s = _held(self._powered_on_s, past.powered_on_s)
        for name, growth in self._grown.items():
            past.disks[name].forget(replaced)
            growth.precede(past.disks[name], after_s)

    def step(self, state: State, cdu: "np.ndarray", now: datetime, after_s: float, ask: Ask) -> None:
        """Look at everything once."""
        for name, (reading, asked) in _asked_of_racks(self._site, state, cdu, now).items():
            times, self._partner[name] = self._swaps[name].update(reading, asked)
            ask("sensor_swapped", np.where(np.isfinite(reading), times, np.nan), now, metric=name)
        psu = state.column("node", "psu_code", now)
        self._psu = np.where(psu > 0, psu, self._psu)  # for the sentence, until the finding is over
        ask("psu", psu, now)
        self._ups(state, now, ask)
        if self._site.count("disk"):
            self._look_at_disks(state, now, after_s, ask)

    def _ups(self, state: State, now: datetime, ask: Ask) -> None:
        runtime_s, load_w, charge, temp_c = (
            state.column("ups", name, now) for name in ("battery_runtime_s", "power_w", "charge_frac", "battery_temp_c")
        )
        left = self._batteries.update(runtime_s, load_w, charge, temp_c)
        self._left = _held(left, self._left)
        said = state.column("ups", "battery_replace_flag", now)
        lost = np.where(said > 0, 1.0, np.where(np.isfinite(left), 1 - left, said))
        ask("ups_battery", lost, now)

    def _look_at_disks(self, state: State, now: datetime, after_s: float, ask: Ask) -> None:
        counts = {name: state.column("disk", name, now) for name in disk_health.COUNTS}
        powered_on_s = state.column("disk", "powered_on_s", now)
        replaced = powered_on_s < self._powered_on_s  # hours only grow, over restarts too: it is another disk
        self._powered_on_s = np.where(np.isfinite(powered_on_s), powered_on_s, self._powered_on_s)
        for growth in self._grown.values() if replaced.any() else ():
            growth.forget(replaced)
        grown = {name: growth.update(counts[name], after_s) for name, growth in self._grown.items()}
        other = {name: state.column("disk", name, now) for name in ("media_error_count", "wear_ratio", "failing_flag")}
        before: Floats | float = disk_health.BEFORE
        if self.baseline is not None:
            before = self.baseline.chance(powered_on_s, self._models, disk_health.MONTH_S)
        judged = disk_health.judge(counts, grown, **other, before=before)
        self._disks = judged.held(self._disks)
        ask("disk_hazard", judged.hazard, now)

    def life(self, kind: str, row: int, now: datetime) -> Words:
        """``model`` and, where known, ``age_s`` of an asset of a kind with a baseline, for the outcome log; else nothing."""
        if kind not in lives.KINDS:
            return {}
        age_s = checks.since_day_s(self._site.text(kind, "installed")[row], now)
        if kind == "disk" and np.isfinite(self._powered_on_s[row]):
            age_s = float(self._powered_on_s[row])
        return {"model": self._site.text(kind, "model")[row]} | ({"age_s": age_s} if age_s == age_s else {})

    def words(self, question: str, metric: str, row: int) -> tuple[Words, float]:
        """What a finding of ``question`` says beside the usual, and how long before harm it comes (NaN: the question's own)."""
        if question == "sensor_swapped":
            partner = int(self._partner[metric][row])
            return {"other": self._site.ids_of("rack")[partner] if partner >= 0 else "another"}, float("nan")
        if question == "psu":
            return {"reason": _PSU[int(self._psu[row])]}, float("nan")
        if question == "ups_battery":
            left = float(self._left[row])
            if left != left:
                return {"left": "less than it needs"}, 0.0
            return {"left": f"{100 * left:.0f} %"}, self._batteries.lead_s(left, row, END_FRAC)
        if question == "disk_hazard":
            return {"reason": self._disks.reason(row)}, disk_health.lead_s(float(self._disks.hazard[row]))
        return {}, float("nan")


def _held(new: Floats, was: Floats) -> Floats:
    """``new``, and ``was`` of those that say nothing now."""
    return np.where(np.isfinite(new), new, was)


def _asked_of_racks(site: Site, state: State, cdu: "np.ndarray", now: datetime) -> Mapping[str, tuple[Floats, Floats]]:
    """Metric -> (reading, what the parts or physics ask for), of racks."""
    power, total = checks.rack_power_logs(site, state, now)
    supply, back = (state.column("rack", f"{side}_temp_c", now) for side in ("supply", "return"))
    cooler = np.where(cdu >= 0, np.r_[state.column("cdu", "supply_temp_c", now), np.nan][cdu], np.nan)
    return {
        "power_w": (power, total),
        "return_temp_c": (back, back - checks.rack_rise_k(state, now)),
        "supply_temp_c": (supply, cooler),
    }
