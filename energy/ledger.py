"""The ledger: what each plan was expected to do beside what then happened, losses with the wins.

The counterfactual is stated and simple: facility power as a linear function of IT power and wet bulb, fitted by least
squares on the days before in which nothing of ours was in force (a whole-facility baseline in the manner of ASHRAE
Guideline 14 and IPMVP option C). What a plan changes inside IT equipment (leakage) is taken off the IT power first: otherwise
the baseline would count it as load and praise every warmer setpoint.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from energy.act import TOPIC as AUDIT
from energy.act import Stage
from energy.kpi import held
from energy.notes import every
from twin.frame import Floats
from twin.ports import Records, Store

TOPIC = "ledger"  # of plans and trials; what moving did to each job is `ledger_book.TOPIC`
Z80 = 1.2816  # half-width of a normal's 80 % interval in standard deviations
STEP_S = 900.0
MIN_SAMPLES = 96  # a day of quarters: with less there is no baseline
MIN_WINDOW_S = 900.0  # shorter windows are not judged: water and racks need minutes to settle
BASELINE_DAYS = 7
SHIFT_ERROR_FRAC = 0.5  # 80 % half-width of the expected leakage, over itself

Interval = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """Facility power [W] = ``coefficients`` · (1, IT power [W], wet bulb [°C]).

    ``covariance``: float64[3, 3] of the coefficients; ``residual_w``: standard deviation of what is left;
    ``correlation``: of a residual with the one before it; ``samples``: how many it was fitted on.
    """

    coefficients: Floats
    covariance: Floats
    residual_w: float
    correlation: float
    samples: int

    def expected(self, it_power_w: Floats, wet_bulb_c: Floats) -> tuple[float, float]:
        """Mean facility power over the given steps [W] and the standard error of that mean [W]."""
        design = np.column_stack([np.ones(len(it_power_w)), it_power_w, wet_bulb_c])
        mean = design.mean(axis=0)
        # residuals follow one another: n of them count for fewer (Reddy & Claridge 2000, effective sample size)
        counts = max(len(it_power_w) * (1 - self.correlation) / (1 + self.correlation), 1.0)
        variance = float(mean @ self.covariance @ mean) + self.residual_w**2 / counts
        return float(mean @ self.coefficients), math.sqrt(variance)


def fit_baseline(it_power_w: Floats, wet_bulb_c: Floats, facility_power_w: Floats) -> Baseline | None:
    """Least squares on float64[n] each, rows with a NaN left out; None with under ``MIN_SAMPLES`` rows.

    Columns that do not vary get no coefficient of their own (minimum-norm solution): nothing can be learned of them."""
    table = np.column_stack([it_power_w, wet_bulb_c, facility_power_w])
    table = table[~np.isnan(table).any(axis=1)]
    if len(table) < MIN_SAMPLES:
        return None
    centre, scale = table.mean(axis=0), table.std(axis=0)
    scale = np.where(scale > 1e-9 * np.maximum(np.abs(centre), 1.0), scale, 1.0)
    unit = np.column_stack([np.ones(len(table)), (table[:, :2] - centre[:2]) / scale[:2]])
    solved, _, rank, _ = np.linalg.lstsq(unit, table[:, 2], rcond=1e-9)
    rest = table[:, 2] - unit @ solved
    variance = float(rest @ rest) / max(len(table) - int(rank), 1)
    correlation = float(np.clip(rest[1:] @ rest[:-1] / max(float(rest @ rest), 1e-12), 0.0, 0.98))
    inflated = variance * (1 + correlation) / (1 - correlation)
    # back from centred, scaled columns to (1, W, °C)
    back = np.array([[1.0, -centre[0] / scale[0], -centre[1] / scale[1]], [0, 1 / scale[0], 0], [0, 0, 1 / scale[1]]])
    covariance = back @ (inflated * np.linalg.pinv(unit.T @ unit, rcond=1e-9)) @ back.T
    return Baseline(back @ solved, covariance, math.sqrt(variance), correlation, len(table))


@dataclass(frozen=True, slots=True)
class Measured:
    """What a window changed against the baseline: mean facility power [W] with its 80 % interval (negative saves),
    energy over the steps that were seen [kWh], and the share of the window that was seen."""

    change_w: float
    low_w: float
    high_w: float
    change_kwh: float
    low_kwh: float
    high_kwh: float
    coverage_frac: float
    samples: int


def measure(store: Store, window: Interval, others: Sequence[Interval], it_shift_w: float = 0.0) -> Measured | None:
    """The effect of what was in force over ``window``. ``others``: intervals in which anything was in force, kept out of
    the baseline; ``it_shift_w``: expected change of IT power by the plan itself. None where the days before or the window
    have too little data to say anything."""
    start, end = window
    time_s, it_w, wet_c, facility_w = _table(store, start - timedelta(days=BASELINE_DAYS), start)
    free = np.ones(len(time_s), dtype=np.bool_)
    for begun, over in others:
        free &= (time_s + STEP_S <= begun.timestamp()) | (time_s >= over.timestamp())
    baseline = fit_baseline(it_w[free], wet_c[free], facility_w[free])
    time_s, it_w, wet_c, facility_w = _table(store, start, end)
    whole = (time_s >= start.timestamp()) & (time_s + STEP_S <= end.timestamp())
    seen = whole & ~np.isnan(it_w) & ~np.isnan(wet_c) & ~np.isnan(facility_w)
    if baseline is None or not seen.any():
        return None
    expected_w, error_w = baseline.expected(it_w[seen] - it_shift_w, wet_c[seen])
    shift_w = SHIFT_ERROR_FRAC * abs(it_shift_w * float(baseline.coefficients[1]))
    half_w = math.hypot(Z80 * error_w, shift_w)
    change_w = float(facility_w[seen].mean()) - expected_w
    hours = float(seen.sum()) * STEP_S / 3600
    low_w, high_w = change_w - half_w, change_w + half_w
    change_kwh, low_kwh, high_kwh = (w * hours / 1e3 for w in (change_w, low_w, high_w))
    share = float(seen.sum()) * STEP_S / (end - start).total_seconds()
    return Measured(change_w, low_w, high_w, change_kwh, low_kwh, high_kwh, share, int(seen.sum()))


def _table(store: Store, start: datetime, end: datetime) -> tuple[Floats, Floats, Floats, Floats]:
    """Step starts [s], IT power [W], wet bulb [°C] and facility power [W] over ``[start, end)``."""
    series = store.series("site", ("it_power_w", "facility_power_w"), start, end, STEP_S)
    wet_c = held(store, "weather", "wet_bulb_c", series.time_s, STEP_S, start, end)
    return series.time_s, series.values["it_power_w"][:, 0], wet_c, series.values["facility_power_w"][:, 0]


def book(records: Records, store: Store, now: datetime) -> Sequence[Mapping[str, Any]]:
    """Bring the ledger up to the audit: an entry with what was expected for each plan that was decided on, and a
    ``measured`` one when its window is over. Gives the entries written; calling it again writes nothing twice."""
    since = now - timedelta(days=BASELINE_DAYS)
    have = {(record["entry"], record["plan"]) for _, record in every(records, TOPIC, since)}
    plans = _plans(every(records, AUDIT, since))
    entries: list[Mapping[str, Any]] = []
    for key, plan in plans.items():
        # a plan first refused or advised and later carried out gets a further entry
        kind = "expected" if plan.begun is not None else "refused" if plan.refused else "advised"
        if (kind, key) not in have:
            entries.append(_expected(kind, key, plan))
        window = _window(plan, plans.values(), now)
        if window is not None and ("measured", key) not in have:
            entries.append(_measured_entry(store, key, plan, window, plans.values(), now))
    records.append_all(TOPIC, [(now, entry) for entry in entries])
    return entries


@dataclass
class _Plan:
    """What the audit says of one plan; ``ended`` once nothing of it is in force any more."""

    lever: str
    decided: datetime
    effect: Mapping[str, float]
    refused: bool = True  # and nothing else so far
    begun: datetime | None = None
    ended: datetime | None = None
    open: int = 0
    # a plan that takes over from another is judged with what it took over: total change over its own change
    total_ratio: float = 1.0


def _plans(audit: Iterable[tuple[datetime, Mapping[str, Any]]]) -> dict[str, _Plan]:
    plans: dict[str, _Plan] = {}
    for time, record in audit:
        if "targets" in record or record.get("orders"):
            continue  # orders to schedulers have a ledger of their own
        stage, key = Stage(record["stage"]), record["plan"]
        if record.get("effect_w") is not None and key not in plans:  # a refused plan may promise no number
            effect = {name: record[name] for name in ("effect_w", "effect_low_w", "effect_high_w", "effect_it_w")}
            plans[key] = _Plan(record["lever"], time, effect)
        plan = plans.get(key)
        if plan is None:
            continue  # begun before the days that are read: its own entry was written then
        plan.refused &= stage is Stage.REFUSED
        if stage is Stage.BEGUN:
            plan.begun, plan.open, plan.ended = plan.begun or time, plan.open + 1, None
            own = record["ordered"] - record["from"]
            plan.total_ratio = (record["ordered"] - record["before"]) / own if own else 1.0
        elif stage in (Stage.REVERTED, Stage.LEFT):
            plan.open -= 1
            plan.ended = time if plan.open == 0 else None
    return plans


def _window(plan: _Plan, plans: Any, now: datetime) -> Interval | None:
    """When the plan's effect is judged: from its beginning to its end or to the next plan's beginning, so that no hour
    counts twice; None while that is not over, or where it never began."""
    if plan.begun is None:
        return None
    later = [other.begun for other in plans if other.begun is not None and other.begun > plan.begun]
    ends = [time for time in (plan.ended, min(later, default=None)) if time is not None]
    return (plan.begun, min(ends)) if ends and min(ends) <= now else None


def _expected(kind: str, key: str, plan: _Plan) -> dict[str, Any]:
    note = {"expected": "carried out", "advised": "not carried out", "refused": "not carried out: the guard refused"}[kind]
    return {"entry": kind, "plan": key, "lever": plan.lever, "decided": plan.decided.isoformat(), "note": note, **plan.effect}


def _measured_entry(store: Store, key: str, plan: _Plan, window: Interval, plans: Any, now: datetime) -> dict[str, Any]:
    start, end = window
    others = [(other.begun, other.ended or now) for other in plans if other.begun is not None]
    # what is measured is all that is in force, so all of it is expected
    in_force = [p for p in plans if p.begun is not None and p.begun <= start and (p.ended is None or p.ended > start)]
    expected_w, it_w = (sum(p.effect[name] * p.total_ratio for p in in_force) for name in ("effect_w", "effect_it_w"))
    found = None
    if (end - start).total_seconds() >= MIN_WINDOW_S:
        found = measure(store, window, others, it_w)
    entry: dict[str, Any] = {
        "entry": "measured",
        "plan": key,
        "lever": plan.lever,
        "start": start.isoformat(),
        "end": end.isoformat(),
        "counterfactual": f"facility power on IT power and wet bulb, {BASELINE_DAYS} days before",
    }
    if found is None:
        return {**entry, "note": "not enough data to judge"}
    return {
        **entry,
        "expected_w": expected_w,
        "expected_kwh": expected_w * found.samples * STEP_S / 3.6e6,
        "change_w": found.change_w,
        "low_w": found.low_w,
        "high_w": found.high_w,
        "change_kwh": found.change_kwh,
        "low_kwh": found.low_kwh,
        "high_kwh": found.high_kwh,
        "coverage_frac": found.coverage_frac,
        "note": "saved" if found.high_w < 0 else "lost" if found.low_w > 0 else "cannot be told from noise",
    }


@dataclass(frozen=True, slots=True)
class Summary:
    """The ledger of an interval: plans refused, only advised, carried out (of these ``waiting``: not judged by its end); how
    many of the judged, which may have begun before it, saved, lost or cannot be told (``not_judged``: too little was read);
    energy that the judged were expected to change and that they did change [kWh, negative saved], the latter with its 80 %
    interval: all of them counted, whichever way they went."""

    refused: int
    advised: int
    carried_out: int
    waiting: int
    saved: int
    lost: int
    undecided: int
    not_judged: int
    expected_kwh: float
    change_kwh: float
    low_kwh: float
    high_kwh: float


def summary(records: Records, start: datetime, end: datetime) -> Summary:
    """The ledger over ``[start, end)``. Errors of different windows are taken as independent (added in quadrature)."""
    # an entry of a sort and a plan there is once; a ledger that an older release wrote may hold it more often
    found = {(record["entry"], record["plan"]): record for time, record in every(records, TOPIC, start) if time < end}
    entries = list(found.values())
    carried = {record["plan"] for record in entries if record["entry"] == "expected"}
    judged = [record for record in entries if record["entry"] == "measured" and "change_kwh" in record]
    change_kwh = sum(record["change_kwh"] for record in judged)
    below = math.sqrt(sum((record["change_kwh"] - record["low_kwh"]) ** 2 for record in judged))
    above = math.sqrt(sum((record["high_kwh"] - record["change_kwh"]) ** 2 for record in judged))
    saved, lost = (sum(record["note"] == note for record in judged) for note in ("saved", "lost"))
    left = {kind: {record["plan"] for record in entries if record["entry"] == kind} for kind in ("refused", "advised")}
    return Summary(
        refused=len(left["refused"] - left["advised"] - carried),
        advised=len(left["advised"] - carried),
        carried_out=len(carried),
        waiting=len(carried - {record["plan"] for record in entries if record["entry"] == "measured"}),
        saved=saved,
        lost=lost,
        undecided=len(judged) - saved - lost,
        not_judged=sum(record["entry"] == "measured" for record in entries) - len(judged),
        expected_kwh=sum(record["expected_kwh"] for record in judged),
        change_kwh=change_kwh,
        low_kwh=change_kwh - below,
        high_kwh=change_kwh + above,
    )
