"""``icctwin detect --demo DIR``: the cases of ``ui.finding_cases`` run on a simulated centre and drawn into files."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from analytics.detect.live import Watch
from ingest.sources import simulated
from ingest.sources.simulated.layout import demo_rows
from twin.load import build_site
from twin.state import State
from ui.finding_cases import CASES, GPUS, LONG_S, STEP_S, Recorder, Watched, lines_of
from ui.finding_picture import Drawn, finding_svg
from ui.words import words

START = datetime(2026, 11, 1, tzinfo=UTC)
SEED = 1
ABOUT_S = 1800.0  # that is drawn before a fault and after it


async def watch_cases() -> list[Watched]:
    """The planned faults, each as it was watched: some 25 s of processor time."""
    site = build_site("findings", "UTC", *demo_rows(GPUS))
    planned = tuple(
        simulated.PlannedFault(kind=case.fault, after_s=case.after_s, asset=case.asset, for_s=case.for_s)  # type: ignore[arg-type]
        for case in CASES
    )
    opened = simulated.build(
        "sim", simulated.Options(seed=SEED, faults=planned, fault_factor=1.0, start=START, history_days=0.0), site
    )
    state, watch, recorder = State(site), Watch(site), Recorder(site, START)
    for i in range(int(LONG_S / STEP_S)):
        now = START + timedelta(seconds=i * STEP_S)
        for source in opened.sources:
            for frame in await source.poll(now):
                state.absorb(frame, now)
        recorder.look(state, watch.step(state, await opened.queues[0].jobs(now), now), now)
    return recorder.watched


def draw_cases(folder: Path, language: str = "en") -> list[dict[str, Any]]:
    """Write ``finding-<case>.svg`` into ``folder`` (``OSError`` where that cannot be) and say what came of each."""
    w, told = words(language), []
    for one in asyncio.run(watch_cases()):
        case, finding = one.case, one.finding
        if not case.question:
            continue
        marks = {w("fault begins"): one.begun_s}
        if one.over_s <= one.time_s[-1]:
            marks[w("replaced or mended")] = one.over_s
        if finding is not None:
            marks[w("found")] = one.found_s
            title, said = w.sentence(finding.summary), [*map(w.sentence, finding.evidence), w.sentence(finding.action)]
        else:
            title, said = f"{case.asset}: {w(case.fault.replace('_', ' '))}", [w(case.why)]
        harm_s = one.begun_s + case.harm_frac * case.for_s
        if case.harm:
            marks[w(case.harm)] = harm_s
        path = folder / f"finding-{case.name}.svg"
        path.write_text(finding_svg(w, _drawn(one, title, said, marks), ZoneInfo("UTC")), encoding="utf-8")
        found_s = None if finding is None else one.found_s - one.begun_s
        told.append(
            {
                "case": case.name,
                "fault": case.fault,
                "asset": case.asset,
                "found_after_s": found_s,
                "before_harm_s": harm_s - one.found_s if finding is not None and case.harm else None,
                "said": title,
                "picture": str(path),
            }
        )
    return told


def _drawn(one: Watched, title: str, said: list[str], marks: dict[str, float]) -> Drawn:
    import numpy as np

    time_s = np.array(one.time_s)
    first_s = time_s[0] if one.finding is None else one.begun_s - ABOUT_S  # what it learnt from is part of a miss
    shown = (time_s >= first_s) & (time_s <= one.over_s + ABOUT_S)
    return Drawn(title, said, one.case.unit, time_s[shown], {label: v[shown] for label, v in lines_of(one).items()}, marks)
