"""``/``: the centre at a glance."""

import math
from dataclasses import fields
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from analytics.alerts import Severity
from twin.message import Message
from ui.faces.chart import power_curve
from ui.faces.pages import grids, page_of
from ui.faces.pages.markup import drawing, fine, more, number, panel, rows, say, text, tile
from ui.faces.pages.shell import language_of, shell
from ui.faces.pages.texts import Cell, Table, cell, lasting, row, source
from ui.faces.push import Feed, Pulse
from ui.own import SourceRow
from ui.view import AlertRow, Live, PlanRow, Stage, View
from ui.words import DASH, Words, words
from ui.work import MachineRow, RackRow

ROWS_ALERTS, ROWS_JOBS, ROWS_SOURCES, ROWS_PLANS = 9, 9, 8, 2  # what fits at most
MARKS = {Severity.CRITICAL: "▲", Severity.WARNING: "◆", Severity.INFO: "●"}
# Dies slow down between 85 and 90 °C (nvidia-smi -q: "GPU Slowdown Temp" of data-centre boards); from here on it shows.
HOT_GPU_C, FULL_LOAD_FRAC = 83.0, 0.95
# What the page's script says beside what the markup marks.
LABELS = (
    "Grid",
    "Transformer",
    "UPS",
    "IT",
    "Cooling",
    "Losses",
    "model",
    "loss",
    "No rack in this site",
    "80% interval",
    "now",
)


def add_overview(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page at ``/`` of ``server``."""
    page = page_of("overview")

    def table(view: View, live: Live, words: Words) -> Table:
        return overview_text(view, words) | {"chart": power_curve(view, pulse.past, live.forecasts)}

    pulse.add(page.name, Feed(table, LABELS, body(), hello=plan_of_racks))

    @server.get(page.path, response_class=HTMLResponse, include_in_schema=False)
    async def overview(request: Request) -> HTMLResponse:
        said = words(language_of(request))
        return HTMLResponse(shell(page, said, body=body(), scripts=("overview.js",), styles=("overview.css",), labels=LABELS))


def body() -> str:
    """The page's places."""
    machine_heads = ("machine", "CPU", "memory", "", "load", "network in", "network out")
    rack_heads = ("rack", "GPU", "supply", "return", "power", "load")
    switch = (
        '<div class="switch"><button type="button" data-map="temp" aria-pressed="true">GPU °C</button>'
        '<button type="button" data-map="load" data-t="load %" aria-pressed="false">load %</button></div>'
    )
    jobs = [fine("running", "jobs_running"), fine("waiting", "jobs_waiting")]
    stack = panel(
        "sources", "Sources", [more("sources")], rows("sources", "No source", ("source", "state", "poll", "errors"))
    ) + panel("plans", "Plans", [], rows("plans", "Nothing to propose", label="Plans"))
    return (
        f'<div class="overview">{_hero()}<div class="grid">'
        + panel(
            "hall",
            "Hall",
            ['<div class="scale" id="scale"></div>', switch],
            drawing("hall", "Plan of the racks"),
            rows("machines", "", machine_heads),
        )
        + panel("flow", "Power", [], drawing("flow", "Way of the power"))
        + panel("alerts", "Alerts", [], rows("alerts", "No alert is firing", label="Alerts"))
        + panel("chart", "IT power: last and next 24 h", [], drawing("chart", "IT power: last and next 24 h"))
        + panel("racks", "Hottest racks", [], rows("racks", "No rack in this site", rack_heads))
        + panel("jobs", "Jobs", jobs, rows("jobs", "No job is running", ("job", "name", "user", "GPUs", "for")))
        + f'<div class="stack">{stack}</div></div></div>'
    )


def _hero() -> str:
    of = f'<span class="of">/{number("gpus_total")}</span>'
    marks = [
        f'<span class="mark critical"><i>▲</i>{number("alerts_critical")}</span>',
        f'<span class="mark warning"><i>◆</i>{number("alerts_warning")}</span>',
        f'<span class="mark info"><i>●</i>{number("alerts_info")}</span>',
    ]
    span = f'<span class="fine">{say("80% between")}{number("peak_p10")}<span>–</span>{number("peak_p90")}</span>'
    gpus = [fine("idle", "gpus_idle"), fine("unhealthy", "gpus_unhealthy"), fine("silent", "gpus_silent")]
    power = [fine("facility", "facility_power"), fine("cooling", "cooling_power")]
    return (
        '<div class="hero">'
        + tile("it", "IT power", [], [number("it_power")], *power)
        + tile("pue", "PUE", [fine("24 h", "pue_day")], [number("pue")], fine("wet bulb", "wet_bulb"))
        + tile("gpus", "GPUs allocated", [fine("busy", "gpus_util")], [number("gpus_allocated"), of], *gpus)
        + tile(
            "carbon",
            "Carbon",
            [fine("24 h", "carbon_day")],
            [number("carbon_rate")],
            fine("grid", "carbon_intensity"),
            grids.PLACE,
        )
        + tile("peak", "Next peak", [text("peak_time", "at")], [number("peak_p50")], span)
        + tile("alerts", "Alerts", [text("alerts_newest", "at")], marks, fine("hottest GPU", "gpus_hottest"))
        + "</div>"
    )


def overview_text(view: View, words: Words) -> Table:
    """The whole table for one view."""
    said: Table = {**_numbers(view, words), **_sources(view, words), **grids.under(view, words, "carbon")}
    said["t.read_s"] = _read_s(view)
    said["t.alerts_newest"] = words.age(min(row.lasting.value for row in view.alerts)) if view.alerts else ""
    said["peak_s"] = view.peak.time.timestamp() if view.peak.time else None
    said["l.alerts"] = [alert_row(one, words) for one in view.alerts[:ROWS_ALERTS]]
    said["l.racks"] = [_rack(one, words) for one in view.racks.top]
    said["l.jobs"] = [
        row("", [job.id, job.name, job.user, cell(words, job.gpus), lasting(job.running, words)])
        for job in view.jobs[:ROWS_JOBS]
    ]
    said["l.sources"] = [source_row(one, words) for one in view.sources[:ROWS_SOURCES]]
    said["m.sources"] = max(view.source_counts.total - ROWS_SOURCES, 0)
    said["l.machines"] = [_machine(one, words) for one in view.machines]
    said["l.plans"] = [plan_row(one, words) for one in view.plans[:ROWS_PLANS]]
    said["map"] = map_of_racks(view)
    said["flow"] = {stage.key: _stage(stage, words) for stage in view.flow}
    now = view.centre.it_power
    said["power_now"] = round(now.value) if now.fresh else None
    return said


def map_of_racks(view: View) -> Table:
    """Rounded columns over the racks of the plan, null where nothing fresh is known."""
    return {
        "temp": [None if c != c else round(c) for c in view.racks.gpu_temp_c],
        "load": [None if frac != frac else round(frac * 100) for frac in view.racks.load_frac],
    }


def plan_of_racks(view: View) -> Table:
    """What of the hall does not change from second to second: names and places of the racks (m, null: not given)."""
    places = [[None if v != v else round(v, 2) for v in column] for column in (view.racks.x_m, view.racks.y_m)]
    return {"plan": {"ids": list(view.racks.ids), "x": places[0], "y": places[1], "left_out": view.racks.left_out}}


def _numbers(view: View, words: Words) -> dict[str, Cell]:
    centre, queues, gpus, peak = view.centre, view.queues, view.gpus, view.peak
    said = {f"n.{f.name}": cell(words, getattr(centre, f.name)) for f in fields(centre)}
    said |= {f"n.gpus_{f.name}": cell(words, getattr(gpus, f.name)) for f in fields(gpus)}
    said |= {f"n.{f.name}": cell(words, getattr(queues, f.name)) for f in fields(queues)}
    said |= {f"n.peak_{f.name}": cell(words, getattr(peak, f.name)) for f in fields(peak) if f.name != "time"}
    for key, reading, state in (
        ("n.alerts_critical", centre.alerts_critical, "critical"),
        ("n.alerts_warning", centre.alerts_warning, "warning"),
        ("n.gpus_unhealthy", gpus.unhealthy, "warning"),
        ("n.gpus_silent", gpus.silent, "warning"),
    ):
        if reading.value > 0:
            said[key] = cell(words, reading, state)
    return said


def _sources(view: View, words: Words) -> dict[str, Cell]:
    """Whose readings each panel shows."""
    centre, gpus, queues = view.centre, view.gpus, view.queues
    stages = [side for stage in view.flow for side in (stage.measured, stage.modelled)]
    return {
        "p.it": source(words, [centre.it_power]),
        "p.pue": source(words, [centre.pue]),
        "p.gpus": source(words, [gpus.allocated, gpus.util]),
        "p.carbon": source(words, [centre.carbon_rate]),
        "p.peak": source(words, [view.peak.p50]),
        "p.hall": source(words, [gpus.hottest]),
        "p.alerts": source(words, [centre.alerts_critical]),  # where nobody looks for them, none that fires is no news
        "p.flow": source(words, stages),
        "p.chart": source(words, [centre.it_power, view.peak.p50]),
        "p.racks": source(words, [one for top in view.racks.top for one in (top.gpu_temp, top.power)]),
        "p.jobs": source(words, [queues.jobs_running]),
        "p.sources": source(words, [one.up for one in view.sources]),
        "p.plans": source(words, [one.effect for one in view.plans]) if view.plans else {"x": "", "f": "none"},
    }


def alert_row(one: AlertRow, words: Words) -> Cell:
    """An alert: sign, sentence, age."""
    said = words.sentence(one.summary)
    if one.asset not in said:
        said = f"{one.asset}: {said}"
    if one.folded:
        said = f"{said}  (+{one.folded})"
    return row(one.severity.value, [MARKS[one.severity], said, words.age(one.lasting.value)])


def _rack(one: RackRow, words: Words) -> Cell:
    hot = "warning" if one.gpu_temp.value >= HOT_GPU_C else ""
    full = "warning" if one.load.value >= FULL_LOAD_FRAC else ""
    cells = [cell(words, one.gpu_temp, hot), cell(words, one.supply_temp), cell(words, one.return_temp)]
    return row("", [one.id, *cells, cell(words, one.power), cell(words, one.load, full)])


def _machine(one: MachineRow, words: Words) -> Cell:
    fitted = cell(words, one.mem_total)
    cells = [cell(words, one.cpu), cell(words, one.mem_used), {**fitted, "n": f"/ {fitted['n']}"}]
    return row("", [one.id, *cells, *(cell(words, reading) for reading in (one.load, one.net_rx, one.net_tx))])


STATUS = {"up": "up", "down": "no answer", "silent": "silent", "waiting": "no word yet"}


def source_row(one: SourceRow, words: Words) -> Cell:
    """A source: its name, how it does, how long a poll takes, its errors."""
    if one.status == "silent":
        said = words.sentence(Message("silent {age}", {"age": words.age(one.up.age_s)}))
    else:
        said = words(STATUS[one.status])
    state = {"up": "ok", "waiting": "waiting"}.get(one.status, "warning")
    return row(state, [one.id, said, cell(words, one.poll), cell(words, one.errors)])


def plan_row(one: PlanRow, words: Words) -> Cell:
    """A plan: why, its effect with the interval, mode, and what the guard says."""
    verdict = words("allowed") if one.allowed else words.joined(words.sentence(why) for why in one.refusals)
    low, high = words.reading(one.effect_low), words.reading(one.effect_high)
    span = words.sentence(Message("{low} to {high}", {"low": str(low), "high": str(high)}))
    said: list[str | Cell] = [words.sentence(one.reason), cell(words, one.effect), span, words(one.mode.value), verdict]
    return row("" if one.allowed else "refused", said)


def _stage(stage: Stage, words: Words) -> dict[str, Any]:
    """Both sides in words, and the width in W of its ribbon: of the fresh side, measured before modelled."""
    sides = [side for side in (stage.measured, stage.modelled) if side.fresh]
    gap = ""
    if len(sides) == 2 and stage.modelled.value:
        gap = f"{(stage.measured.value / stage.modelled.value - 1) * 100:+.1f}%".replace("-", "−")
    return {
        "measured": cell(words, stage.measured),
        "modelled": cell(words, stage.modelled),
        "loss": cell(words, stage.loss),
        "gap": gap or DASH,
        "width_w": round(sides[0].value) if sides else None,
    }


def _read_s(view: View) -> float | None:
    """When the newest reading of IT power was taken (s since 1970), for whoever measures how late the wall is."""
    age_s = view.centre.it_power.age_s
    return round(view.time.timestamp() - age_s, 3) if math.isfinite(age_s) else None
