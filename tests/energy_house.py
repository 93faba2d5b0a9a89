"""What the energy tests share: a water-cooled hall, a plant of its own physics, and ports that live in memory."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
from small import rows

from energy.ledger_away import Away
from energy.ledger_book import JobBook
from energy.ledger_jobs import NONE_AWAY, Grounds, Ran, judged, priced
from energy.plan import Effect, Plan
from twin.frame import Frame, Ints, Origin, frame_of
from twin.load import build_site
from twin.message import Message
from twin.ports import Action, How, Series
from twin.site import Site
from twin.state import State

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
SETPOINT, SPEED, LIMIT = "supply_temp_setpoint_c", "pump_speed_frac", "chillers_limit_count"
FAN_LIMIT = "fan_limit_frac"
RISE_K, PUMP_FRAC = 8.0, 0.03  # of coolant over racks, and of CDU pumps that turn faster than they need


def hall(chain: bool = True, gpus: int = 8, chillers: int = 1) -> Site:
    """Two racks, a CDU each, chillers and one tower; ``chain``: a plant loop with a setpoint stands above the CDUs."""
    names = ["ch", *(f"ch{i}" for i in range(2, chillers + 1))]
    assets = ["id=h1 kind=hall", "id=ct kind=tower", "id=pl kind=loop", "id=pp kind=pump parent=pl"]
    assets += [f"id={name} kind=chiller" + " rated_w=2500" * (chillers > 1) for name in names]
    links = [f"from={one} to={other} relation=cools" for name in names for one, other in ((name, "pl"), ("ct", name))]
    for n in ("1", "2"):
        assets += [f"id=r{n} kind=rack parent=h1", f"id=c{n} kind=cdu parent=h1", f"id=n{n} kind=node parent=r{n}"]
        assets += [f"id=n{n}g{g} kind=gpu parent=n{n} rated_w=700" for g in range(gpus)]
        links += [f"from=c{n} to=r{n} relation=cools", f"from=pl to=c{n} relation=cools"]
    assets += ["id=sky kind=weather", "id=net kind=grid"]
    return build_site("centre", "UTC", rows(*assets), rows(*links))


@dataclass(frozen=True)
class Physics:
    """A steady water-cooled plant that shares no equation with ``energy.response``: leakage doubles every so many
    kelvin, chillers follow Carnot, towers a cube law with a capacity, exchangers effectiveness and NTU."""

    gpus: int = 16
    dynamic_w: float = 500.0
    leak_w: float = 60.0  # of a GPU at 60 °C
    doubling_k: float = 30.0
    resistance_k_per_w: float = 0.04
    carnot_frac: float = 0.5
    wet_c: float = 20.0
    tower_k: float = 4.0  # approach at full fan speed and design load
    fan_rated_frac: float = 0.02
    ntu: float = 4.0
    humidity_frac: float = 0.5

    def solve(self, plant_c: float, loop_c: float, shared: bool = False) -> dict[str, float]:
        """Powers [W] and temperatures [°C] with plant water at ``plant_c`` and the CDUs' supply at ``loop_c``; ``shared``:
        the plant follows the CDUs (no setpoint of its own)."""
        if shared:
            plant_c = loop_c - 3.0
        gpu_w = self.dynamic_w + self.leak_w
        for _ in range(60):
            gpu_c = loop_c + self.resistance_k_per_w * gpu_w
            gpu_w = self.dynamic_w + self.leak_w * 2 ** ((gpu_c - 60) / self.doubling_k)
        it_w = 1.15 * self.gpus * self.dynamic_w + self.gpus * (gpu_w - self.dynamic_w)
        return_c, rise_k = plant_c + 10.0, 10.0
        coldest_c = self.wet_c + self.tower_k + 1.5  # what towers alone reach
        phi = float(np.clip((coldest_c - plant_c) / rise_k, 0, 1))
        fan = 1.0 if phi > 0 else min(1.0, self.tower_k / max(plant_c - 1.5 - self.wet_c, self.tower_k))
        lift_k = max(coldest_c + 6 - plant_c + 1.5, 8.0)
        chiller_w = phi * it_w * lift_k / (self.carnot_frac * (plant_c + 273)) if phi > 0.005 else 0.0
        fan_w = self.fan_rated_frac * it_w * (0.02 + 0.98 * fan**2.8)
        pump_w = 0.0 if shared else 0.02 * it_w * self._flow(loop_c - plant_c) ** 2.8
        return {
            "it_w": it_w, "gpu_w": gpu_w, "gpu_c": gpu_c, "chiller_w": chiller_w, "fan_w": fan_w, "pump_w": pump_w,
            "facility_w": 1.03 * it_w + chiller_w + fan_w + pump_w, "return_c": return_c,
        }  # fmt: skip

    def _flow(self, gap_k: float) -> float:
        """Facility water over secondary water by capacity rate: an exchanger of ``ntu`` must pass 10 K across ``gap_k``."""
        needed, low, high = 10.0 / (10.0 + gap_k), 0.05, 3.0
        for _ in range(50):
            c = (low + high) / 2
            small, ratio = min(c, 1.0), min(c, 1.0) / max(c, 1.0)
            gone = np.exp(-self.ntu / small * (1 - ratio))
            reached = small * ((1 - gone) / (1 - ratio * gone) if ratio < 0.9999 else self.ntu / (1 + self.ntu))
            low, high = (c, high) if reached < needed else (low, c)
        return low


def read(site: Site, physics: Physics, plant_c: float, loop_c: float, now: datetime = NOW, chain: bool = True) -> State:
    """The state of ``hall`` as meters would show it."""
    s = physics.solve(plant_c, loop_c, shared=not chain)
    state = State(site)
    g = site.count("gpu")
    share = g / physics.gpus
    state.absorb(
        Frame("gpu", now, site.all_rows("gpu"), {"power_w": np.full(g, s["gpu_w"]), "temp_c": np.full(g, s["gpu_c"])}), now
    )
    heat_w = share * s["it_w"] / 2
    cdu = {SETPOINT: loop_c, "supply_temp_c": loop_c, "return_temp_c": loop_c + RISE_K, "heat_w": heat_w}
    cdu |= {SPEED: 0.9, "power_w": PUMP_FRAC * heat_w}
    state.absorb(Frame("cdu", now, site.all_rows("cdu"), {name: np.full(2, value) for name, value in cdu.items()}), now)
    if chain:
        state.absorb(frame_of("loop", now, 0, supply_temp_setpoint_c=plant_c, supply_temp_c=plant_c, heat_w=s["it_w"]), now)
    state.absorb(frame_of("chiller", now, 0, power_w=s["chiller_w"]), now)
    state.absorb(frame_of("tower", now, 0, power_w=s["fan_w"]), now)
    state.absorb(frame_of("pump", now, 0, power_w=s["pump_w"]), now)
    state.absorb(frame_of("site", now, 0, facility_power_w=s["facility_w"], it_power_w=s["it_w"]), now)
    dry_c = physics.wet_c + 4
    weather = {"wet_bulb_c": physics.wet_c, "dry_bulb_c": dry_c, "humidity_frac": physics.humidity_frac}
    state.absorb(frame_of("weather", now, 0, **weather), now)
    return state


def a_plan(*actions: tuple[str, float], now: datetime = NOW, key: str = "p1", metric: str = SETPOINT) -> Plan:
    """A plan that sets ``metric`` of the given assets and promises a sure saving."""
    until = now + timedelta(hours=2)
    made = tuple(Action(asset, metric, value, until, f"{key}/{asset}") for asset, value in actions)
    effect = Effect(-1000.0, -1500.0, -500.0, 7200.0, 200.0)
    return Plan(key, "supply_temperature", made, Message("test"), effect, now, now + timedelta(minutes=10))


class MemoryRecords:
    """Records in a list."""

    def __init__(self) -> None:
        self.all: list[tuple[int, str, datetime, dict[str, Any]]] = []

    def append(self, topic: str, time: datetime, record: Mapping[str, Any]) -> int:
        # a record is JSON, and JSON knows no NaN
        number = self.all[-1][0] + 1 if self.all else 1
        self.all.append((number, topic, time, json.loads(json.dumps(dict(record), allow_nan=False))))
        return number

    def append_all(self, topic: str, records: Sequence[tuple[datetime, Mapping[str, Any]]]) -> None:
        for time, record in records:
            self.append(topic, time, record)

    def read(
        self,
        topic: str,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 1000,
        newest: bool = False,
        after: int = 0,
    ) -> Sequence[tuple[int, datetime, dict[str, Any]]]:
        found = [
            (n, time, record)
            for n, t, time, record in self.all
            if n > after and t == topic and (start is None or time >= start) and (end is None or time < end)
        ]
        return found[-limit:] if newest else found[:limit]

    def trim(self, topic: str, keep: int) -> None:
        old = {n for n, *_ in [one for one in self.all if one[1] == topic][:-keep]}
        self.all = [one for one in self.all if one[0] not in old]

    def stages(self) -> list[str]:
        """Stages of the audit, in order."""
        return [record["stage"] for _, topic, _, record in self.all if topic == "audit"]


class MemoryStore:
    """Series as arrays: (kind, metric) -> (time_s, values)."""

    def __init__(self) -> None:
        self.data: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}

    def put(self, kind: str, name: str, start: datetime, step_s: float, values: np.ndarray) -> None:
        self.data[kind, name] = (start.timestamp() + step_s * np.arange(len(values)), np.asarray(values, dtype=np.float64))

    def series(
        self,
        kind: str,
        metrics: Sequence[str],
        start: datetime,
        end: datetime,
        step_s: float | None = None,
        how: How = How.MEAN,
        rows: Ints | None = None,
        origin: Origin = Origin.MEASURED,
        band: str = "",
    ) -> Series:
        assert how in (How.MEAN, How.LAST)
        at = np.array([0], dtype=np.int32)
        lo, hi = start.timestamp(), end.timestamp()
        cut = {m: self._cut(kind, m, lo, hi) for m in metrics}
        if step_s is None:
            times = np.unique(np.concatenate([t for t, _ in cut.values()]))
            values = {m: np.full((len(times), 1), np.nan) for m in metrics}
            for m, (t, v) in cut.items():
                values[m][np.searchsorted(times, t), 0] = v
            return Series(times, at, values)
        first = int(lo // step_s)
        count = int(np.ceil(hi / step_s)) - first
        values = {}
        for m, (t, v) in cut.items():
            t, v = t[~np.isnan(v)], v[~np.isnan(v)]
            bins = (t // step_s).astype(int) - first
            n = np.bincount(bins, minlength=count)
            total = np.bincount(bins, weights=v, minlength=count)
            values[m] = np.divide(total, n, out=np.full(count, np.nan), where=n > 0)[:, None]
            if how is How.LAST:
                values[m][bins, 0] = v  # times increase
        return Series((first + np.arange(count)) * step_s, at, values)

    def _cut(self, kind: str, name: str, lo: float, hi: float) -> tuple[np.ndarray, np.ndarray]:
        t, v = self.data.get((kind, name), (np.empty(0), np.empty(0)))
        inside = (t >= lo) & (t < hi)
        return t[inside], v[inside]


def account(ran: Ran, ground: Grounds, away: Away = NONE_AWAY) -> SimpleNamespace:
    """What the ledger says of runs that have all ended."""
    found = judged(ran, ground.gpus, away)
    costs, error_s = priced(ran, found, ground), float(found.error_s.max(initial=0.0))
    of_costs = {"change": costs.change, "low": costs.low, "high": costs.high}
    return SimpleNamespace(would_s=found.would_s, would_at=found.would_at, error_s=error_s, **of_costs)


def book_jobs(
    records: MemoryRecords, queue: str, signal: str, ground: Grounds, now: datetime, book: JobBook | None = None
) -> Sequence[Mapping[str, Any]]:
    """One look of a new process, or of the one that keeps ``book``."""
    book = book or JobBook(records)
    return book.enter(book.look(queue, now), signal, ground)


__all__ = [
    "FAN_LIMIT",
    "LIMIT",
    "NOW",
    "PUMP_FRAC",
    "RISE_K",
    "SETPOINT",
    "SPEED",
    "MemoryRecords",
    "MemoryStore",
    "Physics",
    "a_plan",
    "hall",
    "read",
    "replace",
]
