"""``/twin``: a plain page on which the offline twin answers a few questions about this centre; links only."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from twin.errors import ConfigError
from twin.metrics import suffix
from twin.sim.whatif import Comparison, Row
from twin.site import Site
from ui.faces.api_twin import Busy, Runner, WhatIfIn
from ui.faces.pages import page_of
from ui.faces.pages.shell import language_of, shell
from ui.picture import panel_svg, panels
from ui.scenario import AddedRack, ChangeIn, FaultIn, ScenarioIn
from ui.words import Words, words

HOURS, STEP_S, MEMBERS, FAULT_S = 6.0, 15.0, 4, 7200.0
MORE_RACKS = 4  # of the fullest kind, in the question that adds racks
FRESH_S = 600.0  # how long an answer is shown again
_ROWS = (
    ("it_energy_kwh", "Energy into IT"),
    ("facility_energy_kwh", "Energy of the centre"),
    ("pue_ratio", "PUE"),
    ("water_kg", "Water"),
    ("carbon_kg", "Carbon"),
    ("cost", "Cost"),
    ("it_power_peak_w", "Highest IT power"),
    ("supply_max_c", "Warmest supply"),
    ("return_max_c", "Warmest return"),
    ("junction_max_c", "Hottest chip"),
    ("room_max_c", "Warmest room air"),
    ("dew_margin_min_k", "Least margin to the dew point"),
    ("time_to_limit_s", "Time to the first limit"),
    ("racks_off_count", "Racks that switch off"),
    ("loading_max_frac", "Highest load of a power device"),
    ("wait_mean_s", "Mean wait of jobs"),
)
_ABOUT = "Each question runs six hours of this centre twice, with made-up jobs and the weather of now."


@dataclass(frozen=True, slots=True)
class Case:
    """A question, and the scenario that answers it."""

    label: str
    scenario: ScenarioIn


def add_twin_page(server: FastAPI, runner: Runner) -> None:
    """Serve the page on ``server``; an answer is kept for ``FRESH_S``, and asked for once at a time."""
    kept: dict[str, tuple[float, Comparison]] = {}

    @server.get("/twin", response_class=HTMLResponse, include_in_schema=False)
    async def twin(request: Request, case: str = "") -> HTMLResponse:
        w, cases = words(language_of(request)), cases_of(runner.live.site)
        now_s = runner.live.clock.now().timestamp()
        made, told, status = None, "", 200
        if case in cases:
            made = kept[case][1] if case in kept and now_s - kept[case][0] < FRESH_S else None
            try:
                if made is None:
                    asked = WhatIfIn(hours=HOURS, step_s=STEP_S, members=MEMBERS, other=cases[case].scenario)
                    made = await runner.alone(lambda: runner.compare(asked))
                    kept[case] = (now_s, made)
            except Busy:
                told, status = w("Another run goes on; load the page again in some seconds."), 429
            except ConfigError as error:
                told, status = "; ".join(str(problem) for problem in error.problems[:5]), 422
        return HTMLResponse(_page(w, cases, case, made, told), status)


def cases_of(site: Site) -> Mapping[str, Case]:
    """The questions that this site can be asked, by name."""
    found = {}
    for kind, label in (
        ("cdu", "A CDU's pumps trip"),
        ("tower", "All towers are lost"),
        ("transformer", "A transformer is lost"),
    ):
        ids = site.ids_of(kind)
        if ids:
            faults = [FaultIn(asset=asset, start_s=FAULT_S) for asset in (ids if kind == "tower" else ids[:1])[:1000]]
            found[f"{kind}-lost"] = Case(label, ScenarioIn(name=f"{kind}-lost", fault=faults))
    if site.count("cdu"):
        warmer = ChangeIn(asset="cdu", metric="supply_temp_setpoint_c", value=34.0)
        found["warmer"] = Case("CDUs supply at 34 °C", ScenarioIn(name="warmer", change=[warmer]))
    found["cap"] = Case("GPUs are held at 80 % of their power", ScenarioIn(name="cap", gpu_cap_frac=0.8))
    if site.count("gpu") and (site.within("gpu", "rack") >= 0).any():
        fullest = np.bincount(site.within("gpu", "rack")[site.within("gpu", "rack") >= 0]).argmax()
        more = AddedRack(like=site.ids_of("rack")[int(fullest)], count=MORE_RACKS)
        found["more"] = Case("Four more racks", ScenarioIn(name="more", add_rack=[more]))
    found["fcfs"] = Case(
        "The queue goes first come, first served", ScenarioIn.model_validate({"name": "fcfs", "policy": "fcfs"})
    )
    return found


def _page(w: Words, cases: Mapping[str, Case], case: str, made: Comparison | None, told: str) -> str:
    links = "".join(f'<a href="/twin?case={name}&amp;lang={w.language}">{_text(w(c.label))}</a>' for name, c in cases.items())
    parts = [f"<h1>{_text(w('What if'))}</h1><p>{links}</p>"]
    if told:
        parts.append(f"<p>{_text(told)}</p>")
    if made is None:
        parts.append(f"<p class=n>{_text(w(_ABOUT))}</p>")
    else:
        parts += [f"<h2>{_text(w(cases[case].label))}</h2>", _table(w, made.rows), _limits(w, made), _chart(w, made)]
        parts.append("".join(f"<p class=n>{_text(note)}</p>" for note in made.other.notes))
    return shell(page_of("twin"), w, body="".join(parts), styles=("twin.css",))


def _text(text: str) -> str:
    return html.escape(text)


def _table(w: Words, rows: Sequence[Row]) -> str:
    by_name = {row.name: row for row in rows}
    heads = "".join(f"<th>{_text(w(head))}</th>" for head in ("", "As it is", "What if", "Difference", "80 % of draws"))
    lines = []
    for name, label in _ROWS:
        row = by_name[name]
        values = [_value(w, name, value) for value in (row.base, row.other, row.difference)]
        low, high = _value(w, name, row.difference_p10), _value(w, name, row.difference_p90)
        band = "" if row.difference_p10 is None else f"{low} … {high}"
        cells = "".join(f"<td>{_text(cell)}</td>" for cell in (w(label), *values, band))
        lines.append(f"<tr>{cells}</tr>")
    return f"<table><tr>{heads}</tr>{''.join(lines)}</table>"


def _value(w: Words, name: str, value: float | None) -> str:
    number = float("nan") if value is None else value
    if name in ("cost", "water_kg", "carbon_kg"):
        unit = "" if name == "cost" else "\u202fkg"
        return "–" if value is None else f"{number:,.0f}{unit}"
    return str(w.quantity(number, suffix(name)))


def _limits(w: Words, made: Comparison) -> str:
    lines = []
    for limit in made.other.limits[:10]:
        after = limit["after_fault_s"] if limit["after_fault_s"] is not None else limit["time_s"]
        lines.append(
            f"<li>{_text(str(limit['asset']))}: {_text(w(str(limit['what'])))}, {_text(str(w.quantity(after, 's')))}</li>"
        )
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def _chart(w: Words, made: Comparison) -> str:
    """Both runs as drawn lines."""
    return "".join(panel_svg(w, panel) for panel in panels((made.other, made.base)))
