"""On-site photovoltaics in the running centre: modelled beside their meters each minute, foreseen each hour."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from analytics.forecast import Forecast
from analytics.onsite import STEP_S, Given, SkySeen, Sun, foresee, plants
from analytics.score import unscored
from analytics.told import read_words
from twin.errors import SourceError
from twin.frame import Floats, Frame, Origin, Quality
from twin.message import Message
from twin.physics.sun import Panels
from ui.view import Live

log = logging.getLogger(__name__)

HOURS = 36  # that are foreseen: past the end of tomorrow's light, and past every plan
PAST_DAYS = 28
_BANDS = ("p10", "", "p90")
_NOTES = {
    SkySeen.TOLD: Message("Made by physics from the irradiance that the weather's service foresees"),
    SkySeen.CLEAR: Message("Nobody foresees the sun: a clear sky, and how far the site's days fell short of one"),
}
_ASSUMED = Message("Its interval is assumed until some days have been metered")


class OnSite:
    """The plants of one ``Live``. Each method is called by one task at a time."""

    def __init__(self, live: Live, publish: Callable[[Sequence[Frame]], None]) -> None:
        self._live, self._publish = live, publish
        self._rows, self._panels, wrong = plants(live.site)
        for one in wrong:
            log.warning("%s", one)
        self._ahead: dict[int, Given] = {}
        self._first_s = float("nan")

    def ahead(self, now: datetime) -> tuple[Forecast, ...]:
        """The next hours of each plant, kept in the store; without pvlib none, said once."""
        if not len(self._rows):
            return ()
        slots_s: Floats = now.timestamp() // STEP_S * STEP_S + STEP_S * np.arange(HOURS, dtype=np.float64)
        try:
            sun = self._sun(now)
            self._ahead = {row: self._one(row, panels, sun, now, slots_s) for row, panels in self._plants()}
        except SourceError as error:
            log.error("own generation is not foreseen: %s", error)
            self._rows, self._panels = self._rows[:0], []
            return ()
        self._first_s = float(slots_s[0])
        made = tuple(_forecast(row, given, now, slots_s) for row, given in self._ahead.items())
        for one in made:
            self._publish(list(one.frames()))
        return made

    def now(self, now: datetime) -> None:
        """What each plant should be giving, beside what its meter says."""
        at = (now.timestamp() - self._first_s) / STEP_S - 0.5  # an hour's mean is that of its middle
        if not self._ahead or not 0 <= at + 0.5 < HOURS:
            return
        rows = np.array(list(self._ahead), dtype=np.int32)
        slots = np.arange(HOURS)
        doubt = np.full(len(rows), Quality.SUSPECT, dtype=np.uint8)
        for band, name in zip(_BANDS, ("p90", "p50", "p10"), strict=True):  # delivering is negative: edges change places
            power_w = -np.array([np.interp(at, slots, getattr(self._ahead[row], name)) for row in rows.tolist()])
            frame = Frame("pv", now, rows, {"power_w": power_w}, Origin.MODELLED, "onsite", band, {"power_w": doubt})
            self._publish([frame])

    def _plants(self) -> Sequence[tuple[int, Panels]]:
        return list(zip(self._rows.tolist(), self._panels, strict=True))

    def _sun(self, now: datetime) -> Sun | None:
        """What the weather's service tells; None where nobody reads it."""
        if not self._live.site.count("weather"):
            return None
        since = now - timedelta(days=PAST_DAYS + 1)
        irradiance, dry_bulb, wind = (
            read_words(self._live.records, ("weather", 0, name), since)
            for name in ("irradiance_w_per_m2", "dry_bulb_c", "wind_mps")
        )
        return Sun(irradiance, dry_bulb, wind) if len(irradiance) else None

    def _one(self, row: int, panels: Panels, sun: Sun | None, now: datetime, slots_s: Floats) -> Given:
        end = datetime.fromtimestamp(float(slots_s[0]), UTC)
        rows = np.array([row], dtype=np.int32)
        series = self._live.store.series("pv", ("power_w",), end - timedelta(days=PAST_DAYS), end, STEP_S, rows=rows)
        metered_w = np.maximum(-series.values["power_w"][:, 0], 0.0)
        return foresee(panels, sun, now.timestamp(), slots_s, series.time_s, metered_w)


def _forecast(row: int, given: Given, now: datetime, slots_s: Floats) -> Forecast:
    notes = [_NOTES[given.sky], *(() if given.judged else (_ASSUMED,))]
    edges = (-given.p90, -given.p50, -given.p10)
    return Forecast("pv", row, "power_w", now, slots_s, *edges, unscored(given.sky), notes)


def sure_w(forecasts: Sequence[Forecast], time_s: Floats) -> Floats:
    """float64[h]: what the plants together surely give (the weak edge of each one's 80 % interval) at ``time_s``; 0 where
    nobody knows."""
    total = np.zeros(len(time_s))
    for one in forecasts:
        if (one.kind, one.metric) == ("pv", "power_w"):
            total += np.interp(time_s, one.time_s, np.maximum(-one.p90, 0.0), left=0.0, right=0.0)
    return total
