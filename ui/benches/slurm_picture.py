"""The picture of a Slurm day as SVG: carbon, what was asked for, what was planned, what ran; and what it saved."""

import html
from dataclasses import dataclass

import numpy as np

from twin.order import Verb
from ui.benches.slurm_day import Day
from ui.benches.slurm_jobs import DAY_SLOTS, SLOT_S

_WIDE, _LEFT, _ROW, _TOP = 1100.0, 150.0, 6.0, 150.0
_COLOURS = {"plain": "#8b949e", "out": "#ffb454", "soon": "#58a6ff", "day": "#58a6ff", "late": "#58a6ff", "saves": "#d2a8ff"}


@dataclass(frozen=True, slots=True)
class Saved:
    """Jobs that moved, that were paused, and that ended after their deadline; what the moved ones saved of the carbon that they
    would have cost where they were looked at."""

    moved: int
    paused: int
    missed: int
    saved_frac: float


def saved(day: Day) -> Saved:
    """What Slurm's records of the day say."""
    by = {str(job["job_id"]): job for job in day.jobs}
    moved = missed = paused = 0
    usual_g = ran_g = 0.0
    for job, one in zip(day.ids, day.wanted, strict=True):
        if one.kind in ("plain", "out"):
            continue
        record = by[job]
        due_s = day.setting.begin_s + (one.at + one.length + one.slack) * SLOT_S
        missed += record["end_time"] > due_s
        if one.kind == "saves":  # Slurm counts its submission anew at each pause
            paused += record["restart_cnt"] > 0
        elif record["start_time"] - record["submit_time"] > 4 * SLOT_S:
            moved += 1
            at = np.arange(0, one.length * SLOT_S, SLOT_S / 4)
            usual_g += one.gpus * float(day.carbon_at(record["submit_time"] + at).sum())
            ran_g += one.gpus * float(day.carbon_at(record["start_time"] + at).sum())
    return Saved(moved, paused, int(missed), 1 - ran_g / usual_g if usual_g else 0.0)


def day_svg(day: Day) -> str:
    """One row a job: a thin line from submission to start, a bar while it ran, a mark where a begin time was ordered, a tick at
    its deadline; above, the carbon series."""
    begin_s, slots = day.setting.begin_s, 1.6 * DAY_SLOTS
    by = {str(job["job_id"]): job for job in day.jobs}

    def x(time_s: float) -> float:
        return _LEFT + (time_s - begin_s) / SLOT_S * (_WIDE - _LEFT - 20) / slots

    time_s = begin_s + SLOT_S * np.arange(0, slots, 0.25)
    carbon = day.carbon_at(time_s)
    low, high = float(np.nanmin(carbon)), float(np.nanmax(carbon))
    line = " ".join(f"{x(t):.1f},{_TOP - 20 - 90 * (c - low) / (high - low):.1f}" for t, c in zip(time_s, carbon, strict=True))
    found = saved(day)
    moves = f"{found.moved} moved, for {found.saved_frac:.0%} less carbon, {found.paused} paused"
    what = f"{len(day.ids)} jobs, {moves}, {found.missed} late"
    died = f"icctwin killed {day.killed} times ({day.killed_mid_write} in a write), slurmctld {day.controller_restarts} times"
    title = f"A day on Slurm in {slots * SLOT_S:.0f} s: {what}; {died}"
    parts = [
        f'<text x="10" y="22" class="h">{html.escape(title)}</text>',
        f'<text x="10" y="60">carbon</text><text x="10" y="76">{low:.0f} to {high:.0f} gCO2/kWh</text>',
        f'<polyline points="{line}" fill="none" stroke="#7fd88f" stroke-width="2"/>',
    ]
    ordered: dict[str, list[float]] = {}
    pauses: dict[str, list[float]] = {}
    for record in day.audit:
        if record["stage"] == "begun":
            for job, value in zip(record["targets"], record["values"], strict=True):
                ordered.setdefault(job, []).append(value if record["verb"] == Verb.BEGIN else 0.0)
                if record["verb"] == Verb.PAUSE:
                    pauses.setdefault(job, []).append(record["time_s"])
    for i, (job, one) in enumerate(zip(day.ids, day.wanted, strict=True)):
        y, record = _TOP + i * _ROW, by[job]
        colour = _COLOURS[one.kind]
        start_x, end_x = x(record["start_time"]), x(record["end_time"])
        parts.append(f'<path d="M{x(record["submit_time"]):.1f} {y + 2:.1f}H{start_x:.1f}" stroke="{colour}" opacity=".45"/>')
        parts.append(f'<rect x="{start_x:.1f}" y="{y:.1f}" width="{max(end_x - start_x, 1):.1f}" height="4" fill="{colour}"/>')
        parts += [f'<circle cx="{x(v):.1f}" cy="{y + 2:.1f}" r="1.6" fill="#fff"/>' for v in ordered.get(job, ()) if v]
        parts += [f'<path d="M{x(at):.1f} {y:.1f}v4" stroke="#fff" stroke-width="2"/>' for at in pauses.get(job, ())]
        if one.kind != "plain":
            due_s = begin_s + (one.at + one.length + one.slack) * SLOT_S
            parts.append(f'<path d="M{x(due_s):.1f} {y:.1f}v4" stroke="#ff7b72"/>')
    legend = (("plain", "has not agreed"), ("day", "agreed"), ("out", "took itself out"), ("saves", "may be paused"))
    for k, (kind, said) in enumerate(legend):
        parts.append(f'<rect x="10" y="{_TOP + 18 * k:.0f}" width="10" height="10" fill="{_COLOURS[kind]}"/>')
        parts.append(f'<text x="26" y="{_TOP + 9 + 18 * k:.0f}">{said}</text>')
    parts.append(f'<text x="10" y="{_TOP + 88:.0f}">white: begin, pause ordered</text>')
    parts.append(f'<text x="10" y="{_TOP + 104:.0f}">red: deadline</text>')
    high_px = _TOP + len(day.ids) * _ROW + 20
    style = "text{font:12px system-ui,sans-serif;fill:#d7dde5}.h{font-size:14px}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE:g} {high_px:g}"><style>{style}</style>'
        f'<rect width="100%" height="100%" fill="#0e1116"/>{"".join(parts)}</svg>\n'
    )
