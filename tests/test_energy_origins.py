"""Whose word the numbers of energy are: what rests on the twin says so on every face, and what a meter read does not."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from faces_harness import NOW, Hands, live_of
from small import rows

from energy.account.book import Given
from ingest.stores import open_store
from ingest.stores.records import open_records
from twin.estimate import estimate
from twin.frame import Frame, Origin
from twin.load import build_site
from twin.params import Params
from twin.ports import Series
from twin.site import Site
from twin.state import State
from ui.faces.pages.columns import columns
from ui.faces.pages.energy import Seen, told
from ui.faces.shelf import Kept
from ui.past import Past, read_past
from ui.report.compose import compose
from ui.report.gather import gather
from ui.report.page import page
from ui.report.show import Show
from ui.report.span import span_of
from ui.view import view
from ui.words import words

IT_W, FACILITY_W = 4e3, 6e3


def centre(extra: str = "") -> Site:
    """GPUs of which exporters read the power, and one meter of the utility."""
    gpus = [f"id=g{i} kind=gpu parent=n" for i in range(8)]
    more = [extra] if extra else []
    return build_site("c", "UTC", rows("id=h kind=hall", "id=r kind=rack parent=h", "id=n kind=node parent=r", *gpus,
                                       "id=utility kind=meter", *more))  # fmt: skip


def state_of(site: Site, facility_w: float = FACILITY_W) -> State:
    state = State(site)
    for kind, watts in (("gpu", 400.0), ("meter", facility_w)):
        state.absorb(Frame(kind, NOW, site.all_rows(kind), {"power_w": np.full(site.count(kind), watts)}), NOW)
    return state


def modelled(frames: list[Frame], name: str, band: str = "") -> float:
    (found,) = (
        one for one in frames if (one.kind, one.origin, one.band) == ("site", Origin.MODELLED, band) and name in one.values
    )
    return float(found.values[name][0])


@pytest.mark.parametrize("extra", ["", "id=ch kind=chiller"])
def test_a_metered_facility_over_modelled_it_is_a_modelled_pue(extra: str) -> None:
    """Of cooling or the power chain the site says too little for a facility power of its own."""
    site = centre(extra)
    frames = estimate(site, state_of(site), Params(), NOW)
    it_w = modelled(frames, "it_power_w")
    assert it_w > 8 * 400
    assert np.isnan(modelled(frames, "facility_power_w"))
    assert modelled(frames, "pue_ratio") == pytest.approx(FACILITY_W / it_w)
    low, high = (modelled(frames, "pue_ratio", band) for band in ("p10", "p90"))
    it_low, it_high = (modelled(frames, "it_power_w", band) for band in ("p10", "p90"))
    assert (high - low) / (FACILITY_W / it_w) == pytest.approx((it_high - it_low) / it_w), "the doubt is that of IT"
    assert not any("pue_ratio" in one.values for one in frames if one.origin is Origin.MEASURED)


def table(past: Past | None) -> dict[str, Any]:
    """What ``/energy`` shows of a day."""
    live = live_of(centre(), Hands())
    seen, none = view(live, NOW, past), columns(live.state, "tower", ("power_w",), NOW)["power_w"]
    kept = _kept(past)
    empty = _kept(None)
    return told(Seen(NOW, seen, past, kept, empty, empty, empty, none, none, (), (), "carbon", None), seen, words("en"))


def _kept(value: Any) -> Kept:
    return Kept(lambda *_: value, 60.0, 1.0, value, NOW if value is not None else None)


def test_the_page_marks_what_rests_on_the_twin() -> None:
    """A day of IT power that the twin works out and facility power that a meter read."""
    time_s = NOW.timestamp() - 60.0 * np.arange(120, 0, -1)

    class Store:
        def series(self, kind: str, names: Any, *_: Any, origin: Origin, **__: Any) -> Series:
            watts = {"it_power_w": (np.nan, IT_W), "facility_power_w": (FACILITY_W, np.nan)}
            values = {name: np.full((120, 1), watts.get(name, (np.nan, np.nan))[origin is Origin.MODELLED]) for name in names}
            return Series(time_s, np.zeros(1, dtype=np.int32), values)

    past = read_past(Store(), NOW)  # type: ignore[arg-type]
    assert (past.it_origin, past.facility_origin, past.origin) == (Origin.MODELLED, Origin.MEASURED, Origin.MODELLED)
    assert (past.pue(NOW).value, past.pue(NOW).origin) == (pytest.approx(1.5), Origin.MODELLED)
    shown = table(past)
    assert (shown["n.energy_day"]["n"], "o" in shown["n.energy_day"]) == ("12.0", False)
    assert (shown["n.it_day"]["n"], shown["n.it_day"]["o"]) == ("8.00", "model")
    assert [shown[key]["x"].split(" · ")[0] for key in ("p.energy", "p.taken")] == ["measured", "modelled"]
    later = table(Past(NOW, time_s, past.it_power_w, past.facility_power_w))
    assert "o" not in later["n.it_day"], "what was read bears no sign"
    assert table(None)["p.taken"]["f"] == "none"


def test_the_first_page_of_a_report_marks_what_rests_on_the_twin(tmp_path: Path) -> None:
    """IT by the twin and the facility by a meter for a day: what comes in is measured, what is over IT is not."""
    site = centre()
    store, day = open_store(tmp_path / "store", site), span_of("2026-11-10/2026-11-11", ZoneInfo("UTC"))
    for k in range(96):
        at = day.start + timedelta(minutes=15 * k)
        store.append([
            Frame("site", at, site.all_rows("site"), {"facility_power_w": np.array([FACILITY_W])}),
            Frame("site", at, site.all_rows("site"), {"it_power_w": np.array([IT_W])}, Origin.MODELLED),
        ])  # fmt: skip
    report = compose(gather(site, store, open_records(tmp_path / "records.db"), day, Given()))
    store.close()
    show = Show(words("en"))
    shown = {one.key: show.figure(one) for section in report.sections for one in section.figures}
    assert (shown["facility_kwh"], shown["it_kwh"]) == ("144\u202fkWh", "≈\u202f96.0\u202fkWh")
    assert (shown["pue_ratio"], shown["peak_w"]) == ("≈\u202f1.500", "6.00\u202fkW")
    assert f'<span class="value">{shown["pue_ratio"]}</span>' in page(report, show)
    (said,) = (one for one in report.said if "the twin works it out" in one.text)
    assert said.params == {"modelled": 1.0}
