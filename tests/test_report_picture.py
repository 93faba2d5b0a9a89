"""The picture of the hottest hour: all of the hall's racks are in it whole, told apart by colours that its bar explains."""

import re
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ingest.sources.simulated.layout import demo_rows
from ingest.stores import open_store
from twin.frame import Floats, Frame
from twin.load import Row, build_site
from twin.site import Site
from ui.report.document import Picture
from ui.report.pictured import QUIET, picture_svg
from ui.report.scene import HEAD, WIDE, drawer, scale_of, standing
from ui.report.show import Show
from ui.report.span import span_of
from ui.scene.layout import places
from ui.scene.paper import SHADE, aimed, corners, faces
from ui.scene.ramps import MAGNITUDE
from ui.words import words

WEEK = span_of("2026-W46", ZoneInfo("UTC"))
GREYS = {"#" + bytes(np.rint(np.array(list(bytes.fromhex(QUIET[1:]))) * shade).astype(int).tolist()).hex() for shade in SHADE}
AREA = re.compile(r'<path d="M([^"]+)Z" fill="(#[0-9a-f]{6})"( stroke="#b3261e")?')


def lone() -> Site:
    rows = [{"id": "h1", "kind": "hall"}, {"id": "机柜一", "kind": "rack", "parent": "h1"}]
    return build_site("lone", "UTC", [Row("t", row) for row in rows])


def demo(gpus: int) -> Site:
    return build_site("demo", "UTC", *demo_rows(gpus))


def drawn(site: Site, folder: Path, kind: str, **columns: Floats) -> Picture:
    store = open_store(folder / "store", site)
    store.append([Frame(kind, WEEK.start + timedelta(hours=3), site.all_rows(kind), columns)])
    (picture,) = drawer(site, store)(WEEK)
    store.close()
    return picture


def areas(picture: Picture) -> list[tuple[Floats, str, bool]]:
    """Corners (px), colour and whether it is marked, of the floor and of each face."""
    found = AREA.findall(picture.drawing)
    return [
        (np.array([corner.split() for corner in way.split("L")], dtype=float), fill, bool(mark)) for way, fill, mark in found
    ]


@pytest.mark.parametrize("site", [lone(), demo(256), demo(10_000)], ids=["one rack", "256", "10000"])
def test_every_rack_of_the_hottest_hall_is_in_the_picture_whole(site: Site, tmp_path: Path) -> None:
    racks = site.count("rack")
    celsius = np.linspace(38.1, 39.4, racks)
    picture = drawn(site, tmp_path, "rack", return_temp_c=celsius)
    floor, *seen = areas(picture)
    at = np.concatenate([corner for corner, *_ in (floor, *seen)])
    assert at[:, 0].min() >= 0
    assert at[:, 0].max() <= WIDE
    assert at[:, 1].min() >= HEAD - 1, "room for the name above"
    assert at[:, 1].max() <= picture.height_px
    fills = max(np.ptp(at[:, 0]) / WIDE, np.ptp(at[:, 1]) / (picture.height_px - HEAD))
    assert fills > 0.95, "and it is as large as it can be"
    mine = np.concatenate([corner for corner, fill, _ in seen if fill not in GREYS])
    share = max(np.ptp(mine[:, 0]) / WIDE, np.ptp(mine[:, 1]) / (picture.height_px - HEAD))
    assert share > 0.5, "the hall's racks are what it shows"
    hall = str(picture.alt.params["hall"])
    stand = standing(site, places(site), hall)
    roofs = {fill for _, fill, _ in seen}
    low, high = picture.scale.low, picture.scale.high
    for value in celsius[stand.rack]:
        tint = round((value - low) / (high - low) * 250)
        assert "#" + bytes(MAGNITUDE[tint].tolist()).hex() in roofs, "a roof has the colour that the bar has there"
    assert picture.pin.name == site.ids_of("rack")[stand.rack[int(celsius[stand.rack].argmax())]]
    marked = np.concatenate([corner for corner, _, mark in seen if mark])
    assert (marked.min(axis=0) < [picture.pin.x, picture.pin.y]).all()
    assert (marked.max(axis=0) > [picture.pin.x, picture.pin.y]).all(), "the pin is on the rack that is marked"


def test_the_bar_has_the_scales_colours_and_says_its_ends_in_the_readers_language(tmp_path: Path) -> None:
    site = demo(512)
    power_w = np.full(site.count("rack"), 40e3)
    power_w[2], power_w[3] = 55e3, np.nan
    picture = drawn(site, tmp_path, "rack", power_w=power_w)
    svg = picture_svg(picture, Show(words("zh")))
    stops = re.findall(r'<stop offset="([\d.]+)" stop-color="(#\w{6})"/>', svg)
    for part, tone in stops:
        ours = MAGNITUDE[round(float(part) * 250)].astype(int)
        assert np.abs(ours - list(bytes.fromhex(tone[1:]))).max() <= 1, "of 255, for the table is rounded"
    assert (stops[0][0], stops[-1][0]) == ("0", "1")
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", svg)
    name = site.ids_of("rack")[2]
    assert texts[0] == f"{name} · 55.0\u202fkW"
    assert ("功率" in texts[1], texts[2], texts[-2]) == (True, "40.0\u202fkW", "55.0\u202fkW")
    assert texts[-1] == "无读数，或不是机柜"
    assert QUIET in {fill for _, fill, _ in areas(picture)}, "a rack of which nothing was read is grey"


def test_gpus_tell_where_no_rack_is_read_by_the_warmest_in_each(tmp_path: Path) -> None:
    site = demo(512)
    celsius = np.full(site.count("gpu"), 50.0)
    celsius[100] = 71.0
    picture = drawn(site, tmp_path, "gpu", temp_c=celsius)
    assert picture.pin.name == site.ids_of("rack")[site.within("gpu", "rack")[100]]
    assert (picture.pin.value, picture.scale.low, picture.scale.high) == (71.0, 50.0, 75.0)


def test_ends_of_a_scale_are_round_and_near() -> None:
    assert scale_of(np.array([38.1, np.nan, 39.4]), "c") == pytest.approx((38.0, 39.5, 3))
    assert scale_of(np.array([12e3, 88e3]), "w") == pytest.approx((0.0, 100e3, 5))
    low, high, _ = scale_of(np.array([45.0, 45.0]), "c")
    assert 1.0 <= high - low <= 1.6, "what is equal is not blown up"


def test_what_stands_nearer_is_drawn_later_and_nothing_is_seen_from_behind() -> None:
    """Racks in two rows: where two faces overlap on paper, a line of sight meets the one that is drawn later first."""
    x, y = (part.ravel() for part in np.meshgrid(0.8 * np.arange(10), [0.0, 3.2]))
    centre, size = np.column_stack([x, y, np.full(20, 1.1)]), np.tile([0.76, 1.2, 2.2], (20, 1))
    camera, tall = aimed(centre, size, 700.0, 330.0)
    where = camera.seen(corners(centre, size))
    assert where.min() >= -1e-6
    assert (where.max(axis=(0, 1)) <= np.array([700.0, tall]) + 1e-6).all()
    assert max(np.ptp(where[..., 0]) / 700, tall / 330) == pytest.approx(1.0, abs=0.01)
    seen = faces(camera, centre, size)
    assert [face.box for face in seen].index(0) > [face.box for face in seen].index(10), "the back row comes first"
    for face in seen:
        (ax, ay), (bx, by), (cx, cy) = face.corners_px[:3]
        assert (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) < 0, "all go round the same way: their outsides are seen"
