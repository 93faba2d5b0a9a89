"""Which disk will fail within a month, from SMART attributes: a boosted model whose score can only rise as counters rise.

Rows are intervals of a drive's life in which no attribute changed (``read_drives``). A drive is judged whenever an attribute
changed, often soon after and rarely later. Features: each count, and what it grew by in days, a week, a month and a quarter,
with the number of changes. The model is monotone in all of them, so that it cannot learn a drive's model from a pattern of
counts; drive models of which hardly any healthy drive is on record are left out, as their very attributes would give the answer
away. Looks that show no count above 0 teach nothing (over half of the failing drives never show one, and would teach that a
healthy look is an ill one) and score lowest. Trained before a date, judged after.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from analytics.detect import disk_health, survival
from twin.errors import ConfigError, Problem
from twin.frame import Floats
from twin.site import Bools

COUNTS = ("smart_5", "smart_10", "smart_187", "smart_188", "smart_189", "smart_196", "smart_197", "smart_198")
RULE = ("smart_5", "smart_187", "smart_188", "smart_197", "smart_198")  # Backblaze's five attributes that speak of failure
HORIZON_DAYS = 30.0
LOOKS_DAYS = np.array([0.0, 1.0, 3.0, 7.0, 14.0, 21.0, 28.0, 35.0, *range(63, 2000, 28)])  # after a change: growth ages out
LOOK_BACK_DAYS = (2.0, 8.0, 31.0, 91.0)
MOST_FAILED = 0.5  # of the drives of a model, from which on its healthy ones are taken to be missing from the record
MOST_HEALTHY_ROWS = 60_000  # looks at healthy drives learnt from
HEALTHY_WEIGHT = 3.0  # of all healthy drives, over that of all failing ones
SILENT = -50.0  # score of a look that shows no count above 0, in log odds
RULE_WEIGHT = 0.5  # in log odds, of each of the five that is above 0: chosen on 2014-10 to 2015-09, trained before that
RATES = (0.001, 0.01, 0.05)
_EPOCH = date(2013, 1, 1).toordinal()
Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Drives:
    """Looks at drives, as columns over n looks. ``drive``: int64[n]; ``day``: float64[n] since 2013; ``features``: float32[n,
    k]; ``rule``: float64[n], how many of the five attributes are above 0; ``age_days``: float64[n], powered on so far;
    ``healthy_share``: of the healthy drives that are in it; ``left_days``: float64[n] to the failure, inf where there is none.
    Over drives: ``failed`` bool, ``end`` (last day), ``model`` int64 into ``models``; ``whole``: bool over models, its healthy
    drives are on record too."""

    drive: Positions
    day: Floats
    features: NDArray[np.float32]
    rule: Floats
    age_days: Floats
    healthy_share: float
    left_days: Floats
    failed: Bools
    end: Floats
    model: Positions
    models: tuple[str, ...]
    whole: Bools


@dataclass(frozen=True, slots=True)
class Caught:
    """At one false-alarm rate: share of failing drives caught within the horizon, the share of healthy drives ever alarmed that
    was reached, and the median lead of those caught [days]."""

    found_frac: float
    false_frac: float
    lead_days: float


def read_drives(path: Path, rng: np.random.Generator, healthy_share: float = 1.0) -> Drives:
    """Looks at all failing drives and a share of the healthy ones. ``ConfigError`` where the file is not what it should be."""
    names = ["serial_number", "model", "min_date", "min_hours", "tstart", "tstop", "fails", *COUNTS]
    try:
        table = pq.read_table(path, columns=names).to_pandas()
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError([Problem(str(path), f"is not the record of drives it should be ({error})")]) from None
    failed_serials = set(table.loc[table.fails > 0, "serial_number"])
    serials = table.serial_number.unique()
    by_drive = table.groupby("serial_number").agg(model=("model", "first"), failed=("fails", "max")).groupby("model").failed
    share = by_drive.mean()
    kept = {s for s, u in zip(serials, rng.random(len(serials)), strict=True) if u < healthy_share} | failed_serials
    table = table[table.serial_number.isin(kept)].sort_values(["serial_number", "tstart"], kind="stable")
    serial, drive = np.unique(table.serial_number.to_numpy(dtype=str), return_inverse=True)
    hours = table.tstart.to_numpy(np.float64)
    first = np.array([date.fromisoformat(d).toordinal() - _EPOCH for d in table.min_date], dtype=np.float64)
    start, stop = (
        first + (table[c].to_numpy(np.float64) - table.min_hours.to_numpy(np.float64)) / 24 for c in ("tstart", "tstop")
    )
    row, day = _looks(start, stop)
    features, rule = _features(table[list(COUNTS)].to_numpy(np.float64), drive, start, row, day)
    end, failed = np.zeros(len(serial)), np.zeros(len(serial))
    np.maximum.at(end, drive, stop)
    np.maximum.at(failed, drive, table.fails.to_numpy(np.float64))
    models, code = np.unique(table.model.to_numpy(dtype=str), return_inverse=True)
    model = np.zeros(len(serial), dtype=np.int64)
    model[drive] = code
    left = np.where(failed[drive[row]] > 0, end[drive[row]] - day, np.inf)
    return Drives(
        drive[row],
        day,
        features,
        rule,
        hours[row] / 24 + day - start[row],
        healthy_share,
        left,
        failed > 0,
        end,
        model,
        tuple(models.tolist()),
        share[models].to_numpy() <= MOST_FAILED,
    )


def _looks(start: Floats, stop: Floats) -> tuple[Positions, Floats]:
    """(interval, day) of each look: ``LOOKS_DAYS`` after the start of every interval."""
    looks = np.maximum(1, np.searchsorted(LOOKS_DAYS, stop - start))
    row = np.repeat(np.arange(len(start)), looks)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(looks) - looks, looks)
    return row, start[row] + LOOKS_DAYS[nth]


def _features(
    counts: Floats, drive: Positions, start: Floats, row: Positions, day: Floats
) -> tuple[NDArray[np.float32], Floats]:
    """What was known at each look: counts, what they grew by, how often they changed; and the rule's number."""
    key = drive * 1e5 + start
    first = np.searchsorted(drive, drive[row])
    now, width = counts[row], len(COUNTS)
    features = np.empty((len(row), width + len(LOOK_BACK_DAYS) * (width + 1)), dtype=np.float32)
    features[:, :width] = np.log1p(np.maximum(now, 0))
    for i, back in enumerate(LOOK_BACK_DAYS):
        then = np.maximum(np.searchsorted(key, drive[row] * 1e5 + (day - back), side="right") - 1, first)
        at = _grown(i)
        features[:, at] = np.log1p(np.maximum(now - counts[then], 0))
        features[:, at.stop] = row - then
    five = np.nan_to_num(now[:, [COUNTS.index(name) for name in RULE]])
    rule = (five > 0).sum(axis=1) + 0.1 * np.log1p(five.sum(axis=1)) / 12
    return features, rule


def _grown(back: int) -> slice:
    """Columns of what each count grew by within ``LOOK_BACK_DAYS[back]``; the one after them is how often any changed."""
    start = len(COUNTS) + back * (len(COUNTS) + 1)
    return slice(start, start + len(COUNTS))


def _shows(drives: Drives) -> Bools:
    """bool[n looks]: some count is above 0."""
    return np.asarray((np.nan_to_num(drives.features[:, : len(COUNTS)]) > 0).any(axis=1))


def _each_drive_once(drive: Positions) -> Floats:
    """float64[n looks]: weights with which every drive counts alike."""
    return np.asarray(1 / np.bincount(drive)[drive])


def train(
    drives: Drives, before_day: float, models: Bools, rng: np.random.Generator, learnt: Bools | None = None
) -> HistGradientBoostingClassifier:
    """Learn from drives of ``models`` (bool over models; ``learnt``: bool over drives, None: all) what was known before
    ``before_day``: no look from the last month, whose outcome was not known then."""
    known = (drives.day < before_day - HORIZON_DAYS) & models[drives.model[drives.drive]] & _shows(drives)
    known &= True if learnt is None else learnt[drives.drive]
    failing = known & (drives.left_days <= HORIZON_DAYS) & (drives.end[drives.drive] < before_day)
    healthy = np.flatnonzero(known & ~(drives.failed[drives.drive] & (drives.left_days <= 2 * HORIZON_DAYS)))
    healthy = rng.choice(healthy, min(len(healthy), MOST_HEALTHY_ROWS), replace=False)
    rows = np.concatenate([np.flatnonzero(failing), healthy])
    ill, well = _each_drive_once(drives.drive[failing]), _each_drive_once(drives.drive[healthy])
    weight = np.concatenate([ill, well * HEALTHY_WEIGHT * ill.sum() / well.sum()])
    model = HistGradientBoostingClassifier(
        max_iter=120,
        learning_rate=0.08,
        max_leaf_nodes=8,
        min_samples_leaf=100,
        l2_regularization=10.0,
        monotonic_cst=[1] * drives.features.shape[1],
        random_state=0,
    )
    return model.fit(drives.features[rows], np.arange(len(rows)) < np.count_nonzero(failing), sample_weight=weight)


def score(model: HistGradientBoostingClassifier, drives: Drives) -> Floats:
    """float64[n looks]: the trees' log odds and the rule together: trees alone say less than the rule where many alarms are
    allowed."""
    said, shows = np.full(len(drives.day), SILENT), _shows(drives)
    said[shows] = model.decision_function(drives.features[shows]) + RULE_WEIGHT * drives.rule[shows]
    return said


def by_weights(drives: Drives) -> Floats:
    """float64[n looks]: what the live detector of disks makes of them, in log odds."""
    weights = np.array(list(disk_health.COUNTS.values()), dtype=np.float64)
    now = np.nan_to_num(drives.features[:, : len(COUNTS)])
    month = np.nan_to_num(drives.features[:, _grown(LOOK_BACK_DAYS.index(31.0))])
    return np.asarray((now > 0) @ weights[:, 0] + now @ weights[:, 1] + month @ weights[:, 2])


def shown(drives: Drives, start_day: float, end_day: float, models: Bools) -> dict[str, float]:
    """Shares of the drives that fail in ``[start_day, end_day)`` with any count above 0 within the horizon, and of the healthy
    ones with any in that time: what no rule on counts can pass."""
    n = len(drives.failed)
    any_ = _shows(drives)
    judged = (drives.day >= start_day) & (drives.day < end_day) & models[drives.model[drives.drive]]
    dying = drives.failed & (drives.end >= start_day) & (drives.end < end_day) & models[drives.model]
    said, healthy = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    said[drives.drive[judged & any_ & (drives.left_days <= HORIZON_DAYS)]] = True
    good = judged & ~drives.failed[drives.drive]
    healthy[drives.drive[good]] = True
    ever = np.zeros(n, dtype=np.bool_)
    ever[drives.drive[good & any_]] = True
    return {"shown_frac_disks": float(said[dying].mean()), "shown_healthy_frac_disks": float(ever[healthy].mean())}


def outlived(drives: Drives, start_day: float, end_day: float, models: Bools) -> dict[str, float]:
    """How well a survival baseline by age and model, learnt from what was before ``start_day``, tells which drives fail in
    ``[start_day, end_day)``: area under the ROC curve (0.5: an age and a model say nothing), failures asked for over seen."""
    n = len(drives.failed)
    first, born = np.full(n, np.inf), np.full(n, np.inf)
    np.minimum.at(first, drives.drive, drives.day)
    np.minimum.at(born, drives.drive, drives.day - drives.age_days)
    names, whole = np.asarray(drives.models)[drives.model], models[drives.model]
    weight = np.where(drives.failed, 1, round(1 / drives.healthy_share))
    rows = np.repeat(np.flatnonzero(whole & (first < start_day)), weight[whole & (first < start_day)])
    end = np.minimum(drives.end, start_day)
    lost = drives.failed & (drives.end < start_day)
    entry_s, exit_s = (day_s * 86400.0 for day_s in (first - born, end - born))
    known = survival.fit(entry_s[rows], exit_s[rows], lost[rows], names[rows].tolist())
    if known is None:
        return {}
    at_risk = whole & (first < end_day) & (drives.end >= start_day)
    begin = np.maximum(first, start_day)[at_risk]
    watched_s = (np.minimum(drives.end[at_risk], end_day) - begin) * 86400.0
    asked = known.chance((begin - born[at_risk]) * 86400.0, names[at_risk].tolist(), 86400.0) * watched_s / 86400.0
    dying = (drives.failed & (drives.end < end_day))[at_risk]
    yearly = asked / np.maximum(watched_s, 86400.0)
    area = roc_auc_score(dying, yearly, sample_weight=weight[at_risk])
    return {
        "auc_survival_disks": float(area),
        "asked_over_seen_survival_disks": float((asked * weight[at_risk]).sum() / dying.sum()),
    }


def limit_for(drives: Drives, score: Floats, start_day: float, end_day: float, drawn: Bools, rate: float) -> float:
    """The limit that lets ``rate`` of the healthy drives in ``drawn`` (bool over drives) ever alarm in that time."""
    healthy = _highest(drives, score, (drives.day >= start_day) & (drives.day < end_day) & drawn[drives.drive])
    healthy = np.sort(healthy[np.isfinite(healthy)])
    return float(healthy[min(int(np.ceil((1 - rate) * len(healthy))), len(healthy) - 1)])


def _highest(drives: Drives, score: Floats, looks: Bools) -> Floats:
    """float64[drives]: the highest score of each healthy drive in ``looks``, -inf where there is none."""
    highest = np.full(len(drives.failed), -np.inf)
    rows = looks & ~drives.failed[drives.drive]
    np.maximum.at(highest, drives.drive[rows], score[rows])
    return highest


def caught(drives: Drives, score: Floats, start_day: float, end_day: float, models: Bools, limit: float) -> tuple[Caught, int]:
    """How many of the drives that fail in ``[start_day, end_day)`` are caught by ``limit``; and how many fail."""
    judged = (drives.day >= start_day) & (drives.day < end_day) & models[drives.model[drives.drive]]
    healthy = _highest(drives, score, judged)
    healthy = healthy[np.isfinite(healthy)]
    dying = drives.failed & (drives.end >= start_day) & (drives.end < end_day) & models[drives.model]
    lead = np.full(len(drives.failed), -1.0)
    alarmed = judged & (drives.left_days <= HORIZON_DAYS) & (score > limit)
    np.maximum.at(lead, drives.drive[alarmed], drives.left_days[alarmed])
    hit = dying & (lead >= 0)
    median = float(np.median(lead[hit])) if hit.any() else float("nan")
    count = int(np.count_nonzero(dying))
    return Caught(float(hit.sum() / max(count, 1)), float((healthy > limit).mean()), median), count


def shown_of_model(drives: Drives, model: str) -> dict[str, float]:
    """Share of the failing drives of ``model``, in the whole record, of which any of the rule's five attributes was above 0
    within the horizon."""
    dying = drives.failed & (drives.model == drives.models.index(model))
    said = np.zeros(len(dying), dtype=np.bool_)
    said[drives.drive[(drives.rule >= 1) & (drives.left_days <= HORIZON_DAYS)]] = True
    return {f"shown_five_frac_{model}".lower(): float(said[dying].mean())}
