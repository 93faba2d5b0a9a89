"""A simulated month: noise, the daily swing, planned work, and sixty faults that are known. How many pages does each cost,
which are missed, what is paged for nothing, and after how long; beside plain thresholds with the same limits on the same
readings.

Seeded: the same month each time. The centre is small (two rows of four racks, 64 nodes, 256 GPUs) so that a month takes
minutes.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from analytics.alerts import Phase, begin, step
from analytics.oncall.desk import Desk, Event
from analytics.oncall.desk import step as desk_step
from analytics.oncall.folding import fold
from analytics.oncall.others import Others
from analytics.oncall.policy import Policy, Route
from analytics.oncall.quiet import signals_of
from analytics.oncall.silence import Quiet, Silence, make_silence
from analytics.rule import Rule, Rules, Severity
from analytics.rules import load_rules
from twin.frame import Floats, Frame
from twin.load import Row, build_site
from twin.site import Site, asset_path
from twin.state import State

START = datetime(2026, 11, 1, tzinfo=UTC)
STEP_S = 60.0
DAYS, FAULTS = 30, 60
SEED, SEEDS = 2026, (1, 2, 3, 4, 5, 6)  # the month that was looked at; those that were not
KINDS = ("pump", "feed", "gpu_lost", "node", "leak", "flap", "plate", "source", "switch", "cable")
LASTS_S = 3600.0
FOUND_WITHIN_S = 3600.0  # a page later than that does not count as finding the fault
PAGED = (Severity.CRITICAL, Severity.WARNING)


@dataclass(frozen=True, slots=True)
class Fault:
    """The truth: what broke, where, when, and every asset that suffers from it."""

    kind: str
    asset: str
    start_s: float
    until_s: float
    touched: frozenset[str]


def months(seeds: Sequence[int] = SEEDS, days: int = DAYS, faults: int = FAULTS) -> list[dict[str, dict[str, float]]]:
    """The month of each seed: its figures under ``icctwin`` and ``plain``, and the ``seed``. The rules were looked over on the
    first seed (``SEED``) only; nothing was chosen on the others."""
    made = []
    for seed in seeds:
        ours, plain = month(days, faults, seed)
        made.append({"seed": {"seed": float(seed)}, "icctwin": ours, "plain": plain})
    return made


def spread(made: Sequence[Mapping[str, Mapping[str, float]]], who: str) -> dict[str, float]:
    """Over months: mean, and of counts that should be 0 the sum too, by name."""
    names = [name for name in made[0][who] if name.startswith("month_")]
    found = {name.replace("month_", "months_"): float(np.mean([one[who][name] for one in made])) for name in names}
    for name in ("missed_faults_count", "false_pages_count"):
        found[f"months_{name.replace('_count', '_worst_count')}"] = max(one[who][f"month_{name}"] for one in made)
    return found


def month(days: int = DAYS, faults: int = FAULTS, seed: int = SEED) -> tuple[dict[str, float], dict[str, float]]:
    """Figures of icctwin with the rules that ship, and of plain thresholds with the same limits."""
    site = _site()
    rng = np.random.Generator(np.random.PCG64(seed))
    truth = _faults(site, rng, days, faults)
    plant = _Plant(site, truth, rng)
    read = {(frame.kind, name) for frame in plant.frames(START) for name in frame.values}
    wanted = [rule for rule in load_rules().rules if rule.severity in PAGED or rule.quiet]
    judged = {rule.name for rule in wanted if (rule.kind, rule.metric) in read}
    # a rule on what nobody reads here can do nothing but take time
    rules = Rules(tuple(rule for rule in wanted if rule.name in judged or (rule.parts and judged.issuperset(rule.parts))))
    state = State(site)
    ours, plain = _Ours(state, rules), _Plain(state, _plain(rules))
    for i in range(int(days * 86400 / STEP_S)):
        now = START + timedelta(seconds=i * STEP_S)
        frames = plant.frames(now)
        for frame in frames:
            state.absorb(frame, now)
        ours.look(now)
        plain.look(now)
    figures = {f"month_{name}": value for name, value in _scored(ours.pages, truth).items()}
    return figures | {"faults": float(len(truth))}, {f"month_{name}": v for name, v in _scored(plain.pages, truth).items()}


def _site() -> Site:
    rows = [{"id": "h1", "kind": "hall"}, {"id": "spine", "kind": "switch", "parent": "h1"}]
    links: list[dict[str, str]] = []
    rows += [{"id": f"src-{name}", "kind": "source"} for name in ("dcgm-A", "dcgm-B", "plant")]
    for row in "AB":
        rows += [{"id": row, "kind": "row", "parent": "h1"}, {"id": f"{row}-feed", "kind": "pdu", "parent": row}]
        rows += [{"id": f"{row}-cdu", "kind": "cdu", "parent": row, "rated_kgps": "20"}]
        links += [{"from": f"{row}-feed", "to": f"{row}-cdu", "relation": "feeds"}]
        for r in range(4):
            rack = f"{row}{r}"
            rows += [{"id": rack, "kind": "rack", "parent": row, "rated_w": "60000", "rated_kgps": "2"}]
            rows += [{"id": f"{rack}-leaf", "kind": "switch", "parent": rack}]
            links += [{"from": f"{row}-feed", "to": rack, "relation": "feeds"}]
            links += [{"from": f"{row}-cdu", "to": rack, "relation": "cools"}]
            for n in range(8):
                node = f"{rack}-n{n}"
                rows += [{"id": node, "kind": "node", "parent": rack}, {"id": f"{node}-p", "kind": "port", "parent": node}]
                rows += [{"id": f"{node}-g{g}", "kind": "gpu", "parent": node} for g in range(4)]
                links += [{"from": f"{rack}-leaf", "to": node, "relation": "connects"}]
    return build_site("month", "UTC", [Row("m", one) for one in rows], [Row("m", one) for one in links])


def _faults(site: Site, rng: np.random.Generator, days: int, count: int) -> list[Fault]:
    """``count`` faults of all kinds in turn, each on an asset of its own time."""
    of = {
        "pump": "cdu", "feed": "pdu", "gpu_lost": "gpu", "node": "node", "leak": "rack", "flap": "port", "plate": "gpu",
        "source": "source", "switch": "switch", "cable": "port",
    }  # fmt: skip
    slots = np.sort(rng.choice(int(days * 24 / 3) - 2, count, replace=False)) * 10800.0 + 3600.0
    made = []
    for i, start_s in enumerate(slots.tolist()):
        kind = KINDS[i % len(KINDS)]
        choice = [asset for asset in site.ids_of(of[kind]) if asset != "spine"]
        asset = choice[int(rng.integers(len(choice)))]
        at_s = START.timestamp() + start_s + float(rng.uniform(0, 3600))
        made.append(Fault(kind, asset, at_s, at_s + LASTS_S, frozenset(_touched(site, kind, asset))))
    return made


def _touched(site: Site, kind: str, asset: str) -> list[str]:
    """Every asset whose alerts speak of this fault."""
    if kind in ("pump", "feed"):
        row = asset[0]
        return [one for one in site.ids if one.startswith(row) or one == f"src-dcgm-{row}"]
    if kind == "source":
        row = asset[-1]
        return [asset, *(one for one in site.ids if asset.startswith("src-dcgm") and one.startswith(row))]
    if kind == "switch":
        return [one for one in site.ids if asset_path(site, asset)[-2] in asset_path(site, one)]
    top = asset.partition("-g")[0].partition("-p")[0]
    return [one for one in site.ids if one.startswith(top)]


class _Plant:
    """Readings of every minute."""

    def __init__(self, site: Site, truth: list[Fault], rng: np.random.Generator) -> None:
        self.site, self.truth, self.rng = site, truth, rng
        self.ids = {kind: site.ids_of(kind) for kind in ("gpu", "node", "rack", "cdu", "pdu", "port", "switch", "source")}
        self.row_of = {kind: np.array([_row_letter(one) for one in ids]) for kind, ids in self.ids.items()}
        self.downs = np.zeros(len(self.ids["port"]))
        self.errors = np.zeros(len(self.ids["port"]))
        n = len(self.ids["gpu"])
        self.offset = rng.normal(0.0, 1.5, n)
        self.spiky = rng.choice(n, 3, replace=False)  # sensors that jump now and then

    def frames(self, now: datetime) -> list[Frame]:
        """What is read at ``now``."""
        time_s, rng = now.timestamp(), self.rng
        n = {kind: len(ids) for kind, ids in self.ids.items()}
        day = np.sin(2 * np.pi * (time_s % 86400) / 86400 - np.pi / 2)
        temp = 72.0 + 5.0 * day + self.offset + rng.normal(0, 0.7, n["gpu"])
        temp[self.spiky] += np.where(rng.random(3) < 0.02, 14.0, 0.0)
        self.errors += rng.poisson(0.05, n["port"])
        power = np.clip(600.0 + 80 * day + rng.normal(0, 25, n["gpu"]), 0, None)
        port_up = np.where(rng.random(n["port"]) < 2e-5, 0.0, 1.0)  # a link that trains anew for a moment
        tables: dict[str, dict[str, Floats]] = {
            "gpu": {"temp_c": temp, "power_w": power, "xid_code": np.zeros(n["gpu"]), "util_frac": np.full(n["gpu"], 0.9)},
            "node": {"up_flag": np.ones(n["node"]), "cpu_util_frac": np.full(n["node"], 0.4)},
            "cdu": {
                "flow_kgps": 18.0 + rng.normal(0, 0.3, n["cdu"]),
                "pump_speed_frac": np.full(n["cdu"], 0.7),
                "supply_temp_c": 34.0 + day + rng.normal(0, 0.3, n["cdu"]),
            },
            "rack": {"leak_flag": np.zeros(n["rack"])},
            "pdu": {"breaker_open_flag": np.zeros(n["pdu"]), "power_w": np.full(n["pdu"], 1.4e5)},
            "port": {"up_flag": port_up, "link_down_count": self.downs, "error_count": self.errors},
            "switch": {"up_flag": np.ones(n["switch"])},
            "source": {"up_flag": np.ones(n["source"]), "poll_s": np.full(n["source"], 0.2)},
        }
        silent: set[str] = set()
        for fault in self.truth:
            if fault.start_s <= time_s < fault.until_s:
                silent |= self._strike(fault, time_s - fault.start_s, tables)
        if int(time_s // 86400) % 7 == 2 and 32400 <= time_s % 86400 < 36000:  # once a week at nine: rack A3 is serviced
            silent |= {one for one in self.site.ids if one.startswith("A3")}
        return [self._frame(kind, now, values, silent) for kind, values in tables.items()]

    def _strike(self, fault: Fault, at_s: float, tables: dict[str, dict[str, Floats]]) -> set[str]:
        """What a fault does to the readings ``at_s`` after its start; gives the assets that say nothing."""
        kind = self.site.kind(fault.asset)
        here = self.ids[kind].index(fault.asset)
        if fault.kind == "pump":
            cdu = tables["cdu"]
            cdu["flow_kgps"][here], cdu["pump_speed_frac"][here] = 2.0, 0.0
            cdu["supply_temp_c"][here] = min(34 + at_s / 40, 55.0)
            tables["gpu"]["temp_c"][self.row_of["gpu"] == fault.asset[0]] += min(at_s / 15, 20.0)
            return set()
        sets = {
            "feed": ("breaker_open_flag", 1.0), "gpu_lost": ("xid_code", 79.0), "node": ("up_flag", 0.0),
            "leak": ("leak_flag", 1.0), "source": ("up_flag", 0.0), "switch": ("up_flag", 0.0),
        }  # fmt: skip
        adds = {"cable": ("error_count", 3000.0), "plate": ("temp_c", 16.0)}
        adds |= {"flap": ("link_down_count", 1.0)} if int(at_s) % 300 < STEP_S else {}
        if fault.kind in sets:
            name, value = sets[fault.kind]
            tables[kind][name][here] = value
        elif fault.kind in adds:
            name, value = adds[fault.kind]
            tables[kind][name][here] += value
        if fault.kind == "gpu_lost":
            return {fault.asset}
        quiet = ("node", "gpu", "port") if fault.kind == "switch" else tuple(self.ids)
        if fault.kind not in ("feed", "node", "source", "switch"):
            return set()
        return {one for one in fault.touched if one != fault.asset and self.site.kind(one) in quiet and one[:3] != "src"}

    def _frame(self, kind: str, now: datetime, values: dict[str, Floats], silent: set[str]) -> Frame:
        ids = self.ids[kind]
        rows = np.array([i for i, one in enumerate(ids) if one not in silent] if silent else range(len(ids)), dtype=np.int32)
        return Frame(kind, now, rows, {name: column[rows].copy() for name, column in values.items()})


def _row_letter(asset: str) -> str:
    return asset[0] if asset[0] in "AB" else ""


Pages = list[tuple[float, frozenset[str]]]  # when, and the assets that the page speaks of


class _Ours:
    """icctwin: the shipped rules, folding, the desk, and a silence for the planned work."""

    def __init__(self, state: State, rules: Rules) -> None:
        self.site, self.rules = (site := state.site), rules
        self.state, self.table, self.desk = state, begin(rules, site, START), Desk()
        self.policy = Policy((Route("all", (), ("pager",), group_by=("alertname", "row"), repeat_s=1e9),))
        self.read_by = np.full(len(site.ids), -1, dtype=np.int32)
        for i, asset in enumerate(site.ids):
            if site.kind(asset) in ("gpu", "node", "port") and asset[0] in "AB":
                self.read_by[i] = site.position[f"src-dcgm-{asset[0]}"]
        self.pages: Pages = []

    def look(self, now: datetime) -> None:
        """A minute."""
        seen = fold(step(self.rules, self.site, self.state, self.table, now), Others(), self.read_by)
        self.table = seen.table
        groups, work = [group.told for group in self.desk.groups.values()], _work(now)
        signals = signals_of(seen, Others(), self.policy, groups, work)
        result = desk_step(self.policy, self.desk, signals, now.timestamp(), windows=work)
        self.desk = result.desk
        for page in result.pages:
            if page.event in (Event.TRIGGER, Event.UPDATE):
                self.pages.append((page.made_s, frozenset(signal.labels["asset"] for signal in page.signals)))


def _work(now: datetime) -> list[Silence]:
    """The planned work of the day, as a maintenance window with a quarter of an hour around it."""
    midnight = now.replace(hour=0, minute=0, second=0).timestamp()
    if int(midnight // 86400) % 7 != 2:
        return []
    start_s, end_s = midnight + 32400 - 60, midnight + 36000 + 900
    return [make_silence("work", ["rack=A3"], "plan", "service of rack A3", start_s, end_s, Quiet.MAINTENANCE)]


class _Plain:
    """Plain thresholds: no hold, no gap, no grouping, no cause, no plan: each alert that begins is a page."""

    def __init__(self, state: State, rules: Rules) -> None:
        self.site, self.rules = state.site, rules
        self.state, self.table = state, begin(rules, state.site, START)
        self.pages: Pages = []

    def look(self, now: datetime) -> None:
        """A minute."""
        self.table = step(self.rules, self.site, self.state, self.table, now)
        for alert in self.table.changes:
            if alert.phase is Phase.FIRING:
                self.pages.append((now.timestamp(), frozenset([alert.asset])))


def _plain(rules: Rules) -> Rules:
    def bare(rule: Rule) -> Rule:
        gap = 1e-9 if rule.rising else -1e-9
        clear = rule.limit - gap * max(1.0, abs(rule.limit)) if rule.limit == rule.limit else rule.clear
        return replace(rule, hold_s=0.0, keep_firing_s=0.0, clear=clear)

    return Rules(tuple(bare(rule) for rule in rules.rules if not rule.join and not rule.quiet))


def _scored(pages: Pages, truth: list[Fault]) -> dict[str, float]:
    """Pages against the truth: a page belongs to a fault that touches one of its assets while it lasts or soon after."""
    first: dict[int, float] = {}
    mine: dict[int, int] = defaultdict(int)
    false = 0
    found: Callable[[float, frozenset[str]], list[int]] = lambda at_s, assets: [  # noqa: E731
        i for i, fault in enumerate(truth) if fault.start_s <= at_s < fault.until_s + 1800.0 and assets & fault.touched
    ]
    for at_s, assets in pages:
        hits = found(at_s, assets)
        false += not hits
        for i in hits[:1]:
            mine[i] += 1
            first.setdefault(i, at_s - truth[i].start_s)
    waits = [wait_s for wait_s in first.values() if wait_s <= FOUND_WITHIN_S]
    return {
        "pages_per_fault_count": sum(mine.values()) / max(1, len(truth)),
        "missed_faults_count": float(len(truth) - len(waits)),
        "false_pages_count": float(false),
        "time_to_page_s": float(np.median(waits)) if waits else float("inf"),
        "pages_count": float(len(pages)),
    }
