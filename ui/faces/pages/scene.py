"""``/scene``: the 3D twin. The page holds places; ``static/scene.js`` loads the geometry and draws it.

``/scene?embed=1`` is the same without bar, footer and controls, for a frame on another page.
"""

import json
from html import escape

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from ui.faces.pages import page_of
from ui.faces.pages.markup import source as place
from ui.faces.pages.shell import language_of, shell
from ui.faces.pages.texts import Table, source
from ui.faces.push import Feed, Pulse
from ui.faces.statics import FOLDER, THREE, static
from ui.faces.twin_page import cases_of
from ui.view import Live, View
from ui.words import Words, words

# Metrics as people say them; what is not here goes by its name in the metric table.
NAMES = {
    "power_w": "Electrical power",
    "temp_c": "Temperature of chips",
    "mem_temp_c": "Temperature of device memory",
    "inlet_temp_c": "Inlet air",
    "util_frac": "Utilisation",
    "sm_active_frac": "SM activity",
    "tensor_active_frac": "Tensor activity",
    "mem_used_frac": "Device memory in use",
    "sm_clock_hz": "SM clock",
    "allocated_flag": "Allocated to a job",
    "supply_temp_c": "Supply temperature",
    "return_temp_c": "Return temperature",
    "flow_kgps": "Flow",
    "heat_w": "Heat into liquid",
    "diff_pressure_pa": "Pressure difference",
    "loading_frac": "Load over rating",
    "loss_w": "Loss",
    "pump_speed_frac": "Pump speed",
    "it_power_w": "IT power",
    "primary_supply_temp_c": "Facility water supply",
    "primary_return_temp_c": "Facility water return",
    "primary_flow_kgps": "Facility water flow",
    "dew_point_margin_k": "Margin to the dew point",
    "alerts": "Alerts",
}
KIND_NAMES = {
    "hall": "Hall",
    "row": "Row",
    "rack": "Rack",
    "node": "Node",
    "gpu": "GPU",
    "switch": "Switch",
    "storage": "Storage",
    "pdu": "PDU",
    "ups": "UPS",
    "transformer": "Transformer",
    "cdu": "CDU",
    "loop": "Loop",
    "pump": "Pump",
    "chiller": "Chiller",
    "tower": "Cooling tower",
    "drycooler": "Dry cooler",
    "valve": "Valve",
    "battery": "Battery",
    "pv": "Photovoltaics",
    "meter": "Meter",
    "crah": "Air handler",
    "heatreuse": "Heat reuse",
    "grid": "Grid",
}
# What the page's scripts say beside what the markup marks.
LABELS = (
    *NAMES.values(),
    *KIND_NAMES.values(),
    "measured or modelled",
    "measured less modelled",
    "info",
    "warning",
    "critical",
    "no alert",
    "pipes",
    "silent or never read",
    "has no such metric",
    "Nothing shown here has this metric",
    "Values beyond an end have the end's colour",
    "No asset of this name",
    "last hour",
    "no trend of the last hour",
    "Open its page",
    "Power path",
    "Cooling path",
    "Let go of the picked asset",
    "rack that the scenario adds",
    "the scenario",
    "Floor plan",
    "front and rear",
    "Front",
    "Rear",
    "now",
    "live",
    "past",
    "a value every {n}",
    "the present only",
    "The twin runs {name} …",
    "The server does not answer",
    "The scene cannot be loaded; load the page again in some seconds.",
    "The site has nothing that can be drawn; name racks in its tables.",
    "The 3D parts are not built (make web); this is the plan.",
    "This browser has no WebGL; this is the plan.",
    "{n} limits are passed in this scenario, the first: {what}",
)
_VIEWS = (("site", "3D"), ("plan", "Plan"), ("rack", "Rack"))
_MODES = (("beside", "beside the present"), ("difference", "as a difference"))
_SPANS = (("1", "1 h"), ("24", "24 h"), ("168", "7 d"))
_HELP = (
    "Drag to turn, wheel to come nearer, double-click to fly; W A S D walk, Q and E go down and up, / searches, F flies to "
    "what is picked or back to the halls, Esc lets go of it."
)


def add_scene_page(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page on ``server``."""
    page = page_of("scene")

    def table(view: View, live: Live, words: Words) -> Table:
        # numbers of the scene come over its own socket; the bar says whose they are and how old
        return {"p.scene": source(words, [one.power for one in view.racks.top] or [view.centre.it_power])}

    cases = cases_of(pulse.live.site)
    pulse.add(page.name, Feed(table, (*LABELS, *(case.label for case in cases.values())), body()))

    @server.get(page.path, response_class=HTMLResponse, include_in_schema=False)
    async def scene(request: Request, embed: bool = False) -> HTMLResponse:
        said, mine = words(language_of(request)), cases_of(pulse.live.site)
        told = {name: {"label": case.label, "scenario": case.scenario.model_dump(mode="json")} for name, case in mine.items()}
        end = _data("scene-cases", told) + _data("scene-labels", NAMES | KIND_NAMES)
        labels = (*LABELS, *(case.label for case in mine.values()))
        made = shell(page, said, body=body() + end, scripts=("scene.js",), styles=("scene.css",), labels=labels, head=_early())
        return HTMLResponse(made.replace("<html ", '<html data-embed="1" ', 1) if embed else made)


def _early() -> str:
    """What the page's script asks for anyway, told so early that nothing waits for its turn: its modules and the geometry."""
    names = [path.name for path in sorted(FOLDER.glob("scene-*.js"))] + ["scales.js"]
    names += [THREE] if (FOLDER / THREE).exists() else []
    modules = "".join(f'<link rel="modulepreload" href="{static(name)}">' for name in names)
    return f'{modules}<link rel="preload" href="/api/v1/scene" as="fetch" crossorigin>'


def _data(name: str, table: object) -> str:
    told = json.dumps(table, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{told}</script>'


def body() -> str:
    """The page's places."""
    views = "".join(
        f'<button type="button" data-view="{name}" data-t="{title}" aria-pressed="false">{title}</button>'
        for name, title in _VIEWS
    )
    modes = "".join(f'<option value="{name}" data-t="{title}">{title}</option>' for name, title in _MODES)
    spans = "".join(f'<option value="{hours}"{" selected" if hours == "24" else ""}>{text}</option>' for hours, text in _SPANS)
    tools = (
        f'<div class="switch" role="group" aria-label="View" data-a="View">{views}</div>'
        f"{_select('scene-colour', 'Colour')}{_select('scene-origin', 'Values')}"
        f"{_select('scene-lead', 'Hours ahead', bare=True)}"
        '<div class="search"><input id="scene-search" type="search" role="combobox" autocomplete="off" aria-expanded="false" '
        'aria-controls="scene-found" aria-label="Search an asset" data-a="Search an asset">'
        '<ul id="scene-found" role="listbox" aria-label="Assets found" data-a="Assets found"></ul></div>'
        f"{_button('scene-hall', 'Halls')}{_button('scene-home', 'Whole site')}{_button('scene-walk', 'Walk', pressed=True)}"
        f"{_select('scene-case', 'What if')}"
        f'<select id="scene-mode" aria-label="How the scenario is shown" data-a="How the scenario is shown">{modes}</select>'
        f"{_button('scene-picture', 'Picture')}"
        '<a id="scene-glb" href="/api/v1/scene.glb" download>glTF</a>'
        '<a id="scene-usdc" href="/api/v1/scene.usdc" download>USD</a>'
    )
    stage = (
        '<canvas id="scene-canvas" tabindex="0" role="application" aria-label="The centre in three dimensions" '
        f'data-a="The centre in three dimensions" aria-describedby="scene-help"></canvas>'
        '<div id="scene-names" aria-hidden="true"></div><div id="scene-plan" hidden></div>'
        '<div class="sides"><span data-t="the present">the present</span><span data-t="the scenario">the scenario</span></div>'
        '<div id="scene-notice" role="status" hidden></div><div id="scene-legend"></div><div id="scene-card" hidden></div>'
        '<div id="scene-hint" hidden></div>'
        f'<p id="scene-help" data-t="{escape(_HELP)}">{escape(_HELP)}</p>'
    )
    time = (
        '<button type="button" id="scene-play" aria-label="Play" data-a="Play" aria-pressed="false">►</button>'
        '<input id="scene-slider" type="range" value="0" aria-label="Time" data-a="Time">'
        f'<output id="scene-when"></output>{place("scene")}{_button("scene-now", "Now")}'
        f'<select id="scene-span" aria-label="Span of the slider" data-a="Span of the slider">{spans}</select>'
    )
    return (
        '<div id="scene" class="scene">'
        f'<div class="tools" role="toolbar" aria-label="The scene" data-a="The scene">{tools}</div>'
        f'<div class="stage">{stage}</div><div class="time-line">{time}</div></div>'
    )


def _button(id_: str, text: str, pressed: bool = False) -> str:
    state = ' aria-pressed="false"' if pressed else ""
    return f'<button type="button" id="{id_}" data-t="{text}"{state}>{text}</button>'


def _select(id_: str, text: str, bare: bool = False) -> str:
    select = f'<select id="{id_}" aria-label="{text}" data-a="{text}"></select>'
    return select if bare else f'<label><span data-t="{text}">{text}</span>{select}</label>'
