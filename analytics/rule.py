"""What a rule is: a condition on one metric of one kind of asset, who owns it, and what it explains or suffers from."""

import fnmatch
import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from analytics.week import ALWAYS, Week
from twin.frame import Origin
from twin.metrics import UNITS, suffix
from twin.site import Bools, Site


class Severity(StrEnum):
    """How soon a person must look."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Of(StrEnum):
    """What of a metric is judged. ``RATE`` and ``INCREASE`` are of counters, ``CHANGE`` of gauges; see ``analytics.judge``."""

    VALUE = "value"
    SIZE = "size"
    INCREASE = "increase"
    RATE = "rate"
    CHANGE = "change"
    RATIO = "ratio"
    DIFFERENCE = "difference"
    RESIDUAL = "residual"
    FORECAST = "forecast"


class Domain(StrEnum):
    """What an asset passes on to those after it, and so what can be missing there."""

    POWER = "power"
    COOLING = "cooling"
    NETWORK = "network"
    TELEMETRY = "telemetry"


class Join(StrEnum):
    """How a composite rule is made of others."""

    ALL = "all_of"
    ANY = "any_of"
    SHARE = "share_of"


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition on one metric; see ``analytics.rules`` for what the fields mean.

    ``limit`` and ``clear``: in the metric's unit (of ``RATE``: per second), or fractions of ``relative_to``; NaN where the
    condition has none; ``rising``: the limit is crossed upwards; ``absent_s``, ``window_s``, ``horizon_s``: 0 where not used;
    times in seconds. ``metric`` is empty for a composite rule, whose ``parts`` name the rules that it is made of.
    """

    name: str
    kind: str
    metric: str
    severity: Severity
    summary: str
    runbook: str
    hold_s: float
    limit: float = math.nan
    clear: float = math.nan
    rising: bool = True
    codes: tuple[int, ...] = ()
    bits: int = 0
    absent_s: float = 0.0
    window_s: float = 0.0
    relative_to: str = ""
    keep_firing_s: float = 0.0
    assets: str = "*"
    origin: Origin = Origin.MEASURED
    of: Of = Of.VALUE
    over: str = ""
    horizon_s: float = 0.0
    probability_frac: float = 0.0
    join: Join | None = None
    parts: tuple[str, ...] = ()
    tag: str = ""
    inside: str = ""
    during: Week = ALWAYS
    quiet: bool = False
    armed: bool = False
    breaks: Domain | None = None
    suffers: tuple[Domain, ...] = ()
    owner: str = ""
    page: str = ""
    source: str = ""
    reason: str = ""

    @property
    def suffix(self) -> str:
        """Unit of the alert's value and limit as a suffix of ``twin.metrics.UNITS``; of a ``RATE``: per second."""
        if self.absent_s:
            return "s"
        return "ratio" if not self.metric or self.of is Of.RATIO else suffix(self.metric)

    @property
    def unit(self) -> str:
        """Unit of the alert's value and limit, as a face prints it."""
        return UNITS[self.suffix] + ("/s" if self.of is Of.RATE and not self.absent_s else "")

    def applies(self, asset: str) -> bool:
        """Whether the asset with this id fits the rule's glob."""
        return self.assets == "*" or fnmatch.fnmatchcase(asset, self.assets)

    def meant(self, site: Site) -> Bools:
        """bool[n]: which assets of its kind the rule means: by glob, by tag, by what contains them."""
        n = site.count(self.kind)
        take = np.ones(n, dtype=np.bool_)
        if self.assets != "*":
            take &= np.array([self.applies(asset) for asset in site.ids_of(self.kind)], dtype=np.bool_)
        if self.tag:
            take &= np.array([self.tag in text.split() for text in site.text(self.kind, "tags")], dtype=np.bool_)
        if self.inside:
            take &= _contained(site, self.kind, self.inside)
        return take


def _contained(site: Site, kind: str, holder: str) -> Bools:
    """bool[n]: which assets of ``kind`` stand in ``holder`` (an id); none where the site has no such asset."""
    here = site.of_kind(kind).copy()
    found = np.zeros(len(here), dtype=np.bool_)
    goal = site.position.get(holder, -2)
    while (here >= 0).any():
        found |= here == goal
        here = np.where(here >= 0, site.parent[here], -1)
    return found


@dataclass(frozen=True, slots=True)
class Rules:
    """Checked rules, in the order of their files."""

    rules: tuple[Rule, ...]
    path: Path | None = None

    def named(self, name: str) -> Rule | None:
        """The rule of this name."""
        return next((rule for rule in self.rules if rule.name == name), None)
