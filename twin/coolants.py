"""What flows in a site's liquid loops: its name as operators write it (``coolant`` of a CDU, rack or loop), and its heat."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from twin.frame import Floats
from twin.physics.coolant import (
    GLYCOL_FRAC,
    ethylene_heat_jpkgk,
    pg25_heat_jpkgk,
    propylene_heat_jpkgk,
    water_heat_jpkgk,
)
from twin.site import Site

Heat = Callable[[Floats], Floats]
USUAL = {"cdu": "pg25", "rack": "pg25", "loop": "water"}  # where the site's tables say nothing
COOLANTS = "water, or pg and eg with per cent by mass from 10 to 60, as pg25"
_NAME = re.compile(r"(water)|(pg|eg)(\d\d)")


def is_coolant(name: str) -> bool:
    """Whether ``name`` is one of ``COOLANTS``."""
    found = _NAME.fullmatch(name)
    return bool(found and (found[1] or GLYCOL_FRAC[0] <= int(found[3]) / 100 <= GLYCOL_FRAC[-1]))


def heat_jpkgk(name: str, temp_c: Floats) -> Floats:
    """Specific heat [J/(kg·K)] of the coolant called ``name`` at ``temp_c``; ``ValueError`` for a name that is none."""
    found = _NAME.fullmatch(name)
    if not found or not is_coolant(name):
        raise ValueError(f"no coolant {name!r}; write {COOLANTS}")
    if found[1]:
        return water_heat_jpkgk(temp_c)
    if name == "pg25":
        return pg25_heat_jpkgk(temp_c)
    kind = propylene_heat_jpkgk if found[2] == "pg" else ethylene_heat_jpkgk
    return kind(temp_c, int(found[3]) / 100)


def names_of(site: Site, kind: str) -> list[str]:
    """What flows in each asset of ``kind`` (``cdu`` and ``rack``: the secondary side; ``loop``), by row. A rack has what a CDU
    that cools it has, unless it says otherwise."""
    names = site.text(kind, "coolant")
    if kind == "rack" and "coolant" in site.texts:
        of_cdu, (source, target, _) = names_of(site, "cdu"), site.linked("cools", "cdu", "rack")
        for cdu, rack in zip(source.tolist(), target.tolist(), strict=True):
            names[rack] = names[rack] or of_cdu[cdu]
    return [name or USUAL[kind] for name in names]


def primary_names_of(site: Site) -> list[str]:
    """What flows on the facility side of each CDU, by row: that of a loop that cools it."""
    of_loop, names = names_of(site, "loop"), [""] * site.count("cdu")
    loops, cdus, _ = site.linked("cools", "loop", "cdu")
    for loop, cdu in zip(loops.tolist(), cdus.tolist(), strict=True):
        names[cdu] = names[cdu] or of_loop[loop]
    return [name or USUAL["loop"] for name in names]


def heat_of(names: Sequence[str]) -> Heat:
    """A function that gives the specific heat [J/(kg·K)] of each of ``names`` from temperatures float64[n]."""
    kinds = sorted(set(names))
    if len(kinds) == 1:
        return lambda temp_c: heat_jpkgk(kinds[0], temp_c)
    rows = {name: np.array([one == name for one in names]) for name in kinds}

    def mixed(temp_c: Floats) -> Floats:
        made = np.full(len(names), np.nan)
        for name, mine in rows.items():
            made[mine] = heat_jpkgk(name, temp_c[mine])
        return made

    return mixed
