"""What tests of the 3D twin's page share: a browser with WebGL in software, opening and reading a page, golden pictures."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import chromium
from PIL import Image
from playwright.sync_api import Browser, Page
from scene_site import SITE

from ui.faces.statics import FOLDER
from ui.scene.geometry import geometry

DEMO = geometry(SITE)
PICTURES = Path(__file__).parents[1] / "fixtures" / "pictures"
SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
READY = "() => window.icctwinScene?.ready && icctwinScene.head"
SMALL = {"width": 960, "height": 540}
# Where a point of the scene (m) is on the screen, and what colour the picture has there.
AT = """([x, y, z]) => {
  const { camera, canvas } = icctwinScene.view3d, box = canvas.getBoundingClientRect();
  const point = camera.controls.target.clone().set(x, y, z).project(camera.three);
  return [box.left + (point.x + 1) / 2 * box.width, box.top + (1 - point.y) / 2 * box.height];
}"""
PIXEL = """([x, y]) => {
  icctwinScene.view3d.draw();
  const { canvas } = icctwinScene.view3d, gl = canvas.getContext("webgl2"), box = canvas.getBoundingClientRect();
  const at = [(x - box.left) / box.width * canvas.width, (1 - (y - box.top) / box.height) * canvas.height];
  const to = new Uint8Array(4);
  gl.readPixels(...at, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, to);
  return [...to.slice(0, 3)];
}"""
NARROW = "() => { const { three } = icctwinScene.view3d.camera; three.fov = 12; three.updateProjectionMatrix(); }"
ABOVE = "([x, y, high]) => { icctwinScene.view3d.camera.place([x, y - 0.001, high, x, y, 0]); icctwinScene.view3d.draw(); }"
CANVAS = "() => { icctwinScene.view3d.draw(); return icctwinScene.view3d.canvas.toDataURL('image/png'); }"


@contextmanager
def drawing() -> Iterator[Browser]:
    """A browser with WebGL in software; skips where three.js is not built."""
    if not (FOLDER / "vendor" / "three.js").exists():
        pytest.skip("three.js is not built: make web")
    with chromium(*SOFTWARE_GL) as made:
        yield made


def opened(page: Page, url: str, **asked: Any) -> None:
    words = "&".join(f"{key}={value}" for key, value in asked.items())
    page.goto(f"{url}/scene?lang=en&{words}")
    page.wait_for_function(READY)


def box_of(asset: str) -> int:
    return int(DEMO.box_of[SITE.position[asset]])


def top_of(asset: str) -> list[float]:
    box = box_of(asset)
    return [*DEMO.centre[box, :2].tolist(), float(DEMO.centre[box, 2] + DEMO.size[box, 2] / 2)]


def tints(page: Page) -> np.ndarray:
    return np.array(page.evaluate("() => [...icctwinScene.bytes.tint]"), dtype=np.uint8)


def picture(page: Page) -> Any:
    """The 3D picture as it is now, RGB."""
    return Image.open(io.BytesIO(base64.b64decode(page.evaluate(CANVAS).partition(",")[2]))).convert("RGB")


def settled(page: Page) -> Any:
    """The picture, once two that follow each other are alike: values that came late have been drawn."""
    last = picture(page)
    for _ in range(20):
        page.wait_for_timeout(200)
        seen = picture(page)
        if np.array_equal(last, seen):
            break
        last = seen
    return seen


def like_golden(seen: Any, name: str) -> None:
    """Mean difference of a channel to the picture kept is at most 3 of 255: other software renderers smooth edges otherwise."""
    path, small = PICTURES / f"{name}.png", seen.resize((480, 270))
    if not path.exists():
        small.quantize(256).save(path, optimize=True)
        pytest.fail(f"{path} was not there; look at the one just made and commit it")
    difference = np.abs(np.asarray(small, dtype=float) - np.asarray(Image.open(path).convert("RGB"), dtype=float))
    assert difference.mean() <= 3, name
    assert np.asarray(small).std() > 15, "there is something in it"
