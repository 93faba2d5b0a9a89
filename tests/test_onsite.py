"""On-site photovoltaics: the sun stands where NREL says, panels yield what PVWatts publishes, and what is foreseen knows how
far it can be believed."""

import importlib.util
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from faces_harness import Hands
from small import rows
from test_lever_jobs import HOUR, jobs
from test_lever_peak_place import foreseen, peak

from analytics.onsite import LEAST_HOURS, USUAL, SkySeen, Sun, foresee, modelled_w, plants, ratios
from analytics.told import Word, Words
from ingest.stores.records import open_records
from twin.errors import SourceError
from twin.frame import Frame, Origin, Quality
from twin.load import build_site
from twin.physics import sun as physics
from twin.physics.sun import Panels, Sky, clear_sky, delivered_w, parted, sun_deg
from twin.ports import Series
from twin.state import State
from ui.onsite import HOURS, OnSite, sure_w
from ui.view import Live

pytest.importorskip("pvlib", reason="own generation is modelled by pvlib: make field")
ROOF = Panels(100e3, 80e3, 48.1, 11.6, 30, 180)  # Munich
NOW = datetime(2026, 6, 1, 0, tzinfo=UTC)
NOW_S = NOW.timestamp()
SLOTS_S = NOW_S + HOUR * np.arange(24)


def words(metric: str, valid_s: np.ndarray, values: object, available_s: float) -> Words:
    column = np.broadcast_to(np.asarray(values, dtype=np.float64), valid_s.shape).copy()
    return Words([Word(("weather", 0, metric), "sky", Origin.FORECAST, available_s, available_s, valid_s, column)])


def sun_of(valid_s: np.ndarray, clearness: object, available_s: float = NOW_S - 60) -> Sun:
    irradiance = clear_sky(ROOF, valid_s).level_w_per_m2 * clearness
    return Sun(
        words("irradiance_w_per_m2", valid_s, irradiance, available_s), words("dry_bulb_c", valid_s, 18.0, available_s),
        words("wind_mps", valid_s, 2.0, available_s),
    )  # fmt: skip


# physics


def test_the_sun_stands_where_the_worked_example_of_its_algorithm_says() -> None:
    """Reda & Andreas 2004, NREL/TP-560-34302, appendix A.5: 17 October 2003, 12:30:30 in Golden (UTC-7)."""
    golden = Panels(1e3, 1e3, 39.742476, -105.1786, 30, 170, 1830.14)
    time_s = np.array([datetime(2003, 10, 17, 12, 30, 30, tzinfo=timezone(timedelta(hours=-7))).timestamp()])
    zenith, azimuth = sun_deg(golden, time_s)
    assert zenith[0] == pytest.approx(50.11162, abs=2e-3)
    assert azimuth[0] == pytest.approx(194.34024, abs=1e-3)


def weather_file() -> Path:
    found = importlib.util.find_spec("pyenergyplus")
    name = "USA_CO_Boulder-Broomfield-Jefferson.County.AP.724699_TMY3.epw"
    path = Path("" if found is None or found.origin is None else found.origin).parent / "data" / "weather" / name
    if not path.exists():
        pytest.skip("Boulder's typical year comes with EnergyPlus: make plants")
    return path


def test_a_year_yields_what_pvwatts_publishes_of_the_same_sunlight() -> None:
    """The example of NREL's PVWatts 6 (developer.nrel.gov/docs/solar/pvwatts/v6): 4 kW, 40° to the south near Boulder, losses
    of 10 %: 6,575 kWh from 5.618 kWh/m² a day. Boulder's typical year is another one, so what a unit of sunlight yields is
    held to 2 %, the sunlight itself to 8 %."""
    import pvlib

    data, meta = pvlib.iotools.read_epw(weather_file())
    time_s = data.index.tz_convert("UTC").as_unit("s").astype(np.int64).to_numpy() + 1800.0  # the middle of each hour
    panels = Panels(4e3, 4e3 / 1.2, meta["latitude"], meta["longitude"], 40, 180, meta["altitude"], 0.10)
    sky = Sky(*(data[name].to_numpy(dtype=np.float64) for name in ("ghi", "dni", "dhi")))
    made_kwh = delivered_w(panels, time_s, sky, data.temp_air.to_numpy(), data.wind_speed.to_numpy()).sum() / 1e3
    zenith, azimuth = sun_deg(panels, time_s)
    extra = pvlib.irradiance.get_extra_radiation(data.index.day_of_year.to_numpy())
    plane = pvlib.irradiance.get_total_irradiance(
        40, 180, zenith, azimuth, sky.direct_w_per_m2, sky.level_w_per_m2, sky.diffuse_w_per_m2, extra, model="haydavies"
    )
    a_day = float(np.nansum(plane["poa_global"])) / 1e3 / 365
    assert a_day == pytest.approx(5.618, rel=0.08)
    assert made_kwh / a_day == pytest.approx(6575.3 / 5.618, rel=0.02)
    erbs = delivered_w(
        panels, time_s, parted(panels, time_s, sky.level_w_per_m2), data.temp_air.to_numpy(), data.wind_speed.to_numpy()
    )
    assert erbs.sum() / 1e3 == pytest.approx(made_kwh, rel=0.03)


def test_it_delivers_by_day_alone_and_never_more_than_its_inverter() -> None:
    time_s = NOW_S + 900 * np.arange(96 * 3)
    small = Panels(100e3, 40e3, 48.1, 11.6, 30, 180)
    power_w = delivered_w(small, time_s, clear_sky(small, time_s), 5.0, 3.0)
    zenith, _ = sun_deg(small, time_s)
    assert (power_w[zenith > 91] == 0).all()
    assert power_w.max() == pytest.approx(40e3)
    east = delivered_w(Panels(100e3, 1e5, 48.1, 11.6, 60, 90), time_s, clear_sky(small, time_s))
    assert east[:96].argmax() < power_w[:96].argmax() + 48
    unknown = clear_sky(small, time_s)
    unknown.level_w_per_m2[60] = np.nan
    seen = delivered_w(small, time_s, unknown)
    assert np.isnan(seen[60]) == (zenith[60] < 90)
    hot = delivered_w(small, time_s[40:50], clear_sky(small, time_s[40:50]), 40.0, 1.0)
    assert hot.sum() <= power_w[40:50].sum()


@pytest.mark.parametrize("bad", [{"tilt_deg": 120}, {"latitude_deg": 99}, {"rated_w": 0}, {"azimuth_deg": -10}])
def test_panels_that_cannot_be_are_refused(bad: dict[str, float]) -> None:
    good = {"rated_w": 1e3, "inverter_w": 1e3, "latitude_deg": 0, "longitude_deg": 0, "tilt_deg": 0, "azimuth_deg": 0}
    with pytest.raises(ValueError, match="must be"):
        Panels(**{**good, **bad})


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(physics.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(SourceError, match=r"icctwin\[pv\]"):
        sun_deg(ROOF, np.array([NOW_S]))


# what is foreseen


def test_a_told_sky_counts_and_a_clear_one_where_nobody_tells() -> None:
    clear, seen = modelled_w(ROOF, None, NOW_S, SLOTS_S)
    assert seen is SkySeen.CLEAR
    half, seen = modelled_w(ROOF, sun_of(SLOTS_S, 0.5), NOW_S, SLOTS_S)
    assert seen is SkySeen.TOLD
    assert 0.35 * clear.sum() < half.sum() < 0.6 * clear.sum()
    early, seen = modelled_w(ROOF, sun_of(SLOTS_S, 0.5, NOW_S + 60), NOW_S, SLOTS_S)
    assert seen is SkySeen.CLEAR, "it was not known yet"
    np.testing.assert_allclose(early, clear)
    _, seen = modelled_w(ROOF, sun_of(SLOTS_S[:8], 0.5), NOW_S, SLOTS_S)
    assert seen is SkySeen.CLEAR, "most of the daylight is not told of"


def metered(days: int, clearness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hours before now and what the roof gave in them, each day under its own sky."""
    past_s = NOW_S + HOUR * np.arange(-24 * days, 0)
    moments = (past_s[:, None] + 900 * (np.arange(4) + 0.5)).ravel()
    sky = clear_sky(ROOF, moments)
    by_day = np.repeat(clearness[-days:], 96)
    return past_s, delivered_w(ROOF, moments, parted(ROOF, moments, sky.level_w_per_m2 * by_day), 18.0, 2.0).reshape(
        -1, 4
    ).mean(axis=1)


def test_its_interval_is_how_far_the_sites_own_days_fell_short() -> None:
    rng = np.random.default_rng(2)
    clearness = rng.permutation(np.linspace(0.3, 1.0, 28))
    past_s, power_w = metered(28, clearness)
    given = foresee(ROOF, None, NOW_S, SLOTS_S, past_s, power_w)
    assert given.judged > LEAST_HOURS
    days = SLOTS_S + 86400.0 * np.arange(1, 29)[:, None]  # that come, of the same climate
    moments = days.ravel() + 1800
    sky = clear_sky(ROOF, moments)
    came = delivered_w(
        ROOF, moments, parted(ROOF, moments, sky.level_w_per_m2 * np.repeat(rng.permutation(clearness), 24)), 18.0, 2.0
    )
    low, middle, high, _ = ratios(ROOF, None, past_s, power_w)
    model_w, _ = modelled_w(ROOF, None, NOW_S, days.ravel())
    np.testing.assert_allclose(given.p90, np.minimum(modelled_w(ROOF, None, NOW_S, SLOTS_S)[0] * high, ROOF.inverter_w))
    light = model_w * middle > 1e3
    inside = ((came >= low * model_w) & (came <= high * model_w))[light].mean()
    assert 0.68 < inside < 0.92
    none = foresee(ROOF, None, NOW_S, SLOTS_S, past_s[:10], power_w[:10])
    assert none.judged == 0
    assert ratios(ROOF, None, past_s[:10], power_w[:10])[:3] == USUAL[SkySeen.CLEAR]
    assert (none.p10 <= none.p50).all()
    assert (none.p50 <= none.p90).all()


def test_a_soiled_roof_is_learnt_from_its_meter() -> None:
    past_s, power_w = metered(28, np.full(60, 1.0))
    given = foresee(ROOF, None, NOW_S, SLOTS_S, past_s, 0.8 * power_w)
    clean, _ = modelled_w(ROOF, None, NOW_S, SLOTS_S)
    noon = clean > 0.3 * ROOF.inverter_w
    np.testing.assert_allclose(given.p50[noon] / clean[noon], 0.8, atol=0.05)


# in the running centre


class Metered:
    """A store that has read the roof's meter, and no more."""

    def __init__(self, past_s: np.ndarray, power_w: np.ndarray) -> None:
        self._past_s, self._power_w = past_s, power_w

    def series(self, kind: str, metrics: object, start: datetime, end: datetime, *_: object, **more: object) -> Series:
        inside = (self._past_s >= start.timestamp()) & (self._past_s < end.timestamp())
        return Series(self._past_s[inside], np.zeros(1, np.int32), {"power_w": -self._power_w[inside][:, None]})


PLACE = "latitude_deg=48.1 longitude_deg=11.6 tilt_deg=30 azimuth_deg=180"
SITE = build_site(
    "s", "UTC",
    rows("id=sky kind=weather", f"id=roof kind=pv rated_w=100000 inverter_w=80000 {PLACE}", "id=old kind=pv rated_w=5000",
         f"id=wrong kind=pv rated_w=5000 {PLACE.replace('tilt_deg=30', 'tilt_deg=300')}"),
)  # fmt: skip


def test_plants_that_say_where_they_are_are_foreseen_and_wrong_ones_named() -> None:
    found, panels, wrong = plants(SITE)
    assert [SITE.ids_of("pv")[row] for row in found] == ["roof"]
    assert panels == [ROOF]
    assert [str(one) for one in wrong] == [
        "wrong is not foreseen: latitude must be within 90, longitude within 180, tilt within 0 to 90 degrees"
    ]


def test_it_is_modelled_beside_its_meter_and_foreseen_for_plans(tmp_path: Path) -> None:
    records = open_records(tmp_path / "r.db")
    noon = NOW + timedelta(hours=11)
    live = Live(SITE, State(SITE), Metered(*metered(28, np.full(60, 0.9))), records, Hands(noon), noon)  # type: ignore[arg-type]
    published: list[Frame] = []
    duty = OnSite(live, published.extend)
    duty.now(noon)
    assert published == [], "nothing was foreseen yet"
    (made,) = duty.ahead(noon)
    assert (made.kind, made.score.model, len(made.p50)) == ("pv", "clear-sky", HOURS)
    assert (made.p10 <= made.p50).all()
    assert made.p50.min() < -30e3, "delivering is negative"
    assert {frame.band for frame in published} == {"p10", "", "p90"}
    assert {frame.origin for frame in published} == {Origin.FORECAST}
    published.clear()
    duty.now(noon + timedelta(minutes=20))
    middle = next(frame for frame in published if not frame.band)
    assert middle.origin is Origin.MODELLED
    assert middle.quality["power_w"].tolist() == [Quality.SUSPECT]
    assert -80e3 < middle.values["power_w"][0] < -30e3
    low, high = (next(f for f in published if f.band == band).values["power_w"][0] for band in ("p10", "p90"))
    assert low <= middle.values["power_w"][0] <= high
    records.close()


def test_only_what_is_sure_of_it_relieves_the_contract() -> None:
    table = jobs((8, 4, 30, 1), (8, 4, 30, 1), (8, 4, 30, 0))
    plain = foreseen(36e3, table, 25e3)
    assert peak(plain) is not None
    time_s = plain.time_s

    class Roof:
        kind, metric = "pv", "power_w"

        def __init__(self, weak_w: float) -> None:
            self.time_s, self.p90 = time_s, np.full(len(time_s), -weak_w)

    assert sure_w([Roof(11e3), Roof(1e3)], time_s).tolist() == [12e3] * len(time_s)  # type: ignore[list-item]
    assert peak(replace(plain, own_w=sure_w([Roof(12e3)], time_s))) is None  # type: ignore[list-item]
    assert peak(replace(plain, own_w=sure_w([Roof(0.0)], time_s))) is not None  # type: ignore[list-item]
