"""Pictures and files of the scene without a screen: not empty, a hot rack is hot in them, and other programs read them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faces_harness import Hands, live_of
from PIL import Image
from scene_site import SITE, feed_scene, values_of

from ingest.stores import open_store
from twin.errors import ConfigError
from twin.tables import write_table
from ui.cli import main
from ui.config import load_config, site_of
from ui.scene.export import exported
from ui.scene.geometry import geometry
from ui.scene.paint import paint
from ui.scene.ramps import DIVERGING, MAGNITUDE, SIGNED, VIRIDIS
from ui.scene.wire import Detail, frame_body

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
DEMO = geometry(SITE)
HOT = "h1-a05"
ABOUT = {"time": 1.7e9, "colour": "power_w", "origin": "best", "against": False}


def needs(module: str) -> None:
    pytest.importorskip(module, reason="the extra 'scene' is not installed: make field")


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A centre's configuration whose store has one moment, in which one rack draws most and the others little."""
    from ingest.sources.simulated.layout import demo_rows

    folder = tmp_path_factory.mktemp("centre")
    assets, links = demo_rows(512)
    write_table(folder / "assets.csv", assets)
    write_table(folder / "links.csv", links)
    path = folder / "site.toml"
    path.write_text('[site]\nname = "demo"\nassets = "assets.csv"\nlinks = "links.csv"\n[store]\npath = "store"\n')
    site = site_of(load_config(path), ())
    live = live_of(site, Hands())
    live.store = open_store(folder / "store", site)
    power_w = np.full(site.count("rack"), 20e3)
    power_w[site.row(HOT)] = 89e3
    feed_scene(live, values={("rack", "power_w"): power_w})
    live.store.close()
    return path


def rendered(centre: Path, out: Path, *more: str) -> Any:
    assert main(["render", "--config", str(centre), "--out", str(out), "--size", "800x450", "--json", *more]) == 0
    return np.asarray(Image.open(out).convert("RGB"), dtype=int)


def near(picture: Any, colour: Any, within: int) -> int:
    """How many pixels have about that colour."""
    return int((np.abs(picture - np.asarray(colour, dtype=int)).max(axis=2) <= within).sum())


def test_a_render_is_a_picture_in_which_a_hot_rack_is_hot(centre: Path, tmp_path: Path, capsys: Any) -> None:
    needs("pyvista")
    hot, cool = (MAGNITUDE[round(v / 89.7e3 * 250)] for v in (89e3, 20e3))
    plan = rendered(centre, tmp_path / "plan.png", "--view", "plan", "--asset", "h1-a")
    said = json.loads(capsys.readouterr().out)
    assert said["known"] > 500
    assert said["time"].startswith("2026-03-10T06:30:00")
    assert plan.std() > 10, "not empty"
    assert 100 < near(plan, hot, 40) < near(plan, cool, 40), "one rack is hot, seven are not"
    columns = np.flatnonzero((np.abs(plan - hot.astype(int)).max(axis=2) <= 40).sum(axis=0) > 3)
    assert np.ptp(columns) < 0.2 * plan.shape[1], "and it is one"
    site = rendered(centre, tmp_path / "site.png")
    assert near(site, hot, 60) > 20
    rack = rendered(centre, tmp_path / "rack.png", "--view", "rack", "--asset", HOT, "--colour", "temp_c")
    assert rack.std() > 10


WRONG: list[tuple[list[str], str]] = [
    (["--asset", "moon"], "is no asset of the site"),
    (["--colour", "beauty_frac"], "there is no metric 'beauty_frac'"),
    (["--at", "noon"], "'noon' is no time"),
    (["--size", "9x9"], "is no size"),
]


@pytest.mark.parametrize(("words", "says"), WRONG, ids=[says for _, says in WRONG])
def test_a_wrong_word_is_one_sentence(centre: Path, tmp_path: Path, capsys: Any, words: list[str], says: str) -> None:
    needs("pyvista")
    assert main(["render", "--config", str(centre), "--out", str(tmp_path / "x.png"), *words]) == 2
    assert says in capsys.readouterr().err


def test_a_time_of_which_nothing_is_known_says_so(centre: Path, tmp_path: Path, capsys: Any) -> None:
    needs("pyvista")
    words = [
        "render",
        "--config",
        str(centre),
        "--out",
        str(tmp_path / "x.png"),
        "--at",
        "2026-03-09T00:00:00Z",
        "--size",
        "80x80",
    ]
    assert main(words) == 1
    assert "nothing is known of it at that time" in capsys.readouterr().out


def test_without_the_extra_one_sentence_says_what_to_install(
    centre: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyvista", None)
    assert main(["render", "--config", str(centre), "--out", str(tmp_path / "x.png")]) == 2
    assert "pip install 'icctwin[scene]'" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="not installed"):
        exported(DEMO, _frame(), "glb")


def _frame() -> bytes:
    values = values_of(SITE)
    told: Callable[[str, str], Any] = lambda kind, name: values.get((kind, name), np.full(SITE.count(kind), np.nan))  # noqa: E731
    return frame_body(DEMO, paint(DEMO, told, "power_w"), Detail(), ABOUT)


def test_gltf_is_read_by_others_and_has_every_box_where_it_stands(tmp_path: Path) -> None:
    needs("pyvista")
    import pyvista

    data = exported(DEMO, _frame(), "glb")
    path = tmp_path / "scene.glb"
    path.write_bytes(data)
    assert data[:4] == b"glTF"
    assert int.from_bytes(data[8:12], "little") == len(data)
    head = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    assert any("COLOR_0" in part["attributes"] for mesh in head["meshes"] for part in mesh["primitives"])
    x0, x1, *_ = pyvista.read(path).bounds
    drawn = DEMO.size.min(axis=1) > 0
    ends = sorted(
        [DEMO.centre[drawn, 1] - DEMO.size[drawn, 1] / 2, DEMO.centre[drawn, 1] + DEMO.size[drawn, 1] / 2], key=np.min
    )
    assert (x0, x1) == pytest.approx((ends[0].min(), ends[1].max()), abs=0.3)


def test_usd_names_each_asset_and_stands_in_metres(tmp_path: Path) -> None:
    needs("pxr")
    from pxr import Usd, UsdGeom

    path = tmp_path / "scene.usdc"
    path.write_bytes(exported(DEMO, _frame(), "usdc"))
    stage = Usd.Stage.Open(str(path))
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    box = int(DEMO.box_of[SITE.position["h1-a03-n1"]])
    prim = stage.GetPrimAtPath(f"/scene/box_{box}")
    assert prim.GetDisplayName() == "h1-a03-n1"
    place = UsdGeom.XformCommonAPI(UsdGeom.Cube(prim)).GetXformVectors(0)[0]
    assert tuple(place) == pytest.approx(DEMO.centre[box].tolist(), abs=1e-4)


def test_colours_of_pictures_are_those_of_the_page() -> None:
    """The stops in ``static/scales.js``, and the two ends of the tables that are made from them."""
    text = (Path(__file__).parents[1] / "ui" / "faces" / "static" / "scales.js").read_text(encoding="utf-8")
    for name, stops, table in (("VIRIDIS", VIRIDIS, MAGNITUDE), ("DIVERGING", DIVERGING, SIGNED)):
        line = next(line for line in text.splitlines() if line.startswith(f"export const {name}"))
        assert json.loads(line.partition("=")[2].strip().rstrip(";")) == list(stops)
        for byte, stop in ((0, stops[0]), (125, stops[4]), (250, stops[-1])):
            assert "#" + bytes(table[byte].tolist()).hex() == stop
