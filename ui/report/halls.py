"""What each hall took: of IT power by its racks, of cooling what its own equipment took, of all else its part of IT."""

from collections.abc import Mapping

import numpy as np

from energy.account.book import Account, Given
from energy.account.meters import Meters
from energy.account.part import part_account
from energy.account.power import parts_of_groups, power_of
from twin.frame import Floats
from twin.ports import Store
from twin.site import Site

IN_HALLS = ("crah", "cdu", "pump", "chiller")  # cooling equipment that may stand in a hall; towers and dry coolers do not


def hall_parts(site: Site, store: Store, meters: Meters) -> tuple[Floats, Floats]:
    """(of IT and all else, of cooling): float64[halls, t], part of each step that each hall took: by its racks' power, else by
    its GPUs'; of cooling what its own equipment took, and of the rest its part of IT. 0 of all where the first is not known, so
    that no hall is given what a silent one took."""
    hall_of = {kind: site.within(kind, "hall") for kind in ("rack", "gpu")}
    share = parts_of_groups(store, meters, hall_of, site.count("hall"))
    known, share = np.isfinite(share).any(axis=0), np.nan_to_num(share)
    own_w, all_w = _own_w(site, store, meters), np.nan_to_num(meters.cooling_w)
    own_w *= np.where(known, all_w / np.maximum(own_w.sum(axis=0), np.maximum(all_w, 1e-9)), 0.0)  # no more than the meter read
    own = np.divide(own_w, all_w, out=np.zeros_like(own_w), where=all_w > 0)
    return share, own + share * (1 - own.sum(axis=0))


def _own_w(site: Site, store: Store, meters: Meters) -> Floats:
    """float64[halls, t]: power of the cooling equipment that stands in each hall."""
    own_w = np.zeros((site.count("hall"), len(meters.time_s)))
    for kind in IN_HALLS:
        hall = site.within(kind, "hall")
        if kind == "pump":
            hall = np.where(site.within("pump", "cdu") < 0, hall, -1)  # counted with their CDU
        for at, power_w in power_of(store, kind, meters, len(hall)):
            for k in np.unique(hall[hall >= 0]).tolist():
                own_w[k, at] += power_w[:, hall == k].sum(axis=1)
    return own_w


def hall_accounts(site: Site, store: Store, meters: Meters, whole: Account, given: Given) -> Mapping[str, Account]:
    """The account of each hall, whose energies are those of its own report; none where there is one hall or no hall, or nothing
    says what each took."""
    names = site.ids_of("hall")
    if len(names) < 2:
        return {}
    shares, coolings = hall_parts(site, store, meters)
    if not shares.any():
        return {}
    parts = zip(names, shares, coolings, strict=True)
    return {name: part_account(whole, meters, share, given, cooling) for name, share, cooling in parts}
