"""Readings: a number with all that is needed to show it honestly, and how several become one.

A face prints a reading that is not ``fresh`` in grey with its age, never as if it were current.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import numpy as np
from pydantic import PlainSerializer

from twin.frame import Floats, Origin, Quality
from twin.message import Message
from twin.metrics import metric, suffix
from twin.state import Column, State


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _grade(quality: Quality) -> str:
    return quality.name.lower()


def _spoken(message: Message) -> dict[str, Any]:
    return {"sentence": str(message), "template": message.text, "params": dict(message.params)}


# NaN and infinity have no JSON: they leave as null, and the schema says so.
Number = Annotated[float, PlainSerializer(_finite, return_type=float | None)]
Grade = Annotated[Quality, PlainSerializer(_grade, return_type=str)]
# A sentence leaves whole, in English, beside the template and numbers from which a face says it in another language.
Spoken = Annotated[Message, PlainSerializer(_spoken, return_type=dict[str, Any])]

# Units that only derived readings have, beside the suffixes of ``twin.metrics.UNITS``.
DERIVED_UNITS: Mapping[str, str] = {"tco2_per_h": "tCO2/h", "tco2": "tCO2", "per_h": "/h"}


@dataclass(frozen=True, slots=True)
class Reading:
    """``value`` in ``unit`` (a suffix of ``twin.metrics.UNITS`` or of ``DERIVED_UNITS``), NaN where there never was one;
    ``age_s`` its age in seconds, infinite where there never was one."""

    value: Number
    unit: str
    age_s: Number
    fresh: bool
    origin: Origin
    quality: Grade

    @property
    def known(self) -> bool:
        """There is a value, whatever its age."""
        return math.isfinite(self.value)


def nothing(unit: str, origin: Origin = Origin.MEASURED) -> Reading:
    """No value, not even an old one."""
    return Reading(math.nan, unit, math.inf, False, origin, Quality.GOOD)


def fact(value: float, unit: str = "count") -> Reading:
    """A number that we know ourselves at this moment: an asset count, our own list of alerts."""
    return Reading(float(value), unit, 0.0, True, Origin.MEASURED, Quality.GOOD)


def reading(state: State, kind: str, name: str, now: datetime, row: int = 0, origin: Origin = Origin.MEASURED) -> Reading:
    """The newest value of ``name`` of the asset at ``row``; nothing where the site has no such asset."""
    column = state.newest(kind, name, origin)
    if row >= len(column.value):
        return nothing(suffix(name), origin)
    return at(column, kind, name, now, row, origin)


def at(column: Column, kind: str, name: str, now: datetime, row: int, origin: Origin = Origin.MEASURED) -> Reading:
    """One row of ``column`` (of metric ``name`` of ``kind``) as a reading."""
    age_s = now.timestamp() - float(column.time_s[row])
    value = float(column.value[row])
    fresh = math.isfinite(value) and age_s <= metric(kind, name).max_age_s
    return Reading(value, suffix(name), max(age_s, 0.0), fresh, origin, Quality(int(column.quality[row])))


def best(state: State, kind: str, name: str, now: datetime, row: int = 0) -> Reading:
    """What is measured; where that is stale what is modelled; where both are, the newer of the two, not fresh."""
    return better(reading(state, kind, name, now, row), reading(state, kind, name, now, row, Origin.MODELLED))


def better(measured: Reading, modelled: Reading) -> Reading:
    """``measured`` where fresh, else ``modelled`` where fresh, else the newer."""
    if measured.fresh or not modelled.fresh:
        return measured if measured.fresh or measured.age_s <= modelled.age_s else modelled
    return modelled


def total(state: State, kind: str, name: str, now: datetime, origin: Origin = Origin.MEASURED) -> Reading:
    """The sum over all assets of ``kind``, as old as its oldest part: a sum that misses a part is not fresh."""
    column = state.newest(kind, name, origin)
    known = np.isfinite(column.value)
    if not known.any():
        return nothing(suffix(name), origin)
    age_s = now.timestamp() - column.time_s[known]
    fresh = bool(known.all()) and float(age_s.max()) <= metric(kind, name).max_age_s
    quality = Quality(int(column.quality[known].max()))
    return Reading(float(column.value[known].sum()), suffix(name), max(float(age_s.max()), 0.0), fresh, origin, quality)


def derived(value: float, unit: str, parts: Sequence[Reading]) -> Reading:
    """A number worked out from ``parts``: as old as the oldest, fresh where all are, modelled where one is."""
    if not (math.isfinite(value) and parts):
        return nothing(unit)
    origins = {part.origin for part in parts}
    origin = next((o for o in (Origin.FORECAST, Origin.MODELLED) if o in origins), Origin.MEASURED)
    age_s = max(part.age_s for part in parts)
    return Reading(value, unit, age_s, all(p.fresh for p in parts), origin, Quality(max(p.quality for p in parts)))


def freshest(state: State, kind: str, name: str, now: datetime) -> tuple[Floats, Floats]:
    """float64[n] value and float64[n] age [s] over all assets: measured where fresh, else modelled; NaN where stale."""
    measured = state.column(kind, name, now)
    modelled = state.column(kind, name, now, Origin.MODELLED)
    use = ~np.isnan(measured)
    ages = (state.age_s(kind, name, now), state.age_s(kind, name, now, Origin.MODELLED))
    return np.where(use, measured, modelled), np.where(use, *ages)
