"""Calibration of a centre, as the command and the task both do it: fit, write the report down, adopt where that was decided."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from twin.adopt import FILE, Ranges, entry_of, fit_record, fitted_ranges, in_force, load_adoptions, save_adoptions, undo
from twin.calibrate import propose
from twin.fit import Fit, Score
from twin.history import History
from twin.params import Params
from twin.ports import Records, Store
from twin.simulate import Trajectory
from twin.site import Site

TOPIC = "calibration"
MOST_FITS = 400  # in one report; sound and refused alike, the worst first
MOST_STEPS = 2000
LEAST_STEP_S = 60.0
SLACK_FRAC = 0.02  # of a range, by which it may be left without a word
# series of the offline twin -> what is read of it: what its answers rest on
RANGED = {"it_power_w": ("site", "it_power_w"), "wet_bulb_c": ("weather", "wet_bulb_c"), "supply_c": ("cdu", "supply_temp_c")}


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found: ``fits`` over ``[start, end)``, whether they were ``adopted``, and by whom or what it was made;
    ``ranges``: what the readings were between, see ``twin.adopt.fitted_ranges``."""

    start: datetime
    end: datetime
    step_s: float
    by: str
    adopted: bool
    fits: Sequence[Fit]
    ranges: Ranges = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the twin of a centre works with: its parameters in force, and the ranges that they were fitted on."""

    params: Params = field(default_factory=Params)
    ranges: Ranges = field(default_factory=dict)


def adoption_file(assets: Path, kept: Path) -> Path:
    """Where adopted parameters are kept: in the store's folder ``kept``, for a configuration may be on a file system that is
    read alone; beside the table of ``assets`` where an earlier version has left them there."""
    here, before = kept / FILE, assets.parent / FILE
    return before if before.exists() and not here.exists() else here


def fitted_of(path: Path, site: Site) -> Fitted:
    """The parameters in force: those that ship, with what the file ``path`` says was adopted. ``ConfigError`` where the file is
    not understood."""
    entries = load_adoptions(path)
    return Fitted(in_force(site, Params(), entries, str(path)), fitted_ranges(entries))


def calibrate(
    site: Site, store: Store, params: Params, end: datetime, span: timedelta, by: str,
    told: Callable[[str], None] = lambda _: None,
) -> Report:  # fmt: skip
    """All fits on what ``store`` has of the ``span`` before ``end``; nothing is adopted."""
    step_s = max(LEAST_STEP_S, float(np.ceil(span.total_seconds() / MOST_STEPS / 60) * 60))
    history = History(site, store, end - span, end, step_s)
    return Report(history.start, end, step_s, by, False, propose(history, params, told), _ranges(history))


def _ranges(history: History) -> dict[str, tuple[float, float]]:
    """Between what the readings of ``RANGED`` lay, by the name that the offline twin has for them."""
    found = {}
    for series, (kind, name) in RANGED.items():
        read = history.column(kind, name)
        if kind == "site" and not np.isfinite(read).any():
            read = history.column("rack", "power_w").sum(axis=1)  # NaN where one of them is silent
        if np.isfinite(read).any():
            found[series] = (float(np.nanmin(read)), float(np.nanmax(read)))
    return found


def told_beyond(made: Trajectory, ranges: Ranges) -> Trajectory:
    """``made`` with a note for each series that leaves what the adopted parameters were fitted on."""
    notes = []
    for name, (low, high) in ranges.items():
        series, slack = made.series.get(name, np.empty(0)), SLACK_FRAC * (high - low)
        least, most = np.nanmin(series, initial=np.inf), np.nanmax(series, initial=-np.inf)
        if least < low - slack or most > high + slack:
            notes.append(
                f"{name} runs from {least:.4g} to {most:.4g}; the twin was calibrated on {low:.4g} to {high:.4g}, and outside"
                " of that its answer is an extrapolation"
            )
    return replace(made, notes=(*made.notes, *notes)) if notes else made


def adopt(path: Path, report: Report, now: datetime) -> Report:
    """Put everything sound of ``report`` in force from the next reading of the file ``path`` on."""
    entry = entry_of(report.fits, (report.start, report.end), now, report.by, report.ranges)
    save_adoptions(path, [*load_adoptions(path), entry])
    return replace(report, adopted=True)


def take_back(path: Path, now: datetime) -> dict[str, Any] | None:
    """Undo the newest adoption in the file ``path``; gives it, None where none is in force."""
    entries, undone = undo(load_adoptions(path), now)
    if undone is not None:
        save_adoptions(path, entries)
    return undone


def note(records: Records, report: Report, now: datetime) -> dict[str, Any]:
    """Write ``report`` into the records; gives the JSON object that was written."""
    record = report_record(report)
    records.append(TOPIC, now, record)
    return record


def report_record(report: Report) -> dict[str, Any]:
    """A report as a JSON object: a row for each kind of fit, then the fits themselves, at most ``MOST_FITS``."""
    worst = sorted(report.fits, key=lambda one: (one.known, -_error(one.validate)))
    return {
        "start": report.start.isoformat(),
        "end": report.end.isoformat(),
        "step_s": report.step_s,
        "by": report.by,
        "adopted": report.adopted,
        "summary": [_summary(name, [one for one in report.fits if one.name == name]) for name in names_of(report.fits)],
        "fits": [fit_record(one) for one in worst[:MOST_FITS]],
        "left_out": max(0, len(worst) - MOST_FITS),
    }


def names_of(fits: Sequence[Fit]) -> list[str]:
    """Names of the kinds of fit, in the order in which they were made."""
    return list(dict.fromkeys(one.name for one in fits))


def _summary(name: str, fits: Sequence[Fit]) -> dict[str, Any]:
    """Medians over the fits of one name, on held-out data, of the fit and of what is in force."""

    def median(values: Sequence[float]) -> float | None:
        known = [value for value in values if np.isfinite(value)]
        return float(np.median(known)) if known else None

    return {
        "name": name,
        "fits": len(fits),
        "sound": sum(one.sound for one in fits),
        "kept": sum(one.known and not one.sound for one in fits),
        "cvrmse_frac": median([one.validate.cvrmse_frac for one in fits]),
        "nmbe_frac": median([one.validate.nmbe_frac for one in fits]),
        "cvrmse_before_frac": median([one.present.cvrmse_frac for one in fits]),
        "nmbe_before_frac": median([one.present.nmbe_frac for one in fits]),
    }


def _error(score: Score) -> float:
    return score.cvrmse_frac if np.isfinite(score.cvrmse_frac) else np.inf
