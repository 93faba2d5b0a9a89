"""Scenarios as people and programs write them: a TOML file or a JSON body, checked, every problem with its place."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twin.errors import ConfigError, Problem
from twin.params import Params
from twin.sim.scenario import MAX_ENTRIES, Change, Fault, Scenario
from twin.sim.schedule import Policy

FURTHEST = 100.0  # times that a number of the twin may be more or less in a scenario


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FaultIn(_Part):
    """Something breaks: ``trip``, ``stuck`` (value: travel), ``leak`` (value: kg/s), ``foul`` (value: share of conductance
    lost)."""

    asset: str = Field(max_length=200)
    what: Literal["trip", "stuck", "leak", "foul"] = "trip"
    start_s: Annotated[float, Field(ge=0)] = 0.0
    end_s: float | None = None
    value: float | None = None


class ChangeIn(_Part):
    """A setpoint that is ordered from ``start_s`` on; ``asset`` is an id, or a kind for all of it."""

    asset: str = Field(max_length=200)
    metric: str
    value: float
    start_s: Annotated[float, Field(ge=0)] = 0.0


class AddedRack(_Part):
    """So many copies of a rack, with all that stands in it and its links."""

    like: str = Field(max_length=200)
    count: int = Field(ge=1, le=10_000)


class ParameterIn(_Part):
    """A number of ``twin.params`` with where the new value comes from: without a source none is taken."""

    name: str
    value: float
    source: str = Field(min_length=3, max_length=300)


class ScenarioIn(_Part):
    """One run of the twin, as a file or a body says it."""

    name: Annotated[str, Field(max_length=100)] = "scenario"
    policy: Policy = Policy.EASY
    gpu_cap_frac: float = 1.0
    clock_frac: float = 1.0
    it_cap_w: float | None = None
    grid_cap_w: float | None = None
    economiser: Literal["integrated", "switched", "none"] = "integrated"
    fault: Annotated[Sequence[FaultIn], Field(max_length=MAX_ENTRIES)] = ()
    change: Annotated[Sequence[ChangeIn], Field(max_length=MAX_ENTRIES)] = ()
    add_rack: Annotated[Sequence[AddedRack], Field(max_length=MAX_ENTRIES)] = ()
    parameter: Annotated[Sequence[ParameterIn], Field(max_length=MAX_ENTRIES)] = ()

    def scenario(self) -> Scenario:
        """As the twin speaks of it."""
        nothing = float("nan")
        return Scenario(
            name=self.name,
            policy=self.policy,
            faults=[
                Fault(
                    f.asset, f.what, f.start_s, np.inf if f.end_s is None else f.end_s, nothing if f.value is None else f.value
                )
                for f in self.fault
            ],
            changes=[Change(c.asset, c.metric, c.value, c.start_s) for c in self.change],
            gpu_cap_frac=self.gpu_cap_frac,
            clock_frac=self.clock_frac,
            it_cap_w=np.inf if self.it_cap_w is None else self.it_cap_w,
            grid_cap_w=np.inf if self.grid_cap_w is None else self.grid_cap_w,
            added=[(added.like, added.count) for added in self.add_rack],
            economiser=self.economiser,
        )

    def params(self, params: Params, where: str = "parameter") -> Params:
        """``params`` with the numbers that the scenario gives, such as ``plant.supply_c``. ``ConfigError`` with every name that
        there is not."""
        problems = []
        for one in self.parameter:
            group, _, name = one.name.partition(".")
            table: Any = getattr(params, group, None) if name else None
            known = {f.name for f in fields(table) if isinstance(getattr(table, f.name), float)} if table is not None else set()
            if name not in known:
                problems.append(
                    Problem(f"{where} {one.name}", "is no number of twin/params.py; write group.name, as in plant.supply_c")
                )
            elif not (within := _bounds(name, getattr(table, name)))[0] <= one.value <= within[1]:
                low, high = within
                problems.append(Problem(f"{where} {one.name}", f"is {one.value:g}; it may be {low:g} to {high:g}"))
            else:
                params = replace(params, **{group: replace(table, **{name: one.value})})
        if problems:
            raise ConfigError(problems)
        return params


@dataclass(frozen=True, slots=True)
class Written:
    """A scenario and the parameters that go with it."""

    scenario: Scenario
    params: Params


def _bounds(name: str, default: float) -> tuple[float, float]:
    """What a number of ``twin/params.py`` may be in a scenario: a temperature that water or air can have, a share up to all, a
    ratio on the same side of one, and else up to a hundred times more or less than it is by default."""
    if name.endswith("_c"):
        return -60.0, 150.0
    if default == 0:
        return 0.0, 1.0 if name.endswith("_frac") else 1e9
    low, high = default / FURTHEST, default * FURTHEST
    if name.endswith("_frac"):
        high = 1.0
    if name.endswith("_ratio") and default != 1:
        low, high = (1.01, high) if default > 1 else (low, 0.99)
    return low, high


def read_scenario(path: Path | None, params: Params) -> Written:
    """The scenario in a TOML file (None: the plain run). ``ConfigError`` with everything that is wrong."""
    if path is None:
        return Written(Scenario(), params)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            [Problem(str(path), f"cannot be read ({error.strerror}); name a scenario with --scenario")]
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError([Problem(str(path), f"is not a TOML file: {error}")]) from error
    try:
        given = ScenarioIn.model_validate({"name": path.stem, **raw})
    except ValidationError as error:
        raise ConfigError([_problem(path, one) for one in error.errors()]) from error
    return Written(given.scenario(), given.params(params, f"{path}: parameter"))


def _problem(path: Path, one: Any) -> Problem:
    """Where in the file, counted as a person counts: fault 2, not fault.1."""
    place = " ".join(str(part + 1) if isinstance(part, int) else str(part) for part in one["loc"])
    return Problem(f"{path}: {place}", f"{one['msg']} (got {str(one.get('input'))[:80]!r})")
