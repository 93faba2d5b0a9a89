"""Where a picture's values come from: the live state, the store at a past moment, or what is foreseen."""

from collections.abc import Sequence
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
HOUR_S = 3600.0
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
        return np.where(np.isnan(column), modelled(kind, name), column)

    return values


class PastValues:
    """What was fresh at ``time`` as the store has it: for each asset the last value not older than its metric may be.

    Where the store holds no single values of that time any more, the mean of the minute or of the hour that it falls in;
    ``folded_s`` then says of how many seconds. One question to the store for each kind.
    """

    def __init__(self, site: Site, store: Store, time: datetime, origin: Origin, colour: str, pipes: Pipes) -> None:
        self.site, self.store, self.time, self.origin = site, store, time, origin
        self.folded_s = 0.0
        self._wanted: dict[str, list[str]] = {}
        for kind, name in pipes.keys:
            self._wanted.setdefault(kind, []).append(name)
        for kind, rows in METRICS.items():
            if colour in rows:
                self._wanted.setdefault(kind, []).append(colour)
        self._found: dict[tuple[str, str], Floats] = {}

    def __call__(self, kind: str, name: str) -> Floats:
        """float64[n]: values of ``name`` of all assets of ``kind``."""
        if (kind, name) not in self._found:
            names = list(dict.fromkeys([name, *self._wanted.get(kind, ())]))
            prompt = [one for one in names if metric(kind, one).max_age_s <= _PROMPT_S]
            self._read(kind, prompt if name in prompt else [name])
        return self._found[kind, name]

    def _read(self, kind: str, names: list[str]) -> None:
        end = self.time + timedelta(microseconds=1)
        oldest_s = max(min(metric(kind, name).max_age_s, HOUR_S * 24) for name in names)
        series = self.store.series(kind, names, end - timedelta(seconds=oldest_s), end, origin=self.origin)
        at_s = self.time.timestamp()
        for name in names:
            young = series.time_s >= at_s - metric(kind, name).max_age_s
            self._found[kind, name] = _last(series.values[name][young], self.site.count(kind))
        if all(np.isnan(self._found[kind, name]).all() for name in names):
            self._read_folded(kind, names)

    def _read_folded(self, kind: str, names: list[str]) -> None:
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
