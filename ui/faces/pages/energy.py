"""``/energy``: how well energy is used, what it costs and will cost, what is proposed and what was saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from fastapi import FastAPI

from analytics.forecast import Forecast
from analytics.told import FRESH_S, Word
from energy.ledger import Summary, summary
from twin.frame import Floats, Origin
from twin.message import Message
from ui.faces.chart import band, coarse, curve, with_gaps
from ui.faces.pages import answered, between, grids, priced, proposed
from ui.faces.pages.columns import Columns, columns
from ui.faces.pages.markup import drawing, fine, number, page_of_panels, panel, say, text, tile
from ui.faces.pages.shown import serve_page
from ui.faces.pages.texts import Cell, Table, aged, cell, once, plain, source
from ui.faces.push import PAST, Feed, Pulse
from ui.faces.shelf import Kept
from ui.past import DAY, Past
from ui.placing import Placed, placed
from ui.reading import derived
from ui.report.resources import modelled_kgps
from ui.signals import words_of
from ui.view import Live, View
from ui.words import Words

DAYS = 30
GRID_STEP_S = 900.0
STROKES = ("var(--measured)", "var(--supply)", "var(--return)", "var(--modelled)")  # of each grid in a chart
DRAWN = len(STROKES)
PRICE = "price_per_mwh"
SIGNALS = (PRICE, "carbon_gco2_per_kwh")
AHEAD_S = 3600.0  # of what is over a word is still drawn so far: its step lasts
ROWS = 8
LABELS = ("now", *proposed.LABELS)
NEEDS = ("books", "plans-told", "answered")


@dataclass(frozen=True, slots=True, eq=False)
class Books:
    """What is read beside the beat: price and carbon of the last day (of each signal float64[t, grids]), what the service of
    each told last of the next (None: nothing), the ledger of the last ``DAYS``."""

    time_s: Floats
    read: Mapping[str, Floats]
    told: Mapping[str, Sequence[Word | None]]
    cost: priced.Priced
    saved: Summary


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One look at energy."""

    now: datetime
    view: View
    past: Past | None
    past_kept: Kept
    books: Kept
    told: Kept
    answered: Kept
    towers: Columns
    heat: Columns
    forecasts: tuple[Forecast, ...]
    placed: Sequence[Placed]
    signal: str
    resting: Message | None


def add_energy(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page."""
    pulse.shelf.add("books", 60.0, read_books)
    pulse.shelf.add("plans-told", proposed.EVERY_S, proposed.read_told)
    pulse.shelf.add("answered", answered.EVERY_S, answered.Reader().read)

    def gather(view: View, live: Live) -> Seen:
        towers = columns(live.state, "tower", ("power_w",), view.time)["power_w"]
        heat = columns(live.state, "loop", ("heat_w",), view.time)["heat_w"]
        kept = pulse.shelf[PAST]
        books, said, brought = (pulse.shelf[name] for name in NEEDS)
        places = placed(live)
        return Seen(
            view.time,
            view,
            kept.value,
            kept,
            books,
            said,
            brought,
            towers,
            heat,
            live.forecasts,
            places,
            live.signal,
            live.resting,
        )

    feed = Feed(once(gather, told), LABELS, body(bool(pulse.live.atlas.places), pulse.live.site.count("grid") > 1), needs=NEEDS)
    serve_page(server, pulse, "energy", feed, ("pages.js", "energy.js"))


def read_books(live: Live, now: datetime) -> Books:
    """From store and records."""
    count = min(live.site.count("grid"), DRAWN)
    rows = np.arange(count, dtype=np.int32)
    told = live.store.series("grid", SIGNALS, now - DAY, now, GRID_STEP_S, rows=rows if count else None)
    read = {name: np.full((len(told.time_s), count), np.nan) for name in SIGNALS}
    for name, column in read.items():
        if count and (values := told.values[name]).shape[1]:
            column[:, told.rows] = values
    cost = priced.read_priced(live, now)
    words = {name: [words_of(live, row, name, now).newest(now.timestamp()) for row in range(count)] for name in SIGNALS}
    return Books(told.time_s, read, words, cost, summary(live.records, now - timedelta(days=DAYS), now))


def body(named: bool = False, several: bool = False) -> str:
    """The page's places; ``named``: the configuration names halls or centres that jobs may run in; ``several``: the site has
    more than one grid."""
    tiles = [
        tile("pue", "PUE", [fine("24 h", "pue_day")], [number("pue")], fine("IT", "it"), fine("facility", "facility")),
        tile("cue", "CUE", [], [number("cue")], fine("24 h", "carbon_day")),
        tile("wue", "WUE", [], [number("wue")], fine("water", "water")),
        tile("price", "Energy price", [text("period")], [number("price")], say("then"), priced.NEXT, grids.PLACE),
        tile("today", "Cost today", [fine("known", "cost_known")], [number("cost_today")], fine("an hour costs", "cost")),
        tile("energy", "Energy: 24 h", [], [number("energy_day")], fine("IT", "it_day")),
        tile(
            "saved",
            "Saved: 30 days",
            [],
            [number("saved")],
            fine("80% between", "saved_low"),
            f'<span class="fine">– {number("saved_high")}</span>',
        ),
    ]
    refusals, requests, ledger = answered.places()
    return page_of_panels(
        tiles,
        panel(
            "pricing", "Energy price: last and next 24 h", [], drawing("pricing", "Energy price: last and next 24 h"), size="w8"
        ),
        panel(
            "cleanness",
            "Carbon of the grid: last and next 24 h",
            [],
            drawing("cleanness", "Carbon of the grid: last and next 24 h"),
            size="w8",
        ),
        panel("taken", "PUE: last 24 h", [], drawing("taken", "PUE: last 24 h"), size="w8"),
        proposed.places(),
        refusals,
        requests,
        ledger,
        *([grids.places()] if several else []),
        *([between.places()] if named else []),
    )


def told(seen: Seen, view: View, words: Words) -> Table:
    """The page's table."""
    books: Books | None = seen.books.value
    market = books is None or books.cost.tariff is None  # else the price is the tariff's, whatever the grids say
    named = {**(grids.under(view, words, "price") if market else {"l.grids": []}), **grids.table(view, words)}
    return {**_numbers(seen, words), **_charts(seen, words), **_lists(seen, words), **_sources(seen, words), **named}


def _numbers(seen: Seen, words: Words) -> Table:
    centre, past = seen.view.centre, seen.past
    # ISO/IEC 30134-8: kg of CO2 for a kWh of IT energy; -9: litres of water for it
    cue = derived(centre.carbon_intensity.value / 1e3 * centre.pue.value, "ratio", (centre.carbon_intensity, centre.pue))
    heat = seen.heat.figure(np.max)  # of the loop that all heat passes
    running = seen.towers.fresh and heat.known
    water = float(modelled_kgps(heat.value)) if running else np.nan
    it_kw = centre.it_power.value / 1e3 if centre.it_power.fresh else np.nan
    wue = water * 3600.0 / it_kw if it_kw else np.nan
    day = _energy_kwh(past)
    books: Books | None = seen.books.value
    saved = books.saved if books else None
    judged = saved is not None and saved.saved + saved.lost + saved.undecided > 0
    return {
        "n.pue": cell(words, centre.pue),
        "n.pue_day": cell(words, centre.pue_day),
        "n.it": cell(words, centre.it_power),
        "n.facility": cell(words, centre.facility_power),
        "n.cue": cell(words, cue) | {"u": "kg/kWh"} if cue.known else cell(words, cue),
        "n.carbon_day": cell(words, centre.carbon_day),
        "n.wue": plain(words, wue, "ratio") | ({"u": "L/kWh", "o": "model"} if np.isfinite(wue) else {}),
        "n.water": plain(words, water, "kgps") | ({"o": "model"} if np.isfinite(water) else {}),
        **priced.table(books.cost if books else None, seen.view, seen.forecasts, words),
        "n.energy_day": _kwh(day[0], words, past.facility_origin if past else Origin.MEASURED),
        "n.it_day": _kwh(day[1], words, past.it_origin if past else Origin.MEASURED),
        "n.saved": plain(words, -saved.change_kwh if saved and judged else np.nan, "kwh"),
        "n.saved_low": plain(words, -saved.high_kwh if saved and judged else np.nan, "kwh"),
        "n.saved_high": plain(words, -saved.low_kwh if saved and judged else np.nan, "kwh"),
        "n.carried": plain(words, saved.carried_out if saved else np.nan, "count"),
        "n.advised": plain(words, saved.advised if saved else np.nan, "count"),
        "n.refused": plain(words, saved.refused if saved else np.nan, "count"),
    }


def _kwh(value: float, words: Words, origin: Origin) -> Cell:
    """Energy [kWh] in MWh from ten of them on, with the twin's sign where any of it is the twin's."""
    made = {**plain(words, value / 1e3, "kwh"), "u": "MWh"} if value >= 1e4 else plain(words, value, "kwh")
    return {**made, "o": "model"} if np.isfinite(value) and origin is Origin.MODELLED else made


def _energy_kwh(past: Past | None) -> tuple[float, float]:
    """Facility and IT energy of the day's steps that are known [kWh]."""
    if past is None or past.empty:
        return np.nan, np.nan
    return past.kwh(past.facility_power_w), past.kwh(past.it_power_w)


def _charts(seen: Seen, words: Words) -> Table:
    past = seen.past
    pue = None
    if past is not None and not past.empty:
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = past.facility_power_w / past.it_power_w
        line = curve(*with_gaps(*coarse(past.time_s, ratio)))
        pue = {"unit": "ratio", "lines": [{**line, "name": words("PUE")}]}
    return {
        "c.pricing": _outlook(seen, PRICE, words),
        "c.cleanness": _outlook(seen, "carbon_gco2_per_kwh", words),
        "c.taken": pue,
    }


def _outlook(seen: Seen, name: str, words: Words) -> Table | None:
    """Each grid's lines, by its name where there are several; the interval is drawn where there is one."""
    books: Books | None = seen.books.value
    if books is None or not books.told[name]:
        return None
    several = [one.id for one in seen.view.grids]
    lines: list[Table] = []
    bands: list[Table] = []
    for row, word in enumerate(books.told[name]):
        mine = [one for one in seen.forecasts if (one.kind, one.metric, one.row) == ("grid", name, row)]
        own = max(mine, key=lambda one: one.issued, default=None)
        drawn, band_of = _lines(seen, books, name, row, word, own, words)
        if several:
            drawn = [{**one, "name": f"{several[row]}: {one['name']}", "stroke": STROKES[row]} for one in drawn]
        lines += drawn
        bands += band_of if not several else []
    if name != PRICE:
        return {"unit": "gco2_per_kwh", "lines": lines, "bands": bands}
    money = "" if books.cost.tariff else books.cost.currency  # of the series; a tariff has its own
    return {"unit": "per_mwh", "money": money, "lines": lines, "bands": bands}


def _lines(
    seen: Seen, books: Books, name: str, row: int, word: Word | None, own: Forecast | None, words: Words
) -> tuple[list[Table], list[Table]]:
    """What was read, what the service foresees, what we do; and the interval of that."""
    values, now_s = books.read[name][:, row], seen.now.timestamp()
    known = np.isfinite(values)
    lines: list[Table] = [{**curve(books.time_s[known], values[known]), "name": words("measured")}]
    bands: list[Table] = []
    if word is not None and (after := word.valid_s > now_s - AHEAD_S).any():
        # a service that has fallen silent is drawn as long as its last word reaches, and says so
        late = now_s - word.available_s > FRESH_S
        said = words("the service's last forecast") if late else words("the service's forecast")
        within = after & (word.valid_s < now_s + 86400.0)
        lines.append({**curve(word.valid_s[within], word.values[within]), "dash": "2 3", "name": said})
    if own is not None:
        ahead = band(own, now_s, now_s + 86400.0)
        named = words("our forecast")
        lines.append({"t": ahead["ft"], "y": ahead["p50"], "stroke": "var(--forecast)", "dash": "5 4", "name": named})
        bands.append({"t": ahead["ft"], "low": ahead["p10"], "high": ahead["p90"], "name": words("80% interval")})
    return lines, bands


def _lists(seen: Seen, words: Words) -> Table:
    return {
        **proposed.table(seen.view.plans, seen.told, ROWS, seen.now, words, seen.resting),
        **answered.table(seen.answered.value, words),
        **(between.table(seen.placed, seen.signal, words) if seen.placed else {}),
    }


def _sources(seen: Seen, words: Words) -> Table:
    centre = seen.view.centre
    kept, day = seen.past_kept, seen.past
    whose = {"p.energy": day.facility_origin, "p.taken": day.origin} if day else {}
    age = (kept.age_s(seen.now), kept.max_age_s)
    past = {name: aged(words, *age, whose.get(name, Origin.MEASURED)) for name in ("p.energy", "p.taken")}
    books, answers = (aged(words, one.age_s(seen.now), one.max_age_s) for one in (seen.books, seen.answered))
    return {
        "p.pue": source(words, [centre.pue]),
        "p.cue": source(words, [centre.carbon_intensity, centre.pue]),
        "p.wue": aged(words, seen.heat.age_s, seen.heat.max_age_s, seen.heat.origin),
        "p.price": source(words, [centre.price]),
        **past,
        "p.saved": books,
        "p.pricing": books,
        "p.cleanness": books,
        "p.today": books,
        **dict.fromkeys(("p.ledger", "p.requests", "p.refusals"), answers),
    }
