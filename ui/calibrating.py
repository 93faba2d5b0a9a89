"""Calibration of a centre, as the command and the task both do it: fit, write the report down, adopt where that was decided."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from twin.adopt import FILE, entry_of, fit_record, in_force, load_adoptions, save_adoptions, undo
from twin.calibrate import propose
from twin.fit import Fit, Score
from twin.history import History
from twin.params import Params
from twin.ports import Records, Store
from twin.site import Site

TOPIC = "calibration"
MOST_FITS = 400  # in one report; sound and refused alike, the worst first
MOST_STEPS = 2000
LEAST_STEP_S = 60.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found: ``fits`` over ``[start, end)``, whether they were ``adopted``, and by whom or what it was made."""

    start: datetime
    end: datetime
    step_s: float
    by: str
    adopted: bool
    fits: Sequence[Fit]


def adoption_file(assets: Path) -> Path:
    """Where adopted parameters are kept: beside the site's table of ``assets``."""
    return assets.parent / FILE


def params_of(path: Path, site: Site) -> Params:
    """The parameters in force: those that ship, with what the file ``path`` says was adopted. ``ConfigError`` where the file is
    not understood."""
    return in_force(site, Params(), load_adoptions(path), str(path))


def calibrate(
    site: Site, store: Store, params: Params, end: datetime, span: timedelta, by: str,
    told: Callable[[str], None] = lambda _: None,
) -> Report:  # fmt: skip
    """All fits on what ``store`` has of the ``span`` before ``end``; nothing is adopted."""
    step_s = max(LEAST_STEP_S, float(np.ceil(span.total_seconds() / MOST_STEPS / 60) * 60))
    history = History(site, store, end - span, end, step_s)
    return Report(history.start, end, step_s, by, False, propose(history, params, told))


def adopt(path: Path, report: Report, now: datetime) -> Report:
    """Put everything sound of ``report`` in force from the next reading of the file ``path`` on."""
    entry = entry_of(report.fits, (report.start, report.end), now, report.by)
    save_adoptions(path, [*load_adoptions(path), entry])
    return Report(report.start, report.end, report.step_s, report.by, True, report.fits)


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
