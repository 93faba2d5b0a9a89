"""``icctwin render``: the 3D twin as a picture, without a screen, for reports."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from twin.errors import ConfigError, Problem, meant
from ui.commands import add_command, config_option, json_option, say

if TYPE_CHECKING:
    from twin.ports import Store
    from ui.scene.geometry import Geometry

VIEWS = ("site", "plan", "rack")  # as the page calls them


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``render``."""
    parser = add_command(
        commands,
        "render",
        render,
        "draw the 3D twin into a picture, from what the store has",
        "icctwin render --config site.toml --view site --colour temp_c --out hall.png",
    )
    config_option(parser)
    json_option(parser)
    parser.add_argument("--view", choices=VIEWS, default="site", help="from above and aside, as a plan, or a rack's front")
    parser.add_argument("--asset", default="", metavar="ID", help="what to look at (default: the whole site, the first rack)")
    parser.add_argument("--colour", default="power_w", metavar="METRIC", help="what it is coloured by (default: power_w)")
    parser.add_argument("--origin", choices=("best", "measured", "modelled", "residual"), default="best", help="whose values")
    parser.add_argument("--at", metavar="TIME", help="ISO 8601 with zone (default: the newest value in the store)")
    parser.add_argument("--size", default="1600x900", metavar="WxH", help="in pixels (default: 1600x900)")
    parser.add_argument("--out", type=Path, required=True, metavar="F.png", help="the picture")


def render(options: argparse.Namespace) -> int:
    """Read one moment from the store and draw it; 1 where the store knows nothing of it."""
    from ingest.stores.registry import open_kept
    from ui.config import load_config, site_of
    from ui.scene.export import needed, picture
    from ui.scene.geometry import geometry
    from ui.scene.wire import unpacked

    size_px = _size(options.size)
    needed("pyvista", "pyvista")  # before long work
    config = load_config(options.config)
    site = site_of(config, ())
    made = geometry(site)
    store = open_kept(config.store, site, readonly=True)
    try:
        frame, known = _frame(options, made, store)
    finally:
        store.close()
    try:
        picture(made, frame, options.view, options.asset, options.out, size_px)
    except OSError as error:
        raise ConfigError([Problem(str(options.out), f"cannot be written ({error}); name a writable place")]) from error
    head, _ = unpacked(frame)
    time = datetime.fromtimestamp(head["time"], UTC).isoformat()
    if options.json:
        say(json.dumps({"out": str(options.out), "time": time, "boxes": made.drawn, "known": known, "scales": head["scales"]}))
    else:
        say(f"{options.out}: {options.colour} ({options.origin}) at {time}, known of {known} of {made.drawn} boxes")
    if not known:
        say("nothing is known of it at that time: name another with --at, or another --colour or --origin")
    return 0 if known else 1


def _frame(options: argparse.Namespace, made: "Geometry", store: "Store") -> tuple[bytes, int]:
    """The frame's body, and how many boxes have a value in it."""
    from twin.metrics import METRICS
    from ui.scene.still import still

    if not any(options.colour in rows for rows in METRICS.values()):
        near = meant(options.colour, {name for rows in METRICS.values() for name in rows})
        hint = f"did you mean {near}?" if near else "docs/reference/metrics.md lists them"
        raise ConfigError([Problem("--colour", f"there is no metric {options.colour!r}; {hint}")])
    return still(made, store, _time(options.at, store), options.colour, options.origin)


def _time(text: str | None, store: "Store") -> datetime:
    """As asked, or of the newest value that the store has."""
    if text is None:
        newest = [frame.time for frame in store.latest(datetime.fromtimestamp(0, UTC))]
        if not newest:
            raise ConfigError([Problem("[store]", "holds nothing yet; start icctwin up, or name another --config")])
        return max(newest)
    wrong = Problem("--at", f"{text!r} is no time; write ISO 8601 with zone, as in 2026-11-01T00:00:00Z")
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError([wrong]) from error
    if time.tzinfo is None:
        raise ConfigError([wrong])
    return time.astimezone(UTC)


def _size(text: str) -> tuple[int, int]:
    wide, _, high = text.partition("x")
    if not (wide.isdigit() and high.isdigit() and 64 <= int(wide) <= 8192 and 64 <= int(high) <= 8192):
        raise ConfigError([Problem("--size", f"{text!r} is no size; write pixels from 64 to 8192, as in 1600x900")])
    return int(wide), int(high)
