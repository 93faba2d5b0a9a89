"""``/gpus``: how hard the GPUs work, how hot they run, what holds them back, what ails them, whose jobs use them."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from fastapi import FastAPI

from twin.frame import Floats
from twin.job import Jobs, JobState
from twin.state import State
from ui.faces.pages.columns import Columns, columns, histogram, mean_by, worst
from ui.faces.pages.markup import drawing, fine, listed, number, page_of_panels, panel, tile
from ui.faces.pages.recent import BINS, SPAN, Happened, keep_events
from ui.faces.pages.shown import serve_page
from ui.faces.pages.texts import Cell, Table, aged, cell, once, plain, row, source, when
from ui.faces.push import Feed, Pulse
from ui.faces.shelf import Kept
from ui.meanings import meaning
from ui.reading import Reading, fact
from ui.view import Live, View
from ui.words import Words

METRICS = (
    "util_frac", "sm_active_frac", "tensor_active_frac", "dram_active_frac", "mem_used_bytes", "mem_free_bytes", "temp_c",
    "mem_temp_c", "sm_clock_hz", "power_w", "throttle_code", "xid_code", "ecc_corrected_count", "ecc_uncorrected_count",
)  # fmt: skip
# NVML, nvmlClocksEventReasons: bit -> what holds the clock down, and whether it asks to be seen.
THROTTLE = (
    (0x1, "idle", ""),
    (0x2, "application clocks set", ""),
    (0x4, "power cap, by software", "info"),
    (0x8, "slowdown, by hardware", "warning"),
    (0x10, "sync boost", ""),
    (0x20, "heat, by software", "warning"),
    (0x40, "heat, by hardware", "critical"),
    (0x80, "power brake, by hardware", "critical"),
    (0x100, "display clocks", ""),
)
HOT_C, HOT_MEM_C = 83.0, 95.0  # NVIDIA data-centre boards slow down from 85-90 °C on; HBM from 95-105 °C
TOP = 6
LABELS = ("XID", "ECC", "link", "row remaps")


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One look at all GPUs."""

    now: datetime
    metrics: dict[str, Columns]
    reasons: tuple[tuple[str, str, int], ...]
    jobs: tuple[tuple[str, str, int, float, float, float], ...]  # id, name, GPUs, SM and tensor activity, power [W]; best first
    events: Kept
    unhealthy: Reading
    silent: Reading


def add_gpus(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page."""
    keep_events(pulse.shelf)

    def gather(view: View, live: Live) -> Seen:
        return look(live, view, pulse.shelf["events"])

    serve_page(server, pulse, "gpus", Feed(once(gather, told), LABELS, body(), needs=("events",)), ("pages.js",))


def body() -> str:
    """The page's places."""
    job_heads = ("job", "name", ">GPUs", ">SM", ">tensor", ">power")
    job_cols = "4.5rem minmax(0,1fr) 4rem 4.6rem 4.8rem 6.2rem"
    tiles = [
        tile("util", "Busy", [], [number("util")], fine("lowest", "util_low"), fine("highest", "util_high")),
        tile("sm", "SM active", [], [number("sm")], fine("tensor", "tensor"), fine("memory", "dram")),
        tile("mem", "Memory in use", [], [number("mem_frac")], fine("used", "mem_used")),
        tile("temp", "Hottest GPU", [], [number("hottest")], fine("mean", "temp")),
        tile("clock", "SM clock", [], [number("clock")], fine("lowest", "clock_low")),
        tile("power", "GPU power", [], [number("power")], fine("a GPU", "power_mean")),
        tile("health", "Unhealthy", [], [number("unhealthy")], fine("silent", "silent")),
    ]
    return page_of_panels(
        tiles,
        panel("hutil", "Busy: GPUs by share of time", [], drawing("util", "Busy: GPUs by share of time"), size="w8"),
        panel(
            "htemp",
            "Temperature: GPUs by die",
            [fine("memory", "mem_hottest")],
            drawing("temp", "Temperature: GPUs by die"),
            size="w8",
        ),
        panel("hclock", "Clock: GPUs by SM clock", [], drawing("clock", "Clock: GPUs by SM clock"), size="w8"),
        panel(
            "reasons",
            "What holds clocks down",
            [],
            listed("reasons", "Nothing holds a clock down", ("reason", ">GPUs", ">share"), "minmax(0,1fr) 5rem 5rem"),
            size="w6",
        ),
        panel("timeline", "XID, ECC and links: 24 h", [], drawing("timeline", "XID, ECC and links: 24 h"), size="w10"),
        panel(
            "events",
            "Newest errors",
            [],
            listed("events", "No error in 24 h", ("time", "GPU", "what"), "5rem 9.5rem minmax(0,1fr)"),
            size="w8 wrapping",
        ),
        panel(
            "best", "Jobs that use their GPUs best", [], listed("best", "No job is running", job_heads, job_cols), size="w12"
        ),
        panel("least", "Jobs that use them least", [], listed("least", "No job is running", job_heads, job_cols), size="w12"),
    )


def look(live: Live, view: View, events: Kept) -> Seen:
    """Everything that the page says, from columns."""
    state, now = live.state, view.time
    metrics = columns(state, "gpu", METRICS, now)
    return Seen(
        now,
        metrics,
        _reasons(metrics["throttle_code"].value),
        _jobs(live.jobs, state, metrics),
        events,
        view.gpus.unhealthy,
        view.gpus.silent,
    )


def _reasons(code: Floats) -> tuple[tuple[str, str, int], ...]:
    bits = code[np.isfinite(code)].astype(np.int64)
    found = [(name, state, int(np.count_nonzero(bits & bit))) for bit, name, state in THROTTLE]
    return tuple(sorted((one for one in found if one[2]), key=lambda one: -one[2]))


def _jobs(jobs: Jobs, state: State, metrics: dict[str, Columns]) -> tuple[tuple[str, str, int, float, float, float], ...]:
    n = state.site.count("gpu")
    holder = np.full(n, -1, dtype=np.int32)
    running = jobs.state[jobs.job_of] == JobState.RUNNING
    holder[jobs.rows[running]] = jobs.job_of[running]
    means = [mean_by(metrics[name].value, holder, len(jobs)) for name in ("sm_active_frac", "tensor_active_frac", "power_w")]
    held = np.bincount(holder[holder >= 0], minlength=len(jobs))
    order = worst(np.where(jobs.state == JobState.RUNNING, means[0], np.nan), len(jobs))
    return tuple(
        (
            jobs.ids[i],
            jobs.names[i],
            int(jobs.gpus[i]),
            float(means[0][i]),
            float(means[1][i]),
            float(means[2][i] * held[i]),
        )
        for i in order
    )


def told(seen: Seen, view: View, words: Words) -> Table:
    """The page's table."""
    m = seen.metrics
    return {**_numbers(seen, words), **_pictures(seen, words), **_lists(seen, words), **_sources(m, seen, words)}


def _numbers(seen: Seen, words: Words) -> Table:
    m = seen.metrics
    used, free = m["mem_used_bytes"], m["mem_free_bytes"]
    total = used.figure(np.sum).value + free.figure(np.sum).value
    hottest, mem_hottest = m["temp_c"].figure(np.max), m["mem_temp_c"].figure(np.max)
    return {
        "n.util": cell(words, m["util_frac"].figure()),
        "n.util_low": cell(words, m["util_frac"].figure(np.min)),
        "n.util_high": cell(words, m["util_frac"].figure(np.max)),
        "n.sm": cell(words, m["sm_active_frac"].figure()),
        "n.tensor": cell(words, m["tensor_active_frac"].figure()),
        "n.dram": cell(words, m["dram_active_frac"].figure()),
        "n.mem_frac": plain(words, used.figure(np.sum).value / total if total else np.nan, "frac"),
        "n.mem_used": cell(words, used.figure(np.sum)),
        "n.hottest": cell(words, hottest, "warning" if hottest.value >= HOT_C else ""),
        "n.temp": cell(words, m["temp_c"].figure()),
        "n.mem_hottest": cell(words, mem_hottest, "warning" if mem_hottest.value >= HOT_MEM_C else ""),
        "n.clock": cell(words, m["sm_clock_hz"].figure()),
        "n.clock_low": cell(words, m["sm_clock_hz"].figure(np.min)),
        "n.power": cell(words, m["power_w"].figure(np.sum)),
        "n.power_mean": cell(words, m["power_w"].figure()),
        "n.unhealthy": cell(words, seen.unhealthy, "critical" if seen.unhealthy.value > 0 else ""),
        "n.silent": cell(words, seen.silent, "warning" if seen.silent.value > 0 else ""),
    }


def _pictures(seen: Seen, words: Words) -> Table:
    m = seen.metrics
    clock = m["sm_clock_hz"].value
    top = float(np.nanmax(clock)) if np.isfinite(clock).any() else 2e9
    pictures: Table = {}
    for key, values, low, high, unit, hot in (
        ("h.util", m["util_frac"].value, 0.0, 1.0, "frac", None),
        ("h.temp", m["temp_c"].value, 20.0, 95.0, "c", HOT_C),
        ("h.clock", clock, 0.0, np.ceil(top / 2e8) * 2e8, "hz", None),
    ):
        counts, edges = histogram(values, low, high, 20 if unit != "c" else 15)
        pictures[key] = {"counts": counts, "edges": edges, "unit": unit, "hot": hot}
    pictures["b.timeline"] = _timeline(seen.events.value, words)
    return pictures


def _timeline(happened: Happened | None, words: Words) -> Table | None:
    if happened is None:
        return None
    rows = (("XID", ("xid",), "var(--bad)"), ("ECC", ("ecc",), "var(--warn)"), ("link", ("link", "nvlink"), "var(--info)"))
    return {
        "start": round(happened.start.timestamp()),
        "step": SPAN.total_seconds() / BINS,
        "unit": "count",
        "rows": [{"name": words(name), "values": happened.strip(families), "fill": fill} for name, families, fill in rows],
    }


def _lists(seen: Seen, words: Words) -> Table:
    total = max(int(np.isfinite(seen.metrics["throttle_code"].value).sum()), 1)
    happened: Happened | None = seen.events.value
    newest = happened.of(("xid", "ecc", "nvlink", "gpu"), 8) if happened else []
    return {
        "l.reasons": [
            row(state, [words(name), cell(words, fact(count)), plain(words, count / total, "frac")])
            for name, state, count in seen.reasons
        ],
        "l.events": [row(one.severity, [when(one.time), one.asset, meaning(one.meaning, words)]) for one in newest],
        "l.best": [_job(one, words) for one in seen.jobs[:TOP]],
        "l.least": [_job(one, words) for one in reversed(seen.jobs[-TOP:])],
    }


def _job(one: tuple[str, str, int, float, float, float], words: Words) -> Cell:
    id_, name, gpus, sm, tensor, power_w = one
    cells = [plain(words, gpus, "count"), plain(words, sm, "frac"), plain(words, tensor, "frac"), plain(words, power_w, "w")]
    return row("", [id_, name, *cells])


def _sources(m: dict[str, Columns], seen: Seen, words: Words) -> Table:
    of = {
        "util": "util_frac", "hutil": "util_frac", "sm": "sm_active_frac", "mem": "mem_used_bytes", "temp": "temp_c",
        "htemp": "temp_c", "clock": "sm_clock_hz", "hclock": "sm_clock_hz", "power": "power_w", "reasons": "throttle_code",
        "best": "sm_active_frac", "least": "sm_active_frac",
    }  # fmt: skip
    made = {f"p.{panel}": aged(words, m[name].age_s, m[name].max_age_s, m[name].origin) for panel, name in of.items()}
    made["p.health"] = source(words, [seen.unhealthy])
    age = aged(words, seen.events.age_s(seen.now), seen.events.max_age_s)
    return {**made, "p.timeline": age, "p.events": age}
