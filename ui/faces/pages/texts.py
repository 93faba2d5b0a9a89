"""How readings become what a page takes: small JSON values, worked out once for everyone who reads a page in a language.

Keys: ``n.<name>`` a number, ``t.<name>`` a text, ``l.<name>`` the rows of a list, ``m.<name>`` how many more rows it has than
were sent, ``p.<name>`` whose readings a panel shows; other keys are for the page's own script.

A number is ``{"n": text, "u": unit, "f": "ok" | "stale" | "none"}`` with ``"a"`` (its age in words) where it is stale,
``"o": "model"`` where physics says so and no meter, ``"q"`` where it is suspect, ``"s"`` (``warning``, ``critical``) where it
asks to be seen. A time is ``{"t": s since 1970, "as": style}``: the reader's browser knows the zone. A row is
``{"k": state, "c": cells}``, a cell a number, a time, a link ``{"x": text, "h": address}`` with ``"w"``
(what whoever points at it reads), a button ``{"b": text, "do": what, "id": key}`` or a text. Of a panel:
``{"x": "measured · 2 s", "f": "ok" | "stale" | "none"}``.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from twin.frame import Origin, Quality
from twin.message import Message
from ui.reading import Reading
from ui.view import Live, View
from ui.words import DASH, Words

Cell = dict[str, Any]
Table = dict[str, Any]
Gather = Callable[[View, Live], Any]


def cell(words: Words, reading: Reading, state: str = "") -> Cell:
    """A reading as a page takes it."""
    text = words.reading(reading)
    made = {"n": text.number, "u": text.unit, "f": "ok" if reading.fresh else "stale" if reading.known else "none"}
    if made["f"] == "stale":
        made["a"] = words.sentence(Message("{age} old", {"age": words.age(reading.age_s)}))
    elif made["f"] == "ok" and state:
        made["s"] = state
    if reading.known and reading.origin is Origin.MODELLED:
        made["o"] = "model"
    if reading.fresh and reading.quality is not Quality.GOOD:
        made["q"] = "suspect"
    return made


def plain(words: Words, value: float, unit: str, state: str = "") -> Cell:
    """A number that is worked out here and now, from columns in which what is stale is NaN already."""
    text = words.quantity(value, unit)
    made: Cell = {"n": text.number, "u": text.unit, "f": "ok" if math.isfinite(value) else "none"}
    return {**made, "s": state} if state and made["f"] == "ok" else made


def bar(made: Cell, share: float) -> Cell:
    """A number with a bar behind it that fills ``share`` (0-1) of its cell."""
    return {**made, "bar": round(share, 3)} if math.isfinite(share) else made


def when(time: datetime | float | None, style: str = "time") -> Cell | str:
    """A time; the page shows it in its reader's zone. ``style``: time, second, day, stamp, full."""
    if time is None:
        return DASH
    return {"t": round(time.timestamp() if isinstance(time, datetime) else time), "as": style}


def link(text: str, address: str) -> Cell:
    """A text that leads elsewhere."""
    return {"x": text, "h": address}


def press(text: str, does: str, key: str) -> Cell:
    """A button: the page's script hears ``does`` and ``key``."""
    return {"b": text, "do": does, "id": key}


def row(state: str, cells: Sequence[str | Cell], key: str = "") -> Cell:
    """A row of a list; ``key`` names it where the page acts on it."""
    return {"k": state, "c": list(cells), **({"id": key} if key else {})}


def lasting(reading: Reading, words: Words) -> Cell:
    """How long something has lasted, coarsely."""
    said = cell(words, reading)
    return said if said["f"] == "none" else {**said, "n": words.age(reading.value), "u": ""}


_ORIGINS = {
    Origin.MEASURED: "measured",
    Origin.MODELLED: "modelled",
    Origin.FORECAST: "forecast",
    Origin.COMMANDED: "commanded",
}


def source(words: Words, readings: Iterable[Reading]) -> Cell:
    """Whose readings a panel shows and how old the oldest of them is: "measured · 2 s"."""
    known = [reading for reading in readings if reading.known]
    if not known:
        return {"x": words("no reading"), "f": "none"}
    fresh = [reading for reading in known if reading.fresh]
    origins = sorted({reading.origin for reading in fresh or known})
    said = " + ".join(words(_ORIGINS[origin]) for origin in origins)
    age_s = max(reading.age_s for reading in fresh or known)
    text = f"{said} · {words.age(age_s)}"
    return {"x": text if fresh else f"{words('stale')} · {text}", "f": "ok" if fresh else "stale"}


def aged(words: Words, age_s: float, max_age_s: float, origin: Origin = Origin.MEASURED) -> Cell:
    """The same for columns, of which the newest reading is ``age_s`` old and good for ``max_age_s``; infinite: never read."""
    if not math.isfinite(age_s):
        return {"x": words("no reading"), "f": "none"}
    text = f"{words(_ORIGINS[origin])} · {words.age(age_s)}"
    return {"x": text, "f": "ok"} if age_s <= max_age_s else {"x": f"{words('stale')} · {text}", "f": "stale"}


def once(gather: Gather, say: Callable[[Any, View, Words], Table]) -> Callable[[View, Live, Words], Table]:
    """A page's table in two steps: ``gather`` once a view, for all languages; ``say`` once a language."""
    kept: list[Any] = [None, None]

    def table(view: View, live: Live, words: Words) -> Table:
        if kept[0] is not view:
            kept[:] = view, gather(view, live)
        return say(kept[1], view, words)

    return table


def shell_table(view: View, words: Words) -> Table:
    """What the bar of every page shows."""
    return {
        "t.site": view.site,
        "t.time_s": round(view.time.timestamp()),
        "t.badge": _badge(view, words),
        "t.notice": "　".join(words.sentence(notice) for notice in view.notices),
        "t.complaints": "\n".join(words.sentence(complaint) for complaint in view.complaints),
        "l.health": [_health(view, words)],
    }


def _badge(view: View, words: Words) -> str:
    parts = [words("demo")] if view.demo else []
    if view.speed != 1.0:
        parts.append(f"×{view.speed:g}")
    return " ".join(parts)


def _health(view: View, words: Words) -> Cell:
    total, up = view.source_counts.total, view.source_counts.up
    failing = sum(task.failing.value > 0 for task in view.tasks)
    if failing:
        text = Message("{n} tasks fail", {"n": failing})
    elif not total:
        text = Message("no source")
    elif up < total:
        text = Message("{up} of {total} sources up", {"up": up, "total": total})
    else:
        text = Message("all {total} sources up", {"total": total})
    return row("warning" if failing or up < total or not total else "ok", [words.sentence(text)])
