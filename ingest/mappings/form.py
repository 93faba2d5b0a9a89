"""The form of a bound page: everything of it but which assets its rows are. Pages of one form are mapped together
(``ingest.mappings.pool``)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

import numpy as np

from ingest.mappings.columns import Block, Derived, Positions, Term
from twin.frame import Floats
from twin.site import Bools

MAX_SPREADS = 64  # numbers of pages for which the spread columns are remembered

Ranges = Sequence[tuple[float, float]]
_FORMS: "WeakValueDictionary[tuple[object, ...], Form]" = WeakValueDictionary()


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Form:
    """``blocks``, whose rows do not count; ``rated``: the counters among the series, which wrap at ``wraps`` (0: never);
    ``blanks``: ranges of values that mean "none". One object stands for all that are equal: see ``form_of``."""

    blocks: Sequence[Block]
    rated: Positions
    wraps: Floats
    blanks: Ranges
    spreads: dict[tuple[int, int], list[Derived]] = field(default_factory=dict)

    def unblank(self, values: Floats) -> Bools | None:
        """bool[n]: which values are more than a word for "none"; None where all are."""
        if not self.blanks or not (values >= min(low for low, _ in self.blanks)).any():
            return None
        known = np.ones(len(values), dtype=np.bool_)
        for low, high in self.blanks:
            known &= ~((values >= low) & (values <= high))
        return None if known.all() else known

    def spread(self, number: int, pages: int, series: int) -> list[Derived]:
        """The derived columns of block ``number`` over ``pages`` pages of ``series`` series that stand one after another."""
        found = self.spreads.get((number, pages))
        if found is None:
            if len(self.spreads) >= MAX_SPREADS:
                self.spreads.clear()
            block = self.blocks[number]
            found = self.spreads[number, pages] = [_spread(one, pages, series, len(block.rows)) for one in block.derived]
        return found


def form_of(blocks: Sequence[Block], rated: Positions, wraps: Floats, blanks: Ranges, series: int) -> Form:
    """The form of a page of ``series`` series; the same object for the same form."""
    key = (series, rated.tobytes(), wraps.tobytes(), tuple(blanks), *map(_block_key, blocks))
    found = _FORMS.get(key)
    if found is None:
        found = _FORMS[key] = Form(blocks, rated, wraps, blanks)
    return found


def _block_key(block: Block) -> tuple[object, ...]:
    derived = [
        (id(one.entry), one.column, *(_term_key(term) for term in (one.main, one.minus, one.over))) for one in block.derived
    ]
    cells = block.of.shape, block.of.tobytes(), block.scale.tobytes(), block.offset.tobytes()
    return block.kind, tuple(block.metrics), cells, tuple(derived)


def _term_key(term: Term | None) -> tuple[bytes, ...]:
    if term is None:
        return ()
    return term.of.tobytes(), term.slot.tobytes(), b"" if term.weight is None else term.weight.tobytes()


def _spread(one: Derived, pages: int, series: int, rows: int) -> Derived:
    page = np.arange(pages)[:, None]

    def term(of: Term) -> Term:
        weight = None if of.weight is None else np.tile(of.weight, pages)
        return Term((of.of + page * series).ravel(), (of.slot + page * rows).ravel(), weight)

    minus, over = (None if of is None else term(of) for of in (one.minus, one.over))
    return replace(one, main=term(one.main), minus=minus, over=over)
