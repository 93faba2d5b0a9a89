"""``[energy.limits]`` and ``[energy.plant]``: what the operator allows, and what he knows of his plant; checked against the
metric table and the site.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from energy.guard import Limits
from energy.place.atlas import Atlas
from energy.response import WATER_CLASS_C, Params
from twin.errors import ConfigError, Problem
from twin.metrics import METRICS
from twin.site import Site

_OURS, _PLANT = Limits(), Params()
DAY_S = 86_400.0


class LimitsSection(BaseModel):
    """``[energy.limits]``: what the guard lets pass, whoever proposes it. ``locked``: assets at which nothing is set.
    ``bounds``: lowest and highest value by kind and metric, within the metric table: ``bounds.cdu.pump_speed_frac = [0.5, 1]``.
    ``dwell_s``: between two changes of one setpoint; ``actions_per_hour``: setpoints over the site; ``longest_s``: that one is
    held before it is given back; ``fresh_frac``: GPUs behind a cooling asset that must be heard. ``chiller_dwell_s``: between
    two changes of how many chillers may run. ``order_dwell_s``, ``orders_per_hour``: the same for orders to schedulers;
    ``longest_wait_s``: that a job is held back after its submission; ``fair_wait_s``: that a tenant's GPU hours are in the
    mean, whatever the others' are. ``request_dwell_s``, ``request_actions_per_hour``: of what answers a request of the grid."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    locked: Sequence[str] = Field((), max_length=10_000)
    bounds: Mapping[str, Mapping[str, tuple[float, float]]] = {}
    dwell_s: float = Field(_OURS.dwell_s, ge=60, le=DAY_S)
    actions_per_hour: int = Field(_OURS.actions_per_hour, ge=0, le=10_000)
    longest_s: float = Field(_OURS.longest_s, ge=7200, le=DAY_S)
    fresh_frac: float = Field(_OURS.fresh_frac, ge=0.5, le=1)
    chiller_dwell_s: float = Field(_OURS.chiller_dwell_s, ge=900, le=DAY_S)
    order_dwell_s: float = Field(_OURS.order_dwell_s, ge=60, le=DAY_S)
    orders_per_hour: int = Field(_OURS.orders_per_hour, ge=0, le=100_000)
    longest_wait_s: float = Field(_OURS.longest_wait_s, ge=3600, le=DAY_S)
    fair_wait_s: float = Field(_OURS.fair_wait_s, ge=3600, le=DAY_S)
    request_dwell_s: float = Field(_OURS.request_dwell_s, ge=5, le=3600)
    request_actions_per_hour: int = Field(_OURS.request_actions_per_hour, ge=0, le=1_000_000)

    @field_validator("bounds")
    @classmethod
    def _within_the_table(
        cls, value: Mapping[str, Mapping[str, tuple[float, float]]]
    ) -> Mapping[str, Mapping[str, tuple[float, float]]]:
        for kind, metrics in value.items():
            for name, (low, high) in metrics.items():
                row = METRICS[kind].get(name) if kind in METRICS else None
                if row is None or row.step is None:
                    able = ", ".join(
                        f"{k}.{m}" for k, rows in METRICS.items() for m, one in rows.items() if one.step is not None
                    )
                    raise ValueError(f"{kind}.{name} is nothing that can be set; that are {able}")
                if not row.low <= low < high <= row.high:
                    raise ValueError(
                        f"{kind}.{name} = [{low:g}, {high:g}]: write two rising numbers from {row.low:g} to {row.high:g}"
                    )
        return value


class PlantSection(BaseModel):
    """``[energy.plant]``: bounds of this plant, for the levers on water and flow. ``water_class``: of ASHRAE TC 9.9, highest
    supply temperature; ``lowest_c``, ``highest_c``: of any water setpoint; ``dew_margin_k``: above the dew point;
    ``throttle_c``: at which its GPUs slow down, and ``throttle_margin_k``: how far below that the hottest is kept at full load;
    ``gap_k``: least difference between plant water and loop at which a CDU holds its setpoint; ``approach_k``: how close to the
    wet bulb towers surely come."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    water_class: str = _PLANT.water_class
    lowest_c: float = Field(_PLANT.lowest_c, ge=5, le=60)
    highest_c: float = Field(_PLANT.highest_c, ge=5, le=60)
    dew_margin_k: float = Field(_PLANT.dew_margin_k, ge=1, le=20)
    throttle_c: float = Field(_PLANT.throttle_c, ge=50, le=110)
    throttle_margin_k: float = Field(_PLANT.throttle_margin_k, ge=2, le=40)
    gap_k: float = Field(_PLANT.gap_k, ge=0.5, le=20)
    approach_k: float = Field(_PLANT.approach_k, ge=1, le=20)

    @field_validator("water_class")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in WATER_CLASS_C:
            raise ValueError(f"no water class {value!r}; known are {', '.join(WATER_CLASS_C)}")
        return value

    @model_validator(mode="after")
    def _rising(self) -> "PlantSection":
        if not self.lowest_c < self.highest_c:
            raise ValueError(f"lowest_c {self.lowest_c:g} is not below highest_c {self.highest_c:g}")
        return self

    @property
    def params(self) -> Params:
        """As the levers take it; what is not said here is as ``energy.response`` has it."""
        return replace(_PLANT, **self.model_dump())


def limits_of(section: LimitsSection, site: Site, atlas: Atlas) -> Limits:
    """The guard's limits. ``ConfigError`` for each asset that is locked and not there."""
    missing = [asset for asset in section.locked if asset not in site.position]
    if missing:
        what = "is no asset of the site; write ids as the table of assets has them"
        raise ConfigError([Problem("[energy.limits] locked", f"{asset!r} {what}") for asset in missing[:20]])
    told = section.model_dump(exclude={"locked", "bounds"})
    bounds = {(kind, name): pair for kind, metrics in section.bounds.items() for name, pair in metrics.items()}
    return Limits(**told, locked=frozenset(section.locked), bounds=bounds, atlas=atlas)
