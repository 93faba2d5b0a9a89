"""Files of ``static/`` under ``/static/…``: by the hash of all of them for ever, without it as new at each call.

One hash stands in the path for the whole folder, so that a module finds its neighbours by relative names under the same hash.
"""

import hashlib
from functools import cache
from os import PathLike, stat_result
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "static"
THREE = "vendor/three.js"  # in it: what the 3D page takes from npm, made by make web and not committed
_FOR_EVER, _ANEW = "public, max-age=31536000, immutable", "no-cache"


@cache
def tag() -> str:
    """The hash of every file of the folder, as this process found them."""
    mixed = hashlib.sha256()
    for file in sorted(path for path in FOLDER.rglob("*") if path.is_file()):
        mixed.update(str(file.relative_to(FOLDER)).encode() + b"\0" + file.read_bytes())
    return mixed.hexdigest()[:12]


def static(name: str) -> str:
    """The address of a file of the folder; an absolute one (``/…``) stays as it is."""
    return name if name.startswith("/") else f"/static/{tag()}/{name}"


class _Kept(StaticFiles):
    def __init__(self, keep: str) -> None:
        super().__init__(directory=FOLDER)
        self.keep = keep

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        answer = super().file_response(full_path, stat_result, scope, status_code)
        answer.headers["cache-control"] = self.keep
        return answer


def add_static(server: FastAPI) -> None:
    """Serve the folder on ``server``."""
    server.mount(f"/static/{tag()}", _Kept(_FOR_EVER), name="kept")
    server.mount("/static", _Kept(_ANEW), name="static")
