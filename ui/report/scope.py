"""What a report is about: the whole centre, a hall, a tenant or a project; parts of one kind sum to the centre."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from energy.account.book import Given, keys_of
from energy.account.meters import Meters
from energy.account.part import Piece, shares_of_runs
from energy.account.runs import Runs, read_runs
from twin.errors import ConfigError, Problem
from twin.ports import Records, Store
from twin.site import Bools, Site
from ui.report.halls import hall_parts
from ui.report.span import MAX_SPAN, Span

Kind = Literal["centre", "hall", "tenant", "project"]
MAX_NAME = 200
MAX_PLAIN = 40  # characters of a name in a file's: four bytes each at most, where 255 bytes are a name's bound
MAX_NAMED = 20  # parts that a refusal lists
HINT = "write centre, hall:NAME, tenant:NAME or project:NAME"


@dataclass(frozen=True, slots=True)
class Scope:
    """``name`` is empty for the centre alone."""

    kind: Kind = "centre"
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @property
    def whole(self) -> bool:
        """It is the centre."""
        return self.kind == "centre"

    @property
    def slug(self) -> str:
        """As a part of a file's name: two names never give the same."""
        plain = re.sub(r"[^\w-]", "-", unicodedata.normalize("NFC", self.name))[:MAX_PLAIN]
        mark = "" if plain == self.name else f"-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"
        return f"{self.kind}-{plain}{mark}" if self.name else ""


CENTRE = Scope()


def scope_of(text: str) -> Scope:
    """The scope that ``text`` names; ``ConfigError`` where it names none."""
    kind, _, name = text.partition(":")
    known = kind in get_args(Kind) and (kind == "centre") == (not name) and len(name) <= MAX_NAME and name.isprintable()
    if not known:
        raise ConfigError([Problem("scope", f"{text[:80]!r} is no part of a centre; {HINT}")])
    return Scope(kind, name)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A scope joined to a site and its runs. ``gpus``: bool[g], which GPUs it has (all, where it only uses some); ``mine``:
    bool[n], which of the centre's runs are its own."""

    scope: Scope
    site: Site
    gpus: Bools
    runs: Runs
    mine: Bools

    @property
    def own(self) -> Runs:
        """Its runs, with what they hold of its GPUs."""
        return self.runs if self.scope.whole else self.runs.only(self.mine, self.gpus if self.scope.kind == "hall" else None)

    def piece(self, store: Store, meters: Meters) -> Piece:
        """Its part of each step of ``meters``."""
        site, scope = self.site, self.scope
        if scope.whole:
            return Piece(np.ones(len(meters.time_s)), self.mine)
        if scope.kind == "hall":
            share, cooling = (part[site.row(scope.name)] for part in hall_parts(site, store, meters))
            return Piece(share, self.mine, self.gpus, cooling)
        return Piece(shares_of_runs(store, meters, self.runs, self.mine, site.count("gpu")), self.mine)


def part_of(scope: Scope, site: Site, runs: Runs, given: Given) -> Part:
    """``ConfigError`` where the site has no such hall."""
    gpus, mine = np.ones(site.count("gpu"), dtype=np.bool_), np.ones(len(runs), dtype=np.bool_)
    if scope.kind == "hall":
        _refuse(scope, site.ids_of("hall"))
        gpus = site.within("gpu", "hall") == site.row(scope.name)
        mine = np.bincount(runs.run_of, weights=gpus[runs.gpu], minlength=len(runs)) > 0
    elif not scope.whole:
        keys = keys_of(runs, "tenant" if scope.kind == "tenant" else "project", given)
        mine = np.array([key == scope.name for key in keys], dtype=np.bool_)
    return Part(scope, site, gpus, runs, mine)


def refuse_unknown(scope: Scope, site: Site, records: Records, span: Span, given: Given) -> None:
    """``ConfigError`` where there is no such hall, or where neither the table of projects nor a run of ``span`` or of the year
    before its end names the tenant or project: nothing would be reported of a name that was mistyped."""
    if scope.kind == "hall":
        _refuse(scope, site.ids_of("hall"))
    elif not scope.whole:
        by = scope.kind
        names = set(given.tenants.values() if by == "tenant" else given.tenants)
        for start in (span.start, span.end - MAX_SPAN):
            if scope.name in names:
                return
            runs = read_runs(records, start, span.end, site.ids_of("gpu"))
            names |= set(keys_of(runs, "tenant" if by == "tenant" else "project", given))
        _refuse(scope, sorted(names))


def _refuse(scope: Scope, names: Sequence[str]) -> None:
    if scope.name not in names:
        there = ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")
        raise ConfigError([Problem("scope", f"there is no {scope.kind} {scope.name!r}; there are {there or 'none'}")])


def scopes_of(patterns: Sequence[str], site: Site, runs: Runs, given: Given) -> list[Scope]:
    """The scopes that ``patterns`` name: as ``scope_of`` reads them, or ``halls``, ``tenants``, ``projects`` for all of a
    kind that there are."""
    found: list[Scope] = []
    for pattern in patterns:
        if pattern == "halls":
            found += [Scope("hall", name) for name in site.ids_of("hall")]
        elif pattern == "tenants":
            found += [Scope("tenant", name) for name in sorted(set(keys_of(runs, "tenant", given)))]
        elif pattern == "projects":
            found += [Scope("project", name) for name in sorted(set(keys_of(runs, "project", given)))]
        else:
            found.append(scope_of(pattern))
    return list(dict.fromkeys(found))
