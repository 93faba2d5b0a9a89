"""Places on the page ``/energy``: what power is like in each hall or centre that jobs may run in, and the ways between."""

from collections.abc import Sequence

from energy.place.atlas import latency_class
from ui.faces.pages.markup import listed, panel
from ui.faces.pages.texts import Cell, Table, plain, row
from ui.placing import Placed
from ui.words import Words

_HEADS = ("place", "partitions", ">signal", ">PUE", ">waiting", ">running", "round trip")
_COLS = "minmax(0,1fr) minmax(0,1.2fr) 8rem 5rem 5rem 5rem minmax(0,1.8fr)"


def places() -> str:
    """The panel; it stands where the configuration names places."""
    table = listed("places", "No place is named", _HEADS, _COLS)
    return panel("places", "Places that jobs may run in", [], table, size="w24")


def table(placed: Sequence[Placed], signal: str, words: Words) -> Table:
    """Its rows, the cleanest or cheapest first."""
    unit = "per_mwh" if signal == "price_per_mwh" else "gco2_per_kwh"
    ordered = sorted(placed, key=lambda one: (one.signal != one.signal, one.signal))
    known = any(one.signal == one.signal for one in placed)
    said = {"x": words("measured" if known else "no reading"), "f": "ok" if known else "none"}
    return {"l.places": [_row(one, unit, words) for one in ordered], "p.places": said}


def _row(one: Placed, unit: str, words: Words) -> Cell:
    ways = ", ".join(f"{name} {latency_class(away_s)}" for name, away_s in one.ways)
    cells: list[str | Cell] = [one.place.name, ", ".join(one.place.says), plain(words, one.signal, unit)]
    cells += [plain(words, one.facility_ratio, "ratio"), plain(words, one.waiting, "count"), plain(words, one.running, "count")]
    return row("", [*cells, ways])
