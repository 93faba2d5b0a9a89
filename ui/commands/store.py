"""``icctwin store``: set a store up, move history between stores, and show it in Grafana."""

import argparse
import json
from datetime import datetime, timedelta
from pathlib import Path

from twin.errors import ConfigError, Problem
from ui.commands import add_command, config_option, instant, json_option, say, tell


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``store init``, ``store copy`` and ``store grafana``."""
    parser = add_command(commands, "store", _nothing, "set up, copy or show a store", "icctwin store init --config site.toml")
    inner = parser.add_subparsers(required=True, metavar="ACTION")

    one = add_command(
        inner,
        "init",
        init,
        "make database, limits of age and rollups of the configured store",
        "icctwin store init --config site.toml",
    )
    config_option(one)

    one = add_command(
        inner,
        "copy",
        copy,
        "move history into the store of another configuration; can be stopped and gone on with",
        "icctwin store copy --config site.toml --to influx.toml --since 2026-11-01",
    )
    config_option(one)
    one.add_argument("--to", type=Path, required=True, metavar="FILE", help="the configuration whose [store] is written")
    one.add_argument("--since", type=instant, metavar="TIME", help="from when on (default: the first day that has values)")
    one.add_argument("--until", type=instant, metavar="TIME", help="up to when (default: now)")
    json_option(one)

    one = add_command(
        inner,
        "grafana",
        grafana,
        "write a data source and dashboards that Grafana provisions",
        "icctwin store grafana --config site.toml --out /etc/grafana/provisioning",
    )
    config_option(one)
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="Grafana's provisioning folder, or any other")
    one.add_argument("--wall", default="http://127.0.0.1:8050", help="where Grafana reaches icctwin, for the embedded store")


def _nothing(options: argparse.Namespace) -> int:
    return 2


def init(options: argparse.Namespace) -> int:
    """Make what the configured store needs; what is there stays."""
    from ingest.stores.provision import provision
    from ui.config import load_config

    for line in provision(load_config(options.config).store):
        say(line)
    return 0


def copy(options: argparse.Namespace) -> int:
    """History from the store of ``--config`` into that of ``--to``."""
    from ingest.stores.copy import copy as copied
    from ingest.stores.copy import span_of
    from ingest.stores.registry import open_kept
    from ui.app import TASK_NAMES
    from ui.config import load_config, site_of
    from ui.tasks import RealClock

    config, other = load_config(options.config), load_config(options.to)
    if config.store.place == other.store.place:
        raise ConfigError([Problem(str(options.to), f"its store is {other.store.place}, the one to copy from; name another")])
    site = site_of(config, TASK_NAMES)
    source, target = open_kept(config.store, site, readonly=True), open_kept(other.store, site)
    samples = means = left_out = 0
    try:
        end = options.until or RealClock().now()
        # a server's own rollups are its own, for dashboards
        days = config.store.hour_days if config.store.type == "embedded" else config.store.raw_days
        start = options.since or span_of(
            source, site, ("site", "gpu", "node", "meter"), _midnight(end - timedelta(days=days)), end
        )
        other.store.path.mkdir(parents=True, exist_ok=True)
        progress = other.store.path / "copy.json"
        for step in copied(source, target, site, start, end, progress):
            samples, means, left_out = samples + step.samples, means + step.means, left_out + step.left_out
            tell(f"{step.until:%Y-%m-%d %H:%M} UTC  {samples:,} values")
        for k in range(100):
            target.maintain(end + timedelta(minutes=15, seconds=k))
        progress.unlink(missing_ok=True)
    finally:
        source.close()
        target.close()
    if options.json:
        said = {"since": start.isoformat(), "until": end.isoformat(), "samples": samples, "means": means, "left_out": left_out}
        say(json.dumps(said))
    else:
        say(f"{samples - left_out:,} values from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC are in {other.store.place}")
        if means:
            say(f"{means:,} of them are means of minutes or hours: that is what is left of their time")
        if left_out:
            say(f"{left_out:,} values are not: that store does not take them")
    return 0


def grafana(options: argparse.Namespace) -> int:
    """Files for Grafana's provisioning."""
    from ui.config import load_config
    from ui.grafana import provisioning

    for name, text in provisioning(load_config(options.config).store, options.wall).items():
        path = options.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        say(str(path))
    return 0


def _midnight(time: datetime) -> datetime:
    return time.replace(hour=0, minute=0, second=0, microsecond=0)
