"""Forecasts of one regular series: what a forecast is, how it is made, and how far it may be believed.

The models of ``analytics.models`` are run from past moments of the very series (``analytics.replay``); what they say is
averaged with weights from the errors they made there, for each range of leads apart (``analytics.blend``), and the interval
comes from the errors of that average (``analytics.conformal``). Only one choice sees the score: an average that did not beat
the daily seasonal naive gives way to it. Where the series is too short or too broken for any of that, a simple forecast with a
wide interval says that it is one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from analytics.conformal import MIN_PATHS
from analytics.fallback import simple
from analytics.grid import Grid, regular
from analytics.known import Driver, calendar
from analytics.models.seasonal_naive import NAIVE_DAY, PERSISTENCE
from analytics.replay import BLEND, HISTORY_DAYS, MAX_HISTORY, Band, Known, Memory, Replay, replay
from analytics.score import Score, unscored
from analytics.upkeep import Upkeep, Window, upkeep
from twin.frame import Floats, Frame, Origin
from twin.message import Message

BANDS = ("p10", "", "p90")
MAX_HORIZON = 2016  # steps: a week at 5 min
MAX_MISSING_FRAC = 0.4
NEAR_S = 3600.0  # ahead, for which a series of minutes asks models of its own
NEAR_STEPS = 3  # that the next hour must have for that
NEAR_DAYS = 3  # of history that it takes


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Quantiles of ``metric`` of one asset: float64[h] each, for steps that start at ``time_s`` (s since 1970 UTC).

    ``notes``: what was done to the series or is weak about the forecast, in sentences; ``made``: what the procedure said at
    past moments (None where it could not be run), for peaks, cards and reconciliation; ``left``: float64[h], what maintenance
    leaves of the capacity (None: all of it), which the quantiles know and ``made`` does not."""

    kind: str
    row: int
    metric: str
    issued: datetime
    time_s: Floats
    p10: Floats
    p50: Floats
    p90: Floats
    score: Score
    notes: Sequence[Message] = ()
    made: Replay | None = None
    step_s: float = 3600.0
    left: Floats | None = None

    @property
    def first_s(self) -> float:
        """Start of the first step of the series that it was ``made`` from, s since 1970; NaN where it was made from none."""
        if self.made is None:
            return float("nan")
        skip = self.made.rolling.horizon - len(self.time_s)
        return float(self.time_s[0]) - (skip + len(self.made.series)) * self.step_s

    def frames(self) -> Iterator[Frame]:
        """One frame a step and band, origin ``forecast``."""
        rows = np.array([self.row], dtype=np.int32)
        for i, time_s in enumerate(self.time_s):
            time = datetime.fromtimestamp(float(time_s), UTC)
            for band, column in zip(BANDS, (self.p10, self.p50, self.p90), strict=True):
                values = {self.metric: column[i : i + 1]}
                yield Frame(self.kind, time, rows, values, Origin.FORECAST, self.score.model, band, issued=self.issued)


@dataclass(frozen=True, slots=True, eq=False)
class Aids:
    """What helps to foresee a series beside its own past. ``zone``, ``country``: whose calendar it follows (see
    ``analytics.known.calendar``; no zone, no calendar); ``drivers``: known futures that it hangs on; ``memory``: keeps what
    models said at past moments, for the next forecast of the same series; ``off``: what is averaged has been switched off, the
    daily naive speaks in its place; ``windows``: maintenance that takes a share of it out."""

    zone: str = ""
    country: str = ""
    drivers: Sequence[Driver] = ()
    memory: Memory | None = None
    off: bool = False
    windows: Sequence[Window] = ()


def forecast_series(
    time_s: Floats,
    values: Floats,
    issued: datetime,
    horizon: int,
    step_s: float,
    *,
    kind: str = "",
    row: int = 0,
    metric: str = "",
    low: float = -np.inf,
    high: float = np.inf,
    aids: Aids | None = None,
) -> Forecast | Message:
    """The next ``horizon`` steps of ``step_s`` seconds of a series, or one sentence that says why there is no forecast.

    ``time_s``: float64[n], starts of steps (missing ones are gaps); ``values``: float64[n], NaN where nothing was measured. The
    first step foreseen is the one that holds ``issued``, or the one after the last value where that is later; the quantiles
    stay within ``[low, high]``. At most ``HISTORY_DAYS`` and ``MAX_HISTORY`` steps back are learnt from. Takes one to four
    seconds the first time, and with a memory a tenth of that when the series has grown by a step."""
    grid = regular(np.asarray(time_s, dtype=np.float64), np.asarray(values, dtype=np.float64), step_s)
    if isinstance(grid, Message):
        return grid
    skip = max(0, int((issued.timestamp() - grid.end_s) // step_s))
    steps = horizon + skip
    if skip > grid.day or steps > MAX_HORIZON or horizon < 1:
        text = (
            "the last value is {age_h:.1f} h old and {horizon} steps are asked for: more than {most} steps or a day of silence"
        )
        age_h = (issued.timestamp() - grid.end_s + step_s) / 3600
        return Message(text, {"age_h": age_h, "horizon": horizon, "most": MAX_HORIZON})
    aids = aids or Aids()
    rest = upkeep(aids.windows, grid.values, grid.first_s, step_s, steps)
    if rest is not None:
        grid = Grid(rest.whole(grid.values), grid.first_s, step_s, (*grid.notes, *_out(rest, skip)))
    bands, score, notes, made = _foreseen(grid, steps, aids)
    left = None if rest is None else 1.0 - rest.ahead
    p10, p50, p90 = (np.clip((band if left is None else band * left)[skip:], low, high) for band in bands)
    ahead_s = grid.end_s + step_s * np.arange(float(skip), steps)
    notes = (*grid.notes, *notes)
    return Forecast(
        kind, row, metric, issued, ahead_s, p10, p50, p90, score, notes, made, step_s, None if left is None else left[skip:]
    )


def _out(rest: Upkeep, skip: int) -> Sequence[Message]:
    """What is to be said of maintenance ahead."""
    most = float(rest.ahead[skip:].max())
    return (Message("maintenance takes up to {most:.0%} of it out", {"most": most}),) if most > 0 else ()


def _foreseen(grid: Grid, steps: int, aids: Aids) -> tuple[Band, Score, Sequence[Message], Replay | None]:
    """The bands of the next ``steps``, their score, what is to be said of them, and what they were made from."""
    recent = grid.values[-min(len(grid.values), HISTORY_DAYS * grid.day, MAX_HISTORY) :]
    known = recent[np.isfinite(recent)]
    if len(known) and known.max() == known.min() and len(known) > 1:
        flat = np.full(steps, float(known[0]))
        note = Message("the series has been constant for {count} values; it is foreseen to stay so", {"count": len(known)})
        return (flat, flat, flat), unscored(PERSISTENCE), (note,), None
    why = _too_poor(recent, steps)
    if why is None:
        trimmed = _trimmed(grid, steps)
        made = replay(
            trimmed.values,
            steps,
            grid.step_s,
            first_s=trimmed.first_s,
            known=_known(trimmed, steps, aids),
            memory=aids.memory,
        )
        bands, score = best(made, aids.off)
        if np.isfinite(bands[0]).all() and np.isfinite(bands[2]).all():
            return _with_near(trimmed, steps, bands, score, aids), score, (), made
        why = Message("too few past forecasts could be judged", {})
    text = "this is a simple forecast, made without a backtest: {why}"
    return simple(grid, steps), unscored("simple"), (Message(text, {"why": str(why)}),), None


def _too_poor(recent: Floats, steps: int) -> Message | None:
    """Why a series (its newest part, float64[n]) cannot be replayed; None where it can."""
    least = steps + 2 * MIN_PATHS + 1  # some past forecasts whose truths are known
    if len(recent) < least:
        text = "{count} steps of history are too few to foresee {horizon}: {least} are needed"
        return Message(text, {"count": len(recent), "horizon": steps, "least": least})
    missing = float(np.isnan(recent).mean())
    if missing > MAX_MISSING_FRAC:
        text = "{missing:.0%} of the series is missing; at most {most:.0%} may be"
        return Message(text, {"missing": missing, "most": MAX_MISSING_FRAC})
    return None


def _trimmed(grid: Grid, steps: int) -> Grid:
    """The newest part that a replay can use."""
    use = min(MAX_HISTORY, HISTORY_DAYS * grid.day) + 62 * grid.day + steps
    start = max(0, len(grid.values) - use)
    start += int(np.isfinite(grid.values[start:]).argmax())  # it begins with a value
    return Grid(grid.values[start:], grid.first_s + start * grid.step_s, grid.step_s, grid.notes)


def _known(grid: Grid, steps: int, aids: Aids) -> Known:
    when = calendar(grid.first_s, len(grid.values) + steps, grid.step_s, aids.zone, aids.country) if aids.zone else None
    return Known(when if when is not None and when.kind.any() else None, aids.drivers)


def _with_near(grid: Grid, steps: int, bands: Band, score: Score, aids: Aids) -> Band:
    """``bands`` with those of the next hour from the models meant for it, judged at more past moments."""
    near = min(steps, int(NEAR_S // grid.step_s))
    if near < NEAR_STEPS or score.model != BLEND or len(grid.values) < NEAR_DAYS * grid.day:
        return bands
    made = replay(grid.values, near, grid.step_s, first_s=grid.first_s, memory=aids.memory, near=True)
    (low, median, high), soon = best(made)
    if soon.model != BLEND or not (np.isfinite(low).all() and np.isfinite(high).all()):
        return bands
    return _spliced(bands, (low, median, high), near)


def _spliced(far: Band, near: Band, steps: int) -> Band:
    low, median, high = (np.concatenate([soon, late[steps:]]) for soon, late in zip(near, far, strict=True))
    return low, median, high


def best(made: Replay, off: bool = False) -> tuple[Band, Score]:
    """The bands at the last origin and the score: of the blend, or of the naive where the blend was no better or is ``off``."""
    score = made.score(BLEND)
    if off or (score.origins and score.mase >= score.naive_mase):
        score = made.score(NAIVE_DAY)
    low, median, high = (band[-1] for band in made.bands[score.model])
    return (low, median, high), score
