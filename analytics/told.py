"""What services told of a signal, with three clocks on each word: issued (when they made it), available (when we had it) and
valid (the times that it is about).

A replay of a past moment may know only what was available then, whatever a word claims of itself: a forecast that was revised,
came late or was filled in afterwards looks wiser than anybody was. ``Words.at`` looks by availability and has each look checked
(``known_then``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from twin.frame import TOLD, Floats, Frame, Origin
from twin.ports import Records
from twin.site import Bools

TOPIC = "signals"
KEPT = 20_000  # words of all signals: four months of a service that speaks every quarter of an hour, of two metrics
MAX_STEPS = 2000  # of one word
LOOKED_BACK = 8  # words that one look goes back: the newest counts, older ones fill what it leaves open
HELD_S = 3600.0  # so long a step of a word is taken to last where the next one does not end it
FRESH_S = 7200.0  # a service that has not spoken for so long is silent; as the metric table has it for what is measured
LATE_S = 86_400.0  # its last forecast is believed for so long

SIGNAL_KINDS = ("grid", "weather")
SIGNALS = (
    "carbon_gco2_per_kwh", "marginal_carbon_gco2_per_kwh", "price_per_mwh", "wet_bulb_c", "dry_bulb_c", "wind_mps",
    "irradiance_w_per_m2",
)  # fmt: skip

Key = tuple[str, int, str]  # kind, row, metric


class LeakError(Exception):
    """Something was used before it was known: a fault of ours, never of the world."""


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """One forecast of one signal, or one reading of it (``origin``): ``values`` float64[n] at ``valid_s`` float64[n] (s since
    1970, increasing)."""

    key: Key
    source: str
    origin: Origin
    issued_s: float
    available_s: float
    valid_s: Floats
    values: Floats

    def record(self) -> Mapping[str, Any]:
        """As it is kept."""
        kind, row, metric = self.key
        head = {"kind": kind, "row": row, "metric": metric, "source": self.source, "origin": str(self.origin)}
        clocks = {"issued": _iso(self.issued_s), "available": _iso(self.available_s)}
        return {**head, **clocks, "valid_s": self.valid_s.tolist(), "values": self.values.tolist()}


def word_of(record: Mapping[str, Any]) -> Word:
    """The word that a record keeps. ``KeyError``, ``TypeError`` or ``ValueError`` where it keeps none."""
    issued_s, available_s = (datetime.fromisoformat(record[name]).timestamp() for name in ("issued", "available"))
    valid_s, values = (np.array(record[name], dtype=np.float64) for name in ("valid_s", "values"))
    if valid_s.shape != values.shape or valid_s.ndim != 1:
        raise ValueError(f"{valid_s.shape} times for {values.shape} values")
    key = (str(record["kind"]), int(record["row"]), str(record["metric"]))
    return Word(key, str(record["source"]), Origin(record["origin"]), issued_s, available_s, valid_s, values)


def words_in(frames: Sequence[Frame], available_s: float) -> list[Word]:
    """What ``frames`` say of signals, as it became available at ``available_s``: what services foresee (of one asset and issue
    in one word) and what they read."""
    found: dict[tuple[Key, str, Origin, float], dict[float, float]] = {}
    for frame in frames:
        foreseen = frame.origin is Origin.FORECAST and frame.band == TOLD
        if frame.kind not in SIGNAL_KINDS or not (foreseen or (frame.origin is Origin.MEASURED and frame.source)):
            continue
        issued_s = frame.time_s if frame.issued is None else frame.issued.timestamp()
        for metric, column in frame.values.items():
            for row, value in zip(frame.rows.tolist(), column.tolist(), strict=True):
                if value == value and metric in SIGNALS:
                    said = ((frame.kind, int(row), metric), frame.source, frame.origin, issued_s)
                    found.setdefault(said, {})[frame.time_s] = value
    made = []
    for (key, source, origin, issued_s), steps in found.items():
        times = sorted(steps)[:MAX_STEPS]
        valid_s, values = np.array(times), np.array([steps[time] for time in times])
        made.append(Word(key, source, origin, issued_s, available_s, valid_s, values))
    return made


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat()


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One look: float64[h] each. ``values``: NaN where nobody had told anything; ``available_s`` and ``issued_s``: of the word
    that each value is from."""

    values: Floats
    available_s: Floats
    issued_s: Floats


class Words:
    """All that was told of one signal, by availability."""

    def __init__(self, words: Sequence[Word]) -> None:
        self._words = sorted(words, key=lambda word: word.available_s)
        self._available_s = np.array([word.available_s for word in self._words])

    def __len__(self) -> int:
        return len(self._words)

    def newest(self, at_s: float) -> Word | None:
        """The last word that was known at ``at_s``."""
        known = self._known(at_s)
        return self._words[known[0]] if known else None

    def at(self, at_s: float, slots_s: Floats, step_s: float) -> Seen:
        """What was known at ``at_s`` of the slots of ``step_s`` that begin at ``slots_s`` (float64[h]).

        ``LeakError`` where that uses what was not."""
        n = len(slots_s)
        values, available_s, issued_s = (np.full(n, np.nan) for _ in range(3))
        for i in self._known(at_s):
            word = self._words[i]
            if at_s - word.available_s > LATE_S or not (missing := np.isnan(values)).any():
                break
            said = meant(word, slots_s, step_s)
            take = missing & np.isfinite(said)
            values[take], available_s[take], issued_s[take] = said[take], word.available_s, word.issued_s
        known_then(at_s, available_s)
        return Seen(values, available_s, issued_s)

    def _known(self, at_s: float) -> list[int]:
        """Positions of the last words known at ``at_s``, the newest first."""
        end = int(np.searchsorted(self._available_s, at_s, side="right"))
        return list(range(end - 1, max(end - 1 - LOOKED_BACK, -1), -1))


def known_then(at_s: float, available_s: Floats) -> None:
    """``LeakError`` where something became available only after ``at_s``; NaN is nothing."""
    late = available_s[available_s > at_s]
    if len(late):
        raise LeakError(f"{len(late)} values used at {_iso(at_s)} became known only at {_iso(float(late.min()))}")


def meant(word: Word, slots_s: Floats, step_s: float) -> Floats:
    """float64[h]: what ``word`` says of each slot: the mean of its steps that begin in it, else the step that it lies in."""
    first, past = (np.searchsorted(word.valid_s, at, side="left") for at in (slots_s, slots_s + step_s))
    sums = np.concatenate([[0.0], np.cumsum(word.values)])
    count = past - first
    mean = (sums[past] - sums[first]) / np.maximum(count, 1)
    before = np.maximum(np.searchsorted(word.valid_s, slots_s, side="right") - 1, 0)
    holds: Bools = (word.valid_s[before] <= slots_s) & (slots_s - word.valid_s[before] < HELD_S)
    return np.where(count > 0, mean, np.where(holds, word.values[before], np.nan))


def read_words(records: Records, key: Key, since: datetime, origin: Origin = Origin.FORECAST) -> Words:
    """What was told of ``key`` since ``since``; a record that is none is left out."""
    found = []
    for _, _, record in records.read(TOPIC, since, None, KEPT, newest=True):
        try:
            word = word_of(record)
        except (KeyError, TypeError, ValueError):
            continue
        if word.key == key and word.origin is origin and len(word.valid_s):
            found.append(word)
    return Words(found)


def table(words: Words, begin_s: Floats, step_s: float, horizon: int) -> Floats:
    """float64[m, h]: at each of ``begin_s`` (float64[m]) what was then known of its slot and the next ones."""
    ahead = step_s * np.arange(horizon)
    rows = [words.at(float(at_s), at_s + ahead, step_s).values for at_s in begin_s]
    return np.array(rows, dtype=np.float64).reshape(len(begin_s), horizon)
