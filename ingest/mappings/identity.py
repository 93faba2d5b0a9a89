"""Which asset a series speaks of, remembered while a page is bound, and what that says of the assets: a GPU that sits elsewhere
than the site says, another one in its place, a node that changed its name. Such a thing is an event, and the id counts."""

from collections.abc import Mapping as Map
from collections.abc import Sequence
from datetime import datetime

from ingest.mappings import NODE_WIDE, Entry, Labels, Mapping
from ingest.mappings.assets import Assets, said_by
from twin.event import Event
from twin.site import Site

_UNIQUE = "uuid"  # the attribute that stays with a card wherever it goes
_Finding = tuple[str, str, str]  # asset, code, meaning


class Identities:
    """See the module. One serves one page; its arguments are those of ``ingest.mappings.bind.Binding``."""

    def __init__(
        self, mapping: Mapping, site: Site, assets: Assets, node: int | None, fixed: bool, given: Map[str, int]
    ) -> None:
        self._mapping, self._site, self._assets, self._node, self._fixed = mapping, site, assets, node, fixed
        self._given = given
        self._rows: dict[tuple[str, ...], int | None] = {}
        self._renamed: dict[str, int] = {}  # a name that no node has -> the node whose assets' ids come under it
        self._cards: dict[tuple[str, int], str] = {}  # asset by kind and row -> the unique id it reports
        self._findings: dict[_Finding, None] = {}

    def row(self, entry: Entry, labels: Labels) -> int | None:
        """Row of the asset of the entry's kind that ``labels`` mean; None where none is known."""
        if entry.asset:
            return self._site.row(entry.asset)
        said = next((labels[name] for name in self._mapping.node_labels if labels.get(name)), "")
        keys = self._mapping.assets.get(entry.kind, {})
        key = (entry.kind, said, *(one for names in keys.values() for one in ("", *said_by(names, labels))))
        if key not in self._rows:
            self._rows[key] = self._find(entry.kind, said, labels)
        return self._rows[key]

    def spoken(self, entry: Entry, labels: Labels) -> str:
        """What a series that finds no asset speaks of, as people call it: "gpu 7 of gpu-a01"; "" where it does not say."""
        said = next((labels[name] for name in self._mapping.node_labels if labels.get(name)), "")
        if not said or self._fixed:
            said = self._id("node", self._node) if self._node is not None else said
        if entry.kind == "node":
            return f"node {said}" if said else ""
        keys = self._mapping.assets.get(entry.kind, {})
        places = sorted(keys, key=lambda name: name not in NODE_WIDE)  # a number is read more easily than a serial number
        own = next((one for name in places for one in said_by(keys[name], labels)), "")
        return " ".join(filter(None, (entry.kind, own, f"of {said}" if said else ""))) if own else ""

    def events(self, now: datetime, source: str, before: "Identities | None") -> list[Event]:
        """The findings that ``before`` did not have."""
        new = [one for one in self._findings if before is None or one not in before._findings]
        for (kind, row), card in self._cards.items() if before else ():
            was = before._cards.get((kind, row), card) if before else card
            if was != card:
                asset = self._id(kind, row)
                new.append((asset, f"{kind}/replaced", f"Another one sits in its place: {card} where {was} was"))
        return [Event(now, asset, code, meaning, source) for asset, code, meaning in dict.fromkeys(new)]

    def _find(self, kind: str, said: str, labels: Labels) -> int | None:
        node = self._node
        if said and not self._fixed:
            node = self._assets.node(said)
            if node is None:
                node = self._renamed.get(said)
        if kind == "node" and (node is not None or not self._mapping.assets.get(kind)):
            return node
        keys = self._mapping.assets[kind]
        if kind in self._given and not any(said_by(names, labels) for names in keys.values()):
            return self._given[kind]
        row = self._assets.find(kind, keys, labels, node)
        card = next(iter(said_by(keys.get(_UNIQUE, ()), labels)), "")
        if card:
            self._note(kind, row, labels, node, said, card)
        return row

    def _note(self, kind: str, row: int | None, labels: Labels, node: int | None, said: str, card: str) -> None:
        site, keys = self._site, self._mapping.assets[kind]
        places: dict[str, Sequence[str]] = {name: where for name, where in keys.items() if name in NODE_WIDE}
        place = self._assets.find(kind, places, labels, node) if node is not None and places else None
        if row is None:
            if place is not None:
                expected = site.text(kind, _UNIQUE)[place]
                what = f"Another one sits in its place: {card}, the site expects {expected}; its values are left out"
                self._findings[self._id(kind, place), f"{kind}/replaced", what] = None
            return
        self._cards[kind, row] = card
        home = int(site.within(kind, "node")[row])
        if node is None and home >= 0:
            if said:
                self._renamed[said] = home
                what = f"It calls itself {said}, which no node of the site is called; set its hostname"
                self._findings[self._id("node", home), "node/renamed", what] = None
        elif place != row and (place is not None or node != home):
            there = self._id("node", node) if node is not None else "elsewhere"
            what = f"{card} reports from {there}, which is not where the site has it; its values are this asset's"
            self._findings[self._id(kind, row), f"{kind}/moved", what] = None

    def _id(self, kind: str, row: int) -> str:
        return self._site.ids[int(self._site.of_kind(kind)[row])]
