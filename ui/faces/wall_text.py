"""What the wall says, in one language: a flat table of small JSON values, worked out once for everyone who reads that language.

Keys: ``n.<name>`` a number, ``t.<name>`` a text, ``l.<name>`` the rows of a list, ``m.<name>`` how many more rows it has than
were sent, ``map`` and ``flow`` the two drawings. A number is ``{"n": text, "u": unit, "f": "ok" | "stale" | "none"}`` with
``"a"`` (its age in words) where it is stale, ``"o": "model"`` where physics says so and no meter, ``"q"`` where it is suspect
and ``"s"`` (a state: ``warning``, ``critical``) where it asks to be seen. A row: ``{"k": state, "c": cells}``, a cell a number
or a text.
"""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any
from zoneinfo import ZoneInfo

from analytics.alerts import Severity
from twin.frame import Origin, Quality
from twin.message import Message
from ui.own import SourceRow
from ui.reading import Reading
from ui.view import AlertRow, PlanRow, Stage, View
from ui.words import DASH, Words
from ui.work import MachineRow, RackRow

Cell = dict[str, str]
ROWS_ALERTS, ROWS_JOBS, ROWS_SOURCES, ROWS_PLANS = 9, 9, 8, 2  # what fits at most
MARKS = {Severity.CRITICAL: "▲", Severity.WARNING: "◆", Severity.INFO: "●"}
# Dies slow down between 85 and 90 °C (nvidia-smi -q: "GPU Slowdown Temp" of data-centre boards); from here on it shows.
HOT_GPU_C, FULL_LOAD_FRAC = 83.0, 0.95


def cell(words: Words, reading: Reading, state: str = "") -> Cell:
    """A reading as the page takes it."""
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


def wall_text(view: View, words: Words) -> dict[str, Any]:
    """The whole table for one view."""
    zone = ZoneInfo(view.timezone)
    said: dict[str, Any] = {
        "t.site": view.site,
        "t.read_s": _read_s(view),
        "t.clock": words.clock(view.time, zone, seconds=True),
        "t.day": words.day(view.time, zone),
        "t.badge": _badge(view, words),
        "t.peak_time": words.clock(view.peak.time, zone) if view.peak.time else "",
        "t.notice": "　".join(words.sentence(notice) for notice in view.notices),
        "t.complaints": "\n".join(words.sentence(complaint) for complaint in view.complaints),
    }
    said |= _numbers(view, words)
    said["l.health"] = [_health(view, words)]
    said["l.alerts"] = [_alert(row, words) for row in view.alerts[:ROWS_ALERTS]]
    said["l.racks"] = [_rack(row, words) for row in view.racks.top]
    said["l.jobs"] = [
        _row("", [job.id, job.name, job.user, cell(words, job.gpus), _lasting(job.running, words)])
        for job in view.jobs[:ROWS_JOBS]
    ]
    said["l.sources"] = [_source(row, words) for row in view.sources[:ROWS_SOURCES]]
    said["m.sources"] = max(len(view.sources) - ROWS_SOURCES, 0)
    said["l.machines"] = [_machine(row, words) for row in view.machines]
    said["l.plans"] = [_plan(row, words) for row in view.plans[:ROWS_PLANS]]
    said["map"] = {
        "temp": [None if c != c else round(c) for c in view.racks.gpu_temp_c],
        "load": [None if frac != frac else round(frac * 100) for frac in view.racks.load_frac],
    }
    said["flow"] = {stage.key: _stage(stage, words) for stage in view.flow}
    return said


def plan_of_racks(view: View) -> dict[str, Any]:
    """What of the hall does not change from second to second: names and places of the racks (m, null: not given)."""
    places = [[None if v != v else round(v, 2) for v in column] for column in (view.racks.x_m, view.racks.y_m)]
    return {"ids": list(view.racks.ids), "x": places[0], "y": places[1], "left_out": view.racks.left_out}


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


def _row(state: str, cells: Sequence[str | Cell]) -> dict[str, Any]:
    return {"k": state, "c": list(cells)}


def _badge(view: View, words: Words) -> str:
    parts = [words("demo")] if view.demo else []
    if view.speed != 1.0:
        parts.append(f"×{view.speed:g}")
    return " ".join(parts)


def _health(view: View, words: Words) -> dict[str, Any]:
    total, up = len(view.sources), sum(source.status == "up" for source in view.sources)
    failing = sum(task.failing.value > 0 for task in view.tasks)
    if failing:
        text = Message("{n} tasks fail", {"n": failing})
    elif not total:
        text = Message("no source")
    elif up < total:
        text = Message("{up} of {total} sources up", {"up": up, "total": total})
    else:
        text = Message("all {total} sources up", {"total": total})
    return _row("warning" if failing or up < total or not total else "ok", [words.sentence(text)])


def _lasting(reading: Reading, words: Words) -> Cell:
    said = cell(words, reading)
    return said if said["f"] == "none" else {**said, "n": words.age(reading.value), "u": ""}


def _alert(row: AlertRow, words: Words) -> dict[str, Any]:
    said = words.sentence(row.summary)
    if row.asset not in said:
        said = f"{row.asset}: {said}"
    if row.folded:
        said = f"{said}  (+{row.folded})"
    return _row(row.severity.value, [MARKS[row.severity], said, words.age(row.lasting.value)])


def _rack(row: RackRow, words: Words) -> dict[str, Any]:
    hot = "warning" if row.gpu_temp.value >= HOT_GPU_C else ""
    full = "warning" if row.load.value >= FULL_LOAD_FRAC else ""
    cells = [cell(words, row.gpu_temp, hot), cell(words, row.supply_temp), cell(words, row.return_temp)]
    return _row("", [row.id, *cells, cell(words, row.power), cell(words, row.load, full)])


def _machine(row: MachineRow, words: Words) -> dict[str, Any]:
    fitted = cell(words, row.mem_total)
    cells = [cell(words, row.cpu), cell(words, row.mem_used), {**fitted, "n": f"/ {fitted['n']}"}]
    return _row("", [row.id, *cells, *(cell(words, reading) for reading in (row.load, row.net_rx, row.net_tx))])


_STATUS = {"up": "up", "down": "no answer", "silent": "silent", "waiting": "no word yet"}


def _source(row: SourceRow, words: Words) -> dict[str, Any]:
    if row.status == "silent":
        said = words.sentence(Message("silent {age}", {"age": words.age(row.up.age_s)}))
    else:
        said = words(_STATUS[row.status])
    state = {"up": "ok", "waiting": "waiting"}.get(row.status, "warning")
    return _row(state, [row.id, said, cell(words, row.poll), cell(words, row.errors)])


def _plan(row: PlanRow, words: Words) -> dict[str, Any]:
    verdict = words("allowed") if row.allowed else "；".join(words.sentence(why) for why in row.refusals)
    low, high = words.reading(row.effect_low), words.reading(row.effect_high)
    span = words.sentence(Message("{low} to {high}", {"low": str(low), "high": str(high)}))
    said: list[str | Cell] = [words.sentence(row.reason), cell(words, row.effect), span, words(row.mode.value), verdict]
    return _row("" if row.allowed else "refused", said)


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
