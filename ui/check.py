"""``icctwin check``: reaches everything that a configuration names, and says of each how it went."""

import asyncio
from collections.abc import Awaitable
from datetime import datetime

from analytics.rules import DEFAULT_RULES, load_rules
from ingest.stores import open_store
from twin.errors import ConfigError, SourceError
from twin.ports import Queue, Source
from twin.site import Site
from ui.app import TASK_NAMES, open_sources
from ui.config import Config, site_of

WAIT_S = 10  # for each answer

Row = dict[str, object]


async def reach(config: Config, now: datetime) -> list[Row]:
    """A row (what, name, ok, says) for site, rules, each source, each queue and the store. ``ConfigError`` where the
    configuration itself is wrong."""
    site = site_of(config, TASK_NAMES)
    opened = open_sources(config, site)
    rules = load_rules(config.alerts.rules or DEFAULT_RULES)
    links = sum(len(of.source) for of in site.links.values())
    rows = [
        _row("site", site.name, f"{len(site.ids)} assets, {site.count('gpu')} GPUs, {links} links"),
        _row("rules", str(rules.path), f"{len(rules.rules)} rules"),
    ]
    for one in opened:
        rows += [await _asked("source", source.name, _read(source, now)) for source in one.sources]
        rows += [await _asked("queue", queue.name, _jobs(queue, now)) for queue in one.queues]
        for source in one.sources:  # a queue may have opened its source's connection again
            await source.close()
    return [*rows, _store(config, site)]


async def _asked(what: str, name: str, answer: Awaitable[str]) -> Row:
    try:
        async with asyncio.timeout(WAIT_S):
            return _row(what, name, await answer)
    except SourceError as error:
        return _row(what, name, str(error), ok=False)
    except TimeoutError:
        return _row(what, name, f"no answer within {WAIT_S} s; the endpoint or the network is slow", ok=False)


async def _read(source: Source, now: datetime) -> str:
    try:
        frames = await source.poll(now)
    finally:
        await source.close()
    return f"{sum(frame.samples for frame in frames)} values, {source.unmapped} series belong to nothing known"


async def _jobs(queue: Queue, now: datetime) -> str:
    return f"{len(await queue.jobs(now))} jobs"


def _store(config: Config, site: Site) -> Row:
    """Written to, if nobody does; a running icctwin holds it, and then reading it is what can be tried."""
    path = config.store.path
    try:
        open_store(path, site).close()
    except ConfigError as error:
        try:
            open_store(path, site, readonly=True).close()
        except (ConfigError, SourceError):
            return _row("store", str(path), error.problems[0].what, ok=False)
        return _row("store", str(path), "can be read; another icctwin writes it")
    except SourceError as error:
        return _row("store", str(path), str(error), ok=False)
    return _row("store", str(path), "can be written")


def _row(what: str, name: str, says: str, *, ok: bool = True) -> Row:
    return {"what": what, "name": name, "ok": ok, "says": says}
