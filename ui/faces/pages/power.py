"""``/power``: from the grid to the racks on one line, with loads, headroom, phases, batteries."""

import numpy as np
from fastapi import FastAPI

from ui.faces.pages.columns import Look, histogram, look_at, worst
from ui.faces.pages.diagram import Device, diagram
from ui.faces.pages.markup import drawing, fine, listed, number, page_of_panels, panel, tile
from ui.faces.pages.shown import serve_page
from ui.faces.pages.texts import Cell, Table, aged, bar, cell, once, plain, row, source
from ui.faces.push import Feed, Pulse
from ui.view import View
from ui.words import Words

METRICS = {
    "meter": ("power_w", "voltage_v", "current_a", "imbalance_ratio", "breaker_open_flag"),
    "transformer": ("power_w", "loading_frac", "loss_w"),
    "ups": (
        "power_w", "loading_frac", "loss_w", "charge_frac", "on_battery_flag", "imbalance_ratio", "voltage_v",
        "breaker_open_flag",
    ),
    "pdu": ("power_w", "loading_frac", "voltage_v", "current_a", "imbalance_ratio", "breaker_open_flag"),
    "battery": ("power_w", "charge_frac"),
    "pv": ("power_w",),
    "hall": ("power_w",),
    "grid": ("frequency_hz",),
}  # fmt: skip
CHAIN = ("transformer", "ups", "pdu")
HIGH_LOAD_FRAC, FULL_LOAD_FRAC = 0.8, 0.95  # continuous load of 80 % (NEC 210.20), and nearly at the rating
UNEVEN_RATIO = 0.1  # phases whose current lies 10 % off their mean
ROWS = 9
_NAMES = {"transformer": "Transformer", "ups": "UPS", "pdu": "PDU"}
LABELS = ("load", "charge", "losses", "loss", "power")


def add_power(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page."""
    serve_page(server, pulse, "power", Feed(once(look_at(METRICS), told), LABELS, body()), ("pages.js",))


def body() -> str:
    """The page's places."""
    tiles = [
        tile("facility", "Facility power", [], [number("facility")], fine("IT", "it"), fine("losses", "loss")),
        tile("load", "Highest load", [], [number("load")], fine("of", "load_count")),
        tile("headroom", "Least headroom", [], [number("headroom")], fine("transformers", "room_transformer")),
        tile("phases", "Worst phase imbalance", [], [number("imbalance")], fine("frequency", "frequency")),
        tile("ups", "UPS charge", [], [number("charge")], fine("on battery", "on_battery")),
        tile("own", "Own generation", [], [number("pv")], fine("battery", "battery"), fine("charge", "battery_charge")),
        tile("breakers", "Breakers open", [], [number("breakers")]),
    ]
    heads = ("device", "kind", ">load", ">power", ">headroom")
    phases = ("device", ">imbalance", ">voltage", ">current")
    return page_of_panels(
        tiles,
        panel("line", "One-line diagram", [], drawing("line", "One-line diagram"), size="w24 h2"),
        panel(
            "loads",
            "Nearest to their rating",
            [],
            listed("loads", "No device tells its load", heads, "minmax(0,1.4fr) 6.5rem 6rem 6rem 6.4rem"),
            size="w9",
        ),
        panel("hload", "PDUs by load", [], drawing("pdus", "PDUs by load"), size="w7"),
        panel(
            "uneven",
            "Phase balance, the worst first",
            [],
            listed("uneven", "No meter tells its phases", phases, "minmax(0,1.4fr) 6.4rem 5.6rem 6rem"),
            size="w8",
        ),
    )


def told(seen: Look, view: View, words: Words) -> Table:
    """The page's table."""
    return {**_numbers(seen, words), **_lists(seen, words), **_sources(seen, words), "d.line": _line(seen, words)}


def _room_w(seen: Look, kind: str) -> float:
    """What the devices of a kind could carry beside what they carry now [W]: at the rating, at the power factor of now."""
    load, power = seen.of[kind]["loading_frac"].value, seen.of[kind]["power_w"].value
    known = (load > 0.01) & np.isfinite(power)
    return float((power[known] / load[known] - power[known]).sum()) if known.any() else np.nan


def _loads(seen: Look) -> list[tuple[str, str, int, float]]:
    """(kind, id, row, load) of every device that tells its load."""
    made = []
    for kind in CHAIN:
        load, ids = seen.of[kind]["loading_frac"].value, seen.site.ids_of(kind)
        made += [(kind, ids[i], int(i), float(load[i])) for i in worst(load, ROWS)]
    return sorted(made, key=lambda one: -one[3])


def _state(load: float) -> str:
    return "critical" if load >= FULL_LOAD_FRAC else "warning" if load >= HIGH_LOAD_FRAC else ""


def _numbers(seen: Look, words: Words) -> Table:
    centre, of = seen.view.centre, seen.of
    loads = _loads(seen)
    top = loads[0][3] if loads else np.nan
    rooms = {kind: _room_w(seen, kind) for kind in CHAIN}
    known = [room for room in rooms.values() if np.isfinite(room)]
    uneven = np.concatenate([of[kind]["imbalance_ratio"].value for kind in ("meter", "ups", "pdu")])
    imbalance = float(np.nanmax(uneven)) if np.isfinite(uneven).any() else np.nan
    battery_flag = of["ups"]["on_battery_flag"]
    on_battery = float(np.nansum(battery_flag.value)) if battery_flag.fresh else np.nan
    opened = [of[kind]["breaker_open_flag"] for kind in ("meter", "ups", "pdu")]
    breakers = float(sum(np.nansum(one.value) for one in opened)) if any(one.fresh for one in opened) else np.nan
    pv = of["pv"]["power_w"].figure(np.sum)
    return {
        "n.facility": cell(words, centre.facility_power),
        "n.it": cell(words, centre.it_power),
        "n.loss": cell(words, centre.loss_power),
        "n.load": plain(words, top, "frac", _state(top)),
        "n.load_count": plain(words, sum(seen.site.count(kind) for kind in CHAIN), "count"),
        "n.headroom": plain(words, min(known) if known else np.nan, "w"),
        "n.room_transformer": plain(words, rooms["transformer"], "w"),
        "n.imbalance": plain(words, imbalance, "frac", "warning" if imbalance > UNEVEN_RATIO else ""),
        "n.frequency": cell(words, of["grid"]["frequency_hz"].figure()),
        "n.charge": cell(words, of["ups"]["charge_frac"].figure(np.min)),
        "n.on_battery": plain(words, on_battery, "count", "critical" if on_battery > 0 else ""),
        "n.pv": plain(words, abs(pv.value), "w"),
        "n.battery": cell(words, of["battery"]["power_w"].figure(np.sum)),
        "n.battery_charge": cell(words, of["battery"]["charge_frac"].figure()),
        "n.breakers": plain(words, breakers, "count", "critical" if breakers > 0 else ""),
    }


def _lists(seen: Look, words: Words) -> Table:
    load = seen.of["pdu"]["loading_frac"].value
    counts, edges = histogram(load, 0.0, 1.2, 12)
    return {
        "l.loads": [_load(seen, one, words) for one in _loads(seen)[:ROWS]],
        "h.pdus": {"counts": counts, "edges": edges, "unit": "frac", "hot": HIGH_LOAD_FRAC},
        "l.uneven": _uneven(seen, words),
    }


def _load(seen: Look, one: tuple[str, str, int, float], words: Words) -> Cell:
    kind, id_, i, load = one
    power = seen.of[kind]["power_w"].at(i)
    room = power.value / load - power.value if load > 0.01 else np.nan
    said = words(_NAMES[kind])
    cells = [bar(plain(words, load, "frac", _state(load)), load), cell(words, power), plain(words, room, "w")]
    return row(_state(load), [id_, said, *cells])


def _uneven(seen: Look, words: Words) -> list[Cell]:
    found = []
    for kind in ("meter", "ups", "pdu"):
        of, ids = seen.of[kind], seen.site.ids_of(kind)
        for i in worst(of["imbalance_ratio"].value, ROWS):
            value = float(of["imbalance_ratio"].value[i])
            state = "warning" if value > UNEVEN_RATIO else ""
            current = cell(words, of["current_a"].at(int(i))) if "current_a" in of else plain(words, np.nan, "a")
            cells = [plain(words, value, "frac", state), cell(words, of["voltage_v"].at(int(i))), current]
            found.append((value, row(state, [ids[i], *cells])))
    return [made for _, made in sorted(found, key=lambda one: -one[0])[:ROWS]]


def _devices(seen: Look, kind: str, words: Words) -> list[Device]:
    of, ids = seen.of[kind], seen.site.ids_of(kind)
    load, flag = of["loading_frac"].value, of.get("on_battery_flag")
    made = []
    for i in np.argsort(-np.nan_to_num(load, nan=-1.0), kind="stable").tolist():
        cells = [
            (words("power"), cell(words, of["power_w"].at(i))),
            (words("load"), cell(words, of["loading_frac"].at(i), _state(load[i]))),
        ]
        if "loss_w" in of:
            cells.append((words("loss"), cell(words, of["loss_w"].at(i))))
        if "charge_frac" in of:
            cells.append((words("charge"), cell(words, of["charge_frac"].at(i))))
        silent = all(told["f"] == "none" for _, told in cells)
        failed = flag is not None and flag.value[i] > 0
        made.append(Device(ids[i], ids[i], cells, "silent" if silent else "critical" if failed else _state(float(load[i]))))
    return made


def _line(seen: Look, words: Words) -> Table:
    """Grid, transformers, UPS, PDUs; the busiest of each where there are many."""
    site, centre = seen.site, seen.view.centre
    cells = [(words("power"), cell(words, centre.facility_power))]
    cells += [(words("frequency"), cell(words, seen.of["grid"]["frequency_hz"].figure()))]
    grid = [Device(id_, words("Grid"), cells) for id_ in site.ids_of("grid")]
    stages = [grid, *(_devices(seen, kind, words) for kind in CHAIN)]
    return diagram(site, stages, "feeds", lambda a, b: "power", words("+{n} more"))


def _sources(seen: Look, words: Words) -> Table:
    def age(kind: str, name: str) -> Cell:
        one = seen.of[kind][name]
        return aged(words, one.age_s, one.max_age_s, one.origin)

    return {
        "p.facility": source(words, [seen.view.centre.facility_power]),
        "p.load": age("pdu", "loading_frac"),
        "p.headroom": age("ups", "loading_frac"),
        "p.phases": age("pdu", "imbalance_ratio"),
        "p.ups": age("ups", "charge_frac"),
        "p.own": age("pv", "power_w"),
        "p.breakers": age("pdu", "breaker_open_flag"),
        "p.line": age("ups", "power_w"),
        "p.loads": age("pdu", "loading_frac"),
        "p.hload": age("pdu", "loading_frac"),
        "p.uneven": age("pdu", "imbalance_ratio"),
    }
