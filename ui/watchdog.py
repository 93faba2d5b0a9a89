"""The watchdog: a small process of its own that lets go of everything when icctwin has stopped saying that it lives.

Begin times release themselves without anybody; holds, pauses, drained nodes and setpoints do not. icctwin writes a sign of life
every half minute; where the last one is older than ``after_s``, the watchdog takes the desk's place for a moment: it reads the
same audit, takes back what is in force, and what bears a note of ours in a queue, and writes that down. So what icctwin ordered
is over at most ``after_s`` and one look after its death.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from energy.act import Desk
from ingest.registry import Opened
from twin.errors import SourceError
from twin.ports import Queue, Records, Steerable
from twin.site import Site
from twin.state import State
from ui.acting import release_all
from ui.switch import last_sign

log = logging.getLogger(__name__)
AFTER_S, EVERY_S = 180.0, 60.0


@dataclass(frozen=True, slots=True)
class Watch:
    """What the watchdog needs: the site, the audit, and the ways to the field."""

    site: Site
    records: Records
    opened: tuple[Opened, ...]

    @property
    def queues(self) -> Mapping[str, Queue]:
        """Schedulers that take orders."""
        return {queue.name: queue for one in self.opened for queue in one.queues if isinstance(queue, Steerable)}


@dataclass(frozen=True, slots=True)
class Look:
    """One look: when the last sign of life was (None: never), whether it was too old, and how much could not be let go."""

    sign: datetime | None
    dead: bool
    left: int


async def look(watch: Watch, now: datetime, after_s: float = AFTER_S) -> Look:
    """Look once, and let go where nobody else does. ``SourceError`` where the audit cannot be read."""
    sign = last_sign(watch.records)
    if sign is None or now - sign <= timedelta(seconds=after_s):
        return Look(sign, False, 0)
    actuators = {asset: actuator for one in watch.opened for asset, actuator in one.actuators.items()}
    steered = {name: queue for name, queue in watch.queues.items() if isinstance(queue, Steerable)}
    desk = Desk(watch.site, watch.records, actuators, now, steered)
    was = len(desk.ordered) + len(desk.in_force)
    left = await release_all(desk, State(watch.site), watch.queues, now)
    if was:
        log.warning(
            "no sign of life since %s: %d things that were in force are let go, %d could not be", sign, was - left, left
        )
    return Look(sign, True, left)


async def watch_on(
    watch: Watch,
    clock: Callable[[], datetime],
    after_s: float,
    every_s: float,
    once: bool,
    tell: Callable[[Look], None],
    ended: asyncio.Event,
) -> Look:
    """Look every ``every_s`` until ``ended`` is set, or once; gives the last look. A look under way is brought to its end."""
    seen = Look(None, False, 0)
    try:
        while not ended.is_set():
            try:
                seen = await look(watch, clock(), after_s)
                tell(seen)
            except SourceError as error:
                if once:
                    raise
                log.error("the watchdog cannot look: %s", error)
            else:
                if once:
                    break
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), every_s)
        return seen
    finally:
        for one in watch.opened:
            for source in one.sources:
                await source.close()
