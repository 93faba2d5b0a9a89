"""The forecasts of the running centre: what is foreseen, from which known futures, how it came, and what follows from that.

What matters most comes first; further series join a few a run, for the first forecast of a series costs ten times the next.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from babel.core import get_global

from analytics.accuracy import KEPT, Accuracy, Said, accuracy, remembered, said, switched_off
from analytics.cards import plain_score
from analytics.family import reconciled_forecasts
from analytics.forecast import Aids, Forecast, forecast_series
from analytics.known import Driver, committed_gpus, has_holidays, words_driver
from analytics.replay import BLEND, Memory
from twin.errors import SourceError
from twin.frame import Floats, Frame
from twin.message import Message
from twin.metrics import metric
from twin.ports import How
from ui.foresight_parts import Windows, parts_foreseen
from ui.upkeep import Upkeeps
from ui.view import Live

log = logging.getLogger(__name__)

STEP_S = 3600.0
HORIZON = 24
MAINTAINED = ("it_power_w", "facility_power_w", "gpus_allocated_count")  # of which maintenance takes its share
HISTORY = timedelta(days=120)  # 84 days to learn from, and the days before them to be judged on
FIRST = (("weather", "wet_bulb_c"), ("site", "it_power_w"), ("site", "facility_power_w"))  # levers and faces rest on them
FURTHER = (
    ("hall", "it_power_w"),
    ("queue", "gpus_allocated_count"),
    ("queue", "gpus_waiting_count"),
    ("site", "pue_ratio"),
    ("grid", "carbon_gco2_per_kwh"),
    ("grid", "price_per_mwh"),
    ("storage", "used_frac"),
)
DRIVEN_BY = {("site", "facility_power_w"): ("weather", "wet_bulb_c"), ("site", "pue_ratio"): ("weather", "wet_bulb_c")}
MAX_SERIES = 64  # of FURTHER; what is over it is not foreseen, and said so once
NEW_A_RUN = 2  # series of FURTHER that are foreseen for the first time
FORECASTS, COMMITTED = "forecast", "committed-gpus"
KEPT_COMMITTED = 24 * 60  # words of what jobs hold, one an hour
COMMITTED_LEAD = 12  # steps: where between now and a day ahead its past is read

Key = tuple[str, int, str]
Publish = Callable[[Sequence[Frame]], None]


@dataclass(slots=True)
class _Target:
    """What is kept of one series between runs."""

    memory: Memory = field(default_factory=Memory)
    issued: list[Said] = field(default_factory=list)
    off: bool = False
    drifting: bool = False


def country_of(zone: str) -> str:
    """The country in which a time zone lies, also by an older name (``PRC``); "" where there is none (``Etc/UTC``), and where
    no holidays are known of it."""
    country: str = get_global("zone_territories").get(get_global("zone_aliases").get(zone, zone), "")
    return country if has_holidays(country) else ""


class Foresight:
    """Foresees what matters over one ``Live``; ``run`` is called by one task at a time."""

    def __init__(self, live: Live, publish: Publish) -> None:
        self._live, self._publish = live, publish
        self._targets: dict[Key, _Target] = {}
        self._committed: list[tuple[float, Floats]] = []
        self._told = False
        self._upkeeps = Upkeeps(live)
        self._windows: Windows = {}
        self._hour_s = float("-inf")
        self._tried: set[Key] = set()  # of those that wait, in this hour: what has no history must not hold up the others
        self._remember()

    def run(self, now: datetime) -> None:
        """The next day of what matters, by the hour, kept in the store beside what then comes. Within an hour that was foreseen
        only series that are still waiting for their first forecast are added."""
        hour_s = now.timestamp() // STEP_S * STEP_S
        again, self._hour_s = hour_s == self._hour_s, hour_s
        if not again:
            self._tried = set()
        waiting = [key for key in self._keys() if key[::2] not in FIRST and key not in self._targets and key not in self._tried]
        if again and not waiting:
            return
        self._tried |= set(waiting[:NEW_A_RUN])
        self._windows = self._upkeeps.windows(now)
        kept = {(one.kind, one.row, one.metric): one for one in self._live.forecasts} if again else {}
        found: dict[Key, Accuracy] = dict(self._live.accuracy) if again else {}
        made = dict(kept)
        if not again:
            self._note_committed(now)
        for key in self._keys():
            if key in kept or key in waiting[NEW_A_RUN:] or (again and key not in waiting):
                continue
            result = self._one(key, now, made, found)
            if isinstance(result, Message):
                log.info("no forecast of %s %s: %s", key[0], key[2], result)
            else:
                made[key] = result
        forecasts = reconciled_forecasts(list(made.values()), self._live.site)
        for forecast in forecasts:
            was = kept.get((forecast.kind, forecast.row, forecast.metric))
            if was is None:
                self._keep(forecast, now)
            elif forecast is not was:  # a hall that joined moved it
                self._publish(list(forecast.frames()))
        self._live.forecasts = tuple(forecasts)
        self._live.accuracy = found
        self._parts(forecasts, now)
        self._tell(found, now)

    def _parts(self, forecasts: Sequence[Forecast], now: datetime) -> None:
        """Racks, tenants and links beside them, kept in the store as far as they are assets."""
        parts = parts_foreseen(self._live, forecasts, self._windows, now)
        for one in parts:
            self._publish(list(one.frames()))
        self._live.parts = parts

    # one series

    def _keys(self) -> list[Key]:
        site = self._live.site
        further = [(kind, row, name) for kind, name in FURTHER for row in range(site.count(kind))]
        if len(further) > MAX_SERIES and not self._told:
            log.warning("%d series could be foreseen, %d are; halls come first", len(further), MAX_SERIES)
            self._told = True
        return [*((kind, 0, name) for kind, name in FIRST), *further[:MAX_SERIES]]

    def _one(self, key: Key, now: datetime, made: Mapping[Key, Forecast], found: dict[Key, Accuracy]) -> Forecast | Message:
        kind, row, name = key
        if self._live.site.count(kind) <= row:
            return Message("The site has no {kind}", {"kind": kind})
        time_s, values = self._series(key, now)
        if not len(values):
            return Message("There is no history yet")
        target = self._targets.setdefault(key, _Target())
        if target.issued:
            found[key] = self._judge(key, target, accuracy(target.issued, time_s, values))
        limits = metric(kind, name)
        windows = self._windows.get((kind, row) if kind in ("hall", "queue") else ("site", 0), ())
        aids = Aids(
            *self._place(),
            self._drivers(key, time_s, values, made),
            target.memory,
            target.off,
            windows if name in MAINTAINED else (),
        )
        result = forecast_series(
            time_s,
            values,
            now,
            HORIZON,
            STEP_S,
            kind=kind,
            row=row,
            metric=name,
            low=limits.low,
            high=limits.high,
            aids=aids,
        )
        if isinstance(result, Forecast) and result.made is None and len(set(values[np.isfinite(values)].tolist())) > 1:
            return Message("Too little is known yet: {why}", {"why": "; ".join(str(note) for note in result.notes)})
        return result

    def _series(self, key: Key, now: datetime) -> tuple[Floats, Floats]:
        kind, row, name = key
        end = datetime.fromtimestamp(now.timestamp() // STEP_S * STEP_S, UTC)
        rows = np.array([row], dtype=np.int32)
        series = self._live.store.series(kind, [name], end - HISTORY, end, STEP_S, How.MEAN, rows)
        values = series.values[name][:, 0]
        known = np.flatnonzero(~np.isnan(values))
        first = known[0] if len(known) else len(values)
        return series.time_s[first:], values[first:]

    def _judge(self, key: Key, target: _Target, found: Accuracy) -> Accuracy:
        """What follows from how the forecasts came: off or on, and a refit where errors drift."""
        was, target.off = target.off, switched_off(target.off, found)
        if was != target.off:
            word = "off: it did no better than the daily naive" if target.off else "on again: it beats the daily naive"
            log.warning("the forecast of %s %s is switched %s (%.2f of its error)", key[0], key[2], word, found.vs_naive_ratio)
        drifting = found.drift >= 1
        if drifting and not target.drifting:
            log.warning("the forecast of %s %s drifts; it is fitted anew", key[0], key[2])
            target.memory = Memory()
        target.drifting = drifting
        return found

    def _place(self) -> tuple[str, str]:
        """(time zone, country) whose calendar the centre follows; the zone's country."""
        zone = self._live.site.timezone
        return zone, country_of(zone)

    # known futures

    def _drivers(self, key: Key, time_s: Floats, values: Floats, made: Mapping[Key, Forecast]) -> Sequence[Driver]:
        kind, _, name = key
        if name == "gpus_allocated_count" and self._committed:
            issued_s, words = zip(*self._committed, strict=True)
            driver = words_driver("committed_gpus", STEP_S, np.array(issued_s), np.array(words), COMMITTED_LEAD)
            return (driver,) if self._live.site.count("queue") == 1 else ()
        source = DRIVEN_BY.get((kind, name))
        forecast = made.get((source[0], 0, source[1])) if source else None
        if source is None or forecast is None or forecast.made is None:
            return ()
        replayed = forecast.made
        first_s = forecast.first_s
        said_then = replayed.bands[BLEND][1]
        issued = first_s + STEP_S * replayed.rolling.origins
        past_s = first_s + STEP_S * np.arange(float(len(replayed.series)))
        return (Driver(source[1], STEP_S, past_s, replayed.series, issued.astype(np.float64), said_then),)

    def _note_committed(self, now: datetime) -> None:
        """Write down what jobs will hold, as it is known now: in weeks, it says how much of that comes true."""
        gpus = self._live.site.count("gpu")
        if not len(self._live.jobs) or not gpus:
            return
        start_s = now.timestamp() // STEP_S * STEP_S
        path = committed_gpus(self._live.jobs, now, HORIZON + 1, STEP_S, gpus)
        self._committed = [*self._committed[-KEPT_COMMITTED + 1 :], (start_s, path)]
        self._live.records.append(COMMITTED, now, {"from_s": start_s, "gpus": path.round(2).tolist()})
        self._live.records.trim(COMMITTED, KEPT_COMMITTED)

    # memory

    def _keep(self, forecast: Forecast, now: datetime) -> None:
        key = (forecast.kind, forecast.row, forecast.metric)
        self._publish(list(forecast.frames()))
        word = said(forecast)
        target = self._targets[key]
        target.issued = [*target.issued[-KEPT + 1 :], word]
        head = {"kind": forecast.kind, "row": forecast.row, "metric": forecast.metric}
        self._live.records.append(FORECASTS, now, {**head, **plain_score(forecast.score), "said": word.record()})
        self._live.records.trim(FORECASTS, KEPT * max(3, len(self._targets)))

    def _remember(self) -> None:
        """Take up what was said before a restart."""
        records = self._live.records
        for _, _, record in records.read(FORECASTS, limit=KEPT * MAX_SERIES, newest=True):
            try:
                word = remembered(record["said"])
                key = (str(record["kind"]), int(record["row"]), str(record["metric"]))
            except (SourceError, KeyError, TypeError, ValueError) as error:
                log.debug("a forecast of before the start is left out: %s", error)
                continue
            self._targets.setdefault(key, _Target()).issued.append(word)
        for target in self._targets.values():
            target.issued = target.issued[-KEPT:]
        for _, _, record in records.read(COMMITTED, limit=KEPT_COMMITTED, newest=True):
            path = np.array(record.get("gpus", ()), dtype=np.float64)
            if len(path) == HORIZON + 1:
                self._committed.append((float(record["from_s"]), path))

    def _tell(self, found: Mapping[Key, Accuracy], now: datetime) -> None:
        """How the forecast of IT power came, as readings of the site: alerts and charts know them then."""
        mine = found.get(("site", 0, "it_power_w"))
        worst = max((one.drift for one in found.values()), default=0.0)
        values = {"forecast_drift_ratio": worst}
        if mine is not None and mine.steps:
            values |= {"forecast_error_ratio": mine.vs_naive_ratio, "forecast_coverage_frac": mine.coverage_80_frac}
        columns = {name: np.array([value]) for name, value in values.items()}
        self._publish([Frame("site", now, np.zeros(1, dtype=np.int32), columns, source="icctwin")])
