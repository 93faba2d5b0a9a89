"""A part of the centre: what a hall, a tenant or a project took of each step, so that all parts sum to the meters.

A hall's part of a step is that of its racks' power, or of its GPUs' where no rack is read; a tenant's or a project's is the
energy of the GPUs that its runs held then. All else (processors, network, cooling, losses) follows, as ``share`` has it, but
for cooling equipment that stands in a hall, which is that hall's own; the demand charge and what is bought by contract follow
energy over the whole interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from energy.account.book import QUANTITIES, Account, By, Given, account_of, grouped, read_shares
from energy.account.meters import Meters
from energy.account.power import portions
from energy.account.runs import Runs
from energy.account.share import covered, drawn, holds_of, stretched
from twin.frame import Floats
from twin.ports import Store
from twin.site import Bools

TIMES = ("length_s", "modelled_s", "facility_modelled_s", "it_alone_s", "it_modelled_s")  # in which meters were read


def shares_of_runs(store: Store, meters: Meters, runs: Runs, mine: Bools, gpus: int) -> Floats:
    """float64[t]: part of each step's GPU energy that the runs of ``mine`` (bool[n]) held, as ``share`` has it; 0 where nothing
    says who took what."""
    out: Floats = np.zeros(len(meters.time_s))
    step_s, edges = meters.step_s, (meters.start_s, meters.end_s)
    holds = stretched(holds_of(runs, *edges), *edges, meters.time_s, step_s)
    own = holds.of(mine)
    for at, gpu_w, _ in portions(store, "gpu", meters, gpus):
        at_s = float(meters.time_s[at.start])
        power, total = drawn(gpu_w, holds, at_s, step_s)
        cover = covered(own, at_s, step_s, *power.shape)
        out[at] = (power * cover).sum(axis=1) / np.where(total > 0, total, 1.0)
    return out


def scaled(meters: Meters, share: Floats, cooling_frac: Floats | None = None) -> Meters:
    """The meters of a part that took ``share`` (float64[t], NaN where that is not known: the step was not read of this part) of
    each step, of cooling power ``cooling_frac`` (float64[t]; None: as much)."""
    of_all = _of_all(meters, share, cooling_frac)
    parts = {"facility_w": of_all, "own_w": of_all, "own_guessed_w": of_all, "it_w": share, "it_alone_w": share}
    parts["cooling_w"] = share if cooling_frac is None else cooling_frac
    changed = {name: getattr(meters, name) * part for name, part in parts.items()}
    changed |= {name: np.where(np.isfinite(share), getattr(meters, name), 0.0) for name in TIMES}
    return replace(meters, **changed)


def _of_all(meters: Meters, share: Floats, cooling_frac: Floats | None) -> Floats:
    """float64[t]: part of facility power: of cooling its own, of all else ``share``; parts of each that sum to 1 do so here."""
    if cooling_frac is None:
        return share
    known = np.isfinite(meters.cooling_w) & (meters.facility_w > 0)
    cooled = np.divide(meters.cooling_w, meters.facility_w, out=np.zeros(len(share)), where=known)
    return np.asarray(share + (cooling_frac - share) * np.minimum(cooled, 1.0))


def part_account(whole: Account, meters: Meters, share: Floats, given: Given, cooling_frac: Floats | None = None) -> Account:
    """The account of the part that took ``share`` (float64[t]) of each step of ``meters``, which are those of ``whole``; of
    cooling ``cooling_frac``, as ``scaled`` has it."""
    alone = replace(given, water_kg=float("nan"), reused_kwh=float("nan"))  # the centre's: more heat than a small part took in
    made, _ = account_of(scaled(meters, share, cooling_frac), whole.start, whole.end, alone)
    frac = made.facility_kwh / whole.facility_kwh if whole.facility_kwh > 0 else float("nan")
    bought = {name: getattr(whole.carbon, name) * frac for name in ("contracted_kwh", "renewable_kwh")}
    bought["market_kg"] = float(whole.carbon.market_of(made.carbon.location_kg, frac))
    bill = made.bill
    if bill is not None and whole.bill is not None:
        months = [replace(one, billed_w=one.billed_w * frac, cost=one.cost * frac) for one in whole.bill.months]
        bill = replace(bill, months=months)
    ref_frac = whole.indicators.ref_frac if made.coverage_frac > 0 else float("nan")
    ref = replace(made.indicators, ref_frac=ref_frac)
    return replace(made, carbon=replace(made.carbon, **bought), bill=bill, indicators=ref)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A part of the centre. ``share``: float64[t], what it took of each step, NaN where that is not known; ``mine``: bool[n],
    its runs; ``inside``: bool[g], its GPUs, None where it is whose runs are whose and not where; ``cooling_frac``: float64[t],
    what it took of each step's cooling power, None where that is ``share`` too."""

    share: Floats
    mine: Bools
    inside: Bools | None = None
    cooling_frac: Floats | None = None


def part_splits(
    store: Store, meters: Meters, whole: Account, given: Given, runs: Runs, ways: Sequence[By], piece: Piece, gpus: int
) -> Mapping[By, Account]:
    """The account of ``piece``, split in each of ``ways``; ``meters``, ``whole``, ``runs``: of the centre. What runs took of a
    hall leaves idle and unseen; of a tenant or project nothing is left over."""
    made = part_account(whole, meters, piece.share, given, piece.cooling_frac)
    values = account_of(meters, whole.start, whole.end, given)[1]
    of_all = _of_all(meters, piece.share, piece.cooling_frac)
    parts = values * np.nan_to_num(np.column_stack([piece.share if name == "it_kwh" else of_all for name in QUANTITIES]))
    if piece.inside is None:
        shares = read_shares(store, meters, runs, gpus, values).only(piece.mine)
    else:
        shares = read_shares(store, meters, runs.only(piece.mine, piece.inside), gpus, parts, piece.inside)
    own = runs.only(piece.mine)
    return {by: replace(made, split=grouped(shares, own, by, parts.sum(axis=0), given)) for by in ways}
