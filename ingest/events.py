"""Finds events in frames: a code that changes, a flag that rises, a counter that grows. Pure but for what it remembers.

An exporter shows the last XID until it is restarted; what counts is that it changed. What was already so at first sight is
an event too, for it happened while nobody looked, unless the last start's events (``past``) know of it.
"""

import csv
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twin.event import Event, Severity
from twin.frame import Floats, Frame, Origin, Quality
from twin.site import Bools, Site
from twin.state import SET_BACK_S

_XIDS = Path(__file__).with_name("xids.csv")


class Xid(NamedTuple):
    """A row of NVIDIA's XID catalogue."""

    meaning: str
    advice: str
    severity: Severity


class _Watch(NamedTuple):
    """``happened`` (was, is -> bool[n]; NaN: not known) tells where an event is, ``says`` (was, is -> code, meaning,
    severity) what it is; ``first``: what is so at first sight counts."""

    happened: Callable[[Floats, Floats], Bools]
    says: Callable[[float, float], tuple[str, str, Severity]]
    first: bool


def _changed(was: Floats, is_: Floats) -> Bools:
    return np.where(is_ > 0, is_ != was, was > 0)


def _rose(was: Floats, is_: Floats) -> Bools:
    return is_ > was


def _fell(was: Floats, is_: Floats) -> Bools:
    return is_ < was


def _differs(was: Floats, is_: Floats) -> Bools:
    return (is_ > was) | (is_ < was)


def _fixed(code: str, meaning: str, severity: Severity) -> Callable[[float, float], tuple[str, str, Severity]]:
    return lambda was, is_: (code, meaning, severity)


def _flag(code: str, meaning: str, over: str, severity: Severity) -> "_Watch":
    """A flag's two events: it rose (also when first seen), it is over."""
    ended = f"{code.partition('/')[0]}/{'well' if code.startswith('gpu') else 'over'}"
    return _Watch(_changed, lambda was, is_: (code, meaning, severity) if is_ > 0 else (ended, over, "info"), first=True)


def _says_xid(_: float, is_: float) -> tuple[str, str, Severity]:
    if is_ == 0:
        return "xid/none", "No XID is shown any more: the exporter or the GPU started anew", "info"
    known = xids().get(int(is_))
    if known is None:
        return f"xid/{is_:g}", f"XID {is_:g}, which the catalogue does not explain", "warning"
    return f"xid/{is_:g}", f"XID {is_:g}: {known.meaning}; {known.advice}", known.severity


def _says_npu(_: float, is_: float) -> tuple[str, str, Severity]:
    if is_ == 0:
        return "npu/none", "No error code is shown any more", "info"
    return f"npu/{is_:g}", f"Error code {is_:g} of the accelerator", "warning"


def _says_health(_: float, is_: float) -> tuple[str, str, Severity]:
    if is_ == 0:
        return "health/well", "It calls itself well again", "info"
    return (
        ("health/error", "It reports an error", "critical")
        if is_ > 1
        else ("health/warning", "It reports a warning", "warning")
    )


def _says_count(code: str, one: str, severity: Severity) -> Callable[[float, float], tuple[str, str, Severity]]:
    return lambda was, is_: (code, f"{one}: {is_ - was:g} more since the last reading", severity)


def _says_link(was: float, is_: float) -> tuple[str, str, Severity]:
    return ("link/up", "The link is up", "info") if is_ > 0 else ("link/down", "The link went down", "warning")


_LEAK = _flag("leak/detected", "A leak detector has tripped", "The leak detector is quiet again", "critical")
_BREAKER = _flag("breaker/open", "A breaker is open: tripped or switched off", "All breakers are closed again", "critical")
_WATCHED: dict[tuple[str, str], _Watch] = {
    ("gpu", "xid_code"): _Watch(_changed, _says_xid, first=True),
    ("gpu", "npu_error_code"): _Watch(_changed, _says_npu, first=True),
    # beside the sticky gauge: the same XID once more
    ("gpu", "xid_count"): _Watch(_rose, _says_count("xid/counted", "XID errors", "warning"), first=False),
    ("gpu", "ecc_uncorrected_count"): _Watch(
        _rose, _says_count("ecc/uncorrected", "Uncorrectable memory errors", "warning"), first=False
    ),
    ("gpu", "row_remap_failure_flag"): _flag(
        "remap/failed", "A memory row could not be remapped; the GPU needs service", "No row remap fails any more", "critical"
    ),
    ("gpu", "unhealthy_flag"): _flag(
        "gpu/unhealthy", "Its driver calls it unhealthy", "Its driver calls it well again", "critical"
    ),
    ("storage", "health_code"): _Watch(_changed, _says_health, first=True),
    ("node", "sel_count"): _Watch(
        _rose, _says_count("sel/grew", "Entries in the controller's event log", "warning"), first=False
    ),
    ("port", "link_down_count"): _Watch(_rose, _says_count("link/down", "The link went down", "warning"), first=False),
    ("port", "up_flag"): _Watch(_differs, _says_link, first=False),
    ("node", "uptime_s"): _Watch(_fell, _fixed("node/reboot", "The node booted anew", "warning"), first=False),
    ("cdu", "leak_flag"): _LEAK,
    ("rack", "leak_flag"): _LEAK,
    **{(kind, "breaker_open_flag"): _BREAKER for kind in ("pdu", "ups", "meter")},
    ("ups", "on_battery_flag"): _flag(
        "power/on_battery", "The load runs from the battery", "The load runs from the mains again", "critical"
    ),
}


class Detector:
    """Watches the measured frames of one site. It remembers one value of each watched metric and asset."""

    def __init__(self, site: Site, past: Iterable[Event] = ()) -> None:
        self._site = site
        self._was: dict[tuple[str, str], tuple[Floats, Floats]] = {}  # value and its time
        # the newest code of each asset and family; what a restart finds still so is not told again
        self._told = {(event.asset, event.family): event.code for event in past}

    def see(self, frame: Frame, now: datetime) -> list[Event]:
        """The events in ``frame``; none in one that is older than what was seen, in forecasts and in bad values. What was
        seen beyond ``now``, before our clock was set back, makes nothing older."""
        if frame.origin is not Origin.MEASURED:
            return []
        found: dict[tuple[int, str], Event] = {}  # two metrics may tell of one thing: the first of a family counts
        for name, column in frame.values.items():
            watch = _WATCHED.get((frame.kind, name))
            if watch is not None:
                for row, said in self._look(frame, name, column, watch, now.timestamp() + SET_BACK_S):
                    found.setdefault((row, said.family), said)
        return list(found.values())

    def _look(self, frame: Frame, name: str, column: Floats, watch: _Watch, latest_s: float) -> list[tuple[int, Event]]:
        key = (frame.kind, name)
        if key not in self._was:
            n = self._site.count(frame.kind)
            self._was[key] = np.full(n, np.nan), np.full(n, -np.inf)
        value, time_s = self._was[key]
        rows = frame.rows
        take = ~np.isnan(column) & ((frame.time_s > time_s[rows]) | (time_s[rows] > latest_s))
        if name in frame.quality:
            take &= frame.quality[name] < Quality.BAD
        was = value[rows]
        happened = take & watch.happened(was, column)  # a comparison with NaN is False, but for !=
        if not watch.first:
            happened &= ~np.isnan(was)
        events = []
        for i in np.flatnonzero(happened).tolist():
            event = self._event(frame, int(rows[i]), watch, float(was[i]), float(column[i]))
            if event is not None:
                events.append((int(rows[i]), event))
        value[rows[take]], time_s[rows[take]] = column[take], frame.time_s
        return events

    def _event(self, frame: Frame, row: int, watch: _Watch, was: float, is_: float) -> Event | None:
        asset = self._site.ids[int(self._site.of_kind(frame.kind)[row])]
        code, meaning, severity = watch.says(was, is_)
        event = Event(frame.time, asset, code, meaning, frame.source, severity)
        known = self._told.pop((asset, event.family), None)
        return None if was != was and known == code else event


@cache
def xids() -> dict[int, Xid]:
    """NVIDIA's XID errors by number. Source: NVIDIA XID catalogue (docs.nvidia.com/deploy/xid-errors), advice by its
    resolution buckets as NVIDIA's NVSentinel applies them."""
    with _XIDS.open(encoding="utf-8", newline="") as file:
        rows: Sequence[dict[str, str]] = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return {int(row["xid"]): Xid(row["meaning"], row["advice"], _severity(row["severity"])) for row in rows}


def _severity(word: str) -> Severity:
    return "critical" if word == "critical" else "info" if word == "info" else "warning"
