"""One fit, honestly: robust least squares on the earlier part of a record, judged on the later part, refused with a reason.

Scores are those of ASHRAE Guideline 14-2014, "Measurement of Energy, Demand, and Water Savings": CV(RMSE) and NMBE, with its
limits for hourly data of a calibrated simulation (30 % and 10 %) as the outermost bounds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from twin.frame import Floats
from twin.message import Message
from twin.site import Bools

Index = NDArray[np.intp]
TRAIN_FRAC = 0.7  # of the time that the record spans; the rest judges
LEAST_ROWS = 30  # in each part
MOST_ROWS = 200_000  # a longer record is thinned evenly
MOST_CVRMSE_FRAC, MOST_NMBE_FRAC = 0.30, 0.10
LEAST_GAIN_FRAC = 0.02  # by which the error on held-out data must shrink before anything is changed
MOST_WIDTH_FRAC = 0.5  # of a parameter's typical size, half its 95 % interval: wider is not known
MOST_CONDITION = (
    300.0  # of the scaled sensitivities; above, two parameters cannot be told apart (Belsley, Kuh & Welsch: 30-100)
)
NO_BETTER = "on held-out data CV(RMSE) is {new}, that of what is in force {old}: no better, so nothing changes"
_Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Knob:
    """A parameter: its name, where the search starts, its bounds, and its typical size, against which its interval is held
    (0: that of its value)."""

    name: str
    start: float
    low: float
    high: float
    typical: float = 0.0


@dataclass(frozen=True, slots=True)
class Value:
    """A fitted parameter with its 95 % interval, and what was in force ``before``."""

    name: str
    value: float
    low: float
    high: float
    before: float


@dataclass(frozen=True, slots=True)
class Score:
    """``rows`` compared; CV(RMSE) and NMBE as shares of the mean reading. NMBE above 0: the model is too low."""

    rows: int
    cvrmse_frac: float
    nmbe_frac: float


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """What a fit is made on: ``time_s`` (s since 1970) and ``target`` float64[n], NaN where nothing was read; ``expect``:
    parameters -> float64[n], what the model says to all rows; ``present``: float64[n], what it says with what is in force;
    ``asset``: int[n], whose reading each row is, where a fit is over many (None: of one)."""

    time_s: Floats
    target: Floats
    expect: Callable[[Floats], Floats]
    present: Floats
    asset: Index | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """What came of it. ``train``, ``validate``: scores of the fit; ``present``: of what is in force, on the same held-out rows;
    ``sigma_frac``, ``sigma``: expected spread of a single reading on held-out rows, as a share and in the reading's own unit;
    ``sound``: its values may be adopted; ``why``: where not, why. Where they are only no better than what is in force, the
    spread still holds (``known``)."""

    name: str
    asset: str
    values: tuple[Value, ...]
    train: Score
    validate: Score
    present: Score
    sigma_frac: float
    sigma: float
    sound: bool
    why: Message

    @property
    def known(self) -> bool:
        """``sigma_frac`` may be adopted: the relation holds on held-out data, with these values or with those in force."""
        return self.sound or (self.why.text == NO_BETTER and math.isfinite(self.sigma_frac))


def score(target: Floats, model: Floats) -> Score:
    """CV(RMSE) = √(Σ(m - s)² / (n - 1)) / m̄ and NMBE = Σ(m - s) / ((n - 1) · m̄), ASHRAE Guideline 14-2014, with p = 1."""
    n = len(target)
    mean = float(np.mean(target)) if n else math.nan
    if n < 2 or not mean:
        return Score(n, math.nan, math.nan)
    apart = target - model
    return Score(n, float(np.sqrt((apart**2).sum() / (n - 1))) / abs(mean), float(apart.sum()) / ((n - 1) * mean))


def fit(name: str, asset: str, knobs: Sequence[Knob], record: Record) -> Fit:
    """Fit ``knobs`` to ``record`` and judge it."""
    known = np.isfinite(record.target) & np.isfinite(record.present)
    rows = np.flatnonzero(known)
    rows = rows[:: max(1, math.ceil(len(rows) / MOST_ROWS))]
    early, late = _split(record.time_s[rows])
    if early.sum() < LEAST_ROWS or late.sum() < LEAST_ROWS:
        text = "only {rows} readings to learn from and {held} to judge by; {least} of each are needed"
        params = {"rows": int(early.sum()), "held": int(late.sum()), "least": LEAST_ROWS}
        return _refused(name, asset, knobs, record, rows[late], Message(text, params))
    train = rows[early]
    found, covariance, condition = _solve(knobs, record, train)
    values = _values(knobs, found, covariance)
    expected = record.expect(found)
    held = rows[late]
    judged, before = score(record.target[held], expected[held]), score(record.target[held], record.present[held])
    why = _doubt(knobs, values, condition, judged, before)
    learnt = score(record.target[train], expected[train])
    share, own = _spread(record.target[held], record.present[held] if why.text == NO_BETTER else expected[held])
    return Fit(name, asset, values, learnt, judged, before, share, own, not why.text, why)


def best_fit(name: str, asset: str, choices: Sequence[Sequence[Knob]], record_of: Callable[[Sequence[Knob]], Record]) -> Fit:
    """The sound fit with the least held-out error among ``choices`` of parameters, the fullest first; the fullest one's refusal
    where none is sound. A smaller choice wins only where a fuller one is refused or is not better by ``LEAST_GAIN_FRAC``."""
    made = [fit(name, asset, knobs, record_of(knobs)) for knobs in choices]
    sound = [one for one in made if one.sound]
    if not sound:
        return made[0]
    least = min(one.validate.cvrmse_frac for one in sound)
    return [one for one in sound if one.validate.cvrmse_frac <= least * (1 + LEAST_GAIN_FRAC)][-1]


def _split(time_s: Floats) -> tuple[Bools, Bools]:
    """The earlier and the later part by time, never at random: neighbours in time resemble each other."""
    if not len(time_s):
        return np.zeros(0, dtype=np.bool_), np.zeros(0, dtype=np.bool_)
    edge = time_s.min() + TRAIN_FRAC * (time_s.max() - time_s.min())
    return time_s <= edge, time_s > edge


def _solve(knobs: Sequence[Knob], record: Record, train: np.ndarray) -> tuple[Floats, Floats, float]:
    """Parameters, their covariance, and the condition of their sensitivities each scaled to length one.

    Huber's loss made smooth (soft L1), its scale the median absolute deviation of a first fit: readings beyond that count
    by their distance, not its square (Huber, "Robust Statistics", 1981).
    """
    target = record.target[train]
    start, low, high = (np.array([getattr(knob, which) for knob in knobs]) for which in ("start", "low", "high"))
    start = np.clip(start, low + 1e-9 * (high - low), high - 1e-9 * (high - low))
    size = np.where(np.abs(start) > 0, np.abs(start), np.array([knob.typical or 1.0 for knob in knobs]))
    scale = max(_mad(target - record.expect(start)[train]), 1e-9 * float(np.abs(target).mean()), 1e-12)
    found = start
    solved = None
    for _ in range(2):
        width = scale

        def left(x: Floats, width: float = width) -> Floats:
            return np.asarray((record.expect(x)[train] - target) / width)

        solved = least_squares(left, found, bounds=(low, high), loss="soft_l1", x_scale=size, max_nfev=200)
        found = solved.x
        scale = max(_mad(target - record.expect(found)[train]), 1e-9 * float(np.abs(target).mean()), 1e-12)
    slopes = _slopes(record, found, size, train)
    residual = target - record.expect(found)[train]
    norms = np.linalg.norm(slopes, axis=0)
    scaled = slopes / np.where(norms > 0, norms, 1.0)
    condition = float(np.linalg.cond(scaled)) if (norms > 0).all() else math.inf
    effective = _effective(record.time_s[train], residual)
    inverse = np.linalg.pinv(slopes.T @ slopes)
    covariance = inverse * _mad(residual) ** 2 * len(train) / effective
    if record.asset is not None:
        covariance = _wider(covariance, inverse @ _by_asset(slopes, residual, record.asset[train]) @ inverse)
    return found, np.outer(size, size) * covariance, condition


def _by_asset(slopes: Floats, residual: Floats, asset: Index) -> Floats:
    """The middle of the sandwich that counts all rows of one asset as one: a meter's gain is off all the time (Liang & Zeger,
    "Longitudinal data analysis using generalized linear models", Biometrika 73, 1986)."""
    _, at = np.unique(asset, return_inverse=True)
    count = int(at.max()) + 1
    pull = np.stack([np.bincount(at, weights=column * residual, minlength=count) for column in slopes.T], axis=1)
    middle: Floats = pull.T @ pull * count / max(count - 1, 1)
    return middle


def _wider(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Of two covariances the one with the larger variances."""
    return one if np.trace(one) >= np.trace(two) else two


def _slopes(record: Record, found: Floats, size: Floats, train: np.ndarray) -> Floats:
    """float64[n, p]: change of the model for each parameter, in units of ``size``."""
    columns = []
    for i in range(len(found)):
        step = np.zeros(len(found))
        step[i] = 1e-4 * size[i]
        columns.append((record.expect(found + step) - record.expect(found - step))[train] / 2e-4)
    return np.stack(columns, axis=1)


def _mad(residual: Floats) -> float:
    """Median absolute deviation, as a standard deviation; half the span of the middle 68 % where rounding makes that more."""
    low, middle, high = np.percentile(residual, (15.87, 50, 84.13))
    return max(1.4826 * float(np.median(np.abs(residual - middle))), float(high - low) / 2)


def _effective(time_s: Floats, residual: Floats) -> float:
    """How many independent rows these are worth: n · (1 - ρ) / (1 + ρ) with ρ the correlation of neighbours in time, over
    the means of rows of one time (Bayley & Hammersley, 1946)."""
    _, at = np.unique(time_s, return_inverse=True)
    count = np.bincount(at)
    mean = np.bincount(at, weights=residual) / count
    if len(mean) < 4 or not mean.std():
        return float(len(residual))
    one, two = mean[:-1] - mean[:-1].mean(), mean[1:] - mean[1:].mean()
    rho = float(np.clip((one * two).sum() / max(np.sqrt((one**2).sum() * (two**2).sum()), 1e-300), 0.0, 0.99))
    return max(len(residual) * (1 - rho) / (1 + rho), 2.0)


def _values(knobs: Sequence[Knob], found: Floats, covariance: Floats) -> tuple[Value, ...]:
    half = _Z95 * np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return tuple(
        Value(knob.name, float(x), float(x - h), float(x + h), knob.start)
        for knob, x, h in zip(knobs, found, half, strict=True)
    )


def _doubt(knobs: Sequence[Knob], values: Sequence[Value], condition: float, judged: Score, before: Score) -> Message:
    """Why not, an empty message where nothing speaks against it."""
    if condition > MOST_CONDITION:
        names = ", ".join(knob.name for knob in knobs)
        return Message("the record does not tell {names} apart: they hardly moved, or moved together", {"names": names})
    for knob, value in zip(knobs, values, strict=True):
        typical = knob.typical or abs(value.value)
        if not (value.high - value.low) / 2 <= MOST_WIDTH_FRAC * typical:
            params = {"name": value.name, "low": f"{value.low:.4g}", "high": f"{value.high:.4g}"}
            return Message("{name} is not known from this record: anything from {low} to {high} fits", params)
        if min(value.value - knob.low, knob.high - value.value) <= 1e-6 * (knob.high - knob.low) and knob.low != 0.0:
            params = {"name": value.name, "value": f"{value.value:.4g}"}
            return Message("{name} rests on its bound {value}: the model lacks something that this record shows", params)
    shown = {"new": f"{judged.cvrmse_frac:.2%}", "old": f"{before.cvrmse_frac:.2%}", "bias": f"{judged.nmbe_frac:.2%}"}
    if not (judged.cvrmse_frac <= MOST_CVRMSE_FRAC and abs(judged.nmbe_frac) <= MOST_NMBE_FRAC):
        return Message("on held-out data CV(RMSE) is {new} and NMBE {bias}, beyond ASHRAE Guideline 14 (30 %, 10 %)", shown)
    if before.rows and not judged.cvrmse_frac < (1 - LEAST_GAIN_FRAC) * before.cvrmse_frac:
        return Message(
            "on held-out data CV(RMSE) is {new}, that of what is in force {old}: no better, so nothing changes", shown
        )
    return Message("")


def _refused(name: str, asset: str, knobs: Sequence[Knob], record: Record, held: np.ndarray, why: Message) -> Fit:
    none = Score(0, math.nan, math.nan)
    values = tuple(Value(knob.name, math.nan, math.nan, math.nan, knob.start) for knob in knobs)
    return Fit(
        name, asset, values, none, none, score(record.target[held], record.present[held]), math.nan, math.nan, False, why
    )


def _spread(target: Floats, model: Floats) -> tuple[float, float]:
    """Spread of held-out readings around the model with what bias is left: as a share of the model, and as it is. At the
    middle or at the 99th percentile, whichever is wider: assets differ from each other by more than a normal law has it."""

    def wide(apart: Floats) -> float:
        far = float(np.percentile(np.abs(apart), 99)) / 2.5758
        return max(math.hypot(_mad(apart), float(np.median(apart))), far)

    apart = target - model
    ratio = apart / np.where(np.abs(model) > 0, np.abs(model), np.nan)
    ratio = ratio[np.isfinite(ratio)]
    return (wide(ratio) if len(ratio) else math.nan), wide(apart)
