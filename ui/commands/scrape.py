"""``icctwin import prometheus.yml``: what a Prometheus scrapes, as sources of ours."""

import json
from collections.abc import Sequence
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError

from twin.errors import ConfigError, Problem
from twin.site import Site
from ui.commands import say, tell


def bring_scrape_configs(files: Sequence[Path], out: Path | None, *, as_json: bool) -> int:
    """Print the sources that ``files`` scrape as TOML, or add them to ``out``'s site.toml; what is left out is said."""
    from ingest.scrape_configs import read_scrape_configs

    found = [read_scrape_configs(path) for path in files]
    sources = [source for one in found for source in one.sources]
    left_out = [str(problem) for one in found for problem in one.left_out]
    if out is not None:
        add_sources(out / "site.toml", sources, _known(out / "site.toml"))
    if as_json:
        say(json.dumps({"sources": sources, "left_out": left_out}))
        return 0
    if out is None:
        say(sources_toml(sources).strip())
    else:
        say(f"sources added: {len(sources)}, to {out / 'site.toml'}")
    for line in left_out:
        tell(f"left out: {line}")
    return 0


def _known(path: Path) -> Site | None:
    """The site that ``path`` describes, None where that is not whole yet: it may be what is being written."""
    from ui.config import load_config, site_of

    try:
        return site_of(load_config(path), ())
    except ConfigError:
        return None


def sources_toml(sources: Sequence[dict[str, object]]) -> str:
    """``[[source]]`` tables."""
    document = tomlkit.document()
    tables = tomlkit.aot()
    for source in sources:
        tables.append(tomlkit.item(source))
    document.append("source", tables)
    return tomlkit.dumps(document)


def add_sources(path: Path, sources: Sequence[dict[str, object]], site: Site | None = None) -> None:
    """Append ``sources`` to the configuration ``path``, which keeps its comments; refused where a name is taken. ``site``: the
    one that it describes, where it is known."""
    try:
        text = path.read_text(encoding="utf-8")
        there = tomlkit.parse(text).get("source", [])
    except OSError as error:
        what = f"cannot be read ({error.strerror}); make one with icctwin init"
        raise ConfigError([Problem(str(path), what)]) from None
    except (UnicodeDecodeError, TOMLKitError) as error:
        raise ConfigError([Problem(str(path), f"is not a TOML file: {error}")]) from None
    taken = {str(one.get("name")) for one in there} & {str(source["name"]) for source in sources}
    if taken:
        raise ConfigError([Problem(str(path), f"has a source {name!r} already; rename one") for name in sorted(taken)])
    here = [str(one["node"]) for one in there if one.get("type") == "host" and one.get("node")]
    here = [node for node in here if site is None or node in site.position]
    placed = [_placed(source, here[0]) if len(here) == 1 else source for source in sources]
    path.write_text(text.rstrip("\n") + "\n\n" + sources_toml(placed), encoding="utf-8")


def _placed(source: dict[str, object], here: str) -> dict[str, object]:
    """A source whose one target runs on this machine is of its node: what it calls itself (127.0.0.1:9100) is no asset."""
    targets = source.get("targets")
    if "node" in source or not isinstance(targets, list) or len(targets) != 1:
        return source
    local = str(targets[0]).rpartition("//")[2].startswith(("127.0.0.1:", "localhost:", "[::1]:"))
    return {**source, "node": here} if local else source
