"""Commands that look for what is odd: detect anomalies in any table, and judge a detector by labels."""

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from twin.errors import ConfigError, Problem, SourceError
from ui.commands import add_command, between, config_option, json_option, say, tell

if TYPE_CHECKING:
    from analytics.detect.table import Detected, Table
    from twin.site import Bools

MOST_MARKS = 6  # alarms that a picture names


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``detect``."""
    parser = add_command(
        commands, "detect", detect, "score each row of any table for anomalies", "icctwin detect --input f.csv --out o.csv"
    )
    parser.add_argument("--input", type=Path, help="CSV with columns time,<metric>,…; one metric or many")
    parser.add_argument("--out", type=Path, help="CSV with columns time,score,alarm,metric; an alarm is near score 1")
    parser.add_argument("--score", type=Path, help="CSV with labels (start,end or time,anomaly): judge the detector by them")
    parser.add_argument(
        "--calibrate",
        type=between(1, 1_000_000),
        help="rows at the start to learn from, when all was well (default: 15 %% of one metric; of many, 400 or a fifth)",
    )
    parser.add_argument("--picture", type=Path, metavar="F.svg", help="draw the score, its alarms and the labels of --score")
    parser.add_argument(
        "--demo",
        type=Path,
        metavar="DIR",
        help="draw findings of the simulated centre into DIR (finding-*.svg): a disk, a pump, a battery, and a miss",
    )
    parser.add_argument(
        "--cards", action="store_true", help="print what each detector was measured to do, and where it is weak"
    )
    parser.add_argument(
        "--outcome",
        metavar="KEY=VERDICT",
        help="say what became of a finding of --config: confirmed, drained, reset, replaced, repaired, false_alarm",
    )
    config_option(parser)
    json_option(parser)


def detect(options: argparse.Namespace) -> int:
    """A table in, scores and alarms out; with ``--score`` the figures against labels."""
    import numpy as np

    from analytics.detect import table
    from twin.message import Message

    if options.cards:
        return _cards(options.json)
    if options.outcome:
        return _outcome(options.outcome, options.config)
    if options.demo:
        return _demo(options)
    if not options.input or not (options.out or options.score or options.picture):
        what = "needs --input, and --out, --score or --picture (or --cards, --outcome or --demo)"
        raise ConfigError([Problem("detect", what)])
    read = table.learnable(table.read_table(options.input), options.calibrate)
    if read.left_out:
        tell(f"not looked at: {', '.join(read.left_out)}")
    made = table.detect(read, options.calibrate)
    if isinstance(made, Message):
        raise SourceError(f"{options.input}: {made}")
    if options.out:
        table.write_detected(options.out, read, made)
    result: dict[str, float | str | None] = {
        "rows": len(read.time_s), "calibrated": made.calibrated, "method": made.method, "alarm_rows": int(made.alarm.sum())
    }  # fmt: skip
    truth = table.read_labels(options.score, read.time_s) if options.score else np.zeros(len(read.time_s), dtype=np.bool_)
    if options.picture:
        _draw(options.picture, options.input.stem, read, made, truth)
    if options.score:
        rng = np.random.Generator(np.random.PCG64(1))
        judged = table.judge(read, made, truth, rng)
        result |= {name: value if math.isfinite(value) else None for name, value in judged.items()}
    say(json.dumps(result) if options.json else "\n".join(f"{name:<24} {_short(value)}" for name, value in result.items()))
    return 0


def _draw(path: Path, name: str, read: "Table", made: "Detected", truth: "Bools") -> None:
    """The score over time, 1 the alarm limit, labelled times shaded, a mark where each alarm begins (the first few)."""
    import numpy as np

    from analytics.detect.judge import spans
    from ui.finding_picture import Drawn, finding_svg
    from ui.words import words

    w = words("en")
    begins = [start for start, _ in spans(made.alarm)][:MOST_MARKS]
    marks = {f"{w('alarm')} {i + 1}: {read.names[made.column[at]]}": float(read.time_s[at]) for i, at in enumerate(begins)}
    marks[w("learnt until here")] = float(read.time_s[made.calibrated])
    shaded = [(float(read.time_s[a]), float(read.time_s[b - 1])) for a, b in spans(truth)]
    lines = {w("score"): made.score, w("alarm limit"): np.ones(len(made.score))}
    said = [w("shaded: labelled as a fault")] if shaded else []
    _write(path, finding_svg(w, Drawn(name, said, "", read.time_s, lines, marks, shaded), ZoneInfo("UTC")))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be written ({error.strerror})")]) from None


def _demo(options: argparse.Namespace) -> int:
    from ui.finding_demo import draw_cases

    tell("watching three hours of a simulated centre")
    try:
        told = draw_cases(options.demo)
    except OSError as error:
        what = f"cannot be written to ({error.strerror}); name an existing folder"
        raise ConfigError([Problem(str(options.demo), what)]) from None
    if options.json:
        say(json.dumps(told))
        return 0
    for one in told:
        found = "not found" if one["found_after_s"] is None else f"found after {one['found_after_s']:.0f} s"
        early = f", {one['before_harm_s']:.0f} s before harm" if one["before_harm_s"] is not None else ""
        say(f"{one['case']:<8} {found}{early}: {one['said']}  {one['picture']}")
    return 0


def _outcome(said: str, config: Path) -> int:
    """Write an outcome down; the running centre learns from it within minutes."""
    from analytics.detect.outcomes import note
    from ui.config import load_config
    from ui.shared import records_of
    from ui.tasks import RealClock

    key, _, verdict = said.rpartition("=")
    records = records_of(load_config(config))
    try:
        note(records, key, verdict, RealClock().now())
    finally:
        records.close()
    say(f"noted: {key} {verdict}")
    return 0


def _cards(as_json: bool) -> int:
    from analytics.detect.cards import CARDS

    if as_json:
        say(json.dumps([card.plain() for card in CARDS]))
        return 0
    say("\n\n".join(card.text() for card in CARDS))
    return 0


def _short(value: float | str | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
