"""``/cooling``: the way of the heat from racks to the air outside, with live numbers."""

import numpy as np
from fastapi import FastAPI

from twin.frame import Floats
from ui.faces.pages.columns import Columns, Look, look_at, worst
from ui.faces.pages.diagram import Device, diagram
from ui.faces.pages.markup import drawing, fine, listed, more, number, page_of_panels, panel, tile
from ui.faces.pages.shown import serve_page
from ui.faces.pages.texts import Cell, Table, aged, cell, once, plain, row, source
from ui.faces.push import Feed, Pulse
from ui.view import View
from ui.words import Words

_WATER = ("supply_temp_c", "return_temp_c")
METRICS = {
    "cdu": (
        *_WATER, "flow_kgps", "diff_pressure_pa", "heat_w", "primary_supply_temp_c", "primary_return_temp_c",
        "primary_flow_kgps", "pump_speed_frac", "supply_temp_setpoint_c", "dew_point_margin_k", "leak_flag", "power_w",
    ),
    "loop": (*_WATER, "flow_kgps", "diff_pressure_pa", "heat_w"),
    "chiller": (*_WATER, "power_w"),
    "tower": (*_WATER, "fan_speed_frac", "fan_limit_frac", "power_w"),
    "drycooler": (*_WATER, "fan_speed_frac", "fan_limit_frac", "power_w"),
    "pump": ("pump_speed_frac", "flow_kgps", "diff_pressure_pa", "power_w"),
    "rack": ("leak_flag", "dew_point_margin_k", "return_temp_c", "supply_temp_c"),
    "crah": ("supply_air_temp_c", "return_air_temp_c", "fan_speed_frac", "power_w"),
}  # fmt: skip
LEAST_MARGIN_K = 2.0  # ASHRAE TC 9.9, liquid-cooling guidelines: supply at least 2 K above the room's dew point
OFF_SETPOINT_K = 2.0
ROWS = 12
LABELS = ("supply", "return", "fan")


def add_cooling(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page."""
    serve_page(server, pulse, "cooling", Feed(once(look_at(METRICS), told), LABELS, body()), ("pages.js",))


def body() -> str:
    """The page's places."""
    tiles = [
        tile("supply", "CDU supply", [], [number("supply")], fine("warmest", "supply_max"), fine("return", "return_mean")),
        tile("flow", "CDU flow", [], [number("flow")], fine("pressure", "pressure")),
        tile("heat", "Heat in liquid", [], [number("heat")], fine("share of IT", "captured")),
        tile("margin", "Dew-point margin", [], [number("margin")], fine("wet bulb", "wet"), fine("dry", "dry")),
        tile("power", "Cooling power", [], [number("power")], fine("pumps", "pump_power"), fine("fans", "fan_power")),
        tile("leaks", "Leaks", [], [number("leaks")], fine("dry racks", "leak_racks")),
    ]
    heads = (
        "CDU", ">supply", ">ordered", ">return", ">flow", ">pressure", ">pump", ">water in", ">water out", ">water flow",
        ">dew margin", ">heat",
    )  # fmt: skip
    pumps = ("pump", ">speed", ">flow", ">pressure", ">power")
    return page_of_panels(
        tiles,
        panel("loops", "Way of the heat", [], drawing("loops", "Way of the heat"), size="w24 h2"),
        panel(
            "cdus",
            "Coolant distribution units, the warmest first",
            [more("cdus")],
            listed("cdus", "No CDU in this site", heads, "minmax(0,1.5fr) repeat(11, minmax(0,1fr))"),
            size="w16",
        ),
        panel(
            "pumps",
            "Pumps, the fastest first",
            [more("pumps")],
            listed("pumps", "No pump in this site", pumps, "minmax(0,1.8fr) repeat(4, minmax(0,1fr))"),
            size="w8",
        ),
    )


def told(seen: Look, view: View, words: Words) -> Table:
    """The page's table."""
    return {**_numbers(seen, words), **_lists(seen, words), **_sources(seen, words), "d.loops": _loops(seen, words)}


def _numbers(seen: Look, words: Words) -> Table:
    cdu, centre = seen.of["cdu"], seen.view.centre
    margins = np.concatenate([seen.of[kind]["dew_point_margin_k"].value for kind in ("cdu", "rack")])
    margin = float(np.nanmin(margins)) if np.isfinite(margins).any() else np.nan
    leaks = [int(np.nansum(seen.of[kind]["leak_flag"].value)) for kind in ("cdu", "rack")]
    told_of = any(seen.of[kind]["leak_flag"].fresh for kind in ("cdu", "rack"))
    heat = cdu["heat_w"].figure(np.sum)
    share = heat.value / centre.it_power.value if centre.it_power.fresh else np.nan
    fans = sum(
        seen.of[kind]["power_w"].figure(np.sum).value for kind in ("tower", "drycooler") if seen.of[kind]["power_w"].fresh
    )
    heard = int(np.isfinite(seen.of["rack"]["leak_flag"].value).sum())
    return {
        "n.supply": cell(words, cdu["supply_temp_c"].figure()),
        "n.supply_max": cell(words, cdu["supply_temp_c"].figure(np.max)),
        "n.return_mean": cell(words, cdu["return_temp_c"].figure()),
        "n.flow": cell(words, cdu["flow_kgps"].figure(np.sum)),
        "n.pressure": cell(words, cdu["diff_pressure_pa"].figure()),
        "n.heat": cell(words, heat),
        "n.captured": plain(words, share, "frac"),
        "n.margin": plain(words, margin, "k", "critical" if margin < LEAST_MARGIN_K else ""),
        "n.wet": cell(words, centre.wet_bulb),
        "n.dry": cell(words, centre.dry_bulb),
        "n.power": cell(words, centre.cooling_power),
        "n.pump_power": cell(words, seen.of["pump"]["power_w"].figure(np.sum)),
        "n.fan_power": plain(words, fans or np.nan, "w"),
        "n.leaks": plain(words, sum(leaks) if told_of else np.nan, "count", "critical" if sum(leaks) else ""),
        "n.leak_racks": plain(words, heard - leaks[1] if heard else np.nan, "count"),
    }


def _lists(seen: Look, words: Words) -> Table:
    cdu, pump = seen.of["cdu"], seen.of["pump"]
    warmest = worst(_rank(cdu), ROWS)
    ids, pumps = seen.site.ids_of("cdu"), seen.site.ids_of("pump")
    fastest = worst(pump["pump_speed_frac"].value, ROWS)
    return {
        "l.cdus": [_cdu(cdu, ids, int(i), words) for i in warmest],
        "m.cdus": max(len(ids) - ROWS, 0),
        "l.pumps": [row("", [pumps[i], *(cell(words, pump[name].at(int(i))) for name in METRICS["pump"])]) for i in fastest],
        "m.pumps": max(len(pumps) - ROWS, 0),
    }


def _rank(cdu: dict[str, Columns]) -> Floats:
    return np.asarray(cdu["return_temp_c"].value + 1000.0 * np.nan_to_num(cdu["leak_flag"].value))


def _cdu(cdu: dict[str, Columns], ids: list[str], i: int, words: Words) -> Cell:
    off = abs(float(cdu["supply_temp_c"].value[i] - cdu["supply_temp_setpoint_c"].value[i])) > OFF_SETPOINT_K
    margin = float(cdu["dew_point_margin_k"].value[i])
    wet = bool(cdu["leak_flag"].value[i] > 0)
    tight = "critical" if margin < LEAST_MARGIN_K else ""
    cells = [
        cell(words, cdu["supply_temp_c"].at(i), "warning" if off else ""),
        *(cell(words, cdu[name].at(i)) for name in ("supply_temp_setpoint_c", "return_temp_c", "flow_kgps")),
        *(cell(words, cdu[name].at(i)) for name in ("diff_pressure_pa", "pump_speed_frac", "primary_supply_temp_c")),
        *(cell(words, cdu[name].at(i)) for name in ("primary_return_temp_c", "primary_flow_kgps")),
        cell(words, cdu["dew_point_margin_k"].at(i), tight),
        cell(words, cdu["heat_w"].at(i)),
    ]
    return row("critical" if wet or tight else "warning" if off else "", [ids[i], *cells])


_REJECTOR = (("supply", "supply_temp_c"), ("fan", "fan_speed_frac"), ("fan at most", "fan_limit_frac"), ("power", "power_w"))
# kind -> what its box says: label, metric
_BOXES = {
    "tower": _REJECTOR,
    "drycooler": _REJECTOR,
    "chiller": (("supply", "supply_temp_c"), ("return", "return_temp_c"), ("power", "power_w")),
    "loop": (("supply", "supply_temp_c"), ("return", "return_temp_c"), ("flow", "flow_kgps"), ("heat", "heat_w")),
    "cdu": (("supply", "supply_temp_c"), ("return", "return_temp_c"), ("flow", "flow_kgps"), ("pump", "pump_speed_frac")),
    "crah": (("supply", "supply_air_temp_c"), ("return", "return_air_temp_c"), ("fan", "fan_speed_frac")),
}


def _devices(seen: Look, kind: str, words: Words, order: Floats | None = None) -> list[Device]:
    of, ids, names = seen.of[kind], seen.site.ids_of(kind), seen.site.text(kind, "name")
    ranks = range(len(ids)) if order is None else np.argsort(-np.nan_to_num(order, nan=-1e9), kind="stable").tolist()
    made = []
    for i in ranks:
        # not every plant has a limit for its fans, and a box has no place for what is never told
        told = [(label, of[name].at(i)) for label, name in _BOXES[kind]]
        cells = [(words(label), cell(words, one)) for label, one in told if one.known or label != "fan at most"]
        silent = all(one["f"] == "none" for _, one in cells)
        leak = kind == "cdu" and of["leak_flag"].value[i] > 0
        made.append(Device(ids[i], names[i] or ids[i], cells, "silent" if silent else "critical" if leak else ""))
    return made


def _loops(seen: Look, words: Words) -> Table:
    """Outside air, chillers, loops one after the other, CDUs: each stage in its column."""
    loops = _devices(seen, "loop", words)
    site = seen.site
    cools = site.links["cools"]
    fed = {int(b) for b in cools.target.tolist()}
    loop_at = set(site.of_kind("loop").tolist())
    inner = {
        site.ids[b] for a, b in zip(cools.source.tolist(), cools.target.tolist(), strict=True) if a in loop_at and b in fed
    }
    first = [one for one in loops if one.id not in inner]
    second = [one for one in loops if one.id in inner]
    stages = [
        [*_devices(seen, "tower", words), *_devices(seen, "drycooler", words)],
        _devices(seen, "chiller", words),
        first,
        second,
        [*_devices(seen, "cdu", words, _rank(seen.of["cdu"])), *_devices(seen, "crah", words)],
    ]
    return diagram(site, stages, "cools", lambda a, b: "supply", words("+{n} more"))


def _sources(seen: Look, words: Words) -> Table:
    cdu, pump = seen.of["cdu"], seen.of["pump"]["power_w"]

    def age(name: str) -> Cell:
        return aged(words, cdu[name].age_s, cdu[name].max_age_s, cdu[name].origin)

    dew = seen.of["rack"]["dew_point_margin_k"] if not cdu["dew_point_margin_k"].fresh else cdu["dew_point_margin_k"]
    return {
        "p.supply": age("supply_temp_c"),
        "p.flow": age("flow_kgps"),
        "p.heat": age("heat_w"),
        "p.margin": aged(words, dew.age_s, dew.max_age_s, dew.origin),
        "p.power": source(words, [seen.view.centre.cooling_power]),
        "p.leaks": age("leak_flag"),
        "p.loops": age("supply_temp_c"),
        "p.cdus": age("supply_temp_c"),
        "p.pumps": aged(words, pump.age_s, pump.max_age_s, pump.origin),
    }
