"""``/hall``: the plan of the racks by what one wants to see, each hall in numbers, one rack close up; 3D where it is."""

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from fastapi import FastAPI

from analytics.alerts import Phase
from twin.frame import Floats, Ints
from twin.site import Bools, Site
from ui.faces.pages import PAGES
from ui.faces.pages.columns import Columns, columns
from ui.faces.pages.markup import drawing, fine, listed, number, page_of_panels, panel, say, tile
from ui.faces.pages.shown import serve_page
from ui.faces.pages.texts import Cell, Table, aged, cell, once, plain, row, source
from ui.faces.push import Feed, Pulse
from ui.reading import fact
from ui.view import Live, View
from ui.words import Words
from ui.work import MAX_MAP

# kind of colour -> (label, unit, decimals): the script knows the scales
MAPS = {
    "temp": "GPU °C",
    "load": "load %",
    "supply": "supply °C",
    "return": "return °C",
    "flow": "flow kg/s",
    "residual": "off the model",
    "alert": "alerts",
}
RACK = ("power_w", "supply_temp_c", "return_temp_c", "flow_kgps", "inlet_temp_c", "residual_score_ratio", "leak_flag")
LABELS = ("more of this rack", "no reading", "No rack in this site", "off", "well", "warning", "critical", "3D", "Plan")


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One look at the halls."""

    now: datetime
    site: Site
    view: View
    racks: dict[str, Columns]
    gpu: dict[str, Columns]
    gpu_temp: Floats
    alerts: Ints  # of each rack: 0 none, 1 info, 2 warning, 3 critical


def add_hall(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page."""

    def hello(view: View) -> Table:
        racks = view.racks
        places = [[None if v != v else round(v, 2) for v in column] for column in (racks.x_m, racks.y_m)]
        return {"plan": {"ids": list(racks.ids), "x": places[0], "y": places[1], "left_out": racks.left_out}}

    serve_page(server, pulse, "hall", Feed(once(look, told), LABELS, body(), hello=hello), ("pages.js", "hall_page.js"))


def body() -> str:
    """The page's places."""
    buttons = "".join(
        f'<button type="button" data-map="{key}" data-t="{label}" aria-pressed="false">{label}</button>'
        for key, label in MAPS.items()
    )
    if any(page.name == "scene" for page in PAGES):
        buttons += f'<button type="button" data-solid aria-pressed="false">{say("3D", "")}</button>'
    tiles = [
        tile("it", "IT power", [], [number("it")], fine("racks", "racks"), fine("silent", "silent")),
        tile("hot", "Hottest GPU", [], [number("hottest")], fine("mean", "mean")),
        tile("water", "Rack supply", [], [number("supply")], fine("return", "return_temp"), fine("flow", "flow")),
        tile("load", "Fullest rack", [], [number("load")], fine("mean", "load_mean")),
        tile("leaks", "Leaks", [], [number("leaks")], fine("racks with alerts", "alerted")),
    ]
    halls = ("hall", ">racks", ">GPUs", ">power", ">hottest", ">supply", ">return", ">alerts")
    hot = ("rack", ">hottest", ">power", ">load", ">return")
    return page_of_panels(
        tiles,
        panel(
            "plan",
            "Hall",
            ['<div class="scale" id="scale"></div>', f'<div class="switch">{buttons}</div>'],
            drawing("plan", "Plan of the racks"),
            '<iframe id="solid" title="3D" hidden></iframe>',
            size="w16 h3",
        ),
        panel(
            "halls",
            "Halls",
            [],
            listed("halls", "No hall in this site", halls, "minmax(3.5rem,1fr) 2.8rem 3.8rem 4.8rem 4.6rem 4.4rem 4.4rem 3rem"),
            size="w8",
        ),
        panel(
            "racks",
            "Hottest racks",
            [],
            listed("racks", "No rack in this site", hot, "minmax(0,1.4fr) repeat(4, minmax(0,1fr))"),
            size="w8",
        ),
        panel("rack", "One rack: choose it in the plan", ['<span id="chosen"></span>'], '<dl id="close"></dl>', size="w8"),
    )


def look(view: View, live: Live) -> Seen:
    """Everything that the page says, from columns."""
    state, site, now = live.state, live.site, view.time
    racks = columns(state, "rack", RACK, now)
    gpu = columns(state, "gpu", ("temp_c", "power_w"), now)
    n = site.count("rack")
    inside = site.within("gpu", "rack")
    known = (inside >= 0) & np.isfinite(gpu["temp_c"].value)
    hottest = np.full(n, -np.inf)
    np.maximum.at(hottest, inside[known], gpu["temp_c"].value[known])
    return Seen(now, site, view, racks, gpu, np.where(np.isfinite(hottest), hottest, np.nan), _alerts(live, n))


def _alerts(live: Live, n: int) -> Ints:
    """The gravest alert of each rack, its own and of what stands in it."""
    site, grade = live.site, np.zeros(n, dtype=np.int32)
    weight = {"critical": 3, "warning": 2, "info": 1}
    for one in live.alerts:
        if one.phase is not Phase.FIRING or one.asset not in site.position:
            continue
        kind = site.kind(one.asset)
        held = site.row(one.asset) if kind == "rack" else int(site.within(kind, "rack")[site.row(one.asset)])
        if held >= 0:
            grade[held] = max(grade[held], weight[one.severity.value])
    return grade


def told(seen: Seen, view: View, words: Words) -> Table:
    """The page's table."""
    racks, centre = seen.racks, view.centre
    load = _load(seen)
    leaks = racks["leak_flag"]
    heard = _heard(seen)
    silent = int(np.count_nonzero(np.isnan(seen.gpu_temp) & heard)) if heard.any() else np.nan
    wet = float(np.nansum(leaks.value)) if leaks.fresh else np.nan
    fullest = load.at(int(np.argmax(np.nan_to_num(load.value, nan=-1.0)))) if len(load.value) else load.figure()
    hottest = seen.gpu["temp_c"].figure(np.max)
    return {
        "n.it": cell(words, centre.it_power),
        "n.racks": cell(words, fact(seen.site.count("rack"))),
        "n.silent": plain(words, silent, "count", "warning" if silent > 0 else ""),
        "n.hottest": cell(words, hottest, "warning" if hottest.value >= 83 else ""),
        "n.mean": cell(words, seen.gpu["temp_c"].figure()),
        "n.supply": cell(words, racks["supply_temp_c"].figure()),
        "n.return_temp": cell(words, racks["return_temp_c"].figure()),
        "n.flow": cell(words, racks["flow_kgps"].figure(np.sum)),
        "n.load": cell(words, fullest, "warning" if fullest.value >= 0.95 else ""),
        "n.load_mean": cell(words, load.figure()),
        "n.leaks": plain(words, wet, "count", "critical" if wet > 0 else ""),
        "n.alerted": plain(words, int(np.count_nonzero(seen.alerts > 1)), "count"),
        "map": _maps(seen, load.value),
        "l.halls": _halls(seen, words),
        "l.racks": _racks(seen, load, words),
        **_sources(seen, words),
    }


def _load(seen: Seen) -> Columns:
    """Share of its rated power that each rack takes, of where its power is from."""
    rated_w, power = seen.site.number("rack", "rated_w"), seen.racks["power_w"]
    return replace(power, name="load_frac", value=np.asarray(power.value / np.where(rated_w > 0, rated_w, np.nan)))


def _heard(seen: Seen) -> Bools:
    """bool[n]: racks of which a GPU was read once, and which can fall silent."""
    inside, heard = seen.site.within("gpu", "rack"), np.zeros(seen.site.count("rack"), dtype=np.bool_)
    heard[inside[(inside >= 0) & np.isfinite(seen.gpu["temp_c"].time_s)]] = True
    return heard


def _rounded(values: Floats, digits: int) -> list[float | None]:
    return [None if v != v else round(v, digits) for v in values[:MAX_MAP].tolist()]


def _maps(seen: Seen, load: Floats) -> Table:
    racks = seen.racks
    return {
        "temp": _rounded(seen.gpu_temp, 0),
        "load": _rounded(load * 100, 0),
        "supply": _rounded(racks["supply_temp_c"].value, 1),
        "return": _rounded(racks["return_temp_c"].value, 1),
        "flow": _rounded(racks["flow_kgps"].value, 2),
        "residual": _rounded(racks["residual_score_ratio"].value, 1),
        "alert": [int(one) for one in seen.alerts[:MAX_MAP]],
    }


def _halls(seen: Seen, words: Words) -> list[Cell]:
    site, racks = seen.site, seen.racks
    ids, names = site.ids_of("hall"), site.text("hall", "name")
    of, gpus = site.within("rack", "hall"), site.within("gpu", "hall")
    made = []
    for i, id_ in enumerate(ids):
        mine = of == i
        worst = int(seen.alerts[mine].max(initial=0))
        state = {3: "critical", 2: "warning"}.get(worst, "")
        cells = [
            plain(words, int(mine.sum()), "count"),
            plain(words, int(np.count_nonzero(gpus == i)), "count"),
            cell(words, racks["power_w"].only(mine).figure(np.sum)),
            cell(words, seen.gpu["temp_c"].only(gpus == i).figure(np.max)),
            cell(words, racks["supply_temp_c"].only(mine).figure()),
            cell(words, racks["return_temp_c"].only(mine).figure()),
            plain(words, int(np.count_nonzero(seen.alerts[mine])), "count"),
        ]
        made.append(row(state, [names[i] or id_, *cells]))
    return made


def _racks(seen: Seen, load: Columns, words: Words) -> list[Cell]:
    ids, inside = seen.site.ids_of("rack"), seen.site.within("gpu", "rack")
    order = np.argsort(-np.nan_to_num(seen.gpu_temp, nan=-300.0), kind="stable")[:8]
    return [
        row(
            {3: "critical", 2: "warning"}.get(int(seen.alerts[i]), ""),
            [
                ids[i],
                cell(words, seen.gpu["temp_c"].only(inside == i).figure(np.max)),
                cell(words, seen.racks["power_w"].at(int(i))),
                cell(words, load.at(int(i))),
                cell(words, seen.racks["return_temp_c"].at(int(i))),
            ],
        )
        for i in order
    ]


def _sources(seen: Seen, words: Words) -> Table:
    def age(one: Columns) -> Cell:
        return aged(words, one.age_s, one.max_age_s, one.origin)

    racks, temp = age(seen.racks["supply_temp_c"]), age(seen.gpu["temp_c"])
    return {
        "p.it": source(words, [seen.view.centre.it_power]),
        "p.hot": temp, "p.water": racks, "p.load": age(seen.racks["power_w"]), "p.leaks": age(seen.racks["leak_flag"]),
        "p.plan": temp, "p.halls": racks, "p.racks": temp, "p.rack": temp,
    }  # fmt: skip
