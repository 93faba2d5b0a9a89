"""What each hall took: of IT power by its racks, of cooling what its own equipment took, of all else its part of IT."""

from collections.abc import Mapping

import numpy as np

from energy.account.book import Account, Given
from energy.account.meters import Meters
from energy.account.part import part_account
from energy.account.power import power_of, took_of_groups
from twin.frame import Floats
from twin.ports import Store
from twin.site import Site

IN_HALLS = ("crah", "cdu", "pump", "chiller")  # cooling equipment that may stand in a hall; towers and dry coolers do not


def hall_parts(site: Site, store: Store, meters: Meters) -> tuple[Floats, Floats]:
    """(of IT and all else, of cooling): float64[halls, t], part of each step that each hall took: by its racks' power, else by
    its GPUs'; of cooling what its own equipment took, and of the rest its part of IT. NaN where nothing that stands in it is
    known: what it took is not nothing, and no other hall is given it where racks say what that one took."""
    share = _shares(site, store, meters)
    own_w, all_w = _own_w(site, store, meters), np.nan_to_num(meters.cooling_w)
    own_w *= all_w / np.maximum(own_w.sum(axis=0), np.maximum(all_w, 1e-9))  # no more than the meter read
    own = np.divide(own_w, all_w, out=np.zeros_like(own_w), where=all_w > 0)
    return share, own + share * (1 - own.sum(axis=0))


def _shares(site: Site, store: Store, meters: Meters) -> Floats:
    """float64[halls, t]: part of IT power: of all racks where each hall's are known, else of all GPUs; where neither are, what
    the racks of a hall read of what the meter did, else of the GPUs that are known. NaN of a hall where none is."""
    halls, count = {kind: site.within(kind, "hall") for kind in ("rack", "gpu")}, site.count("hall")
    has_rack, has_gpu = (np.bincount(hall[hall >= 0], minlength=count)[:, None] > 0 for hall in halls.values())
    racks_w, by_rack = took_of_groups(store, "rack", meters, halls["rack"], count)
    gpus_w, by_gpu = np.zeros_like(racks_w), np.zeros_like(by_rack)
    all_racks = (by_rack | ~has_rack).all(axis=0) & (racks_w.sum(axis=0) > 0)
    if not all_racks.all() or (has_gpu & ~has_rack).any():
        gpus_w, by_gpu = took_of_groups(store, "gpu", meters, halls["gpu"], count)
    every_gpu = (by_gpu | ~has_gpu).all(axis=0) & (gpus_w.sum(axis=0) > 0)
    all_gpus = every_gpu & (has_gpu | ~has_rack).all()
    it_w = np.where(np.isfinite(meters.it_w), meters.it_w, meters.it_alone_w)
    metered = np.where(by_rack | ~has_rack, racks_w / np.maximum(it_w, np.maximum(racks_w.sum(axis=0), 1e-9)), np.nan)
    some = by_rack.any(axis=0) & (by_rack | ~by_gpu).all(axis=0)
    ways = [_over(racks_w), _over(gpus_w), metered, _over(gpus_w)]
    share = np.select([all_racks, all_gpus, some, every_gpu], ways, np.nan)
    return np.where(by_rack | by_gpu | ~(has_rack | has_gpu), share, np.nan)


def _over(took_w: Floats) -> Floats:
    return np.asarray(took_w / np.maximum(took_w.sum(axis=0), 1e-9))


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
    """The account of each hall, whose energies are those of its own report, NaN of one that nobody read; none where there is
    one hall or no hall, or nothing says what any of them took."""
    names = site.ids_of("hall")
    if len(names) < 2:
        return {}
    shares, coolings = hall_parts(site, store, meters)
    if not np.nansum(shares):
        return {}
    parts = zip(names, shares, coolings, strict=True)
    return {name: part_account(whole, meters, share, given, cooling) for name, share, cooling in parts}
