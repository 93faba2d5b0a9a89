"""A centre on several grids: the wall shows what a kWh of it is made of, each grid by name, and the number of the account."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faces_harness import NOW, Hands, live_of

from analytics.forecast import Forecast, Score
from energy.account.grids import on_grids
from energy.account.meters import read_meters
from energy.account.tariff import load_tariff
from energy.place.atlas import Atlas, Place
from ingest.stores.records import open_records
from ingest.stores.registry import StoreOptions, open_kept
from twin.frame import Frame, Origin
from twin.load import Row, build_site
from twin.site import Site
from ui.check import reach
from ui.config import load_config
from ui.faces.pages import energy, grids, priced
from ui.faces.pages.energy import read_books
from ui.faces.push import read_day
from ui.given import supply_of, zones_of
from ui.report.halls import hall_parts
from ui.view import Live, View, view
from ui.words import words

PLACES = Atlas(tuple(Place(hall, "q", (hall,), grid, hall) for hall, grid in (("h1", "hydro"), ("h2", "coal"))))
CARBON, PRICE = np.array([50.0, 700.0]), np.array([20.0, 60.0])


def site_of(links: Sequence[tuple[str, str]] = (), gpus: bool = False) -> Site:
    """Two halls with a rack each (and a GPU in it), two grids, a transformer for each hall and one more."""
    lines = [{"id": f"h{k}", "kind": "hall"} for k in (1, 2)] + [{"id": name, "kind": "grid"} for name in ("hydro", "coal")]
    lines += [{"id": f"r{k}", "kind": "rack", "parent": f"h{k}"} for k in (1, 2)]
    lines += [{"id": f"t{k}", "kind": "transformer"} for k in (1, 2)]
    for k in (1, 2) if gpus else ():
        lines += [{"id": f"n{k}", "kind": "node", "parent": f"r{k}"}, {"id": f"gpu{k}", "kind": "gpu", "parent": f"n{k}"}]
    lines.append({"id": "g1", "kind": "source"})
    wires = [Row(f"l:{i}", {"from": one, "to": other, "relation": "feeds"}) for i, (one, other) in enumerate(links)]
    return build_site("grids", "UTC", [Row(f"t:{i}", line) for i, line in enumerate(lines)], wires)


def frames(site: Site, ago_s: float = 0.0, second: float = 3e6, coal: float = 700.0) -> list[Frame]:
    """A megawatt in the first hall, three in the second."""
    at = NOW - timedelta(seconds=ago_s)
    values = {"carbon_gco2_per_kwh": np.array([50.0, coal]), "price_per_mwh": PRICE}
    power = {"facility_power_w": np.array([4.4e6]), "it_power_w": np.array([4e6])}
    return [
        Frame("site", at, site.all_rows("site"), power),
        Frame("rack", at, site.all_rows("rack"), {"power_w": np.array([1e6, second])}),
        Frame("grid", at, site.all_rows("grid"), values),
    ]


def seen(site: Site, atlas: Atlas, read: Sequence[Frame]) -> View:
    """The view of it."""
    live = live_of(site, Hands(), supply=supply_of(atlas, site), zones={"coal": "PL"})
    for one in read:
        live.state.absorb(one, NOW)
    return view(live, NOW)


def said(shown: View) -> dict[str, Any]:
    """The row under a tile."""
    (row,) = grids.under(shown, words("en"), "carbon")["l.grids"]
    (cell,) = row["c"]
    return dict(cell)


def test_the_centre_is_the_mean_of_its_grids_by_what_each_carries_now() -> None:
    site = site_of()
    shown = seen(site, PLACES, frames(site))
    assert shown.centre.carbon_intensity.value == pytest.approx((50 + 3 * 700) / 4)
    assert shown.centre.price.value == pytest.approx((20 + 3 * 60) / 4)
    assert shown.centre.carbon_rate.value == pytest.approx(4.4 * (50 + 3 * 700) / 4 / 1e3), "t/h"
    assert shown.centre.carbon_intensity.fresh
    assert [(one.id, one.zone, one.share.value) for one in shown.grids] == [("hydro", "", 0.25), ("coal", "PL", 0.75)]
    assert said(shown) == {
        "x": "of 2 grids",
        "h": "/energy",
        "w": "hydro: 25 %, 50.0 gCO₂/kWh, 20.0 /MWh\ncoal (PL): 75 %, 700 gCO₂/kWh, 60.0 /MWh",
    }
    assert [len(row["c"]) for row in grids.table(shown, words("zh"))["l.grids-each"]] == [5, 5]


@pytest.mark.parametrize("why", ["nobody says which hall hangs where", "a hall is silent", "a grid has no value"])
def test_what_is_not_known_is_no_number_and_each_grid_is_named(why: str) -> None:
    site = site_of()
    read = frames(site, second=np.nan if "silent" in why else 3e6, coal=np.nan if "value" in why else 700.0)
    shown = seen(site, Atlas() if "nobody" in why else PLACES, read)
    assert not shown.centre.carbon_intensity.known
    assert not shown.centre.carbon_rate.known
    told = said(shown)
    assert told["x"] == ("hydro 50.0 · coal –" if "value" in why else "hydro 50.0 · coal 700")
    (price,) = grids.under(shown, words("en"), "price")["l.grids"]
    assert price["c"][0]["x"] == ("of 2 grids" if "value" in why else "hydro 20.0 · coal 60.0"), "each tile by its own signal"
    assert "hydro" in told["w"]
    assert "coal" in told["w"]


def test_a_stale_grid_makes_the_mean_stale_but_only_where_it_carries_something() -> None:
    site = site_of()
    old = Frame("grid", NOW - timedelta(hours=9), np.array([1], dtype=np.int32), {"carbon_gco2_per_kwh": np.array([700.0])})
    new = Frame("grid", NOW, np.array([0], dtype=np.int32), {"carbon_gco2_per_kwh": np.array([50.0])})
    read = [old, new, *frames(site)[:2]]
    assert not seen(site, PLACES, read).centre.carbon_intensity.fresh
    first = seen(site, Atlas((Place("a", "q", ("p",), "hydro", "h1"),)), read)
    assert first.centre.carbon_intensity.fresh, "all of it hangs on the first"
    assert first.centre.carbon_intensity.value == 50.0
    assert [one.share.value for one in first.grids] == [1.0, 0.0]
    assert said(first)["x"] == "hydro", "what carries nothing is no part of the number"


def test_a_centre_without_a_grid_has_no_number_and_one_with_a_single_grid_names_none() -> None:
    for grids_, intensity in (((), np.nan), (("hydro",), 50.0)):
        rows = [Row(f"t:{one}", {"id": one, "kind": "grid"}) for one in grids_]
        site = build_site("few", "UTC", [Row("t:h", {"id": "h", "kind": "hall"}), *rows])
        read = [Frame("grid", NOW, site.all_rows("grid"), {"carbon_gco2_per_kwh": np.array([50.0])})] if rows else []
        shown = seen(site, Atlas(), read)
        np.testing.assert_equal(shown.centre.carbon_intensity.value, intensity)
        assert shown.grids == ()
        assert grids.under(shown, words("en"), "carbon") == {"l.grids": []}
        live = live_of(site, Hands())
        assert read_books(live, NOW).read["price_per_mwh"].shape[1] == len(rows)


def test_feeds_say_which_hall_hangs_where_unless_a_place_does_or_both_do() -> None:
    chain = [("hydro", "t1"), ("t1", "r1"), ("coal", "t2"), ("t2", "r2")]
    apart = supply_of(Atlas(), site_of(chain))
    assert apart is not None
    assert apart.grids.tolist() == [0, 1]
    place = Atlas((Place("a", "q", ("p",), "coal", "h1"),))
    named = supply_of(place, site_of(chain))
    assert named is not None
    assert named.grids.tolist() == [1, 1], "who names a place knows better"
    twice = supply_of(Atlas(), site_of([*chain, ("t1", "r2")]))
    assert twice is None, "a hall on both counts on the first, as what nobody names"
    assert seen(site_of(), Atlas(), frames(site_of())).grids[0].share.known is False
    modelled = [Frame("rack", NOW, np.arange(2, dtype=np.int32), {"power_w": np.array([3e6, 1e6])}, Origin.MODELLED)]
    shown = seen(site_of(chain), Atlas(), [*frames(site_of(chain))[::2], *modelled])
    assert shown.centre.carbon_intensity.value == pytest.approx((3 * 50 + 700) / 4), "where no rack is read the twin says it"


def test_the_day_of_the_wall_is_the_account_of_the_day(tmp_path: Path) -> None:
    """Hall 2 runs for half of the day alone: what each grid carried then counts, not what it carries now."""
    site = site_of()
    store = open_kept(StoreOptions(path=tmp_path / "store"), site)
    for k in range(24 * 60, 0, -5):
        store.append(frames(site, 60.0 * k, 3e6 if k > 12 * 60 else 0.0))
    live = Live(site, live_of(site, Hands()).state, store, open_records(tmp_path / "records.db"), Hands(), NOW)
    live.supply = supply_of(PLACES, site)
    day = read_day(live, NOW)
    meters = on_grids(store, read_meters(store, NOW - timedelta(days=1), NOW, 900.0), live.supply)
    counted = np.nansum(meters.kwh(meters.facility_w) * meters.average_gco2_per_kwh) / 1e6
    assert day.carbon_t(NOW).value == pytest.approx(float(counted), rel=2e-3)
    assert 0.25 < float(counted) / (24 * 4.4 * 537.5e-3) < 0.6, "not the mix of any one moment"
    books = read_books(live, NOW)
    shown = view(live, NOW, day)
    for name in ("price_per_mwh", "carbon_gco2_per_kwh"):
        assert np.nanmean(books.read[name], axis=0).tolist() == pytest.approx((PRICE if "price" in name else CARBON).tolist())
    half = [4.4 * 12 * (20 + 3 * 60) / 4, 4.4 * 12 * 20]
    midnight_h = NOW.hour + NOW.minute / 60
    assert books.cost.cost_today <= sum(half)
    assert books.cost.cost_today == pytest.approx(4.4 * (min(midnight_h, 12) * 20 + max(midnight_h - 12, 0) * 50), rel=0.02), (
        "each hour at its own mix"
    )
    assert len(shown.grids) == 2
    assert "grids-each" in energy.body(several=True)
    assert "grids-each" not in energy.body()
    store.close()


@pytest.mark.parametrize("gpus", [False, True])
def test_an_hour_in_which_the_racks_on_one_grid_are_silent_is_not_the_other_grids(tmp_path: Path, gpus: bool) -> None:
    """As on the wall: not known, or by the GPUs, of which the second hall has nine in ten watts. The first hall has what its
    rack read of what the meter did."""
    site = site_of(gpus=gpus)
    store = open_kept(StoreOptions(path=tmp_path / "store"), site)
    for k in range(48):
        store.append(frames(site, 300.0 * (48 - k), np.nan if 12 <= k < 24 else 3e6))
        if gpus:
            at = NOW - timedelta(seconds=300.0 * (48 - k))
            store.append([Frame("gpu", at, site.all_rows("gpu"), {"power_w": np.array([1e2, 9e2])})])
    supply = supply_of(PLACES, site)
    assert supply is not None
    meters = read_meters(store, NOW - timedelta(hours=4), NOW, 1800.0)
    found, of_halls = on_grids(store, meters, supply).average_gco2_per_kwh, hall_parts(site, store, meters)[0]
    store.close()
    assert of_halls[0].tolist() == pytest.approx([0.25] * 2 + [0.1 if gpus else 0.25] * 2 + [0.25] * 4)
    assert of_halls[1].tolist() == pytest.approx([0.75] * 2 + [0.9 if gpus else np.nan] * 2 + [0.75] * 4, nan_ok=True)
    mean, other = (50 + 3 * 700) / 4, (50 + 9 * 700) / 10 if gpus else np.nan
    assert found.tolist() == pytest.approx([mean] * 2 + [other] * 2 + [mean] * 4, nan_ok=True)


async def test_check_names_which_hall_hangs_where_or_that_nothing_says_so(tmp_path: Path) -> None:
    lines = ["id,kind,parent", "h1,hall,", "h2,hall,", "hydro,grid,", "coal,grid,", "r1,rack,h1", "r2,rack,h2"]
    (tmp_path / "assets.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "carbon.csv").write_text("time,carbon_gco2_per_kwh\n2026-01-01T00:00:00Z,400\n")
    text = '[site]\nname = "g"\n[store]\npath = "store"\n'
    text += '[[source]]\nname = "c"\ntype = "grid"\nprovider = "csv"\nzone = "PL"\npath = "carbon.csv"\nasset = "coal"\n'
    (tmp_path / "site.toml").write_text(text)
    config = load_config(tmp_path / "site.toml")
    (row,) = [one for one in await reach(config, NOW) if one["what"] == "grids"]
    assert not row["ok"]
    assert "nothing says which hall hangs on which" in str(row["says"])
    (tmp_path / "links.csv").write_text("from,to,relation\nhydro,r1,feeds\ncoal,r2,feeds\n")
    (tmp_path / "site.toml").write_text(text.replace('"g"\n', '"g"\nlinks = "links.csv"\n', 1))
    config = load_config(tmp_path / "site.toml")
    (row,) = [one for one in await reach(config, NOW) if one["what"] == "grids"]
    assert row["ok"]
    assert row["says"] == "hydro: h1; coal: h2"
    assert zones_of(config, site_of()) == {"coal": "PL"}


def test_what_an_hour_costs_is_the_tariffs_where_one_counts() -> None:
    site, tariff = site_of(), load_tariff("guangdong-2021")
    for read in (frames(site), frames(site)[:2]):  # a market's price beside it changes nothing, and need not be there
        shown = seen(site, PLACES, read)
        told = priced.table(priced.Priced(1.0, 1.0, tariff, tariff.currency), shown, (), words("en"))
        assert [(told[name]["n"], told[name]["u"]) for name in ("n.price", "n.cost")] == [
            ("1,700", "CNY/MWh"),
            ("7,480", "CNY/h"),
        ]
    plain = priced.table(priced.Priced(1.0, 1.0, None, "EUR"), seen(site, PLACES, frames(site)), (), words("en"))
    assert (plain["n.cost"]["n"], plain["n.cost"]["u"]) == ("220", "EUR/h")
    shown, score = seen(site, PLACES, frames(site)), Score("naive", 1.0, 1.0, 1.0, 1.0, 24)
    hour_s, price = np.array([shown.time.timestamp() + 1800.0]), np.array([84.4])
    foreseen = [Forecast("grid", row, "price_per_mwh", shown.time, hour_s, price, price, price, score) for row in (0, 1)]
    (then,) = priced.table(priced.Priced(1.0, 1.0, None, "EUR"), shown, foreseen, words("en"))["l.next"]
    assert (then["c"][1]["n"], then["c"][1]["u"]) == ("84.4", "EUR/MWh")
