"""A restart makes the live detectors forget nothing that builds up: they read it from the store, as soon as that answers."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from watching import START, Told, hall, smart

from analytics.detect.batteries import PEUKERT
from analytics.detect.recall import recall
from ingest.stores import open_store
from twin.errors import SourceError
from twin.frame import Frame
from twin.ports import How, Series, Store
from twin.site import Site

HOUR_S, EVERY_H, DAYS = 3600.0, 4, 100
READ_S = 60.0  # before a whole hour: a look sees what lies just behind it


def centre() -> Site:
    """Three racks with a disk each, a UPS, and a GPU."""
    return hall(3, {"id": "g", "kind": "gpu", "parent": "n0", "index": "0"})


def shown(hour: int, runtime_s: float = 900.0) -> dict[str, dict[str, np.ndarray]]:
    """What all show at an hour: disk 0 reallocates three sectors a day in its last ten days, disk 1 did once and was replaced
    twelve days ago, the GPU has memory errors in its last half day, and the battery, whose load falls at night, was good for an
    hour at first."""
    day = hour // 24
    worn = float(max(0, day - DAYS + 10) * 3)
    disks = smart(3, reallocated_count=(0, worn), pending_count=(0, worn))
    young = day >= DAYS - 12
    disks["reported_uncorrected_count"][1] = 0.0 if young else 50.0 + day
    disks["powered_on_s"] = np.array([1e7, 2e5 if young else 3e7, 1e7]) + hour * HOUR_S
    errors = float(max(0, hour - DAYS * 24 + 12))
    load = 1.0 if hour % 24 < 12 else 0.3  # of which a runtime says the same by Peukert's law
    runtime_s = (3600.0 if day < 80 else runtime_s) * load**-PEUKERT
    ups = {"battery_runtime_s": runtime_s, "power_w": 1e5 * load, "charge_frac": 1.0, "battery_temp_c": 25.0}
    return {
        "disk": disks,
        "gpu": {"ecc_uncorrected_count": np.array([errors]), "xid_code": np.zeros(1), "throttle_code": np.zeros(1)},
        "ups": {name: np.array([value]) for name, value in ups.items()},
    }


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> tuple[Told, Store]:
    """A watch that lived through all of it, and the store that has it."""
    told = Told(centre())
    store = open_store(tmp_path_factory.mktemp("past"), told.site)
    for hour in range(0, DAYS * 24, EVERY_H):
        kinds = shown(hour)
        told.step(EVERY_H * HOUR_S, **kinds)
        read = told.now - timedelta(seconds=READ_S)
        store.append([Frame(kind, read, told.site.all_rows(kind), columns) for kind, columns in kinds.items()])
    for _ in range(200):
        store.maintain(told.now)
    return told, store


def after(
    past: tuple[Told, Store], store: Store | None, steps_before: int = 0, steps: int = 80
) -> dict[tuple[str, str], float]:
    """What one that began where the first ended finds by its last step: (question, asset) -> confidence. It asks ``store``
    after ``steps_before``, or never."""
    told = Told(past[0].site)
    told.now = past[0].now
    for k in range(steps):
        if store is not None and k == steps_before:
            told.watch.recall(store, told.now)
        told.step(60, **shown(DAYS * 24))
    return {key: finding.confidence for key, finding in told.found.items()}


def test_one_that_begins_anew_finds_what_one_that_lived_through_it_finds(past: tuple[Told, Store]) -> None:
    old, store = past
    found, late, never = after(past, store), after(past, store, steps_before=30), after(past, None)
    for _ in range(80):
        old.step(60, **shown(DAYS * 24))
    lived = {key: finding.confidence for key, finding in old.found.items()}
    assert set(lived) == {("disk_hazard", "d0"), ("gpu_hazard", "g"), ("ups_battery", "u")}
    assert found == pytest.approx(lived, rel=0.1)
    assert late == pytest.approx(lived, rel=0.1), "a store that answered later"
    assert never == {}


@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_disk_that_was_replaced_meanwhile_has_not_worn(past: tuple[Told, Store], steps_before: int) -> None:
    told = Told(past[0].site)
    told.now = past[0].now
    for k in range(5):
        if k == steps_before:
            told.watch.recall(past[1], told.now)
        kinds = shown(DAYS * 24)
        kinds["disk"] = smart(3) | {"powered_on_s": np.array([HOUR_S, 4e6, 4e6])}
        told.step(60, **kinds)
    assert ("disk_hazard", "d0") not in told.found


def test_no_look_asks_a_store_to_fold_more_than_an_hour(past: tuple[Told, Store]) -> None:
    """Of all GPUs, read each second, two days in one question are more than a server without rollups gives."""
    told, spans_s = Told(past[0].site), list[float]()

    class Spied:
        def series(self, kind: str, names: list[str], start: datetime, end: datetime, *more: object) -> Series:
            spans_s.append((end - start).total_seconds())
            return past[1].series(kind, names, start, end, *more)  # type: ignore[arg-type]

    told.watch.recall(Spied(), past[0].now)  # type: ignore[arg-type]
    assert max(spans_s) <= HOUR_S
    assert len(spans_s) < 400


def test_what_grew_and_was_braked_fades_as_by_hand() -> None:
    """A GPU that was braked at each look of two days, of a memory of one, and had ten errors 20 hours ago: a share of 1 - e⁻²
    and 10 e^(-5/6). Of disks with a memory of a month: seven sectors a month ago are 7/e, and fifty are forgotten with the disk
    that had them, though nothing was heard at the look at which it was replaced."""
    site, now, kinds = centre(), START + timedelta(seconds=3723), set[str]()

    class By:
        def series(self, kind: str, names: list[str], start: datetime, end: datetime, step_s: float, how: How) -> Series:
            kinds.add(kind)
            assert how is How.LAST
            assert end <= now
            assert (end - start).total_seconds() == step_s
            assert start.timestamp() % step_s == 0, "else a store folds two of its steps"
            ago = (now - end) / timedelta(days=1)
            told = {name: np.zeros(site.count(kind)) for name in names}
            if kind == "gpu":
                told |= {"throttle_code": np.array([64.0]), "ecc_uncorrected_count": np.array([10.0 * (ago < 0.9)])}
            if kind == "disk":
                told["reallocated_count"] = np.array([7.0 * (ago < 30.5), 50.0 * (10 < ago < 20), 0.0])
                there = 3e7 if ago > 10.5 else np.nan if ago > 9.5 else 1e6
                told["powered_on_s"] = np.array([1e7, there, np.nan]) - ago
            return Series(np.array([start.timestamp()]), site.all_rows(kind), {name: told[name][None] for name in names})

    made = recall(By(), site, now)  # type: ignore[arg-type]
    assert made.braked == pytest.approx([1 - np.exp(-2)])
    assert made.gpus["ecc_uncorrected_count"].grown == pytest.approx([10 * np.exp(-5 / 6)])
    assert made.disks["reallocated_count"].grown == pytest.approx([7 / np.e, 0, 0])
    assert made.powered_on_s == pytest.approx([1e7, 1e6, np.nan], abs=1, nan_ok=True)
    kinds.clear()
    recall(By(), hall(0), now)  # type: ignore[arg-type]
    assert kinds == {"ups"}, "of what is not there nothing is asked"


def test_what_a_store_cannot_tell_is_asked_again_and_changes_nothing(past: tuple[Told, Store], tmp_path: Path) -> None:
    class Away:
        def series(self, *_: object) -> None:
            raise SourceError("the store does not answer")

    told = Told(past[0].site)
    told.now = past[0].now
    with pytest.raises(SourceError):
        told.watch.recall(Away(), told.now)  # type: ignore[arg-type]
    told.watch.recall(open_store(tmp_path, told.site), told.now)  # a new centre has no past
    told.step(60, **shown(DAYS * 24))
    assert ("ups_battery", "u") not in told.found
