"""Finds the asset that a series speaks of: by ids and names that the site gives, or by its place within a node."""

import re
from collections.abc import Mapping, Sequence
from functools import cache

from ingest.mappings import NODE_WIDE, SITE_WIDE
from twin.site import Site

_AMBIGUOUS = -1
_PART = re.compile(r"\{(\w+)\}")
NODE_NAMES = ("hostname", "id", "address")  # what a telemetry label may call a node by, the first before the second


class Assets:
    """The assets of one site, findable; one instance serves all targets of a source. Tables are made when first asked for."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._table = cache(self._make_table)
        self._texts = cache(self._read_texts)

    def node(self, name: str) -> int | None:
        """Row of the node with this hostname, id or address; a port after it does not count. None where none has."""
        bare = name.rpartition(":")[0].strip("[]") if ":" in name else name
        for attribute in NODE_NAMES:
            table = self._table("node", attribute)
            for said in (name, bare):
                row = table.get((_AMBIGUOUS, said), _AMBIGUOUS)
                if row != _AMBIGUOUS:
                    return row
        return None

    def find(self, kind: str, keys: Mapping[str, Sequence[str]], labels: Mapping[str, str], node: int | None) -> int | None:
        """Row of the asset of ``kind`` that ``labels`` name by ``keys`` (attribute -> labels), None where none is known.

        ``node`` is the row of the node that the series belongs to. What is found by its place in the node must not
        have another unique id than the series says.
        """
        strange = False  # the series gives a unique id that no asset has
        for attribute, names in keys.items():
            if attribute in NODE_WIDE and node is None:
                continue
            place = _AMBIGUOUS if attribute in SITE_WIDE or node is None else node
            for said in said_by(names, labels):
                row = self._table(kind, attribute).get((place, said), _AMBIGUOUS)
                if row != _AMBIGUOUS:
                    return None if strange and attribute in NODE_WIDE and self._named(kind, row, keys) else row
                strange = strange or attribute in SITE_WIDE
        return None

    def _named(self, kind: str, row: int, keys: Mapping[str, Sequence[str]]) -> bool:
        return any(self._texts(kind, attribute)[row] for attribute in keys if attribute in SITE_WIDE)

    def _read_texts(self, kind: str, attribute: str) -> Sequence[str]:
        site = self._site
        if attribute == "id":
            return site.ids_of(kind)
        if attribute == "index":
            return ["" if index != index else f"{index:g}" for index in site.number(kind, "index").tolist()]
        return site.text(kind, attribute)

    def _make_table(self, kind: str, attribute: str) -> dict[tuple[int, str], int]:
        """(row of the node, or -1 for the whole site; value) -> row of the asset, -1 where two assets have the value."""
        texts = self._texts(kind, attribute)
        nodes = self._places(kind) if attribute in NODE_WIDE else [_AMBIGUOUS] * len(texts)
        table: dict[tuple[int, str], int] = {}
        for row, key in enumerate(zip(nodes, texts, strict=True)):
            if key[1]:
                table[key] = _AMBIGUOUS if key in table else row
        return table

    def _places(self, kind: str) -> list[int]:
        """The node that each asset of ``kind`` is in, -1 where it is in none."""
        return [int(row) for row in self._site.within(kind, "node")]


def said_by(names: Sequence[str], labels: Mapping[str, str]) -> list[str]:
    """What ``labels`` say under these names, in their order; a name with braces is filled in with labels, all of them."""
    found = []
    for name in names:
        if "{" not in name:
            found.append(labels.get(name, ""))
        elif all(labels.get(part) for part in _PART.findall(name)):
            found.append(_PART.sub(lambda part: labels[part[1]], name))
    return [one for one in found if one]
