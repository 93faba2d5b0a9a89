"""Where a picture's values come from: the live state, the store at a past moment, or what is foreseen."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from analytics.alerts import Phase, Severity
from analytics.forecast import Forecast
from twin.frame import Floats, Origin
from twin.metrics import METRICS, metric
from twin.ports import How, Records, Store
from twin.site import Site
from twin.state import State
from ui.oncall.service import ALERT_LOG
from ui.scene.paint import Firing, Values
from ui.scene.routes import Pipes

MAX_LOG = 10_000  # changes of alerts that are read back to say what was firing then
HOUR_S, DAY_S = 3600.0, 86400.0
HELD = 1.5  # steps over which a value of a seldom series is held
LOOK_BACK = timedelta(days=2)  # how far back a change of an alert is looked for
_PROMPT_S = 600.0  # metrics that may be older are read alone: few things, few values


def live_values(state: State, now: datetime, origin: Origin) -> Values:
    """What is fresh now, of one origin."""
    return lambda kind, name: state.column(kind, name, now, origin)


def residual_values(measured: Values, modelled: Values) -> Values:
    """Measured less modelled, where both are known."""
    return lambda kind, name: measured(kind, name) - modelled(kind, name)


def best_values(measured: Values, modelled: Values) -> Values:
    """What is measured, and what is modelled where that is not."""

    def values(kind: str, name: str) -> Floats:
        column = measured(kind, name)
        silent = np.isnan(column)
        return np.where(silent, modelled(kind, name), column) if silent.any() else column

    return values


class PastValues:
    """What was fresh at ``time`` as the store has it: for each asset the last value not older than its metric may be.

    A series that is stored more seldom than that (a made-up history, an import) holds its value over ``HELD`` of its steps;
    where no single values are kept any more (``old``), the mean of the minute or the hour counts. ``folded_s`` then says of how
    many seconds. One question to the store for each kind; none for (kind, metric) pairs that are not in ``known``, where that
    is given.
    """

    def __init__(
        self,
        site: Site,
        store: Store,
        time: datetime,
        origin: Origin,
        colour: str,
        pipes: Pipes,
        *,
        known: Collection[tuple[str, str]] | None = None,
        old: bool = False,
    ) -> None:
        self.site, self.store, self.time, self.origin = site, store, time, origin
        self.folded_s = 0.0
        self.old = old
        self._known = known
        self._wanted: dict[str, list[str]] = {}
        for kind, name in pipes.keys:
            self._wanted.setdefault(kind, []).append(name)
        for kind, rows in METRICS.items():
            if colour in rows:
                self._wanted.setdefault(kind, []).append(colour)
        self._found: dict[tuple[str, str], Floats] = {}

    def __call__(self, kind: str, name: str) -> Floats:
        """float64[n]: values of ``name`` of all assets of ``kind``."""
        if self._known is not None and (kind, name) not in self._known:
            return np.full(self.site.count(kind), np.nan)
        if (kind, name) not in self._found:
            names = [name, *(one for one in self._wanted.get(kind, ()) if self._known is None or (kind, one) in self._known)]
            prompt = list(dict.fromkeys(one for one in names if metric(kind, one).max_age_s <= _PROMPT_S))
            self._read(kind, prompt if name in prompt else [name])
        return self._found[kind, name]

    def _read(self, kind: str, names: list[str]) -> None:
        self._keep(kind, names, {name: metric(kind, name).max_age_s for name in names})
        if all(np.isnan(self._found[kind, name]).all() for name in names):
            step_s = self._step_s(kind, names)
            if step_s > 0:
                self.folded_s = max(self.folded_s, step_s)
                self._keep(kind, names, {name: max(HELD * step_s, metric(kind, name).max_age_s) for name in names})
            elif self.old:
                self._read_means(kind, names)

    def _keep(self, kind: str, names: list[str], oldest_s: Mapping[str, float]) -> None:
        """The last values of each metric that are not older than ``oldest_s``."""
        end = self.time + timedelta(microseconds=1)
        reach_s = min(max(oldest_s.values()), DAY_S)
        series = self.store.series(kind, names, end - timedelta(seconds=reach_s), end, origin=self.origin)
        for name in names:
            young = series.time_s >= self.time.timestamp() - oldest_s[name]
            self._found[kind, name] = _last(series.values[name][young], self.site.count(kind))

    def _step_s(self, kind: str, names: list[str]) -> float:
        """The step of a series that is kept more seldom than its values may be old, by a few of its assets; else 0."""
        count = self.site.count(kind)
        some = np.unique(np.linspace(0, count - 1, min(count, 8)).astype(np.int32)) if count else np.zeros(0, dtype=np.int32)
        start = self.time - timedelta(seconds=4 * HOUR_S)
        time_s = self.store.series(kind, names, start, self.time, rows=some, origin=self.origin).time_s
        step_s = float(np.median(np.diff(time_s))) if len(time_s) > 2 else 0.0
        return step_s if step_s > max(metric(kind, name).max_age_s for name in names) / 2 else 0.0

    def _read_means(self, kind: str, names: list[str]) -> None:
        for step_s in (60.0, HOUR_S):
            start = datetime.fromtimestamp(self.time.timestamp() // step_s * step_s, UTC)
            step = timedelta(seconds=step_s)
            series = self.store.series(kind, names, start, start + step, step_s, How.MEAN, origin=self.origin)
            columns = {name: _last(series.values[name], self.site.count(kind)) for name in names}
            if any(np.isfinite(column).any() for column in columns.values()):
                self.folded_s = max(self.folded_s, step_s)
                self._found |= {(kind, name): column for name, column in columns.items()}
                return


def _last(values: Floats, n: int) -> Floats:
    """float64[n]: the last value of each column of float64[t, n] that is one."""
    if not len(values):
        return np.full(n, np.nan)
    known = np.isfinite(values)
    at = len(values) - 1 - np.argmax(known[::-1], axis=0)
    return np.where(known.any(axis=0), values[at, np.arange(values.shape[1])], np.nan)


def firing_then(records: Records, time: datetime) -> Firing:
    """What was firing at ``time`` by the log of alerts, as far as ``LOOK_BACK`` and ``MAX_LOG`` changes reach."""
    last: dict[str, tuple[str, str, str]] = {}
    for _, _, record in records.read(ALERT_LOG, time - LOOK_BACK, time, MAX_LOG, newest=True):
        if {"key", "asset", "severity", "phase"} <= record.keys():
            last[str(record["key"])] = (str(record["asset"]), str(record["severity"]), str(record["phase"]))
    known = {severity.value: severity for severity in Severity}
    return [(asset, known[severity]) for asset, severity, phase in last.values() if phase == Phase.FIRING and severity in known]


def foreseen(forecasts: Sequence[Forecast], kind: str, row: int, name: str, time_s: Floats) -> Floats | None:
    """float64[t]: the newest forecast's median of one series at ``time_s``, NaN beyond its ends; None where there is none."""
    mine = [f for f in forecasts if (f.kind, f.row, f.metric) == (kind, row, name)]
    if not mine:
        return None
    newest = max(mine, key=lambda forecast: forecast.issued)
    return np.interp(time_s, newest.time_s, newest.p50, right=np.nan)
