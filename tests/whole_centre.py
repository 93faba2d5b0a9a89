"""A whole small centre on a virtual clock, for tests of what it shows: simulated plant, push, on-call desk, accounts."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingest.sources.simulated.layout import demo_rows
from twin.tables import write_table
from ui.access.role import Identity, Role, Scope
from ui.app import Centre
from ui.config import load_config
from ui.tasks import VirtualClock, run_virtual

START = datetime(2026, 11, 22, 8, tzinfo=UTC)


def write_centre(folder: Path, more: str = "", gpus: int = 64, access: str = "") -> Path:
    """Its configuration, in ``folder``; ``more`` stands at the end of it, ``access`` in the section of that name."""
    assets, links = demo_rows(gpus)
    write_table(folder / "assets.csv", assets)
    write_table(folder / "links.csv", links)
    (folder / "push-token").write_text("a token of many senders\n")
    path = folder / "site.toml"
    path.write_text(
        f'[site]\nname = "whole"\nassets = "assets.csv"\nlinks = "links.csv"\n[store]\npath = "store"\n[access]\n{access}\n'
        '[[source]]\nname = "sim"\ntype = "simulated"\nseed = 3\n'
        f'[[source]]\nname = "senders"\ntype = "push"\ntoken_file = "push-token"\n{more}'
    )
    return path


@contextmanager
def alive(path: Path, minutes: float = 1.0) -> Iterator[Centre]:
    """The centre of ``path`` after so many minutes of its life; no task runs any more."""
    clock = VirtualClock(START)
    centre = Centre(load_config(path), clock, wait=True, pace_s=10)
    loop = asyncio.new_event_loop()
    try:
        run_virtual(centre.tasks, clock, START + timedelta(minutes=minutes), centre.health, loop)
        centre.gate.open(loop)
        yield centre
    finally:
        loop.run_until_complete(centre.collector.close())
        loop.run_until_complete(centre.delivery.close())
        loop.close()
        asyncio.set_event_loop(None)
        centre.close()


def token_of(centre: Centre, name: str, role: Role, *scopes: Scope) -> str:
    """A token of ``name``, who is made where they are not."""
    access, now = centre.live.access, centre.clock.now()
    assert access is not None
    if access.users.role(name, now) is Role.NOBODY:
        access.users.add(name, "three green pumps hum", role, now)
    return access.tokens.make(Identity(name, name, role), "test", role, scopes or tuple(Scope), 30, now)[1]
