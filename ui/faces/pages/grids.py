"""Several grids on a page: under a tile what the centre's number is a mean of, and on ``/energy`` each of them by itself."""

from typing import Literal

from twin.message import Message
from ui.faces.pages.markup import listed, panel
from ui.faces.pages.texts import Table, cell, row, source
from ui.grids import GridRow
from ui.reading import Reading
from ui.view import View
from ui.words import Words

EACH = "/energy"
PLACE = '<span class="fine grids" data-l="grids"></span>'
NAMED = 3  # as many names as a tile has room for
_HEADS = ("grid", "zone", ">carries", ">carbon", ">price")
_COLS = "minmax(0,1.4fr) minmax(0,1fr) 6rem 9rem 8rem"


def places() -> str:
    """The panel of the page ``/energy``; it stands where the site has several grids."""
    table = listed("grids-each", "No grid", _HEADS, _COLS, "Grids")
    return panel("grids", "Grids, by what each carries now", [], table, size="w8")


def under(view: View, words: Words, of: Literal["carbon", "price"]) -> Table:
    """What stands under a tile with the mean ``of`` a signal: how many grids it is of, or the name of the only one that carries
    anything; where the mean is not known, each grid's own number. All of it is there for whoever points at it."""
    if not view.grids:
        return {"l.grids": []}
    if not (view.centre.carbon_intensity if of == "carbon" else view.centre.price).known:
        said = [f"{one.id} {words.reading(one.carbon if of == 'carbon' else one.price).number}" for one in view.grids[:NAMED]]
        text = " · ".join([*said, *(["…"] if len(view.grids) > NAMED else [])])
    else:
        carry = [one.id for one in view.grids if one.share.value > 0]
        text = carry[0] if len(carry) == 1 else words.sentence(Message("of {n} grids", {"n": len(carry)}))
    whole = "\n".join(_whole(one, words) for one in view.grids)
    return {"l.grids": [row("", [{"x": text, "h": EACH, "w": whole}])]}


def table(view: View, words: Words) -> Table:
    """The rows of the panel."""
    rows = [
        row("", [one.id, one.zone, *(cell(words, each) for each in (one.share, one.carbon, one.price))]) for one in view.grids
    ]
    return {"l.grids-each": rows, "p.grids": source(words, [one.carbon for one in view.grids])}


def _whole(one: GridRow, words: Words) -> str:
    """All that is known of a grid, for whoever points at it."""
    name = f"{one.id} ({one.zone})" if one.zone else one.id
    share = _said(one.share, words) if one.share.known else words.sentence(Message("share not known"))
    said = [share, _said(one.carbon, words), *([_said(one.price, words)] if one.price.known else [])]
    return f"{name}: {', '.join(said)}"


def _said(reading: Reading, words: Words) -> str:
    text = words.reading(reading)
    old = words.sentence(Message("{age} old", {"age": words.age(reading.age_s)})) if reading.known and not reading.fresh else ""
    return f"{text.number} {text.unit}".strip() + (f" ({old})" if old else "")
