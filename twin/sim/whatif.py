"""Two scenarios side by side, with how sure the difference is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from twin.errors import ConfigError, Problem
from twin.params import Params
from twin.sim.outlook import Outlook
from twin.sim.scenario import Scenario
from twin.sim.spread import draw_spread
from twin.sim.telemetry import Telemetry
from twin.sim.trace import Trace
from twin.simulate import Progress, Trajectory, simulate
from twin.site import Site

MAX_MEMBERS = 200
MEMBER_STEP_S = 300.0  # members run in steps this long or longer: they are for sums, not for transients


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity, unit in the name. ``base``, ``other``: as modelled; ``difference_p10`` to ``_p90``: of other less base
    over the members, both drawn alike; None where it cannot be said."""

    name: str
    base: float | None
    other: float | None
    difference: float | None
    difference_p10: float | None
    difference_p90: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Both runs whole, and their quantities beside each other."""

    base: Trajectory
    other: Trajectory
    rows: Sequence[Row]
    members: int


def compare(
    site: Site,
    jobs: Trace | Telemetry,
    params: Params,
    outlook: Outlook,
    horizon_s: float,
    step_s: float,
    *,
    scenarios: tuple[Scenario, Scenario],
    rng: np.random.Generator,
    members: int = 8,
    start_s: float = 0.0,
    other_params: Params | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Run both ``scenarios`` as they are, then ``members`` pairs whose numbers are drawn by ``params.doubt``, alike for both.

    Transient quantities (temperatures, times to a limit, how many passed one) have no interval: members are too coarse for
    them. ``ConfigError`` as ``simulate``, and for more members than ``MAX_MEMBERS``.
    """
    if not 0 <= members <= MAX_MEMBERS:
        raise ConfigError([Problem("members", f"{members}; from 0 to {MAX_MEMBERS} can be run")])
    both = (params, other_params or params)
    parts = 2 + 2 * members
    told = _Parts(progress, parts)
    base, other = (
        simulate(site, jobs, p, outlook, horizon_s, step_s, start_s=start_s, scenario=s, progress=told.part)
        for s, p in zip(scenarios, both, strict=True)
    )
    coarse = min(max(step_s, MEMBER_STEP_S), horizon_s)
    pairs: list[tuple[Mapping[str, float | None], Mapping[str, float | None]]] = []
    for _ in range(members):
        spread = draw_spread(params.doubt, rng)
        runs = [
            simulate(
                site, jobs, p, outlook, horizon_s, coarse, start_s=start_s, scenario=s, spread=spread, progress=told.part
            ).summary
            for s, p in zip(scenarios, both, strict=True)
        ]
        pairs.append((runs[0], runs[1]))
    return Comparison(base, other, [_row(name, base.summary, other.summary, pairs) for name in base.summary], members)


class _Parts:
    """Progress over several runs."""

    def __init__(self, progress: Callable[[float], None] | None, parts: int) -> None:
        self.progress, self.parts, self.done = progress, parts, 0

    def part(self, share: float) -> None:
        if self.progress:
            self.progress((self.done + share) / self.parts)
        self.done += share >= 1.0


def _row(
    name: str,
    base: Mapping[str, float | None],
    other: Mapping[str, float | None],
    pairs: Sequence[tuple[Mapping[str, float | None], Mapping[str, float | None]]],
) -> Row:
    left, right = base[name], other[name]
    difference = None if left is None or right is None else right - left
    spread = [b - a for a, b in ((pair[0][name], pair[1][name]) for pair in pairs) if a is not None and b is not None]
    transient = name.endswith(("_c", "_k", "_s", "_count", "_max_frac")) and not name.startswith(("wait", "jobs"))
    if transient or len(spread) < 2 or len(spread) < len(pairs):
        return Row(name, left, right, difference, None, None)
    low, high = np.percentile(spread, [10, 90])
    return Row(name, left, right, difference, float(low), float(high))
