"""A trial of a lever: hours in which it may act and hours in which it must not, drawn by lot before they come.

What a lever saves is else told against a model of the days before; drawn by lot, the hours without it are the counterfactual.
A day has blocks, as many with as without (as near as its number lets), in an order drawn from a seed. The whole draw is written
down before it begins, and nobody can change it after; who reads the record can draw it again.

The estimate is the difference of mean facility power between the two sorts of blocks, adjusted for IT power and wet bulb with
interactions, with a variance that may differ (Lin 2013, Annals of Applied Statistics 7; HC3: MacKinnon & White 1985). What a
lever did in the block before is still felt in the first minutes: ``WASH_S`` of each block do not count.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from energy.kpi import held
from energy.ledger import TOPIC as LEDGER
from energy.notes import every, plain
from twin.errors import SourceError
from twin.frame import Floats
from twin.ports import Records, Store
from twin.site import Bools

TOPIC, BOOKED = "trials", "trials-booked"  # as they were drawn; which are in the ledger
DAY_S, STEP_S = 86_400.0, 900.0
WASH_S = 1800.0  # water and racks need minutes to settle, and setpoints move by steps
MAX_DAYS, MAX_TRIALS, MAX_BOOKED = 92, 1000, 10_000
LEAST_BLOCKS = 12  # of each sort, that an estimate rests on
LEAST_READ_FRAC = 0.75  # of a block's steps
CONFIDENCE_FRAC = 0.8


@dataclass(frozen=True, slots=True)
class Trial:
    """``lever``: whose; ``seed``: of the draw; from ``begin_s`` (s since 1970) for ``days`` days in blocks of ``block_s``;
    ``who`` allowed it."""

    lever: str
    seed: int
    begin_s: float
    days: int
    block_s: float
    who: str

    def __post_init__(self) -> None:
        blocks = DAY_S / self.block_s if self.block_s > 0 else 0.0
        if not 1 <= self.days <= MAX_DAYS:
            raise ValueError(f"a trial of {self.days} days; 1 to {MAX_DAYS} are possible")
        if blocks != int(blocks) or blocks < 2 or self.block_s < 2 * WASH_S:
            raise ValueError(f"blocks of {self.block_s:g} s: a day must hold two or more whole ones, each of an hour at least")

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.begin_s + self.days * DAY_S

    @property
    def key(self) -> str:
        """Names it."""
        return f"trial:{self.lever}:{self.begin_s:.0f}"

    def acts(self) -> Bools:
        """bool[b]: the blocks in which the lever may act."""
        per_day = round(DAY_S / self.block_s)
        rng = np.random.Generator(np.random.PCG64(self.seed))
        drawn = []
        for day in range(self.days):
            # with an odd number of blocks the odd one goes to either sort by turns
            with_it = (per_day + day % 2) // 2
            drawn.append(rng.permutation(np.arange(per_day) < with_it))
        return np.concatenate(drawn)

    def block(self, now_s: float) -> int:
        """The block that a time lies in; -1 outside."""
        inside = self.begin_s <= now_s < self.end_s
        return int((now_s - self.begin_s) // self.block_s) if inside else -1


@dataclass(frozen=True, slots=True)
class Estimate:
    """What acting changes of mean facility power [W] (negative saves), with its 80 % interval; ``acting`` and ``resting``:
    blocks that count; ``energy_kwh``: that the acting blocks changed."""

    change_w: float
    low_w: float
    high_w: float
    acting: int
    resting: int
    energy_kwh: float


def register(records: Records, trial: Trial, now: datetime) -> str:
    """Write the draw down before it begins; gives its digest. ``SourceError`` where it has begun already, or another trial of
    the lever is not over by then."""
    if not now.timestamp() < trial.begin_s:
        raise SourceError(
            f"the trial of {trial.lever} would have begun already; a draw counts only when it is written down before"
        )
    for other in registered(records):
        if other.lever == trial.lever and other.begin_s < trial.end_s and trial.begin_s < other.end_s:
            raise SourceError(f"a trial of {trial.lever} runs until {_stamp(other.end_s)}; begin after it")
    drawn = "".join("1" if acts else "0" for acts in trial.acts().tolist())
    said = {**asdict(trial), "acts": drawn}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    records.append(TOPIC, now, {**said, "digest": digest})
    return digest


def registered(records: Records) -> Sequence[Trial]:
    """Trials as they were written down, the oldest first. ``SourceError`` where a record does not agree with itself: what was
    drawn then counts."""
    found = []
    for number, _, record in records.read(TOPIC, limit=MAX_TRIALS, newest=True):
        trial = Trial(**{name: record[name] for name in Trial.__dataclass_fields__})
        drawn = "".join("1" if acts else "0" for acts in trial.acts().tolist())
        if drawn != record["acts"]:
            raise SourceError(f"record {number} of {TOPIC} is no draw of its own seed; somebody changed it")
        found.append(trial)
    return found


def rests(records: Records, lever: str, now: datetime) -> Trial | None:
    """The trial by which ``lever`` must not act now; None where it may."""
    for trial in registered(records):
        block = trial.block(now.timestamp()) if trial.lever == lever else -1
        if block >= 0 and not trial.acts()[block]:
            return trial
    return None


def book(records: Records, store: Store, now: datetime) -> Sequence[Mapping[str, Any]]:
    """Enter what trials that are over have shown into the ledger, each once."""
    have = {record["plan"] for _, _, record in records.read(BOOKED, limit=MAX_BOOKED, newest=True)}
    made = []
    for trial in registered(records):
        if trial.key in have or trial.end_s + STEP_S > now.timestamp():
            continue
        if _in_ledger(records, trial):  # and was not marked: we ended between the two, or an older release wrote it
            records.append(BOOKED, now, {"plan": trial.key})
            continue
        found = judged(trial, store)
        head = {"entry": "trial", "plan": trial.key, "lever": trial.lever, "seed": trial.seed, "days": trial.days}
        if found is None:
            entry = {**head, "note": "not enough data to judge"}
        else:
            note = "saved" if found.high_w < 0 else "lost" if found.low_w > 0 else "cannot be told from noise"
            entry = {**head, **asdict(found), "note": note}
        records.append(LEDGER, now, plain(entry))
        records.append(BOOKED, now, {"plan": trial.key})
        made.append(entry)
    return made


def _in_ledger(records: Records, trial: Trial) -> bool:
    since = datetime.fromtimestamp(trial.end_s, UTC)
    return any((record["entry"], record["plan"]) == ("trial", trial.key) for _, record in every(records, LEDGER, since))


def judged(trial: Trial, store: Store) -> Estimate | None:
    """What a trial shows; None with under ``LEAST_BLOCKS`` blocks of either sort."""
    start, end = datetime.fromtimestamp(trial.begin_s, UTC), datetime.fromtimestamp(trial.end_s, UTC)
    series = store.series("site", ("it_power_w", "facility_power_w"), start, end, STEP_S)
    wet_c = held(store, "weather", "wet_bulb_c", series.time_s, STEP_S, start, end)
    table = np.column_stack([series.values["facility_power_w"][:, 0], series.values["it_power_w"][:, 0], wet_c])
    return estimate(trial, series.time_s, table)


def estimate(trial: Trial, time_s: Floats, seen: Floats) -> Estimate | None:
    """The same from float64[t, 3] of facility power [W], IT power [W] and wet bulb [°C] in steps that begin at ``time_s``;
    without any wet bulb it rests on IT power alone."""
    since_s = time_s - trial.begin_s
    block = np.floor(since_s / trial.block_s).astype(np.int64)
    acts = trial.acts()
    counts = (since_s >= 0) & (block < len(acts)) & (since_s % trial.block_s >= WASH_S)
    used = seen if np.isfinite(seen[:, 2]).any() else seen[:, :2]
    good = counts & np.isfinite(used).all(axis=1)
    steps = np.bincount(block[good], minlength=len(acts))
    whole = steps >= LEAST_READ_FRAC * (trial.block_s - WASH_S) / STEP_S
    means = np.column_stack([
        np.bincount(block[good], used[good, k], minlength=len(acts)) / np.maximum(steps, 1) for k in range(used.shape[1])
    ])[whole]  # fmt: skip
    treated = acts[whole].astype(np.float64)
    acting, resting = int(treated.sum()), int((1 - treated).sum())
    if min(acting, resting) < LEAST_BLOCKS:
        return None
    change_w, half_w = _adjusted(means[:, 0], treated, means[:, 1:])
    kwh = change_w * int(acts.sum()) * trial.block_s / 3.6e6
    return Estimate(change_w, change_w - half_w, change_w + half_w, acting, resting, kwh)


def _adjusted(power_w: Floats, treated: Floats, others: Floats) -> tuple[float, float]:
    """The coefficient of being treated, and the half-width of its interval."""
    import statsmodels.api as sm

    centred = others - others.mean(axis=0)
    spread = centred.std(axis=0)
    unit = centred[:, spread > 1e-9] / spread[spread > 1e-9]  # what does not vary explains nothing
    design = np.column_stack([np.ones(len(treated)), treated, unit, treated[:, None] * unit])
    fitted = sm.OLS(power_w, design).fit(cov_type="HC3", use_t=True)
    low, high = fitted.conf_int(1 - CONFIDENCE_FRAC)[1]
    return float(fitted.params[1]), float(high - low) / 2


def _stamp(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="minutes")
