"""``/jobs``: what runs, what waits and for how long, and how well the centre is filled."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from fastapi import FastAPI

from twin.frame import Floats, Ints
from twin.job import Jobs, JobState
from ui.faces.pages.columns import Columns, columns, histogram, mean_by
from ui.faces.pages.markup import drawing, fine, listed, more, number, page_of_panels, panel, tile
from ui.faces.pages.shown import serve_page
from ui.faces.pages.texts import Cell, Table, aged, bar, cell, once, plain, row, source, when
from ui.faces.push import Feed, Pulse
from ui.view import Live, View
from ui.words import Words
from ui.work import Queues

QUEUE = (
    "running_count", "waiting_count", "gpus_allocated_count", "gpus_waiting_count", "oldest_waiting_s", "failed_count",
    "nodes_drained_count", "nodes_down_count",
)  # fmt: skip
ROWS_RUNNING, ROWS_WAITING = 24, 10
LONG_S = 6 * 3600.0


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One look at the queues."""

    now: datetime
    jobs: Jobs
    running: Ints
    waiting: Ints
    busy: Floats
    power: Floats
    queue: dict[str, Columns]
    counts: Queues
    total: int


def add_jobs(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page."""
    serve_page(server, pulse, "jobs", Feed(once(look, told), (), body()), ("pages.js",))


def body() -> str:
    """The page's places."""
    of = f'<span class="of">/{number("gpus")}</span>'
    tiles = [
        tile("running", "Jobs running", [], [number("running")], fine("failed", "failed")),
        tile("waiting", "Jobs waiting", [], [number("waiting")], fine("GPUs asked for", "asked")),
        tile("allocated", "GPUs allocated", [], [number("allocated"), of], fine("share", "share")),
        tile("longest", "Longest wait", [], [number("longest")], fine("median", "median")),
        tile("nodes", "Nodes without work", [], [number("unusable")], fine("drained", "drained"), fine("down", "nodes_down")),
    ]
    running = ("job", "name", "user", "partition", ">GPUs", ">busy", ">power", ">for", "ends")
    waiting = ("job", "name", "user", ">GPUs", ">waits", "deadline")
    return page_of_panels(
        tiles,
        panel(
            "runs",
            "Running, the largest first",
            [more("runs")],
            listed(
                "runs", "No job is running", running, "4.6rem minmax(0,1.4fr) minmax(0,1fr) 6rem 4rem 6rem 6.4rem 5rem 7.6rem"
            ),
            size="w14 h2",
        ),
        panel(
            "waits",
            "Waiting, the longest first",
            [more("waits")],
            listed("waits", "No job is waiting", waiting, "4.6rem minmax(0,1.2fr) minmax(0,1fr) 4rem 5.6rem 7.6rem"),
            size="w10",
        ),
        panel("hwait", "Jobs by how long they wait", [], drawing("wait", "Jobs by how long they wait"), size="w10"),
    )


def look(view: View, live: Live) -> Seen:
    """Everything that the page says."""
    jobs, state, now = live.jobs, live.state, view.time
    gpu = columns(state, "gpu", ("util_frac", "power_w"), now)
    holder = np.full(live.site.count("gpu"), -1, dtype=np.int32)
    live_rows = jobs.state[jobs.job_of] == JobState.RUNNING
    holder[jobs.rows[live_rows]] = jobs.job_of[live_rows]
    held = np.bincount(holder[holder >= 0], minlength=len(jobs))
    running = np.flatnonzero(jobs.state == JobState.RUNNING).astype(np.int32)
    waiting = np.flatnonzero(jobs.state == JobState.PENDING).astype(np.int32)
    return Seen(
        now,
        jobs,
        running[np.argsort(-jobs.gpus[running], kind="stable")],
        waiting[np.argsort(jobs.submit_s[waiting], kind="stable")],
        mean_by(gpu["util_frac"].value, holder, len(jobs)),
        mean_by(gpu["power_w"].value, holder, len(jobs)) * held,
        columns(state, "queue", QUEUE, now),
        view.queues,
        live.site.count("gpu"),
    )


def told(seen: Seen, view: View, words: Words) -> Table:
    """The page's table."""
    jobs, now_s = seen.jobs, seen.now.timestamp()
    waits = now_s - jobs.submit_s[seen.waiting]
    waits = waits[np.isfinite(waits)]
    longest = float(waits.max()) if len(waits) else np.nan
    counts = seen.counts
    off = seen.queue["nodes_drained_count"].figure(np.sum), seen.queue["nodes_down_count"].figure(np.sum)
    unusable = float(np.nansum([one.value for one in off])) if any(one.known for one in off) else np.nan
    top = max(longest, 600.0) if len(waits) else 600.0
    bins, edges = histogram(waits, 0.0, float(np.ceil(top / 600) * 600), 12)
    fresh = counts.jobs_running.fresh
    age = source(words, [counts.jobs_running])
    return {
        "n.running": cell(words, counts.jobs_running),
        "n.failed": cell(words, seen.queue["failed_count"].figure(np.sum)),
        "n.waiting": cell(words, counts.jobs_waiting),
        "n.asked": cell(words, counts.gpus_waiting),
        "n.allocated": cell(words, counts.gpus_allocated),
        "n.gpus": plain(words, seen.total, "count"),
        "n.share": plain(words, counts.gpus_allocated.value / max(seen.total, 1) if fresh else np.nan, "frac"),
        "n.longest": plain(words, longest, "s", "warning" if longest > LONG_S else ""),
        "n.median": plain(words, float(np.median(waits)) if len(waits) else np.nan, "s"),
        "n.unusable": plain(words, unusable, "count", "warning" if unusable > 0 else ""),
        "n.drained": cell(words, off[0]),
        "n.nodes_down": cell(words, off[1]),
        "l.runs": [_run(seen, int(i), words) for i in seen.running[:ROWS_RUNNING]],
        "m.runs": max(len(seen.running) - ROWS_RUNNING, 0),
        "l.waits": [_wait(seen, int(i), words) for i in seen.waiting[:ROWS_WAITING]],
        "m.waits": max(len(seen.waiting) - ROWS_WAITING, 0),
        "h.wait": {"counts": bins, "edges": edges, "unit": "s"},
        **{f"p.{name}": age for name in ("running", "waiting", "allocated", "longest", "runs", "waits", "hwait")},
        "p.nodes": aged(words, seen.queue["nodes_down_count"].age_s, seen.queue["nodes_down_count"].max_age_s),
    }


def _time(value: float) -> Cell | str:
    return when(value, "stamp") if np.isfinite(value) else "–"


def _run(seen: Seen, i: int, words: Words) -> Cell:
    jobs, now_s = seen.jobs, seen.now.timestamp()
    started = float(jobs.start_s[i])
    ends = started + float(jobs.limit_s[i])
    busy = float(seen.busy[i])
    lasts = {"n": words.age(now_s - started) if np.isfinite(started) else "–", "u": "", "f": "ok"}
    cells: list[str | Cell] = [jobs.ids[i], jobs.names[i], jobs.users[i], jobs.partitions[i]]
    cells += [plain(words, float(jobs.gpus[i]), "count"), bar(plain(words, busy, "frac"), busy)]
    return row("", [*cells, plain(words, float(seen.power[i]), "w"), lasts, _time(ends)])


def _wait(seen: Seen, i: int, words: Words) -> Cell:
    jobs = seen.jobs
    waited = seen.now.timestamp() - float(jobs.submit_s[i])
    cells: list[str | Cell] = [jobs.ids[i], jobs.names[i], jobs.users[i], plain(words, float(jobs.gpus[i]), "count")]
    return row("warning" if waited > LONG_S else "", [*cells, plain(words, waited, "s"), _time(float(jobs.deadline_s[i]))])
