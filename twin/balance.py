"""Conservation: what goes in comes out or is lost, at every asset and over the whole site. Checked after a solve.

It adds up the links again, not the sums that solved them, so that an error in those shows here.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from twin.flow import Flow
from twin.frame import Floats
from twin.site import Links, Site
from twin.solution import Solution

TOLERANCE_FRAC = 1e-6  # of what goes into the asset; beside it a milliwatt
MAX_VIOLATIONS = 100


@dataclass(frozen=True, slots=True)
class Violation:
    """A balance that does not close at an asset: ``size_w`` [W] more goes in than comes out (negative: less)."""

    asset: str
    balance: str
    size_w: float

    def __str__(self) -> str:
        return f"{self.asset}: {self.balance} is off by {self.size_w:.6g} W"


def violations(site: Site, solution: Solution) -> list[Violation]:
    """Everything in ``solution`` that is not conserved, largest first, at most ``MAX_VIOLATIONS``.

    Power in = power out + loss and heat in = heat out at every asset; the chain carries exactly IT and cooling; the
    facility is IT, cooling, losses and house; the plant gets the heat of IT, air handlers and CDU pumps. What is unknown
    (NaN) is left out: what nobody claims cannot be wrong.
    """
    s, t = solution, solution.totals
    electric_w = float(s.cooling.electric.sum())
    whole = {
        "power of the chain against IT, cooling and loss": (s.power.total_w, t.it_w + electric_w + float(s.power.loss.sum())),
        "needs in the chain against IT and cooling": (float(s.power.own.sum()), t.it_w + electric_w),
        "facility against IT, cooling, loss and house": (t.facility_w, t.it_w + t.cooling_w + t.loss_w + t.house_w),
        "heat to the plant against what makes it": (s.cooling.heat.total_w, t.it_w + s.cooling.indoor_w),
    }
    found = [*flow_violations(site, s.power, "power"), *flow_violations(site, s.cooling.heat, "heat")]
    found += [
        Violation(site.name, name, left - right)
        for name, (left, right) in whole.items()
        if math.isfinite(left - right) and abs(left - right) > 1e-3 + TOLERANCE_FRAC * abs(right)
    ]
    return sorted(found, key=lambda violation: -abs(violation.size_w))[:MAX_VIOLATIONS]


def flow_violations(site: Site, flow: Flow, what: str) -> list[Violation]:
    """Assets at which ``flow`` (of ``what``) takes in something else than it needs, loses and passes on, or loses less than
    nothing, in the order of the site."""
    passed, given = np.zeros(len(site.ids)), np.zeros(len(site.ids))
    links = flow.links
    np.add.at(passed, links.source, links.share * flow.into[links.target])
    np.add.at(given, links.target, links.share)
    fed = given > 0
    gaps = {
        f"{what} in less {what} out": flow.into - flow.own - flow.loss - passed,
        f"negative loss of {what}": np.minimum(flow.loss, 0.0),
        f"{what} that its feeds do not bring": np.where(fed, (given - 1) * flow.into, 0.0),
    }
    allowed = 1e-3 + TOLERANCE_FRAC * np.abs(flow.into)
    return [
        Violation(site.ids[i], name, float(gap[i])) for name, gap in gaps.items() for i in np.flatnonzero(np.abs(gap) > allowed)
    ]


def block_gap_w(links: Links, own_w: Floats, loss_w: Floats, into_w: Floats) -> Floats:
    """Largest gap in each step of a chunk of solved ``links`` [W]: |power in - need - loss - what its targets take| over
    assets.

    All float64[assets, t]; adds up the links again, as ``flow_violations`` does for one moment. NaN where something is unknown.
    """
    n = len(own_w)
    passed = csr_array((links.share, (links.source, links.target)), shape=(n, n)) @ into_w
    gap: Floats = np.abs(into_w - own_w - loss_w - passed).max(axis=0, initial=0.0)
    return np.asarray(np.maximum(gap, -loss_w.min(axis=0, initial=0.0)))
