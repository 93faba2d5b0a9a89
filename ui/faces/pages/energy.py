"""``/energy``: how well energy is used, what it costs and will cost, what is proposed and what was saved."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from fastapi import FastAPI

from analytics.forecast import Forecast
from energy.ledger import TOPIC as LEDGER
from energy.ledger import Summary, summary
from twin.frame import Floats
from twin.message import Message
from twin.physics.water import evaporated_kgps, makeup_kgps
from ui.faces.chart import band, coarse, curve, with_gaps
from ui.faces.pages import priced, proposed
from ui.faces.pages.columns import Columns, columns
from ui.faces.pages.markup import drawing, fine, listed, number, page_of_panels, panel, say, text, tile
from ui.faces.pages.recent import read_topics
from ui.faces.pages.shown import serve_page
from ui.faces.pages.texts import Cell, Table, aged, cell, once, plain, row, source, when
from ui.faces.push import PAST, Feed, Pulse
from ui.faces.shelf import Kept
from ui.past import DAY, Past
from ui.reading import derived
from ui.view import Live, View
from ui.words import Words

DAYS = 30
CYCLES = 5.0  # of concentration in towers: the middle of 3-7 that is usual (US DOE FEMP, cooling-tower management)
GRID_STEP_S = 900.0
ROWS = 8
LABELS = ("now", *proposed.LABELS)


@dataclass(frozen=True, slots=True, eq=False)
class Books:
    """What is read beside the beat: price and carbon of the last day, the ledger of the last ``DAYS``."""

    time_s: Floats
    price: Floats
    carbon: Floats
    cost: priced.Priced
    saved: Summary
    entries: list[tuple[datetime, dict[str, object]]]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One look at energy."""

    now: datetime
    view: View
    past: Past | None
    past_kept: Kept
    books: Kept
    told: Kept
    towers: Columns
    heat: Columns
    forecasts: tuple[Forecast, ...]


def add_energy(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page."""
    pulse.shelf.add("books", 60.0, read_books)
    pulse.shelf.add("plans-told", proposed.EVERY_S, proposed.read_told)

    def gather(view: View, live: Live) -> Seen:
        towers = columns(live.state, "tower", ("power_w",), view.time)["power_w"]
        heat = columns(live.state, "loop", ("heat_w",), view.time)["heat_w"]
        kept = pulse.shelf[PAST]
        books, said = pulse.shelf["books"], pulse.shelf["plans-told"]
        return Seen(view.time, view, kept.value, kept, books, said, towers, heat, live.forecasts)

    feed = Feed(once(gather, told), LABELS, body(), needs=("books", "plans-told"))
    serve_page(server, pulse, "energy", feed, ("pages.js", "energy.js"))


def read_books(live: Live, now: datetime) -> Books:
    """From store and records."""
    names = ("price_per_mwh", "carbon_gco2_per_kwh")
    told = live.store.series("grid", names, now - DAY, now, GRID_STEP_S)
    first = [told.values[name][:, 0] if told.values[name].shape[1] else np.full(len(told.time_s), np.nan) for name in names]
    start = now - timedelta(days=DAYS)
    entries = read_topics(live, now, (LEDGER,), DAYS, ROWS * 4)
    cost = priced.read_priced(live, now, told.time_s, first[0])
    return Books(told.time_s, first[0], first[1], cost, summary(live.records, start, now), list(entries))


def body() -> str:
    """The page's places."""
    tiles = [
        tile("pue", "PUE", [fine("24 h", "pue_day")], [number("pue")], fine("IT", "it"), fine("facility", "facility")),
        tile("cue", "CUE", [], [number("cue")], fine("24 h", "carbon_day")),
        tile("wue", "WUE", [], [number("wue")], fine("water", "water")),
        tile("price", "Energy price", [text("period")], [number("price")], say("then"), priced.NEXT),
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
    ledger = ("time", "lever", ">expected", ">changed", "80% between", "verdict")
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
        panel(
            "ledger",
            "What plans did, against the days before",
            [fine("carried out", "carried"), fine("advised", "advised"), fine("refused", "refused")],
            listed("ledger", "No plan was judged yet", ledger, "8rem minmax(0,1.2fr) 7rem 7rem 12rem minmax(0,1.4fr)"),
            size="w24",
        ),
    )


def told(seen: Seen, view: View, words: Words) -> Table:
    """The page's table."""
    return {**_numbers(seen, words), **_charts(seen, words), **_lists(seen, words), **_sources(seen, words)}


def _numbers(seen: Seen, words: Words) -> Table:
    centre, past = seen.view.centre, seen.past
    # ISO/IEC 30134-8: kg of CO2 for a kWh of IT energy; -9: litres of water for it
    cue = derived(centre.carbon_intensity.value / 1e3 * centre.pue.value, "ratio", (centre.carbon_intensity, centre.pue))
    heat = seen.heat.figure(np.max)  # of the loop that all heat passes
    running = seen.towers.fresh and heat.known
    water = float(makeup_kgps(evaporated_kgps(heat.value), CYCLES)) if running else np.nan
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
        "n.energy_day": _kwh(day[0], words),
        "n.it_day": _kwh(day[1], words),
        "n.saved": plain(words, -saved.change_kwh if saved and judged else np.nan, "kwh"),
        "n.saved_low": plain(words, -saved.high_kwh if saved and judged else np.nan, "kwh"),
        "n.saved_high": plain(words, -saved.low_kwh if saved and judged else np.nan, "kwh"),
        "n.carried": plain(words, saved.carried_out if saved else np.nan, "count"),
        "n.advised": plain(words, saved.advised if saved else np.nan, "count"),
        "n.refused": plain(words, saved.refused if saved else np.nan, "count"),
    }


def _kwh(value: float, words: Words) -> Cell:
    """Energy [kWh] in MWh from ten of them on."""
    return {**plain(words, value / 1e3, "kwh"), "u": "MWh"} if value >= 1e4 else plain(words, value, "kwh")


def _energy_kwh(past: Past | None) -> tuple[float, float]:
    """Facility and IT energy of the day's steps that are known [kWh]."""
    if past is None or past.empty:
        return np.nan, np.nan
    return float(np.nansum(past.facility_power_w)) / 6e4, float(np.nansum(past.it_power_w)) / 6e4


def _charts(seen: Seen, words: Words) -> Table:
    books: Books | None = seen.books.value
    past = seen.past
    pue = None
    if past is not None and not past.empty:
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = past.facility_power_w / past.it_power_w
        line = curve(*with_gaps(*coarse(past.time_s, ratio)))
        pue = {"unit": "ratio", "lines": [{**line, "name": words("PUE")}]}
    return {
        "c.pricing": _outlook(seen, books.price if books else None, "price_per_mwh", words),
        "c.cleanness": _outlook(seen, books.carbon if books else None, "carbon_gco2_per_kwh", words),
        "c.taken": pue,
    }


def _outlook(seen: Seen, values: Floats | None, name: str, words: Words) -> Table | None:
    books: Books | None = seen.books.value
    if books is None or values is None:
        return None
    known = np.isfinite(values)
    lines = [{**curve(books.time_s[known], values[known]), "name": words("measured")}]
    bands = []
    mine = [one for one in seen.forecasts if (one.kind, one.metric) == ("grid", name)]
    if mine:
        now_s = seen.now.timestamp()
        ahead = band(max(mine, key=lambda one: one.issued), now_s, now_s + 86400.0)
        lines.append(
            {"t": ahead["ft"], "y": ahead["p50"], "stroke": "var(--forecast)", "dash": "5 4", "name": words("forecast")}
        )
        bands.append({"t": ahead["ft"], "low": ahead["p10"], "high": ahead["p90"], "name": words("80% interval")})
    return {"unit": "per_mwh" if name == "price_per_mwh" else "gco2_per_kwh", "lines": lines, "bands": bands}


def _lists(seen: Seen, words: Words) -> Table:
    books: Books | None = seen.books.value
    measured = [one for one in books.entries if one[1].get("entry") == "measured"] if books else []
    return {
        **proposed.table(seen.view.plans, seen.told, ROWS, seen.now, words),
        "l.ledger": [_entry(time, entry, words) for time, entry in measured[:ROWS]],
    }


def _entry(time: datetime, entry: dict[str, object], words: Words) -> Cell:
    def kwh(name: str) -> float:
        value = entry.get(name)
        return float(value) if isinstance(value, int | float) else np.nan

    low, high = (str(words.quantity(kwh(name), "kwh")) for name in ("low_kwh", "high_kwh"))
    span = words.sentence(Message("{low} to {high}", {"low": low, "high": high})) if np.isfinite(kwh("low_kwh")) else "–"
    note = str(entry.get("note", ""))
    cells: list[str | Cell] = [when(time, "stamp"), words(str(entry.get("lever", "")))]
    cells += [plain(words, kwh("expected_kwh"), "kwh"), plain(words, kwh("change_kwh"), "kwh"), span, words(note)]
    return row({"saved": "ok", "lost": "warning"}.get(note, ""), cells)


def _sources(seen: Seen, words: Words) -> Table:
    centre = seen.view.centre
    past = aged(words, seen.past_kept.age_s(seen.now), seen.past_kept.max_age_s)
    books = aged(words, seen.books.age_s(seen.now), seen.books.max_age_s)
    return {
        "p.pue": source(words, [centre.pue]),
        "p.cue": source(words, [centre.carbon_intensity, centre.pue]),
        "p.wue": aged(words, seen.heat.age_s, seen.heat.max_age_s, seen.heat.origin),
        "p.price": source(words, [centre.price]),
        "p.energy": past,
        "p.taken": past,
        "p.saved": books,
        "p.pricing": books,
        "p.cleanness": books,
        "p.ledger": books,
        "p.today": books,
    }
